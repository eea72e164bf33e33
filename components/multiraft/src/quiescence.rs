//! When a replica sleeps, and what wakes it: the half of [`flotilla_raftgroup::quiescence`] that knows stores, requests
//! and the state machine.
//!
//! | what happens | a sleeping leader | a sleeping follower |
//! |---|---|---|
//! | a request, or an order of the placement driver | wakes, and stays awake for a while | wakes |
//! | a message, other than an answer to a heartbeat or to the question | wakes, and asks again | wakes |
//! | the leader's store falls silent, or runs anew | | wakes and campaigns in its turn |
//! | a member's store begins to live, or runs anew | wakes, and asks again | |
//! | so does that of a member which was removed, or it is gone for good | wakes, and ends the removal | |
//! | a member's store falls silent | sleeps on | sleeps on |
//!
//! A wake-up that was not needed costs one round of messages. One that is lost costs a region without a leader.

use std::collections::BTreeSet;

use flotilla_base::{Bug, Moment, PeerId, Rng, Span, StoreId};
use flotilla_raftgroup::{MessageKind, Question};

use crate::input::{Input, MembershipInput, Notice, PeerMessage};
use crate::liveness::Liveness;
use crate::membership::is_joint;
use crate::replica::{Lifecycle, Replica};

/// So much time each region gets in which nobody else is to campaign, where many of one store wake at once.
const TURN: Span = Span::from_micros(100);

/// All of them have had their turn by then.
const SPREAD_MAX: Span = Span::from_millis(1_000);

/// Behind a start of all stores every region needs an election, which costs more than the rest of a start: they get
/// more time each.
const TURN_AT_START: Span = Span::from_micros(400);

/// The time over which the campaigns of so many regions are spread that lose their leader at once.
#[must_use]
pub fn spread_of(regions: usize) -> Span {
    (TURN * regions as u64).min(SPREAD_MAX)
}

/// The time over which the campaigns of so many regions are spread that start at once.
#[must_use]
pub fn spread_at_start(regions: usize) -> Span {
    TURN_AT_START * regions as u64
}

impl<T> Input<T> {
    /// Whether somebody wants something of the region.
    const fn is_request(&self) -> bool {
        match self {
            Self::Propose(_)
            | Self::Split(_)
            | Self::Read(_)
            | Self::ReplicaRead(_)
            | Self::Transfer(_)
            | Self::Notice(Notice::InUse) => true,
            Self::Message(message) => {
                matches!(message.message.kind, MessageKind::ReadIndex)
            }
            _ => false,
        }
    }

    /// Whether it ends a sleep, besides requests. What only a peer that is awake has asked for does so too: it cannot come
    /// in a sleep, and if it did, being awake is safe.
    const fn is_alarming(&self) -> bool {
        match self {
            Self::Message(message) => !matches!(
                message.message.kind,
                MessageKind::HeartbeatResponse | MessageKind::QuiesceResponse
            ),
            Self::Bootstrap { .. } | Self::Born(_) | Self::Snapshot(_) | Self::SplitDone(_) => true,
            Self::Membership(_) => true,
            _ => false,
        }
    }
}

impl<T> Replica<T> {
    /// Whether the replica has no deadlines until something concerns it.
    #[must_use]
    pub fn is_asleep(&self) -> bool {
        self.life == Lifecycle::Active && self.group.is_asleep()
    }

    /// The store, and its run, that this sleeping follower takes for its leader.
    #[must_use]
    pub fn sleeps_on(&self) -> Option<(StoreId, u64)> {
        let run = self.group.asleep_on()?;
        Some((self.store_of_leader()?, run))
    }

    /// In front of every input: what ends a sleep does so before it is taken.
    pub(crate) fn mind_sleep(&mut self, now: Moment, input: &Input<T>) {
        if self.life != Lifecycle::Active {
            return;
        }
        let is_request = input.is_request() || is_change(input);
        if is_request {
            self.group.note_request();
            self.group.jump_queue(now);
        }
        if is_request || input.is_alarming() {
            self.rouse(now);
        }
    }

    /// The heartbeat that is due may be a question, if there is nothing to do.
    pub(crate) fn mind_idleness(&mut self, now: Moment) {
        if self.group.is_sleep_due(now) && self.has_nothing_to_do() && !self.owes_an_end() {
            let absent = self.absent();
            if self.owes_word_of_lagging(&absent) {
                self.look_at_lagging();
            } else {
                self.group.permit_sleep(absent);
            }
        }
    }

    /// The leader asks: behind the step of its message.
    pub(crate) fn answer_question(&mut self, question: &Question, from: StoreId) {
        let lives = |run| self.config.liveness.look(|it| it.heard_in(from, run)).is_some();
        let is_known = self.store_of_leader() == Some(from);
        if is_known && question.run().is_some_and(lives) && self.has_nothing_to_do() {
            let _no_answer_is_an_answer = self.group.agree_to_sleep(question);
        }
    }

    pub(crate) fn handle_notice(&mut self, now: Moment, notice: Notice) {
        match notice {
            Notice::Unreachable(peer) => self.group.report_unreachable(peer),
            Notice::StoreChanged { store, spread } => self.handle_store_changed(now, store, spread),
            // A request that somebody else has served: it has had its effect.
            Notice::InUse => {}
        }
    }

    /// A store began or ceased to live, or runs anew; the view shows it. The regions of this store that lose their leader
    /// by it campaign within `spread`.
    fn handle_store_changed(&mut self, now: Moment, store: StoreId, spread: Span) {
        if self.life != Lifecycle::Active || self.has_bug(Bug::WAKE_LOST) {
            return;
        }
        let is_owed = self.members.removals.is_on(store) && self.can_end_on(store);
        if is_owed {
            self.members.removals.pursue_anew();
        }
        if let Some((leader, run)) = self.sleeps_on() {
            let is_gone = self.config.liveness.look(|it| it.heard_in(leader, run)).is_none();
            if leader == store && is_gone {
                self.group.rouse_into_silence(now + self.turn_within(spread));
            }
        } else if self.group.is_going_to_sleep() {
            let lives = self.config.liveness.look(|it| it.sign(store)).is_some();
            if is_owed || (lives && self.region.peer_on(store).is_some()) {
                self.rouse(now);
            }
        }
    }

    /// The place of this region in the queue of those that wake at once: the same on all stores.
    pub(crate) fn turn_within(&self, spread: Span) -> Span {
        Span(Rng::lane(self.region.id.get(), 0).below(spread.0.max(1)))
    }

    fn rouse(&mut self, now: Moment) {
        if let Some((store, run)) = self.sleeps_on() {
            match self.config.liveness.look(|it| it.heard_in(store, run)) {
                Some(heard_at) => self.group.rouse(heard_at),
                None => self.group.rouse_into_silence(now),
            }
        } else if self.group.is_going_to_sleep() {
            let heard = self.region.peers.iter().filter_map(|peer| {
                let sign = self.config.liveness.look(|it| it.sign(peer.store))?;
                Some((peer.id, sign.at))
            });
            let heard: Vec<(PeerId, Moment)> = heard.collect();
            self.group.rouse_leader(now, heard);
        }
    }

    /// Members whose stores are silent.
    fn absent(&self) -> BTreeSet<PeerId> {
        let own = self.config.store;
        let lives = |store| self.config.liveness.look(|it| it.sign(store)).is_some();
        let absent = self.region.peers.iter().filter(|it| it.store != own && !lives(it.store));
        absent.map(|it| it.id).collect()
    }

    /// Whether a leader is to see to the end of a removed member. Where the store of such a one is silent, nobody there is to
    /// be told anything; it would keep the regions awake that a dead store has had, when the others have the least time
    /// for it.
    fn owes_an_end(&self) -> bool {
        self.members.removals.removed.iter().any(|peer| self.can_end_on(peer.store))
    }

    /// Whether a removal from this store can come to its end: somebody is there, or never will be again.
    fn can_end_on(&self, store: StoreId) -> bool {
        let look = |it: &Liveness| it.sign(store).is_some() || it.is_gone(store);
        store == self.config.store || self.config.liveness.look(look)
    }

    fn store_of_leader(&self) -> Option<StoreId> {
        let leader = self.group.leader()?;
        self.region.peer(leader).map(|peer| peer.store)
    }

    fn has_nothing_to_do(&self) -> bool {
        let members = &self.members;
        self.life == Lifecycle::Active
            && self.apply.open_tasks == 0
            && self.apply.applied == self.group.committed()
            && self.writes.is_empty()
            && self.reads.is_empty()
            && members.leaving.is_none()
            && !is_joint(&self.region)
            && self.embryo.is_over()
    }
}

/// Whether somebody wants other members.
fn is_change<T>(input: &Input<T>) -> bool {
    let Input::Membership(input) = input else { return false };
    matches!(**input, MembershipInput::ChangePeers(_))
}

/// What a message asks, and from which store.
pub(crate) fn question_of(message: &PeerMessage) -> Option<(Question, StoreId)> {
    Question::of(&message.message).map(|question| (question, message.from.store))
}
