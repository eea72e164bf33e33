use std::task::Waker;

use flotilla_base::{PeerId, RegionId};
use flotilla_proto::raft::{RaftEntry, RaftMessage};

use super::*;

fn envelope(region_id: u64, kind: RaftMessageKind, index: u64) -> RaftEnvelope {
    let message = RaftMessage { kind: kind.into(), index, ..RaftMessage::default() };
    RaftEnvelope {
        region_id,
        to_peer: region_id + 100,
        message: Some(message),
        ..RaftEnvelope::default()
    }
}

fn append(region_id: u64, index: u64, data_bytes: usize) -> RaftEnvelope {
    let mut envelope = envelope(region_id, RaftMessageKind::Append, index);
    let entry = RaftEntry { data: vec![7; data_bytes].into(), ..RaftEntry::default() };
    envelope.message.as_mut().expect("made above").entries.push(entry);
    envelope
}

fn heartbeat(region_id: u64, index: u64, context: &'static str) -> RaftEnvelope {
    let mut envelope = envelope(region_id, RaftMessageKind::Heartbeat, index);
    envelope.message.as_mut().expect("made above").context = context.into();
    envelope
}

fn target(region_id: u64) -> Target {
    Target { region: RegionId(region_id), peer: PeerId(region_id + 100) }
}

fn queue(queue_messages: usize, queue_bytes: usize, batch_bytes: usize) -> Queue {
    Queue::new(&Limits { queue_messages, queue_bytes, batch_bytes, ..Limits::default() })
}

/// The next batch as (region, index).
fn take(queue: &mut Queue) -> Option<Vec<(u64, u64)>> {
    let generation = queue.generation();
    match queue.poll_batch(generation, &mut Context::from_waker(Waker::noop())) {
        Poll::Pending => None,
        Poll::Ready(taken) => {
            let (batch, bytes) = taken.expect("of this generation");
            let sizes = batch.iter().map(prost::Message::encoded_len);
            assert_eq!(sizes.sum::<usize>(), bytes);
            let index = |envelope: &RaftEnvelope| envelope.message.as_ref().map(|m| m.index);
            let pairs = batch.iter().map(|e| (e.region_id, index(e).unwrap_or(0)));
            Some(pairs.collect())
        }
    }
}

#[test]
fn batches_keep_the_order_and_the_size() {
    let mut queue = queue(100, 1 << 20, 1000);
    for index in 0..5 {
        assert!(matches!(queue.push(append(1, index, 400)), Pushed::Queued(400..)));
    }
    assert_eq!(take(&mut queue), Some(vec![(1, 0), (1, 1)]));
    queue.push(append(2, 9, 5000));
    assert_eq!(take(&mut queue), Some(vec![(1, 2), (1, 3)]));
    assert_eq!(take(&mut queue), Some(vec![(1, 4)]));
    assert_eq!(take(&mut queue), Some(vec![(2, 9)]), "a large envelope travels alone");
    assert_eq!(take(&mut queue), None);
    assert_eq!(queue.bytes, 0);
}

#[test]
fn entries_are_dropped_before_votes() {
    let mut queue = queue(2, 1 << 20, 1 << 20);
    queue.push(append(1, 0, 1));
    queue.push(append(2, 0, 1));
    assert_eq!(queue.push(append(3, 0, 1)), Pushed::Dropped);
    assert_eq!(queue.push(append(3, 1, 1)), Pushed::Dropped);
    let vote = |region| envelope(region, RaftMessageKind::RequestVote, 0);
    assert!(matches!(queue.push(vote(4)), Pushed::Queued(_)));
    assert!(matches!(queue.push(vote(5)), Pushed::Queued(_)));
    assert_eq!(queue.push(vote(6)), Pushed::Dropped, "twice the budget bounds everything");
    assert_eq!(queue.take_dropped(), vec![target(3), target(6)], "each peer once");
    assert_eq!(queue.take_dropped(), vec![]);
    assert_eq!(take(&mut queue), Some(vec![(1, 0), (2, 0), (4, 0), (5, 0)]));
}

#[test]
fn bytes_bound_the_queue_but_not_a_single_envelope() {
    let mut queue = queue(100, 1000, 1 << 20);
    assert!(matches!(queue.push(append(1, 0, 5000)), Pushed::Queued(_)));
    assert_eq!(queue.push(append(1, 1, 1)), Pushed::Dropped);
    assert_eq!(take(&mut queue), Some(vec![(1, 0)]));
    assert!(matches!(queue.push(append(1, 1, 900)), Pushed::Queued(_)));
    assert_eq!(queue.push(append(1, 2, 900)), Pushed::Dropped);
}

#[test]
fn only_the_newest_heartbeat_waits() {
    let mut queue = queue(100, 1 << 20, 1 << 20);
    queue.push(heartbeat(1, 0, ""));
    queue.push(heartbeat(2, 0, "read"));
    assert!(matches!(queue.push(heartbeat(1, 1, "a context")), Pushed::Replaced { .. }));
    assert!(matches!(queue.push(heartbeat(2, 1, "")), Pushed::Queued(_)), "a read is not lost");
    assert!(matches!(queue.push(heartbeat(2, 2, "")), Pushed::Replaced { .. }));
    assert_eq!(take(&mut queue), Some(vec![(1, 1), (2, 0), (2, 2)]));
    assert!(matches!(queue.push(heartbeat(1, 2, "")), Pushed::Queued(_)), "the last one has left");
    assert_eq!(take(&mut queue), Some(vec![(1, 2)]));
    assert_eq!((queue.bytes, queue.heartbeats.len()), (0, 0));
}

#[test]
fn a_failure_names_everyone_concerned_once() {
    let mut queue = queue(3, 1 << 20, 1);
    queue.push(append(1, 0, 1));
    queue.push(append(2, 0, 1));
    queue.push(append(2, 1, 1));
    assert_eq!(queue.push(append(3, 0, 1)), Pushed::Dropped);
    assert_eq!(take(&mut queue), Some(vec![(1, 0)]), "may be lost on the way");
    let generation = queue.generation();
    let failed = queue.fail();
    assert_eq!(failed.targets, vec![target(1), target(2), target(3)]);
    assert_eq!(failed.messages, 2);
    assert_eq!(queue.fail(), Failed { targets: vec![], messages: 0, bytes: 0 });
    queue.push(append(4, 0, 1));
    let stale = queue.poll_batch(generation, &mut Context::from_waker(Waker::noop()));
    assert_eq!(stale, Poll::Ready(None), "a dead stream takes nothing");
    assert_eq!(take(&mut queue), Some(vec![(4, 0)]));
}
