//! Sets that only grow, in time that grows with what reads list.
//!
//! Each element is judged on its own: it is a register that goes from "out" to "in" once. A read of many
//! keys is no snapshot, so two reads at the same time may each lack what the other one has.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_base::Moment;

use crate::operation::{Operation, Request, Response, Value};
use crate::witness::{Anomaly, Finding};

/// What is known of an element.
#[derive(Clone, Copy, Debug, Default)]
struct Element {
    /// The addition that began first, of those that may have happened.
    added: Option<usize>,
    /// An addition that failed.
    failed: Option<usize>,
    /// From this end of this operation on, every read must list it.
    certain: Option<(Moment, usize)>,
}

impl Element {
    fn is_certain_from(&mut self, moment: Moment, place: usize) {
        let known = self.certain.unwrap_or((Moment::NEVER, place));
        self.certain = Some(known.min((moment, place)));
    }
}

/// Judges the operations of one set; no operation is anything but an addition or a read.
///
/// # Errors
/// What contradicts what.
pub(crate) fn check(operations: &[Operation]) -> Result<(), Finding> {
    let mut elements = additions(operations);
    let mut reads = reads(operations);
    for (place, read, values) in &reads {
        let different: BTreeSet<&Value> = values.iter().collect();
        if different.len() < values.len() {
            let anomaly = Anomaly::DuplicateElement;
            return Err(Finding::new(anomaly, [*place], vec![twice(values)]));
        }
        for value in *values {
            check_origin(operations, elements.get(value), *place, value)?;
            let element = elements.entry(value).or_default();
            element.is_certain_from(read.returned, *place);
        }
    }
    reads.sort_by_key(|(_, read, _)| read.invoked);
    check_presence(operations, &elements, &reads)
}

type SetRead<'a> = (usize, &'a Operation, &'a [Value]);

fn reads(operations: &[Operation]) -> Vec<SetRead<'_>> {
    let told = operations.iter().enumerate().filter_map(|(place, operation)| {
        let Some(Response::Elements(values)) = operation.response() else { return None };
        Some((place, operation, values.as_slice()))
    });
    told.collect()
}

fn additions(operations: &[Operation]) -> BTreeMap<&Value, Element> {
    let mut elements: BTreeMap<&Value, Element> = BTreeMap::new();
    for (place, operation) in operations.iter().enumerate() {
        let Request::SetAdd(value) = &operation.request else { continue };
        let element = elements.entry(value).or_default();
        if operation.is_failed() {
            element.failed = Some(place);
            continue;
        }
        let is_earlier = |known: usize| operation.invoked < operations[known].invoked;
        if element.added.is_none_or(is_earlier) {
            element.added = Some(place);
        }
        if operation.is_ok() {
            element.is_certain_from(operation.returned, place);
        }
    }
    elements
}

/// What a read lists was added, by an addition that began before the read ended.
fn check_origin(
    operations: &[Operation],
    element: Option<&Element>,
    read: usize,
    value: &Value,
) -> Result<(), Finding> {
    let element = element.copied().unwrap_or_default();
    match (element.added, element.failed) {
        (Some(added), _) if !operations[read].is_before(&operations[added]) => Ok(()),
        (Some(added), _) => {
            let line = format!("{value} was listed before anybody asked to add it");
            Err(Finding::new(Anomaly::FutureRead, [read, added], vec![line]))
        }
        (None, Some(failed)) => {
            let line = format!("{value} was listed, but adding it had failed for certain");
            Err(Finding::new(Anomaly::FailedWriteRead, [failed, read], vec![line]))
        }
        (None, None) => {
            let line = format!("{value} was listed, but nobody added it");
            Err(Finding::new(Anomaly::NeverWritten, [read], vec![line]))
        }
    }
}

/// What was certain before a read began is listed by it. `reads` stand in the order of their invocations.
fn check_presence(
    operations: &[Operation],
    elements: &BTreeMap<&Value, Element>,
    reads: &[SetRead<'_>],
) -> Result<(), Finding> {
    let certain = elements.iter().filter_map(|(value, element)| Some((element.certain?, *value)));
    let mut certain: Vec<((Moment, usize), &Value)> = certain.collect();
    certain.sort_unstable();
    for (place, read, values) in reads {
        let expected = certain.partition_point(|((moment, _), _)| *moment < read.invoked);
        let is_expected = |value: &Value| {
            let since = elements.get(value).and_then(|element| element.certain);
            since.is_some_and(|(moment, _)| moment < read.invoked)
        };
        // Listed elements are all different, so counting finds out whether one is missing.
        if values.iter().filter(|value| is_expected(value)).count() == expected {
            continue;
        }
        let listed: BTreeSet<&Value> = values.iter().collect();
        let missing = certain[..expected].iter().find(|(_, value)| !listed.contains(value));
        let ((_, witness), value) = missing.expect("one that is certain is not listed");
        let line = format!("{value} was certain when this ended, and is missing afterwards");
        let line = format!("{}: {line}", operations[*witness]);
        let mut places = vec![*witness, *place];
        // A read that saw it needs the addition beside it to be understood.
        places.extend(elements.get(value).and_then(|element| element.added));
        return Err(Finding::new(Anomaly::LostElement, places, vec![line]));
    }
    Ok(())
}

fn twice(values: &[Value]) -> String {
    let mut values: Vec<&Value> = values.iter().collect();
    values.sort_unstable();
    let pair = values.windows(2).find(|pair| pair[0] == pair[1]);
    let value = pair.expect("fewer different elements than elements")[0];
    format!("{value} is listed more than once")
}

/// How many acknowledged additions no later read could confirm.
pub(crate) fn count_unread(operations: &[Operation]) -> usize {
    let last_read = reads(operations).into_iter().map(|(_, read, _)| read.invoked).max();
    let is_addition = |it: &&Operation| matches!(it.request, Request::SetAdd(_)) && it.is_ok();
    let additions = operations.iter().filter(is_addition);
    additions.filter(|it| last_read.is_none_or(|read| it.returned >= read)).count()
}
