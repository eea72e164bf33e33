//! Clients of the placement driver: each has one request at a time, and repeats it until it is served.

use flotilla_base::{Key, PeerId, Rng, Span, key::guard_border};

use super::event::{PdAnswer, PdAsk, PdTicket};
use super::plan::PdPlan;

/// Operations of each client after all faults.
const LAST_OPERATIONS: u64 = 3;
/// As many timestamps as one request may take.
const GREEDY: u32 = 262_143;

/// One client.
#[derive(Debug)]
pub struct PdClient {
    rng: Rng,
    left: u64,
    ask: Option<PdAsk>,
    /// The request under way.
    pub ticket: Option<PdTicket>,
    /// Whom it asks.
    pub target: PeerId,
}

impl PdClient {
    /// A client that has its operations before it.
    #[must_use]
    pub const fn new(operations: u64, rng: Rng) -> Self {
        Self { rng, left: operations, ask: None, ticket: None, target: PeerId(1) }
    }

    /// Whether all its operations are done.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.left == 0 && self.ask.is_none()
    }

    /// Comes to an end: a few operations more.
    pub fn wind_down(&mut self) {
        self.left = self.left.min(LAST_OPERATIONS);
    }

    /// What it asks now; `None` when all is done.
    pub fn ask(&mut self, plan: &PdPlan, key: Key) -> Option<PdAsk> {
        if self.ask.is_none() && self.left > 0 {
            self.left -= 1;
            self.ask = Some(self.draw(plan, key));
        }
        self.ask.clone()
    }

    /// An answer to the request under way; the time to the next one.
    pub fn on_answer(&mut self, plan: &PdPlan, answer: &PdAnswer) -> Span {
        self.ticket = None;
        match answer {
            PdAnswer::Denied(_) | PdAnswer::Down | PdAnswer::Members(false) => {
                self.turn_elsewhere(plan)
            }
            _ => {
                self.ask = None;
                Span(self.rng.below(plan.think_max.0 + 1))
            }
        }
    }

    /// Asks another member next; the time until then.
    pub fn turn_elsewhere(&mut self, plan: &PdPlan) -> Span {
        self.ticket = None;
        self.target = PeerId(1 + self.target.get() % plan.members.max(1));
        Span::from_millis(1 + self.rng.below(50))
    }

    fn draw(&mut self, plan: &PdPlan, key: Key) -> PdAsk {
        match self.rng.below(100) {
            0..70 if self.rng.chance(plan.greedy_permille) => PdAsk::Timestamps(GREEDY),
            0..70 => PdAsk::Timestamps(self.count(1_000)),
            70..82 => PdAsk::Ids(self.count(700)),
            82..87 => PdAsk::Members,
            87..95 => PdAsk::Region(self.key(key)),
            _ => PdAsk::Regions,
        }
    }

    fn count(&mut self, most: u64) -> u32 {
        let most = if self.rng.chance(500) { 3 } else { most };
        u32::try_from(1 + self.rng.below(most)).unwrap_or(1)
    }

    fn key(&mut self, key: Key) -> Key {
        match self.rng.below(4) {
            0 => Key::new(),
            1 => guard_border(),
            _ => key,
        }
    }
}
