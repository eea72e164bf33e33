//! What a placement driver counts.

use flotilla_telemetry::{Metric, Registry};
use prometheus::{IntCounter, IntCounterVec, IntGauge};

const IS_LEADER: Metric =
    Metric::new("flotilla_pd_is_leader", "Whether this placement driver leads and serves: 1 or 0.");
const STORES: Metric = Metric::new("flotilla_pd_stores", "Registered stores, tombstones included.");
const REGIONS: Metric = Metric::new("flotilla_pd_regions", "Regions that leaders have reported.");
const LAST_ID: Metric = Metric::new("flotilla_pd_last_id", "Largest id of the last window of ids.");
const TIMESTAMPS: Metric = Metric::new("flotilla_pd_timestamps_total", "Timestamps handed out.");
const REGION_HEARTBEATS: Metric = Metric::labelled(
    "flotilla_pd_region_heartbeats_total",
    "Region heartbeats, by what became of them: taken, stale or invalid.",
    &["result"],
);

/// The metrics of one placement driver.
#[derive(Clone, Debug)]
pub(crate) struct PdMetrics {
    pub is_leader: IntGauge,
    pub stores: IntGauge,
    pub regions: IntGauge,
    pub last_id: IntGauge,
    pub timestamps: IntCounter,
    region_heartbeats: IntCounterVec,
}

impl PdMetrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        Self {
            is_leader: registry.gauge(&IS_LEADER),
            stores: registry.gauge(&STORES),
            regions: registry.gauge(&REGIONS),
            last_id: registry.gauge(&LAST_ID),
            timestamps: registry.counter(&TIMESTAMPS),
            region_heartbeats: registry.counters(&REGION_HEARTBEATS),
        }
    }

    pub(crate) fn count_region_heartbeat(&self, result: &str) {
        self.region_heartbeats.with_label_values(&[result]).inc();
    }
}
