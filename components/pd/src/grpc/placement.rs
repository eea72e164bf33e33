//! `flotilla.placement.Placement`: what people decide about placement, and why something is done or not.

use flotilla_base::{KeyRange, RegionId, Span, StoreId};
use flotilla_placement::{prospect::Supposition, rule::RuleEdit};
use flotilla_proto::{placement as wire, placement::placement_server::Placement};
use flotilla_telemetry::clock::unix_millis;
use tonic::{Request, Response, Status};

use super::reject;
use crate::{
    admin::{self, Limits, RegionFilter, SchedulerChange, StoreChange, Subject, Unwanted},
    handle::CoreHandle,
    http::rules,
};

/// Decisions that are told where nobody says how many, and how many at most.
const DECISIONS_DEFAULT: u32 = 10;
const DECISIONS_MAX: u32 = 1_000;

/// What is decided.
pub(super) struct PlacementService {
    pub core: CoreHandle,
}

type Answered<T> = Result<Response<T>, Status>;

/// A refusal as a status. The texts are for people.
fn refused(unwanted: Unwanted) -> Status {
    match unwanted {
        Unwanted::Denied(denied) => reject::status(&denied),
        other => Status::failed_precondition(other.to_string()),
    }
}

fn read_edits(operations: &str) -> Result<Vec<RuleEdit>, Status> {
    rules::read_edits(operations.as_bytes()).map_err(Status::failed_precondition)
}

fn incomplete(what: &'static str) -> Status {
    Status::invalid_argument(what)
}

#[tonic::async_trait]
impl Placement for PlacementService {
    async fn list_settings(
        &self,
        request: Request<wire::ListSettingsRequest>,
    ) -> Answered<wire::ListSettingsResponse> {
        reject::admit(&self.core, request.into_inner().cluster_id).await?;
        let listed = self.core.glance(|sight| admin::all_settings(sight.state().policy())).await;
        let settings = listed.map_err(|denied| reject::status(&denied))?;
        Ok(Response::new(wire::ListSettingsResponse { settings }))
    }

    async fn set_settings(
        &self,
        request: Request<wire::SetSettingsRequest>,
    ) -> Answered<wire::SetSettingsResponse> {
        let request = request.into_inner();
        reject::admit(&self.core, request.cluster_id).await?;
        let values = request.values.into_iter().map(|new| (new.name, new.value)).collect();
        admin::set(&self.core, values).await.map_err(refused)?;
        Ok(Response::new(wire::SetSettingsResponse {}))
    }

    async fn list_stores(
        &self,
        request: Request<wire::ListStoresRequest>,
    ) -> Answered<wire::ListStoresResponse> {
        reject::admit(&self.core, request.into_inner().cluster_id).await?;
        let listed = self.core.glance(admin::list_stores).await;
        Ok(Response::new(listed.map_err(|denied| reject::status(&denied))?))
    }

    async fn drain_store(
        &self,
        request: Request<wire::DrainStoreRequest>,
    ) -> Answered<wire::DrainStoreResponse> {
        let request = request.into_inner();
        reject::admit(&self.core, request.cluster_id).await?;
        let store = StoreId(request.store_id);
        let done = if request.undo {
            admin::stay(&self.core, store).await
        } else {
            admin::drain(&self.core, store).await.map_err(Unwanted::Denied)
        };
        done.map_err(refused)?;
        Ok(Response::new(wire::DrainStoreResponse {}))
    }

    async fn treat_store(
        &self,
        request: Request<wire::TreatStoreRequest>,
    ) -> Answered<wire::TreatStoreResponse> {
        let request = request.into_inner();
        reject::admit(&self.core, request.cluster_id).await?;
        let treatment = request.treatment.ok_or_else(|| incomplete("treatment is absent"))?;
        let change = change_from_wire(treatment);
        admin::treat(&self.core, StoreId(request.store_id), change).await.map_err(refused)?;
        Ok(Response::new(wire::TreatStoreResponse {}))
    }

    async fn list_schedulers(
        &self,
        request: Request<wire::ListSchedulersRequest>,
    ) -> Answered<wire::ListSchedulersResponse> {
        reject::admit(&self.core, request.into_inner().cluster_id).await?;
        let listed = self.core.glance(admin::schedulers).await;
        let schedulers = listed.map_err(|denied| reject::status(&denied))?;
        Ok(Response::new(wire::ListSchedulersResponse { schedulers }))
    }

    async fn change_scheduler(
        &self,
        request: Request<wire::ChangeSchedulerRequest>,
    ) -> Answered<wire::ChangeSchedulerResponse> {
        use wire::change_scheduler_request::Change;
        let request = request.into_inner();
        reject::admit(&self.core, request.cluster_id).await?;
        let store = |id: u64| (id > 0).then_some(StoreId(id));
        let change = match request.change.ok_or_else(|| incomplete("change is absent"))? {
            Change::Add(id) => SchedulerChange::Add(store(id)),
            Change::Remove(id) => SchedulerChange::Remove(store(id)),
            Change::PauseMs(millis) => SchedulerChange::Pause { millis },
        };
        let changed = admin::change_scheduler(&self.core, &request.name, change).await;
        let joined = changed.map_err(refused)?;
        Ok(Response::new(wire::ChangeSchedulerResponse { joined }))
    }

    async fn explain(
        &self,
        request: Request<wire::ExplainRequest>,
    ) -> Answered<wire::ExplainResponse> {
        use wire::explain_request::Subject as Wire;
        let request = request.into_inner();
        reject::admit(&self.core, request.cluster_id).await?;
        let subject = match request.subject.ok_or_else(|| incomplete("subject is absent"))? {
            Wire::Region(id) => Subject::Region(RegionId(id)),
            Wire::Store(id) => Subject::Store(StoreId(id)),
            Wire::By(by) => Subject::By(by),
            Wire::Operator(id) => Subject::Operator(RegionId(id)),
        };
        let limit = if request.limit == 0 { DECISIONS_DEFAULT } else { request.limit };
        let limit = limit.min(DECISIONS_MAX) as usize;
        let told = self.core.glance(move |sight| admin::explain(sight, &subject, limit)).await;
        let told = told.and_then(|told| told).map_err(|denied| reject::status(&denied))?;
        Ok(Response::new(told))
    }

    async fn list_loads(
        &self,
        request: Request<wire::ListLoadsRequest>,
    ) -> Answered<wire::ListLoadsResponse> {
        let request = request.into_inner();
        reject::admit(&self.core, request.cluster_id).await?;
        let (order, limit) = (request.order(), request.limit);
        let told = self.core.glance(move |sight| admin::loads(sight, unix_millis(), order, limit));
        Ok(Response::new(told.await.map_err(|denied| reject::status(&denied))?))
    }

    async fn scatter_regions(
        &self,
        request: Request<wire::ScatterRegionsRequest>,
    ) -> Answered<wire::ScatterRegionsResponse> {
        let request = request.into_inner();
        reject::admit(&self.core, request.cluster_id).await?;
        let regions = request.region_ids.into_iter().map(RegionId).collect();
        let outcome = admin::scatter(&self.core, "", regions).await;
        let outcome = outcome.map_err(|denied| reject::status(&denied))?;
        let unix_ms = unix_millis();
        let ids = |regions: Vec<RegionId>| regions.into_iter().map(RegionId::get).collect();
        let failed = outcome.failed.into_iter().map(|(region, why)| wire::StuckRegion {
            region_id: region.get(),
            reason: Some(wire::Reason { unix_ms, why }),
        });
        Ok(Response::new(wire::ScatterRegionsResponse {
            moving: ids(outcome.moving),
            settled: ids(outcome.settled),
            failed: failed.collect(),
        }))
    }

    async fn plan(&self, request: Request<wire::PlanRequest>) -> Answered<wire::PlanResponse> {
        let request = request.into_inner();
        reject::admit(&self.core, request.cluster_id).await?;
        let labels = |store: wire::NewStore| {
            store.labels.into_iter().map(|label| (label.key, label.value)).collect()
        };
        let supposition = Supposition {
            come: request.add_stores.into_iter().map(labels).collect(),
            go: request.remove_stores.into_iter().map(StoreId).collect(),
        };
        let horizon = Some(request.horizon_ms).filter(|millis| *millis > 0);
        let edits = match request.rule_operations.as_str() {
            "" => Vec::new(),
            operations => read_edits(operations)?,
        };
        let supposed = admin::Supposed { supposition, edits };
        let horizon = horizon.map(Span::from_millis);
        let plan = admin::plan(&self.core, supposed, horizon).await.map_err(refused)?;
        Ok(Response::new(plan))
    }

    async fn list_rules(
        &self,
        request: Request<wire::ListRulesRequest>,
    ) -> Answered<wire::ListRulesResponse> {
        reject::admit(&self.core, request.into_inner().cluster_id).await?;
        let listed = self.core.glance(|sight| sight.state().policy().all_rules()).await;
        let listed = listed.map_err(|denied| reject::status(&denied))?;
        let rules = rules::write_rules(&listed).to_string();
        Ok(Response::new(wire::ListRulesResponse { rules }))
    }

    async fn change_rules(
        &self,
        request: Request<wire::ChangeRulesRequest>,
    ) -> Answered<wire::ChangeRulesResponse> {
        let request = request.into_inner();
        reject::admit(&self.core, request.cluster_id).await?;
        let edits = read_edits(&request.operations)?;
        admin::change_rules(&self.core, edits).await.map_err(refused)?;
        Ok(Response::new(wire::ChangeRulesResponse {}))
    }

    async fn forget_stores(
        &self,
        request: Request<wire::ForgetStoresRequest>,
    ) -> Answered<wire::ForgetStoresResponse> {
        let request = request.into_inner();
        reject::admit(&self.core, request.cluster_id).await?;
        let named = request.store_ids.into_iter().map(StoreId).collect();
        let gone = admin::forget(&self.core, named).await.map_err(refused)?;
        let store_ids = gone.into_iter().map(StoreId::get).collect();
        Ok(Response::new(wire::ForgetStoresResponse { store_ids }))
    }

    async fn list_regions(
        &self,
        request: Request<wire::ListRegionsRequest>,
    ) -> Answered<wire::ListRegionsResponse> {
        let request = request.into_inner();
        reject::admit(&self.core, request.cluster_id).await?;
        let store = Some(StoreId(request.store_id)).filter(|store| !store.is_none());
        let store = store.map(|store| (store, request.role()));
        let filter = RegionFilter { store, check: request.check() };
        let range = KeyRange { start: request.start_key, end: request.end_key };
        let listed = self.core.glance(move |sight| admin::page(sight, &range, filter)).await;
        Ok(Response::new(listed.map_err(|denied| reject::status(&denied))?))
    }
}

fn change_from_wire(treatment: wire::treat_store_request::Treatment) -> StoreChange {
    use wire::treat_store_request::Treatment;
    match treatment {
        Treatment::Labels(wire::LabelChange { set, delete, replace }) => StoreChange::Label {
            is_all: replace,
            set: set.into_iter().map(|label| (label.key, label.value)).collect(),
            delete,
        },
        Treatment::Weights(wire::Weights { leader, region }) => {
            StoreChange::Weigh { leader, region }
        }
        Treatment::Limits(wire::StoreLimits { add, remove }) => StoreChange::Limit(Limits {
            add: add.map(|limit| limit.peers),
            remove: remove.map(|limit| limit.peers),
        }),
        Treatment::MaintainMs(millis) => StoreChange::Maintain { millis },
    }
}
