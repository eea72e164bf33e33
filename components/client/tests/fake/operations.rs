//! The operations themselves, over several regions, against a map.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    time::{Duration, Instant},
};

use crate::cluster::Fake;
use bytes::Bytes;
use flotilla_base::{RegionId, StoreId};
use flotilla_client::{
    Client, Contact, ErrorKind, KeyRange, KeyValue, RawKv, ReadFrom, Scan, StoreState,
};
use flotilla_proto::cluster;

fn is_send<T: Send>(value: T) -> T {
    value
}

/// Keys `00` to `99`, three regions and the guard.
async fn filled() -> (Fake, Client, BTreeMap<Bytes, Bytes>) {
    let fake = Fake::start();
    fake.split(&["30", "55"]);
    let client = fake.client().await;
    let model: BTreeMap<Bytes, Bytes> =
        (0..100).map(|n| (format!("{n:02}").into(), format!("value {n}").into())).collect();
    client.raw().batch_put(model.clone()).await.expect("the fake serves");
    (fake, client, model)
}

fn expected(
    model: &BTreeMap<Bytes, Bytes>,
    range: &KeyRange,
    is_reverse: bool,
    limit: usize,
) -> Vec<KeyValue> {
    let inside = model.iter().filter(|(key, _)| range.contains(key));
    let pair = |(key, value): (&Bytes, &Bytes)| KeyValue { key: key.clone(), value: value.clone() };
    let mut pairs: Vec<KeyValue> = inside.map(pair).collect();
    if is_reverse {
        pairs.reverse();
    }
    pairs.truncate(limit);
    pairs
}

#[tokio::test]
async fn single_keys() {
    let fake = Fake::start();
    let raw = fake.client().await.raw();
    assert_eq!(is_send(raw.get("k")).await.unwrap(), None);
    is_send(raw.put("k", "v")).await.unwrap();
    assert_eq!(raw.get("k").await.unwrap().as_deref(), Some(b"v".as_slice()));
    raw.put("", "the empty key").await.unwrap();
    raw.put("empty", "").await.unwrap();
    assert_eq!(raw.get("").await.unwrap().as_deref(), Some(b"the empty key".as_slice()));
    assert_eq!(raw.get("empty").await.unwrap().as_deref(), Some(b"".as_slice()));
    is_send(raw.delete("k")).await.unwrap();
    assert_eq!(raw.get("k").await.unwrap(), None);
}

#[tokio::test]
async fn batches_across_regions() {
    let (fake, client, mut model) = filled().await;
    let raw: RawKv = client.raw();
    assert_eq!(fake.world().data, model);
    let keys = ["99", "nothing", "00", "42", "00"];
    let values = is_send(raw.batch_get(keys)).await.unwrap();
    let same = keys.map(|key| model.get(key.as_bytes()).cloned());
    assert_eq!(values, same, "in the order asked for");
    raw.batch_put([("42", "first"), ("42", "last")]).await.unwrap();
    assert_eq!(raw.get("42").await.unwrap().as_deref(), Some(b"last".as_slice()));
    is_send(raw.batch_delete(["42", "00", "99", "nothing"])).await.unwrap();
    for key in ["42", "00", "99"] {
        model.remove(key.as_bytes());
    }
    assert_eq!(fake.world().data, model);
    assert_eq!(raw.batch_get(Vec::<Bytes>::new()).await.unwrap(), []);
    raw.batch_put(Vec::<(Bytes, Bytes)>::new()).await.unwrap();
}

#[tokio::test]
async fn reads_from_any_replica_go_round() {
    let (fake, client, model) = filled().await;
    let asked = || {
        let world = std::mem::take(&mut fake.world().asked_at);
        [1, 2, 3].map(|store| world.get(&store).copied().unwrap_or_default())
    };
    asked();
    let anywhere = client.raw().with_read_from(ReadFrom::AnyReplica);
    let here = anywhere.with_read_from(ReadFrom::Leader);
    for _ in 0..30 {
        assert_eq!(anywhere.get("42").await.unwrap(), model.get("42".as_bytes()).cloned());
    }
    assert_eq!(asked(), [10, 10, 10]);
    here.get("42").await.unwrap();
    anywhere.put("42", "new").await.unwrap();
    assert_eq!(asked(), [2, 0, 0], "the leader writes, and reads where nothing else is wanted");
    let keys = ["99", "00", "40"];
    let values = anywhere.batch_get(keys).await.unwrap();
    assert_eq!(values, keys.map(|key| model.get(key.as_bytes()).cloned()));
    assert_eq!(asked(), [1, 1, 1], "three regions");
    let pairs = anywhere.scan(KeyRange::new("00", "42")).page(7).collect().await.unwrap();
    assert_eq!(pairs.len(), 42);
    let [first, second, third] = asked();
    assert!(first.min(second).min(third) >= 2, "{first} {second} {third}");
    assert_eq!(client.stats().all_retries().map(|(_cause, count)| count).sum::<u64>(), 0);
    assert_eq!(anywhere.get("42").await.unwrap().as_deref(), Some(b"new".as_slice()));
}

#[tokio::test]
async fn a_batch_survives_a_split_under_way() {
    let (fake, client, model) = filled().await;
    fake.split(&["10", "31", "54", "80"]);
    fake.lead(2);
    client.raw().batch_put(model.clone()).await.unwrap();
    let values = client.raw().batch_get(model.keys().cloned()).await.unwrap();
    assert_eq!(values, model.into_values().map(Some).collect::<Vec<_>>());
}

#[tokio::test]
async fn scans_in_both_directions() {
    let (_fake, client, model) = filled().await;
    let raw = client.raw();
    let ranges =
        [("", ""), ("30", "55"), ("29", "56"), ("", "30"), ("55", ""), ("7", "3"), ("5", "5")];
    for (start, end) in ranges {
        let range = KeyRange::new(start, end);
        for is_reverse in [false, true] {
            for (page, limit) in [(1, usize::MAX), (7, usize::MAX), (25, 26), (1_000, 0), (3, 3)] {
                let mut scan: Scan = raw.scan(range.clone()).page(page).limit(limit as u64);
                if is_reverse {
                    scan = scan.reverse();
                }
                let pairs = is_send(scan.collect()).await.unwrap();
                let expected = expected(&model, &range, is_reverse, limit);
                assert_eq!(pairs, expected, "{range} {is_reverse} {page} {limit}");
            }
        }
    }
    let mut keys = raw.scan(KeyRange::all()).key_only();
    let first = keys.next().await.unwrap().unwrap();
    assert_eq!(first, KeyValue { key: "00".into(), value: Bytes::new() });
    assert_eq!(raw.scan(KeyRange::new("3", "5")).count().await.unwrap(), 20);
}

#[tokio::test]
async fn a_scan_goes_on_through_a_split_and_an_election() {
    for is_reverse in [false, true] {
        let (fake, client, model) = filled().await;
        let scan = client.raw().scan(KeyRange::all()).page(4);
        let mut scan = if is_reverse { scan.reverse() } else { scan };
        let mut seen = Vec::new();
        while let Some(page) = scan.next_page().await.unwrap() {
            seen.extend(page);
            match seen.len() {
                4 => fake.split(&["15", "31", "70"]),
                40 => fake.lead(2),
                60 => fake.split(&["50"]),
                _ => {}
            }
        }
        assert_eq!(seen, expected(&model, &KeyRange::all(), is_reverse, usize::MAX));
    }
}

#[tokio::test]
async fn a_scan_of_the_empty_key_ends() {
    let fake = Fake::start();
    let raw = fake.client().await.raw();
    raw.put("", "").await.unwrap();
    raw.put("a", "").await.unwrap();
    for page in [1, 2, 3] {
        let pairs = raw.scan(KeyRange::all()).reverse().page(page).collect().await.unwrap();
        let keys: Vec<&[u8]> = pairs.iter().map(|pair| pair.key.as_ref()).collect();
        assert_eq!(keys, [b"a".as_slice(), b""]);
    }
}

#[tokio::test]
async fn pages_shrink_to_what_can_be_taken_in() {
    let fake = Fake::start();
    let value = Bytes::from(vec![7; 3 << 19]);
    for n in 0..60 {
        fake.world().data.insert(format!("{n:02}").into(), value.clone());
    }
    let mut scan = fake.client().await.raw().scan(KeyRange::all());
    let mut count = 0;
    while let Some(pair) = scan.next().await.unwrap() {
        assert_eq!(pair.value, value);
        count += 1;
    }
    assert_eq!(count, 60);
    let keys = (0..60).map(|n| format!("{n:02}"));
    let values = fake.client().await.raw().batch_get(keys).await.unwrap();
    assert!(values.iter().all(|found| found.as_ref() == Some(&value)));
}

#[tokio::test]
async fn ranges_are_deleted_across_regions() {
    let (fake, client, mut model) = filled().await;
    let raw = client.raw();
    for (start, end) in [("25", "60"), ("7", "7"), ("9", "8"), ("95", "")] {
        let range = KeyRange::new(start, end);
        is_send(raw.delete_range(range.clone())).await.unwrap();
        model.retain(|key, _| !range.contains(key));
        assert_eq!(fake.world().data, model, "{range}");
    }
    raw.delete_range(KeyRange::all()).await.unwrap();
    assert!(fake.world().data.is_empty());
}

#[tokio::test]
async fn the_cluster_is_shown() {
    let (fake, client, _model) = filled().await;
    let admin = client.admin();
    let members = admin.members().await.unwrap();
    assert_eq!((members.members.len(), members.leader), (1, Some(77)));
    assert!(admin.is_bootstrapped().await.unwrap());
    let stores = admin.stores().await.unwrap();
    let shown: Vec<_> = stores.iter().map(|store| (store.id.get(), store.state)).collect();
    assert_eq!(shown, [(1, StoreState::Up), (2, StoreState::Up), (3, StoreState::Up)]);
    assert_eq!(stores[0].report.regions, 2);
    let regions = admin.regions(KeyRange::all(), usize::MAX).await.unwrap();
    let told: Vec<_> = regions.into_iter().map(|info| info.region).collect();
    let held: Vec<_> = fake.world().regions.iter().map(|(region, _)| region.clone()).collect();
    assert_eq!(told, held, "page after page");
    assert_eq!(admin.regions(KeyRange::new("40", "41"), 9).await.unwrap().len(), 1);
    assert_eq!(admin.regions(KeyRange::all(), 3).await.unwrap().len(), 3);
    assert_eq!(is_send(admin.tso()).await.unwrap().physical_millis, 1_000);
}

#[tokio::test]
async fn health_is_told_where_the_placement_driver_knows_the_question() {
    let fake = Fake::start();
    let client = fake.client().await;
    let admin = client.admin();
    assert_eq!(admin.health().await.unwrap(), None);
    let store = |store_id, contact| cluster::StoreHealth { store_id, contact };
    fake.world().health = Some(cluster::HealthResponse {
        cluster_id: 1,
        stores: (1..=4).map(|id| store(id, id as i32)).chain([store(5, 99)]).collect(),
        silent_regions: vec![7],
        max_replicas: 3,
        start_up: None,
    });
    let health = is_send(admin.health()).await.unwrap().expect("told");
    let contacts: Vec<Contact> = health.stores.into_values().collect();
    // The last one is a word that this version does not know.
    let [up, unheard] = [Contact::Up, Contact::Unheard];
    assert_eq!(contacts, [up, unheard, Contact::Disconnected, Contact::Down, unheard]);
    assert!(health.silent_regions.into_iter().eq([RegionId(7)]));
    assert_eq!((health.max_replicas, health.start_up), (3, None));
    let (id, address) = (5, "store-5".to_owned());
    let stores = vec![flotilla_proto::metapb::Store { id, address, ..Default::default() }];
    let start_up = Some(cluster::StartUp { stores });
    fake.world().health = Some(cluster::HealthResponse { start_up, ..Default::default() });
    let waiting = admin.health().await.unwrap().and_then(|health| health.start_up);
    let waiting = waiting.expect("it has no regions yet");
    assert_eq!((waiting.len(), waiting[0].address.as_str()), (1, "store-5"));
}

#[tokio::test]
async fn a_store_that_nobody_knows_is_no_matter_of_patience() {
    let fake = Fake::start();
    let admin = fake.client().await.admin();
    is_send(admin.remove_store(StoreId(2))).await.expect("it is known");
    let refused = admin.remove_store(StoreId(9)).await.expect_err("it is not known");
    assert_eq!((refused.kind(), refused.attempts()), (ErrorKind::Refused, 1), "{refused}");
    assert!(refused.why().contains("invalid store ID 9"), "{refused}");
}

/// One store serves, one is dead, and at the address of the third the system takes connections that nobody looks at, as
/// for a process that is stopped.
#[tokio::test]
async fn stores_that_say_nothing_are_found_at_once() {
    let fake = Fake::start();
    let admin = fake.client().await.admin();
    let patience = Duration::from_secs(20);
    let all = admin.stores().await.unwrap();
    assert!(is_send(admin.silent_stores(&all, patience)).await.is_empty());
    fake.kill(2).await;
    let host = fake.endpoint().replace(":2379", ":20169");
    let frozen = TcpListener::bind(&host).expect("the address is the test's own");
    fake.world().addresses.insert(3, host);
    let all = admin.stores().await.unwrap();
    let started = Instant::now();
    let silent = admin.silent_stores(&all, Duration::from_secs(1)).await;
    assert_eq!(silent.into_iter().collect::<Vec<_>>(), [StoreId(2), StoreId(3)]);
    assert!(started.elapsed() < patience, "each has its own second, all at once");
    drop(frozen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_share_one_client() {
    let fake = Fake::start();
    let client = fake.client().await;
    let writers = (0..32).map(|writer| {
        let raw = client.raw();
        tokio::spawn(async move {
            for n in 0..20 {
                raw.put(format!("{writer:02}-{n:02}"), "v").await.unwrap();
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    fake.split(&["10"]);
    fake.lead(2);
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(fake.world().data.len(), 640);
    assert_eq!(client.stats().calls(), 640);
}
