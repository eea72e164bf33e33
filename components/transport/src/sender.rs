//! One lane to one store: its queue, and the task that connects and streams.

use std::{
    future::poll_fn,
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use flotilla_base::StoreId;
use flotilla_proto::raft::{RaftBatch, RaftEnvelope, raft_client::RaftClient};
use flotilla_telemetry::spawn_or_abort;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::{runtime::Handle, sync::Notify, time::Instant};
use tokio_stream::Stream;
use tonic::{Request, transport::Endpoint};

use crate::{
    beats::pack,
    hello::Hello,
    link::{Lane, Limits, Resolved},
    peers::Shared,
    queue::{Pushed, Queue},
};

pub(crate) struct LaneSender {
    store: StoreId,
    lane: Lane,
    shared: Arc<Shared>,
    queue: Mutex<Queue>,
    /// Something was pushed since the last flush.
    dirty: AtomicBool,
    retry: Notify,
}

impl LaneSender {
    pub(crate) fn spawn(
        store: StoreId,
        lane: Lane,
        shared: &Arc<Shared>,
        runtime: &Handle,
    ) -> Arc<Self> {
        let sender = Arc::new(Self {
            store,
            lane,
            shared: Arc::clone(shared),
            queue: Mutex::new(Queue::new(&shared.limits)),
            dirty: AtomicBool::new(false),
            retry: Notify::new(),
        });
        let task = Arc::clone(&sender);
        let until_closed = async move {
            tokio::select! {
                () = task.run() => {}
                () = task.shared.until_closed() => {}
            }
        };
        let _lives_as_long_as_the_store = spawn_or_abort(runtime, "transport", until_closed);
        sender
    }

    pub(crate) fn push(&self, envelope: RaftEnvelope) {
        let stats = &self.shared.stats;
        match self.queue.lock().push(envelope) {
            Pushed::Queued(bytes) => stats.queued_bytes.add(bytes),
            Pushed::Replaced { new_bytes, old_bytes } => {
                stats.queued_bytes.add(new_bytes);
                stats.queued_bytes.subtract(old_bytes);
            }
            Pushed::Dropped => stats.dropped_full.add(1),
        }
        self.dirty.store(true, Ordering::Release);
    }

    pub(crate) fn take_dirty(&self) -> bool {
        self.dirty.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn flush(&self) {
        let (waker, dropped) = {
            let mut queue = self.queue.lock();
            (queue.take_waker(), queue.take_dropped())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        if !dropped.is_empty() {
            self.shared.events.unreachable(self.store, dropped);
        }
    }

    pub(crate) fn retry_now(&self) {
        self.retry.notify_one();
    }

    /// Streams, and after each failure drops what waits and waits itself. Ends only from outside.
    async fn run(self: &Arc<Self>) {
        let mut backoff = Backoff::new(&self.shared.limits);
        loop {
            poll_fn(|context| self.queue.lock().poll_ready(context)).await;
            let begin = Instant::now();
            let failure = self.stream().await;
            self.fail();
            // The answer to a refused stream comes at once, while a stream that is taken says nothing
            // until it ends: its length is the only sign that it was.
            if begin.elapsed() > self.shared.limits.longest_backoff {
                backoff = Backoff::new(&self.shared.limits);
            }
            let (to, lane, wait) = (self.store, self.lane.name(), backoff.next());
            if backoff.failures == 1 {
                tracing::warn!(%to, lane, %failure, "lost the connection to a store");
            } else {
                tracing::debug!(%to, lane, %failure, ?wait, "cannot reach a store");
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.retry.notified() => {}
            }
        }
    }

    /// Connects and sends until something fails; says what.
    async fn stream(self: &Arc<Self>) -> String {
        let address = match self.shared.resolver.resolve(self.store).await {
            Resolved::At(address) => address,
            Resolved::Unknown => return "its address is not known".to_owned(),
            Resolved::Gone => return "the store is gone for good".to_owned(),
        };
        let endpoint = match endpoint(&address, &self.shared.limits) {
            Ok(endpoint) => endpoint,
            Err(error) => return format!("bad address {address}: {error}"),
        };
        let channel = match endpoint.connect().await {
            Ok(channel) => channel,
            Err(error) => return format!("connect to {address}: {}", causes(&error)),
        };
        self.shared.stats.connects.add(1);
        let mut request = Request::new(self.batches());
        Hello::new(self.shared.identity, self.store).write(request.metadata_mut());
        match RaftClient::new(channel).stream(request).await {
            Ok(_done) => format!("{address} ended the stream"),
            Err(status) => format!("{address}: {}: {}", status.code(), status.message()),
        }
    }

    fn fail(&self) {
        let failed = self.queue.lock().fail();
        let stats = &self.shared.stats;
        stats.failures.add(1);
        stats.dropped_disconnected.add(failed.messages);
        stats.queued_bytes.subtract(failed.bytes);
        if !failed.targets.is_empty() {
            self.shared.events.unreachable(self.store, failed.targets);
        }
    }

    fn batches(self: &Arc<Self>) -> Batches {
        Batches { sender: Arc::clone(self), generation: self.queue.lock().generation() }
    }

    fn poll_batch(&self, generation: u64, context: &mut Context<'_>) -> Poll<Option<RaftBatch>> {
        let taken = self.queue.lock().poll_batch(generation, context);
        taken.map(|taken| {
            let (envelopes, bytes) = taken?;
            let stats = &self.shared.stats;
            stats.queued_bytes.subtract(bytes);
            stats.sent_messages.add(envelopes.len());
            let batch = pack(envelopes);
            stats.sent_bytes.add(batch.encoded_len());
            stats.sent_batches.add(1);
            Some(batch)
        })
    }
}

/// The queue as a stream that ends with its connection. The connection asks for the next batch when it has room: while it has
/// none, envelopes pile up in the queue and make the next batch larger.
struct Batches {
    sender: Arc<LaneSender>,
    generation: u64,
}

impl Stream for Batches {
    type Item = RaftBatch;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<RaftBatch>> {
        self.sender.poll_batch(self.generation, context)
    }
}

pub(crate) fn endpoint(
    address: &str,
    limits: &Limits,
) -> Result<Endpoint, tonic::transport::Error> {
    // The pings find connections whose other end is silent: a killed machine, a partition, a stopped process.
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(limits.connect_timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(limits.keep_alive_interval)
        .keep_alive_timeout(limits.keep_alive_timeout))
}

pub(crate) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

struct Backoff {
    next: Duration,
    longest: Duration,
    failures: u64,
}

impl Backoff {
    const fn new(limits: &Limits) -> Self {
        Self { next: limits.first_backoff, longest: limits.longest_backoff, failures: 0 }
    }

    fn next(&mut self) -> Duration {
        self.failures += 1;
        let doubled = self.next.saturating_mul(2).min(self.longest);
        mem::replace(&mut self.next, doubled)
    }
}
