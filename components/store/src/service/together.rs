//! Point reads that came in one message are done by one thread of the pool, one after the other: what one of them
//! costs is less than to wake a thread for it.
//!
//! Only what can be served in place is served here. Whatever else is to be said of a read is left to the ordinary way.

use std::sync::Arc;

use flotilla_proto::kvrpcpb::{RawGetRequest, RawGetResponse};
use tokio::time::Instant;
use tonic::Response;

use super::{
    Regions,
    admission::PATIENCE,
    answers::Room,
    commands,
    context::{TIME_MAX, time_allowed},
    raw::{RawService, Source, get_response, rejected},
    read_pool::{NotRead, Patience},
    rpc_metrics::{Op, Outcome, Way},
    view::{Begun, Reader},
};

/// Reads of one thread in a row. Each may meet a disk, and those behind it wait.
pub(super) const GETS_MAX: usize = 32;

/// Behind so many bytes of values the others are left.
const ANSWER_BYTES: usize = 1 << 20;

/// One of them, with the client's number for it and the size of its command.
#[derive(Clone)]
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
    /// What the answers take.
    pub(super) room: Option<Room>,
    pub(super) left: Vec<Get>,
}

impl Get {
    /// Until when it is to be answered, if it came at `now`.
    fn deadline(&self, now: Instant) -> Instant {
        now + self.call.context.as_ref().map_or(TIME_MAX, time_allowed)
    }
}

impl<R: Regions> RawService<R> {
    /// Serves those of `gets` that can be served in place. Behind the earliest of their deadlines those that are not
    /// served yet are on their own.
    pub(super) async fn get_together(&self, gets: Vec<Get>) -> Together {
        let (source, now) = (Arc::clone(self.source()), Instant::now());
        let deadline = gets.iter().map(|get| get.deadline(now)).min().unwrap_or(now);
        let wait_until = deadline.min(now + PATIENCE);
        if self.parts.answers.wait(deadline).await.is_err() {
            // Each may wait for as long as its own time allows.
            return Together { left: gets, ..Together::default() };
        }
        let gets = Arc::new(gets);
        let asked = Arc::clone(&gets);
        let job = move |patience: &Patience<'_>| serve(&source, &asked, patience);
        let done = self.parts.pool.run(wait_until, deadline, job).await;
        // The job is over and has let go of them, unless it hangs.
        let gets = Arc::try_unwrap(gets).unwrap_or_else(|held| held.as_ref().clone());
        match done {
            Ok(responses) => self.note_served(gets, responses, now),
            Err(not_read) => self.refuse_late(gets, not_read, now),
        }
    }

    fn note_served(
        &self,
        gets: Vec<Get>,
        responses: Vec<Option<RawGetResponse>>,
        began: Instant,
    ) -> Together {
        let (metrics, took) = (&self.source().metrics, began.elapsed());
        let mut together = Together::default();
        let values = responses.iter().flatten().map(|response| response.value.len());
        match self.parts.answers.take(values.sum()) {
            Ok(room) => together.room = room,
            // Alone, each needs little of it.
            Err(_full) => return Together { left: gets, ..together },
        }
        for (get, response) in gets.into_iter().zip(responses) {
            match response {
                Some(response) => {
                    metrics.read(Way::InPlace);
                    metrics.count(Op::Get, Outcome::Done, took);
                    together.note(&get, response);
                }
                None => together.left.push(get),
            }
        }
        together
    }

    /// Refuses those that have no time left; the others may find more alone.
    fn refuse_late(&self, gets: Vec<Get>, not_read: NotRead, began: Instant) -> Together {
        let (metrics, now) = (&self.source().metrics, Instant::now());
        let mut together = Together::default();
        for get in gets {
            let end = match not_read {
                NotRead::Full => get.deadline(began).min(began + PATIENCE),
                NotRead::Late => get.deadline(began),
                NotRead::Panicked => now,
            };
            if end > now {
                together.left.push(get);
                continue;
            }
            let (outcome, response) = rejected(not_read.into());
            metrics.count(Op::Get, outcome, began.elapsed());
            together.note(&get, commands::body(response.map(Response::new)));
        }
        together
    }
}

impl Together {
    fn note(&mut self, get: &Get, response: RawGetResponse) {
        self.served_bytes += get.bytes;
        self.served.push((get.id, response));
    }
}

/// The answer to each; `None` to those that are left.
fn serve<R: Regions>(
    source: &Source<R>,
    gets: &[Get],
    patience: &Patience<'_>,
) -> Vec<Option<RawGetResponse>> {
    let mut answer_bytes = 0;
    let answer = |get: &Get| {
        if answer_bytes >= ANSWER_BYTES || patience.is_over() {
            return None;
        }
        let response = serve_one(source, &get.call)?;
        answer_bytes += response.value.len();
        Some(response)
    };
    gets.iter().map(answer).collect()
}

fn serve_one<R: Regions>(source: &Source<R>, call: &RawGetRequest) -> Option<RawGetResponse> {
    let target = source.identity.check(call.context.as_ref(), &call.cf).ok()?;
    let begun = source.regions.begin_in_place(target.region, &target.header).ok()?;
    let reader = Reader::new(source, target, Begun::InPlace(begun));
    let found = reader.get(&call.key).ok()?;
    // What this store's clock alone hides is hidden from everybody first, which takes an entry.
    reader.judged_alone().is_none().then(|| get_response(found))
}
