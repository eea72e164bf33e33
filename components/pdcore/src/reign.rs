//! What a member keeps, proposes and completes while it leads in one term.

use std::collections::{BTreeSet, VecDeque};

use flotilla_base::{Bug, Seeded, StoreId, Term};
use flotilla_placement::{
    Answer, Cluster, Drain, IdBatch, IdPool, Leftovers, MetaChange, MetaCommand, Mind,
    OperatorController, Refusal, TsoChange, TsoReign, bootstrap_ids, bootstrap_stores,
    plan_bootstrap,
};
use flotilla_raftgroup::RoleChange;

use crate::core::PdCore;
use crate::effects::{Effects, Report};
use crate::input::{Clocks, Denied};
use crate::operators::{Planned, stamp};

/// What a proposal is for: completed when its entry is applied, or lost.
#[derive(Debug)]
pub(crate) enum Ticket<T> {
    /// A command of the member's own.
    Own(Asked),
    /// A change of a store that somebody asked for.
    Store(T),
}

/// Commands that a member proposes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Asked {
    Cluster,
    IdWindow,
    TsoWindow,
    Bootstrap,
    /// That a store is a tombstone.
    Burial(StoreId),
    /// Which store is slow.
    SlowStore(Option<StoreId>),
}

/// Who waits for ids.
#[derive(Debug)]
enum IdWaiter<T> {
    Asker(T),
    Operator(Box<Planned<T>>),
}

impl<T> IdWaiter<T> {
    /// Who is to be told; nobody waits for an operator of the member's own.
    fn into_ticket(self) -> Option<T> {
        match self {
            Self::Asker(ticket) => Some(ticket),
            Self::Operator(planned) => planned.ticket,
        }
    }
}

/// One reign.
#[derive(Debug)]
pub(crate) struct Reign<T> {
    pub(crate) term: Term,
    /// Whether requests are served.
    pub(crate) is_open: bool,
    /// End of the first window of timestamps, once timestamps are counted.
    first_window_ms: Option<u64>,
    ids: IdPool,
    /// Those that wait for an id window, in order.
    id_waiters: VecDeque<(u32, IdWaiter<T>)>,
    /// What is being done to regions.
    pub(crate) operators: OperatorController,
    /// How far the stores that leave have been looked at.
    pub(crate) drain: Drain,
    /// Regions with a learner that nobody makes anything of.
    pub(crate) leftovers: Leftovers,
    /// What is decided without being asked for.
    pub(crate) mind: Mind,
    /// Commands of this kind that are proposed and not applied: never two at a time.
    asked: BTreeSet<Asked>,
    /// Commands of this kind that were refused: nothing has changed since.
    refused: BTreeSet<Asked>,
}

impl<T> Reign<T> {
    fn new(term: Term, seeded: Seeded) -> Self {
        Self {
            term,
            is_open: false,
            first_window_ms: None,
            ids: IdPool::default(),
            id_waiters: VecDeque::new(),
            operators: OperatorController::planting(seeded),
            drain: Drain::default(),
            leftovers: Leftovers::default(),
            mind: Mind::default(),
            asked: BTreeSet::new(),
            refused: BTreeSet::new(),
        }
    }

    /// Whether something that was planned waits for its ids.
    pub(crate) fn has_planned(&self) -> bool {
        self.id_waiters.iter().any(|(_, waiter)| matches!(waiter, IdWaiter::Operator(_)))
    }

    fn may_ask(&self, kind: Asked) -> bool {
        !self.asked.contains(&kind) && !self.refused.contains(&kind)
    }
}

impl<T> PdCore<T> {
    /// An entry of this member's own term is applied: whatever any earlier leader can have committed is
    /// in the state now.
    pub(crate) fn begin_reign(&mut self, role: RoleChange, clocks: Clocks) {
        assert!(self.reign.is_none() && self.last_reign < role.term, "two reigns in one term");
        self.last_reign = role.term;
        self.reign = Some(Reign::new(role.term, self.config.seeded));
        // What was reported to an earlier reign of this member may have changed since.
        self.view = flotilla_placement::ClusterView::new(clocks.now);
        self.view.take_policy(self.state.policy(), stamp(clocks));
    }

    pub(crate) fn end_reign(&mut self, effects: &mut Effects<T>) {
        let Some(reign) = self.reign.take() else { return };
        effects.stop = Some(TsoChange::Close);
        self.lease = None;
        let askers = reign.id_waiters.into_iter().filter_map(|(_, waiter)| waiter.into_ticket());
        effects.replies.extend(askers.map(|ticket| (ticket, Err(Denied::NotLeader))));
        effects.reports.push(Report::Ended(reign.term));
    }

    /// Proposes what the reign needs and has not asked for: an identity, a window of timestamps, and
    /// then the first regions.
    pub(crate) fn pursue(&mut self, clocks: Clocks, effects: &mut Effects<T>) {
        let Some(reign) = self.reign.as_mut() else { return };
        if self.state.cluster().is_none() {
            let id = self.config.fresh_cluster;
            let cluster = Cluster { id, max_replicas: self.config.max_replicas };
            return self.ask(Asked::Cluster, MetaChange::InitCluster(cluster), effects);
        }
        let end_ms = if let Some(end_ms) = reign.first_window_ms {
            end_ms
        } else {
            let tso = TsoReign::new(self.state.tso_window_end_ms(), clocks.unix_ms);
            let end_ms = tso.window_wanted(clocks.unix_ms).unwrap_or_default();
            reign.first_window_ms = Some(end_ms);
            effects.tso.push(TsoChange::Open(tso));
            end_ms
        };
        if reign.is_open {
            self.bootstrap_if_due(clocks, effects);
        } else {
            self.ask_tso_window(end_ms, effects);
        }
    }

    /// Makes the first regions once enough stores are registered.
    fn bootstrap_if_due(&mut self, clocks: Clocks, effects: &mut Effects<T>) {
        let (Some(cluster), Some(reign)) = (self.state.cluster(), self.reign.as_mut()) else {
            return;
        };
        let is_due = self.state.bootstrap().is_none()
            && reign.may_ask(Asked::Bootstrap)
            && bootstrap_stores(self.state.stores(), cluster.max_replicas).is_some();
        if !is_due {
            return;
        }
        let count = bootstrap_ids(cluster.max_replicas);
        let Some(ids) = reign.ids.take(count) else { return self.ask_id_window(count, effects) };
        let unix_s = clocks.unix_ms / 1000;
        let plan = plan_bootstrap(self.state.stores(), cluster.max_replicas, ids, unix_s);
        if let Some(plan) = plan {
            self.ask(Asked::Bootstrap, MetaChange::Bootstrap(plan), effects);
        }
    }

    pub(crate) fn ask_tso_window(&mut self, end_ms: u64, effects: &mut Effects<T>) {
        if self.has_bug(Bug::TSO_SERVE_BEFORE_WINDOW)
            && let Some(reign) = &mut self.reign
        {
            reign.is_open = true;
            effects.tso.push(TsoChange::Extend { end_ms });
        }
        self.ask(Asked::TsoWindow, MetaChange::TsoWindow { end_ms }, effects);
    }

    fn ask_id_window(&mut self, count: u32, effects: &mut Effects<T>) {
        let ids = IdPool::window_for(count);
        if self.has_bug(Bug::ID_BEFORE_DURABLE)
            && let Some(reign) = &mut self.reign
        {
            let last = self.state.last_id();
            reign.ids.refill(IdBatch { first: last + 1, last: last + ids });
        }
        self.ask(Asked::IdWindow, MetaChange::AllocWindow { ids }, effects);
    }

    pub(crate) fn ask(&mut self, kind: Asked, change: MetaChange, effects: &mut Effects<T>) {
        if let Some(reign) = self.reign.as_mut().filter(|reign| reign.may_ask(kind)) {
            reign.asked.insert(kind);
            self.propose(change, Ticket::Own(kind), effects);
        }
    }

    pub(crate) fn propose(
        &mut self,
        change: MetaChange,
        ticket: Ticket<T>,
        effects: &mut Effects<T>,
    ) {
        let Some(reign) = &self.reign else { return self.abandon(ticket, effects) };
        let command = MetaCommand { term: reign.term, change }.encode();
        if let Err((ticket, error)) = self.single.propose(command, ticket) {
            effects.reports.push(Report::NotProposed(error));
            self.abandon(ticket, effects);
        }
    }

    /// Completes a ticket whose command certainly had no effect.
    pub(crate) fn abandon(&mut self, ticket: Ticket<T>, effects: &mut Effects<T>) {
        match (ticket, self.reign.as_mut()) {
            (Ticket::Store(ticket), _) => {
                effects.replies.push((ticket, Err(Denied::NotLeader)));
            }
            (Ticket::Own(kind), Some(reign)) => {
                reign.asked.remove(&kind);
                if kind == Asked::IdWindow {
                    self.refuse_id_waiters(&Denied::NotLeader, effects);
                }
            }
            (Ticket::Own(_), None) => {}
        }
    }

    /// Completes a ticket whose command was applied.
    pub(crate) fn complete(
        &mut self,
        clocks: Clocks,
        ticket: Ticket<T>,
        outcome: Result<Answer, Refusal>,
        effects: &mut Effects<T>,
    ) {
        let kind = match ticket {
            Ticket::Store(ticket) => {
                if let Some(reign) = self.reign.as_mut() {
                    reign.refused.remove(&Asked::Bootstrap);
                    reign.mind.hurry(clocks.now);
                }
                effects.replies.push((ticket, outcome.map_err(Denied::Refused)));
                return;
            }
            Ticket::Own(kind) => kind,
        };
        // Commands of an earlier reign come here before the next one begins.
        let Some(reign) = self.reign.as_mut() else { return };
        let was_asked = reign.asked.remove(&kind);
        assert!(was_asked, "{kind:?} was applied and is of no command of this reign");
        match outcome {
            Ok(Answer::Ids(window)) => {
                if !self.config.seeded.has(Bug::ID_BEFORE_DURABLE) {
                    reign.ids.refill(window);
                }
                effects.reports.push(Report::IdWindow(window));
                self.serve_id_waiters(clocks, effects);
            }
            Ok(Answer::TsoWindow { end_ms }) => {
                assert!(reign.first_window_ms.is_some(), "a window in front of what counts in it");
                effects.tso.push(TsoChange::Extend { end_ms });
                if !std::mem::replace(&mut reign.is_open, true) {
                    effects.reports.push(Report::Opened(reign.term));
                }
            }
            Ok(Answer::Done) if kind == Asked::Bootstrap => {
                effects.reports.push(Report::Bootstrapped);
            }
            // Nothing that is applied spreads regions.
            Ok(Answer::Done | Answer::Scattered(_)) => match kind {
                Asked::Burial(store) => effects.reports.push(Report::StoreBuried(store)),
                Asked::SlowStore(store) => {
                    reign.mind.hurry(clocks.now);
                    effects.reports.push(Report::StoreSlow(store));
                }
                _ => {}
            },
            Err(refusal) => {
                // What is slow is judged anew each time.
                if !matches!(kind, Asked::SlowStore(_)) {
                    reign.refused.insert(kind);
                }
                if kind == Asked::IdWindow {
                    self.refuse_id_waiters(&Denied::Refused(refusal.clone()), effects);
                }
                effects.reports.push(Report::Refused(refusal));
            }
        }
    }

    pub(crate) fn wait_for_ids(
        &mut self,
        clocks: Clocks,
        count: u32,
        ticket: T,
        effects: &mut Effects<T>,
    ) {
        self.wait(clocks, count, IdWaiter::Asker(ticket), effects);
    }

    /// For the new peers of what was planned.
    pub(crate) fn wait_for_peer_ids(
        &mut self,
        clocks: Clocks,
        count: u32,
        planned: Planned<T>,
        effects: &mut Effects<T>,
    ) {
        self.wait(clocks, count, IdWaiter::Operator(Box::new(planned)), effects);
    }

    fn wait(&mut self, clocks: Clocks, count: u32, waiter: IdWaiter<T>, effects: &mut Effects<T>) {
        if let Some(reign) = self.reign.as_mut() {
            reign.id_waiters.push_back((count, waiter));
            self.serve_id_waiters(clocks, effects);
        }
    }

    fn serve_id_waiters(&mut self, clocks: Clocks, effects: &mut Effects<T>) {
        while let Some(reign) = self.reign.as_mut()
            && let Some((count, _)) = reign.id_waiters.front()
        {
            let count = *count;
            let Some(batch) = reign.ids.take(count) else {
                return self.ask_id_window(count, effects);
            };
            match reign.id_waiters.pop_front() {
                Some((_, IdWaiter::Asker(ticket))) => {
                    effects.replies.push((ticket, Ok(Answer::Ids(batch))));
                }
                Some((_, IdWaiter::Operator(planned))) => {
                    self.begin_operator(clocks, *planned, Some(batch), effects);
                }
                None => {}
            }
        }
    }

    fn refuse_id_waiters(&mut self, why: &Denied, effects: &mut Effects<T>) {
        let waiters = self.reign.as_mut().map(|reign| std::mem::take(&mut reign.id_waiters));
        let waiters = waiters.unwrap_or_default().into_iter();
        let askers = waiters.filter_map(|(_, waiter)| waiter.into_ticket());
        effects.replies.extend(askers.map(|ticket| (ticket, Err(why.clone()))));
    }
}
