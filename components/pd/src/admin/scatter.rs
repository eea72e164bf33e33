//! Regions that are to be spread over the stores, and those that were asked for before under the same name.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use flotilla_base::RegionId;
use flotilla_pdcore::Denied;
use flotilla_placement::scatter::{ScatterOutcome, ScatterWish};
use parking_lot::Mutex;

use crate::{core::Request, handle::CoreHandle};

/// How long a name is remembered after its last region.
const GROUP_LIFE: Duration = Duration::from_secs(180);
/// Names that are remembered; the one that was used least lately makes room.
const GROUPS_MAX: usize = 256;
/// Regions that are remembered of one name.
const GROUP_REGIONS_MAX: usize = 65_536;

/// What was asked for under which name. Clients cut a range and ask for its pieces one by one: each alone is spread whatever
/// it does.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScatterGroups(Arc<Mutex<BTreeMap<String, Group>>>);

#[derive(Debug)]
struct Group {
    at: Instant,
    regions: BTreeSet<RegionId>,
}

impl ScatterGroups {
    /// Notes regions under a name; those that were asked for before. What has no name is by itself.
    fn join(&self, name: &str, regions: &BTreeSet<RegionId>, now: Instant) -> BTreeSet<RegionId> {
        if name.is_empty() {
            return BTreeSet::new();
        }
        let mut groups = self.0.lock();
        groups.retain(|_, group| now.duration_since(group.at) < GROUP_LIFE);
        let oldest = groups.iter().min_by_key(|(_, group)| group.at).map(|(name, _)| name.clone());
        if let Some(oldest) = oldest.filter(|_| groups.len() >= GROUPS_MAX) {
            groups.remove(&oldest);
        }
        let group = groups.entry(name.to_owned());
        let group = group.or_insert_with(|| Group { at: now, regions: BTreeSet::new() });
        let before = group.regions.clone();
        group.at = now;
        if group.regions.len() < GROUP_REGIONS_MAX {
            group.regions.extend(regions);
        }
        before
    }
}

/// Spreads regions, together with those that were asked for under the same name a short time ago.
///
/// # Errors
/// [`Denied::UnknownRegion`] where one region is asked for that is not known; of several the answer tells.
pub(crate) async fn scatter(
    core: &CoreHandle,
    group: &str,
    regions: BTreeSet<RegionId>,
) -> Result<ScatterOutcome, Denied> {
    let among = core.scatter_groups.join(group, &regions, Instant::now());
    let wish = ScatterWish { regions, among };
    core.ask(|reply| Request::Scatter { wish, reply }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_under_a_name_is_remembered_for_a_while() {
        let groups = ScatterGroups::default();
        let now = Instant::now();
        let one = |id: u64| BTreeSet::from([RegionId(id)]);
        assert_eq!(groups.join("t", &one(1), now), BTreeSet::new());
        assert_eq!(groups.join("t", &one(2), now + GROUP_LIFE / 2), one(1));
        assert_eq!(groups.join("u", &one(3), now), BTreeSet::new());
        assert_eq!(groups.join("", &one(4), now), BTreeSet::new());
        assert_eq!(groups.join("", &one(5), now), BTreeSet::new());
        let both = BTreeSet::from([RegionId(1), RegionId(2)]);
        assert_eq!(groups.join("t", &one(6), now + GROUP_LIFE), both, "each region renews it");
        assert_eq!(groups.join("t", &one(7), now + 3 * GROUP_LIFE), BTreeSet::new());
        for name in 0..=GROUPS_MAX {
            groups.join(&format!("{name}"), &one(8), now + 3 * GROUP_LIFE);
        }
        assert_eq!(groups.0.lock().len(), GROUPS_MAX);
    }
}
