//! Regions that begin where a user wants them to.

use std::collections::BTreeSet;

use flotilla_base::{Key, Region, RegionId};
use flotilla_proto::kvrpcpb;
use flotilla_routing::Route;

use crate::{
    admin::Admin,
    call::{Call, Object, Subject},
    core::Place,
    error::Error,
    raw::check_size,
};

/// A region that was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The region.
    pub region: RegionId,
    /// All that came out, in the order of their keys. The last one is the region itself.
    pub parts: Vec<Region>,
}

impl Admin {
    /// Cuts the regions that own `keys`, so that one begins at each of them. Returns what was cut; a region that begins
    /// at a key already stays as it is, so this may be repeated.
    ///
    /// Clients of transactions read borders as theirs: so that none of them meets one that it cannot read, a cut may
    /// come with up to two more, below and above the raw data of its region.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge) for a key over 8 KiB, before anything is cut. Otherwise
    /// [`Error`] where a region refuses, as the guard region and one with data of transactions do; or where its leader
    /// does not answer before the deadline. Where others are cut by then, [`Error::applied`] does not say no.
    pub async fn split(
        &self,
        keys: impl IntoIterator<Item = Key> + Send,
    ) -> Result<Vec<Cut>, Error> {
        let mut keys: BTreeSet<Key> = keys.into_iter().collect();
        // Nothing lies in front of it.
        keys.remove(&Key::new());
        for key in &keys {
            check_size(Subject { verb: "split at", object: Object::Key(key) }, key, &[])?;
        }
        let mut cuts = Vec::new();
        match self.cut_all(keys, &mut cuts).await {
            Ok(()) => Ok(cuts),
            Err(error) if cuts.is_empty() => Err(error),
            Err(error) => Err(error.partly_applied()),
        }
    }

    async fn cut_all(&self, mut keys: BTreeSet<Key>, cuts: &mut Vec<Cut>) -> Result<(), Error> {
        let subject = Subject { verb: "split", object: Object::Named("regions") };
        let mut call = Call::write(self.core(), subject, self.options());
        while let Some(first) = keys.first().cloned() {
            let route = call.route(Place::At(&first)).await?;
            if route.region.range.start == first {
                keys.remove(&first);
                continue;
            }
            let split_keys: Vec<Key> =
                keys.iter().filter(|key| route.region.range.contains(key)).cloned().collect();
            let request =
                kvrpcpb::SplitRegionRequest { split_keys, is_raw_kv: true, ..Default::default() };
            if let Some(answer) = call.attempt(&route, request).await? {
                let parts = answer.regions.into_iter().filter_map(|it| Region::try_from(it).ok());
                let parts: Vec<Region> = parts.collect();
                self.learn(&route, &parts);
                cuts.push(Cut { region: route.region.id, parts });
                keys.retain(|key| !route.region.range.contains(key));
            }
        }
        Ok(())
    }

    fn learn(&self, route: &Route, parts: &[Region]) {
        let mut cache = self.core().cache.write();
        for region in parts {
            let leader = region.peer_on(route.peer.store);
            let _outdated_where_it_changed_again = cache.learn(region.clone(), leader);
        }
    }
}
