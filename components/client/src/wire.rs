//! From the wire's words to those of `flotilla-routing`, and the raw calls as one trait.
//!
//! Calls for single keys share a stream to each store; those that carry many keys or a page of a scan are calls of
//! their own, so that no large message stands before small ones.

use std::{error::Error as _, future::Future};

use flotilla_base::{Peer, Region, Span};
use flotilla_proto::{
    errorpb, kvrpcpb, metapb,
    tikvpb::{
        batch_commands_request::request::Cmd, batch_commands_response::response::Cmd as Answered,
        tikv_client::TikvClient,
    },
};
use flotilla_routing::{Failure, Refusal, Unready};
use tonic::{Code, Status};

use crate::{
    commands::Unanswered,
    links::{Link, innermost},
};

/// Largest answer that is taken in. Reads have no "more" flag, so a page of a scan arrives whole or
/// not at all; a page that does not fit is asked for again in smaller pieces.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A call to a store.
pub(crate) trait Rpc: Send + Sync {
    type Answer: Answer;

    fn set_context(&mut self, context: kvrpcpb::Context);

    /// Sends it over `link`, which leads to `address`.
    fn send(
        self,
        address: &str,
        link: &Link,
    ) -> impl Future<Output = Result<Self::Answer, Failure>> + Send;
}

/// What the answers of all raw calls have in common.
pub(crate) trait Answer: Send {
    fn take_region_error(&mut self) -> Option<errorpb::Error>;

    /// The text of a refusal inside the answer.
    fn take_rejection(&mut self) -> Option<String>;
}

/// A call travels `alone` or `together` with others.
macro_rules! raw_call {
    (@travel alone $method:ident, $request:expr, $address:expr, $link:expr) => {{
        let client = TikvClient::new($link.channel.clone());
        let mut client = client.max_decoding_message_size(ANSWER_BYTES_MAX);
        match client.$method($request).await {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(status_failure($address, &status)),
        }
    }};
    (@travel together $command:ident, $request:expr, $address:expr, $link:expr) => {
        match $link.commands.call(Cmd::$command($request)).await {
            Ok(Some(Answered::$command(answer))) => Ok(answer),
            Ok(_other) => Err(unknown_call($address)),
            Err(unanswered) => Err(stream_failure($address, unanswered)),
        }
    };
    ($request:ident, $answer:ident, $way:ident $name:ident, $rejection:expr) => {
        impl Rpc for kvrpcpb::$request {
            type Answer = kvrpcpb::$answer;

            fn set_context(&mut self, context: kvrpcpb::Context) {
                self.context = Some(context);
            }

            async fn send(self, address: &str, link: &Link) -> Result<Self::Answer, Failure> {
                raw_call!(@travel $way $name, self, address, link)
            }
        }

        impl Answer for kvrpcpb::$answer {
            fn take_region_error(&mut self) -> Option<errorpb::Error> {
                self.region_error.take()
            }

            fn take_rejection(&mut self) -> Option<String> {
                let take: fn(&mut Self) -> Option<String> = $rejection;
                take(self)
            }
        }
    };
}

// Answers that only read carry a rejection in their first pair, all others in a field of their own.
raw_call!(RawGetRequest, RawGetResponse, together RawGet, |answer| text(&mut answer.error));
raw_call!(RawPutRequest, RawPutResponse, together RawPut, |answer| text(&mut answer.error));
raw_call!(RawDeleteRequest, RawDeleteResponse, together RawDelete, |answer| {
    text(&mut answer.error)
});
raw_call!(RawBatchGetRequest, RawBatchGetResponse, alone raw_batch_get, |answer| {
    pair(&answer.pairs)
});
raw_call!(RawBatchPutRequest, RawBatchPutResponse, alone raw_batch_put, |answer| {
    text(&mut answer.error)
});
raw_call!(RawBatchDeleteRequest, RawBatchDeleteResponse, alone raw_batch_delete, |answer| {
    text(&mut answer.error)
});
raw_call!(RawScanRequest, RawScanResponse, alone raw_scan, |answer| pair(&answer.kvs));
raw_call!(RawDeleteRangeRequest, RawDeleteRangeResponse, alone raw_delete_range, |answer| {
    text(&mut answer.error)
});
raw_call!(RawCasRequest, RawCasResponse, alone raw_compare_and_swap, |answer| {
    text(&mut answer.error)
});

raw_call!(SplitRegionRequest, SplitRegionResponse, alone split_region, |answer| {
    final_split_refusal(&mut answer.region_error)
});

/// What a store says of a split that can never be. An answer to a split has no other place for it than a region
/// error without a kind, so the text is protocol; any other text may mean something that passes.
fn final_split_refusal(error: &mut Option<errorpb::Error>) -> Option<String> {
    const FINAL: [&str; 4] = [
        "exceeds the limit of",
        "are the most at once",
        "no valid key found for split",
        "the guard region is never split",
    ];
    let told = error.as_ref()?;
    let is_final = FINAL.iter().any(|text| told.message.contains(text))
        && matches!(refusal(told.clone()), Refusal::Other(_));
    error.take_if(|_told| is_final).map(|error| error.message)
}

fn text(error: &mut String) -> Option<String> {
    if error.is_empty() { None } else { Some(std::mem::take(error)) }
}

fn pair(pairs: &[kvrpcpb::KvPair]) -> Option<String> {
    let error = pairs.first()?.error.as_ref()?;
    let texts = [&error.abort, &error.retryable];
    let text = texts.into_iter().find(|text| !text.is_empty());
    Some(text.map_or_else(|| "the store refused without a reason".to_owned(), String::clone))
}

/// What a region error says. Fields are looked at in the order of their numbers; a store sets one.
pub(crate) fn refusal(error: errorpb::Error) -> Refusal {
    shape_refusal(&error).or_else(|| state_refusal(&error)).unwrap_or_else(|| {
        let text = "the store refused without a reason".to_owned();
        Refusal::Other(if error.message.is_empty() { text } else { error.message })
    })
}

/// Errors that say where a region is and how it is shaped.
fn shape_refusal(error: &errorpb::Error) -> Option<Refusal> {
    if let Some(not_leader) = &error.not_leader {
        let named = not_leader.leader.as_ref().filter(|leader| leader.id != 0);
        return Some(Refusal::NotLeader { leader: named.and_then(peer) });
    }
    if let Some(not_match) = &error.epoch_not_match {
        // A list that cannot be understood is as good as none.
        let regions = not_match.current_regions.iter().cloned().map(Region::try_from);
        let current = regions.collect::<Result<_, _>>().unwrap_or_default();
        return Some(Refusal::EpochNotMatch { current });
    }
    let flags = [
        (error.region_not_found.is_some(), Refusal::RegionNotFound),
        (error.key_not_in_region.is_some(), Refusal::KeyNotInRegion),
        (error.stale_command.is_some(), Refusal::StaleCommand),
        (error.store_not_match.is_some(), Refusal::StoreNotMatch),
        (error.mismatch_peer_id.is_some(), Refusal::MismatchPeer),
    ];
    flags.into_iter().find_map(|(is_set, refusal)| is_set.then_some(refusal))
}

/// Errors that say what a peer or store is going through.
fn state_refusal(error: &errorpb::Error) -> Option<Refusal> {
    if let Some(busy) = &error.server_is_busy {
        let wait = Span::from_millis(busy.backoff_ms.min(u64::from(u32::MAX)));
        return Some(Refusal::ServerIsBusy { reason: busy.reason.clone(), wait });
    }
    if let Some(entry) = &error.raft_entry_too_large {
        return Some(Refusal::EntryTooLarge { entry_bytes: entry.entry_size });
    }
    if let Some(undetermined) = &error.undetermined_result {
        return Some(Refusal::Undetermined(undetermined.message.clone()));
    }
    let is_flashback =
        error.flashback_in_progress.is_some() || error.flashback_not_prepared.is_some();
    let flags = [
        (error.disk_full.is_some(), Refusal::DiskFull),
        (is_flashback, Refusal::Flashback),
        (error.max_timestamp_not_synced.is_some(), Refusal::NotReady(Unready::Timestamp)),
        (error.read_index_not_ready.is_some(), Refusal::NotReady(Unready::ReadIndex)),
        (error.proposal_in_merging_mode.is_some(), Refusal::NotReady(Unready::Merge)),
        (error.data_is_not_ready.is_some(), Refusal::NotReady(Unready::Data)),
        (error.region_not_initialized.is_some(), Refusal::NotReady(Unready::Snapshot)),
        (error.recovery_in_progress.is_some(), Refusal::NotReady(Unready::Recovery)),
        (error.is_witness.is_some(), Refusal::NotReady(Unready::Witness)),
        (error.bucket_version_not_match.is_some(), Refusal::NotReady(Unready::Buckets)),
    ];
    flags.into_iter().find_map(|(is_set, refusal)| is_set.then_some(refusal))
}

/// A peer from the wire; `None` where it makes no sense.
pub(crate) fn peer(peer: &metapb::Peer) -> Option<Peer> {
    Peer::try_from(*peer).ok().filter(|peer| !peer.id.is_none())
}

/// What a failed call to the store at `address` proves.
pub(crate) fn status_failure(address: &str, status: &Status) -> Failure {
    match status.code() {
        Code::OutOfRange
            if status.message().contains("decoded message length")
                || status.message().contains("answer exceeds") =>
        {
            Failure::AnswerTooLarge(status.message().to_owned())
        }
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unauthenticated => Failure::Rejected(status.message().to_owned()),
        Code::Unimplemented => unknown_call(address),
        // The channel made a new connection by itself, and that failed: nothing was sent.
        _ if is_connect_error(status) => Failure::Unsent(describe(address, status)),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => Failure::Lost(describe(address, status)),
    }
}

fn stream_failure(address: &str, unanswered: Unanswered) -> Failure {
    match unanswered {
        Unanswered::Unsent => Failure::Unsent(format!("{address}: the connection has ended")),
        Unanswered::Broken(status) if status.code() == Code::Unimplemented => unknown_call(address),
        Unanswered::Broken(status) if is_connect_error(&status) => {
            Failure::Unsent(describe(address, &status))
        }
        // Whatever the status says, it says it of the stream: this command may have been carried out.
        Unanswered::Broken(status) => Failure::Lost(describe(address, &status)),
    }
}

fn unknown_call(address: &str) -> Failure {
    Failure::Rejected(format!("the server at {address} does not know this call"))
}

/// A status in plain words.
pub(crate) fn describe(address: &str, status: &Status) -> String {
    match status.source() {
        Some(cause) => format!("{address}: {}", innermost(cause)),
        None => format!("{address}: {}", status.message()),
    }
}

fn is_connect_error(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use flotilla_damage::damaged;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    fn error(set: impl FnOnce(&mut errorpb::Error)) -> Refusal {
        let mut error = errorpb::Error { message: "why".to_owned(), ..errorpb::Error::default() };
        set(&mut error);
        refusal(error)
    }

    #[test]
    fn every_region_error_has_a_meaning() {
        use Refusal as R;
        let cases: [(Refusal, Refusal); 22] = [
            (error(|e| e.not_leader = Some(<_>::default())), R::NotLeader { leader: None }),
            (error(|e| e.region_not_found = Some(<_>::default())), R::RegionNotFound),
            (error(|e| e.key_not_in_region = Some(<_>::default())), R::KeyNotInRegion),
            (
                error(|e| e.epoch_not_match = Some(<_>::default())),
                R::EpochNotMatch { current: Vec::new() },
            ),
            (
                error(|e| e.server_is_busy = Some(<_>::default())),
                R::ServerIsBusy { reason: String::new(), wait: Span::ZERO },
            ),
            (error(|e| e.stale_command = Some(<_>::default())), R::StaleCommand),
            (error(|e| e.store_not_match = Some(<_>::default())), R::StoreNotMatch),
            (
                error(|e| e.raft_entry_too_large = Some(<_>::default())),
                R::EntryTooLarge { entry_bytes: 0 },
            ),
            (
                error(|e| e.max_timestamp_not_synced = Some(<_>::default())),
                R::NotReady(Unready::Timestamp),
            ),
            (
                error(|e| e.read_index_not_ready = Some(<_>::default())),
                R::NotReady(Unready::ReadIndex),
            ),
            (
                error(|e| e.proposal_in_merging_mode = Some(<_>::default())),
                R::NotReady(Unready::Merge),
            ),
            (error(|e| e.data_is_not_ready = Some(<_>::default())), R::NotReady(Unready::Data)),
            (
                error(|e| e.region_not_initialized = Some(<_>::default())),
                R::NotReady(Unready::Snapshot),
            ),
            (error(|e| e.disk_full = Some(<_>::default())), R::DiskFull),
            (
                error(|e| e.recovery_in_progress = Some(<_>::default())),
                R::NotReady(Unready::Recovery),
            ),
            (error(|e| e.flashback_in_progress = Some(<_>::default())), R::Flashback),
            (error(|e| e.flashback_not_prepared = Some(<_>::default())), R::Flashback),
            (error(|e| e.is_witness = Some(<_>::default())), R::NotReady(Unready::Witness)),
            (error(|e| e.mismatch_peer_id = Some(<_>::default())), R::MismatchPeer),
            (
                error(|e| e.bucket_version_not_match = Some(<_>::default())),
                R::NotReady(Unready::Buckets),
            ),
            (
                error(|e| e.undetermined_result = Some(<_>::default())),
                R::Undetermined(String::new()),
            ),
            (error(|_| {}), R::Other("why".to_owned())),
        ];
        for (said, meant) in cases {
            assert_eq!(said, meant);
        }
    }

    fn split_refused(error: errorpb::Error) -> kvrpcpb::SplitRegionResponse {
        kvrpcpb::SplitRegionResponse { region_error: Some(error), ..<_>::default() }
    }

    #[test]
    fn a_split_that_can_never_be_is_refused_for_good() {
        let told = |message: &str| {
            let error = errorpb::Error { message: message.to_owned(), ..<_>::default() };
            split_refused(error).take_rejection()
        };
        let long = "key of 8193 bytes exceeds the limit of 8192 bytes; nothing was written";
        assert_eq!(told(long).as_deref(), Some(long));
        assert!(told("region 3 cannot be split so: the guard region is never split").is_some());
        assert_eq!(told("region 2 cannot be split so: the membership is changing"), None);
        assert_eq!(told("no ids for new regions: ask again once its leader has reported"), None);
        // What has a kind is told by its kind.
        let not_leader = Some(errorpb::NotLeader::default());
        let message = "no valid key found for split".to_owned();
        let mut answer = split_refused(errorpb::Error { message, not_leader, ..<_>::default() });
        assert!(answer.take_rejection().is_none() && answer.take_region_error().is_some());
    }

    #[test]
    fn the_end_of_a_stream_leaves_what_was_sent_in_doubt() {
        for code in 1..=16 {
            let status = Status::new(Code::from(code), "why");
            let failure = stream_failure("a:1", Unanswered::Broken(status));
            if Code::from(code) == Code::Unimplemented {
                assert!(matches!(failure, Failure::Rejected(_)), "the stream never began");
            } else {
                assert!(matches!(failure, Failure::Lost(_)), "{code}: {failure:?}");
            }
        }
        let failure = stream_failure("a:1", Unanswered::Unsent);
        assert!(matches!(failure, Failure::Unsent(_)));
    }

    /// Errors with many fields, encoded.
    fn errors() -> Vec<Vec<u8>> {
        let region_epoch = Some(metapb::RegionEpoch { conf_ver: 1, version: 2 });
        let peers = vec![metapb::Peer { id: 4, store_id: 1, ..<_>::default() }];
        let region = metapb::Region { id: 2, region_epoch, peers, ..<_>::default() };
        let leader = Some(region.peers[0]);
        let busy = errorpb::ServerIsBusy { backoff_ms: u64::MAX, ..<_>::default() };
        let current_regions = vec![region.clone(), region];
        let errors = [
            errorpb::Error {
                not_leader: Some(errorpb::NotLeader { region_id: 2, leader }),
                ..<_>::default()
            },
            errorpb::Error {
                epoch_not_match: Some(errorpb::EpochNotMatch { current_regions }),
                ..<_>::default()
            },
            errorpb::Error { server_is_busy: Some(busy), ..<_>::default() },
        ];
        errors.iter().map(errorpb::Error::encode_to_vec).collect()
    }

    proptest! {
        /// A store may say anything: what the map is told keeps every rule of regions.
        #[test]
        fn damaged_errors_have_a_meaning(
            bytes in damaged(prop::sample::select(errors())),
            code in 0..20_i32,
            text in ".*",
        ) {
            if let Ok(error) = errorpb::Error::decode(bytes.as_slice())
                && let Refusal::EpochNotMatch { current } = refusal(error)
            {
                prop_assert!(current.iter().all(|region| region.validate().is_ok()));
            }
            let _any_failure = status_failure("a:1", &Status::new(Code::from(code), text));
        }
    }

    #[test]
    fn regions_that_make_no_sense_count_as_none() {
        let current_regions = vec![metapb::Region::default()];
        let said = error(|e| e.epoch_not_match = Some(errorpb::EpochNotMatch { current_regions }));
        assert_eq!(said, Refusal::EpochNotMatch { current: Vec::new() });
    }
}
