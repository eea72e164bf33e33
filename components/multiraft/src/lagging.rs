//! Members that are far behind the log of their leader: the host hears who they are, and so does whoever places replicas.
//!
//! What counts is what promotes a learner ([`crate::reconfigure`]): it holds the log nearly as far as it is committed, and
//! answers. A new leader knows of nobody how far he is, so it says nothing before a gate has passed, and then looks once a
//! heartbeat, and when members change: who is behind for less than that is not worth a word.

use std::collections::BTreeSet;

use flotilla_base::{Moment, Peer, PeerId, PeerRole, Term};

use crate::effects::{Effects, Report};
use crate::replica::Replica;

/// What a leader has told of members that are behind.
#[derive(Debug, Default)]
pub(crate) struct Lagging {
    /// The lead for which the rest counts.
    term: Term,
    due_at: Moment,
    told: Vec<Peer>,
}

impl<T> Replica<T> {
    /// Tells the host when other members are behind than before.
    pub(crate) fn tell_lagging(&mut self, now: Moment, effects: &mut Effects<T>) {
        // In a sleep nobody is heard, and nobody is behind who was not before.
        if !self.group.is_leader() || self.group.is_going_to_sleep() {
            return;
        }
        let (term, timing) = (self.group.role().term, self.timing());
        if self.members.lagging.term != term {
            let due_at = now + timing.gate;
            self.members.lagging = Lagging { term, due_at, told: Vec::new() };
        }
        if now < self.members.lagging.due_at {
            return;
        }
        self.members.lagging.due_at = now + timing.heartbeat;
        let behind: Vec<Peer> =
            self.region.peers.iter().copied().filter(|peer| self.is_behind(peer)).collect();
        if behind != self.members.lagging.told {
            self.members.lagging.told.clone_from(&behind);
            effects.reports.push(Report::Lagging { region: self.region.id, peers: behind });
        }
    }

    /// Members have changed: a new one is behind from its first moment on, and whoever places replicas is to know that
    /// before the next step.
    pub(crate) fn look_at_lagging(&mut self) {
        if self.members.lagging.term == self.group.role().term {
            self.members.lagging.due_at = Moment::default();
        }
    }

    /// Whether members were told to be behind that may not be any more: nothing is told in a sleep, and whoever places
    /// replicas waits for that word. Members that are `absent` stay behind.
    pub(crate) fn owes_word_of_lagging(&self, absent: &BTreeSet<PeerId>) -> bool {
        let Lagging { term, told, .. } = &self.members.lagging;
        *term == self.group.role().term && told.iter().any(|peer| !absent.contains(&peer.id))
    }

    /// Of a learner that cannot be promoted yet it is said, too.
    fn is_behind(&self, peer: &Peer) -> bool {
        let is_silent_learner = peer.role == PeerRole::Learner && !self.group.is_heard(peer.id);
        peer.id != self.peer && (!self.nearly_holds_log(peer.id) || is_silent_learner)
    }
}
