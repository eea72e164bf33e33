//! A store as the placement driver sees one from outside: room, bandwidth, and whether it is there.

use flotilla_base::{Incarnation, Moment, Span, StoreId};
use flotilla_placement::{StoreRecord, StoreStats};

/// A step of a copy that moves next to no data.
const COPY_MIN: Span = Span::from_millis(20);
/// A slow store copies so many times more slowly.
const SLOWNESS: u64 = 10;

/// What a store is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorePlan {
    /// Size of its disk.
    pub capacity_bytes: u64,
    /// What else is on its disk.
    pub foreign_bytes: u64,
    /// Bytes that it can copy in a second, in each direction.
    pub copy_bytes_per_second: u64,
    /// Its labels.
    pub labels: Vec<(String, String)>,
}

impl Default for StorePlan {
    fn default() -> Self {
        Self {
            capacity_bytes: 1 << 40,
            foreign_bytes: 0,
            copy_bytes_per_second: 64 << 20,
            labels: Vec::new(),
        }
    }
}

/// A modelled store.
#[derive(Clone, Debug)]
pub struct Store {
    /// Its id, from the placement driver.
    pub id: StoreId,
    /// What it is made of.
    pub plan: StorePlan,
    /// Which of its runs this is, or the last one was.
    pub run: Incarnation,
    /// Whether it runs.
    pub is_running: bool,
    /// Whether it may start again.
    pub is_gone: bool,
    /// Whether all that it does takes long.
    pub is_slow: bool,
    /// Since when it does not run.
    pub stopped: Moment,
    /// When the copies that come to it are over.
    takes_until: Moment,
    /// When the copies that it sends are over.
    gives_until: Moment,
}

impl Store {
    /// A store that has not started.
    #[must_use]
    pub const fn new(id: StoreId, plan: StorePlan) -> Self {
        let (run, never) = (Incarnation(0), Moment(0));
        Self {
            id,
            plan,
            run,
            is_running: false,
            is_gone: false,
            is_slow: false,
            stopped: never,
            takes_until: never,
            gives_until: never,
        }
    }

    /// It runs.
    pub const fn start(&mut self, now: Moment) {
        self.run = Incarnation(self.run.get() + 1);
        self.is_running = true;
        self.takes_until = now;
        self.gives_until = now;
    }

    /// It does not run any more.
    pub const fn stop(&mut self, now: Moment) {
        self.is_running = false;
        self.stopped = now;
    }

    fn copy_time(&self, bytes: u64) -> Span {
        let slowness = if self.is_slow { SLOWNESS } else { 1 };
        let rate = (self.plan.copy_bytes_per_second / slowness).max(1);
        Span::from_millis(bytes.saturating_mul(1_000) / rate).max(COPY_MIN)
    }

    /// When a copy from `source` to this store is over that is asked for now: one after the other, in both places.
    pub fn copy_from(&mut self, source: &mut Self, now: Moment, bytes: u64) -> Moment {
        let begins = now.max(self.takes_until).max(source.gives_until);
        let ends = begins + self.copy_time(bytes).max(source.copy_time(bytes));
        self.takes_until = ends;
        source.gives_until = ends;
        ends
    }

    /// What it registers as.
    #[must_use]
    pub fn record(&self) -> StoreRecord {
        StoreRecord {
            id: self.id,
            address: format!("store-{}:1", self.id),
            version: "8.5.0-flotilla-0.1.0".to_owned(),
            labels: self.plan.labels.clone(),
            incarnation: self.run,
            ..StoreRecord::default()
        }
    }

    /// What it says of itself when its replicas have so many bytes.
    #[must_use]
    pub fn stats(&self, replicas: u64, bytes: u64) -> StoreStats {
        let used_bytes = self.plan.foreign_bytes.saturating_add(bytes);
        StoreStats {
            capacity_bytes: self.plan.capacity_bytes,
            available_bytes: self.plan.capacity_bytes.saturating_sub(used_bytes),
            used_bytes,
            regions: replicas,
            is_busy: self.is_slow,
            ..StoreStats::default()
        }
    }
}
