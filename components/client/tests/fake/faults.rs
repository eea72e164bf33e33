//! Every way in which an attempt can fail, over real sockets: what the client makes of it, and
//! what it says of a write.

use std::time::Duration;

use crate::cluster::{Fake, Fault, PD, region};
use flotilla_client::{Applied, Cause, Client, ClientOptions, ErrorKind, KeyRange, ReadFrom};
use flotilla_proto::errorpb;

const SHORT: Duration = Duration::from_secs(1);

fn refuse(set: impl FnOnce(&mut errorpb::Error)) -> Fault {
    let mut error = errorpb::Error::default();
    set(&mut error);
    Fault::Refuse(Box::new(error))
}

fn no_leader() -> Fault {
    refuse(|error| error.not_leader = Some(errorpb::NotLeader { region_id: 2, leader: None }))
}

fn careful() -> ClientOptions {
    ClientOptions { repeat_unknown_writes: false, ..ClientOptions::default() }
}

#[tokio::test]
async fn a_new_leader_is_found_by_its_follower() {
    let fake = Fake::start();
    let client = fake.client().await;
    client.raw().put("k", "1").await.unwrap();
    fake.lead(3);
    client.raw().put("k", "2").await.unwrap();
    assert_eq!(client.stats().retries(Cause::Leader), 1, "one hint, one retry");
    assert_eq!(fake.world().writes, 2);
}

/// Three reads by turns: one of them asks store 3. How often anything was repeated.
async fn read_everywhere(client: &Client) -> u64 {
    for _ in 0..3 {
        let found = client.raw().get("k").await.expect("it answers");
        assert_eq!(found.as_deref(), Some(b"v".as_slice()));
    }
    client.stats().all_retries().map(|(_cause, count)| count).sum()
}

async fn client_of_replicas(fake: &Fake) -> Client {
    let options = ClientOptions { read_from: ReadFrom::AnyReplica, ..ClientOptions::default() };
    let client = fake.client_with(options).await;
    client.raw().put("k", "v").await.expect("it answers");
    client
}

#[tokio::test]
async fn what_a_replica_refuses_is_read_at_the_leader() {
    let fake = Fake::start();
    let client = client_of_replicas(&fake).await;
    let leads = fake.world().regions[0].0.peers[0];
    let not_leader = errorpb::NotLeader { region_id: 2, leader: Some(leads.into()) };
    let faults = [
        refuse(|error| error.read_index_not_ready = Some(<_>::default())),
        refuse(|error| error.not_leader = Some(not_leader)),
        refuse(|error| error.region_not_initialized = Some(<_>::default())),
        refuse(|error| error.region_not_found = Some(<_>::default())),
        no_leader(),
    ];
    for (count, fault) in (1..).zip(faults) {
        fake.script(3, [fault]);
        assert_eq!(read_everywhere(&client).await, count, "one repetition each");
    }
    client.raw().put("k", "w").await.unwrap();
    assert_eq!(client.stats().retries(Cause::Leader), 2, "the guess at the leader is as it was");
}

#[tokio::test]
async fn a_replica_that_is_silent_or_gone_is_left_alone() {
    for fault in [Fault::Hang, Fault::DieBefore { comes_back: false }] {
        let fake = Fake::start();
        let client = client_of_replicas(&fake).await;
        fake.script(3, [fault]);
        assert_eq!(read_everywhere(&client).await, 1);
        // It may be asked once more before it is left alone.
        assert!(read_everywhere(&client).await <= 2);
        client.raw().put("k", "w").await.unwrap();
        assert_eq!(
            client.stats().retries(Cause::Leader),
            0,
            "the guess at the leader is as it was"
        );
    }
}

#[tokio::test]
async fn an_election_is_waited_out() {
    let fake = Fake::start();
    let client = fake.client().await;
    for store in 1..=3 {
        fake.script(store, (0..4).map(|_| no_leader()));
    }
    client.raw().put("k", "1").await.unwrap();
    assert!(client.stats().retries(Cause::Leader) >= 4);
    assert_eq!(client.stats().failures(), 0);
}

#[tokio::test]
async fn an_election_longer_than_the_deadline_is_a_timeout() {
    let fake = Fake::start();
    let raw = fake.client().await.raw().with_deadline(SHORT);
    for store in 1..=3 {
        fake.script(store, (0..1_000).map(|_| no_leader()));
    }
    let error = raw.get("k").await.unwrap_err();
    assert_eq!((error.kind(), error.applied()), (ErrorKind::Timeout, Applied::No));
    assert!(error.is_retryable() && error.attempts() > 1, "{error:?}");
    assert_eq!(error.what(), "cannot get key k");
    // On a slow machine the deadline may meet a write under way. Then it is in doubt, as it must
    // be; it is never claimed to be certain. The exact case stands in the goldens of routing.
    let error = raw.put("k", "1").await.unwrap_err();
    let told = (error.kind(), error.applied());
    let honest = [(ErrorKind::Timeout, Applied::No), (ErrorKind::OutcomeUnknown, Applied::Unknown)];
    assert!(honest.contains(&told), "{error:?}");
    assert_eq!(fake.world().writes, 0);
}

#[tokio::test]
async fn a_split_is_learnt_from_the_error_alone() {
    let fake = Fake::start();
    let client = fake.client().await;
    client.raw().put("a", "1").await.unwrap();
    fake.split(&["g", "t"]);
    fake.world().asked.clear();
    for key in ["a", "h", "z"] {
        client.raw().put(key, "2").await.unwrap();
    }
    assert_eq!(client.stats().retries(Cause::Region), 1);
    assert_eq!(fake.world().asked.get("get_region"), None);
}

#[tokio::test]
async fn a_region_that_moved_is_asked_for_again() {
    let fake = Fake::start();
    let client = fake.client().await;
    client.raw().put("a", "1").await.unwrap();
    let moved = region(9, "", flotilla_base::key::guard_border(), 5);
    fake.world().regions[0] = (moved, 2);
    client.raw().put("a", "2").await.unwrap();
    assert!(client.stats().retries(Cause::Region) >= 1);
}

#[tokio::test]
async fn every_transient_error_is_repeated() {
    let fake = Fake::start();
    let client = fake.client().await;
    let transient: [fn(&mut errorpb::Error); 14] = [
        |error| error.key_not_in_region = Some(<_>::default()),
        |error| error.epoch_not_match = Some(<_>::default()),
        |error| error.server_is_busy = Some(<_>::default()),
        |error| error.stale_command = Some(<_>::default()),
        |error| error.mismatch_peer_id = Some(<_>::default()),
        |error| error.max_timestamp_not_synced = Some(<_>::default()),
        |error| error.read_index_not_ready = Some(<_>::default()),
        |error| error.proposal_in_merging_mode = Some(<_>::default()),
        |error| error.data_is_not_ready = Some(<_>::default()),
        |error| error.region_not_initialized = Some(<_>::default()),
        |error| error.disk_full = Some(<_>::default()),
        |error| error.recovery_in_progress = Some(<_>::default()),
        |error| error.region_not_found = Some(<_>::default()),
        |error| error.message = "applying a snapshot".to_owned(),
    ];
    for set in transient {
        fake.script(1, [refuse(set)]);
        client.raw().get("k").await.expect("it answers");
    }
    let repeated: u64 = client.stats().all_retries().map(|(_cause, count)| count).sum();
    assert!(repeated >= 14, "{repeated}");
}

#[tokio::test]
async fn stores_that_exchanged_addresses_are_found() {
    let fake = Fake::start();
    let client = fake.client().await;
    client.raw().put("a", "1").await.unwrap();
    fake.kill(1).await;
    fake.kill(2).await;
    {
        let mut world = fake.world();
        let (one, two) = (world.addresses[&1].clone(), world.addresses[&2].clone());
        world.addresses.insert(1, two);
        world.addresses.insert(2, one);
    }
    fake.revive(1);
    fake.revive(2);
    client.raw().put("a", "2").await.unwrap();
    assert_eq!(client.raw().get("a").await.unwrap().as_deref(), Some(b"2".as_slice()));
}

#[tokio::test]
async fn a_busy_store_is_waited_for_until_the_deadline() {
    let fake = Fake::start();
    let raw = fake.client().await.raw().with_deadline(SHORT);
    // It asks to be left alone for longer than the call may last.
    let busy = errorpb::ServerIsBusy { backoff_ms: 60_000, ..errorpb::ServerIsBusy::default() };
    fake.script(1, [refuse(|error| error.server_is_busy = Some(busy))]);
    let error = raw.put("k", "1").await.unwrap_err();
    assert_eq!((error.kind(), error.applied()), (ErrorKind::Busy, Applied::No));
}

#[tokio::test]
async fn without_stores_time_runs_out_and_nothing_is_applied() {
    let fake = Fake::start();
    let raw = fake.client().await.raw().with_deadline(SHORT);
    for store in 1..=3 {
        fake.kill(store).await;
    }
    let error = raw.put("k", "1").await.unwrap_err();
    // The placement driver answers: its address is right, and stores are what is missing.
    assert_eq!((error.kind(), error.applied()), (ErrorKind::Timeout, Applied::No));
    assert!(error.why().contains("nothing listens at"), "{error}");
}

#[tokio::test]
async fn a_dead_leader_is_replaced() {
    let fake = Fake::start();
    let client = fake.client().await;
    client.raw().put("k", "1").await.unwrap();
    fake.kill(1).await;
    fake.lead(2);
    client.raw().put("k", "2").await.unwrap();
    assert_eq!(client.raw().get("k").await.expect("it answers").as_deref(), Some(b"2".as_slice()));
}

#[tokio::test]
async fn a_write_without_an_answer_is_unknown_or_repeated() {
    for (fault, applied_first) in
        [(Fault::DieBefore { comes_back: true }, 0), (Fault::DieAfter { comes_back: true }, 1)]
    {
        let fake = Fake::start();
        let client = fake.client_with(careful()).await;
        fake.script(1, [fault.clone()]);
        let error = client.raw().put("k", "1").await.unwrap_err();
        assert_eq!((error.kind(), error.applied()), (ErrorKind::OutcomeUnknown, Applied::Unknown));
        assert_eq!((error.attempts(), fake.world().writes), (1, applied_first));
        assert_eq!(client.stats().unknown_outcomes(), 1);
        // The same with repetition: the acknowledged attempt settles the matter.
        fake.script(1, [fault]);
        client.raw().with_repeat_unknown_writes(true).put("k", "2").await.unwrap();
        assert_eq!(fake.world().writes, applied_first * 2 + 1);
    }
}

#[tokio::test]
async fn a_doubt_outlives_the_repetitions() {
    let fake = Fake::start();
    let raw = fake.client().await.raw().with_deadline(SHORT);
    for store in [2, 3] {
        fake.kill(store).await;
    }
    fake.script(1, [Fault::DieAfter { comes_back: false }]);
    let error = raw.put("k", "1").await.unwrap_err();
    assert_eq!((error.kind(), error.applied()), (ErrorKind::OutcomeUnknown, Applied::Unknown));
    assert!(error.attempts() > 1 && !error.is_retryable());
}

#[tokio::test]
async fn no_answer_before_the_deadline() {
    let fake = Fake::start();
    let raw = fake.client().await.raw().with_deadline(SHORT);
    fake.script(1, [Fault::Hang]);
    let error = raw.put("k", "1").await.unwrap_err();
    assert_eq!((error.kind(), error.applied()), (ErrorKind::OutcomeUnknown, Applied::Unknown));
    // The guess went on to store 2, which names the leader.
    fake.script(1, [Fault::Hang]);
    let error = raw.get("k").await.unwrap_err();
    assert_eq!((error.kind(), error.applied()), (ErrorKind::Timeout, Applied::No));
}

#[tokio::test]
async fn what_no_repetition_helps_ends_at_once() {
    let fake = Fake::start();
    let raw = fake.client().await.raw();
    fake.script(1, [Fault::Reject("column family x is unknown")]);
    let error = raw.put("k", "1").await.unwrap_err();
    assert_eq!((error.kind(), error.applied()), (ErrorKind::Refused, Applied::No));
    assert_eq!((error.why(), error.attempts()), ("column family x is unknown", 1));
    fake.script(1, [Fault::Reject("no")]);
    let error = raw.scan(KeyRange::all()).next().await.unwrap_err();
    assert_eq!((error.kind(), error.why()), (ErrorKind::Refused, "no"));
    fake.script(1, [refuse(|error| error.raft_entry_too_large = Some(<_>::default()))]);
    let error = raw.put("k", "1").await.unwrap_err();
    assert_eq!((error.kind(), error.applied()), (ErrorKind::TooLarge, Applied::No));
    let in_doubt = || refuse(|error| error.undetermined_result = Some(<_>::default()));
    fake.script(1, [in_doubt()]);
    let once = raw.with_repeat_unknown_writes(false);
    let error = once.put("k", "1").await.unwrap_err();
    assert_eq!((error.kind(), error.applied()), (ErrorKind::OutcomeUnknown, Applied::Unknown));
    fake.script(1, [in_doubt()]);
    raw.put("k", "1").await.expect("repeated");
    let before = fake.world().asked["raw_put"];
    let error = raw.put(vec![b'k'; 8193], "1").await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::TooLarge, 0));
    let error = raw.put("k", vec![0; (6 << 20) + 1]).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::TooLarge, 0));
    assert_eq!(fake.world().asked["raw_put"], before, "nothing was sent");
}

#[tokio::test]
async fn a_batch_that_fails_in_part_is_unknown() {
    let fake = Fake::start();
    fake.split(&["m"]);
    let raw = fake.client_with(careful()).await.raw().with_deadline(SHORT);
    let oversized = |error: &mut errorpb::Error| error.raft_entry_too_large = Some(<_>::default());
    // One region first: a batch of several leaves requests behind that would meet a later fault.
    fake.script(1, [refuse(oversized)]);
    let error = raw.batch_put([("a", "1"), ("b", "1")]).await.unwrap_err();
    assert_eq!((error.kind(), error.applied()), (ErrorKind::TooLarge, Applied::No));
    // Both regions are led by store 1; one of its two requests is refused.
    fake.script(1, [refuse(oversized)]);
    let error = raw.batch_put([("a", "1"), ("z", "1")]).await.unwrap_err();
    assert_eq!((error.kind(), error.applied()), (ErrorKind::OutcomeUnknown, Applied::Unknown));
}

#[tokio::test]
async fn a_dead_placement_driver_stops_nobody_who_knows_the_way() {
    let fake = Fake::start();
    let client = fake.client().await;
    let raw = client.raw();
    for leader in 1..=3 {
        fake.lead(leader);
        raw.put("k", "1").await.unwrap();
    }
    fake.kill(PD).await;
    // Doubts about region and address cannot be settled now, and need not be.
    fake.lead(1);
    fake.script(3, [refuse(|error| error.region_not_found = Some(<_>::default()))]);
    raw.put("k", "2").await.unwrap();
    fake.kill(1).await;
    fake.lead(2);
    raw.put("k", "3").await.unwrap();
    // A question that only the placement driver can answer waits for it, until the deadline …
    let admin = client.admin();
    let error = admin.with_deadline(SHORT).stores().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    // … or its return.
    let stores = tokio::spawn(async move { admin.stores().await });
    fake.revive(PD);
    assert_eq!(stores.await.unwrap().unwrap().len(), 3);
}

#[tokio::test]
async fn a_placement_driver_that_is_behind_does_not_turn_the_map_back() {
    let fake = Fake::start();
    let client = fake.client().await;
    client.raw().put("a", "1").await.unwrap();
    let old = fake.world().regions.clone();
    fake.split(&["g"]);
    fake.world().stale_regions = Some(old);
    client.raw().put("h", "1").await.unwrap();
    fake.script(1, [refuse(|error| error.region_not_found = Some(<_>::default()))]);
    client.raw().put("h", "2").await.unwrap();
    client.raw().put("a", "2").await.unwrap();
    // A key outside of all that stores have told needs the placement driver to catch up.
    assert_eq!(client.stats().failures(), 0);
}

#[tokio::test]
async fn connecting() {
    let options = ClientOptions { deadline: SHORT, ..ClientOptions::default() };
    let connect = async |endpoints: &[&str]| {
        Client::connect(endpoints, options.clone()).await.map(|client| client.cluster_id().get())
    };
    let (first, second) = (Fake::start_with(11), Fake::start_with(12));
    let (one, two) = (first.endpoint(), second.endpoint());
    let store = first.world().addresses[&1].clone();
    assert_eq!(connect(&[&format!("http://{one}/")]).await.unwrap(), 11);
    let error = connect(&[&one, &two]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongCluster, "{error}");
    second.kill(PD).await;
    assert_eq!(connect(&[&two, &one]).await.unwrap(), 11, "one that answers is enough");
    let error = connect(&[&two]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.why().contains("nothing listens at"), "{error}");
    let error = connect(&[&store]).await.unwrap_err();
    assert!(error.why().contains("is it a store's port?"), "{error}");
    for bad in ["localhost", "host:port", "https://h:1", ""] {
        let error = connect(&[bad]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bad}: {error}");
    }
    assert_eq!(connect(&[]).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn another_cluster_behind_the_same_address_is_noticed() {
    let fake = Fake::start();
    let client = fake.client().await;
    fake.world().cluster = 99;
    let error = client.raw().get("k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongCluster, "{error}");
    assert!(error.why().contains("99"), "{error}");
}
