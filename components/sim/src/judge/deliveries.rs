//! Rule F5: a replica knows that its log is durable before anybody else hears of it.

use super::{Verdict, require};

const NOTICE_FIRST: &str = "F5: Persisted is in the inbox before the messages leave";

/// What happened while one replica's durable write was delivered.
#[derive(Debug, Default)]
pub struct DeliveryJudge {
    is_told: bool,
}

impl DeliveryJudge {
    /// The notice is in the replica's inbox.
    pub const fn on_persisted(&mut self) {
        self.is_told = true;
    }

    /// Messages that waited leave.
    ///
    /// # Errors
    /// Before the notice.
    pub fn on_send(&self) -> Verdict {
        require(self.is_told, NOTICE_FIRST, || "messages overtook the notice".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::broken;

    #[test]
    fn messages_that_overtake_the_notice_are_found() {
        let mut judge = DeliveryJudge::default();
        assert_eq!(broken(judge.on_send()), NOTICE_FIRST);
        judge.on_persisted();
        assert_eq!(judge.on_send(), Ok(()));
    }
}
