//! The command line program from outside.

use std::io;
use std::process::{Command, Output};

fn sim(arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_flotilla-sim"))
        .args(arguments.split_whitespace())
        .output()
        .expect("the program runs")
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

#[test]
fn a_run_takes_changes_of_its_plan() {
    let plain = text(&sim("run --seed 5"));
    let changed = sim("run --seed 5 --only none --off loss --clients 1 --operations 2");
    assert!(changed.status.success(), "{}", text(&changed));
    assert!(plain.contains("seed 5: ") && text(&changed) != plain);
    assert!(text(&changed).contains(" 0 crashes"), "{}", text(&changed));
}

#[test]
fn a_sweep_on_two_threads_finds_what_one_finds() {
    let one = sim("sweep --from 1 --count 6");
    let two = sim("sweep --from 1 --count 6 --jobs 2");
    assert!(one.status.success(), "{}", text(&one));
    assert_eq!(text(&one), text(&two));
    assert!(text(&one).starts_with("6 seeds, 0 failed: "));
}

#[test]
fn runs_with_real_replicas_have_their_own_commands() {
    let run = sim("replicas run --seed 6");
    assert!(run.status.success() && text(&run).starts_with("seed 6: "), "{}", text(&run));
    let sweep = sim("replicas sweep --from 6 --count 1");
    assert!(text(&sweep).starts_with("1 seeds, 0 failed: "), "{}", text(&sweep));
    assert!(text(&sweep).contains("  order-done "), "{}", text(&sweep));
}

#[test]
fn wrong_usage_is_named_and_has_its_own_exit_code() {
    for arguments in ["", "run", "run --seed 1 --off rain", "sweep --count 0"] {
        let output = sim(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        assert!(text(&output).contains("usage:"), "{arguments}");
    }
    assert!(text(&sim("--help")).contains("families of faults: cut one-way-cut"));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    for arguments in ["--help", "run --seed 5 --trace", "sweep --from 1 --count 2"] {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_flotilla-sim"))
            .args(arguments.split_whitespace())
            .stdout(writer)
            .output()
            .expect("the program runs");
        assert!(output.status.success(), "{arguments}: {}", text(&output));
        assert_eq!(text(&output), "", "{arguments}");
    }
}

#[test]
fn a_seed_that_holds_is_not_made_small() {
    let output = sim("minimize --seed 5");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("seed 5 does not fail"));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "this test reads what the program wrote")]
fn a_history_is_written_for_the_checkers() {
    let folder = std::env::temp_dir().join(format!("flotilla-sim-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let path = folder.join("history.jsonl");
    let output = sim(&format!("run --seed 5 --history {}", path.display()));
    assert!(output.status.success(), "{}", text(&output));
    let lines = std::fs::read_to_string(&path).expect("the history");
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
    assert!(lines.lines().count() > 50);
    assert!(lines.contains("\"kind\":\"write\"") && lines.contains("\"note\":\"store 1 starts\""));
}
