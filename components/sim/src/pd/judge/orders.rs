//! What is ordered of regions: one operator at a time, nobody votes before he has all data, and balance leaves alone what
//! it has moved.
//!
//! It knows what the reign that orders was told, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_base::{Moment, PeerId, RegionId, Span, StoreId};
use flotilla_placement::{
    Operator, OperatorEvent, OperatorKind, Order, RegionReport, SchedulerName,
    operator::{Command, PeerChange, PeerChangeKind},
};

use crate::judge::{Verdict, require};
use crate::placement::judge::ends;
use crate::placement::knowledge::has_all;

/// A replica that balance has moved stays for so long, whatever happens.
const COOL_DOWN: Span = Span::from_millis(600_000);

/// What a member knows and does in its current reign.
#[derive(Debug, Default)]
struct Reign {
    /// What it was told of each region in this turn, and the last before.
    reports: BTreeMap<RegionId, Vec<RegionReport>>,
    /// Regions to which something is being done.
    busy: BTreeSet<RegionId>,
    /// When balance moved a replica of a region onto or off a store.
    moved: BTreeMap<(RegionId, StoreId), Moment>,
}

/// An operator that begins.
#[derive(Clone, Copy, Debug)]
struct Begun {
    id: u64,
    region: RegionId,
    /// The stores between which balance moves a replica.
    moved: Option<[StoreId; 2]>,
}

impl Begun {
    fn of(operator: &Operator) -> Self {
        let moved = ends(operator).filter(|_| is_balance(operator));
        let moved = moved.map(|(from, to)| [from, to]);
        Self { id: operator.id.0, region: operator.plan.region, moved }
    }
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
        let told = reports.entry(report.region.id).or_default();
        if !told.last().is_some_and(is_old) {
            told.push(report.clone());
        }
    }

    /// A member takes what has come. Its orders show behind that: each may rest on any report of the turn.
    pub fn on_turn(&mut self, member: PeerId) {
        let reports = &mut self.reigns.entry(member).or_default().reports;
        for told in reports.values_mut().filter(|told| told.len() > 1) {
            told.drain(..told.len() - 1);
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
                reign.on_begun(now, calm, &Begun::of(operator))
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
    fn on_begun(&mut self, now: Moment, calm: Option<Moment>, begun: &Begun) -> Verdict {
        let Begun { id, region, moved } = *begun;
        require(self.busy.insert(region), "a region has one operator at a time", || {
            format!("region {region}: operator {id} is another one")
        })?;
        for store in moved.into_iter().flatten() {
            let last = self.moved.insert((region, store), now);
            let is_first = last.is_none_or(|last| {
                now.since(last) >= COOL_DOWN && calm.is_none_or(|calm| last < calm)
            });
            require(is_first, "balance moves no replica twice", || {
                format!("region {region} and store {store} again after {last:?}: operator {id}")
            })?;
        }
        Ok(())
    }

    fn on_ordered(&self, order: &Order) -> Verdict {
        let is_busy = self.busy.contains(&order.region);
        require(is_busy, "an order is of an operator", || format!("{order:?}"))?;
        // It may have been told in the very turn in which it began to reign.
        let Some(told) = self.reports.get(&order.region) else { return Ok(()) };
        let changes = match &order.command {
            Command::ChangePeer(change) => std::slice::from_ref(change),
            Command::ChangePeers(changes) => changes.as_slice(),
            Command::LeaveJoint | Command::TransferLeader(_) | Command::Split(_) => &[],
        };
        let mut votes = changes.iter().filter(|change| change.kind == PeerChangeKind::Voter);
        let is_early = |change: &PeerChange| !told.iter().any(|it| has_all(it, &change.peer));
        let early = votes.find(|change| is_early(change));
        require(early.is_none(), "a learner votes when it has all data", || {
            format!("{early:?} in {order:?}, {:?}", told.last())
        })
    }
}

fn is_balance(operator: &Operator) -> bool {
    operator.asked_by == SchedulerName::BalanceRegion.name()
}

#[cfg(test)]
mod tests {
    use flotilla_base::{ConfVer, Epoch, Peer, PeerRole, Region, Term};

    use super::*;
    use crate::judge::samples::broken;

    const REGION: RegionId = RegionId(2);
    const MEMBER: PeerId = PeerId(1);
    const TEN_MINUTES: Moment = Moment(COOL_DOWN.0 + 1);

    fn learner() -> Peer {
        Peer { id: PeerId(9), store: StoreId(4), role: PeerRole::Learner }
    }

    fn report(term: u64, pending: &[Peer]) -> RegionReport {
        let region = Region { id: REGION, peers: vec![learner()], ..Region::default() };
        let pending_peers = pending.to_vec();
        RegionReport { region, term: Term(term), pending_peers, ..RegionReport::default() }
    }

    fn promotion() -> Order {
        let change = PeerChange { kind: PeerChangeKind::Voter, peer: learner() };
        let command = Command::ChangePeer(change);
        Order { region: REGION, epoch: Epoch::FIRST, leader: learner(), command }
    }

    fn moves(from: u64, to: u64) -> Begun {
        Begun { id: 1, region: REGION, moved: Some([StoreId(from), StoreId(to)]) }
    }

    #[test]
    fn a_promotion_before_the_data_is_there_is_found() {
        let mut judge = OrderJudge::default();
        let order = OperatorEvent::Ordered(promotion());
        let rule = broken(judge.on_event(MEMBER, Moment(1), &order));
        assert_eq!(rule, "an order is of an operator");
        judge.reigns.entry(MEMBER).or_default().busy.insert(REGION);
        judge.on_report(MEMBER, &report(7, &[learner()]));
        judge.on_report(MEMBER, &report(6, &[]));
        let rule = broken(judge.on_event(MEMBER, Moment(1), &order));
        assert_eq!(rule, "a learner votes when it has all data");
        judge.on_report(MEMBER, &report(7, &[]));
        assert_eq!(judge.on_event(MEMBER, Moment(1), &order), Ok(()));
        judge.on_report(MEMBER, &report(7, &[learner()]));
        assert_eq!(judge.on_event(MEMBER, Moment(1), &order), Ok(()), "of the same turn");
        judge.on_turn(MEMBER);
        assert!(judge.on_event(MEMBER, Moment(1), &order).is_err(), "of an earlier turn");
        judge.on_reign(MEMBER, Moment(2));
        assert!(judge.on_event(MEMBER, Moment(2), &order).is_err(), "another reign knows nothing");
    }

    #[test]
    fn a_report_of_older_members_says_nothing() {
        let mut judge = OrderJudge::default();
        let mut newer = report(6, &[learner()]);
        newer.region.epoch.conf_ver = ConfVer(9);
        judge.on_report(MEMBER, &newer);
        judge.on_report(MEMBER, &report(6, &[]));
        judge.reigns.entry(MEMBER).or_default().busy.insert(REGION);
        assert!(judge.on_event(MEMBER, Moment(1), &OperatorEvent::Ordered(promotion())).is_err());
    }

    #[test]
    fn two_operators_of_a_region_are_found() {
        let mut reign = Reign::default();
        let begun = Begun { id: 1, region: REGION, moved: None };
        assert_eq!(reign.on_begun(Moment(1), None, &begun), Ok(()));
        let rule = broken(reign.on_begun(Moment(2), None, &Begun { id: 2, ..begun }));
        assert_eq!(rule, "a region has one operator at a time");
    }

    #[test]
    fn a_replica_that_is_moved_on_is_found() {
        let twice = "balance moves no replica twice";
        for (from, to) in [(4, 5), (3, 1)] {
            let mut reign = Reign::default();
            assert_eq!(reign.on_begun(Moment(1), None, &moves(1, 4)), Ok(()));
            reign.busy.clear();
            assert_eq!(reign.on_begun(Moment(2), None, &moves(2, 6)), Ok(()));
            reign.busy.clear();
            assert_eq!(broken(reign.on_begun(Moment(3), None, &moves(from, to))), twice);
        }
        let again = |calm| {
            let mut reign = Reign::default();
            assert_eq!(reign.on_begun(Moment(1), calm, &moves(1, 4)), Ok(()));
            reign.busy.clear();
            reign.on_begun(TEN_MINUTES, calm, &moves(4, 5))
        };
        assert_eq!(again(None), Ok(()), "something may have changed");
        assert_eq!(again(Some(Moment(2))), Ok(()), "that was before the calm");
        assert_eq!(broken(again(Some(Moment(1)))), twice);
    }
}
