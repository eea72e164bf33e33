//! The placement driver of the fake cluster.

use flotilla_base::Region;
use flotilla_proto::{
    cluster::{
        HealthRequest, HealthResponse, RemoveStoreRequest, RemoveStoreResponse,
        cluster_server::Cluster,
    },
    metapb,
    pdpb::{self, pd_server::Pd},
};
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, codegen::BoxStream};

use super::{PD, Shared, World};

pub(crate) struct FakePd(pub(crate) Shared);

impl FakePd {
    fn header(&self) -> Option<pdpb::ResponseHeader> {
        Some(pdpb::ResponseHeader { cluster_id: self.0.world.lock().cluster, error: None })
    }

    /// Counts a question and checks its cluster.
    fn enter(
        &self,
        method: &'static str,
        header: Option<pdpb::RequestHeader>,
    ) -> Result<(), Status> {
        let mut world = self.0.world.lock();
        world.count(method);
        let (need, got) = (world.cluster, header.map_or(0, |header| header.cluster_id));
        if need == got {
            return Ok(());
        }
        let text = format!("mismatch cluster id, need {need} but got {got}");
        Err(Status::failed_precondition(text))
    }

    fn region(&self, choose: impl Fn(&Region) -> bool) -> pdpb::GetRegionResponse {
        let header = self.header();
        let world = self.0.world.lock();
        let regions = world.stale_regions.as_ref().unwrap_or(&world.regions);
        let found = regions.iter().find(|(region, _)| choose(region)).cloned();
        pdpb::GetRegionResponse {
            header,
            leader: found.as_ref().and_then(|(region, leader)| leading(region, *leader)),
            region: found.map(|(region, _)| region.into()),
            ..pdpb::GetRegionResponse::default()
        }
    }
}

fn leading(region: &Region, leader: u64) -> Option<metapb::Peer> {
    region.peers.iter().find(|peer| peer.store.get() == leader).map(|&peer| peer.into())
}

fn store(world: &World, id: u64) -> Option<metapb::Store> {
    let address = world.addresses.get(&id).filter(|_| id != PD)?.clone();
    Some(metapb::Store { id, address, version: "8.5.0".to_owned(), ..metapb::Store::default() })
}

/// In the words of the public protocol.
fn unknown(store: u64) -> Status {
    Status::unknown(format!("invalid store ID {store}, not found"))
}

#[tonic::async_trait]
impl Pd for FakePd {
    async fn get_members(
        &self,
        _request: Request<pdpb::GetMembersRequest>,
    ) -> Result<Response<pdpb::GetMembersResponse>, Status> {
        let header = self.header();
        let mut world = self.0.world.lock();
        world.count("get_members");
        let url = format!("http://{}", world.addresses[&PD]);
        let member = pdpb::Member {
            name: "pd-1".to_owned(),
            member_id: 77,
            client_urls: vec![url],
            ..pdpb::Member::default()
        };
        Ok(Response::new(pdpb::GetMembersResponse {
            header,
            members: vec![member.clone()],
            leader: Some(member),
            ..pdpb::GetMembersResponse::default()
        }))
    }

    async fn is_bootstrapped(
        &self,
        request: Request<pdpb::IsBootstrappedRequest>,
    ) -> Result<Response<pdpb::IsBootstrappedResponse>, Status> {
        self.enter("is_bootstrapped", request.into_inner().header)?;
        let header = self.header();
        Ok(Response::new(pdpb::IsBootstrappedResponse { header, bootstrapped: true }))
    }

    async fn get_region(
        &self,
        request: Request<pdpb::GetRegionRequest>,
    ) -> Result<Response<pdpb::GetRegionResponse>, Status> {
        let pdpb::GetRegionRequest { header, region_key, .. } = request.into_inner();
        self.enter("get_region", header)?;
        Ok(Response::new(self.region(|region| region.range.contains(&region_key))))
    }

    async fn get_prev_region(
        &self,
        request: Request<pdpb::GetRegionRequest>,
    ) -> Result<Response<pdpb::GetRegionResponse>, Status> {
        let pdpb::GetRegionRequest { header, region_key, .. } = request.into_inner();
        self.enter("get_prev_region", header)?;
        let at = self.region(|region| region.range.contains(&region_key)).region;
        let start = at.map(|region| region.start_key).unwrap_or_default();
        let is_before = |region: &Region| !start.is_empty() && region.range.end == start;
        Ok(Response::new(self.region(is_before)))
    }

    async fn get_store(
        &self,
        request: Request<pdpb::GetStoreRequest>,
    ) -> Result<Response<pdpb::GetStoreResponse>, Status> {
        let pdpb::GetStoreRequest { header, store_id } = request.into_inner();
        self.enter("get_store", header)?;
        let header = self.header();
        let store = store(&self.0.world.lock(), store_id).ok_or_else(|| unknown(store_id))?;
        let stats = pdpb::StoreStats { region_count: 2, ..pdpb::StoreStats::default() };
        Ok(Response::new(pdpb::GetStoreResponse { header, store: Some(store), stats: Some(stats) }))
    }

    async fn get_all_stores(
        &self,
        request: Request<pdpb::GetAllStoresRequest>,
    ) -> Result<Response<pdpb::GetAllStoresResponse>, Status> {
        self.enter("get_all_stores", request.into_inner().header)?;
        let header = self.header();
        let world = self.0.world.lock();
        let stores = (1..=3).rev().filter_map(|id| store(&world, id)).collect();
        Ok(Response::new(pdpb::GetAllStoresResponse { header, stores }))
    }

    async fn scan_regions(
        &self,
        request: Request<pdpb::ScanRegionsRequest>,
    ) -> Result<Response<pdpb::ScanRegionsResponse>, Status> {
        let pdpb::ScanRegionsRequest { header, start_key, end_key, .. } = request.into_inner();
        self.enter("scan_regions", header)?;
        let header = self.header();
        let asked = flotilla_base::KeyRange::new(start_key, end_key);
        let world = self.0.world.lock();
        let hits = world.regions.iter().filter(|(region, _)| region.range.overlaps(&asked));
        // Two at a time, whatever was asked for, so that the client has to come again.
        let regions = hits.take(2).map(|(region, leader)| pdpb::Region {
            region: Some(region.into()),
            leader: leading(region, *leader),
            ..pdpb::Region::default()
        });
        Ok(Response::new(pdpb::ScanRegionsResponse {
            header,
            regions: regions.collect(),
            ..pdpb::ScanRegionsResponse::default()
        }))
    }

    async fn tso(
        &self,
        request: Request<tonic::Streaming<pdpb::TsoRequest>>,
    ) -> Result<Response<BoxStream<pdpb::TsoResponse>>, Status> {
        let header = self.header();
        let answers = request.into_inner().map(move |request| {
            let count = request?.count;
            let timestamp = pdpb::Timestamp { physical: 1_000, logical: 7, suffix_bits: 0 };
            Ok(pdpb::TsoResponse { header: header.clone(), count, timestamp: Some(timestamp) })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

#[tonic::async_trait]
impl Cluster for FakePd {
    async fn health(
        &self,
        request: Request<HealthRequest>,
    ) -> Result<Response<HealthResponse>, Status> {
        let cluster_id = request.into_inner().cluster_id;
        self.enter("health", Some(pdpb::RequestHeader { cluster_id, ..Default::default() }))?;
        let health = self.0.world.lock().health.clone();
        health.map(Response::new).ok_or_else(|| Status::unimplemented("health"))
    }

    async fn remove_store(
        &self,
        request: Request<RemoveStoreRequest>,
    ) -> Result<Response<RemoveStoreResponse>, Status> {
        let RemoveStoreRequest { cluster_id, store_id } = request.into_inner();
        self.enter("remove_store", Some(pdpb::RequestHeader { cluster_id, ..Default::default() }))?;
        let known = store(&self.0.world.lock(), store_id).ok_or_else(|| unknown(store_id));
        known.map(|_removed| Response::new(RemoveStoreResponse {}))
    }
}
