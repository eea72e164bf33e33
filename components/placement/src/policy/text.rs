//! Durations as tools of the public protocol write them: `30m0s`.

use flotilla_base::Span;

/// A duration as Go writes it: `1h2m3s`, or `500ms` below a second.
#[must_use]
pub fn duration_text(span: Span) -> String {
    let millis = span.as_millis();
    let (seconds, rest_ms) = (millis / 1_000, millis % 1_000);
    if seconds == 0 && rest_ms > 0 {
        return format!("{rest_ms}ms");
    }
    let (hours, minutes, rest) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let fraction = if rest_ms == 0 { String::new() } else { format!(".{rest_ms:03}") };
    let fraction = fraction.trim_end_matches('0');
    match (hours, minutes) {
        (0, 0) => format!("{rest}{fraction}s"),
        (0, _) => format!("{minutes}m{rest}{fraction}s"),
        _ => format!("{hours}h{minutes}m{rest}{fraction}s"),
    }
}

/// Reads what [`duration_text`] writes, and each of its parts alone: `90s`, `1h30m`, `500ms`. `None` for anything else,
/// and for more than a hundred years.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Span> {
    const MILLIS_MAX: u64 = 100 * 366 * 86_400_000;
    let mut rest = text;
    let mut millis: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, behind) = rest.split_at(digits);
        let unit_chars = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, next) = behind.split_at(unit_chars);
        let unit_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        millis = millis.checked_add(scaled(number, unit_ms)?)?;
        rest = next;
    }
    (millis <= MILLIS_MAX).then(|| Span::from_millis(millis))
}

/// A number with at most three digits behind its point, times `unit`.
pub(super) fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 3 || fraction.contains('.') {
        return None;
    }
    let thousandths: u64 = format!("{fraction:0<3}").parse().ok()?;
    let whole: u64 = whole.parse().ok()?;
    whole.checked_mul(unit)?.checked_add(thousandths.checked_mul(unit)? / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_and_read_alike() {
        for (millis, text) in [
            (0, "0s"),
            (500, "500ms"),
            (1_500, "1.5s"),
            (10_000, "10s"),
            (90_000, "1m30s"),
            (1_800_000, "30m0s"),
            (10_921_000, "3h2m1s"),
        ] {
            assert_eq!(duration_text(Span::from_millis(millis)), text);
            assert_eq!(parse_duration(text), Some(Span::from_millis(millis)), "{text}");
        }
        assert_eq!(parse_duration("1h30m"), Some(Span::from_millis(5_400_000)));
        assert_eq!(parse_duration("0.25h"), Some(Span::from_millis(900_000)));
        for text in ["", "10", "s", "1d", "1.2345s", "-1s", "1..5s", "99999999999h", "1m1"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
