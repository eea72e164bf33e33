//! What would become of the cluster if stores came or went: a [`Forecast`] of what people ask about, told as numbers.
//!
//! A store that would come is as large as the largest that is up, and empty. One that would go is emptied, as it would be by
//! the command for that.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_base::{RegionId, Span, StoreId};

use crate::{
    forecast::{Bounds, Forecast, Outlook, Premises},
    meta::{StoreRecord, StoreState},
    policy::{PolicyRefusal, check_label},
    rule::{Labels, RuleRefusal},
    schedule::COOL_DOWN,
    view::{StoreLoad, StoreStats, StoreStatus},
};

/// Stores that may be supposed to come.
pub const COME_MAX: usize = 64;
/// How far is looked ahead at least and at most.
pub const HORIZONS: (Span, Span) = (Span::from_millis(60_000), Span::from_millis(7 * 86_400_000));

/// Regions of a cluster of which a plan is made: it holds all of them once more.
pub const REGIONS_MAX: usize = 200_000;
/// Replicas that move in a plan, and looks for something to do. Both are far beyond what people ask about; they keep what
/// never ends, such as a shuffle, from a processor.
const MOVES_MAX: usize = 100_000;
const LOOKS_MAX: u64 = 1_000_000;

/// What would be other than it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Supposition {
    /// The labels of each store that would come.
    pub come: Vec<Vec<(String, String)>>,
    /// Stores that would be emptied.
    pub go: BTreeSet<StoreId>,
}

/// Why something cannot be supposed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SuppositionRefusal {
    /// There is no such store.
    #[error("there is no store {store}: there are the stores {known}")]
    Unknown {
        /// Which.
        store: StoreId,
        /// Those that have not left.
        known: String,
    },
    /// It has left for good.
    #[error("store {0} was removed for good already")]
    Gone(StoreId),
    /// Those that stay could not hold all replicas.
    #[error(
        "store{} {go} cannot be emptied: {stay} would stay that are up, and a region has {replicas} replicas, one to a \
         store. {possible}",
        if go.contains(' ') { "s" } else { "" }
    )]
    TooFew {
        /// Those that would go.
        go: String,
        /// How many would stay, with those that would come.
        stay: usize,
        /// What a region needs.
        replicas: u32,
        /// What would be possible, in a sentence.
        possible: String,
    },
    /// Those that stay could not keep a rule.
    #[error("without what would go {0}")]
    Needed(RuleRefusal),
    /// Too many would come.
    #[error("{0} stores cannot be supposed to come: at most {COME_MAX} are possible")]
    TooMany(usize),
    /// No store could have such a label.
    #[error(transparent)]
    Label(#[from] PolicyRefusal),
    /// The cluster is too large to be copied.
    #[error(
        "a plan is made of a cluster of up to {REGIONS_MAX} regions, and this one has {0}. What would move is told by the \
         shares of stores: flotilla ctl stores"
    )]
    TooManyRegions(usize),
    /// It cannot be looked so far ahead, or not so little.
    #[error(
        "the time that is looked ahead cannot be {} s: from {} s to {} s are possible",
        .0.as_millis() / 1_000, HORIZONS.0.as_millis() / 1_000, HORIZONS.1.as_millis() / 1_000
    )]
    Horizon(Span),
}

/// A store, as it is and as it would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProspectStore {
    /// Which; an id that nobody has yet where it would come.
    pub id: StoreId,
    /// Whether it would come.
    pub is_new: bool,
    /// Whether it would be emptied, or is being emptied already.
    pub is_leaving: bool,
    /// What it carries.
    pub before: StoreLoad,
    /// What it would carry.
    pub after: StoreLoad,
}

/// What would become of the cluster.
#[derive(Clone, Debug)]
pub struct Prospect {
    /// The stores by id: those that would come are the last.
    pub stores: Vec<ProspectStore>,
    /// What would happen.
    pub outlook: Outlook,
    /// Why each scheduler that runs would do no more.
    pub idle: Vec<(&'static str, String)>,
}

impl Prospect {
    /// Looks ahead, until nothing is left to do or for `horizon`. It takes long in a large cluster.
    ///
    /// # Errors
    /// [`SuppositionRefusal`]
    pub fn of(
        mut premises: Premises,
        supposition: &Supposition,
        horizon: Span,
    ) -> Result<Self, SuppositionRefusal> {
        if horizon < HORIZONS.0 || horizon > HORIZONS.1 {
            return Err(SuppositionRefusal::Horizon(horizon));
        }
        let first_new = premises.suppose(supposition)?;
        let members = premises.stores.values();
        let members = members.filter(|record| record.state != StoreState::Tombstone);
        let members: Vec<(StoreId, StoreState)> =
            members.map(|record| (record.id, record.state)).collect();
        let schedulers: Vec<&'static str> =
            premises.policy.schedulers.keys().map(|name| name.name()).collect();
        let mut forecast = Forecast::new(premises);
        let before = forecast.sight().view.regions().loads();
        // Longer than the time for which what has moved stays: nothing comes behind that.
        let quiet = (COOL_DOWN + COOL_DOWN).min(Span(horizon.0 / 2));
        let bounds = Bounds { time: horizon, moves: MOVES_MAX, looks: LOOKS_MAX };
        let outlook = forecast.run(quiet, bounds).clone();
        let load = |loads: &BTreeMap<StoreId, StoreLoad>, id| loads.get(&id).copied();
        let stores = members.into_iter().map(|(id, state)| ProspectStore {
            id,
            is_new: id >= first_new,
            is_leaving: state == StoreState::Offline,
            before: load(&before, id).unwrap_or_default(),
            after: load(&outlook.loads, id).unwrap_or_default(),
        });
        let stores: Vec<ProspectStore> = stores.collect();
        let decisions = forecast.mind().decisions();
        let idle = schedulers
            .into_iter()
            .filter_map(|name| Some((name, decisions.idle(name)?.why.clone())))
            .collect();
        Ok(Self { stores, outlook, idle })
    }

    /// Regions that would not be as they are to be, with the reason.
    #[must_use]
    pub fn stuck(&self) -> &[(RegionId, String)] {
        &self.outlook.stuck
    }
}

impl Premises {
    /// Makes them what is supposed. The first id of stores that come.
    fn suppose(&mut self, supposition: &Supposition) -> Result<StoreId, SuppositionRefusal> {
        let Supposition { come, go } = supposition;
        if come.len() > COME_MAX {
            return Err(SuppositionRefusal::TooMany(come.len()));
        }
        for (key, value) in come.iter().flatten() {
            check_label(key, value)?;
        }
        self.check_going(come.len(), go)?;
        for store in go {
            if let Some(record) = self.stores.get_mut(store) {
                record.state = StoreState::Offline;
            }
        }
        let last = self.stores.keys().next_back().map_or(0, |last| last.get());
        let disk = self.statuses.values().map(|it| it.stats.capacity_bytes).max();
        let capacity_bytes = disk.unwrap_or_default();
        let stats =
            StoreStats { capacity_bytes, available_bytes: capacity_bytes, ..StoreStats::default() };
        for (id, labels) in (last + 1..).map(StoreId).zip(come) {
            let record = StoreRecord { id, labels: labels.clone(), ..StoreRecord::default() };
            self.stores.insert(id, record);
            self.statuses.insert(id, StoreStatus { stats, ..StoreStatus::default() });
        }
        self.check_rules(go)?;
        Ok(StoreId(last + 1))
    }

    /// Whether the rules can be kept without those that go.
    fn check_rules(&self, go: &BTreeSet<StoreId>) -> Result<(), SuppositionRefusal> {
        let is_there = |store: &&StoreRecord| self.statuses.contains_key(&store.id);
        let labels = |wanted: &dyn Fn(&StoreRecord) -> bool| -> Vec<Labels<'_>> {
            let stores = self.stores.values().filter(is_there).filter(|store| wanted(store));
            stores.map(|store| self.policy.labels(store)).collect()
        };
        let stay = labels(&|store| store.state == StoreState::Up);
        let gone = labels(&|store| go.contains(&store.id));
        self.policy.check_departure(&stay, &gone).map_err(SuppositionRefusal::Needed)
    }

    fn check_going(&self, come: usize, go: &BTreeSet<StoreId>) -> Result<(), SuppositionRefusal> {
        for store in go {
            match self.stores.get(store).map(|record| record.state) {
                Some(StoreState::Up | StoreState::Offline) => {}
                Some(StoreState::Tombstone) => return Err(SuppositionRefusal::Gone(*store)),
                None => {
                    let members = self.stores.values();
                    let stay = members.filter(|record| record.state != StoreState::Tombstone);
                    let known = listed(stay.map(|record| record.id));
                    return Err(SuppositionRefusal::Unknown { store: *store, known });
                }
            }
        }
        let is_up = |record: &&StoreRecord| {
            record.state == StoreState::Up && self.statuses.contains_key(&record.id)
        };
        let up = self.stores.values().filter(is_up).count() + come;
        let going = go.iter().filter_map(|store| self.stores.get(store)).filter(is_up).count();
        let (stay, replicas) = (up - going, self.policy.replicas_max());
        let needed = replicas as usize;
        if going == 0 || stay >= needed {
            return Ok(());
        }
        let missing = needed - stay;
        let stores = if missing == 1 { "store comes" } else { "stores come" };
        let all = format!("if {missing} more {stores}");
        let possible = match up.saturating_sub(needed) {
            0 => format!("None can go; it is possible {all}"),
            some if going == 1 => format!("{some} can go; it is possible {all}"),
            some => format!("{some} of them can go, or all {all}"),
        };
        Err(SuppositionRefusal::TooFew { go: listed(go.iter().copied()), stay, replicas, possible })
    }
}

fn listed(stores: impl Iterator<Item = StoreId>) -> String {
    let ids: Vec<String> = stores.map(|store| store.to_string()).collect();
    ids.join(", ")
}
