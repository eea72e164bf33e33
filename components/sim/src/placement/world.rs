//! A cluster in virtual time: one placement driver, stores and regions that are modelled, and messages between them that
//! may be lost, late or doubled. One seed fixes everything.

mod making;
mod orders;
mod trouble;
mod verdicts;

pub use making::{RegionPlan, keys_of};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use flotilla_base::{Incarnation, Moment, Peer, Region, RegionId, Rng, Seeded, Span, StoreId};
use flotilla_pdcore::{Input, Report};
use flotilla_placement::{
    OperatorEvent, OperatorKind, Order, RegionReport, RegionStats, StoreStats,
};

use super::curve::Curve;
use super::driver::{Asker, Driver, Said};
use super::judge::Judges;
use super::marks;
use super::region::{ModelRegion, Origin, SplitNumber};
use super::store::Store;
use super::summary::Summary;
use super::travels::Travels;
use crate::judge::Verdict;
use crate::marks::{Mark, Marks};

/// Stores say how they are, and leaders how their regions are, so often.
const BEAT: Span = Span::from_millis(10_000);
/// A peer whose store has been silent for so long is said to be down.
const DOWN_AFTER: Span = Span::from_millis(10_000);

/// How messages fare, in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Noise {
    /// So many are lost.
    pub lost: u64,
    /// So many come twice.
    pub doubled: u64,
    /// So many come up to five seconds late.
    pub late: u64,
}

/// To the placement driver.
#[derive(Clone, Debug)]
pub(super) enum Word {
    Region(Box<RegionReport>),
    Store(StoreId, StoreStats),
    Line(StoreId, Incarnation),
    Broken(StoreId, Incarnation),
    Pieces(Vec<Region>),
}

/// An order on its way to a leader.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    order: Order,
    origin: Option<Origin>,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub(super) enum Event {
    ToPd(Word),
    Order(Box<Sent>),
    /// What a leader was about to do is committed.
    Committed(RegionId, u64),
    /// A peer has all data, if the attempt was not given up.
    CaughtUp(RegionId, Peer, u64),
    Election(RegionId),
    RegionBeat(RegionId),
    StoreBeat(StoreId, Incarnation),
    /// A store that found no placement driver looks again.
    Reconnect(StoreId, Incarnation),
    StartPd,
    Sample,
}

/// What is drawn, kept and shown beside the cluster itself.
#[derive(Debug)]
pub(super) struct Around {
    rng: Rng,
    noise: Noise,
    judges: Judges,
    marks: Marks,
    summary: Summary,
    trace: Option<String>,
    /// Splits that wait for ids.
    splits: BTreeMap<SplitNumber, RegionId>,
    next_split: SplitNumber,
    /// Regions for which ids are asked for.
    splitting: BTreeSet<RegionId>,
    curve: Curve,
    travels: Travels,
    /// Why the placement driver has refused the last thing that somebody decided.
    refusal: Option<String>,
}

/// A simulated cluster.
#[derive(Debug)]
pub struct World {
    now: Moment,
    queue: BTreeMap<(Moment, u64), Event>,
    scheduled: u64,
    driver: Driver,
    /// When the driver wants to be woken.
    alarm: Moment,
    /// When something was last decided or changed by it.
    last_change: Moment,
    stores: BTreeMap<StoreId, Store>,
    regions: BTreeMap<RegionId, ModelRegion>,
    max_replicas: u32,
    around: Around,
}

impl World {
    /// An empty cluster whose placement driver has just started.
    #[must_use]
    pub fn new(seed: u64, max_replicas: u32, seeded: Seeded) -> Self {
        let around = Around {
            rng: Rng::lane(seed, 40),
            noise: Noise::default(),
            judges: Judges::default(),
            marks: Marks::default(),
            summary: Summary::default(),
            trace: None,
            splits: BTreeMap::new(),
            next_split: 0,
            splitting: BTreeSet::new(),
            curve: Curve::default(),
            travels: Travels::default(),
            refusal: None,
        };
        let mut world = Self {
            now: Moment(0),
            queue: BTreeMap::new(),
            scheduled: 0,
            driver: Driver::new(max_replicas, seeded),
            alarm: Moment::NEVER,
            last_change: Moment(0),
            stores: BTreeMap::new(),
            regions: BTreeMap::new(),
            max_replicas,
            around,
        };
        world.start_pd().expect("a driver that knows nothing breaks no rule");
        world
    }

    /// From now on each event leaves a line.
    pub fn trace_events(&mut self) {
        self.around.trace = Some(String::new());
    }

    /// The events so far, a line each.
    #[must_use]
    pub fn trace_text(&self) -> &str {
        self.around.trace.as_deref().unwrap_or_default()
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> Moment {
        self.now
    }

    /// The rare situations that were reached.
    #[must_use]
    pub const fn marks(&self) -> &Marks {
        &self.around.marks
    }

    /// What happened, in numbers.
    #[must_use]
    pub const fn summary(&self) -> &Summary {
        &self.around.summary
    }

    /// Replicas and leads over time.
    #[must_use]
    pub const fn curve(&self) -> &Curve {
        &self.around.curve
    }

    /// The placement driver.
    #[must_use]
    pub const fn driver(&self) -> &Driver {
        &self.driver
    }

    /// How messages fare from now on.
    pub const fn set_noise(&mut self, noise: Noise) {
        self.around.noise = noise;
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// A rule is broken.
    pub fn run_for(&mut self, span: Span) -> Verdict {
        let until = self.now + span;
        while self.next() <= until {
            self.step()?;
        }
        self.now = until;
        Ok(())
    }

    /// When something happens next.
    fn next(&self) -> Moment {
        self.queue.first_key_value().map_or(Moment::NEVER, |((at, _), _)| *at).min(self.alarm)
    }

    fn step(&mut self) -> Verdict {
        let first = self.queue.first_key_value().map(|((at, _), _)| *at);
        if first.is_none_or(|at| self.alarm < at) {
            self.now = self.now.max(self.alarm);
            self.around.summary.on_event(self.now, 0);
            return self.tell(Input::Wake);
        }
        let Some(((at, number), event)) = self.queue.pop_first() else { return Ok(()) };
        self.now = self.now.max(at);
        self.around.summary.on_event(at, number);
        match event {
            Event::ToPd(word) => self.hear(word),
            Event::Order(sent) => self.take_order(*sent),
            Event::Committed(region, number) => self.commit(region, number),
            Event::CaughtUp(region, peer, attempt) => self.caught_up(region, peer, attempt),
            Event::Election(region) => self.elect(region),
            Event::RegionBeat(region) => {
                self.schedule(BEAT, Event::RegionBeat(region));
                self.check_quorum(region);
                self.report(region);
                Ok(())
            }
            Event::StoreBeat(store, run) => {
                self.beat(store, run);
                Ok(())
            }
            Event::Reconnect(store, run) => {
                self.connect(store, run);
                Ok(())
            }
            Event::StartPd => self.start_pd(),
            Event::Sample => {
                self.sample();
                Ok(())
            }
        }
    }

    fn schedule(&mut self, delay: Span, event: Event) {
        self.scheduled += 1;
        self.queue.insert((self.now + delay, self.scheduled), event);
    }

    /// A time below `most`, at least a millisecond.
    fn draw(&mut self, most_ms: u64) -> Span {
        Span::from_millis(1 + self.around.rng.below(most_ms))
    }

    fn trace(&mut self, line: impl FnOnce() -> String) {
        if let Some(text) = &mut self.around.trace {
            let _never_fails = writeln!(text, "{} {}", self.now, line());
        }
    }

    fn mark(&mut self, mark: Mark) {
        self.around.marks.reach(mark);
    }

    /// Sends something that may be lost, late or doubled; latencies of a network in one place.
    fn send(&mut self, event: Event) {
        let Noise { lost, doubled, late } = self.around.noise;
        if self.around.rng.chance(lost) {
            self.mark(marks::LOST);
            return;
        }
        if self.around.rng.chance(doubled) {
            self.mark(marks::DOUBLED);
            let delay = self.draw(2_000);
            self.schedule(delay, event.clone());
        }
        let delay = if self.around.rng.chance(late) {
            self.mark(marks::LATE);
            self.draw(5_000)
        } else {
            self.draw(5)
        };
        self.schedule(delay, event);
    }

    /// The leader of a region says how it is; nobody does where it has none.
    fn report(&mut self, id: RegionId) {
        let Some(region) = self.regions.get(&id) else { return };
        let Some(leader) = region.leader() else { return };
        if !self.is_running(leader) {
            return;
        }
        let down = |peer: &&Peer| !self.is_running(**peer);
        let silence = |peer: &Peer| {
            let stopped = self.stores.get(&peer.store).map(|store| store.stopped);
            (*peer, self.now.since(stopped.unwrap_or_default()).as_millis() / 1_000)
        };
        let down_peers = region.region.peers.iter().filter(down).map(silence);
        let is_behind = |peer: &&Peer| region.behind.contains_key(&peer.id);
        let mut report = RegionReport {
            region: region.region.clone(),
            leader,
            term: region.term,
            stats: RegionStats { size_bytes: region.size_bytes, ..RegionStats::default() },
            down_peers: down_peers
                .filter(|(_, seconds)| seconds * 1_000 >= DOWN_AFTER.as_millis())
                .collect(),
            pending_peers: region.region.peers.iter().filter(is_behind).copied().collect(),
        };
        let now = self.now;
        if let Some(region) = self.regions.get_mut(&id) {
            report.stats = report.stats.with_flow(region.flow(now));
        }
        self.send(Event::ToPd(Word::Region(Box::new(report))));
    }

    /// A store says how it is, as long as this run goes on.
    fn beat(&mut self, store: StoreId, run: Incarnation) {
        let is_this = |it: &&Store| it.is_running && it.run == run;
        if self.stores.get(&store).filter(is_this).is_some() {
            self.say(store);
            self.schedule(BEAT, Event::StoreBeat(store, run));
        }
    }

    fn say(&mut self, store: StoreId) {
        let Some(known) = self.stores.get(&store) else { return };
        let held = self.regions.values().filter(|it| it.region.peer_on(store).is_some());
        let (replicas, bytes) =
            held.fold((0, 0), |(count, bytes), it| (count + 1, bytes + it.size_bytes));
        let stats = known.stats(replicas, bytes);
        self.send(Event::ToPd(Word::Store(store, stats)));
    }

    fn is_running(&self, peer: Peer) -> bool {
        self.stores.get(&peer.store).is_some_and(|store| store.is_running)
    }

    /// Something arrives at the placement driver.
    fn hear(&mut self, word: Word) -> Verdict {
        if !self.driver.is_running() {
            if let Word::Line(store, run) = word {
                let delay = self.draw(1_000);
                self.schedule(delay, Event::Reconnect(store, run));
            }
            return Ok(());
        }
        match word {
            Word::Region(report) => {
                self.around.judges.on_shape(&report.region)?;
                let said = self.driver.tell(self.now, Input::RegionHeartbeat(report.clone()));
                self.take(said, Some(&report), &[])
            }
            Word::Store(id, stats) => {
                if self.is_member(id) {
                    self.around.judges.knowledge.on_store(self.now, id, stats);
                }
                let stats = Box::new(stats);
                self.tell(Input::StoreHeartbeat { id, stats, ticket: Asker::Nobody })
            }
            Word::Line(id, run) => {
                if self.is_member(id) {
                    self.around.judges.knowledge.on_line(self.now, (id, run), true);
                }
                self.tell(Input::OpenLine { id, run, ticket: Asker::Nobody })
            }
            Word::Broken(id, run) => {
                self.around.judges.knowledge.on_line(self.now, (id, run), false);
                self.tell(Input::BreakLine { id, run })
            }
            Word::Pieces(pieces) => {
                let ticket = Asker::Nobody;
                let input = Input::ReportSplit { pieces: pieces.clone(), ticket };
                let said = self.driver.tell(self.now, input);
                self.take(said, None, &pieces)
            }
        }
    }

    /// Voters that a region is to have, by what people have decided.
    fn wanted(&self, region: &Region) -> usize {
        let demands = self.driver.state().and_then(|state| state.policy().demands(region).ok());
        demands.map_or(self.max_replicas as usize, |demands| {
            demands.iter().filter(|it| it.role.votes()).map(|it| it.count).sum()
        })
    }

    fn is_member(&self, store: StoreId) -> bool {
        let record = self.driver.state().and_then(|state| state.stores().get(&store));
        record.is_some_and(|it| it.state != flotilla_placement::StoreState::Tombstone)
    }

    fn tell(&mut self, input: Input<Asker>) -> Verdict {
        let said = self.driver.tell(self.now, input);
        self.take(said, None, &[])
    }

    /// What the placement driver says to what it was told.
    fn take(
        &mut self,
        said: Vec<Said>,
        report: Option<&RegionReport>,
        pieces: &[Region],
    ) -> Verdict {
        for word in said {
            match word {
                Said::Report(Report::Heartbeat { outcome, .. }) => match (outcome, report) {
                    (Ok(_), Some(report)) => {
                        self.around.judges.knowledge.on_report(report.clone());
                    }
                    (Ok(_), None) => {}
                    (Err(_), _) => self.mark(marks::STALE_REPORT),
                },
                Said::Report(Report::Piece { region, outcome: Ok(_) }) => {
                    let piece = pieces.iter().find(|piece| piece.id == region).cloned();
                    piece.into_iter().for_each(|it| self.around.judges.knowledge.on_piece(it));
                }
                Said::Report(Report::StoreBuried(store)) => {
                    self.mark(marks::BURIED);
                    self.trace(|| format!("store {store} is buried"));
                }
                Said::Report(_) => {}
                Said::Reply(asker, outcome) => self.answered(asker, outcome)?,
                Said::Operator(event) => self.on_operator(&event)?,
            }
        }
        self.alarm = self.driver.next_deadline(self.now);
        Ok(())
    }

    fn on_operator(&mut self, event: &OperatorEvent) -> Verdict {
        self.last_change = self.now;
        let state = self.driver.state().expect("who speaks runs");
        self.around.judges.on_event(self.now, state, event)?;
        match event {
            OperatorEvent::Begun(operator) => {
                self.around.summary.on_begun(operator);
                self.around.travels.on_begun(operator);
                let is_lead = operator.plan.kind == OperatorKind::TransferLeader;
                self.mark(if is_lead { marks::TRANSFER } else { marks::MEMBERS });
                self.trace(|| {
                    let (plan, by) = (&operator.plan, operator.asked_by);
                    format!("region {}: {} begins, by {by}", plan.region, plan.brief)
                });
            }
            OperatorEvent::Ended(ended) => {
                self.mark(marks::of_ending(ended.ending));
                self.trace(|| {
                    let (plan, ending) = (&ended.operator.plan, ended.ending);
                    format!("region {}: {} ended: {ending}", plan.region, plan.brief)
                });
            }
            OperatorEvent::Ordered(order) => {
                let operator = self.around.judges.knowledge.operator(order.region);
                let run = self.driver.run();
                let origin = operator.map(|it| Origin { run, operator: it.id.0 });
                self.trace(|| format!("region {}: {:?}", order.region, order.command));
                self.send(Event::Order(Box::new(Sent { order: order.clone(), origin })));
            }
        }
        Ok(())
    }
}
