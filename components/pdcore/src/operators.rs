//! Operators of a reign: from a wish to the first order, and from a report to the next one; and those that nobody wishes
//! one by one, for stores that leave.
//!
//! They are kept by the leader alone and end with its reign: whoever leads next sees each region as it is.

use flotilla_base::{Moment, RegionId};
use flotilla_placement::{
    Answer, Change, IdBatch, Intent, MetaChange, OperatorEvent, Plan, Sight, Stamp,
    operator::{drain, leftover},
    scatter::{ScatterWish, scatter},
    view::ReportEffect,
};

use crate::core::PdCore;
use crate::effects::Effects;
use crate::input::{Clocks, Denied, Outcome, Wish};
use crate::reign::Asked;

/// A change that somebody asks for.
#[derive(Clone, Debug)]
pub struct AskedChange {
    /// The region.
    pub region: RegionId,
    /// What is to become of it.
    pub change: Change,
    /// Who asks, in a word for people.
    pub asked_by: &'static str,
}

/// A plan that waits for the ids of its new peers.
#[derive(Debug)]
pub(crate) struct Planned<T> {
    plan: Plan,
    asked_by: &'static str,
    /// `None` where nobody waits for it.
    pub(crate) ticket: Option<T>,
}

pub(crate) const fn stamp(clocks: Clocks) -> Stamp {
    Stamp { now: clocks.now, unix_ms: clocks.unix_ms }
}

impl<T> PdCore<T> {
    pub(crate) fn operate(
        &mut self,
        clocks: Clocks,
        wish: Wish,
        ticket: T,
        effects: &mut Effects<T>,
    ) {
        let outcome = match wish {
            Wish::Change(asked) => return self.add_operator(clocks, &asked, ticket, effects),
            Wish::Scatter(wish) => self.scatter(clocks, &wish, effects),
            Wish::Cancel(region) => self.cancel_operator(clocks, region, effects),
        };
        effects.replies.push((ticket, outcome));
    }

    fn add_operator(
        &mut self,
        clocks: Clocks,
        asked: &AskedChange,
        ticket: T,
        effects: &mut Effects<T>,
    ) {
        let plan = match self.plan(clocks, asked) {
            Ok(plan) => plan,
            Err(denied) => return effects.replies.push((ticket, Err(denied))),
        };
        let planned = Planned { plan, asked_by: asked.asked_by, ticket: Some(ticket) };
        self.begin_or_wait(clocks, planned, effects);
    }

    fn begin_or_wait(&mut self, clocks: Clocks, planned: Planned<T>, effects: &mut Effects<T>) {
        let new_peers = planned.plan.new_peers();
        if new_peers == 0 {
            self.begin_operator(clocks, planned, None, effects);
        } else {
            self.wait_for_peer_ids(clocks, new_peers, planned, effects);
        }
    }

    /// Refused before any id is spent on it.
    fn plan(&self, clocks: Clocks, asked: &AskedChange) -> Result<Plan, Denied> {
        let sight = self.leading(clocks.now)?;
        sight.operators().check_free(asked.region)?;
        Ok(sight.scheduling().plan(asked.region, &asked.change)?)
    }

    /// The ids may have been waited for: what was planned is checked again.
    pub(crate) fn begin_operator(
        &mut self,
        clocks: Clocks,
        planned: Planned<T>,
        ids: Option<IdBatch>,
        effects: &mut Effects<T>,
    ) {
        let Planned { plan, asked_by, ticket } = planned;
        let plan = match ids {
            Some(ids) => plan.with_ids(ids),
            None => plan,
        };
        let is_leading = self.leads(clocks.now);
        let outcome = match self.reign.as_mut().filter(|_| is_leading) {
            Some(reign) => {
                let sight = Sight::of(&self.state, &self.view, clocks.now);
                let region = plan.region;
                let begun = reign.operators.begin(&sight, plan, (asked_by, stamp(clocks)));
                if let Some(running) = reign.operators.running(region).filter(|_| begun.is_ok()) {
                    reign.leftovers.on_begun(&running.plan);
                }
                begun.map_err(Denied::Operator)
            }
            None => Err(Denied::NotLeader),
        };
        let outcome = outcome.map(|events| {
            self.tell(clocks, events, effects);
            Answer::Done
        });
        // What the member itself planned is planned anew where it cannot be begun any more.
        effects.replies.extend(ticket.map(|ticket| (ticket, outcome)));
    }

    /// Takes up regions of stores that leave, and notes which of these are empty.
    pub(crate) fn empty_leaving_stores(&mut self, clocks: Clocks, effects: &mut Effects<T>) {
        let is_leading = self.leads(clocks.now);
        let sight = Sight::of(&self.state, &self.view, clocks.now);
        let Some(reign) = self.reign.as_mut() else { return };
        // What waits for its ids is not among the operators yet, and would be planned once more.
        if !reign.drain.is_due(&sight) || !is_leading || reign.has_planned() {
            return;
        }
        let look = reign.drain.look(&sight, &reign.operators);
        for plan in look.plans {
            let planned = Planned { plan, asked_by: drain::ASKED_BY, ticket: None };
            self.begin_or_wait(clocks, planned, effects);
        }
        for store in look.emptied {
            self.ask(Asked::Burial(store), MetaChange::BuryStore(store), effects);
        }
    }

    /// Takes away learners that nobody makes anything of.
    pub(crate) fn remove_leftovers(&mut self, clocks: Clocks, effects: &mut Effects<T>) {
        let is_leading = self.leads(clocks.now);
        let sight = Sight::of(&self.state, &self.view, clocks.now);
        let Some(reign) = self.reign.as_mut().filter(|_| is_leading) else { return };
        for plan in reign.leftovers.look(&sight, &reign.operators) {
            let planned = Planned { plan, asked_by: leftover::ASKED_BY, ticket: None };
            self.begin_or_wait(clocks, planned, effects);
        }
    }

    /// Begins what the mind decides.
    pub(crate) fn think(&mut self, clocks: Clocks, effects: &mut Effects<T>) {
        let is_leading = self.leads(clocks.now);
        let sight = Sight::of(&self.state, &self.view, clocks.now);
        // What waits for its ids is not among the operators yet, and would be decided once more.
        let Some(reign) = self.reign.as_mut().filter(|reign| is_leading && !reign.has_planned())
        else {
            return;
        };
        if reign.mind.next_look(&sight) > clocks.now {
            return;
        }
        let to_record = reign.mind.to_record(&sight, stamp(clocks));
        let intents = reign.mind.look(sight, &reign.operators, stamp(clocks));
        if let Some(change) = to_record {
            self.record(change, effects);
        }
        for intent in intents {
            let Intent { plan, decision } = intent;
            let planned = Planned { plan, asked_by: decision.by, ticket: None };
            self.begin_or_wait(clocks, planned, effects);
        }
    }

    /// Proposes what the mind wants recorded, once.
    fn record(&mut self, change: MetaChange, effects: &mut Effects<T>) {
        if let MetaChange::NoteSlow(store) = change {
            self.ask(Asked::SlowStore(store), change, effects);
        }
    }

    /// Spreads regions over the stores.
    fn scatter(&mut self, clocks: Clocks, wish: &ScatterWish, effects: &mut Effects<T>) -> Outcome {
        let sight = self.leading(clocks.now)?;
        // Of several the answer tells which are not known.
        if let (1, Some(only)) = (wish.regions.len(), wish.regions.first()) {
            sight.regions().by_id(*only).ok_or(Denied::UnknownRegion(*only))?;
        }
        let fleet = sight.fleet(clocks.unix_ms);
        let scattered = scatter(fleet, sight.operators(), wish);
        let outcome = scattered.outcome();
        for Intent { plan, decision } in scattered.intents {
            let by = decision.by;
            if let Some(reign) = self.reign.as_mut() {
                reign.mind.note(stamp(clocks), decision);
            }
            let planned = Planned { plan, asked_by: by, ticket: None };
            self.begin_or_wait(clocks, planned, effects);
        }
        Ok(Answer::Scattered(outcome))
    }

    /// Tells of operators.
    fn tell(&mut self, clocks: Clocks, events: Vec<OperatorEvent>, effects: &mut Effects<T>) {
        if let Some(reign) = self.reign.as_mut() {
            events.iter().for_each(|event| reign.mind.on_event(clocks.now, event));
        }
        effects.operators.extend(events);
    }

    /// When [`Self::empty_leaving_stores`] has something to do.
    pub(crate) fn next_drain(&self, now: Moment) -> Moment {
        let sight = self.sight(now);
        self.reign.as_ref().map_or(Moment::NEVER, |reign| reign.drain.next_look(&sight))
    }

    fn cancel_operator(
        &mut self,
        clocks: Clocks,
        region: RegionId,
        effects: &mut Effects<T>,
    ) -> Outcome {
        self.leading(clocks.now)?;
        let reign = self.reign.as_mut().ok_or(Denied::NotLeader)?;
        let ended = reign.operators.cancel(region, stamp(clocks));
        let ended = ended.ok_or(Denied::NoOperator(region))?;
        self.tell(clocks, vec![ended], effects);
        Ok(Answer::Done)
    }

    /// A report of a region was taken.
    pub(crate) fn pursue_operator(
        &mut self,
        clocks: Clocks,
        region: RegionId,
        effect: ReportEffect,
        effects: &mut Effects<T>,
    ) {
        let sight = Sight::of(&self.state, &self.view, clocks.now);
        let Some(reign) = self.reign.as_mut() else { return };
        let mut events = reign.operators.on_report(&sight, region, stamp(clocks));
        reign.leftovers.on_report(&sight, &reign.operators, region);
        reign.mind.on_report(&sight, &reign.operators, region);
        if effect.is_routing_changed {
            events.extend(reign.operators.on_borders_moved(&self.view, stamp(clocks)));
        }
        self.tell(clocks, events, effects);
    }

    pub(crate) fn end_late_operators(&mut self, clocks: Clocks, effects: &mut Effects<T>) {
        if let Some(reign) = self.reign.as_mut() {
            let events = reign.operators.on_time(stamp(clocks));
            self.tell(clocks, events, effects);
        }
    }
}
