//! A region as its leader would have it: members, epoch, lead, size, and which of its peers lack data. It obeys orders as a
//! store does: for the epoch that they name, one at a time, and never past what the leader itself knows.

use std::collections::BTreeMap;

use flotilla_base::{
    ConfVer, Epoch, Key, KeyRange, Moment, Peer, PeerId, PeerRole, Region, Term, Version,
};
use flotilla_placement::{
    Flow, Rates,
    operator::{Command, PeerChange, PeerChangeKind, shape::Shape},
};

/// The number of a split that is asked for.
pub type SplitNumber = u64;

/// Where an order came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// Which run of the placement driver.
    pub run: u64,
    /// Which of its operators.
    pub operator: u64,
}

/// What a leader is about to do.
#[derive(Clone, Debug)]
pub struct UnderWay {
    /// Distinguishes it from everything else that this region did.
    pub number: u64,
    /// The term in which it was proposed.
    pub term: Term,
    /// The epoch for which it was ordered.
    pub epoch: Epoch,
    /// What.
    pub command: Command,
    /// Who ordered it; `None` for what the leader does by itself.
    pub origin: Option<Origin>,
}

/// A region.
#[derive(Clone, Debug)]
pub struct ModelRegion {
    /// Its shape.
    pub region: Region,
    /// Who leads it; `None` between an end and an election.
    pub leader: Option<PeerId>,
    /// The term of the last election.
    pub term: Term,
    /// Its size.
    pub size_bytes: u64,
    /// Peers that lack data, with the number of the attempt to bring it to them.
    pub behind: BTreeMap<PeerId, u64>,
    /// What its leader is about to do.
    pub under_way: Option<UnderWay>,
    /// Counts attempts and proposals.
    pub numbers: u64,
    /// What clients ask of it in a second.
    pub rates: Rates,
    /// Until when that was reported.
    pub told: Moment,
}

/// Whether it votes now.
const fn votes(peer: Peer) -> bool {
    !matches!(peer.role, PeerRole::Learner)
}

impl ModelRegion {
    /// A region that nobody leads yet.
    #[must_use]
    pub fn new(region: Region, size_bytes: u64) -> Self {
        Self {
            region,
            leader: None,
            term: Term(1),
            size_bytes,
            behind: BTreeMap::new(),
            under_way: None,
            numbers: 0,
            rates: Rates::default(),
            told: Moment(0),
        }
    }

    /// What clients have asked for since that was reported last; nothing where that is too short a time ago.
    pub fn flow(&mut self, now: Moment) -> Flow {
        const SHORT_S: u64 = 3;
        let interval_s = now.since(self.told).as_millis() / 1_000;
        if self.rates == Rates::default() || interval_s < SHORT_S {
            return Flow::default();
        }
        self.told = now;
        self.rates.flow(interval_s)
    }

    /// What it costs the store of a peer.
    #[must_use]
    pub fn heat_on(&self, peer: Peer) -> u64 {
        let leads = self.leader == Some(peer.id);
        if leads { self.rates.leader_heat() } else { self.rates.replica_heat() }
    }

    /// The leader, with its place.
    #[must_use]
    pub fn leader(&self) -> Option<Peer> {
        self.leader.and_then(|leader| self.region.peer(leader))
    }

    /// A number that no attempt and no proposal of this region had before.
    pub const fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Whether it could commit, given who is there.
    #[must_use]
    pub fn has_majority(&self, is_running: impl Fn(Peer) -> bool) -> bool {
        Shape::of(&self.region).has_majority(is_running)
    }

    /// How many voters are there and have all data; in a joint configuration those of the poorer half.
    #[must_use]
    pub fn healthy_voters(&self, is_running: impl Fn(Peer) -> bool) -> usize {
        let is_well = |peer: &Peer| is_running(*peer) && !self.behind.contains_key(&peer.id);
        let half = |role: PeerRole| {
            let counts = |it: &&Peer| it.role == PeerRole::Voter || it.role == role;
            self.region.peers.iter().filter(counts).filter(|it| is_well(it)).count()
        };
        half(PeerRole::IncomingVoter).min(half(PeerRole::DemotingVoter))
    }

    /// Who could lead: voters that are there and lack nothing.
    pub fn candidates(&self, is_running: impl Fn(Peer) -> bool) -> Vec<Peer> {
        let is_fit =
            |peer: &Peer| votes(*peer) && is_running(*peer) && !self.behind.contains_key(&peer.id);
        self.region.peers.iter().copied().filter(is_fit).collect()
    }

    /// What a leader knows better than the placement driver: whether it refuses.
    #[must_use]
    pub fn refuses(&self, command: &Command, is_running: impl Fn(Peer) -> bool) -> bool {
        let is_unproven = |change: &PeerChange| {
            let known = self.region.peer(change.peer.id);
            change.kind == PeerChangeKind::Voter
                && known
                    .is_none_or(|known| !is_running(known) || self.behind.contains_key(&known.id))
        };
        match command {
            Command::ChangePeer(change) => {
                let is_twin =
                    |peer: &Peer| peer.store == change.peer.store && peer.id != change.peer.id;
                is_unproven(change) || self.region.peers.iter().any(is_twin)
            }
            Command::ChangePeers(changes) => changes.iter().any(is_unproven),
            Command::TransferLeader(_) | Command::LeaveJoint | Command::Split(_) => false,
        }
    }

    /// Changes the members. Returns peers that are new.
    pub fn change(&mut self, command: &Command) -> Vec<Peer> {
        let changes = match command {
            Command::ChangePeer(change) => std::slice::from_ref(change),
            Command::ChangePeers(changes) => changes.as_slice(),
            Command::LeaveJoint => {
                let left = Shape::of(&self.region).left();
                self.region.peers = left.peers().collect();
                self.bump_conf();
                return Vec::new();
            }
            Command::TransferLeader(_) | Command::Split(_) => return Vec::new(),
        };
        let is_joint = changes.len() > 1;
        let mut new = Vec::new();
        for change in changes {
            new.extend(self.change_one(change, is_joint));
        }
        self.bump_conf();
        new
    }

    fn change_one(&mut self, change: &PeerChange, is_joint: bool) -> Option<Peer> {
        let role = match (change.kind, is_joint) {
            (PeerChangeKind::Remove, _) => {
                self.region.peers.retain(|peer| peer.id != change.peer.id);
                self.behind.remove(&change.peer.id);
                return None;
            }
            (PeerChangeKind::Voter, false) => PeerRole::Voter,
            (PeerChangeKind::Voter, true) => PeerRole::IncomingVoter,
            (PeerChangeKind::Learner, false) => PeerRole::Learner,
            (PeerChangeKind::Learner, true) => PeerRole::DemotingVoter,
        };
        if let Some(known) = self.region.peers.iter_mut().find(|it| it.id == change.peer.id) {
            known.role = role;
            return None;
        }
        let new = Peer { role, ..change.peer };
        self.region.peers.push(new);
        Some(new)
    }

    /// Somebody takes a learner away, or changes members and changes them back. Returns the version behind it.
    pub fn meddle(&mut self, learner: Option<Peer>) -> ConfVer {
        if let Some(learner) = learner {
            self.region.peers.retain(|peer| peer.id != learner.id);
            self.behind.remove(&learner.id);
        } else {
            self.bump_conf();
        }
        self.bump_conf();
        self.region.epoch.conf_ver
    }

    fn bump_conf(&mut self) {
        let conf_ver = &mut self.region.epoch.conf_ver;
        *conf_ver = ConfVer(conf_ver.get() + 1);
    }

    /// Where it would be split: in the middle of its keys; `None` where it has too few.
    #[must_use]
    pub fn middle(&self) -> Option<Key> {
        let (first, last) = (number_of(&self.region.range.start), end_of(&self.region.range));
        let middle = first + (last - first) / 2;
        (middle > first && middle < last).then(|| key_of(middle))
    }

    /// The upper half leaves; returns what is left of the keys for it.
    pub fn split(&mut self, at: &Key) -> KeyRange {
        let upper = KeyRange::new(at.clone(), self.region.range.end.clone());
        self.region.range.end = at.clone();
        self.region.epoch.version = Version(self.region.epoch.version.get() + 1);
        upper
    }
}

/// Keys are numbers below this.
pub const KEYS: u64 = 1 << 62;

/// The key of a number.
#[must_use]
pub fn key_of(number: u64) -> Key {
    if number == 0 { Key::new() } else { Key::copy_from_slice(&number.to_be_bytes()) }
}

fn number_of(key: &Key) -> u64 {
    key.as_ref().try_into().map_or(0, u64::from_be_bytes)
}

fn end_of(range: &KeyRange) -> u64 {
    let is_number = range.end.len() == size_of::<u64>();
    if is_number { number_of(&range.end) } else { KEYS }
}
