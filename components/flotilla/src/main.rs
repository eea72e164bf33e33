//! The program `flotilla`; everything is in the library of the same name.

use std::process::ExitCode;

/// Requests are allocated on one thread and freed on another, which this allocator does without locks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    flotilla::run(std::env::args_os())
}
