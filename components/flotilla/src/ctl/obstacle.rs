//! Why the placement driver does not do what somebody wants of a region or a store, as far as it shows from outside, and
//! what to do then. The placement driver decides; this is looked at behind a refusal, and before somebody is asked to
//! confirm what would be refused.

use flotilla_base::{Peer, PeerRole, RegionId, StoreId};
use flotilla_client::{Admin, Error, ErrorKind, OperatorInfo, RegionChange, StoreState};

use crate::{
    args::Globals,
    catalogue::{self, Entry},
    context,
    fault::Fault,
    health::{ClusterView, RegionView, WHY_UNHEARD, votes_on},
    playground::Insight,
    text,
};

/// What somebody wants.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wish {
    /// A region is to change.
    Change(RegionId, RegionChange),
    /// What is being done to a region is to be given up.
    Cancel(RegionId),
    /// A store is to go for good.
    Remove(StoreId),
    /// A store is to be emptied.
    Drain(StoreId),
    /// A store is to be treated in another way.
    Treat(StoreId),
}

/// What stands in the way.
#[derive(Debug)]
pub(super) struct Obstacle {
    entry: &'static Entry,
    why: String,
    /// What to do; never empty.
    hints: Vec<String>,
}

impl Obstacle {
    fn new(why: String, hints: impl IntoIterator<Item = String>) -> Self {
        Self { entry: &catalogue::REFUSED, why, hints: hints.into_iter().collect() }
    }

    /// There is no such store.
    pub(super) fn no_store(store: StoreId) -> Self {
        let hint = "flotilla ctl stores   lists those that there are".to_owned();
        let entry = &catalogue::NO_STORE;
        Self { entry, ..Self::new(format!("no store has the id {store}"), [hint]) }
    }

    pub(super) fn no_region(region: RegionId) -> Self {
        let hints = [
            "flotilla ctl regions   lists those that there are",
            "flotilla ctl regions --key KEY   shows the one that holds a key",
        ];
        let entry = &catalogue::NO_REGION;
        let why = format!("no leader has reported a region {region}");
        Self { entry, ..Self::new(why, hints.map(str::to_owned)) }
    }

    /// The error of somebody who has not asked the placement driver.
    pub(super) fn into_fault(self, what: &str) -> Fault {
        let fault = Fault::new(self.entry, what).why(self.why);
        self.hints.into_iter().fold(fault, Fault::hint)
    }
}

impl Wish {
    /// What did not come about.
    pub(super) fn failed(self) -> String {
        match self {
            Self::Change(region, _) => format!("cannot change region {region}"),
            Self::Cancel(region) => format!("cannot cancel anything of region {region}"),
            Self::Remove(store) => format!("cannot remove store {store}"),
            Self::Drain(store) => format!("cannot empty store {store}"),
            Self::Treat(store) => format!("cannot change how store {store} is treated"),
        }
    }
}

/// The cluster, for somebody who wants something of it.
#[derive(Debug)]
pub(super) struct Sight {
    /// Addresses of the placement driver, with commas.
    pub pd: String,
    pub view: ClusterView,
    /// What is being done to regions.
    pub running: Vec<OperatorInfo>,
    /// What was done to them, the last one first.
    pub ended: Vec<OperatorInfo>,
}

impl Sight {
    /// Looks at it as it is now.
    pub(super) async fn look(globals: &Globals, admin: &Admin) -> Result<Self, Fault> {
        let insight = Insight::of(globals).await;
        let view = ClusterView::look(admin, &insight.killed).await?;
        let operators = admin.operators().await?;
        let pd = context::pd(globals);
        Ok(Self { pd, view, running: operators.running, ended: operators.ended })
    }

    /// An error where something that is known already stands in the way of `wish`.
    pub(super) fn check(&self, wish: Wish) -> Result<(), Fault> {
        match self.obstacle(wish) {
            Some(obstacle) => Err(obstacle.into_fault(&wish.failed())),
            None => Ok(()),
        }
    }

    /// What stands in the way, in the order in which the placement driver looks at it.
    fn obstacle(&self, wish: Wish) -> Option<Obstacle> {
        match wish {
            Wish::Change(region, change) => self.of_change(region, change),
            Wish::Cancel(region) => self.of_cancel(region),
            Wish::Remove(store) => self.of_removal(store),
            Wish::Drain(store) => {
                let gone = self.of_membership(store);
                let is_leaving = || {
                    self.view.store(store).is_some_and(|it| it.info.state == StoreState::Offline)
                };
                // It may be asked for again.
                if gone.is_some() || is_leaving() { gone } else { self.of_emptying(store, true) }
            }
            Wish::Treat(store) => self.of_membership(store),
        }
    }

    fn of_cancel(&self, id: RegionId) -> Option<Obstacle> {
        if self.view.region(id).is_none() {
            return Some(Obstacle::no_region(id));
        }
        let is_idle = self.running.iter().all(|operator| operator.region != id);
        let hint = "flotilla ctl operators --history   shows what was done, and how it ended";
        is_idle
            .then(|| Obstacle::new(format!("nothing is being done to region {id}"), [hint.into()]))
    }

    fn of_change(&self, id: RegionId, change: RegionChange) -> Option<Obstacle> {
        let Some(region) = self.view.region(id) else { return Some(Obstacle::no_region(id)) };
        if let Some(operator) = self.running.iter().find(|operator| operator.region == id) {
            let hints = [
                "flotilla ctl operators   shows how far it is; ask again when it has ended"
                    .to_owned(),
                format!("flotilla ctl region cancel --region {id}   gives it up"),
            ];
            let why = format!("region {id} is being changed already ({})", operator.brief);
            return Some(Obstacle::new(why, hints));
        }
        let obstacle = match change {
            RegionChange::TransferLeader(to) => self.of_leading(region, to),
            RegionChange::AddPeer(to) => self.of_taking(region, to, PeerRole::Voter),
            RegionChange::AddLearner(to) => self.of_taking(region, to, PeerRole::Learner),
            RegionChange::RemovePeer(from) => {
                self.of_having(region, from).or_else(|| self.of_leaving(region, from))
            }
            RegionChange::MovePeer { from, to } => {
                let role = region.info.region.peer_on(from).map_or(PeerRole::Voter, |it| it.role);
                let having = self.of_having(region, from);
                having.or_else(|| self.of_taking(region, to, role))
            }
        };
        obstacle.or_else(|| {
            let hint = "start the stores that are down; flotilla ctl stores shows them".to_owned();
            let why = format!("region {id} has no leader that could carry it out");
            region.leader().is_none().then(|| Obstacle::new(why, [hint]))
        })
    }

    /// The region needs a peer there.
    fn of_having(&self, region: &RegionView, store: StoreId) -> Option<Obstacle> {
        let id = region.info.region.id;
        let peers = &region.info.region.peers;
        if self.view.store(store).is_none() {
            return Some(Obstacle::no_store(store));
        }
        let why = format!("region {id} has no peer on store {store}");
        let hint = format!("name one of the stores that have one: {}", listed(peers));
        peers.iter().all(|peer| peer.store != store).then(|| Obstacle::new(why, [hint]))
    }

    /// The peer there is to lead.
    fn of_leading(&self, region: &RegionView, store: StoreId) -> Option<Obstacle> {
        let info = &region.info;
        let id = info.region.id;
        let absent = self.of_having(region, store);
        let Some(peer) = info.region.peer_on(store).filter(|_| absent.is_none()) else {
            return absent;
        };
        if info.leader.is_some_and(|leader| leader.store == store) {
            let hint = "nothing is left to do; flotilla ctl regions shows who leads".to_owned();
            return Some(Obstacle::new(format!("store {store} leads region {id} already"), [hint]));
        }
        let others = info.region.peers.iter().filter(|other| {
            votes_on(other) && other.store != store && Some(other.store) != leader_of(region)
        });
        let others: Vec<Peer> = others.copied().collect();
        let another = (!others.is_empty())
            .then(|| format!("or choose another store that votes: {}", listed(&others)));
        if !votes_on(&peer) {
            let first = format!(
                "flotilla ctl region add-peer --region {id} --store {store}   makes it a voter first"
            );
            let why =
                format!("the peer of region {id} on store {store} is a learner, and does not vote");
            return Some(Obstacle::new(why, [first].into_iter().chain(another)));
        }
        self.not_up(store).or_else(|| {
            let lags = info.down.iter().chain(&info.pending).any(|other| other.store == store);
            let first = "ask again when it has caught up".to_owned();
            let why =
                format!("the peer of region {id} on store {store} does not answer, or lags behind");
            lags.then(|| Obstacle::new(why, [first].into_iter().chain(another)))
        })
    }

    /// A peer with this `role` is to be there.
    fn of_taking(&self, region: &RegionView, store: StoreId, role: PeerRole) -> Option<Obstacle> {
        let id = region.info.region.id;
        if self.view.store(store).is_none() {
            return Some(Obstacle::no_store(store));
        }
        let known = region.info.region.peer_on(store);
        // A learner may become a voter, and nothing else.
        let is_there = known.is_some_and(|peer| votes_on(&peer) || role == PeerRole::Learner);
        if !is_there {
            return self.not_up(store);
        }
        let free = self.view.free_stores(region);
        let free = free.iter().filter(|free| region.info.region.peer_on(**free).is_none());
        let free: Vec<String> = free.map(ToString::to_string).collect();
        let mut hints = match free.is_empty() {
            true => vec!["start one more store first: each has a peer of it".to_owned()],
            false => vec![format!("choose a store that is up and has none: {}", free.join(", "))],
        };
        if known.is_some_and(|peer| !votes_on(&peer)) {
            let voter = format!("flotilla ctl region add-peer --region {id} --store {store}");
            hints.insert(0, format!("{voter}   makes the learner there a voter"));
        }
        Some(Obstacle::new(format!("region {id} has a peer on store {store} already"), hints))
    }

    /// The peer there is to go.
    fn of_leaving(&self, region: &RegionView, store: StoreId) -> Option<Obstacle> {
        let info = &region.info;
        let id = info.region.id;
        if info.region.peer_on(store).is_none_or(|peer| !votes_on(&peer)) {
            return None;
        }
        let lags = |peer: &Peer| info.down.iter().chain(&info.pending).any(|it| it.id == peer.id);
        let staying = || info.region.peers.iter().filter(|it| votes_on(it) && it.store != store);
        let answers =
            |peer: &&Peer| self.view.store(peer.store).is_some_and(|it| it.is_alive) && !lags(peer);
        let (voters, living) = (staying().count(), staying().filter(answers).count());
        if living * 2 > voters {
            return None;
        }
        let why = match voters {
            0 => format!("region {id} has no other voter: its data would be gone"),
            _ => format!(
                "{living} of the {voters} voters of region {id} that would stay answer, which is no majority"
            ),
        };
        let free = self.view.free_stores(region);
        let mut hints = Vec::new();
        if let Some(free) = free.first() {
            let moved =
                format!("flotilla ctl region move-peer --region {id} --from {store} --to {free}");
            hints.push(format!("{moved}   puts it on another store instead"));
        }
        if voters > living || hints.is_empty() {
            hints.push(
                "start the stores that are down, or one more: flotilla ctl stores".to_owned(),
            );
        }
        Some(Obstacle::new(why, hints))
    }

    /// The store is there, and cannot take anything.
    fn not_up(&self, store: StoreId) -> Option<Obstacle> {
        let known = self.view.store(store)?;
        let hint = match known.info.state {
            _ if known.state == "up" => return None,
            StoreState::Tombstone => "choose another store: this one was removed for good",
            StoreState::Offline => "choose another store: this one is leaving the cluster",
            StoreState::Up => "start it again, or choose another store",
        };
        let why = format!(
            "store {store} is {}, and only a store that is up takes peers and leaders",
            known.state
        );
        let hint = format!("{hint}; flotilla ctl stores shows how they are");
        Some(Obstacle::new(why, [hint]))
    }

    /// It is no store, or none any more.
    fn of_membership(&self, id: StoreId) -> Option<Obstacle> {
        let Some(store) = self.view.store(id) else { return Some(Obstacle::no_store(id)) };
        let hint = "nothing is left to do; flotilla ctl stores --all shows it".to_owned();
        let is_gone = store.info.state == StoreState::Tombstone;
        let why = format!("store {id} was removed for good already");
        is_gone.then(|| Obstacle::new(why, [hint]))
    }

    fn of_removal(&self, id: StoreId) -> Option<Obstacle> {
        let gone = self.of_membership(id);
        let Some(store) = self.view.store(id).filter(|_| gone.is_none()) else { return gone };
        // It may be asked for again.
        if store.info.state == StoreState::Offline {
            return None;
        }
        if store.state == "unheard" {
            let hint =
                "ask again in some seconds: it is removed where it is still not heard of then";
            return Some(Obstacle::new(
                format!("store {id} is not heard of yet: {WHY_UNHEARD}"),
                [hint.to_owned()],
            ));
        }
        if !["disconnected", "down", "killed"].contains(&store.state) {
            let hints = [
                "if it is to go all the same, stop its process first",
                &format!("flotilla ctl store drain {id}   empties a store that works"),
            ];
            let why =
                format!("store {id} is {}: only one that is gone for good is removed", store.state);
            return Some(Obstacle::new(why, hints.map(str::to_owned)));
        }
        self.of_emptying(id, false)
    }

    /// What a store held is to be made anew on others; it serves meanwhile where it `may_serve` and is there.
    fn of_emptying(&self, store: StoreId, may_serve: bool) -> Option<Obstacle> {
        let others = self.view.stores.iter().filter(|other| other.info.id != store);
        let up = others.filter(|other| other.state == "up").count();
        let wanted = usize::try_from(self.view.replicas_wanted).unwrap_or(usize::MAX);
        if up < wanted {
            let (verb, fewer) = match (may_serve, up) {
                (false, _) => ("remove", None),
                (true, 0) => ("drain", None),
                (true, _) => {
                    let line = format!("flotilla ctl settings set replication.max-replicas {up}");
                    ("drain", Some(format!("or, with fewer replicas of everything: {line}")))
                }
            };
            let first = [
                format!(
                    "start a new store first, at another address: {}",
                    context::one_more_store(&self.pd)
                ),
                format!("then again: flotilla ctl store {verb} {store} --yes"),
            ];
            let hints = first.into_iter().chain(fewer);
            let others = text::counted(up as u64, "other store");
            let why = format!(
                "{others} up, and each region is to have {wanted} replicas, one to a store"
            );
            return Some(Obstacle::new(why, hints));
        }
        if !self.view.covers_everything() {
            let hint =
                "ask again in some seconds; flotilla ctl status shows when they have".to_owned();
            let why = "not all regions have reported to the placement driver yet".to_owned();
            return Some(Obstacle::new(why, [hint]));
        }
        if may_serve && self.view.store(store).is_some_and(|known| known.is_alive) {
            return None;
        }
        let holds = |region: &&RegionView| region.info.region.peer_on(store).is_some();
        let is_lost = |region: &&RegionView| !region.has_majority();
        let lost = self.view.regions.iter().filter(holds).find(is_lost)?;
        let hint =
            "start the other stores first; flotilla ctl stores shows how they are".to_owned();
        let id = lost.info.region.id;
        let why = format!("without it region {id} has no majority of stores that are up");
        Some(Obstacle::new(why, [hint]))
    }
}

fn leader_of(region: &RegionView) -> Option<StoreId> {
    region.info.leader.map(|leader| leader.store)
}

fn listed(peers: &[Peer]) -> String {
    let stores: Vec<String> = peers.iter().map(|peer| peer.store.to_string()).collect();
    stores.join(", ")
}

/// What somebody is told whose wish failed: the reason of the placement driver, and for a refusal what to do about it.
pub(super) async fn explain(globals: &Globals, admin: &Admin, wish: Wish, error: Error) -> Fault {
    if error.kind() != ErrorKind::Refused {
        return error.into();
    }
    let seen = Sight::look(globals, admin).await.ok();
    let obstacle = seen.as_ref().and_then(|sight| sight.obstacle(wish));
    let fault = Fault::from(error).named(wish.failed());
    match obstacle {
        // The placement driver has other words for what it does not know.
        Some(obstacle) if !fault.is(obstacle.entry) => obstacle.into_fault(&wish.failed()),
        Some(Obstacle { entry, hints, .. }) => fault.advised(entry, hints),
        None => {
            let hints = [
                "it may have passed by now: ask again",
                "flotilla ctl regions, ctl stores and ctl operators show how all is",
            ];
            fault.advised(&catalogue::REFUSED, hints.map(str::to_owned).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use flotilla_base::{Epoch, KeyRange, PeerId, Region};
    use flotilla_client::{RegionInfo, health::Contact};

    use super::*;
    use crate::health::{Facts, tests};

    const REGION: RegionId = RegionId(2);

    /// Five stores: 1 to 3 hold voters of the region that 1 leads, 4 a learner, 5 nothing. What is changed is up to `change`.
    fn sight(change: impl FnOnce(&mut Facts<'_>)) -> Sight {
        let mut facts = tests::judged([Contact::Up; 3]);
        for id in [4, 5] {
            facts.stores.push(tests::store(id, &format!("store-{id}"), StoreState::Up));
            facts.health.as_mut().expect("judged").stores.insert(StoreId(id), Contact::Up);
        }
        let roles = [PeerRole::Voter, PeerRole::Voter, PeerRole::Voter, PeerRole::Learner];
        let peers = (1..).zip(roles).map(|(id, role)| Peer {
            id: PeerId(10 + id),
            store: StoreId(id),
            role,
        });
        let peers: Vec<Peer> = peers.collect();
        let leader = peers.first().copied();
        let region = Region { id: REGION, range: KeyRange::all(), epoch: Epoch::FIRST, peers };
        facts.regions = vec![RegionInfo { region, leader, down: Vec::new(), pending: Vec::new() }];
        facts.silent = BTreeSet::new();
        change(&mut facts);
        let pd = "127.0.0.1:2379".to_owned();
        Sight { pd, view: ClusterView::of(facts), running: Vec::new(), ended: Vec::new() }
    }

    fn contact(facts: &mut Facts<'_>, store: u64, contact: Contact) {
        facts.health.as_mut().expect("judged").stores.insert(StoreId(store), contact);
    }

    /// The error that somebody with this wish gets; empty where nothing stands in the way.
    fn told(sight: &Sight, wish: Wish) -> String {
        sight.check(wish).err().map(|fault| fault.to_text()).unwrap_or_default()
    }

    fn change(sight: &Sight, change: RegionChange) -> String {
        told(sight, Wish::Change(REGION, change))
    }

    #[track_caller]
    fn assert_told(text: &str, parts: &[&str]) {
        for part in parts.iter().chain(&["  why  ", "  try  ", "code FLT-"]) {
            assert!(text.contains(part), "no {part} in\n{text}");
        }
    }

    use RegionChange::{AddLearner, AddPeer, MovePeer, RemovePeer, TransferLeader};

    #[test]
    fn what_is_possible_has_no_obstacle() {
        let all_well = sight(|_facts| {});
        let move_peer = MovePeer { from: StoreId(1), to: StoreId(5) };
        for possible in [
            TransferLeader(StoreId(2)),
            AddPeer(StoreId(4)),
            AddPeer(StoreId(5)),
            AddLearner(StoreId(5)),
            RemovePeer(StoreId(1)),
            RemovePeer(StoreId(4)),
            move_peer,
            MovePeer { from: StoreId(1), to: StoreId(4) },
        ] {
            assert_eq!(change(&all_well, possible), "", "{possible:?}");
        }
        let gone = sight(|facts| contact(facts, 5, Contact::Down));
        assert_eq!(told(&gone, Wish::Remove(StoreId(5))), "");
        let leaving = sight(|facts| facts.stores[4].state = StoreState::Offline);
        assert_eq!(told(&leaving, Wish::Remove(StoreId(5))), "");
    }

    #[test]
    fn what_does_not_exist_is_not_found() {
        let sight = sight(|_facts| {});
        let nowhere = StoreId(4711);
        for (wish, code) in [
            (Wish::Change(RegionId(9), AddPeer(StoreId(5))), "FLT-3004"),
            (Wish::Cancel(RegionId(9)), "FLT-3004"),
            (Wish::Change(REGION, AddPeer(nowhere)), "FLT-3003"),
            (Wish::Change(REGION, RemovePeer(nowhere)), "FLT-3003"),
            (Wish::Change(REGION, TransferLeader(nowhere)), "FLT-3003"),
            (Wish::Change(REGION, MovePeer { from: StoreId(1), to: nowhere }), "FLT-3003"),
            (Wish::Remove(nowhere), "FLT-3003"),
        ] {
            assert_told(&told(&sight, wish), &[code, "lists those that there are"]);
        }
    }

    #[test]
    fn members_and_others_are_told_apart() {
        let sight = sight(|_facts| {});
        let has = "region 2 has a peer on store 2 already";
        assert_told(&change(&sight, AddPeer(StoreId(2))), &[has, "has none: 5\n"]);
        let learner = change(&sight, AddLearner(StoreId(4)));
        assert_told(&learner, &["--region 2 --store 4   makes the learner there a voter"]);
        let hasnt = "region 2 has no peer on store 5";
        for not_there in [
            RemovePeer(StoreId(5)),
            TransferLeader(StoreId(5)),
            MovePeer { from: StoreId(5), to: StoreId(1) },
        ] {
            assert_told(&change(&sight, not_there), &[hasnt, "that have one: 1, 2, 3, 4\n"]);
        }
        let both = MovePeer { from: StoreId(1), to: StoreId(2) };
        assert_told(&change(&sight, both), &[has]);
    }

    #[test]
    fn who_cannot_lead_is_told() {
        let lagging = sight(|facts| {
            let peer = facts.regions[0].region.peers[2];
            facts.regions[0].pending = vec![peer];
        });
        let others = "or choose another store that votes: 2\n";
        let told = change(&lagging, TransferLeader(StoreId(3)));
        assert_told(&told, &["lags behind", "when it has caught up", others]);
        let leads = change(&lagging, TransferLeader(StoreId(1)));
        assert_told(&leads, &["store 1 leads region 2 already", "nothing is left to do"]);
        let learner = change(&lagging, TransferLeader(StoreId(4)));
        assert_told(&learner, &["does not vote", "--store 4   makes it a voter first"]);
    }

    #[test]
    fn stores_that_take_nothing_are_told_with_their_state() {
        let down = sight(|facts| contact(facts, 5, Contact::Down));
        assert_told(&change(&down, AddPeer(StoreId(5))), &["store 5 is down", "start it again"]);
        for (state, part) in
            [(StoreState::Tombstone, "removed for good"), (StoreState::Offline, "is leaving")]
        {
            let leaving = sight(|facts| facts.stores[4].state = state);
            assert_told(&change(&leaving, AddPeer(StoreId(5))), &[part]);
        }
        let headless = sight(|facts| facts.regions[0].leader = None);
        let told = change(&headless, AddPeer(StoreId(5)));
        assert_told(&told, &["no leader that could carry it out", "start the stores"]);
    }

    #[test]
    fn what_would_leave_no_majority_is_told_with_another_way() {
        let one_down = sight(|facts| contact(facts, 3, Contact::Down));
        let told = change(&one_down, RemovePeer(StoreId(2)));
        let why = "1 of the 2 voters of region 2 that would stay answer";
        assert_told(&told, &[why, "move-peer --region 2 --from 2 --to 4", "start the stores"]);
        assert_eq!(change(&one_down, RemovePeer(StoreId(3))), "", "it does not answer anyway");
        let alone = sight(|facts| facts.regions[0].region.peers.truncate(1));
        let told = change(&alone, RemovePeer(StoreId(1)));
        assert_told(&told, &["its data would be gone", "move-peer --region 2 --from 1 --to 2"]);
    }

    #[test]
    fn one_change_at_a_time() {
        let mut busy = sight(|_facts| {});
        let idle = told(&busy, Wish::Cancel(REGION));
        assert_told(&idle, &["nothing is being done to region 2", "operators --history"]);
        busy.running = vec![super::super::operators::tests::operator(REGION)];
        let told_busy = change(&busy, AddPeer(StoreId(5)));
        assert_told(&told_busy, &["is being changed already (mv peer", "region cancel --region 2"]);
        assert_eq!(told(&busy, Wish::Cancel(REGION)), "");
    }

    #[test]
    fn who_cannot_be_removed_is_told() {
        let remove = |sight: &Sight, store| told(sight, Wish::Remove(StoreId(store)));
        let well = sight(|_facts| {});
        assert_told(&remove(&well, 3), &["store 3 is up", "stop its process", "store drain 3"]);
        let gone = sight(|facts| facts.stores[4].state = StoreState::Tombstone);
        assert_told(&remove(&gone, 5), &["removed for good already", "stores --all"]);
        let three = sight(|facts| {
            facts.stores.truncate(3);
            facts.regions[0].region.peers.truncate(3);
            contact(facts, 3, Contact::Disconnected);
        });
        let told = remove(&three, 3);
        let start = "at another address: flotilla store --data DIR --pd 127.0.0.1:2379 --listen IP:PORT --status-listen IP:PORT\n";
        assert_told(&told, &["2 other stores up", "3 replicas", "start a new store first", start]);
        let early = sight(|facts| contact(facts, 3, Contact::Unheard));
        let early = remove(&early, 3);
        assert_told(&early, &["store 3 is not heard of yet", "ask again in some seconds"]);
        assert!(!early.contains("stop its process"), "{early}");
        let holes = sight(|facts| {
            contact(facts, 3, Contact::Disconnected);
            facts.regions[0].region.range = KeyRange::new("", "m");
        });
        assert_told(&remove(&holes, 3), &["not all regions have reported", "ask again"]);
        let lost = sight(|facts| {
            for store in [2, 3] {
                contact(facts, store, Contact::Disconnected);
            }
            facts.health.as_mut().expect("judged").max_replicas = 2;
        });
        assert_told(&remove(&lost, 3), &["region 2 has no majority", "start the other stores"]);
    }

    #[test]
    fn who_cannot_be_emptied_is_told_what_would_be_possible() {
        let drain = |sight: &Sight, store| told(sight, Wish::Drain(StoreId(store)));
        let well = sight(|_facts| {});
        assert_eq!(drain(&well, 3), "", "it is up, and others can hold all");
        let leaving = sight(|facts| facts.stores[2].state = StoreState::Offline);
        assert_eq!(drain(&leaving, 3), "", "it may be asked for again");
        let three = sight(|facts| {
            facts.stores.truncate(3);
            facts.regions[0].region.peers.truncate(3);
        });
        let told = drain(&three, 3);
        let parts = ["2 other stores up", "3 replicas", "store drain 3 --yes", "max-replicas 2"];
        assert_told(&told, &parts);
        let gone = sight(|facts| facts.stores[4].state = StoreState::Tombstone);
        for wish in [Wish::Drain(StoreId(5)), Wish::Treat(StoreId(5))] {
            assert_told(&self::told(&gone, wish), &["removed for good already"]);
        }
        for wish in [Wish::Drain(StoreId(4711)), Wish::Treat(StoreId(4711))] {
            assert_told(&self::told(&well, wish), &["FLT-3003", "lists those that there are"]);
        }
        assert_eq!(self::told(&leaving, Wish::Treat(StoreId(3))), "");
    }
}
