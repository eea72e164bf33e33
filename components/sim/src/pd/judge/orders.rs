//! What is ordered of regions: one operator at a time, nobody votes before he has all data, and balance leaves alone what
//! it has moved.
//!
//! It knows what the reign that orders was told, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_base::{Moment, PeerId, RegionId, Span, StoreId};
use flotilla_placement::{
    Operator, OperatorEvent, OperatorKind, Order, RegionReport, SchedulerName,
    operator::{Command, PeerChangeKind},
};

use crate::judge::{Verdict, require};
use crate::placement::judge::ends;
use crate::placement::knowledge::has_all;

/// A replica that balance has moved stays for so long, whatever happens.
const COOL_DOWN: Span = Span::from_millis(600_000);

/// What a member knows and does in its current reign.
#[derive(Debug, Default)]
struct Reign {
    /// The last that it was told of each region.
    reports: BTreeMap<RegionId, RegionReport>,
    /// Regions to which something is being done.
    busy: BTreeSet<RegionId>,
    /// When balance moved a replica of a region onto or off a store.
    moved: BTreeMap<(RegionId, StoreId), Moment>,
}

/// How much was done, of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Operators that began.
    pub operators: u64,
    /// Of these, moves of replicas for balance.
    pub moves: u64,
    /// Of these, transfers of leads.
    pub transfers: u64,
}

/// The judge.
#[derive(Debug, Default)]
pub struct OrderJudge {
    reigns: BTreeMap<PeerId, Reign>,
    done: Done,
    /// When something was begun or ended last.
    last: Moment,
    /// Since when nothing happens that would be a reason to move anything twice.
    calm: Option<Moment>,
}

impl OrderJudge {
    /// A member begins to reign, and knows nothing.
    pub fn on_reign(&mut self, member: PeerId, now: Moment) {
        self.reigns.insert(member, Reign::default());
        self.last = now;
    }

    /// A member is told of a region.
    pub fn on_report(&mut self, member: PeerId, report: &RegionReport) {
        let reports = &mut self.reigns.entry(member).or_default().reports;
        let age = |report: &RegionReport| (report.region.epoch, report.term);
        let is_old = |known: &RegionReport| {
            let ((epoch, term), (known_epoch, known_term)) = (age(report), age(known));
            epoch.version < known_epoch.version
                || epoch.conf_ver < known_epoch.conf_ver
                || term < known_term
        };
        if !reports.get(&report.region.id).is_some_and(is_old) {
            reports.insert(report.region.id, report.clone());
        }
    }

    /// From now on nothing happens to stores any more, and nothing of what they carry changes.
    pub const fn on_calm(&mut self, now: Moment) {
        self.calm = Some(now);
    }

    /// Something becomes of an operator.
    ///
    /// # Errors
    /// It must not.
    pub fn on_event(&mut self, member: PeerId, now: Moment, event: &OperatorEvent) -> Verdict {
        let calm = self.calm;
        let reign = self.reigns.entry(member).or_default();
        match event {
            OperatorEvent::Begun(operator) => {
                self.done.count(operator);
                self.last = now;
                reign.on_begun(now, calm, operator)
            }
            OperatorEvent::Ordered(order) => reign.on_ordered(order),
            OperatorEvent::Ended(ended) => {
                self.last = now;
                reign.busy.remove(&ended.operator.plan.region);
                Ok(())
            }
        }
    }

    /// How much was done.
    #[must_use]
    pub const fn done(&self) -> Done {
        self.done
    }

    /// When something was begun or ended last, or a reign began.
    #[must_use]
    pub const fn last(&self) -> Moment {
        self.last
    }
}

impl Done {
    fn count(&mut self, operator: &Operator) {
        self.operators += 1;
        self.moves += u64::from(is_balance(operator));
        self.transfers += u64::from(operator.plan.kind == OperatorKind::TransferLeader);
    }
}

impl Reign {
    fn on_begun(&mut self, now: Moment, calm: Option<Moment>, operator: &Operator) -> Verdict {
        let region = operator.plan.region;
        require(self.busy.insert(region), "a region has one operator at a time", || {
            format!("{operator:?} is another one")
        })?;
        let Some((from, to)) = ends(operator).filter(|_| is_balance(operator)) else {
            return Ok(());
        };
        for store in [from, to] {
            let last = self.moved.insert((region, store), now);
            let is_first = last.is_none_or(|last| {
                now.since(last) >= COOL_DOWN && calm.is_none_or(|calm| last < calm)
            });
            require(is_first, "balance moves no replica twice", || {
                format!("region {region} and store {store} again after {last:?}: {operator:?}")
            })?;
        }
        Ok(())
    }

    fn on_ordered(&self, order: &Order) -> Verdict {
        let is_busy = self.busy.contains(&order.region);
        require(is_busy, "an order is of an operator", || format!("{order:?}"))?;
        let Some(report) = self.reports.get(&order.region) else {
            return require(false, "an order is for a region that is known", || {
                format!("{order:?}")
            });
        };
        let changes = match &order.command {
            Command::ChangePeer(change) => std::slice::from_ref(change),
            Command::ChangePeers(changes) => changes.as_slice(),
            Command::LeaveJoint | Command::TransferLeader(_) | Command::Split(_) => &[],
        };
        let mut votes = changes.iter().filter(|change| change.kind == PeerChangeKind::Voter);
        let early = votes.find(|change| !has_all(report, &change.peer));
        require(early.is_none(), "a learner votes when it has all data", || {
            format!("{early:?} in {order:?}, {report:?}")
        })
    }
}

fn is_balance(operator: &Operator) -> bool {
    operator.asked_by == SchedulerName::BalanceRegion.name()
}
