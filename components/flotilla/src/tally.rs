//! What became of the batches of a command that sends many.

use flotilla_client::{Applied, Error};

use crate::fault::Fault;

/// The keys that are done, and what went wrong first.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    keys: u64,
    failed: Option<Fault>,
    /// Whether there is a batch of which nobody knows whether it took effect.
    is_open: bool,
}

impl Tally {
    /// A batch ended: the number of its keys, or why it failed.
    pub(crate) fn add(&mut self, ended: Result<u64, Error>) {
        match ended {
            Ok(keys) => self.keys += keys,
            Err(error) => {
                self.is_open |= error.applied() != Applied::No;
                self.fail(error.into());
            }
        }
    }

    /// Something else went wrong. What went wrong first is what the user has to know.
    pub(crate) fn fail(&mut self, fault: Fault) {
        self.failed.get_or_insert(fault);
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Keys of the batches that succeeded.
    pub(crate) fn keys(&self) -> u64 {
        self.keys
    }

    /// Every batch has ended: how many keys were `done`, a word like "written".
    ///
    /// # Errors
    /// What went wrong first. Once a key is done, or may be, it does not say any more that nothing was applied.
    pub(crate) fn finish(self, done: &str) -> Result<u64, Fault> {
        let Self { keys, failed, is_open } = self;
        match failed {
            None => Ok(keys),
            Some(fault) if keys == 0 && !is_open => Err(fault),
            Some(fault) => Err(fault.partly_applied(keys, is_open, done)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flotilla_client::{Client, ClientOptions};

    use super::*;
    use crate::catalogue::Exit;

    /// An error that says that certainly nothing was applied.
    fn unreachable() -> Error {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let options =
            ClientOptions { deadline: Duration::from_millis(1), ..ClientOptions::default() };
        let connected = Client::connect(&["127.0.0.1:1"], options);
        runtime.expect("a runtime").block_on(connected).expect_err("nobody listens there")
    }

    #[test]
    fn nothing_was_applied_only_where_no_batch_succeeded() {
        let mut tally = Tally::default();
        tally.add(Err(unreachable()));
        tally.add(Err(unreachable()));
        let fault = tally.finish("written").expect_err("failed");
        assert_eq!(
            (fault.exit(), &fault.to_json()["error"]["applied"]),
            (Exit::Unreachable, &"no".into())
        );

        let mut tally = Tally::default();
        tally.add(Ok(256));
        tally.add(Err(unreachable()));
        tally.add(Ok(1000));
        assert!(tally.has_failed());
        let fault = tally.finish("written").expect_err("failed");
        let error = &fault.to_json()["error"];
        assert_eq!(fault.exit(), Exit::Unknown);
        assert_eq!((&error["code"], &error["applied"]), (&"FLT-2103".into(), &"unknown".into()));
        assert_eq!(error["details"]["keys"], 1256);
        let note = "  note 1,256 keys were written, and no others\n";
        assert!(fault.to_text().contains(note), "{}", fault.to_text());

        let mut tally = Tally::default();
        tally.add(Ok(1));
        assert_eq!(tally.finish("written").expect("all is well"), 1);
    }
}
