//! What is wrong with settings, in the words of whoever has to correct them.

use std::fmt;

/// Code of a key or value that makes no sense.
pub(super) const BAD_CONFIG: &str = "FLT-1006";
/// Code of an address that anyone in the network could use.
pub(super) const EXPOSED: &str = "FLT-1008";

/// Where something stands in a file; both count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The character within it.
    pub column: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where; `None` for what is missing, or was said by a flag.
    pub place: Option<Place>,
    /// The key, and its value where that is what is wrong.
    pub what: String,
    /// Why it is wrong, and what to do.
    pub why: String,
    /// The code in the list of all errors.
    pub code: &'static str,
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The file, or whatever the settings come from.
    pub source: String,
    /// At least one, in the order of their places.
    pub problems: Vec<Problem>,
}

impl Place {
    pub(super) fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before[start..].chars().count() + 1;
        Self { line: before.matches('\n').count() + 1, column }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}:{}", self.line, self.column))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.problems.len() == 1 { "" } else { "s" };
        let (source, count) = (&self.source, self.problems.len());
        write!(f, "{source} has {count} problem{plural}; nothing was started")?;
        for Problem { place, what, why, .. } in &self.problems {
            let place = place.map_or_else(|| "-".to_owned(), |place| place.to_string());
            write!(f, "\n  {place:<6} {what:<40} {why}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
