//! The ways to a view of the data, and the clocks by which values end.

use flotilla_base::Family;
use kvrpcpb::{RawBatchGetRequest, RawGetKeyTtlRequest, RawGetRequest};

use super::*;
use crate::value::RawValue;

const BARRIER: &str = "flotilla_reads_total{type=\"barrier\"}";
const REPLICA: &str = "flotilla_reads_total{type=\"replica\"}";

impl Fixture {
    async fn get_anywhere(&self, key: &'static [u8]) -> kvrpcpb::RawGetResponse {
        let context = kvrpcpb::Context { replica_read: true, ..context() };
        let (context, key) = (Some(context), Bytes::from_static(key));
        let request = RawGetRequest { context, key, ..Default::default() };
        done(self.service.raw_get(Request::new(request)).await)
    }

    async fn ttl(&self, key: &'static str) -> Option<u64> {
        let (context, key) = (Some(context()), key.into());
        let request = RawGetKeyTtlRequest { context, key, ..Default::default() };
        let answer = done(self.service.raw_get_key_ttl(Request::new(request)).await);
        assert_eq!(answer.region_error, None);
        (!answer.not_found).then_some(answer.ttl)
    }
}

fn put(key: &'static str, value: &'static str) -> Mutation {
    Mutation::Put(Family::Raw, key.into(), RawValue::new(value.into(), 0, 0).encode())
}

/// Every kind of read, as text.
async fn read_all(fixture: &Fixture) -> Vec<String> {
    let get = fixture.get(b"c").await;
    assert_eq!(get.region_error, None);
    let keys = vec!["c".into()];
    let request = RawBatchGetRequest { context: Some(context()), keys, ..Default::default() };
    let batch = done(fixture.service.raw_batch_get(Request::new(request)).await);
    let scan = done(fixture.service.raw_scan(Request::new(scan_request("b", ""))).await);
    let pairs = batch.pairs.into_iter().chain(scan.kvs).map(|pair| pair.value);
    [get.value].into_iter().chain(pairs).map(|value| format!("{value:?}")).collect()
}

#[tokio::test]
async fn a_permit_needs_no_barrier() {
    let fixture = Fixture::new();
    fixture.put(b"c", b"1", 0).await;
    assert_eq!(read_all(&fixture).await, ["b\"1\""; 3]);
    assert_eq!((fixture.barriers(), fixture.counted(BARRIER)), ([3, 0], 3));
    fixture.permit(Ok(()));
    assert_eq!(read_all(&fixture).await, ["b\"1\""; 3]);
    assert_eq!((fixture.barriers(), fixture.counted(IN_PLACE)), ([3, 0], 3));
}

/// The thread that reads stood still over a whole install: its view may be of the middle, and the region looks as before.
#[tokio::test]
async fn a_view_of_an_installs_middle_is_not_used() {
    let fixture = Fixture::new();
    fixture.put(b"c", b"1", 0).await;
    let is_refused = |error: Option<errorpb::Error>| {
        error.is_some_and(|error| error.region_not_initialized.is_some())
    };
    fixture.expect([Fate::Replaced]);
    assert!(is_refused(fixture.get_anywhere(b"c").await.region_error));
    fixture.expect([Fate::Replaced]);
    assert!(is_refused(fixture.get(b"c").await.region_error));
    let keys = vec!["c".into()];
    let request = RawBatchGetRequest { context: Some(context()), keys, ..Default::default() };
    fixture.expect([Fate::Replaced]);
    let batch = done(fixture.service.raw_batch_get(Request::new(request)).await);
    assert!(is_refused(batch.region_error) && batch.pairs.is_empty());
    fixture.expect([Fate::Replaced]);
    let scan = done(fixture.service.raw_scan(Request::new(scan_request("b", ""))).await);
    assert!(is_refused(scan.region_error) && scan.kvs.is_empty());
    assert_eq!(fixture.get_anywhere(b"c").await.value, "1", "the next one is served");
}

#[tokio::test]
async fn a_view_that_may_not_be_used_is_not_used() {
    let reasons = [
        (NotInPlace::NoPermit, "no_permit"),
        (NotInPlace::OtherRequest, "other_request"),
        (NotInPlace::NotApplied, "not_applied"),
        (NotInPlace::RanOut, "ran_out"),
        (NotInPlace::Withdrawn, "withdrawn"),
    ];
    for (why, name) in reasons {
        let fixture = Fixture::new();
        fixture.permit(Ok(()));
        let series = format!("flotilla_reads_not_in_place_total{{reason=\"{name}\"}}");
        for (count, kind) in (1..).zip(["get", "batch_get", "scan"]) {
            fixture.put(b"c", b"old", 0).await;
            {
                let mut script = fixture.played.script.lock();
                script.meanwhile = vec![put("c", "new")];
                script.ends = [Err(why)].into();
            }
            let found = match kind {
                "get" => fixture.get(b"c").await.value,
                "scan" => {
                    let request = Request::new(scan_request("b", ""));
                    done(fixture.service.raw_scan(request).await).kvs[0].value.clone()
                }
                _batch_get => {
                    let (context, keys) = (Some(context()), vec!["c".into()]);
                    let request = RawBatchGetRequest { context, keys, ..Default::default() };
                    let answer = fixture.service.raw_batch_get(Request::new(request)).await;
                    done(answer).pairs[0].value.clone()
                }
            };
            assert_eq!(found, "new", "{kind}: {name}");
            assert_eq!((fixture.barriers(), fixture.counted(&series)), ([count, 0], count as u64));
        }
    }
}

#[tokio::test]
async fn a_replica_asks_its_leader_and_says_whom_to_ask_instead() {
    let fixture = Fixture::new();
    fixture.put(b"c", b"1", 0).await;
    assert_eq!(fixture.get_anywhere(b"c").await.value, "1");
    assert_eq!((fixture.barriers(), fixture.counted(REPLICA)), ([0, 1], 1));
    let silent = "flotilla_reads_not_in_place_total{reason=\"no_permit\"}";
    assert_eq!(fixture.counted(silent), 0, "it is no news that a follower has none");

    let leader = Some(Peer::voter(PeerId(21), StoreId(2)));
    fixture.expect([Fate::Refused(RequestError::NotLeader { region: REGION, leader })]);
    let error = error_of(fixture.get_anywhere(b"c").await);
    assert_eq!(error.not_leader.expect("not leader").leader.expect("a member").store_id, 2);
    assert_eq!(fixture.barriers(), [0, 2]);
    fixture.expect([Fate::Refused(RequestError::NotLeader { region: REGION, leader: None })]);
    let error = error_of(fixture.get_anywhere(b"c").await);
    assert_eq!(error.read_index_not_ready.expect("not ready").region_id, REGION.get());
    fixture.permit(Ok(()));
    assert_eq!(fixture.get_anywhere(b"c").await.value, "1");
    assert_eq!((fixture.barriers(), fixture.counted(IN_PLACE)), ([0, 3], 1), "it leads");
}

/// The clock of the test below, which alone moves it.
static SECONDS: AtomicU64 = AtomicU64::new(5_000);

fn own_clock() -> u64 {
    SECONDS.load(Ordering::SeqCst) * 1000
}

#[tokio::test]
async fn a_value_that_was_seen_gone_stays_gone_under_every_clock() {
    let fixture = Fixture::with_clock(own_clock);
    let at = |seconds: u64| SECONDS.store(seconds, Ordering::SeqCst);
    let proposed = || fixture.proposed();
    fixture.put(b"c", b"ends", 10).await;
    fixture.put(b"d", b"stays", 0).await;
    for permit in [Err(NotInPlace::NoPermit), Ok(())] {
        fixture.permit(permit);
        assert_eq!((fixture.ttl("c").await, fixture.ttl("d").await), (Some(10), Some(0)));
    }
    assert_eq!(proposed(), 2, "nothing has ended");

    // A replica whose clock is ahead may not say so by itself.
    at(5_010);
    fixture.permit(Err(NotInPlace::NoPermit));
    let leader = Some(Peer::voter(PeerId(21), StoreId(2)));
    let follows = RequestError::NotLeader { region: REGION, leader };
    fixture.played.script.lock().leads = Err(follows);
    let error = error_of(fixture.get_anywhere(b"c").await);
    assert_eq!(error.not_leader.expect("not leader").leader.expect("known").store_id, 2);
    assert_eq!(fixture.get_anywhere(b"d").await.value, "stays");

    // The leader makes its clock everybody's before it says so, once.
    fixture.played.script.lock().leads = Ok(());
    fixture.expect([Fate::Refused(RequestError::StaleCommand(REGION))]);
    fixture.permit(Ok(()));
    let error = error_of(fixture.get(b"c").await);
    assert!(error.stale_command.is_some(), "not agreed on, not said");
    assert_eq!(proposed(), 3);
    assert!(fixture.get(b"c").await.not_found);
    assert_eq!(proposed(), 4);
    assert_eq!(fixture.scan("b", "", false).await, ["d"]);
    assert_eq!((fixture.ttl("c").await, proposed()), (None, 4), "agreed on");

    // The next leader's clock is behind.
    at(5_003);
    for permit in [Err(NotInPlace::NoPermit), Ok(())] {
        fixture.permit(permit);
        assert_eq!((fixture.ttl("c").await, proposed()), (None, 4));
        assert_eq!(fixture.scan("b", "", false).await, ["d"]);
        assert!(fixture.get_anywhere(b"c").await.not_found);
    }
    // A new value lives as long as it was given.
    fixture.put(b"e", b"new", 5).await;
    assert_eq!(fixture.ttl("e").await, Some(5));
}

#[tokio::test]
async fn a_clock_that_cannot_be_agreed_on_is_no_answer() {
    let fixture = Fixture::with_clock(own_clock);
    let ends = RawValue::new("ends".into(), 1, 1).encode();
    let ends = Mutation::Put(Family::Raw, "c".into(), ends);
    fixture.played.engine.write(&WriteBatch::from(vec![ends])).expect("written");
    fixture.permit(Ok(()));
    fixture.expect([Fate::Unknown]);
    let error = error_of(fixture.get(b"c").await);
    assert!(error.server_is_busy.is_some() && error.undetermined_result.is_none(), "{error:?}");
    assert!(fixture.get(b"c").await.not_found);
}
