//! What the placement driver was told, as a second witness keeps it: the last report of each region that was taken, the
//! operators that go on, and how each store was heard. What is carried, and about to be, is counted anew from that for
//! each question.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_base::{Incarnation, Moment, Peer, PeerId, Region, RegionId, Span, StoreId};
use flotilla_placement::{Operator, RegionReport, Step, StoreStats, fleet::REPLICA_OVERHEAD_BYTES};

/// A store that is silent for longer takes nothing.
const SILENT: Span = Span::from_millis(20_000);

/// What is known of a store.
#[derive(Clone, Debug, Default)]
pub struct KnownStore {
    /// What it said last, and when.
    pub status: Option<(Moment, StoreStats)>,
    /// Runs that have opened a line, less those that have broken it.
    lines: BTreeMap<Incarnation, i64>,
    opened: Option<Moment>,
}

impl KnownStore {
    /// Whether it is there, by its line and by what it said.
    #[must_use]
    pub fn is_up(&self, now: Moment) -> bool {
        let is_open = self.lines.last_key_value().is_none_or(|(_, open)| *open > 0);
        let heard = self.status.map(|(heard, _)| heard).max(self.opened);
        is_open && heard.is_some_and(|heard| now.since(heard) <= SILENT)
    }
}

/// What a store carries, with what is about to come and to go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Leads.
    pub leaders: u64,
    /// Replicas.
    pub replicas: u64,
    /// Data in them.
    pub bytes: u64,
    /// Copies on their way to it.
    pub copies: u32,
}

impl Load {
    /// Data, and what each replica costs beside it.
    #[must_use]
    pub const fn weight_bytes(&self) -> u64 {
        self.bytes + self.replicas * REPLICA_OVERHEAD_BYTES
    }
}

/// How far an operator has come, by what was reported.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    operator: Operator,
    /// Peers that have had all data.
    arrived: BTreeSet<PeerId>,
    /// Whether the lead was where it is to be, with all data in place.
    is_handed_over: bool,
}

impl Known {
    fn new(operator: Operator) -> Self {
        Self { operator, arrived: BTreeSet::new(), is_handed_over: false }
    }

    fn on_report(&mut self, report: &RegionReport) {
        let mut lacks = false;
        for step in &self.operator.plan.steps {
            match step {
                Step::AddLearner(peer) if has_all(report, peer) => _ = self.arrived.insert(peer.id),
                Step::AddLearner(peer) => lacks |= !self.arrived.contains(&peer.id),
                Step::TransferLeader { to, .. } => {
                    let has_it = to.iter().any(|peer| peer.id == report.leader.id);
                    self.is_handed_over |= has_it && !lacks;
                }
                _ => {}
            }
        }
    }
}

/// Everything that one reign of the placement driver was told.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    regions: BTreeMap<RegionId, RegionReport>,
    operators: BTreeMap<RegionId, Known>,
    stores: BTreeMap<StoreId, KnownStore>,
}

impl Knowledge {
    /// A report was taken.
    pub fn on_report(&mut self, mut report: RegionReport) {
        // Who does not know the size yet does not change what is known of it.
        if let Some(known) = self.regions.get(&report.region.id)
            && report.stats.size_bytes == 0
        {
            report.stats.size_bytes = known.stats.size_bytes;
        }
        if let Some(known) = self.operators.get_mut(&report.region.id) {
            known.on_report(&report);
        }
        self.regions.insert(report.region.id, report);
    }

    /// A piece of a split was taken.
    pub fn on_piece(&mut self, region: Region) {
        let known = self.regions.get(&region.id).cloned().unwrap_or_default();
        if known.region.epoch == region.epoch {
            return;
        }
        let leads_on = region.peers.contains(&known.leader);
        let leader = if leads_on { known.leader } else { Peer::default() };
        let (down_peers, pending_peers) = <_>::default();
        let report = RegionReport { region, leader, down_peers, pending_peers, ..known };
        self.regions.insert(report.region.id, report);
    }

    /// A store said something.
    pub fn on_store(&mut self, now: Moment, store: StoreId, stats: StoreStats) {
        self.stores.entry(store).or_default().status = Some((now, stats));
    }

    /// A store opened a line, or one broke.
    pub fn on_line(&mut self, now: Moment, (store, run): (StoreId, Incarnation), is_open: bool) {
        let known = self.stores.entry(store).or_default();
        if known.lines.last_key_value().is_some_and(|(last, _)| *last > run) {
            return;
        }
        if is_open {
            *known.lines.entry(run).or_default() += 1;
            known.opened = Some(now);
        } else if let Some(open) = known.lines.get_mut(&run) {
            *open = (*open - 1).max(0);
        }
    }

    /// An operator begins. Returns the one that the region had already.
    pub fn on_begun(&mut self, operator: Operator) -> Option<Operator> {
        let before = self.operators.insert(operator.plan.region, Known::new(operator));
        before.map(|before| before.operator)
    }

    /// An operator has ended.
    pub fn on_ended(&mut self, region: RegionId) {
        self.operators.remove(&region);
    }

    /// The operator of a region.
    #[must_use]
    pub fn operator(&self, region: RegionId) -> Option<&Operator> {
        self.operators.get(&region).map(|known| &known.operator)
    }

    /// How many go on.
    #[must_use]
    pub fn operators(&self) -> usize {
        self.operators.len()
    }

    /// The last report of a region.
    #[must_use]
    pub fn region(&self, region: RegionId) -> Option<&RegionReport> {
        self.regions.get(&region)
    }

    /// A store.
    #[must_use]
    pub fn store(&self, store: StoreId) -> Option<&KnownStore> {
        self.stores.get(&store)
    }

    /// What each store carries when all operators have ended but that of `except`, which is not begun.
    #[must_use]
    pub fn loads(&self, except: RegionId) -> BTreeMap<StoreId, Load> {
        let mut loads: BTreeMap<StoreId, Load> = BTreeMap::new();
        for (id, report) in &self.regions {
            let known = self.operators.get(id).filter(|_| *id != except);
            let mut stores: BTreeSet<StoreId> =
                report.region.peers.iter().map(|peer| peer.store).collect();
            let mut leader = report.leader.store;
            for step in known.iter().flat_map(|known| &known.operator.plan.steps) {
                match step {
                    Step::AddLearner(peer) => {
                        stores.insert(peer.store);
                        let load = loads.entry(peer.store).or_default();
                        let has_come = known.is_some_and(|it| it.arrived.contains(&peer.id));
                        load.copies += u32::from(!has_come);
                    }
                    Step::RemovePeer(peer) => _ = stores.remove(&peer.store),
                    Step::TransferLeader { to, .. } => {
                        let is_over = known.is_some_and(|it| it.is_handed_over);
                        leader = to.first().filter(|_| !is_over).map_or(leader, |to| to.store);
                    }
                    _ => {}
                }
            }
            for store in stores {
                let load = loads.entry(store).or_default();
                load.replicas += 1;
                load.bytes += report.stats.size_bytes;
            }
            loads.entry(leader).or_default().leaders += 1;
        }
        loads.remove(&StoreId(0));
        loads
    }
}

/// Whether the region's leader has reported that a peer is there and lacks nothing.
#[must_use]
pub fn has_all(report: &RegionReport, peer: &Peer) -> bool {
    let is_behind = report.pending_peers.iter().any(|pending| pending.id == peer.id);
    let is_down = report.down_peers.iter().any(|(down, _)| down.id == peer.id);
    report.region.peer(peer.id).is_some() && !is_behind && !is_down
}
