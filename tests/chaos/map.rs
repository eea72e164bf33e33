//! What disks hold is what the placement driver's map says: each key, and each record of raft, on the stores of its
//! region and nowhere else, and the same bytes on all of them.
//!
//! It is looked at once all has come to rest, behind the last fault.

use std::{
    collections::BTreeSet,
    ops::Bound,
    thread,
    time::{Duration, Instant},
};

use flotilla_base::{Family, Peer, PeerRole, Region, StoreId};
use flotilla_client::{Bytes, Client, KeyRange, RegionInfo, StoreInfo};

use crate::{
    arena::Arena,
    churn,
    common::{
        LIVENESS,
        in_process::{Pairs, families_of},
        metric,
    },
    pinned,
};

/// What each question may take.
const DEADLINE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(100);
/// Peers of each region.
const VOTERS: usize = 3;

/// Kinds of records in `raftmeta`, as `docs/formats.md` lists them, that may be about a region without a peer here.
const BOOTSTRAPPED: u8 = 0x01;
const TOMBSTONE: u8 = 0x15;

/// What a store has on its disk.
#[derive(Debug)]
struct Disk {
    store: StoreId,
    data: Pairs,
    log: Pairs,
    meta: Pairs,
}

/// Waits until nothing changes any more, stops all stores, and compares what they have.
///
/// # Errors
/// What does not come to rest, or what is not as it must be.
pub(crate) fn settle_and_compare(arena: &mut Arena) -> Result<(), String> {
    let client = arena.runtime.block_on(arena.cluster.client(DEADLINE));
    let regions = settle(arena, &client)?;
    arena.runtime.block_on(churn::read_filling_back(&client))?;
    let stores = stores(arena, &client)?;
    arena.cluster.stop_stores();
    let disk = |(position, info): &(usize, StoreInfo)| {
        let families = [Family::Raw, Family::RaftLog, Family::RaftMeta];
        let [data, log, meta] = families_of(&arena.cluster.place(*position).data, families);
        Disk { store: info.id, data, log, meta }
    };
    let disks: Vec<Disk> = stores.iter().map(disk).collect();
    let keys: usize = disks.iter().map(|disk| disk.data.len()).sum();
    arena.note(&format!("at rest: {} regions, {keys} keys on all disks", regions.len()));
    compare(&disks, &regions.into_iter().map(|info| info.region).collect::<Vec<_>>())
}

fn stores(arena: &Arena, client: &Client) -> Result<Vec<(usize, StoreInfo)>, String> {
    let stores = arena.runtime.block_on(client.admin().stores());
    let stores = stores.map_err(|error| error.to_string())?;
    let place = |info: StoreInfo| {
        let mut positions = arena.cluster.stores();
        let is_it = |it: &usize| arena.cluster.store_address(*it) == info.address;
        (positions.find(is_it).expect("it is one of ours"), info)
    };
    Ok(stores.into_iter().map(place).collect())
}

/// Waits until each region has its voters and nobody else, and all of them have applied what was acknowledged.
fn settle(arena: &Arena, client: &Client) -> Result<Vec<RegionInfo>, String> {
    let begin = Instant::now();
    loop {
        let unsettled = match look(arena, client) {
            Ok(regions) => return Ok(regions),
            Err(why) => why,
        };
        if begin.elapsed() > LIVENESS {
            return Err(format!("no rest within {LIVENESS:?}: {unsettled}"));
        }
        thread::sleep(LOOK);
    }
}

/// The regions; or why there is no rest yet.
fn look(arena: &Arena, client: &Client) -> Result<Vec<RegionInfo>, String> {
    let admin = client.admin();
    let regions = arena.runtime.block_on(admin.regions(KeyRange::all(), usize::MAX));
    let regions = regions.map_err(|error| error.to_string())?;
    let operators = arena.runtime.block_on(admin.operators()).map_err(|error| error.to_string())?;
    let running = operators.running.first();
    running.map_or(Ok(()), |it| Err(format!("region {}: {}", it.region, it.brief)))?;
    let mut border = Bytes::new();
    for info in &regions {
        let Region { id, range, .. } = &info.region;
        ensure(range.start == border, || format!("region {id} begins where no other one ends"))?;
        ensure(info.leader.is_some(), || format!("region {id} has no leader"))?;
        border = range.end.clone();
    }
    ensure(border.is_empty() && !regions.is_empty(), || "the map ends too early".to_owned())?;
    let stores = stores(arena, client)?;
    regions.iter().try_for_each(is_whole)?;
    for (position, info) in &stores {
        let is_here = |it: &&RegionInfo| it.region.peer_on(info.id).is_some();
        let here = u64::try_from(regions.iter().filter(is_here).count()).expect("small");
        let found = metric(&arena.cluster.status_address(*position), "flotilla_regions ");
        let otherwise = || format!("store {}: {found:?} regions, not {here}", info.id);
        ensure(found == Some(here), otherwise)?;
    }
    let stores: Vec<StoreInfo> = stores.into_iter().map(|(_, info)| info).collect();
    // Nobody may write into the guard region, nor read there.
    for info in regions.iter().filter(|info| !info.region.is_guard()) {
        arena.runtime.block_on(has_caught_up(&stores, info))?;
    }
    Ok(regions)
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// Whether a region has the voters that it should have, and nobody else: the placement driver sees to that, whatever it had
/// begun when it was killed.
fn is_whole(info: &RegionInfo) -> Result<(), String> {
    let peers = &info.region.peers;
    let is_voter = |peer: &Peer| peer.role == PeerRole::Voter;
    let is_whole = peers.len() == VOTERS && peers.iter().all(is_voter);
    ensure(is_whole, || format!("region {} has {peers:?}", info.region.id))
}

async fn has_caught_up(stores: &[StoreInfo], info: &RegionInfo) -> Result<(), String> {
    let start = info.region.range.start.clone();
    // No key is empty.
    let key = if start.is_empty() { Bytes::from_static(b"\0") } else { start };
    for target in pinned::peers(stores, info, key) {
        if !target.serves().await {
            return Err(format!("region {}: a peer does not serve: {target:?}", info.region.id));
        }
    }
    Ok(())
}

fn compare(disks: &[Disk], regions: &[Region]) -> Result<(), String> {
    let strays = disks.iter().map(|disk| disk.has_no_stray(regions));
    let all = strays.chain(regions.iter().map(|region| are_equal(disks, region)));
    let wrong: Vec<String> = all.filter_map(Result::err).collect();
    ensure(wrong.is_empty(), || wrong.join("\n"))
}

impl Disk {
    /// Whether all that is here is of regions with a peer here.
    fn has_no_stray(&self, regions: &[Region]) -> Result<(), String> {
        let here: Vec<&Region> =
            regions.iter().filter(|region| region.peer_on(self.store).is_some()).collect();
        let owns = |key: &Vec<u8>| here.iter().any(|region| region.range.contains(key));
        let ids: BTreeSet<Vec<u8>> =
            here.iter().map(|it| it.id.get().to_be_bytes().to_vec()).collect();
        let is_entry = |key: &Vec<u8>| ids.contains(&key[..8]);
        let is_record =
            |key: &Vec<u8>| [BOOTSTRAPPED, TOMBSTONE].contains(&key[0]) || ids.contains(&key[1..9]);
        self.none("keys", self.data.keys().filter(|key| !owns(key)))?;
        self.none("entries", self.log.keys().filter(|key| !is_entry(key)))?;
        self.none("records", self.meta.keys().filter(|key| !is_record(key)))
    }

    fn none<'a>(&self, what: &str, stray: impl Iterator<Item = &'a Vec<u8>>) -> Result<(), String> {
        let (stray, store) = (stray.collect::<Vec<_>>(), self.store);
        let first = stray.first().map(|key| key.escape_ascii().to_string()).unwrap_or_default();
        let count = stray.len();
        let otherwise =
            || format!("store {store} has {count} {what} of regions that are not there: {first}");
        ensure(count == 0, otherwise)
    }
}

fn are_equal(disks: &[Disk], region: &Region) -> Result<(), String> {
    let mut here = disks.iter().filter(|disk| region.peer_on(disk.store).is_some());
    let Some(first) = here.next() else {
        return Err(format!("region {} is nowhere", region.id));
    };
    for other in here {
        let key = first_difference(part(&first.data, region), part(&other.data, region));
        let shown = key.map(|key| key.escape_ascii().to_string());
        let (id, first, other) = (region.id, first.store, other.store);
        let otherwise = || format!("region {id}: stores {first} and {other} differ: {shown:?}");
        ensure(key.is_none(), otherwise)?;
    }
    Ok(())
}

/// The first key of which two replicas, both in the order of keys, do not have the same bytes.
fn first_difference<'a>(
    mut first: impl Iterator<Item = Pair<'a>>,
    mut other: impl Iterator<Item = Pair<'a>>,
) -> Option<&'a Vec<u8>> {
    loop {
        match (first.next(), other.next()) {
            (None, None) => return None,
            (first, other) if first == other => {}
            (first, other) => return first.into_iter().chain(other).map(|(key, _)| key).min(),
        }
    }
}

/// A key and its value.
type Pair<'a> = (&'a Vec<u8>, &'a Vec<u8>);

fn part<'a>(data: &'a Pairs, region: &Region) -> impl Iterator<Item = Pair<'a>> {
    let start = Bound::Included(region.range.start.to_vec());
    let end = match &region.range.end {
        end if end.is_empty() => Bound::Unbounded,
        end => Bound::Excluded(end.to_vec()),
    };
    data.range((start, end))
}

#[cfg(test)]
mod tests {
    use flotilla_base::{Epoch, PeerId, RegionId};

    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Pairs {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    /// A store with a part of region 2, `["b", "d")`, and with something beside it.
    fn disk(store: u64, data: &[(&str, &str)]) -> Disk {
        let (store, data) = (StoreId(store), pairs(data));
        Disk { store, data, log: Pairs::new(), meta: Pairs::new() }
    }

    fn region() -> Region {
        let peers = [1, 2, 3].map(|store| Peer::voter(PeerId(20 + store), StoreId(store)));
        let range = KeyRange::new("b", "d");
        Region { id: RegionId(2), range, epoch: Epoch::FIRST, peers: peers.to_vec() }
    }

    #[test]
    fn replicas_that_differ_in_one_byte_are_told() {
        let sound = [("b", "1"), ("bb", "2"), ("c", "3")];
        let beside = [("a", "x"), ("b", "1"), ("bb", "2"), ("c", "3"), ("d", "y")];
        let judged = |third: &[(&str, &str)]| {
            // Store 4 has no peer of the region.
            let disks = [disk(1, &sound), disk(2, &beside), disk(3, third), disk(4, &[])];
            are_equal(&disks, &region())
        };
        assert_eq!(judged(&sound), Ok(()));
        let wrong: [(&[(&str, &str)], &str); 5] = [
            (&[("b", "1"), ("bb", "2"), ("c", "2")], "c"),
            (&[("b", "1"), ("bc", "2"), ("c", "3")], "bb"),
            (&[("b", "1"), ("bb", "2")], "c"),
            (&[("b", "1"), ("ba", ""), ("bb", "2"), ("c", "3")], "ba"),
            (&[], "b"),
        ];
        for (third, key) in wrong {
            let told = judged(third).expect_err("they differ");
            assert_eq!(told, format!("region 2: stores 1 and 3 differ: Some(\"{key}\")"));
        }
        assert!(are_equal(&[disk(4, &sound)], &region()).is_err(), "it is nowhere");
    }
}
