//! Values as tools expect them in JSON: upper-case hex keys, sizes and durations as text, dates.

use std::fmt::Write as _;

/// A key as upper-case hex.
pub(super) fn hex(key: &[u8]) -> String {
    key.iter().fold(String::with_capacity(2 * key.len()), |mut text, byte| {
        let _strings_take_any_text = write!(text, "{byte:02X}");
        text
    })
}

/// A span of seconds as Go writes durations: `3h2m1s`.
pub(super) fn duration(seconds: u64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

/// A moment of the wall clock in UTC, RFC 3339.
pub(super) fn date(unix_ms: u64) -> String {
    let (seconds, millis) = (unix_ms / 1000, unix_ms % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day of the day so many days after 1970-01-01, in the Gregorian calendar. Years are
/// counted from 1 March, so that the leap day is the last day of its year.
const fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_number_is_a_date_and_a_duration(number: u64) {
            prop_assert!(date(number).ends_with('Z') && duration(number).ends_with('s'));
        }
    }

    #[test]
    fn as_tools_expect() {
        assert_eq!(hex(b"\x00az\xff"), "00617AFF");
        assert_eq!(duration(10_921), "3h2m1s");
        assert_eq!(duration(61), "1m1s");
        assert_eq!(duration(0), "0s");
        assert_eq!(date(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(date(951_827_696_789), "2000-02-29T12:34:56.789Z");
        assert_eq!(date(1_767_225_599_999), "2025-12-31T23:59:59.999Z");
    }
}
