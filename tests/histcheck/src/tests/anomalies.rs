//! Each anomaly by hand, beside the history that is nearly the same and sound.

use super::words::*;
use crate::Anomaly::*;
use crate::{Anomaly, Limits, Method, Operation, Verdict, check};

fn assert_sound(operations: &[Operation]) {
    let report = judge(operations);
    assert!(report.is_sound(), "{report}");
}

/// The anomaly and how many operations are needed to see it.
fn assert_violated(anomaly: Anomaly, needed: usize, operations: &[Operation]) {
    let report = judge(operations);
    let witness = report.witnesses().next().unwrap_or_else(|| panic!("no violation: {report}"));
    assert_eq!((witness.anomaly, witness.operations.len()), (anomaly, needed), "{witness}");
    assert!(!judge(&witness.operations).is_sound() || witness.start.is_some(), "{witness}");
}

#[test]
fn a_key_is_absent_until_it_is_written() {
    assert_sound(&[get("", 0, 5), put("a", 10, 20), get("", 15, 16), get("a", 30, 40)]);
    assert_violated(LostWrite, 2, &[put("a", 10, 20), get("", 21, 30)]);
    // Moments that are equal decide nothing.
    assert_sound(&[put("a", 10, 20), get("", 20, 30)]);
    // A read can be the proof that a write is there, though its client never heard of it.
    assert_sound(&[lost_put("a", 10), get("a", 20, 30), get("a", 90, 95)]);
    assert_violated(LostWrite, 3, &[lost_put("a", 10), get("a", 20, 30), get("", 31, 40)]);
}

#[test]
fn a_read_is_not_older_than_a_write_that_ended_before() {
    let writes = [put("a", 0, 10), put("b", 20, 30), get("b", 60, 61), put("c", 62, 63)];
    let with = |read: Operation| [writes.as_slice(), &[read]].concat();
    assert_sound(&with(get("a", 30, 40)));
    assert_violated(StaleRead, 3, &with(get("a", 31, 40)));
}

#[test]
fn a_read_is_not_older_than_a_read_that_ended_before() {
    let writes = [put("a", 0, 10), put("b", 20, 90)];
    let with = |reads: [Operation; 2]| [writes.as_slice(), &reads].concat();
    assert_sound(&with([get("a", 30, 40), get("b", 50, 60)]));
    assert_sound(&with([get("b", 30, 50), get("a", 50, 60)]));
    assert_violated(ContradictingReads, 4, &with([get("b", 30, 40), get("a", 50, 60)]));
}

#[test]
fn reads_of_concurrent_writes_agree_on_an_order() {
    let writes = [put("a", 0, 100), put("b", 0, 100), get("", 0, 9)];
    let reads = [get("a", 10, 20), get("b", 30, 40), get("a", 50, 60)];
    assert_violated(ContradictingReads, 5, &[writes.as_slice(), &reads].concat());
    assert_sound(&[writes.as_slice(), &reads[..2]].concat());
    assert_sound(&[writes.as_slice(), &reads[1..]].concat());
}

#[test]
fn what_is_read_was_written() {
    assert_violated(NeverWritten, 1, &[put("a", 0, 10), get("b", 20, 30)]);
    assert_violated(FutureRead, 2, &[get("a", 0, 10), put("a", 11, 20), get("a", 30, 40)]);
    assert_sound(&[get("a", 0, 10), put("a", 10, 20)]);
    let reread = [failed_put("a", 0, 10), put("b", 0, 5), get("a", 20, 30), get("b", 6, 8)];
    assert_violated(FailedWriteRead, 2, &reread);
    assert_sound(&[failed_put("a", 0, 10), get("", 20, 30)]);
    // A refused swap leaves nothing behind.
    let refused = refused_swap(["x", "y", "a"], 20, 30);
    assert_violated(NeverWritten, 2, &[put("a", 0, 10), refused, get("y", 40, 50)]);
}

#[test]
fn an_unknown_write_happens_once_late_or_never() {
    let reads = [put("b", 20, 30), get("b", 40, 50)];
    assert_sound(&[&[lost_put("a", 0)], reads.as_slice()].concat());
    // When its client gave up does not matter.
    let given_up = Operation { returned: flotilla_base::Moment(5), ..lost_put("a", 0) };
    assert_sound(&[given_up, put("b", 20, 30), get("b", 40, 50), get("a", 60, 70)]);
    let late = [lost_put("a", 0), put("b", 20, 30), get("b", 40, 50), get("a", 60, 70)];
    assert_sound(&late);
    let twice = [&late[..], &[get("b", 80, 90)]].concat();
    assert_violated(ContradictingReads, 4, &twice);
}

#[test]
fn deletes_leave_nothing() {
    let sound = [put("a", 0, 10), put("", 20, 30), get("", 40, 50), put("b", 60, 70)];
    assert_sound(&sound);
    assert_violated(
        NoOrder,
        3,
        &[put("a", 0, 10), put("", 20, 30), get("a", 31, 50), get("", 60, 70)],
    );
    // Nobody found the key absent: zones decide about the deletes as well.
    assert_violated(StaleRead, 3, &[put("a", 0, 10), put("", 20, 30), get("a", 31, 50)]);
    assert_violated(NoOrder, 3, &[&sound[..], &[get("", 80, 90)]].concat());
    assert_sound(&[put("a", 0, 10), lost(crate::Request::Write(None), 5), get("", 40, 50)]);
    let again = [get("", 40, 50), get("a", 60, 70)];
    let lost_delete = [put("a", 0, 10), lost_put("", 5)];
    assert_violated(NoOrder, 4, &[lost_delete.as_slice(), &again].concat());
}

#[test]
fn one_of_two_swaps_from_the_same_value_wins() {
    let first = [put("a", 0, 10), swap("a", "b", 20, 40)];
    let with = |other: Operation| [first.as_slice(), &[other]].concat();
    assert_violated(NoOrder, 3, &with(swap("a", "c", 30, 50)));
    assert_sound(&with(refused_swap(["a", "c", "b"], 30, 50)));
    // Refused, though it found what it expected.
    assert_violated(NoOrder, 2, &with(refused_swap(["a", "c", "a"], 15, 18)));
    // Lost update: the second writer never saw the first one.
    let update = [put("a", 0, 10), get("a", 11, 12), put("b", 13, 14), swap("a", "c", 20, 40)];
    assert_violated(NoOrder, 3, &update);
}

#[test]
fn a_contradiction_does_not_accuse_what_ended_later() {
    // The first read is still under way when the swaps contradict each other, and is right.
    let swaps = [put("a", 0, 1), swap("a", "c", 3, 5), swap("a", "d", 6, 8)];
    let later = [get("b", 2, 100), put("b", 50, 60), refused_swap(["x", "y", "b"], 70, 80)];
    let report = judge(&[swaps.as_slice(), &later].concat());
    assert_eq!(report.witnesses().next().unwrap().operations, swaps, "{report}");
}

#[test]
fn an_unknown_swap_explains_what_was_read() {
    let sound = [put("a", 0, 10), lost_swap("a", "b", 5), get("a", 20, 30), get("b", 40, 50)];
    assert_sound(&sound);
    assert_violated(NoOrder, 4, &[&sound[..], &[get("a", 60, 70)]].concat());
    // It never expected what was there.
    let other = [put("c", 0, 10), lost_swap("a", "b", 5), get("b", 40, 50)];
    assert_violated(NoOrder, 2, &other);
}

#[test]
fn every_addition_counts_once() {
    let adds = [add(1, None, 0, 10), add(2, Some(3), 5, 15), lost(crate::Request::Add(10), 6)];
    let with = |sum: i64| [adds.as_slice(), &[get_number(sum, 20, 30)]].concat();
    assert_sound(&with(3));
    assert_sound(&with(13));
    for wrong in [0, 1, 2, 4, 23] {
        assert_violated(NoOrder, 4, &with(wrong));
    }
    assert_violated(
        NoOrder,
        2,
        &[add(1, Some(1), 0, 10), add(1, Some(1), 5, 15), get_number(2, 20, 30)],
    );
    assert_sound(&[add(1, Some(2), 0, 10), add(1, Some(1), 5, 15), get_number(2, 20, 30)]);
    assert_violated(NoOrder, 2, &[put("a", 0, 10), add(1, None, 11, 15)]);
}

#[test]
fn a_long_counter_is_told_from_a_quiet_moment_on() {
    let mut operations: Vec<Operation> = (0..300)
        .map(|at| add(1, None, 10 * at, 10 * at + if at % 3 == 0 { 15 } else { 5 }))
        .collect();
    operations.push(get_number(300, 4000, 4001));
    assert_sound(&operations);
    operations.push(add(5, None, 5000, 5001));
    operations.push(get_number(300, 6000, 6001));
    let report = judge(&operations);
    let witness = report.witnesses().next().unwrap();
    assert!(witness.operations.len() <= 2, "{witness}");
    let contents = witness.start.clone().unwrap().contents;
    assert!(contents == [Some(300.into())] || contents == [Some(305.into())], "{witness}");
}

#[test]
fn sets_keep_what_they_were_given() {
    let adds = [insert("a", 0, 10), insert("b", 5, 30), lost_insert("c", 5)];
    let with = |more: &[Operation]| [adds.as_slice(), more].concat();
    assert_sound(&with(&[list(&["a"], 11, 20), list(&["c", "b", "a"], 31, 40)]));
    // Reads at the same time are no snapshots.
    assert_sound(&with(&[list(&["a", "b"], 11, 20), list(&["a", "c"], 12, 20)]));
    assert_violated(LostElement, 2, &with(&[list(&["b"], 11, 20)]));
    assert_violated(LostElement, 3, &with(&[list(&["a", "c"], 11, 20), list(&["b", "a"], 31, 40)]));
    assert_violated(DuplicateElement, 1, &with(&[list(&["a", "b", "a"], 31, 40)]));
    assert_violated(NeverWritten, 1, &with(&[list(&["a", "x"], 11, 20)]));
    let failed = failed_insert("d", 0, 10);
    assert_violated(FailedWriteRead, 2, &with(&[failed, list(&["a", "d"], 11, 20)]));
    assert_violated(FutureRead, 2, &with(&[list(&["a", "e"], 11, 20), insert("e", 21, 22)]));
    assert_eq!(judge(&with(&[list(&["a"], 15, 20)])).unread_additions, 1, "nobody read b back");
}

#[test]
fn a_search_without_budget_is_honest() {
    let mut operations: Vec<Operation> = (0..12).map(|_| add(1, None, 0, 100)).collect();
    operations.push(get_number(13, 200, 201));
    let limits = Limits { positions_max: 5 };
    let report = check(&history(&operations), limits);
    assert!(matches!(report.keys[0].verdict, Verdict::Undecided { positions: 5 }), "{report}");
    assert!(!report.is_sound() && report.undecided().count() == 1);
    assert!(report.to_string().ends_with("13 ok, 0 failed, 0 unknown\n"), "{report}");
}

#[test]
fn keys_are_judged_one_by_one() {
    let mut operations = vec![put("a", 0, 10), get("a", 20, 30), get("", 40, 50)];
    operations.extend([insert("a", 0, 1), add(1, None, 0, 1)].map(|mut operation| {
        operation.key = format!("other {:?}", operation.request);
        operation
    }));
    let report = judge(&operations);
    let methods: Vec<Method> = report.keys.iter().map(|it| it.method).collect();
    assert_eq!(methods, [Method::Zones, Method::Search, Method::Set]);
    assert_eq!(report.witnesses().map(|it| it.key.as_str()).collect::<Vec<_>>(), ["k"]);
    assert_eq!((report.ok, report.failed, report.unknown), (5, 0, 0));
}
