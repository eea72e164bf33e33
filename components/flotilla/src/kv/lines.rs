//! Records as lines of JSON: `{"key": …, "value": …}` where the bytes are text, `…_hex` where not.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::text;

/// A key and a value.
pub(super) type Record = (Vec<u8>, Vec<u8>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: Option<String>,
    key_hex: Option<String>,
    value: Option<String>,
    value_hex: Option<String>,
}

/// Reads one line.
pub(super) fn parse(line: &str) -> Result<Record, String> {
    let Line { key, key_hex, value, value_hex } =
        serde_json::from_str(line).map_err(|error| error.to_string())?;
    Ok((bytes("key", key, key_hex)?, bytes("value", value, value_hex)?))
}

fn bytes(name: &str, text: Option<String>, hex: Option<String>) -> Result<Vec<u8>, String> {
    match (text, hex) {
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(hex)) => {
            text::from_hex(&hex).map_err(|why| format!("\"{name}_hex\" is wrong: {why}"))
        }
        _ => Err(format!("exactly one of \"{name}\" and \"{name}_hex\" is needed")),
    }
}

/// The line of a record, with its end.
pub(super) fn render(key: &[u8], value: &[u8]) -> String {
    let (key_name, key) = field("key", key);
    let (value_name, value) = field("value", value);
    format!("{{\"{key_name}\":{key},\"{value_name}\":{value}}}\n")
}

fn field(name: &str, bytes: &[u8]) -> (String, Value) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (name.to_owned(), json!(text)),
        Err(_no_text) => (format!("{name}_hex"), json!(text::to_hex(bytes))),
    }
}

/// A record in a result: always as hexadecimal digits, and as text where it is text.
pub(super) fn object(key: &[u8], value: &[u8]) -> Value {
    let mut object = json!({"key_hex": text::to_hex(key), "value_hex": text::to_hex(value)});
    for (name, bytes) in [("key", key), ("value", value)] {
        if let Ok(text) = std::str::from_utf8(bytes) {
            object[name] = json!(text);
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use flotilla_damage::{assert_canonical, damaged};
    use proptest::prelude::*;

    use super::*;

    fn records() -> impl Strategy<Value = Record> {
        let texts = || prop_oneof![any::<Vec<u8>>(), ".{0,9}".prop_map(String::into_bytes)];
        (texts(), texts())
    }

    proptest! {
        #[test]
        fn any_record_is_read_back((key, value) in records()) {
            let line = render(&key, &value);
            prop_assert_eq!(line.matches('\n').count(), 1);
            prop_assert_eq!(parse(&line), Ok((key, value)));
        }

        #[test]
        fn damaged_lines_are_refused_or_canonical(
            line in damaged(records().prop_map(|(key, value)| render(&key, &value).into_bytes())),
        ) {
            let read = |line: &[u8]| parse(std::str::from_utf8(line).map_err(|why| why.to_string())?);
            assert_canonical(&line, read, |(key, value)| render(key, value).into_bytes());
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for (key, value) in
            [(b"k".as_slice(), b"v".as_slice()), (b"\xff\0", b""), (b"", "\"ö\n".as_bytes())]
        {
            assert_eq!(parse(&render(key, value)), Ok((key.to_vec(), value.to_vec())));
        }
        assert_eq!(render(b"\xff", b"v"), "{\"key_hex\":\"ff\",\"value\":\"v\"}\n");
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for bad in [
            "",
            "[]",
            r#"{"key":"a"}"#,
            r#"{"key":"a","key_hex":"61","value":""}"#,
            r#"{"key_hex":"6","value":""}"#,
            r#"{"key":"a","value":1}"#,
            r#"{"key":"a","value":"b","ttl":3}"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
