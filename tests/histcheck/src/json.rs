//! Histories as JSON lines, one operation or note a line: `docs/histories.md` describes the format.

use std::io::{self, BufRead, Write};

use flotilla_base::Moment;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Map;

use crate::history::{FormError, History};
use crate::operation::{Note, Operation, Outcome, Request, Response, Value};

/// Why a history can not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The source of the lines failed.
    #[error("line {line}: {cause}")]
    Io {
        /// Counted from 1.
        line: usize,
        /// Why.
        cause: io::Error,
    },
    /// A line is not what the format asks for.
    #[error("line {line}: {cause}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// Why.
        cause: LineError,
    },
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// It is no JSON object.
    #[error("no JSON object: {0}")]
    Json(#[from] serde_json::Error),
    /// A field that must be there is not.
    #[error("the field {field:?} is missing from {what}")]
    Missing {
        /// Its name.
        field: &'static str,
        /// From what.
        what: String,
    },
    /// A field holds something else.
    #[error("the field {field:?} must be {expected}, not {found}")]
    Wrong {
        /// Its name.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A field that does not belong there.
    #[error("the field {field:?} does not belong to {what}")]
    Unexpected {
        /// Its name.
        field: String,
        /// To what.
        what: String,
    },
    /// The operation contradicts itself or others of its key.
    #[error(transparent)]
    Form(#[from] FormError),
}

/// Reads a history; empty lines are skipped.
///
/// # Errors
/// The first line that is not what the format asks for.
pub fn read(source: impl BufRead) -> Result<History, ReadError> {
    let mut history = History::default();
    for (line, text) in (1..).zip(source.lines()) {
        let text = text.map_err(|cause| ReadError::Io { line, cause })?;
        if !text.trim().is_empty() {
            read_line(&text, &mut history).map_err(|cause| ReadError::Line { line, cause })?;
        }
    }
    Ok(history)
}

/// Writes a history: key by key, then the notes.
///
/// # Errors
/// The sink failed.
pub fn write(history: &History, mut sink: impl Write) -> io::Result<()> {
    for operation in history.keys().flat_map(|(_, operations)| operations) {
        write_line(operation, &mut sink)?;
    }
    history.notes().iter().try_for_each(|note| write_line(note, &mut sink))
}

fn write_line(line: &impl Serialize, sink: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *sink, line)?;
    sink.write_all(b"\n")
}

fn read_line(text: &str, history: &mut History) -> Result<(), LineError> {
    let map: Map<String, serde_json::Value> = serde_json::from_str(text)?;
    let mut fields = Fields { what: "the line".to_owned(), map };
    if fields.map.contains_key("note") {
        fields.what = "a note".to_owned();
        history.push_note(Note { at: Moment(fields.moment("at")?), text: fields.text("note")? });
        return fields.end();
    }
    let operation = read_operation(&mut fields)?;
    fields.end()?;
    Ok(history.push(operation)?)
}

fn read_operation(fields: &mut Fields) -> Result<Operation, LineError> {
    let kind = fields.text("kind")?;
    let outcome = fields.text("outcome")?;
    fields.what = format!("a {kind} whose outcome is {outcome}");
    let is_ok = outcome == "ok";
    let (request, response) = match kind.as_str() {
        "read" => (Request::Read, is_ok.then(|| fields.content("value").map(Response::Found))),
        "write" => {
            (Request::Write(fields.content("value")?), is_ok.then_some(Ok(Response::Written)))
        }
        "cas" => {
            let (expected, new) = (fields.content("expected")?, fields.content("new")?);
            (Request::Cas { expected, new }, is_ok.then(|| fields.compared()))
        }
        "add" => {
            let sum = |fields: &mut Fields| {
                let is_told = fields.map.contains_key("value");
                Ok(Response::Added(is_told.then(|| fields.number("value")).transpose()?))
            };
            (Request::Add(fields.number("amount")?), is_ok.then(|| sum(fields)))
        }
        "set-add" => {
            (Request::SetAdd(fields.value("value")?), is_ok.then_some(Ok(Response::Written)))
        }
        "set-read" => {
            (Request::SetRead, is_ok.then(|| fields.values("values").map(Response::Elements)))
        }
        _ => {
            let expected = "one of read, write, cas, add, set-add, set-read";
            return Err(LineError::Wrong { field: "kind", expected, found: format!("{kind:?}") });
        }
    };
    let outcome = match (outcome.as_str(), response.transpose()?) {
        (_, Some(response)) => Outcome::Ok(response),
        ("fail", None) => Outcome::Fail,
        ("unknown", None) => Outcome::Unknown,
        _ => {
            let (expected, found) = ("one of ok, fail, unknown", format!("{outcome:?}"));
            return Err(LineError::Wrong { field: "outcome", expected, found });
        }
    };
    let is_open = !is_ok && fields.map.get("returned").is_none_or(serde_json::Value::is_null);
    let returned = if is_open {
        fields.map.remove("returned");
        Moment::NEVER
    } else {
        Moment(fields.moment("returned")?)
    };
    let invoked = Moment(fields.moment("invoked")?);
    let (client, key) = (fields.moment("client")?, fields.text("key")?);
    Ok(Operation { client, key, request, invoked, returned, outcome })
}

/// The fields of a line that are not yet taken.
struct Fields {
    /// What they belong to, for messages.
    what: String,
    map: Map<String, serde_json::Value>,
}

impl Fields {
    fn take<T>(
        &mut self,
        field: &'static str,
        expected: &'static str,
        convert: impl FnOnce(&serde_json::Value) -> Option<T>,
    ) -> Result<T, LineError> {
        let Some(found) = self.map.remove(field) else {
            return Err(LineError::Missing { field, what: self.what.clone() });
        };
        let wrong = || LineError::Wrong { field, expected, found: found.to_string() };
        convert(&found).ok_or_else(wrong)
    }

    fn text(&mut self, field: &'static str) -> Result<String, LineError> {
        self.take(field, "a text", |found| found.as_str().map(str::to_owned))
    }

    fn moment(&mut self, field: &'static str) -> Result<u64, LineError> {
        self.take(field, "a whole number from 0 on", serde_json::Value::as_u64)
    }

    fn number(&mut self, field: &'static str) -> Result<i64, LineError> {
        self.take(field, "a whole number", serde_json::Value::as_i64)
    }

    fn value(&mut self, field: &'static str) -> Result<Value, LineError> {
        self.take(field, "a text or a whole number", value_of)
    }

    fn content(&mut self, field: &'static str) -> Result<Option<Value>, LineError> {
        self.take(field, "a text, a whole number or null", |found| {
            if found.is_null() { Some(None) } else { value_of(found).map(Some) }
        })
    }

    fn values(&mut self, field: &'static str) -> Result<Vec<Value>, LineError> {
        self.take(field, "a list of texts or whole numbers", |found| {
            found.as_array()?.iter().map(value_of).collect()
        })
    }

    fn compared(&mut self) -> Result<Response, LineError> {
        let swapped = self.take("swapped", "true or false", serde_json::Value::as_bool)?;
        Ok(Response::Compared { swapped, found: self.content("found")? })
    }

    fn end(self) -> Result<(), LineError> {
        match self.map.into_iter().next() {
            Some((field, _)) => Err(LineError::Unexpected { field, what: self.what }),
            None => Ok(()),
        }
    }
}

fn value_of(found: &serde_json::Value) -> Option<Value> {
    match found.as_str() {
        Some(text) => Some(Value::Text(text.to_owned())),
        None => found.as_i64().map(Value::Number),
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => serializer.serialize_i64(*number),
        }
    }
}

impl Serialize for Note {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("at", &self.at.0)?;
        map.serialize_entry("note", &self.text)?;
        map.end()
    }
}

impl Serialize for Operation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("client", &self.client)?;
        map.serialize_entry("key", &self.key)?;
        match &self.request {
            Request::Read => map.serialize_entry("kind", "read")?,
            Request::Write(value) => {
                map.serialize_entry("kind", "write")?;
                map.serialize_entry("value", value)?;
            }
            Request::Cas { expected, new } => {
                map.serialize_entry("kind", "cas")?;
                map.serialize_entry("expected", expected)?;
                map.serialize_entry("new", new)?;
            }
            Request::Add(amount) => {
                map.serialize_entry("kind", "add")?;
                map.serialize_entry("amount", amount)?;
            }
            Request::SetAdd(value) => {
                map.serialize_entry("kind", "set-add")?;
                map.serialize_entry("value", value)?;
            }
            Request::SetRead => map.serialize_entry("kind", "set-read")?,
        }
        map.serialize_entry("invoked", &self.invoked.0)?;
        if self.returned != Moment::NEVER {
            map.serialize_entry("returned", &self.returned.0)?;
        }
        map.serialize_entry("outcome", self.outcome_name())?;
        match self.response() {
            Some(Response::Found(found)) => map.serialize_entry("value", found)?,
            Some(Response::Compared { swapped, found }) => {
                map.serialize_entry("swapped", swapped)?;
                map.serialize_entry("found", found)?;
            }
            Some(Response::Added(Some(sum))) => map.serialize_entry("value", sum)?,
            Some(Response::Elements(values)) => map.serialize_entry("values", values)?,
            Some(Response::Written | Response::Added(None)) | None => {}
        }
        map.end()
    }
}

impl Operation {
    const fn outcome_name(&self) -> &'static str {
        match self.outcome {
            Outcome::Ok(_) => "ok",
            Outcome::Fail => "fail",
            Outcome::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use flotilla_damage::damaged;
    use proptest::prelude::*;

    use super::*;
    use crate::{Limits, check};

    const EVERY_KIND: &str = r#"{"client":1,"key":"c","kind":"add","amount":-2,"invoked":1,"returned":2,"outcome":"ok","value":7}
{"client":2,"key":"c","kind":"add","amount":1,"invoked":1,"returned":2,"outcome":"ok"}
{"client":1,"key":"r","kind":"write","value":"a","invoked":10,"returned":20,"outcome":"ok"}
{"client":2,"key":"r","kind":"write","value":null,"invoked":12,"outcome":"unknown"}
{"client":3,"key":"r","kind":"read","invoked":30,"returned":40,"outcome":"ok","value":null}
{"client":3,"key":"r","kind":"read","invoked":30,"returned":40,"outcome":"fail"}
{"client":4,"key":"r","kind":"cas","expected":"a","new":5,"invoked":50,"returned":60,"outcome":"ok","swapped":false,"found":"b \"quoted\" ü"}
{"client":4,"key":"s","kind":"set-add","value":"e","invoked":50,"returned":60,"outcome":"ok"}
{"client":4,"key":"s","kind":"set-read","invoked":70,"returned":80,"outcome":"ok","values":["e",1]}
{"at":55,"note":"store 2 is killed"}
"#;

    #[test]
    fn every_kind_survives_a_round_trip() {
        let history = read(EVERY_KIND.as_bytes()).unwrap();
        assert_eq!((history.len(), history.notes().len()), (9, 1));
        let mut text = Vec::new();
        write(&history, &mut text).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), EVERY_KIND);
    }

    proptest! {
        /// A history that is read is written and read again as it was, and has a verdict.
        #[test]
        fn damaged_histories_are_refused_or_judged(
            text in damaged(Just(EVERY_KIND.as_bytes().to_vec())),
        ) {
            if let Ok(history) = read(text.as_slice()) {
                let (mut once, mut twice) = (Vec::new(), Vec::new());
                write(&history, &mut once).unwrap();
                write(&read(once.as_slice()).unwrap(), &mut twice).unwrap();
                prop_assert_eq!(once, twice);
                let _verdict = check(&history, Limits { positions_max: 1_000 }).to_string();
            }
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _refused_or_read = read(bytes.as_slice());
        }
    }

    #[test]
    fn bad_lines_are_told_with_their_number() {
        let good = EVERY_KIND.lines().nth(2).unwrap();
        for (from, to, complaint) in [
            ("}", "", "line 3: no JSON object: EOF"),
            (r#""client":1"#, r#""client":-1"#, r#"field "client" must be a whole number from 0"#),
            (r#""kind":"write""#, r#""kind":"put""#, r#"field "kind" must be one of read, write"#),
            (r#","value":"a""#, "", r#"field "value" is missing from a write whose outcome is ok"#),
            (
                r#""value":"a""#,
                r#""value":1.5"#,
                r#"must be a text, a whole number or null, not 1.5"#,
            ),
            (r#""outcome":"ok""#, r#""outcome":"maybe""#, "one of ok, fail, unknown"),
            (r#""returned":20,"#, "", r#"field "returned" is missing"#),
            (
                r#""returned":20"#,
                r#""returned":2"#,
                "returned at 2 ns, before it was invoked at 10",
            ),
            (
                r#""key":"r""#,
                r#""key":"r","amount":1"#,
                r#"field "amount" does not belong to a write"#,
            ),
            (r#""write""#, r#""set-add""#, r#"key "r" is used both as a set and as a register"#),
        ] {
            let bad = good.replace(from, to);
            assert_ne!(bad, good, "the sample must change: {from}");
            let complaint_found = read(format!("{good}\n\n{bad}\n").as_bytes()).unwrap_err();
            let text = complaint_found.to_string();
            assert!(text.starts_with("line 3: ") && text.contains(complaint), "{text}");
        }
    }
}
