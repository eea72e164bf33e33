//! What a group does while nothing of it can be written: its lead is kept alive, and reads are confirmed.
//!
//! A disk that is slow for a moment must not look like a dead process. Heartbeats, their answers and the
//! questions of reads promise nothing about the log, so they need no write of their own. Everything else waits
//! in the crate until there is room: no Ready is taken, so nothing of its order of work is touched.

use raft::eraftpb::MessageType;

use crate::group::{Group, GroupReady};
use crate::message::message_from_raft;

impl Group {
    /// The part of the next piece of work that needs no write; `None` when there is none. Nothing in it is to
    /// be written, and nothing of it counts as outstanding.
    pub fn collect_unwritten(&mut self) -> Option<GroupReady> {
        if self.raw.store().is_damaged() {
            return None;
        }
        self.serve_requests();
        self.tell_successor();
        let mut work = GroupReady { is_complete: true, ..GroupReady::default() };
        let confirmed = std::mem::take(&mut self.raw.raft.read_states);
        self.grant_reads(confirmed, &mut work);
        // A message of a term that a crash could forget stays where it is (rule F0).
        if self.is_promise_durable() {
            self.take_signs_of_life(&mut work);
        }
        work.role_change = self.take_role_change();
        let has_work =
            !work.send_now.is_empty() || !work.reads.is_empty() || work.role_change.is_some();
        has_work.then_some(work)
    }

    fn take_signs_of_life(&mut self, work: &mut GroupReady) {
        let is_sign = |message: &raft::eraftpb::Message| {
            let kind = message.msg_type;
            matches!(kind, MessageType::MsgHeartbeat | MessageType::MsgHeartbeatResponse)
        };
        let waiting = std::mem::take(&mut self.raw.raft.msgs);
        let (signs, others): (Vec<_>, Vec<_>) = waiting.into_iter().partition(is_sign);
        self.raw.raft.msgs = others;
        let own = self.reading.take_outbox();
        let messages = signs.into_iter().filter_map(message_from_raft);
        self.sort_messages(messages.chain(own), work);
        // Signs of a lead that has ended meanwhile: lost, as any message may be.
        work.send_after_persist.clear();
    }
}
