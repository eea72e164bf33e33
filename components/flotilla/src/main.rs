//! The program `flotilla`; everything is in the library of the same name.

use std::process::ExitCode;

fn main() -> ExitCode {
    flotilla::run(std::env::args_os())
}
