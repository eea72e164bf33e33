//! `BatchCommands`: many commands and their answers on one stream.
//!
//! Commands run side by side, so a slow one delays no other. An answer leaves when it is there, in one message with
//! those that came about since the last one. What fails a command is told inside its answer; only a request that
//! makes no sense as a call ends the stream, and with it all that wait on it.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use flotilla_proto::tikvpb::{
    BatchCommandsEmptyRequest, BatchCommandsEmptyResponse, BatchCommandsRequest,
    BatchCommandsResponse,
    batch_commands_request::{Request as Command, request::Cmd},
    batch_commands_response::{Response as Answer, response::Cmd as Answered},
    tikv_server::Tikv,
};
use futures_util::stream::FuturesUnordered;
use prost::Message as _;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, codegen::BoxStream};

use super::{Regions, raw::RawService};

/// Commands of one stream that are worked on at a time; what is behind them waits in the connection.
const COMMANDS_MAX: usize = 4096;
/// Answers in one message: few large messages are what makes this call cheap.
const ANSWERS_MAX: usize = 128;
/// A message is closed at this size. One answer can be larger, and then goes alone.
const ANSWER_BYTES: usize = 1 << 20;
/// No probe of a stream waits for longer, whatever it asks for.
const PROBE_DELAY_MAX: Duration = Duration::from_secs(10);

type Outcome = Result<(u64, Answer), Status>;

/// The answers to `requests`.
pub(super) fn converse<R: Regions>(
    service: RawService<R>,
    requests: BoxStream<BatchCommandsRequest>,
) -> BoxStream<BatchCommandsResponse> {
    let run = move |id, command| run(service.clone(), id, command);
    Box::pin(Conversation {
        requests,
        is_heard_out: false,
        run,
        under_way: FuturesUnordered::new(),
    })
}

/// One stream: what it asks for, and what is being done about it.
struct Conversation<N, F> {
    requests: BoxStream<BatchCommandsRequest>,
    /// The client sends no more.
    is_heard_out: bool,
    run: N,
    under_way: FuturesUnordered<F>,
}

impl<N, F> Conversation<N, F>
where
    N: FnMut(u64, Command) -> F,
    F: Future<Output = Outcome>,
{
    /// Starts what has arrived.
    fn listen(&mut self, context: &mut Context<'_>) -> Result<(), Status> {
        while !self.is_heard_out && self.under_way.len() < COMMANDS_MAX {
            match self.requests.as_mut().poll_next(context) {
                Poll::Ready(Some(message)) => self.start(message?)?,
                Poll::Ready(None) => self.is_heard_out = true,
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    fn start(&mut self, message: BatchCommandsRequest) -> Result<(), Status> {
        let (commands, ids) = (message.requests, message.request_ids);
        if commands.len() != ids.len() {
            let (commands, ids) = (commands.len(), ids.len());
            let text = format!("{commands} commands came with {ids} ids; each needs one");
            return Err(Status::invalid_argument(text));
        }
        for (id, command) in ids.into_iter().zip(commands) {
            self.under_way.push((self.run)(id, command));
        }
        Ok(())
    }

    /// The answers that are there.
    fn collect(&mut self, context: &mut Context<'_>) -> Result<BatchCommandsResponse, Status> {
        let mut message = BatchCommandsResponse::default();
        let mut bytes = 0;
        while message.responses.len() < ANSWERS_MAX && bytes < ANSWER_BYTES {
            let next = Pin::new(&mut self.under_way).poll_next(context);
            let Poll::Ready(Some(outcome)) = next else { break };
            let (id, answer) = outcome?;
            bytes += answer.encoded_len();
            message.request_ids.push(id);
            message.responses.push(answer);
        }
        Ok(message)
    }
}

// Nothing in it is pinned in place: the requests are boxed, the futures live in nodes of their own.
impl<N, F> Unpin for Conversation<N, F> {}

impl<N, F> Stream for Conversation<N, F>
where
    N: FnMut(u64, Command) -> F,
    F: Future<Output = Outcome>,
{
    type Item = Result<BatchCommandsResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.listen(context)?;
        let message = self.collect(context)?;
        if !message.responses.is_empty() {
            return Poll::Ready(Some(Ok(message)));
        }
        // An empty set of commands wakes nobody; a stream that has more to say, or commands under way, does.
        let is_over = self.is_heard_out && self.under_way.is_empty();
        if is_over { Poll::Ready(None) } else { Poll::Pending }
    }
}

async fn run<R: Regions>(service: RawService<R>, id: u64, command: Command) -> Outcome {
    let cmd = match command.cmd {
        Some(cmd) => Some(answer(&service, cmd).await?),
        // A command of a kind that this version does not know. The client is told so by an empty answer.
        None => None,
    };
    Ok((id, Answer { cmd }))
}

async fn answer<R: Regions>(service: &RawService<R>, cmd: Cmd) -> Result<Answered, Status> {
    Ok(match cmd {
        Cmd::RawGet(call) => Answered::RawGet(body(service.raw_get(Request::new(call)).await)?),
        Cmd::RawBatchGet(call) => {
            Answered::RawBatchGet(body(service.raw_batch_get(Request::new(call)).await)?)
        }
        Cmd::RawPut(call) => Answered::RawPut(body(service.raw_put(Request::new(call)).await)?),
        Cmd::RawBatchPut(call) => {
            Answered::RawBatchPut(body(service.raw_batch_put(Request::new(call)).await)?)
        }
        Cmd::RawDelete(call) => {
            Answered::RawDelete(body(service.raw_delete(Request::new(call)).await)?)
        }
        Cmd::RawBatchDelete(call) => {
            Answered::RawBatchDelete(body(service.raw_batch_delete(Request::new(call)).await)?)
        }
        Cmd::RawScan(call) => Answered::RawScan(body(service.raw_scan(Request::new(call)).await)?),
        Cmd::RawDeleteRange(call) => {
            Answered::RawDeleteRange(body(service.raw_delete_range(Request::new(call)).await)?)
        }
        Cmd::Empty(probe) => Answered::Empty(answer_probe(probe).await),
    })
}

fn body<T>(result: Result<Response<T>, Status>) -> Result<T, Status> {
    result.map(Response::into_inner)
}

async fn answer_probe(probe: BatchCommandsEmptyRequest) -> BatchCommandsEmptyResponse {
    let delay = Duration::from_millis(probe.delay_time).min(PROBE_DELAY_MAX);
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    BatchCommandsEmptyResponse { test_id: probe.test_id }
}
