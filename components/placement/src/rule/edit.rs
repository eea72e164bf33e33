//! Changes of rules: what becomes of all of them, and whether there are stores for it.
//!
//! Where there is no rule at all, `pd/default` applies: as many voters as the settings say. The first rule that somebody
//! adds stands beside it, so from then on it is a rule as any other. Where nothing but the default is left, there is no rule
//! again, and the settings say once more what it is.

use flotilla_base::KeyRange;

use super::{Demand, Labels, Rule, RuleBook, RuleGroup, RuleRefusal};
use crate::policy::Policy;

/// A change of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleEdit {
    /// There is this rule, in place of the one of its name.
    Put(Box<Rule>),
    /// There is no rule of this name.
    Delete {
        /// Its group.
        group_id: String,
        /// Its name, or the beginning of several.
        id: String,
        /// Whether all go whose names begin so.
        is_prefix: bool,
    },
    /// A group stands so to the others.
    PutGroup(RuleGroup),
    /// Nobody has described this group.
    DeleteGroup(String),
}

impl Policy {
    /// What applies where no rule does, as a rule.
    #[must_use]
    pub fn default_rule(&self) -> Rule {
        let Demand { group_id, id, role, location_labels, .. } = self.default_demand();
        Rule {
            group_id: group_id.to_owned(),
            id: id.to_owned(),
            index: 0,
            is_override: false,
            range: KeyRange::all(),
            role,
            count: self.max_replicas,
            constraints: Vec::new(),
            location_labels: location_labels.to_vec(),
            isolation_level: self.settings.locations.isolation.clone(),
        }
    }

    /// The rule of the settings, where it applies to some keys.
    fn default_in_use(&self) -> Option<Rule> {
        let rules = self.rules.rules();
        let is_covered = !rules.is_empty() && self.rules.segments().all(|(_, it)| !it.is_empty());
        (!is_covered).then(|| self.default_rule())
    }

    /// All rules in their order, with the default where it applies to some keys.
    #[must_use]
    pub fn all_rules(&self) -> Vec<Rule> {
        self.default_in_use().into_iter().chain(self.rules.rules().iter().cloned()).collect()
    }

    /// Replicas that a region has at most: so many stores are needed in any case.
    #[must_use]
    pub fn replicas_max(&self) -> u32 {
        let of_rules = |(_, rules): (_, Vec<&Rule>)| match rules.as_slice() {
            [] => self.max_replicas,
            rules => rules.iter().fold(0, |sum: u32, rule| sum.saturating_add(rule.count)),
        };
        self.rules.segments().map(of_rules).max().unwrap_or(self.max_replicas)
    }

    /// Whether these stores are enough for every rule, the default included.
    ///
    /// # Errors
    /// [`RuleRefusal`]: the first rule for which there are too few, or several that ask for the same.
    pub fn check_stores(&self, stores: &[Labels<'_>]) -> Result<(), RuleRefusal> {
        if let Some(default) = self.default_in_use() {
            default.check_stores(stores)?;
        }
        self.rules.check_stores(&RuleBook::default(), stores)
    }

    /// Whether those that `stay` are enough when others `go`. What was not possible with all of them, either, keeps nobody
    /// from going.
    ///
    /// # Errors
    /// [`RuleRefusal`]: the first rule for which too few would stay.
    pub fn check_departure<'a>(
        &self,
        stay: &[Labels<'a>],
        go: &[Labels<'a>],
    ) -> Result<(), RuleRefusal> {
        self.check_stores(stay).or_else(|refusal| match self.check_stores(&[stay, go].concat()) {
            Ok(()) => Err(refusal),
            Err(_anyhow) => Ok(()),
        })
    }

    /// What becomes of the rules. Whether they make sense says [`RuleBook::check`], and whether there are stores for them
    /// [`RuleBook::check_stores`].
    ///
    /// # Errors
    /// [`RuleRefusal`] where no rule would be left.
    pub fn edit_rules(&self, edits: Vec<RuleEdit>) -> Result<RuleBook, RuleRefusal> {
        let default = self.default_rule();
        let mut rules = self.rules.rules().to_vec();
        if rules.is_empty() {
            rules.push(default.clone());
        }
        let mut groups = self.rules.groups().to_vec();
        for edit in edits {
            match edit {
                RuleEdit::Put(rule) => {
                    rules.retain(|old| !is_named(old, &rule.group_id, &rule.id));
                    rules.push(*rule);
                }
                RuleEdit::Delete { group_id, id, is_prefix: false } => {
                    rules.retain(|old| !is_named(old, &group_id, &id));
                }
                RuleEdit::Delete { group_id, id, is_prefix: true } => {
                    rules.retain(|old| old.group_id != group_id || !old.id.starts_with(&id));
                }
                RuleEdit::PutGroup(group) => {
                    groups.retain(|old| old.id != group.id);
                    groups.push(group);
                }
                RuleEdit::DeleteGroup(id) => groups.retain(|old| old.id != id),
            }
        }
        if rules.is_empty() {
            return Err(RuleRefusal {
                rule: default.name(),
                why: "no rule would be left".to_owned(),
                possible: "Add a rule of role voter in its place at the same time, or give it another count"
                    .to_owned(),
            });
        }
        if rules == [default] {
            rules.clear();
        }
        Ok(RuleBook::new(self.rules.revision(), groups, rules))
    }
}

fn is_named(rule: &Rule, group_id: &str, id: &str) -> bool {
    rule.group_id == group_id && rule.id == id
}

impl RuleBook {
    /// Whether there are stores for what is other than `before`, among these.
    ///
    /// # Errors
    /// [`RuleRefusal`]: the first rule for which there are too few, or several that ask for the same.
    pub fn check_stores(&self, before: &Self, stores: &[Labels<'_>]) -> Result<(), RuleRefusal> {
        let is_new = |rule: &Rule| !before.rules().contains(rule);
        for rule in self.rules().iter().filter(|rule| is_new(rule)) {
            rule.check_stores(stores)?;
        }
        for (range, rules) in self.segments() {
            if rules.iter().any(|rule| is_new(rule)) {
                check_together(&range, &rules, stores)?;
            }
        }
        Ok(())
    }
}

impl Rule {
    fn check_stores(&self, stores: &[Labels<'_>]) -> Result<(), RuleRefusal> {
        let refuse =
            |why: String, possible: String| Err(RuleRefusal { rule: self.name(), why, possible });
        let fitting: Vec<Labels<'_>> =
            stores.iter().copied().filter(|store| store.satisfy(&self.constraints)).collect();
        let (asked, fit, all) = (self.count as usize, fitting.len(), stores.len());
        if fit < asked {
            let constraints: Vec<String> =
                self.constraints.iter().map(ToString::to_string).collect();
            let constraints = match constraints.join(" and ") {
                none if none.is_empty() => "no label that keeps others away".to_owned(),
                some => some,
            };
            let why =
                format!("{fit} of {all} stores have {constraints}, and {asked} are asked for");
            return refuse(why, self.possible(fit, stores));
        }
        let Some(level) = self.demand().isolation else { return Ok(()) };
        let kinds = &self.location_labels[..=level];
        let mut places: Vec<Vec<&str>> = fitting
            .iter()
            .map(|store| kinds.iter().map(|kind| store.get(kind)).collect())
            .collect();
        places.sort();
        places.dedup();
        if places.len() < asked {
            let (level, places) = (&self.isolation_level, places.len());
            let why = format!(
                "the stores for it are in {places} places of the kind {level}, and {asked} are asked for"
            );
            let possible = format!(
                "A count of {places} is possible, stores in other places, a narrower isolation level, or none"
            );
            return refuse(why, possible);
        }
        Ok(())
    }

    fn possible(&self, fit: usize, stores: &[Labels<'_>]) -> String {
        if fit > 0 {
            return format!("A count of {fit} is possible, or more stores that have it");
        }
        let values = |key: &str| {
            let mut values: Vec<&str> = stores
                .iter()
                .map(|store| store.get(key))
                .filter(|value| !value.is_empty())
                .collect();
            values.sort_unstable();
            values.dedup();
            match values.join(", ") {
                none if none.is_empty() => format!("No store has a label {key}"),
                some => format!("Stores have the {key} {some}"),
            }
        };
        let told: Vec<String> = self.constraints.iter().map(|it| values(&it.key)).collect();
        format!("{}: label stores first, or ask for what they have", told.join(". "))
    }
}

/// Whether all rules of a range find stores together: a store holds one replica of a region.
fn check_together(
    range: &KeyRange,
    rules: &[&Rule],
    stores: &[Labels<'_>],
) -> Result<(), RuleRefusal> {
    let demands = rules.iter().flat_map(|rule| std::iter::repeat_n(*rule, rule.count as usize));
    let demands: Vec<&Rule> = demands.collect();
    let mut taken: Vec<Option<usize>> = vec![None; stores.len()];
    let served = (0..demands.len())
        .filter(|demand| {
            seat(*demand, &demands, stores, &mut taken, &mut vec![false; stores.len()])
        })
        .count();
    if served == demands.len() {
        return Ok(());
    }
    let names: Vec<String> = rules.iter().map(|rule| rule.name()).collect();
    Err(RuleRefusal {
        rule: names.join(" "),
        why: format!(
            "for the keys {range} {} replicas would be asked for, and there are stores for {served} of them, one to a store",
            demands.len()
        ),
        possible: "Fewer replicas are possible, or more stores that have the labels".to_owned(),
    })
}

/// Finds a store for a replica, letting others take another one for it; each store is tried once.
fn seat(
    demand: usize,
    demands: &[&Rule],
    stores: &[Labels<'_>],
    taken: &mut [Option<usize>],
    tried: &mut [bool],
) -> bool {
    for at in 0..stores.len() {
        if tried[at] || !stores[at].satisfy(&demands[demand].constraints) {
            continue;
        }
        tried[at] = true;
        let is_free = match taken[at] {
            None => true,
            Some(other) => seat(other, demands, stores, taken, tried),
        };
        if is_free {
            taken[at] = Some(demand);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::tests::{book, rule};

    fn put(text: &str) -> RuleEdit {
        RuleEdit::Put(Box::new(rule(text)))
    }

    fn delete(group_id: &str, id: &str, is_prefix: bool) -> RuleEdit {
        RuleEdit::Delete { group_id: group_id.to_owned(), id: id.to_owned(), is_prefix }
    }

    fn names(rules: &[Rule]) -> Vec<String> {
        rules.iter().map(Rule::name).collect()
    }

    fn with(edits: Vec<RuleEdit>) -> Policy {
        let policy = Policy::default();
        let rules = policy.edit_rules(edits).expect("possible");
        Policy { rules, ..policy }
    }

    #[test]
    fn the_default_is_there_until_others_stand_in_its_place() {
        let policy = Policy::default();
        assert_eq!(names(&policy.all_rules()), ["pd/default"]);
        let beside = with(vec![put("pd/more learner 1 m..")]);
        assert_eq!(names(beside.rules.rules()), ["pd/default", "pd/more"]);
        assert_eq!(beside.rules.check(), Ok(()));
        let back = beside.edit_rules(vec![delete("pd", "more", false)]).expect("possible");
        assert_eq!(back.rules(), [], "it is what the settings say again");
        let instead = with(vec![put("a/part voter 3 ..m"), delete("pd", "default", false)]);
        assert_eq!(names(instead.rules.rules()), ["a/part"]);
        assert_eq!(names(&instead.all_rules()), ["pd/default", "a/part"], "it applies from m on");
        let refusal = policy.edit_rules(vec![delete("pd", "", true)]).expect_err("none is left");
        let told = "placement rule \"pd/default\" cannot be: no rule would be left. Add a rule of role voter";
        assert!(refusal.to_string().starts_with(told), "{refusal}");
    }

    #[test]
    fn a_rule_takes_the_place_of_the_one_of_its_name() {
        let edits = vec![put("a/x1 voter 1"), put("a/x2 voter 1"), put("b/x1 learner 1")];
        let policy = with(edits);
        let more = policy.edit_rules(vec![put("a/x1 voter 2")]).expect("possible");
        let counts: Vec<u32> = more.rules().iter().map(|rule| rule.count).collect();
        assert_eq!(counts, [2, 1, 1, 3]);
        let fewer = policy.edit_rules(vec![delete("a", "x", true)]).expect("possible");
        assert_eq!(names(fewer.rules()), ["b/x1", "pd/default"]);
        let group = RuleGroup { id: "pd".to_owned(), index: 0, is_override: true };
        let edits = vec![RuleEdit::PutGroup(group.clone()), RuleEdit::PutGroup(group)];
        let grouped = policy.edit_rules(edits).expect("possible");
        assert_eq!(grouped.groups().len(), 1);
        let policy = Policy { rules: grouped, ..policy };
        let gone = policy.edit_rules(vec![RuleEdit::DeleteGroup("pd".to_owned())]);
        assert_eq!(gone.expect("possible").groups(), []);
    }

    /// What is said of rules where the stores have these labels.
    fn told(stores: &[&str], text: &str) -> Result<(), String> {
        let labels: Vec<Vec<(String, String)>> = stores
            .iter()
            .map(|store| {
                let pairs = store.split_whitespace().filter_map(|pair| pair.split_once('='));
                pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
            })
            .collect();
        let stores: Vec<Labels<'_>> =
            labels.iter().map(|labels| Labels { by_hand: &[], registered: labels }).collect();
        let checked = book(text).check_stores(&RuleBook::default(), &stores);
        checked.map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn a_rule_without_stores_is_refused_with_what_would_be_possible() {
        let four = ["disk=ssd zone=z1", "disk=hdd zone=z1", "disk=hdd zone=z2", "zone=z2"];
        assert_eq!(told(&four, "a/a voter 3; a/b learner 1 disk:in=ssd"), Ok(()));
        let refused = |text: &str| told(&four, text).expect_err("refused");
        assert_eq!(
            refused("a/a voter 3 disk:in=hdd"),
            "placement rule \"a/a\" cannot be: 2 of 4 stores have disk in [hdd], and 3 are asked for. A count of 2 is \
             possible, or more stores that have it"
        );
        assert_eq!(
            refused("a/a voter 1 disk:in=nvme"),
            "placement rule \"a/a\" cannot be: 0 of 4 stores have disk in [nvme], and 1 are asked for. Stores have the disk \
             hdd, ssd: label stores first, or ask for what they have"
        );
        assert!(refused("a/a voter 1 rack:exists").contains("No store has a label rack"));
        assert!(refused("a/a voter 5").contains("4 of 4 stores"));
        let together = refused("a/a voter 3; a/b learner 2");
        assert!(together.contains("5 replicas would be asked for, and there are stores for 4"));
        // Each by itself finds stores, and one of them has to make room.
        let two = "a/a voter 2 zone:in=z1; a/b learner 1 disk:in=ssd";
        assert!(refused(two).contains("stores for 2 of them"), "{}", refused(two));
        assert_eq!(told(&four, "a/a voter 1 zone:in=z1; a/b learner 1 disk:in=ssd"), Ok(()));
    }

    #[test]
    fn what_was_there_before_is_not_asked_about() {
        let before = book("a/a voter 3 disk:in=nvme");
        assert_eq!(before.check_stores(&before, &[]), Ok(()));
        let after = book("a/a voter 3 disk:in=nvme; a/b learner 1 m..");
        assert!(after.check_stores(&before, &[]).is_err());
    }
}
