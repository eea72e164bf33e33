//! The program `flotilla`; everything is in the library of the same name.

use std::process::ExitCode;

// No program that serves anybody can be built with bugs that are planted for tests.
const _: () = assert!(size_of::<flotilla_base::Seeded>() == 0);

fn main() -> ExitCode {
    flotilla::run(std::env::args_os())
}
