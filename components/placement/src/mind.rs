//! What the placement driver decides by itself: which regions it mends, and what it moves to make the cluster better.
//!
//! A region is judged with each report of its leader, which comes at once with a change and else every ten seconds: a region
//! without reports has nobody who could change it. What is not sound waits its turn ([`Wanting`]). Schedulers look at the stores,
//! soon while they find something and seldom while they do not.
//!
//! Nothing is decided in a new reign before every key has an owner that is known, and every store has had the time to
//! come back: half of a picture would show stores empty that are not.

use std::collections::BTreeMap;

use flotilla_base::{Bug, Moment, RegionId, Span, StoreId};

use crate::{
    check::{self, Finding, Standing, Terrain},
    decision::{Decision, DecisionLog, Intent},
    fleet::Fleet,
    meta::MetaChange,
    operator::{Operator, OperatorController, OperatorEvent, Sight, Stamp, setbacks::Setbacks},
    policy::{Limits, Policy, SchedulerName, StorePolicy},
    round::Round,
    schedule::{
        self, BalanceLeader, BalanceRegion, Eviction, HotRegions, Idle, Moved, Pace, Shuffle,
        SlowStores,
    },
    view::RegionInfo,
    wanting::{Rank, Wanting},
};

/// Time until the next look at regions, while nothing is to be decided.
const HALT_PAUSE: Span = Span::from_millis(1_000);
/// Time until a look at regions that wait, where as many are being mended as may be.
const FULL_PAUSE: Span = Span::from_millis(100);
/// Regions that one look considers at most.
const REGIONS_PER_LOOK: usize = 1_024;
/// Stores that all of one look's searches for a place consider at most: each of them considers all.
const STORES_PER_LOOK: usize = 65_536;
/// Whether the picture is whole is looked at so often.
const GATE_PAUSE: Span = Span::from_millis(200);

/// The mind of one reign.
#[derive(Debug, Default)]
pub struct Mind {
    gate: Gate,
    /// Regions that are not as they are to be.
    wanting: Wanting,
    /// What they are judged on.
    terrain: Terrain,
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
            return self.wanting.forget(region);
        }
        match check::standing(sight, info, &mut self.terrain) {
            Standing::Sound => self.on_gone(region),
            standing => self.wanting.put(sight.now, info, self.terrain.revision(), standing),
        }
    }

    /// A region is no more, or wants nothing.
    pub fn on_gone(&mut self, region: RegionId) {
        self.wanting.forget(region);
        self.decisions.forget_stuck(region);
    }

    /// Something became of an operator.
    pub fn on_event(&mut self, now: Moment, event: &OperatorEvent) {
        match event {
            // Whoever moved a replica wants it where it went.
            OperatorEvent::Begun(operator) => match SchedulerName::parse(operator.asked_by) {
                Some(SchedulerName::BalanceHotRegion) => {
                    self.moved.note_heated(now, &operator.plan);
                }
                _ if operator.plan.new_peers() > 0 => self.moved.note(now, &operator.plan),
                _ => {}
            },
            // Its room is free again.
            OperatorEvent::Ended(ended) => {
                self.hurry(now);
                if ended.operator.plan.new_peers() > 0 {
                    self.wanting.hasten(now);
                }
            }
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
        let schedulers = turns(sight.policy).map(|name| pace(&name));
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
        self.terrain.survey(&fleet);
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
        self.next_repair = sight.now + HALT_PAUSE;
        for name in turns(sight.policy) {
            self.paces.entry(name).or_default().idle(sight.now);
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
        let mut searches = STORES_PER_LOOK / sight.stores.len().max(1) + 1;
        for _look in 0..REGIONS_PER_LOOK {
            debug_assert!(round.decided() <= last, "as many repairs as may run at once");
            if round.decided() >= last || round.is_full() || searches == 0 {
                self.next_repair = sight.now + FULL_PAUSE;
                break;
            }
            let Some((region, rank)) = self.wanting.pop(sight.now) else { break };
            let Some(info) = sight.view.region(region) else {
                self.on_gone(region);
                continue;
            };
            if !round.is_free(region) {
                self.wanting.forget(region);
                continue;
            }
            if check::standing(&sight, info, &mut self.terrain) == Standing::Sound {
                self.on_gone(region);
                continue;
            }
            searches -= 1;
            self.mend(round, &setbacks, (info, rank), at);
        }
    }

    /// Looks for what a region wants, on all stores.
    fn mend(
        &mut self,
        round: &mut Round<'_>,
        setbacks: &Setbacks<'_>,
        (info, rank): (&RegionInfo, Rank),
        at: Stamp,
    ) {
        let (region, now, ground) = (info.region.id, at.now, self.terrain.revision());
        match check::check(&round.fleet, info, setbacks) {
            Finding::Sound => {
                self.decisions.forget_stuck(region);
                self.wanting.put_off(now, info, ground, Rank::Content);
            }
            Finding::Do(intent) => {
                self.wanting.forget(region);
                round.decide(*intent);
            }
            Finding::Stuck(why) => {
                self.decisions.note_stuck(at, region, why);
                let rank = rank.min(Rank::Wanting);
                self.wanting.put_off(now, info, ground, rank);
            }
        }
    }

    fn schedule(&mut self, round: &mut Round<'_>, evictions: &[Eviction], at: Stamp) {
        let Sight { now, policy, .. } = round.fleet.sight;
        let mut rooms = Rooms::of(&policy.settings.limits, round.operators);
        for name in turns(policy) {
            let mut pace = self.paces.get(&name).copied().unwrap_or_default();
            if pace.next() > now {
                continue;
            }
            let before = round.decided();
            let is_paused = policy.schedulers.get(&name).is_some_and(|it| it.is_paused(at.unix_ms));
            // A store that is worked on is evicted whatever becomes of the scheduler that has this name.
            let is_needed = evictions.iter().any(|eviction| eviction.by == name.name());
            let idle = if is_paused && !is_needed {
                "it is paused".to_owned()
            } else {
                self.run(name, round, evictions, rooms.of_name(name))
            };
            if round.decided() > before {
                pace.found(now);
                rooms.take(name, round.decided() - before);
            } else {
                pace.idle(now);
                self.decisions.note_idle(at, name.name(), idle);
            }
            self.paces.insert(name, pace);
        }
    }

    fn run(
        &mut self,
        name: SchedulerName,
        round: &mut Round<'_>,
        evictions: &[Eviction],
        room: usize,
    ) -> Idle {
        let last = round.decided() + room;
        match name {
            SchedulerName::BalanceLeader => self.balance_leader.look(round, &self.moved, room),
            SchedulerName::BalanceRegion => {
                let forgetful = Moved::default();
                let is_eager = round.fleet.seeded.has(Bug::NO_COOL_DOWN_OR_MARGIN);
                let moved = if is_eager { &forgetful } else { &self.moved };
                self.balance_region.look(round, moved, room)
            }
            SchedulerName::EvictLeader | SchedulerName::EvictSlowStore => {
                let mut idle = "no store is to be free of leads".to_owned();
                for eviction in evictions.iter().filter(|it| it.by == name.name()) {
                    let room = last - round.decided();
                    idle = schedule::evict(round, eviction, room);
                }
                idle
            }
            SchedulerName::GrantLeader => {
                let named = round.fleet.sight.policy.schedulers.get(&name);
                let mut idle = "no store is named".to_owned();
                for store in named.into_iter().flat_map(|scheduler| &scheduler.stores) {
                    let room = last - round.decided();
                    idle = schedule::grant(round, *store, room);
                }
                idle
            }
            SchedulerName::ShuffleLeader | SchedulerName::ShuffleRegion => {
                self.shuffle.look(round, name, room)
            }
            SchedulerName::BalanceHotRegion => self.hot_regions.look(round, &self.moved, room),
        }
    }
}

/// The schedulers that have a turn in a look, in the order of their ranks. Stores that are worked on are emptied of leads
/// whether or not there is a scheduler for that.
fn turns(policy: &Policy) -> impl Iterator<Item = SchedulerName> {
    let is_maintained = policy.stores.values().any(|store| store.maintained_until_unix_ms > 0);
    let has_turn = move |name: &SchedulerName| {
        policy.schedulers.contains_key(name) || is_maintained && *name == SchedulerName::EvictLeader
    };
    SchedulerName::RANKED.into_iter().filter(has_turn)
}

/// How much may still begin. A limit is for all schedulers that it is for together.
#[derive(Clone, Copy, Debug)]
struct Rooms {
    leads: usize,
    replicas: usize,
    loads: usize,
}

impl Rooms {
    fn of(limits: &Limits, operators: &OperatorController) -> Self {
        let Limits { leader, region, hot_region, .. } = *limits;
        let (leads, replicas, loads) = (leader as usize, region as usize, hot_region as usize);
        let mut rooms = Self { leads, replicas, loads };
        let names = operators.iter().filter_map(|it| SchedulerName::parse(it.asked_by));
        names.for_each(|name| rooms.take(name, 1));
        rooms
    }

    fn take(&mut self, name: SchedulerName, count: usize) {
        let room = self.room_of(name);
        *room = room.saturating_sub(count);
    }

    fn of_name(mut self, name: SchedulerName) -> usize {
        *self.room_of(name)
    }

    const fn room_of(&mut self, name: SchedulerName) -> &mut usize {
        match name {
            SchedulerName::BalanceLeader
            | SchedulerName::EvictLeader
            | SchedulerName::EvictSlowStore
            | SchedulerName::GrantLeader
            | SchedulerName::ShuffleLeader => &mut self.leads,
            SchedulerName::BalanceRegion | SchedulerName::ShuffleRegion => &mut self.replicas,
            SchedulerName::BalanceHotRegion => &mut self.loads,
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
