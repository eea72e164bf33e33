//! How well a cluster is: what the placement driver judges of stores and regions, what leaders report of their peers,
//! which nodes of a playground are known to be down, and which stores do not answer when they are asked.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use flotilla_base::{Key, Peer, PeerRole, RegionId, StoreId};
use flotilla_client::{
    Admin, ClusterHealth, Contact, Error, KeyRange, RegionInfo, StoreInfo, StoreState,
};

use crate::text;

/// A store reports every ten seconds. Where the placement driver does not judge, one that is silent for longer than
/// this is not up.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// How long a store may take to answer the question whether it is there. A store that is frozen keeps its connections,
/// so that nobody else notices for a while.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// What stands behind a store that is not heard of yet, as the end of a sentence.
pub(crate) const WHY_UNHEARD: &str =
    "the placement driver has just been started, and waits for its stores";

/// A store with what the regions say of it.
#[derive(Debug)]
pub(crate) struct StoreView {
    pub info: StoreInfo,
    pub state: &'static str,
    pub leaders: usize,
    pub regions: usize,
    /// Time since its last report; `None` before the first.
    pub silent_for: Option<Duration>,
    /// Whether its peers count.
    pub is_alive: bool,
}

/// How a region is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RegionState {
    /// It has a leader, and as many voters as it is to have; all of them answer.
    Whole,
    /// It serves, with fewer voters than it is to have, or one that does not answer.
    UnderReplicated,
    /// It has enough replicas, and no leader at the moment.
    Leaderless,
    /// Too few replicas answer for it to have a leader.
    NoMajority,
}

impl RegionState {
    /// Whether its keys can be read and written.
    pub(crate) const fn serves(self) -> bool {
        matches!(self, Self::Whole | Self::UnderReplicated)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Whole => "ok",
            Self::UnderReplicated => "under-replicated",
            Self::Leaderless => "leaderless",
            Self::NoMajority => "no majority",
        }
    }
}

/// A region with its state.
#[derive(Debug)]
pub(crate) struct RegionView {
    pub info: RegionInfo,
    pub state: RegionState,
    voters: Voters,
}

/// The voters of a region; behind a joint change that is under way, where there is one. Learners do not count.
#[derive(Clone, Copy, Debug)]
struct Voters {
    /// How many it is to have, or has where that is more.
    wanted: usize,
    /// How many answer.
    living: usize,
    /// How many of them may fail before it loses its majority, in either half of a joint change; negative where it has.
    spare: i64,
}

/// Whether the peer votes, or is about to. One that is being demoted stops.
pub(crate) const fn votes_on(peer: &Peer) -> bool {
    matches!(peer.role, PeerRole::Voter | PeerRole::IncomingVoter)
}

impl Voters {
    fn of(peers: &[Peer], wanted: u32, is_living: impl Fn(&Peer) -> bool) -> Self {
        let half = |other_half: PeerRole| {
            let votes = |peer: &&Peer| peer.role == PeerRole::Voter || peer.role == other_half;
            let voters = peers.iter().filter(votes);
            (voters.clone().count(), voters.filter(|peer| is_living(peer)).count())
        };
        let (after, before) = (half(PeerRole::IncomingVoter), half(PeerRole::DemotingVoter));
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let spare = |(voters, living)| count(living) - (count(voters) / 2 + 1);
        let (voters, living) = after;
        let wanted = voters.max(usize::try_from(wanted).unwrap_or(usize::MAX));
        Self { wanted, living, spare: spare(after).min(spare(before)) }
    }
}

impl RegionView {
    /// Who leads it; `None` where it is not served, whoever led it last.
    pub(crate) fn leader(&self) -> Option<Peer> {
        self.info.leader.filter(|_| self.state.serves())
    }

    /// Whether it can decide, with a leader or without.
    pub(crate) const fn has_majority(&self) -> bool {
        self.voters.spare >= 0
    }

    /// Whether it lacks voters, or one does not answer.
    const fn is_under_replicated(&self) -> bool {
        self.voters.living < self.voters.wanted
    }

    /// What it lacks, in a few words.
    fn lack(&self) -> String {
        let Voters { wanted, living, .. } = self.voters;
        let leader = if self.state == RegionState::Leaderless { ", and no leader" } else { "" };
        let id = self.info.region.id;
        format!("region {id} has {living} of {wanted} voters that answer{leader}")
    }
}

/// A cluster at one moment.
#[derive(Debug)]
pub(crate) struct ClusterView {
    pub stores: Vec<StoreView>,
    pub regions: Vec<RegionView>,
    /// Voters that each region is to have; zero where the placement driver does not tell.
    pub replicas_wanted: u32,
    /// Whether there are no regions yet: they are made when as many stores have registered as each is to have voters.
    is_starting_up: bool,
}

/// What is known of the cluster, before it is judged.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub stores: Vec<StoreInfo>,
    pub regions: Vec<RegionInfo>,
    /// What the placement driver says; `None` where it does not judge.
    pub health: Option<ClusterHealth>,
    /// Addresses of stores that are known to be down.
    pub killed: &'a [String],
    /// Stores that do not answer.
    pub silent: BTreeSet<StoreId>,
    /// Since 1970.
    pub now: Duration,
}

impl<'a> Facts<'a> {
    /// What is known of stores, with no region.
    pub(crate) async fn of_stores(admin: &Admin, killed: &'a [String]) -> Result<Self, Error> {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // The public protocol lists no stores of a cluster that has no regions yet.
        if !admin.is_bootstrapped().await? {
            let health = admin.health().await?;
            if let Some(stores) = health.as_ref().and_then(|health| health.start_up.clone()) {
                let (regions, silent, now) = (Vec::new(), BTreeSet::new(), now());
                return Ok(Self { stores, regions, health, killed, silent, now });
            }
        }
        let stores = admin.stores().await?;
        let in_use: Vec<StoreInfo> =
            stores.iter().filter(|store| is_in_use(store)).cloned().collect();
        let (health, silent) =
            tokio::join!(admin.health(), admin.silent_stores(&in_use, ANSWER_TIMEOUT));
        Ok(Self { stores, regions: Vec::new(), health: health?, killed, silent, now: now() })
    }

    /// Whether there are no regions yet.
    pub(crate) fn is_starting_up(&self) -> bool {
        self.health.as_ref().is_some_and(|health| health.start_up.is_some())
    }
}

/// Judges regions by what is known of the stores.
#[derive(Debug)]
pub(crate) struct Judge<'a> {
    facts: &'a Facts<'a>,
    living: BTreeSet<StoreId>,
}

impl<'a> Judge<'a> {
    pub(crate) fn new(facts: &'a Facts<'a>) -> Self {
        let living = facts.stores.iter().filter(|store| state_of(store, facts).1);
        Self { facts, living: living.map(|store| store.id).collect() }
    }

    /// The region with its state.
    pub(crate) fn region(&self, info: &RegionInfo) -> RegionView {
        judge_region(info, self.facts, |store| self.living.contains(&store))
    }
}

impl ClusterView {
    /// Asks for the cluster as it is now. `killed` are addresses of stores that are known to be down.
    pub(crate) async fn look(admin: &Admin, killed: &[String]) -> Result<Self, Error> {
        let mut facts = Facts::of_stores(admin, killed).await?;
        if !facts.is_starting_up() {
            facts.regions = admin.regions(KeyRange::all(), usize::MAX).await?;
        }
        Ok(Self::of(facts))
    }

    pub(crate) fn of(facts: Facts<'_>) -> Self {
        let states: Vec<(&'static str, bool)> =
            facts.stores.iter().map(|store| state_of(store, &facts)).collect();
        let judge = Judge::new(&facts);
        let missed = missed_stores(&facts.regions, |store| judge.living.contains(&store));
        let regions: Vec<RegionView> =
            facts.regions.iter().map(|info| judge.region(info)).collect();
        let replicas_wanted = facts.health.as_ref().map_or(0, |health| health.max_replicas);
        let is_starting_up = facts.is_starting_up();
        let stores = facts.stores.into_iter().zip(states).map(|(info, (state, is_alive))| {
            let is_missed = state == "up" && missed.contains(&info.id);
            let state = if is_missed { "unreachable" } else { state };
            store_view(info, state, is_alive && !is_missed, &regions, facts.now)
        });
        let stores = stores.collect();
        Self { stores, regions, replicas_wanted, is_starting_up }
    }

    /// What a cluster waits for that has no regions yet; `None` where it has.
    pub(crate) fn waits_for(&self) -> Option<String> {
        let there = self.stores.len() as u64;
        let missing = u64::from(self.replicas_wanted).saturating_sub(there);
        self.is_starting_up.then(|| match missing {
            0 => "all stores have registered, and the first regions are being made".to_owned(),
            missing => {
                let have = if there == 1 { "has" } else { "have" };
                let wanted = text::counted(there + missing, "store");
                format!("{there} of {wanted} {have} registered, start {missing} more")
            }
        })
    }

    /// The region with this id.
    pub(crate) fn region(&self, id: RegionId) -> Option<&RegionView> {
        self.regions.iter().find(|region| region.info.region.id == id)
    }

    /// The store with this id.
    pub(crate) fn store(&self, id: StoreId) -> Option<&StoreView> {
        self.stores.iter().find(|store| store.info.id == id)
    }

    /// Stores that are up and have no voter of the region.
    pub(crate) fn free_stores(&self, region: &RegionView) -> Vec<StoreId> {
        let has_voter = |store: &StoreView| {
            region.info.region.peer_on(store.info.id).is_some_and(|peer| votes_on(&peer))
        };
        let free = self.stores.iter().filter(|store| store.state == "up" && !has_voter(store));
        free.map(|store| store.info.id).collect()
    }

    /// Whether the regions that are known own all keys. They do not while leaders have still to report to a
    /// placement driver that was started anew.
    pub(crate) fn covers_everything(&self) -> bool {
        let mut border = Some(Key::new());
        for region in &self.regions {
            let range = &region.info.region.range;
            if border.as_ref() != Some(&range.start) {
                return false;
            }
            border = (!range.end.is_empty()).then(|| range.end.clone());
        }
        border.is_none()
    }
}

/// What is known of a store, without what region leaders say, and whether its peers count. One that leaves is called so,
/// dead or alive.
fn state_of(store: &StoreInfo, facts: &Facts<'_>) -> (&'static str, bool) {
    let is_killed = facts.killed.contains(&store.address);
    let contact = match &facts.health {
        Some(health) => health.stores.get(&store.id).copied().unwrap_or(Contact::Unheard),
        None => match silence(store, facts.now) {
            Some(age) if age <= SILENCE_MAX => Contact::Up,
            _ => Contact::Disconnected,
        },
    };
    let is_alive = contact == Contact::Up && !is_killed && !facts.silent.contains(&store.id);
    let word = match (store.state, contact) {
        (StoreState::Tombstone, _) => return ("tombstone", false),
        (StoreState::Offline, _) => "offline",
        _ if is_killed => "killed",
        (_, Contact::Up) if !is_alive => "silent",
        (_, Contact::Up) => "up",
        (_, Contact::Unheard) => "unheard",
        (_, Contact::Disconnected) => "disconnected",
        (_, Contact::Down) => "down",
    };
    (word, is_alive)
}

/// Whether it has not left for ever.
fn is_in_use(store: &StoreInfo) -> bool {
    store.state != StoreState::Tombstone
}

/// Time since the last report of a store.
fn silence(store: &StoreInfo, now: Duration) -> Option<Duration> {
    let beat = u64::try_from(store.last_heartbeat_unix_nanos).ok().filter(|nanos| *nanos > 0);
    beat.map(|nanos| now.saturating_sub(Duration::from_nanos(nanos)))
}

/// Peers that do not answer their leader. What a leader said that is gone itself does not count any more.
fn down_peers(info: &RegionInfo, is_alive: impl Fn(StoreId) -> bool) -> &[Peer] {
    match info.leader {
        Some(leader) if is_alive(leader.store) => &info.down,
        _ => &[],
    }
}

fn missed_stores(
    regions: &[RegionInfo],
    is_alive: impl Fn(StoreId) -> bool + Copy,
) -> Vec<StoreId> {
    let down = regions.iter().flat_map(|info| down_peers(info, is_alive));
    down.map(|peer| peer.store).collect()
}

fn judge_region(
    info: &RegionInfo,
    facts: &Facts<'_>,
    is_alive: impl Fn(StoreId) -> bool + Copy,
) -> RegionView {
    let down = down_peers(info, is_alive);
    let lives = |peer: &Peer| is_alive(peer.store) && !down.contains(peer);
    let wanted = facts.health.as_ref().map_or(0, |health| health.max_replicas);
    let voters = Voters::of(&info.region.peers, wanted, lives);
    let is_led = info.leader.is_some_and(|leader| is_alive(leader.store));
    let silent = facts.health.as_ref().map(|health| &health.silent_regions);
    let is_silent = silent.is_some_and(|silent| silent.contains(&info.region.id));
    let state = if voters.spare < 0 {
        RegionState::NoMajority
    } else if !is_led || is_silent {
        RegionState::Leaderless
    } else if voters.living < voters.wanted {
        RegionState::UnderReplicated
    } else {
        RegionState::Whole
    };
    RegionView { info: info.clone(), state, voters }
}

fn store_view(
    info: StoreInfo,
    state: &'static str,
    is_alive: bool,
    regions: &[RegionView],
    now: Duration,
) -> StoreView {
    let leads =
        |region: &&RegionView| region.leader().is_some_and(|leader| leader.store == info.id);
    let holds =
        |region: &&RegionView| region.info.region.peers.iter().any(|peer| peer.store == info.id);
    let (leaders, held) =
        (regions.iter().filter(leads).count(), regions.iter().filter(holds).count());
    let silent_for = silence(&info, now);
    StoreView { state, leaders, regions: held, silent_for, is_alive, info }
}

/// Stores that leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leaving {
    pub stores: usize,
    /// Replicas that they still have.
    pub replicas: usize,
}

impl Leaving {
    fn of(stores: &[StoreView], is_alive: bool) -> Self {
        let leave = |store: &&StoreView| store.state == "offline" && store.is_alive == is_alive;
        let leaving = stores.iter().filter(leave);
        let replicas = leaving.clone().map(|store| store.regions).sum();
        Self { stores: leaving.count(), replicas }
    }

    /// What is done to them, and how far that is.
    pub(crate) fn left(self, what: &str) -> String {
        format!("{what}, {} left", text::counted(self.replicas as u64, "replica"))
    }
}

/// Stores that are to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Departures {
    /// Those that are up and being emptied.
    pub draining: Leaving,
    /// Those that are gone, and what they held is made anew elsewhere.
    pub removed: Leaving,
}

/// The cluster in numbers.
#[derive(Debug)]
pub(crate) struct Health {
    pub stores: usize,
    pub stores_up: usize,
    /// Those that should be up and are not: they neither leave, nor may they be on their way.
    pub down: usize,
    /// Those that are to leave.
    pub leaving: Departures,
    /// Those that a placement driver that has just been started waits for.
    pub unheard: usize,
    pub regions: usize,
    /// Regions that serve nothing.
    pub leaderless: usize,
    /// Regions that have fewer voters than they are to have, or one that does not answer.
    pub under_replicated: usize,
    /// Stores that may still fail before some region loses its majority; negative where one has.
    pub may_fail: i64,
    /// Whether all keys have a region that is known.
    is_complete: bool,
    /// What a cluster without regions waits for.
    pub waits_for: Option<String>,
    /// The region that is worst off, and what it lacks.
    worst: Option<(RegionId, String)>,
}

impl Health {
    pub(crate) fn of(view: &ClusterView) -> Self {
        let ClusterView { stores, regions, .. } = view;
        let in_use = stores.iter().filter(|store| store.state != "tombstone");
        let is_down = |store: &&StoreView| {
            !store.is_alive && !["tombstone", "offline", "unheard"].contains(&store.state)
        };
        let count = |wanted: &dyn Fn(&RegionView) -> bool| {
            regions.iter().filter(|region| wanted(region)).count()
        };
        Self {
            stores: in_use.count(),
            stores_up: stores.iter().filter(|store| store.is_alive).count(),
            down: stores.iter().filter(is_down).count(),
            leaving: Departures {
                draining: Leaving::of(stores, true),
                removed: Leaving::of(stores, false),
            },
            unheard: stores.iter().filter(|store| store.state == "unheard").count(),
            regions: regions.len(),
            leaderless: count(&|region| !region.state.serves()),
            under_replicated: count(&RegionView::is_under_replicated),
            may_fail: regions.iter().map(|region| region.voters.spare).min().unwrap_or(-1),
            is_complete: view.covers_everything(),
            waits_for: view.waits_for(),
            worst: worst(regions),
        }
    }

    pub(crate) fn is_well(&self) -> bool {
        self.word() == "healthy"
    }

    /// The state in one word.
    pub(crate) fn word(&self) -> &'static str {
        if self.leaderless > 0 || !self.is_complete {
            "unavailable"
        } else if self.stores_up < self.stores || self.under_replicated > 0 {
            "degraded"
        } else {
            "healthy"
        }
    }

    /// A region that is not whole, the worst there is, in a few words.
    pub(crate) fn example(&self) -> Option<&str> {
        self.worst.as_ref().map(|(_id, lack)| lack.as_str())
    }

    /// The region of [`Self::example`].
    pub(crate) fn worst_region(&self) -> Option<RegionId> {
        self.worst.as_ref().map(|(id, _lack)| *id)
    }

    pub(crate) fn may_fail_text(&self) -> String {
        if let Some(waits_for) = &self.waits_for {
            return waits_for.clone();
        }
        match self.may_fail {
            _ if !self.is_complete => "not all regions have reported yet".to_owned(),
            ..0 => "some keys cannot be read or written".to_owned(),
            0 => "cannot lose another store".to_owned(),
            more => format!("can lose {}", text::counted(more.unsigned_abs(), "store")),
        }
    }

    /// What is not well, in one line.
    pub(crate) fn complaint(&self) -> Option<String> {
        if self.is_well() {
            return None;
        }
        let mut parts = Vec::new();
        let (draining, removed) =
            (self.leaving.draining.left("draining"), self.leaving.removed.left("being removed"));
        for (count, what) in [
            (self.down, "not up"),
            (self.unheard, "not heard of yet"),
            (self.leaving.draining.stores, draining.as_str()),
            (self.leaving.removed.stores, removed.as_str()),
        ] {
            if count > 0 {
                let stores = text::counted(self.stores as u64, "store");
                parts.push(format!("{count} of {stores} {what}"));
            }
        }
        for (count, what) in
            [(self.leaderless, "leaderless"), (self.under_replicated, "under-replicated")]
        {
            if count > 0 {
                let regions = text::counted(self.regions as u64, "region");
                parts.push(format!("{count} of {regions} {what}"));
            }
        }
        parts.push(self.may_fail_text());
        Some(format!("{}: {}", self.word(), parts.join("; ")))
    }
}

fn worst(regions: &[RegionView]) -> Option<(RegionId, String)> {
    let ill = regions.iter().filter(|region| region.state != RegionState::Whole);
    let worst = ill.min_by_key(|region| (region.state.serves(), region.voters.spare))?;
    Some((worst.info.region.id, worst.lack()))
}

#[cfg(test)]
pub(crate) mod tests {
    use flotilla_base::{Epoch, PeerId, Region};
    use flotilla_client::admin::StoreReport;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_000_000);

    fn peer(store: u64) -> Peer {
        Peer::voter(PeerId(store + 10), StoreId(store))
    }

    /// A store that nobody has heard of.
    pub(crate) fn store(id: u64, address: &str, state: StoreState) -> StoreInfo {
        StoreInfo {
            id: StoreId(id),
            address: address.to_owned(),
            status_address: String::new(),
            state,
            version: String::new(),
            last_heartbeat_unix_nanos: 0,
            report: StoreReport::default(),
        }
    }

    /// Three stores that reported `ago` seconds before, and one region that store 1 leads.
    pub(crate) fn facts(ago: [u64; 3]) -> Facts<'static> {
        let store = |(id, ago): (u64, u64)| {
            let beat = NOW.saturating_sub(Duration::from_secs(ago));
            let last_heartbeat_unix_nanos = i64::try_from(beat.as_nanos()).expect("fits");
            let known = store(id, &format!("store-{id}"), StoreState::Up);
            StoreInfo { last_heartbeat_unix_nanos, ..known }
        };
        let peers = (1..=3).map(peer).collect();
        let (id, range) = (RegionId(2), KeyRange::all());
        let region = Region { id, range, epoch: Epoch::FIRST, peers };
        let leader = Some(peer(1));
        Facts {
            stores: (1..).zip(ago).map(store).collect(),
            regions: vec![RegionInfo { region, leader, down: Vec::new(), pending: Vec::new() }],
            health: None,
            killed: &[],
            silent: BTreeSet::new(),
            now: NOW,
        }
    }

    pub(crate) fn judged(contacts: [Contact; 3]) -> Facts<'static> {
        let stores = (1..).map(StoreId).zip(contacts).collect();
        let health = ClusterHealth { stores, max_replicas: 3, ..ClusterHealth::default() };
        Facts { health: Some(health), ..facts([1, 1, 1]) }
    }

    fn health(facts: Facts<'_>) -> Health {
        Health::of(&ClusterView::of(facts))
    }

    #[test]
    fn a_cluster_is_well_while_all_of_it_is_there() {
        use Contact::Up;
        for well in [health(facts([9, 9, 9])), health(judged([Up, Up, Up]))] {
            assert!(well.is_well() && well.complaint().is_none(), "{well:?}");
            assert_eq!((well.may_fail_text(), well.may_fail), ("can lose 1 store".to_owned(), 1));
        }
    }

    #[test]
    fn each_witness_alone_is_believed() {
        use Contact::{Disconnected, Down, Up};
        let mut missed = judged([Up, Up, Up]);
        missed.regions[0].down = vec![peer(3)];
        let killed = ["store-3".to_owned()];
        let silent = BTreeSet::from([StoreId(3)]);
        for (facts, state) in [
            (facts([1, 1, 21]), "disconnected"),
            (judged([Up, Up, Disconnected]), "disconnected"),
            (judged([Up, Up, Down]), "down"),
            (missed, "unreachable"),
            (Facts { killed: &killed, ..judged([Up, Up, Up]) }, "killed"),
            (Facts { silent: silent.clone(), ..judged([Up, Up, Up]) }, "silent"),
            (Facts { silent, ..judged([Up, Up, Disconnected]) }, "disconnected"),
        ] {
            let view = ClusterView::of(facts);
            assert_eq!(view.stores[2].state, state);
            let ill = Health::of(&view);
            assert_eq!((ill.stores_up, ill.under_replicated, ill.may_fail), (2, 1, 0), "{state}");
            let complaint = ill.complaint().expect("one");
            assert_eq!(
                complaint,
                "degraded: 1 of 3 stores not up; 1 of 1 region under-replicated; cannot lose another store"
            );
        }
    }

    /// Neither is a matter of starting something again.
    #[test]
    fn who_leaves_or_may_still_come_is_not_called_down() {
        use Contact::{Disconnected, Unheard, Up};
        let early = health(judged([Up, Up, Unheard]));
        let ending = "1 of 1 region under-replicated; cannot lose another store";
        let told = |health: Health| health.complaint().expect("not well");
        assert_eq!((early.down, early.unheard, early.stores_up), (0, 1, 2));
        assert_eq!(told(early), format!("degraded: 1 of 3 stores not heard of yet; {ending}"));
        let mut leaving = judged([Up, Up, Disconnected]);
        leaving.stores[2].state = StoreState::Offline;
        let leaving = health(leaving);
        let one = Leaving { stores: 1, replicas: 1 };
        assert_eq!(
            (leaving.down, leaving.leaving.removed, leaving.leaving.draining.stores),
            (0, one, 0)
        );
        let expected = format!("degraded: 1 of 3 stores being removed, 1 replica left; {ending}");
        assert_eq!(told(leaving), expected);
        let mut draining = judged([Up, Up, Up]);
        draining.stores[2].state = StoreState::Offline;
        draining.stores[1].state = StoreState::Offline;
        draining.regions[0].region.peers.pop();
        let draining = health(draining);
        let one_left = Leaving { stores: 2, replicas: 1 };
        assert_eq!((draining.leaving.draining, draining.leaving.removed.stores), (one_left, 0));
        assert!(told(draining).contains("2 of 3 stores draining, 1 replica left"));
    }

    #[test]
    fn a_cluster_without_regions_says_what_it_waits_for() {
        let told = |there: usize| {
            let mut facts = judged([Contact::Up; 3]);
            facts.regions.clear();
            facts.stores.truncate(there);
            facts.health.as_mut().expect("judged").start_up = Some(facts.stores.clone());
            let health = health(facts);
            assert_eq!(health.word(), "unavailable");
            health.complaint().expect("not well")
        };
        for (there, expected) in [
            (0, "0 of 3 stores have registered, start 3 more"),
            (1, "1 of 3 stores has registered, start 2 more"),
            (2, "2 of 3 stores have registered, start 1 more"),
            (3, "all stores have registered, and the first regions are being made"),
        ] {
            assert_eq!(told(there), format!("unavailable: {expected}"));
        }
    }

    #[test]
    fn nothing_is_well_without_a_majority() {
        use Contact::{Disconnected, Up};
        let view = ClusterView::of(judged([Up, Disconnected, Disconnected]));
        assert_eq!(view.regions[0].state, RegionState::NoMajority);
        assert_eq!(view.stores[0].leaders, 0, "it cannot lead any more");
        let ill = Health::of(&view);
        assert_eq!((ill.stores_up, ill.leaderless, ill.may_fail), (1, 1, -1));
        assert!(ill.complaint().expect("one").starts_with("unavailable: 2 of 3 stores not up"));
    }

    #[test]
    fn a_region_without_a_living_leader_is_leaderless() {
        use Contact::{Disconnected, Up};
        let gone = ClusterView::of(judged([Disconnected, Up, Up]));
        assert_eq!(gone.regions[0].state, RegionState::Leaderless);
        let mut silent = judged([Up, Up, Up]);
        silent.health.as_mut().expect("judged").silent_regions.insert(RegionId(2));
        let silent = health(silent);
        assert_eq!((silent.leaderless, silent.stores_up, silent.word()), (1, 3, "unavailable"));
        // What a leader said before it died counts no more.
        let mut stale = judged([Disconnected, Up, Up]);
        stale.regions[0].down = vec![peer(2)];
        assert_eq!(ClusterView::of(stale).stores[1].state, "up");
    }

    #[test]
    fn a_region_that_has_fewer_voters_than_it_is_to_have_is_under_replicated() {
        use Contact::Up;
        let with = |roles: &[PeerRole], wanted| {
            let mut facts = judged([Up, Up, Up]);
            facts.health.as_mut().expect("judged").max_replicas = wanted;
            let peers = (1..).zip(roles).map(|(store, role)| Peer { role: *role, ..peer(store) });
            facts.regions[0].region.peers = peers.collect();
            health(facts)
        };
        use PeerRole::{DemotingVoter, IncomingVoter, Learner, Voter};
        for (roles, wanted, may_fail) in [
            (&[Voter][..], 3, 0),
            (&[Voter, Voter], 3, 0),
            // A learner holds a copy and decides nothing.
            (&[Voter, Voter, Learner], 3, 0),
            (&[Voter, Voter, DemotingVoter], 3, 0),
        ] {
            let ill = with(roles, wanted);
            assert_eq!((ill.under_replicated, ill.word()), (1, "degraded"), "{roles:?}");
            assert_eq!(ill.may_fail, may_fail, "{roles:?}");
            let lack = format!("region 2 has {} of 3 voters that answer", roles.len().min(2));
            assert_eq!(ill.example(), Some(lack.as_str()));
            assert_eq!(ill.worst_region(), Some(RegionId(2)));
        }
        for (roles, wanted) in [
            (&[Voter][..], 1),
            (&[Voter, Learner], 1),
            (&[Voter, Voter, Voter], 1),
            (&[Voter, Voter, IncomingVoter], 3),
            // Who does not say how many are wanted is content with what there is.
            (&[Voter, Voter], 0),
        ] {
            let well = with(roles, wanted);
            assert!(well.is_well() && well.example().is_none(), "{roles:?}: {well:?}");
        }
    }

    #[test]
    fn a_learner_that_is_away_costs_nothing() {
        use Contact::{Disconnected, Up};
        let mut facts = judged([Up, Up, Disconnected]);
        facts.health.as_mut().expect("judged").max_replicas = 2;
        facts.regions[0].region.peers[2].role = PeerRole::Learner;
        let ill = health(facts);
        assert_eq!((ill.stores_up, ill.under_replicated, ill.may_fail), (2, 0, 0));
    }

    #[test]
    fn keys_without_a_region_are_no_health() {
        use Contact::Up;
        let mut nothing = judged([Up, Up, Up]);
        nothing.regions.clear();
        let mut part = judged([Up, Up, Up]);
        part.regions[0].region.range = KeyRange::new("", "m");
        for facts in [nothing, part] {
            let ill = health(facts);
            assert_eq!(
                ill.complaint().as_deref(),
                Some("unavailable: not all regions have reported yet")
            );
        }
    }
}
