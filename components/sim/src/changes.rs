//! How the members of regions are changed: demoted, promoted, removed, and where the plan says so added, one at a
//! time or several together, at drawn moments, and with something breaking right behind it.

use flotilla_base::{ConfVer, KeyRange, Peer, PeerId, PeerRole, Region, Rng, Span, StoreId};
use flotilla_multiraft::{ChangeKind, ChangePeers, PeerChange};

use crate::event::Ticket;
use crate::splits::Aftermath;

/// Tickets of changes are numbered from here, behind those of splits.
const FIRST_TICKET: u64 = 1 << 41;

/// Peers that are added are numbered from here: nobody else gives such ids.
const FIRST_PEER: u64 = 1 << 40;

/// So often somebody asks for the return of a member to its store before it is given up.
const RETURN_TRIES: u32 = 60;

/// Longest time between two such requests.
const RETURN_INTERVAL: Span = Span::from_millis(100);

/// How often members change.
#[derive(Clone, Debug)]
pub struct ChangePlan {
    /// Longest time between two changes; zero for none.
    pub interval: Span,
    /// So many are asked for at most, those included that are refused.
    pub count_max: u64,
    /// Changes that are about several voters, in thousandths.
    pub joint_permille: u64,
    /// Changes that remove somebody, in thousandths.
    pub remove_permille: u64,
    /// Whether members are added: they begin without data.
    pub has_additions: bool,
    /// Removals after which the store gets a new member of the same keys as soon as it can, in thousandths.
    pub return_permille: u64,
}

impl ChangePlan {
    /// No changes.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            interval: Span::ZERO,
            count_max: 0,
            joint_permille: 0,
            remove_permille: 0,
            has_additions: false,
            return_permille: 0,
        }
    }

    /// The plan of a seed: one of three runs has changes.
    #[must_use]
    pub fn swarm(seed: u64) -> Self {
        let mut rng = Rng::lane(seed, 14);
        let pick =
            |rng: &mut Rng, choices: [u64; 3]| choices[usize::try_from(rng.below(3)).unwrap_or(0)];
        let interval = [0, 0, 0, 0, 300, 1_500][usize::try_from(rng.below(6)).unwrap_or(0)];
        Self {
            interval: Span::from_millis(interval),
            count_max: 4 + rng.below(40),
            joint_permille: pick(&mut rng, [0, 300, 700]),
            remove_permille: pick(&mut rng, [0, 50, 200]),
            has_additions: rng.chance(500),
            return_permille: 0,
        }
    }

    /// Whether members change.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.interval > Span::ZERO && self.count_max > 0
    }
}

/// Whether a ticket is that of a change.
#[must_use]
pub const fn is_change(ticket: Ticket) -> bool {
    ticket.0 >= FIRST_TICKET
}

/// Draws changes.
#[derive(Debug)]
pub struct ChangeChance {
    plan: ChangePlan,
    rng: Rng,
    asked: u64,
    added: u64,
    expected: Option<Return>,
}

/// A store whose member is removed, and which is to have one of the same keys again.
#[derive(Debug)]
struct Return {
    store: StoreId,
    /// The keys of the member that goes; its region may be split meanwhile.
    range: KeyRange,
    tries: u32,
    is_asked: bool,
}

impl ChangeChance {
    /// Draws as `plan` says.
    #[must_use]
    pub fn new(plan: ChangePlan, seed: u64) -> Self {
        Self { plan, rng: Rng::lane(seed, 15), asked: 0, added: 0, expected: None }
    }

    /// Time to the next change; `None` where there is none.
    pub fn interval(&mut self) -> Option<Span> {
        let is_over = !self.plan.is_on() || self.asked >= self.plan.count_max;
        let longest = if self.expected.is_some() { RETURN_INTERVAL } else { self.plan.interval };
        (!is_over).then(|| Span(1 + self.rng.below(longest.0)))
    }

    /// The next change's ticket.
    pub const fn ticket(&mut self) -> Ticket {
        self.asked += 1;
        Ticket(FIRST_TICKET + self.asked)
    }

    /// One of the regions; now and then the one that was made last.
    pub fn region<'a>(&mut self, regions: &'a [Region]) -> Option<&'a Region> {
        let newest = regions.iter().max_by_key(|region| region.id);
        let drawn = regions.get(self.below(regions.len()));
        if self.rng.chance(300) { newest } else { drawn }
    }

    /// How the members of the region are to change: mostly in a way that makes sense. `stores` are all that there
    /// are.
    pub fn command(&mut self, region: &Region, stores: u64) -> ChangePeers {
        let mut epoch = region.epoch;
        if self.rng.chance(30) {
            epoch.conf_ver = ConfVer(epoch.conf_ver.get() + 1 - 2 * self.rng.below(2).min(1));
        }
        let count = if self.rng.chance(self.plan.joint_permille) { 2 + self.below(2) } else { 1 };
        let mut changes: Vec<PeerChange> = Vec::new();
        for _ in 0..count * 3 {
            let Some(step) = self.step(region, stores, count > 1) else { continue };
            if changes.len() < count && changes.iter().all(|it| it.peer != step.peer) {
                changes.push(step);
            }
        }
        ChangePeers { epoch, changes }
    }

    /// Whether a member that has no data yet is to be removed, where there is one.
    pub fn removes_late(&mut self) -> bool {
        self.plan.remove_permille > 0 && self.rng.chance(300)
    }

    /// The removal of one member.
    #[must_use]
    pub fn removal(region: &Region, member: Peer) -> ChangePeers {
        ChangePeers { epoch: region.epoch, changes: vec![removal_of(member)] }
    }

    /// The change was asked for. Where somebody is to go, the store may be given a new member.
    pub fn follow(&mut self, region: &Region, command: &ChangePeers) {
        let removed = command.changes.iter().find(|it| it.kind == ChangeKind::Remove);
        let Some(&PeerChange { store, .. }) = removed else { return };
        if self.plan.return_permille > 0 && self.rng.chance(self.plan.return_permille) {
            let (range, tries) = (region.range.clone(), RETURN_TRIES);
            self.expected = Some(Return { store, range, tries, is_asked: false });
        }
    }

    /// Whether nothing else is asked for until a store has its new member.
    #[must_use]
    pub const fn awaits_return(&self) -> bool {
        self.expected.is_some()
    }

    /// The addition of a member at the store that lost one, as soon as it has; the keys may be those of several regions
    /// by now.
    pub fn homecoming(&mut self, regions: &[Region]) -> Option<(Region, ChangePeers)> {
        let Return { store, range, tries, is_asked } = self.expected.as_mut()?;
        *tries -= 1;
        let store = *store;
        let lacks = |it: &&Region| it.range.overlaps(range) && it.peer_on(store).is_none();
        let lacking: Vec<&Region> = regions.iter().filter(lacks).collect();
        if *tries == 0 || (*is_asked && lacking.is_empty()) {
            self.expected = None;
            return None;
        }
        *is_asked |= !lacking.is_empty();
        let region = *lacking.get(self.below(lacking.len()))?;
        let command = ChangePeers { epoch: region.epoch, changes: vec![self.newcomer(store)] };
        Some((region.clone(), command))
    }

    fn step(&mut self, region: &Region, stores: u64, is_one_of_many: bool) -> Option<PeerChange> {
        if self.plan.has_additions && self.rng.chance(250) {
            return self.addition(region, stores);
        }
        if self.plan.return_permille > 0
            && let Some(learner) = region.peers.iter().find(|it| it.role == PeerRole::Learner)
            && self.rng.chance(self.plan.remove_permille)
        {
            return Some(removal_of(*learner));
        }
        let drawn = *region.peers.get(self.below(region.peers.len()))?;
        let Peer { id: peer, store, role } = drawn;
        let is_removed = !is_one_of_many && self.rng.chance(self.plan.remove_permille);
        let kind = match role {
            _ if is_removed => ChangeKind::Remove,
            PeerRole::Voter if self.rng.chance(980) => ChangeKind::Demote,
            PeerRole::Learner if self.rng.chance(980) => ChangeKind::Promote,
            _ => [ChangeKind::Demote, ChangeKind::Promote][self.below(2)],
        };
        Some(PeerChange { kind, peer, store })
    }

    fn addition(&mut self, region: &Region, stores: u64) -> Option<PeerChange> {
        let store = StoreId(1 + self.rng.below(stores));
        if region.peer_on(store).is_some() {
            return None;
        }
        Some(self.newcomer(store))
    }

    const fn newcomer(&mut self, store: StoreId) -> PeerChange {
        self.added += 1;
        PeerChange { kind: ChangeKind::AddLearner, peer: PeerId(FIRST_PEER + self.added), store }
    }

    /// What happens behind it.
    pub fn aftermath(&mut self) -> Aftermath {
        match self.rng.below(8) {
            0 => Aftermath::Crash(self.rng.below(60)),
            1 | 2 => Aftermath::Cut,
            3 => Aftermath::HandOver,
            _ => Aftermath::Calm,
        }
    }

    /// How long something is broken then: longer than a new leader takes to be elected, mostly.
    pub fn length(&mut self) -> Span {
        Span::from_millis(500 + self.rng.below(2_500))
    }

    /// A short while.
    pub fn moment(&mut self) -> Span {
        Span(self.rng.below(Span::from_millis(20).0))
    }

    /// One of so many.
    pub fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.rng.below(count.max(1) as u64)).unwrap_or(0)
    }
}

const fn removal_of(member: Peer) -> PeerChange {
    PeerChange { kind: ChangeKind::Remove, peer: member.id, store: member.store }
}

#[cfg(test)]
mod tests {
    use flotilla_base::{Epoch, RegionId};

    use super::*;

    fn region(id: u64, start: &'static str, end: &'static str, stores: &[u64]) -> Region {
        let peer = |store: &u64| Peer::voter(PeerId(id * 10 + store), StoreId(*store));
        let (range, peers) = (KeyRange::new(start, end), stores.iter().map(peer).collect());
        Region { id: RegionId(id), range, epoch: Epoch::FIRST, peers }
    }

    #[test]
    fn a_store_gets_members_of_the_keys_that_it_lost() {
        let plan = ChangePlan { return_permille: 1_000, ..ChangePlan::none() };
        let mut chance = ChangeChance::new(plan, 1);
        let whole = region(1, "", "m", &[1, 2, 3]);
        let gone = ChangeChance::removal(&whole, whole.peers[2]);
        chance.follow(&whole, &gone);
        assert!(chance.awaits_return());
        assert_eq!(chance.homecoming(&[whole]), None, "it is still there");
        let left = [
            region(1, "", "c", &[1, 2]),
            region(7, "c", "m", &[1, 2]),
            region(8, "m", "", &[1, 2]),
        ];
        for asked in 1..20 {
            let (region, command) = chance.homecoming(&left).expect("two lack one");
            assert_ne!(region.id, RegionId(8), "of those keys it had none");
            let [added] = &command.changes[..] else { panic!("{command:?}") };
            let wanted = (ChangeKind::AddLearner, StoreId(3), PeerId(FIRST_PEER + asked));
            assert_eq!((added.kind, added.store, added.peer), wanted);
        }
        let back = [region(1, "", "c", &[1, 2, 3]), region(7, "c", "m", &[1, 2, 3])];
        assert!(chance.awaits_return());
        assert_eq!(chance.homecoming(&back), None);
        assert!(!chance.awaits_return(), "all are back");
    }

    #[test]
    fn a_member_that_stays_is_not_waited_for_for_ever() {
        let plan = ChangePlan { return_permille: 1_000, ..ChangePlan::none() };
        let mut chance = ChangeChance::new(plan, 1);
        let whole = region(1, "", "m", &[1, 2, 3]);
        chance.follow(&whole, &ChangeChance::removal(&whole, whole.peers[2]));
        for _ in 0..RETURN_TRIES {
            assert!(chance.awaits_return());
            assert_eq!(chance.homecoming(std::slice::from_ref(&whole)), None);
        }
        assert!(!chance.awaits_return());
    }
}
