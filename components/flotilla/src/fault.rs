//! An error as the user sees it: what, why, what to try, and whether anything was changed.

use std::{
    fmt::{self, Write as _},
    io,
};

use flotilla_client::Applied;
use serde_json::{Value, json};

use crate::{
    catalogue::{self, Entry, Exit},
    text,
};

/// A failed command; one pointer in size.
#[derive(Debug)]
pub(crate) struct Fault(Box<Report>);

#[derive(Debug)]
struct Report {
    entry: &'static Entry,
    message: String,
    why: Option<String>,
    tries: Vec<String>,
    applied: Applied,
    /// What a command of many parts has done before it failed.
    partly: Option<Partly>,
    is_retryable: bool,
    /// The command ends without a word: the reader of its output has gone away, which is its right.
    is_silent: bool,
}

/// The part of a command that took effect.
#[derive(Debug)]
struct Partly {
    keys: u64,
    /// For people.
    note: String,
}

/// Whether a write took effect, in the words of programs.
const APPLIED: [(Applied, &str); 3] =
    [(Applied::No, "no"), (Applied::Yes, "yes"), (Applied::Unknown, "unknown")];

impl Fault {
    /// An error of the catalogue with its objects filled in.
    pub(crate) fn new(entry: &'static Entry, message: impl Into<String>) -> Self {
        Self(Box::new(Report {
            entry,
            message: plain(message.into()),
            why: None,
            tries: Vec::new(),
            applied: Applied::No,
            partly: None,
            is_retryable: false,
            is_silent: false,
        }))
    }

    /// The reason, in a few words.
    #[must_use]
    pub(crate) fn why(mut self, why: impl Into<String>) -> Self {
        self.0.why = Some(plain(why.into()));
        self
    }

    /// Something that the user can do; what is a command can be pasted.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.tries.push(hint.into());
        self
    }

    /// The same error with other words for each hint.
    #[must_use]
    pub(crate) fn with_hints(mut self, words: impl Fn(&str) -> String) -> Self {
        self.0.tries.iter_mut().for_each(|hint| *hint = words(hint));
        self
    }

    /// A failure to read input or write output.
    pub(crate) fn io(what: impl fmt::Display, cause: &io::Error) -> Self {
        let fault = Self::new(&catalogue::OUTPUT, what.to_string()).why(cause.to_string());
        let mut fault = match cause.kind() {
            io::ErrorKind::NotFound => fault.hint("correct the path"),
            _ => fault.hint(catalogue::OUTPUT.remedy),
        };
        fault.0.is_silent = cause.kind() == io::ErrorKind::BrokenPipe;
        fault
    }

    /// The same error with what it is about in front of its message.
    #[must_use]
    pub(crate) fn about(mut self, what: &str) -> Self {
        self.0.message = format!("{what}: {}", self.0.message);
        self
    }

    /// The same error with other words for what failed.
    #[must_use]
    pub(crate) fn named(mut self, message: String) -> Self {
        self.0.message = plain(message);
        self
    }

    /// The same error as one of `entry`, with this to try in place of what it had.
    #[must_use]
    pub(crate) fn advised(mut self, entry: &'static Entry, tries: Vec<String>) -> Self {
        (self.0.entry, self.0.tries) = (entry, tries);
        self
    }

    /// Whether it is an error of `entry`.
    pub(crate) fn is(&self, entry: &Entry) -> bool {
        self.0.entry.code == entry.code
    }

    /// The same error of a command of many parts, of which so many keys were `done`, a word like "written"; and
    /// perhaps more, where a part `is_open`.
    #[must_use]
    pub(crate) fn partly_applied(mut self, keys: u64, is_open: bool, done: &str) -> Self {
        let (counted, were) = (text::counted(keys, "key"), if keys == 1 { "was" } else { "were" });
        let others = if is_open { "and more may have been" } else { "and no others" };
        let note = format!("{counted} {were} {done}, {others}");
        self.0.entry = &catalogue::OUTCOME_UNKNOWN;
        self.0.applied = Applied::Unknown;
        self.0.is_retryable = false;
        self.0.partly = Some(Partly { keys, note });
        self
    }

    /// The reader of the output has gone away.
    pub(crate) fn is_silent(&self) -> bool {
        self.0.is_silent
    }

    /// How the program ends.
    pub(crate) fn exit(&self) -> Exit {
        self.0.entry.exit
    }

    /// The first line, without the program's name.
    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    /// The whole text for people.
    pub(crate) fn to_text(&self) -> String {
        let Report { entry, message, why, tries, applied, partly, .. } = self.0.as_ref();
        let mut text = format!("flotilla: {message}\n");
        let mut add = |label: &str, line: &str| {
            writeln!(text, "  {label:<4} {line}").expect("a string takes all that is written");
        };
        if let Some(why) = why {
            add("why", why);
        }
        match (applied, partly) {
            (_, Some(Partly { note, .. })) => add("note", note),
            (Applied::No, None) => {}
            (Applied::Yes, None) => add("note", "the write took effect"),
            (Applied::Unknown, None) => add("note", "the write may have taken effect"),
        }
        for (position, hint) in tries.iter().enumerate() {
            add(if position == 0 { "try" } else { "" }, hint);
        }
        if why.is_some() || !tries.is_empty() {
            let code = entry.code;
            text.push_str(&format!("code {code}; more: flotilla explain {code}\n"));
        }
        text
    }

    /// The whole for programs.
    pub(crate) fn to_json(&self) -> Value {
        let Report { entry, message, why, tries, applied, partly, is_retryable, .. } =
            self.0.as_ref();
        let details = partly.as_ref().map_or_else(|| json!({}), |it| json!({"keys": it.keys}));
        let applied = APPLIED.into_iter().find(|(known, _)| known == applied).map(|(_, word)| word);
        json!({"error": {
            "code": entry.code,
            "kind": entry.kind,
            "message": message,
            "why": why,
            "try": tries,
            "applied": applied,
            "retryable": is_retryable,
            "details": details,
        }})
    }

    /// The error that [`Fault::to_json`] wrote, as far as it can be told; another program may have
    /// written it.
    pub(crate) fn from_json(value: &Value) -> Self {
        let error = &value["error"];
        let text = |field: &str| error[field].as_str().map(str::to_owned);
        let entry = text("code").and_then(|code| catalogue::find(&code));
        let message = text("message").unwrap_or_else(|| "an error without a message".to_owned());
        let mut fault = Self::new(entry.unwrap_or(&catalogue::INTERNAL), message);
        fault.0.why = text("why");
        let tries = error["try"].as_array().into_iter().flatten();
        fault.0.tries = tries.filter_map(|hint| hint.as_str().map(str::to_owned)).collect();
        let applied = text("applied");
        let same = |known: &(Applied, &str)| applied.as_deref() == Some(known.1);
        fault.0.applied = APPLIED.into_iter().find(same).map_or(Applied::No, |known| known.0);
        fault.0.is_retryable = error["retryable"].as_bool().unwrap_or(false);
        fault
    }
}

/// The text without the numbers behind the words of the system, which help nobody.
fn plain(mut text: String) -> String {
    const MARK: &str = " (os error ";
    while let Some(start) = text.find(MARK) {
        let Some(length) = text[start..].find(')') else { break };
        text.replace_range(start..=start + length, "");
    }
    text
}

impl From<flotilla_client::Error> for Fault {
    fn from(error: flotilla_client::Error) -> Self {
        let entry = catalogue::find(error.code()).unwrap_or(&catalogue::INTERNAL);
        let mut why = error.why().to_owned();
        if error.attempts() > 1 {
            let seconds = error.elapsed().as_secs_f64();
            why.push_str(&format!(" ({} attempts in {seconds:.1} s)", error.attempts()));
        }
        let mut fault = Self::new(entry, error.what()).why(why);
        fault.0.tries = error.hints().iter().map(|hint| (*hint).to_owned()).collect();
        fault.0.applied = error.applied();
        fault.0.is_retryable = error.is_retryable();
        fault
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_four_parts_and_survives_json() {
        let fault = Fault::new(&catalogue::PORT_IN_USE, "cannot start: port 2379 is in use")
            .why("clients look there")
            .hint("flotilla playground --port-offset 10000")
            .hint("flotilla playground --host 127.0.0.2");
        let text = "flotilla: cannot start: port 2379 is in use\n  \
                    why  clients look there\n  \
                    try  flotilla playground --port-offset 10000\n       \
                    flotilla playground --host 127.0.0.2\n\
                    code FLT-1004; more: flotilla explain FLT-1004\n";
        assert_eq!(fault.to_text(), text);
        assert_eq!(Fault::from_json(&fault.to_json()).to_text(), text);
        let missing = io::Error::from_raw_os_error(2);
        let text = Fault::io("cannot open nofile", &missing).to_text();
        let expected = "flotilla: cannot open nofile\n  why  No such file or directory\n  \
                        try  correct the path\ncode FLT-9001; more: flotilla explain FLT-9001\n";
        assert_eq!(text, expected);
        let twice = Fault::new(&catalogue::STORAGE, "a (os error 1), b (os error 20); c (os error");
        assert_eq!(twice.message(), "a, b; c (os error");
        let bare = Fault::new(&catalogue::KEY_NOT_FOUND, "key not found: k");
        assert_eq!(bare.to_text(), "flotilla: key not found: k\n");
        assert_eq!(Fault::from_json(&json!(7)).exit(), Exit::Failed);
    }

    /// What a playground tells of its nodes goes through this twice.
    #[test]
    fn whether_it_took_effect_and_is_worth_another_try_survives_json() {
        for (applied, word) in APPLIED {
            for is_retryable in [false, true] {
                let mut fault = Fault::new(&catalogue::INTERNAL, "it failed");
                (fault.0.applied, fault.0.is_retryable) = (applied, is_retryable);
                let told = fault.to_json();
                assert_eq!(told["error"]["applied"], word);
                assert_eq!(Fault::from_json(&told).to_json(), told);
            }
        }
    }
}
