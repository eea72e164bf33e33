//! Stores as their heartbeats show them.

use flotilla_base::{Incarnation, Moment, Span};

use super::load::{Flow, Load};

/// What a store says about itself in a heartbeat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Size of its disk.
    pub capacity_bytes: u64,
    /// What is free on it.
    pub available_bytes: u64,
    /// What the store uses.
    pub used_bytes: u64,
    /// How many regions it holds.
    pub regions: u64,
    /// Wall clock of its process start, seconds since 1970.
    pub start_unix_s: u64,
    /// Whether it asks to be left in peace.
    pub is_busy: bool,
    /// Written since the last heartbeat.
    pub written_bytes: u64,
    /// Read since the last heartbeat.
    pub read_bytes: u64,
    /// Keys written since the last heartbeat.
    pub written_keys: u64,
    /// Keys read since the last heartbeat.
    pub read_keys: u64,
    /// How long that was, in seconds.
    pub interval_s: u64,
    /// How slow its disk is: 1 as it is to be, 100 at most; 0 where it does not say.
    pub slow_score: u64,
}

impl StoreStats {
    /// What was asked for since the last heartbeat.
    #[must_use]
    pub const fn flow(&self) -> Flow {
        let Self { written_bytes, read_bytes, written_keys, read_keys, interval_s, .. } = *self;
        Flow { written_bytes, read_bytes, written_keys, read_keys, interval_s }
    }
}

/// The last heartbeat of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStatus {
    /// What it said.
    pub stats: StoreStats,
    /// What it is asked for, by its own account, whoever leads.
    pub load: Load,
    /// When it was heard.
    pub heard: Moment,
    /// The same by the wall clock, milliseconds since 1970: for people.
    pub heard_unix_ms: u64,
}

/// The line that a store keeps open for as long as it runs. It breaks with its process, and with the network
/// between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StoreLine {
    /// The run that opened it.
    run: Incarnation,
    /// Lines of that run that are open: a new one may come before the end of the old one is noticed.
    open: u32,
    /// When the last of them was opened.
    opened: Moment,
}

impl StoreLine {
    /// A line of `run` is open. Those of earlier runs do not count any more.
    pub(super) fn open(&mut self, run: Incarnation, now: Moment) {
        if run > self.run {
            *self = Self { run, ..Self::default() };
        }
        if run == self.run {
            self.open += 1;
            self.opened = now;
        }
    }

    /// A line of `run` is broken.
    pub(super) fn close(&mut self, run: Incarnation) {
        if run == self.run {
            self.open = self.open.saturating_sub(1);
        }
    }

    pub(super) const fn is_open(&self) -> bool {
        self.open > 0
    }

    pub(super) const fn opened(&self) -> Moment {
        self.opened
    }
}

/// How a store is, judged by its line and by its silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoreHealth {
    /// Heard lately.
    Up,
    /// Not heard of in this reign, which has just begun.
    Unheard,
    /// Its line is broken, or it has been silent for more than 20 seconds: no target and no source of leaders.
    Disconnected,
    /// Silent for longer than the cluster waits, which is 30 minutes unless it is set: its replicas have to be made elsewhere.
    Down,
}

impl StoreHealth {
    /// The time after the beginning of a reign in which every living store has come back to it.
    pub(super) const FIRST_CONTACT: Span = Span::from_millis(5_000);
    const DISCONNECTED_AFTER: Span = Span::from_millis(20_000);
    pub(super) const DOWN_AFTER: Span = Span::from_millis(30 * 60_000);

    /// The health of a store whose line is broken, where it is down after more than `max_down`.
    #[must_use]
    pub(super) fn cut_off(silence: Span, max_down: Span) -> Self {
        if silence > max_down { Self::Down } else { Self::Disconnected }
    }

    /// The health after so much silence of a store that could still be about to report: for so long it is not down.
    #[must_use]
    pub(super) fn after(silence: Span, max_down: Span) -> Self {
        if silence > max_down.max(Self::DISCONNECTED_AFTER) {
            Self::Down
        } else if silence > Self::DISCONNECTED_AFTER {
            Self::Disconnected
        } else {
            Self::Up
        }
    }
}

/// What a store carries, counted from region heartbeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreLoad {
    /// Regions it leads.
    pub leaders: u64,
    /// Size of the regions it leads.
    pub leader_bytes: u64,
    /// Replicas it holds.
    pub regions: u64,
    /// Size of these.
    pub region_bytes: u64,
    /// Replicas on it that lag behind.
    pub pending_peers: u64,
    /// What its leads and replicas cost it; see [`Rates::leader_heat`](super::Rates::leader_heat).
    pub heat: u64,
}
