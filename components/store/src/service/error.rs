//! Region errors: what clients act upon. Exactly one field beside the text is set.

use std::time::Duration;

use flotilla_base::{Peer, Region, RegionId, StoreId};
use flotilla_multiraft::{RequestError, RequestHeader};
use flotilla_proto::{errorpb, metapb};

use super::Regions;

/// After so long a store that had no room for a write may have some: it applies more than its budget in a second.
pub(super) const BACKOFF: Duration = Duration::from_millis(500);

/// Neighbours that are told to a client whose region was split, at most.
const SIBLINGS_MAX: u64 = 10;

/// The region error for a request that its replica refused.
pub(super) fn region_error(
    refusal: RequestError,
    header: &RequestHeader,
    regions: &impl Regions,
) -> errorpb::Error {
    let message = refusal.to_string();
    let mut error = errorpb::Error { message, ..errorpb::Error::default() };
    match refusal {
        RequestError::NotLeader { region, leader } => {
            let leader = leader.filter(|leader| is_member(regions, region, leader));
            let not_leader =
                errorpb::NotLeader { region_id: region.get(), leader: leader.map(Into::into) };
            error.not_leader = Some(not_leader);
        }
        RequestError::PeerMismatch { requested, actual, .. } => {
            error.mismatch_peer_id = Some(errorpb::MismatchPeerId {
                request_peer_id: requested.get(),
                store_peer_id: actual.get(),
            });
        }
        RequestError::EpochNotMatch { current } => {
            let current_regions = current_regions(&current, header, regions);
            error.epoch_not_match = Some(errorpb::EpochNotMatch { current_regions });
        }
        // A damaged peer is as good as absent: the client asks the others, which repair the region.
        RequestError::RegionNotFound(region) | RequestError::Quarantined(region) => {
            error.region_not_found = Some(errorpb::RegionNotFound { region_id: region.get() });
        }
        RequestError::NotInitialised(region) => {
            error.region_not_initialized =
                Some(errorpb::RegionNotInitialized { region_id: region.get() });
        }
        RequestError::StaleCommand(_) => error.stale_command = Some(errorpb::StaleCommand {}),
        RequestError::Busy(_) | RequestError::ApplyBehind(_) => {
            return server_is_busy_for(&error.message, BACKOFF);
        }
        RequestError::KeyNotInRegion { region, key, range } => {
            error.key_not_in_region = Some(errorpb::KeyNotInRegion {
                key,
                region_id: region.get(),
                start_key: range.start,
                end_key: range.end,
            });
        }
        // No kind of the contract says it, and it is no client's fault: the text does.
        RequestError::Split { .. } | RequestError::Change { .. } => {}
        RequestError::EntryTooLarge { region, bytes } => {
            error.raft_entry_too_large = Some(errorpb::RaftEntryTooLarge {
                region_id: region.get(),
                entry_size: bytes as u64,
            });
        }
    }
    error
}

/// The address belongs to another store than the client thinks.
pub(super) fn store_not_match(wanted: StoreId, actual: StoreId) -> errorpb::Error {
    let store_not_match =
        errorpb::StoreNotMatch { request_store_id: wanted.get(), actual_store_id: actual.get() };
    errorpb::Error {
        message: format!("this is store {actual}, not {wanted}"),
        store_not_match: Some(store_not_match),
        ..errorpb::Error::default()
    }
}

/// This peer cannot find out how new its data has to be: it knows no leader whom it could ask.
pub(super) fn read_index_not_ready(region: RegionId, reason: &str) -> errorpb::Error {
    let not_ready =
        errorpb::ReadIndexNotReady { region_id: region.get(), reason: reason.to_owned() };
    errorpb::Error {
        message: format!("region {region}: {reason}"),
        read_index_not_ready: Some(not_ready),
        ..errorpb::Error::default()
    }
}

/// Nothing was done for lack of time or room. Some clients give up on it, so it comes last.
pub(super) fn server_is_busy(reason: &str) -> errorpb::Error {
    let busy = errorpb::ServerIsBusy { reason: reason.to_owned(), ..Default::default() };
    errorpb::Error {
        message: format!("server is busy: {reason}"),
        server_is_busy: Some(busy),
        ..errorpb::Error::default()
    }
}

/// Nothing was done, and `wait` is how long it takes until it may be.
pub(super) fn server_is_busy_for(reason: &str, wait: Duration) -> errorpb::Error {
    let mut error = server_is_busy(reason);
    if let Some(busy) = &mut error.server_is_busy {
        busy.backoff_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    }
    error
}

/// Nothing was done: the disk has no room for it.
pub(super) fn disk_full(store: StoreId, reason: &str) -> errorpb::Error {
    let full = errorpb::DiskFull { store_id: vec![store.get()], reason: reason.to_owned() };
    errorpb::Error {
        message: format!("disk full: {reason}"),
        disk_full: Some(full),
        ..errorpb::Error::default()
    }
}

/// An error that has no kind of its own.
pub(super) fn other(why: &str) -> errorpb::Error {
    errorpb::Error { message: why.to_owned(), ..errorpb::Error::default() }
}

/// The write was proposed, and nobody here knows what became of it.
pub(super) fn undetermined(why: &str) -> errorpb::Error {
    let undetermined = errorpb::UndeterminedResult { message: why.to_owned() };
    errorpb::Error {
        message: format!("the write may or may not take effect: {why}"),
        undetermined_result: Some(undetermined),
        ..errorpb::Error::default()
    }
}

/// Clients reload the region where the leader is not among the peers they know.
fn is_member(regions: &impl Regions, region: RegionId, leader: &Peer) -> bool {
    regions.region(region).is_none_or(|region| region.peer(leader.id).is_some())
}

/// The region itself, and for a client with an older shape those that were split from it: they lie to
/// its left. All of them live here, which clients take for granted.
fn current_regions(
    current: &Region,
    header: &RequestHeader,
    regions: &impl Regions,
) -> Vec<metapb::Region> {
    let mut told = vec![current.into()];
    let missed = current.epoch.version.get().saturating_sub(header.version.get());
    if missed > 0 {
        let all = regions.regions();
        let position = all.iter().position(|region| region.id == current.id).unwrap_or(0);
        let left = all[..position].iter().rev();
        let count = missed.min(SIBLINGS_MAX) as usize;
        told.extend(left.take(count).map(metapb::Region::from));
    }
    told
}
