//! Snapshots: views of the database that are sent, stages that are received, and ranges that are replaced.
//!
//! [`send`] takes views and streams them; [`receive`] stages what arrives and claims its range; [`install`] puts a stage in
//! place; [`cleanup`] deletes what destroyed peers left. What is sent to whom, and when, is decided by [`flotilla_multiraft::snapshot`] and
//! [`flotilla_multiraft::install`]; nothing here decides more than whether there is room.
//!
//! What waits for disks or for other stores runs on threads that nobody waits for: views, streams, stages, replacements, and
//! the clearing of damaged peers. One thing does not: whoever ends a claim, or a peer, deletes the keys that nobody owns any
//! more at once, in one batch without a sync. That is a raft worker, which writes its log in the same way.

mod cleanup;
mod install;
mod receive;
mod send;
mod working;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flotilla_base::{ByteSize, PeerId, RegionId};
use flotilla_engine::{DataDir, Engine, StageError, Stages};
use flotilla_multiraft::{Cleanup, Input, SnapshotEffect, SnapshotInput, StageNumber};
use flotilla_raftgroup::SnapshotNumber;
use flotilla_transport::Peers;
use parking_lot::Mutex;
use tokio::runtime::Handle;

pub(crate) use self::install::INSTALL_PAUSE;
use self::send::View;
use self::working::Working;
use crate::host::stop;
use crate::metrics::StoreMetrics;
use crate::network::Inbound;
use crate::router::Router;

/// How long a view stays open that nobody sends: a view keeps the database from giving up old data.
pub(crate) const VIEW_TIME: Duration = Duration::from_secs(60);

/// Names an attempt of a peer to send a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ViewKey {
    pub(crate) region: RegionId,
    pub(crate) peer: PeerId,
    pub(crate) number: SnapshotNumber,
}

/// The snapshots of a store. Clones are handles to the same.
#[derive(Clone)]
pub(crate) struct Snapshots {
    shared: Arc<Works>,
}

/// What snapshots need of their store.
pub(crate) struct Parts {
    pub(crate) engine: Engine,
    pub(crate) router: Router,
    pub(crate) peers: Arc<Peers>,
    pub(crate) inbound: Arc<Inbound>,
    pub(crate) metrics: Arc<StoreMetrics>,
    pub(crate) runtime: Handle,
    /// See [`VIEW_TIME`].
    pub(crate) view_time: Duration,
    /// See [`INSTALL_PAUSE`].
    pub(crate) install_pause: Duration,
}

struct Works {
    parts: Parts,
    stages: Stages,
    /// The next stage has this number. The run of the store is its upper half, so none comes twice.
    next_stage: AtomicU64,
    /// Attempts that have not ended. Whoever takes one out says how it ended, and nobody else.
    views: Mutex<BTreeMap<ViewKey, View>>,
    /// What destroyed peers left that is not being cleaned yet. Locked before the region table.
    orders: Mutex<Vec<Cleanup>>,
    working: Working,
}

/// The stages of a store that starts: what an install needs that a crash interrupted stays, all else is left over.
///
/// # Errors
/// The disk fails.
pub(crate) fn open_stages(
    data_dir: &DataDir,
    needed: &BTreeSet<StageNumber>,
    free_min: ByteSize,
) -> Result<Stages, StageError> {
    let stages = Stages::open(&data_dir.stages_path(), free_min)?;
    for number in stages.numbers()? {
        if !needed.contains(&StageNumber(number)) {
            tracing::info!(stage = number, "a snapshot that was not installed is removed");
            stages.remove(number)?;
        }
    }
    Ok(stages)
}

impl Snapshots {
    pub(crate) fn new(parts: Parts, stages: Stages) -> Self {
        let run = parts.peers.identity().incarnation.get();
        let next_stage = AtomicU64::new(run << 32);
        let (views, orders, working) = Default::default();
        let shared = Works { parts, stages, next_stage, views, orders, working };
        let snapshots = Self { shared: Arc::new(shared) };
        snapshots.watch();
        snapshots.clear_what_is_gone();
        snapshots
    }

    fn clear_what_is_gone(&self) {
        // Weakly: the one who receives lives in what it would hold.
        let works = Arc::downgrade(&self.shared);
        let clears = move |message| {
            if let Some(shared) = works.upgrade() {
                Self { shared }.clear_soon(message);
            }
        };
        let _is_set_once = self.shared.parts.inbound.clears.set(Box::new(clears));
    }

    /// Does something about a snapshot, without waiting for it.
    pub(crate) fn perform(&self, effect: SnapshotEffect) {
        match effect {
            SnapshotEffect::Take { region, peer, number, to } => {
                self.take_view(ViewKey { region, peer, number }, to.store);
            }
            SnapshotEffect::Send { number, message } => {
                let key = ViewKey { region: message.region, peer: message.from.id, number };
                self.send_view(key, *message);
            }
            SnapshotEffect::Cancel { region, peer, number } => {
                // Dropped, it ends wherever it is; the replica knows.
                drop(self.take_out(&ViewKey { region, peer, number }));
            }
            SnapshotEffect::Install(effect) => self.install(effect),
        }
    }

    /// Ends everything and waits for what cannot be ended; the runtime takes nothing on any more. After this, nothing of
    /// this store's snapshots touches its disk.
    pub(crate) fn close(&self) {
        let views = std::mem::take(&mut *self.shared.views.lock());
        drop(views);
        self.shared.working.until_none();
    }

    fn new_stage(&self) -> StageNumber {
        StageNumber(self.shared.next_stage.fetch_add(1, Ordering::Relaxed))
    }

    fn take_out(&self, key: &ViewKey) -> Option<View> {
        self.shared.views.lock().remove(key)
    }

    fn tell(&self, region: RegionId, peer: PeerId, input: SnapshotInput) {
        self.shared.parts.router.notify(region, peer, Input::Snapshot(Box::new(input)));
    }

    /// Removes a stage that nobody needs, in its own time.
    fn forget(&self, stage: StageNumber) {
        self.run("forget a snapshot", move |snapshots| snapshots.forget_now(stage));
    }

    fn forget_now(&self, stage: StageNumber) {
        if let Err(error) = self.shared.stages.remove(stage.0) {
            tracing::warn!(stage = stage.0, %error, "a snapshot is left over until the next start");
        }
    }

    /// Waits for the disk on a thread of its own. A panic there ends the process, as everywhere.
    fn run(&self, name: &'static str, work: impl FnOnce(Self) + Send + 'static) {
        let (snapshots, busy) = (self.clone(), self.shared.working.begin());
        let worker = move || {
            let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(snapshots)));
            if worked.is_err() {
                stop(name, &"a panic");
            }
            // The last thing: nothing of the store is held any more.
            drop(busy);
        };
        self.shared.parts.runtime.spawn_blocking(worker);
    }

    fn watch(&self) {
        self.shared.parts.metrics.watch_snapshots(&self.shared.parts.peers);
        let works = Arc::downgrade(&self.shared);
        let oldest = move || {
            let works = works.upgrade()?;
            let views = works.views.lock();
            let ages = views.values().map(|view| view.since.elapsed());
            Some((views.len(), ages.max().unwrap_or_default()))
        };
        self.shared.parts.metrics.watch_views(move || oldest().unwrap_or_default());
    }
}
