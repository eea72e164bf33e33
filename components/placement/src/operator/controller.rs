//! The operators of one reign: which region has one, what its leader is told next, and how it ends.
//!
//! Each report of a region is compared with what the operator has made of the members so far, and with what
//! its current step makes of them. Anything else was made by somebody else, and the operator ends: its further steps were
//! planned for other members. A report whose members are the same at another conf version says so too, since they
//! were changed and changed back.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
};

use flotilla_base::{Bug, Epoch, Moment, Peer, RegionId, Seeded, StoreId};

use super::{
    arrivals::Arrivals,
    change::{OperatorRefusal, Sight},
    plan::Plan,
    setbacks::SetbackLog,
    shape::Shape,
    step::{Command, PAUSE, Step},
};
use crate::view::{ClusterView, RegionInfo};

/// Regions that are changed at the same time.
pub const RUNNING_MAX: usize = 1_024;
/// Operators that are remembered behind their end.
pub const ENDED_MAX: usize = 1_024;

/// Number of an operator within its reign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct OperatorId(pub u64);

/// A moment, by the clock that counts and by the clock that people read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// The monotonic clock.
    pub now: Moment,
    /// The wall clock, milliseconds since 1970.
    pub unix_ms: u64,
}

/// A change of a region that is under way, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// Its number.
    pub id: OperatorId,
    /// Who asked for it.
    pub asked_by: &'static str,
    /// What is to be done.
    pub plan: Plan,
    /// When it was made.
    pub created: Stamp,
    /// When its time is over.
    pub deadline: Moment,
    progress: Progress,
}

/// How far an operator has come.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Progress {
    /// Steps that are done.
    done: usize,
    /// The members behind these steps.
    members: Shape,
    /// What the last report showed.
    seen: Seen,
    /// When the leader was last told what it has still to do.
    sent: Option<Moment>,
}

/// What a report shows of members and lead.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    members: Shape,
    epoch: Epoch,
    leader: Option<Peer>,
}

/// How an operator ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All steps are done.
    Finished,
    /// Its time was over. A step that was ordered may still come about.
    TimedOut,
    /// It was given up. A step that was ordered may still come about.
    Cancelled(CancelReason),
}

/// Why an operator was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelReason {
    /// The region is no more.
    RegionGone,
    /// Somebody else changed its members.
    MembersChanged,
    /// A store that is to get a peer will not come back, or is to leave; or one that is to get the lead is not up.
    StoreLost(StoreId),
    /// Somebody wanted so.
    Stopped,
}

impl Ending {
    /// The word of the public protocol for its reason.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Finished => "",
            Self::TimedOut => "timeout",
            Self::Cancelled(CancelReason::RegionGone) => "region not found",
            Self::Cancelled(CancelReason::MembersChanged) => "epoch not match",
            Self::Cancelled(CancelReason::StoreLost(_)) => "stale status",
            Self::Cancelled(CancelReason::Stopped) => "admin stop",
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = self.reason();
        match self {
            Self::Finished => f.write_str("finished"),
            Self::TimedOut => {
                write!(f, "{reason}: its time was over; what was ordered last may still happen")
            }
            Self::Cancelled(CancelReason::RegionGone) => {
                write!(f, "{reason}: it is part of another region now")
            }
            Self::Cancelled(CancelReason::MembersChanged) => {
                write!(f, "{reason}: somebody else changed its members")
            }
            Self::Cancelled(CancelReason::StoreLost(store)) => {
                write!(f, "{reason}: store {store} is not up, or leaves the cluster")
            }
            Self::Cancelled(CancelReason::Stopped) => {
                write!(f, "{reason}: it was cancelled; what was ordered last may still happen")
            }
        }
    }
}

/// An operator behind its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedOperator {
    /// As it was then.
    pub operator: Operator,
    /// How it ended.
    pub ending: Ending,
    /// When.
    pub at: Stamp,
}

/// What the leader of a region is to be told. It may be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The region.
    pub region: RegionId,
    /// The order is void for any other epoch.
    pub epoch: Epoch,
    /// The leader.
    pub leader: Peer,
    /// What it is to do.
    pub command: Command,
}

/// What becomes of operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorEvent {
    /// One begins.
    Begun(Operator),
    /// A leader is to be told.
    Ordered(Order),
    /// One has ended.
    Ended(Arc<EndedOperator>),
}

/// Operators of a reign.
#[derive(Clone, Debug, Default)]
pub struct OperatorList {
    /// Those under way, by region.
    pub running: Vec<Operator>,
    /// Those that have ended, the last one first.
    pub ended: Vec<Arc<EndedOperator>>,
}

impl Operator {
    /// How many of its steps are done.
    #[must_use]
    pub const fn done(&self) -> usize {
        self.progress.done
    }

    /// What is being done; `None` where all is done.
    pub(super) fn step(&self) -> Option<&Step> {
        self.plan.steps.get(self.progress.done)
    }

    /// Takes what a leader reports of the region.
    fn observe(&mut self, info: &RegionInfo, seeded: Seeded) -> Result<(), CancelReason> {
        let is_careless = seeded.has(Bug::EPOCH_IGNORED_OPERATOR);
        let seen = Seen::of(info);
        let progress = &mut self.progress;
        let is_same = seen.members == progress.seen.members;
        if is_same && seen.epoch.conf_ver != progress.seen.epoch.conf_ver && !is_careless {
            return Err(CancelReason::MembersChanged);
        }
        // What had begun was taken back: the same peer must not come again, since its store may have destroyed it.
        let had_begun = progress.seen.members != progress.members;
        if had_begun && seen.members == progress.members && !is_careless {
            return Err(CancelReason::MembersChanged);
        }
        // What was ordered had its effect, or is void by now: to wait would only cost time.
        if seen != progress.seen {
            progress.sent = None;
        }
        progress.seen = seen;
        while let Some(step) = self.plan.steps.get(progress.done) {
            let after = progress.members.after(step);
            if !step.is_done(info, &progress.members) {
                let is_ours = [&progress.members, &after].contains(&&progress.seen.members);
                let goes_on = is_ours || is_careless;
                return if goes_on { Ok(()) } else { Err(CancelReason::MembersChanged) };
            }
            progress.members = after;
            progress.done += 1;
            progress.sent = None;
        }
        debug_assert!(progress.done == self.plan.steps.len(), "nothing is left to be done");
        Ok(())
    }

    /// What the leader is to be told now, if anything.
    fn order(
        &mut self,
        sight: &Sight<'_>,
        info: &RegionInfo,
    ) -> Result<Option<Order>, CancelReason> {
        let (Some(step), Some(leader)) = (self.step(), info.leader) else { return Ok(None) };
        if let Some(store) = step.lost(sight) {
            return Err(CancelReason::StoreLost(store));
        }
        let is_early = |sent: Moment| sight.now < sent + PAUSE;
        if self.progress.sent.is_some_and(is_early) {
            return Ok(None);
        }
        let Some(command) = step.command(sight, info) else { return Ok(None) };
        self.progress.sent = Some(sight.now);
        Ok(Some(Order { region: info.region.id, epoch: info.region.epoch, leader, command }))
    }
}

impl Seen {
    fn of(info: &RegionInfo) -> Self {
        let members = Shape::of(&info.region);
        Self { members, epoch: info.region.epoch, leader: info.leader }
    }
}

/// The operators of one reign.
#[derive(Debug, Default)]
pub struct OperatorController {
    running: BTreeMap<RegionId, Operator>,
    /// The last one first, at most [`ENDED_MAX`].
    ended: VecDeque<Arc<EndedOperator>>,
    /// What has come to each store lately.
    arrivals: Arrivals,
    /// What was waited for in vain.
    setbacks: SetbackLog,
    last_id: u64,
    seeded: Seeded,
}

impl OperatorController {
    /// None yet; with a mistake that is planted on purpose, if any.
    #[must_use]
    pub fn planting(seeded: Seeded) -> Self {
        Self { seeded, ..Self::default() }
    }

    pub(crate) const fn seeded(&self) -> Seeded {
        self.seeded
    }

    /// Whether the region may be changed: nothing else is being done to it, nor to too many others.
    ///
    /// # Errors
    /// [`OperatorRefusal::Busy`], [`OperatorRefusal::Full`].
    pub fn check_free(&self, region: RegionId) -> Result<(), OperatorRefusal> {
        let is_careless = self.seeded.has(Bug::TWO_OPERATORS_ON_ONE_REGION);
        if let Some(running) = self.running.get(&region).filter(|_| !is_careless) {
            let brief = running.plan.brief.clone();
            return Err(OperatorRefusal::Busy { region, brief });
        }
        if self.running.len() >= RUNNING_MAX {
            return Err(OperatorRefusal::Full(RUNNING_MAX));
        }
        Ok(())
    }

    /// Begins what was planned, unless the region has changed since. All new peers have their ids.
    ///
    /// # Errors
    /// [`OperatorRefusal`]; nothing was ordered then.
    pub fn begin(
        &mut self,
        sight: &Sight<'_>,
        plan: Plan,
        (asked_by, created): (&'static str, Stamp),
    ) -> Result<Vec<OperatorEvent>, OperatorRefusal> {
        let region = plan.region;
        self.check_free(region)?;
        let info = sight.view.region(region).ok_or(OperatorRefusal::UnknownRegion(region))?;
        let (decided, known) = (plan.epoch, info.region.epoch);
        if decided != known || Shape::of(&info.region) != plan.members {
            return Err(OperatorRefusal::StaleEpoch { region, decided, known });
        }
        for step in &plan.steps {
            let has_id = !matches!(step, Step::AddLearner(peer) if peer.id.is_none());
            assert!(has_id, "a peer without an id in {plan:?}");
        }
        self.last_id += 1;
        let progress =
            Progress { done: 0, members: plan.members.clone(), seen: Seen::of(info), sent: None };
        let operator = Operator {
            id: OperatorId(self.last_id),
            asked_by,
            deadline: created.now + plan.timeout(),
            plan,
            created,
            progress,
        };
        self.arrivals.note(created.now, &operator.plan);
        let mut events = vec![OperatorEvent::Begun(operator.clone())];
        self.running.insert(region, operator);
        events.extend(self.pursue(sight, info, created));
        Ok(events)
    }

    /// A leader has reported a region, and the view has taken it.
    pub fn on_report(
        &mut self,
        sight: &Sight<'_>,
        region: RegionId,
        at: Stamp,
    ) -> Vec<OperatorEvent> {
        match sight.view.region(region) {
            Some(info) if self.running.contains_key(&region) => {
                self.pursue(sight, info, at).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    /// Ends the operators of regions that are no more. Called when a report took keys from other regions.
    pub fn on_borders_moved(&mut self, view: &ClusterView, at: Stamp) -> Vec<OperatorEvent> {
        let is_gone = |region: &&RegionId| view.region(**region).is_none();
        let gone: Vec<RegionId> = self.running.keys().filter(is_gone).copied().collect();
        let ending = Ending::Cancelled(CancelReason::RegionGone);
        gone.into_iter().filter_map(|region| self.end(region, ending, at)).collect()
    }

    /// Ends the operators whose time is over.
    pub fn on_time(&mut self, at: Stamp) -> Vec<OperatorEvent> {
        let is_late = |(_, running): &(&RegionId, &Operator)| running.deadline <= at.now;
        let late: Vec<RegionId> =
            self.running.iter().filter(is_late).map(|(region, _)| *region).collect();
        late.into_iter().filter_map(|region| self.end(region, Ending::TimedOut, at)).collect()
    }

    /// Gives up the operator of a region; `None` where it has none.
    pub fn cancel(&mut self, region: RegionId, at: Stamp) -> Option<OperatorEvent> {
        self.end(region, Ending::Cancelled(CancelReason::Stopped), at)
    }

    /// When [`Self::on_time`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Moment {
        let deadlines = self.running.values().map(|running| running.deadline);
        deadlines.min().unwrap_or(Moment::NEVER)
    }

    /// Those that go on, by region.
    pub fn iter(&self) -> impl Iterator<Item = &Operator> {
        self.running.values()
    }

    /// The operator of a region, while it goes on.
    #[must_use]
    pub fn running(&self, region: RegionId) -> Option<&Operator> {
        self.running.get(&region)
    }

    /// The last operator of a region that has ended, as long as it is remembered.
    #[must_use]
    pub fn last_ended(&self, region: RegionId) -> Option<&Arc<EndedOperator>> {
        self.ended.iter().find(|ended| ended.operator.plan.region == region)
    }

    /// Peers that have begun to come to a store within a minute.
    pub(crate) fn arrivals(&self, now: Moment, store: StoreId) -> u32 {
        self.arrivals.of(now, store)
    }

    pub(super) const fn setbacks(&self) -> &SetbackLog {
        &self.setbacks
    }

    /// How many go on.
    #[must_use]
    pub fn len(&self) -> usize {
        self.running.len()
    }

    /// Whether none goes on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// All of them.
    #[must_use]
    pub fn list(&self) -> OperatorList {
        OperatorList {
            running: self.running.values().cloned().collect(),
            ended: self.ended.iter().cloned().collect(),
        }
    }

    /// Looks at a region that has an operator.
    fn pursue(&mut self, sight: &Sight<'_>, info: &RegionInfo, at: Stamp) -> Option<OperatorEvent> {
        let region = info.region.id;
        let operator = self.running.get_mut(&region)?;
        let is_blind = self.seeded.has(Bug::REMOVAL_BEFORE_CAUGHT_UP);
        let blind = is_blind.then(|| RegionInfo { pending_peers: Vec::new(), ..info.clone() });
        let info = blind.as_ref().unwrap_or(info);
        if let Err(reason) = operator.observe(info, self.seeded) {
            return self.end(region, Ending::Cancelled(reason), at);
        }
        // Success comes before the clock: a report that was late is no failure of what it reports.
        if operator.step().is_none() {
            return self.end(region, Ending::Finished, at);
        }
        if operator.deadline <= at.now {
            return self.end(region, Ending::TimedOut, at);
        }
        match operator.order(sight, info) {
            Ok(order) => order.map(OperatorEvent::Ordered),
            Err(reason) => self.end(region, Ending::Cancelled(reason), at),
        }
    }

    fn end(&mut self, region: RegionId, ending: Ending, at: Stamp) -> Option<OperatorEvent> {
        let operator = self.running.remove(&region)?;
        let ended = Arc::new(EndedOperator { operator, ending, at });
        self.setbacks.note(&ended);
        self.ended.push_front(Arc::clone(&ended));
        self.ended.truncate(ENDED_MAX);
        debug_assert!(self.running.len() <= RUNNING_MAX, "more than were let in");
        Some(OperatorEvent::Ended(ended))
    }
}
