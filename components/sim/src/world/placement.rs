//! Stores that tell the placement driver how their regions are, and do what it orders.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_base::{Peer, PeerId, PeerRole, Region, RegionId, StoreId};
use flotilla_multiraft::{
    ChangeError, ChangeKind, ChangePeers, ChangeRequest, PeerChange, Reply, RequestError,
    SplitCommand,
};
use flotilla_placement::{
    Command, Order, RegionReport, RegionStats, StoreStats,
    operator::{PeerChange as OrderedChange, PeerChangeKind},
};

use super::World;
use crate::judge::{Place, Verdict};
use crate::pd::event::PdTicket;
use crate::replicas::marks;

/// Every region says that it has this size: an even number of them is even data.
const REGION_BYTES: u64 = 16 << 20;
/// The disk of each store, for the placement driver.
const DISK_BYTES: u64 = 1 << 44;

/// What the world knows of stores for the placement driver's sake.
#[derive(Debug, Default)]
pub(super) struct Placed {
    /// Stores that will never run again.
    pub gone: BTreeSet<StoreId>,
    /// Members that are far behind, as the last leader at each place said.
    lagging: BTreeMap<Place, Vec<Peer>>,
    /// Splits that wait for their ids.
    pub splits: BTreeMap<PdTicket, (Region, SplitCommand)>,
}

impl World {
    /// A store's lead is new, or its region has other members: it is reported at once.
    pub(super) fn report_at_once(&mut self, store: StoreId, region: RegionId) {
        if !self.pd.is_obeyed() {
            return;
        }
        let Some(run) = self.store(store).run() else { return };
        if let Some(report) = self.report_of(store, region) {
            let verdict = self.pd.report_one(self.now, store, run, report);
            self.judges.note(verdict);
            self.hear_from_pd();
        }
    }

    /// Nothing is known yet of the members of a new leader.
    pub(super) fn forget_lagging(&mut self, store: StoreId, region: RegionId) {
        self.record.placed.lagging.remove(&Place(store, region));
    }

    pub(super) fn note_lagging(&mut self, store: StoreId, region: RegionId, peers: Vec<Peer>) {
        self.record.placed.lagging.insert(Place(store, region), peers);
        self.report_at_once(store, region);
    }

    /// A region as its leader on a store sees it; `None` where that leads none.
    pub(super) fn report_of(&self, store: StoreId, region: RegionId) -> Option<RegionReport> {
        let replica = self.store(store).replica(region)?;
        let leader = self.regions.iter().find(|it| it.id == region)?.peer_on(store)?;
        let role = replica.group().role();
        if !replica.group().is_leader() {
            return None;
        }
        let region = replica.region().clone();
        let report = RegionReport { leader, term: role.term, ..RegionReport::default() };
        if !self.pd.is_obeyed() {
            return Some(RegionReport { region, ..report });
        }
        let silent = self.store(store).silent_members(&region);
        let lagging = self.record.placed.lagging.get(&Place(store, region.id));
        let is_member = |peer: &&Peer| region.peer(peer.id).is_some();
        Some(RegionReport {
            stats: RegionStats { size_bytes: REGION_BYTES, ..RegionStats::default() },
            down_peers: silent.into_iter().map(|peer| (peer, 1)).collect(),
            pending_peers: lagging.into_iter().flatten().filter(is_member).copied().collect(),
            region,
            ..report
        })
    }

    /// What a store says of itself.
    pub(super) fn stats_of(&self, store: StoreId) -> StoreStats {
        if !self.pd.is_obeyed() {
            return StoreStats::default();
        }
        let held = self.regions.iter().filter(|it| self.store(store).replica(it.id).is_some());
        let regions = held.count() as u64;
        let used_bytes = regions * REGION_BYTES;
        StoreStats {
            capacity_bytes: DISK_BYTES,
            available_bytes: DISK_BYTES - used_bytes,
            used_bytes,
            regions,
            ..StoreStats::default()
        }
    }

    /// A store that runs hears which stores will never run again. One that hears it of itself stops.
    pub(super) fn hear_of_the_gone(&mut self, store: StoreId) {
        if !self.pd.is_obeyed() {
            return;
        }
        let buried = self.pd.buried();
        if buried.contains(&store) {
            self.judges.lookout.reach(marks::STOPPED);
            self.lose(store);
        } else {
            self.slot(store).0.bury(&buried);
        }
    }

    /// A store ends for good.
    pub(super) fn lose(&mut self, store: StoreId) {
        self.record.placed.gone.insert(store);
        self.announce(format!("store {store} never runs again"));
        self.crash(store);
    }

    /// An order reaches a store.
    pub(super) fn obey(&mut self, store: StoreId, order: Order) {
        let Some(replica) = self.store(store).replica(order.region) else {
            return self.judges.lookout.reach(marks::ORDER_TO_NOBODY);
        };
        let (region, own) = (replica.region().clone(), replica.peer());
        if order.epoch.conf_ver != region.epoch.conf_ver || order.leader.id != own {
            return self.judges.lookout.reach(marks::ORDER_OF_OLD_MEMBERS);
        }
        let changes = match order.command {
            Command::ChangePeer(change) => vec![change],
            Command::ChangePeers(changes) => changes,
            Command::TransferLeader(heirs) => {
                return self.obey_transfer(store, &region, (own, heirs.as_slice()));
            }
            // Leaders leave joint configurations by themselves, and no region here is too large.
            Command::LeaveJoint | Command::Split(_) => return,
        };
        let changes = changes.iter().map(|change| to_change(change, &region)).collect();
        let command = ChangePeers { epoch: order.epoch, changes };
        let ticket = self.chance.changes.ticket();
        self.judges.tickets.on_attempt(ticket);
        let request = ChangeRequest { peer: own, command, ticket };
        self.at_store(store, |node, desk| {
            node.change(region.id, request, desk);
            Ok(())
        });
    }

    fn obey_transfer(&mut self, store: StoreId, region: &Region, (own, heirs): (PeerId, &[Peer])) {
        let is_voter =
            |peer: &&Peer| region.peer(peer.id).is_some_and(|it| it.role == PeerRole::Voter);
        let Some(heir) = heirs.iter().filter(is_voter).find(|heir| heir.id != own) else { return };
        self.record.summary.transfers += 1;
        let (id, heir) = (region.id, heir.id);
        self.at_store(store, |node, _| {
            node.transfer(id, heir);
            Ok(())
        });
    }

    /// What became of a change that was ordered.
    pub(super) fn mark_order(&mut self, reply: &Reply) {
        let marks = &mut self.judges.lookout.marks;
        let is_early = matches!(
            reply,
            Reply::Failed(RequestError::Change { cause: ChangeError::NotCaughtUp { .. }, .. })
        );
        marks.reach_if(is_early, marks::PROMOTION_REFUSED);
        marks.reach_if(!matches!(reply, Reply::Failed(_)), marks::ORDER_DONE);
    }

    /// What a store's leaders report.
    pub(super) fn led_by(&self, store: StoreId) -> Vec<RegionReport> {
        self.regions.iter().filter_map(|region| self.report_of(store, region.id)).collect()
    }

    /// A store's regular report.
    pub(super) fn beat(&mut self, store: StoreId, run: crate::event::Run) -> Verdict {
        let led = if self.pd.hears_of_stores() { self.led_by(store) } else { Vec::new() };
        let stats = self.stats_of(store);
        self.pd.report(self.now, store, run, (stats, led))
    }
}

/// As a store reads it: what the protocol calls a voter is a promotion, and what it calls a learner a demotion. A peer
/// that is new is a learner first, whatever it is to become.
fn to_change(ordered: &OrderedChange, region: &Region) -> PeerChange {
    let OrderedChange { kind, peer } = ordered;
    let is_member = region.peer(peer.id).is_some();
    let kind = match kind {
        PeerChangeKind::Voter if is_member => ChangeKind::Promote,
        PeerChangeKind::Learner if is_member => ChangeKind::Demote,
        PeerChangeKind::Voter | PeerChangeKind::Learner => ChangeKind::AddLearner,
        PeerChangeKind::Remove => ChangeKind::Remove,
    };
    PeerChange { kind, peer: peer.id, store: peer.store }
}
