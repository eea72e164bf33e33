//! A store that lacks what nobody has in the log any more is sent a snapshot: real stores in one process, whose
//! connections are cut, and which are killed while a snapshot travels.
//!
//! The simulator proves in virtual time that no order of events breaks a rule; these tests prove that real disks, threads
//! and connections are wired to the same rules.

mod common;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    eventually,
    in_process::{Cluster, data_of},
};
use flotilla_base::ByteSize;
use flotilla_client::{Bytes, Client};
use flotilla_raftgroup::{LogBound, LogLimits};
use flotilla_store::StoreConfig;

/// The store that is cut off.
const BEHIND: usize = 2;
const INSTALLING: &str = "flotilla_snapshots_installing";
const INSTALLED: &str = "flotilla_snapshot_install_seconds_count";
const SENT: &str = "flotilla_snapshots_total{type=\"sent\"}";
const RECEIVED: &str = "flotilla_snapshots_total{type=\"received\"}";
const RECEIVED_BYTES: &str = "flotilla_snapshot_bytes_total{type=\"received\"}";
const SENT_BYTES: &str = "flotilla_snapshot_bytes_total{type=\"sent\"}";

/// Logs so short that whoever is away for two gates needs a snapshot.
fn short_logs(config: &mut StoreConfig) {
    config.limits.log = LogLimits {
        silent: LogBound { entries: 10, bytes: 1 << 20 },
        slow: LogBound { entries: 1_000, bytes: 64 << 20 },
        silent_after_gates: 2,
        worth_entries: 1,
        ..LogLimits::default()
    };
}

/// And snapshots that take seconds.
fn slow(config: &mut StoreConfig) {
    short_logs(config);
    config.limits.snapshot_rate = ByteSize::mib(1);
}

fn user(number: u64) -> Bytes {
    format!("user:{number:06}").into()
}

fn value_of(turn: u64, number: u64, bytes: usize) -> Bytes {
    let text = format!("{turn}-{number}-");
    text.bytes().cycle().take(bytes).collect()
}

impl Cluster {
    /// Nothing passes from or to the store that is to fall behind.
    fn cut_off(&self) {
        let filter = |_, _, _: &_| false;
        self.stores[BEHIND].peers().set_filter(Some(Arc::new(filter)));
    }

    fn let_back(&self) {
        self.stores[BEHIND].peers().set_filter(None);
    }

    /// Writes some keys anew and removes others, while a store is away for so long that its lack is given up.
    fn change_behind_its_back(&self, client: &Client, turn: u64, keys: u64, bytes: usize) {
        let (raw, begin) = (client.raw(), Instant::now());
        // Longer than the silence after which the log is shortened.
        let length = Duration::from_secs(4);
        self.runtime.block_on(async {
            for number in (0..keys).filter(|number| number % 3 == turn % 3) {
                raw.put(user(number), value_of(turn, number, bytes)).await.expect("written");
            }
            for number in (0..keys).filter(|number| number % 7 == turn % 7) {
                raw.delete(user(number)).await.expect("removed");
            }
            let mut count = 0;
            while begin.elapsed() < length {
                raw.put("busy", count.to_string()).await.expect("written");
                count += 1;
            }
        });
    }

    /// Waits until the store at this position has applied all that was acknowledged.
    fn until_caught_up(&self, position: usize) {
        // The usual region and the guard.
        let is_caught_up =
            || self.stores[position].router().regions().len() == 2 && self.has_caught_up(position);
        eventually("the store has caught up", is_caught_up);
    }

    /// Stops all stores, and compares what each of them has on disk.
    fn stop_and_compare(self) {
        for position in 0..3 {
            self.until_caught_up(position);
        }
        let paths: Vec<_> =
            (1..=3).map(|number| self.sandbox.path().join(format!("store-{number}"))).collect();
        let sandbox = self.stop();
        let data: Vec<_> = paths.iter().map(|path| data_of(path)).collect();
        assert!(data[0].len() > 100, "{} keys", data[0].len());
        assert!(data[0] == data[1] && data[1] == data[2], "three equal replicas");
        for path in paths {
            let staged = std::fs::read_dir(path.join("snap")).expect("listed").count();
            assert_eq!(staged, 0, "nothing is left over in {}", path.display());
        }
        drop(sandbox);
    }
}

fn fill(cluster: &Cluster, client: &Client, keys: u64, bytes: usize) {
    let raw = client.raw();
    cluster.runtime.block_on(async {
        for number in 0..keys {
            raw.put(user(number), value_of(0, number, bytes)).await.expect("written");
        }
    });
}

/// Small data travels and is kept as blocks, large data as tables.
#[test]
fn a_store_that_was_away_for_long_is_sent_a_snapshot() {
    for (keys, bytes) in [(200, 100), (300, 20_000)] {
        let cluster = Cluster::start(short_logs);
        let client = cluster.client();
        fill(&cluster, &client, keys, bytes);
        cluster.until_caught_up(BEHIND);
        cluster.cut_off();
        cluster.change_behind_its_back(&client, 1, keys, bytes);
        assert_eq!(cluster.figure(BEHIND, RECEIVED), 0, "nothing passes");
        cluster.let_back();
        eventually("a snapshot", || cluster.figure(BEHIND, RECEIVED) > 0);
        cluster.until_caught_up(BEHIND);
        eventually("a word of it", || (0..2).any(|position| cluster.figure(position, SENT) > 0));
        // It goes on by log.
        let raw = client.raw();
        cluster.runtime.block_on(raw.put("last", "value")).expect("written");
        cluster.stop_and_compare();
    }
}

/// A cluster in which a store was away and is back, and in which snapshots take long.
fn with_a_snapshot_on_its_way() -> Cluster {
    let cluster = Cluster::start(slow);
    let client = cluster.client();
    fill(&cluster, &client, 300, 20_000);
    cluster.until_caught_up(BEHIND);
    cluster.cut_off();
    cluster.change_behind_its_back(&client, 1, 300, 20_000);
    cluster.let_back();
    cluster
}

#[test]
fn a_receiver_that_dies_on_the_way_begins_again() {
    let mut cluster = with_a_snapshot_on_its_way();
    eventually("a part of a snapshot", || cluster.figure(BEHIND, RECEIVED_BYTES) > 0);
    assert_eq!(cluster.figure(BEHIND, RECEIVED), 0, "only a part");
    cluster.kill_and_start(BEHIND, slow);
    eventually("a whole one", || cluster.figure(BEHIND, RECEIVED) > 0);
    cluster.stop_and_compare();
}

/// Behind the batch that says so, and before the one that says that it is over: the old data is gone, or a part of it, and
/// all that is new lies in the stage.
#[test]
fn a_store_that_dies_while_it_installs_goes_on_with_it() {
    let mut cluster = Cluster::start(short_logs);
    let client = cluster.client();
    let (keys, bytes) = (300, 200_000);
    fill(&cluster, &client, keys, bytes);
    // A disk may be so quick that the install is over before the store is dead: then it says so, and it is tried again.
    let goes_on = (1..=5).any(|turn| {
        cluster.until_caught_up(BEHIND);
        let before = cluster.figure(BEHIND, INSTALLED);
        cluster.cut_off();
        cluster.change_behind_its_back(&client, turn, keys, bytes);
        cluster.let_back();
        eventually("an install", || {
            cluster.figure(BEHIND, INSTALLING) > 0 || cluster.figure(BEHIND, INSTALLED) > before
        });
        cluster.kill_and_start(BEHIND, short_logs);
        cluster.until_caught_up(BEHIND);
        // This run installed what an earlier one had received.
        let (received, installed) =
            (cluster.figure(BEHIND, RECEIVED), cluster.figure(BEHIND, INSTALLED));
        (received, installed) == (0, 1)
    });
    assert!(goes_on, "no install was interrupted");
    cluster.stop_and_compare();
}

#[test]
fn a_sender_that_dies_on_the_way_is_replaced() {
    let mut cluster = with_a_snapshot_on_its_way();
    let sends =
        |cluster: &Cluster| (0..2).find(|position| cluster.figure(*position, SENT_BYTES) > 1 << 20);
    eventually("a part of a snapshot", || sends(&cluster).is_some());
    let sender = sends(&cluster).expect("it was there");
    assert_eq!(cluster.figure(BEHIND, RECEIVED), 0, "only a part");
    cluster.kill_and_start(sender, slow);
    eventually("a whole one", || cluster.figure(BEHIND, RECEIVED) > 0);
    cluster.stop_and_compare();
}
