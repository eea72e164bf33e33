//! What people write: lines of records, keys with escapes, sizes and durations. Oracles: what is read is shown in a
//! form that is read.

use flotilla_base::ByteSize;

use crate::lines;

/// The words of the command line. It stands here for [`lines`], which looks for it by this name.
#[path = "../../../components/flotilla/src/text.rs"]
#[allow(dead_code, reason = "some of it shows only")]
mod words;

pub(crate) use words::{from_hex, to_hex};

/// See the module.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok((key, value)) = lines::parse(text) {
        let again = lines::parse(&lines::render(&key, &value));
        assert_eq!(again, Ok((key, value)));
    }
    if let Ok(key) = words::unescape(text)
        && !key.is_empty()
    {
        assert_eq!(words::unescape(&words::shown(&key)), Ok(key));
    }
    if let Ok(bytes) = from_hex(text) {
        assert_eq!(to_hex(&bytes), text.to_ascii_lowercase());
    }
    if let Ok(size) = text.parse::<ByteSize>() {
        let shown = size.to_string();
        assert!(shown.contains('.') || shown.parse() == Ok(size), "{shown}");
    }
    let _read_or_refused = (words::duration(text), words::size(text));
}

/// One text of each kind.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        r#"{"key":"k","value_hex":"00ff"}"#,
        r#"{"key_hex":"6b","value":"größe \" \n"}"#,
        r"a\x00\xFF\\\n\t",
        "00fF",
        "8MiB",
        "1h30m500ms",
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}
