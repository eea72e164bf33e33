//! Whatever the network brings to a group, in whatever state that is: see [`adversary`].

mod adversary;
mod common;

use std::sync::Mutex;

use adversary::{Peer, Tally};
use flotilla_base::{Index, PeerId, Term};
use flotilla_raftgroup::{Message, MessageKind};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Scripts of one run; each brings some thirty messages.
const SCRIPTS: u32 = 10_000;

#[test]
fn no_message_makes_a_group_panic_or_forget() {
    let total = Mutex::new(Tally::default());
    let config = ProptestConfig { cases: SCRIPTS, ..ProptestConfig::default() };
    let scripts = prop::collection::vec(any::<u8>(), 0..1_200);
    let outcome = TestRunner::new(config).run(&scripts, |script| {
        let tally = adversary::play(&script);
        total.lock().expect("only sound scripts get here").add(&tally);
        Ok(())
    });
    outcome.expect("no script breaks a group");
    let total = total.into_inner().expect("only sound scripts get here");
    println!("{total:?}");
    let Tally { stepped, refused, damaged, committed, overwritten, crashes, .. } = total;
    let Tally { granted, snapshots, installable, .. } = total;
    let seen = [refused, damaged, committed, overwritten, crashes, granted, snapshots, installable];
    assert!(!stepped.contains(&0) && !seen.contains(&0), "the scripts are blind: {total:?}");
}

/// The number at the end of the context is another one than that of the question.
#[test]
fn an_answer_to_what_was_never_asked_grants_nothing() {
    for forged in [0, 2, u64::MAX] {
        let mut peer = Peer::following();
        let leader = PeerId(2);
        let token = peer.group.ask_leader().expect("peer 2 leads");
        let question = peer.group.collect().expect("a question").send_now.remove(0);
        let mut answer =
            Message::new(MessageKind::ReadIndexResponse, leader, question.from, Term(6));
        answer.index = Index(8);
        let mut context = question.context.to_vec();
        context[24..].copy_from_slice(&u64::to_be_bytes(forged));
        peer.group
            .step(peer.now, Message { context: context.into(), ..answer.clone() })
            .expect("taken");
        assert!(peer.group.collect().is_none_or(|ready| ready.reads.is_empty()), "{forged}");
        peer.group.step(peer.now, Message { context: question.context, ..answer }).expect("taken");
        let granted = peer.group.collect().expect("an answer").reads;
        assert_eq!(granted.iter().map(|grant| grant.token).collect::<Vec<_>>(), [token]);
    }
}
