//! The placement driver: the production core with a group of its own, on a disk that never fails. What is learnt from
//! heartbeats is lost when it stops.

use std::sync::Arc;

use flotilla_base::{ClusterId, KvRead, Moment, Mutation, PeerId, Seeded, Span};
use flotilla_pdcore::{
    Clocks, CoreConfig, CoreError, Denied, Effects, Input, Leading, LogWrite, Outcome, PdCore,
    PdHost, Report, birth,
};
use flotilla_placement::{Cluster, MetaState, OperatorEvent, TsoChange};
use flotilla_raftgroup::{GroupLimits, Message, ReadyNumber, Timing};

use super::region::SplitNumber;
use crate::disk::SimDisk;

/// What the wall clock shows at the world's beginning, milliseconds since 1970.
const EPOCH_MS: u64 = 1_700_000_000_000;
/// The only member.
const MEMBER: PeerId = PeerId(1);
/// Its group has one voter, which waits for nobody: wake-ups for its lease would be most of all events.
const TIMING: Timing = Timing {
    gate: Span::from_millis(400_000),
    lease: Span::from_millis(300_000),
    heartbeat: Span::from_millis(60_000),
    rank_step: Span::from_millis(60),
    round: Span::from_millis(120),
    stall: Span::from_millis(1_000_000),
};

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// The world itself, which goes on only with the answer.
    World,
    /// Somebody who does not care.
    Nobody,
    /// A region that is to be split.
    Split(SplitNumber),
}

/// What the driver says.
#[derive(Debug)]
pub enum Said {
    /// To whoever asked.
    Reply(Asker, Outcome),
    /// What became of what it was told.
    Report(Report),
    /// What becomes of operators.
    Operator(OperatorEvent),
}

/// The placement driver of a world.
#[derive(Debug)]
pub struct Driver {
    core: Option<PdCore<Asker>>,
    effects: Effects<Asker>,
    disk: SimDisk,
    run: u64,
    seeded: Seeded,
    max_replicas: u32,
}

/// Executes what the core wants done.
struct Hands<'a> {
    disk: &'a mut SimDisk,
    durable: Option<ReadyNumber>,
    said: Vec<Said>,
}

impl Hands<'_> {
    fn put(&mut self, batch: Vec<Mutation>) {
        if !batch.is_empty() {
            let number = self.disk.write(batch).expect("nothing fills this disk");
            self.disk.sync(number).expect("no sync of this disk fails");
        }
    }
}

impl PdHost<Asker> for Hands<'_> {
    type Error = CoreError;

    fn tso(&mut self, _change: TsoChange) {}

    fn send(&mut self, messages: Vec<Message>) {
        debug_assert!(messages.is_empty(), "there is nobody to send to");
    }

    fn persist(&mut self, write: LogWrite) -> Result<(), CoreError> {
        self.put(write.batch);
        self.durable = Some(write.number);
        Ok(())
    }

    fn write(&mut self, batch: Vec<Mutation>) -> Result<(), CoreError> {
        self.put(batch);
        Ok(())
    }

    fn claim(&mut self, _cluster: Cluster) -> Result<(), CoreError> {
        Ok(())
    }

    fn reply(&mut self, ticket: Asker, outcome: Outcome) {
        self.said.push(Said::Reply(ticket, outcome));
    }

    fn report(&mut self, report: Report) {
        self.said.push(Said::Report(report));
    }

    fn operator(&mut self, event: OperatorEvent) {
        self.said.push(Said::Operator(event));
    }
}

/// Both clocks of the driver: they tell the world's time.
pub(super) const fn clocks(now: Moment) -> Clocks {
    Clocks { now, unix_ms: EPOCH_MS + Span(now.0).as_millis() }
}

impl Driver {
    /// A driver that has never run.
    #[must_use]
    pub fn new(max_replicas: u32, seeded: Seeded) -> Self {
        let (core, effects, disk) = (None, Effects::default(), SimDisk::default());
        Self { core, effects, disk, run: 0, seeded, max_replicas }
    }

    /// Starts it from what is on its disk.
    pub fn start(&mut self, now: Moment) -> Vec<Said> {
        self.run += 1;
        let records = birth(self.disk.image().as_ref()).expect("the disk is sound");
        let is_new = !records.is_empty();
        let mut hands = Hands { disk: &mut self.disk, durable: None, said: Vec::new() };
        hands.put(records);
        let config = CoreConfig {
            members: vec![MEMBER],
            member: MEMBER,
            max_replicas: self.max_replicas,
            fresh_cluster: ClusterId(7),
            run: self.run,
            timing: TIMING,
            limits: GroupLimits { idle_beats: GroupLimits::NEVER_SLEEPS, ..GroupLimits::default() },
            log_entries_kept: 16,
            seeded: self.seeded,
        };
        let image: Arc<dyn KvRead + Send + Sync> = Arc::clone(self.disk.image()) as _;
        let core = PdCore::open(config, image, is_new, now).expect("the disk is sound");
        self.core = Some(core);
        self.tell(now, Input::Wake)
    }

    /// Stops it: what it has learnt is gone, and so is what it was doing.
    pub fn stop(&mut self) {
        self.core = None;
        self.effects = Effects::default();
    }

    /// Whether it runs.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.core.is_some()
    }

    /// Which run this is, or the last one was.
    #[must_use]
    pub const fn run(&self) -> u64 {
        self.run
    }

    /// Tells it something; what it says to that. Nothing where it does not run.
    pub fn tell(&mut self, now: Moment, input: Input<Asker>) -> Vec<Said> {
        let Some(core) = self.core.as_mut() else { return Vec::new() };
        let clocks = clocks(now);
        let mut hands = Hands { disk: &mut self.disk, durable: None, said: Vec::new() };
        core.handle(clocks, input, &mut self.effects).expect("a sound core goes on");
        loop {
            let has_worked = core.drain(clocks, &mut self.effects).expect("a sound core goes on");
            self.effects.finish(&mut hands).expect("a sound core goes on");
            let durable = hands.durable.take();
            if let Some(number) = durable {
                core.handle(clocks, Input::Persisted(number), &mut self.effects)
                    .expect("a sound core goes on");
            }
            if !has_worked && durable.is_none() {
                return hands.said;
            }
        }
    }

    /// When it wants to be woken.
    #[must_use]
    pub fn next_deadline(&self, now: Moment) -> Moment {
        self.core.as_ref().map_or(Moment::NEVER, |core| core.next_deadline(now))
    }

    /// What is recorded; `None` where it does not run.
    #[must_use]
    pub fn state(&self) -> Option<&MetaState> {
        self.core.as_ref().map(PdCore::state)
    }

    /// What it sees.
    ///
    /// # Errors
    /// It does not lead, or does not run.
    pub fn leading(&self, now: Moment) -> Result<Leading<'_>, Denied> {
        self.core.as_ref().ok_or(Denied::Stopped)?.leading(now)
    }
}
