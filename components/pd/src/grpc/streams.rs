//! The two streams of `pdpb.PD`: timestamps and region heartbeats.
//!
//! A half-closed stream is served to its end: what was asked before is answered, then the stream ends
//! without an error. A stream ends with "not leader" as soon as this member no longer leads, since
//! clients notice a change of leader by nothing else.

use flotilla_pdcore::Denied;
use flotilla_placement::Order;
use flotilla_proto::pdpb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, codegen::BoxStream};

use super::{
    convert, reject,
    reject::{header, not_bootstrapped},
};
use crate::{core::Request as Ask, handle::CoreHandle, status, tso::TsoRefusal};

/// Answers that may wait for a slow client before its requests wait.
const ANSWERS_MAX: usize = 64;

/// Checks that the sender means this cluster and that this member leads.
pub(super) async fn admit(
    core: &CoreHandle,
    sender: Option<&pdpb::RequestHeader>,
) -> Result<status::Status, Status> {
    let theirs = sender.map_or(0, |header| header.cluster_id);
    reject::admit(core, theirs).await
}

/// Answers each request for timestamps, in order.
pub(super) fn tso(
    core: CoreHandle,
    requests: Streaming<pdpb::TsoRequest>,
) -> BoxStream<pdpb::TsoResponse> {
    let (answers, stream) = mpsc::channel(ANSWERS_MAX);
    tokio::spawn(async move {
        if let Err(status) = answer_tso(&core, requests, &answers).await {
            let _client_may_be_gone = answers.send(Err(status)).await;
        }
    });
    Box::pin(ReceiverStream::new(stream))
}

async fn answer_tso(
    core: &CoreHandle,
    mut requests: Streaming<pdpb::TsoRequest>,
    answers: &mpsc::Sender<Result<pdpb::TsoResponse, Status>>,
) -> Result<(), Status> {
    let mut is_admitted = false;
    loop {
        let request = tokio::select! {
            request = requests.message() => request?,
            () = core.deposed(), if is_admitted => return Err(reject::status(&Denied::NotLeader)),
        };
        let Some(request) = request else { return Ok(()) };
        let cluster = admit(core, request.header.as_ref()).await?.cluster_id();
        is_admitted = true;
        let timestamp = core.tso.alloc(request.count).await.map_err(|refusal| match refusal {
            TsoRefusal::NotLeader => reject::status(&Denied::NotLeader),
            TsoRefusal::BadCount(error) => Status::invalid_argument(error.to_string()),
        })?;
        let answer = pdpb::TsoResponse {
            header: header(cluster),
            count: request.count,
            timestamp: Some(pdpb::Timestamp {
                physical: i64::try_from(timestamp.physical_ms).unwrap_or(i64::MAX),
                logical: i64::try_from(timestamp.logical).unwrap_or(i64::MAX),
                suffix_bits: 0,
            }),
        };
        if answers.send(Ok(answer)).await.is_err() {
            return Ok(());
        }
    }
}

/// Orders that may wait for a slow store. More are lost, and given again.
const ORDERS_MAX: usize = 1_024;

/// Takes region heartbeats. Orders for leaders go the other way.
pub(super) fn region_heartbeat(
    core: CoreHandle,
    requests: Streaming<pdpb::RegionHeartbeatRequest>,
) -> BoxStream<pdpb::RegionHeartbeatResponse> {
    let (answers, stream) = mpsc::channel(ANSWERS_MAX);
    tokio::spawn(async move {
        if let Err(status) = take_heartbeats(&core, requests, &answers).await {
            let _store_may_be_gone = answers.send(Err(status)).await;
        }
    });
    Box::pin(ReceiverStream::new(stream))
}

async fn take_heartbeats(
    core: &CoreHandle,
    mut requests: Streaming<pdpb::RegionHeartbeatRequest>,
    answers: &mpsc::Sender<Result<pdpb::RegionHeartbeatResponse, Status>>,
) -> Result<(), Status> {
    let mut is_admitted = false;
    let (line, mut orders) = mpsc::channel::<Order>(ORDERS_MAX);
    loop {
        let request = tokio::select! {
            request = requests.message() => request?,
            Some(order) = orders.recv() => {
                let answer = convert::order_to_wire(core.status().cluster_id(), order);
                if answers.send(Ok(answer)).await.is_err() {
                    return Ok(());
                }
                continue;
            }
            () = core.deposed(), if is_admitted => return Err(reject::status(&Denied::NotLeader)),
        };
        let Some(request) = request else { return Ok(()) };
        let status = admit(core, request.header.as_ref()).await?;
        is_admitted = true;
        let cluster = status.cluster_id();
        if status.bootstrap.is_none() {
            let header = not_bootstrapped(cluster);
            let answer = pdpb::RegionHeartbeatResponse { header, ..Default::default() };
            let _store_may_be_gone = answers.send(Ok(answer)).await;
            return Ok(());
        }
        match convert::report_from_wire(request) {
            Ok(report) => {
                let (report, orders) = (Box::new(report), line.clone());
                let told = core.tell(Ask::RegionHeartbeat { report, orders }).await;
                told.map_err(|denied| reject::status(&denied))?;
            }
            Err(error) => {
                let header = reject::error_header(
                    cluster,
                    pdpb::ErrorType::Unknown,
                    format!("invalid region heartbeat: {error}"),
                );
                let answer = pdpb::RegionHeartbeatResponse { header, ..Default::default() };
                if answers.send(Ok(answer)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}
