//! Command line of the checkers.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "it reads a file")]

use std::fs::File;
use std::io::{BufReader, stdin};
use std::process::ExitCode;

use flotilla_histcheck::{History, Limits, check, json};

const USAGE: &str = "usage: flotilla-histcheck [--positions N] FILE
  FILE           a history as JSON lines; - is the standard input
  --positions N  positions that the search may visit for each key (default 1000000)

Exit code 0: every key is sound. 1: a key is violated. 2: undecided, bad input or wrong usage.";

struct Arguments {
    file: String,
    limits: Limits,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some(arguments) = parse(&words) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let history = match read(&arguments.file) {
        Ok(history) => history,
        Err(cause) => {
            eprintln!("{}: {cause}", arguments.file);
            return ExitCode::from(2);
        }
    };
    let report = check(&history, arguments.limits);
    print!("{report}");
    match (report.witnesses().next(), report.is_sound()) {
        (Some(_), _) => ExitCode::FAILURE,
        (None, true) => ExitCode::SUCCESS,
        (None, false) => ExitCode::from(2),
    }
}

fn parse(words: &[String]) -> Option<Arguments> {
    let (mut file, mut limits) = (None, Limits::default());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--positions" => limits.positions_max = words.next()?.parse().ok()?,
            option if option.starts_with("--") => return None,
            _ if file.is_none() => file = Some(word.clone()),
            _ => return None,
        }
    }
    Some(Arguments { file: file?, limits })
}

fn read(file: &str) -> Result<History, String> {
    let history = if file == "-" {
        json::read(stdin().lock())
    } else {
        json::read(BufReader::new(File::open(file).map_err(|cause| cause.to_string())?))
    };
    let history = history.map_err(|cause| cause.to_string())?;
    if history.is_empty() { Err("the history is empty".to_owned()) } else { Ok(history) }
}
