//! What a leader has to do by time.

use flotilla_base::{Bug, Moment, PeerId};
use raft::StateRole;
use raft::eraftpb::{Message as RaftMessage, MessageType};

use crate::config::GroupConfig;
use crate::group::Group;
use crate::membership::Heard;
use crate::quiescence::Idleness;

/// The deadlines of one lead, and what it knows by them.
#[derive(Debug)]
pub(crate) struct Duties {
    /// The next heartbeat, and the next check that a majority answered.
    pub(crate) heartbeat_at: Moment,
    quorum_check_at: Moment,
    /// The last quorum check was put off because this process stood still.
    is_stall_excused: bool,
    /// The last wake-up that was late by more than a gate: this process had slept.
    awake_since: Moment,
    /// When each member last answered.
    pub(crate) heard: Heard,
    /// Whether there is anything to do at all.
    pub(crate) idleness: Idleness,
}

impl Duties {
    /// Of a peer that does not lead.
    pub(crate) const NONE: Self = Self {
        heartbeat_at: Moment::NEVER,
        quorum_check_at: Moment::NEVER,
        is_stall_excused: false,
        awake_since: Moment(0),
        heard: Heard::NOBODY,
        idleness: Idleness::of_new_lead(0),
    };

    /// A lead begins at `now`.
    pub(crate) fn begin(now: Moment, config: &GroupConfig) -> Self {
        Self {
            heartbeat_at: now + config.timing.heartbeat,
            quorum_check_at: now + config.timing.gate,
            idleness: Idleness::of_new_lead(config.limits.idle_beats),
            ..Self::NONE
        }
    }

    /// Whether there are any.
    pub(crate) fn are_due(&self) -> bool {
        self.heartbeat_at != Moment::NEVER
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Moment {
        self.heartbeat_at.min(self.quorum_check_at)
    }

    pub(crate) const fn awake_since(&self) -> Moment {
        self.awake_since
    }

    /// Behind a sleep everything counts from `now`; members count as heard when their stores were.
    pub(crate) fn go_on(
        &mut self,
        now: Moment,
        config: &GroupConfig,
        heard: impl IntoIterator<Item = (PeerId, Moment)>,
    ) {
        self.heartbeat_at = now;
        self.quorum_check_at = now + config.timing.gate;
        self.is_stall_excused = false;
        for (peer, at) in heard {
            self.heard.note(peer, at);
        }
    }
}

impl Group {
    /// A wake-up that is late by more than a gate finds a process that slept, whatever made it. This can
    /// not keep a lead that others should have: a leader was silent as long, and they campaign meanwhile
    /// unless they slept too.
    fn note_sleep(&mut self, now: Moment) {
        let is_late = now.since(self.next_deadline()) > self.timing().gate;
        if is_late && !self.has_bug(Bug::TICK_BURST_AFTER_STALL) {
            self.duties.awake_since = now;
        }
    }

    pub(crate) fn wake_leader(&mut self, now: Moment) {
        self.note_sleep(now);
        // Before the check of the quorum, which forgets who answered.
        self.mind_transfer(now);
        let timing = self.timing();
        let duties = &mut self.duties;
        if now >= duties.quorum_check_at {
            let is_stalled = now.since(duties.quorum_check_at) > timing.stall;
            // Excused once, not again and again: a leader without followers must find out.
            if is_stalled && !std::mem::replace(&mut duties.is_stall_excused, true) {
                // Answers of the last gate may still be waiting to be read.
                duties.quorum_check_at = now + timing.heartbeat * 2;
            } else {
                duties.is_stall_excused = false;
                duties.quorum_check_at = now + timing.gate;
                let message = RaftMessage {
                    msg_type: MessageType::MsgCheckQuorum,
                    from: self.raw.raft.id,
                    ..RaftMessage::default()
                };
                let _steps_down_by_itself = self.raw.raft.step(message);
            }
        }
        if now >= self.duties.heartbeat_at && self.raw.raft.state == StateRole::Leader {
            self.duties.heartbeat_at = now + timing.heartbeat;
            self.beat_or_ask();
        }
    }
}
