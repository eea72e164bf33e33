//! Every call, and every error that it can meet.

use flotilla_base::limit::VALUE_BYTES_MAX;
use flotilla_multiraft::Held;
use kvrpcpb::{
    KvPair, RawBatchDeleteRequest, RawBatchGetRequest, RawBatchPutRequest, RawCasRequest,
    RawCasResponse, RawDeleteRangeRequest, RawDeleteRequest, RawGetKeyTtlRequest, RawGetRequest,
};

use super::*;
use crate::brake::Room;

fn pair(key: &'static str, value: &'static str) -> KvPair {
    KvPair { key: key.into(), value: value.into(), ..KvPair::default() }
}

fn batch(pairs: &[(&'static str, &'static str)]) -> RawBatchPutRequest {
    let pairs = pairs.iter().map(|(key, value)| pair(key, value)).collect();
    RawBatchPutRequest { context: Some(context()), pairs, ..RawBatchPutRequest::default() }
}

#[tokio::test]
async fn single_keys() {
    let fixture = Fixture::new();
    assert!(fixture.get(b"c").await.not_found);
    assert_eq!(fixture.put(b"c", b"1", 0).await, Default::default());
    assert_eq!(fixture.put(b"d", b"", 0).await, Default::default());
    assert_eq!(fixture.get(b"c").await.value, "1");
    let empty = fixture.get(b"d").await;
    assert!(!empty.not_found && empty.value.is_empty(), "an empty value is a value");
    let context = Some(context());
    let request = RawDeleteRequest { context, key: "c".into(), ..Default::default() };
    let deleted = done(fixture.service.raw_delete(Request::new(request)).await);
    assert_eq!(deleted, Default::default());
    assert!(fixture.get(b"c").await.not_found);
}

#[tokio::test]
async fn batches() {
    let fixture = Fixture::new();
    let request = batch(&[("c", "1"), ("d", "2"), ("e", "3")]);
    let written = done(fixture.service.raw_batch_put(Request::new(request)).await);
    assert_eq!((written, fixture.proposed()), (Default::default(), 1));
    let keys: Vec<Bytes> = vec!["e".into(), "x-not-there-c".into(), "c".into()];
    let request = RawBatchGetRequest { context: Some(context()), keys, ..Default::default() };
    let outside = done(fixture.service.raw_batch_get(Request::new(request.clone())).await);
    let outside = outside.region_error.expect("a key of the next region");
    assert_eq!(outside.key_not_in_region.expect("which one").end_key, "m");
    let keys: Vec<Bytes> = vec!["e".into(), "dd".into(), "c".into()];
    let request = RawBatchGetRequest { keys, ..request };
    let found = done(fixture.service.raw_batch_get(Request::new(request)).await);
    assert_eq!(found.pairs, [pair("e", "3"), pair("c", "1")], "found ones only, in order");
    let keys: Vec<Bytes> = vec!["c".into(), "e".into()];
    let request = RawBatchDeleteRequest { context: Some(context()), keys, ..Default::default() };
    let deleted = done(fixture.service.raw_batch_delete(Request::new(request)).await);
    assert_eq!(deleted, Default::default());
    assert_eq!(fixture.scan("b", "", false).await, ["d"]);
    let nothing = done(fixture.service.raw_batch_put(Request::new(batch(&[]))).await);
    assert_eq!((nothing, fixture.proposed()), (Default::default(), 2));
}

#[tokio::test]
async fn scans_go_both_ways_and_stay_in_their_region() {
    let fixture = Fixture::new();
    let request = batch(&[("b", "1"), ("c", "2"), ("d", "3"), ("l", "4")]);
    done(fixture.service.raw_batch_put(Request::new(request)).await);
    fixture
        .played
        .engine
        .write(&WriteBatch::from(vec![Mutation::Put(
            Family::Raw,
            "n".into(),
            "\x10other region".into(),
        )]))
        .expect("written");
    assert_eq!(fixture.scan("b", "", false).await, ["b", "c", "d", "l"], "clipped at the end");
    assert_eq!(fixture.scan("c", "l", false).await, ["c", "d"]);
    assert_eq!(fixture.scan("c", "zzz", false).await, ["c", "d", "l"]);
    assert_eq!(fixture.scan("m", "", false).await, [""; 0], "begins where the region ends");
    assert_eq!(fixture.scan("d", "c", false).await, [""; 0]);
    assert_eq!(fixture.scan("", "", true).await, ["l", "d", "c", "b"]);
    assert_eq!(fixture.scan("m", "c", true).await, ["l", "d", "c"], "may begin at the end");
    assert_eq!(fixture.scan("l", "", true).await, ["d", "c", "b"], "the upper bound is exclusive");
    for (start, reverse) in [("", false), ("a", false), ("n", false), ("a", true), ("n", true)] {
        let request = kvrpcpb::RawScanRequest { reverse, ..scan_request(start, "") };
        let response = done(fixture.service.raw_scan(Request::new(request)).await);
        let error = response.region_error.expect("begins elsewhere");
        assert!(error.key_not_in_region.is_some(), "{start} {reverse}: {error:?}");
    }
    let request = kvrpcpb::RawScanRequest { limit: 2, key_only: true, ..scan_request("b", "") };
    let response = done(fixture.service.raw_scan(Request::new(request)).await);
    assert_eq!(response.kvs, [pair("b", ""), pair("c", "")]);
    let request = kvrpcpb::RawScanRequest { limit: 0, ..scan_request("b", "") };
    let response = done(fixture.service.raw_scan(Request::new(request)).await);
    assert!(response.kvs.is_empty() && response.region_error.is_none());
}

#[tokio::test]
async fn values_end_at_their_second() {
    let fixture = Fixture::new();
    fixture.put(b"c", b"for ever", 0).await;
    // The clock of all tests is moved here alone, and by more than any other test cares for.
    fixture.put(b"d", b"a while", 100).await;
    let ttl = async |key: &'static str| {
        let context = Some(context());
        let request = RawGetKeyTtlRequest { context, key: key.into(), ..Default::default() };
        let answer = done(fixture.service.raw_get_key_ttl(Request::new(request)).await);
        (!answer.not_found).then_some(answer.ttl)
    };
    assert_eq!((ttl("c").await, ttl("d").await, ttl("e").await), (Some(0), Some(100), None));
    CLOCK_MILLIS.fetch_add(99_999, Ordering::SeqCst);
    assert_eq!(ttl("d").await, Some(1));
    CLOCK_MILLIS.fetch_add(1, Ordering::SeqCst);
    assert_eq!((ttl("d").await, fixture.get(b"d").await.not_found), (None, true));
    assert_eq!(fixture.scan("b", "", false).await, ["c"]);
    let mut request = batch(&[("e", "1"), ("f", "2")]);
    request.ttls = vec![5, 6];
    done(fixture.service.raw_batch_put(Request::new(request.clone())).await);
    assert_eq!((ttl("e").await, ttl("f").await), (Some(5), Some(6)));
    request.ttls = vec![9];
    done(fixture.service.raw_batch_put(Request::new(request.clone())).await);
    assert_eq!((ttl("e").await, ttl("f").await), (Some(9), Some(9)));
    request.ttls = vec![1, 2, 3];
    let refused = done(fixture.service.raw_batch_put(Request::new(request)).await);
    assert!(refused.error.contains("length of ttls"), "{}", refused.error);
}

/// One swap: whether it was done, and what was found.
async fn swap(fixture: &Fixture, request: RawCasRequest) -> (bool, Option<Bytes>) {
    let request = RawCasRequest { context: Some(context()), key: "c".into(), ..request };
    let answer = done(fixture.service.raw_compare_and_swap(Request::new(request)).await);
    let RawCasResponse { region_error, error, succeed, previous_not_exist, previous_value } =
        answer;
    assert_eq!((region_error, error.as_str()), (None, ""));
    (succeed, (!previous_not_exist).then_some(previous_value))
}

fn from_nothing(value: &'static str) -> RawCasRequest {
    RawCasRequest { previous_not_exist: true, value: value.into(), ..Default::default() }
}

fn from_value(previous: &'static str, value: &'static str) -> RawCasRequest {
    let (previous_value, value) = (previous.into(), value.into());
    RawCasRequest { previous_value, value, ..Default::default() }
}

#[tokio::test]
async fn swaps_are_done_by_who_knows_the_value() {
    let fixture = Fixture::new();
    assert_eq!(swap(&fixture, from_value("", "0")).await, (false, None), "empty is a value");
    assert_eq!(swap(&fixture, from_nothing("1")).await, (true, None));
    assert_eq!(swap(&fixture, from_nothing("2")).await, (false, Some("1".into())));
    assert_eq!(swap(&fixture, from_value("2", "3")).await, (false, Some("1".into())));
    assert_eq!(fixture.get(b"c").await.value, "1");
    assert_eq!(swap(&fixture, from_value("1", "3")).await, (true, Some("1".into())));
    assert_eq!(fixture.get(b"c").await.value, "3");
    let removal = RawCasRequest { delete: true, ..from_value("3", "") };
    assert_eq!(swap(&fixture, removal).await, (true, Some("3".into())));
    assert!(fixture.get(b"c").await.not_found);
    assert_eq!(fixture.proposed(), 3, "a swap that is not done proposes nothing");
}

#[tokio::test]
async fn a_swap_that_is_overtaken_looks_again() {
    let fixture = Fixture::new();
    fixture.permit(Ok(()));
    fixture.put(b"c", b"1", 0).await;
    let other = |value: &'static str| {
        let stored = RawValue::new(value.into(), 0, 0).encode();
        Fate::Overtaken(Mutation::Put(Family::Raw, "c".into(), stored))
    };
    fixture.expect([other("2")]);
    assert_eq!(swap(&fixture, from_value("1", "3")).await, (false, Some("2".into())));
    // The same value with an end is not the same to the byte, and the same to the client.
    let ending = RawValue::new("2".into(), 1_000_000, 1_000_000).encode();
    let written = fixture.proposed();
    fixture.expect([Fate::Overtaken(Mutation::Put(Family::Raw, "c".into(), ending))]);
    assert_eq!(swap(&fixture, from_value("2", "4")).await, (true, Some("2".into())));
    assert_eq!(fixture.proposed() - written, 2);
    assert_eq!(fixture.get(b"c").await.value, "4");
}

#[tokio::test]
async fn what_is_gone_is_swapped_as_nothing() {
    static MILLIS: AtomicU64 = AtomicU64::new(5_000);
    let fixture = Fixture::with_clock(|| MILLIS.load(Ordering::SeqCst));
    fixture.put(b"c", b"1", 2).await;
    MILLIS.store(7_000, Ordering::SeqCst);
    assert_eq!(swap(&fixture, from_value("1", "2")).await, (false, None));
    let ending = RawCasRequest { ttl: 3, ..from_nothing("2") };
    assert_eq!(swap(&fixture, ending).await, (true, None));
    assert_eq!(fixture.get(b"c").await.value, "2");
    MILLIS.store(10_000, Ordering::SeqCst);
    assert!(fixture.get(b"c").await.not_found, "the new value has an end of its own");
}

#[tokio::test]
async fn a_swap_in_doubt_is_not_repeated() {
    let fixture = Fixture::new();
    fixture.permit(Ok(()));
    fixture.expect([Fate::Unknown]);
    let request = RawCasRequest { context: Some(context()), key: "c".into(), ..from_nothing("1") };
    let answer = done(fixture.service.raw_compare_and_swap(Request::new(request)).await);
    let error = answer.region_error.expect("in doubt");
    assert!(error.undetermined_result.is_some(), "{error:?}");
    assert_eq!(fixture.proposed(), 1);
}

#[tokio::test]
async fn ranges_are_deleted_up_to_the_end_of_their_region() {
    let fixture = Fixture::new();
    let delete = async |context, start: &'static str, end: &'static str| {
        let (start_key, end_key) = (start.into(), end.into());
        let request = RawDeleteRangeRequest {
            context: Some(context),
            start_key,
            end_key,
            ..RawDeleteRangeRequest::default()
        };
        done(fixture.service.raw_delete_range(Request::new(request)).await)
    };
    done(
        fixture
            .service
            .raw_batch_put(Request::new(batch(&[("c", ""), ("d", ""), ("e", "")])))
            .await,
    );
    assert_eq!(delete(context(), "c", "d").await, Default::default());
    assert_eq!(fixture.scan("b", "", false).await, ["d", "e"]);
    assert_eq!(delete(context(), "d", "d").await, Default::default(), "an empty range");
    assert_eq!(delete(context(), "e", "").await, Default::default());
    assert_eq!(fixture.scan("b", "", false).await, ["d"]);
    for (start, end) in [("a", "c"), ("c", "z"), ("n", "z")] {
        let refused = delete(context(), start, end).await;
        let error = refused.region_error.expect("outside");
        assert!(error.key_not_in_region.is_some(), "{start} {end}: {error:?}");
    }
    // The last region has no end, and the engine insists on one.
    let peer = metapb::Peer { id: 30, store_id: 1, ..Default::default() };
    let last = kvrpcpb::Context { region_id: 3, peer: Some(peer), ..context() };
    assert_eq!(delete(last, "m", "").await, Default::default());
}

#[tokio::test]
async fn checks_come_in_the_order_of_the_contract() {
    let fixture = Fixture::new();
    let call = async |context: kvrpcpb::Context, cf: &str| {
        let (context, cf) = (Some(context), cf.to_owned());
        let request = RawGetRequest { context, key: "zz".into(), cf };
        fixture.service.raw_get(Request::new(request)).await.map(Response::into_inner)
    };
    // Everything is wrong at once; one thing after the other is corrected.
    let mut bad = kvrpcpb::Context {
        region_id: 99,
        region_epoch: None,
        peer: Some(metapb::Peer { id: 1, store_id: 9, ..Default::default() }),
        cluster_id: 78,
        api_version: 2,
        ..kvrpcpb::Context::default()
    };
    let status = call(bad.clone(), "lock").await.expect_err("another cluster");
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    bad.cluster_id = CLUSTER.get();
    let response = call(bad.clone(), "lock").await.expect("answer");
    assert!(response.error.starts_with("ApiVersionNotMatched"), "{}", response.error);
    bad.api_version = 0;
    let response = call(bad.clone(), "lock").await.expect("answer");
    assert!(response.error.starts_with("invalid cf name: lock"), "{}", response.error);
    let error = error_of(call(bad.clone(), "default").await.expect("answer"));
    let expected = errorpb::StoreNotMatch { request_store_id: 9, actual_store_id: 1 };
    assert_eq!(error.store_not_match, Some(expected));
    bad.peer = Some(metapb::Peer { id: 1, store_id: 1, ..Default::default() });
    let error = error_of(call(bad.clone(), "").await.expect("answer"));
    assert_eq!(error.region_not_found, Some(errorpb::RegionNotFound { region_id: 99 }));
    bad.region_id = 2;
    let error = error_of(call(bad.clone(), "").await.expect("answer"));
    let expected = errorpb::MismatchPeerId { request_peer_id: 1, store_peer_id: 20 };
    assert_eq!(error.mismatch_peer_id, Some(expected));
    bad.peer = Some(metapb::Peer { id: 20, store_id: 1, ..Default::default() });
    let error = error_of(call(bad.clone(), "").await.expect("answer"));
    assert!(error.epoch_not_match.is_some());
    let error = error_of(call(context(), "").await.expect("answer"));
    assert_eq!(error.key_not_in_region.expect("outside").key, "zz");
}

#[tokio::test]
async fn refusals_without_a_field_are_a_pair() {
    let fixture = Fixture::new();
    let request = kvrpcpb::RawScanRequest { cf: "write".to_owned(), ..scan_request("b", "") };
    let response = done(fixture.service.raw_scan(Request::new(request)).await);
    let error = response.kvs[0].error.as_ref().expect("an error");
    assert!(response.kvs.len() == 1 && error.abort.starts_with("invalid cf name: write"));
    let (context, cf) = (Some(context()), "write".to_owned());
    let request = RawBatchGetRequest { context, keys: vec!["c".into()], cf };
    let response = done(fixture.service.raw_batch_get(Request::new(request)).await);
    assert!(response.pairs[0].error.is_some() && response.region_error.is_none());
}

#[tokio::test]
async fn region_errors_carry_what_clients_act_upon() {
    let fixture = Fixture::new();
    let refused = async |refusal| {
        fixture.expect([Fate::Refused(refusal)]);
        error_of(fixture.get(b"c").await)
    };
    let leader = Some(Peer::voter(PeerId(21), StoreId(2)));
    let error = refused(RequestError::NotLeader { region: REGION, leader }).await;
    let told = error.not_leader.expect("not leader").leader.expect("a member");
    assert_eq!((told.id, told.store_id), (21, 2));
    let leader = Some(Peer::voter(PeerId(99), StoreId(2)));
    let error = refused(RequestError::NotLeader { region: REGION, leader }).await;
    assert_eq!(error.not_leader.expect("not leader").leader, None, "no member of the region");
    let error = refused(RequestError::StaleCommand(REGION)).await;
    assert!(error.stale_command.is_some());
    let error = refused(RequestError::NotInitialised(REGION)).await;
    assert!(error.region_not_initialized.is_some());
    let error = refused(RequestError::Quarantined(REGION)).await;
    assert!(error.region_not_found.is_some());
    let error = refused(RequestError::EntryTooLarge { region: REGION, bytes: 9 }).await;
    assert_eq!(error.raft_entry_too_large.expect("too large").entry_size, 9);
}

#[tokio::test]
async fn a_client_that_missed_splits_is_told_the_siblings() {
    let fixture = Fixture::new();
    let regions = vec![
        region(5, "", "b", 5),
        region(6, "b", "d", 5),
        region(2, "d", "m", 5),
        region(3, "m", "", 3),
    ];
    *fixture.played.regions.lock() = regions;
    let told = |error: errorpb::Error| -> Vec<u64> {
        let regions = error.epoch_not_match.expect("another shape").current_regions;
        assert!(regions.iter().all(|region| region.region_epoch.is_some()));
        regions.iter().map(|region| region.id).collect()
    };
    assert_eq!(told(error_of(fixture.get(b"c").await)), [2, 6, 5], "two versions missed");
    fixture.played.regions.lock()[2].epoch.version = Version(2);
    assert_eq!(told(error_of(fixture.get(b"c").await)), [2], "the client knows better");
}

#[tokio::test]
async fn what_is_too_large_is_never_proposed() {
    let fixture = Fixture::new();
    let long = vec![b'c'; KEY_BYTES_MAX + 1];
    let response = fixture.put(&long, b"", 0).await;
    assert!(response.error.contains("exceeds the limit of 8192 bytes"), "{}", response.error);
    let large = vec![0; VALUE_BYTES_MAX + 1];
    let response = fixture.put(b"c", &large, 0).await;
    assert!(response.error.contains("exceeds the limit of 6291456 bytes"), "{}", response.error);
    let mut request = batch(&[("c", "1")]);
    request.pairs.push(KvPair { key: long.clone().into(), ..KvPair::default() });
    let response = done(fixture.service.raw_batch_put(Request::new(request)).await);
    assert!(response.error.contains("exceeds"));
    let (context, keys) = (Some(context()), vec![long.into()]);
    let request = RawBatchDeleteRequest { context, keys, ..Default::default() };
    let response = done(fixture.service.raw_batch_delete(Request::new(request)).await);
    assert!(response.error.contains("exceeds"));
    assert_eq!(fixture.proposed(), 0);
    let response = fixture.put(&[b'c'; KEY_BYTES_MAX], &large[1..], 0).await;
    assert_eq!((response, fixture.proposed()), (Default::default(), 1), "the limits themselves");
}

#[tokio::test]
async fn a_busy_replica_is_tried_again_as_soon_as_another_write_is_done() {
    let fixture = Fixture::new();
    fixture.expect([Fate::Refused(RequestError::Busy(REGION))]);
    let (first, second) = tokio::join!(fixture.put(b"c", b"1", 0), fixture.put(b"d", b"2", 0));
    assert_eq!((first, second), (Default::default(), Default::default()));
    assert_eq!(fixture.proposed(), 3);
    // With nobody else to wait for, patience ends.
    fixture.expect([
        Fate::Refused(RequestError::Busy(REGION)),
        Fate::Refused(RequestError::Busy(REGION)),
    ]);
    let response = fixture.put(b"c", b"1", 0).await;
    let error = response.region_error.expect("busy");
    let busy = error.server_is_busy.expect("busy");
    assert!(busy.reason.contains("too many writes are in flight") && busy.backoff_ms > 0);
    fixture.expect([
        Fate::Refused(RequestError::ApplyBehind(REGION)),
        Fate::Refused(RequestError::ApplyBehind(REGION)),
    ]);
    let response = fixture.put(b"c", b"1", 0).await;
    let busy = response.region_error.and_then(|error| error.server_is_busy).expect("busy");
    assert!(busy.reason.contains("wait to be applied") && busy.backoff_ms > 0, "{busy:?}");
}

/// Entries of other regions take the room, and no other write is under way whose end would tell of it.
#[tokio::test]
async fn a_write_that_met_too_much_to_apply_is_tried_again_as_soon_as_some_is_applied() {
    let fixture = Fixture::new();
    let backlog = |bytes| Held { backlog_bytes: bytes, ..Held::default() };
    let memory = Arc::clone(&fixture.played.memory);
    memory.changed(Held::default(), backlog(9));
    fixture.expect([Fate::Refused(RequestError::ApplyBehind(REGION))]);
    let applied = async {
        assert_eq!(fixture.proposed(), 1, "it was refused, and waits");
        memory.changed(backlog(9), backlog(8));
    };
    let (response, ()) = tokio::join!(biased; fixture.put(b"c", b"1", 0), applied);
    assert_eq!((response, fixture.proposed()), (Default::default(), 2));
}

#[tokio::test]
async fn an_unknown_outcome_is_called_unknown() {
    let fixture = Fixture::new();
    fixture.expect([Fate::Unknown]);
    let response = fixture.put(b"c", b"1", 0).await;
    assert!(response.region_error.expect("an error").undetermined_result.is_some());
}

#[tokio::test]
async fn deadlines_end_waiting() {
    let fixture = Fixture::new();
    let hurried = kvrpcpb::Context { max_execution_duration_ms: 1, ..context() };
    fixture.expect([Fate::Lost, Fate::Lost]);
    let (context, key) = (Some(hurried), Bytes::from("c"));
    let request =
        kvrpcpb::RawPutRequest { context: context.clone(), key: key.clone(), ..Default::default() };
    let response = done(fixture.service.raw_put(Request::new(request)).await);
    let error = response.region_error.expect("an error");
    assert!(error.undetermined_result.is_some(), "proposed, so it may still happen: {error:?}");
    let request = RawGetRequest { context, key, ..Default::default() };
    let error = error_of(done(fixture.service.raw_get(Request::new(request)).await));
    let reason = error.server_is_busy.expect("busy").reason;
    assert!(reason.contains("deadline is exceeded"), "{reason}");
}

#[tokio::test]
async fn damaged_values_are_an_error_and_no_value() {
    let fixture = Fixture::new();
    let damaged = Mutation::Put(Family::Raw, "c".into(), "\x77".into());
    fixture.played.engine.write(&WriteBatch::from(vec![damaged])).expect("written");
    assert!(fixture.get(b"c").await.error.contains("unknown header"));
    let response = done(fixture.service.raw_scan(Request::new(scan_request("b", ""))).await);
    assert!(response.kvs[0].error.is_some());
}

#[tokio::test]
async fn answers_have_a_bound() {
    let fixture = Fixture::new();
    let value = vec![b'x'; VALUE_BYTES_MAX];
    fixture.put(b"c", &value, 0).await;
    let keys: Vec<Bytes> = vec!["c".into(); 11];
    let request = RawBatchGetRequest { context: Some(context()), keys, ..Default::default() };
    let refused = fixture.service.raw_batch_get(Request::new(request)).await;
    let status = refused.expect_err("66 MiB");
    assert_eq!(status.code(), tonic::Code::OutOfRange);
    assert_eq!(status.message(), "answer exceeds 67108864 bytes: ask for fewer keys");

    for key in ["d", "e", "f", "g", "h", "i", "j", "k", "ka", "kb"] {
        fixture.put(key.as_bytes(), &value, 0).await;
    }
    let all = scan_request("b", "m");
    let refused = fixture.service.raw_scan(Request::new(all.clone())).await;
    assert_eq!(refused.expect_err("66 MiB").code(), tonic::Code::OutOfRange);
    let keys = kvrpcpb::RawScanRequest { key_only: true, ..all };
    assert_eq!(done(fixture.service.raw_scan(Request::new(keys)).await).kvs.len(), 11);
}

/// Values are refused where they would fill the disk; what makes room is not, nor is any read.
#[tokio::test]
async fn a_disk_that_fills_up_takes_deletions_and_serves_reads() {
    let fixture = Fixture::new();
    fixture.put(b"c", b"1", 0).await;
    let brake = &fixture.service.source().brake;
    brake.set_room(Room::Scarce);
    let refused = fixture.put(b"d", b"2", 0).await.region_error.expect("refused");
    let full = refused.disk_full.expect("the disk's error");
    assert_eq!(full.store_id, [STORE.get()]);
    assert!(full.reason.contains("deletions"), "{}", full.reason);
    assert_eq!(fixture.get(b"c").await.value, "1");
    let delete = || RawDeleteRequest {
        context: Some(context()),
        key: "c".into(),
        ..RawDeleteRequest::default()
    };
    let deleted = done(fixture.service.raw_delete(Request::new(delete())).await);
    assert_eq!(deleted, Default::default());
    brake.set_room(Room::None);
    let refused = done(fixture.service.raw_delete(Request::new(delete())).await);
    assert!(refused.region_error.expect("refused").disk_full.is_some());
    assert!(fixture.get(b"c").await.not_found);
    brake.set_room(Room::Enough);
    assert_eq!(fixture.put(b"d", b"2", 0).await, Default::default());
    assert_eq!(fixture.proposed(), 3);
}
