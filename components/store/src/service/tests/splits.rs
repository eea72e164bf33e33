//! Splits on request, with a placement driver and replicas that do what they are told.

use flotilla_base::{Key, key::encode_memcomparable};
use flotilla_multiraft::{NewRegion, SplitCommand, split::divide};
use futures_util::{FutureExt as _, future::BoxFuture};
use kvrpcpb::{SplitRegionRequest, SplitRegionResponse};

use super::*;
use crate::split::splitter::{SplitFailure, SplitRegions};

impl SplitRegions for Played {
    fn split(
        &self,
        region: Region,
        borders: Vec<Key>,
    ) -> BoxFuture<'_, Result<Vec<Region>, SplitFailure>> {
        let split = async move {
            match self.meet().await {
                Some(Fate::Refused(refusal)) => return Err(SplitFailure::Refused(refusal)),
                Some(_) => return Err(SplitFailure::Unknown),
                None => {}
            }
            let child = |(id, end)| NewRegion {
                end,
                region: RegionId(id),
                peers: vec![PeerId(id * 10), PeerId(id * 10 + 1)],
            };
            let children = (100..).zip(borders).map(child).collect();
            let command = SplitCommand { epoch: region.epoch, children };
            let division = divide(&region, &command).map_err(SplitFailure::Refused)?;
            Ok(division.regions().cloned().collect())
        };
        split.boxed()
    }
}

async fn split(fixture: &Fixture, keys: &[&'static str], is_raw_kv: bool) -> SplitRegionResponse {
    let split_keys = keys.iter().map(|key| Bytes::from(*key)).collect();
    let request = SplitRegionRequest {
        context: Some(context()),
        split_keys,
        is_raw_kv,
        ..SplitRegionRequest::default()
    };
    done(fixture.service.split_region(Request::new(request)).await)
}

fn ranges(response: &SplitRegionResponse) -> Vec<(Bytes, Bytes)> {
    assert_eq!(response.region_error, None);
    response.regions.iter().map(|it| (it.start_key.clone(), it.end_key.clone())).collect()
}

/// The borders "b" and "m" cannot be decoded, so nobody decodes what lies between them.
#[tokio::test]
async fn raw_keys_are_borders_in_the_order_of_keys() {
    let fixture = Fixture::new();
    let response = split(&fixture, &["g", "d", "g", "b", "x"], true).await;
    let expected = [("b", "d"), ("d", "g"), ("g", "m")];
    assert_eq!(ranges(&response), expected.map(|(start, end)| (start.into(), end.into())));
    assert_eq!((response.left, response.right), (None, None), "there are three");
    assert_eq!(response.regions[2].id, REGION.get(), "it keeps its last part");
    let version = response.regions[0].region_epoch.expect("told").version;
    assert_eq!(version, 5);
    let response = split(&fixture, &["e"], true).await;
    assert_eq!(response.left.as_ref(), response.regions.first());
    assert_eq!(response.right.as_ref(), response.regions.last());
    assert_eq!(
        fixture.counted("flotilla_rpc_requests_total{op=\"split_region\",result=\"done\"}"),
        2
    );
}

#[tokio::test]
async fn keys_of_transactions_are_encoded() {
    let fixture = Fixture::new();
    let response = split(&fixture, &["f"], false).await;
    let border = encode_memcomparable(b"f");
    assert_eq!(ranges(&response), [("b".into(), border.clone()), (border, "m".into())]);
    let old = SplitRegionRequest {
        context: Some(context()),
        split_key: "k".into(),
        is_raw_kv: true,
        ..SplitRegionRequest::default()
    };
    let response = done(fixture.service.split_region(Request::new(old)).await);
    assert_eq!(ranges(&response).len(), 2, "the old form with one key");
}

#[tokio::test]
async fn a_region_with_transactions_takes_no_raw_key() {
    let fixture = Fixture::new();
    let row = Mutation::Put(Family::Write, encode_memcomparable(b"c"), "v".into());
    fixture.played.engine.write(&WriteBatch::from(vec![row])).expect("written");
    let refused = split(&fixture, &["d"], true).await.region_error.expect("refused");
    assert!(refused.message.starts_with("no valid key found for split"), "{}", refused.message);
    assert_eq!(ranges(&split(&fixture, &["d"], false).await).len(), 2);
}

/// It would go with every word about its region, for ever.
#[tokio::test]
async fn a_border_is_no_longer_than_keys_are() {
    let fixture = Fixture::new();
    let longest = |bytes| &*String::leak("d".repeat(bytes));
    assert_eq!(ranges(&split(&fixture, &[longest(KEY_BYTES_MAX)], true).await).len(), 2);
    let refused = split(&fixture, &[longest(KEY_BYTES_MAX + 1)], true).await;
    let refused = refused.region_error.expect("refused").message;
    assert!(refused.contains("exceeds the limit"), "{refused}");
}

/// Each is a group for its stores.
#[tokio::test]
async fn so_many_keys_and_no_more_split_a_region_at_once() {
    let fixture = Fixture::new();
    let keys: Vec<&str> = (0..2_049).map(|it| &*String::leak(format!("d{it:04}"))).collect();
    let refused = split(&fixture, &keys, true).await.region_error.expect("refused").message;
    assert!(refused.contains("2049 split keys; 2048 are the most"), "{refused}");
    // The played splitter makes one entry of them, which would be too many for that.
    let refused = split(&fixture, &keys[1..], true).await.region_error.expect("refused").message;
    assert!(refused.contains("2048 new regions"), "{refused}");
}

#[tokio::test]
async fn what_cannot_be_split_is_told_with_a_reason() {
    let fixture = Fixture::new();
    for keys in [&[][..], &["b"], &["m"], &["a", "x"], &[""]] {
        let refused = split(&fixture, keys, true).await.region_error.expect("refused");
        assert!(refused.message.starts_with("no valid key found for split"), "{}", refused.message);
    }
    let mut other = context();
    other.region_epoch = Some(metapb::RegionEpoch { version: 2, conf_ver: 1 });
    let request = SplitRegionRequest {
        context: Some(other),
        split_keys: vec!["d".into()],
        is_raw_kv: true,
        ..SplitRegionRequest::default()
    };
    let refused = done(fixture.service.split_region(Request::new(request)).await);
    assert!(refused.region_error.expect("an old shape").epoch_not_match.is_some());
    let not_leader = RequestError::NotLeader { region: REGION, leader: None };
    fixture.played.script.lock().leads = Err(not_leader);
    let refused = split(&fixture, &["d"], true).await.region_error.expect("refused");
    assert!(refused.not_leader.is_some());
    fixture.played.script.lock().leads = Ok(());
    fixture.permit(Ok(()));
    let busy = RequestError::Busy(REGION);
    fixture.expect([Fate::Unknown, Fate::Refused(busy)]);
    for text in ["it may be split", "too much is waiting"] {
        let refused = split(&fixture, &["d"], true).await.region_error.expect("busy");
        let reason = refused.server_is_busy.map(|busy| busy.reason).expect("try again");
        assert!(reason.contains(text), "{reason}");
    }
}
