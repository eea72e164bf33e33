//! Refusals on the wire: gRPC statuses, and errors in response headers.
//!
//! The texts are protocol: clients look for "not leader" and for "invalid store ID … not found".

use flotilla_pdcore::Denied;
use flotilla_placement::{OperatorRefusal, Refusal, ScanRefusal, SplitRefusal};
use flotilla_proto::pdpb;
use tonic::Status;

use crate::{handle::CoreHandle, status};

/// The header of every response.
pub(super) fn header(cluster_id: u64) -> Option<pdpb::ResponseHeader> {
    Some(pdpb::ResponseHeader { cluster_id, error: None })
}

/// The header of a response that brings nothing but an error.
pub(super) fn error_header(
    cluster_id: u64,
    kind: pdpb::ErrorType,
    message: impl Into<String>,
) -> Option<pdpb::ResponseHeader> {
    let error = pdpb::Error { r#type: kind.into(), message: message.into() };
    Some(pdpb::ResponseHeader { cluster_id, error: Some(error) })
}

/// The header for a cluster that has no regions yet.
pub(super) fn not_bootstrapped(cluster_id: u64) -> Option<pdpb::ResponseHeader> {
    error_header(cluster_id, pdpb::ErrorType::NotBootstrapped, "cluster is not bootstrapped")
}

/// Refuses a sender that means another cluster.
fn check_cluster(ours: u64, theirs: u64) -> Result<(), Status> {
    if ours == theirs {
        return Ok(());
    }
    let text = format!("mismatch cluster id, need {ours} but got {theirs}");
    Err(Status::failed_precondition(text))
}

/// Checks that the sender means this cluster and that this member leads.
pub(super) async fn admit(core: &CoreHandle, theirs: u64) -> Result<status::Status, Status> {
    check_cluster(core.status().cluster_id(), theirs)?;
    core.leading().await.map_err(|denied| status(&denied))
}

/// A refusal that has no place in a header.
pub(super) fn status(denied: &Denied) -> Status {
    let text = denied.to_string();
    match denied {
        Denied::NotLeader | Denied::Stopped | Denied::Refused(Refusal::StaleTerm { .. }) => {
            Status::unavailable(text)
        }
        Denied::UnknownStore(_) => Status::unknown(text),
        Denied::UnknownRegion(_) => Status::failed_precondition(text),
        Denied::Refused(Refusal::DuplicateAddress { .. }) => Status::already_exists(text),
        Denied::Refused(Refusal::IncompleteStore(_)) => Status::invalid_argument(text),
        Denied::Split(_) | Denied::Operator(_) | Denied::NoOperator(_) | Denied::Removal(_) => {
            Status::failed_precondition(text)
        }
        Denied::Tombstone(_) | Denied::Refused(_) => Status::failed_precondition(text),
    }
}

/// The kind of error with which a response header tells a refusal of the state machine; `None` where
/// it belongs into the status.
pub(super) fn kind_in_header(denied: &Denied) -> Option<pdpb::ErrorType> {
    match denied {
        Denied::NotLeader
        | Denied::Stopped
        | Denied::UnknownStore(_)
        | Denied::Refused(Refusal::StaleTerm { .. }) => None,
        Denied::Split(SplitRefusal::Unknown(_)) => Some(pdpb::ErrorType::RegionNotFound),
        Denied::Split(SplitRefusal::NoChildren(_) | SplitRefusal::TooMany { .. }) => {
            Some(pdpb::ErrorType::InvalidValue)
        }
        Denied::Operator(OperatorRefusal::UnknownRegion(_))
        | Denied::UnknownRegion(_)
        | Denied::NoOperator(_) => Some(pdpb::ErrorType::RegionNotFound),
        Denied::Split(_) | Denied::Operator(_) | Denied::Removal(_) => {
            Some(pdpb::ErrorType::Unknown)
        }
        Denied::Tombstone(_) | Denied::Refused(Refusal::Tombstone(_)) => {
            Some(pdpb::ErrorType::StoreTombstone)
        }
        Denied::Refused(Refusal::AlreadyBootstrapped) => Some(pdpb::ErrorType::AlreadyBootstrapped),
        Denied::Refused(_) => Some(pdpb::ErrorType::Unknown),
    }
}

/// The header of a scan that lists nothing.
pub(super) fn scan_header(cluster_id: u64, refusal: &ScanRefusal) -> Option<pdpb::ResponseHeader> {
    let kind = match refusal {
        ScanRefusal::BadRange(_) => pdpb::ErrorType::Unknown,
        ScanRefusal::Hole(_) => pdpb::ErrorType::RegionsNotContainAllKeyRange,
    };
    error_header(cluster_id, kind, refusal.to_string())
}
