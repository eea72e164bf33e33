//! Labels of stores, and what a rule asks of them.

/// What the label of a store has to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelOp {
    /// One of the values.
    In,
    /// None of the values; a store without the label has none of them.
    NotIn,
    /// Any value.
    Exists,
    /// There is no such label.
    NotExists,
}

impl LabelOp {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::In, Self::NotIn, Self::Exists, Self::NotExists];

    /// The word of the public protocol.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::NotIn => "notIn",
            Self::Exists => "exists",
            Self::NotExists => "notExists",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|op| op.name() == text)
    }

    /// Whether it is said of values.
    #[must_use]
    pub const fn takes_values(self) -> bool {
        matches!(self, Self::In | Self::NotIn)
    }
}

/// What a rule asks of one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelConstraint {
    /// Its key.
    pub key: String,
    /// What is asked.
    pub op: LabelOp,
    /// The values that it is asked of.
    pub values: Vec<String>,
}

impl LabelConstraint {
    /// Whether a store with these labels is as it asks.
    #[must_use]
    pub fn matches(&self, labels: Labels<'_>) -> bool {
        let value = labels.get(&self.key);
        let is_listed = || self.values.iter().any(|listed| listed == value);
        match self.op {
            LabelOp::In => !value.is_empty() && is_listed(),
            LabelOp::NotIn => value.is_empty() || !is_listed(),
            LabelOp::Exists => !value.is_empty(),
            LabelOp::NotExists => value.is_empty(),
        }
    }
}

/// For people: `zone in [z1, z2]`.
impl std::fmt::Display for LabelConstraint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.key, self.op.name())?;
        if self.op.takes_values() {
            write!(f, " [{}]", self.values.join(", "))?;
        }
        Ok(())
    }
}

/// The labels of a store.
#[derive(Clone, Copy, Debug, Default)]
pub struct Labels<'a> {
    /// Those that were set by hand; they go before the others.
    pub by_hand: &'a [(String, String)],
    /// Those with which it registered.
    pub registered: &'a [(String, String)],
}

impl<'a> Labels<'a> {
    /// The value of this key; empty where there is none.
    #[must_use]
    pub fn get(&self, key: &str) -> &'a str {
        let mut all = self.by_hand.iter().chain(self.registered);
        all.find(|(own, _)| own == key).map_or("", |(_, value)| value)
    }

    /// Whether a store with these labels takes nothing that does not ask for it by a label: stores for another kind of
    /// work, in the words of the public protocol.
    fn are_reserved_from(&self, constraints: &[LabelConstraint]) -> bool {
        let is_reserved = |key: &str| key == "engine" || key.starts_with('$');
        let is_asked = |key: &str| constraints.iter().any(|constraint| constraint.key == key);
        let mut keys = self.by_hand.iter().chain(self.registered).map(|(key, _)| key.as_str());
        keys.any(|key| is_reserved(key) && !is_asked(key))
    }

    /// Whether a store with these labels is as all constraints ask.
    #[must_use]
    pub fn satisfy(&self, constraints: &[LabelConstraint]) -> bool {
        constraints.iter().all(|constraint| constraint.matches(*self))
            && !self.are_reserved_from(constraints)
    }

    /// The widest kind of place, as a number into `kinds`, in which two stores are not in the same one; as many as there are
    /// where they are in the same of all. Stores that do not say where they are are in one place.
    #[must_use]
    pub fn parting(&self, other: Self, kinds: &[String]) -> usize {
        let differs = |kind: &String| self.get(kind) != other.get(kind);
        kinds.iter().position(differs).unwrap_or(kinds.len())
    }
}
