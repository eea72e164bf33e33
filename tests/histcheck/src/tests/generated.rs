//! Large random histories: what is sound by construction is accepted, and what is then broken in a way
//! that leaves no explanation is rejected, without one miss.

use std::collections::BTreeMap;

use flotilla_base::{Moment, Rng, Span};

use super::sample::{Load, Sample};
use super::words::judge;
use crate::{Method, Operation, Outcome, Request, Response, Start, Value, Witness};

const HISTORIES: u64 = if cfg!(debug_assertions) { 300 } else { 5_000 };

fn sample(load: Load, rng: &mut Rng) -> Vec<Operation> {
    let sample = Sample {
        load,
        operations: 5 + rng.below(60),
        width: 1 + rng.below(6),
        unknown_permille: rng.below(120),
        failed_permille: rng.below(120),
    };
    sample.draw(rng)
}

#[test]
fn what_is_sound_by_construction_is_accepted() {
    let mut rng = Rng::new(11);
    for load in Load::ALL {
        for number in 0..HISTORIES {
            let report = judge(&sample(load, &mut rng));
            assert!(report.is_sound(), "{load:?} {number}: {report}");
        }
    }
}

#[test]
fn long_histories_are_decided() {
    let mut rng = Rng::new(12);
    for (load, operations, width) in [
        (Load::Register, 100_000, 64),
        (Load::Deletes, 5_000, 8),
        (Load::Swaps, 5_000, 8),
        (Load::Counter, 2_000, 6),
        (Load::Set, 1_000, 64),
    ] {
        // Unknown additions stay possible for ever, so a counter can bear only a few of them.
        let unknown_permille = if load == Load::Counter { 2 } else { 20 };
        let sample = Sample { load, operations, width, unknown_permille, failed_permille: 20 };
        let report = judge(&sample.draw(&mut rng));
        assert!(report.is_sound(), "{load:?}: {report}");
        let is_by_zones = report.keys[0].method == Method::Zones;
        assert_eq!(is_by_zones, load == Load::Register, "{load:?}");
    }
}

/// Breaks a history so that nothing explains it; `None` where this one gives no occasion.
type Mutation = fn(&mut Rng, &[Operation]) -> Option<Vec<Operation>>;

const MUTATIONS: [(&str, Load, Mutation); 16] = [
    ("stale", Load::Register, stale),
    ("stale", Load::Deletes, stale),
    ("stale", Load::Swaps, stale),
    ("swap", Load::Register, swap),
    ("swap", Load::Deletes, swap),
    ("drop", Load::Register, drop_write),
    ("drop", Load::Swaps, drop_write),
    ("future", Load::Register, future),
    ("failed", Load::Register, failed),
    ("failed", Load::Deletes, failed),
    ("lost", Load::Register, lost_write),
    ("two winners", Load::Swaps, two_winners),
    ("too much", Load::Counter, too_much),
    ("too little", Load::Counter, too_little),
    ("duplicate", Load::Counter, duplicate_sum),
    ("sets", Load::Set, break_set),
];

#[test]
fn what_is_broken_by_construction_is_rejected() {
    let mut rng = Rng::new(13);
    let mut broken: BTreeMap<(&str, String), u64> = BTreeMap::new();
    let mut told_from_late = 0;
    for (name, load, mutation) in MUTATIONS {
        for _ in 0..HISTORIES {
            let operations = sample(load, &mut rng);
            let Some(mutant) = mutation(&mut rng, &operations) else { continue };
            let report = judge(&mutant);
            let witness = report.witnesses().next();
            let witness = witness.unwrap_or_else(|| panic!("{name}, {load:?}: {report}"));
            told_from_late += u64::from(is_contradiction_from_late(witness));
            *broken.entry((name, format!("{load:?}"))).or_default() += 1;
        }
    }
    println!("{broken:#?}, {told_from_late} of them told from a late moment on");
    assert!(told_from_late > HISTORIES / 4, "{told_from_late} are told from a late moment on");
    assert_eq!(broken.len(), MUTATIONS.len());
    for (mutation, count) in broken {
        assert!(count > HISTORIES / 10, "{mutation:?} is tried {count} times only");
    }
}

/// Whether a witness is told from a late moment on; it then is a contradiction behind each content that
/// it names.
fn is_contradiction_from_late(witness: &Witness) -> bool {
    let Some(Start { contents, .. }) = &witness.start else { return false };
    assert!(!contents.is_empty(), "{witness}");
    for content in contents {
        let first = Operation {
            request: Request::Write(content.clone()),
            invoked: Moment(0),
            returned: Moment(0),
            outcome: Outcome::Ok(Response::Written),
            ..witness.operations[0].clone()
        };
        let mut operations = witness.operations.clone();
        for operation in &mut operations {
            operation.invoked = Moment(operation.invoked.0 + 1);
            operation.returned = operation.returned + Span(1);
        }
        operations.push(first);
        assert!(!judge(&operations).is_sound(), "{content:?} explains it: {witness}");
    }
    true
}

/// One of `choices`.
fn pick<T>(rng: &mut Rng, mut choices: Vec<T>) -> Option<T> {
    let number = usize::try_from(rng.below(choices.len() as u64)).ok()?;
    (number < choices.len()).then(|| choices.swap_remove(number))
}

fn pairs(operations: &[Operation]) -> impl Iterator<Item = (&Operation, &Operation)> {
    operations.iter().flat_map(|one| operations.iter().map(move |other| (one, other)))
}

fn found(operation: &Operation) -> Option<&Value> {
    match operation.response() {
        Some(Response::Found(found) | Response::Compared { found, .. }) => found.as_ref(),
        _ => None,
    }
}

/// The value that the operation certainly put.
fn put(operation: &Operation) -> Option<&Value> {
    match (&operation.request, operation.response()) {
        (Request::Write(new), Some(_))
        | (Request::Cas { new, .. }, Some(Response::Compared { swapped: true, .. })) => {
            new.as_ref()
        }
        _ => None,
    }
}

fn is_read(operation: &Operation) -> bool {
    matches!(operation.response(), Some(Response::Found(_)))
}

fn set_found(operation: &mut Operation, value: Option<Value>) {
    operation.outcome = Outcome::Ok(Response::Found(value));
}

/// Begins after everything has ended.
fn at_the_end(operations: &[Operation], request: Request, response: Response) -> Operation {
    let moments = operations.iter().flat_map(|it| [it.invoked, it.returned]);
    let end = moments.filter(|it| *it != Moment::NEVER).max().unwrap_or_default();
    let (invoked, returned) = (Moment(end.0 + 1), Moment(end.0 + 2));
    let key = "k".to_owned();
    Operation { client: 0, key, request, invoked, returned, outcome: Outcome::Ok(response) }
}

fn with_last(operations: &[Operation], request: Request, response: Response) -> Vec<Operation> {
    let last = at_the_end(operations, request, response);
    [operations, &[last]].concat()
}

/// A read at the end returns what certainly was written over.
fn stale(rng: &mut Rng, operations: &[Operation]) -> Option<Vec<Operation>> {
    let is_over = |(old, new): &(&Operation, &Operation)| old.is_before(new) && put(new).is_some();
    let old = pairs(operations).filter(is_over).filter_map(|(old, _)| put(old));
    let old = pick(rng, old.collect())?.clone();
    Some(with_last(operations, Request::Read, Response::Found(Some(old))))
}

/// Two reads, one after the other, change their answers; the writes were one after the other as well.
fn swap(rng: &mut Rng, operations: &[Operation]) -> Option<Vec<Operation>> {
    let writer = |value| operations.iter().find(|it| put(it) == Some(value));
    let places =
        (0..operations.len()).flat_map(|one| (0..operations.len()).map(move |it| (one, it)));
    let is_ordered = |(first, second): &(usize, usize)| {
        let (first, second) = (&operations[*first], &operations[*second]);
        let writers = found(first).and_then(writer).zip(found(second).and_then(writer));
        is_read(first)
            && is_read(second)
            && first.is_before(second)
            && writers.is_some_and(|(first, second)| first.is_before(second))
    };
    let (first, second) = pick(rng, places.filter(is_ordered).collect())?;
    let mut mutant = operations.to_vec();
    mutant[first].outcome = operations[second].outcome.clone();
    mutant[second].outcome = operations[first].outcome.clone();
    Some(mutant)
}

/// A write is gone, though somebody found its value.
fn drop_write(rng: &mut Rng, operations: &[Operation]) -> Option<Vec<Operation>> {
    let is_seen =
        |value: &Value| operations.iter().any(|it| is_read(it) && found(it) == Some(value));
    let places = (0..operations.len()).filter(|it| put(&operations[*it]).is_some_and(is_seen));
    let place = pick(rng, places.collect())?;
    let mut mutant = operations.to_vec();
    mutant.remove(place);
    Some(mutant)
}

/// A read returns what is written after it.
fn future(rng: &mut Rng, operations: &[Operation]) -> Option<Vec<Operation>> {
    let places = 0..operations.len();
    let is_late = |read: &Operation, write: &Operation| is_read(read) && read.is_before(write);
    let choices = places.flat_map(|place| {
        let writes = operations.iter().filter(move |it| is_late(&operations[place], it));
        writes.filter_map(move |write| Some((place, put(write)?.clone())))
    });
    let (place, value) = pick(rng, choices.collect())?;
    let mut mutant = operations.to_vec();
    set_found(&mut mutant[place], Some(value));
    Some(mutant)
}

/// A read returns what a failed write would have written.
fn failed(rng: &mut Rng, operations: &[Operation]) -> Option<Vec<Operation>> {
    let values = operations.iter().filter_map(|it| match &it.request {
        Request::Write(Some(value)) if it.is_failed() => Some(value.clone()),
        _ => None,
    });
    let value = pick(rng, values.collect())?;
    let reads = (0..operations.len()).filter(|place| is_read(&operations[*place]));
    let place = pick(rng, reads.collect())?;
    let mut mutant = operations.to_vec();
    set_found(&mut mutant[place], Some(value));
    Some(mutant)
}

/// Nothing is there in the end, though something was written and nothing deleted.
fn lost_write(_: &mut Rng, operations: &[Operation]) -> Option<Vec<Operation>> {
    operations.iter().find(|it| put(it).is_some())?;
    Some(with_last(operations, Request::Read, Response::Found(None)))
}

/// A value that was swapped away once is swapped away again.
fn two_winners(rng: &mut Rng, operations: &[Operation]) -> Option<Vec<Operation>> {
    let swapped = operations.iter().filter_map(|it| match (&it.request, it.response()) {
        (Request::Cas { expected: Some(old), .. }, Some(Response::Compared { swapped, .. })) => {
            swapped.then(|| old.clone())
        }
        _ => None,
    });
    let old = Some(pick(rng, swapped.collect())?);
    let request = Request::Cas { expected: old.clone(), new: Some("again".into()) };
    Some(with_last(operations, request, Response::Compared { swapped: true, found: old }))
}

/// Sums of what certainly was added, and of what may have been.
fn sums(operations: &[Operation]) -> (i64, i64) {
    let amount = |operation: &Operation| match operation.request {
        Request::Add(amount) => amount,
        _ => 0,
    };
    let least = operations.iter().filter(|it| it.is_ok()).map(amount).sum();
    let most = operations.iter().filter(|it| !it.is_failed()).map(amount).sum();
    (least, most)
}

/// The counter ends above all additions together: one was applied twice.
fn too_much(_: &mut Rng, operations: &[Operation]) -> Option<Vec<Operation>> {
    let sum = sums(operations).1 + 1;
    Some(with_last(operations, Request::Read, Response::Found(Some(sum.into()))))
}

/// The counter ends below the acknowledged additions: one was lost.
fn too_little(_: &mut Rng, operations: &[Operation]) -> Option<Vec<Operation>> {
    let sum = sums(operations).0 - 1;
    Some(with_last(operations, Request::Read, Response::Found(Some(sum.into()))))
}

/// Two additions are told the same sum.
fn duplicate_sum(rng: &mut Rng, operations: &[Operation]) -> Option<Vec<Operation>> {
    let is_told =
        |place: &usize| matches!(operations[*place].response(), Some(Response::Added(Some(_))));
    let told: Vec<usize> = (0..operations.len()).filter(is_told).collect();
    let first = pick(rng, told.clone())?;
    let second = pick(rng, told.into_iter().filter(|place| *place != first).collect())?;
    let mut mutant = operations.to_vec();
    mutant[second].outcome = operations[first].outcome.clone();
    Some(mutant)
}

/// A read at the end lists all that certainly is there but one; or one too many; or one twice.
fn break_set(rng: &mut Rng, operations: &[Operation]) -> Option<Vec<Operation>> {
    let added = operations.iter().filter_map(|it| match &it.request {
        Request::SetAdd(value) if !it.is_failed() => Some((value, it.is_ok())),
        _ => None,
    });
    let added: Vec<(&Value, bool)> = added.collect();
    let mut values: Vec<Value> = added.iter().map(|(value, _)| (*value).clone()).collect();
    let certain = added.iter().filter(|(_, is_ok)| *is_ok).map(|(value, _)| (*value).clone());
    let one = pick(rng, certain.collect())?;
    match rng.below(3) {
        0 => values.retain(|value| *value != one),
        1 => values.push(one),
        _ => values.push("from nowhere".into()),
    }
    Some(with_last(operations, Request::SetRead, Response::Elements(values)))
}
