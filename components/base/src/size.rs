//! Sizes with units, as people write them.

use std::{fmt, str::FromStr};

/// A number of bytes. Text needs a unit (`8MiB`, `512KiB`, `100B`): a bare number is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no size: a whole number and a unit is needed, for example \"8MiB\"")]
pub struct ByteSizeError {
    text: String,
}

impl ByteSize {
    /// So many mebibytes.
    #[must_use]
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ByteSizeError { text: text.to_owned() };
        let (suffix, unit) =
            UNITS.iter().find(|(suffix, _)| text.ends_with(suffix)).ok_or_else(refused)?;
        let number = text[..text.len() - suffix.len()].trim_end();
        let count: u64 = number.parse().map_err(|_not_a_number| refused())?;
        count.checked_mul(*unit).map(Self).ok_or_else(refused)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |unit: u64| self.0 >= unit;
        let (suffix, unit) = UNITS.iter().find(|(_, unit)| fits(*unit)).unwrap_or(&("B", 1));
        if self.0.is_multiple_of(*unit) {
            return write!(f, "{}{suffix}", self.0 / unit);
        }
        let tenths = u128::from(self.0) * 10 / u128::from(*unit);
        write!(f, "{}.{}{suffix}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_forms() {
        assert_eq!("8MiB".parse(), Ok(ByteSize::mib(8)));
        assert_eq!("100 B".parse(), Ok(ByteSize(100)));
        for bad in ["8", "MiB", "-1KiB", "1.5GiB", "99999999TiB", "8mb"] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
        assert_eq!(ByteSize(1536).to_string(), "1.5KiB");
        assert_eq!(ByteSize::mib(64).to_string(), "64MiB");
        assert_eq!(ByteSize(0).to_string(), "0B");
    }

    proptest! {
        #[test]
        fn what_is_read_is_shown_in_a_form_that_is_read(text in "[0-9]{1,9} ?[KMGT]iB|[0-9 +.-]{0,22}([KMGT]i)?[Bé]?|.*") {
            if let Ok(size) = text.parse::<ByteSize>() {
                let shown = size.to_string();
                prop_assert!(shown.contains('.') || shown.parse() == Ok(size), "{}", shown);
            }
        }
    }
}
