//! What a person sees.

use flotilla_base::Moment;

use super::words::*;
use crate::{Limits, Note, Report, check};

/// The page that teaches to read them.
const PAGE: &str = include_str!("../../../../docs/histories.md");

/// The page shows the picture of `report`, from the line `first` on.
fn assert_taught(report: &Report, first: &str) {
    let witness = report.witnesses().next().expect("a violation").to_string();
    let begin = witness.find(first).expect("the line is drawn");
    assert!(PAGE.contains(&witness[begin..]), "the page shows another picture than\n{witness}");
}

#[test]
fn a_stale_read_is_drawn() {
    let mut operations = vec![
        put("a", 1_000_000, 2_500_000),
        put("b", 3_000_000, 4_000_000),
        lost_put("c", 3_500_000),
        get("b", 4_100_000, 4_200_000),
        get("a", 5_000_001, 6_000_000),
    ];
    for (client, operation) in (1..).zip(&mut operations) {
        operation.client = client;
    }
    let mut history = history(&operations);
    history.push_note(Note { at: Moment(4_500_000), text: "store 2 is cut off".to_owned() });
    history.push_note(Note { at: Moment(9_000_000), text: "store 2 is back".to_owned() });
    let report = check(&history, Limits::default());
    let expected = "\
key k: a stale read
  a came before b: `write a: ok` ended before `write b: ok` began
  b came before a: `write b: ok` ended before `read: a` began

  client 1  write a: ok  ├──┤                   1.000000 ms – 2.500000 ms
  client 2  write b: ok        ├──┤             3.000000 ms – 4.000000 ms
  store 2 is cut off                 ╎          4.500000 ms
  client 5  read: a                     ├──┤    5.000001 ms – 6.000000 ms

keys: 1, 1 violated, 0 undecided; operations: 4 ok, 0 failed, 1 unknown
";
    assert_eq!(report.to_string(), expected);
    assert_taught(&report, "key k");
}

#[test]
fn an_open_operation_and_a_quiet_start_are_drawn() {
    let mut operations = vec![lost(crate::Request::Add(10), 2_000)];
    operations.extend(
        (0..9).map(|at| {
            add(1, Some(at + 1), 100 * at.cast_unsigned(), 100 * at.cast_unsigned() + 50)
        }),
    );
    operations.push(get_number(20, 3_000, 3_000));
    let expected = "\
key k: no order explains the answers
  no order of these operations explains them all up to `read: 20`

  until 0.003000 ms everything can be explained;
  the key then held 9 or 19
  client 1  add 10: unknown  ├───────▷  0.002000 ms – …
  client 1  read: 20            │       0.003000 ms – 0.003000 ms

keys: 1, 1 violated, 0 undecided; operations: 10 ok, 0 failed, 1 unknown
";
    let report = judge(&operations);
    assert_eq!(report.to_string(), expected);
    assert_taught(&report, "  until");
}

#[test]
fn the_format_is_taught_as_it_is() {
    let lines = PAGE.lines().filter(|line| line.starts_with('{'));
    let sample = lines.collect::<Vec<_>>().join("\n");
    let history = crate::json::read(sample.as_bytes()).unwrap();
    assert_eq!((history.len(), history.notes().len()), (3, 1));
    assert!(check(&history, Limits::default()).is_sound());
}
