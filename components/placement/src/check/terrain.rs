//! The ground that regions are judged on: which stores there are, where they stand and what is asked of regions. How far
//! apart replicas can be at best follows from it, once for all regions of a rule.
//!
//! Where a whole place is lost, or there are fewer than replicas, no region is as far apart as its labels could say; with
//! what there is all of them may be as far apart as can be, and none of them needs a look at all stores to know.

use std::collections::BTreeMap;

use flotilla_base::StoreId;

use crate::{
    fleet::{Fleet, Seat},
    meta::StoreState,
    operator::change::refuses,
    policy::{Policy, Settings},
    rule::{Demand, Isolation, Labels},
    view::StoreHealth,
};

/// A store, as far as it matters where replicas may be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ground {
    store: StoreId,
    state: StoreState,
    health: StoreHealth,
    by_hand: Vec<(String, String)>,
    registered: Vec<(String, String)>,
}

impl Ground {
    fn of(seat: &Seat<'_>) -> Self {
        Self {
            store: seat.record.id,
            state: seat.record.state,
            health: seat.health,
            by_hand: seat.policy.labels.clone(),
            registered: seat.record.labels.clone(),
        }
    }

    fn is_of(&self, seat: &Seat<'_>) -> bool {
        (self.store, self.state, self.health) == (seat.record.id, seat.record.state, seat.health)
            && self.by_hand == seat.policy.labels
            && self.registered == seat.record.labels
    }

    fn labels(&self) -> Labels<'_> {
        Labels { by_hand: &self.by_hand, registered: &self.registered }
    }
}

/// What is asked of regions, as far as a change of it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    settings: Settings,
    max_replicas: u32,
    rules: u64,
}

impl Asked {
    fn is_of(&self, policy: &Policy) -> bool {
        (self.max_replicas, self.rules) == (policy.max_replicas, policy.rules.revision())
            && self.settings == policy.settings
    }
}

/// The ground, as it was at the last [`Self::survey`].
#[derive(Debug, Default)]
pub struct Terrain {
    /// Grows with each change; 0 before the first survey.
    revision: u64,
    asked: Option<Asked>,
    grounds: Vec<Ground>,
    /// By the name of a rule in its group, and then by the number of replicas: how far apart they are at best.
    best: BTreeMap<String, BTreeMap<String, Vec<Isolation>>>,
}

impl Terrain {
    /// Looks at the stores. What is known stays where nothing has changed.
    pub fn survey(&mut self, fleet: &Fleet<'_>) {
        let policy = fleet.sight.policy;
        let is_asked = self.asked.as_ref().is_some_and(|asked| asked.is_of(policy));
        let is_same = is_asked
            && self.grounds.len() == fleet.seats().count()
            && self.grounds.iter().zip(fleet.seats()).all(|(ground, seat)| ground.is_of(seat));
        if is_same {
            return;
        }
        let (settings, rules) = (policy.settings.clone(), policy.rules.revision());
        self.asked = Some(Asked { settings, max_replicas: policy.max_replicas, rules });
        self.grounds = fleet.seats().map(Ground::of).collect();
        self.best.clear();
        self.revision += 1;
    }

    /// Another number for each change.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// How far apart so many replicas are at best, on stores that are up and as the rule asks. Before the first survey:
    /// as far as labels could say.
    pub(super) fn best(&mut self, demand: &Demand<'_>, replicas: usize) -> Isolation {
        if self.revision == 0 || replicas > demand.count {
            return Isolation::best(demand, replicas);
        }
        let known =
            self.best.get(demand.group_id).is_some_and(|group| group.contains_key(demand.id));
        if !known {
            let is_up = |ground: &&Ground| refuses(ground.state, ground.health).is_none();
            let labels = self.grounds.iter().filter(is_up).map(Ground::labels);
            let fitting = labels.filter(|labels| labels.satisfy(demand.constraints));
            let best = Isolation::best_of(demand, fitting.collect());
            let group = self.best.entry(demand.group_id.to_owned()).or_default();
            group.insert(demand.id.to_owned(), best);
        }
        let best = self.best.get(demand.group_id).and_then(|group| group.get(demand.id));
        let best = best.map(Vec::as_slice).unwrap_or_default();
        debug_assert!(!best.is_empty(), "none of them is a number, too");
        best.get(replicas).or_else(|| best.last()).copied().unwrap_or_default()
    }
}
