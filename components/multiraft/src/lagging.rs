//! Members that are far behind the log of their leader: the host hears who they are, and so does whoever places replicas.
//!
//! What counts is what promotes a learner ([`crate::reconfigure`]): it holds the log nearly as far as it is committed. A
//! new leader knows of nobody how far he is, so it says nothing before a gate has passed, and then looks once a
//! heartbeat: who is behind for less than that is not worth a word.

use flotilla_base::{Moment, Peer, Term};

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
        if !self.group.is_leader() {
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

    fn is_behind(&self, peer: &Peer) -> bool {
        peer.id != self.peer && self.lag(peer.id) > self.config.limits.promotion_lag_max
    }
}
