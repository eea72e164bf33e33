//! A store dies together with its directory. Another one takes its place, every region has three replicas again, and each
//! of them holds every key.

mod common;

use std::fs;

use common::{
    eventually,
    in_process::{Cluster, data_of},
};
use flotilla_base::{PeerRole, StoreId};
use flotilla_client::{Admin, Bytes, KeyRange, RegionInfo, admin::StoreState};

const KEYS: u64 = 2_000;
/// The store that dies, and the one that is new.
const LOST: usize = 2;
const NEW: usize = 3;
/// How many regions sleep on a store.
const ASLEEP: &str = "flotilla_regions_asleep";

fn user(number: u64) -> Bytes {
    format!("user:{number:06}").into()
}

impl Cluster {
    /// Keys in some regions.
    fn fill(&self, admin: &Admin) {
        let raw = self.client().raw();
        self.runtime.block_on(async {
            for first in (0..KEYS).step_by(500) {
                let pairs = (first..first + 500).map(|number| (user(number), user(number + 1)));
                raw.batch_put(pairs).await.expect("pairs are written");
            }
            admin.split((1..10).map(|tenth| user(tenth * KEYS / 10))).await.expect("a split");
        });
    }

    /// What the placement driver says to a removal.
    fn remove(&self, admin: &Admin, store: StoreId) -> Result<(), String> {
        self.runtime.block_on(admin.remove_store(store)).map_err(|refused| refused.to_string())
    }

    fn state_of(&self, admin: &Admin, store: StoreId) -> StoreState {
        let stores = self.runtime.block_on(admin.stores()).expect("an answer");
        stores.iter().find(|known| known.id == store).expect("it is known").state
    }
}

#[test]
fn a_store_that_lost_its_disk_is_replaced() {
    let mut cluster = Cluster::start(|_config| {});
    let client = cluster.client();
    let admin = client.admin();
    cluster.fill(&admin);
    let lost = cluster.stores[LOST].router().store_id();
    let refused = cluster.remove(&admin, lost).expect_err("it is up");
    assert!(refused.contains("is up"), "{refused}");
    cluster.stores.remove(LOST).kill();
    let path = |position: usize| cluster.sandbox.path().join(format!("store-{}", position + 1));
    let paths: Vec<_> = (0..=NEW).map(path).collect();
    fs::remove_dir_all(&paths[LOST]).expect("its disk is gone");
    // Three of three: nobody could take its replicas.
    eventually("a refusal that says what to do", || {
        let refused = cluster.remove(&admin, lost).expect_err("two stores are left");
        refused.contains("Start a new store first, at another address")
    });
    cluster.start_at(NEW, |_config| {});
    eventually("the removal is taken", || cluster.remove(&admin, lost).is_ok());
    assert_eq!(cluster.state_of(&admin, lost), StoreState::Offline);

    eventually("a tombstone", || cluster.state_of(&admin, lost) == StoreState::Tombstone);
    let regions = cluster.runtime.block_on(admin.regions(KeyRange::all(), usize::MAX));
    let regions = regions.expect("regions are known");
    let live: Vec<StoreId> = cluster.stores.iter().map(|it| it.router().store_id()).collect();
    let is_whole = |info: &RegionInfo| {
        let peers = &info.region.peers;
        let is_sound = |store: &StoreId| {
            info.region.peer_on(*store).is_some_and(|it| it.role == PeerRole::Voter)
        };
        peers.len() == 3 && live.iter().all(is_sound)
    };
    assert!(regions.len() > 10 && regions.iter().all(is_whole), "{regions:?}");

    // Nobody waits for a word of the dead store: all regions sleep.
    let all_sleep = |position: usize| {
        let count = cluster.stores[position.min(2)].router().regions().len() as u64;
        cluster.figure(position, ASLEEP) == count
    };
    eventually("all regions sleep", || [0, 1, NEW].into_iter().all(all_sleep));

    // Its address is free, for a store of another id.
    cluster.start_at(LOST, |_config| {});
    let heir = cluster.stores.last().expect("it has just started").router().store_id();
    assert!(heir != lost && cluster.state_of(&admin, heir) == StoreState::Up);
    let raw = client.raw();
    let found = cluster.runtime.block_on(raw.scan(KeyRange::all()).collect()).expect("a scan");
    assert!(found.iter().map(|pair| pair.key.clone()).eq((0..KEYS).map(user)), "every key");
    eventually("all is applied", || (0..3).all(|position| cluster.has_caught_up(position)));
    let sandbox = cluster.stop();
    let data: Vec<_> = [0, 1, NEW].map(|position| data_of(&paths[position])).into();
    assert_eq!(data[0].len() as u64, KEYS);
    assert!(data[0] == data[1] && data[1] == data[2], "three equal replicas");
    drop(sandbox);
}
