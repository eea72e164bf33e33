//! All rules, and which of them apply to which keys.

use std::cmp::Ordering;

use flotilla_base::{Key, KeyRange, Region};

use super::{LabelConstraint, Role, Rule, RuleGroup};
use crate::policy::Policy;

/// The group and the name of what applies where no rule does.
const DEFAULT: (&str, &str) = ("pd", "default");

/// All rules and groups. A change replaces all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleBook {
    /// Grows by one with each change; 0 where there was none.
    revision: u64,
    /// In their order.
    groups: Vec<RuleGroup>,
    /// In the order in which they apply.
    rules: Vec<Rule>,
    /// Ascending, from the first key on; made from the rest. Empty where there are no rules.
    segments: Vec<Segment>,
}

/// Keys to which the same rules apply: from `start` to the next segment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Segment {
    start: Key,
    /// Numbers of rules, in their order.
    rules: Vec<usize>,
}

/// A key at which other rules begin to apply, inside of what was asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Border(pub Key);

/// What one rule asks for, wherever it stands.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// The group of the rule.
    pub group_id: &'a str,
    /// Its name.
    pub id: &'a str,
    /// What the replicas count for.
    pub role: Role,
    /// How many.
    pub count: usize,
    /// What their stores have to be like.
    pub constraints: &'a [LabelConstraint],
    /// Kinds of places, the widest first.
    pub location_labels: &'a [String],
    /// The kind of place of which no two may be in the same one, as a number into `location_labels`.
    pub isolation: Option<usize>,
}

impl RuleBook {
    /// The rules in their order, at a revision. Whether they make sense says [`Self::check`].
    #[must_use]
    pub fn new(revision: u64, mut groups: Vec<RuleGroup>, mut rules: Vec<Rule>) -> Self {
        groups.sort_by(|a, b| (a.index, &a.id).cmp(&(b.index, &b.id)));
        let place = |rule: &Rule| groups.iter().position(|group| group.id == rule.group_id);
        let index = |rule: &Rule| place(rule).map_or(0, |at| groups[at].index);
        let compare = |a: &Rule, b: &Rule| -> Ordering {
            let key = |rule: &'_ Rule| (index(rule), rule.index);
            let ((group_a, own_a), (group_b, own_b)) = (key(a), key(b));
            let groups = group_a.cmp(&group_b).then_with(|| a.group_id.cmp(&b.group_id));
            groups.then(own_a.cmp(&own_b)).then_with(|| a.id.cmp(&b.id))
        };
        rules.sort_by(compare);
        let mut book = Self { revision, groups, rules, segments: Vec::new() };
        book.segments = book.cut();
        book
    }

    /// How often they were changed.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// The groups, in their order.
    #[must_use]
    pub fn groups(&self) -> &[RuleGroup] {
        &self.groups
    }

    /// The rules, in the order in which they apply.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The same at another revision.
    #[must_use]
    pub fn at_revision(self, revision: u64) -> Self {
        Self { revision, ..self }
    }

    /// The ranges to which the same rules apply, with these, ascending; what lies in none has the default.
    pub fn segments(&self) -> impl Iterator<Item = (KeyRange, Vec<&Rule>)> {
        let ends = self.segments.iter().skip(1).map(|next| next.start.clone());
        let ranges = self.segments.iter().zip(ends.chain([Key::new()]));
        ranges.map(|(segment, end)| {
            let range = KeyRange::new(segment.start.clone(), end);
            (range, segment.rules.iter().map(|at| &self.rules[*at]).collect())
        })
    }

    /// The rules that apply to the keys of `range`, in their order; none where the default does.
    ///
    /// # Errors
    /// The first [`Border`] inside.
    pub fn rules_for(&self, range: &KeyRange) -> Result<impl Iterator<Item = &Rule>, Border> {
        match self.borders(range).next() {
            Some(border) => Err(Border(border.clone())),
            None => Ok(self.rules_at(&range.start)),
        }
    }

    /// The keys inside `range` at which other rules begin to apply, ascending. That it begins at one does not count.
    pub fn borders<'a>(&'a self, range: &'a KeyRange) -> impl Iterator<Item = &'a Key> {
        let behind = self.segments.partition_point(|segment| segment.start <= range.start);
        let starts = self.segments[behind..].iter().map(|segment| &segment.start);
        starts.take_while(|start| range.contains(start))
    }

    fn rules_at(&self, key: &Key) -> impl Iterator<Item = &Rule> {
        let behind = self.segments.partition_point(|segment| segment.start <= *key);
        let segment = behind.checked_sub(1).map(|at| &self.segments[at]);
        segment.into_iter().flat_map(|it| it.rules.iter()).map(|at| &self.rules[*at])
    }

    /// Cuts the keys where other rules begin to apply.
    fn cut(&self) -> Vec<Segment> {
        if self.rules.is_empty() {
            return Vec::new();
        }
        let ends = self.rules.iter().map(|rule| &rule.range.end).filter(|end| !end.is_empty());
        let starts = self.rules.iter().map(|rule| &rule.range.start);
        let mut keys: Vec<Key> = starts.chain(ends).cloned().chain([Key::new()]).collect();
        keys.sort();
        keys.dedup();
        let mut segments: Vec<Segment> =
            keys.into_iter().map(|start| Segment { rules: self.applying(&start), start }).collect();
        segments.dedup_by(|next, kept| next.rules == kept.rules);
        debug_assert!(segments.is_sorted_by_key(|segment| &segment.start), "ascending");
        debug_assert!(segments.first().is_some_and(|first| first.start.is_empty()), "all keys");
        segments
    }

    /// The rules that hold `key` in their range, without those that others of these override.
    fn applying(&self, key: &Key) -> Vec<usize> {
        let mut applying: Vec<usize> = Vec::new();
        for (at, rule) in self.rules.iter().enumerate().filter(|(_, it)| it.range.contains(key)) {
            let is_of_group = |other: &usize| self.rules[*other].group_id == rule.group_id;
            if self.overrides(&rule.group_id) {
                applying.retain(is_of_group);
            }
            if rule.is_override {
                applying.retain(|other| !is_of_group(other));
            }
            applying.push(at);
        }
        applying
    }

    fn overrides(&self, group: &str) -> bool {
        self.groups.iter().any(|known| known.id == group && known.is_override)
    }
}

impl Rule {
    pub(super) fn demand(&self) -> Demand<'_> {
        Demand {
            group_id: &self.group_id,
            id: &self.id,
            role: self.role,
            count: self.count as usize,
            constraints: &self.constraints,
            location_labels: &self.location_labels,
            isolation: self.location_labels.iter().position(|it| *it == self.isolation_level),
        }
    }
}

impl Policy {
    /// What is asked for where no rule applies.
    #[must_use]
    pub fn default_demand(&self) -> Demand<'_> {
        let locations = &self.settings.locations;
        Demand {
            group_id: DEFAULT.0,
            id: DEFAULT.1,
            role: Role::Voter,
            count: self.max_replicas as usize,
            constraints: &[],
            location_labels: &locations.labels,
            isolation: locations.labels.iter().position(|it| *it == locations.isolation),
        }
    }

    /// What is asked of a region, in the order of the rules; never nothing.
    ///
    /// # Errors
    /// The first [`Border`] inside of it. The guard region, which is never split, has the rules of its first key.
    pub fn demands(&self, region: &Region) -> Result<Vec<Demand<'_>>, Border> {
        let rules = &self.rules;
        let border = rules.borders(&region.range).next().filter(|_| !region.is_guard());
        if let Some(border) = border {
            return Err(Border(border.clone()));
        }
        let mut demands: Vec<Demand<'_>> =
            rules.rules_at(&region.range.start).map(Rule::demand).collect();
        if demands.is_empty() {
            demands.push(self.default_demand());
        }
        Ok(demands)
    }
}
