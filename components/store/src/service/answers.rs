//! How much of what was read may wait for its clients. An answer can be a thousand times as large as its question, so
//! a bound on questions bounds nothing.
//!
//! Reads wait for some room before they begin, and take what they need when they know it: the answers of one store
//! exceed the bound by what its read threads are making. Room is given back when the message has been handed to the
//! transport, which asks for the next one when the client has taken this.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use flotilla_base::ByteSize;
use http_body_util::BodyExt as _;
use prost::Message;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};
use tonic::{
    Response,
    body::Body,
    codegen::{Service, http},
    server::NamedService,
};

use super::{admission::PATIENCE, context::Rejection, error};

/// Answers up to this size are free: they take no more than the questions, which have bounds of their own.
const FREE_BYTES: usize = 1 << 10;

/// Bounds the bytes of answers that wait for their clients.
#[derive(Debug)]
pub(super) struct AnswerMemory {
    room: Arc<Semaphore>,
    capacity: usize,
}

/// The room of some answers; given back when the last clone is dropped.
#[derive(Clone, Debug)]
pub(super) struct Room {
    _bytes: Arc<OwnedSemaphorePermit>,
}

impl AnswerMemory {
    pub(super) fn new(capacity: ByteSize) -> Self {
        let capacity = usize::try_from(capacity.bytes()).unwrap_or(usize::MAX);
        // A permit is one byte; a single acquisition counts them in 32 bits.
        let capacity = capacity.clamp(1, u32::MAX as usize).min(Semaphore::MAX_PERMITS);
        Self { room: Arc::new(Semaphore::new(capacity)), capacity }
    }

    /// Waits until there is some room: for a bounded time, and until `deadline` at most.
    pub(super) async fn wait(&self, deadline: Instant) -> Result<(), Rejection> {
        if self.room.available_permits() > 0 {
            return Ok(());
        }
        let wait_until = deadline.min(Instant::now() + PATIENCE);
        match timeout_at(wait_until, self.room.acquire()).await {
            Ok(Ok(_given_back_at_once)) => Ok(()),
            _closed_or_late => Err(full()),
        }
    }

    /// Room for so many bytes; `None` where none is needed. The largest answers need all there is.
    pub(super) fn take(&self, bytes: usize) -> Result<Option<Room>, Rejection> {
        if bytes <= FREE_BYTES {
            return Ok(None);
        }
        let permits = u32::try_from(bytes.min(self.capacity)).unwrap_or(u32::MAX);
        let taken = Arc::clone(&self.room).try_acquire_many_owned(permits);
        let bytes = taken.map_err(|_no_room| full())?;
        Ok(Some(Room { _bytes: Arc::new(bytes) }))
    }

    /// The answer to a read with its room beside it.
    pub(super) fn answer<T: Message>(&self, message: T) -> Result<Response<T>, Rejection> {
        let room = self.take(message.encoded_len())?;
        let mut response = Response::new(message);
        if let Some(room) = room {
            response.extensions_mut().insert(room);
        }
        Ok(response)
    }

    /// Whether some answer has room.
    #[cfg(test)]
    pub(super) fn is_in_use(&self) -> bool {
        self.room.available_permits() < self.capacity
    }
}

fn full() -> Rejection {
    Rejection::region(error::server_is_busy_for(
        "too many answers wait for their clients",
        error::BACKOFF,
    ))
}

/// A service whose answers keep their room until their bodies have been handed over.
#[derive(Clone, Debug)]
pub(super) struct Accounted<S>(pub(super) S);

impl<S: NamedService> NamedService for Accounted<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, Q> Service<Q> for Accounted<S>
where
    S: Service<Q, Response = http::Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Q) -> Self::Future {
        let response = self.0.call(request);
        Box::pin(async move { response.await.map(keep_room) })
    }
}

fn keep_room(mut response: http::Response<Body>) -> http::Response<Body> {
    match response.extensions_mut().remove::<Room>() {
        Some(room) => response.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _held_as_long_as_the_body = &room;
                frame
            }))
        }),
        None => response,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flotilla_proto::kvrpcpb::RawGetResponse;

    use super::*;

    fn answer(memory: &AnswerMemory, bytes: usize) -> Result<Response<RawGetResponse>, Rejection> {
        let value = vec![0; bytes].into();
        memory.answer(RawGetResponse { value, ..RawGetResponse::default() })
    }

    #[tokio::test]
    async fn room_is_taken_waited_for_and_given_back() {
        let memory = AnswerMemory::new(ByteSize(64 << 10));
        let later = Instant::now() + Duration::from_secs(30);
        assert!(answer(&memory, FREE_BYTES / 2).is_ok() && !memory.is_in_use(), "small");
        let largest = answer(&memory, 1 << 20).expect("nothing else is there");
        assert!(memory.is_in_use());
        assert!(answer(&memory, 2 << 10).is_err(), "no room");
        assert!(answer(&memory, FREE_BYTES / 2).is_ok(), "small ones always fit");
        assert!(memory.wait(Instant::now()).await.is_err());
        let wait = memory.wait(later);
        drop(largest);
        wait.await.expect("room came free");
        assert!(!memory.is_in_use());
        let _one = answer(&memory, 40 << 10).expect("room");
        assert!(answer(&memory, 40 << 10).is_err(), "together too much");
    }

    #[tokio::test]
    async fn a_body_keeps_the_room_until_it_was_handed_over() {
        let memory = AnswerMemory::new(ByteSize(64 << 10));
        let room = memory.take(32 << 10).expect("room").expect("not small");
        let mut response = http::Response::new(Body::new(String::from("answer")));
        response.extensions_mut().insert(room);
        let (head, body) = keep_room(response).into_parts();
        drop(head);
        assert!(memory.is_in_use());
        let collected = body.collect().await.expect("a body").to_bytes();
        assert_eq!(collected, "answer");
        assert!(!memory.is_in_use());
    }
}
