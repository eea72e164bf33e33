//! The group's rounds: what was collected becomes effects, what was committed is applied.

use flotilla_placement::EntryPosition;
use flotilla_raftgroup::{Entry, Role, RoleChange, SingleRound};

use crate::core::PdCore;
use crate::effects::{Effects, LogWrite, Report};
use crate::input::Clocks;
use crate::open::{CoreError, GROUP};
use crate::operators::stamp;
use crate::reign::Ticket;

impl<T> PdCore<T> {
    pub(crate) fn take_round(
        &mut self,
        clocks: Clocks,
        round: SingleRound<Ticket<T>>,
        effects: &mut Effects<T>,
    ) -> Result<(), CoreError> {
        if let Some(change) = round.role_change {
            self.on_role_change(change, effects);
        }
        effects.send.extend(round.send_now);
        if !round.is_complete {
            let is_next = self.unsynced.back().is_none_or(|(last, _)| *last < round.number);
            assert!(is_next, "rounds are made durable in the order in which they are collected");
            assert!(effects.log.is_none(), "the last round's log is not written yet");
            effects.log = Some(LogWrite { number: round.number, batch: round.log });
            self.unsynced.push_back((round.number, round.send_after_persist));
        }
        let last = round.committed.last().map(|(entry, _)| entry.position());
        for (entry, ticket) in round.committed {
            self.apply(clocks, &entry, ticket, effects)?;
        }
        if let Some(last) = last {
            let records = self.single.truncate(last.index, self.config.log_entries_kept);
            effects.records.extend(records);
            effects.records.push(self.single.put_applied(GROUP, last));
        }
        for ticket in round.lost {
            self.abandon(ticket, effects);
        }
        Ok(())
    }

    fn apply(
        &mut self,
        clocks: Clocks,
        entry: &Entry,
        ticket: Option<Ticket<T>>,
        effects: &mut Effects<T>,
    ) -> Result<(), CoreError> {
        let at = EntryPosition { index: entry.index, term: entry.term };
        let applied = self.state.apply(at, &entry.data)?;
        self.view.take_policy(self.state.policy(), stamp(clocks));
        effects.records.extend(applied.records);
        self.single.on_applied(entry.index);
        let role = self.single.group().role();
        let begins_reign = role.role == Role::Leader && role.term == entry.term;
        if begins_reign && self.reign.is_none() {
            self.begin_reign(role, clocks);
        }
        match (ticket, applied.outcome) {
            (Some(ticket), Some(outcome)) => self.complete(clocks, ticket, outcome, effects),
            (Some(ticket), None) => self.abandon(ticket, effects),
            (None, _) => {}
        }
        Ok(())
    }

    fn on_role_change(&mut self, change: RoleChange, effects: &mut Effects<T>) {
        effects.reports.push(Report::Role(change));
        let is_kept = change.role == Role::Leader;
        if self.reign.as_ref().is_some_and(|reign| !is_kept || reign.term != change.term) {
            self.end_reign(effects);
        }
    }
}
