//! One attempt at something costly, shared by everybody who waits for it.
//!
//! When a store dies, hundreds of calls want a new connection at the same moment: one task makes
//! it, all of them get its outcome, and a failed outcome is forgotten by the first who reads it.

use std::{fmt, future::Future, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::watch;

type Outcome<T> = Option<Result<T, Arc<str>>>;

/// A value that is made on demand, kept while it is good, and made anew after a `discard`.
pub(crate) struct Flight<T> {
    current: Mutex<Current<T>>,
}

struct Current<T> {
    number: u64,
    outcome: Option<watch::Receiver<Outcome<T>>>,
}

/// A value and the number of the attempt that made it.
#[derive(Clone, Debug)]
pub(crate) struct Landed<T> {
    pub(crate) value: T,
    pub(crate) number: u64,
}

impl<T> Default for Flight<T> {
    fn default() -> Self {
        Self { current: Mutex::new(Current { number: 0, outcome: None }) }
    }
}

impl<T> fmt::Debug for Flight<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").finish_non_exhaustive()
    }
}

impl<T: Clone + Send + Sync + 'static> Flight<T> {
    /// The value; `make` starts where there is none and nobody is making one. It runs in a task of
    /// its own, so that a waiter that goes away does not take it along; it must end by itself.
    pub(crate) async fn get<F>(&self, make: impl FnOnce() -> F) -> Result<Landed<T>, Arc<str>>
    where
        F: Future<Output = Result<T, String>> + Send + 'static,
    {
        let (number, mut receiver) = self.join(make);
        let outcome = match receiver.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            // The task ended without an outcome: the runtime is shutting down.
            Err(_no_sender) => None,
        };
        match outcome {
            Some(Ok(value)) => Ok(Landed { value, number }),
            Some(Err(why)) => {
                self.discard(number);
                Err(why)
            }
            None => {
                self.discard(number);
                Err(Arc::from("the attempt was given up"))
            }
        }
    }

    /// Forgets the value of attempt `number`, if it is still the current one.
    pub(crate) fn discard(&self, number: u64) {
        let mut current = self.current.lock();
        if current.number == number {
            current.outcome = None;
        }
    }

    fn join<F>(&self, make: impl FnOnce() -> F) -> (u64, watch::Receiver<Outcome<T>>)
    where
        F: Future<Output = Result<T, String>> + Send + 'static,
    {
        let mut current = self.current.lock();
        if let Some(outcome) = &current.outcome {
            return (current.number, outcome.clone());
        }
        let (sender, receiver) = watch::channel(None);
        let attempt = make();
        tokio::spawn(async move {
            sender.send_replace(Some(attempt.await.map_err(Arc::from)));
        });
        current.number += 1;
        current.outcome = Some(receiver.clone());
        (current.number, receiver)
    }
}
