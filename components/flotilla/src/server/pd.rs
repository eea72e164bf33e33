//! A placement driver as a process, or as a part of one.

use std::time::Duration;

use flotilla_pd::{Pd, PdConfig, PdError};
use flotilla_telemetry::{Registry, process};
use tokio::runtime::Runtime;

use super::{fault::pd_fault, pd_config, signal};
use crate::{args::PdArgs, fault::Fault, output};

/// Threads of a placement driver beside its owner's: it answers from memory.
const THREADS: usize = 2;
/// How long open connections may delay the end.
const END_TIMEOUT: Duration = Duration::from_millis(500);

/// A placement driver with a runtime of its own, so that its end is the end of everything of it.
#[derive(Debug)]
pub(crate) struct EmbeddedPd {
    runtime: Runtime,
    pd: Pd,
}

impl EmbeddedPd {
    /// Starts it, and returns when it serves. Blocks; not for a runtime's thread.
    pub(crate) fn start(config: PdConfig) -> Result<Self, PdError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("pd-io")
            .enable_all()
            .build()
            .map_err(PdError::Thread)?;
        let registry = Registry::new();
        process::register_process_metrics(&registry);
        let pd = runtime.block_on(Pd::start(config, &registry))?;
        Ok(Self { runtime, pd })
    }

    /// Ends it, and returns when it has given up its directory. Blocks; not for a runtime's thread.
    pub(crate) fn stop(self) {
        let Self { runtime, pd } = self;
        if let Err(error) = runtime.block_on(pd.shutdown()) {
            tracing::warn!(%error, "the placement driver had failed before its end");
        }
        runtime.shutdown_timeout(END_TIMEOUT);
    }
}

/// `flotilla pd`.
pub(crate) async fn run(args: PdArgs) -> Result<(), Fault> {
    let (config, log) = pd_config::resolve(&args)?;
    super::init_logging(&log.level, log.file.as_deref())?;
    super::end_with_parent(&args.server)?;
    let mut interrupts = signal::Interrupts::new()?;
    let registry = Registry::new();
    process::register_process_metrics(&registry);
    let name = config.name.clone();
    let mut pd = tokio::select! {
        pd = Pd::start(config, &registry) => pd.map_err(|error| pd_fault(&error))?,
        interrupt = interrupts.next() => signal::exit(interrupt),
    };
    output::print(&format!("{name} serves on {}\n", pd.address()))?;
    tokio::select! {
        ended = pd.ended() => return ended.map_err(|error| pd_fault(&error)),
        _ = interrupts.next() => {}
    }
    tokio::select! {
        stopped = pd.shutdown() => stopped.map_err(|error| pd_fault(&error)),
        interrupt = interrupts.next() => signal::exit(interrupt),
    }
}
