//! Whether rules make sense, each by itself and together.

use std::collections::BTreeSet;

use super::{
    COUNT_MAX, LOCATION_LABELS_MAX, LabelConstraint, REPLICAS_MAX, RULES_MAX, Role, Rule, RuleBook,
};
use crate::policy::check_label;

/// Why rules cannot be so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("placement rule {rule:?} cannot be: {why}. {possible}")]
pub struct RuleRefusal {
    /// The rule by group and name, or what stands in its place.
    pub rule: String,
    /// What is wrong, in a sentence.
    pub why: String,
    /// What would be possible, in a sentence.
    pub possible: String,
}

impl RuleRefusal {
    fn new(rule: String, why: impl Into<String>, possible: impl Into<String>) -> Self {
        Self { rule, why: why.into(), possible: possible.into() }
    }
}

impl RuleBook {
    /// Whether the rules make sense.
    ///
    /// # Errors
    /// [`RuleRefusal`]: the first that does not, with the reason.
    pub fn check(&self) -> Result<(), RuleRefusal> {
        let all = || "*".to_owned();
        let (rules, groups) = (self.rules().len(), self.groups().len());
        if rules > RULES_MAX || groups > RULES_MAX {
            let why = format!("there would be {rules} rules in {groups} groups");
            return Err(RuleRefusal::new(all(), why, format!("At most {RULES_MAX} are possible")));
        }
        let mut names = BTreeSet::new();
        for group in self.groups() {
            if group.id.is_empty() || !names.insert(group.id.as_str()) {
                let why = format!("its group {:?} is there twice, or has no name", group.id);
                let possible = "Each group has a name of its own";
                return Err(RuleRefusal::new(format!("{}/", group.id), why, possible));
            }
        }
        let mut names = BTreeSet::new();
        for rule in self.rules() {
            rule.check()?;
            if !names.insert((&rule.group_id, &rule.id)) {
                let possible = "Each rule has an id of its own within its group";
                return Err(rule.refuse("there is another of its name", possible));
            }
        }
        self.check_segments()
    }

    /// What applies together has to make sense together.
    fn check_segments(&self) -> Result<(), RuleRefusal> {
        for (range, rules) in self.segments().filter(|(_, rules)| !rules.is_empty()) {
            let count = |is_counted: &dyn Fn(Role) -> bool| -> u32 {
                let counted = rules.iter().filter(|rule| is_counted(rule.role));
                counted.fold(0, |sum, rule| sum.saturating_add(rule.count))
            };
            let names: Vec<String> = rules.iter().map(|rule| rule.name()).collect();
            let refuse = |why: String, possible: String| {
                Err(RuleRefusal::new(
                    names.join(" "),
                    format!("for the keys {range} {why}"),
                    possible,
                ))
            };
            let leaders = count(&|role| role == Role::Leader);
            if leaders > 1 {
                let why = format!("{leaders} leaders would be asked for");
                return refuse(why, "A region has one leader: one rule of role leader".to_owned());
            }
            if count(&Role::may_lead) == 0 {
                let possible = "Another rule of role voter is needed there, such as pd/default";
                return refuse("nobody could lead".to_owned(), possible.to_owned());
            }
            let replicas = count(&|_any| true);
            if replicas > REPLICAS_MAX {
                let possible = format!("At most {REPLICAS_MAX} are possible in one range");
                return refuse(format!("{replicas} replicas would be asked for"), possible);
            }
        }
        Ok(())
    }
}

impl Rule {
    fn refuse(&self, why: impl Into<String>, possible: impl Into<String>) -> RuleRefusal {
        RuleRefusal::new(self.name(), why, possible)
    }

    fn check(&self) -> Result<(), RuleRefusal> {
        if self.group_id.is_empty() || self.id.is_empty() {
            return Err(self.refuse("it has no name", "Give it a group_id and an id"));
        }
        if self.count == 0 || self.count > COUNT_MAX {
            let possible = format!("A number from 1 to {COUNT_MAX} is possible");
            return Err(self.refuse(format!("its count is {}", self.count), possible));
        }
        if self.role == Role::Leader && self.count > 1 {
            let possible = "A region has one leader: give it the count 1";
            return Err(self.refuse(format!("it asks for {} leaders", self.count), possible));
        }
        if self.range.is_empty() {
            let why = format!("its keys {} end before they begin", self.range);
            return Err(self.refuse(why, "An end above the start is possible, or none"));
        }
        self.constraints.iter().try_for_each(|constraint| self.check_constraint(constraint))?;
        self.check_locations()
    }

    fn check_constraint(&self, constraint: &LabelConstraint) -> Result<(), RuleRefusal> {
        let LabelConstraint { key, op, values } = constraint;
        if op.takes_values() && values.is_empty() {
            let why = format!("it asks for {key} {} without a value", op.name());
            return Err(self.refuse(why, "Give it values, or ask for exists or notExists"));
        }
        self.check_label(key, "any")?;
        values.iter().try_for_each(|value| self.check_label(key, value))
    }

    fn check_label(&self, key: &str, value: &str) -> Result<(), RuleRefusal> {
        let possible = "Labels as stores have them are possible";
        check_label(key, value).map_err(|refusal| self.refuse(refusal.to_string(), possible))
    }

    fn check_locations(&self) -> Result<(), RuleRefusal> {
        let labels = &self.location_labels;
        labels.iter().try_for_each(|key| self.check_label(key, "any"))?;
        let is_twice = |(at, key): (usize, &String)| labels.iter().take(at).any(|it| it == key);
        if labels.len() > LOCATION_LABELS_MAX || labels.iter().enumerate().any(is_twice) {
            let why = format!("its location labels are {}", labels.join(","));
            let possible = format!("At most {LOCATION_LABELS_MAX} are possible, each once");
            return Err(self.refuse(why, possible));
        }
        let level = &self.isolation_level;
        if !level.is_empty() && !labels.contains(level) {
            let labels =
                if labels.is_empty() { "none is set".to_owned() } else { labels.join(",") };
            let possible = format!("One of its location labels is possible ({labels}), or nothing");
            return Err(self.refuse(format!("its isolation level is {level:?}"), possible));
        }
        Ok(())
    }
}
