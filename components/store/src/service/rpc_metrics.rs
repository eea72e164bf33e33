//! Counters and durations of calls.

use std::time::Duration;

use flotilla_telemetry::{Buckets, Metric, Registry};
use prometheus::{Histogram, IntCounter};

const REQUESTS: Metric = Metric::labelled(
    "flotilla_rpc_requests_total",
    "Calls of clients, by what became of them.",
    &["op", "result"],
);
const DURATION: Metric = Metric::labelled(
    "flotilla_rpc_duration_seconds",
    "Time from a call's arrival to its answer, in seconds.",
    &["op"],
);

const PROPOSALS: Metric = Metric::labelled(
    "flotilla_raft_proposals_total",
    "Writes handed to replicas, by what became of them.",
    &["result"],
);

/// What a client can ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Get,
    BatchGet,
    Scan,
    GetTtl,
    Put,
    BatchPut,
    Delete,
    BatchDelete,
    DeleteRange,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    RegionError,
    Refused,
}

impl Op {
    const ALL: [(Self, &'static str); 9] = [
        (Self::Get, "raw_get"),
        (Self::BatchGet, "raw_batch_get"),
        (Self::Scan, "raw_scan"),
        (Self::GetTtl, "raw_get_key_ttl"),
        (Self::Put, "raw_put"),
        (Self::BatchPut, "raw_batch_put"),
        (Self::Delete, "raw_delete"),
        (Self::BatchDelete, "raw_batch_delete"),
        (Self::DeleteRange, "raw_delete_range"),
    ];
}

impl Outcome {
    const ALL: [&'static str; 3] = ["done", "region_error", "refused"];
}

/// What became of a write that was handed to its replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proposed {
    Applied,
    Refused,
    Busy,
    Unknown,
}

impl Proposed {
    const ALL: [&'static str; 4] = ["applied", "refused", "busy", "unknown"];
}

/// The metrics of one kind of call.
struct OpMetrics {
    outcomes: [IntCounter; Outcome::ALL.len()],
    duration: Histogram,
}

/// The metrics of all calls, looked up by position.
pub(super) struct RpcMetrics {
    ops: [OpMetrics; Op::ALL.len()],
    proposals: [IntCounter; Proposed::ALL.len()],
}

impl RpcMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        let requests = registry.counters(&REQUESTS);
        let durations = registry.histograms(&DURATION, Buckets::Latency);
        let ops = Op::ALL.map(|(op, name)| {
            debug_assert_eq!(Op::ALL[op as usize].0, op, "the table is in the order of the enum");
            OpMetrics {
                outcomes: Outcome::ALL.map(|result| requests.with_label_values(&[name, result])),
                duration: durations.with_label_values(&[name]),
            }
        });
        let proposals = registry.counters(&PROPOSALS);
        Self { ops, proposals: Proposed::ALL.map(|result| proposals.with_label_values(&[result])) }
    }

    pub(super) fn proposed(&self, result: Proposed) {
        self.proposals[result as usize].inc();
    }

    pub(super) fn count(&self, op: Op, outcome: Outcome, took: Duration) {
        let metrics = &self.ops[op as usize];
        metrics.outcomes[outcome as usize].inc();
        metrics.duration.observe(took.as_secs_f64());
    }
}
