//! How a region gets from what it is to what it is to be: the steps, each of them safe by itself.
//!
//! Learners come first, since they take no part in anything. A leader that is to stop voting hands over before any voter
//! changes, since it begins no change that takes its own vote. Where no other voter stays, one of the new ones votes
//! first: a voter more takes none of the failures that the region stands; so it does where the new one is to lead. Where more than one voter is left to change, all
//! of them change at once by one joint change: no order of single ones would keep that number. Who leaves is a learner by
//! then.

use std::collections::BTreeMap;

use flotilla_base::{Epoch, Key, Peer, PeerId, PeerRole, RegionId, Span, StoreId};

use super::{
    change::{Change, OperatorKind, OperatorRefusal, Sight},
    shape::Shape,
    step::{SplitAt, Step, has_caught_up, is_voter, votes_on},
};
use crate::{
    fleet::Fleet,
    ids::IdBatch,
    view::{ClusterView, RegionInfo},
};

/// The way of a region to what it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The kind of change.
    pub kind: OperatorKind,
    /// The change with the stores meant.
    pub brief: String,
    /// The region.
    pub region: RegionId,
    /// The epoch that all of it was decided on.
    pub epoch: Epoch,
    /// What the region holds, about; its copies take their time.
    pub size_bytes: u64,
    /// The members as they are.
    pub(super) members: Shape,
    /// In this order; never empty.
    pub steps: Vec<Step>,
}

impl Plan {
    /// See [`Sight::plan`]. Where the stores are known, the lead goes to those that take it, and of these to the one that
    /// has fewest for its share.
    pub(crate) fn of(
        sight: &Sight<'_>,
        fleet: Option<&Fleet<'_>>,
        region: RegionId,
        change: &Change,
    ) -> Result<Self, OperatorRefusal> {
        let info = sight.view.region(region).ok_or(OperatorRefusal::UnknownRegion(region))?;
        let is_heard = |leader: &Peer| sight.is_up(leader.store);
        let leader =
            info.leader.filter(is_heard).filter(|_| !ClusterView::is_silent(info, sight.now));
        let leader = leader.ok_or(OperatorRefusal::NoLeader(region))?;
        let members = Shape::of(&info.region);
        let (shape, steps) = (members.clone(), Vec::new());
        let mut way = Way { sight, fleet, info, shape, leader, steps };
        match change {
            Change::TransferLeader(store) => way.transfer(*store)?,
            Change::SplitRegion(at) => way.split(at.clone())?,
            Change::LeaveJoint if way.shape.is_joint() => way.leave_joint()?,
            Change::LeaveJoint => {}
            Change::MoveLeader { to, .. } => {
                let target = way.target(change)?;
                way.reach_led_from(*to, &target)?;
            }
            _ => {
                let target = way.target(change)?;
                way.reach(&target)?;
            }
        }
        let steps = way.steps;
        if steps.is_empty() {
            return Err(OperatorRefusal::NothingToDo(region));
        }
        Ok(Self {
            kind: change.kind(),
            brief: change.brief(leader),
            region,
            epoch: info.region.epoch,
            size_bytes: info.stats.size_bytes,
            members,
            steps,
        })
    }

    /// How many new peers need an id.
    #[must_use]
    pub fn new_peers(&self) -> u32 {
        let is_new = |step: &&Step| matches!(step, Step::AddLearner(_));
        u32::try_from(self.steps.iter().filter(is_new).count()).unwrap_or(u32::MAX)
    }

    /// Gives the new peers their ids.
    ///
    /// # Panics
    /// Where they are not as many.
    #[must_use]
    pub fn with_ids(mut self, ids: IdBatch) -> Self {
        assert_eq!(ids.count(), u64::from(self.new_peers()), "as many ids as new peers");
        let mut given = BTreeMap::new();
        let mut next = ids.first;
        let mut give = |peer: &mut Peer| {
            if peer.id.is_none() {
                let id = given.entry(peer.store).or_insert_with(|| {
                    next += 1;
                    PeerId(next - 1)
                });
                peer.id = *id;
            }
        };
        for step in &mut self.steps {
            match step {
                Step::AddLearner(peer) | Step::PromoteLearner(peer) => give(peer),
                Step::EnterJoint { promote, .. } => promote.iter_mut().for_each(&mut give),
                Step::TransferLeader { to, .. } => to.iter_mut().for_each(&mut give),
                Step::DemoteVoter(_)
                | Step::LeaveJoint
                | Step::RemovePeer(_)
                | Step::SplitRegion { .. } => {}
            }
        }
        self
    }

    /// How long all of it may take.
    #[must_use]
    pub fn timeout(&self) -> Span {
        let each = self.steps.iter().map(|step| step.timeout(self.size_bytes));
        each.fold(Span::ZERO, |sum, next| Span(sum.0.saturating_add(next.0)))
    }

    /// Whether members change.
    #[must_use]
    pub fn changes_members(&self) -> bool {
        !matches!(self.kind, OperatorKind::TransferLeader | OperatorKind::SplitRegion)
    }

    /// Whether the leader changes.
    #[must_use]
    pub fn changes_leader(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::TransferLeader { .. }))
    }
}

/// Stores, and whether the peer on each votes.
type Target = BTreeMap<StoreId, bool>;

/// Steps that are being planned, and what the region is behind them.
struct Way<'a> {
    sight: &'a Sight<'a>,
    /// Where the stores are looked at.
    fleet: Option<&'a Fleet<'a>>,
    info: &'a RegionInfo,
    shape: Shape,
    leader: Peer,
    steps: Vec<Step>,
}

impl Way<'_> {
    fn region(&self) -> RegionId {
        self.info.region.id
    }

    /// Takes a step, unless the region could not go on behind it.
    fn take(&mut self, step: Step) -> Result<(), OperatorRefusal> {
        let after = self.shape.after(&step);
        if !after.has_majority(|peer| self.is_alive(peer)) {
            let (region, step) = (self.region(), step.to_string());
            return Err(OperatorRefusal::NoMajority { region, step });
        }
        self.shape = after;
        self.steps.push(step);
        Ok(())
    }

    /// A learner is waited for until it has caught up, before it counts for anything.
    fn is_alive(&self, peer: Peer) -> bool {
        let known = self.info.region.peer_on(peer.store);
        let is_waited_for = known.is_none_or(|known| known.role == PeerRole::Learner);
        self.sight.is_up(peer.store) && (is_waited_for || has_caught_up(self.info, peer))
    }

    fn transfer(&mut self, store: StoreId) -> Result<(), OperatorRefusal> {
        let region = self.region();
        let peer = self.shape.on(store).ok_or(OperatorRefusal::NotMember { region, store })?;
        if peer.id == self.leader.id {
            return Err(OperatorRefusal::NothingToDo(region));
        }
        self.sight.check_target(store)?;
        let cannot = |why| OperatorRefusal::CannotLead { region, store, why };
        if !votes_on(peer) {
            return Err(cannot("it does not vote"));
        }
        if !has_caught_up(self.info, peer) {
            return Err(cannot("it does not answer, or lags behind"));
        }
        self.hand_over_to(vec![peer])
    }

    /// The lead to somebody who votes on and stays.
    fn hand_over(&mut self, stays: impl Fn(Peer) -> bool) -> Result<(), OperatorRefusal> {
        self.hand_over_to(self.heirs(stays))
    }

    /// Who could lead, the best one first. A store that is kept free of leads, or is busy, would only hand on what it got:
    /// it gets the lead where nobody else could.
    fn heirs(&self, stays: impl Fn(Peer) -> bool) -> Vec<Peer> {
        let is_fit = |peer: &Peer| {
            peer.id != self.leader.id
                && votes_on(*peer)
                && stays(*peer)
                && self.sight.check_target(peer.store).is_ok()
                && self.is_alive(*peer)
        };
        let mut fit: Vec<Peer> = self.shape.peers().filter(is_fit).collect();
        fit.sort_by_key(|peer| (peer.id.is_none(), peer.id, peer.store));
        let Some(fleet) = self.fleet else { return fit };
        let is_willing = |peer: &Peer| fleet.check_leader(peer.store).is_ok();
        if fit.iter().any(is_willing) {
            fit.retain(is_willing);
        }
        fit.sort_by_key(|peer| fleet.leads_with_one_more(peer.store));
        fit
    }

    /// Where the leader is not to vote any more, somebody leads who is; see the module.
    fn hand_over_unless_it_stays(
        &mut self,
        is_to_vote: impl Fn(Peer) -> bool,
    ) -> Result<(), OperatorRefusal> {
        debug_assert!(!self.shape.is_joint(), "one change after the other");
        if self.shape.on(self.leader.store).is_some_and(&is_to_vote) {
            return Ok(());
        }
        if self.heirs(&is_to_vote).is_empty() {
            let is_new = |peer: &Peer| !is_voter(*peer) && is_to_vote(*peer);
            let first = self.shape.peers().find(is_new);
            let first = first.ok_or(OperatorRefusal::NoSuccessor(self.region()))?;
            self.take(Step::PromoteLearner(first))?;
        }
        self.hand_over(is_to_vote)
    }

    fn hand_over_to(&mut self, to: Vec<Peer>) -> Result<(), OperatorRefusal> {
        let preferred = to.first().copied();
        let preferred = preferred.ok_or(OperatorRefusal::NoSuccessor(self.region()))?;
        let from = std::mem::replace(&mut self.leader, preferred).store;
        self.take(Step::TransferLeader { from, to })
    }

    fn split(&mut self, mut at: SplitAt) -> Result<(), OperatorRefusal> {
        let (region, info) = (self.region(), self.info);
        let range = &info.region.range;
        if info.region.is_guard() {
            return Err(OperatorRefusal::Guard(region));
        }
        if let SplitAt::Keys(keys) = &mut at {
            keys.sort();
            keys.dedup();
            let is_outside = |key: &&Key| !range.contains(key) || **key == range.start;
            match keys.iter().find(is_outside) {
                Some(outside) => return Err(OperatorRefusal::split_key(region, outside)),
                None if keys.is_empty() => return Err(OperatorRefusal::NoSplitKeys(region)),
                None => {}
            }
        }
        self.take(Step::SplitRegion { range: range.clone(), at })
    }

    /// What the members are to be, a joint change that is under way having ended.
    fn target(&self, change: &Change) -> Result<Target, OperatorRefusal> {
        let region = self.region();
        let now = self.shape.left();
        let is_member = |store| OperatorRefusal::IsMember { region, store };
        let on = |store| now.on(store).ok_or(OperatorRefusal::NotMember { region, store });
        let mut target: Target = now.peers().map(|peer| (peer.store, votes_on(peer))).collect();
        match change {
            Change::AddPeer(store) => match target.insert(*store, true) {
                Some(true) => return Err(is_member(*store)),
                Some(false) | None => self.sight.check_target(*store)?,
            },
            Change::AddLearner(store) => match target.insert(*store, false) {
                Some(_) => return Err(is_member(*store)),
                None => self.sight.check_target(*store)?,
            },
            Change::RemovePeer(store) => {
                on(*store)?;
                target.remove(store);
            }
            Change::MovePeer { from, to } | Change::MoveLeader { from, to } => {
                let leads = matches!(change, Change::MoveLeader { .. });
                let votes = votes_on(on(*from)?) || leads;
                let is_like_it = |known: Peer| !votes || votes_on(known);
                if from == to || now.on(*to).is_some_and(is_like_it) {
                    return Err(is_member(*to));
                }
                self.sight.check_target(*to)?;
                target.remove(from);
                target.insert(*to, votes);
            }
            Change::MoveRegion(stores) => {
                return self.chosen(&now, stores.iter().map(|store| (*store, true)).collect());
            }
            Change::SetPeers(peers) => return self.chosen(&now, peers.clone()),
            Change::TransferLeader(_) | Change::SplitRegion(_) | Change::LeaveJoint => {}
        }
        Ok(target)
    }

    /// The target itself, where the stores that get something can take it.
    fn chosen(&self, now: &Shape, target: Target) -> Result<Target, OperatorRefusal> {
        for (store, votes) in &target {
            let has_it = now.on(*store).is_some_and(|known| votes_on(known) || !votes);
            if !has_it {
                self.sight.check_target(*store)?;
            }
        }
        Ok(target)
    }

    /// See the module.
    fn reach(&mut self, target: &Target) -> Result<(), OperatorRefusal> {
        if self.shape.is_joint() {
            self.leave_joint()?;
        }
        let is_new = |store: &StoreId| self.shape.on(*store).is_none();
        let new: Vec<StoreId> = target.keys().copied().filter(is_new).collect();
        for store in new {
            let learner = Peer { id: PeerId(0), store, role: PeerRole::Learner };
            self.take(Step::AddLearner(learner))?;
        }
        let is_to_vote = |peer: Peer| target.get(&peer.store) == Some(&true);
        self.hand_over_unless_it_stays(is_to_vote)?;
        let changes = |votes: bool| {
            let is_other = |peer: &Peer| is_voter(*peer) == votes && is_to_vote(*peer) != votes;
            self.shape.peers().filter(is_other).collect::<Vec<Peer>>()
        };
        let (promote, demote) = (changes(false), changes(true));
        match (promote.as_slice(), demote.as_slice()) {
            ([], []) => {}
            ([one], []) => self.take(Step::PromoteLearner(*one))?,
            ([], [one]) => self.take(Step::DemoteVoter(*one))?,
            _ => {
                self.take(Step::EnterJoint { promote, demote })?;
                self.leave_joint()?;
            }
        }
        let is_surplus = |peer: &Peer| !target.contains_key(&peer.store);
        let surplus: Vec<Peer> = self.shape.peers().filter(is_surplus).collect();
        for peer in surplus {
            self.take(Step::RemovePeer(peer))?;
        }
        Ok(())
    }

    /// The same where the new peer on a store is to lead: it votes first, as where no other voter stays.
    fn reach_led_from(&mut self, store: StoreId, target: &Target) -> Result<(), OperatorRefusal> {
        if self.shape.is_joint() {
            self.leave_joint()?;
        }
        if self.shape.on(store).is_none() {
            let learner = Peer { id: PeerId(0), store, role: PeerRole::Learner };
            self.take(Step::AddLearner(learner))?;
        }
        let not_member = || OperatorRefusal::NotMember { region: self.region(), store };
        let learner = self.shape.on(store).ok_or_else(not_member)?;
        self.take(Step::PromoteLearner(learner))?;
        let voter = Peer { role: PeerRole::Voter, ..learner };
        let stays = |peer: Peer| peer.store != store && target.get(&peer.store) == Some(&true);
        let heirs = std::iter::once(voter).chain(self.heirs(stays)).collect();
        self.hand_over_to(heirs)?;
        self.reach(target)
    }

    /// Whoever leads goes on to vote behind it.
    fn leave_joint(&mut self) -> Result<(), OperatorRefusal> {
        let leader = self.shape.on(self.leader.store);
        if leader.is_none_or(|leader| !votes_on(leader)) {
            self.hand_over(|_voter| true)?;
        }
        self.take(Step::LeaveJoint)
    }
}
