//! Results on standard output.

use std::io::{self, ErrorKind, Write as _};

/// Writes `text` as it is. A reader that has gone away, as `head` does, is no error: the exit code says how it went.
///
/// # Panics
///
/// Where the output cannot be written for another reason, such as a full disk.
pub(crate) fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    if let Err(cause) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        assert!(cause.kind() == ErrorKind::BrokenPipe, "cannot write the output: {cause}");
    }
}
