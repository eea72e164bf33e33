//! Bytes from outside: decoding ends in a message or an error, never in a panic.

use std::fmt::Debug;

use flotilla_damage::damaged;
use flotilla_proto::{errorpb, kvrpcpb, metapb, pdpb, raft, store_link, tikvpb};
use proptest::prelude::*;
use prost::Message;

fn decode<M: Message + Default + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(message) = M::decode(bytes) {
        let again = M::decode(message.encode_to_vec().as_slice());
        assert_eq!(again.ok(), Some(message), "what was decoded encodes to itself");
    }
}

fn decode_all(bytes: &[u8]) {
    decode::<kvrpcpb::Context>(bytes);
    decode::<kvrpcpb::RawBatchPutRequest>(bytes);
    decode::<kvrpcpb::RawScanRequest>(bytes);
    decode::<tikvpb::BatchCommandsRequest>(bytes);
    decode::<tikvpb::BatchCommandsResponse>(bytes);
    decode::<errorpb::Error>(bytes);
    decode::<metapb::Region>(bytes);
    decode::<pdpb::GetMembersResponse>(bytes);
    decode::<pdpb::PutStoreRequest>(bytes);
    decode::<pdpb::StoreHeartbeatRequest>(bytes);
    decode::<pdpb::RegionHeartbeatRequest>(bytes);
    decode::<pdpb::ScanRegionsResponse>(bytes);
    decode::<raft::RaftBatch>(bytes);
    decode::<store_link::BootstrapPlan>(bytes);
}

fn region() -> metapb::Region {
    let peer = |id| metapb::Peer { id, store_id: id - 10, role: 1, is_witness: false };
    metapb::Region {
        id: 2,
        start_key: "a".into(),
        end_key: "m".into(),
        region_epoch: Some(metapb::RegionEpoch { conf_ver: 1, version: 5 }),
        peers: vec![peer(11), peer(12)],
    }
}

fn envelopes(data: Vec<u8>) -> raft::RaftBatch {
    let entry = raft::RaftEntry { term: 3, index: 9, data: data.into(), ..Default::default() };
    let message = raft::RaftMessage { term: 3, entries: vec![entry; 2], ..Default::default() };
    let envelope =
        raft::RaftEnvelope { region_id: 2, message: Some(message), ..Default::default() };
    let beats = raft::Beats { region_ids: vec![2, 300], terms: vec![1, 9], ..Default::default() };
    raft::RaftBatch { envelopes: vec![envelope; 2], heartbeats: Some(beats), responses: None }
}

fn commands() -> tikvpb::BatchCommandsRequest {
    use tikvpb::batch_commands_request::{Request, request::Cmd};
    let context = Some(kvrpcpb::Context { region_id: 2, ..Default::default() });
    let key = "k".into();
    let put = kvrpcpb::RawPutRequest { context, key, value: "v".into(), ..Default::default() };
    let get = kvrpcpb::RawGetRequest { key: "k".into(), ..Default::default() };
    let commands = [Cmd::RawPut(put), Cmd::RawGet(get)];
    let requests = commands.map(|cmd| Request { cmd: Some(cmd) }).to_vec();
    tikvpb::BatchCommandsRequest { requests, request_ids: vec![1, u64::MAX] }
}

/// A message of each shape, encoded.
fn samples(data: Vec<u8>) -> Vec<Vec<u8>> {
    let current_regions = vec![region(), region()];
    let epoch_not_match = Some(errorpb::EpochNotMatch { current_regions });
    let error = errorpb::Error { epoch_not_match, message: "why".into(), ..Default::default() };
    let heartbeat = pdpb::RegionHeartbeatRequest {
        region: Some(region()),
        leader: Some(region().peers[0]),
        down_peers: vec![pdpb::PeerStats { peer: Some(region().peers[1]), down_seconds: 9 }],
        approximate_size: u64::MAX,
        ..Default::default()
    };
    let planned = store_link::PlannedRegion { region: Some(region()), first_leader_peer: 11 };
    vec![
        envelopes(data).encode_to_vec(),
        commands().encode_to_vec(),
        error.encode_to_vec(),
        heartbeat.encode_to_vec(),
        store_link::BootstrapPlan { cluster_id: 7, regions: vec![planned; 2] }.encode_to_vec(),
    ]
}

proptest! {
    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        decode_all(&bytes);
    }

    #[test]
    fn damaged_messages(
        bytes in damaged(
            (prop::collection::vec(any::<u8>(), 0..64), any::<prop::sample::Selector>())
                .prop_map(|(data, choice)| choice.select(samples(data))),
        ),
    ) {
        decode_all(&bytes);
    }
}
