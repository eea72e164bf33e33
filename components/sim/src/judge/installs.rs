//! A snapshot is acknowledged by a peer that serves it: not while its data is being put in place.

use flotilla_base::{Family, KvRead, Tables};
use flotilla_multiraft::PeerMessage;
use flotilla_multiraft::persist::{RegionState, read_region_state};
use flotilla_raftgroup::{MessageKind, disk};

use super::{Place, Verdict, require};

const EMPTY: &str = "an install deletes what was there";
const SERVED: &str = "an install is acknowledged behind its last batch";

/// Judges a message that leaves a store; `synced` is what a crash would leave.
///
/// # Errors
/// It acknowledges a snapshot that is not in place.
pub fn check(message: &PeerMessage, synced: &dyn KvRead) -> Verdict {
    let said = &message.message;
    if said.kind != MessageKind::AppendResponse || said.reject.is_some() {
        return Ok(());
    }
    let region = message.region;
    let Ok(Some(RegionState::Applying(_))) = read_region_state(synced, region) else {
        return Ok(());
    };
    let apply = disk::read_apply_state(synced, region).ok().flatten().unwrap_or_default();
    let raft = disk::read_raft_state(synced, region).ok().flatten().unwrap_or_default();
    // What it said of its old log may still be on its way.
    let is_old = said.term < raft.hard_state.term || said.index < apply.applied.index;
    require(is_old, SERVED, || {
        let place = Place(message.from.store, region);
        format!("{place}: acknowledges {} of a snapshot at {}", said.index, apply.applied.index)
    })
}

/// Judges what is left once a store has deleted the data that a snapshot replaces.
///
/// # Errors
/// Something is left where the peer has owned keys, or is to own some.
pub fn check_deleted(place: Place, image: &Tables) -> Verdict {
    let state = read_region_state(image, place.1).ok().flatten();
    let Some(RegionState::Applying(applying)) = state else {
        return require(false, EMPTY, || format!("{place}: nothing is put in place"));
    };
    let mut left = image.family(Family::Raw).keys().filter(|key| applying.clean.contains(key));
    let first = left.next();
    require(first.is_none(), EMPTY, || format!("{place}: {first:?} is left"))
}

#[cfg(test)]
mod tests {
    use flotilla_base::{Index, KeyRange, Mutation, PeerId};
    use flotilla_multiraft::StageNumber;
    use flotilla_multiraft::persist::{Applying, put_region_state};

    use super::*;
    use crate::judge::samples::{
        ONE, apply_state, broken, disk, message, position, raft_state, region,
    };

    #[test]
    fn an_acknowledgement_in_front_of_the_last_batch_is_found() {
        let (peer, stage) = (PeerId(201), StageNumber(1));
        let applying = Applying { peer, region: region(), clean: KeyRange::all(), stage };
        let records = |state: &RegionState| {
            let state = put_region_state(ONE.1, state);
            disk([vec![state, raft_state(7, 0, position(6, 9)), apply_state(position(6, 9), 0)]])
        };
        let installing = records(&RegionState::Applying(applying));
        let mut answer = message(MessageKind::AppendResponse, 7);
        answer.message.index = Index(9);
        assert_eq!(broken(check(&answer, installing.synced())), SERVED);
        assert_eq!(check_deleted(ONE, installing.synced()), Ok(()));
        let mut left = installing.synced().clone();
        left.apply(&[Mutation::Put(Family::Raw, "k".into(), "1:".into())]);
        assert_eq!(broken(check_deleted(ONE, &left)), EMPTY);
        let normal = records(&RegionState::Normal(peer, region()));
        assert_eq!(check(&answer, normal.synced()), Ok(()));
        assert_eq!(broken(check_deleted(ONE, normal.synced())), EMPTY);
        answer.message.index = Index(8);
        assert_eq!(check(&answer, installing.synced()), Ok(()), "of the old log");
        let heartbeat = message(MessageKind::HeartbeatResponse, 7);
        assert_eq!(check(&heartbeat, installing.synced()), Ok(()));
    }
}
