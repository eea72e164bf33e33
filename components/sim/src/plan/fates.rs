//! What becomes of stores for good, where the placement driver decides what that means for their regions.

use flotilla_base::{Span, StoreId};

use crate::pd::event::Wish;

/// The label that says where a store is.
pub const ZONE: &str = "zone";

/// What becomes of a store at a fixed moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// When.
    pub after: Span,
    /// Which store.
    pub store: StoreId,
}

/// Stores that come and go, and what people want of the placement driver.
#[derive(Clone, Debug, Default)]
pub struct Fates {
    /// Whether the placement driver's orders reach the stores, and the stores tell all that it decides by; else they are
    /// lost.
    pub are_orders_obeyed: bool,
    /// Stores that begin later than the others.
    pub late: Vec<Fate>,
    /// Stores that end for good.
    pub lost: Vec<Fate>,
    /// In how many zones the stores are, in turn; zero where they do not say.
    pub zones: u64,
    /// What somebody wants of the placement driver, and from when on.
    pub wishes: Vec<(Span, Wish)>,
}

impl Fates {
    /// The labels of a store.
    #[must_use]
    pub fn labels_of(&self, store: StoreId) -> Vec<(String, String)> {
        let label = |zone: u64| (ZONE.to_owned(), format!("z{}", zone + 1));
        self.zone_of(store).map(label).into_iter().collect()
    }

    /// The zone of a store, counted from 0.
    #[must_use]
    pub const fn zone_of(&self, store: StoreId) -> Option<u64> {
        (store.get() - 1).checked_rem(self.zones)
    }

    /// Only so many stores are left.
    pub fn keep(&mut self, stores: u64) {
        let exists = |store: StoreId| store.get() <= stores;
        self.late.retain(|fate| exists(fate.store));
        self.lost.retain(|fate| exists(fate.store));
        self.wishes.retain(|(_, wish)| wish.store().is_none_or(exists));
    }
}
