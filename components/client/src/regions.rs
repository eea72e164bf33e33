//! Regions with what their leaders say of them, chosen by the placement driver, page by page.

use flotilla_base::{Key, KeyRange, StoreId};
use flotilla_proto::placement as wire;
use flotilla_routing::Failure;

use crate::{
    admin::{Admin, RegionInfo, region_info},
    error::Error,
    placement::Rates,
};

/// Which regions are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionsWanted {
    /// Those that own keys of it.
    pub range: KeyRange,
    /// Those with a replica here that has the role.
    pub store: Option<(StoreId, ReplicaRole)>,
    /// Those of which this holds.
    pub check: Option<RegionCheck>,
}

/// What a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaRole {
    /// Anything.
    Any,
    /// It leads.
    Leader,
    /// It votes, and does not lead.
    Follower,
    /// It does not vote.
    Learner,
}

/// What may be odd about a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionCheck {
    /// It has fewer replicas than the rules ask for.
    MissPeer,
    /// It has more.
    ExtraPeer,
    /// A replica does not answer its leader.
    DownPeer,
    /// A replica lags behind.
    PendingPeer,
    /// A replica does not vote.
    LearnerPeer,
    /// A replica is on a store that leaves, or has left.
    OfflinePeer,
    /// It holds next to nothing.
    Empty,
    /// It holds more than stores leave together as a rule.
    Oversized,
}

/// A region, and what its leader says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRegion {
    /// Which keys and peers it has.
    pub info: RegionInfo,
    /// Its size; 0 where its leader does not know it.
    pub size_bytes: u64,
    /// Its keys; 0 where its leader does not know them.
    pub keys: u64,
    /// What it is asked for.
    pub rates: Rates,
}

/// Regions in the order of their keys, a page at a time: what is held is a page, whatever there is.
#[derive(Debug)]
pub struct RegionPages<'a> {
    admin: &'a Admin,
    wanted: RegionsWanted,
    /// Where the next page begins; `None` behind the last one.
    next: Option<Key>,
    /// No region that begins before it is new.
    seen: Option<Key>,
}

impl Admin {
    /// The regions that are wanted. Nothing is asked yet.
    #[must_use]
    pub fn region_pages(&self, wanted: RegionsWanted) -> RegionPages<'_> {
        let next = Some(wanted.range.start.clone());
        RegionPages { admin: self, wanted, next, seen: None }
    }
}

impl RegionPages<'_> {
    /// The next page, which may be empty; `None` behind the last one.
    ///
    /// # Errors
    /// [`Error`] where the placement driver does not answer before the deadline.
    pub async fn next(&mut self) -> Result<Option<Vec<ListedRegion>>, Error> {
        let Some(start) = self.next.take() else { return Ok(None) };
        let (admin, wanted) = (self.admin, &self.wanted);
        let question = || page(admin, wanted, start.clone());
        let (mut listed, next) = admin.call("list", "the regions").ask(question).await?;
        // Borders may move between two pages; a region that was seen is not shown again.
        if let Some(seen) = &self.seen {
            listed.retain(|listed| listed.info.region.range.start >= *seen);
        }
        self.seen.clone_from(&next);
        self.next = next;
        Ok(Some(listed))
    }
}

/// The regions of a page, and where the next one begins.
async fn page(
    admin: &Admin,
    wanted: &RegionsWanted,
    start_key: Key,
) -> Result<(Vec<ListedRegion>, Option<Key>), Failure> {
    let (store, role) = wanted.store.unwrap_or((StoreId(0), ReplicaRole::Any));
    let check = wanted.check.map_or(wire::RegionCheck::AnyRegion, Into::into);
    let asked = admin.core().pd.ask_placement(|mut placement, cluster_id| async move {
        let request = wire::ListRegionsRequest {
            cluster_id,
            start_key,
            end_key: wanted.range.end.clone(),
            store_id: store.get(),
            role: wire::ReplicaRole::from(role).into(),
            check: check.into(),
        };
        Ok(placement.list_regions(request).await?.into_inner())
    });
    let wire::ListRegionsResponse { regions, next_key } = asked.await?;
    let listed = regions.into_iter().map(|region| {
        let info = region_info(region.region.unwrap_or_default())?;
        let (size_bytes, keys) = (region.size_bytes, region.keys);
        Ok(ListedRegion { info, size_bytes, keys, rates: region.rates.into() })
    });
    Ok((listed.collect::<Result<_, _>>()?, next_key))
}

impl From<ReplicaRole> for wire::ReplicaRole {
    fn from(role: ReplicaRole) -> Self {
        match role {
            ReplicaRole::Any => Self::AnyRole,
            ReplicaRole::Leader => Self::Leader,
            ReplicaRole::Follower => Self::Follower,
            ReplicaRole::Learner => Self::Learner,
        }
    }
}

impl From<RegionCheck> for wire::RegionCheck {
    fn from(check: RegionCheck) -> Self {
        match check {
            RegionCheck::MissPeer => Self::MissPeer,
            RegionCheck::ExtraPeer => Self::ExtraPeer,
            RegionCheck::DownPeer => Self::DownPeer,
            RegionCheck::PendingPeer => Self::PendingPeer,
            RegionCheck::LearnerPeer => Self::LearnerPeer,
            RegionCheck::OfflinePeer => Self::OfflinePeer,
            RegionCheck::Empty => Self::EmptyRegion,
            RegionCheck::Oversized => Self::OversizedRegion,
        }
    }
}
