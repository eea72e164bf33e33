//! A member says that it leads only while nobody else may, and only while its own disk keeps up.
//!
//! The judge sees until when each member was told that it may say so, in true time, and how old its oldest
//! write is that is not durable.

use std::collections::BTreeMap;

use flotilla_base::{Moment, PeerId, Span};

use crate::judge::{Verdict, require};

const ALONE: &str = "one member at a time says that it leads";
const DISK: &str = "a member whose disk stands still does not say that it leads";

/// What each member may say.
#[derive(Debug)]
pub struct LeadJudge {
    /// How old the oldest write of a member may be that says that it leads.
    longest: Span,
    /// First moment of true time at which each lease has ended.
    leases: BTreeMap<PeerId, Moment>,
}

impl LeadJudge {
    /// A judge of members whose oldest write may be so old, by the slowest of their clocks.
    #[must_use]
    pub const fn new(longest: Span) -> Self {
        Self { longest, leases: BTreeMap::new() }
    }

    /// A member is told until when, in true time, it may say that it leads.
    ///
    /// # Errors
    /// Another one may, too.
    pub fn on_lease(&mut self, member: PeerId, now: Moment, ends: Option<Moment>) -> Verdict {
        let Some(ends) = ends else {
            self.leases.remove(&member);
            return Ok(());
        };
        self.leases.insert(member, ends);
        if ends <= now { Ok(()) } else { self.check_alone(member, now) }
    }

    /// A member is gone.
    pub fn on_crash(&mut self, member: PeerId) {
        self.leases.remove(&member);
    }

    /// A member gives an answer that only a leader gives. Its oldest write that is not durable was made
    /// at `written`.
    ///
    /// # Errors
    /// Another one may say so now, or the disk stands still.
    pub fn on_claim(&self, member: PeerId, now: Moment, written: Option<Moment>) -> Verdict {
        self.check_alone(member, now)?;
        let age = written.map_or(Span::ZERO, |written| now.since(written));
        require(age <= self.longest, DISK, || {
            format!("member {member} at {now}: its oldest write is {age} old")
        })
    }

    fn check_alone(&self, member: PeerId, now: Moment) -> Verdict {
        let rival = self.leases.iter().find(|(other, ends)| **other != member && **ends > now);
        require(rival.is_none(), ALONE, || format!("member {member} at {now}, beside {rival:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: PeerId = PeerId(1);
    const OTHER: PeerId = PeerId(2);
    const GATE: Span = Span(800);

    fn rule(verdict: Verdict) -> Option<&'static str> {
        verdict.err().map(|violation| violation.rule)
    }

    #[test]
    fn two_at_once_are_found() {
        let mut judge = LeadJudge::new(GATE);
        assert_eq!(judge.on_lease(ONE, Moment(10), Some(Moment(100))), Ok(()));
        assert_eq!(rule(judge.on_claim(OTHER, Moment(99), None)), Some(ALONE));
        assert_eq!(rule(judge.on_lease(OTHER, Moment(99), Some(Moment(200)))), Some(ALONE));
    }

    #[test]
    fn one_after_the_other_is_no_crime() {
        for end in 0..3 {
            let mut judge = LeadJudge::new(GATE);
            assert_eq!(judge.on_lease(ONE, Moment(10), Some(Moment(100))), Ok(()));
            let mut now = Moment(50);
            match end {
                0 => assert_eq!(judge.on_lease(ONE, now, None), Ok(())),
                1 => judge.on_crash(ONE),
                _ => now = Moment(100),
            }
            assert_eq!(judge.on_lease(OTHER, now, Some(Moment(200))), Ok(()));
            assert_eq!(judge.on_claim(OTHER, now, None), Ok(()));
        }
    }

    #[test]
    fn one_with_a_hung_disk_is_found() {
        let judge = LeadJudge::new(GATE);
        assert_eq!(judge.on_claim(ONE, Moment(900), Some(Moment(100))), Ok(()));
        assert_eq!(rule(judge.on_claim(ONE, Moment(901), Some(Moment(100)))), Some(DISK));
    }
}
