//! What stands behind the question mark, and keys in a path: any bytes, behind percent signs.

use axum::http::StatusCode;

use super::routes::Refused;

/// The pairs of a query, decoded, in their order.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(Vec<u8>, Vec<u8>)>);

impl Query {
    pub(super) fn new(raw: Option<String>) -> Self {
        let raw = raw.unwrap_or_default().replace('+', "%20");
        let pairs = raw.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self(pairs.map(|(name, value)| (unescape(name), unescape(value))).collect())
    }

    /// The first value of this name, as bytes.
    pub(super) fn bytes(&self, name: &str) -> Option<&[u8]> {
        let mut pairs = self.0.iter();
        pairs.find(|(own, _)| own == name.as_bytes()).map(|(_, value)| value.as_slice())
    }

    /// Whether the name is there, with a value or without.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(own, _)| own == name.as_bytes())
    }

    /// All values of this name that are text.
    pub(super) fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        let own = self.0.iter().filter(move |(own, _)| own == name.as_bytes());
        own.filter_map(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// The first value of this name as a number; `default` where there is none, and never above `most`.
    pub(super) fn number(&self, name: &str, default: usize, most: usize) -> Result<usize, Refused> {
        let Some(value) = self.bytes(name) else { return Ok(default.min(most)) };
        let text = String::from_utf8_lossy(value);
        let number: usize = text.parse().map_err(|error| {
            let why = format!("[PD:strconv:ErrStrconvParseInt]{name}={text:?}: {error}");
            Refused(StatusCode::BAD_REQUEST, why)
        })?;
        Ok(number.min(most))
    }

    /// A key that was given: as it is, or in hexadecimal where `format=hex` says so.
    pub(super) fn key(&self, given: Vec<u8>) -> Result<Vec<u8>, Refused> {
        if self.bytes("format") != Some(b"hex") {
            return Ok(given);
        }
        let pairs = given.chunks(2);
        let digits = pairs.map(|pair| match pair {
            &[high, low] => Some(16 * digit(high)? + digit(low)?),
            _ => None,
        });
        digits.collect::<Option<_>>().ok_or_else(|| {
            let given = String::from_utf8_lossy(&given).into_owned();
            let why = format!("[PD:hex:ErrHexDecodingString]{given:?} is no hexadecimal key");
            Refused(StatusCode::BAD_REQUEST, why)
        })
    }
}

/// Resolves percent signs; one that two hexadecimal digits do not follow stands for itself.
pub(super) fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        let escaped = match behind {
            &[high, low, ..] if first == b'%' => digit(high).zip(digit(low)),
            _ => None,
        };
        plain.push(escaped.map_or(first, |(high, low)| 16 * high + low));
        if escaped.is_some() {
            rest = &behind[2..];
        }
    }
    plain
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_key_survives_its_escape(key: Vec<u8>) {
            let escaped: String = key.iter().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(&unescape(&escaped), &key);
            let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            let query = Query::new(Some(format!("key={hex}&format=hex")));
            let given = query.bytes("key").unwrap_or_default().to_vec();
            prop_assert_eq!(query.key(given).ok(), Some(key));
        }

        #[test]
        fn any_text_is_taken(text: String) {
            let _any_bytes = unescape(&text);
            let query = Query::new(Some(text.clone()));
            let _any_pair = (query.bytes("key"), query.number("limit", 1, 2).is_ok());
            let _hex_or_not = Query::new(Some("format=hex".to_owned())).key(text.into_bytes()).is_ok();
        }
    }

    #[test]
    fn as_tools_write_them() {
        let query = Query::new(Some("key=a%2Fb+c%zz%&limit=7&state=Up&state=Down&x".to_owned()));
        assert_eq!(query.bytes("key"), Some(&b"a/b c%zz%"[..]));
        assert_eq!(query.number("limit", 16, 10_240).ok(), Some(7));
        assert_eq!(query.number("none", 16, 10_240).ok(), Some(16));
        assert_eq!(query.number("limit", 16, 3).ok(), Some(3));
        assert!(query.number("key", 16, 3).is_err());
        assert_eq!(query.texts("state").collect::<Vec<_>>(), ["Up", "Down"]);
        assert!(Query::new(Some("format=hex".to_owned())).key(b"abc".to_vec()).is_err());
    }
}
