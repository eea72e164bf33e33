//! Carries a split out: ids from the placement driver, one entry in the region's log, a word to the placement driver.

use std::sync::Arc;

use flotilla_base::{Key, Region};
use flotilla_multiraft::{NewRegion, Reply, RequestError, SplitCommand, split::SPLIT_CHILDREN_MAX};
use futures_util::{FutureExt as _, future::BoxFuture};

use crate::{
    pd_link::{PdLink, PdLinkError},
    router::{Router, WriteOutcome},
};

/// Why a region is not split, or not known to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SplitFailure {
    /// It certainly is not.
    #[error(transparent)]
    Refused(RequestError),
    /// The store stops, or the lead went elsewhere while it was under way: it may be.
    #[error("the lead was lost while the region was split; it may be split")]
    Unknown,
    /// The placement driver gave no ids.
    #[error("no ids for new regions: {0}")]
    NoIds(PdLinkError),
}

/// Splits regions that this store leads.
pub(crate) trait SplitRegions: Send + Sync {
    /// Cuts `region`, as it is known here, at `borders`: ascending, and inside of it. Returns all that came out,
    /// in the order of their keys, when it is applied here.
    fn split(
        &self,
        region: Region,
        borders: Vec<Key>,
    ) -> BoxFuture<'_, Result<Vec<Region>, SplitFailure>>;
}

/// The one of a running store.
pub(crate) struct Splitter {
    router: Router,
    link: Arc<PdLink>,
}

impl Splitter {
    pub(crate) const fn new(router: Router, link: Arc<PdLink>) -> Self {
        Self { router, link }
    }

    /// A region keeps its last part, so what one entry has no room for is cut off by the next.
    async fn split_in_turns(
        &self,
        mut rest: Region,
        borders: Vec<Key>,
    ) -> Result<Vec<Region>, SplitFailure> {
        let mut parts = Vec::new();
        for borders in borders.chunks(SPLIT_CHILDREN_MAX) {
            let mut regions = self.split_once(&rest, borders).await?;
            // A split without parts is none: the region itself stays.
            rest = regions.pop().unwrap_or(rest);
            parts.append(&mut regions);
        }
        parts.push(rest);
        Ok(parts)
    }

    async fn split_once(
        &self,
        region: &Region,
        borders: &[Key],
    ) -> Result<Vec<Region>, SplitFailure> {
        let own = region.peer_on(self.router.store_id());
        let own = own.ok_or(SplitFailure::Refused(RequestError::RegionNotFound(region.id)))?;
        let ids = self.link.ask_split(region, borders.len()).await;
        let ids = ids.map_err(SplitFailure::NoIds)?;
        let child =
            |(end, (region, peers)): (&Key, _)| NewRegion { end: end.clone(), region, peers };
        let children = borders.iter().zip(ids).map(child).collect();
        let command = SplitCommand { epoch: region.epoch, children };
        match self.router.split(region.id, own.id, command).await {
            WriteOutcome::Done(Reply::Split(division)) => {
                let regions: Vec<Region> = division.regions().cloned().collect();
                self.link.report_split(&regions).await;
                Ok(regions)
            }
            WriteOutcome::Done(Reply::Failed(refusal)) => Err(SplitFailure::Refused(refusal)),
            WriteOutcome::Done(_) | WriteOutcome::Unknown => Err(SplitFailure::Unknown),
        }
    }
}

impl SplitRegions for Splitter {
    fn split(
        &self,
        region: Region,
        borders: Vec<Key>,
    ) -> BoxFuture<'_, Result<Vec<Region>, SplitFailure>> {
        self.split_in_turns(region, borders).boxed()
    }
}
