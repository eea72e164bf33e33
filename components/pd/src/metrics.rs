//! What a placement driver counts.

use flotilla_placement::{Ending, OperatorKind};
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
const OPERATORS: Metric = Metric::new("flotilla_pd_operators", "Regions that are being changed.");
const OPERATORS_ENDED: Metric = Metric::labelled(
    "flotilla_pd_operators_ended_total",
    "Changes of regions that have ended, by their kind and by how: finished, timed_out or cancelled.",
    &["type", "result"],
);
const ORDERS: Metric = Metric::labelled(
    "flotilla_pd_orders_total",
    "Orders for leaders of regions, sent or lost for want of a stream with room.",
    &["result"],
);

/// How operators end.
const ENDINGS: [&str; 3] = ["finished", "timed_out", "cancelled"];

/// The metrics of one placement driver.
#[derive(Clone, Debug)]
pub(crate) struct PdMetrics {
    pub is_leader: IntGauge,
    pub stores: IntGauge,
    pub regions: IntGauge,
    pub last_id: IntGauge,
    pub timestamps: IntCounter,
    pub operators: IntGauge,
    region_heartbeats: IntCounterVec,
    operators_ended: IntCounterVec,
    orders: IntCounterVec,
}

impl PdMetrics {
    pub(crate) fn new(registry: &Registry) -> Self {
        let (operators_ended, orders) =
            (registry.counters(&OPERATORS_ENDED), registry.counters(&ORDERS));
        // What has not happened yet is shown as well.
        for kind in OperatorKind::ALL {
            ENDINGS.iter().for_each(|ending| {
                operators_ended.with_label_values(&[kind.name(), ending]).inc_by(0);
            });
        }
        for result in ["sent", "lost"] {
            orders.with_label_values(&[result]).inc_by(0);
        }
        Self {
            is_leader: registry.gauge(&IS_LEADER),
            stores: registry.gauge(&STORES),
            regions: registry.gauge(&REGIONS),
            last_id: registry.gauge(&LAST_ID),
            timestamps: registry.counter(&TIMESTAMPS),
            operators: registry.gauge(&OPERATORS),
            region_heartbeats: registry.counters(&REGION_HEARTBEATS),
            operators_ended,
            orders,
        }
    }

    pub(crate) fn count_operator(&self, kind: OperatorKind, ending: Ending) {
        let [finished, timed_out, cancelled] = ENDINGS;
        let ending = match ending {
            Ending::Finished => finished,
            Ending::TimedOut => timed_out,
            Ending::Cancelled(_) => cancelled,
        };
        self.operators_ended.with_label_values(&[kind.name(), ending]).inc();
    }

    pub(crate) fn count_order(&self, result: &str) {
        self.orders.with_label_values(&[result]).inc();
    }

    pub(crate) fn count_region_heartbeat(&self, result: &str) {
        self.region_heartbeats.with_label_values(&[result]).inc();
    }
}
