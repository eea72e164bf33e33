//! Every order of a few operations, tried one after the other: slow and plain, for comparison.

use crate::{Operation, Outcome, Request, Response, Value};

/// Whether some order explains the operations of one register.
pub(super) fn has_order(operations: &[Operation]) -> bool {
    let left: Vec<&Operation> = operations.iter().filter(|it| !it.is_failed()).collect();
    explain(&left, None)
}

fn explain(left: &[&Operation], content: Option<&Value>) -> bool {
    if left.iter().all(|operation| operation.outcome == Outcome::Unknown) {
        return true;
    }
    (0..left.len()).any(|chosen| {
        let next = left[chosen];
        let mut rest = left.to_vec();
        rest.remove(chosen);
        let is_allowed = !rest.iter().any(|other| other.is_before(next));
        is_allowed && behind(next, content).is_some_and(|content| explain(&rest, content.as_ref()))
    })
}

/// The content behind `operation`; `None` where its answer is wrong there.
fn behind(operation: &Operation, content: Option<&Value>) -> Option<Option<Value>> {
    let told = operation.response();
    let (answer, content) = match &operation.request {
        Request::Read => (Response::Found(content.cloned()), content.cloned()),
        Request::Write(new) => (Response::Written, new.clone()),
        Request::Cas { expected, new } => {
            let (swapped, found) = (content == expected.as_ref(), content.cloned());
            let content = if swapped { new.clone() } else { found.clone() };
            (Response::Compared { swapped, found }, content)
        }
        Request::Add(amount) => {
            let sum = match content {
                None => *amount,
                Some(Value::Number(number)) => number + amount,
                Some(Value::Text(_)) => return None,
            };
            let is_told = !matches!(told, Some(Response::Added(None)));
            (Response::Added(is_told.then_some(sum)), Some(sum.into()))
        }
        Request::SetAdd(_) | Request::SetRead => unreachable!("sets are compared by element"),
    };
    told.is_none_or(|told| *told == answer).then_some(content)
}

/// Whether every element of a set has an order: it is absent, then added, then there.
pub(super) fn has_order_of_elements(operations: &[Operation], elements: &[Value]) -> bool {
    elements.iter().all(|element| {
        let of_element = operations.iter().filter_map(|operation| {
            let mut operation = operation.clone();
            match (&operation.request, &operation.outcome) {
                (Request::SetAdd(value), _) if value == element => {
                    operation.request = Request::Write(Some(element.clone()));
                }
                (Request::SetRead, Outcome::Ok(Response::Elements(values))) => {
                    let found = values.contains(element).then(|| element.clone());
                    operation.request = Request::Read;
                    operation.outcome = Outcome::Ok(Response::Found(found));
                }
                _ => return None,
            }
            Some(operation)
        });
        has_order(&of_element.collect::<Vec<_>>())
    })
}
