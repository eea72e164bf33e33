//! Histories that are sound by construction: a model carries every operation out at a moment within its
//! interval and gives its answer.

use flotilla_base::{Moment, Rng};

use crate::{Operation, Outcome, Request, Response, Value};

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// Reads, and writes of values that are all different.
    Register,
    /// The same with deletes.
    Deletes,
    /// The same with compare-and-swap.
    Swaps,
    /// Additions of positive amounts, and reads.
    Counter,
    /// Additions of different elements, and reads of all.
    Set,
}

impl Load {
    pub(super) const ALL: [Self; 5] =
        [Self::Register, Self::Deletes, Self::Swaps, Self::Counter, Self::Set];
}

/// How a history is drawn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) load: Load,
    pub(super) operations: u64,
    /// About how many operations are under way at a time.
    pub(super) width: u64,
    pub(super) unknown_permille: u64,
    pub(super) failed_permille: u64,
}

/// What is decided before anything happens.
struct Planned {
    client: u64,
    invoked: Moment,
    returned: Moment,
    fate: Fate,
    /// When the model carries it out, and what decides between equal moments.
    at: (Moment, u64),
}

enum Fate {
    Ok,
    Fail,
    /// Unknown to the client; carried out all the same, or not.
    Unknown {
        happens: bool,
    },
}

/// Between two invocations: short, so that many moments are equal.
const PACE: u64 = 4;

impl Sample {
    pub(super) fn draw(self, rng: &mut Rng) -> Vec<Operation> {
        let mut planned: Vec<Planned> =
            (0..self.operations).map(|number| self.plan(rng, number)).collect();
        planned.sort_by_key(|planned| planned.at);
        let mut model = Model { load: self.load, content: None, elements: Vec::new(), values: 0 };
        let mut operations: Vec<Operation> =
            planned.into_iter().map(|planned| model.carry_out(rng, planned)).collect();
        operations.sort_by_key(|operation| operation.invoked);
        operations
    }

    fn plan(self, rng: &mut Rng, number: u64) -> Planned {
        let invoked = number * PACE + rng.below(PACE + 1);
        let length = rng.below(2 * PACE * self.width);
        let (fate, latest) = match rng.below(1000) {
            draw if draw < self.unknown_permille => {
                // Late beyond the end of many that follow.
                (Fate::Unknown { happens: rng.chance(500) }, 10 * length + 10 * PACE)
            }
            draw if draw < self.unknown_permille + self.failed_permille => (Fate::Fail, length),
            _ => (Fate::Ok, length),
        };
        let at = (Moment(invoked + rng.below(latest + 1)), rng.next());
        let returned = match fate {
            Fate::Unknown { .. } => Moment::NEVER,
            Fate::Ok | Fate::Fail => Moment(invoked + length),
        };
        Planned { client: rng.below(self.width), invoked: Moment(invoked), returned, fate, at }
    }
}

/// One key.
struct Model {
    load: Load,
    content: Option<Value>,
    elements: Vec<Value>,
    values: i64,
}

impl Model {
    fn carry_out(&mut self, rng: &mut Rng, planned: Planned) -> Operation {
        let request = self.request(rng);
        let outcome = match planned.fate {
            Fate::Ok => Outcome::Ok(self.answer(rng, &request)),
            Fate::Fail => Outcome::Fail,
            Fate::Unknown { happens } => {
                if happens {
                    self.answer(rng, &request);
                }
                Outcome::Unknown
            }
        };
        let Planned { client, invoked, returned, .. } = planned;
        Operation { client, key: "k".to_owned(), request, invoked, returned, outcome }
    }

    fn request(&mut self, rng: &mut Rng) -> Request {
        let is_read = rng.chance(500);
        match self.load {
            Load::Set if is_read => Request::SetRead,
            Load::Set => Request::SetAdd(self.fresh()),
            _ if is_read => Request::Read,
            Load::Counter => Request::Add(1 + rng.below(3).cast_signed()),
            Load::Deletes if rng.chance(300) => Request::Write(None),
            Load::Swaps if rng.chance(600) => {
                let expected =
                    if rng.chance(600) { self.content.clone() } else { Some(self.values.into()) };
                Request::Cas { expected, new: Some(self.fresh()) }
            }
            Load::Register | Load::Deletes | Load::Swaps => Request::Write(Some(self.fresh())),
        }
    }

    fn fresh(&mut self) -> Value {
        self.values += 1;
        self.values.into()
    }

    fn answer(&mut self, rng: &mut Rng, request: &Request) -> Response {
        match request {
            Request::Read => Response::Found(self.content.clone()),
            Request::Write(new) => {
                self.content.clone_from(new);
                Response::Written
            }
            Request::Cas { expected, new } => {
                let (swapped, found) = (self.content == *expected, self.content.clone());
                if swapped {
                    self.content.clone_from(new);
                }
                Response::Compared { swapped, found }
            }
            Request::Add(amount) => {
                let before = match self.content {
                    Some(Value::Number(number)) => number,
                    _ => 0,
                };
                self.content = Some((before + amount).into());
                Response::Added(rng.chance(500).then_some(before + amount))
            }
            Request::SetAdd(value) => {
                self.elements.push(value.clone());
                Response::Written
            }
            Request::SetRead => Response::Elements(self.elements.clone()),
        }
    }
}
