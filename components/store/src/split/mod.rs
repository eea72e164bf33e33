//! Splits: when a region is too large, where it may be cut, and who carries it out.
//!
//! [`sizes`] counts what is written and says when a region is worth a look; [`mod@survey`] looks at all of it; [`borders`]
//! finds where to cut; [`splitter`] gets ids from the placement driver and has the replica propose the split. Clients
//! come in at [`borders`] with keys of their own choice. [`load`] is about regions that are asked for too much.
//!
//! **Knows nothing of** what a split is in the log and on disk: that is [`flotilla_multiraft::split`].

pub(crate) mod borders;
pub(crate) mod load;
pub(crate) mod sizes;
pub(crate) mod splitter;
pub(crate) mod survey;

use std::{sync::Arc, time::Duration};

use flotilla_base::{Key, ReadError, Region, RegionId};
use flotilla_engine::Engine;
use flotilla_multiraft::RequestError;
use tokio::time::{sleep, timeout};

use crate::{pd_link::PdLink, router::Router};

use self::{
    sizes::Sizes,
    splitter::{SplitFailure, SplitRegions},
    survey::survey,
};

/// A split that was refused for a passing reason is tried again after this.
const PAUSE: Duration = Duration::from_secs(1);

/// A split has its outcome in moments, unless its region has no majority.
const PATIENCE: Duration = Duration::from_secs(10);

/// Splits regions that have grown too large.
pub(crate) struct GrownRegions {
    pub(crate) sizes: Arc<Sizes>,
    pub(crate) engine: Engine,
    pub(crate) router: Router,
    pub(crate) link: Arc<PdLink>,
    pub(crate) splitter: Arc<dyn SplitRegions>,
}

/// What became of a look at a region.
#[derive(Debug)]
enum Look {
    /// It stays as it is, or is split.
    Done,
    /// Another store leads it, or none of its peers is here.
    NotHere,
    /// It is too large still.
    Again,
}

/// Splits one grown region after the other, for ever: each costs a pass over its data.
pub(crate) async fn split_grown_regions(grown: GrownRegions) {
    loop {
        let region = grown.sizes.next_due().await;
        match grown.look_at(region).await {
            Ok(Look::Done) => {}
            Ok(Look::NotHere) => grown.sizes.forget(region),
            Ok(Look::Again) => {
                sleep(PAUSE).await;
                grown.sizes.again(region);
            }
            // Whoever needs the data meets the same.
            Err(error) => {
                tracing::error!(region = region.get(), %error, "a region cannot be measured");
            }
        }
    }
}

impl GrownRegions {
    async fn look_at(&self, id: RegionId) -> Result<Look, ReadError> {
        let Some(region) = self.router.region(id).filter(|_| self.link.leads(id)) else {
            return Ok(Look::NotHere);
        };
        let limits = self.sizes.limits();
        let survey = survey(&self.engine, &region.range, limits.mark_bytes()).await?;
        self.sizes.measured(id, &survey);
        let parts = limits.parts(&survey);
        if parts < 2 {
            return Ok(Look::Done);
        }
        let borders = borders::cut(&region.range, &survey, parts);
        if borders.is_empty() {
            tracing::warn!(region = id.get(), bytes = survey.bytes, "no border fits into a region");
            self.sizes.indivisible(id);
            return Ok(Look::Done);
        }
        Ok(carry_out(self.splitter.as_ref(), region, borders, PATIENCE).await)
    }
}

/// Has a region split, and waits no longer than `patience`.
async fn carry_out(
    splitter: &dyn SplitRegions,
    region: Region,
    borders: Vec<Key>,
    patience: Duration,
) -> Look {
    let id = region.id;
    // Others wait for their turn. Should it come about later, the region is small then.
    let Ok(split) = timeout(patience, splitter.split(region, borders)).await else {
        tracing::warn!(region = id.get(), "a split has no outcome yet");
        return Look::Again;
    };
    match split {
        Ok(regions) => {
            tracing::info!(region = id.get(), parts = regions.len(), "a region was split");
            Look::Done
        }
        Err(SplitFailure::Refused(RequestError::NotLeader { .. })) => Look::NotHere,
        Err(failure) => {
            tracing::warn!(region = id.get(), %failure, "a region is not split yet");
            Look::Again
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, future::BoxFuture};

    use super::*;

    /// Answers with what it holds, or never.
    struct Fixed(Option<RequestError>);

    impl SplitRegions for Fixed {
        fn split(
            &self,
            _region: Region,
            _borders: Vec<Key>,
        ) -> BoxFuture<'_, Result<Vec<Region>, SplitFailure>> {
            match self.0.clone() {
                Some(refusal) => async { Err(SplitFailure::Refused(refusal)) }.boxed(),
                None => std::future::pending().boxed(),
            }
        }
    }

    #[tokio::test]
    async fn a_split_without_an_outcome_holds_up_no_other_one() {
        let look = async |splitter: Fixed| {
            let borders = vec!["m".into()];
            let carried =
                carry_out(&splitter, Region::default(), borders, Duration::from_millis(1));
            timeout(Duration::from_secs(30), carried).await.expect("it is not waited for")
        };
        assert!(matches!(look(Fixed(None)).await, Look::Again));
        let region = RegionId(2);
        let elsewhere = RequestError::NotLeader { region, leader: None };
        assert!(matches!(look(Fixed(Some(elsewhere))).await, Look::NotHere));
        assert!(matches!(look(Fixed(Some(RequestError::Busy(region)))).await, Look::Again));
    }
}
