//! Counters and durations of calls.

use std::time::Duration;

use flotilla_multiraft::NotInPlace;
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

const READS: Metric = Metric::labelled(
    "flotilla_reads_total",
    "Reads that found a view of the data that is new enough, by the way to it.",
    &["type"],
);
const NOT_IN_PLACE: Metric = Metric::labelled(
    "flotilla_reads_not_in_place_total",
    "Reads that could not be served in place and went to their replica, by the reason.",
    &["reason"],
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
    CompareAndSwap,
    SplitRegion,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    RegionError,
    Refused,
}

impl Op {
    const ALL: [(Self, &'static str); 11] = [
        (Self::Get, "raw_get"),
        (Self::BatchGet, "raw_batch_get"),
        (Self::Scan, "raw_scan"),
        (Self::GetTtl, "raw_get_key_ttl"),
        (Self::Put, "raw_put"),
        (Self::BatchPut, "raw_batch_put"),
        (Self::Delete, "raw_delete"),
        (Self::BatchDelete, "raw_batch_delete"),
        (Self::DeleteRange, "raw_delete_range"),
        (Self::CompareAndSwap, "raw_compare_and_swap"),
        (Self::SplitRegion, "split_region"),
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

/// How a read found its view of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    InPlace,
    Barrier,
    Replica,
}

impl Way {
    const ALL: [&'static str; 3] = ["in_place", "barrier", "replica"];
}

const REASONS: [&str; 5] = ["no_permit", "other_request", "not_applied", "ran_out", "withdrawn"];

const fn reason(why: NotInPlace) -> usize {
    match why {
        NotInPlace::NoPermit => 0,
        NotInPlace::OtherRequest => 1,
        NotInPlace::NotApplied => 2,
        NotInPlace::RanOut => 3,
        NotInPlace::Withdrawn => 4,
    }
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
    reads: [IntCounter; Way::ALL.len()],
    not_in_place: [IntCounter; REASONS.len()],
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
        let (reads, not_in_place) = (registry.counters(&READS), registry.counters(&NOT_IN_PLACE));
        Self {
            ops,
            proposals: Proposed::ALL.map(|result| proposals.with_label_values(&[result])),
            reads: Way::ALL.map(|way| reads.with_label_values(&[way])),
            not_in_place: REASONS.map(|reason| not_in_place.with_label_values(&[reason])),
        }
    }

    pub(super) fn read(&self, way: Way) {
        self.reads[way as usize].inc();
    }

    pub(super) fn not_in_place(&self, why: NotInPlace) {
        self.not_in_place[reason(why)].inc();
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
