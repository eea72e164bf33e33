//! The program: exit codes, messages, files and the standard input.

use std::io::Write;
use std::process::{Command, Output, Stdio};

const SOUND: &str = r#"{"client":1,"key":"k","kind":"write","value":"a","invoked":0,"returned":9,"outcome":"ok"}
{"client":2,"key":"k","kind":"read","invoked":10,"returned":19,"outcome":"ok","value":"a"}
"#;

const LOST: &str = r#"{"client":2,"key":"k","kind":"read","invoked":20,"returned":29,"outcome":"ok","value":null}
"#;

fn run(arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flotilla-histcheck"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("its input is a pipe");
    // It may refuse its arguments and end before it reads.
    let _unread = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("the program ends")
}

fn assert_ends(arguments: &[&str], input: &str, code: i32, text: &str) {
    let output = run(arguments, input);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).expect("text");
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(text), "{said}");
}

#[test]
fn exit_codes_tell_the_verdict() {
    assert_ends(&["-"], SOUND, 0, "keys: 1, all sound; operations: 2 ok, 0 failed, 0 unknown");
    assert_ends(&["-"], &format!("{SOUND}{LOST}"), 1, "key k: a lost write");
    assert_ends(&["-"], &format!("{SOUND}nonsense"), 2, "-: line 3: no JSON object");
    assert_ends(&["-"], "", 2, "the history is empty");
}

#[test]
fn without_budget_the_program_is_undecided() {
    let cas = r#"{"client":1,"key":"k","kind":"cas","expected":null,"new":1,"invoked":0,"outcome":"unknown"}
"#;
    let input = format!("{cas}{}", SOUND.repeat(2));
    assert_ends(&["--positions", "1", "-"], &input, 2, "key k: undecided after 1 positions");
    assert_ends(&["-"], &input, 0, "all sound");
}

#[test]
fn wrong_usage_is_told() {
    for arguments in [&[][..], &["--what"], &["a", "b"], &["--positions", "x", "-"]] {
        assert_ends(arguments, "", 2, "usage: flotilla-histcheck");
    }
    assert_ends(&["no/such/file"], "", 2, "no/such/file: ");
}

#[test]
fn files_are_read() {
    let path = format!("{}/sound.jsonl", env!("CARGO_TARGET_TMPDIR"));
    #[expect(clippy::disallowed_methods, reason = "the program reads what a test wrote")]
    std::fs::write(&path, SOUND).expect("the folder for tests is writable");
    assert_ends(&[&path], "", 0, "all sound");
}
