//! Clients that compare and swap: counters, of which nothing may be lost or counted twice, and values that are
//! replaced only by who knows them.

use std::{sync::Arc, time::Duration};

use flotilla_client::{RawKv, Swap};
use flotilla_histcheck::{Request, Response, Value};
use tokio::time::sleep;

use crate::{
    clients::{Filled, Hand, content},
    ledger::Ledger,
};

/// Time between two calls of one client.
const PERIOD: Duration = Duration::from_millis(25);
/// Calls for one key. A checker searches for an order of all of them, so there must not be too many.
const CALLS: u64 = 150;

/// The keys so far: each is used for some time by all clients.
pub(crate) type Swapped = Filled<CALLS>;

fn counter(number: u64) -> String {
    format!("c/{number:06}")
}

fn word(number: u64) -> String {
    format!("w/{number:06}")
}

/// Adds to counters and swaps words, until the run is over.
pub(crate) async fn swap(mut hand: Hand, raw: RawKv, keys: Arc<Swapped>) {
    // What was seen last of the word, perhaps long ago.
    let mut seen = (String::new(), None);
    while !hand.ledger.is_over() {
        sleep(PERIOD).await;
        let (number, raw) = (keys.grow(1), raw.with_deadline(hand.patience()));
        if hand.rng.chance(500) {
            let key = counter(number);
            let call = async {
                let sum = raw.add(key.clone(), 1).await.map_err(|error| error.applied())?;
                Ok(Response::Added(Some(sum)))
            };
            Box::pin(hand.attempt(vec![(key.clone(), Request::Add(1))], call)).await;
            continue;
        }
        let key = word(number);
        if seen.0 != key {
            seen = (key.clone(), None);
        }
        let (expected, new) = (seen.1.take(), hand.unique());
        let asked = Request::Cas { expected: text(&expected), new: text(&Some(new.clone())) };
        let call = async {
            let swap = raw.compare_and_swap(
                key.clone(),
                expected.map(Into::into),
                Some(new.clone().into()),
            );
            let Swap { is_done: swapped, found } = swap.await.map_err(|error| error.applied())?;
            let found = found.map(|found| String::from_utf8(found.into()).expect("text"));
            seen.1 = if swapped { Some(new) } else { found.clone() };
            Ok(Response::Compared { swapped, found: text(&found) })
        };
        Box::pin(hand.attempt(vec![(key.clone(), asked)], call)).await;
    }
}

fn text(value: &Option<String>) -> Option<Value> {
    value.as_deref().map(Value::from)
}

fn number(bytes: Option<&[u8]>) -> Option<i64> {
    bytes.map(|bytes| {
        let digits = std::str::from_utf8(bytes).expect("numbers are text");
        digits.parse().expect("counters hold numbers")
    })
}

/// Reads all of them, with the patience of `raw`.
pub(crate) async fn read_back(ledger: &Ledger, raw: &RawKv, keys: &Swapped) {
    let reader = ledger.new_client();
    for at in 0..keys.count() {
        let call = async {
            let found = raw.get(counter(at)).await.expect("the cluster is up");
            Ok(Response::Found(number(found.as_deref()).map(Value::from)))
        };
        ledger.attempt(reader, vec![(counter(at), Request::Read)], call).await;
        let call = async {
            let found = raw.get(word(at)).await.expect("the cluster is up");
            Ok(content(found.as_deref()))
        };
        ledger.attempt(reader, vec![(word(at), Request::Read)], call).await;
    }
}
