//! A history of regions on paper: splits, merges, moves of replicas and of leads, as the leaders of a
//! large cluster would report them. No store carries it out; it is there for the map of the placement
//! driver, until stores split.
//!
//! Epochs grow as the protocol of stores says: a split or merge gives all that come out of it a version
//! above all that went in, a change of members gives a larger configuration version.

use flotilla_base::{
    ConfVer, Epoch, Key, KeyRange, Peer, PeerId, Region, RegionId, Rng, StoreId, Term, Version,
};
use flotilla_placement::RegionReport;

use super::event::PdAsk;

/// Stores that hold the replicas on paper.
const STORES: u64 = 7;
/// Regions beyond which nothing is split.
const REGIONS_MAX: usize = 8;
/// Different borders.
const BORDERS: u64 = 40;
/// Old reports that are kept to come late.
const OLD_MAX: usize = 64;

/// The history so far.
#[derive(Debug)]
pub struct Paper {
    rng: Rng,
    /// What each region's leader would report now, in the order of the keys.
    now: Vec<RegionReport>,
    /// What was reported before.
    old: Vec<RegionReport>,
    /// What the last split has made, until it is reported.
    split: Option<Vec<Region>>,
    next_id: u64,
}

impl Paper {
    /// One region that owns everything.
    #[must_use]
    pub fn new(rng: Rng) -> Self {
        let peer = |number: u64| Peer::voter(PeerId(number), StoreId(number));
        let (leader, id, range) = (peer(1), RegionId(4), KeyRange::all());
        let region = Region { id, range, epoch: Epoch::FIRST, peers: (1..=3).map(peer).collect() };
        let report = RegionReport { region, leader, term: Term(6), ..RegionReport::default() };
        Self { rng, now: vec![report], old: Vec::new(), split: None, next_id: 4 }
    }

    /// What leaders would report now, in the order of the keys.
    #[must_use]
    pub fn reports(&self) -> &[RegionReport] {
        &self.now
    }

    /// What a split has made that is not reported yet, in the order of the keys.
    pub const fn take_split(&mut self) -> Option<Vec<Region>> {
        self.split.take()
    }

    /// The leader of the region that owns `key` asks for the ids of a split into `children` more.
    #[must_use]
    pub fn ask(&self, key: &Key, children: u32) -> PdAsk {
        let mut owners = self.now.iter().filter(|report| report.region.range.contains(key));
        match owners.next() {
            Some(report) => PdAsk::SplitIds(Box::new(report.region.clone()), children),
            None => PdAsk::Ids(children),
        }
    }

    /// A key that may be a border.
    pub fn key(&mut self) -> Key {
        format!("p{:02}", self.rng.below(BORDERS)).into()
    }

    /// Something happens; returns what is reported because of it, among it perhaps something old.
    pub fn step(&mut self) -> Vec<RegionReport> {
        let at = below(&mut self.rng, self.now.len());
        let mut changed = match self.rng.below(5) {
            0 | 1 => self.split(),
            2 => self.merge(at),
            3 => self.change_members(at),
            _ => self.change_leader(at),
        };
        let stale = draw(&mut self.rng, &self.old).filter(|_| self.rng.chance(400)).cloned();
        self.old.extend(changed.iter().cloned());
        self.old.drain(..self.old.len().saturating_sub(OLD_MAX));
        changed.extend(stale);
        changed
    }

    fn split(&mut self) -> Vec<RegionReport> {
        let border = self.key();
        let is_owner = |report: &RegionReport| report.region.range.contains(&border);
        let Some(at) = self.now.iter().position(is_owner) else { return Vec::new() };
        if self.now.len() >= REGIONS_MAX || self.now[at].region.range.start == border {
            return Vec::new();
        }
        let mut left = self.now[at].clone();
        let version = Version(left.region.epoch.version.get() + 1);
        left.region.epoch.version = version;
        let mut right = left.clone();
        right.region.id = RegionId(self.id().get());
        for peer in &mut right.region.peers {
            peer.id = self.id();
        }
        right.leader = right.region.peers.first().copied().unwrap_or_default();
        right.term = Term(6);
        left.region.range.end = border.clone();
        right.region.range.start = border;
        // Either half may keep the id of the whole.
        if self.rng.chance(500) {
            let (left_range, right_range) = (left.region.range.clone(), right.region.range.clone());
            (left.region.range, right.region.range) = (right_range, left_range);
            (left, right) = (right, left);
        }
        self.now[at] = left.clone();
        self.now.insert(at + 1, right.clone());
        self.split = Some(vec![left.region.clone(), right.region.clone()]);
        vec![left, right]
    }

    fn merge(&mut self, at: usize) -> Vec<RegionReport> {
        if at + 1 >= self.now.len() {
            return Vec::new();
        }
        let right = self.now.remove(at + 1);
        let left = self.now[at].clone();
        let (mut target, source) =
            if self.rng.chance(500) { (left.clone(), &right) } else { (right.clone(), &left) };
        let versions = (target.region.epoch.version, source.region.epoch.version);
        // The source's version grows when it agrees to be merged, the target's when it is done.
        target.region.epoch.version = Version(versions.0.get().max(versions.1.get() + 1) + 1);
        target.region.range =
            KeyRange::new(left.region.range.start, right.region.range.end.clone());
        self.now[at] = target.clone();
        vec![target]
    }

    fn change_members(&mut self, at: usize) -> Vec<RegionReport> {
        let (id, store) = (self.id(), StoreId(1 + self.rng.below(STORES)));
        let RegionReport { region, leader, .. } = &mut self.now[at];
        if region.peer_on(store).is_some() {
            return Vec::new();
        }
        // Some go, one comes, the leader stays.
        region.epoch.conf_ver = ConfVer(region.epoch.conf_ver.get() + 2);
        region.peers.retain(|peer| *peer == *leader || peer.id.get() % 3 != 0);
        region.peers.push(Peer::voter(id, store));
        vec![self.now[at].clone()]
    }

    fn change_leader(&mut self, at: usize) -> Vec<RegionReport> {
        let report = &mut self.now[at];
        let next = draw(&mut self.rng, &report.region.peers).copied();
        report.leader = next.unwrap_or(report.leader);
        report.term = report.term.next();
        vec![report.clone()]
    }

    fn id(&mut self) -> PeerId {
        self.next_id += 1;
        PeerId(self.next_id)
    }
}

fn below(rng: &mut Rng, bound: usize) -> usize {
    usize::try_from(rng.below(bound as u64)).unwrap_or(0)
}

fn draw<'a, V>(rng: &mut Rng, values: &'a [V]) -> Option<&'a V> {
    values.get(below(rng, values.len()))
}
