//! The member: takes inputs, collects effects.

use std::collections::VecDeque;

use flotilla_base::{Bug, Moment, Term};
use flotilla_placement::{ClusterView, MetaState, Sight, TsoChange};
use flotilla_raftgroup::{Group, Message, ReadyNumber, Single, StepError};

use crate::effects::{Effects, PdHost};
use crate::input::{Clocks, Denied, Input};
use crate::open::{CoreConfig, CoreError};
use crate::reign::{Reign, Ticket};

/// One member of a placement driver. `T` is the ticket with which an answer finds its asker.
#[derive(Debug)]
pub struct PdCore<T> {
    pub(crate) config: CoreConfig,
    pub(crate) single: Single<Ticket<T>>,
    pub(crate) state: MetaState,
    pub(crate) view: ClusterView,
    pub(crate) reign: Option<Reign<T>>,
    /// The term of the last reign that began here. Each reign has a later one: nobody leads twice in one term.
    pub(crate) last_reign: Term,
    /// Writes that are not known durable, and the messages that wait for each; numbers ascend.
    pub(crate) unsynced: VecDeque<(ReadyNumber, Vec<Message>)>,
    /// Until when this member says that it leads, as the host was told last; only while a reign is open.
    pub(crate) lease: Option<Moment>,
    /// Whether the host knows which cluster this is.
    pub(crate) is_claimed: bool,
}

impl<T> PdCore<T> {
    pub(crate) const fn new(
        config: CoreConfig,
        single: Single<Ticket<T>>,
        state: MetaState,
        view: ClusterView,
    ) -> Self {
        Self {
            config,
            single,
            state,
            view,
            reign: None,
            last_reign: Term(0),
            unsynced: VecDeque::new(),
            lease: None,
            is_claimed: false,
        }
    }

    /// Does everything that is due and that the group has to do, behind the `effects` of what was handled
    /// since the last turn, and leaves none.
    ///
    /// # Errors
    /// The member must not go on.
    pub fn turn<H: PdHost<T>>(
        &mut self,
        clocks: Clocks,
        effects: &mut Effects<T>,
        host: &mut H,
    ) -> Result<(), H::Error>
    where
        H::Error: From<CoreError>,
    {
        // Behind the inputs: a leader that was heard in time must not be campaigned against.
        self.handle(clocks, Input::Wake, effects)?;
        loop {
            let has_worked = self.drain(clocks, effects)?;
            effects.finish(host)?;
            if !has_worked {
                return Ok(());
            }
        }
    }

    /// Takes an input.
    ///
    /// # Errors
    /// [`CoreError`]: the member must not go on.
    pub fn handle(
        &mut self,
        clocks: Clocks,
        input: Input<T>,
        effects: &mut Effects<T>,
    ) -> Result<(), CoreError> {
        match input {
            Input::Wake => {
                self.single.wake(clocks.now);
                self.end_late_operators(clocks, effects);
                self.empty_leaving_stores(clocks, effects);
                self.remove_leftovers(clocks, effects);
                self.think(clocks, effects);
            }
            Input::Persisted(number) => self.on_persisted(number, effects),
            Input::Message(message) => {
                // Refused for any other reason: late, or not for this member. Something newer will come.
                if let Err(damage @ StepError::Damaged(_)) = self.single.step(clocks.now, message) {
                    return Err(CoreError::Damaged(damage));
                }
            }
            Input::WidenTso { end_ms } => self.ask_tso_window(end_ms, effects),
            Input::AllocIds { count, ticket } => self.alloc_ids(clocks, count, ticket, effects),
            Input::PutStore { store, ticket } => self.put_store(clocks, *store, ticket, effects),
            Input::RemoveStore { id, leave, ticket } => {
                self.remove_store(clocks, (id, leave), ticket, effects);
            }
            Input::StoreHeartbeat { id, stats, ticket } => {
                let outcome = self.store_heartbeat(clocks, id, *stats);
                effects.replies.push((ticket, outcome));
            }
            Input::OpenLine { id, run, ticket } => {
                let outcome = self.open_line(clocks, id, run, effects);
                effects.replies.push((ticket, outcome));
            }
            Input::BreakLine { id, run } => self.break_line(clocks, id, run, effects),
            Input::RegionHeartbeat(report) => self.region_heartbeat(clocks, *report, effects),
            Input::AskSplit { region, children, ticket } => {
                match self.check_split(clocks, &region, children) {
                    Ok(ids) => self.wait_for_ids(clocks, ids, ticket, effects),
                    Err(denied) => effects.replies.push((ticket, Err(denied))),
                }
            }
            Input::ReportSplit { pieces, ticket } => {
                let outcome = self.report_split(clocks, pieces, effects);
                effects.replies.push((ticket, outcome));
            }
            Input::Operate { wish, ticket } => self.operate(clocks, wish, ticket, effects),
            Input::Administer { change, ticket } => {
                self.administer(clocks, *change, ticket, effects);
            }
        }
        Ok(())
    }

    /// Collects what is to be done; whether there may be more.
    ///
    /// # Errors
    /// [`CoreError`]: the member must not go on.
    pub fn drain(&mut self, clocks: Clocks, effects: &mut Effects<T>) -> Result<bool, CoreError> {
        self.claim(effects);
        self.pursue(clocks, effects);
        let round = self.single.collect();
        let has_worked = round.is_some();
        if let Some(round) = round {
            self.take_round(clocks, round, effects)?;
        }
        self.judge_lease(effects);
        assert!(self.lease.is_none() || self.is_open(), "a lease without an open reign");
        Ok(has_worked)
    }

    /// When [`Input::Wake`] has something to do.
    #[must_use]
    pub fn next_deadline(&self, now: Moment) -> Moment {
        // Also when a lease runs out, so that those who wait for the end of the lead hear of it.
        let lease_ends = self.lease.filter(|end| *end > now).unwrap_or(Moment::NEVER);
        // Nobody but a leader begins anything: the next wake-up of one that leads again is its lease's.
        let is_leading = self.leads(now);
        let of_reign = |reign: &Reign<T>| {
            let sight = self.sight(now);
            // It waits for ids, and goes on when these are there.
            let is_waiting = reign.has_planned();
            let mind = || reign.mind.next_look(&sight);
            let mind = if is_leading && !is_waiting { mind() } else { Moment::NEVER };
            let leftovers = if is_leading { reign.leftovers.next_look() } else { Moment::NEVER };
            reign.operators.next_deadline().min(leftovers).min(mind)
        };
        let operators = self.reign.as_ref().map_or(Moment::NEVER, of_reign);
        let operators = operators.min(self.next_drain(now));
        self.single.group().next_deadline().min(lease_ends).min(operators)
    }

    /// Whether this member may say at `now` that it leads. The clock must have been read after the
    /// question came.
    #[must_use]
    pub fn leads(&self, now: Moment) -> bool {
        self.is_open() && self.single.lease().is_some_and(|end| now < end)
    }

    fn is_open(&self) -> bool {
        self.reign.as_ref().is_some_and(|reign| reign.is_open)
    }

    /// The group, for questions.
    #[must_use]
    pub const fn group(&self) -> &Group {
        self.single.group()
    }

    /// The replicated state, as applied here.
    #[must_use]
    pub const fn state(&self) -> &MetaState {
        &self.state
    }

    /// What heartbeats have shown in this reign; who asks from outside takes [`Self::leading`].
    #[must_use]
    pub const fn view(&self) -> &ClusterView {
        &self.view
    }

    /// How many regions are being changed by this member.
    #[must_use]
    pub fn operators(&self) -> usize {
        self.reign.as_ref().map_or(0, |reign| reign.operators.len())
    }

    /// What is known at `now`.
    pub(crate) fn sight(&self, now: Moment) -> Sight<'_> {
        Sight::of(&self.state, &self.view, now)
    }

    pub(crate) fn has_bug(&self, bug: Bug) -> bool {
        self.config.seeded.has(bug)
    }

    /// Ends the member: nobody is left without an answer.
    pub fn close(&mut self, effects: &mut Effects<T>) {
        self.end_reign(effects);
        for ticket in self.single.drain() {
            if let Ticket::Store(ticket) = ticket {
                effects.replies.push((ticket, Err(Denied::Stopped)));
            }
        }
    }

    fn on_persisted(&mut self, number: ReadyNumber, effects: &mut Effects<T>) {
        self.single.on_persisted(number);
        // P5.
        while self.unsynced.front().is_some_and(|(first, _)| *first <= number) {
            let Some((_, messages)) = self.unsynced.pop_front() else { break };
            effects.send.extend(messages);
        }
        let is_later = |(last, _): &(ReadyNumber, Vec<Message>)| *last > number;
        debug_assert!(
            self.unsynced.back().is_none_or(is_later),
            "a durable write is still waited for"
        );
    }

    /// The directory is one of the cluster whose state is in it, whoever made the cluster, and also after
    /// a crash in between.
    fn claim(&mut self, effects: &mut Effects<T>) {
        if let Some(cluster) = self.state.cluster().filter(|_| !self.is_claimed) {
            self.is_claimed = true;
            effects.claim = Some(cluster);
        }
    }

    fn judge_lease(&mut self, effects: &mut Effects<T>) {
        let lease = if self.is_open() { self.single.lease() } else { None };
        if lease == self.lease {
            return;
        }
        self.lease = lease;
        if lease.is_some() {
            effects.tso.push(TsoChange::Lease(lease));
        } else {
            effects.stop.get_or_insert(TsoChange::Lease(None));
        }
    }
}
