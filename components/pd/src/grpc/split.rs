//! Regions that begin at keys, as a client asks the placement driver for them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use flotilla_base::{Key, RegionId};
use flotilla_pdcore::{AskedChange, Denied};
use flotilla_placement::{Change, operator::SplitAt};
use tokio::time::{Instant, timeout_at};

use crate::{
    core::{Look, RegionLookup, Request as Ask},
    handle::CoreHandle,
};

/// How long the regions are waited for: as long as one operator may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which regions begin at the keys in the end, and for how many keys there is none.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub regions: BTreeSet<RegionId>,
    pub missing: usize,
}

/// Has the leaders of the regions that own `keys` split them, once each, and waits for it. A region that is being
/// changed otherwise, or cannot be split, is not.
pub(super) async fn split_at(core: &CoreHandle, keys: Vec<Key>) -> Result<Outcome, Denied> {
    let deadline = Instant::now() + PATIENCE;
    let mut regions = core.regions.clone();
    let mut asked = BTreeSet::new();
    loop {
        regions.mark_unchanged();
        let (outcome, owners) = look(core, &keys).await?;
        let mut is_waiting = false;
        for (region, keys) in owners {
            is_waiting |= if asked.insert(region) {
                ask(core, region, keys).await?
            } else {
                let running = core.ask(|reply| Look::LastOperator { region, reply }).await?;
                matches!(running, Some(crate::core::LastOperator::Running(_)))
            };
        }
        let changed = timeout_at(deadline, regions.changed());
        if !is_waiting || !matches!(changed.await, Ok(Ok(()))) {
            return Ok(outcome);
        }
    }
}

/// What there is, and who owns the keys at which no region begins.
async fn look(
    core: &CoreHandle,
    keys: &[Key],
) -> Result<(Outcome, BTreeMap<RegionId, Vec<Key>>), Denied> {
    let mut outcome = Outcome::default();
    let mut owners: BTreeMap<RegionId, Vec<Key>> = BTreeMap::new();
    for key in keys {
        let lookup = RegionLookup::Key(key.clone());
        let found = core.ask(|reply| Look::Region { lookup, reply }).await?;
        match found.map(|info| (info.region.id, info.region.range.start == *key)) {
            Some((region, true)) => _ = outcome.regions.insert(region),
            Some((region, false)) => {
                outcome.missing += 1;
                owners.entry(region).or_default().push(key.clone());
            }
            None => outcome.missing += 1,
        }
    }
    Ok((outcome, owners))
}

/// Whether the region is being split now.
async fn ask(core: &CoreHandle, region: RegionId, keys: Vec<Key>) -> Result<bool, Denied> {
    let change = Change::SplitRegion(SplitAt::Keys(keys));
    let asked = Box::new(AskedChange { region, change, asked_by: "SplitRegions" });
    match core.ask(|reply| Ask::AddOperator { asked, reply }).await {
        Ok(()) => Ok(true),
        Err(Denied::Operator(refusal)) => {
            tracing::info!(%region, %refusal, "a region is not split");
            Ok(false)
        }
        Err(denied) => Err(denied),
    }
}
