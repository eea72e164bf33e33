//! Newtypes for ids and positions: no bare `u64` crosses a function border.

use std::fmt;

macro_rules! number_words {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The bare number, for encoders and counters.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// Zero stands for "none" wherever the wire has no optional field.
            #[must_use]
            pub const fn is_none(self) -> bool {
                self.0 == 0
            }

            /// The number after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl From<u64> for $name {
            fn from(number: u64) -> Self {
                Self(number)
            }
        }
    )*};
}

number_words! {
    /// Identity of a cluster: non-zero, random, drawn once at the first start of its placement driver.
    ClusterId,
    /// Identity of a store; handed out by the placement driver, never reused.
    StoreId,
    /// Identity of a region; one number space with peers and stores.
    RegionId,
    /// Identity of a peer: one replica of one region on one store, never reused.
    PeerId,
    /// A raft term.
    Term,
    /// A position in a raft log; the first entry has index 1.
    Index,
    /// The half of a region epoch that counts changes of the range.
    Version,
    /// The half of a region epoch that counts changes of the membership.
    ConfVer,
    /// One run of a store or placement driver process: a number that only grows between runs.
    Incarnation,
}
