//! Registers, compare-and-swap and counters: which checker decides, and what its findings mean.

use std::collections::{BTreeMap, BTreeSet};

use crate::check::{Limits, Method, Verdict};
use crate::model::{Call, Effect, Names, Observed, State};
use crate::operation::{Operation, Outcome, Request, Value, content};
use crate::search::{Found, Search};
use crate::shrink;
use crate::witness::{Anomaly, Finding, Start};
use crate::zones::{self, Cluster, Conflict};

/// Judges the operations of one key, none of which belongs to a set.
pub(crate) fn check(operations: &[Operation], limits: Limits) -> (Method, Verdict<Finding>) {
    let mut names = Names::default();
    let mut calls = names.calls(operations);
    if let Err(finding) = check_origins(operations, &calls, &names) {
        return (Method::Zones, Verdict::Violated(finding));
    }
    drop_unseen(&mut calls);
    if zones::are_applicable(&calls) {
        let is_absent = |call: &Call| match call.effect {
            Effect::Read(state) | Effect::Write(state) => state == State::Absent,
            _ => false,
        };
        // Which delete a read of nothing saw is not known. Without both of them everything else must
        // be in order all the same; with them the search has to decide.
        let has_deletes = calls.iter().any(|call| is_absent(call) && !call.effect.is_observer());
        let has_absent_reads =
            calls.iter().any(|call| is_absent(call) && call.effect.is_observer());
        let is_ambiguous = has_deletes && has_absent_reads;
        let distinct: Vec<Call> =
            calls.iter().filter(|call| !is_ambiguous || !is_absent(call)).copied().collect();
        if let Some(conflict) = zones::conflict(&distinct) {
            let finding = explain(operations, &distinct, &names, &conflict);
            return (Method::Zones, Verdict::Violated(finding));
        }
        if !is_ambiguous {
            return (Method::Zones, Verdict::Sound);
        }
    }
    (Method::Search, search(operations, &calls, &names, limits))
}

/// What may not have happened and left nothing that anybody saw may be taken not to have happened.
fn drop_unseen(calls: &mut Vec<Call>) {
    let observed = Observed::by(calls);
    calls.retain(|call| call.is_required || !observed.can_spare(call));
}

/// What a client found was written, by an operation that began before the client was answered.
fn check_origins(
    operations: &[Operation],
    calls: &[Call],
    names: &Names<'_>,
) -> Result<(), Finding> {
    if calls.iter().any(|call| matches!(call.effect, Effect::Add { .. })) {
        // Sums are written by many together: the search finds what nobody can have left behind.
        return Ok(());
    }
    let mut origins: BTreeMap<State, &Call> = BTreeMap::new();
    for call in calls {
        if let Some(state) = call.effect.produces() {
            let origin = origins.entry(state).or_insert(call);
            if call.invoked < origin.invoked {
                *origin = call;
            }
        }
    }
    for call in calls {
        let Some(found) = call.effect.found().filter(|state| *state != State::Absent) else {
            continue;
        };
        let value = names.value(found);
        match origins.get(&found) {
            Some(origin) if origin.invoked <= call.returned => {}
            Some(origin) => {
                let line = format!("{} was read before its write began", content(value.as_ref()));
                let places = [call.place, origin.place];
                return Err(Finding::new(Anomaly::FutureRead, places, vec![line]));
            }
            None => return Err(no_origin(operations, call, value.as_ref())),
        }
    }
    Ok(())
}

fn no_origin(operations: &[Operation], read: &Call, value: Option<&Value>) -> Finding {
    let wrote = |operation: &Operation| match &operation.request {
        Request::Write(new) | Request::Cas { new, .. } => new.as_ref() == value,
        _ => false,
    };
    let is_failed = |operation: &Operation| operation.outcome == Outcome::Fail && wrote(operation);
    let value = content(value);
    if let Some(failed) = operations.iter().position(is_failed) {
        let line = format!("{value} was read, but its write had failed for certain");
        return Finding::new(Anomaly::FailedWriteRead, [failed, read.place], vec![line]);
    }
    let refused = operations.iter().position(wrote).filter(|place| *place != read.place);
    let line = match refused {
        Some(_) => format!("{value} was read, but the swap to it was refused"),
        None => format!("{value} was read, but nobody wrote it"),
    };
    Finding::new(Anomaly::NeverWritten, refused.into_iter().chain([read.place]), vec![line])
}

/// Says why two values contradict each other, in terms of the operations that are needed to see it.
fn explain(
    operations: &[Operation],
    calls: &[Call],
    names: &Names<'_>,
    conflict: &Conflict,
) -> Finding {
    let needed = needed(calls, conflict);
    let Conflict { held, between } =
        zones::conflict(&needed).expect("what is needed for a conflict has one");
    let operation = |place: usize| &operations[needed[place].place];
    let value = |cluster: &Cluster| {
        let state = cluster.write.and_then(|place| needed[place].effect.produces());
        content(state.and_then(|state| names.value(state)).as_ref())
    };
    let order = |one: &Cluster, other: &Cluster| {
        let (_, start) = other.last_start?;
        let first = one.first_end.map_or_else(
            || "so it was in the beginning,".to_owned(),
            |(_, end)| format!("`{}` ended", operation(end)),
        );
        let (one, other, start) = (value(one), value(other), operation(start));
        Some(format!("{one} came before {other}: {first} before `{start}` began"))
    };
    let ends = [between.first_end, between.last_start];
    let is_write_alone = ends.iter().flatten().all(|(_, place)| Some(*place) == between.write);
    let anomaly = match (held.write, is_write_alone) {
        (None, _) => Anomaly::LostWrite,
        (Some(_), true) => Anomaly::StaleRead,
        (Some(_), false) => Anomaly::ContradictingReads,
    };
    let explanation = [order(&held, &between), order(&between, &held)];
    let places = needed.iter().map(|call| call.place);
    Finding::new(anomaly, places, explanation.into_iter().flatten().collect())
}

/// The calls that make a conflict. Reads are left out while it stays one.
fn needed(calls: &[Call], conflict: &Conflict) -> Vec<Call> {
    let clusters = [conflict.held, conflict.between];
    let places = clusters.iter().flat_map(|cluster| {
        let ends = [cluster.first_end, cluster.last_start].into_iter().flatten();
        ends.map(|(_, place)| place).chain(cluster.write)
    });
    let places: BTreeSet<usize> = places.collect();
    let mut needed: Vec<Call> = places.into_iter().map(|place| calls[place]).collect();
    for call in needed.clone() {
        if call.effect.is_observer() {
            let is_other = |other: &&Call| other.place != call.place;
            let rest: Vec<Call> = needed.iter().filter(is_other).copied().collect();
            if zones::conflict(&rest).is_some() {
                needed = rest;
            }
        }
    }
    needed
}

fn search(
    operations: &[Operation],
    calls: &[Call],
    names: &Names<'_>,
    limits: Limits,
) -> Verdict<Finding> {
    let mut search = Search::new(calls, limits.positions_max);
    match search.run(State::Absent) {
        Found::Order => return Verdict::Sound,
        Found::Budget => return Verdict::Undecided { positions: search.positions() },
        Found::NoOrder => {}
    }
    drop(search);
    let core = shrink::shrink(calls, limits);
    let places = core.calls.iter().map(|call| call.place);
    let mut finding = Finding::new(Anomaly::NoOrder, places, Vec::new());
    let contents = || core.states.iter().map(|state| names.value(*state)).collect();
    finding.start = core.start.map(|at| Start { at, contents: contents() });
    let last = core.calls.iter().filter(|call| call.is_required);
    if let Some(last) = last.max_by_key(|call| call.returned) {
        let last = &operations[last.place];
        let line = format!("no order of these operations explains them all up to `{last}`");
        finding.explanation.push(line);
    }
    Verdict::Violated(finding)
}
