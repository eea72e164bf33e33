//! The stream of commands to a store: calls for single keys share messages, and each gets its own answer.
//!
//! A message holds the calls that were made since the last one left, so it grows with the load and adds no wait. It
//! knows nothing of what the commands mean.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use flotilla_proto::tikvpb::{
    BatchCommandsRequest, BatchCommandsResponse,
    batch_commands_request::{Request as Command, request::Cmd},
    batch_commands_response::response::Cmd as Answered,
    tikv_client::TikvClient,
};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::Stream;
use tonic::{Status, transport::Channel};

use crate::wire::ANSWER_BYTES_MAX;

/// Commands in one message.
const COMMANDS_MAX: usize = 128;
/// A message is closed at this size. One command can be larger, and then goes alone or as the last.
const COMMAND_BYTES: usize = 1 << 20;

/// What became of a command. `None` is an answer too: the store does not know the command.
type Outcome = Result<Option<Answered>, Status>;

/// One stream; ends by itself when the last of its users is gone.
#[derive(Clone, Debug)]
pub(crate) struct Commands {
    waiting: mpsc::UnboundedSender<Waiting>,
}

/// Why a command has no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// It never left.
    Unsent,
    /// It may have arrived, and may have been carried out.
    Broken(Status),
}

#[derive(Debug)]
struct Waiting {
    cmd: Cmd,
    answer: oneshot::Sender<Outcome>,
}

/// A command that was handed to the connection. Its caller hears of its end, whatever that is.
#[derive(Debug)]
struct Sent(Option<oneshot::Sender<Outcome>>);

/// What was sent and has no answer.
#[derive(Debug, Default)]
struct Ledger {
    last_id: u64,
    sent: BTreeMap<u64, Sent>,
    /// The stream is over, and nothing may be sent on it.
    is_over: bool,
}

impl Commands {
    /// Starts a stream over `channel`, in a task of its own.
    pub(crate) fn open(channel: Channel) -> Self {
        let (waiting, receiver) = mpsc::unbounded_channel();
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let outgoing = Outgoing { waiting: receiver, ledger: Arc::clone(&ledger) };
        tokio::spawn(async move {
            let why = converse(channel, outgoing, &ledger).await;
            ledger.lock().end(&why);
        });
        Self { waiting }
    }

    /// Nothing can be sent any more.
    pub(crate) fn is_over(&self) -> bool {
        self.waiting.is_closed()
    }

    /// Sends a command and waits for its answer.
    pub(crate) async fn call(&self, cmd: Cmd) -> Result<Option<Answered>, Unanswered> {
        let (answer, outcome) = oneshot::channel();
        // What is refused here, or dropped before it was taken out, has not left.
        self.waiting.send(Waiting { cmd, answer }).map_err(|_over| Unanswered::Unsent)?;
        let outcome = outcome.await.map_err(|_dropped| Unanswered::Unsent)?;
        outcome.map_err(Unanswered::Broken)
    }
}

impl Sent {
    fn end(mut self, outcome: Outcome) {
        self.tell(outcome);
    }

    fn tell(&mut self, outcome: Outcome) {
        if let Some(answer) = self.0.take() {
            // A caller that has gone away, at its deadline, wants no answer.
            drop(answer.send(outcome));
        }
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        // Silence would say that the command has not left.
        self.tell(Err(Status::unavailable("the stream was given up")));
    }
}

impl Ledger {
    fn add(&mut self, answer: oneshot::Sender<Outcome>) -> u64 {
        self.last_id += 1;
        self.sent.insert(self.last_id, Sent(Some(answer)));
        self.last_id
    }

    fn settle(&mut self, message: BatchCommandsResponse) -> Result<(), Status> {
        if message.responses.len() != message.request_ids.len() {
            return Err(Status::internal("the store's answers do not match their numbers"));
        }
        for (id, answer) in message.request_ids.into_iter().zip(message.responses) {
            if let Some(sent) = self.sent.remove(&id) {
                sent.end(Ok(answer.cmd));
            }
        }
        Ok(())
    }

    fn end(&mut self, why: &Status) {
        self.is_over = true;
        for (_id, sent) in std::mem::take(&mut self.sent) {
            sent.end(Err(why.clone()));
        }
    }
}

/// Takes in answers until there are no more; returns why.
async fn converse(channel: Channel, outgoing: Outgoing, ledger: &Mutex<Ledger>) -> Status {
    let mut client = TikvClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
    let mut answers = match client.batch_commands(outgoing).await {
        Ok(response) => response.into_inner(),
        Err(status) => return status,
    };
    loop {
        match answers.message().await {
            Ok(Some(message)) => {
                if let Err(status) = ledger.lock().settle(message) {
                    return status;
                }
            }
            Ok(None) => return Status::unavailable("the store has ended the stream"),
            Err(status) => return status,
        }
    }
}

/// The messages of one stream, made at the moment the connection takes them.
struct Outgoing {
    waiting: mpsc::UnboundedReceiver<Waiting>,
    ledger: Arc<Mutex<Ledger>>,
}

impl Stream for Outgoing {
    type Item = BatchCommandsRequest;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<BatchCommandsRequest>> {
        loop {
            let Some(first) = ready!(self.waiting.poll_recv(context)) else {
                return Poll::Ready(None);
            };
            let ledger = Arc::clone(&self.ledger);
            let mut ledger = ledger.lock();
            if ledger.is_over {
                return Poll::Ready(None);
            }
            let message = gather(first, &mut self.waiting, &mut ledger);
            // Empty where every caller had gone away meanwhile.
            if !message.requests.is_empty() {
                return Poll::Ready(Some(message));
            }
        }
    }
}

fn gather(
    first: Waiting,
    waiting: &mut mpsc::UnboundedReceiver<Waiting>,
    ledger: &mut Ledger,
) -> BatchCommandsRequest {
    let mut message = BatchCommandsRequest::default();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(Waiting { cmd, answer }) = next {
        if !answer.is_closed() {
            let command = Command { cmd: Some(cmd) };
            bytes += command.encoded_len();
            message.requests.push(command);
            message.request_ids.push(ledger.add(answer));
        }
        let is_full = message.requests.len() >= COMMANDS_MAX || bytes >= COMMAND_BYTES;
        next = if is_full { None } else { waiting.try_recv().ok() };
    }
    message
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use flotilla_proto::{
        kvrpcpb::{RawGetRequest, RawPutRequest},
        tikvpb::batch_commands_response::Response,
    };

    use super::*;

    type Caller = oneshot::Receiver<Outcome>;

    fn queue(count: usize, bytes: usize) -> (mpsc::UnboundedReceiver<Waiting>, VecDeque<Caller>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let callers = std::iter::repeat_with(|| {
            let request = RawPutRequest { value: vec![0; bytes].into(), ..<_>::default() };
            let (answer, caller) = oneshot::channel();
            sender.send(Waiting { cmd: Cmd::RawPut(request), answer }).expect("taken");
            caller
        });
        let callers = callers.take(count).collect();
        (receiver, callers)
    }

    /// The sizes of the messages that carry what waits.
    fn sizes(waiting: &mut mpsc::UnboundedReceiver<Waiting>, ledger: &mut Ledger) -> Vec<usize> {
        let next = || Some(gather(waiting.try_recv().ok()?, waiting, ledger).requests.len());
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn messages_are_closed_by_number_and_by_size() {
        let mut ledger = Ledger::default();
        let (mut waiting, _callers) = queue(300, 10);
        assert_eq!(sizes(&mut waiting, &mut ledger), [128, 128, 44]);
        let (mut waiting, _callers) = queue(5, 600 << 10);
        assert_eq!(sizes(&mut waiting, &mut ledger), [2, 2, 1]);
        assert_eq!(ledger.sent.len(), 305);
    }

    #[test]
    fn what_nobody_waits_for_is_not_sent() {
        let mut ledger = Ledger::default();
        let (mut waiting, mut callers) = queue(3, 1);
        callers.remove(1);
        assert_eq!(sizes(&mut waiting, &mut ledger), [2]);
        assert_eq!(ledger.sent.len(), 2);
    }

    #[test]
    fn answers_find_their_callers() {
        let mut ledger = Ledger::default();
        let (mut waiting, mut callers) = queue(2, 1);
        sizes(&mut waiting, &mut ledger);
        let answer = |value: &'static str| {
            let found =
                flotilla_proto::kvrpcpb::RawGetResponse { value: value.into(), ..<_>::default() };
            Response { cmd: Some(Answered::RawGet(found)) }
        };
        let message = BatchCommandsResponse {
            responses: vec![answer("second"), answer("nobody's"), answer("first")],
            request_ids: vec![2, 77, 1],
            transport_layer_load: 0,
        };
        ledger.settle(message).expect("one number for each");
        for expected in ["first", "second"] {
            let outcome = callers.pop_front().expect("a caller").try_recv().expect("an answer");
            assert_eq!(outcome.expect("answered"), answer(expected).cmd);
        }
        let torn = BatchCommandsResponse { request_ids: vec![1], ..<_>::default() };
        ledger.settle(torn).expect_err("no answer for the number");
    }

    proptest! {
        /// Whatever numbers and answers come, in whatever message: each caller hears once, and only of
        /// a number of its own.
        #[test]
        fn damaged_answers_reach_no_two_callers(
            messages in prop::collection::vec((prop::collection::vec(0..6_u64, 0..6), 0..6_usize), 0..6),
        ) {
            let mut ledger = Ledger::default();
            let (mut waiting, mut callers) = queue(4, 1);
            sizes(&mut waiting, &mut ledger);
            let mut answered = std::collections::BTreeSet::new();
            for (request_ids, count) in messages {
                let responses = vec![Response { cmd: None }; count];
                let is_sound = request_ids.len() == count;
                let message = BatchCommandsResponse {
                    responses,
                    request_ids: request_ids.clone(),
                    transport_layer_load: 0,
                };
                prop_assert_eq!(ledger.settle(message).is_ok(), is_sound);
                if is_sound {
                    answered.extend(request_ids);
                }
            }
            for (id, caller) in (1..).zip(&mut callers) {
                let heard = caller.try_recv().is_ok();
                prop_assert_eq!(heard, answered.contains(&id), "caller {}", id);
            }
        }
    }

    #[test]
    fn what_was_sent_is_in_doubt_when_the_stream_ends_or_is_dropped() {
        for is_dropped in [false, true] {
            let mut ledger = Ledger::default();
            let (mut waiting, mut callers) = queue(1, 1);
            sizes(&mut waiting, &mut ledger);
            if is_dropped {
                drop(ledger);
            } else {
                ledger.end(&Status::unavailable("gone"));
            }
            let outcome = callers.pop_front().expect("a caller").try_recv().expect("told");
            outcome.expect_err("in doubt");
        }
    }

    #[tokio::test]
    async fn what_was_not_sent_is_known_to_be_so() {
        let (waiting, mut receiver) = mpsc::unbounded_channel();
        let commands = Commands { waiting };
        let call = commands.call(Cmd::RawGet(RawGetRequest::default()));
        let dropped = async { drop(receiver.recv().await.expect("the command")) };
        let (outcome, ()) = tokio::join!(call, dropped);
        assert!(matches!(outcome, Err(Unanswered::Unsent)));
        drop(receiver);
        assert!(commands.is_over());
        let outcome = commands.call(Cmd::RawGet(RawGetRequest::default())).await;
        assert!(matches!(outcome, Err(Unanswered::Unsent)));
    }
}
