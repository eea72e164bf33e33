//! Snapshots between two transports on loopback: whole, or not at all, and exactly one word about each.

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{Book, Node, Shelved, identity, limits, own_address, within};
use flotilla_base::{ClusterId, StoreId, codec::RecordWriter};
use flotilla_proto::raft::{
    RaftMessageKind, SnapshotData, SnapshotFamily, SnapshotHead, SnapshotTail,
};
use flotilla_transport::{
    Identity, Limits, SnapshotFailure, SnapshotLimits, SnapshotPart, SnapshotSlot,
};
use tokio::{sync::Semaphore, task::JoinHandle};
use tonic::{Code, Status};

const BLOCK_BYTES: usize = 256 << 10;

async fn pair() -> (Node, Node) {
    pair_with(limits()).await
}

async fn pair_with(limits: Limits) -> (Node, Node) {
    pair_of([limits; 2]).await
}

async fn pair_of([first, second]: [Limits; 2]) -> (Node, Node) {
    let book = Arc::new(Book::default());
    let first = Node::with_limits(identity(1, 1), own_address(), &book, first).await;
    let second = Node::with_limits(identity(2, 1), own_address(), &book, second).await;
    (first, second)
}

fn head(from: &Node, to: u64) -> SnapshotHead {
    let envelope = Some(from.envelope(to, 7, RaftMessageKind::Snapshot));
    SnapshotHead { envelope, expected_bytes: 1, ..SnapshotHead::default() }
}

fn part(number: usize) -> SnapshotPart {
    let mut block = RecordWriter::new(1);
    block.number(number as u64).bytes(&vec![7; BLOCK_BYTES]);
    let data = SnapshotData { family: SnapshotFamily::Raw.into(), block: block.finish() };
    SnapshotPart { data, pairs: 2, bytes: BLOCK_BYTES as u64 }
}

type Parts = Box<dyn Iterator<Item = Result<SnapshotPart, String>> + Send>;

fn parts(count: usize) -> Parts {
    Box::new((0..count).map(|number| Ok(part(number))))
}

fn slot(from: &Node) -> SnapshotSlot {
    from.peers.reserve_snapshot(StoreId(2)).expect("a free slot")
}

async fn send(from: &Node, head: SnapshotHead, parts: Parts) -> Result<(), SnapshotFailure> {
    within("an outcome", from.peers.send_snapshot(slot(from), head, parts)).await
}

fn spawn(from: &Node, parts: Parts) -> JoinHandle<Result<(), SnapshotFailure>> {
    let (peers, slot, head) = (Arc::clone(&from.peers), slot(from), head(from, 2));
    tokio::spawn(async move { peers.send_snapshot(slot, head, parts).await })
}

async fn outcome(sending: JoinHandle<Result<(), SnapshotFailure>>) -> Result<(), SnapshotFailure> {
    within("an outcome", sending).await.expect("no panic")
}

/// The code that the receiver gave.
fn code(failure: &SnapshotFailure) -> Code {
    match failure {
        SnapshotFailure::NotTaken(StoreId(2), status) => status.code(),
        failure => panic!("{failure}"),
    }
}

async fn broken_off(store: &mut Node) {
    while store.shelved().await != Shelved::BrokenOff {}
}

/// After an attempt that failed, the next one finds free places on both sides.
async fn another_one_passes(first: &Node, second: &mut Node) {
    send(first, head(first, 2), parts(1)).await.expect("taken");
    while !matches!(second.shelved().await, Shelved::Finished(_)) {}
}

#[tokio::test]
async fn all_of_it_arrives_in_order() {
    let (first, mut second) = pair().await;
    let sent = head(&first, 2);
    send(&first, sent.clone(), parts(20)).await.expect("taken");
    assert_eq!(second.shelved().await, Shelved::Began(Box::new(sent)));
    for number in 0..20 {
        assert_eq!(second.shelved().await, Shelved::Took(part(number).data));
    }
    let tail = SnapshotTail { chunks: 20, pairs: 40, bytes: 20 * BLOCK_BYTES as u64 };
    assert_eq!(second.shelved().await, Shelved::Finished(tail));
    assert!(!second.has_shelved());
    let (sent, received) = (first.peers.snapshot_stats(), second.peers.snapshot_stats());
    assert_eq!((sent.sent.get(), sent.sent_bytes.get()), (1, tail.bytes));
    assert_eq!((received.received.get(), received.receive_failed.get()), (1, 0));
    another_one_passes(&first, &mut second).await;
    second.stop().await;
    first.stop().await;
}

#[tokio::test]
async fn a_cut_in_the_middle_leaves_nothing() {
    let (first, mut second) = pair().await;
    let is_cut = Arc::new(AtomicBool::new(false));
    let cut = Arc::clone(&is_cut);
    let filter = move |_, _, _: &_| !cut.load(Ordering::Relaxed);
    first.peers.set_filter(Some(Arc::new(filter)));
    let in_the_middle = (0..20).map(move |number| {
        is_cut.store(number > 8, Ordering::Relaxed);
        Ok(part(number))
    });
    let failure = send(&first, head(&first, 2), Box::new(in_the_middle)).await;
    assert!(matches!(failure, Err(SnapshotFailure::Unreachable(StoreId(2), _))), "{failure:?}");
    broken_off(&mut second).await;
    first.peers.set_filter(None);
    another_one_passes(&first, &mut second).await;
    // The receiver's side of the network.
    let filter = |_, _, _: &_| false;
    second.peers.set_filter(Some(Arc::new(filter)));
    let failure = send(&first, head(&first, 2), parts(2)).await.expect_err("cut");
    assert_eq!(code(&failure), Code::Unavailable);
}

#[tokio::test]
async fn what_cannot_be_read_is_not_sent() {
    let (first, mut second) = pair().await;
    let broken = (0..5)
        .map(|number| if number == 3 { Err("a bad disk".to_owned()) } else { Ok(part(number)) });
    let failure = send(&first, head(&first, 2), Box::new(broken)).await;
    assert!(matches!(&failure, Err(SnapshotFailure::Source(why)) if why == "a bad disk"));
    broken_off(&mut second).await;
    another_one_passes(&first, &mut second).await;
}

#[tokio::test]
async fn a_damaged_chunk_ends_it() {
    let (first, mut second) = pair().await;
    let damaged = (0..5).map(|number| {
        let mut part = part(number);
        if number == 3 {
            let mut block = part.data.block.to_vec();
            block[BLOCK_BYTES / 2] ^= 1;
            part.data.block = block.into();
        }
        Ok(part)
    });
    let failure = send(&first, head(&first, 2), Box::new(damaged)).await.expect_err("damaged");
    assert_eq!(code(&failure), Code::DataLoss);
    let mut taken = 0;
    loop {
        match second.shelved().await {
            Shelved::Took(_) => taken += 1,
            Shelved::BrokenOff => break,
            _ => {}
        }
    }
    assert_eq!(taken, 3);
    another_one_passes(&first, &mut second).await;
}

#[tokio::test]
async fn strangers_and_strays_are_refused() {
    let book = Arc::new(Book::default());
    let stranger = Identity { cluster_id: ClusterId(78), ..identity(1, 1) };
    let first = Node::start(stranger, own_address(), &book).await;
    let second = Node::start(identity(2, 1), own_address(), &book).await;
    let failure = send(&first, head(&first, 2), parts(1)).await.expect_err("a stranger");
    assert_eq!(code(&failure), Code::FailedPrecondition);
    let third = Node::start(identity(3, 1), own_address(), &book).await;
    let stray = head(&third, 4);
    let failure = send(&third, stray, parts(1)).await.expect_err("for another store");
    assert_eq!(code(&failure), Code::InvalidArgument);
    let mut other = head(&third, 2);
    other.envelope = Some(third.heartbeat(2, 7));
    let failure = send(&third, other, parts(1)).await.expect_err("no snapshot");
    assert_eq!(code(&failure), Code::InvalidArgument);
    assert!(!second.has_shelved());
    assert_eq!(second.peers.snapshot_stats().receive_failed.get(), 3);
}

#[tokio::test]
async fn a_refusal_is_passed_on() {
    let (first, mut second) = pair().await;
    *second.shelf.refusal.lock() = Some(Status::resource_exhausted("no room"));
    let failure = send(&first, head(&first, 2), parts(50)).await.expect_err("refused");
    assert_eq!(code(&failure), Code::ResourceExhausted);
    assert!(failure.to_string().contains("no room"), "{failure}");
    another_one_passes(&first, &mut second).await;
}

/// What is read ahead is bounded by windows of the connection and two chunks, however much there is.
#[tokio::test]
async fn a_slow_receiver_holds_up_the_reader() {
    let (first, mut second) = pair().await;
    let permits = Arc::clone(&second.shelf.permits);
    permits.forget_permits(Semaphore::MAX_PERMITS);
    let read = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&read);
    let sending = spawn(
        &first,
        Box::new((0..400).map(move |number| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(part(number))
        })),
    );
    assert!(matches!(second.shelved().await, Shelved::Began(_)));
    let mut ahead = 0;
    for taken in 1..=400 {
        permits.add_permits(1);
        assert!(matches!(second.shelved().await, Shelved::Took(_)));
        ahead = ahead.max(read.load(Ordering::Relaxed) - taken);
    }
    outcome(sending).await.expect("taken");
    assert!(ahead < 40, "{ahead} chunks of {BLOCK_BYTES} bytes were in memory");
    assert!(matches!(second.shelved().await, Shelved::Finished(_)));
}

#[tokio::test]
async fn whoever_is_too_slow_is_given_up() {
    let (time_max, streams_max) = (Duration::from_secs(2), 1);
    let snapshots = SnapshotLimits { time_max, streams_max, ..SnapshotLimits::default() };
    let (first, mut second) = pair_of([Limits { snapshots, ..limits() }, limits()]).await;
    second.shelf.permits.forget_permits(Semaphore::MAX_PERMITS);
    let failure = send(&first, head(&first, 2), parts(3)).await;
    assert!(matches!(failure, Err(SnapshotFailure::TooSlow(_))), "{failure:?}");
    broken_off(&mut second).await;
    second.shelf.permits.add_permits(9);
    another_one_passes(&first, &mut second).await;
}

/// A rate that is set low is no fault of the snapshot.
#[tokio::test]
async fn a_low_rate_has_its_time() {
    let (rate, time_max) = (512 << 10, Duration::from_millis(500));
    let snapshots = SnapshotLimits { rate, time_max, ..SnapshotLimits::default() };
    let (first, mut second) = pair_with(Limits { snapshots, ..limits() }).await;
    let began = std::time::Instant::now();
    send(&first, head(&first, 2), parts(4)).await.expect("taken");
    assert!(began.elapsed() > 2 * time_max, "three parts had to wait for half a second each");
    while !matches!(second.shelved().await, Shelved::Finished(_)) {}
}

/// It is never silent, and never comes to an end.
#[tokio::test]
async fn a_sender_that_sends_next_to_nothing_is_given_up() {
    let with = |snapshots| Limits { snapshots, ..limits() };
    let (rate, time_max) = (1 << 20, Duration::from_secs(2));
    let first = with(SnapshotLimits { rate, ..SnapshotLimits::default() });
    let second = with(SnapshotLimits { time_max, ..SnapshotLimits::default() });
    let (first, mut second) = pair_of([first, second]).await;
    let trickle = (0..).map(|_number| {
        let data = SnapshotData { block: RecordWriter::new(1).finish(), ..part(0).data };
        Ok(SnapshotPart { data, ..part(0) })
    });
    let failure = send(&first, head(&first, 2), Box::new(trickle)).await.expect_err("given up");
    assert_eq!(code(&failure), Code::DeadlineExceeded, "{failure}");
    broken_off(&mut second).await;
    another_one_passes(&first, &mut second).await;
}

#[tokio::test]
async fn a_silent_sender_is_given_up() {
    let snapshots =
        SnapshotLimits { silence_max: Duration::from_secs(1), ..SnapshotLimits::default() };
    let (first, mut second) = pair_with(Limits { snapshots, ..limits() }).await;
    let (_hold, held) = std::sync::mpsc::channel::<()>();
    // The reader stands still until the test ends.
    let stuck = (0..5).map(move |number| {
        if number == 2 {
            let _the_test_is_over = held.recv().is_err();
        }
        Ok(part(number))
    });
    let failure = send(&first, head(&first, 2), Box::new(stuck)).await.expect_err("given up");
    assert_eq!(code(&failure), Code::DeadlineExceeded);
    broken_off(&mut second).await;
}

#[tokio::test]
async fn places_are_bounded_on_both_sides() {
    let (first, mut second) = pair().await;
    second.shelf.permits.forget_permits(Semaphore::MAX_PERMITS);
    let sending = [spawn(&first, parts(2)), spawn(&first, parts(2))];
    for _each in &sending {
        assert!(matches!(second.shelved().await, Shelved::Began(_)));
    }
    assert!(first.peers.reserve_snapshot(StoreId(2)).is_none(), "two at once");
    assert!(first.peers.reserve_snapshot(StoreId(3)).is_some());
    second.shelf.permits.add_permits(4);
    for sending in sending {
        outcome(sending).await.expect("taken");
    }
    second.shelf.permits.add_permits(1);
    another_one_passes(&first, &mut second).await;
}

#[tokio::test]
async fn shutting_down_ends_it_on_either_side() {
    for closes_sender in [true, false] {
        let (first, mut second) = pair().await;
        second.shelf.permits.forget_permits(Semaphore::MAX_PERMITS);
        let sending = spawn(&first, parts(100));
        assert!(matches!(second.shelved().await, Shelved::Began(_)));
        let closing = if closes_sender { &first } else { &second };
        closing.peers.close();
        let failure = outcome(sending).await.expect_err("closed");
        if closes_sender {
            assert!(matches!(failure, SnapshotFailure::Closed), "{failure}");
        } else {
            assert_eq!(code(&failure), Code::Unavailable);
        }
        broken_off(&mut second).await;
        second.stop().await;
        first.stop().await;
    }
}

#[tokio::test]
async fn nobody_at_the_address_is_told() {
    let (first, second) = pair().await;
    second.stop().await;
    let failure = send(&first, head(&first, 2), parts(2)).await;
    assert!(matches!(failure, Err(SnapshotFailure::Unreachable(StoreId(2), _))), "{failure:?}");
    let slot = first.peers.reserve_snapshot(StoreId(9)).expect("a slot");
    let failure = first.peers.send_snapshot(slot, head(&first, 9), parts(2)).await;
    assert!(matches!(failure, Err(SnapshotFailure::Unreachable(StoreId(9), _))), "{failure:?}");
}
