//! Labels of stores: where a store stands, and what it is made of, for placement.

use std::str::FromStr;

/// One label. Its form is the one that the placement driver of TiKV takes, so that its tools can say it: letters and
/// digits of ASCII, `-`, `_`, `.` and `/`; a name begins with a letter or a digit, perhaps with a `$` before it, and
/// ends with one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    name: String,
    value: String,
}

/// Why something is no label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Nothing parts a name from a value.
    #[error("a label is a name and a value with \"=\" between them")]
    NoPair,
    /// There is no name.
    #[error("a label has a name in front of its \"=\"")]
    NoName,
    /// There is no value. Tools take that for the wish to remove the label.
    #[error("a label has a value behind its \"=\"; one that is not wanted is left out")]
    NoValue,
    /// The name begins with this.
    #[error(
        "{0:?} does not begin the name of a label: a letter or a digit does, or \"$\" before one"
    )]
    Begin(char),
    /// The name ends with this.
    #[error("{0:?} does not end the name of a label: a letter or a digit does")]
    End(char),
    /// The name has this in it.
    #[error(
        "{0:?} is not allowed in the name of a label: letters, digits, \"-\", \"_\", \".\" and \"/\" are"
    )]
    InName(char),
    /// The value has this in it.
    #[error(
        "{0:?} is not allowed in the value of a label: letters, digits, \"-\", \"_\", \".\" and \"/\" are"
    )]
    InValue(char),
}

const fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.' | '/')
}

impl Label {
    /// A label of this name and value.
    ///
    /// # Errors
    /// What is wrong with them, and with which character.
    pub fn new(name: &str, value: &str) -> Result<Self, LabelError> {
        check_name(name)?;
        if value.is_empty() {
            return Err(LabelError::NoValue);
        }
        match value.chars().find(|letter| !is_plain(*letter)) {
            Some(letter) => Err(LabelError::InValue(letter)),
            None => {
                debug_assert!(
                    !name.contains(['=', ',']),
                    "a list of labels is taken apart at these"
                );
                Ok(Self { name: name.to_owned(), value: value.to_owned() })
            }
        }
    }

    /// What is said about the store, as `zone`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is for this store, as `z1`.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
}

fn check_name(name: &str) -> Result<(), LabelError> {
    let word = name.strip_prefix('$').unwrap_or(name);
    let (first, last) = (word.chars().next(), word.chars().next_back());
    if let Some(letter) = word.chars().find(|letter| !is_plain(*letter)) {
        return Err(LabelError::InName(letter));
    }
    match (first, last) {
        (None, _) | (_, None) => Err(LabelError::NoName),
        (Some(first), _) if !first.is_ascii_alphanumeric() => Err(LabelError::Begin(first)),
        (_, Some(last)) if !last.is_ascii_alphanumeric() => Err(LabelError::End(last)),
        (Some(_), Some(_)) => Ok(()),
    }
}

impl FromStr for Label {
    type Err = LabelError;

    /// `name=value`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.split_once('=').ok_or(LabelError::NoPair)?;
        Self::new(name, value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_refused_names_the_character() {
        for (text, error) in [
            ("zone", LabelError::NoPair),
            ("=z1", LabelError::NoName),
            ("$=z1", LabelError::NoName),
            ("zone=", LabelError::NoValue),
            ("zone=z=1", LabelError::InValue('=')),
            ("zone=z 1", LabelError::InValue(' ')),
            ("zone=zürich", LabelError::InValue('ü')),
            ("zo:ne=z1", LabelError::InName(':')),
            ("$$zone=z1", LabelError::InName('$')),
            ("-zone=z1", LabelError::Begin('-')),
            ("zone/=z1", LabelError::End('/')),
            ("$.=z1", LabelError::Begin('.')),
        ] {
            assert_eq!(text.parse::<Label>(), Err(error), "{text}");
        }
        assert!(LabelError::InValue('ü').to_string().starts_with("'ü' is not allowed"));
        for text in ["zone=z1", "$mode=m", "a=-", "topology.kubernetes.io/zone=eu_west-1.a/b"] {
            let label: Label = text.parse().expect("a label");
            assert_eq!(format!("{}={}", label.name(), label.value()), text);
        }
    }

    proptest! {
        /// The rule once more, as a list of what must hold.
        #[test]
        fn what_is_taken_keeps_to_the_form(name in "[$]{0,2}[-a_./é]{0,4}", value in "[-a_./= é]{0,3}") {
            let word = name.strip_prefix('$').unwrap_or(&name);
            let ends = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
            let plain = |text: &str| text.chars().all(|letter| "-a_./".contains(letter));
            let is_name = plain(word) && ends(word.chars().next()) && ends(word.chars().last());
            let is_value = plain(&value) && !value.is_empty();
            prop_assert_eq!(Label::new(&name, &value).is_ok(), is_name && is_value);
        }
    }
}
