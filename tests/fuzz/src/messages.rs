//! Messages of clients, stores and placement drivers: the first byte chooses the type. Oracle: refused, or decoded
//! again from its own encoding.

use std::fmt::Debug;

use flotilla_proto::{
    errorpb, health, keyspacepb, kvrpcpb, metapb, pdpb, raft, store_link, tikvpb,
};
use prost::Message;

fn check<M: Message + Default + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(message) = M::decode(bytes) {
        let again = M::decode(message.encode_to_vec().as_slice());
        assert_eq!(again.ok(), Some(message), "what was decoded encodes to itself");
    }
}

type Check = fn(&[u8]);

/// Every message that a server of ours decodes, and the answers that a client of ours does.
const CHECKS: [Check; 38] = [
    check::<kvrpcpb::RawGetRequest>,
    check::<kvrpcpb::RawBatchGetRequest>,
    check::<kvrpcpb::RawPutRequest>,
    check::<kvrpcpb::RawBatchPutRequest>,
    check::<kvrpcpb::RawDeleteRequest>,
    check::<kvrpcpb::RawBatchDeleteRequest>,
    check::<kvrpcpb::RawDeleteRangeRequest>,
    check::<kvrpcpb::RawScanRequest>,
    check::<kvrpcpb::RawGetKeyTtlRequest>,
    check::<kvrpcpb::RawGetResponse>,
    check::<kvrpcpb::RawBatchGetResponse>,
    check::<kvrpcpb::RawScanResponse>,
    check::<tikvpb::BatchCommandsRequest>,
    check::<tikvpb::BatchCommandsResponse>,
    check::<errorpb::Error>,
    check::<metapb::Region>,
    check::<metapb::Store>,
    check::<pdpb::GetMembersRequest>,
    check::<pdpb::GetMembersResponse>,
    check::<pdpb::TsoRequest>,
    check::<pdpb::TsoResponse>,
    check::<pdpb::AllocIdRequest>,
    check::<pdpb::PutStoreRequest>,
    check::<pdpb::GetStoreResponse>,
    check::<pdpb::GetAllStoresResponse>,
    check::<pdpb::StoreHeartbeatRequest>,
    check::<pdpb::RegionHeartbeatRequest>,
    check::<pdpb::RegionHeartbeatResponse>,
    check::<pdpb::GetRegionResponse>,
    check::<pdpb::ScanRegionsRequest>,
    check::<pdpb::ScanRegionsResponse>,
    check::<store_link::RegisterStoreRequest>,
    check::<store_link::BootstrapPlan>,
    check::<raft::RaftBatch>,
    check::<keyspacepb::LoadKeyspaceRequest>,
    check::<health::HealthCheckRequest>,
    check::<kvrpcpb::RawCasRequest>,
    check::<kvrpcpb::RawCasResponse>,
];

/// See the module.
pub fn run(bytes: &[u8]) {
    let Some((choice, message)) = bytes.split_first() else { return };
    CHECKS[usize::from(*choice) % CHECKS.len()](message);
}

/// See the module.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let region = crate::regions::region(2, b"a", b"m", 5);
    let context = Some(kvrpcpb::Context { region_id: 2, term: 6, ..Default::default() });
    let pair = kvrpcpb::KvPair { key: "k".into(), value: "v".into(), ..Default::default() };
    let pairs = vec![pair; 2];
    let put = kvrpcpb::RawBatchPutRequest { context, pairs, ..Default::default() };
    let epoch_not_match = Some(errorpb::EpochNotMatch { current_regions: vec![region.clone()] });
    let error = errorpb::Error { epoch_not_match, ..Default::default() };
    let regions = vec![pdpb::Region { region: Some(region), ..Default::default() }; 2];
    let scan = pdpb::ScanRegionsResponse { regions, ..Default::default() };
    let seed = |choice: u8, message: Vec<u8>| [vec![choice], message].concat();
    vec![
        seed(3, put.encode_to_vec()),
        seed(14, error.encode_to_vec()),
        seed(30, scan.encode_to_vec()),
        seed(33, crate::envelopes::seeds().swap_remove(0)[1..].to_vec()),
    ]
}
