//! A store is lost for good: each of its regions has three voters on other stores again, and clients notice nothing.

use std::time::Instant;

use flotilla_base::PeerRole;

use crate::{
    arena::{Arena, Scale},
    common::say,
    spread::Spread,
};

/// The store that is lost; its neighbour is empty until then.
const LOST: &str = "store-2";

pub(crate) fn run(scale: &Scale) {
    let mut arena = Arena::start(4, scale);
    arena.load();
    let before = arena.spread();
    let traffic = arena.traffic();
    let lost = arena.store_id(LOST);
    let began = Instant::now();
    arena.kill(LOST);
    arena.remove(lost);
    arena.until("three voters elsewhere", |arena| {
        arena.regions().iter().all(|info| {
            let peers = &info.region.peers;
            peers.len() == 3
                && info.down.is_empty()
                && peers.iter().all(|peer| peer.role == PeerRole::Voter && peer.store != lost)
        })
    });
    let seconds = began.elapsed().as_secs_f64();
    let calls = traffic.finish();
    let after = arena.spread();
    assert_eq!(after.stores(), 3);
    let (moves, mebibytes) = (&arena.moves, arena.moved_bytes() >> 20);
    say(&format!("placement: lose: {} regions", arena.regions().len()));
    say(&Spread::head());
    say(&before.row("before"));
    say(&after.row("after"));
    say(&format!(
        "whole in {seconds:.1} s; {moves}; {mebibytes} MiB moved; {calls} calls, no error"
    ));
    arena.stop();
}
