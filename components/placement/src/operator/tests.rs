//! Plans as tables, operators step by step, and a region that obeys, delays or ignores what it is told.

mod draining;
mod leftovers;
mod model;
mod plans;
mod steps;

use std::collections::BTreeMap;

use flotilla_base::{
    ConfVer, Epoch, KeyRange, Moment, Peer, PeerId, PeerRole, Region, RegionId, Span, StoreId,
    Term, Version,
};

use super::*;
use crate::{
    Policy, RegionReport, StoreRecord,
    ids::IdBatch,
    view::{ClusterView, StoreStatus},
};

const REGION: RegionId = RegionId(2);

/// A cluster with one region that the test reports.
struct Scene {
    view: ClusterView,
    policy: Policy,
    stores: BTreeMap<StoreId, StoreRecord>,
    controller: OperatorController,
    now: Moment,
    region: Region,
    leader: Peer,
    down: Vec<Peer>,
    pending: Vec<Peer>,
    next_id: u64,
    /// Stores that do not report.
    dead: Vec<StoreId>,
}

/// `1v 2v 3l 4i 5d`: stores, and what the peer on each is; its id is ten times its store's.
pub(crate) fn peers(text: &str) -> Vec<Peer> {
    let peer = |word: &str| {
        let (store, role) = word.split_at(word.len() - 1);
        let store = StoreId(store.parse().expect("a store"));
        let role = match role {
            "v" => PeerRole::Voter,
            "l" => PeerRole::Learner,
            "i" => PeerRole::IncomingVoter,
            "d" => PeerRole::DemotingVoter,
            other => panic!("no role: {other}"),
        };
        Peer { id: PeerId(10 * store.get()), store, role }
    };
    text.split_whitespace().map(peer).collect()
}

/// The same for what is there, without ids.
fn shown(region: &Region) -> String {
    let mut peers: Vec<_> = region.peers.clone();
    peers.sort_by_key(|peer| peer.store);
    let word = |peer: &Peer| {
        let role = match peer.role {
            PeerRole::Voter => "v",
            PeerRole::Learner => "l",
            PeerRole::IncomingVoter => "i",
            PeerRole::DemotingVoter => "d",
        };
        format!("{}{role}", peer.store)
    };
    peers.iter().map(word).collect::<Vec<_>>().join(" ")
}

impl Scene {
    /// Six stores, and a region led from the first of its stores.
    fn new(members: &str) -> Self {
        let peers = peers(members);
        let leader = peers[0];
        let epoch = Epoch { version: Version(5), conf_ver: ConfVer(7) };
        let region = Region { id: REGION, range: KeyRange::new("b", "m"), epoch, peers };
        let now = Moment(0) + Span::from_millis(100_000);
        let record = |id| StoreRecord { id: StoreId(id), ..StoreRecord::default() };
        let mut scene = Self {
            policy: Policy::default(),
            view: ClusterView::new(Moment(0)),
            stores: (1..=6).map(|id| (StoreId(id), record(id))).collect(),
            controller: OperatorController::default(),
            now,
            region,
            leader,
            down: Vec::new(),
            pending: Vec::new(),
            next_id: 101,
            dead: Vec::new(),
        };
        scene.report();
        scene
    }

    fn stamp(&self) -> Stamp {
        Stamp { now: self.now, unix_ms: 1_000 }
    }

    fn sight(&self) -> Sight<'_> {
        Sight { stores: &self.stores, policy: &self.policy, view: &self.view, now: self.now }
    }

    /// Everybody that lives reports.
    fn report(&mut self) -> Vec<OperatorEvent> {
        for store in self.stores.keys().filter(|store| !self.dead.contains(store)) {
            let status = StoreStatus { heard: self.now, ..StoreStatus::default() };
            self.view.on_store_report(*store, status);
        }
        let report = RegionReport {
            region: self.region.clone(),
            leader: self.leader,
            term: Term(6),
            down_peers: self.down.iter().map(|peer| (*peer, 9)).collect(),
            pending_peers: self.pending.clone(),
            ..RegionReport::default()
        };
        self.view.on_region_report(self.now, report).expect("taken");
        let sight =
            Sight { stores: &self.stores, policy: &self.policy, view: &self.view, now: self.now };
        let at = Stamp { now: self.now, unix_ms: 1_000 };
        self.controller.on_report(&sight, REGION, at)
    }

    fn after(&mut self, millis: u64) -> Vec<OperatorEvent> {
        self.now = self.now + Span::from_millis(millis);
        self.report()
    }

    fn plan(&self, change: &Change) -> Result<Plan, OperatorRefusal> {
        self.sight().plan(REGION, change)
    }

    fn begin(&mut self, change: &Change) -> Result<Vec<OperatorEvent>, OperatorRefusal> {
        let plan = self.plan(change)?;
        self.begin_plan(plan, "test")
    }

    fn begin_plan(
        &mut self,
        mut plan: Plan,
        asked_by: &'static str,
    ) -> Result<Vec<OperatorEvent>, OperatorRefusal> {
        let count = u64::from(plan.new_peers());
        if count > 0 {
            let ids = IdBatch { first: self.next_id, last: self.next_id + count - 1 };
            self.next_id += count;
            plan = plan.with_ids(ids);
        }
        let sight =
            Sight { stores: &self.stores, policy: &self.policy, view: &self.view, now: self.now };
        self.controller.begin(&sight, plan, (asked_by, Stamp { now: self.now, unix_ms: 1_000 }))
    }

    fn peer_on(&self, store: u64) -> Peer {
        self.region.peer_on(StoreId(store)).expect("a member")
    }
}

/// The only order among the events.
fn order(events: &[OperatorEvent]) -> Option<&Order> {
    let mut orders = events.iter().filter_map(|event| match event {
        OperatorEvent::Ordered(order) => Some(order),
        OperatorEvent::Begun(_) | OperatorEvent::Ended(_) => None,
    });
    let first = orders.next();
    assert_eq!(orders.next(), None, "one at a time");
    first
}

/// How the operator ended, where the events say so.
fn ending(events: &[OperatorEvent]) -> Option<Ending> {
    events.iter().find_map(|event| match event {
        OperatorEvent::Ended(ended) => Some(ended.ending),
        OperatorEvent::Begun(_) | OperatorEvent::Ordered(_) => None,
    })
}
