//! The one program: servers, a playground of them, and the commands of people and scripts.
//!
//! **Knows nothing of** protocols, replication, or what is on disk: it starts what the other crates
//! offer, asks the cluster through the client library like anyone else, and shows the answers.
//!
//! What it promises to scripts: exit codes and error codes (`catalogue`), results on standard output as
//! tables or JSON (`output`), everything else on standard error.
//!
//! Entry types: [`run`].
//! Reading order: `args`, `usage`, `catalogue`, `fault`, `output`, `text`, `context`, `tally`, `kv`, `health`, `ctl`,
//! `bench`, `server`, `playground`.
#![warn(missing_docs)]

mod args;
mod bench;
mod catalogue;
mod context;
mod ctl;
mod explain;
mod fault;
mod health;
mod kv;
mod output;
mod playground;
mod server;
mod tally;
mod text;
mod usage;

use std::{ffi::OsString, process::ExitCode};

use crate::{
    args::{Cli, Command, KvCommand},
    catalogue::Exit,
    fault::Fault,
    output::Format,
    usage::Refused,
};

/// The README's example in Rust is compiled as it stands there.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// Runs the program with its arguments, its own name first, and tells how it ended.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match usage::parse(&arguments) {
        Ok(cli) => cli,
        Err(refused) => return refuse(&refused, &arguments),
    };
    let globals = cli.globals.clone();
    let outcome = runtime(&cli).and_then(|runtime| {
        let outcome = runtime.block_on(dispatch(cli));
        // Work that cannot be broken off must not delay the end.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(fault) => {
            let fault = fault.with_hints(|hint| context::pasted(&globals, hint));
            report(&fault, globals.output);
            ExitCode::from(fault.exit() as u8)
        }
    }
}

/// One thread is enough to wait for answers; a benchmark wants all processors.
fn runtime(cli: &Cli) -> Result<tokio::runtime::Runtime, Fault> {
    let mut builder = match cli.command {
        Some(Command::Bench(_)) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder.enable_all().build();
    runtime.map_err(|cause| Fault::io("cannot start the runtime", &cause))
}

async fn dispatch(cli: Cli) -> Result<u8, Fault> {
    let Cli { globals, command } = cli;
    let Some(command) = command else {
        output::print(args::TOUR)?;
        return Ok(Exit::Done as u8);
    };
    match command {
        Command::Playground(args) => return Box::pin(playground::run(&globals, args)).await,
        Command::Bench(args) => return Box::pin(bench::run(&globals, args)).await,
        Command::Pd(args) => server::run_pd(&globals, args).await,
        Command::Store(args) => server::run_store(&globals, args).await,
        Command::Get(args) => kv::get(&globals, args).await,
        Command::Put(args) => kv::put(&globals, args).await,
        Command::Del(args) => kv::del(&globals, args).await,
        Command::Add(args) => kv::add(&globals, args).await,
        Command::Scan(args) => kv::scan(&globals, args).await,
        Command::Kv(KvCommand::Load { file }) => kv::load(&globals, file).await,
        Command::Kv(KvCommand::Dump(args)) => kv::dump(&globals, args).await,
        Command::Ctl(command) => ctl::run(&globals, command).await,
        Command::Explain(args) => explain::explain(&globals, &args),
        Command::Version => explain::version(&globals),
    }?;
    Ok(Exit::Done as u8)
}

fn report(fault: &Fault, format: Format) {
    if fault.is_silent() {
        return;
    }
    match format {
        Format::Json => output::note(&fault.to_json().to_string()),
        Format::Table => output::note(fault.to_text().trim_end()),
    }
}

/// The command line makes no sense, or asks for help.
fn refuse(refused: &Refused, arguments: &[OsString]) -> ExitCode {
    match refused {
        Refused::Fault(fault) => {
            let mut texts = arguments.iter().filter_map(|argument| argument.to_str());
            let is_json =
                texts.any(|text| ["json", "-ojson", "-o=json", "--output=json"].contains(&text));
            report(fault, if is_json { Format::Json } else { Format::Table });
            ExitCode::from(fault.exit() as u8)
        }
        Refused::Answered(help) => {
            if let Err(cause) = help.print() {
                report(&Fault::io("cannot write the help", &cause), Format::Table);
            }
            ExitCode::from(Exit::Done as u8)
        }
    }
}
