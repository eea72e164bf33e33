//! What the store's status server shows: its metrics, its configuration, and whether it should get
//! requests.

use std::sync::Arc;

use flotilla_base::ByteSize;
use flotilla_telemetry::{Check, StatusRoutes, render};

use crate::{config::StoreConfig, host::Shared, metrics::Volume, pd_link::PdLink};

/// Below this much free space no new requests should come: what is under way must still find room.
const DISK_RESERVE: ByteSize = ByteSize::mib(64);

/// The routes of one store; registers the gauges that are read at each scrape.
pub(crate) fn routes(config: &StoreConfig, shared: &Shared, link: &Arc<PdLink>) -> StatusRoutes {
    watch(config, shared, link);
    let shown = config.to_json();
    let (router, joined, data_dir) =
        (shared.router.clone(), Arc::clone(link), config.data_dir.clone());
    let regions = Check::new("regions", move || {
        // A store that joined later may have none; one of the first stores waits for its share.
        let has_joined = joined.is_bootstrapped() || !router.regions().is_empty();
        has_joined.then_some(()).ok_or_else(|| "waiting for the first regions".to_owned())
    });
    let disk = Check::new("disk", move || match Volume::of(&data_dir).available {
        available if available < DISK_RESERVE => Err(format!("only {available} are free")),
        _enough => Ok(()),
    });
    let registry = shared.metrics.registry().clone();
    StatusRoutes {
        metrics: Arc::new(move || render(&registry)),
        live: Vec::new(),
        ready: vec![regions, disk],
        config: Arc::new(move || shown.clone()),
    }
}

fn watch(config: &StoreConfig, shared: &Shared, link: &Arc<PdLink>) {
    let (router, led) = (shared.router.clone(), Arc::clone(link));
    shared.metrics.watch_regions(move || (router.regions().len(), led.led_regions()));
    shared.metrics.watch_transport(&shared.peers);
    shared.metrics.watch_volume(config.data_dir.clone());
}
