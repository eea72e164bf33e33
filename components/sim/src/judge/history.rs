//! What clients saw, as a history that the same checkers judge which judge runs of real processes. They know
//! nothing of logs and stores: a key's operations must have an order that real time allows.
//!
//! Beside it the register judge goes by the order of the log, and accuses at once. It sees what no history
//! shows, such as an acknowledged write that nobody read and that is in no log; so both stay.

use std::collections::BTreeMap;

use bytes::Bytes;
use flotilla_base::{Key, Moment};
use flotilla_histcheck::history::FormError;
use flotilla_histcheck::{History, Limits, OperationId, Recorder, Request, Response, Value, check};
use flotilla_multiraft::Reply;

use super::applied::ticket_of;
use super::{Verdict, Violation, require};
use crate::event::{Answer, Ticket};

const EXPLAINED: &str = "histories: an order explains what clients saw";

/// What was asked and told so far.
#[derive(Debug, Default)]
pub struct HistoryJudge {
    recorder: Recorder,
    under_way: BTreeMap<Ticket, OperationId>,
}

impl HistoryJudge {
    /// A client asks. Every attempt is an operation of its own.
    pub fn on_attempt(
        &mut self,
        client: usize,
        ticket: Ticket,
        key: &Key,
        is_read: bool,
        now: Moment,
    ) {
        let request = if is_read {
            Request::Read
        } else {
            Request::Write(Some(Value::Text(ticket.0.to_string())))
        };
        let key = flotilla_base::key::display(key);
        let operation = self.recorder.invoke(client as u64, key, request, now);
        self.under_way.insert(ticket, operation);
    }

    /// An answer reaches its client, which may have given up.
    pub fn on_answer(&mut self, ticket: Ticket, answer: &Answer, now: Moment) {
        let told = match answer {
            Answer::Reply(Reply::Written) => Told::Done(Response::Written),
            Answer::Value(value) => Told::Done(Response::Found(value.as_ref().map(written))),
            Answer::Reply(Reply::Failed(_) | Reply::GuardFailed) | Answer::Refused => Told::NotDone,
            Answer::Reply(
                Reply::Unknown | Reply::Split(_) | Reply::Changed(_) | Reply::ReadAt(_),
            ) => return,
        };
        let Some(operation) = self.under_way.remove(&ticket) else { return };
        match told {
            Told::Done(response) => self.recorder.ok(operation, response, now),
            Told::NotDone => self.recorder.fail(operation, now),
        }
    }

    /// Something broke or was mended.
    pub fn note(&mut self, what: String, now: Moment) {
        self.recorder.note(what, now);
    }

    /// The history so far; what has no end is unknown.
    ///
    /// # Errors
    /// The recorder was used wrongly.
    pub fn history(&self) -> Result<History, FormError> {
        self.recorder.clone().finish()
    }

    /// The run is over.
    ///
    /// # Errors
    /// No order explains what clients saw; the evidence is the contradiction.
    pub fn on_end(&self) -> Verdict {
        let wrong = |error: FormError| Violation { rule: EXPLAINED, what: error.to_string() };
        let history = self.history().map_err(wrong)?;
        let report = check(&history, Limits::default());
        require(report.is_sound(), EXPLAINED, || format!("\n{report}"))
    }
}

enum Told {
    Done(Response),
    NotDone,
}

/// A value by the attempt that wrote it; what no attempt wrote stays as it is.
fn written(value: &Bytes) -> Value {
    let text = ticket_of(value).map(|ticket| ticket.0.to_string());
    Value::Text(text.unwrap_or_else(|| String::from_utf8_lossy(value).into_owned()))
}

#[cfg(test)]
mod tests {
    use flotilla_multiraft::RequestError;

    use super::*;
    use crate::judge::samples::{REGION, broken};

    fn ask(judge: &mut HistoryJudge, ticket: u64, is_read: bool, at: u64) {
        judge.on_attempt(0, Ticket(ticket), &"k".into(), is_read, Moment(at));
    }

    fn told(judge: &mut HistoryJudge, ticket: u64, answer: &Answer, at: u64) {
        judge.on_answer(Ticket(ticket), answer, Moment(at));
    }

    fn value(text: &'static str) -> Answer {
        Answer::Value(Some(text.into()))
    }

    const WRITTEN: Answer = Answer::Reply(Reply::Written);

    #[test]
    fn a_stale_read_is_found() {
        let mut judge = HistoryJudge::default();
        ask(&mut judge, 1, false, 1);
        told(&mut judge, 1, &WRITTEN, 2);
        ask(&mut judge, 2, false, 3);
        told(&mut judge, 2, &WRITTEN, 4);
        assert_eq!(judge.on_end(), Ok(()));
        ask(&mut judge, 3, true, 5);
        told(&mut judge, 3, &value("1:...."), 6);
        assert_eq!(broken(judge.on_end()), EXPLAINED);
    }

    #[test]
    fn a_refused_write_that_is_read_is_found() {
        for (answer, is_sound) in [
            (Answer::Reply(Reply::Failed(RequestError::Busy(REGION))), false),
            (Answer::Refused, false),
            (Answer::Reply(Reply::Unknown), true),
        ] {
            let mut judge = HistoryJudge::default();
            ask(&mut judge, 1, false, 1);
            told(&mut judge, 1, &answer, 2);
            ask(&mut judge, 2, true, 3);
            told(&mut judge, 2, &value("1:"), 4);
            assert_eq!(judge.on_end().is_ok(), is_sound, "{answer:?}");
        }
    }

    #[test]
    fn a_second_answer_changes_nothing() {
        let mut judge = HistoryJudge::default();
        ask(&mut judge, 1, false, 1);
        told(&mut judge, 1, &WRITTEN, 2);
        told(&mut judge, 1, &Answer::Refused, 3);
        judge.note("store 1 crashes".to_owned(), Moment(3));
        assert_eq!(judge.on_end(), Ok(()));
        assert_eq!(judge.history().expect("well formed").notes().len(), 1);
    }
}
