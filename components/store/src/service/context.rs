//! What every request says about where it is meant to be served, and the checks that need no replica.

use std::time::Duration;

use flotilla_base::{ClusterId, PeerId, RegionId, StoreId, Term, Version};
use flotilla_multiraft::RequestHeader;
use flotilla_proto::{
    errorpb,
    kvrpcpb::{self, ApiVersion},
};
use tokio::time::Instant;
use tonic::Status;

use super::error;
use crate::split::load::meter::Shape;

/// No request is worked on for longer, whatever its client allows.
pub(super) const TIME_MAX: Duration = Duration::from_secs(30);

/// A request that may go on to its replica.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) region: RegionId,
    pub(super) header: RequestHeader,
    pub(super) deadline: Instant,
    /// A read may be served by a peer that does not lead.
    pub(super) is_for_any_replica: bool,
}

impl Target {
    /// The region in the shape that the request means.
    pub(super) const fn shape(&self) -> Shape {
        Shape { region: self.region, version: self.header.version }
    }
}

/// Why a request is answered without a result, by the place of the answer.
#[derive(Debug)]
pub(super) enum Rejection {
    /// Try elsewhere or later.
    Region(Box<errorpb::Error>),
    /// A final refusal, in the response's body.
    Refused(String),
    /// The call as a whole makes no sense.
    Call(Status),
}

/// Who answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub(super) cluster: ClusterId,
    pub(super) store: StoreId,
}

impl Rejection {
    pub(super) fn region(error: errorpb::Error) -> Self {
        Self::Region(Box::new(error))
    }

    /// Time ran out before anything was proposed. Clients look for this text.
    pub(super) fn deadline() -> Self {
        Self::region(error::server_is_busy("deadline is exceeded, nothing was done"))
    }
}

impl Identity {
    /// Checks what the replica cannot: whether cluster and store are meant, and how keys are to be read.
    pub(super) fn check(
        self,
        context: Option<&kvrpcpb::Context>,
        cf: &str,
    ) -> Result<Target, Rejection> {
        let none = kvrpcpb::Context::default();
        let context = context.unwrap_or(&none);
        let (ours, theirs) = (self.cluster.get(), context.cluster_id);
        if theirs != 0 && theirs != ours {
            let text = format!("mismatch cluster id, need {ours} but got {theirs}");
            return Err(Rejection::Call(Status::invalid_argument(text)));
        }
        check_body(context, cf).map_err(Rejection::Refused)?;
        let peer = context.peer.unwrap_or_default();
        if peer.store_id != 0 && peer.store_id != self.store.get() {
            let wanted = StoreId(peer.store_id);
            return Err(Rejection::region(error::store_not_match(wanted, self.store)));
        }
        let header = RequestHeader {
            peer: PeerId(peer.id),
            version: Version(context.region_epoch.unwrap_or_default().version),
            term: Term(context.term),
        };
        let deadline = Instant::now() + time_allowed(context);
        let (region, is_for_any_replica) = (RegionId(context.region_id), context.replica_read);
        Ok(Target { region, header, deadline, is_for_any_replica })
    }
}

/// How long a request may take.
pub(super) fn time_allowed(context: &kvrpcpb::Context) -> Duration {
    match context.max_execution_duration_ms {
        0 => TIME_MAX,
        millis => TIME_MAX.min(Duration::from_millis(millis)),
    }
}

/// Keys are plain bytes, and raw data has one family.
fn check_body(context: &kvrpcpb::Context, cf: &str) -> Result<(), String> {
    let version = context.api_version;
    if !matches!(ApiVersion::try_from(version), Ok(ApiVersion::V1 | ApiVersion::V1ttl)) {
        return Err(format!(
            "ApiVersionNotMatched: this cluster serves API version 1, the request is of version \
             {version}; use a client without keyspaces"
        ));
    }
    if !matches!(cf, "" | "default") {
        return Err(format!("invalid cf name: {cf}; raw data lives in the family \"default\""));
    }
    Ok(())
}
