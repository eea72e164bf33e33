//! Writes a history while it happens: in the simulator and around real clients.

use flotilla_base::Moment;

use crate::history::{FormError, History};
use crate::operation::{Note, Operation, Outcome, Request, Response};

/// Names an operation of a [`Recorder`] between its invocation and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(usize);

/// Collects operations of any number of clients on one clock.
///
/// Stamp the invocation before the request leaves and the return after the answer was decoded: an
/// interval that is too wide can hide a fault, but one that is too narrow accuses the innocent.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    operations: Vec<Operation>,
    notes: Vec<Note>,
}

impl Recorder {
    /// An operation begins. Without an end its outcome is unknown.
    pub fn invoke(
        &mut self,
        client: u64,
        key: impl Into<String>,
        request: Request,
        now: Moment,
    ) -> OperationId {
        self.operations.push(Operation {
            client,
            key: key.into(),
            request,
            invoked: now,
            returned: Moment::NEVER,
            outcome: Outcome::Unknown,
        });
        OperationId(self.operations.len() - 1)
    }

    /// It was carried out.
    ///
    /// # Panics
    /// Where the answer is of another kind than the request, or the operation has ended before.
    pub fn ok(&mut self, id: OperationId, response: Response, now: Moment) {
        let operation = self.end(id, now);
        assert!(operation.request.takes(&response), "{operation} was answered by {response:?}");
        operation.outcome = Outcome::Ok(response);
    }

    /// It certainly was not and will not be carried out.
    ///
    /// # Panics
    /// Where the operation has ended before.
    pub fn fail(&mut self, id: OperationId, now: Moment) {
        self.end(id, now).outcome = Outcome::Fail;
    }

    /// Something happened beside the operations.
    pub fn note(&mut self, text: impl Into<String>, now: Moment) {
        self.notes.push(Note { at: now, text: text.into() });
    }

    fn end(&mut self, id: OperationId, now: Moment) -> &mut Operation {
        let operation = &mut self.operations[id.0];
        assert!(operation.outcome == Outcome::Unknown, "{operation} has ended before");
        operation.returned = now;
        operation
    }

    /// The history so far; what has no end is unknown.
    ///
    /// # Errors
    /// A key was used as a set and as a register, or the clock ran backwards.
    pub fn finish(self) -> Result<History, FormError> {
        let mut history = History::default();
        for operation in self.operations {
            history.push(operation)?;
        }
        for note in self.notes {
            history.push_note(note);
        }
        Ok(history)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_end_is_unknown() {
        let mut recorder = Recorder::default();
        let write = recorder.invoke(1, "k", Request::Write(Some("a".into())), Moment(1));
        let read = recorder.invoke(2, "k", Request::Read, Moment(2));
        let refused = recorder.invoke(3, "k", Request::Write(Some("b".into())), Moment(3));
        recorder.ok(read, Response::Found(Some("a".into())), Moment(4));
        recorder.fail(refused, Moment(5));
        recorder.note("store 1 is killed", Moment(6));
        let history = recorder.finish().unwrap();
        let (_, operations) = history.keys().next().unwrap();
        assert_eq!(operations[write.0].outcome, Outcome::Unknown);
        assert_eq!(operations[write.0].returned, Moment::NEVER);
        assert!(operations[read.0].is_ok() && operations[refused.0].is_failed());
        assert_eq!((history.len(), history.notes().len()), (3, 1));
    }

    #[test]
    #[should_panic(expected = "was answered by")]
    fn an_answer_of_another_kind_is_refused() {
        let mut recorder = Recorder::default();
        let read = recorder.invoke(1, "k", Request::Read, Moment(1));
        recorder.ok(read, Response::Written, Moment(2));
    }

    #[test]
    #[should_panic(expected = "has ended before")]
    fn an_operation_ends_once() {
        let mut recorder = Recorder::default();
        let write = recorder.invoke(1, "k", Request::Write(None), Moment(1));
        recorder.ok(write, Response::Written, Moment(2));
        recorder.fail(write, Moment(3));
    }

    #[test]
    fn a_clock_that_runs_backwards_and_mixed_keys_are_refused() {
        let mut recorder = Recorder::default();
        let read = recorder.invoke(1, "k", Request::Read, Moment(9));
        recorder.ok(read, Response::Found(None), Moment(2));
        assert!(matches!(recorder.finish(), Err(FormError::Backwards { .. })));
        let mut recorder = Recorder::default();
        recorder.invoke(1, "k", Request::Read, Moment(1));
        recorder.invoke(1, "k", Request::SetRead, Moment(1));
        assert_eq!(recorder.finish().err(), Some(FormError::Mixed("k".to_owned())));
    }
}
