//! The map: regions by key and by id, the peer believed to lead each, and the stores' addresses.
//!
//! Invariants: cached ranges do not overlap; the epoch of a cached region never goes backward; an
//! entry is only ever replaced by a newer one, never dropped for being doubted, so that a client
//! still finds its way while the placement driver is down. Bounded by the regions of the cluster.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use flotilla_base::{Key, Moment, Peer, PeerId, PeerRole, Region, RegionId, Span, StoreId};

use crate::decision::Correction;

/// How long a store that refused a connection is asked last. Long enough to spare an election's
/// worth of attempts on a dead store, short enough to notice its return.
pub const AVOIDANCE: Span = Span::from_millis(300);

/// Where one attempt goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The region in the shape that the request will name.
    pub region: Arc<Region>,
    /// The peer to ask.
    pub peer: Peer,
}

/// What became of a region that the cache was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// It is in the cache now; what it overlapped is gone.
    Stored,
    /// The cache knows something newer there; nothing changed but, perhaps, the leader.
    Outdated,
    /// It has no peer that could lead, or breaks a rule of regions.
    Unusable,
}

#[derive(Clone, Debug)]
struct Entry {
    region: Arc<Region>,
    leader: PeerId,
    is_doubted: bool,
}

#[derive(Clone, Debug, Default)]
struct StoreEntry {
    address: Option<Arc<str>>,
    is_doubted: bool,
    avoided_until: Moment,
}

/// The map of one client. The shell keeps it under a lock; no method blocks or does IO.
#[derive(Clone, Debug, Default)]
pub struct RegionCache {
    ids_by_start: BTreeMap<Key, RegionId>,
    regions: BTreeMap<RegionId, Entry>,
    stores: BTreeMap<StoreId, StoreEntry>,
}

impl RegionCache {
    /// The way to the region that owns `key`.
    #[must_use]
    pub fn locate(&self, key: &[u8]) -> Option<Route> {
        let range = (Bound::Unbounded, Bound::Included(key));
        let (_, id) = self.ids_by_start.range::<[u8], _>(range).next_back()?;
        self.route(*id).filter(|route| route.region.range.contains(key))
    }

    /// The way to the region in which a descending scan below `key` begins: the one with
    /// `start < key ≤ end`; an empty `key` stands for the end of all keys.
    #[must_use]
    pub fn locate_below(&self, key: &[u8]) -> Option<Route> {
        let below = if key.is_empty() { Bound::Unbounded } else { Bound::Excluded(key) };
        let (_, id) = self.ids_by_start.range::<[u8], _>((Bound::Unbounded, below)).next_back()?;
        self.route(*id).filter(|route| {
            let end = &route.region.range.end;
            end.is_empty() || (!key.is_empty() && key <= end.as_ref())
        })
    }

    /// The way to a region by its id.
    #[must_use]
    pub fn route(&self, id: RegionId) -> Option<Route> {
        let entry = self.regions.get(&id)?;
        let peer = entry.region.peer(entry.leader)?;
        Some(Route { region: Arc::clone(&entry.region), peer })
    }

    /// The way to a replica of the region of `route` that a read may ask instead of the leader: with each
    /// `turn` another one, none on an avoided store as long as there are others.
    #[must_use]
    pub fn replica(&self, now: Moment, route: &Route, turn: u64) -> Route {
        let peers: Vec<Peer> = candidates(&route.region).collect();
        let first = usize::try_from(turn % peers.len().max(1) as u64).unwrap_or(0);
        let in_turn = peers.iter().cycle().skip(first).take(peers.len());
        let chosen = in_turn.copied().find(|peer| !self.is_avoided(now, peer.store));
        Route { region: Arc::clone(&route.region), peer: chosen.unwrap_or(route.peer) }
    }

    /// Number of cached regions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.regions.len()
    }

    /// Whether nothing is cached.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// Takes note of a region and, where known, of its leader.
    pub fn learn(&mut self, region: Region, leader: Option<Peer>) -> Learned {
        let leader = leader.and_then(|leader| region.peer(leader.id));
        // Our own last guess is worth more than the first peer of a list.
        let guess = self.regions.get(&region.id).and_then(|known| region.peer(known.leader));
        let Some(first) = leader.or(guess).or_else(|| candidates(&region).next()) else {
            return Learned::Unusable;
        };
        if region.validate().is_err() {
            return Learned::Unusable;
        }
        if let Some(known) = self.regions.get_mut(&region.id) {
            let (old, new) = (known.region.epoch, region.epoch);
            if new.version < old.version || new.conf_ver < old.conf_ver {
                return Learned::Outdated;
            }
            if *known.region == region {
                known.is_doubted = false;
                known.leader = leader.map_or(known.leader, |leader| leader.id);
                return Learned::Stored;
            }
        }
        let overlapped = self.overlapping(&region);
        let is_newer = |id: &RegionId| {
            *id != region.id && self.regions[id].region.epoch.version > region.epoch.version
        };
        if overlapped.iter().any(is_newer) {
            return Learned::Outdated;
        }
        self.forget(region.id);
        overlapped.into_iter().for_each(|id| self.forget(id));
        self.ids_by_start.insert(region.range.start.clone(), region.id);
        let id = region.id;
        let entry = Entry { region: Arc::new(region), leader: first.id, is_doubted: false };
        self.regions.insert(id, entry);
        self.debug_assert_disjoint(id);
        Learned::Stored
    }

    /// Whether the region is doubted and nobody has set out to ask for it again; the caller that
    /// gets `true` is the one who asks. All others go on with what is cached.
    pub fn claim_reload(&mut self, id: RegionId) -> bool {
        self.regions.get_mut(&id).is_some_and(|entry| std::mem::take(&mut entry.is_doubted))
    }

    /// Whether the region is doubted: the cheap question before [`Self::claim_reload`].
    #[must_use]
    pub fn is_doubted(&self, id: RegionId) -> bool {
        self.regions.get(&id).is_some_and(|entry| entry.is_doubted)
    }

    /// Takes note that the peer of `route` did its work: it leads, and its store is well.
    pub fn confirm(&mut self, route: &Route) {
        if let Some(entry) = self.regions.get_mut(&route.region.id)
            && entry.region.peer(route.peer.id).is_some()
        {
            entry.leader = route.peer.id;
        }
        if let Some(store) = self.stores.get_mut(&route.peer.store) {
            store.avoided_until = Moment::default();
        }
    }

    /// Draws the consequences of a failure along `route`.
    pub fn correct(&mut self, now: Moment, route: &Route, correction: &Correction) {
        match correction {
            Correction::Nothing => {}
            Correction::NextPeer => self.advance(now, route),
            // The hint may be older than our own experience: a follower names the leader that
            // died until it hears of another.
            Correction::Leader(leader) if self.is_avoided(now, leader.store) => {
                self.advance(now, route);
            }
            Correction::Leader(leader) => self.set_leader(route, leader.id),
            Correction::AvoidStore => {
                let store = self.stores.entry(route.peer.store).or_default();
                store.avoided_until = now + AVOIDANCE;
                // The store may have come back under another address.
                store.is_doubted = true;
                self.advance(now, route);
            }
            Correction::ReloadRegion => {
                self.advance(now, route);
                self.doubt(route.region.id);
            }
            Correction::ReloadStore => {
                self.stores.entry(route.peer.store).or_default().is_doubted = true;
                self.doubt(route.region.id);
            }
            Correction::Replace(regions) => {
                for region in regions {
                    let leader = region.peer_on(route.peer.store);
                    self.learn(region.clone(), leader);
                }
            }
        }
    }

    /// Marks a region as doubted, so that the next call asks the placement driver for it.
    pub fn doubt(&mut self, id: RegionId) {
        if let Some(entry) = self.regions.get_mut(&id) {
            entry.is_doubted = true;
        }
    }

    /// The address of a store, where it is known.
    #[must_use]
    pub fn address(&self, store: StoreId) -> Option<Arc<str>> {
        self.stores.get(&store)?.address.clone()
    }

    /// Whether the address of a store is doubted: the cheap question before
    /// [`Self::claim_address_reload`].
    #[must_use]
    pub fn is_address_doubted(&self, store: StoreId) -> bool {
        self.stores.get(&store).is_some_and(|entry| entry.is_doubted)
    }

    /// Whether the address is doubted and nobody has set out to ask for it again; the caller that
    /// gets `true` is the one who asks.
    pub fn claim_address_reload(&mut self, store: StoreId) -> bool {
        self.stores.get_mut(&store).is_some_and(|entry| std::mem::take(&mut entry.is_doubted))
    }

    /// Takes note of a store's address.
    pub fn learn_address(&mut self, store: StoreId, address: &str) {
        let entry = self.stores.entry(store).or_default();
        entry.address = Some(Arc::from(address));
        entry.is_doubted = false;
    }

    fn is_avoided(&self, now: Moment, store: StoreId) -> bool {
        self.stores.get(&store).is_some_and(|entry| now < entry.avoided_until)
    }

    /// Moves the guess to the next peer that could lead, avoided stores last. Many calls fail at
    /// once when a leader dies; only the first of them moves the guess, the others find it moved.
    fn advance(&mut self, now: Moment, route: &Route) {
        let Some(entry) = self.regions.get(&route.region.id) else { return };
        if entry.leader != route.peer.id {
            return;
        }
        let peers: Vec<Peer> = candidates(&entry.region).collect();
        let asked = peers.iter().position(|peer| peer.id == route.peer.id).unwrap_or(0);
        let others = || peers.iter().cycle().skip(asked + 1).take(peers.len().saturating_sub(1));
        let next = others().find(|peer| !self.is_avoided(now, peer.store)).or_else(|| {
            // Everything else is avoided: stay with the peer if it at least answers.
            others().next().filter(|_| self.is_avoided(now, route.peer.store))
        });
        if let Some(next) = next.map(|peer| peer.id) {
            self.set_leader(route, next);
        }
    }

    fn set_leader(&mut self, route: &Route, leader: PeerId) {
        if let Some(entry) = self.regions.get_mut(&route.region.id)
            && entry.region.peer(leader).is_some()
        {
            entry.leader = leader;
        }
    }

    fn overlapping(&self, region: &Region) -> Vec<RegionId> {
        let start = region.range.start.as_ref();
        let before = self.ids_by_start.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(start)));
        let behind = self.ids_by_start.range::<[u8], _>((Bound::Included(start), Bound::Unbounded));
        let overlaps = |id: &&RegionId| self.regions[*id].region.range.overlaps(&region.range);
        let neighbour = before.map(|(_, id)| id).next_back().filter(overlaps);
        let rest = behind.map(|(_, id)| id).take_while(overlaps);
        neighbour.into_iter().chain(rest).copied().collect()
    }

    fn forget(&mut self, id: RegionId) {
        if let Some(entry) = self.regions.remove(&id) {
            self.ids_by_start.remove(&entry.region.range.start);
        }
    }

    fn debug_assert_disjoint(&self, id: RegionId) {
        debug_assert_eq!(self.ids_by_start.len(), self.regions.len(), "one start for each region");
        debug_assert_eq!(
            self.overlapping(&self.regions[&id].region),
            [id],
            "cached regions do not overlap"
        );
    }
}

/// The peers that may lead, in the region's order.
fn candidates(region: &Region) -> impl Iterator<Item = Peer> {
    let may_lead = |peer: &&Peer| matches!(peer.role, PeerRole::Voter | PeerRole::IncomingVoter);
    region.peers.iter().filter(may_lead).copied()
}
