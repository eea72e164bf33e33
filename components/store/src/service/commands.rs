//! `BatchCommands`: many commands and their answers on one stream.
//!
//! Commands run side by side, so a slow one delays no other; only point reads share a thread. An answer leaves when it
//! is there, in one message with those that came about since the last one. What fails a command is told inside its
//! answer; only a message that makes no sense ends the stream, and with it all that wait on it.

use std::{collections::VecDeque, future::Future, time::Duration};

use flotilla_proto::tikvpb::{
    BatchCommandsEmptyRequest, BatchCommandsEmptyResponse, BatchCommandsRequest,
    BatchCommandsResponse,
    batch_commands_request::request::Cmd,
    batch_commands_response::{Response as Answer, response::Cmd as Answered},
    tikv_server::Tikv,
};
use futures_util::stream::FuturesUnordered;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, codegen::BoxStream};

use super::{
    Regions,
    answers::Room,
    error,
    raw::{self, RawService},
    together::{self, Get, Together},
};

/// Commands of one stream that are worked on at a time, and of one message; what is behind them waits in the
/// connection.
const COMMANDS_MAX: usize = 4096;
/// The same bound by the size of what was asked.
const COMMAND_BYTES_MAX: usize = 64 << 20;
/// Answers that wait for the client to read them. Above that nothing new is begun.
const UNREAD_BYTES_MAX: usize = 8 << 20;
/// Answers in one message: few large messages are what makes this call cheap.
const ANSWERS_MAX: usize = 128;
/// A message is closed at this size. One answer can be larger, and then goes alone.
const ANSWER_BYTES: usize = 1 << 20;
/// No probe of a stream waits for longer, whatever it asks for.
const PROBE_DELAY_MAX: Duration = Duration::from_secs(10);

/// What is begun as one.
enum Work {
    /// A command of its own.
    Alone { id: u64, cmd: Option<Box<Cmd>>, bytes: usize },
    /// Point reads, at most [`together::GETS_MAX`].
    Gets(Vec<Get>),
}

/// What became of it.
struct Done {
    answers: Vec<(u64, Answer)>,
    /// What the answers take of the store's memory for them.
    room: Option<Room>,
    /// The size of the commands that are answered.
    command_bytes: usize,
    /// To be begun again, each alone.
    left: Vec<Get>,
}

/// The answers to `requests`. A task of their own carries the commands on: a client that does not read must not hold
/// up what it has begun, which holds room that others wait for.
pub(super) fn converse<R: Regions>(
    service: RawService<R>,
    requests: BoxStream<BatchCommandsRequest>,
) -> BoxStream<BatchCommandsResponse> {
    let (messages, stream) = mpsc::channel::<Result<Outgoing, Status>>(1);
    let run = move |work| run(service.clone(), work);
    let mut conversation = Conversation {
        run,
        under_way: FuturesUnordered::new(),
        commands: 0,
        bytes: 0,
        unread: Unread::default(),
    };
    tokio::spawn(async move {
        if let Err(status) = conversation.carry_on(requests, &messages).await {
            // The client may be gone.
            drop(messages.send(Err(status)).await);
        }
    });
    // Asked for by the transport when it has room for a message.
    Box::pin(ReceiverStream::new(stream).map(|next| next.map(|outgoing| outgoing.message)))
}

/// One stream: what is being done about it, and what it has not been told yet.
struct Conversation<N, F> {
    run: N,
    under_way: FuturesUnordered<F>,
    /// The number of the commands under way, and their size.
    commands: usize,
    bytes: usize,
    unread: Unread,
}

#[derive(Default)]
struct Unread {
    answers: VecDeque<Ended>,
    /// The size of all of them.
    bytes: usize,
}

/// An answer with its size, which is asked for twice.
struct Ended {
    id: u64,
    answer: Answer,
    bytes: usize,
    room: Option<Room>,
}

/// A message that is about to leave. What its answers take is given back when it does.
struct Outgoing {
    message: BatchCommandsResponse,
    _rooms: Vec<Room>,
}

type Messages = mpsc::Sender<Result<Outgoing, Status>>;

impl<N, F> Conversation<N, F>
where
    N: FnMut(Work) -> F,
    F: Future<Output = Done>,
{
    /// Works until the client has said all and was told all, or has gone.
    async fn carry_on(
        &mut self,
        mut requests: BoxStream<BatchCommandsRequest>,
        messages: &Messages,
    ) -> Result<(), Status> {
        let mut is_heard_out = false;
        while !is_heard_out || !self.under_way.is_empty() || !self.unread.answers.is_empty() {
            // In this order, so that a message carries all that is there when it leaves.
            tokio::select! {
                biased;
                Some(done) = self.under_way.next() => self.note(done, messages),
                message = requests.next(), if !is_heard_out && self.has_room() => match message {
                    Some(message) => self.start(message?)?,
                    None => is_heard_out = true,
                },
                permit = messages.reserve(), if !self.unread.answers.is_empty() => match permit {
                    Ok(permit) => permit.send(Ok(self.unread.message())),
                    Err(_client_gone) => return Ok(()),
                },
                () = messages.closed() => return Ok(()),
            }
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.commands < COMMANDS_MAX
            && self.bytes < COMMAND_BYTES_MAX
            && self.unread.bytes < UNREAD_BYTES_MAX
    }

    fn start(&mut self, message: BatchCommandsRequest) -> Result<(), Status> {
        let (commands, ids) = (message.requests, message.request_ids);
        if commands.len() != ids.len() {
            let (commands, ids) = (commands.len(), ids.len());
            let text = format!("{commands} commands came with {ids} ids; each needs one");
            return Err(Status::invalid_argument(text));
        }
        if commands.len() > COMMANDS_MAX {
            let text = format!("{} commands in a message, at most {COMMANDS_MAX}", commands.len());
            return Err(Status::invalid_argument(text));
        }
        self.commands += commands.len();
        let mut gets = Vec::new();
        for (id, command) in ids.into_iter().zip(commands) {
            let bytes = command.encoded_len();
            self.bytes += bytes;
            match command.cmd {
                Some(Cmd::RawGet(call)) => gets.push(Get { id, call, bytes }),
                cmd => self.begin(Work::Alone { id, cmd: cmd.map(Box::new), bytes }),
            }
        }
        while !gets.is_empty() {
            let behind = gets.split_off(gets.len().min(together::GETS_MAX));
            self.begin(Work::Gets(std::mem::replace(&mut gets, behind)));
        }
        Ok(())
    }

    fn begin(&mut self, work: Work) {
        self.under_way.push((self.run)(work));
    }

    fn note(&mut self, done: Done, messages: &Messages) {
        let Done { answers, room, command_bytes, left } = done;
        self.bytes -= command_bytes;
        self.commands -= answers.len();
        for (id, answer) in answers {
            let bytes = answer.encoded_len();
            self.unread.bytes += bytes;
            self.unread.answers.push_back(Ended { id, answer, bytes, room: room.clone() });
        }
        for Get { id, call, bytes } in left {
            self.begin(Work::Alone { id, cmd: Some(Box::new(Cmd::RawGet(call))), bytes });
        }
        // Where answers come in faster than the loop gets past them.
        if self.unread.answers.len() >= ANSWERS_MAX
            && let Ok(permit) = messages.try_reserve()
        {
            permit.send(Ok(self.unread.message()));
        }
    }
}

impl Unread {
    /// The next message.
    fn message(&mut self) -> Outgoing {
        let mut message = BatchCommandsResponse::default();
        let (mut bytes, mut rooms) = (0, Vec::new());
        while message.responses.len() < ANSWERS_MAX && bytes < ANSWER_BYTES {
            let Some(ended) = self.answers.pop_front() else { break };
            bytes += ended.bytes;
            message.request_ids.push(ended.id);
            message.responses.push(ended.answer);
            rooms.extend(ended.room);
        }
        self.bytes -= bytes;
        Outgoing { message, _rooms: rooms }
    }
}

async fn run<R: Regions>(service: RawService<R>, work: Work) -> Done {
    match work {
        Work::Alone { id, cmd, bytes } => {
            let (cmd, room) = match cmd {
                Some(cmd) => {
                    let (answered, room) = answer(&service, *cmd).await;
                    (Some(answered), room)
                }
                // A command of a kind that this version does not know. The client is told so by an empty answer.
                None => (None, None),
            };
            let answers = vec![(id, Answer { cmd })];
            Done { answers, room, command_bytes: bytes, left: Vec::new() }
        }
        Work::Gets(gets) => {
            let Together { served, served_bytes, room, left } = service.get_together(gets).await;
            let answer = |(id, response)| (id, Answer { cmd: Some(Answered::RawGet(response)) });
            let answers = served.into_iter().map(answer).collect();
            Done { answers, room, command_bytes: served_bytes, left }
        }
    }
}

/// The answer, and what it takes.
async fn answer<R: Regions>(service: &RawService<R>, cmd: Cmd) -> (Answered, Option<Room>) {
    match cmd {
        Cmd::RawGet(call) => split(service.raw_get(Request::new(call)).await, Answered::RawGet),
        Cmd::RawBatchGet(call) => {
            split(service.raw_batch_get(Request::new(call)).await, Answered::RawBatchGet)
        }
        Cmd::RawPut(call) => split(service.raw_put(Request::new(call)).await, Answered::RawPut),
        Cmd::RawBatchPut(call) => {
            split(service.raw_batch_put(Request::new(call)).await, Answered::RawBatchPut)
        }
        Cmd::RawDelete(call) => {
            split(service.raw_delete(Request::new(call)).await, Answered::RawDelete)
        }
        Cmd::RawBatchDelete(call) => {
            split(service.raw_batch_delete(Request::new(call)).await, Answered::RawBatchDelete)
        }
        Cmd::RawScan(call) => split(service.raw_scan(Request::new(call)).await, Answered::RawScan),
        Cmd::RawDeleteRange(call) => {
            split(service.raw_delete_range(Request::new(call)).await, Answered::RawDeleteRange)
        }
        Cmd::Empty(probe) => (Answered::Empty(answer_probe(probe).await), None),
    }
}

/// An answer, and the room that came with it.
fn split<T: raw::Answer>(
    mut result: Result<Response<T>, Status>,
    answered: fn(T) -> Answered,
) -> (Answered, Option<Room>) {
    let room = result.as_mut().ok().and_then(|response| response.extensions_mut().remove());
    (answered(body(result)), room)
}

/// The answer; what a call of its own would be told as a status stands inside it.
pub(super) fn body<T: raw::Answer>(result: Result<Response<T>, Status>) -> T {
    result.map_or_else(
        |status| {
            let mut refused = T::default();
            refused.set_region_error(error::other(status.message()));
            refused
        },
        Response::into_inner,
    )
}

async fn answer_probe(probe: BatchCommandsEmptyRequest) -> BatchCommandsEmptyResponse {
    let delay = Duration::from_millis(probe.delay_time).min(PROBE_DELAY_MAX);
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    BatchCommandsEmptyResponse { test_id: probe.test_id }
}
