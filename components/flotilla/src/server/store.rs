//! A store as a process.

use flotilla_base::ByteSize;
use flotilla_store::{
    Store, StoreConfig,
    config::{SCHEMA, SplitLimits},
};
use serde_json::json;
use tokio::task::{JoinError, spawn_blocking};

use super::{config_fault, open_files::OpenFiles, signal, store_fault};
use crate::{
    args::{Globals, StoreArgs},
    catalogue,
    fault::Fault,
    output::{self, Format},
    text,
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

/// The size that regions are split at: one that a store takes.
pub(crate) fn region_size(text: &str) -> Result<ByteSize, String> {
    let bytes = text::size(text)
        .map_err(|_no_size| format!("{text:?} is no size: bytes are needed, e.g. 64MiB"))?;
    let size = ByteSize(bytes as u64);
    SplitLimits::check_size(size).map_err(|why| format!("{why}, e.g. 64MiB"))?;
    Ok(size)
}

fn resolve(globals: &Globals, args: &StoreArgs) -> Result<StoreConfig, Fault> {
    let mut raw = super::said(&SCHEMA, &args.server)?;
    let pd: Vec<&str> =
        globals.pd.iter().map(String::as_str).filter(|text| !text.is_empty()).collect();
    let labels = args.labels.iter().map(|label| format!("{}={}", label.name(), label.value()));
    let labels: Vec<String> = labels.collect();
    // In bytes: a size for people may be rounded.
    let region_size = args.region_size.map(|size| format!("{}B", size.bytes()));
    for (key, said) in [
        ("pd", (!pd.is_empty()).then(|| pd.join(","))),
        ("labels", (!labels.is_empty()).then(|| labels.join(","))),
        ("region.split-size", region_size),
        ("listen.status", args.status_listen.clone()),
    ] {
        if let Some(said) = said {
            raw.set(key, &said);
        }
    }
    StoreConfig::resolve(raw).map_err(|error| config_fault(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_region_is_too_small_or_too_large() {
        assert_eq!(region_size("4MiB"), Ok(ByteSize::mib(4)));
        assert_eq!(region_size("1048576"), Ok(ByteSize::mib(1)));
        for (bad, part) in [
            ("", "is no size"),
            ("4", "at least 1MiB"),
            ("1023KiB", "at least 1MiB"),
            ("257GiB", "at most 256GiB"),
            ("-4MiB", "is no size"),
            ("4mb", "is no size"),
        ] {
            let why = region_size(bad).expect_err(bad);
            assert!(why.contains(part) && why.ends_with("e.g. 64MiB"), "{bad}: {why}");
        }
    }
}
