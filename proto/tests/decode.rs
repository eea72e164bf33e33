//! Bytes from outside: decoding ends in a message or an error, never in a panic.

use std::fmt::Debug;

use flotilla_proto::{errorpb, kvrpcpb, metapb, pdpb, raft, store_link};
use proptest::prelude::*;
use prost::Message;

fn decode<M: Message + Default + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(message) = M::decode(bytes) {
        let again = M::decode(message.encode_to_vec().as_slice());
        assert_eq!(again.ok(), Some(message), "what was decoded encodes to itself");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        decode::<kvrpcpb::Context>(&bytes);
        decode::<kvrpcpb::RawBatchPutRequest>(&bytes);
        decode::<kvrpcpb::RawScanRequest>(&bytes);
        decode::<errorpb::Error>(&bytes);
        decode::<metapb::Region>(&bytes);
        decode::<pdpb::RegionHeartbeatRequest>(&bytes);
        decode::<pdpb::ScanRegionsResponse>(&bytes);
        decode::<raft::RaftBatch>(&bytes);
        decode::<store_link::BootstrapPlan>(&bytes);
    }

    #[test]
    fn damaged_batches(
        data in prop::collection::vec(any::<u8>(), 0..64),
        position: prop::sample::Index,
        byte: u8,
    ) {
        let entry = raft::RaftEntry { term: 3, index: 9, data: data.into(), ..Default::default() };
        let message = raft::RaftMessage { term: 3, entries: vec![entry], ..Default::default() };
        let envelope = raft::RaftEnvelope {
            region_id: 2,
            start_key: "a".into(),
            message: Some(message),
            ..Default::default()
        };
        let mut bytes = raft::RaftBatch { envelopes: vec![envelope] }.encode_to_vec();
        let position = position.index(bytes.len());
        bytes[position] = byte;
        decode::<raft::RaftBatch>(&bytes);
    }
}
