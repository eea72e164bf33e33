//! What happens when a thread of this crate panics.

use std::panic::{self, AssertUnwindSafe};

use crate::sync::{Arc, thread};

/// Told the name of the thread that panicked.
pub(crate) type OnPanic = Arc<dyn Fn(&str) + Send + Sync>;

/// Ends the process: a store that lost one of these threads would look alive and make no progress.
pub(crate) fn abort_on_panic() -> OnPanic {
    Arc::new(|_| std::process::abort())
}

/// Runs the body of a thread, and reports a panic before it goes on unwinding.
pub(crate) fn guard(body: impl FnOnce(), on_panic: &OnPanic) {
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(body)) {
        on_panic(thread::current().name().unwrap_or("unnamed"));
        panic::resume_unwind(payload);
    }
}
