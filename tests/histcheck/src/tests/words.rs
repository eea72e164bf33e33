//! Short words for hand-made histories. Times are nanoseconds.

use flotilla_base::Moment;

use crate::{History, Limits, Operation, Outcome, Report, Request, Response, Value, check};

/// A value by its text; the empty one stands for nothing at all.
fn value(text: &str) -> Option<Value> {
    (!text.is_empty()).then(|| text.into())
}

fn operation(request: Request, outcome: Outcome, invoked: u64, returned: u64) -> Operation {
    let (invoked, returned) = (Moment(invoked), Moment(returned));
    Operation { client: 1, key: "k".to_owned(), request, invoked, returned, outcome }
}

fn ok(request: Request, response: Response, invoked: u64, returned: u64) -> Operation {
    operation(request, Outcome::Ok(response), invoked, returned)
}

pub(super) fn lost(request: Request, invoked: u64) -> Operation {
    operation(request, Outcome::Unknown, invoked, u64::MAX)
}

pub(super) fn put(text: &str, invoked: u64, returned: u64) -> Operation {
    ok(Request::Write(value(text)), Response::Written, invoked, returned)
}

pub(super) fn lost_put(text: &str, invoked: u64) -> Operation {
    lost(Request::Write(value(text)), invoked)
}

pub(super) fn failed_put(text: &str, invoked: u64, returned: u64) -> Operation {
    operation(Request::Write(value(text)), Outcome::Fail, invoked, returned)
}

pub(super) fn get(text: &str, invoked: u64, returned: u64) -> Operation {
    ok(Request::Read, Response::Found(value(text)), invoked, returned)
}

pub(super) fn get_number(number: i64, invoked: u64, returned: u64) -> Operation {
    ok(Request::Read, Response::Found(Some(number.into())), invoked, returned)
}

fn cas_request(expected: &str, new: &str) -> Request {
    Request::Cas { expected: value(expected), new: value(new) }
}

pub(super) fn swap(expected: &str, new: &str, invoked: u64, returned: u64) -> Operation {
    let response = Response::Compared { swapped: true, found: value(expected) };
    ok(cas_request(expected, new), response, invoked, returned)
}

pub(super) fn refused_swap(words: [&str; 3], invoked: u64, returned: u64) -> Operation {
    let [expected, new, found] = words;
    let response = Response::Compared { swapped: false, found: value(found) };
    ok(cas_request(expected, new), response, invoked, returned)
}

pub(super) fn lost_swap(expected: &str, new: &str, invoked: u64) -> Operation {
    lost(cas_request(expected, new), invoked)
}

pub(super) fn add(amount: i64, sum: Option<i64>, invoked: u64, returned: u64) -> Operation {
    ok(Request::Add(amount), Response::Added(sum), invoked, returned)
}

pub(super) fn insert(text: &str, invoked: u64, returned: u64) -> Operation {
    ok(Request::SetAdd(text.into()), Response::Written, invoked, returned)
}

pub(super) fn lost_insert(text: &str, invoked: u64) -> Operation {
    lost(Request::SetAdd(text.into()), invoked)
}

pub(super) fn failed_insert(text: &str, invoked: u64, returned: u64) -> Operation {
    operation(Request::SetAdd(text.into()), Outcome::Fail, invoked, returned)
}

pub(super) fn list(texts: &[&str], invoked: u64, returned: u64) -> Operation {
    let values = texts.iter().map(|text| Value::from(*text)).collect();
    ok(Request::SetRead, Response::Elements(values), invoked, returned)
}

pub(super) fn history(operations: &[Operation]) -> History {
    let mut history = History::default();
    for operation in operations {
        history.push(operation.clone()).expect("a well formed operation");
    }
    history
}

pub(super) fn judge(operations: &[Operation]) -> Report {
    check(&history(operations), Limits::default())
}
