//! Many commands on one stream.

use flotilla_damage::damaged;
use flotilla_proto::tikvpb::{
    BatchCommandsEmptyRequest, BatchCommandsRequest, BatchCommandsResponse,
    batch_commands_request::{Request as Command, request::Cmd},
    batch_commands_response::response::Cmd as Answered,
};
use kvrpcpb::{RawBatchGetRequest, RawDeleteRequest, RawGetRequest, RawPutRequest};
use proptest::{prelude::*, test_runner::TestRunner};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::UnboundedReceiverStream};
use tonic::{Code, codegen::BoxStream};

use super::*;
use crate::service::commands::converse;

/// A stream whose other end is in hand.
struct Line {
    requests: Option<mpsc::UnboundedSender<Result<BatchCommandsRequest, Status>>>,
    answers: BoxStream<BatchCommandsResponse>,
}

impl Line {
    fn open(fixture: &Fixture) -> Self {
        let (requests, receiver) = mpsc::unbounded_channel();
        let receiver = Box::pin(UnboundedReceiverStream::new(receiver));
        let answers = converse(fixture.service.clone(), receiver);
        Self { requests: Some(requests), answers }
    }

    fn send(&self, commands: impl IntoIterator<Item = (u64, Cmd)>) {
        let (request_ids, commands): (_, Vec<Cmd>) = commands.into_iter().unzip();
        let requests = commands.into_iter().map(|cmd| Command { cmd: Some(cmd) }).collect();
        self.send_message(BatchCommandsRequest { requests, request_ids });
    }

    fn send_message(&self, message: BatchCommandsRequest) {
        let sender = self.requests.as_ref().expect("not hung up");
        sender.send(Ok(message)).expect("somebody listens");
    }

    async fn message(&mut self) -> Option<Result<BatchCommandsResponse, Status>> {
        self.answers.next().await
    }

    /// The next `count` answers, by their number.
    async fn answers(&mut self, count: usize) -> Vec<(u64, Option<Answered>)> {
        let mut all = Vec::new();
        while all.len() < count {
            let message = self.message().await.expect("more to come").expect("answers");
            assert_eq!(message.responses.len(), message.request_ids.len());
            let answers = message.responses.into_iter().map(|answer| answer.cmd);
            all.extend(message.request_ids.into_iter().zip(answers));
        }
        all.sort_by_key(|(id, _)| *id);
        all
    }

    async fn fails(&mut self) -> Status {
        self.message().await.expect("an end with a reason").expect_err("a failure")
    }
}

fn put(key: &'static str, value: Bytes) -> Cmd {
    let context = Some(context());
    Cmd::RawPut(RawPutRequest { context, key: key.into(), value, ..Default::default() })
}

fn get(key: &'static str) -> Cmd {
    let context = Some(context());
    Cmd::RawGet(RawGetRequest { context, key: key.into(), ..Default::default() })
}

#[tokio::test]
async fn each_command_gets_the_answer_of_its_kind() {
    let fixture = Fixture::new();
    let mut line = Line::open(&fixture);
    line.send([(7, put("c", "1".into())), (3, put("d", "2".into()))]);
    let written = Some(Answered::RawPut(<_>::default()));
    assert_eq!(line.answers(2).await, [(3, written.clone()), (7, written)]);

    let keys = vec!["c".into(), "d".into()];
    let pairs = RawBatchGetRequest { context: Some(context()), keys, ..Default::default() };
    let gone = RawDeleteRequest { context: None, key: "c".into(), ..Default::default() };
    let probe = BatchCommandsEmptyRequest { test_id: 9, delay_time: 1 };
    line.send([
        (1, get("c")),
        (2, Cmd::RawBatchGet(pairs)),
        (3, Cmd::RawScan(scan_request("b", "m"))),
        (4, Cmd::RawDelete(gone)),
        (5, Cmd::Empty(probe)),
    ]);
    let answers = line.answers(5).await;
    let kinds: Vec<_> = answers.into_iter().map(|(_, answer)| answer.expect("known")).collect();
    let [
        Answered::RawGet(found),
        Answered::RawBatchGet(pairs),
        Answered::RawScan(page),
        Answered::RawDelete(refused),
        Answered::Empty(alive),
    ] = &kinds[..]
    else {
        panic!("another kind: {kinds:?}")
    };
    assert_eq!((&found.value[..], pairs.pairs.len(), page.kvs.len()), (&b"1"[..], 2, 2));
    assert!(refused.region_error.is_some(), "a refusal is inside the answer");
    assert_eq!(alive.test_id, 9);
}

#[tokio::test]
async fn a_slow_command_delays_no_other() {
    let fixture = Fixture::new();
    let mut line = Line::open(&fixture);
    fixture.expect([Fate::Lost]);
    line.send([(1, put("c", "1".into())), (2, put("d", "2".into()))]);
    line.send([(3, get("d"))]);
    let ids: Vec<u64> = line.answers(2).await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [2, 3]);
}

#[tokio::test]
async fn the_stream_ends_after_its_last_answer() {
    let fixture = Fixture::new();
    let mut line = Line::open(&fixture);
    line.send([(1, get("c"))]);
    line.requests = None;
    assert_eq!(line.answers(1).await.len(), 1);
    assert!(line.message().await.is_none());
}

#[tokio::test]
async fn what_this_version_does_not_know_is_answered_empty() {
    let fixture = Fixture::new();
    let mut line = Line::open(&fixture);
    let requests = vec![Command { cmd: None }];
    line.send_message(BatchCommandsRequest { requests, request_ids: vec![5] });
    assert_eq!(line.answers(1).await, [(5, None)]);
}

#[tokio::test]
async fn commands_without_numbers_end_the_stream() {
    let fixture = Fixture::new();
    let mut line = Line::open(&fixture);
    let requests = vec![Command { cmd: Some(get("c")) }];
    line.send_message(BatchCommandsRequest { requests, request_ids: Vec::new() });
    let status = line.fails().await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "1 commands came with 0 ids; each needs one");
}

#[tokio::test]
async fn a_command_for_another_cluster_fails_alone() {
    let fixture = Fixture::new();
    let mut line = Line::open(&fixture);
    let elsewhere = kvrpcpb::Context { cluster_id: 1, ..context() };
    let request = RawGetRequest { context: Some(elsewhere), ..Default::default() };
    line.send([(1, Cmd::RawGet(request)), (2, put("c", "1".into()))]);
    let answers = line.answers(2).await;
    let Some(Answered::RawGet(refused)) = &answers[0].1 else { panic!("{answers:?}") };
    let told = &refused.region_error.as_ref().expect("a refusal").message;
    assert_eq!(told, "mismatch cluster id, need 77 but got 1");
    assert_eq!(answers[1].1, Some(Answered::RawPut(<_>::default())));
}

#[tokio::test]
async fn large_answers_travel_in_several_messages() {
    let fixture = Fixture::new();
    let mut line = Line::open(&fixture);
    line.send([(0, put("c", vec![b'x'; 600 << 10].into()))]);
    line.answers(1).await;
    line.send((1..=6).map(|id| (id, get("c"))));
    let mut left = 6;
    while left > 0 {
        let message = line.message().await.expect("more").expect("answers");
        assert!(message.responses.len() <= 2, "the second one closes the message");
        left -= message.responses.len();
    }
}

#[tokio::test]
async fn who_does_not_read_holds_up_nobody() {
    let fixture = Fixture::new();
    let line = Line::open(&fixture);
    line.send((0..300).map(|id| (id, put("c", "1".into()))));
    // The line is never read. Its writes are made, and give their room back.
    let all = std::time::Duration::from_secs(30);
    let made = tokio::time::timeout(all, async {
        while fixture.proposed() < 300 || fixture.service.parts.admission.is_in_use() {
            tokio::task::yield_now().await;
        }
    });
    made.await.expect("all are made");
}

#[tokio::test]
async fn a_message_has_a_bounded_number_of_commands() {
    let fixture = Fixture::new();
    let mut line = Line::open(&fixture);
    let requests = vec![Command { cmd: None }; 4097];
    let request_ids = (0..4097).collect();
    line.send_message(BatchCommandsRequest { requests, request_ids });
    let status = line.fails().await;
    assert_eq!(status.message(), "4097 commands in a message, at most 4096");
}

#[tokio::test]
async fn point_reads_of_a_message_are_served_together_where_they_can_be() {
    let fixture = Fixture::new();
    let mut line = Line::open(&fixture);
    let large = Bytes::from(vec![b'x'; 700 << 10]);
    line.send([(0, put("c", "1".into())), (1, put("d", large))]);
    line.answers(2).await;
    fixture.permit(Ok(()));
    // More than one lot; and more than one lot holds.
    line.send((0..100).map(|id| (id, get(if id % 10 == 0 { "d" } else { "c" }))));
    for (id, answer) in line.answers(100).await {
        let Some(Answered::RawGet(found)) = answer else { panic!("{answer:?}") };
        let length = if id % 10 == 0 { 700 << 10 } else { 1 };
        assert_eq!((found.value.len(), found.region_error), (length, None), "{id}");
    }
    assert_eq!((fixture.barriers(), fixture.counted(IN_PLACE)), ([0, 0], 100));
    assert_eq!(fixture.counted("flotilla_rpc_requests_total{op=\"raw_get\",result=\"done\"}"), 100);

    // One of three may not be used; the ordinary way says what else is wrong.
    fixture.played.script.lock().ends = [Ok(()), Err(NotInPlace::Withdrawn)].into();
    let outside = RawGetRequest { context: Some(context()), key: "z".into(), cf: String::new() };
    line.send([(1, get("c")), (2, get("c")), (3, get("e")), (4, Cmd::RawGet(outside))]);
    let answers = line.answers(4).await;
    let found = |position: usize| match &answers[position].1 {
        Some(Answered::RawGet(found)) => found.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((&found(0).value[..], &found(1).value[..]), (&b"1"[..], &b"1"[..]));
    assert!(found(2).not_found);
    let error = found(3).region_error.expect("outside");
    assert_eq!(error.key_not_in_region.expect("which one").key, "z");
    assert_eq!(fixture.barriers(), [0, 0], "what came again was served in place");
    fixture.permit(Err(NotInPlace::NoPermit));
    line.send([(1, get("c"))]);
    line.answers(1).await;
    assert_eq!(fixture.barriers(), [1, 0]);
}

/// A command of each kind, with many fields, as a client sends it.
fn commands() -> Vec<Cmd> {
    let (key, keys) = (Bytes::from_static(b"c"), vec!["c".into(), "d".into()]);
    let pair = |key: &'static str| kvrpcpb::KvPair { key: key.into(), ..Default::default() };
    let batch_put = kvrpcpb::RawBatchPutRequest {
        context: Some(context()),
        pairs: vec![pair("d"), pair("e")],
        ttls: vec![0, u64::MAX],
        ..Default::default()
    };
    let range = kvrpcpb::RawDeleteRangeRequest {
        context: Some(context()),
        start_key: "c".into(),
        end_key: "e".into(),
        ..Default::default()
    };
    let context = Some(context());
    vec![
        put("c", "value".into()),
        get("c"),
        Cmd::RawScan(scan_request("b", "m")),
        Cmd::RawBatchGet(RawBatchGetRequest {
            context: context.clone(),
            keys: keys.clone(),
            cf: "default".into(),
        }),
        Cmd::RawDelete(RawDeleteRequest { context: context.clone(), key, ..Default::default() }),
        Cmd::RawBatchDelete(kvrpcpb::RawBatchDeleteRequest { context, keys, ..Default::default() }),
        Cmd::RawBatchPut(batch_put),
        Cmd::RawDeleteRange(range),
        Cmd::Empty(BatchCommandsEmptyRequest { test_id: 9, delay_time: 0 }),
    ]
}

/// Messages that are damaged as a whole, and messages of damaged commands.
fn damaged_messages() -> impl Strategy<Value = BatchCommandsRequest> {
    let encode = |cmd| Command { cmd: Some(cmd) }.encode_to_vec();
    let encoded: Vec<Vec<u8>> = commands().into_iter().map(encode).collect();
    let requests: Vec<Command> =
        commands().into_iter().map(|cmd| Command { cmd: Some(cmd) }).collect();
    let request_ids = (0..requests.len() as u64).map(|id| id.wrapping_sub(3)).collect();
    let whole = BatchCommandsRequest { requests, request_ids }.encode_to_vec();
    let read = |bytes: Vec<u8>| BatchCommandsRequest::decode(bytes.as_slice()).ok();
    let command = damaged(prop::sample::select(encoded))
        .prop_filter_map("no command", |bytes| Command::decode(bytes.as_slice()).ok());
    let of_commands = prop::collection::vec((any::<u64>(), command), 1..6).prop_map(|pairs| {
        let (request_ids, requests) = pairs.into_iter().unzip();
        BatchCommandsRequest { requests, request_ids }
    });
    prop_oneof![
        1 => damaged(Just(whole)).prop_filter_map("no message", read),
        3 => of_commands,
    ]
}

/// A message is answered, each command once and under its number, or ends the stream. Whatever was written, is
/// read.
#[test]
fn damaged_messages_end_the_stream_or_are_answered() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let fixture = runtime.block_on(async { Fixture::new() });
    let outcome = TestRunner::default().run(&damaged_messages(), |mut message| {
        for command in &mut message.requests {
            if let Some(Cmd::Empty(probe)) = &mut command.cmd {
                // Nobody waits here for a probe that asks for a delay.
                probe.delay_time = 0;
            }
        }
        runtime.block_on(converse_once(&fixture, message));
        fixture.check_stored();
        Ok(())
    });
    outcome.expect("no message breaks the service");
}

async fn converse_once(fixture: &Fixture, message: BatchCommandsRequest) {
    let mut line = Line::open(fixture);
    let commands = message.requests.clone();
    let mut expected: Vec<u64> = message.request_ids.clone();
    line.send_message(message);
    if commands.len() != expected.len() {
        assert_eq!(line.fails().await.code(), Code::InvalidArgument);
        return;
    }
    expected.sort_unstable();
    let answers = line.answers(commands.len()).await;
    assert!(answers.iter().map(|(id, _)| *id).eq(expected));
    for command in commands {
        // Asked for in the same words, and served by a call only.
        if let Some(Cmd::RawGet(RawGetRequest { context, key, cf })) = command.cmd {
            let request = kvrpcpb::RawGetKeyTtlRequest { context, key, cf };
            match fixture.service.raw_get_key_ttl(Request::new(request)).await {
                Ok(told) => assert!(told.get_ref().ttl == 0 || !told.get_ref().not_found),
                Err(status) => assert_eq!(status.code(), Code::InvalidArgument),
            }
        }
    }
}

/// The one thread of the pool hangs: the first get is answered when its time is over, and the second is not held to
/// the time of the first.
#[tokio::test]
async fn reads_that_came_together_end_at_their_own_deadlines() {
    let fixture = Fixture::new();
    let (release, held) = crossbeam_channel::bounded::<()>(0);
    let (started, runs) = tokio::sync::oneshot::channel();
    let parts = Arc::clone(&fixture.service.parts);
    let later = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    let hold = tokio::spawn(async move {
        let hung = parts.pool.run(later, later, move |_| {
            let _told = started.send(());
            held.recv().is_err()
        });
        hung.await
    });
    runs.await.expect("the thread is taken");
    let mut line = Line::open(&fixture);
    let context = Some(kvrpcpb::Context { max_execution_duration_ms: 20, ..context() });
    let hurried = RawGetRequest { context, key: "c".into(), ..Default::default() };
    line.send([(1, Cmd::RawGet(hurried)), (2, get("c"))]);
    let answers = tokio::time::timeout_at(later, line.answers(1)).await.expect("within its time");
    let [(1, Some(Answered::RawGet(refused)))] = answers.as_slice() else {
        panic!("{answers:?}");
    };
    let error = refused.region_error.as_ref().expect("no result");
    assert!(error.server_is_busy.is_some() && error.message.contains("deadline is exceeded"));
    drop(release);
    assert_eq!(hold.await.expect("no panic"), Ok(true));
    let answers = line.answers(1).await;
    let [(2, Some(Answered::RawGet(found)))] = answers.as_slice() else { panic!("{answers:?}") };
    assert!(found.not_found && found.region_error.is_none());
}

/// Two values of 6 MiB that nobody reads leave no room for a third one among 16 MiB.
#[tokio::test]
async fn answers_that_are_not_read_leave_no_room_for_others() {
    let fixture = Fixture::new();
    let value = vec![b'v'; 6 << 20];
    for key in [b"c", b"d", b"e"] {
        assert_eq!(fixture.put(key, &value, 0).await, <_>::default());
    }
    let mut line = Line::open(&fixture);
    line.send([(1, get("c")), (2, get("d"))]);
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    let refused = loop {
        let response = fixture.get(b"e").await;
        if response.region_error.is_some() {
            break error_of(response);
        }
        assert!(tokio::time::Instant::now() < end, "the answers of the stream are counted");
        tokio::task::yield_now().await;
    };
    assert!(refused.server_is_busy.as_ref().is_some_and(|it| it.backoff_ms > 0), "{refused:?}");
    for (id, answered) in line.answers(2).await {
        let Some(Answered::RawGet(found)) = answered else { panic!("{id}: no value") };
        assert_eq!(found.value.len(), value.len(), "{id}");
    }
    assert_eq!(fixture.get(b"e").await.value.len(), value.len(), "the room came back");
    assert!(!fixture.service.parts.answers.is_in_use());
}
