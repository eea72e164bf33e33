//! The two servers as processes: settings, signals, exit codes.

mod fault;
pub(crate) mod open_files;
mod pd;
pub(crate) mod port;
pub(crate) mod signal;
mod store;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use flotilla_telemetry::{
    LoggingError,
    settings::{ConfigError, RawConfig, Schema},
};
use rustix::process::{Signal, getpid, kill_process};

pub(crate) use self::{
    fault::{pd_fault, store_fault},
    pd::{EmbeddedPd, End, run as run_pd},
    store::{region_size, run as run_store},
};
use crate::{args::ServerArgs, catalogue, fault::Fault};

/// Port of a placement driver.
pub(crate) const PD_PORT: u16 = flotilla_pd::config::PORT;

/// Sets up the log of this process.
pub(crate) fn init_logging(level: &str, file: Option<&Path>) -> Result<(), Fault> {
    flotilla_telemetry::init_logging(level, file).map_err(|error| match error {
        LoggingError::Level { .. } => Fault::new(&catalogue::BAD_CONFIG, error.to_string())
            .why("a level is needed, or levels of parts: error, warn, info, debug, trace, off")
            .hint("--log-level info")
            .hint("--log-level info,flotilla_store=debug"),
        LoggingError::File { ref source, .. } => Fault::io(&error, source),
        LoggingError::Already => Fault::new(&catalogue::INTERNAL, error.to_string()),
    })
}

/// The text of the settings file, and its name for messages.
fn read_config(args: &ServerArgs) -> Result<Option<(String, String)>, Fault> {
    let Some(path) = &args.config else { return Ok(None) };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|cause| {
        Fault::new(&catalogue::BAD_CONFIG, format!("cannot read {name}; nothing was started"))
            .why(cause.to_string())
            .hint("correct the path that --config or FLOTILLA_CONFIG names")
    })?;
    Ok(Some((name, text)))
}

/// What the file and the flags say that both kinds of servers have.
fn said(schema: &'static Schema, args: &ServerArgs) -> Result<RawConfig, Fault> {
    let mut raw = match read_config(args)? {
        Some((name, text)) => RawConfig::parse(schema, &name, &text),
        None => RawConfig::new(schema, "the command line"),
    };
    let path = |path: &PathBuf| path.display().to_string();
    for (key, said) in [
        ("data-dir", args.data.as_ref().map(path)),
        ("advertise", args.advertise.clone()),
        ("listen.client", args.listen.clone()),
        ("log.level", args.log_level.clone()),
        ("log.file", args.log_file.as_ref().map(path)),
        ("insecure", args.insecure.then(|| "true".to_owned())),
    ] {
        if let Some(said) = said {
            raw.set(key, &said);
        }
    }
    Ok(raw)
}

fn config_fault(error: &ConfigError) -> Fault {
    let code = error.problems.first().map_or("", |problem| problem.code);
    let entry = catalogue::find(code).unwrap_or(&catalogue::BAD_CONFIG);
    let fault = Fault::new(entry, error.to_string());
    // Without a file there are no lines that could be corrected.
    let has_lines = error.problems.iter().any(|problem| problem.place.is_some());
    if has_lines || code != catalogue::BAD_CONFIG.code {
        return fault.hint(entry.remedy);
    }
    fault.hint("correct the options that are named; --help shows all of them with examples")
}

/// Ends this process at once when standard input is closed: the playground that started it is gone.
fn end_with_parent(args: &ServerArgs) -> Result<(), Fault> {
    if !args.exit_on_stdin_eof {
        return Ok(());
    }
    let watch = || {
        let _end_or_error = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        // Nobody is left who would want an orderly end.
        let _cannot_fail = kill_process(getpid(), Signal::KILL);
    };
    let watching = std::thread::Builder::new().name("parent-watch".to_owned()).spawn(watch);
    watching.map(|_thread| ()).map_err(|cause| Fault::io("cannot start a thread", &cause))
}
