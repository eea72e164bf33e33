//! Splits: when a region is too large, where it may be cut, and who carries it out.
//!
//! [`sizes`] counts what is written and says when a region is worth a look, [`due`] whose turn it is; [`mod@survey`] looks at all of it; [`borders`]
//! finds where to cut; [`splitter`] gets ids from the placement driver and has the replica propose the split. Clients
//! come in at [`borders`] with keys of their own choice. [`load`] is about regions that are asked for too much.
//!
//! **Knows nothing of** what a split is in the log and on disk: that is [`flotilla_multiraft::split`].

pub(crate) mod borders;
mod due;
pub(crate) mod load;
pub(crate) mod sizes;
pub(crate) mod splitter;
pub(crate) mod survey;

use std::{sync::Arc, time::Duration};

use flotilla_base::{Key, ReadError, Region, RegionId};
use flotilla_engine::Engine;
use flotilla_multiraft::RequestError;
use tokio::time::timeout;

use crate::{pd_link::PdLink, router::Router};

use self::{
    sizes::Sizes,
    splitter::{SplitFailure, SplitRegions},
    survey::survey,
};

/// A split that was refused for a passing reason is tried again after this.
const PAUSE: Duration = Duration::from_secs(1);
/// So is a look at data that cannot be read: each reads all that is in front of it.
const PAUSE_OF_UNREADABLE: Duration = Duration::from_secs(60);

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
    look_at_each(&grown.sizes, |region| grown.look_at(region)).await;
}

/// Looks at whatever is due. What fails is put off, and stands in nobody's way.
async fn look_at_each<F: Future<Output = Result<Look, ReadError>>>(
    sizes: &Sizes,
    look_at: impl Fn(RegionId) -> F,
) {
    loop {
        let region = sizes.next_due().await;
        match look_at(region).await {
            Ok(Look::Done) => {}
            Ok(Look::NotHere) => sizes.forget(region),
            Ok(Look::Again) => sizes.again(region, PAUSE),
            // Whoever needs the data meets the same.
            Err(error) => {
                tracing::error!(region = region.get(), %error, "a region cannot be measured");
                sizes.again(region, PAUSE_OF_UNREADABLE);
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
    use flotilla_base::Index;
    use flotilla_multiraft::Applied;
    use flotilla_raftgroup::LogPosition;
    use futures_util::{FutureExt as _, future::BoxFuture};
    use parking_lot::Mutex;
    use tokio::sync::Notify;

    use super::sizes::SplitLimits;
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

    /// Both are written to all the time, and the one that never succeeds has the smaller id.
    #[tokio::test]
    async fn a_region_that_always_fails_takes_no_turn_of_another() {
        let (bad, good) = (RegionId(2), RegionId(3));
        for fails in [|| Ok(Look::Again), || Err(ReadError("a damaged block".to_owned()))] {
            let sizes = Sizes::new(SplitLimits::of(SplitLimits::SIZE_MIN));
            let write = |region| {
                let (truncated, bytes) = (LogPosition::default(), 1 << 20);
                let index = Index(7);
                sizes.applied(
                    region,
                    &Applied { index, truncated, bytes, mutations: 1, clock_millis: 0 },
                );
            };
            [bad, good].into_iter().for_each(write);
            let looks = Mutex::new(Vec::new());
            let enough = Notify::new();
            let look_at = |region| {
                looks.lock().push(region);
                let is_last = looks.lock().len() == 6;
                [bad, good].into_iter().for_each(write);
                let enough = &enough;
                async move {
                    if is_last {
                        enough.notify_one();
                        std::future::pending::<()>().await;
                    }
                    if region == bad { fails() } else { Ok(Look::Done) }
                }
            };
            let looking = async {
                tokio::select! {
                    () = look_at_each(&sizes, look_at) => {}
                    () = enough.notified() => {}
                }
            };
            timeout(Duration::from_secs(30), looking).await.expect("each has its turn");
            let looks = looks.into_inner();
            assert_eq!(looks, [bad, good, good, good, good, good]);
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
