//! Heartbeats and answers to them, packed into columns: regions that are awake send little else, and each says little.
//!
//! A context is packed where it names a round of heartbeats: those of a leader with a lease all have one. Each word of it
//! that the envelope says already is left out.
//!
//! What is packed comes out in front of everything else of its batch. A network may do that to any message, and raft does
//! not mind; a queue lets a new heartbeat take the place of one that waits, too.

use flotilla_base::{PeerId, RoundName, StoreId, Term};
use flotilla_proto::raft::{Beats, RaftBatch, RaftEnvelope, RaftMessage, RaftMessageKind};

/// No batch holds more of either kind: what is unpacked is larger than what came.
pub(crate) const BEATS_MAX: usize = 1024;

/// Why columns make no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MalformedBeats {
    /// Not all are equally long.
    #[error("the columns of its heartbeats are not equally long")]
    Uneven,
    /// More than [`BEATS_MAX`].
    #[error("it holds {0} heartbeats or answers, more than {BEATS_MAX}")]
    TooMany(usize),
}

/// The numbers of one envelope that is packed, in the order of the columns.
type Row = [u64; 10];

/// A batch of these envelopes, of which none but a heartbeat or an answer changes its place.
pub(crate) fn pack(envelopes: Vec<RaftEnvelope>) -> RaftBatch {
    let (mut heartbeats, mut responses) = (Beats::default(), Beats::default());
    let mut others = Vec::new();
    for envelope in envelopes {
        let kind = envelope.message.as_ref().map(RaftMessage::kind);
        let (kind, columns) = match kind {
            Some(kind @ RaftMessageKind::Heartbeat) => (kind, &mut heartbeats),
            Some(kind @ RaftMessageKind::HeartbeatResponse) => (kind, &mut responses),
            _ => {
                others.push(envelope);
                continue;
            }
        };
        let row = row_of(&envelope);
        let stores = (StoreId(envelope.from_store), StoreId(envelope.to_store));
        let says_no_more =
            columns.region_ids.len() < BEATS_MAX && unpacked(kind, stores, row) == envelope;
        if says_no_more {
            columns_of(columns)
                .into_iter()
                .zip(row)
                .for_each(|(column, number)| column.push(number));
        } else {
            others.push(envelope);
        }
    }
    let some = |columns: Beats| (!columns.region_ids.is_empty()).then_some(columns);
    RaftBatch { envelopes: others, heartbeats: some(heartbeats), responses: some(responses) }
}

/// The envelopes of a batch that store `from` sent to store `to`.
///
/// # Errors
/// [`MalformedBeats`]: no store sends such columns.
pub(crate) fn unpack(
    batch: RaftBatch,
    from: StoreId,
    to: StoreId,
) -> Result<Vec<RaftEnvelope>, MalformedBeats> {
    let mut envelopes = Vec::new();
    let kinds = [RaftMessageKind::Heartbeat, RaftMessageKind::HeartbeatResponse];
    for (kind, columns) in kinds.into_iter().zip([batch.heartbeats, batch.responses]) {
        let Some(mut columns) = columns else { continue };
        let columns = columns_of(&mut columns);
        let row = |position: usize| columns.each_ref().map(|column| column[position]);
        let rows = (0..count(&columns)?).map(row);
        envelopes.extend(rows.map(|row| unpacked(kind, (from, to), row)));
    }
    envelopes.extend(batch.envelopes);
    Ok(envelopes)
}

/// What of an envelope is packed.
fn row_of(envelope: &RaftEnvelope) -> Row {
    let (term, commit) = envelope.message.as_ref().map_or((0, 0), |it| (it.term, it.commit));
    let context = envelope.message.as_ref().map_or(&[][..], |it| &it.context);
    let (run, round) = RoundName::read(context).map_or((0, 0), |name| (name.run, name.number));
    [
        envelope.region_id,
        envelope.from_peer,
        envelope.to_peer,
        envelope.version,
        envelope.conf_ver,
        envelope.matched_by_all,
        term,
        commit,
        run,
        round,
    ]
}

fn unpacked(kind: RaftMessageKind, (from, to): (StoreId, StoreId), row: Row) -> RaftEnvelope {
    let [
        region_id,
        from_peer,
        to_peer,
        version,
        conf_ver,
        matched_by_all,
        term,
        commit,
        run,
        round,
    ] = row;
    let leader = if kind == RaftMessageKind::Heartbeat { from_peer } else { to_peer };
    let name = RoundName { peer: PeerId(leader), term: Term(term), run, number: round };
    let context = if (run, round) == (0, 0) { Vec::new() } else { name.to_bytes() }.into();
    let message =
        RaftMessage { kind: kind.into(), term, commit, context, ..RaftMessage::default() };
    RaftEnvelope {
        region_id,
        from_peer,
        from_store: from.get(),
        to_peer,
        to_store: to.get(),
        version,
        conf_ver,
        matched_by_all,
        message: Some(message),
        ..RaftEnvelope::default()
    }
}

/// How many rows there are.
fn count(columns: &[&mut Vec<u64>; 10]) -> Result<usize, MalformedBeats> {
    let count = columns[0].len();
    if columns.iter().any(|column| column.len() != count) {
        return Err(MalformedBeats::Uneven);
    }
    if count > BEATS_MAX { Err(MalformedBeats::TooMany(count)) } else { Ok(count) }
}

/// In the order of [`Row`].
fn columns_of(beats: &mut Beats) -> [&mut Vec<u64>; 10] {
    [
        &mut beats.region_ids,
        &mut beats.from_peers,
        &mut beats.to_peers,
        &mut beats.versions,
        &mut beats.conf_vers,
        &mut beats.matched_by_all,
        &mut beats.terms,
        &mut beats.commits,
        &mut beats.runs,
        &mut beats.rounds,
    ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    const STORES: (StoreId, StoreId) = (StoreId(1), StoreId(2));

    fn beat(kind: RaftMessageKind, region: u64) -> RaftEnvelope {
        unpacked(
            kind,
            STORES,
            [region, region * 10, region * 10 + 1, 3_000, 7, 40, 9, 41, 3, 70_000],
        )
    }

    fn context_of(leader: u64, term: u64) -> Vec<u8> {
        let (peer, term) = (PeerId(leader), Term(term));
        RoundName { peer, term, run: 3, number: 70_000 }.to_bytes()
    }

    fn again(batch: RaftBatch) -> Vec<RaftEnvelope> {
        unpack(batch, STORES.0, STORES.1).expect("packed here")
    }

    /// Where the field that a beat cannot hold is set, the envelope travels as it is.
    fn envelopes() -> impl Strategy<Value = Vec<RaftEnvelope>> {
        let kinds = [
            RaftMessageKind::Heartbeat,
            RaftMessageKind::HeartbeatResponse,
            RaftMessageKind::RequestVote,
        ];
        let one = (prop::sample::select(kinds.to_vec()), 1..9_u64, 0..12_usize);
        let one = one.prop_map(|(kind, region, field)| {
            let mut envelope = beat(kind, region);
            let message = envelope.message.as_mut().expect("made with one");
            match field {
                0 => message.context = "read".into(),
                1 => message.reject = true,
                2 => message.index = 5,
                3 => envelope.start_key = "a".into(),
                4 => message.context = prost::bytes::Bytes::new(),
                // Of another lead.
                5 => message.context = context_of(77, 9).into(),
                6 => message.context = vec![0; 32].into(),
                _ => {}
            }
            envelope
        });
        prop::collection::vec(one, 0..40)
    }

    proptest! {
        /// Nothing is lost, nothing comes twice, and what is no beat keeps its order.
        #[test]
        fn what_is_packed_comes_out(sent in envelopes()) {
            let came = again(pack(sent.clone()));
            let is_beat = |it: &RaftEnvelope| pack(vec![it.clone()]).envelopes.is_empty();
            let split = |all: &[RaftEnvelope]| -> [Vec<RaftEnvelope>; 2] {
                [true, false].map(|wanted| all.iter().filter(|it| is_beat(it) == wanted).cloned().collect())
            };
            let ([mut sent_beats, sent_others], [mut came_beats, came_others]) = (split(&sent), split(&came));
            prop_assert_eq!(sent_others, came_others);
            for beats in [&mut sent_beats, &mut came_beats] {
                beats.sort_by_key(|it| (it.message.as_ref().map(|message| message.kind), it.region_id));
            }
            prop_assert_eq!(sent_beats, came_beats);
        }
    }

    #[test]
    fn columns_from_outside_are_checked() {
        let packed = || pack(vec![beat(RaftMessageKind::Heartbeat, 4)]);
        for column in 0..10 {
            let mut batch = packed();
            let beats = batch.heartbeats.as_mut().expect("one is packed");
            columns_of(beats).into_iter().nth(column).expect("ten").push(1);
            assert_eq!(unpack(batch, STORES.0, STORES.1), Err(MalformedBeats::Uneven), "{column}");
        }
        let mut batch = packed();
        let beats = batch.heartbeats.as_mut().expect("one is packed");
        columns_of(beats).into_iter().for_each(|column| column.resize(BEATS_MAX + 1, 1));
        let refused = Err(MalformedBeats::TooMany(BEATS_MAX + 1));
        assert_eq!(unpack(batch, STORES.0, STORES.1), refused);
    }

    /// More than a batch may hold in columns travels all the same.
    #[test]
    fn what_has_no_room_travels_as_it_is() {
        let sent: Vec<_> =
            (0..=BEATS_MAX as u64).map(|it| beat(RaftMessageKind::Heartbeat, it + 1)).collect();
        let batch = pack(sent.clone());
        assert_eq!(batch.envelopes.len(), 1);
        assert_eq!(again(batch), sent);
    }

    /// Sizes on the wire of a thousand heartbeats: the reason for all of this.
    #[test]
    fn packed_heartbeats_are_small() {
        let kind = RaftMessageKind::Heartbeat;
        let sent: Vec<_> = (0..1_000).map(|it| beat(kind, 10_000 + it)).collect();
        let plain = RaftBatch { envelopes: sent.clone(), ..RaftBatch::default() }.encoded_len();
        let packed = pack(sent).encoded_len();
        assert!(packed * 2 < plain, "{packed} bytes packed, {plain} not");
    }
}
