//! What the placement driver decides by itself: which regions it mends, and what it moves to make the cluster better.
//!
//! A region is judged with each report of its leader, which comes at once with a change and else every ten seconds: a region
//! without reports has nobody who could change it. What is not sound waits its turn ([`Due`]). Schedulers look at the stores,
//! soon while they find something and seldom while they do not.
//!
//! Nothing is decided in a new reign before every key has an owner that is known, and every store has had the time to
//! come back: half of a picture would show stores empty that are not.

use std::collections::BTreeMap;

use flotilla_base::{Bug, Moment, RegionId, Span, StoreId};

use crate::{
    check::{self, Finding},
    decision::{Decision, DecisionLog, Intent},
    due::Due,
    fleet::Fleet,
    meta::MetaChange,
    operator::{Operator, OperatorController, OperatorEvent, Sight, Stamp, setbacks::Setbacks},
    policy::{Limits, SchedulerName, StorePolicy},
    round::Round,
    schedule::{
        self, BalanceLeader, BalanceRegion, Eviction, HotRegions, Idle, Moved, Pace, Shuffle,
        SlowStores,
    },
};

/// Time until a region that cannot be mended is looked at again.
const STUCK_PAUSE: Span = Span::from_millis(1_000);
/// Time until a look at regions that wait, where as many are being mended as may be.
const FULL_PAUSE: Span = Span::from_millis(100);
/// Regions that one look considers at most.
const REGIONS_PER_LOOK: usize = 1_024;
/// Whether the picture is whole is looked at so often.
const GATE_PAUSE: Span = Span::from_millis(200);

/// The mind of one reign.
#[derive(Debug, Default)]
pub struct Mind {
    gate: Gate,
    /// Regions that are not as they are to be.
    wanting: Due,
    /// Before this, nobody looks at them.
    next_repair: Moment,
    balance_leader: BalanceLeader,
    balance_region: BalanceRegion,
    hot_regions: HotRegions,
    moved: Moved,
    shuffle: Shuffle,
    slow_stores: SlowStores,
    paces: BTreeMap<SchedulerName, Pace>,
    decisions: DecisionLog,
}

/// Whether the picture of the cluster is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    /// It was not yet, and is looked at again then.
    Shut(Moment),
    /// It was.
    Open,
}

impl Default for Gate {
    fn default() -> Self {
        Self::Shut(Moment(0))
    }
}

impl Mind {
    /// A region was reported, and the view and its operator have taken it.
    pub fn on_report(
        &mut self,
        sight: &Sight<'_>,
        operators: &OperatorController,
        region: RegionId,
    ) {
        let Some(info) = sight.view.region(region) else { return self.on_gone(region) };
        if operators.running(region).is_some() {
            self.wanting.forget(region);
        } else if check::is_sound(sight, info) {
            self.wanting.forget(region);
            self.decisions.forget_stuck(region);
        } else {
            self.wanting.put(region, sight.now);
        }
    }

    /// A region is no more.
    pub fn on_gone(&mut self, region: RegionId) {
        self.wanting.forget(region);
        self.decisions.forget_stuck(region);
    }

    /// Something became of an operator.
    pub fn on_event(&mut self, now: Moment, event: &OperatorEvent) {
        match event {
            OperatorEvent::Begun(operator) => match SchedulerName::parse(operator.asked_by) {
                Some(SchedulerName::BalanceRegion) => self.moved.note(now, &operator.plan),
                Some(SchedulerName::BalanceHotRegion) => {
                    self.moved.note_heated(now, &operator.plan);
                }
                _ => {}
            },
            // Its room is free again.
            OperatorEvent::Ended(_) => self.hurry(now),
            OperatorEvent::Ordered(_) => {}
        }
    }

    /// Stores or what people decided have changed: schedulers that had found nothing look again soon.
    pub fn hurry(&mut self, now: Moment) {
        self.paces.values_mut().for_each(|pace| pace.hurry(now));
    }

    /// When [`Self::look`] has something to do.
    #[must_use]
    pub fn next_look(&self, sight: &Sight<'_>) -> Moment {
        if let Gate::Shut(next) = self.gate {
            return next;
        }
        let repair = self.wanting.next().max(self.next_repair);
        let pace = |name: &SchedulerName| self.paces.get(name).map_or(Moment(0), Pace::next);
        let schedulers = sight.policy.schedulers.keys().map(pace);
        schedulers.min().unwrap_or(Moment::NEVER).min(repair)
    }

    /// The decisions of this reign.
    #[must_use]
    pub const fn decisions(&self) -> &DecisionLog {
        &self.decisions
    }

    /// Something was decided because somebody asked for it.
    pub fn note(&mut self, at: Stamp, decision: Decision) {
        self.decisions.note(at, decision);
    }

    /// Regions that are not as they are to be and wait their turn.
    #[must_use]
    pub fn wanting(&self) -> usize {
        self.wanting.len()
    }

    /// What is to be recorded before anything is decided by it: which store is slow.
    #[must_use]
    pub fn to_record(&mut self, sight: &Sight<'_>, at: Stamp) -> Option<MetaChange> {
        if sight.policy.settings.is_halted || !self.is_open(sight) {
            return None;
        }
        self.slow_stores.judge(sight, at.unix_ms).map(MetaChange::NoteSlow)
    }

    /// What is to begin now. Each comes with its reason, which is recorded.
    pub fn look(
        &mut self,
        sight: Sight<'_>,
        operators: &OperatorController,
        at: Stamp,
    ) -> Vec<Intent> {
        if !self.is_open(&sight) {
            return Vec::new();
        }
        if sight.policy.settings.is_halted {
            self.halt(&sight, at);
            return Vec::new();
        }
        let (fleet, evictions) = seen(sight, operators, at.unix_ms);
        let mut round = Round::new(fleet, operators);
        self.repair(&mut round, at);
        self.schedule(&mut round, &evictions, at);
        let intents = round.into_intents();
        for intent in &intents {
            self.decisions.note(at, intent.decision.clone());
        }
        intents
    }

    /// Whether the picture is whole. It stays so: stores that fall silent later are known, and so are their regions.
    fn is_open(&mut self, sight: &Sight<'_>) -> bool {
        if let Gate::Shut(next) = self.gate {
            if next > sight.now {
                return false;
            }
            let is_whole = sight.gap().is_none();
            self.gate = if is_whole { Gate::Open } else { Gate::Shut(sight.now + GATE_PAUSE) };
        }
        self.gate == Gate::Open
    }

    fn halt(&mut self, sight: &Sight<'_>, at: Stamp) {
        self.next_repair = sight.now + STUCK_PAUSE;
        for name in sight.policy.schedulers.keys() {
            self.paces.entry(*name).or_default().idle(sight.now);
            self.decisions.note_idle(at, name.name(), "halt-scheduling is true".to_owned());
        }
    }

    fn repair(&mut self, round: &mut Round<'_>, at: Stamp) {
        let sight = round.fleet.sight;
        if self.wanting.next().max(self.next_repair) > sight.now {
            return;
        }
        let is_repair = |running: &&Operator| check::is_repair(running.asked_by);
        let running = round.operators.iter().filter(is_repair).count();
        let limit = sight.policy.settings.limits.replica as usize;
        let last = round.decided() + limit.saturating_sub(running);
        let setbacks = Setbacks::of(round.operators, sight.now);
        for _look in 0..REGIONS_PER_LOOK {
            debug_assert!(round.decided() <= last, "as many repairs as may run at once");
            if round.decided() >= last {
                self.next_repair = sight.now + FULL_PAUSE;
                break;
            }
            let Some(region) = self.wanting.pop(sight.now) else { break };
            let Some(info) = sight.view.region(region) else { continue };
            if !round.is_free(region) {
                continue;
            }
            match check::check(&round.fleet, info, &setbacks) {
                Finding::Sound => self.decisions.forget_stuck(region),
                Finding::Do(intent) => round.decide(*intent),
                Finding::Stuck(why) => {
                    self.decisions.note_stuck(at, region, why);
                    self.wanting.put(region, sight.now + STUCK_PAUSE);
                }
            }
        }
    }

    fn schedule(&mut self, round: &mut Round<'_>, evictions: &[Eviction], at: Stamp) {
        let Sight { now, policy, .. } = round.fleet.sight;
        for (name, scheduler) in &policy.schedulers {
            let mut pace = self.paces.get(name).copied().unwrap_or_default();
            if pace.next() > now {
                continue;
            }
            let before = round.decided();
            let idle = if scheduler.is_paused(at.unix_ms) {
                "it is paused".to_owned()
            } else {
                self.run(*name, round, evictions)
            };
            if round.decided() > before {
                pace.found(now);
            } else {
                pace.idle(now);
                self.decisions.note_idle(at, name.name(), idle);
            }
            self.paces.insert(*name, pace);
        }
    }

    fn run(&mut self, name: SchedulerName, round: &mut Round<'_>, evictions: &[Eviction]) -> Idle {
        let Limits { leader, region, hot_region, .. } = round.fleet.sight.policy.settings.limits;
        let room = |limit: u32| {
            let running = round.operators.iter().filter(|it| it.asked_by == name.name()).count();
            (limit as usize).saturating_sub(running)
        };
        match name {
            SchedulerName::BalanceLeader => {
                let room = room(leader);
                self.balance_leader.look(round, &self.moved, room)
            }
            SchedulerName::BalanceRegion => {
                let room = room(region);
                let forgetful = Moved::default();
                let is_eager = round.fleet.seeded.has(Bug::NO_COOL_DOWN_OR_MARGIN);
                let moved = if is_eager { &forgetful } else { &self.moved };
                self.balance_region.look(round, moved, room)
            }
            SchedulerName::EvictLeader | SchedulerName::EvictSlowStore => {
                let room = room(leader);
                let own = evictions.iter().filter(|it| it.by == name.name());
                schedule::evict(round, &own.collect::<Vec<_>>(), room)
            }
            SchedulerName::GrantLeader => {
                let room = room(leader);
                let named = round.fleet.sight.policy.schedulers.get(&name);
                let stores = named.into_iter().flat_map(|scheduler| &scheduler.stores).copied();
                schedule::grant(round, &stores.collect::<Vec<_>>(), room)
            }
            SchedulerName::ShuffleLeader => {
                let room = room(leader);
                self.shuffle.look(round, name, room)
            }
            SchedulerName::ShuffleRegion => {
                let room = room(region);
                self.shuffle.look(round, name, room)
            }
            SchedulerName::BalanceHotRegion => {
                let room = room(hot_region);
                self.hot_regions.look(round, &self.moved, room)
            }
        }
    }
}

/// The stores as decisions see them: with what keeps leads away from some.
#[must_use]
pub fn fleet<'a>(sight: Sight<'a>, operators: &OperatorController, unix_ms: u64) -> Fleet<'a> {
    seen(sight, operators, unix_ms).0
}

fn seen<'a>(
    sight: Sight<'a>,
    operators: &OperatorController,
    unix_ms: u64,
) -> (Fleet<'a>, Vec<Eviction>) {
    let mut fleet = Fleet::of(sight, operators);
    let evictions = evictions(&fleet, unix_ms);
    evictions.iter().for_each(|eviction| fleet.evict(eviction.store));
    let granted = sight.policy.schedulers.get(&SchedulerName::GrantLeader);
    let granted = granted.filter(|scheduler| !scheduler.is_paused(unix_ms));
    for store in granted.into_iter().flat_map(|scheduler| &scheduler.stores) {
        fleet.grant(*store);
    }
    (fleet, evictions)
}

/// Stores that are to lead nothing.
fn evictions(fleet: &Fleet<'_>, unix_ms: u64) -> Vec<Eviction> {
    let Sight { policy, .. } = fleet.sight;
    let named = policy.schedulers.get(&SchedulerName::EvictLeader);
    let named = named.filter(|scheduler| !scheduler.is_paused(unix_ms));
    let named = named.into_iter().flat_map(|scheduler| &scheduler.stores).map(|store| Eviction {
        store: *store,
        by: SchedulerName::EvictLeader.name(),
        why: format!("leads are to leave store {store}: evict-leader-scheduler names it"),
    });
    let is_maintained = |(_, policy): &(&StoreId, &StorePolicy)| policy.is_maintained(unix_ms);
    let maintained = policy.stores.iter().filter(is_maintained).map(|(store, _)| Eviction {
        store: *store,
        by: SchedulerName::EvictLeader.name(),
        why: format!("leads are to leave store {store}: it is being worked on"),
    });
    let slow = policy.schedulers.get(&SchedulerName::EvictSlowStore);
    let slow = slow.filter(|scheduler| !scheduler.is_paused(unix_ms));
    let slow = slow.into_iter().flat_map(|scheduler| &scheduler.stores).map(|store| {
        let score = fleet.seat(*store).map_or(0, |seat| seat.stats.slow_score);
        Eviction {
            store: *store,
            by: SchedulerName::EvictSlowStore.name(),
            why: format!("leads are to leave store {store}: its disk is slow, or was a short time ago (score {score})"),
        }
    });
    named.chain(maintained).chain(slow).collect()
}

#[cfg(test)]
#[path = "mind/tests.rs"]
mod tests;
