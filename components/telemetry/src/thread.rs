//! Threads with names.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Starts a thread called `name`; the system shows the first 15 bytes of it.
///
/// # Errors
/// The system has no thread to give.
pub fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(body)
}
