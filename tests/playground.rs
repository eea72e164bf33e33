//! Playgrounds in both forms: start, kill, revive, stop, and what becomes of data and processes.

mod common;

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use common::{LIVENESS, Playground, Process, Sandbox};
use serde_json::Value;

#[test]
fn nodes_in_one_process_are_killed_and_revived() {
    kill_and_revive(&[]);
}

#[test]
fn nodes_in_processes_are_killed_and_revived() {
    kill_and_revive(&["--processes"]);
}

fn kill_and_revive(args: &[&str]) {
    let sandbox = Sandbox::new();
    let playground = Playground::start(&sandbox, args);
    sandbox.ok(&["put", "k", "v"]);
    for node in ["store-1", "store-2", "pd-1", "store-3"] {
        let killed = sandbox.json(&["playground", "kill", node]);
        assert_eq!(killed["kill"]["node"], node);
        for region in killed["kill"]["regions"].as_array().expect("a list") {
            assert!(region["gap_seconds"].is_f64(), "{node}: {killed}");
        }
        let status = sandbox.json(&["playground", "status"]);
        let nodes = status["playground"]["nodes"].as_array().expect("a list");
        for found in nodes {
            let is_down = found["name"] == node;
            assert_eq!(found["state"], if is_down { "down" } else { "up" }, "{found}");
            assert_eq!(found["pid"].is_null(), is_down, "what is dead has no process: {found}");
        }
        if node != "pd-1" {
            // Never well; at once where the placement driver was not just started anew.
            let text = sandbox.fails(&["ctl", "status", "--check"], 7, "FLT-3001");
            assert!(text.contains("not up"), "{text}");
            common::eventually("a replica is missed", || {
                let text = sandbox.run(&["ctl", "status", "--check"]).stderr;
                text.contains(
                    "degraded: 1 of 3 stores not up; 2 of 2 regions under-replicated; cannot lose another store",
                )
            });
            let table = sandbox.ok(&["playground", "status"]);
            let line = table.lines().find(|line| line.contains(node)).expect("listed");
            assert!(line.ends_with(" -"), "{line}");
        }
        sandbox.fails(&["playground", "kill", node], 1, "FLT-1023");
        if node != "pd-1" {
            sandbox.ok(&["put", "k", node]);
        }
        let started = sandbox.json(&["playground", "start", node]);
        // A store is waited for until the cluster counts it as up; without that it might not at this moment.
        assert_eq!(started["start"]["seen_seconds"].is_f64(), node != "pd-1", "{started}");
        if node != "pd-1" {
            // Leaders may find out only now that the old process was gone, and a moment later that the new one is there.
            common::eventually("all stores are up", || {
                let stores = sandbox.json(&["ctl", "stores"]);
                let stores = stores["stores"].as_array().expect("a list").clone();
                stores.iter().all(|store| store["state"] == "up")
            });
        }
        sandbox.fails(&["playground", "start", node], 1, "FLT-1023");
        if node != "pd-1" {
            assert_eq!(sandbox.ok(&["get", "k"]), node);
        }
    }
    sandbox.fails(&["playground", "kill", "store-9"], 3, "FLT-1022");
    without_a_majority(&sandbox);
    playground.stop();
}

/// Two of three stores are gone: nothing is waited for, and nobody calls it well.
fn without_a_majority(sandbox: &Sandbox) {
    sandbox.ok(&["playground", "kill", "store-1"]);
    let args = ["playground", "kill", "store-2", "-o", "json", "--timeout", "1h"];
    let finished = sandbox.run(&args);
    assert_eq!(finished.code, 7, "{}", finished.stderr);
    let killed: Value = serde_json::from_str(&finished.stdout).expect("an object");
    let lost = killed["kill"]["without_majority"].as_array().expect("a list");
    assert_eq!(lost.len(), 2, "{killed}");
    assert!(finished.stderr.contains("FLT-3001"), "{}", finished.stderr);
    let text = sandbox.fails(&["ctl", "status", "--check"], 7, "FLT-3001");
    assert!(
        text.contains("unavailable: 2 of 3 stores not up; 2 of 2 regions leaderless"),
        "{text}"
    );
    let regions = sandbox.json(&["ctl", "regions"]);
    for region in regions["regions"].as_array().expect("a list") {
        assert_eq!((&region["state"], region["leader"].is_null()), (&"no majority".into(), true));
    }
    // The store that is left may have led, and reads from its lease until that ends.
    common::eventually("no store can read any more", || {
        sandbox.run(&["get", "k", "--timeout", "300ms"]).code == 4
    });
    // Whatever store the last attempt of a call met.
    for timeout in ["300ms", "500ms", "700ms", "900ms", "1100ms"] {
        let text = sandbox.fails(&["get", "k", "--timeout", timeout], 4, "FLT-2102");
        assert!(text.contains("majority of the stores"), "{text}");
    }
    sandbox.ok(&["playground", "start", "store-1"]);
    sandbox.ok(&["get", "k"]);
}

/// The processes of a playground, by the names of its nodes.
fn pids(sandbox: &Sandbox) -> BTreeMap<String, u64> {
    let status = sandbox.json(&["playground", "status"]);
    let nodes = status["playground"]["nodes"].as_array().expect("a list");
    let pid = |node: &Value| {
        let name = node["name"].as_str().expect("a name").to_owned();
        (name, node["pid"].as_u64().expect("a process"))
    };
    nodes.iter().map(pid).collect()
}

fn signal(pid: u64, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    assert!(sent.expect("kill runs").success(), "signal {name}");
}

#[test]
fn what_is_frozen_is_killed_at_the_end() {
    for is_asked in [true, false] {
        let sandbox = Sandbox::new();
        let args = ["playground", "--processes", "--stores", "2"];
        let mut playground = Process::spawn(&mut sandbox.command(&args));
        playground.line_with("Ctrl-C stops it");
        let pids = pids(&sandbox);
        for node in ["store-2", "pd-1"] {
            signal(pids[node], "STOP");
        }
        if is_asked {
            let text = sandbox.ok(&["playground", "stop", "--timeout", "30s"]);
            assert!(text.contains("killed") && text.contains("store-2, pd-1;"), "{text}");
        } else {
            playground.signal("INT");
        }
        let finished = playground.finish();
        assert_eq!(finished.code, 0, "{}", finished.stderr);
        let note = "killed, not having stopped within 4s: store-2, pd-1;";
        assert!(finished.stderr.contains(note), "{}", finished.stderr);
        assert!(pids.values().all(|pid| !is_running(*pid)), "{pids:?}");
        assert_eq!(temporary_directories(&sandbox), 0);
    }
}

#[test]
fn what_a_second_interrupt_leaves_behind_is_told() {
    let sandbox = Sandbox::new();
    let mut playground = Playground::start(&sandbox, &["--processes", "--stores", "1"]);
    let data = playground.data();
    let frozen = pids(&sandbox)["store-1"];
    signal(frozen, "STOP");
    // Two signals may come as one.
    let started = std::time::Instant::now();
    while !playground.process.has_ended() {
        assert!(started.elapsed() < LIVENESS, "it does not end");
        playground.process.signal("INT");
    }
    let finished = playground.process.finish();
    signal(frozen, "KILL");
    assert_eq!(finished.code, 130, "{}", finished.stderr);
    let remedy = format!("left behind: {0}. Remove it: rm -r {0}", data.display());
    assert!(finished.stderr.contains(&remedy), "{}", finished.stderr);
    assert!(data.exists());
}

#[test]
fn a_playground_is_found_by_its_placement_driver_or_its_process() {
    let sandbox = Sandbox::new();
    let neighbour = Sandbox::new();
    let note = |playground: &Playground| playground.note["pid"].as_u64().expect("a process");
    let first = Playground::start(&sandbox, &["--stores", "1"]);
    // A second one of the same user.
    let args = ["--stores", "1", "--host", &neighbour.host];
    let second = Playground::start(&sandbox, &args);
    for command in ["status", "stop"] {
        let text = sandbox.fails(&["playground", command], 2, "FLT-1021");
        assert!(text.contains(&sandbox.pd()) && text.contains(&neighbour.pd()), "{text}");
    }
    let text = sandbox.fails(&["playground", "status", "--pd", "127.0.0.1:1"], 3, "FLT-1020");
    assert!(text.contains(&sandbox.pd()), "the others are named: {text}");
    sandbox.fails(&["playground", "kill", "store-1", "--pid", "1"], 3, "FLT-1020");

    let pd = neighbour.pd();
    let status = sandbox.json(&["playground", "status", "--pd", &pd]);
    assert_eq!(status["playground"]["pid"], note(&second));
    let url = format!("http://{}", sandbox.pd());
    let status = sandbox.json(&["playground", "status", "--pd", &url]);
    assert_eq!(status["playground"]["pid"], note(&first));
    // The only store of it: no majority is left.
    let text = sandbox.fails(&["playground", "kill", "store-1", "--pd", &pd], 7, "FLT-3001");
    let revive = format!("try  flotilla --pd {pd} playground start store-1\n");
    assert!(text.contains(&revive), "it can be pasted: {text}");
    let words: Vec<&str> = revive.split_whitespace().skip(2).collect();
    sandbox.ok(&words);
    sandbox.run(&["playground", "kill", "store-1", "--pd", &pd]);
    sandbox.ok(&["playground", "start", "store-1", "--pd", &pd]);
    sandbox.ok(&["playground", "stop", "--pid", &note(&second).to_string(), "--pd", &url]);
    let status = sandbox.json(&["playground", "status"]);
    assert_eq!(status["playground"]["pid"], note(&first), "it is the only one now");
    drop(second);
    first.stop();
}

/// Its commands find it, whatever else runs.
#[test]
fn a_second_playground_shows_commands_that_name_it() {
    let (sandbox, neighbour) = (Sandbox::new(), Sandbox::new());
    let first = Playground::start(&sandbox, &["--stores", "1"]);
    let args = ["playground", "--stores", "1", "--host", &neighbour.host];
    let mut second = Process::spawn(&mut sandbox.command(&args));
    let pd = neighbour.pd();
    let line = second.line_with(" put hello world && ");
    assert_eq!(
        line.trim(),
        format!("flotilla --pd {pd} put hello world && flotilla --pd {pd} get hello")
    );
    let words: Vec<&str> = line.split_whitespace().skip(1).take(5).collect();
    sandbox.ok(&words);
    let follow = sandbox.run(&["put", "i", "j", "--pd", &pd]);
    assert_eq!(follow.code, 0, "{}", follow.stderr);
    let page = sandbox.run(&["scan", "--limit", "1", "--pd", &pd]);
    let more = format!("1 key, more follow: flotilla --pd {pd} scan i --limit 1\n");
    assert_eq!(page.stderr, more);
    second.signal("INT");
    assert_eq!(second.finish().code, 0);
    first.stop();
}

#[test]
fn a_store_that_waits_for_its_placement_driver_is_told() {
    let sandbox = Sandbox::new();
    let playground = Playground::start(&sandbox, &["--stores", "1"]);
    sandbox.run(&["playground", "kill", "store-1"]);
    sandbox.ok(&["playground", "kill", "pd-1"]);
    let start = ["playground", "start", "store-1", "--timeout", "500ms"];
    let text = sandbox.fails(&start, 9, "FLT-1024");
    for part in
        ["pd-1 is not up, and a store that starts waits", "try  flotilla playground start pd-1\n"]
    {
        assert!(text.contains(part), "{text}");
    }
    let state =
        || sandbox.json(&["playground", "status"])["playground"]["nodes"][1]["state"].clone();
    assert_eq!(state(), "changing");
    sandbox.ok(&["playground", "start", "pd-1"]);
    common::eventually("it goes on", || state() == "up");
    playground.stop();
}

#[test]
fn commands_to_a_playground_that_hangs_end_in_time() {
    let sandbox = Sandbox::new();
    let playground = Playground::start(&sandbox, &["--stores", "1"]);
    playground.process.signal("STOP");
    for command in [&["status"][..], &["start", "store-1"], &["kill", "pd-1"], &["stop"]] {
        let args = [&["playground"], command, &["--timeout", "200ms"]].concat();
        let text = sandbox.fails(&args, 9, "FLT-1024");
        assert!(text.contains("within 200ms") && text.contains("--timeout"), "{text}");
    }
    playground.process.signal("CONT");
}

#[test]
fn files_may_be_open_as_many_as_the_system_allows() {
    let sandbox = Sandbox::new();
    let data = |name: &str| sandbox.path().join(name).display().to_string();
    let (log, low) = (data("pd.log"), data("low.log"));
    let pd = |name: &str, log: &str| {
        ["pd", "--data", &data(name), "--listen", &sandbox.pd(), "--log-file", log].join(" ")
    };
    let playground = "playground --stores 1 -o json".to_owned();
    for (limits, line, log) in [
        ("ulimit -Sn 256", pd("one", &log), Some((&log, "may be open"))),
        (
            "ulimit -Sn 256 && ulimit -Hn 1024",
            pd("two", &low),
            Some((&low, "raise the hard limit")),
        ),
        ("ulimit -Sn 256", playground, None),
    ] {
        let mut command = Command::new("bash");
        let script = format!("{limits} && exec {} {line}", common::FLOTILLA);
        command.args(["-c", &script]);
        sandbox.settle(&mut command);
        let mut process = Process::spawn(&mut command);
        process.line_with(&sandbox.pd());
        let limits = fs::read_to_string(format!("/proc/{}/limits", process.id())).expect("limits");
        let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
        let figures: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(figures[3], figures[4], "soft and hard: {line}");
        process.signal("TERM");
        assert_eq!(process.wait().code(), Some(0), "{script}");
        if let Some((log, part)) = log {
            let text = fs::read_to_string(log).expect("a log");
            assert!(text.contains(part), "{text}");
        }
    }
}

#[test]
fn a_temporary_directory_goes_and_a_named_one_stays() {
    let sandbox = Sandbox::new();
    let playground = Playground::start(&sandbox, &["--stores", "1"]);
    let data = playground.data();
    assert!(data.exists());
    sandbox.ok(&["playground", "stop"]);
    drop(playground);
    assert!(!data.exists());

    let playground = Playground::start(&sandbox, &["--name", "kept"]);
    sandbox.ok(&["put", "k", "v"]);
    let stores = sandbox.json(&["ctl", "stores"]);
    for number in 1..=3 {
        // Stores of a new cluster get their numbers as ids.
        let store = &stores["stores"][number - 1];
        let address = format!("{}:{}", sandbox.host, 20159 + number);
        assert_eq!(
            (store["id"].as_u64(), store["address"].as_str()),
            (Some(number as u64), Some(address.as_str()))
        );
    }
    playground.stop();
    let playground = Playground::start(&sandbox, &["--name", "kept"]);
    assert_eq!(sandbox.ok(&["get", "k"]), "v");
    let data = playground.data();
    playground.stop();
    assert!(data.exists());
}

#[test]
fn everything_at_once_is_killed_and_nothing_is_lost() {
    let sandbox = Sandbox::new();
    let data = sandbox.path().join("data").display().to_string();
    let mut playground = Playground::start(&sandbox, &["--processes", "--data", &data]);
    sandbox.ok(&["put", "k", "v"]);
    let status = sandbox.json(&["playground", "status"]);
    let nodes = status["playground"]["nodes"].as_array().expect("a list").clone();
    playground.process.kill();
    // No node outlives its playground: its standard input ends with it.
    for node in nodes {
        let pid = node["pid"].as_u64().expect("a process of its own");
        let started = std::time::Instant::now();
        while is_running(pid) {
            assert!(started.elapsed() < LIVENESS, "{node} is still there");
            std::thread::yield_now();
        }
    }
    // What is left of the dead playground misleads nobody.
    sandbox.fails(&["playground", "status"], 3, "FLT-1020");
    let playground = Playground::start(&sandbox, &["--data", &data]);
    assert_eq!(sandbox.ok(&["get", "k"]), "v");
    playground.stop();
}

/// Whether a process is there and has not ended: its first thread may have, and the others still hold its ports.
fn is_running(pid: u64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next());
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    state.is_some_and(|state| (state != 'Z' && state != 'X') || threads > 1)
}

#[test]
fn a_command_runs_in_it_and_gives_the_exit_code() {
    let sandbox = Sandbox::new();
    let script =
        "test -n \"$FLOTILLA_PD\" && \"$0\" put k v && test \"$(\"$0\" get k)\" = v && exit 7";
    let exec = ["playground", "--stores", "1", "--exec", "sh", "-c", script, common::FLOTILLA];
    let finished = sandbox.run(&exec);
    assert_eq!(finished.code, 7, "{} {}", finished.stdout, finished.stderr);
}

#[test]
fn a_command_does_not_outlive_its_playground() {
    for is_signalled in [true, false] {
        let sandbox = Sandbox::new();
        let script = ["--exec", "sh", "-c", "echo command $$; exec sleep 1000"];
        let mut playground =
            Playground::start(&sandbox, &[&["--stores", "1"], &script[..]].concat());
        let line = playground.process.line_with("command ");
        let pid = line.trim().rsplit(' ').next().and_then(|pid| pid.parse().ok());
        let pid = pid.expect("the shell's number");
        assert!(is_running(pid));
        if is_signalled {
            playground.process.signal("TERM");
        } else {
            sandbox.ok(&["playground", "stop"]);
        }
        // The command holds the same standard output, whose end is waited for, too.
        assert_eq!(playground.process.wait().code(), Some(0));
        assert!(!is_running(pid));
    }
}

#[test]
fn a_closed_terminal_ends_it_in_order() {
    let sandbox = Sandbox::new();
    // However this test was started, hangups are not ignored from the beginning.
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP", common::FLOTILLA, "playground", "--stores", "1"]);
    sandbox.settle(&mut command);
    let mut process = Process::spawn(&mut command);
    process.line_with("Ctrl-C stops it");
    assert_eq!(temporary_directories(&sandbox), 1);
    // The system and the shell both tell of it.
    process.signal("HUP");
    process.signal("HUP");
    assert_eq!(process.wait().code(), Some(0));
    assert_eq!(temporary_directories(&sandbox), 0);
}

#[test]
fn an_interrupt_during_the_start_leaves_nothing_behind() {
    for form in [&[][..], &["--processes"]] {
        let sandbox = Sandbox::new();
        let args = [&["playground", "--stores", "9"], form].concat();
        let mut process = Process::spawn(&mut sandbox.command(&args));
        process.line_with("store-1 ");
        process.signal("INT");
        let finished = process.finish();
        assert_eq!(finished.code, 130, "{form:?} {} {}", finished.stdout, finished.stderr);
        assert_eq!(temporary_directories(&sandbox), 0, "{form:?} {}", finished.stderr);
        sandbox.fails(&["playground", "status"], 3, "FLT-1020");
    }
}

/// Data that is there until its playground ends.
fn temporary_directories(sandbox: &Sandbox) -> usize {
    fs::read_dir(sandbox.path().join("tmp")).expect("a directory").count()
}

#[test]
fn more_stores_than_at_first_do_not_make_more_replicas() {
    let sandbox = Sandbox::new();
    Playground::start(&sandbox, &["--name", "grown", "--stores", "1"]).stop();
    // As many as there are, where nothing is said.
    let playground = Playground::start(&sandbox, &["--name", "grown"]);
    assert_eq!(playground.note["stores"].as_array().expect("a list").len(), 1);
    playground.stop();
    let args = ["playground", "--name", "grown", "--stores", "3"];
    let mut process = Process::spawn(&mut sandbox.command(&args));
    process.line_with("1 voter each; read: all, written: 1");
    process.line_with("every key is stored once, no store may fail");
    process.line_with("New to this data, and without regions: store-2, store-3");
    process.signal("INT");
    let finished = process.finish();
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    let screen = finished.stdout;
    assert!(screen.contains("store-3") && !screen.contains("playground kill"), "{screen}");
    let text = sandbox.fails(&["playground", "--name", "grown", "--stores", "2"], 6, "FLT-1013");
    assert!(text.contains("holds 3 stores, and 2 were asked for"), "{text}");
    assert!(text.contains("--stores 3, or more; without --stores it is"), "{text}");
}

/// A store that was removed for good is left out by the next start, until its directory is deleted.
#[test]
fn a_store_that_was_removed_is_left_out() {
    for form in [&[][..], &["--processes"]] {
        let sandbox = Sandbox::new();
        let named = [&["--name", "smaller"], form].concat();
        let playground = Playground::start(&sandbox, &[&named[..], &["--stores", "4"]].concat());
        sandbox.ok(&["put", "k", "v"]);
        sandbox.run(&["playground", "kill", "store-4"]);
        let id = store_id(&sandbox, "store-4");
        let gone = id.to_string();
        common::eventually("it is removed", || {
            sandbox.run(&["ctl", "store", "remove", &gone, "--yes"]).code == 0
        });
        let state = || {
            let stores = sandbox.json(&["ctl", "stores"]);
            let stores = stores["stores"].as_array().expect("a list").clone();
            stores.into_iter().find(|store| store["id"] == id).expect("it is known")
        };
        common::eventually("a tombstone", || state()["state"] == "tombstone");
        let again = sandbox.fails(&["ctl", "store", "remove", &gone], 1, "FLT-2106");
        assert!(again.contains("was removed for good already"), "{again}");
        // It is no part of what there is any more.
        sandbox.ok(&["ctl", "status", "--check"]);
        let listed = sandbox.run(&["ctl", "stores"]);
        assert!(!listed.stdout.contains("tombstone"), "{}", listed.stdout);
        assert!(listed.stderr.contains("1 removed store not shown"), "{}", listed.stderr);
        assert!(sandbox.ok(&["ctl", "stores", "--all"]).contains("tombstone"));
        let text = sandbox.fails(&["playground", "start", "store-4"], 6, "FLT-1014");
        let remove = format!("rm -r {}\n", playground.data().join("store-4").display());
        assert!(
            text.contains(&remove) && text.contains("  flotilla playground start store-4"),
            "{text}"
        );
        playground.stop();

        let playground = Playground::start(&sandbox, &named);
        assert_eq!(sandbox.ok(&["get", "k"]), "v");
        let status = sandbox.json(&["playground", "status"]);
        let node = &status["playground"]["nodes"][4];
        assert_eq!((&node["name"], &node["state"]), (&"store-4".into(), &"removed".into()));
        common::eventually("well", || sandbox.run(&["ctl", "status", "--check"]).code == 0);
        // Whoever wants another one in its place says so with the directory.
        fs::remove_dir_all(playground.data().join("store-4")).expect("it is nobody's");
        let started = sandbox.run(&["playground", "start", "store-4"]);
        assert_eq!(started.code, 0, "{}", started.stderr);
        assert!(store_id(&sandbox, "store-4") != id, "it is a new store");
        assert!(state()["node"].is_null(), "its name is that of the new one");
        playground.process.signal("TERM");
        let finished = playground.process.finish();
        let told = "store-4   was removed from the cluster and is not started";
        assert_eq!(finished.stderr.matches(told).count(), 1, "{}", finished.stderr);
        assert_eq!(finished.code, 0, "{}", finished.stderr);
    }
}

/// The size that the regions of each store are split at, and how many keys they may have.
fn split_limits(playground: &Playground) -> Vec<(Value, Value)> {
    let stores = playground.note["stores"].as_array().expect("a list");
    let limits = |store: &Value| {
        let status = store["status"].as_str().expect("an address");
        let config = common::http_json(status, "/config");
        (config["region"]["split-size"].clone(), config["region"]["split-keys"].clone())
    };
    stores.iter().map(limits).collect()
}

#[test]
fn regions_are_as_large_as_was_said_once() {
    for form in [&[][..], &["--processes"]] {
        let sandbox = Sandbox::new();
        let start = |more: &[&str]| {
            let args = [&["--name", "small", "--stores", "2"], form, more].concat();
            let playground = Playground::start(&sandbox, &args);
            (split_limits(&playground), playground)
        };
        let limits = |size: &str, keys: u64| vec![(size.into(), keys.into()); 2];
        let (usual, playground) = start(&[]);
        assert_eq!(usual, limits("256MiB", 2_560_000), "{form:?}");
        let memory = playground.data().join("playground.json");
        playground.stop();
        assert!(!memory.exists(), "nothing was said");
        let (said, playground) = start(&["--region-size", "1MiB"]);
        assert_eq!(said, limits("1MiB", 10_000), "{form:?}");
        playground.stop();
        let (remembered, playground) = start(&[]);
        assert_eq!(remembered, limits("1MiB", 10_000), "{form:?}");
        playground.stop();
        fs::write(&memory, "{}").expect("spoilt");
        let text = sandbox.fails(&["playground", "--name", "small"], 8, "FLT-1006");
        assert!(text.contains("playground.json makes no sense; nothing was started"), "{text}");
    }
    let sandbox = Sandbox::new();
    for (size, part) in [("4", "at least 1MiB"), ("1TiB", "at most 256GiB"), ("big", "is no size")]
    {
        for role in ["playground", "store"] {
            let text = sandbox.fails(&[role, "--region-size", size], 2, "FLT-2108");
            assert!(text.contains(part) && text.contains("e.g. 64MiB"), "{text}");
        }
    }
}

/// Beyond the size that was said, and not before.
#[test]
fn regions_of_a_playground_are_split_at_the_size_that_was_said() {
    let sandbox = Sandbox::new();
    let playground = Playground::start(&sandbox, &["--stores", "1", "--region-size", "1MiB"]);
    let load = |prefix: &str, count: usize| {
        let value = "x".repeat(10_000);
        let line = |number| format!("{{\"key\":\"{prefix}{number:05}\",\"value\":\"{value}\"}}\n");
        let records: String = (0..count).map(line).collect();
        assert_eq!(sandbox.run_with_input(&["kv", "load"], records.as_bytes()).code, 0);
    };
    let regions = || sandbox.json(&["ctl", "regions"])["total"].as_u64().expect("a number");
    load("a", 90);
    assert_eq!(regions(), 2, "900 kB are no reason");
    load("b", 400);
    common::eventually("4.9 MB are", || regions() > 4);
    playground.stop();
}

/// The labels of all stores as the placement driver has them, by address: `disk=ssd zone=z1`.
fn labels(sandbox: &Sandbox) -> BTreeMap<String, String> {
    let stores = common::http_json(&sandbox.pd(), "/pd/api/v1/stores");
    let stores = stores["stores"].as_array().expect("a list");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let of = |store: &Value| {
        let labels = store["store"]["labels"].as_array().expect("a list").iter();
        let pair = |label: &Value| format!("{}={}", text(&label["key"]), text(&label["value"]));
        let mut labels: Vec<String> = labels.map(pair).collect();
        labels.sort();
        (text(&store["store"]["address"]), labels.join(" "))
    };
    stores.iter().map(of).collect()
}

#[test]
fn stores_are_added_to_a_playground_that_runs() {
    for form in [&[][..], &["--processes"]] {
        let sandbox = Sandbox::new();
        let named = [&["--name", "growing"], form].concat();
        let args = [&named[..], &["--stores", "1", "--zones", "2"]].concat();
        let playground = Playground::start(&sandbox, &args);
        let address = |number: u16| format!("{}:{}", sandbox.host, 20159 + number);
        let text = sandbox.ok(&["playground", "add-store"]);
        let id = store_id(&sandbox, "store-2");
        assert!(text.starts_with("store-2 up in "), "{text}");
        assert!(text.contains("the placement driver sees it after "), "{text}");
        let place = format!("  id {id}   {}   status {}:20181\n", address(2), sandbox.host);
        assert!(text.ends_with(&place), "{text}");
        let args = ["playground", "add-store", "--count", "2", "--label", "zone=far"];
        let added = sandbox.json(&[&args[..], &["--label", "disk=ssd"]].concat());
        let added = added["added"].as_array().expect("a list").clone();
        assert_eq!(added.len(), 2);
        for (number, store) in (3..).zip(&added) {
            assert_eq!(store["address"], address(number), "{store}");
            assert!(store["seen_seconds"].is_f64() && store["labels"]["disk"] == "ssd", "{store}");
        }
        // Everybody knows them.
        let stores = sandbox.json(&["ctl", "stores"]);
        let stores = stores["stores"].as_array().expect("a list");
        for (number, store) in (1..).zip(stores) {
            let name = format!("store-{number}");
            assert_eq!((&store["state"], &store["node"]), (&"up".into(), &name.as_str().into()));
            assert_eq!(store["id"].as_u64(), Some(store_id(&sandbox, &name)));
        }
        assert_eq!(stores.len(), 4);
        sandbox.ok(&["playground", "kill", "store-4"]);
        sandbox.ok(&["playground", "start", "store-4"]);
        let known = |zones: [&str; 4]| -> BTreeMap<String, String> {
            (1..).map(address).zip(zones.map(str::to_owned)).collect()
        };
        let far = "disk=ssd zone=far";
        assert_eq!(labels(&sandbox), known(["zone=z1", "zone=z2", far, far]), "{form:?}");
        playground.stop();

        let playground = Playground::start(&sandbox, &named);
        assert_eq!(playground.note["stores"].as_array().map(Vec::len), Some(4));
        assert_eq!(store_id(&sandbox, "store-2"), id, "it is the same store");
        assert_eq!(labels(&sandbox), known(["zone=z1", "zone=z2", far, far]), "{form:?}");
        playground.stop();
        let playground = Playground::start(&sandbox, &[&named[..], &["--zones", "1"]].concat());
        assert_eq!(labels(&sandbox), known(["zone=z1", "zone=z1", far, far]), "{form:?}");
        playground.stop();
    }
}

#[test]
fn a_store_that_cannot_be_added_leaves_nothing_behind() {
    let sandbox = Sandbox::new();
    sandbox.fails(&["playground", "add-store"], 3, "FLT-1020");
    let playground = Playground::start(&sandbox, &["--stores", "1"]);
    let twice = ["playground", "add-store", "--label", "a=1", "--label", "a=2"];
    let text = sandbox.fails(&twice, 2, "FLT-2108");
    assert!(text.contains("label \"a\" is given twice"), "{text}");
    let text = sandbox.fails(&["playground", "add-store", "--label", "zone=ü"], 2, "FLT-2108");
    assert!(text.contains("'ü' is not allowed in the value of a label"), "{text}");
    let nodes = || sandbox.json(&["playground", "status"])["playground"]["nodes"].clone();
    let before = nodes();
    let taken = std::net::TcpListener::bind(format!("{}:20181", sandbox.host)).expect("it is free");
    let text = sandbox.fails(&["playground", "add-store"], 1, "FLT-1004");
    assert!(text.contains("port 20181 is in use"), "{text}");
    assert_eq!(nodes(), before);
    assert!(!playground.data().join("store-2").exists());
    drop(taken);
    assert!(sandbox.ok(&["playground", "add-store"]).starts_with("store-2 up"));
    let data = playground.data();
    playground.stop();
    assert!(!data.exists(), "what was added goes with the rest");
}

/// The id that a node of the playground has in its cluster.
fn store_id(sandbox: &Sandbox, node: &str) -> u64 {
    let status = sandbox.json(&["playground", "status"]);
    let nodes = status["playground"]["nodes"].as_array().expect("a list");
    let found = nodes.iter().find(|found| found["name"] == node).expect("it is known");
    found["store_id"].as_u64().expect("a store that was up")
}

#[test]
fn the_first_screen_says_where_everything_is() {
    let sandbox = Sandbox::new();
    let file = sandbox.path().join("ready.json");
    let file_text = file.display().to_string();
    let mut command = sandbox.command(&["playground", "--ready-file", &file_text]);
    let mut process = Process::spawn(&mut command);
    for part in ["pd-1", "store-3", "regions ready", "every key is stored 3 times", "Data", "Logs"]
    {
        process.line_with(part);
    }
    process.line_with("flotilla put hello world && flotilla get hello");
    process.line_with("Ctrl-C stops it");
    let note: Value =
        serde_json::from_str(&fs::read_to_string(&file).expect("the file")).expect("an object");
    assert_eq!(note["playground"]["pd"][0], sandbox.pd());
    assert!(Path::new(note["playground"]["log"].as_str().expect("a path")).exists());
    process.signal("INT");
    let finished = process.finish();
    assert_eq!(finished.code, 0, "{}", finished.stderr);
    assert!(finished.stderr.contains("deleted "), "{}", finished.stderr);
}
