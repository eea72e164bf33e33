//! The checker as tables, and on regions of any shape.

mod healing;
mod table;

use std::collections::BTreeMap;

use flotilla_base::{
    ConfVer, Epoch, KeyRange, Moment, Peer, PeerId, PeerRole, Region, RegionId, Span, StoreId,
    Term, Version,
};

use super::*;
use crate::{
    OperatorController, Policy, RegionReport, RegionStats, StoreRecord, StoreState, StoreStats,
    operator::tests::peers,
    rule::tests::book,
    view::{ClusterView, StoreStatus},
};

const REGION: RegionId = RegionId(2);
const MIB: u64 = 1 << 20;

/// A cluster with one region that is looked at.
struct Scene {
    stores: BTreeMap<StoreId, StoreRecord>,
    policy: Policy,
    view: ClusterView,
    operators: OperatorController,
    now: Moment,
    region: Region,
    leader: Peer,
    /// Stores whose peer lags behind.
    lagging: Vec<StoreId>,
}

impl Scene {
    /// Stores as `1 zone=z1; 2 down; 3 leaving holds=4`, a region as `1v* 2v 3l? 4i 5d`: the star leads, or else the first
    /// one does, and the question mark lags behind.
    fn new(stores: &str, members: &str) -> Self {
        let now = Moment(0) + Span::from_millis(10 * 3_600_000);
        let epoch = Epoch { version: Version(5), conf_ver: ConfVer(7) };
        let range = KeyRange::new("b", "m");
        let mut scene = Self {
            stores: BTreeMap::new(),
            policy: Policy::default(),
            view: ClusterView::new(Moment(0)),
            operators: OperatorController::default(),
            now,
            region: Region { id: REGION, range, epoch, peers: Vec::new() },
            leader: Peer::default(),
            lagging: Vec::new(),
        };
        stores.split(';').for_each(|text| scene.put_store(text));
        for word in members.split_whitespace() {
            let peer = peer(word.trim_end_matches(['*', '?']));
            scene.region.peers.push(peer);
            if word.ends_with('*') || scene.leader.id.is_none() {
                scene.leader = peer;
            }
            if word.ends_with('?') {
                scene.lagging.push(peer.store);
            }
        }
        scene.report();
        scene
    }

    fn put_store(&mut self, text: &str) {
        let mut words = text.split_whitespace();
        let id = StoreId(words.next().expect("an id").parse().expect("a number"));
        let mut record = StoreRecord { id, ..StoreRecord::default() };
        let mut stats = StoreStats {
            capacity_bytes: 1_000 * MIB,
            available_bytes: 900 * MIB,
            ..StoreStats::default()
        };
        let mut silent_ms = 0;
        for word in words {
            match word.split_once('=') {
                Some(("holds", mib)) => self.fill(id, mib.parse().expect("a number")),
                Some(("weight", permille)) => {
                    let policy = self.policy.stores.entry(id).or_default();
                    policy.region_weight_permille = permille.parse().expect("a number");
                }
                Some((key, value)) => record.labels.push((key.to_owned(), value.to_owned())),
                None => match word {
                    "down" => silent_ms = 40 * 60_000,
                    "cut" => silent_ms = 60_000,
                    "leaving" => record.state = StoreState::Offline,
                    "gone" => record.state = StoreState::Tombstone,
                    "busy" => stats.is_busy = true,
                    "full" => stats.available_bytes = 10 * MIB,
                    other => panic!("no state: {other}"),
                },
            }
        }
        let heard = Moment(self.now.0 - Span::from_millis(silent_ms).0);
        self.view.on_store_report(id, StoreStatus { stats, heard, ..StoreStatus::default() });
        self.stores.insert(id, record);
    }

    /// Another region on a store.
    fn fill(&mut self, store: StoreId, mib: u64) {
        let key = |number: u64| format!("z{number:03}");
        let region = Region {
            id: RegionId(1_000 + store.get()),
            range: KeyRange::new(key(store.get()), key(store.get() + 1)),
            epoch: Epoch::FIRST,
            peers: vec![Peer::voter(PeerId(1_000 + store.get()), store)],
        };
        let stats = RegionStats { size_bytes: mib * MIB, ..RegionStats::default() };
        let leader = region.peers[0];
        let report = RegionReport { region, leader, stats, ..RegionReport::default() };
        self.view.on_region_report(self.now, report).expect("taken");
    }

    fn report(&mut self) {
        let is_lagging = |peer: &&Peer| self.lagging.contains(&peer.store);
        let report = RegionReport {
            region: self.region.clone(),
            leader: self.leader,
            term: Term(6),
            pending_peers: self.region.peers.iter().filter(is_lagging).copied().collect(),
            ..RegionReport::default()
        };
        self.view.on_region_report(self.now, report).expect("taken");
    }

    fn rules(mut self, text: &str) -> Self {
        self.policy.rules = book(text);
        self
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.policy.set(name, value).expect("possible");
        self
    }

    fn sight(&self) -> Sight<'_> {
        Sight { stores: &self.stores, policy: &self.policy, view: &self.view, now: self.now }
    }

    fn find(&self) -> Finding {
        let sight = self.sight();
        let info = self.view.region(REGION).expect("it was reported");
        let fleet = Fleet::of(sight, &self.operators);
        let setbacks = Setbacks::of(&self.operators, self.now);
        let found = check(&fleet, info, &setbacks);
        let mut terrain = Terrain::default();
        let blind = standing(&sight, info, &mut terrain);
        terrain.survey(&fleet);
        let seen = standing(&sight, info, &mut terrain);
        assert!(seen == blind || seen == Standing::Sound, "who knows the stores finds no more");
        if seen == Standing::Sound {
            assert_eq!(found, Finding::Sound, "the first look has promised it");
        }
        found
    }

    /// What is found, in words.
    fn found(&self) -> String {
        match self.find() {
            Finding::Sound => "sound".to_owned(),
            Finding::Stuck(why) => format!("stuck: {why}"),
            Finding::Do(intent) => {
                assert!(intent.decision.alternatives.len() <= crate::decision::ALTERNATIVES_MAX);
                format!("{}: {}", intent.decision.by, intent.plan.brief)
            }
        }
    }
}

/// `3l`: the id of a peer is ten times that of its store.
fn peer(word: &str) -> Peer {
    peers(word)[0]
}
