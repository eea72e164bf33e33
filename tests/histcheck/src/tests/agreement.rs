//! Small random histories, most of them broken in some way: zones, search and brute force agree, and a
//! witness is a contradiction of its own from which nothing can be taken.

use flotilla_base::{Moment, Rng};

use super::brute;
use super::words::judge;
use crate::model::{Names, State};
use crate::search::{Found, Search};
use crate::{Anomaly, Method, Operation, Outcome, Request, Response, Value};

const HISTORIES: u64 = if cfg!(debug_assertions) { 20_000 } else { 200_000 };

/// Brute force is fast enough up to this many operations.
const BRUTE_MAX: usize = 6;

/// What the operations of a random history are.
#[derive(Clone, Copy)]
enum Kind {
    /// Reads and writes of values that are all different.
    Distinct,
    /// The same with deletes.
    Deletes,
    /// Everything that a register can do, with values that repeat.
    Everything,
    Set,
}

/// Draws operations without any model behind them.
struct Drawer {
    rng: Rng,
    kind: Kind,
    values: u64,
}

impl Drawer {
    fn history(&mut self) -> Vec<Operation> {
        let count = 2 + self.rng.below(8);
        self.values = 1 + self.rng.below(4);
        let mut next_value = 0;
        (0..count).map(|_| self.operation(&mut next_value)).collect()
    }

    fn operation(&mut self, next_value: &mut u64) -> Operation {
        let request = self.request(next_value);
        let invoked = self.rng.below(30);
        let returned = Moment(invoked + self.rng.below(12));
        let outcome = match self.rng.below(10) {
            0 => Outcome::Fail,
            1 => Outcome::Unknown,
            _ => Outcome::Ok(self.response(&request)),
        };
        let returned = if outcome == Outcome::Unknown { Moment::NEVER } else { returned };
        let (client, key) = (self.rng.below(5), "k".to_owned());
        Operation { client, key, request, invoked: Moment(invoked), returned, outcome }
    }

    fn request(&mut self, next_value: &mut u64) -> Request {
        let is_read = self.rng.chance(550);
        match self.kind {
            Kind::Set if is_read => Request::SetRead,
            Kind::Set => Request::SetAdd(self.value()),
            _ if is_read => Request::Read,
            Kind::Deletes if self.rng.chance(300) => Request::Write(None),
            Kind::Distinct | Kind::Deletes => {
                *next_value += 1;
                Request::Write(Some(number(*next_value)))
            }
            Kind::Everything => match self.rng.below(4) {
                0 => Request::Write(self.content()),
                1 => Request::Add(1),
                _ => Request::Cas { expected: self.content(), new: self.content() },
            },
        }
    }

    fn response(&mut self, request: &Request) -> Response {
        match request {
            Request::Read => Response::Found(self.content()),
            Request::Write(_) | Request::SetAdd(_) => Response::Written,
            Request::Cas { expected, .. } => {
                let swapped = self.rng.chance(500);
                let found = if swapped { expected.clone() } else { self.content() };
                Response::Compared { swapped, found }
            }
            Request::Add(_) if self.rng.chance(500) => Response::Added(None),
            Request::Add(_) => Response::Added(Some(1 + self.rng.below(self.values) as i64)),
            Request::SetRead => {
                let all = 1..=self.values;
                let listed = all.filter(|_| self.rng.chance(600)).map(number);
                Response::Elements(listed.collect())
            }
        }
    }

    fn content(&mut self) -> Option<Value> {
        self.rng.chance(800).then(|| self.value())
    }

    fn value(&mut self) -> Value {
        number(1 + self.rng.below(self.values))
    }
}

fn number(number: u64) -> Value {
    Value::Number(number.cast_signed())
}

/// The search alone, without anything that is decided before it.
fn has_order_by_search(operations: &[Operation]) -> bool {
    let mut names = Names::default();
    let calls = names.calls(operations);
    match Search::new(&calls, usize::MAX).run(State::Absent) {
        Found::Order => true,
        Found::NoOrder => false,
        Found::Budget => unreachable!("there is no budget"),
    }
}

fn without(operations: &[Operation], place: usize) -> Vec<Operation> {
    let mut rest = operations.to_vec();
    rest.remove(place);
    rest
}

/// Compares all opinions about random histories; both verdicts must be common.
fn compare(kind: Kind, seed: u64) {
    let mut drawer = Drawer { rng: Rng::new(seed), kind, values: 0 };
    let (mut sound, mut by_zones) = (0, 0);
    for _ in 0..HISTORIES {
        let operations = drawer.history();
        let report = judge(&operations);
        let is_sound = report.is_sound();
        sound += u64::from(is_sound);
        by_zones += u64::from(report.keys[0].method == Method::Zones);
        if matches!(kind, Kind::Set) {
            let elements: Vec<Value> = (1..=4).map(number).collect();
            let expected = brute::has_order_of_elements(&operations, &elements);
            assert_eq!(is_sound, expected, "{report}\n{operations:#?}");
        } else {
            let expected = has_order_by_search(&operations);
            assert_eq!(is_sound, expected, "{report}\n{operations:#?}");
            if operations.len() <= BRUTE_MAX {
                let expected = brute::has_order(&operations);
                assert_eq!(is_sound, expected, "brute force: {report}\n{operations:#?}");
            }
        }
        for witness in report.witnesses().filter(|witness| witness.start.is_none()) {
            let core = &witness.operations;
            assert!(!judge(core).is_sound(), "{witness}\n{operations:#?}");
            let reads = core.iter().enumerate().filter(|(_, it)| it.request == Request::Read);
            let is_smallest =
                witness.anomaly != Anomaly::NoOrder && !matches!(kind, Kind::Everything);
            for (place, _) in reads.filter(|_| is_smallest) {
                assert!(judge(&without(core, place)).is_sound(), "{place} is in vain: {witness}");
            }
        }
    }
    let share = sound * 100 / HISTORIES;
    println!("{HISTORIES} histories: {share} % sound, {by_zones} decided by zones");
    assert!((5..95).contains(&share), "{share} % are sound: the comparison sees one side only");
}

#[test]
fn zones_search_and_brute_force_agree_on_distinct_values() {
    compare(Kind::Distinct, 1);
}

#[test]
fn zones_search_and_brute_force_agree_on_deletes() {
    compare(Kind::Deletes, 2);
}

#[test]
fn search_and_brute_force_agree_on_everything() {
    compare(Kind::Everything, 3);
}

#[test]
fn sets_agree_with_brute_force() {
    compare(Kind::Set, 4);
}
