//! Placement rules: how many replicas a range of keys has, what each counts for, and on which stores they are.
//!
//! Rules are what people have decided, so they are replicated, all of them at once ([`RuleBook`]). For each range of keys
//! some of them apply, in an order: group index, group id, rule index, rule id. A rule that overrides drops the earlier
//! ones of its group, a group that overrides drops all earlier groups. Where no rule applies there is one all the same:
//! as many voters as `max-replicas` says, spread over the locations of the settings; it is shown as `pd/default`.
//!
//! A region lies between two borders of rules. One that does not is split there before anything else.
//!
//! Reading order: this file, [`label`], [`book`], [`fit`](mod@fit), [`edit`].

mod book;
mod edit;
pub mod fit;
mod label;
mod record;
mod refusal;

use flotilla_base::KeyRange;

pub use book::{Border, Demand, RuleBook};
pub use edit::RuleEdit;
pub(crate) use fit::isolation;
pub use fit::{Fit, Isolation, Member, MemberSet, RuleFit, fit};
pub use label::{LabelConstraint, LabelOp, Labels};
pub use refusal::RuleRefusal;

/// Rules that there are at most, and groups of them.
pub const RULES_MAX: usize = 1_024;
/// Replicas that one rule asks for at most.
pub const COUNT_MAX: u32 = 7;
/// Replicas that all rules together ask for in one range at most.
pub const REPLICAS_MAX: u32 = 16;
/// Kinds of places that one rule knows at most.
pub const LOCATION_LABELS_MAX: usize = 8;

/// What a replica counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It leads.
    Leader,
    /// It votes, and may lead.
    Voter,
    /// It votes, and does not lead.
    Follower,
    /// It has the data, and does not vote.
    Learner,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Leader, Self::Voter, Self::Follower, Self::Learner];

    /// The word of the public protocol.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Voter => "voter",
            Self::Follower => "follower",
            Self::Learner => "learner",
        }
    }

    /// The role of this name.
    ///
    /// # Errors
    /// [`RuleRefusal`] names those that there are.
    pub fn parse(text: &str) -> Result<Self, RuleRefusal> {
        let known = Self::ALL.into_iter().find(|role| role.name() == text);
        known.ok_or_else(|| RuleRefusal {
            rule: String::new(),
            why: format!("its role is {text:?}"),
            possible: "leader, voter, follower and learner are possible".to_owned(),
        })
    }

    /// Whether who has it votes.
    #[must_use]
    pub const fn votes(self) -> bool {
        !matches!(self, Self::Learner)
    }

    /// Whether who has it may lead.
    #[must_use]
    pub const fn may_lead(self) -> bool {
        matches!(self, Self::Leader | Self::Voter)
    }
}

/// How many replicas of the regions in a range are where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The group that it is of.
    pub group_id: String,
    /// Its name within the group.
    pub id: String,
    /// Its place in the order within the group; equal ones follow by id.
    pub index: u32,
    /// Whether the earlier rules of its group do not apply where it does.
    pub is_override: bool,
    /// The keys.
    pub range: KeyRange,
    /// What the replicas count for.
    pub role: Role,
    /// How many of them, 1 to [`COUNT_MAX`].
    pub count: u32,
    /// What their stores have to be like; all of these.
    pub constraints: Vec<LabelConstraint>,
    /// Keys of labels, the widest place first: they are to be as far apart as can be.
    pub location_labels: Vec<String>,
    /// No two of them are in one place of this kind, even if there is nowhere else; empty for "as far apart as can be".
    /// One of `location_labels`.
    pub isolation_level: String,
}

impl Rule {
    /// Its whole name.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.group_id, self.id)
    }
}

/// How the rules of a group stand to those of others. A group that nobody has described has index 0 and overrides nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleGroup {
    /// Its name.
    pub id: String,
    /// Its place in the order of groups; equal ones follow by id.
    pub index: u32,
    /// Whether no earlier group applies where one of its rules does.
    pub is_override: bool,
}

#[cfg(test)]
pub(crate) mod tests;
