//! Point reads that came in one message are done by one thread of the pool, one after the other: what one of them
//! costs is less than to wake a thread for it.
//!
//! Only what can be served in place is served here. Whatever else is to be said of a read is left to the ordinary way.

use std::{sync::Arc, time::Instant};

use flotilla_proto::kvrpcpb::{RawGetRequest, RawGetResponse};
use tonic::Response;

use super::{
    Regions,
    admission::PATIENCE,
    commands,
    raw::{RawService, Source, get_response, rejected},
    read_pool::Patience,
    rpc_metrics::{Op, Outcome, Way},
    view::Reader,
};

/// Reads of one thread in a row. Each may meet a disk, and those behind it wait.
pub(super) const GETS_MAX: usize = 32;

/// Behind so many bytes of values the others are left.
const ANSWER_BYTES: usize = 1 << 20;

/// One of them, with the client's number for it and the size of its command.
pub(super) struct Get {
    pub(super) id: u64,
    pub(super) call: RawGetRequest,
    pub(super) bytes: usize,
}

/// What became of them.
#[derive(Default)]
pub(super) struct Together {
    pub(super) served: Vec<(u64, RawGetResponse)>,
    /// The size of the commands that were served.
    pub(super) served_bytes: usize,
    pub(super) left: Vec<Get>,
}

impl<R: Regions> RawService<R> {
    /// Serves those of `gets` that can be served in place.
    pub(super) async fn get_together(&self, gets: Vec<Get>) -> Together {
        let (source, started) = (Arc::clone(self.source()), Instant::now());
        let ids: Vec<u64> = gets.iter().map(|get| get.id).collect();
        let served_bytes = gets.iter().map(|get| get.bytes).sum();
        let wait_until = tokio::time::Instant::now() + PATIENCE;
        let job = move |_: &Patience<'_>| serve(&source, gets);
        let done = self.parts.pool.run(wait_until, wait_until, job).await;
        let (metrics, took) = (&self.source().metrics, started.elapsed());
        match done {
            Ok(together) => {
                for _ in &together.served {
                    metrics.read(Way::InPlace);
                    metrics.count(Op::Get, Outcome::Done, took);
                }
                together
            }
            Err(not_read) => {
                let refuse = |id| {
                    let (outcome, response) = rejected(not_read.into());
                    metrics.count(Op::Get, outcome, took);
                    (id, commands::body(response.map(Response::new)))
                };
                let served = ids.into_iter().map(refuse).collect();
                Together { served, served_bytes, left: Vec::new() }
            }
        }
    }
}

fn serve<R: Regions>(source: &Source<R>, gets: Vec<Get>) -> Together {
    let (mut together, mut answer_bytes) = (Together::default(), 0);
    for get in gets {
        let served = if answer_bytes < ANSWER_BYTES { serve_one(source, &get.call) } else { None };
        match served {
            Some(response) => {
                answer_bytes += response.value.len();
                together.served_bytes += get.bytes;
                together.served.push((get.id, response));
            }
            None => together.left.push(get),
        }
    }
    together
}

fn serve_one<R: Regions>(source: &Source<R>, call: &RawGetRequest) -> Option<RawGetResponse> {
    let target = source.identity.check(call.context.as_ref(), &call.cf).ok()?;
    let begun = source.regions.begin_in_place(target.region, &target.header).ok()?;
    let reader = Reader::new(source, target, Some(begun));
    let found = reader.get(&call.key).ok()?;
    // What this store's clock alone hides is hidden from everybody first, which takes an entry.
    reader.judged_alone().is_none().then(|| get_response(found))
}
