//! The only place where effects become actions, and the order in which they do.
//!
//! | rule | order | why |
//! |---|---|---|
//! | F0 | no message of a term before that (term, vote) is durable | kept by `raftgroup`, which sorts messages |
//! | F1 | what readers may see of a lease changes before anything else of the round happens | whoever acts on a withdrawn lease, or hears of a commit, must not find a reader that does not know it |
//! | F2 | `send_now` may leave before the write | a leader writes in parallel with its followers |
//! | F3 | one batch, one sync for the whole round | the reason for sharing the pool |
//! | F5 | `Persisted` is in the inbox before the messages of that number leave | an answer that overtakes the notice finds a peer that does not know its own log |
//! | F4 | votes and acknowledgements only behind F5 | a promise must survive a crash |
//! | F6 | applied is only what is committed and durable here, in order | replicas must never differ |
//! | F7 | a split's children hear that they live when their parent's new delegate is shown, and before it takes its next input | two regions must not serve one key, and no message to a child is lost as unknown |
//! | F8 | a write is answered by its applier, or with the loss of its term | one place completes tickets |

use flotilla_base::{Moment, PeerId, RegionId};
use flotilla_raftgroup::ReadyNumber;

use crate::apply::ApplyTask;
use crate::effects::{AfterPersist, Effects, LogFetch, LogWrite, Report};
use crate::input::{PeerMessage, Reply};
use crate::permit::Delegate;
use crate::snapshot::SnapshotEffect;

/// Executes effects. The store's threads are one implementation, the simulator the other.
pub trait Host<T> {
    /// Shows readers on other threads this delegate in place of the peer's earlier one, before it returns.
    /// A host that serves no reads in place has nobody to show it to.
    fn permit(&mut self, _region: RegionId, _peer: PeerId, _delegate: Delegate) {}
    /// Hands messages to the network; may lose them.
    fn send(&mut self, messages: Vec<PeerMessage>);
    /// Writes the batch in order with earlier ones, and once it is durable calls
    /// [`AfterPersist::deliver`] for each of `write.after` in order.
    fn persist(&mut self, write: LogWrite);
    /// Hands committed entries to the appliers, in order per region.
    fn apply(&mut self, task: ApplyTask<T>);
    /// Completes a ticket.
    fn reply(&mut self, ticket: T, reply: Reply);
    /// Tells the store what changed.
    fn report(&mut self, report: Report);
    /// Does something about a snapshot, and says later what came of it; see [`crate::snapshot`].
    fn snapshot(&mut self, effect: SnapshotEffect);
    /// Has old entries read, without waiting for it.
    fn fetch(&mut self, fetch: LogFetch);
    /// Wakes the region at or after this moment; a later call replaces an earlier one.
    fn alarm(&mut self, region: RegionId, at: Moment);
}

/// The end of a round of replicas.
#[derive(Debug)]
pub struct Round;

impl Round {
    /// Executes `effects` and leaves them empty.
    pub fn finish<T>(effects: &mut Effects<T>, host: &mut impl Host<T>) {
        let effects = std::mem::take(effects);
        let Effects { permits, send_now, log, apply, replies, reports, births, .. } = effects;
        // F1. Behind a withdrawal, whoever still serves a read by the old permit finds another generation;
        // and behind a new commit index, no reader here is content with less than a follower was promised.
        for (region, peer, delegate) in permits {
            host.permit(region, peer, delegate);
        }
        // The placement driver hears of a lost lead before anybody else can act on it.
        for report in reports {
            host.report(report);
        }
        // F2: in parallel with the write below.
        if !send_now.is_empty() {
            host.send(send_now);
        }
        // F8: refusals and grants only; they promise nothing about the write, and need not wait for it.
        for (ticket, reply) in replies {
            host.reply(ticket, reply);
        }
        // F3. What waits for it travels with it, so F4 and F5 are kept by `deliver` alone.
        if !log.batch.is_empty() || !log.after.is_empty() {
            host.persist(log);
        }
        // F7: the permits are shown, and the caller has not given the parent its next input yet. Who hears of a new
        // peer may rely on its being in the log, in front of all that he writes.
        for birth in births {
            host.report(birth);
        }
        // What replaces data: behind the permits, and with the claims that the births have moved.
        for effect in effects.snapshots {
            host.snapshot(effect);
        }
        // What has left the memory was durable before this round began.
        for fetch in effects.fetches {
            host.fetch(fetch);
        }
        // F6: these entries were durable before this round began.
        for task in apply {
            host.apply(task);
        }
        for (region, at) in effects.alarms {
            host.alarm(region, at);
        }
    }
}

/// What becomes of a durable write.
pub trait Delivery {
    /// Puts [`crate::Input::Persisted`] into the inbox of this peer, if it still lives.
    fn persisted(&mut self, region: RegionId, peer: PeerId, number: ReadyNumber);
    /// Hands messages to the network; may lose them.
    fn send(&mut self, messages: Vec<PeerMessage>);
}

impl AfterPersist {
    /// To be called once the write is durable, in the order of the writes.
    pub fn deliver(self, delivery: &mut impl Delivery) {
        // F5 before F4.
        delivery.persisted(self.region, self.peer, self.number);
        if !self.messages.is_empty() {
            delivery.send(self.messages);
        }
    }
}
