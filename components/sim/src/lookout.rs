//! The lookout: sees rare situations in what replicas take in and give out, and counts them.

use std::collections::{BTreeMap, BTreeSet};

use flotilla_base::{Index, Moment, PeerId, PeerRole, RegionId, Span, StoreId, Term, limit};
use flotilla_multiraft::{Input, MembershipInput, Notice, PeerMessage, Replica};
use flotilla_raftgroup::{MessageKind, Role, RoleChange};

use crate::event::Ticket;
use crate::judge::{Judges, Place, sleep};
use crate::marks::{self, Mark, Marks};

/// What is remembered to tell a rare situation from a common one.
#[derive(Debug, Default)]
pub struct Lookout {
    /// How often each mark was reached.
    pub marks: Marks,
    /// Who led last, and whether that store crashed since.
    leaders: BTreeMap<RegionId, (StoreId, bool)>,
    /// Regions that splits made, and the store whose peer was to lead each at once.
    births: BTreeMap<RegionId, Option<StoreId>>,
    candidates: BTreeMap<(RegionId, Term), PeerId>,
    /// Terms in which a peer campaigns because it was told to.
    chosen: BTreeSet<(Place, Term)>,
    /// Orders to campaign that have arrived.
    told: BTreeSet<(Place, Term, Index)>,
}

impl Lookout {
    /// Counts.
    pub fn reach(&mut self, mark: Mark) {
        self.marks.reach(mark);
    }

    /// A peer says what it is now; `last` is the end of its log, `known` the last index that any store
    /// knows committed.
    pub fn on_role(&mut self, place: Place, peer: PeerId, change: RoleChange, log: (Index, Index)) {
        let Place(store, region) = place;
        let RoleChange { role, term, .. } = change;
        if role == Role::Candidate {
            let first = *self.candidates.entry((region, term)).or_insert(peer);
            self.marks.reach_if(first != peer, marks::VOTE_SPLIT);
        }
        if role == Role::Leader {
            let before = self.leaders.insert(region, (store, false));
            let chosen = self.births.get(&region).copied();
            let is_elsewhere = chosen.is_some_and(|chosen| chosen != Some(store));
            self.marks.reach_if(before.is_none() && is_elsewhere, marks::SPLIT_LED_ELSEWHERE);
            let is_after_crash = before.is_some_and(|(other, crashed)| crashed && other != store);
            self.marks.reach_if(is_after_crash, marks::LEADER_CRASHED);
            let (last, known) = log;
            self.marks.reach_if(last > known, marks::INHERITED);
            self.marks.reach_if(self.chosen.contains(&(place, term)), marks::TRANSFERRED);
        }
    }

    /// A split's child is born on a store.
    pub fn on_birth(&mut self, Place(store, region): Place, leads: bool) {
        let chosen = self.births.entry(region).or_default();
        if leads {
            *chosen = Some(store);
        }
    }

    /// A store is gone.
    pub fn on_crash(&mut self, store: StoreId) {
        for (leader, crashed) in self.leaders.values_mut() {
            *crashed |= *leader == store;
        }
    }
}

/// Looks at one replica for the length of one turn.
#[derive(Debug)]
pub struct TurnWatch {
    place: Place,
    /// The store's clock.
    now: Moment,
    gate: Span,
    before: RoleChange,
    was_transferring: bool,
    is_told_to_transfer: bool,
    reads: usize,
    was_asleep: bool,
    /// The end of the log of a leader that asks whether to sleep.
    asked: Index,
    /// What the replica slept up to.
    woken_by: Option<Mark>,
    /// Whose message it takes.
    heard: Option<PeerId>,
}

/// Whether the sender is a member, or may be one of a membership that the receiver does not know yet.
fn is_heard(message: &PeerMessage, replica: &Replica<Ticket>) -> bool {
    let region = replica.region();
    let is_member = region.peer(message.from.id).is_some();
    is_member || message.epoch.conf_ver >= region.epoch.conf_ver
}

impl TurnWatch {
    /// A turn begins.
    #[must_use]
    pub fn begin(place: Place, replica: &Replica<Ticket>, now: Moment, gate: Span) -> Self {
        let (group, before) = (replica.group(), replica.role());
        let was_transferring = group.is_transferring();
        let (is_told_to_transfer, was_asleep) = (false, replica.is_asleep());
        let (reads, asked, woken_by, heard) = (0, Index(0), None, None);
        Self {
            place,
            now,
            gate,
            before,
            was_transferring,
            is_told_to_transfer,
            reads,
            was_asleep,
            asked,
            woken_by,
            heard,
        }
    }

    /// An input is about to be taken.
    pub fn before_input(
        &mut self,
        input: &Input<Ticket>,
        replica: &Replica<Ticket>,
        judges: &mut Judges,
    ) {
        if replica.is_asleep() {
            self.woken_by = Some(match input {
                Input::Notice(Notice::StoreChanged { .. })
                    if replica.role().role == Role::Leader =>
                {
                    marks::WOKEN_BY_RETURN
                }
                Input::Notice(Notice::StoreChanged { .. }) => marks::WOKEN_BY_SILENCE,
                Input::Message(_) => marks::WOKEN_BY_MESSAGE,
                _ => marks::WOKEN_BY_REQUEST,
            });
        }
        match input {
            Input::Message(message) => {
                self.asked = message.message.index;
                self.heard = is_heard(message, replica).then_some(message.from.id);
                self.on_message(message, replica, judges);
            }
            Input::Membership(input) => self.on_membership(input, replica, judges),
            Input::Transfer(_) => self.is_told_to_transfer = true,
            Input::Read(_) | Input::ReplicaRead(_) => self.reads += 1,
            _ => {}
        }
    }

    fn on_message(&self, message: &PeerMessage, replica: &Replica<Ticket>, judges: &mut Judges) {
        let lookout = &mut judges.lookout;
        let (kind, term) = (message.message.kind, message.message.term);
        let group = replica.group();
        match kind {
            MessageKind::RequestVote | MessageKind::RequestPreVote => {
                let is_refused = judges.votes.gate.on_request(self.place, message, self.now);
                lookout.marks.reach_if(is_refused && !group.is_leader(), marks::GATE_REFUSED);
            }
            MessageKind::HeartbeatResponse if group.is_leader() && term == replica.role().term => {
                let store = message.from.store;
                judges.records.retention.on_heard(self.place, store, self.now);
            }
            MessageKind::AppendResponse => {
                let is_refusal = message.message.reject.is_some() && group.is_leader();
                let is_short = group.truncated().index > Index(limit::FIRST_INDEX);
                lookout.marks.reach_if(is_refusal && is_short, marks::TRUNCATED_PROBE);
            }
            MessageKind::TimeoutNow => {
                let is_first = lookout.told.insert((self.place, term, message.message.index));
                lookout.marks.reach_if(!is_first, marks::TRANSFER_TWICE);
                lookout.marks.reach_if(term < replica.role().term, marks::TRANSFER_LATE);
            }
            _ => {}
        }
    }

    fn on_membership(
        &self,
        input: &MembershipInput<Ticket>,
        replica: &Replica<Ticket>,
        judges: &mut Judges,
    ) {
        if let MembershipInput::ChangePeers(request) = input
            && replica.group().is_leader()
        {
            let (region, committed) = (self.place.1, replica.group().committed());
            let asked = request.command.epoch.conf_ver;
            judges.votes.members.on_asked(region, asked, committed);
        }
        let MembershipInput::Changed(changed) = input else { return };
        let own = changed.region.peer(replica.peer());
        if own.is_none() {
            judges.votes.members.on_removed(self.place, replica.peer());
        }
        let stays = own.is_some_and(|own| own.role != PeerRole::Learner);
        let is_deposed = !stays && replica.group().is_leader();
        judges.lookout.marks.reach_if(is_deposed, marks::LEADER_REMOVED);
    }

    /// A message was taken: what it made of the replica.
    pub fn after_message(
        &self,
        (kind, from, term): (MessageKind, PeerId, Term),
        replica: &Replica<Ticket>,
        judges: &mut Judges,
    ) {
        let RoleChange { role, term: now_in, leader } = replica.role();
        let is_from_leader = now_in == term && leader == Some(from);
        let is_sign = matches!(kind, MessageKind::Heartbeat | MessageKind::Quiesce);
        // Whoever is known to be removed is not heard, and renews no lease: nobody answers its heartbeats.
        if is_sign && is_from_leader && self.heard == Some(from) {
            judges.votes.gate.close(self.place, self.now, self.gate);
        }
        if kind == MessageKind::Quiesce && replica.is_asleep() {
            judges.note(sleep::check_consent(self.place, self.asked, replica.applied()));
        }
        if kind == MessageKind::TimeoutNow && role != Role::Follower && now_in == term.next() {
            judges.lookout.chosen.insert((self.place, now_in));
        }
    }

    /// The replica is drained.
    pub fn end(self, replica: &Replica<Ticket>, lookout: &mut Lookout) {
        let after = replica.role();
        let group = replica.group();
        let is_same_term = self.before.term == after.term;
        let led = self.before.role == Role::Leader;
        let leads = after.role == Role::Leader && is_same_term;
        let marks = &mut lookout.marks;
        let sleeps = replica.is_asleep();
        let falls_asleep = sleeps && !self.was_asleep && leads;
        marks.reach_if(falls_asleep, marks::QUIESCED);
        marks.reach_if(falls_asleep && replica.remembers_removed(), marks::SLEPT_ON_REMOVAL);
        if let Some(mark) = self.woken_by {
            marks.reach_if(self.was_asleep && !sleeps, mark);
        }
        marks.reach_if(led && is_same_term && !leads, marks::QUORUM_CHECK);
        let is_over = self.was_transferring && !group.is_transferring();
        marks.reach_if(led && leads && is_over, marks::TRANSFER_ABORTED);
        let is_begun = !self.was_transferring && group.is_transferring();
        marks.reach_if(is_begun && !self.is_told_to_transfer, marks::STALL_TRANSFER);
        let needs_round = leads && group.can_read() && group.leased_index(self.now).is_none();
        marks.reach_if(needs_round && self.reads > 0, marks::READ_INDEX);
        marks.reach_if(needs_round && self.reads > 1, marks::READ_BATCH);
    }
}
