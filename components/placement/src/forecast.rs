//! What would happen: the mind itself on a copy of the cluster, in virtual time. Regions obey at once, copies take the time
//! of their size, nobody fails and nothing is written meanwhile.
//!
//! It answers "what if two stores came" and "what if this one went" before anybody does it, by the very rules that would
//! then decide. What it costs is borne by whoever asks: it is made for a thread of its own.

use std::{collections::BTreeMap, sync::Arc};

use flotilla_base::{
    ConfVer, Key, KeyRange, Moment, Peer, Region, RegionId, Span, StoreId, Term, Version,
};

use crate::{
    decision::Intent,
    due::Due,
    ids::IdBatch,
    meta::StoreRecord,
    mind::Mind,
    operator::{
        OperatorController, OperatorEvent, OperatorKind, Plan, Sight, SplitAt, Stamp, Step,
        shape::Shape,
    },
    policy::Policy,
    view::{
        ClusterView, RegionInfo, RegionReport, RegionStats, SETTLED_FLOWS, StoreLoad, StoreStatus,
    },
};

/// How soon a leader does what needs no copy.
const STEP_TIME: Span = Span::from_millis(20);
/// When what is reported once is heard for the last time.
const FOREVER: Moment = Moment(u64::MAX / 2);
/// Ids of peers that exist on paper only.
const FIRST_ID: u64 = 1 << 62;
/// What regions are asked for is reported for so many seconds.
const PAPER_FLOW_S: u64 = 10;

/// What a forecast is made of.
#[derive(Clone, Debug)]
pub struct Premises {
    /// What people have decided.
    pub policy: Policy,
    /// The stores, also those that there are not yet.
    pub stores: BTreeMap<StoreId, StoreRecord>,
    /// What each of them last said. One without it counts as down.
    pub statuses: BTreeMap<StoreId, StoreStatus>,
    /// The regions. Those without a leader cannot be changed.
    pub regions: Vec<Arc<RegionInfo>>,
    /// Bytes that one store can take in a second.
    pub copy_bytes_per_second: u64,
    /// The wall clock at the beginning, milliseconds since 1970.
    pub unix_ms: u64,
}

/// A replica that would move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// When, from the beginning.
    pub after: Span,
    /// The region.
    pub region: RegionId,
    /// The store that would lose one for it; `None` where none is lost.
    pub from: Option<StoreId>,
    /// The store that would get a replica.
    pub to: StoreId,
    /// What would be copied.
    pub bytes: u64,
}

/// What would happen.
#[derive(Clone, Debug, Default)]
pub struct Outlook {
    /// Replicas that would be copied, in order.
    pub moves: Vec<Move>,
    /// Leads that would be handed over for their own sake.
    pub transfers: u64,
    /// When the last change would end, from the beginning.
    pub ends_after: Span,
    /// Whether an end was reached within the time that was looked at.
    pub is_settled: bool,
    /// What each store would carry then.
    pub loads: BTreeMap<StoreId, StoreLoad>,
    /// Regions that would not be as they are to be, with the reason.
    pub stuck: Vec<(RegionId, String)>,
    /// What brought it to an end before its time; `None` where nothing did.
    pub cut_off: Option<CutOff>,
}

/// How far a forecast looks, and how much it does for that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Time on paper.
    pub time: Span,
    /// Replicas that move.
    pub moves: usize,
    /// Looks at what is to be decided.
    pub looks: u64,
}

/// What a forecast had too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CutOff {
    /// So many replicas moved.
    #[error("a plan ends at {0} replicas that move")]
    Moves(usize),
    /// So often it was looked whether there is something to decide.
    #[error("a plan ends when it has been looked {0} times for something to do")]
    Looks(u64),
}

impl Bounds {
    /// So much time, and whatever it takes.
    #[must_use]
    pub const fn of(time: Span) -> Self {
        Self { time, moves: usize::MAX, looks: u64::MAX }
    }

    fn exceeded(&self, moves: usize, looks: u64) -> Option<CutOff> {
        let moves = (moves >= self.moves).then_some(CutOff::Moves(self.moves));
        moves.or_else(|| (looks > self.looks).then_some(CutOff::Looks(self.looks)))
    }
}

/// A region on paper.
#[derive(Clone, Debug)]
struct PaperRegion {
    region: Region,
    leader: Peer,
    stats: RegionStats,
}

/// A cluster on paper.
#[derive(Debug)]
pub struct Forecast {
    /// What people have decided; may be changed between two runs.
    pub policy: Policy,
    stores: BTreeMap<StoreId, StoreRecord>,
    regions: BTreeMap<RegionId, PaperRegion>,
    view: ClusterView,
    operators: OperatorController,
    mind: Mind,
    clock: PaperClock,
    copies: Copies,
    /// Regions whose operator has a step under way, by the moment at which it is done.
    steps: Due,
    outlook: Outlook,
}

/// Time, and ids, of a cluster on paper.
#[derive(Clone, Copy, Debug)]
struct PaperClock {
    began: Moment,
    now: Moment,
    began_unix_ms: u64,
    last_id: u64,
}

/// Copies that are under way: one after the other to each store.
#[derive(Clone, Debug)]
struct Copies {
    bytes_per_second: u64,
    free_at: BTreeMap<StoreId, Moment>,
}

impl Copies {
    /// When a copy has come that begins now.
    fn begin(&mut self, now: Moment, store: StoreId, bytes: u64) -> Moment {
        let millis = u128::from(bytes) * 1_000 / u128::from(self.bytes_per_second.max(1));
        let span = Span::from_millis(u64::try_from(millis).unwrap_or(u64::MAX / 1_000_000));
        let free_at = self.free_at.entry(store).or_insert(now);
        *free_at = (*free_at).max(now) + STEP_TIME.max(span);
        *free_at
    }
}

impl Forecast {
    /// A cluster on paper that is as the premises say.
    #[must_use]
    pub fn new(premises: Premises) -> Self {
        let Premises { policy, stores, statuses, regions, copy_bytes_per_second, unix_ms } =
            premises;
        // Stores that say nothing have said nothing for long.
        let began = Moment(0) + policy.settings.max_store_down + Span::from_millis(60_000);
        let clock = PaperClock { began, now: began, began_unix_ms: unix_ms, last_id: FIRST_ID };
        let mut view = ClusterView::new(Moment(0));
        view.take_policy(&policy, Stamp { now: began, unix_ms });
        for (store, status) in statuses {
            view.on_store_report(store, StoreStatus { heard: FOREVER, ..status });
        }
        let mut forecast = Self {
            policy,
            stores,
            regions: BTreeMap::new(),
            view,
            operators: OperatorController::default(),
            mind: Mind::default(),
            clock,
            copies: Copies { bytes_per_second: copy_bytes_per_second, free_at: BTreeMap::new() },
            steps: Due::default(),
            outlook: Outlook::default(),
        };
        for info in &regions {
            let region = info.region.clone();
            let stats = info.stats.with_flow(info.load.rates.flow(PAPER_FLOW_S));
            let Some(leader) = info.leader else { continue };
            forecast.regions.insert(region.id, PaperRegion { region, leader, stats });
        }
        let ids: Vec<RegionId> = forecast.regions.keys().copied().collect();
        ids.into_iter().for_each(|region| forecast.report_until_settled(region));
        forecast
    }

    /// What happens until nothing has been decided for `quiet`, or as far as the bounds allow.
    pub fn run(&mut self, quiet: Span, bounds: Bounds) -> &Outlook {
        let (first, mut last_change) = (self.clock.now, self.clock.now);
        let mut looks = 0;
        self.mind.hurry(first);
        loop {
            let next = self.mind.next_look(&self.sight()).min(self.steps.next());
            self.outlook.is_settled = next.since(last_change) > quiet;
            if self.outlook.is_settled || next.since(first) > bounds.time {
                break;
            }
            looks += 1;
            self.outlook.cut_off = bounds.exceeded(self.outlook.moves.len(), looks);
            if self.outlook.cut_off.is_some() {
                break;
            }
            self.clock.now = self.clock.now.max(next);
            let mut has_changed = self.think();
            while let Some(region) = self.steps.pop(self.clock.now) {
                self.step(region);
                has_changed = true;
            }
            if has_changed {
                last_change = self.clock.now;
            }
        }
        self.outlook.ends_after = last_change.since(self.clock.began);
        let stuck = self.mind.decisions().all_stuck();
        self.outlook.stuck = stuck.map(|(region, idle)| (region, idle.why.clone())).collect();
        self.outlook.loads = self.view.regions().loads();
        &self.outlook
    }

    /// What is known.
    #[must_use]
    pub fn sight(&self) -> Sight<'_> {
        let (stores, policy, view) = (&self.stores, &self.policy, &self.view);
        Sight { stores, policy, view, now: self.clock.now }
    }

    /// What has happened.
    #[must_use]
    pub const fn outlook(&self) -> &Outlook {
        &self.outlook
    }

    /// What is under way.
    #[must_use]
    pub const fn operators(&self) -> &OperatorController {
        &self.operators
    }

    /// What has been decided, and why.
    #[must_use]
    pub const fn mind(&self) -> &Mind {
        &self.mind
    }

    fn stamp(&self) -> Stamp {
        let PaperClock { began, now, began_unix_ms, .. } = self.clock;
        Stamp { now, unix_ms: began_unix_ms.saturating_add(now.since(began).as_millis()) }
    }

    /// Begins what is decided now; whether anything was.
    fn think(&mut self) -> bool {
        let at = self.stamp();
        let (stores, policy, view) = (&self.stores, &self.policy, &self.view);
        let sight = Sight { stores, policy, view, now: at.now };
        let intents = self.mind.look(sight, &self.operators, at);
        let has_decided = !intents.is_empty();
        self.begin(intents);
        has_decided
    }

    /// Begins what was decided elsewhere.
    pub fn begin(&mut self, intents: Vec<Intent>) {
        let at = self.stamp();
        for Intent { plan, decision } in intents {
            let count = u64::from(plan.new_peers());
            let ids = IdBatch { first: self.clock.last_id + 1, last: self.clock.last_id + count };
            self.clock.last_id += count;
            let plan = if count > 0 { plan.with_ids(ids) } else { plan };
            let region = plan.region;
            let (stores, policy, view) = (&self.stores, &self.policy, &self.view);
            let sight = Sight { stores, policy, view, now: at.now };
            let begun = self.operators.begin(&sight, plan, (decision.by, at));
            let Ok(events) = begun else {
                debug_assert!(false, "{begun:?}");
                continue;
            };
            self.tell(&events);
            self.schedule(region);
        }
    }

    fn tell(&mut self, events: &[OperatorEvent]) {
        for event in events {
            self.mind.on_event(self.clock.now, event);
            if let OperatorEvent::Begun(operator) = event {
                self.note(&operator.plan);
            }
        }
    }

    /// Counts what is decided.
    fn note(&mut self, plan: &Plan) {
        let removed = |step: &Step| match step {
            Step::RemovePeer(peer) => Some(peer.store),
            _ => None,
        };
        let mut sources = plan.steps.iter().filter_map(removed);
        let after = self.clock.now.since(self.clock.began);
        for step in &plan.steps {
            if let Step::AddLearner(peer) = step {
                let (region, to, bytes) = (plan.region, peer.store, plan.size_bytes);
                self.outlook.moves.push(Move { after, region, from: sources.next(), to, bytes });
            }
        }
        self.outlook.transfers += u64::from(plan.kind == OperatorKind::TransferLeader);
    }

    /// Says when the next step of a region's operator is done.
    fn schedule(&mut self, region: RegionId) {
        let Some(operator) = self.operators.running(region) else { return };
        let now = self.clock.now;
        let done_at = match operator.plan.steps.get(operator.done()) {
            Some(Step::AddLearner(peer)) => {
                self.copies.begin(now, peer.store, operator.plan.size_bytes)
            }
            _ => now + STEP_TIME,
        };
        self.steps.put(region, done_at);
    }

    /// The next step of a region's operator is done.
    fn step(&mut self, id: RegionId) {
        let step = self.operators.running(id).and_then(|it| it.plan.steps.get(it.done()).cloned());
        let (Some(step), Some(paper)) = (step, self.regions.get_mut(&id)) else { return };
        match &step {
            Step::SplitRegion { at: SplitAt::Keys(keys), .. } => {
                keys.iter().for_each(|key| self.cut(id, key.clone()));
            }
            Step::SplitRegion { .. } => {
                let middle = border_within(&paper.region.range);
                middle.into_iter().for_each(|border| self.cut(id, border));
            }
            Step::TransferLeader { to, .. } => {
                paper.leader = to.first().copied().unwrap_or(paper.leader);
            }
            step => {
                let members = Shape::of(&paper.region).after(step);
                paper.region.peers = members.peers().collect();
                let conf_ver = &mut paper.region.epoch.conf_ver;
                *conf_ver = ConfVer(conf_ver.get() + 1);
            }
        }
        self.report(id);
        self.schedule(id);
    }

    /// The load of a region on paper is known at once.
    fn report_until_settled(&mut self, id: RegionId) {
        (0..SETTLED_FLOWS).for_each(|_| self.report(id));
    }

    /// A region begins at this key from now on. Half of what it had is taken to lie in front of it, since nobody knows.
    fn cut(&mut self, id: RegionId, border: Key) {
        let Some(kept) = self.regions.get_mut(&id) else { return };
        debug_assert!(kept.region.range.contains(&border), "borders ascend within the region");
        let version = &mut kept.region.epoch.version;
        *version = Version(version.get() + 1);
        kept.stats.size_bytes /= 2;
        let rates = kept.stats.flow().rates().unwrap_or_default();
        kept.stats = kept.stats.with_flow(rates.half().flow(PAPER_FLOW_S));
        let mut new = kept.clone();
        kept.region.range.start = border.clone();
        new.region.range.end = border;
        self.clock.last_id += 1;
        let new_id = RegionId(self.clock.last_id);
        new.region.id = new_id;
        self.regions.insert(new_id, new);
        self.report_until_settled(id);
        self.report_until_settled(new_id);
    }

    fn report(&mut self, id: RegionId) {
        let Some(PaperRegion { region, leader, stats }) = self.regions.get(&id).cloned() else {
            return;
        };
        let report =
            RegionReport { region, leader, term: Term(1), stats, ..RegionReport::default() };
        // What is reported for ever is never silent.
        let taken = self.view.on_region_report(FOREVER, report);
        debug_assert!(taken.is_ok(), "{taken:?}");
        let at = self.stamp();
        let (stores, policy, view) = (&self.stores, &self.policy, &self.view);
        let sight = Sight { stores, policy, view, now: at.now };
        let events = self.operators.on_report(&sight, id, at);
        self.mind.on_report(&sight, &self.operators, id);
        self.tell(&events);
    }
}

/// A key between the borders of a range; `None` where it takes more than a byte to find one.
fn border_within(range: &KeyRange) -> Option<Key> {
    let KeyRange { start, end } = range;
    let next = end.strip_prefix(&start[..]).and_then(|rest| rest.first());
    let border = Key::from([&start[..], &[next.map_or(0x80, |next| next / 2)]].concat());
    range.contains(&border).then_some(border)
}
