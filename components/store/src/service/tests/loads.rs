//! What is served counts as what its region is asked for, and says where.

use kvrpcpb::{RawBatchGetRequest, RawBatchPutRequest, RawDeleteRangeRequest, RawScanRequest};

use super::*;
use crate::split::load::finder::Touched;

/// Requests since the last look, and what they touched.
fn asked(fixture: &Fixture) -> (u64, Vec<String>) {
    let counted = fixture.service.source().loads.counted(REGION);
    let (requests, bytes, samples) = counted.unwrap_or_default();
    assert_eq!(requests > 0, bytes > 0, "whatever is asked for has a key");
    let shown = samples.into_iter().map(|touched| match touched {
        Touched::Key(key) => String::from_utf8_lossy(&key).into_owned(),
        Touched::Range(KeyRange { start, end }) => {
            format!("{}..{}", String::from_utf8_lossy(&start), String::from_utf8_lossy(&end))
        }
    });
    (requests, shown.collect())
}

fn all(touched: &[&str]) -> (u64, Vec<String>) {
    (touched.len() as u64, touched.iter().map(|it| (*it).to_owned()).collect())
}

#[tokio::test]
async fn what_is_served_is_counted() {
    let fixture = Fixture::new();
    fixture.put(b"c", b"1", 0).await;
    assert_eq!(asked(&fixture), all(&["c"]));
    fixture.get(b"c").await;
    fixture.get(b"d").await;
    assert_eq!(asked(&fixture), all(&["c", "d"]));
    let pair = |key: &'static str| kvrpcpb::KvPair {
        key: key.into(),
        value: "2".into(),
        ..Default::default()
    };
    let pairs = ["e", "f", "g"].map(pair).to_vec();
    let request = RawBatchPutRequest { context: Some(context()), pairs, ..Default::default() };
    done(fixture.service.raw_batch_put(Request::new(request)).await);
    assert_eq!(asked(&fixture), all(&["e", "f", "g"]), "a batch is so many requests");
    let keys = ["e", "k"].map(Bytes::from).to_vec();
    let request = RawBatchGetRequest { context: Some(context()), keys, ..Default::default() };
    done(fixture.service.raw_batch_get(Request::new(request)).await);
    assert_eq!(asked(&fixture), all(&["e", "k"]));
}

#[tokio::test]
async fn ranges_are_as_long_as_what_was_looked_at() {
    let fixture = Fixture::new();
    for key in [b"c", b"d", b"e"] {
        fixture.put(key, b"1", 0).await;
    }
    asked(&fixture);
    fixture.scan("b", "", false).await;
    fixture.scan("m", "c", true).await;
    assert_eq!(asked(&fixture), all(&["b..m", "c..m"]));
    for (start, reverse) in [("b", false), ("m", true)] {
        let request = RawScanRequest { limit: 2, reverse, ..scan_request(start, "") };
        done(fixture.service.raw_scan(Request::new(request)).await);
    }
    assert_eq!(asked(&fixture), all(&["b..d", "d..m"]), "the limit ends them");
    let (start_key, end_key) = ("c".into(), "e".into());
    let context = Some(context());
    let request = RawDeleteRangeRequest { context, start_key, end_key, ..Default::default() };
    done(fixture.service.raw_delete_range(Request::new(request)).await);
    assert_eq!(asked(&fixture), all(&["c..e"]));
}

#[tokio::test]
async fn what_is_refused_counts_not() {
    let fixture = Fixture::new();
    fixture.get(b"z").await;
    fixture.expect([Fate::Refused(RequestError::RegionNotFound(REGION))]);
    fixture.put(b"c", b"1", 0).await;
    assert_eq!(asked(&fixture), all(&[]));
}
