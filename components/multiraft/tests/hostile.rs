//! Whatever the network brings to a store, in whatever state its replicas are: see [`attacked`].

mod attacked;
#[path = "harness/disk.rs"]
mod disk;
#[path = "../../raftgroup/tests/adversary/message.rs"]
mod message;
#[path = "../../raftgroup/tests/adversary/script.rs"]
mod script;

use std::sync::Mutex;

use attacked::{Store, Tally};
use flotilla_base::Index;
use flotilla_raftgroup::MessageKind;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// Scripts of one run; each brings some twenty messages.
const SCRIPTS: u32 = 6_000;

#[test]
fn no_message_makes_a_store_panic_or_answer_twice() {
    let total = Mutex::new(Tally::default());
    let config =
        ProptestConfig { cases: SCRIPTS, source_file: Some(file!()), ..ProptestConfig::default() };
    let scripts = prop::collection::vec(any::<u8>(), 0..1_200);
    let outcome = TestRunner::new(config).run(&scripts, |script| {
        let tally = attacked::play(&script);
        total.lock().expect("only sound scripts get here").add(&tally);
        Ok(())
    });
    outcome.expect("no script breaks a store");
    let total = total.into_inner().expect("only sound scripts get here");
    println!("{total:?}");
    assert!(!total.seen().contains(&0), "the scripts are blind: {total:?}");
}

/// Without its leader's word nobody knows what others need.
#[test]
fn a_refused_message_shortens_no_log() {
    let mut store = Store::following(300);
    let truncated = |store: &Store| store.known_data().group.truncated().index;
    let begin = truncated(&store);
    store.hear(MessageKind::Heartbeat, 0, Index(u64::MAX), |_| {});
    assert_eq!(truncated(&store), begin, "a message of no term");
    store.hear(MessageKind::Heartbeat, 6, Index(290), |_| {});
    assert_eq!(truncated(&store), Index(290));
}
