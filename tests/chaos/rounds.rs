//! What is done to a cluster: each round injects one fault, proves that it had an effect, mends it, and waits until
//! clients get on.

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use crate::{
    arena::{Arena, Invalid, LOGS, Outcome},
    common::{LIVENESS, cluster::Cluster, eventually, http_get, metric},
    network::Cuts,
    shim::Sync,
    throttle::Throttle,
    volume::{Kind, Volume},
};

/// One round.
pub(crate) type Round = fn(&mut Arena) -> Outcome;

/// Successes while a fault lasts, where a majority is left.
const MEANWHILE: u64 = 40;
/// A sync that takes longer was slowed down.
const SLOW_SECONDS: f64 = 0.06;
/// How often a condition is looked at that nobody announces.
const LOOK: Duration = Duration::from_millis(10);

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(Invalid(otherwise())) }
}

fn names(nodes: &[usize]) -> String {
    let name = |node: &usize| match *node {
        Cluster::PD => "the placement driver".to_owned(),
        store => format!("store {store}"),
    };
    nodes.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Whether the cluster writes while these are away, wherever the peers of its regions are.
fn leaves_majority(arena: &Arena, nodes: &[usize]) -> bool {
    let stores = nodes.iter().filter(|node| **node != Cluster::PD).count();
    2 * stores < arena.replicas
}

/// Processes are killed.
pub(crate) fn kill(arena: &mut Arena) -> Outcome {
    let work = arena.rng.below(600);
    arena.progress(1 + work, "under full load");
    let victims = match arena.draw(8) {
        0 => vec![Cluster::PD],
        1 => (0..arena.bases.len()).collect(),
        2 => arena.draw_stores(2),
        3 | 4 => arena.draw_stores(1),
        _ => vec![arena.leader()],
    };
    arena.stretch_changes(&victims);
    arena.inject("kills", &format!("killed: {}", names(&victims)));
    victims.iter().for_each(|node| {
        assert!(!arena.cluster.process(*node).has_ended(), "node {node} had ended");
    });
    arena.cluster.kill_at_once(&victims);
    arena.end_stretch(&victims);
    if leaves_majority(arena, &victims) {
        let work = arena.rng.below(MEANWHILE);
        arena.progress(1 + work, "while a minority is down");
    }
    arena.revive_all();
    arena.note(&format!("up again: {}", names(&victims)));
    arena.well("after a kill");
    Ok(())
}

/// Processes stand still, most often the leader: it wakes up and still believes what it believed.
pub(crate) fn pause(arena: &mut Arena) -> Outcome {
    let leader = arena.leader();
    let victims = match arena.draw(8) {
        0 => vec![Cluster::PD],
        1 => arena.draw_stores(2),
        2 => arena.draw_stores(1),
        _ => vec![leader],
    };
    // From less than a lease to three gates.
    let is_long = victims == [leader] && arena.rng.chance(600);
    let millis = if is_long { 1_000 + arena.rng.below(1_400) } else { 100 + arena.rng.below(700) };
    let what = format!("stopped for {millis} ms or more: {}", names(&victims));
    arena.inject("pauses", &what);
    let begin = Instant::now();
    let processes: Vec<u32> =
        victims.iter().map(|node| arena.cluster.process(*node).id()).collect();
    victims.iter().for_each(|node| arena.cluster.process(*node).signal("STOP"));
    let stood: Option<Vec<String>> = processes.iter().map(|process| standing(*process)).collect();
    if is_long {
        // Others must lead by now, and clients must have written through them.
        arena.progress(MEANWHILE, "while a leader stands still");
    }
    thread::sleep(Duration::from_millis(millis).saturating_sub(begin.elapsed()));
    let still: Option<Vec<String>> = processes.iter().map(|process| standing(*process)).collect();
    victims.iter().for_each(|node| arena.cluster.process(*node).signal("CONT"));
    arena.note(&format!("going on: {}", names(&victims)));
    ensure(stood.is_some() && stood == still, || format!("not stopped: {}", names(&victims)))?;
    arena.well("after a pause");
    Ok(())
}

/// The CPU time of a process that is stopped; `None` where it is not.
fn standing(process: u32) -> Option<String> {
    let deadline = Instant::now() + LIVENESS;
    while Instant::now() < deadline {
        let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name stands in parentheses and may hold anything.
        let words: Vec<&str> = text.rsplit(')').next()?.split_whitespace().collect();
        if words.first() == Some(&"T") {
            return Some(words.get(11..13)?.join(" "));
        }
        thread::sleep(LOOK);
    }
    None
}

/// The network is cut, in one of the shapes that have hurt others.
pub(crate) fn cut(arena: &mut Arena) -> Outcome {
    let (what, cuts, clients_get_on) = shape(arena);
    arena.inject("cuts", &what);
    let begin = Instant::now();
    arena.network.cut(cuts.clone());
    let length = Duration::from_millis(1_000 + arena.rng.below(2_000));
    if clients_get_on {
        arena.progress(MEANWHILE, "behind a cut");
    }
    thread::sleep(length.saturating_sub(begin.elapsed()));
    let leaks = arena.network.leaks();
    arena.network.cut(Cuts::new());
    arena.note("the network is whole again");
    ensure(leaks.is_empty(), || format!("{what}, and {leaks:?} connect all the same"))?;
    let deadline = Instant::now() + LIVENESS;
    while !arena.network.is_whole(&cuts) {
        assert!(Instant::now() < deadline, "nodes cannot be reached after a cut");
    }
    arena.well("after a cut");
    Ok(())
}

fn both_ways(a: usize, b: usize) -> [(usize, usize); 2] {
    [(a, b), (b, a)]
}

/// Draws a shape: how it is called, what it cuts, and whether clients can go on meanwhile.
#[expect(clippy::too_many_lines, reason = "a table: one arm for each shape")]
fn shape(arena: &mut Arena) -> (String, Cuts, bool) {
    let clients = arena.network.clients();
    let leader = arena.leader();
    let count = arena.cluster.stores().len();
    let stores = {
        // In any order, the leader first.
        let mut left: Vec<usize> =
            arena.cluster.stores().filter(|store| *store != leader).collect();
        let mut order = vec![leader];
        while !left.is_empty() {
            let next = arena.draw(left.len());
            order.push(left.swap_remove(next));
        }
        order
    };
    let others = || stores[1..].iter().copied();
    let minority = (count - 1) / 2;
    let across = |a: &[usize], b: &[usize]| -> Vec<(usize, usize)> {
        a.iter().flat_map(|a| b.iter().map(|b| (*a, *b))).collect()
    };
    let (few, many) = if arena.rng.chance(500) {
        stores.split_at(minority)
    } else {
        let (many, few) = stores.split_at(count - minority);
        (few, many)
    };
    match arena.draw(9) {
        0 => (
            format!("leader {leader} is cut off"),
            others().flat_map(|it| both_ways(leader, it)).collect(),
            true,
        ),
        1 => (
            format!("leader {leader} hears nobody"),
            others().map(|it| (it, leader)).collect(),
            true,
        ),
        2 => (
            format!("leader {leader} is heard by nobody"),
            others().map(|it| (leader, it)).collect(),
            true,
        ),
        3 => {
            let cuts = across(few, many).into_iter().flat_map(|(a, b)| both_ways(a, b)).collect();
            (format!("{few:?} and {many:?} are apart"), cuts, true)
        }
        4 => {
            (format!("{many:?} do not hear {few:?}"), across(few, many).into_iter().collect(), true)
        }
        5 if count >= 5 => {
            let far = |a: usize, b: usize| {
                let steps = a.abs_diff(b);
                steps > 1 && steps < count - 1
            };
            let pairs = (0..count).flat_map(|a| (0..count).map(move |b| (a, b)));
            let cuts = pairs.filter(|(a, b)| far(*a, *b)).map(|(a, b)| (stores[a], stores[b]));
            (format!("a ring {stores:?}: each sees its neighbours only"), cuts.collect(), true)
        }
        5 | 6 => {
            // The last one sees both sides; the leader is on one of them.
            let (sides, bridge) = stores.split_at(count - 1);
            let (one, other) = sides.split_at(sides.len() / 2);
            let cuts = across(one, other).into_iter().flat_map(|(a, b)| both_ways(a, b)).collect();
            (format!("{one:?} and {other:?} see only {bridge:?}"), cuts, true)
        }
        7 => {
            // Clients know where regions are, and go on without it.
            let others = stores.iter().copied().chain([clients]);
            let cuts = others.flat_map(|other| both_ways(Cluster::PD, other)).collect();
            ("the placement driver is cut off".to_owned(), cuts, true)
        }
        _ => {
            // Nobody else notices: the leader stays, and its clients have to wait.
            let cuts = both_ways(clients, leader).into_iter().collect();
            (format!("clients are cut off from leader {leader}"), cuts, false)
        }
    }
}

fn volume(arena: &Arena, node: usize) -> Result<&Volume, Invalid> {
    arena.bases[node]
        .volume
        .as_ref()
        .ok_or_else(|| Invalid(format!("node {node} has no disk of its own")))
}

/// A disk is full. Its store takes nothing any more, and goes on when there is room; where something else was just to be
/// written, it ends. It loses nothing either way.
pub(crate) fn fill(arena: &mut Arena) -> Outcome {
    let victim = if arena.rng.chance(500) { arena.leader() } else { arena.draw_stores(1)[0] };
    let left = arena.rng.below(256 << 10);
    arena.inject(
        "full disks",
        &format!("the disk of store {victim} is filled but for {left} bytes"),
    );
    volume(arena, victim)?.fill(left).map_err(Invalid)?;
    let available = volume(arena, victim)?.available();
    ensure(available < 1 << 20, || "the disk was not full".to_owned())?;
    notice_full(arena, victim)?;
    arena.progress(MEANWHILE, "while a disk is full");
    let ended = arena.cluster.end_of(victim);
    volume(arena, victim)?.free();
    match ended {
        None => arena.note(&format!("store {victim} lived with {available} bytes, and has room")),
        Some(status) => {
            assert!(!status.success(), "a store that cannot write does not end well");
            arena.cluster.revive(victim);
            let note = format!("store {victim} had ended ({status}), has room and is up again");
            arena.note(&note);
        }
    }
    arena.well("after a full disk");
    Ok(())
}

/// Waits until a store knows that its disk is full; until it has ended of it, or has made room itself: it removes what it
/// does not need any more.
fn notice_full(arena: &mut Arena, victim: usize) -> Outcome {
    let address = arena.cluster.status_address(victim);
    let volume = volume(arena, victim)?;
    eventually("a store notices that its disk is full", || {
        let room = metric(&address, "flotilla_store_disk_room");
        room.is_none_or(|room| room == 0) || volume.available() >= 1 << 20
    });
    Ok(())
}

/// A disk takes long for each sync, most often the leader's.
pub(crate) fn slow(arena: &mut Arena) -> Outcome {
    let victim = if arena.rng.chance(700) { arena.leader() } else { arena.draw_stores(1)[0] };
    let length = Duration::from_millis(2_000 + arena.rng.below(2_500));
    let address = arena.cluster.status_address(victim);
    let before = slow_syncs(&address);
    let process = arena.cluster.process(victim).id();
    let disk = volume(arena, victim)
        .ok()
        .filter(|volume| volume.kind() == Kind::Loop)
        .and_then(Volume::device);
    if let Some(device) =
        disk.filter(|_| arena.facilities.throttle && arena.faults().is_multiple_of(2))
    {
        let writes = u32::try_from(2 + arena.rng.below(8)).expect("few");
        arena.inject(
            "slow disks",
            &format!("the disk of store {victim} does {writes} writes a second"),
        );
        let throttle = Throttle::new(&arena.facilities.mark, process, &device, writes);
        let throttle = throttle.map_err(Invalid)?;
        thread::sleep(length);
        drop(throttle);
    } else {
        let millis = 100 + arena.rng.below(1_400);
        arena.inject("slow syncs", &format!("each sync of store {victim} takes {millis} ms more"));
        let shim = arena.bases[victim].shim.as_ref();
        let shim = shim.ok_or_else(|| Invalid("there is no library".to_owned()))?;
        shim.set(Sync::Late(Duration::from_millis(millis)), LOGS);
        thread::sleep(length);
        shim.set(Sync::Honest, "");
    }
    arena.note(&format!("the disk of store {victim} is fast again"));
    arena.well("after a slow disk");
    // The slow syncs that are under way come to their ends.
    let deadline = Instant::now() + LIVENESS;
    while slow_syncs(&address) <= before {
        ensure(Instant::now() < deadline, || format!("store {victim} saw no slow sync"))?;
        thread::sleep(LOOK);
    }
    Ok(())
}

/// How many syncs a store saw that took long.
fn slow_syncs(address: &str) -> u64 {
    let Some(text) = http_get(address, "/metrics") else { return 0 };
    let buckets = text.lines().filter_map(|line| {
        let rest = line.strip_prefix("flotilla_raft_append_fsync_seconds_bucket{")?;
        let bound = rest.split("le=\"").nth(1)?.split('"').next()?;
        let count: u64 = line.rsplit(' ').next()?.parse().ok()?;
        Some((if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? }, count))
    });
    let buckets: Vec<(f64, u64)> = buckets.collect();
    let fast =
        buckets.iter().filter(|(bound, _)| *bound <= SLOW_SECONDS).map(|(_, count)| *count).max();
    let all = buckets.iter().map(|(_, count)| *count).max();
    all.unwrap_or(0) - fast.unwrap_or(0)
}

/// Syncs fail: the node ends before it says that anything is safe. Where disks can lose their power, what was not
/// synced is then really gone.
pub(crate) fn fail_syncs(arena: &mut Arena) -> Outcome {
    let work = arena.rng.below(200);
    arena.progress(1 + work, "before a sync fails");
    let mut victims = match arena.draw(6) {
        0 => arena.draw_stores(2),
        1 | 2 => arena.draw_stores(1),
        _ => vec![arena.leader()],
    };
    // The placement driver syncs where a window of timestamps or ids is used up: only seldom.
    victims.sort_unstable();
    arena.inject("failed syncs", &format!("syncs fail: {}", names(&victims)));
    let shims = |arena: &Arena, sync: Sync| {
        for node in &victims {
            arena.bases[*node].shim.as_ref().expect("the scenario needs it").set(sync, LOGS);
        }
    };
    shims(arena, Sync::Fails);
    for node in &victims {
        let status = arena.cluster.wait_for_end(*node);
        let hits = arena.bases[*node].shim.as_ref().map_or(0, crate::shim::Shim::hits);
        arena.note(&format!("{} ended ({status}) after {hits} failed syncs", names(&[*node])));
        assert!(!status.success(), "a node whose sync failed does not end well");
        ensure(hits > 0, || "a node ended without a failed sync".to_owned())?;
    }
    if leaves_majority(arena, &victims) {
        arena.progress(MEANWHILE, "while a minority is down");
    }
    let loses_power =
        arena.rng.chance(700) && victims.iter().all(|it| volume(arena, *it).is_ok_and(is_loop));
    if loses_power {
        cut_power(arena, &victims)?;
        let _unsynced_bytes = remount(arena, &victims)?;
        arena.note(&format!("lost what was not synced: {}", names(&victims)));
    }
    shims(arena, Sync::Honest);
    arena.cluster.revive_all();
    arena.note(&format!("up again: {}", names(&victims)));
    arena.well("after a failed sync");
    Ok(())
}

fn is_loop(volume: &Volume) -> bool {
    volume.kind() == Kind::Loop
}

fn cut_power(arena: &Arena, nodes: &[usize]) -> Outcome {
    let tools = arena.facilities.tools.as_ref().expect("the scenario needs it");
    let directory = |node: &usize| Ok(volume(arena, *node)?.directory().to_owned());
    let directories: Vec<PathBuf> = nodes.iter().map(directory).collect::<Result<_, Invalid>>()?;
    ensure(tools.cut_power(&directories), || "the power cannot be cut".to_owned())
}

/// Brings disks back whose power was cut, and whose nodes are gone. Returns how many bytes of logs are missing.
fn remount(arena: &Arena, nodes: &[usize]) -> Result<u64, Invalid> {
    let mut lost = 0;
    for node in nodes {
        let volume = volume(arena, *node)?;
        ensure(volume.is_dead(), || format!("the disk of node {node} has still power"))?;
        let before = volume.log_bytes();
        volume.unmount().and_then(|()| volume.mount()).map_err(Invalid)?;
        lost += before.saturating_sub(volume.log_bytes());
    }
    Ok(lost)
}

/// Disks lose their power: one, a minority, or all at the same instant.
pub(crate) fn power_cut(arena: &mut Arena) -> Outcome {
    let work = arena.rng.below(250);
    arena.progress(1 + work, "before the power is cut");
    let minority = (arena.cluster.stores().len() - 1) / 2;
    let (kind, victims) = match arena.draw(3) {
        0 => ("power cuts of one", arena.draw_stores(1)),
        1 => {
            let mut victims = arena.draw_stores(minority);
            if arena.rng.chance(300) {
                victims.insert(0, Cluster::PD);
            }
            ("power cuts of a minority", victims)
        }
        _ => ("power cuts of all", (0..arena.bases.len()).collect()),
    };
    arena.stretch_changes(&victims);
    lose_power(arena, kind, &victims)?;
    arena.end_stretch(&victims);
    if leaves_majority(arena, &victims) {
        let work = arena.rng.below(MEANWHILE);
        arena.progress(1 + work, "while a minority has no power");
    }
    let lost = regain_power(arena, &victims)?;
    arena.note(&format!("up again, without {lost} bytes of logs: {}", names(&victims)));
    arena.well("after a power cut");
    arena.read_back();
    Ok(())
}

/// Nodes and their disks lose their power.
pub(crate) fn lose_power(arena: &mut Arena, kind: &str, victims: &[usize]) -> Outcome {
    // A node that outlives its disk by a moment must not promise anything any more.
    let disk_first = arena.rng.chance(500);
    let order = if disk_first { "the disks first" } else { "the processes first" };
    arena.inject(kind, &format!("power cut, {order}: {}", names(victims)));
    if disk_first {
        cut_power(arena, victims)?;
        arena.cluster.kill_at_once(victims);
        return Ok(());
    }
    arena.cluster.kill_at_once(victims);
    cut_power(arena, victims)
}

/// Their power is back. Returns how many bytes of logs were lost.
pub(crate) fn regain_power(arena: &mut Arena, victims: &[usize]) -> Result<u64, Invalid> {
    let lost = remount(arena, victims)?;
    arena.lose(lost);
    arena.revive_all();
    Ok(lost)
}
