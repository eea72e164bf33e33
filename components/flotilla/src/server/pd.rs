//! A placement driver as a process, or as a part of one.

use std::{
    thread::{self, JoinHandle},
    time::Duration,
};

use flotilla_pd::{Pd, PdConfig, PdError, config::SCHEMA};
use flotilla_telemetry::{Registry, process};
use serde_json::json;
use tokio::{runtime, sync::oneshot};

use super::{config_fault, fault::pd_fault, open_files::OpenFiles, signal};
use crate::{
    args::{Globals, PdArgs},
    fault::Fault,
    output::{self, Format},
};

/// Threads of a placement driver beside its owner's: it answers from memory.
const THREADS: usize = 2;
/// How long open connections may delay the end.
const END_TIMEOUT: Duration = Duration::from_millis(500);

/// How a placement driver is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Calls under way get a moment.
    InOrder,
    /// Calls under way are cut.
    AtOnce,
}

/// A placement driver with a runtime of its own, so that its end is the end of everything of it. Dropping
/// it ends it too, without waiting for the end.
#[derive(Debug)]
pub(crate) struct EmbeddedPd {
    stop: oneshot::Sender<End>,
    /// Runs until the placement driver has given up its directory, asked or not.
    life: JoinHandle<()>,
}

impl EmbeddedPd {
    /// Starts it, and returns when it serves. Blocks; not for a runtime's thread.
    pub(crate) fn start(config: PdConfig) -> Result<Self, PdError> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("pd-io")
            .enable_all()
            .build()
            .map_err(PdError::Thread)?;
        let registry = Registry::new();
        process::register_process_metrics(&registry);
        let pd = runtime.block_on(Pd::start(config, &registry))?;
        let (stop, asked) = oneshot::channel();
        let live = move || {
            runtime.block_on(live(pd, asked));
            runtime.shutdown_timeout(END_TIMEOUT);
        };
        let life = thread::Builder::new().name("pd-life".to_owned()).spawn(live);
        Ok(Self { stop, life: life.map_err(PdError::Thread)? })
    }

    /// Whether it serves: it ends by itself where it must not go on, as after an error of its disk.
    pub(crate) fn is_running(&self) -> bool {
        !self.life.is_finished()
    }

    /// Ends it, and returns when it has given up its directory. Blocks; not for a runtime's thread.
    pub(crate) fn stop(self, end: End) {
        let _it_may_have_ended_by_itself = self.stop.send(end).is_err();
        if self.life.join().is_err() {
            tracing::error!("the placement driver's thread has panicked");
        }
    }
}

/// Until `pd` ends by itself, or is asked to.
async fn live(mut pd: Pd, asked: oneshot::Receiver<End>) {
    let outcome = tokio::select! {
        ended = pd.ended() => ended,
        asked = asked => match asked {
            Ok(End::InOrder) => pd.shutdown().await,
            _at_once_or_dropped => pd.kill().await,
        },
    };
    if let Err(error) = outcome {
        tracing::error!(%error, "the placement driver has failed");
    }
}

/// `flotilla pd`.
pub(crate) async fn run(globals: &Globals, args: PdArgs) -> Result<(), Fault> {
    let (config, replicas) = resolve(&args)?;
    super::init_logging(&config.log.level, config.log.file.as_deref())?;
    let open_files = OpenFiles::raise();
    super::end_with_parent(&args.server)?;
    let mut interrupts = signal::Interrupts::new()?;
    let registry = Registry::new();
    process::register_process_metrics(&registry);
    let name = config.name.clone();
    let mut pd = tokio::select! {
        pd = Pd::start(config, &registry) => pd.map_err(|error| pd_fault(&error))?,
        interrupt = interrupts.first() => signal::exit(interrupt),
    };
    // Only now: what does not start says nothing but why.
    open_files.tell(1);
    let made_with = pd.max_replicas();
    if let Some(said) = replicas.filter(|said| *said != made_with) {
        output::note(&format!(
            "max-replicas {said} is not taken: this cluster was made with {made_with}, and keeps that"
        ));
    }
    let address = pd.address();
    match globals.output {
        Format::Table => output::print(&format!("{name} serves on {address}\n"))?,
        Format::Json => output::print_json("pd", json!({"name": name, "address": address}))?,
    }
    tokio::select! {
        ended = pd.ended() => return ended.map_err(|error| pd_fault(&error)),
        _ = interrupts.first() => {}
    }
    tokio::select! {
        stopped = pd.shutdown() => stopped.map_err(|error| pd_fault(&error)),
        interrupt = interrupts.again() => signal::exit(interrupt),
    }
}

/// The settings, and the number of replicas where it is said.
fn resolve(args: &PdArgs) -> Result<(PdConfig, Option<u32>), Fault> {
    let mut raw = super::said(&SCHEMA, &args.server)?;
    for (key, said) in [
        ("name", args.name.clone()),
        ("max-replicas", args.max_replicas.map(|replicas| replicas.to_string())),
    ] {
        if let Some(said) = said {
            raw.set(key, &said);
        }
    }
    let replicas = raw.clone().count("max-replicas", 1..=7);
    let config = PdConfig::resolve(raw).map_err(|error| config_fault(&error))?;
    Ok((config, replicas))
}
