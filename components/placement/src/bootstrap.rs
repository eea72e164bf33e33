//! The first regions of a fresh cluster: which they are, where their voters live, who leads first.

use std::collections::BTreeMap;

use flotilla_base::{
    ConfVer, Epoch, KeyRange, Peer, PeerId, PeerRole, Region, RegionId, StoreId, Version,
    codec::{CodecError, RecordReader, RecordWriter},
    key::guard_border,
};

use crate::{
    ids::IdBatch,
    meta::{StoreRecord, StoreState},
};

/// One of the first regions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapRegion {
    /// The region with all its voters.
    pub region: Region,
    /// The peer that campaigns at once; the others wait.
    pub first_leader: PeerId,
}

/// The first regions, and when they were decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootstrapPlan {
    /// Wall clock of the decision, seconds since 1970; informative.
    pub unix_s: u64,
    /// The regions, in the order of their ranges.
    pub regions: Vec<BootstrapRegion>,
}

/// The ranges of a fresh cluster: everything below the guard border, and the guard region.
fn first_ranges() -> [KeyRange; 2] {
    [KeyRange::new("", guard_border()), KeyRange::new(guard_border(), "")]
}

/// How many ids [`plan_bootstrap`] needs: one a region, one a peer.
#[must_use]
pub const fn bootstrap_ids(max_replicas: u32) -> u32 {
    max_replicas.saturating_add(1).saturating_mul(2)
}

/// Plans the first regions once as many stores as `max_replicas` are registered; `None` before.
///
/// No store is special: the stores with the smallest ids get a voter of each region, and the first
/// leaders are spread over them. `ids` must hold [`bootstrap_ids`] ids; what is left is not used.
#[must_use]
pub fn plan_bootstrap(
    stores: &BTreeMap<StoreId, StoreRecord>,
    max_replicas: u32,
    ids: IdBatch,
    unix_s: u64,
) -> Option<BootstrapPlan> {
    let members = bootstrap_stores(stores, max_replicas)?;
    let mut ids = ids.first..=ids.last;
    let mut regions = Vec::new();
    for (position, range) in first_ranges().into_iter().enumerate() {
        let id = RegionId(ids.next()?);
        let peers = members
            .iter()
            .map(|store| Some(Peer::voter(PeerId(ids.next()?), *store)))
            .collect::<Option<Vec<_>>>()?;
        let first_leader = peers[position % peers.len()].id;
        let region = Region { id, range, epoch: Epoch::FIRST, peers };
        regions.push(BootstrapRegion { region, first_leader });
    }
    Some(BootstrapPlan { unix_s, regions })
}

/// The stores that a bootstrap would use now; `None` while there are too few.
#[must_use]
pub fn bootstrap_stores(
    stores: &BTreeMap<StoreId, StoreRecord>,
    max_replicas: u32,
) -> Option<Vec<StoreId>> {
    let wanted = usize::try_from(max_replicas).ok().filter(|count| *count > 0)?;
    let is_up = |store: &&StoreRecord| store.state == StoreState::Up;
    let members: Vec<_> =
        stores.values().filter(is_up).take(wanted).map(|store| store.id).collect();
    (members.len() == wanted).then_some(members)
}

impl BootstrapPlan {
    /// Whether the plan can be carried out with these stores and ids; the reason if not.
    pub(crate) fn check(
        &self,
        stores: &BTreeMap<StoreId, StoreRecord>,
        last_id: u64,
    ) -> Result<(), String> {
        let mut border = Some(KeyRange::all().start);
        for planned in &self.regions {
            let region = &planned.region;
            region.validate().map_err(|error| error.to_string())?;
            if region.peer(planned.first_leader).is_none() {
                return Err(format!("region {}: its first leader is no peer of it", region.id));
            }
            if border.as_ref() != Some(&region.range.start) {
                return Err(format!("region {}: range {} leaves a hole", region.id, region.range));
            }
            border = (!region.range.end.is_empty()).then(|| region.range.end.clone());
            let foreign = region.peers.iter().find(|peer| !stores.contains_key(&peer.store));
            if let Some(peer) = foreign {
                return Err(format!("store {} is not registered", peer.store));
            }
            let largest = region.peers.iter().map(|peer| peer.id.get()).max().unwrap_or(0);
            if largest.max(region.id.get()) > last_id {
                return Err(format!("region {}: an id was never handed out", region.id));
            }
        }
        if border.is_some() {
            return Err("the last region does not reach the end of the key space".to_owned());
        }
        Ok(())
    }

    pub(crate) fn write(&self, writer: &mut RecordWriter) {
        writer.number(self.unix_s).number(self.regions.len() as u64);
        for planned in &self.regions {
            write_region(&planned.region, writer);
            writer.number(planned.first_leader.get());
        }
    }

    pub(crate) fn read(reader: &mut RecordReader) -> Result<Self, CodecError> {
        let mut plan = Self { unix_s: reader.number()?, regions: Vec::new() };
        // No capacity from the count: it comes from outside and may be nonsense.
        for _region in 0..reader.number()? {
            let region = read_region(reader)?;
            let first_leader = PeerId(reader.number()?);
            plan.regions.push(BootstrapRegion { region, first_leader });
        }
        Ok(plan)
    }
}

fn write_region(region: &Region, writer: &mut RecordWriter) {
    writer.number(region.id.get()).bytes(&region.range.start).bytes(&region.range.end);
    writer.number(region.epoch.version.get()).number(region.epoch.conf_ver.get());
    writer.number(region.peers.len() as u64);
    for peer in &region.peers {
        writer.number(peer.id.get()).number(peer.store.get()).byte(role_tag(peer.role));
    }
}

fn read_region(reader: &mut RecordReader) -> Result<Region, CodecError> {
    let mut region = Region {
        id: RegionId(reader.number()?),
        range: KeyRange::new(reader.bytes()?, reader.bytes()?),
        epoch: Epoch { version: Version(reader.number()?), conf_ver: ConfVer(reader.number()?) },
        peers: Vec::new(),
    };
    for _peer in 0..reader.number()? {
        let (id, store) = (PeerId(reader.number()?), StoreId(reader.number()?));
        region.peers.push(Peer { id, store, role: role_from_tag(reader.byte()?)? });
    }
    Ok(region)
}

const fn role_tag(role: PeerRole) -> u8 {
    match role {
        PeerRole::Voter => 0,
        PeerRole::Learner => 1,
        PeerRole::IncomingVoter => 2,
        PeerRole::DemotingVoter => 3,
    }
}

const fn role_from_tag(tag: u8) -> Result<PeerRole, CodecError> {
    match tag {
        0 => Ok(PeerRole::Voter),
        1 => Ok(PeerRole::Learner),
        2 => Ok(PeerRole::IncomingVoter),
        3 => Ok(PeerRole::DemotingVoter),
        _ => Err(CodecError::Meaningless("peer role")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stores(ids: impl IntoIterator<Item = u64>) -> BTreeMap<StoreId, StoreRecord> {
        let store = |id| {
            let address = format!("127.0.0.1:{}", 20160 + id);
            (StoreId(id), StoreRecord { id: StoreId(id), address, ..StoreRecord::default() })
        };
        ids.into_iter().map(store).collect()
    }

    #[test]
    fn waits_for_as_many_stores_as_replicas() {
        let ids = IdBatch { first: 100, last: 107 };
        assert_eq!(plan_bootstrap(&stores([1, 2]), 3, ids, 0), None);
        assert_eq!(plan_bootstrap(&stores([]), 0, ids, 0), None, "no replicas, no cluster");
        let mut three = stores([1, 2, 3]);
        three.get_mut(&StoreId(3)).expect("made above").state = StoreState::Tombstone;
        assert_eq!(plan_bootstrap(&three, 3, ids, 0), None, "a tombstone is no store");
    }

    #[test]
    fn both_regions_have_every_voter_and_leaders_are_spread() {
        let stores = stores([4, 5, 6, 7]);
        let ids = IdBatch { first: 100, last: 100 + u64::from(bootstrap_ids(3)) - 1 };
        let plan = plan_bootstrap(&stores, 3, ids, 77).expect("enough stores");
        assert_eq!(plan.check(&stores, 107), Ok(()));
        let [data, guard] = plan.regions.as_slice() else { panic!("two regions: {plan:?}") };
        assert!(!data.region.is_guard() && guard.region.is_guard());
        assert_eq!(data.region.id, RegionId(100));
        assert_eq!(guard.region.id, RegionId(104));
        let members = [StoreId(4), StoreId(5), StoreId(6)];
        for planned in &plan.regions {
            assert!(planned.region.peers.iter().map(|peer| peer.store).eq(members));
            assert_eq!(planned.region.epoch, Epoch::FIRST);
        }
        assert_eq!((data.first_leader, guard.first_leader), (PeerId(101), PeerId(106)));
    }

    #[test]
    fn one_store_alone_leads_both() {
        let ids = IdBatch { first: 2, last: 5 };
        let plan = plan_bootstrap(&stores([1]), 1, ids, 0).expect("one store is enough");
        assert!(plan.regions.iter().all(|planned| planned.region.peers.len() == 1));
    }

    #[test]
    fn a_plan_that_cannot_be_carried_out_is_refused() {
        let stores = stores([1, 2, 3]);
        let ids = IdBatch { first: 10, last: 17 };
        let plan = plan_bootstrap(&stores, 3, ids, 0).expect("enough stores");
        let refused = |change: fn(&mut BootstrapPlan), reason: &str| {
            let mut bad = plan.clone();
            change(&mut bad);
            let text = bad.check(&stores, 17).expect_err(reason);
            assert!(text.contains(reason), "{text:?} lacks {reason:?}");
        };
        refused(|plan| plan.regions.truncate(1), "does not reach the end");
        refused(|plan| drop(plan.regions.remove(0)), "leaves a hole");
        refused(|plan| plan.regions[0].first_leader = PeerId(99), "first leader");
        refused(|plan| plan.regions[0].region.peers[0].store = StoreId(9), "not registered");
        refused(|plan| plan.regions[0].region.id = RegionId(18), "never handed out");
        refused(|plan| plan.regions[0].region.peers.truncate(0), "first leader");
    }
}
