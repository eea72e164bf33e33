//! The stores of the fake cluster.

use std::ops::Bound;

use bytes::Bytes;
use flotilla_base::{KeyRange, Region};
use flotilla_proto::{
    errorpb,
    kvrpcpb::{self, Context, KvPair},
    tikvpb::{
        BatchCommandsRequest, BatchCommandsResponse,
        batch_commands_request::request::Cmd,
        batch_commands_response::{Response as Answer, response::Cmd as Answered},
        tikv_server::Tikv,
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming, codegen::BoxStream};

use super::{Fault, Shared, World};

#[derive(Clone)]
pub(crate) struct FakeStore {
    pub(crate) node: u64,
    pub(crate) shared: Shared,
}

/// Makes an answer of a region error and a text.
type Refuse<A> = fn(Option<errorpb::Error>, String) -> A;

impl FakeStore {
    async fn serve<A>(
        &self,
        method: &'static str,
        context: Option<Context>,
        refuse: Refuse<A>,
        work: impl FnOnce(&mut World, &Region) -> A,
    ) -> Result<Response<A>, Status> {
        let fault = {
            let mut world = self.shared.world.lock();
            world.count(method);
            *world.asked_at.entry(self.node).or_default() += 1;
            world.faults.get_mut(&self.node).and_then(std::collections::VecDeque::pop_front)
        };
        let context = context.expect("every request has a context");
        match fault {
            None => Ok(Response::new(self.work(&context, refuse, work))),
            Some(Fault::Refuse(error)) => Ok(Response::new(refuse(Some(*error), String::new()))),
            Some(Fault::Reject(text)) => Ok(Response::new(refuse(None, text.to_owned()))),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::DieBefore { comes_back }) => self.shared.die(self.node, comes_back).await,
            Some(Fault::DieAfter { comes_back }) => {
                self.work(&context, refuse, work);
                self.shared.die(self.node, comes_back).await
            }
        }
    }

    fn work<A>(
        &self,
        context: &Context,
        refuse: Refuse<A>,
        work: impl FnOnce(&mut World, &Region) -> A,
    ) -> A {
        let mut world = self.shared.world.lock();
        match check(self.node, &world, context) {
            Ok(region) => work(&mut world, &region),
            Err(error) => refuse(Some(*error), String::new()),
        }
    }
}

fn check(node: u64, world: &World, context: &Context) -> Result<Region, Box<errorpb::Error>> {
    let refused = |set: &dyn Fn(&mut errorpb::Error)| {
        let mut error = errorpb::Error::default();
        set(&mut error);
        Box::new(error)
    };
    assert_eq!(context.cluster_id, world.cluster, "the client names its cluster");
    assert!(context.max_execution_duration_ms > 0, "the client names its deadline");
    if context.peer.is_none_or(|peer| peer.store_id != node) {
        return Err(refused(&|error| error.store_not_match = Some(<_>::default())));
    }
    let found = world.regions.iter().find(|(region, _)| region.id.get() == context.region_id);
    let Some((region, leader)) = found else {
        return Err(refused(&|error| error.region_not_found = Some(<_>::default())));
    };
    if *leader != node && !context.replica_read {
        let leader = region.peers.iter().find(|peer| peer.store.get() == *leader);
        let not_leader = errorpb::NotLeader {
            region_id: context.region_id,
            leader: leader.map(|&leader| leader.into()),
        };
        return Err(refused(&|error| error.not_leader = Some(not_leader)));
    }
    if context.region_epoch.is_none_or(|epoch| epoch.version != region.epoch.version.get()) {
        let current_regions =
            world.regions.iter().map(|(region, _)| region.into()).collect::<Vec<_>>();
        let error = errorpb::EpochNotMatch { current_regions };
        return Err(refused(&|told| told.epoch_not_match = Some(error.clone())));
    }
    Ok(region.clone())
}

fn inside(region: &Region, key: &Bytes) {
    assert!(region.range.contains(key), "{key:?} is not in {region:?}");
}

fn pairs(world: &World, range: &KeyRange) -> Vec<KvPair> {
    let end = match &range.end {
        end if end.is_empty() => Bound::Unbounded,
        end => Bound::Excluded(end.clone()),
    };
    let bounds = (Bound::Included(range.start.clone()), end);
    let found = world.data.range(bounds);
    let pair = |(key, value): (&Bytes, &Bytes)| KvPair {
        error: None,
        key: key.clone(),
        value: value.clone(),
    };
    found.map(pair).collect()
}

#[tonic::async_trait]
impl Tikv for FakeStore {
    async fn raw_get(
        &self,
        request: Request<kvrpcpb::RawGetRequest>,
    ) -> Result<Response<kvrpcpb::RawGetResponse>, Status> {
        let kvrpcpb::RawGetRequest { context, key, .. } = request.into_inner();
        let refuse = |region_error, error| kvrpcpb::RawGetResponse {
            region_error,
            error,
            ..kvrpcpb::RawGetResponse::default()
        };
        self.serve("raw_get", context, refuse, |world, region| {
            inside(region, &key);
            let value = world.data.get(&key).cloned();
            kvrpcpb::RawGetResponse {
                not_found: value.is_none(),
                value: value.unwrap_or_default(),
                ..kvrpcpb::RawGetResponse::default()
            }
        })
        .await
    }

    async fn raw_put(
        &self,
        request: Request<kvrpcpb::RawPutRequest>,
    ) -> Result<Response<kvrpcpb::RawPutResponse>, Status> {
        let kvrpcpb::RawPutRequest { context, key, value, .. } = request.into_inner();
        let refuse = |region_error, error| kvrpcpb::RawPutResponse { region_error, error };
        self.serve("raw_put", context, refuse, |world, region| {
            inside(region, &key);
            world.data.insert(key, value);
            world.writes += 1;
            kvrpcpb::RawPutResponse::default()
        })
        .await
    }

    async fn raw_delete(
        &self,
        request: Request<kvrpcpb::RawDeleteRequest>,
    ) -> Result<Response<kvrpcpb::RawDeleteResponse>, Status> {
        let kvrpcpb::RawDeleteRequest { context, key, .. } = request.into_inner();
        let refuse = |region_error, error| kvrpcpb::RawDeleteResponse { region_error, error };
        self.serve("raw_delete", context, refuse, |world, region| {
            inside(region, &key);
            world.data.remove(&key);
            world.writes += 1;
            kvrpcpb::RawDeleteResponse::default()
        })
        .await
    }

    async fn raw_batch_get(
        &self,
        request: Request<kvrpcpb::RawBatchGetRequest>,
    ) -> Result<Response<kvrpcpb::RawBatchGetResponse>, Status> {
        let kvrpcpb::RawBatchGetRequest { context, keys, .. } = request.into_inner();
        let refuse = |region_error, text| kvrpcpb::RawBatchGetResponse {
            region_error,
            pairs: rejected(text),
        };
        self.serve("raw_batch_get", context, refuse, |world, region| {
            keys.iter().for_each(|key| inside(region, key));
            let found = keys.iter().filter_map(|key| world.data.get_key_value(key));
            let pair = |(key, value): (&Bytes, &Bytes)| KvPair {
                error: None,
                key: key.clone(),
                value: value.clone(),
            };
            kvrpcpb::RawBatchGetResponse { region_error: None, pairs: found.map(pair).collect() }
        })
        .await
    }

    async fn raw_batch_put(
        &self,
        request: Request<kvrpcpb::RawBatchPutRequest>,
    ) -> Result<Response<kvrpcpb::RawBatchPutResponse>, Status> {
        let kvrpcpb::RawBatchPutRequest { context, pairs, .. } = request.into_inner();
        let refuse = |region_error, error| kvrpcpb::RawBatchPutResponse { region_error, error };
        self.serve("raw_batch_put", context, refuse, |world, region| {
            pairs.iter().for_each(|pair| inside(region, &pair.key));
            world.writes += pairs.len() as u64;
            world.data.extend(pairs.into_iter().map(|pair| (pair.key, pair.value)));
            kvrpcpb::RawBatchPutResponse::default()
        })
        .await
    }

    async fn raw_batch_delete(
        &self,
        request: Request<kvrpcpb::RawBatchDeleteRequest>,
    ) -> Result<Response<kvrpcpb::RawBatchDeleteResponse>, Status> {
        let kvrpcpb::RawBatchDeleteRequest { context, keys, .. } = request.into_inner();
        let refuse = |region_error, error| kvrpcpb::RawBatchDeleteResponse { region_error, error };
        self.serve("raw_batch_delete", context, refuse, |world, region| {
            for key in keys {
                inside(region, &key);
                world.data.remove(&key);
            }
            kvrpcpb::RawBatchDeleteResponse::default()
        })
        .await
    }

    async fn raw_scan(
        &self,
        request: Request<kvrpcpb::RawScanRequest>,
    ) -> Result<Response<kvrpcpb::RawScanResponse>, Status> {
        let request = request.into_inner();
        let refuse =
            |region_error, text| kvrpcpb::RawScanResponse { region_error, kvs: rejected(text) };
        self.serve("raw_scan", request.context, refuse, |world, region| {
            let (start, end) = (request.start_key, request.end_key);
            let (low, high) = if request.reverse { (end, start) } else { (start, end) };
            let range = KeyRange::new(low, high);
            assert!(region.range.covers(&range), "{range} is not in {region:?}");
            let mut kvs = pairs(world, &range);
            if request.reverse {
                kvs.reverse();
            }
            kvs.truncate(request.limit as usize);
            if request.key_only {
                kvs.iter_mut().for_each(|pair| pair.value.clear());
            }
            kvrpcpb::RawScanResponse { region_error: None, kvs }
        })
        .await
    }

    async fn raw_delete_range(
        &self,
        request: Request<kvrpcpb::RawDeleteRangeRequest>,
    ) -> Result<Response<kvrpcpb::RawDeleteRangeResponse>, Status> {
        let kvrpcpb::RawDeleteRangeRequest { context, start_key, end_key, .. } =
            request.into_inner();
        let refuse = |region_error, error| kvrpcpb::RawDeleteRangeResponse { region_error, error };
        self.serve("raw_delete_range", context, refuse, |world, region| {
            let range = KeyRange::new(start_key, end_key);
            assert!(region.range.covers(&range), "{range} is not in {region:?}");
            world.data.retain(|key, _| !range.contains(key));
            kvrpcpb::RawDeleteRangeResponse::default()
        })
        .await
    }

    async fn batch_commands(
        &self,
        request: Request<Streaming<BatchCommandsRequest>>,
    ) -> Result<Response<BoxStream<BatchCommandsResponse>>, Status> {
        let (mut requests, store) = (request.into_inner(), self.clone());
        let (answers, stream) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(message)) = requests.message().await {
                for (id, request) in message.request_ids.into_iter().zip(message.requests) {
                    let (store, answers) = (store.clone(), answers.clone());
                    tokio::spawn(async move {
                        let outcome = store.command(id, request.cmd.expect("a command")).await;
                        // The client may have gone away.
                        drop(answers.send(outcome));
                    });
                }
            }
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(stream))))
    }
}

impl FakeStore {
    async fn command(&self, id: u64, command: Cmd) -> Result<BatchCommandsResponse, Status> {
        let cmd = match command {
            Cmd::RawGet(call) => {
                Answered::RawGet(self.raw_get(Request::new(call)).await?.into_inner())
            }
            Cmd::RawPut(call) => {
                Answered::RawPut(self.raw_put(Request::new(call)).await?.into_inner())
            }
            Cmd::RawDelete(call) => {
                Answered::RawDelete(self.raw_delete(Request::new(call)).await?.into_inner())
            }
            other => panic!("the client sends it alone: {other:?}"),
        };
        Ok(BatchCommandsResponse {
            responses: vec![Answer { cmd: Some(cmd) }],
            request_ids: vec![id],
            transport_layer_load: 0,
        })
    }
}

fn rejected(text: String) -> Vec<KvPair> {
    if text.is_empty() {
        return Vec::new();
    }
    let error = kvrpcpb::KeyError { abort: text, ..kvrpcpb::KeyError::default() };
    vec![KvPair { error: Some(error), ..KvPair::default() }]
}
