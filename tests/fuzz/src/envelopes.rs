//! The way of bytes from the network into raft: a batch of envelopes, as another store sends it, decoded, converted,
//! admitted, guarded, stepped. The first byte chooses the life of the store. Oracles: what is converted is canonical;
//! all rules of the store.

use flotilla_base::{Epoch, Index, Peer, PeerId, RegionId, StoreId, Term};
use flotilla_multiraft::PeerMessage;
use flotilla_proto::raft::{RaftBatch, RaftEnvelope};
use flotilla_raftgroup::{Entry, Message, MessageKind};
use prost::Message as _;

use crate::attacked::Store;
use crate::beats::{pack, unpack};
use crate::envelope::{decode, encode};

/// Lives that a store can have had.
const LIVES: u8 = 7;

/// See the module.
pub fn run(bytes: &[u8]) {
    let Some((life, batch)) = bytes.split_first() else { return };
    let Ok(batch) = RaftBatch::decode(batch) else { return };
    let Ok(envelopes) = unpack(batch, StoreId(2), StoreId(1)) else { return };
    let messages: Vec<PeerMessage> = envelopes.into_iter().filter_map(canonical).collect();
    if messages.is_empty() {
        return;
    }
    let mut store = Store::met_in(life % LIVES);
    for message in messages {
        store.receive(message);
        store.turn();
        store.sync();
        if store.is_stopped {
            return;
        }
        store.apply();
        store.wake();
        store.check();
    }
    if !store.is_stopped {
        store.settle();
    }
}

/// The message of an envelope; it must come back from its own form.
fn canonical(envelope: RaftEnvelope) -> Option<PeerMessage> {
    let message = decode(envelope)?;
    let bytes = encode(message.clone()).encode_to_vec();
    let again = RaftEnvelope::decode(bytes.as_slice()).ok().and_then(decode);
    assert_eq!(again.as_ref(), Some(&message), "a message survives the wire");
    Some(message)
}

/// A message of each kind, for stores of each life.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let envelope = |number| {
        let kind = MessageKind::from_number(number).expect("twelve kinds");
        let (from, to) = (Peer::voter(PeerId(22), StoreId(2)), Peer::voter(PeerId(21), StoreId(1)));
        let mut message = Message::new(kind, from.id, to.id, Term(6));
        message.commit = Index(5);
        // These travel in columns.
        if !matches!(kind, MessageKind::Heartbeat | MessageKind::HeartbeatResponse) {
            (message.index, message.log_term) = (Index(5), Term(5));
        }
        if kind == MessageKind::Append {
            let entry = |index| Entry { term: Term(6), index: Index(index), ..Entry::default() };
            message.entries = vec![entry(6), entry(7)];
        }
        let (region, epoch, matched_by_all) = (RegionId(2), Epoch::FIRST, Index(5));
        encode(PeerMessage { region, from, to, epoch, matched_by_all, message })
    };
    let lives = (0..LIVES).map(|life| {
        let envelopes = (1..=12).map(envelope).collect();
        [vec![life], pack(envelopes).encode_to_vec()].concat()
    });
    lives.collect()
}
