//! Reports of the store itself, and the sizes of its regions.

use std::{path::PathBuf, sync::Arc, time::Duration};

use flotilla_base::{RegionId, StoreId};
use flotilla_engine::Engine;
use flotilla_proto::pdpb::{self, pd_client::PdClient};
use flotilla_telemetry::{MonotonicClock, clock::unix_millis, off_thread};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    REPORT_INTERVAL,
    leader::Leader,
    leader::check_header,
    regions::{LedRegions, time_interval},
};
use crate::{
    metrics::{StoreMetrics, Volume},
    router::Router,
    split::{load::meter::Loads, sizes::Sizes},
};

/// Where the figures of a store come from.
#[derive(Clone)]
pub(super) struct Figures {
    pub(super) store: StoreId,
    pub(super) started_unix_seconds: u64,
    pub(super) data_dir: PathBuf,
    pub(super) engine: Engine,
    pub(super) router: Router,
    pub(super) sizes: Arc<Sizes>,
    /// What regions are asked for.
    pub(super) loads: Arc<Loads>,
    /// How slow the disk is, by this clock.
    pub(super) slowness: (Arc<StoreMetrics>, MonotonicClock),
}

/// Measures and reports, for ever. The sizes of regions leave memtables out ([`Engine::approximate_size`]): what the
/// placement driver knows of a region is behind by what is not flushed. Whether a region is to be split does not hang on
/// that, since [`Sizes`] counts what is applied. Reading the engine may wait for the disk, so it has its own thread.
pub(super) async fn report_store(leader: Arc<Leader>, led: Arc<LedRegions>, figures: Figures) {
    let mut summed = Instant::now();
    let mut ticks = interval(REPORT_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _time = ticks.tick() => {}
            // Whoever listens now may have started since, and takes this store for disconnected until it is heard of.
            () = leader.connected() => ticks.reset(),
        }
        let (measured, ranges) = (figures.clone(), led.ranges());
        let span = summed.elapsed();
        summed += span;
        let measured = off_thread(move || {
            let sizes: Vec<(RegionId, u64)> = ranges
                .into_iter()
                .map(|(region, range)| (region, measured.engine.approximate_size(&range)))
                .collect();
            (measured.stats(span), sizes)
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
    /// What was asked of it counts for `span`, which is the time since this was asked last.
    fn stats(&self, span: Duration) -> pdpb::StoreStats {
        let engine = self.engine.stats();
        let volume = Volume::of(&self.data_dir);
        let flow = self.loads.take_sum();
        let (metrics, clock) = &self.slowness;
        pdpb::StoreStats {
            store_id: self.store.get(),
            capacity: volume.capacity.bytes(),
            available: volume.available.bytes(),
            region_count: u32::try_from(self.router.regions().len()).unwrap_or(u32::MAX),
            start_time: u32::try_from(self.started_unix_seconds).unwrap_or(u32::MAX),
            is_busy: engine.is_write_stopped,
            used_size: engine.disk_bytes,
            bytes_written: flow.written_bytes,
            keys_written: flow.written_keys,
            bytes_read: flow.read_bytes,
            keys_read: flow.read_keys,
            interval: Some(time_interval(unix_millis() / 1000, span)),
            slow_score: metrics.slowness().score(clock.now()),
            ..pdpb::StoreStats::default()
        }
    }
}
