//! How one store is to be treated.

use flotilla_base::{
    StoreId,
    codec::{CodecError, RecordReader, RecordWriter},
};

use crate::{
    meta::{StoreRecord, read_pairs, write_pairs},
    rule::{Labels, RuleRefusal},
};

/// The weight of a store that is like any other, thousandths.
const WEIGHT_USUAL_PERMILLE: u32 = 1_000;
const LABEL_CHARS_MAX: usize = 63;

/// How one store is to be treated. A store that registers does not change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorePolicy {
    /// Labels that were set by hand; they go before those with which the store registers.
    pub labels: Vec<(String, String)>,
    /// Its share of leads, thousandths of that of a usual store. At 0 it gets none from the scheduler of balance.
    pub leader_weight_permille: u32,
    /// Its share of data, thousandths of that of a usual store.
    pub region_weight_permille: u32,
    /// Peers that may come to it in a minute, where that is not the number in the settings.
    pub add_peers_per_minute: Option<u32>,
    /// Peers that may leave it in a minute, where that is not the number in the settings.
    pub remove_peers_per_minute: Option<u32>,
    /// It is being worked on until this time, milliseconds since 1970: it leads nothing, and is not taken for down. 0
    /// where it is not.
    pub maintained_until_unix_ms: u64,
}

impl Default for StorePolicy {
    fn default() -> Self {
        Self::USUAL
    }
}

impl StorePolicy {
    /// How a store is treated of which nobody has said anything.
    pub const USUAL: Self = Self {
        labels: Vec::new(),
        leader_weight_permille: WEIGHT_USUAL_PERMILLE,
        region_weight_permille: WEIGHT_USUAL_PERMILLE,
        add_peers_per_minute: None,
        remove_peers_per_minute: None,
        maintained_until_unix_ms: 0,
    };

    /// Whether it is being worked on.
    #[must_use]
    pub const fn is_maintained(&self, unix_ms: u64) -> bool {
        unix_ms < self.maintained_until_unix_ms
    }

    /// The labels of the store that is treated so: what people have set goes first.
    #[must_use]
    pub fn labels_of<'a>(&'a self, record: &'a StoreRecord) -> Labels<'a> {
        Labels { by_hand: &self.labels, registered: &record.labels }
    }

    /// Whether a store may be treated so.
    ///
    /// # Errors
    /// [`PolicyRefusal::Label`]
    pub fn check(&self) -> Result<(), PolicyRefusal> {
        self.labels.iter().try_for_each(|(key, value)| check_label(key, value))
    }

    pub(crate) fn write(&self, writer: &mut RecordWriter) {
        write_pairs(&self.labels, writer);
        writer.number(self.leader_weight_permille.into());
        writer.number(self.region_weight_permille.into());
        // Above by one, so that 0 stands for "not set".
        for limit in [self.add_peers_per_minute, self.remove_peers_per_minute] {
            writer.number(limit.map_or(0, |limit| u64::from(limit) + 1));
        }
        writer.number(self.maintained_until_unix_ms);
    }

    pub(crate) fn read(reader: &mut RecordReader) -> Result<Self, CodecError> {
        let labels = read_pairs(reader)?;
        let leader_weight_permille = read_small(reader)?;
        let region_weight_permille = read_small(reader)?;
        let mut limit = || {
            let above = reader.number()?;
            let small =
                |limit| u32::try_from(limit).map_err(|_large| CodecError::Meaningless("limit"));
            above.checked_sub(1).map(small).transpose()
        };
        let (add_peers_per_minute, remove_peers_per_minute) = (limit()?, limit()?);
        let maintained_until_unix_ms = reader.number()?;
        Ok(Self {
            labels,
            leader_weight_permille,
            region_weight_permille,
            add_peers_per_minute,
            remove_peers_per_minute,
            maintained_until_unix_ms,
        })
    }
}

/// Why stores, schedulers and placement rules are not so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyRefusal {
    /// A label that tools could not write down.
    #[error(
        "label \"{key}={value}\" cannot be: {why}. Keys and values are letters, digits, '-', '_', '.' and '/', at most \
         {LABEL_CHARS_MAX} of them; a key begins with a letter, a digit or '$'"
    )]
    Label {
        /// Its key.
        key: String,
        /// Its value.
        value: String,
        /// What is wrong.
        why: String,
    },
    /// No store with this id is registered.
    #[error("there is no store {0}")]
    UnknownStore(StoreId),
    /// It has not left for good.
    #[error(
        "store {0} is no tombstone: only a store that is gone for good is forgotten. Drain or remove it first, and wait until \
         nothing is left on it"
    )]
    NotGone(StoreId),
    /// A rule could not be kept without it.
    #[error("store {store} cannot be removed: without it {rule}")]
    Needed {
        /// The store that was to go.
        store: StoreId,
        /// The rule.
        rule: RuleRefusal,
    },
    /// The scheduler has to be told for which stores it is.
    #[error("the {0} needs a store: say which one")]
    NoStore(super::SchedulerName),
    /// The scheduler is for all stores.
    #[error("the {0} is for all stores: none can be named")]
    NamesStore(super::SchedulerName),
    /// A placement rule cannot be so.
    #[error(transparent)]
    Rule(#[from] RuleRefusal),
    /// Somebody else has changed the placement rules.
    #[error(
        "the placement rules have changed meanwhile: they are at revision {known}, and revision {asked} was to be \
         replaced. Read them again"
    )]
    StaleRules {
        /// The revision that was to be replaced.
        asked: u64,
        /// The one in force.
        known: u64,
    },
}

/// Whether a label may be so.
///
/// # Errors
/// [`PolicyRefusal::Label`] says what is wrong with it.
pub fn check_label(key: &str, value: &str) -> Result<(), PolicyRefusal> {
    let refuse = |why: String| {
        Err(PolicyRefusal::Label { key: key.to_owned(), value: value.to_owned(), why })
    };
    let is_inner = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let body = key.strip_prefix('$').unwrap_or(key);
    if body.is_empty() {
        return refuse("it has no key".to_owned());
    }
    if value.is_empty() {
        return refuse("it has no value".to_owned());
    }
    if let Some(strange) = body.chars().chain(value.chars()).find(|c| !is_inner(*c)) {
        return refuse(format!("{strange:?} is in it"));
    }
    let begins_well = key.starts_with(|c: char| c == '$' || c.is_ascii_alphanumeric());
    if !begins_well {
        return refuse("its key begins with another character".to_owned());
    }
    if key.len() > LABEL_CHARS_MAX || value.len() > LABEL_CHARS_MAX {
        return refuse("it is too long".to_owned());
    }
    Ok(())
}

fn read_small(reader: &mut RecordReader) -> Result<u32, CodecError> {
    u32::try_from(reader.number()?).map_err(|_large| CodecError::Meaningless("weight"))
}
