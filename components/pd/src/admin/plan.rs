//! What would be: a copy of what is known, looked ahead by a thread that nobody waits for but who asks.

use flotilla_base::{Span, StoreId};
use flotilla_pdcore::Denied;
use flotilla_placement::{
    PolicyRefusal, StoreLoad,
    prospect::{Prospect, ProspectStore, REGIONS_MAX, Supposition, SuppositionRefusal},
    rule::RuleEdit,
};
use flotilla_proto::placement as wire;
use flotilla_telemetry::clock::unix_millis;

use super::Unwanted;
use crate::handle::CoreHandle;

/// Bytes that one store is taken to copy in a second: what stores send and take of snapshots where nobody says otherwise.
const COPY_BYTES_PER_SECOND: u64 = 100 << 20;
/// How far is looked ahead where nobody says.
const HORIZON_DEFAULT: Span = Span::from_millis(3_600_000);
/// Regions whose reasons are told; the others are counted.
const STUCK_TOLD_MAX: usize = 20;

/// What would be other than it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Supposed {
    pub supposition: Supposition,
    /// Of rules.
    pub edits: Vec<RuleEdit>,
}

/// Looks ahead. Nothing is done.
///
/// # Errors
/// [`Unwanted::Early`] where the cluster is not known yet, [`Unwanted::Supposition`] where it cannot be supposed,
/// [`Unwanted::Denied`] where this member does not lead.
pub(crate) async fn plan(
    core: &CoreHandle,
    supposed: Supposed,
    horizon: Option<Span>,
) -> Result<wire::PlanResponse, Unwanted> {
    let horizon = horizon.unwrap_or(HORIZON_DEFAULT);
    // One at a time, however long it takes, and whether its asker still waits: the others have a server to run.
    let one_at_a_time = core.planning.clone().lock_owned().await;
    let Supposed { supposition, edits } = supposed;
    let premises = core.glance(move |sight| {
        let scheduling = sight.scheduling();
        if let Some(gap) = scheduling.gap().or_else(|| scheduling.view.unled()) {
            return Err(Unwanted::Early(gap));
        }
        let regions = sight.regions().len();
        if regions > REGIONS_MAX {
            return Err(SuppositionRefusal::TooManyRegions(regions).into());
        }
        let mut premises = sight.premises(unix_millis(), COPY_BYTES_PER_SECOND);
        if !edits.is_empty() {
            let book = premises.policy.edit_rules(edits).map_err(PolicyRefusal::Rule)?;
            sight.state().check_new_rules(&book)?;
            premises.policy.rules = book;
        }
        Ok::<_, Unwanted>(premises)
    });
    let premises = premises.await??;
    let looked = tokio::task::spawn_blocking(move || {
        let prospect = Prospect::of(premises, &supposition, horizon);
        drop(one_at_a_time);
        prospect
    });
    let prospect = looked.await.map_err(|_ended| Denied::Stopped)??;
    Ok(to_wire(&prospect, horizon))
}

fn to_wire(prospect: &Prospect, horizon: Span) -> wire::PlanResponse {
    let outlook = &prospect.outlook;
    let unix_ms = unix_millis();
    let stuck = prospect.stuck().iter().take(STUCK_TOLD_MAX);
    let stuck = stuck.map(|(region, why)| wire::StuckRegion {
        region_id: region.get(),
        reason: Some(wire::Reason { unix_ms, why: why.clone() }),
    });
    let idle = prospect.idle.iter();
    let idle =
        idle.map(|(name, why)| wire::IdleScheduler { name: (*name).to_owned(), why: why.clone() });
    wire::PlanResponse {
        moves: outlook.moves.len() as u64,
        moved_bytes: outlook.moves.iter().map(|it| it.bytes).sum(),
        transfers: outlook.transfers,
        ends_after_ms: outlook.ends_after.as_millis(),
        is_settled: outlook.is_settled,
        stores: prospect.stores.iter().map(store_to_wire).collect(),
        stuck: stuck.collect(),
        stuck_regions: prospect.stuck().len() as u64,
        idle: idle.collect(),
        copy_bytes_per_second: COPY_BYTES_PER_SECOND,
        horizon_ms: horizon.as_millis(),
        cut_off: outlook.cut_off.map(|cut_off| cut_off.to_string()).unwrap_or_default(),
    }
}

fn store_to_wire(store: &ProspectStore) -> wire::PlannedStore {
    let carried = |load: &StoreLoad| wire::Carried {
        leaders: load.leaders,
        replicas: load.regions,
        bytes: load.region_bytes,
    };
    wire::PlannedStore {
        store_id: store.id.get(),
        is_new: store.is_new,
        is_removed: store.is_leaving,
        before: Some(carried(&store.before)),
        after: Some(carried(&store.after)),
    }
}

/// So many stores with these labels would come, and those would go.
pub(crate) fn supposition(
    come: usize,
    labels: &[(String, String)],
    go: impl IntoIterator<Item = u64>,
) -> Supposition {
    Supposition { come: vec![labels.to_vec(); come], go: go.into_iter().map(StoreId).collect() }
}
