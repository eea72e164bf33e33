//! When a peer may vote and when it campaigns: real time is the only authority.
//!
//! The crate counts ticks; we never tick it. A follower that hears its leader closes a *gate* for
//! [`Timing::gate`]: until then it neither grants a vote nor campaigns. Leases rest on this. After a
//! restart the gate is closed for one full length, since the peer may have promised it before the
//! crash; peers created in this run have promised nothing.
//!
//! The first campaign after a silence is ranked, not random: one peer goes first, the next
//! [`Timing::rank_step`] later. Only after a failed round the waits are random. They grow where candidates did
//! not get their votes in time: with disks that take longer than a round they would otherwise overtake each
//! other for ever. A peer that is not even heard, and so gets no pre-votes, goes on asking at the same pace.

use flotilla_base::{Bug, Moment, Rng, Seeded, Span};

use crate::config::Timing;

/// Earliest campaign of the first-ranked peer behind its gate: the others heard the leader's last
/// message up to this much later, and would refuse before their own gates open.
const SETTLE: Span = Span::from_millis(20);

/// So often the waits between campaigns double.
const DOUBLINGS_MAX: u32 = 3;

/// What a wake-up means for a peer that does not lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionWake {
    /// The deadline is not reached.
    Early,
    /// Campaign now.
    Campaign,
    /// This process stood still: listen once more before drawing conclusions.
    Listen,
}

/// The clock of one peer's elections.
#[derive(Clone, Debug)]
pub struct ElectionClock {
    timing: Timing,
    rng: Rng,
    /// Votes and campaigns wait until then. Only ever moves forward.
    gate_until: Moment,
    /// When this peer campaigns if nothing happens; not before `gate_until`.
    campaign_at: Moment,
    /// A stall was already excused since the leader was last heard: excuses must not add up, or an
    /// overloaded peer would never campaign.
    is_stall_excused: bool,
    /// Elections that this peer lost since it heard a leader.
    lost: u32,
    /// The campaign waits for its place among many, not for anything of this group.
    is_queued: bool,
    /// This peer sleeps, and relies on this run of its leader's store.
    asleep_on: Option<u64>,
    seeded: Seeded,
}

impl ElectionClock {
    /// The clock of a peer that starts at `now`: behind a closed gate after a restart, behind an open
    /// one where the peer was created in this run.
    #[must_use]
    pub fn new(timing: Timing, seed: u64, now: Moment, is_restart: bool) -> Self {
        let fence = if is_restart { timing.gate } else { Span::ZERO };
        let mut clock = Self {
            timing,
            rng: Rng::new(seed),
            gate_until: now + fence,
            campaign_at: Moment::NEVER,
            is_stall_excused: false,
            lost: 0,
            is_queued: false,
            asleep_on: None,
            seeded: Seeded::NONE,
        };
        assert!(timing.lease < timing.gate, "a lease ends before anybody else may lead");
        assert!(timing.heartbeat * 2 < timing.lease, "a lease outlives one lost heartbeat");
        clock.campaign_at = now + timing.gate + clock.jitter(timing.round);
        clock
    }

    /// The same clock with what is wrong on purpose.
    #[must_use]
    pub fn with_bugs(self, seeded: Seeded) -> Self {
        Self { seeded, ..self }
    }

    /// The leader of the current term was heard.
    pub fn heard_leader(&mut self, now: Moment, rank: u64) {
        self.gate_until = self.gate_until.max(now + self.timing.gate);
        let spread = self.timing.rank_step * rank + self.jitter(SETTLE);
        let is_patient = !self.seeded.has(Bug::OWN_CAMPAIGN_IGNORES_GATE);
        let gate = if is_patient { self.timing.gate } else { Span::ZERO };
        self.campaign_at = now + gate + SETTLE + spread;
        self.is_stall_excused = false;
        self.lost = 0;
        self.is_queued = false;
    }

    /// From now on there are no deadlines: whoever holds this clock wakes it when this run of the leader's store is
    /// heard no more.
    pub const fn fall_asleep(&mut self, run: u64) {
        self.asleep_on = Some(run);
    }

    /// The run of the leader's store that a sleeping peer relies on.
    #[must_use]
    pub const fn asleep_on(&self) -> Option<u64> {
        self.asleep_on
    }

    /// The leader's store was last heard at that moment, which counts as a word of the leader.
    pub fn rouse(&mut self, heard_at: Moment, rank: u64) {
        self.asleep_on = None;
        if self.seeded.has(Bug::GATE_OPENS_WHILE_LEADER_SLEEPS) {
            self.campaign_at = heard_at + self.timing.gate;
            return;
        }
        self.heard_leader(heard_at, rank);
    }

    /// The leader's store is gone, as for many other groups: this one's turn to campaign comes at `turn`.
    pub fn rouse_into_silence(&mut self, turn: Moment, rank: u64) {
        self.asleep_on = None;
        self.is_stall_excused = false;
        self.lost = 0;
        self.queue_campaign(turn, rank);
    }

    /// Many groups on this store are without a leader; this one's turn to campaign comes at `turn`.
    pub fn queue_campaign(&mut self, turn: Moment, rank: u64) {
        self.campaign_at = turn + self.timing.rank_step * rank + self.jitter(SETTLE);
        self.is_queued = true;
    }

    /// Somebody wants something of the group: it does not wait for its turn, if that is all that it waits for.
    pub fn jump_queue(&mut self, now: Moment, rank: u64) {
        if self.is_queued {
            let at = now + self.timing.rank_step * rank + self.jitter(SETTLE);
            self.campaign_at = self.campaign_at.min(at);
            self.is_queued = false;
        }
    }

    /// A vote was granted: leave its candidate the time of one round.
    pub fn granted_vote(&mut self, now: Moment) {
        self.retry_later(now);
    }

    /// This peer's own campaign begins; the next one is due if this one fails.
    pub fn campaign_started(&mut self, now: Moment) {
        self.retry_later(now);
    }

    /// The time of this peer's election is over, and it got neither the votes nor a leader.
    pub const fn election_lost(&mut self) {
        self.lost += 1;
    }

    /// Leadership was lost or given up: another peer may be ahead, wait a full ranked silence.
    pub fn stepped_down(&mut self, now: Moment, rank: u64) {
        self.lost = 0;
        self.is_queued = false;
        let spread = self.timing.rank_step * rank + self.jitter(SETTLE);
        self.campaign_at = now + self.timing.round + spread;
    }

    /// Whether a vote may be granted at `now`.
    #[must_use]
    pub fn is_open(&self, now: Moment) -> bool {
        now >= self.gate_until
    }

    /// Makes the peer campaign at once. Only the bootstrap may ask for it: nobody else can have a
    /// leader of a group that was just made.
    pub fn campaign_at_once(&mut self, now: Moment) {
        debug_assert!(self.is_open(now), "only a peer without promises may skip its turn");
        self.campaign_at = now;
    }

    /// What a wake-up at `now` means.
    pub fn wake(&mut self, now: Moment) -> ElectionWake {
        let deadline = self.deadline();
        if now < deadline {
            return ElectionWake::Early;
        }
        // Behind a gate that is closed for longer than the campaign waits, nobody stood still.
        let is_stalled = now.since(deadline) > self.timing.stall;
        if is_stalled && !self.is_stall_excused && !self.seeded.has(Bug::TICK_BURST_AFTER_STALL) {
            self.is_stall_excused = true;
            self.campaign_at = now + self.timing.heartbeat;
            return ElectionWake::Listen;
        }
        ElectionWake::Campaign
    }

    /// When [`Self::wake`] has something to say.
    #[must_use]
    pub fn deadline(&self) -> Moment {
        if self.asleep_on.is_some() {
            return Moment::NEVER;
        }
        if self.seeded.has(Bug::OWN_CAMPAIGN_IGNORES_GATE) {
            return self.campaign_at;
        }
        self.campaign_at.max(self.gate_until)
    }

    fn retry_later(&mut self, now: Moment) {
        self.is_queued = false;
        let doublings = self.lost.min(DOUBLINGS_MAX);
        let wait = self.timing.round * (1 << doublings);
        self.campaign_at = now + wait + self.jitter(wait);
    }

    fn jitter(&mut self, most: Span) -> Span {
        Span(self.rng.below(most.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment = Moment(1_000_000_000);

    fn after(millis: u64) -> Moment {
        START + Span::from_millis(millis)
    }

    #[test]
    fn a_closed_gate_is_no_stall() {
        let mut clock = ElectionClock::new(Timing::default(), 1, START, false);
        clock.heard_leader(START, 0);
        // For the successor of that leader, which then says nothing.
        clock.granted_vote(after(10));
        assert_eq!(clock.wake(after(799)), ElectionWake::Early);
        assert_eq!(clock.wake(after(800)), ElectionWake::Campaign);
        clock.campaign_started(after(800));
        assert_eq!(clock.wake(after(2_000)), ElectionWake::Listen, "the excuse is still there");
    }

    #[test]
    fn a_restart_fences_votes_and_campaigns() {
        let mut clock = ElectionClock::new(Timing::default(), 1, START, true);
        assert!(!clock.is_open(after(799)) && clock.is_open(after(800)));
        assert_eq!(clock.wake(after(799)), ElectionWake::Early);
        assert!(ElectionClock::new(Timing::default(), 1, START, false).is_open(START));
    }

    #[test]
    fn first_campaigns_are_ranked() {
        for seed in 0..50 {
            let deadline = |rank| {
                let mut clock = ElectionClock::new(Timing::default(), seed, START, false);
                clock.heard_leader(START, rank);
                clock.deadline()
            };
            assert!(deadline(0) >= after(820) && deadline(0) < after(840));
            assert!(deadline(1) >= after(880) && deadline(1) < after(900));
        }
    }

    /// Two syncs of a slow disk fit between the campaigns of two peers in the end.
    #[test]
    fn waits_grow_with_lost_elections_until_a_leader_is_heard() {
        let mut clock = ElectionClock::new(Timing::default(), 1, START, false);
        let mut now = START;
        for (is_lost, longest) in
            [(false, 240), (false, 240), (true, 480), (true, 960), (true, 1_920), (true, 1_920)]
        {
            if is_lost {
                clock.election_lost();
            }
            clock.campaign_started(now);
            let wait = clock.deadline().since(now);
            let (least, most) = (Span::from_millis(longest / 2), Span::from_millis(longest));
            assert!(wait >= least && wait < most, "{wait} of {longest} ms");
            now = clock.deadline();
        }
        clock.heard_leader(now, 0);
        clock.campaign_started(now + Span::from_millis(800));
        assert!(clock.deadline().since(now) < Span::from_millis(1_040));
    }

    #[test]
    fn a_sleeper_has_no_deadline_and_wakes_behind_the_gate_of_the_last_sign() {
        let mut clock = ElectionClock::new(Timing::default(), 1, START, false);
        clock.heard_leader(START, 0);
        clock.fall_asleep(4);
        assert_eq!((clock.deadline(), clock.asleep_on()), (Moment::NEVER, Some(4)));
        assert_eq!(clock.wake(after(60_000)), ElectionWake::Early);
        clock.rouse(after(60_000), 0);
        assert!(!clock.is_open(after(60_799)) && clock.is_open(after(60_800)));
        assert!(clock.deadline() >= after(60_820) && clock.asleep_on().is_none());
    }

    #[test]
    fn a_campaign_waits_for_its_turn_until_somebody_wants_something() {
        let mut clock = ElectionClock::new(Timing::default(), 1, START, false);
        clock.heard_leader(START, 0);
        clock.fall_asleep(4);
        clock.rouse_into_silence(after(5_000), 1);
        assert!(clock.deadline() >= after(5_060) && clock.is_open(after(800)));
        clock.jump_queue(after(2_000), 0);
        assert!(clock.deadline() < after(2_020));
        clock.campaign_started(after(2_020));
        let deadline = clock.deadline();
        clock.jump_queue(after(2_021), 0);
        assert_eq!(clock.deadline(), deadline, "it waits for votes, not for its turn");
    }

    #[test]
    fn a_stall_is_excused_once() {
        let mut clock = ElectionClock::new(Timing::default(), 1, START, false);
        clock.heard_leader(START, 0);
        assert_eq!(clock.wake(after(5_000)), ElectionWake::Listen);
        assert_eq!(clock.wake(after(5_100)), ElectionWake::Early);
        assert_eq!(clock.wake(after(9_000)), ElectionWake::Campaign);
    }
}
