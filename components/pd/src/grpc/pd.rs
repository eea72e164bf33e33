//! `pdpb.PD`: what clients and stores call.

use std::{collections::BTreeSet, sync::Arc};

use flotilla_base::{Key, KeyRange, Region, RegionId, StoreId};
use flotilla_pdcore::Denied;
use flotilla_placement::{Ending, StoreState, deal_split_ids};
use flotilla_proto::{ConvertError, metapb, pdpb, pdpb::pd_server::Pd};
use tonic::{Request, Response, Status, Streaming, codegen::BoxStream};

use super::{
    convert, reject,
    reject::{error_header, header, not_bootstrapped},
    split, streams,
};
use crate::{
    SERVED_VERSION, admin,
    core::{LastOperator, Listed, Look, RegionLookup, Request as Ask, Selection},
    handle::CoreHandle,
    http::operators,
    status,
};

/// The public service.
pub(super) struct PdService {
    pub core: CoreHandle,
    pub member: Arc<pdpb::Member>,
}

type Answered<T> = Result<Response<T>, Status>;

impl PdService {
    /// Checks that the sender means this cluster and that this member leads.
    async fn admit(&self, header: Option<&pdpb::RequestHeader>) -> Result<status::Status, Status> {
        streams::admit(&self.core, header).await
    }

    async fn look_up(
        &self,
        sender: Option<&pdpb::RequestHeader>,
        lookup: RegionLookup,
    ) -> Answered<pdpb::GetRegionResponse> {
        let status = self.admit(sender).await?;
        let cluster = status.cluster_id();
        if status.bootstrap.is_none() {
            let answer = convert::region_response(not_bootstrapped(cluster), None);
            return Ok(Response::new(answer));
        }
        let found = self.core.region(lookup).await.map_err(|denied| reject::status(&denied))?;
        Ok(Response::new(convert::region_response(header(cluster), found.as_deref())))
    }

    async fn list(&self, selection: Selection) -> Result<Listed, Status> {
        let listed = self.core.ask(|reply| Look::Regions { selection, reply }).await;
        listed.map_err(|denied| reject::status(&denied))
    }
}

#[tonic::async_trait]
impl Pd for PdService {
    async fn get_cluster_info(
        &self,
        _request: Request<pdpb::GetClusterInfoRequest>,
    ) -> Answered<pdpb::GetClusterInfoResponse> {
        Ok(Response::new(pdpb::GetClusterInfoResponse {
            header: header(self.core.status().cluster_id()),
            service_modes: vec![pdpb::ServiceMode::PdSvcMode.into()],
            tso_urls: Vec::new(),
        }))
    }

    /// Never waits. A member that is not sure of its lead names no leader: a client that is told of a
    /// dead one comes back to it for ever.
    async fn get_members(
        &self,
        _request: Request<pdpb::GetMembersRequest>,
    ) -> Answered<pdpb::GetMembersResponse> {
        let status = self.core.status();
        let member = self.member.as_ref().clone();
        let leads = status.is_leading && self.core.tso.leads_now();
        let leader = leads.then(|| member.clone());
        Ok(Response::new(pdpb::GetMembersResponse {
            header: header(status.cluster_id()),
            members: vec![member],
            etcd_leader: leader.clone(),
            leader,
        }))
    }

    async fn tso(
        &self,
        request: Request<Streaming<pdpb::TsoRequest>>,
    ) -> Answered<BoxStream<pdpb::TsoResponse>> {
        Ok(Response::new(streams::tso(self.core.clone(), request.into_inner())))
    }

    /// The first regions are made by the placement driver itself, so nobody else can.
    async fn bootstrap(
        &self,
        request: Request<pdpb::BootstrapRequest>,
    ) -> Answered<pdpb::BootstrapResponse> {
        let status = self.admit(request.get_ref().header.as_ref()).await?;
        let (kind, text) = if status.bootstrap.is_some() {
            let text = "cluster is already bootstrapped".to_owned();
            (pdpb::ErrorType::AlreadyBootstrapped, text)
        } else {
            let wanted = status.cluster.map_or(0, |cluster| cluster.max_replicas);
            let text = format!(
                "this placement driver bootstraps by itself once {wanted} stores are registered, \
                 {} are",
                status.stores
            );
            (pdpb::ErrorType::Unknown, text)
        };
        let header = error_header(status.cluster_id(), kind, text);
        Ok(Response::new(pdpb::BootstrapResponse { header }))
    }

    async fn is_bootstrapped(
        &self,
        request: Request<pdpb::IsBootstrappedRequest>,
    ) -> Answered<pdpb::IsBootstrappedResponse> {
        let status = self.admit(request.get_ref().header.as_ref()).await?;
        Ok(Response::new(pdpb::IsBootstrappedResponse {
            header: header(status.cluster_id()),
            bootstrapped: status.bootstrap.is_some(),
        }))
    }

    async fn alloc_id(
        &self,
        request: Request<pdpb::AllocIdRequest>,
    ) -> Answered<pdpb::AllocIdResponse> {
        let request = request.into_inner();
        let status = self.admit(request.header.as_ref()).await?;
        let count = request.count;
        let batch = self.core.ask(|reply| Ask::AllocIds { count, reply }).await;
        let batch = batch.map_err(|denied| reject::status(&denied))?;
        Ok(Response::new(pdpb::AllocIdResponse {
            header: header(status.cluster_id()),
            id: batch.last,
            count: u32::try_from(batch.count()).unwrap_or(u32::MAX),
        }))
    }

    async fn get_store(
        &self,
        request: Request<pdpb::GetStoreRequest>,
    ) -> Answered<pdpb::GetStoreResponse> {
        let request = request.into_inner();
        let status = self.admit(request.header.as_ref()).await?;
        let cluster = status.cluster_id();
        if status.bootstrap.is_none() {
            let header = not_bootstrapped(cluster);
            let response = pdpb::GetStoreResponse { header, store: None, stats: None };
            return Ok(Response::new(response));
        }
        let id = StoreId(request.store_id);
        let entry = self.core.ask(|reply| Look::Store { id, reply }).await;
        let entry = entry.map_err(|denied| reject::status(&denied))?;
        Ok(Response::new(pdpb::GetStoreResponse {
            header: header(cluster),
            store: Some(convert::store_to_wire(&entry)),
            stats: entry.status.map(|status| convert::stats_to_wire(id, &status)),
        }))
    }

    async fn put_store(
        &self,
        request: Request<pdpb::PutStoreRequest>,
    ) -> Answered<pdpb::PutStoreResponse> {
        let request = request.into_inner();
        let cluster = self.admit(request.header.as_ref()).await?.cluster_id();
        let store = request.store.ok_or_else(|| Status::invalid_argument("store is absent"))?;
        let store = Box::new(convert::store_from_wire(store, 0));
        let header = match self.core.ask(|reply| Ask::PutStore { store, reply }).await {
            Ok(()) => header(cluster),
            Err(denied) => header_of(cluster, &denied)?,
        };
        Ok(Response::new(pdpb::PutStoreResponse { header }))
    }

    async fn get_all_stores(
        &self,
        request: Request<pdpb::GetAllStoresRequest>,
    ) -> Answered<pdpb::GetAllStoresResponse> {
        let request = request.into_inner();
        let status = self.admit(request.header.as_ref()).await?;
        let cluster = status.cluster_id();
        if status.bootstrap.is_none() {
            let header = not_bootstrapped(cluster);
            return Ok(Response::new(pdpb::GetAllStoresResponse { header, stores: Vec::new() }));
        }
        let entries = self.core.ask(|reply| Look::Stores { reply }).await;
        let entries = entries.map_err(|denied| reject::status(&denied))?;
        let is_wanted = |state| !request.exclude_tombstone_stores || state != StoreState::Tombstone;
        let wanted = entries.iter().filter(|entry| is_wanted(entry.record.state));
        Ok(Response::new(pdpb::GetAllStoresResponse {
            header: header(cluster),
            stores: wanted.map(convert::store_to_wire).collect(),
        }))
    }

    async fn store_heartbeat(
        &self,
        request: Request<pdpb::StoreHeartbeatRequest>,
    ) -> Answered<pdpb::StoreHeartbeatResponse> {
        let request = request.into_inner();
        let cluster = self.admit(request.header.as_ref()).await?.cluster_id();
        let stats = request.stats.ok_or_else(|| Status::invalid_argument("stats are absent"))?;
        let id = StoreId(stats.store_id);
        let stats = Box::new(convert::stats_from_wire(&stats));
        let header = match self.core.ask(|reply| Ask::StoreHeartbeat { id, stats, reply }).await {
            Ok(()) => header(cluster),
            Err(denied) => header_of(cluster, &denied)?,
        };
        let cluster_version = SERVED_VERSION.to_owned();
        Ok(Response::new(pdpb::StoreHeartbeatResponse { header, cluster_version }))
    }

    async fn region_heartbeat(
        &self,
        request: Request<Streaming<pdpb::RegionHeartbeatRequest>>,
    ) -> Answered<BoxStream<pdpb::RegionHeartbeatResponse>> {
        Ok(Response::new(streams::region_heartbeat(self.core.clone(), request.into_inner())))
    }

    async fn get_region(
        &self,
        request: Request<pdpb::GetRegionRequest>,
    ) -> Answered<pdpb::GetRegionResponse> {
        let request = request.into_inner();
        self.look_up(request.header.as_ref(), RegionLookup::Key(request.region_key)).await
    }

    async fn get_prev_region(
        &self,
        request: Request<pdpb::GetRegionRequest>,
    ) -> Answered<pdpb::GetRegionResponse> {
        let request = request.into_inner();
        self.look_up(request.header.as_ref(), RegionLookup::Previous(request.region_key)).await
    }

    async fn get_region_by_id(
        &self,
        request: Request<pdpb::GetRegionByIdRequest>,
    ) -> Answered<pdpb::GetRegionResponse> {
        let request = request.into_inner();
        let id = RegionId(request.region_id);
        self.look_up(request.header.as_ref(), RegionLookup::Id(id)).await
    }

    async fn scan_regions(
        &self,
        request: Request<pdpb::ScanRegionsRequest>,
    ) -> Answered<pdpb::ScanRegionsResponse> {
        let request = request.into_inner();
        let status = self.admit(request.header.as_ref()).await?;
        let cluster = status.cluster_id();
        let mut response = pdpb::ScanRegionsResponse {
            header: not_bootstrapped(cluster),
            ..pdpb::ScanRegionsResponse::default()
        };
        if status.bootstrap.is_none() {
            return Ok(Response::new(response));
        }
        let range = KeyRange { start: request.start_key, end: request.end_key };
        let selection = Selection::Range(range, convert::limit_from_wire(request.limit));
        match self.list(selection).await? {
            Ok(found) => {
                response.header = header(cluster);
                for info in &found {
                    let region = convert::region_to_wire(info);
                    response.region_metas.extend(region.region.clone());
                    response.leaders.push(region.leader.unwrap_or_default());
                    response.regions.push(region);
                }
            }
            Err(refusal) => response.header = reject::scan_header(cluster, &refusal),
        }
        Ok(Response::new(response))
    }

    async fn batch_scan_regions(
        &self,
        request: Request<pdpb::BatchScanRegionsRequest>,
    ) -> Answered<pdpb::BatchScanRegionsResponse> {
        let request = request.into_inner();
        let status = self.admit(request.header.as_ref()).await?;
        let cluster = status.cluster_id();
        let header = if status.bootstrap.is_none() {
            not_bootstrapped(cluster)
        } else {
            let ranges = request.ranges.into_iter().map(convert::range_from_wire).collect();
            let limit = convert::limit_from_wire(request.limit);
            let selection = Selection::Ranges(ranges, limit, request.contain_all_key_range);
            match self.list(selection).await? {
                Ok(found) => {
                    let regions = found.iter().map(|info| convert::region_to_wire(info)).collect();
                    let header = header(cluster);
                    return Ok(Response::new(pdpb::BatchScanRegionsResponse { header, regions }));
                }
                Err(refusal) => reject::scan_header(cluster, &refusal),
            }
        };
        Ok(Response::new(pdpb::BatchScanRegionsResponse { header, regions: Vec::new() }))
    }

    async fn ask_batch_split(
        &self,
        request: Request<pdpb::AskBatchSplitRequest>,
    ) -> Answered<pdpb::AskBatchSplitResponse> {
        let request = request.into_inner();
        let status = self.admit(request.header.as_ref()).await?;
        let cluster = status.cluster_id();
        if status.bootstrap.is_none() {
            let header = not_bootstrapped(cluster);
            return Ok(Response::new(pdpb::AskBatchSplitResponse { header, ids: Vec::new() }));
        }
        let region = Box::new(region_from_wire(request.region)?);
        let (children, peers) = (request.split_count, region.peers.len());
        let asked = self.core.ask(|reply| Ask::AskSplit { region, children, reply }).await;
        let (header, ids) = match asked {
            Ok(ids) => (header(cluster), deal_split_ids(ids, children, peers)),
            Err(denied) => (header_of(cluster, &denied)?, Vec::new()),
        };
        let ids = ids.iter().map(convert::split_to_wire).collect();
        Ok(Response::new(pdpb::AskBatchSplitResponse { header, ids }))
    }

    async fn report_batch_split(
        &self,
        request: Request<pdpb::ReportBatchSplitRequest>,
    ) -> Answered<pdpb::ReportBatchSplitResponse> {
        let request = request.into_inner();
        let status = self.admit(request.header.as_ref()).await?;
        let cluster = status.cluster_id();
        let pieces = request.regions.into_iter().map(|region| region_from_wire(Some(region)));
        let pieces = pieces.collect::<Result<_, _>>()?;
        let header = if status.bootstrap.is_none() {
            not_bootstrapped(cluster)
        } else {
            match self.core.ask(|reply| Ask::ReportSplit { pieces, reply }).await {
                Ok(()) => header(cluster),
                Err(denied) => header_of(cluster, &denied)?,
            }
        };
        Ok(Response::new(pdpb::ReportBatchSplitResponse { header }))
    }

    async fn get_operator(
        &self,
        request: Request<pdpb::GetOperatorRequest>,
    ) -> Answered<pdpb::GetOperatorResponse> {
        let request = request.into_inner();
        let status = self.admit(request.header.as_ref()).await?;
        let (cluster, region) = (status.cluster_id(), RegionId(request.region_id));
        let found = self.core.ask(|reply| Look::LastOperator { region, reply }).await;
        let found = found.map_err(|denied| reject::status(&denied))?;
        let (operator, status) = match &found {
            Some(LastOperator::Running(running)) => {
                (running.as_ref(), pdpb::OperatorStatus::Running)
            }
            Some(LastOperator::Ended(ended)) => {
                let status = match ended.ending {
                    Ending::Finished => pdpb::OperatorStatus::Success,
                    Ending::TimedOut => pdpb::OperatorStatus::Timeout,
                    Ending::Cancelled(_) => pdpb::OperatorStatus::Cancel,
                };
                (&ended.operator, status)
            }
            None => {
                let header = header_of(cluster, &Denied::NoOperator(region))?;
                let answer = pdpb::GetOperatorResponse { header, ..Default::default() };
                return Ok(Response::new(answer));
            }
        };
        Ok(Response::new(pdpb::GetOperatorResponse {
            header: header(cluster),
            region_id: region.get(),
            desc: operators::desc(operator).into(),
            status: status.into(),
            kind: operators::kind(operator).into(),
        }))
    }

    async fn split_regions(
        &self,
        request: Request<pdpb::SplitRegionsRequest>,
    ) -> Answered<pdpb::SplitRegionsResponse> {
        let request = request.into_inner();
        let status = self.admit(request.header.as_ref()).await?;
        let cluster = status.cluster_id();
        let mut response =
            pdpb::SplitRegionsResponse { header: not_bootstrapped(cluster), ..Default::default() };
        if status.bootstrap.is_none() {
            return Ok(Response::new(response));
        }
        let keys: BTreeSet<Key> = request.split_keys.into_iter().collect();
        let asked = keys.len();
        let outcome = split::split_at(&self.core, keys.into_iter().collect()).await;
        let outcome = outcome.map_err(|denied| reject::status(&denied))?;
        response.header = header(cluster);
        let done = 100 * (asked - outcome.missing);
        response.finished_percentage = done.checked_div(asked).unwrap_or(100) as u64;
        response.regions_id = outcome.regions.iter().map(|region| region.get()).collect();
        Ok(Response::new(response))
    }

    async fn scatter_region(
        &self,
        request: Request<pdpb::ScatterRegionRequest>,
    ) -> Answered<pdpb::ScatterRegionResponse> {
        let request = request.into_inner();
        let status = self.admit(request.header.as_ref()).await?;
        let cluster = status.cluster_id();
        let mut response = pdpb::ScatterRegionResponse {
            header: not_bootstrapped(cluster),
            ..pdpb::ScatterRegionResponse::default()
        };
        if status.bootstrap.is_none() {
            return Ok(Response::new(response));
        }
        let ids = if request.regions_id.is_empty() {
            vec![request.region_id]
        } else {
            request.regions_id
        };
        let regions = ids.into_iter().map(RegionId).collect();
        match admin::scatter(&self.core, &request.group, regions).await {
            Ok(outcome) => {
                response.header = header(cluster);
                response.finished_percentage = outcome.finished_percentage();
            }
            Err(denied) => response.header = header_of(cluster, &denied)?,
        }
        Ok(Response::new(response))
    }
}

fn region_from_wire(region: Option<metapb::Region>) -> Result<Region, Status> {
    let region = region.ok_or_else(|| Status::invalid_argument("region is absent"))?;
    region.try_into().map_err(|error: ConvertError| Status::invalid_argument(error.to_string()))
}

/// A refusal as a response header.
///
/// # Errors
/// The status of one that has no place there.
fn header_of(cluster: u64, denied: &Denied) -> Result<Option<pdpb::ResponseHeader>, Status> {
    match reject::kind_in_header(denied) {
        Some(kind) => Ok(error_header(cluster, kind, denied.to_string())),
        None => Err(reject::status(denied)),
    }
}
