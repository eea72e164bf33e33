//! Command line of the simulator: the shell around the crate. It has the threads and the files.
#![expect(clippy::print_stderr, reason = "a command line program")]

mod shell;

use std::process::ExitCode;

use shell::arguments::{Command, USAGE, names, parse};
use shell::kind::Kind;

fn main() -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "the program's own arguments")]
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|word| word == "--help") {
        shell::output::print(&format!("{USAGE}\n{}\n", names()));
        return ExitCode::SUCCESS;
    }
    let is_sound = match parse(&arguments) {
        Ok(Command::Run(run)) => shell::run::run(&run),
        Ok(Command::Sweep(Kind::Clusters, sweep)) => {
            shell::sweep::sweep::<shell::sweep::Clusters>(&sweep)
        }
        Ok(Command::Sweep(Kind::Replicas, sweep)) => {
            shell::sweep::sweep::<shell::sweep::Replicas>(&sweep)
        }
        Ok(Command::Determinism { kind, seeds }) => shell::run::are_deterministic(kind, seeds),
        Ok(Command::Placement(command)) => shell::placement::placement(&command),
        Ok(Command::Minimize { kind, seed, changes }) => {
            shell::minimize::minimize(kind, seed, &changes)
        }
        Err(wrong) => {
            eprintln!("{wrong}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
