//! Election safety: at most one leader in a term, by what peers say of themselves and by what they send.

use std::collections::BTreeMap;

use flotilla_base::{PeerId, RegionId, Term};
use flotilla_multiraft::PeerMessage;
use flotilla_raftgroup::{MessageKind, Role, RoleChange};

use super::{Verdict, require};

const SAFETY: &str = "election safety";

/// Who led which term.
#[derive(Debug, Default)]
pub struct ElectionJudge {
    leaders: BTreeMap<(RegionId, Term), PeerId>,
}

impl ElectionJudge {
    /// A peer says what it is now.
    ///
    /// # Errors
    /// Another peer led that term.
    pub fn on_role(&mut self, region: RegionId, peer: PeerId, change: RoleChange) -> Verdict {
        if change.role != Role::Leader {
            return Ok(());
        }
        self.on_leader(region, change.term, peer)
    }

    /// A message leaves that only a leader sends.
    ///
    /// # Errors
    /// Another peer led that term.
    pub fn on_message(&mut self, message: &PeerMessage) -> Verdict {
        let kind = message.message.kind;
        if !matches!(kind, MessageKind::Append | MessageKind::Heartbeat | MessageKind::TimeoutNow) {
            return Ok(());
        }
        self.on_leader(message.region, message.message.term, message.from.id)
    }

    /// How many terms had a leader, over all regions.
    #[must_use]
    pub fn elections(&self) -> u64 {
        self.leaders.len() as u64
    }

    fn on_leader(&mut self, region: RegionId, term: Term, peer: PeerId) -> Verdict {
        let before = *self.leaders.entry((region, term)).or_insert(peer);
        require(before == peer, SAFETY, || {
            format!("region {region} term {term}: {before} led, and now {peer}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::{REGION, broken, message};

    fn leads(judge: &mut ElectionJudge, peer: u64, term: u64) -> Verdict {
        let change = RoleChange { role: Role::Leader, term: Term(term), leader: None };
        judge.on_role(REGION, PeerId(peer), change)
    }

    #[test]
    fn two_leaders_of_one_term_are_found() {
        let mut judge = ElectionJudge::default();
        assert_eq!(leads(&mut judge, 201, 6), Ok(()));
        assert_eq!(leads(&mut judge, 202, 7), Ok(()));
        assert_eq!(leads(&mut judge, 201, 6), Ok(()));
        let follows = RoleChange { role: Role::Candidate, term: Term(6), leader: None };
        assert_eq!(judge.on_role(REGION, PeerId(203), follows), Ok(()));
        assert_eq!(broken(leads(&mut judge, 202, 6)), SAFETY);
        assert_eq!(judge.elections(), 2);
    }

    #[test]
    fn whoever_sends_as_a_leader_is_taken_for_one() {
        let mut judge = ElectionJudge::default();
        assert_eq!(leads(&mut judge, 202, 6), Ok(()));
        assert_eq!(judge.on_message(&message(MessageKind::AppendResponse, 6)), Ok(()));
        assert_eq!(broken(judge.on_message(&message(MessageKind::Heartbeat, 6))), SAFETY);
    }
}
