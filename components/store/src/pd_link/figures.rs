//! Reports of the store itself, and the sizes of its regions.

use std::{path::PathBuf, sync::Arc};

use flotilla_base::{RegionId, StoreId};
use flotilla_engine::Engine;
use flotilla_proto::pdpb::{self, pd_client::PdClient};
use flotilla_telemetry::{clock::unix_millis, off_thread};
use tokio::time::{MissedTickBehavior, interval};

use super::{REPORT_INTERVAL, leader::Leader, leader::check_header, regions::LedRegions};
use crate::{metrics::Volume, router::Router, split::sizes::Sizes};

/// Where the figures of a store come from.
#[derive(Clone)]
pub(super) struct Figures {
    pub(super) store: StoreId,
    pub(super) started_unix_seconds: u64,
    pub(super) data_dir: PathBuf,
    pub(super) engine: Engine,
    pub(super) router: Router,
    pub(super) sizes: Arc<Sizes>,
}

/// Measures and reports, for ever. The sizes of regions leave memtables out ([`Engine::approximate_size`]): what the
/// placement driver knows of a region is behind by what is not flushed. Whether a region is to be split does not hang on
/// that, since [`Sizes`] counts what is applied. Reading the engine may wait for the disk, so it has its own thread.
pub(super) async fn report_store(leader: Arc<Leader>, led: Arc<LedRegions>, figures: Figures) {
    let mut ticks = interval(REPORT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _time = ticks.tick() => {}
            // Whoever listens now may have started since, and takes this store for disconnected until it is heard of.
            () = leader.connected() => ticks.reset(),
        }
        let (measured, ranges) = (figures.clone(), led.ranges());
        let measured = off_thread(move || {
            let sizes: Vec<(RegionId, u64)> = ranges
                .into_iter()
                .map(|(region, range)| (region, measured.engine.approximate_size(&range)))
                .collect();
            (measured.stats(), sizes)
        });
        // A panic goes on here: nobody would report any more.
        let Some((stats, sizes)) = measured.await else { return };
        led.measured(&sizes);
        sizes.iter().for_each(|(region, bytes)| figures.sizes.on_disk(*region, *bytes));
        let ask = |channel, header: pdpb::RequestHeader| {
            let (header, stats) = (Some(header), Some(stats));
            let request = pdpb::StoreHeartbeatRequest { header, stats };
            async move {
                let answer = PdClient::new(channel).store_heartbeat(request).await?;
                check_header(answer.into_inner().header)
            }
        };
        if let Err(error) = leader.ask(REPORT_INTERVAL / 2, ask).await {
            tracing::warn!(%error, "the store's report was not taken");
        }
    }
}

impl Figures {
    fn stats(&self) -> pdpb::StoreStats {
        let engine = self.engine.stats();
        let volume = Volume::of(&self.data_dir);
        let now = unix_millis() / 1000;
        let start_timestamp = now.saturating_sub(REPORT_INTERVAL.as_secs());
        pdpb::StoreStats {
            store_id: self.store.get(),
            capacity: volume.capacity.bytes(),
            available: volume.available.bytes(),
            region_count: u32::try_from(self.router.regions().len()).unwrap_or(u32::MAX),
            start_time: u32::try_from(self.started_unix_seconds).unwrap_or(u32::MAX),
            is_busy: engine.is_write_stopped,
            used_size: engine.disk_bytes,
            interval: Some(pdpb::TimeInterval { start_timestamp, end_timestamp: now }),
            ..pdpb::StoreStats::default()
        }
    }
}
