//! What regions and stores are asked for in a second, made of what each report says of the time since the last one.

/// What was asked for in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Bytes of keys and values that were written.
    pub written_bytes: u64,
    /// The same that were read.
    pub read_bytes: u64,
    /// Keys that were written.
    pub written_keys: u64,
    /// Keys that were read.
    pub read_keys: u64,
    /// In so many seconds.
    pub interval_s: u64,
}

/// What is asked for in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Bytes of keys and values that are written.
    pub written_bytes: u64,
    /// The same that are read.
    pub read_bytes: u64,
    /// Keys that are written.
    pub written_keys: u64,
    /// Keys that are read.
    pub read_keys: u64,
}

/// What is asked for in a second, with what it is known from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// The rates, smoothed.
    pub rates: Rates,
    /// Flows that were taken, up to 255. Those of another shape of the region do not count.
    pub flows: u8,
}

/// A flow over less than that says nothing about a rate, and one over more nothing about now. The bounds are those of the
/// public protocol.
const INTERVAL_S: std::ops::RangeInclusive<u64> = 3..=300;
/// Whatever is said to be more than that in a second is nonsense.
const RATE_MAX: u64 = 1 << 50;
/// A flow counts with its length, what was known before with so many seconds: half of what has changed shows after about
/// twenty of them.
const MEMORY_S: u64 = 30;
/// After so many flows in one shape a region is known well enough to be moved for its load.
pub(crate) const SETTLED_FLOWS: u8 = 3;
/// So many bytes cost as much as a key.
const BYTES_PER_KEY: u64 = 1_024;

impl Flow {
    /// The rates of a flow that makes sense.
    #[must_use]
    pub fn rates(&self) -> Option<Rates> {
        let rate = |sum: u64| {
            let rate = sum.checked_div(self.interval_s)?;
            (rate <= RATE_MAX).then_some(rate)
        };
        INTERVAL_S.contains(&self.interval_s).then_some(())?;
        Some(Rates {
            written_bytes: rate(self.written_bytes)?,
            read_bytes: rate(self.read_bytes)?,
            written_keys: rate(self.written_keys)?,
            read_keys: rate(self.read_keys)?,
        })
    }
}

impl Rates {
    /// What comes together in so many seconds.
    #[must_use]
    pub const fn flow(&self, interval_s: u64) -> Flow {
        Flow {
            written_bytes: self.written_bytes.saturating_mul(interval_s),
            read_bytes: self.read_bytes.saturating_mul(interval_s),
            written_keys: self.written_keys.saturating_mul(interval_s),
            read_keys: self.read_keys.saturating_mul(interval_s),
            interval_s,
        }
    }

    /// Each half of what it was.
    #[must_use]
    pub const fn half(&self) -> Self {
        Self {
            written_bytes: self.written_bytes / 2,
            read_bytes: self.read_bytes / 2,
            written_keys: self.written_keys / 2,
            read_keys: self.read_keys / 2,
        }
    }

    fn smoothed(self, newer: Self, interval_s: u64) -> Self {
        let blend = |old: u64, new: u64| {
            debug_assert!(old.max(new) <= RATE_MAX && interval_s <= *INTERVAL_S.end());
            (old * MEMORY_S + new * interval_s) / (MEMORY_S + interval_s)
        };
        Self {
            written_bytes: blend(self.written_bytes, newer.written_bytes),
            read_bytes: blend(self.read_bytes, newer.read_bytes),
            written_keys: blend(self.written_keys, newer.written_keys),
            read_keys: blend(self.read_keys, newer.read_keys),
        }
    }

    /// What writes cost each replica; see [`Self::leader_heat`].
    #[must_use]
    pub const fn write_heat(&self) -> u64 {
        self.written_keys + self.written_bytes / BYTES_PER_KEY
    }

    /// What reads cost the leader; see [`Self::leader_heat`].
    #[must_use]
    pub const fn read_heat(&self) -> u64 {
        self.read_keys + self.read_bytes / BYTES_PER_KEY
    }

    /// What it costs the store that leads the region, as **heat**: 1 is a key that is read in a second, or a KiB.
    ///
    /// A read costs the leader alone. A write costs each replica about as much as a read, for its log and its data; and
    /// the leader the same once more, since it takes the request and sends it to the others. Cores of stores are not
    /// measured: the heat of two stores can be compared where they are of one kind.
    #[must_use]
    pub const fn leader_heat(&self) -> u64 {
        self.read_heat() + 2 * self.write_heat()
    }

    /// What it costs each other store with a replica; see [`Self::leader_heat`].
    #[must_use]
    pub const fn replica_heat(&self) -> u64 {
        self.write_heat()
    }

    /// What goes with the lead from one store to another.
    #[must_use]
    pub const fn lead_heat(&self) -> u64 {
        self.leader_heat() - self.replica_heat()
    }
}

impl Load {
    /// A flow more is known. One that makes no sense changes nothing.
    #[must_use]
    pub fn and(self, flow: &Flow) -> Self {
        let Some(newer) = flow.rates() else { return self };
        let rates = match self.flows {
            0 => newer,
            _ => self.rates.smoothed(newer, flow.interval_s),
        };
        Self { rates, flows: self.flows.saturating_add(1) }
    }

    /// The region has other borders. What was known of it stands until the next flow, so that the sums of its stores
    /// have no hole.
    #[must_use]
    pub const fn reshaped(self) -> Self {
        Self { flows: 0, ..self }
    }

    /// Whether it is known well enough to decide by it.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.flows >= SETTLED_FLOWS
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flow(written_keys: u64, interval_s: u64) -> Flow {
        Flow { written_keys, interval_s, ..Flow::default() }
    }

    #[test]
    fn intervals_that_say_nothing_change_nothing() {
        let known = Load::default().and(&flow(1_000, 10));
        assert_eq!((known.rates.written_keys, known.flows), (100, 1));
        for nonsense in [flow(9, 0), flow(9, 2), flow(9, 301), flow(u64::MAX, 10)] {
            assert_eq!(known.and(&nonsense), known, "{nonsense:?}");
        }
        assert_eq!(known.and(&flow(300, 3)).flows, 2);
        assert_eq!(known.and(&flow(300, 300)).flows, 2);
    }

    #[test]
    fn a_change_shows_soon_and_a_moment_does_not() {
        let mut load = Load::default();
        assert!(!load.is_settled());
        for _report in 0..10 {
            load = load.and(&flow(1_000, 10));
        }
        assert_eq!(load.rates.written_keys, 100, "what is even stays so");
        assert!(load.is_settled());
        let rush = load.and(&flow(5_000, 10));
        assert_eq!(rush.rates.written_keys, 200, "a quarter of it");
        // In one report or in three: what counts is the time.
        let (one, mut three) = (load.and(&flow(30_000, 30)), load);
        for _report in 0..3 {
            three = three.and(&flow(10_000, 10));
        }
        assert_eq!((one.rates.written_keys, three.rates.written_keys), (550, 619));
        let split = load.reshaped();
        assert_eq!((split.rates, split.is_settled()), (load.rates, false));
        assert_eq!(split.and(&flow(300, 10)).rates.written_keys, 30, "its own at once");
    }

    #[test]
    fn heat_is_what_a_request_costs() {
        let read = Rates { read_keys: 100, read_bytes: 100 << 10, ..Rates::default() };
        assert_eq!((read.leader_heat(), read.replica_heat(), read.lead_heat()), (200, 0, 200));
        let write = Rates { written_keys: 100, written_bytes: 50 << 10, ..Rates::default() };
        assert_eq!((write.leader_heat(), write.replica_heat(), write.lead_heat()), (300, 150, 150));
    }

    proptest! {
        #[test]
        fn no_report_breaks_the_sums(flows in prop::collection::vec((any::<u64>(), any::<u64>(), 0..400_u64), 0..40)) {
            let mut load = Load::default();
            for (keys, bytes, interval_s) in flows {
                let flow = Flow {
                    written_bytes: bytes,
                    read_bytes: bytes / 2,
                    written_keys: keys,
                    read_keys: keys,
                    interval_s,
                };
                load = load.and(&flow);
                let rates = load.rates;
                prop_assert!(rates.written_keys.max(rates.written_bytes) <= RATE_MAX);
                prop_assert_eq!(rates.lead_heat() + rates.replica_heat(), rates.leader_heat());
            }
        }
    }
}
