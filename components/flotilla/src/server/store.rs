//! A store as a process.

use flotilla_store::{Store, StoreConfig, config::SCHEMA};
use serde_json::json;
use tokio::task::{JoinError, spawn_blocking};

use super::{config_fault, open_files::OpenFiles, signal, store_fault};
use crate::{
    args::{Globals, StoreArgs},
    catalogue,
    fault::Fault,
    output::{self, Format},
};

/// `flotilla store`.
pub(crate) async fn run(globals: &Globals, args: StoreArgs) -> Result<(), Fault> {
    let config = resolve(globals, &args)?;
    super::init_logging(&config.log.level, config.log.file.as_deref())?;
    let open_files = OpenFiles::raise();
    super::end_with_parent(&args.server)?;
    let mut interrupts = signal::Interrupts::new()?;
    let (listen, status) = (config.listen, config.status_listen);
    let internal = |cause: JoinError| Fault::new(&catalogue::INTERNAL, cause.to_string());
    let store = tokio::select! {
        started = spawn_blocking(move || Store::start(config)) => {
            started.map_err(internal)?.map_err(|error| store_fault(&error))?
        }
        interrupt = interrupts.first() => signal::exit(interrupt),
    };
    // Only now: what does not start says nothing but why.
    open_files.tell(1);
    let id = store.id();
    match globals.output {
        Format::Table => {
            output::print(&format!("store {id} serves on {listen}, status on {status}\n"))?;
        }
        Format::Json => output::print_json(
            "store",
            json!({"id": id.get(), "address": listen, "status_address": status}),
        )?,
    }
    let _wish = interrupts.first().await;
    tokio::select! {
        stopped = spawn_blocking(move || store.shutdown()) => stopped.map_err(internal),
        interrupt = interrupts.again() => signal::exit(interrupt),
    }
}

fn resolve(globals: &Globals, args: &StoreArgs) -> Result<StoreConfig, Fault> {
    let mut raw = super::said(&SCHEMA, &args.server)?;
    let pd: Vec<&str> =
        globals.pd.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
    for (key, said) in [
        ("pd", (!pd.is_empty()).then(|| pd.join(","))),
        ("labels", (!args.labels.is_empty()).then(|| args.labels.join(","))),
        ("listen.status", args.status_listen.clone()),
    ] {
        if let Some(said) = said {
            raw.set(key, &said);
        }
    }
    StoreConfig::resolve(raw).map_err(|error| config_fault(&error))
}
