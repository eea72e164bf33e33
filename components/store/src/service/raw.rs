//! The raw part of `tikvpb.Tikv`: what each call asks for, and the shape of its answer.

use std::{future::Future, sync::Arc, time::Instant};

use flotilla_base::{Family, Mutation, ScanDirection};
use flotilla_engine::Engine;
use flotilla_proto::{
    errorpb,
    kvrpcpb::{
        KeyError, KvPair, RawBatchDeleteRequest, RawBatchDeleteResponse, RawBatchGetRequest,
        RawBatchGetResponse, RawBatchPutRequest, RawBatchPutResponse, RawCasRequest,
        RawCasResponse, RawDeleteRangeRequest, RawDeleteRangeResponse, RawDeleteRequest,
        RawDeleteResponse, RawGetKeyTtlRequest, RawGetKeyTtlResponse, RawGetRequest,
        RawGetResponse, RawPutRequest, RawPutResponse, RawScanRequest, RawScanResponse,
        SplitRegionRequest, SplitRegionResponse,
    },
    tikvpb::{
        BatchCommandsRequest, BatchCommandsResponse,
        tikv_server::{Tikv, TikvServer},
    },
};
use tonic::{Request, Response, Status, Streaming, codegen::BoxStream};

use super::{
    Regions,
    admission::Admission,
    answers::AnswerMemory,
    commands,
    context::{Identity, Rejection, Target},
    error,
    read::Scan,
    read_pool::ReadPool,
    rpc_metrics::{Op, Outcome, RpcMetrics},
    split,
    write::{Swap, Swapped, check_key, check_value},
};
use crate::{
    brake::Brake,
    split::{load::meter::Loads, splitter::SplitRegions},
    value::RawValue,
};

/// What the service works with.
pub(super) struct Parts<R> {
    pub(super) source: Arc<Source<R>>,
    pub(super) admission: Admission,
    pub(super) answers: AnswerMemory,
    pub(super) pool: ReadPool,
}

/// What reads need on their threads; those must not hold the pool itself.
pub(super) struct Source<R> {
    pub(super) regions: R,
    pub(super) engine: Engine,
    pub(super) identity: Identity,
    pub(super) metrics: RpcMetrics,
    pub(super) splitter: Arc<dyn SplitRegions>,
    pub(super) brake: Arc<Brake>,
    /// What regions are asked for is counted in it.
    pub(super) loads: Arc<Loads>,
    /// The wall clock in milliseconds since 1970.
    pub(super) clock_millis: fn() -> u64,
}

/// Raw keys and values.
pub(super) struct RawService<R> {
    pub(super) parts: Arc<Parts<R>>,
}

impl<R> Clone for RawService<R> {
    fn clone(&self) -> Self {
        Self { parts: Arc::clone(&self.parts) }
    }
}

/// A response that can carry a refusal.
pub(super) trait Answer: Default {
    fn set_region_error(&mut self, error: errorpb::Error);
    fn set_refusal(&mut self, text: String);
}

macro_rules! answer_with_error_text {
    ($($response:ty),* $(,)?) => {$(
        impl Answer for $response {
            fn set_region_error(&mut self, error: errorpb::Error) {
                self.region_error = Some(error);
            }
            fn set_refusal(&mut self, text: String) {
                self.error = text;
            }
        }
    )*};
}

answer_with_error_text! {
    RawGetResponse, RawGetKeyTtlResponse, RawPutResponse, RawBatchPutResponse, RawDeleteResponse,
    RawBatchDeleteResponse, RawDeleteRangeResponse, RawCasResponse,
}

impl Answer for SplitRegionResponse {
    fn set_region_error(&mut self, error: errorpb::Error) {
        self.region_error = Some(error);
    }

    fn set_refusal(&mut self, text: String) {
        self.region_error = Some(error::other(&text));
    }
}

impl Answer for RawBatchGetResponse {
    fn set_region_error(&mut self, error: errorpb::Error) {
        self.region_error = Some(error);
    }

    fn set_refusal(&mut self, text: String) {
        self.pairs = vec![refused_pair(text)];
    }
}

impl Answer for RawScanResponse {
    fn set_region_error(&mut self, error: errorpb::Error) {
        self.region_error = Some(error);
    }

    fn set_refusal(&mut self, text: String) {
        self.kvs = vec![refused_pair(text)];
    }
}

/// How a response without a place for errors tells one.
fn refused_pair(text: String) -> KvPair {
    let error = KeyError { abort: text, ..KeyError::default() };
    KvPair { error: Some(error), ..KvPair::default() }
}

/// Where a response tells what became of a request that was not served.
pub(super) fn rejected<T: Answer>(rejection: Rejection) -> (Outcome, Result<T, Status>) {
    let mut response = T::default();
    match rejection {
        Rejection::Region(error) => {
            response.set_region_error(*error);
            (Outcome::RegionError, Ok(response))
        }
        Rejection::Refused(text) => {
            response.set_refusal(text);
            (Outcome::Refused, Ok(response))
        }
        Rejection::Call(status) => (Outcome::Refused, Err(status)),
    }
}

/// What is told of a value.
pub(super) fn get_response(found: Option<RawValue>) -> RawGetResponse {
    let not_found = found.is_none();
    let value = found.unwrap_or_default().bytes;
    RawGetResponse { value, not_found, ..RawGetResponse::default() }
}

impl<R: Regions> RawService<R> {
    pub(super) const fn new(parts: Arc<Parts<R>>) -> Self {
        Self { parts }
    }

    pub(super) fn source(&self) -> &Arc<Source<R>> {
        &self.parts.source
    }

    pub(super) fn into_server(self) -> TikvServer<Self> {
        TikvServer::new(self)
    }

    /// Gives a call's result the shape of its response, and counts it.
    async fn answer<T: Answer>(
        &self,
        op: Op,
        work: impl Future<Output = Result<T, Rejection>> + Send,
    ) -> Result<Response<T>, Status> {
        let start = Instant::now();
        let (outcome, result) = match work.await {
            Ok(done) => (Outcome::Done, Ok(done)),
            Err(rejection) => rejected(rejection),
        };
        self.source().metrics.count(op, outcome, start.elapsed());
        result.map(Response::new)
    }

    /// The same for what was read, which takes room until its client has it.
    async fn answer_read<T: Answer + prost::Message>(
        &self,
        op: Op,
        work: impl Future<Output = Result<T, Rejection>> + Send,
    ) -> Result<Response<T>, Status> {
        let start = Instant::now();
        let answered = work.await.and_then(|done| self.parts.answers.answer(done));
        let (outcome, result) = match answered {
            Ok(response) => (Outcome::Done, Ok(response)),
            Err(rejection) => {
                let (outcome, response) = rejected(rejection);
                (outcome, response.map(Response::new))
            }
        };
        self.source().metrics.count(op, outcome, start.elapsed());
        result
    }

    /// Seconds since 1970, rounded down, from which the life time of a new value is counted: not before the
    /// time by which values of its region have ended already.
    fn now_seconds(&self, target: &Target) -> u64 {
        let applied = self.source().regions.applied_clock_millis(target.region);
        applied.max((self.source().clock_millis)()) / 1000
    }
}

#[tonic::async_trait]
impl<R: Regions> Tikv for RawService<R> {
    async fn raw_get(
        &self,
        request: Request<RawGetRequest>,
    ) -> Result<Response<RawGetResponse>, Status> {
        let RawGetRequest { context, key, cf } = request.into_inner();
        let work = async {
            let target = self.source().identity.check(context.as_ref(), &cf)?;
            self.get(&target, key).await.map(get_response)
        };
        self.answer_read(Op::Get, work).await
    }

    async fn raw_get_key_ttl(
        &self,
        request: Request<RawGetKeyTtlRequest>,
    ) -> Result<Response<RawGetKeyTtlResponse>, Status> {
        let RawGetKeyTtlRequest { context, key, cf } = request.into_inner();
        let work = async {
            let target = self.source().identity.check(context.as_ref(), &cf)?;
            let ttl = self.ttl_seconds(&target, key).await?;
            let (ttl, not_found) = (ttl.unwrap_or_default(), ttl.is_none());
            Ok(RawGetKeyTtlResponse { ttl, not_found, ..RawGetKeyTtlResponse::default() })
        };
        self.answer_read(Op::GetTtl, work).await
    }

    async fn raw_batch_get(
        &self,
        request: Request<RawBatchGetRequest>,
    ) -> Result<Response<RawBatchGetResponse>, Status> {
        let RawBatchGetRequest { context, keys, cf } = request.into_inner();
        let work = async {
            let target = self.source().identity.check(context.as_ref(), &cf)?;
            let pairs = self.batch_get(&target, keys).await?;
            Ok(RawBatchGetResponse { pairs, ..RawBatchGetResponse::default() })
        };
        self.answer_read(Op::BatchGet, work).await
    }

    async fn raw_scan(
        &self,
        request: Request<RawScanRequest>,
    ) -> Result<Response<RawScanResponse>, Status> {
        let RawScanRequest { context, start_key, limit, key_only, cf, reverse, end_key } =
            request.into_inner();
        let direction = if reverse { ScanDirection::Reverse } else { ScanDirection::Forward };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let work = async {
            let target = self.source().identity.check(context.as_ref(), &cf)?;
            let scan = Scan { start: start_key, end: end_key, limit, key_only, direction };
            let kvs = self.scan(&target, scan).await?;
            Ok(RawScanResponse { kvs, ..RawScanResponse::default() })
        };
        self.answer_read(Op::Scan, work).await
    }

    async fn raw_put(
        &self,
        request: Request<RawPutRequest>,
    ) -> Result<Response<RawPutResponse>, Status> {
        // Every write is ordered with every other one, so `for_cas` asks for nothing more.
        let RawPutRequest { context, key, value, cf, ttl, for_cas: _ } = request.into_inner();
        let work = async {
            let target = self.source().identity.check(context.as_ref(), &cf)?;
            check_key(&key)?;
            check_value(&value)?;
            let value = RawValue::new(value, ttl, self.now_seconds(&target)).encode();
            self.write(&target, vec![Mutation::Put(Family::Raw, key, value)]).await?;
            Ok(RawPutResponse::default())
        };
        self.answer(Op::Put, work).await
    }

    async fn raw_batch_put(
        &self,
        request: Request<RawBatchPutRequest>,
    ) -> Result<Response<RawBatchPutResponse>, Status> {
        let request = request.into_inner();
        let work = async {
            let target = self.source().identity.check(request.context.as_ref(), &request.cf)?;
            let mutations = puts(request, self.now_seconds(&target))?;
            self.write(&target, mutations).await?;
            Ok(RawBatchPutResponse::default())
        };
        self.answer(Op::BatchPut, work).await
    }

    async fn raw_delete(
        &self,
        request: Request<RawDeleteRequest>,
    ) -> Result<Response<RawDeleteResponse>, Status> {
        let RawDeleteRequest { context, key, cf, for_cas: _ } = request.into_inner();
        let work = async {
            let target = self.source().identity.check(context.as_ref(), &cf)?;
            check_key(&key)?;
            self.write(&target, vec![Mutation::Delete(Family::Raw, key)]).await?;
            Ok(RawDeleteResponse::default())
        };
        self.answer(Op::Delete, work).await
    }

    async fn raw_batch_delete(
        &self,
        request: Request<RawBatchDeleteRequest>,
    ) -> Result<Response<RawBatchDeleteResponse>, Status> {
        let RawBatchDeleteRequest { context, keys, cf, for_cas: _ } = request.into_inner();
        let work = async {
            let target = self.source().identity.check(context.as_ref(), &cf)?;
            keys.iter().try_for_each(|key| check_key(key))?;
            let deletions = keys.into_iter().map(|key| Mutation::Delete(Family::Raw, key));
            self.write(&target, deletions.collect()).await?;
            Ok(RawBatchDeleteResponse::default())
        };
        self.answer(Op::BatchDelete, work).await
    }

    async fn raw_delete_range(
        &self,
        request: Request<RawDeleteRangeRequest>,
    ) -> Result<Response<RawDeleteRangeResponse>, Status> {
        let RawDeleteRangeRequest { context, start_key, end_key, cf } = request.into_inner();
        let work = async {
            let target = self.source().identity.check(context.as_ref(), &cf)?;
            check_key(&start_key)?;
            check_key(&end_key)?;
            let range = self.deletion_range(&target, start_key, end_key)?;
            self.write(&target, vec![Mutation::DeleteRange(Family::Raw, range)]).await?;
            Ok(RawDeleteRangeResponse::default())
        };
        self.answer(Op::DeleteRange, work).await
    }

    async fn raw_compare_and_swap(
        &self,
        request: Request<RawCasRequest>,
    ) -> Result<Response<RawCasResponse>, Status> {
        let request = request.into_inner();
        let work = async {
            let target = self.source().identity.check(request.context.as_ref(), &request.cf)?;
            check_key(&request.key)?;
            check_value(&request.value)?;
            let swap = swap(request, self.now_seconds(&target));
            let Swapped { is_done: succeed, found } = self.swap(&target, swap).await?;
            let (previous_not_exist, previous_value) = (found.is_none(), found.unwrap_or_default());
            let response = RawCasResponse::default();
            Ok(RawCasResponse { succeed, previous_not_exist, previous_value, ..response })
        };
        self.answer(Op::CompareAndSwap, work).await
    }

    async fn split_region(
        &self,
        request: Request<SplitRegionRequest>,
    ) -> Result<Response<SplitRegionResponse>, Status> {
        let request = request.into_inner();
        let work = async {
            let target = self.source().identity.check(request.context.as_ref(), "")?;
            self.split(&target, split::wishes(request)).await.map(split::response)
        };
        self.answer(Op::SplitRegion, work).await
    }

    async fn batch_commands(
        &self,
        request: Request<Streaming<BatchCommandsRequest>>,
    ) -> Result<Response<BoxStream<BatchCommandsResponse>>, Status> {
        let requests = Box::pin(request.into_inner());
        Ok(Response::new(commands::converse(self.clone(), requests)))
    }
}

/// What a compare-and-swap asks for.
fn swap(request: RawCasRequest, now_seconds: u64) -> Swap {
    let RawCasRequest { key, value, previous_not_exist, previous_value, ttl, delete, .. } = request;
    let expected = (!previous_not_exist).then_some(previous_value);
    let stored = (!delete).then(|| RawValue::new(value, ttl, now_seconds).encode());
    Swap { key, expected, stored }
}

/// The writes of a batch: all are checked before any is made.
#[expect(deprecated, reason = "clients that know one life time only still send it there")]
fn puts(request: RawBatchPutRequest, now_seconds: u64) -> Result<Vec<Mutation>, Rejection> {
    let RawBatchPutRequest { pairs, ttl, ttls, .. } = request;
    if ttls.len() > 1 && ttls.len() != pairs.len() {
        let text = "The length of ttls does not equal to the length of pairs".to_owned();
        return Err(Rejection::Refused(text));
    }
    let for_all = ttls.first().copied().unwrap_or(ttl);
    let put = |(position, pair): (usize, KvPair)| {
        check_key(&pair.key)?;
        check_value(&pair.value)?;
        let ttl = if ttls.len() > 1 { ttls[position] } else { for_all };
        let value = RawValue::new(pair.value, ttl, now_seconds).encode();
        Ok(Mutation::Put(Family::Raw, pair.key, value))
    };
    pairs.into_iter().enumerate().map(put).collect()
}
