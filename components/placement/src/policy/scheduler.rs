//! Which schedulers run, and with what.

use std::{collections::BTreeSet, fmt};

use flotilla_base::{
    StoreId,
    codec::{CodecError, RecordReader, RecordWriter},
};

/// The schedulers that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SchedulerName {
    /// As many leads on each store as its weight asks for.
    BalanceLeader,
    /// As much data on each store as its weight asks for.
    BalanceRegion,
    /// Load that comes together on one store is spread.
    BalanceHotRegion,
    /// Leads leave a store that has become slow.
    EvictSlowStore,
    /// Leads leave some stores.
    EvictLeader,
    /// Leads go to one store.
    GrantLeader,
    /// Leads go anywhere; for tests.
    ShuffleLeader,
    /// Replicas go anywhere; for tests.
    ShuffleRegion,
}

impl SchedulerName {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::BalanceLeader,
        Self::BalanceRegion,
        Self::BalanceHotRegion,
        Self::EvictSlowStore,
        Self::EvictLeader,
        Self::GrantLeader,
        Self::ShuffleLeader,
        Self::ShuffleRegion,
    ];
    /// Those that run in a new cluster.
    pub const USUAL: [Self; 4] =
        [Self::BalanceLeader, Self::BalanceRegion, Self::BalanceHotRegion, Self::EvictSlowStore];

    /// All of them in the order of their ranks: what one begins, those behind it leave alone.
    pub const RANKED: [Self; 8] = [
        Self::EvictSlowStore,
        Self::EvictLeader,
        Self::GrantLeader,
        Self::BalanceHotRegion,
        Self::BalanceLeader,
        Self::BalanceRegion,
        Self::ShuffleLeader,
        Self::ShuffleRegion,
    ];

    /// What its operators are called; tools of the public protocol add `-scheduler` for the scheduler itself.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BalanceLeader => "balance-leader",
            Self::BalanceRegion => "balance-region",
            Self::BalanceHotRegion => "balance-hot-region",
            Self::EvictSlowStore => "evict-slow-store",
            Self::EvictLeader => "evict-leader",
            Self::GrantLeader => "grant-leader",
            Self::ShuffleLeader => "shuffle-leader",
            Self::ShuffleRegion => "shuffle-region",
        }
    }

    /// The scheduler of this name, with or without `-scheduler`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.strip_suffix("-scheduler").unwrap_or(text);
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    /// Whether it is told which stores it is for.
    #[must_use]
    pub const fn takes_stores(self) -> bool {
        matches!(self, Self::EvictLeader | Self::GrantLeader)
    }

    const fn tag(self) -> u8 {
        self as u8
    }

    fn from_tag(tag: u8) -> Result<Self, CodecError> {
        let known = Self::ALL.into_iter().find(|it| it.tag() == tag);
        known.ok_or(CodecError::Meaningless("scheduler"))
    }

    pub(crate) fn write(self, writer: &mut RecordWriter) {
        writer.byte(self.tag());
    }

    pub(crate) fn read(reader: &mut RecordReader) -> Result<Self, CodecError> {
        Self::from_tag(reader.byte()?)
    }
}

impl fmt::Display for SchedulerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-scheduler", self.name())
    }
}

/// How a scheduler runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchedulerPolicy {
    /// It does nothing before this time, milliseconds since 1970; 0 where it is not paused.
    pub paused_until_unix_ms: u64,
    /// The stores that it is for; empty for those that are for all.
    pub stores: BTreeSet<StoreId>,
}

impl SchedulerPolicy {
    /// Whether it does nothing at the moment.
    #[must_use]
    pub const fn is_paused(&self, unix_ms: u64) -> bool {
        unix_ms < self.paused_until_unix_ms
    }

    pub(crate) fn write(&self, writer: &mut RecordWriter) {
        writer.number(self.paused_until_unix_ms).number(self.stores.len() as u64);
        for store in &self.stores {
            writer.number(store.get());
        }
    }

    pub(crate) fn read(reader: &mut RecordReader) -> Result<Self, CodecError> {
        let paused_until_unix_ms = reader.number()?;
        let count = reader.number()?;
        let mut stores = BTreeSet::new();
        for _store in 0..count {
            stores.insert(StoreId(reader.number()?));
        }
        Ok(Self { paused_until_unix_ms, stores })
    }
}
