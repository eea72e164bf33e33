//! Has regions split that are hot: a window after the other, as long as the store lives.

use std::{sync::Arc, time::Duration};

use flotilla_base::{Key, Region, Rng, key::display};
use flotilla_engine::Engine;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::{
    metrics::StoreMetrics,
    pd_link::PdLink,
    router::Router,
    split::{
        Look, PATIENCE,
        borders::{Edges, cut_at},
        carry_out,
        splitter::SplitRegions,
        survey::edges_of,
    },
};

use super::{
    meter::{Loads, Shape},
    watch::Verdict,
};

/// Time from one look to the next.
const WINDOW: Duration = Duration::from_secs(1);

/// What the task works with.
pub(crate) struct HotRegions {
    pub(crate) loads: Arc<Loads>,
    pub(crate) engine: Engine,
    pub(crate) router: Router,
    pub(crate) link: Arc<PdLink>,
    pub(crate) splitter: Arc<dyn SplitRegions>,
    pub(crate) metrics: Arc<StoreMetrics>,
}

/// What became of a region with too much load; the label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadOutcome {
    Split,
    HotKey,
    Indivisible,
    NotNow,
}

impl LoadOutcome {
    pub(crate) const ALL: [Self; 4] = [Self::Split, Self::HotKey, Self::Indivisible, Self::NotNow];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::HotKey => "hot_key",
            Self::Indivisible => "indivisible",
            Self::NotNow => "not_now",
        }
    }
}

/// Closes a window each second, for ever; where there are no limits, nothing is to be done. A split that takes long makes
/// a window longer, whose rates are those of a second all the same.
pub(crate) async fn split_hot_regions(hot: HotRegions) {
    if !hot.loads.are_limited() {
        return;
    }
    let mut rng = Rng::new(hot.router.store_id().get());
    let mut last = Instant::now();
    let mut ticks = interval_at(last + WINDOW, WINDOW);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let now = ticks.tick().await;
        let span_millis = u64::try_from((now - last).as_millis()).unwrap_or(u64::MAX).max(1);
        last = now;
        for (shape, verdict) in hot.loads.close(span_millis, &mut rng) {
            hot.act(shape, verdict).await;
        }
    }
}

impl HotRegions {
    async fn act(&self, shape: Shape, verdict: Verdict) {
        let region =
            self.router.region(shape.region).filter(|it| it.epoch.version == shape.version);
        // Whoever leads it splits it. What has another shape by now is watched anew.
        let Some(region) = region.filter(|it| self.link.leads(it.id) && !it.is_guard()) else {
            return;
        };
        let id = region.id.get();
        let outcome = match verdict {
            Verdict::Wait => return,
            Verdict::Split(key) => self.split(region, key).await,
            Verdict::HotKey(key) => {
                let key = display(&key);
                tracing::warn!(region = id, key, "one key has most of a hot region's load");
                LoadOutcome::HotKey
            }
            Verdict::Indivisible => {
                tracing::info!(region = id, "no border shares a hot region's load out");
                LoadOutcome::Indivisible
            }
        };
        self.metrics.load_split(outcome);
    }

    async fn split(&self, region: Region, key: Key) -> LoadOutcome {
        let id = region.id.get();
        let edges = match edges_of(&self.engine, &region.range).await {
            Ok(edges) => edges,
            // Whoever needs the data meets the same.
            Err(error) => {
                tracing::error!(region = id, %error, "a region cannot be looked at");
                return LoadOutcome::NotNow;
            }
        };
        let borders = match leaves_data_on_both_sides(&edges, &key) {
            true => cut_at(&region.range, &edges, vec![key]),
            false => Vec::new(),
        };
        if borders.is_empty() {
            tracing::info!(region = id, "no border fits into a hot region");
            return LoadOutcome::Indivisible;
        }
        match carry_out(self.splitter.as_ref(), region, borders, PATIENCE).await {
            Look::Done => LoadOutcome::Split,
            // It is watched anew, and has its next turn where it stays hot.
            Look::NotHere | Look::Again => LoadOutcome::NotNow,
        }
    }
}

/// Clients may ask for keys that nobody has: a border among those would leave an empty region. Of transactional data the
/// ends are not known.
fn leaves_data_on_both_sides(edges: &Edges, key: &Key) -> bool {
    let is_behind_the_first = edges.first.as_ref().is_some_and(|first| first < key);
    let is_up_to_the_last = edges.last.as_ref().is_some_and(|last| key <= last);
    edges.has_transactional || (is_behind_the_first && is_up_to_the_last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_border_has_data_on_both_sides() {
        let edges = |first: &'static str, last: &'static str| Edges {
            first: Some(first.into()),
            last: Some(last.into()),
            has_transactional: false,
        };
        let fits = |edges: &Edges, key: &'static str| leaves_data_on_both_sides(edges, &key.into());
        assert!(fits(&edges("b", "y"), "c") && fits(&edges("b", "y"), "y"));
        assert!(!fits(&edges("b", "y"), "b") && !fits(&edges("b", "y"), "z"));
        assert!(!fits(&edges("b", "b"), "b"), "one key is one region");
        assert!(!fits(&Edges::default(), "b"));
        assert!(fits(&Edges { has_transactional: true, ..Edges::default() }, "b"));
    }
}
