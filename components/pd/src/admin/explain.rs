//! Why something was done, or is not done: the decisions of this reign, and what stands in the way now.

use flotilla_base::{RegionId, StoreId};
use flotilla_pdcore::{Denied, Leading};
use flotilla_placement::{Decision, DecisionRecord, Idle, Obstacle, SchedulerName};
use flotilla_proto::placement as wire;
use flotilla_telemetry::clock::unix_millis;

use super::{schedulers::scheduler_to_wire, stores::store_to_wire};
use crate::{core::LastOperator, grpc};

/// What is to be explained.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    /// What is done to a region, and what it lacks.
    Region(RegionId),
    /// What a store takes.
    Store(StoreId),
    /// What a scheduler or a checker does.
    By(String),
    /// The change of a region that goes on, or the last one.
    Operator(RegionId),
}

/// Explains it with at most `limit` decisions.
///
/// # Errors
/// [`Denied`] where there is no such region, store or operator.
pub(crate) fn explain(
    sight: &Leading<'_>,
    subject: &Subject,
    limit: usize,
) -> Result<wire::ExplainResponse, Denied> {
    let mut told = wire::ExplainResponse {
        is_halted: sight.state().policy().settings.is_halted,
        ..wire::ExplainResponse::default()
    };
    let log = sight.mind().decisions();
    let mut is_wanted: Box<dyn Fn(&DecisionRecord) -> bool> = match subject {
        Subject::Region(region) | Subject::Operator(region) => {
            let region = *region;
            Box::new(move |record| record.decision.region == region)
        }
        Subject::Store(store) => {
            let store = *store;
            Box::new(move |record| is_of(&record.decision, store))
        }
        Subject::By(by) => {
            let by = by.strip_suffix("-scheduler").unwrap_or(by).to_owned();
            Box::new(move |record| record.decision.by == by)
        }
    };
    match subject {
        Subject::Region(region) => {
            sight.regions().by_id(*region).ok_or(Denied::UnknownRegion(*region))?;
            told.operator = LastOperator::of(sight.operators(), *region).map(last_to_wire);
            told.stuck = log.stuck(*region).map(reason_to_wire);
        }
        Subject::Store(store) => told.store = Some(account(sight, *store)?),
        Subject::By(by) => {
            let name = SchedulerName::parse(by);
            told.scheduler = name.map(|name| scheduler_to_wire(sight, name));
        }
        Subject::Operator(region) => {
            let last = LastOperator::of(sight.operators(), *region);
            let last = last.ok_or(Denied::NoOperator(*region))?;
            let (by, created) = {
                let operator = last.operator();
                (operator.asked_by, operator.created.unix_ms)
            };
            // The decision comes first, and the operator with the ids of its peers.
            let id = log
                .iter()
                .filter(|record| is_wanted(record) && record.decision.by == by)
                .find(|record| record.at.unix_ms <= created)
                .map(|record| record.id);
            is_wanted = Box::new(move |record| Some(record.id) == id);
            told.operator = Some(last_to_wire(last));
        }
    }
    let fitting: Vec<&DecisionRecord> = log.iter().filter(|record| is_wanted(record)).collect();
    told.decisions_in_all = fitting.len() as u64;
    told.decisions = fitting.into_iter().take(limit).map(decision_to_wire).collect();
    Ok(told)
}

fn last_to_wire(last: LastOperator) -> flotilla_proto::cluster::Operator {
    match last {
        LastOperator::Running(running) => grpc::operator_to_wire(&running),
        LastOperator::Ended(ended) => grpc::ended_to_wire(&ended),
    }
}

/// Whether a store has a part in a decision: it was chosen, or looked at.
pub(crate) fn is_of(decision: &Decision, store: StoreId) -> bool {
    let id = store.to_string();
    let is_named = || decision.brief.split(|c: char| !c.is_ascii_digit()).any(|word| word == id);
    decision.alternatives.iter().any(|other| other.store == store) || is_named()
}

/// What a store carries and takes.
fn account(sight: &Leading<'_>, id: StoreId) -> Result<wire::StoreAccount, Denied> {
    let store = store_to_wire(sight, id).ok_or(Denied::UnknownStore(id))?;
    let fleet = sight.fleet(unix_millis());
    let told = |check: Result<(), Obstacle>| {
        check.err().map(|obstacle| obstacle.to_string()).unwrap_or_default()
    };
    let mut account = wire::StoreAccount {
        store: Some(store),
        no_peers: told(fleet.check_peer(id, 0)),
        no_leads: told(fleet.check_leader(id)),
        ..wire::StoreAccount::default()
    };
    if let Some(seat) = fleet.seat(id) {
        (account.leaders, account.replicas) = (seat.leaders, seat.replicas);
        (account.bytes, account.copies) = (seat.bytes, seat.copies);
    }
    Ok(account)
}

pub(super) fn reason_to_wire(idle: &Idle) -> wire::Reason {
    wire::Reason { unix_ms: idle.at.unix_ms, why: idle.why.clone() }
}

/// A decision for others.
pub(crate) fn decision_to_wire(record: &DecisionRecord) -> wire::Decision {
    let Decision { by, region, brief, why, alternatives } = &record.decision;
    let alternatives = alternatives
        .iter()
        .map(|other| wire::Alternative { store_id: other.store.get(), why: other.why.clone() });
    wire::Decision {
        id: record.id,
        unix_ms: record.at.unix_ms,
        by: (*by).to_owned(),
        region_id: region.get(),
        brief: brief.clone(),
        why: why.clone(),
        alternatives: alternatives.collect(),
    }
}

#[cfg(test)]
mod tests {
    use flotilla_placement::Alternative;

    use super::*;

    #[test]
    fn a_store_has_a_part_in_what_names_it() {
        let mut decision = Decision {
            by: "balance-region",
            region: RegionId(4),
            brief: "mv peer: store [1] to [31]".to_owned(),
            why: "store 7 holds more".to_owned(),
            alternatives: vec![Alternative { store: StoreId(5), why: "it is busy".to_owned() }],
        };
        let parts = |decision: &Decision| {
            (1..40).filter(|id| is_of(decision, StoreId(*id))).collect::<Vec<_>>()
        };
        assert_eq!(parts(&decision), [1, 5, 31]);
        decision.brief = "transfer leader: store 1 to 2".to_owned();
        assert_eq!(parts(&decision), [1, 2, 5]);
    }
}
