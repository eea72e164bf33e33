//! Regions that begin where a user wants them to.

use std::collections::BTreeSet;

use flotilla_base::{Key, Region};
use flotilla_proto::kvrpcpb;
use flotilla_routing::Route;

use crate::{
    admin::Admin,
    call::{Call, Object, Subject},
    core::Place,
    error::Error,
};

impl Admin {
    /// Cuts the regions that own `keys`, so that one begins at each of them. Returns how many regions were cut; one
    /// that begins at a key already stays as it is, so this may be repeated.
    ///
    /// Clients of transactions read borders as theirs: so that none of them meets one that it cannot read, a cut may
    /// come with up to two more, below and above the raw data of its region.
    ///
    /// # Errors
    /// [`Error`] where a region refuses, as the guard region and one with data of transactions do; or where its
    /// leader does not answer before the deadline. Some of the regions may be cut then.
    pub async fn split(&self, keys: impl IntoIterator<Item = Key> + Send) -> Result<usize, Error> {
        let mut keys: BTreeSet<Key> = keys.into_iter().collect();
        // Nothing lies in front of it.
        keys.remove(&Key::new());
        let subject = Subject { verb: "split", object: Object::Named("regions") };
        let mut call = Call::write(self.core(), subject, self.options());
        let mut cut = 0;
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
                self.learn(&route, answer);
                cut += 1;
                keys.retain(|key| !route.region.range.contains(key));
            }
        }
        Ok(cut)
    }

    fn learn(&self, route: &Route, answer: kvrpcpb::SplitRegionResponse) {
        let mut cache = self.core().cache.write();
        for region in answer.regions.into_iter().filter_map(|it| Region::try_from(it).ok()) {
            let leader = region.peer_on(route.peer.store);
            let _outdated_where_it_changed_again = cache.learn(region, leader);
        }
    }
}
