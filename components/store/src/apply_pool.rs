//! Applies committed entries and answers their clients: one batch a turn, no sync.

use flotilla_base::{Mutation, PeerId, RegionId};
use flotilla_engine::WriteBatch;
use flotilla_multiraft::{
    Applied, Applier, ApplyEffects, ApplyHost, ApplyTask, Claims, Input, MembersChanged,
    MembershipInput, Reply, SplitDone,
};
use flotilla_poller::{self as poller, After, Handler, Mailbox};
use flotilla_telemetry::WorkMark;

use crate::host::{Shared, answer, stop};
use crate::router::Ticket;

/// What an applier is given.
#[derive(Debug)]
pub(crate) enum ApplyMail {
    /// Committed entries.
    Task(ApplyTask<Ticket>),
    /// Its peer has other data now, of which it knows nothing: this one takes its place.
    Begin(Box<Applier>),
}

pub(crate) type ApplyCells = poller::Router<Applier, ApplyMail>;
pub(crate) type ApplyQueue = poller::ReadyQueue<Applier, ApplyMail>;

/// A turn is closed early at this size, so that no client waits for a large batch of others.
const TURN_BYTES: usize = 512 << 10;

/// One worker of the apply pool.
pub(crate) struct ApplyWorker {
    shared: Shared,
    effects: ApplyEffects<Ticket>,
    mark: WorkMark,
}

impl ApplyWorker {
    pub(crate) fn new(shared: Shared) -> Self {
        let mark = shared.unfinished.worker("turn of appliers");
        Self { shared, effects: ApplyEffects::default(), mark }
    }
}

impl Handler for ApplyWorker {
    type State = Applier;
    type Message = ApplyMail;

    fn begin(&mut self) {
        self.mark.begin(self.shared.clock.now());
    }

    fn handle(
        &mut self,
        _cell: &Mailbox<Applier, ApplyMail>,
        applier: &mut Applier,
        mail: &mut Vec<ApplyMail>,
    ) -> After {
        for task in mail.drain(..) {
            let task = match task {
                ApplyMail::Task(task) => task,
                ApplyMail::Begin(other) => {
                    *applier = *other;
                    continue;
                }
            };
            let mut claims = StoreApplyHost(&self.shared);
            let (data, effects) = (&self.shared.engine, &mut self.effects);
            if let Err(fault) = applier.apply(task, data, effects, &mut claims) {
                stop("apply a committed entry", &fault);
            }
            if self.is_full() {
                self.effects.finish(&mut StoreApplyHost(&self.shared));
            }
        }
        After::Keep
    }

    fn closed(&mut self, _applier: &mut Applier, mail: Vec<ApplyMail>) {
        // Dropped tickets say that the outcome is not known, which is the truth.
        drop(mail);
    }

    fn is_full(&self) -> bool {
        self.effects.batch_bytes() >= TURN_BYTES
    }

    fn end(&mut self) {
        self.effects.finish(&mut StoreApplyHost(&self.shared));
        self.mark.end();
    }
}

struct StoreApplyHost<'a>(&'a Shared);

impl Claims for StoreApplyHost<'_> {
    fn claim(&mut self, region: RegionId, peer: PeerId) -> bool {
        let is_claimed = self.0.inbound.claim(region, peer);
        if !is_claimed {
            tracing::warn!(region = region.get(), "a split's child has no place on this store");
        }
        is_claimed
    }
}

impl ApplyHost<Ticket> for StoreApplyHost<'_> {
    fn write(&mut self, batch: Vec<Mutation>) {
        let batch = WriteBatch::from(batch);
        self.0.engine.write(&batch).unwrap_or_else(|error| stop("apply", &error));
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        answer(ticket, reply);
    }

    fn split(&mut self, region: RegionId, peer: PeerId, done: SplitDone) {
        self.0.router.notify(region, peer, Input::SplitDone(Box::new(done)));
    }

    fn members(&mut self, region: RegionId, peer: PeerId, changed: MembersChanged) {
        let input = Input::Membership(Box::new(MembershipInput::Changed(changed)));
        self.0.router.notify(region, peer, input);
    }

    fn applied(&mut self, region: RegionId, peer: PeerId, applied: Applied) {
        self.0.sizes.applied(region, &applied);
        self.0.router.delegates().applied(region, peer, &applied);
        self.0.router.notify(region, peer, Input::Applied(applied));
    }
}
