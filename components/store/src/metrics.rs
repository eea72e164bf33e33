//! What a store measures. One table of names; the numbers are counted where things happen, and what is
//! merely looked at (engine, transport, regions) is read when somebody scrapes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use flotilla_base::{ByteSize, Family};
use flotilla_engine::{Engine, EngineStats};
use flotilla_multiraft::Held;
use flotilla_raftgroup::{Fetched, Role, RoleChange};
use flotilla_telemetry::{Buckets, Metric, Registry};
use flotilla_transport::{Peers, SnapshotStats, TransportStats};
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::{
    boot::Interrupted,
    brake::{Brake, Room},
    slowness::Slowness,
    split::load::hot::LoadOutcome,
};

const READY_REGIONS: Metric = Metric::new(
    "flotilla_raft_ready_batch_regions",
    "Regions whose replicas were driven together in one round.",
);
const READY_BYTES: Metric = Metric::new(
    "flotilla_raft_ready_batch_bytes",
    "Bytes that one round of replicas wrote together.",
);
const SYNC_SECONDS: Metric = Metric::new(
    "flotilla_raft_append_fsync_seconds",
    "Time to make written log entries durable, in seconds.",
);
const SYNC_ENTRIES: Metric =
    Metric::new("flotilla_raft_sync_entries", "Log entries made durable by one sync.");
const ELECTIONS: Metric = Metric::labelled(
    "flotilla_raft_elections_total",
    "Campaigns that replicas on this store began, by what they asked for.",
    &["type"],
);
const LEADER_CHANGES: Metric = Metric::labelled(
    "flotilla_raft_leader_changes_total",
    "Times that a replica on this store came to lead.",
    &["reason"],
);
const DROPPED: Metric = Metric::labelled(
    "flotilla_raft_messages_dropped_total",
    "Messages between replicas that were dropped.",
    &["reason"],
);
const MESSAGES: Metric = Metric::labelled(
    "flotilla_raft_messages_total",
    "Messages between replicas, sent or received.",
    &["type"],
);
const APPLY_LAG: Metric = Metric::new(
    "flotilla_apply_lag_entries",
    "Committed entries that wait to be applied when a batch of them is handed over.",
);
const REGIONS: Metric = Metric::new("flotilla_regions", "Regions with a replica on this store.");
const LEADERS: Metric =
    Metric::new("flotilla_region_leaders", "Regions that a replica on this store leads.");
const ASLEEP: Metric = Metric::new(
    "flotilla_regions_asleep",
    "Regions whose replica on this store sleeps: nobody has wanted anything of them for a while.",
);
const CONNECTS: Metric = Metric::labelled(
    "flotilla_transport_streams_total",
    "Streams between stores, by what became of them.",
    &["result"],
);
const QUEUED: Metric = Metric::new(
    "flotilla_transport_queued_bytes",
    "Bytes of messages that wait to be sent to other stores.",
);
const ROOM: Metric = Metric::new(
    "flotilla_store_disk_room",
    "What a store's disk has room for: 2 everything, 1 deletions, 0 what raft notes about itself.",
);
const PACE: Metric = Metric::new(
    "flotilla_store_write_pace_bytes",
    "Bytes of writes that are let in each second where compactions are behind; 0 for as many as come.",
);
const ENTRY_CACHE: Metric = Metric::new(
    "flotilla_raft_entry_cache_bytes",
    "Bytes of log entries that replicas keep in memory.",
);
const BACKLOG: Metric = Metric::new(
    "flotilla_apply_backlog_bytes",
    "Bytes of committed entries that wait to be applied.",
);
const LOAD_SPLITS: Metric = Metric::labelled(
    "flotilla_store_load_splits_total",
    "Regions that were asked for too much, by what became of them.",
    &["result"],
);
const WRITES_WAITING: Metric = Metric::new(
    "flotilla_raft_inbox_bytes",
    "Bytes of writes and entries that wait for their replicas.",
);
const FETCHES: Metric = Metric::labelled(
    "flotilla_raft_log_fetches_total",
    "Reads of old log entries for followers that lag behind, by what became of them.",
    &["result"],
);
const FETCHED_BYTES: Metric = Metric::new(
    "flotilla_raft_log_fetched_bytes_total",
    "Bytes of old log entries that were read for followers.",
);

const SNAPSHOTS: Metric = Metric::labelled(
    "flotilla_snapshots_total",
    "Snapshots of regions that were sent to other stores or received from them, by what became of them.",
    &["type"],
);
const SNAPSHOT_BYTES: Metric =
    Metric::labelled("flotilla_snapshot_bytes_total", "Bytes of data in snapshots.", &["type"]);
const INSTALL_SECONDS: Metric = Metric::new(
    "flotilla_snapshot_install_seconds",
    "Time to put a snapshot in the place of a region's data, in seconds.",
);
const INSTALLING: Metric = Metric::new(
    "flotilla_snapshots_installing",
    "Regions whose data a snapshot takes the place of now.",
);
const INSTALLS_PUT_OFF: Metric = Metric::new(
    "flotilla_snapshot_installs_put_off_total",
    "Times that a snapshot could not be put in place, for a reason that passes; it is tried again.",
);
const INTERRUPTED: Metric = Metric::labelled(
    "flotilla_store_interrupted",
    "What the last run of the store had begun and not ended, as this one found it.",
    &["type"],
);
const VIEWS: Metric = Metric::new(
    "flotilla_snapshot_views",
    "Views of the database that are held to be sent as snapshots.",
);
const OLDEST_VIEW: Metric =
    Metric::new("flotilla_snapshot_oldest_view_seconds", "Age of the oldest of them, in seconds.");

/// Numbers of one store. Owned by it; several stores of one process share nothing.
pub struct StoreMetrics {
    registry: Registry,
    ready_regions: Histogram,
    ready_bytes: Histogram,
    syncs: Syncs,
    elections: IntCounterVec,
    leader_changes: IntCounterVec,
    dropped: IntCounterVec,
    apply_lag: Histogram,
    installs: Installs,
    asleep: IntGauge,
    load_splits: IntCounterVec,
    fetches: Fetches,
}

/// Syncs of the log.
struct Syncs {
    seconds: Histogram,
    entries: Histogram,
    /// Written since the last one.
    unsynced_entries: AtomicUsize,
    slowness: Slowness,
}

/// Old log entries that are read.
struct Fetches {
    results: IntCounterVec,
    bytes: IntCounter,
}

/// Snapshots that are put in place.
struct Installs {
    now: IntGauge,
    seconds: Histogram,
    put_off: IntCounter,
}

impl StoreMetrics {
    /// A registry with the metrics of a store, of its process and of `engine`.
    #[must_use]
    pub fn new(engine: &Engine) -> Self {
        let registry = Registry::new();
        flotilla_telemetry::process::register_process_metrics(&registry);
        let metrics = Self::register(&registry);
        metrics.watch_engine(engine.clone());
        metrics
    }

    fn register(registry: &Registry) -> Self {
        Self {
            registry: registry.clone(),
            ready_regions: registry.histogram(&READY_REGIONS, Buckets::Counts),
            ready_bytes: registry.histogram(&READY_BYTES, Buckets::Sizes),
            syncs: Syncs {
                seconds: registry.histogram(&SYNC_SECONDS, Buckets::Latency),
                entries: registry.histogram(&SYNC_ENTRIES, Buckets::Counts),
                unsynced_entries: AtomicUsize::new(0),
                slowness: Slowness::default(),
            },
            elections: registry.counters(&ELECTIONS),
            leader_changes: registry.counters(&LEADER_CHANGES),
            dropped: registry.counters(&DROPPED),
            apply_lag: registry.histogram(&APPLY_LAG, Buckets::Counts),
            installs: Installs {
                now: registry.gauge(&INSTALLING),
                seconds: registry.histogram(&INSTALL_SECONDS, Buckets::Latency),
                put_off: registry.counter(&INSTALLS_PUT_OFF),
            },
            asleep: registry.gauge(&ASLEEP),
            load_splits: load_splits(registry),
            fetches: fetches(registry),
        }
    }

    /// The store has started, and goes on with what its last run has left.
    pub(crate) fn found(&self, interrupted: Interrupted) {
        let Interrupted { splits, installs, destroys } = interrupted;
        let gauges = self.registry.gauges(&INTERRUPTED);
        for (work, count) in [("split", splits), ("install", installs), ("destroy", destroys)] {
            gauges.with_label_values(&[work]).set(signed(count as u64));
        }
    }

    /// Runs `install`, which puts a snapshot in place.
    pub(crate) fn installing<R>(&self, install: impl FnOnce() -> R) -> R {
        self.installs.now.inc();
        let result = install();
        self.installs.now.dec();
        result
    }

    /// A replica had its turn: whether it slept before, and whether it sleeps behind it.
    pub(crate) fn slept(&self, was_asleep: bool, is_asleep: bool) {
        match (was_asleep, is_asleep) {
            (false, true) => self.asleep.inc(),
            (true, false) => self.asleep.dec(),
            (false, false) | (true, true) => {}
        }
    }

    /// Shows what stands in the way of writes.
    pub(crate) fn watch_brake(&self, brake: Arc<Brake>) {
        let (room, pace) = (self.registry.gauge(&ROOM), self.registry.gauge(&PACE));
        self.registry.on_scrape(move || {
            room.set(match brake.room() {
                Room::Enough => 2,
                Room::Scarce => 1,
                Room::None => 0,
            });
            pace.set(signed(brake.pace().unwrap_or(0)));
        });
    }

    /// The registry they are in.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A round of replicas ended.
    pub fn ready_batch(&self, regions: usize, bytes: usize) {
        self.ready_regions.observe(number(regions));
        if bytes > 0 {
            self.ready_bytes.observe(number(bytes));
        }
    }

    /// How slow syncs of the log are.
    pub(crate) const fn slowness(&self) -> &Slowness {
        &self.syncs.slowness
    }

    /// Log entries were written and wait for a sync.
    pub fn appended(&self, entries: usize) {
        self.syncs.unsynced_entries.fetch_add(entries, Ordering::Relaxed);
    }

    /// A sync that took `duration` is done. Entries that were written while it ran may be counted for
    /// it though the next one makes them durable; none is counted twice.
    pub fn synced(&self, duration: Duration) {
        self.syncs.seconds.observe(duration.as_secs_f64());
        let entries = self.syncs.unsynced_entries.swap(0, Ordering::Relaxed);
        if entries > 0 {
            self.syncs.entries.observe(number(entries));
        }
    }

    /// A replica changed its role.
    pub fn role_changed(&self, change: RoleChange) {
        match change.role {
            Role::Follower => {}
            Role::PreCandidate => self.elections.with_label_values(&["pre-vote"]).inc(),
            Role::Candidate => self.elections.with_label_values(&["vote"]).inc(),
            Role::Leader => self.leader_changes.with_label_values(&["election"]).inc(),
        }
    }

    /// A message was dropped before it reached its replica; `reason` is one of a few fixed words.
    pub fn message_dropped(&self, reason: &'static str) {
        self.dropped.with_label_values(&[reason]).inc();
    }

    /// Committed entries were handed to an applier.
    pub fn apply_lag(&self, entries: usize) {
        self.apply_lag.observe(number(entries));
    }

    /// Old log entries were to be read.
    pub(crate) fn fetched(&self, fetched: &Fetched) {
        let result = match fetched {
            Fetched::Entries { .. } => "read",
            Fetched::Damaged(_) => "damaged",
            Fetched::Refused => "refused",
        };
        self.fetches.results.with_label_values(&[result]).inc();
        self.fetches.bytes.inc_by(fetched.size_bytes() as u64);
    }

    /// A snapshot was put in place.
    pub fn installed(&self, duration: Duration) {
        self.installs.seconds.observe(duration.as_secs_f64());
    }

    /// A snapshot was not put in place, and will be tried again.
    pub(crate) fn install_put_off(&self) {
        self.installs.put_off.inc();
    }

    /// A region was asked for too much.
    pub(crate) fn load_split(&self, outcome: LoadOutcome) {
        self.load_splits.with_label_values(&[outcome.name()]).inc();
    }

    /// Shows how many views are held for snapshots, and the age of the oldest, asked at each scrape.
    pub fn watch_views(&self, look: impl Fn() -> (usize, Duration) + Send + Sync + 'static) {
        let (views, oldest) = (self.registry.gauge(&VIEWS), self.registry.gauge(&OLDEST_VIEW));
        self.registry.on_scrape(move || {
            let (count, age) = look();
            views.set(signed(count as u64));
            oldest.set(signed(age.as_secs()));
        });
    }

    /// Shows the numbers of regions and of those led from here, asked at each scrape.
    pub fn watch_regions(&self, count: impl Fn() -> (usize, usize) + Send + Sync + 'static) {
        let (regions, leaders) = (self.registry.gauge(&REGIONS), self.registry.gauge(&LEADERS));
        self.registry.on_scrape(move || {
            let (all, led) = count();
            regions.set(signed(all as u64));
            leaders.set(signed(led as u64));
        });
    }

    /// Shows how many bytes wait in the inboxes of replicas, asked at each scrape.
    pub fn watch_inbox(&self, waiting_bytes: impl Fn() -> usize + Send + Sync + 'static) {
        let gauge = self.registry.gauge(&WRITES_WAITING);
        self.registry.on_scrape(move || gauge.set(signed(waiting_bytes() as u64)));
    }

    /// Shows how much replicas hold in memory together, asked at each scrape.
    pub(crate) fn watch_memory(&self, held: impl Fn() -> Held + Send + Sync + 'static) {
        let (cached, backlog) = (self.registry.gauge(&ENTRY_CACHE), self.registry.gauge(&BACKLOG));
        self.registry.on_scrape(move || {
            let Held { cached_bytes, backlog_bytes } = held();
            cached.set(signed(cached_bytes as u64));
            backlog.set(signed(backlog_bytes as u64));
        });
    }

    /// Shows what the transport counts. What it drops is added to the dropped messages.
    pub fn watch_transport(&self, peers: &Arc<Peers>) {
        // The transport reports to whoever owns these metrics: a strong reference would be a circle.
        let peers = Arc::downgrade(peers);
        let messages = self.registry.counters(&MESSAGES);
        let streams = self.registry.counters(&CONNECTS);
        let queued = self.registry.gauge(&QUEUED);
        type Read = fn(&TransportStats) -> u64;
        let dropped = &self.dropped;
        let counters: [(IntCounter, Read); 8] = [
            (messages.with_label_values(&["sent"]), |stats| stats.sent_messages.get()),
            (messages.with_label_values(&["received"]), |stats| stats.received_messages.get()),
            (dropped.with_label_values(&["full"]), |stats| stats.dropped_full.get()),
            (dropped.with_label_values(&["disconnected"]), |stats| {
                stats.dropped_disconnected.get()
            }),
            (dropped.with_label_values(&["refused"]), |stats| stats.dropped_refused.get()),
            (streams.with_label_values(&["opened"]), |stats| stats.connects.get()),
            (streams.with_label_values(&["failed"]), |stats| stats.failures.get()),
            (streams.with_label_values(&["broken"]), |stats| stats.broken_streams.get()),
        ];
        // Each counter has one writer, this closure, and scrapes never run at the same time.
        self.registry.on_scrape(move || {
            let Some(peers) = peers.upgrade() else { return };
            let stats = peers.stats();
            for (counter, read) in &counters {
                counter.inc_by(read(stats).saturating_sub(counter.get()));
            }
            queued.set(signed(stats.queued_bytes.get()));
        });
    }

    /// Shows what has become of snapshots, read at each scrape.
    pub fn watch_snapshots(&self, peers: &Arc<Peers>) {
        let peers = Arc::downgrade(peers);
        let snapshots = self.registry.counters(&SNAPSHOTS);
        let bytes = self.registry.counters(&SNAPSHOT_BYTES);
        type Read = fn(&SnapshotStats) -> u64;
        let counters: [(IntCounter, Read); 6] = [
            (snapshots.with_label_values(&["sent"]), |stats| stats.sent.get()),
            (snapshots.with_label_values(&["not_sent"]), |stats| stats.send_failed.get()),
            (snapshots.with_label_values(&["received"]), |stats| stats.received.get()),
            (snapshots.with_label_values(&["not_received"]), |stats| stats.receive_failed.get()),
            (bytes.with_label_values(&["sent"]), |stats| stats.sent_bytes.get()),
            (bytes.with_label_values(&["received"]), |stats| stats.received_bytes.get()),
        ];
        self.registry.on_scrape(move || {
            let Some(peers) = peers.upgrade() else { return };
            for (counter, read) in &counters {
                counter.inc_by(read(peers.snapshot_stats()).saturating_sub(counter.get()));
            }
        });
    }

    /// Shows the engine's figures, read at each scrape.
    fn watch_engine(&self, engine: Engine) {
        let gauges = EngineGauges::new(&self.registry);
        self.registry.on_scrape(move || gauges.show(&engine.stats()));
    }
}

const ENGINE_L0: Metric = Metric::labelled(
    "flotilla_engine_l0_files",
    "Files in level 0, which every read has to look through.",
    &["cf"],
);
const ENGINE_MEMTABLE: Metric =
    Metric::labelled("flotilla_engine_memtable_bytes", "Memory of memtables in bytes.", &["cf"]);
const ENGINE_IMMUTABLE: Metric = Metric::labelled(
    "flotilla_engine_immutable_memtables",
    "Full memtables that wait for their flush.",
    &["cf"],
);
const ENGINE_PENDING: Metric = Metric::labelled(
    "flotilla_engine_pending_compaction_bytes",
    "Bytes that compaction has still to rewrite.",
    &["cf"],
);
const ENGINE_TABLES: Metric =
    Metric::labelled("flotilla_engine_table_bytes", "Bytes of all tables.", &["cf"]);
const ENGINE_WAL: Metric =
    Metric::new("flotilla_engine_wal_bytes", "Bytes of all files of the write-ahead log.");
const ENGINE_STOPPED: Metric = Metric::new(
    "flotilla_engine_write_stopped",
    "1 while the engine holds back all writes, otherwise 0.",
);
const ENGINE_CACHE: Metric =
    Metric::new("flotilla_engine_block_cache_bytes", "Memory of the block cache in bytes.");
const ENGINE_SNAPSHOTS: Metric =
    Metric::new("flotilla_engine_snapshots", "Snapshots of the engine that are held.");
const ENGINE_ERRORS: Metric = Metric::new(
    "flotilla_engine_background_errors_total",
    "Errors of flushes and compactions since the start.",
);
const CAPACITY: Metric =
    Metric::new("flotilla_store_capacity_bytes", "Size of the store's volume in bytes.");
const AVAILABLE: Metric =
    Metric::new("flotilla_store_available_bytes", "Free bytes of the store's volume.");

/// A gauge for each family, and what it shows.
type FamilyGauge = (IntGaugeVec, fn(&flotilla_engine::FamilyStats) -> u64);

struct EngineGauges {
    families: [FamilyGauge; 5],
    wal: IntGauge,
    stopped: IntGauge,
    cache: IntGauge,
    snapshots: IntGauge,
    errors: IntCounter,
}

impl EngineGauges {
    fn new(registry: &Registry) -> Self {
        Self {
            families: [
                (registry.gauges(&ENGINE_L0), |stats| stats.level0_files),
                (registry.gauges(&ENGINE_MEMTABLE), |stats| stats.memtable_bytes),
                (registry.gauges(&ENGINE_IMMUTABLE), |stats| stats.immutable_memtables),
                (registry.gauges(&ENGINE_PENDING), |stats| stats.pending_compaction_bytes),
                (registry.gauges(&ENGINE_TABLES), |stats| stats.table_bytes),
            ],
            wal: registry.gauge(&ENGINE_WAL),
            stopped: registry.gauge(&ENGINE_STOPPED),
            cache: registry.gauge(&ENGINE_CACHE),
            snapshots: registry.gauge(&ENGINE_SNAPSHOTS),
            errors: registry.counter(&ENGINE_ERRORS),
        }
    }

    fn show(&self, stats: &EngineStats) {
        for family in Family::ALL {
            for (gauge, read) in &self.families {
                let figure = read(stats.family(family));
                gauge.with_label_values(&[family.name()]).set(signed(figure));
            }
        }
        self.wal.set(signed(stats.wal_bytes));
        self.stopped.set(i64::from(stats.is_write_stopped));
        self.cache.set(signed(stats.block_cache_bytes));
        self.snapshots.set(signed(stats.snapshots));
        self.errors.inc_by(stats.background_errors.saturating_sub(self.errors.get()));
    }
}

/// Sizes of the volume that a store's data directory is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// All of it.
    pub capacity: ByteSize,
    /// What is free.
    pub available: ByteSize,
}

impl Volume {
    /// Asks the system; zeros where it does not tell.
    #[must_use]
    pub fn of(path: &std::path::Path) -> Self {
        let Ok(volume) = rustix::fs::statvfs(path) else { return Self::default() };
        Self {
            capacity: ByteSize(volume.f_blocks.saturating_mul(volume.f_frsize)),
            available: ByteSize(volume.f_bavail.saturating_mul(volume.f_frsize)),
        }
    }
}

impl StoreMetrics {
    /// Shows the sizes of the volume that `path` is on, asked at each scrape.
    pub fn watch_volume(&self, path: std::path::PathBuf) {
        let (capacity, available) =
            (self.registry.gauge(&CAPACITY), self.registry.gauge(&AVAILABLE));
        self.registry.on_scrape(move || {
            let volume = Volume::of(&path);
            capacity.set(signed(volume.capacity.bytes()));
            available.set(signed(volume.available.bytes()));
        });
    }
}

impl std::fmt::Debug for StoreMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreMetrics")
    }
}

/// Shown before there is any: whoever looks for them finds zeros.
fn load_splits(registry: &Registry) -> IntCounterVec {
    let counters = registry.counters(&LOAD_SPLITS);
    for outcome in LoadOutcome::ALL {
        counters.with_label_values(&[outcome.name()]).reset();
    }
    counters
}

/// As with [`load_splits`].
fn fetches(registry: &Registry) -> Fetches {
    let results = registry.counters(&FETCHES);
    for result in ["read", "damaged", "refused"] {
        results.with_label_values(&[result]).reset();
    }
    Fetches { results, bytes: registry.counter(&FETCHED_BYTES) }
}

#[expect(clippy::cast_precision_loss, reason = "a histogram's bucket does not need all digits")]
fn number(count: usize) -> f64 {
    count as f64
}

fn signed(figure: u64) -> i64 {
    i64::try_from(figure).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use flotilla_base::Term;
    use flotilla_telemetry::render;

    use super::*;

    #[test]
    fn entries_are_counted_for_the_sync_that_follows_them() {
        let registry = Registry::new();
        let metrics = StoreMetrics::register(&registry);
        metrics.appended(3);
        metrics.appended(2);
        metrics.synced(Duration::from_micros(60));
        metrics.synced(Duration::from_micros(60));
        metrics.role_changed(RoleChange { role: Role::Leader, term: Term(6), leader: None });
        metrics.watch_regions(|| (2, 1));
        let text = render(&registry);
        for line in [
            "flotilla_raft_sync_entries_sum 5",
            "flotilla_raft_sync_entries_count 1",
            "flotilla_raft_append_fsync_seconds_count 2",
            "flotilla_raft_leader_changes_total{reason=\"election\"} 1",
            "flotilla_regions 2",
            "flotilla_region_leaders 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
