//! Splits at keys of a client's choice.

use flotilla_base::{Key, Region, key::encode_memcomparable};
use flotilla_multiraft::{RequestError, split::SplitError};
use flotilla_proto::kvrpcpb::{SplitRegionRequest, SplitRegionResponse};
use tokio::time::timeout_at;

use super::{
    Regions,
    context::{Rejection, Target},
    error,
    raw::RawService,
    read_pool::Patience,
    view::Reader,
    write::check_key,
};
use crate::{
    pd_link::PdLinkError,
    split::{borders::cut_at, splitter::SplitFailure},
};

/// Keys of one request: as many as public clients send at once. Each 64 of them are an entry, and each makes its stores a
/// group.
const SPLIT_KEYS_MAX: usize = 2_048;

/// What a request asks for, in the keys that regions have.
pub(super) fn wishes(request: SplitRegionRequest) -> Vec<Key> {
    let SplitRegionRequest { split_key, mut split_keys, is_raw_kv, .. } = request;
    if split_keys.is_empty() && !split_key.is_empty() {
        split_keys.push(split_key);
    }
    if is_raw_kv {
        return split_keys;
    }
    split_keys.iter().map(|key| encode_memcomparable(key)).collect()
}

/// What came out, in the order of the keys; twice where there are two.
pub(super) fn response(regions: Vec<Region>) -> SplitRegionResponse {
    let (mut left, mut right) = (None, None);
    if let [first, second] = regions.as_slice() {
        (left, right) = (Some(first.clone().into()), Some(second.clone().into()));
    }
    let regions = regions.into_iter().map(Into::into).collect();
    SplitRegionResponse { left, right, regions, ..SplitRegionResponse::default() }
}

impl<R: Regions> RawService<R> {
    /// Cuts the region at `keys` and at the fences that they need, and returns when that is applied here.
    pub(super) async fn split(
        &self,
        target: &Target,
        keys: Vec<Key>,
    ) -> Result<Vec<Region>, Rejection> {
        let count = keys.len();
        if count > SPLIT_KEYS_MAX {
            let text = format!("{count} split keys; {SPLIT_KEYS_MAX} are the most at once");
            return Err(Rejection::Refused(text));
        }
        // Every split is refused for it; here, before ids are asked for.
        keys.iter().try_for_each(|key| check_key(key))?;
        // Whoever reads here leads, and knows the shape that is split.
        let target = &Target { is_for_any_replica: false, ..*target };
        let look = move |reader: &Reader<'_, R>, _patience: &Patience<'_>| reader.edges();
        let (region, edges) = self.read(target, look).await?;
        if region.is_guard() {
            let refusal = RequestError::Split { region: region.id, cause: SplitError::Guard };
            return Err(self.refusal(refusal, target));
        }
        let borders = cut_at(&region.range, &edges, keys);
        if borders.is_empty() {
            let text = "no valid key found for split: all are outside of the region, borders already, or no keys of \
                        transactions where such are stored";
            return Err(Rejection::region(error::other(text)));
        }
        let split = self.source().splitter.split(region, borders);
        match timeout_at(target.deadline, split).await {
            Ok(Ok(regions)) => Ok(regions),
            Ok(Err(SplitFailure::Refused(refusal))) => Err(self.refusal(refusal, target)),
            Ok(Err(failure @ SplitFailure::NoIds(PdLinkError::Refused(_)))) => {
                Err(Rejection::region(error::other(&failure.to_string())))
            }
            Ok(Err(failure)) => Err(Rejection::region(error::server_is_busy_for(
                &failure.to_string(),
                error::BACKOFF,
            ))),
            Err(_elapsed) => {
                let text = "the region was not split before the deadline; it may still be";
                Err(Rejection::region(error::server_is_busy(text)))
            }
        }
    }
}
