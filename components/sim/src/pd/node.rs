//! One member of the placement driver: the production core on a simulated disk, and the threads beside it
//! that hand out timestamps.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use flotilla_base::{ClusterId, Index, KvRead, Moment, PeerId, Rng, Span, StoreId};
use flotilla_pdcore::{Clocks, CoreConfig, Denied, Effects, GROUP, Input, Leading, PdCore, birth};
use flotilla_placement::{Taken, TsoError};
use flotilla_raftgroup::{Message, disk};

use super::event::{PdAnswer, PdAsk, PdRequest, PdTicket};
use super::hands::{Hands, Out, Works};
use super::judge::{PdJudges, region_map::ReignKey};
use super::marks::{PdMark, PdMarks};
use crate::clock::LocalClock;
use crate::disk::SimDisk;
use crate::event::Run;
use crate::judge::{Verdict, Violation};

/// What a wall clock shows at the world's beginning, milliseconds since 1970.
const EPOCH_MS: u64 = 1_700_000_000_000;
/// How long a thread waits for a window or a reign.
const PATIENCE: Span = Span::from_millis(2_000);
/// A window that waited so long for its sync was widened while the disk stood still.
const STALLED: Span = Span::from_millis(300);

/// What a member gets to see of the world.
#[derive(Debug)]
pub struct Sight<'a> {
    /// The world's time.
    pub now: Moment,
    /// The judges.
    pub judges: &'a mut PdJudges,
    /// The counts.
    pub marks: &'a mut PdMarks,
    /// What the member gives back.
    pub out: &'a mut Vec<Out>,
    /// Draws of schedules.
    pub rng: &'a mut Rng,
}

/// Something for the core, in the order in which it came.
#[derive(Debug)]
enum Job {
    Input(Input<PdTicket>),
    LookUp(PdTicket, PdAsk),
}

/// A thread that waits for timestamps.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    ticket: PdTicket,
    count: u32,
    until: Moment,
}

/// What is lost in a crash.
#[derive(Debug)]
pub struct Process {
    core: PdCore<PdTicket>,
    effects: Effects<PdTicket>,
    inbox: VecDeque<Job>,
    works: Works,
    waiting: VecDeque<Waiting>,
    taken: BTreeMap<PdTicket, (Taken, u32)>,
    clock: LocalClock,
    /// When the core wants to be woken, in the world's time.
    alarm: Moment,
    is_rung: bool,
    /// Threads have noticed that a window gets short.
    is_window_short: bool,
    /// Up to where its state was judged.
    judged: Index,
}

/// One member.
#[derive(Debug)]
pub struct PdNode {
    id: PeerId,
    disk: SimDisk,
    run: Run,
    process: Option<Process>,
    doom: Option<u64>,
    /// How far the wall clock is from the truth, milliseconds.
    pub wall_error_ms: i64,
    /// The latest that the wall clock has shown.
    shown_ms: u64,
}

impl PdNode {
    /// A member with an empty disk that was never started.
    #[must_use]
    pub fn new(id: PeerId) -> Self {
        let (disk, run) = (SimDisk::default(), Run(0));
        Self { id, disk, run, process: None, doom: None, wall_error_ms: 0, shown_ms: 0 }
    }

    /// The current run, if the member runs.
    #[must_use]
    pub fn run(&self) -> Option<Run> {
        self.process.is_some().then_some(self.run)
    }

    /// Its disk.
    #[must_use]
    pub const fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// Lets the member die after so many further steps.
    pub fn doom(&mut self, steps: u64) {
        if self.process.is_some() {
            self.doom = Some(steps);
        }
    }

    /// Whether its last step was taken.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.doom == Some(0)
    }

    /// Is not to die any more.
    pub const fn spare(&mut self) {
        self.doom = None;
    }

    /// What its disk holds.
    #[must_use]
    pub fn image(&self) -> &dyn KvRead {
        self.disk.image().as_ref()
    }

    /// Loses power. Returns how many written batches are gone.
    pub fn crash(&mut self, rng: &mut Rng, marks: &mut PdMarks) -> usize {
        let process = self.process.take();
        let unsynced = process.iter().flat_map(|process| &process.works.unsynced);
        if unsynced.into_iter().any(|write| write.has_window) {
            marks.note(PdMark::CrashInWindow);
        }
        marks.note(PdMark::Crashes);
        self.doom = None;
        self.disk.crash(rng).lost
    }

    /// Starts from what the disk holds. `config` is completed with what only the member knows.
    ///
    /// # Errors
    /// What is on disk is not what a crash may leave.
    pub fn start(
        &mut self,
        clock: LocalClock,
        config: CoreConfig,
        sight: &mut Sight<'_>,
    ) -> Verdict {
        self.run = Run(self.run.0 + 1);
        let records = birth(self.disk.image().as_ref()).map_err(damaged)?;
        let is_new = !records.is_empty();
        if is_new {
            let number = self.disk.write(records).map_err(damaged)?;
            self.disk.sync(number).map_err(damaged)?;
        }
        let image = Arc::clone(self.disk.image());
        let store = StoreId(self.id.get());
        sight.judges.promises.on_synced(store, &[GROUP], image.as_ref())?;
        let config = CoreConfig { member: self.id, run: self.run.0, ..config };
        let reader: Arc<dyn KvRead + Send + Sync> = image;
        let now = clock.read(sight.now);
        let core = PdCore::open(config, reader, is_new, now).map_err(damaged)?;
        self.process = Some(Process {
            core,
            effects: Effects::default(),
            inbox: VecDeque::new(),
            works: Works::default(),
            waiting: VecDeque::new(),
            taken: BTreeMap::new(),
            clock,
            alarm: Moment::NEVER,
            is_rung: true,
            is_window_short: false,
            judged: Index(0),
        });
        if self.wall(sight.now) < self.shown_ms {
            sight.marks.note(PdMark::ClockSetBack);
        }
        let raft = disk::read_raft_state(self.disk.image().as_ref(), GROUP);
        let last = raft.ok().flatten().unwrap_or_default().last.index;
        sight.marks.add(PdMark::Replayed, last.get().saturating_sub(self.applied().get()));
        self.judge_state(sight)
    }

    /// A message of another member arrives.
    pub fn receive(&mut self, message: Message) {
        self.post(Job::Input(Input::Message(message)));
    }

    /// A request arrives; `None` where nobody listens.
    pub fn request(&mut self, request: PdRequest, sight: &mut Sight<'_>) -> Option<()> {
        let process = self.process.as_mut()?;
        let PdRequest { ticket, ask } = request;
        let job = match ask {
            PdAsk::Timestamps(count) => {
                sight.judges.timestamps.on_begin(ticket, count);
                process.waiting.push_back(Waiting { ticket, count, until: sight.now + PATIENCE });
                sight.out.push(Out::RetryIn(PATIENCE.as_millis() + 1));
                self.serve_waiting(sight);
                return Some(());
            }
            PdAsk::Members => {
                let leads = process.works.desk.leads(process.clock.read(sight.now));
                if leads {
                    process.judge_claim(self.id, sight);
                }
                sight.out.push(Out::Answer(ticket, PdAnswer::Members(leads)));
                return Some(());
            }
            PdAsk::Ids(count) => Job::Input(Input::AllocIds { count, ticket }),
            PdAsk::Register(store) => {
                sight.judges.incarnations.on_begin(ticket, store.id, store.incarnation);
                Job::Input(Input::PutStore { store, ticket })
            }
            PdAsk::StoreBeat(id, stats) => Job::Input(Input::StoreHeartbeat { id, stats, ticket }),
            PdAsk::RegionBeat(report) => Job::Input(Input::RegionHeartbeat(report)),
            PdAsk::SplitIds(region, children) => {
                Job::Input(Input::AskSplit { region, children, ticket })
            }
            PdAsk::SplitDone(pieces) => Job::Input(Input::ReportSplit { pieces, ticket }),
            PdAsk::Decide(change) => Job::Input(Input::Administer { change, ticket }),
            PdAsk::Leave(id, leave) => Job::Input(Input::RemoveStore { id, leave, ticket }),
            PdAsk::Region(_) | PdAsk::Regions | PdAsk::Plan(_) => Job::LookUp(ticket, ask),
        };
        self.post(job);
        Some(())
    }

    /// The core takes what has come: all of it, or a random part; and does what is due.
    ///
    /// # Errors
    /// The core cannot go on.
    pub fn turn(&mut self, sight: &mut Sight<'_>) -> Verdict {
        let unix_ms = self.look_at_wall(sight);
        let Some(process) = &mut self.process else { return Ok(()) };
        let clocks = Clocks { now: process.clock.read(sight.now), unix_ms };
        let count = if sight.rng.chance(700) { usize::MAX } else { 1 };
        sight.judges.orders.on_turn(self.id);
        for _ in 0..count {
            let Some(job) = process.inbox.pop_front() else { break };
            match job {
                Job::Input(input) => {
                    if let Input::RegionHeartbeat(report) = &input {
                        sight.judges.orders.on_report(self.id, report);
                    }
                    process.core.handle(clocks, input, &mut process.effects).map_err(damaged)?;
                }
                Job::LookUp(ticket, ask) => {
                    let place = (self.id, self.run);
                    let answer = process.look_up(place, clocks.now, ask, sight)?;
                    sight.out.push(Out::Answer(ticket, answer));
                }
            }
        }
        process.is_rung = false;
        if std::mem::take(&mut process.is_window_short)
            && let Some(end_ms) = process.works.desk.window_wanted(unix_ms)
        {
            let input = Input::WidenTso { end_ms };
            process.core.handle(clocks, input, &mut process.effects).map_err(damaged)?;
        }
        let mut hands = Hands {
            member: self.id,
            now: sight.now,
            clock: process.clock,
            disk: &mut self.disk,
            works: &mut process.works,
            doom: &mut self.doom,
            judges: sight.judges,
            marks: sight.marks,
            out: sight.out,
        };
        process.core.turn(clocks, &mut process.effects, &mut hands).map_err(damaged)?;
        let at = process.clock.world_moment(process.core.next_deadline(clocks.now));
        if at != process.alarm {
            process.alarm = at;
            sight.out.push(Out::Alarm(at));
        }
        let is_desk_changed = std::mem::take(&mut process.works.is_desk_changed);
        if self.is_dead() {
            return Ok(());
        }
        if is_desk_changed {
            self.serve_waiting(sight);
        }
        self.judge_state(sight)
    }

    /// A sync ends: everything that was written when it began is durable.
    ///
    /// # Errors
    /// A promise is gone.
    pub fn synced(&mut self, number: crate::disk::BatchNumber, sight: &mut Sight<'_>) -> Verdict {
        self.disk.sync(number).map_err(damaged)?;
        let Some(process) = &mut self.process else { return Ok(()) };
        let store = StoreId(self.id.get());
        sight.judges.promises.on_synced(store, &[GROUP], self.disk.synced())?;
        let durable = process.works.unsynced.iter().take_while(|write| write.batch <= number);
        let durable: Vec<_> = process.works.unsynced.drain(..durable.count()).collect();
        let is_stalled = |write: &super::hands::Unsynced| {
            write.has_window && sight.now.since(write.written) >= STALLED
        };
        if durable.iter().any(is_stalled) {
            sight.marks.note(PdMark::WindowStalled);
        }
        if let Some(last) = durable.last() {
            process.inbox.push_back(Job::Input(Input::Persisted(last.number)));
        }
        Ok(())
    }

    /// The alarm rings, unless another has taken its place.
    pub fn ring(&mut self, set_for: Moment) {
        if let Some(process) = &mut self.process
            && process.alarm == set_for
        {
            process.alarm = Moment::NEVER;
            process.is_rung = true;
        }
    }

    /// Threads that wait for timestamps try again.
    pub fn serve_waiting(&mut self, sight: &mut Sight<'_>) {
        let unix_ms = self.look_at_wall(sight);
        let Some(process) = &mut self.process else { return };
        for waiting in std::mem::take(&mut process.waiting) {
            let Waiting { ticket, count, until } = waiting;
            match process.works.desk.take(count, unix_ms) {
                Ok(taken) => {
                    process.taken.insert(ticket, (taken, count));
                    sight.out.push(Out::Taken(ticket));
                }
                Err(_) if sight.now >= until => {
                    let denied = PdAnswer::Denied(Denied::NotLeader);
                    sight.out.push(Out::Answer(ticket, denied));
                }
                Err(error) => {
                    if let TsoError::Ahead { ahead_ms } = error {
                        sight.out.push(Out::RetryIn(ahead_ms));
                    }
                    process.waiting.push_back(waiting);
                }
            }
        }
        process.is_window_short |= process.works.desk.window_wanted(unix_ms).is_some();
    }

    /// A thread with a timestamp in hand looks at the lease.
    pub fn release(&mut self, ticket: PdTicket, sight: &mut Sight<'_>) {
        let Some(process) = &mut self.process else { return };
        let Some((taken, count)) = process.taken.remove(&ticket) else { return };
        let now = process.clock.read(sight.now);
        let answer = match process.works.desk.release(taken, now) {
            Some(last) => {
                sight.marks.note(PdMark::TimestampsReleased);
                let verdict = sight.judges.timestamps.on_release(ticket, last, count);
                sight.judges.note(verdict);
                process.judge_claim(self.id, sight);
                PdAnswer::Timestamps(last, count)
            }
            None => {
                sight.marks.note(PdMark::TimestampsWithheld);
                PdAnswer::Denied(Denied::NotLeader)
            }
        };
        sight.out.push(Out::Answer(ticket, answer));
    }

    /// Whether the core has something to do.
    #[must_use]
    pub fn wants_turn(&self) -> bool {
        self.process.as_ref().is_some_and(|process| {
            !process.inbox.is_empty() || process.is_rung || process.is_window_short
        })
    }

    /// Whether something waits for a sync.
    #[must_use]
    pub fn wants_sync(&self) -> bool {
        self.process.as_ref().is_some_and(|process| !process.works.unsynced.is_empty())
    }

    /// What the member sees, if it may say at `now` that it leads.
    #[must_use]
    pub fn leading(&self, now: Moment) -> Option<Leading<'_>> {
        let process = self.process.as_ref()?;
        process.core.leading(process.clock.read(now)).ok()
    }

    fn judge_state(&mut self, sight: &mut Sight<'_>) -> Verdict {
        let applied = self.applied();
        let Some(process) = self.process.as_mut().filter(|process| process.judged < applied) else {
            return Ok(());
        };
        process.judged = applied;
        sight.judges.state.on_state(self.id, applied, process.core.state())
    }

    fn applied(&self) -> Index {
        let apply = disk::read_apply_state(self.disk.image().as_ref(), GROUP);
        apply.ok().flatten().map(|state| state.applied.index).unwrap_or_default()
    }

    /// What the wall clock shows.
    fn wall(&self, now: Moment) -> u64 {
        (EPOCH_MS + now.0 / 1_000_000).saturating_add_signed(self.wall_error_ms)
    }

    fn look_at_wall(&mut self, sight: &mut Sight<'_>) -> u64 {
        let unix_ms = self.wall(sight.now);
        self.shown_ms = self.shown_ms.max(unix_ms);
        sight.judges.timestamps.on_clock(unix_ms);
        unix_ms
    }

    fn post(&mut self, job: Job) {
        if let Some(process) = &mut self.process {
            process.inbox.push_back(job);
        }
    }
}

impl Process {
    fn look_up(
        &self,
        (member, run): (PeerId, Run),
        now: Moment,
        ask: PdAsk,
        sight: &mut Sight<'_>,
    ) -> Result<PdAnswer, Violation> {
        let leading = match self.core.leading(now) {
            Ok(leading) => leading,
            Err(denied) => return Ok(PdAnswer::Denied(denied)),
        };
        let term = self.core.group().role().term;
        let reign = ReignKey { member, run, term };
        let answer = match ask {
            PdAsk::Region(key) => {
                let found = leading.regions().by_key(&key).cloned();
                sight.judges.regions.on_key(reign, &key, found.as_deref())?;
                PdAnswer::Region(found)
            }
            PdAsk::Plan(store) => match leading.store(store) {
                Ok(_known) => PdAnswer::Plan(leading.state().bootstrap().cloned()),
                Err(denied) => PdAnswer::Denied(denied),
            },
            _ => {
                let all = flotilla_base::KeyRange::all();
                let found = leading.regions().scan(&all, usize::MAX);
                sight.judges.regions.on_all(reign, found.iter().map(AsRef::as_ref))?;
                for info in leading.regions().iter() {
                    sight.judges.epochs.on_answer(reign, &info.region)?;
                }
                PdAnswer::Regions(found)
            }
        };
        sight.marks.note(PdMark::RegionAnswers);
        self.judge_claim(member, sight);
        Ok(answer)
    }

    fn judge_claim(&self, member: PeerId, sight: &mut Sight<'_>) {
        let written = self.works.unsynced.front().map(|write| write.written);
        let verdict = sight.judges.leads.on_claim(member, sight.now, written);
        sight.judges.note(verdict);
    }
}

/// A random identity, as a process would draw it.
#[must_use]
pub fn fresh_cluster(rng: &mut Rng) -> ClusterId {
    ClusterId(1 + (rng.next() >> 1))
}

fn damaged(error: impl std::fmt::Display) -> Violation {
    Violation { rule: "a placement driver goes on after every crash", what: error.to_string() }
}
