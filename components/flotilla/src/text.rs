//! Keys and values as people write and see them, durations, and numbers with units.

use std::{net::IpAddr, ops::RangeInclusive, time::Duration};

use flotilla_base::{ByteSize, Label, limit::VALUE_BYTES_MAX};

/// The bytes that `text` stands for: `\xNN`, `\n`, `\r`, `\t`, `\0` and `\\` are single bytes, all else
/// is itself.
pub(crate) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let (byte, after) = match rest {
            [b'x', high, low, after @ ..] => {
                let byte = digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low);
                (byte.ok_or("\\x needs two hexadecimal digits")?, after)
            }
            [b'x', ..] => return Err("\\x needs two hexadecimal digits".to_owned()),
            [b'n', after @ ..] => (b'\n', after),
            [b'r', after @ ..] => (b'\r', after),
            [b't', after @ ..] => (b'\t', after),
            [b'0', after @ ..] => (0, after),
            [b'\\', after @ ..] => (b'\\', after),
            [] => return Err("it ends with a single backslash".to_owned()),
            [..] => return Err("a backslash stands before x, n, r, t, 0 or \\ only".to_owned()),
        };
        bytes.push(byte);
        rest = after;
    }
    Ok(bytes)
}

/// The bytes of pairs of hexadecimal digits.
pub(crate) fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let refused = || "it is no sequence of pairs of hexadecimal digits".to_owned();
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => {
                let byte = digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low);
                byte.ok_or_else(refused)
            }
            _ => Err(refused()),
        })
        .collect()
}

/// Pairs of hexadecimal digits, in small letters.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The argument that [`unescape`] reads back as these bytes.
pub(crate) fn argument(bytes: &[u8]) -> String {
    let mut word = if bytes.is_empty() { String::new() } else { shown(bytes) };
    // What begins with a dash would be taken for an option.
    if word.starts_with('-') {
        word.replace_range(..1, "\\x2d");
    }
    word
}

/// A word as a shell takes it for the bytes that [`unescape`] reads back.
pub(crate) fn shell_word(bytes: &[u8]) -> String {
    quoted(&argument(bytes))
}

/// A word as a shell takes it for itself.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || "_-:./,@%+=".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A count with its noun.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(count))
}

/// A span of time to read at a glance, in its largest unit.
pub(crate) fn span(span: Duration) -> String {
    match span.as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7_200 => format!("{} min", seconds / 60),
        seconds @ ..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// Bytes for a table: printable text as it is, other bytes escaped.
pub(crate) fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.is_empty() => text
            .chars()
            .map(|letter| match letter {
                '\\' => "\\\\".to_owned(),
                '\n' => "\\n".to_owned(),
                letter if letter.is_control() => {
                    letter.to_string().bytes().map(|byte| format!("\\x{byte:02x}")).collect()
                }
                letter => letter.to_string(),
            })
            .collect(),
        _ => flotilla_base::key::display(bytes),
    }
}

/// The same, cut to a number of characters with the full length behind it.
pub(crate) fn shortened(bytes: &[u8], characters_max: usize) -> String {
    let whole = shown(bytes);
    if whole.chars().count() <= characters_max {
        return whole;
    }
    let start: String = whole.chars().take(characters_max).collect();
    format!("{start}…  ({} B)", bytes.len())
}

/// A duration such as `500ms`, `10s`, `1m30s`, `2h`. A bare number is refused.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let refused =
        || format!("{text:?} is no duration: a number and a unit is needed, e.g. \"10s\"");
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(refused)?;
        let count: u64 = rest[..digits].parse().map_err(|_no_number| refused())?;
        rest = &rest[digits..];
        let unit_end = rest.find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len());
        let millis = match &rest[..unit_end] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(refused()),
        };
        let part = Duration::from_millis(count.checked_mul(millis).ok_or_else(refused)?);
        total = total.checked_add(part).ok_or_else(refused)?;
        rest = &rest[unit_end..];
    }
    if text.trim().is_empty() { Err(refused()) } else { Ok(total) }
}

/// The same, but not zero: nothing is done in no time.
pub(crate) fn positive_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it must be longer than nothing, e.g. \"10s\"".to_owned()),
        duration => Ok(duration),
    }
}

/// The size of a value: no larger than the cluster takes.
pub(crate) fn value_size(text: &str) -> Result<usize, String> {
    let bytes = size(text)?;
    if bytes > VALUE_BYTES_MAX {
        let most = ByteSize(VALUE_BYTES_MAX as u64);
        return Err(format!("a value may have at most {most}, e.g. 4KiB"));
    }
    Ok(bytes)
}

/// A label of a store.
pub(crate) fn label(text: &str) -> Result<Label, String> {
    text.parse::<Label>().map_err(|error| format!("{error}, e.g. zone=z1"))
}

/// A size: a bare number of bytes, or a number with a unit.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let bytes = match text.parse::<u64>() {
        Ok(bytes) => bytes,
        Err(_no_number) => {
            let refused = || format!("{text:?} is no size: bytes are needed, e.g. 128 or 4KiB");
            text.parse::<ByteSize>().map_err(|_no_size| refused())?.bytes()
        }
    };
    usize::try_from(bytes).map_err(|_too_large| format!("{text} is too large"))
}

/// Reads whole numbers of a range; the refusal names one that is in it.
pub(crate) fn whole<T: TryFrom<u64> + 'static>(
    range: RangeInclusive<u64>,
    example: u64,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static {
    move |text| {
        let number = text.parse::<u64>().ok().filter(|number| range.contains(number));
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            let bounds = match *most {
                u64::MAX => format!("of at least {least}"),
                most => format!("from {least} to {most}"),
            };
            format!("a whole number {bounds} is needed, e.g. {example}")
        })
    }
}

/// An integer of 64 bits with a sign.
pub(crate) fn integer(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_no_integer| "an integer of 64 bits is needed, e.g. 5 or -3".to_owned())
}

/// An IP address.
pub(crate) fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_no_address| "an IP address is needed, e.g. 127.0.0.1".to_owned())
}

/// A whole number in groups of three digits.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A latency with three significant digits.
pub(crate) fn latency(micros: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let value = micros as f64;
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..100_000 => format!("{:.1} ms", value / 1e3),
        100_000..1_000_000 => format!("{:.0} ms", value / 1e3),
        _ => format!("{:.2} s", value / 1e6),
    }
}

fn digit(letter: u8) -> Option<u8> {
    char::from(letter).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_shown_as_they_can_be_typed(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 1..40),
                r"[\\x0n\t\n\x7fa-fé]{1,12}".prop_map(String::into_bytes),
            ],
        ) {
            prop_assert_eq!(unescape(&shown(&bytes)).expect("fine"), bytes.clone());
            prop_assert_eq!(unescape(&argument(&bytes)).expect("fine"), bytes.clone());
            prop_assert_eq!(from_hex(&to_hex(&bytes)).expect("fine"), bytes);
        }

        #[test]
        fn any_text_is_read_or_refused(text in r"(\\.{0,2}|x[0-9a-fA-F]{0,3}|.){0,12}") {
            if let Ok(bytes) = unescape(&text) {
                prop_assert!(bytes.len() <= text.len());
            }
            if let Ok(bytes) = from_hex(&text) {
                prop_assert_eq!(to_hex(&bytes), text.to_ascii_lowercase());
            }
            let _read_or_refused = (duration(&text), size(&text), shortened(text.as_bytes(), 3));
        }

        #[test]
        fn durations_and_sizes_are_what_they_say(
            hours in 0..10_000_u64,
            seconds: u32,
            text in "([0-9]{1,21}(ms|s|m|h)){1,3}|[0-9]{1,21} ?([KMGT]?i?B)?",
        ) {
            let said = Duration::from_secs(hours * 3600 + u64::from(seconds));
            prop_assert_eq!(duration(&format!("{hours}h{seconds}s")), Ok(said));
            prop_assert_eq!(size(&seconds.to_string()), Ok(seconds as usize));
            let _read_or_refused = (duration(&text), size(&text));
        }
    }

    #[test]
    fn escapes_and_hex() {
        assert_eq!(unescape(r"a\x00\xFFé\\\n").expect("fine"), b"a\0\xff\xc3\xa9\\\n");
        for bad in [r"\", r"\x", r"\x1", r"\xg0", r"\q"] {
            assert!(unescape(bad).is_err(), "{bad}");
        }
        assert_eq!(from_hex("00fF").expect("fine"), [0, 255]);
        assert!(from_hex("0").is_err() && from_hex("0g").is_err() && from_hex("é").is_err());
        assert_eq!(to_hex(&[0, 255]), "00ff");
    }

    #[test]
    fn what_is_shown_can_be_typed() {
        for bytes in [b"plain".as_slice(), b"a\\b\n", b"\0\xff", "größe".as_bytes()] {
            assert_eq!(unescape(&shown(bytes)).expect("fine"), bytes);
        }
        assert_eq!(shown(b""), "\"\"");
        assert_eq!(shortened(b"abcdef", 3), "abc…  (6 B)");
    }

    #[test]
    fn words_for_a_shell() {
        for (bytes, word) in [
            (b"user:00013".as_slice(), "user:00013"),
            (b"", "''"),
            (b"user;", "'user;'"),
            (b"it's", r"'it'\''s'"),
            (b"\xff", r"'\xff'"),
            (b"--to", r"'\x2d-to'"),
        ] {
            assert_eq!(shell_word(bytes), word);
        }
        assert_eq!(unescape(r"\x2d-to").expect("fine"), b"--to");
    }

    #[test]
    fn what_is_too_short_or_too_large_is_refused_with_the_limit() {
        assert_eq!(positive_duration("1ms"), Ok(Duration::from_millis(1)));
        assert!(positive_duration("0s").is_err() && positive_duration("10").is_err());
        assert_eq!((value_size("0"), value_size("6MiB")), (Ok(0), Ok(6 << 20)));
        for bad in ["7MiB", "6291457", "99999999999GiB"] {
            assert!(value_size(bad).is_err(), "{bad}");
        }
        assert!(value_size("7MiB").expect_err("too large").contains("6MiB"));
        assert_eq!((counted(1, "member"), counted(0, "key")), ("1 member".into(), "0 keys".into()));
    }

    #[test]
    fn durations_sizes_and_numbers() {
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        for bad in ["", "10", "s", "1d", "-1s", "99999999999999999999s", "1s5"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!((size("128"), size("4KiB")), (Ok(128), Ok(4096)));
        assert!(size("4k").is_err());
        let spans =
            [0, 119, 120, 7_199, 7_200, 172_799, 172_800].map(Duration::from_secs).map(span);
        assert_eq!(spans, ["0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 d"]);
        assert_eq!((grouped(0), grouped(1_234_567)), ("0".to_owned(), "1,234,567".to_owned()));
        assert_eq!((latency(999).as_str(), latency(1_900).as_str()), ("999 µs", "1.9 ms"));
        assert_eq!((latency(120_000).as_str(), latency(2_500_000).as_str()), ("120 ms", "2.50 s"));
    }
}
