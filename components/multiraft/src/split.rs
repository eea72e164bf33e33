//! Splits: a region becomes several at one place in its log, on all of its stores.
//!
//! The region keeps its id and the *last* part of its range, so that appends at the end of a key space stay
//! with the leader that is warm; the parts in front of it become regions of their own. One batch holds the
//! new states of all of them, with one exception: a child's promises belong to the child. A message may have
//! made its peer before, and it may have voted; so only the child itself writes its raft state, from what it
//! has promised. Where a crash comes in between, recovery does the same with the same function.
//!
//! Two regions must never serve one key. The leader lets nobody read in place from the moment at which it
//! proposes a split until it has taken the result; requests that were checked against the old shape are
//! refused with it; and the children hear that they live only when all that is over.

use std::collections::BTreeSet;

use flotilla_base::{
    KeyRange, PeerId, PeerRole, Region, RegionId, Version, key, limit::KEY_BYTES_MAX,
};
use flotilla_raftgroup::ApplyState;

use crate::command::{NewRegion, SplitCommand};
use crate::destroy::Cleanup;
use crate::effects::{Effects, Report};
use crate::input::{RequestError, RequestHeader, SplitRequest};
use crate::replica::Replica;

/// So many regions one split may make: each costs its stores a group at once.
pub const SPLIT_CHILDREN_MAX: usize = 64;

/// Why a split is refused, by its proposer and again where it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// It makes no region, or too many.
    #[error("it makes {0} new regions; from 1 to {SPLIT_CHILDREN_MAX} can be made at once")]
    Count(usize),
    /// A split key is not strictly inside the range.
    #[error("key {} is outside of the region's range, or at its border", key::display(.0))]
    Outside(key::Key),
    /// A split key is longer than keys are: it would go with every word about its region.
    #[error("a key of {0} bytes is longer than keys may be, which are {KEY_BYTES_MAX} bytes")]
    Long(usize),
    /// The split keys do not ascend.
    #[error("key {} comes again, or behind a larger one", key::display(.0))]
    Order(key::Key),
    /// An id is zero, comes twice, or there is not one peer for each of the region's.
    #[error("the ids of new region {0} or of its peers are not new, or are too few or too many")]
    Ids(RegionId),
    /// The guard region stays as it is.
    #[error("the guard region is never split")]
    Guard,
    /// A change of the membership is under way.
    #[error("the membership is changing")]
    Membership,
}

/// What a region becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Division {
    /// The region itself, with the last part of its range.
    pub parent: Region,
    /// The new regions, by their keys.
    pub children: Vec<Region>,
}

/// A peer that begins with data: where, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Birth {
    /// The region.
    pub region: Region,
    /// The peer.
    pub peer: PeerId,
    /// Where its state machine starts.
    pub apply: ApplyState,
    /// Whether it campaigns at once.
    pub leads: bool,
}

/// What an applier made of a split: the batch that says so is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitDone {
    /// The region with its new range.
    pub parent: Region,
    /// The new regions that begin on this store. One whose slot belongs to another peer is not among them.
    pub births: Vec<Birth>,
    /// The keys of those that do not.
    pub orphans: Vec<Cleanup>,
}

/// The arbiter of slots, as appliers see it.
pub trait Claims {
    /// Makes sure that `peer` lives here as a peer without data, before anything is written for it. `false`
    /// where another one has the slot, or a damaged one: this store takes no part in the region then.
    fn claim(&mut self, region: RegionId, peer: PeerId) -> bool;
}

impl Division {
    /// All regions, by their keys.
    pub fn regions(&self) -> impl Iterator<Item = &Region> {
        self.children.iter().chain([&self.parent])
    }
}

/// What `region` becomes by `split`: a function of the two and of nothing else.
///
/// # Errors
/// Another epoch, or [`SplitError`].
pub fn divide(region: &Region, split: &SplitCommand) -> Result<Division, RequestError> {
    if split.epoch != region.epoch {
        return Err(RequestError::EpochNotMatch { current: Box::new(region.clone()) });
    }
    check(region, split).map_err(|cause| RequestError::Split { region: region.id, cause })?;
    let count = split.children.len() as u64;
    let mut parent = region.clone();
    parent.epoch.version = Version(region.epoch.version.get() + count);
    let mut children = Vec::with_capacity(split.children.len());
    for child in &split.children {
        let start = std::mem::replace(&mut parent.range.start, child.end.clone());
        children.push(child_of(&parent, child, KeyRange { start, end: child.end.clone() }));
    }
    let division = Division { parent, children };
    debug_assert!(division.regions().all(|it| it.validate().is_ok()), "{division:?}");
    Ok(division)
}

fn child_of(parent: &Region, child: &NewRegion, range: KeyRange) -> Region {
    let mut peers = parent.peers.clone();
    for (peer, id) in peers.iter_mut().zip(&child.peers) {
        peer.id = *id;
    }
    Region { id: child.region, range, epoch: parent.epoch, peers }
}

fn check(region: &Region, split: &SplitCommand) -> Result<(), SplitError> {
    if region.is_guard() {
        return Err(SplitError::Guard);
    }
    if !(1..=SPLIT_CHILDREN_MAX).contains(&split.children.len()) {
        return Err(SplitError::Count(split.children.len()));
    }
    let is_settled = |role| matches!(role, PeerRole::Voter | PeerRole::Learner);
    if !region.peers.iter().all(|peer| is_settled(peer.role)) {
        return Err(SplitError::Membership);
    }
    let mut start = &region.range.start;
    let mut regions = BTreeSet::from([RegionId(0), region.id]);
    let mut peers: BTreeSet<PeerId> = region.peers.iter().map(|peer| peer.id).collect();
    peers.insert(PeerId(0));
    for child in &split.children {
        if child.end.len() > KEY_BYTES_MAX {
            return Err(SplitError::Long(child.end.len()));
        }
        if !region.range.contains(&child.end) || child.end == region.range.start {
            return Err(SplitError::Outside(child.end.clone()));
        }
        if child.end <= *start {
            return Err(SplitError::Order(child.end.clone()));
        }
        start = &child.end;
        let is_new = regions.insert(child.region)
            && child.peers.len() == region.peers.len()
            && child.peers.iter().all(|peer| peers.insert(*peer));
        if !is_new {
            return Err(SplitError::Ids(child.region));
        }
    }
    Ok(())
}

impl<T> Replica<T> {
    pub(crate) fn handle_split(&mut self, request: SplitRequest<T>, effects: &mut Effects<T>) {
        let SplitRequest { peer, command, ticket } = request;
        let header =
            RequestHeader { peer, version: command.epoch.version, ..RequestHeader::default() };
        let proposed = self
            .check_leads(&header)
            .and_then(|()| divide(&self.region, &command))
            .and_then(|_division| self.check_may_change())
            .map(|()| command.encode())
            .and_then(|data| self.check_size(data))
            .and_then(|data| self.group.propose(data).map_err(|error| self.refusal(error)));
        match proposed {
            Ok(position) => {
                self.writes.split_at(position, ticket);
                // Followers make the children's peers when they hear of the commit, and the children need them.
                self.group.broadcast_commits(true);
            }
            Err(error) => effects.refuse(ticket, error),
        }
    }

    /// One change at a time, and none before this leader knows what its predecessors began.
    pub(crate) fn check_may_change(&self) -> Result<(), RequestError> {
        let applied = self.group.position(self.apply.applied);
        let is_own = applied.is_some_and(|applied| applied.term == self.group.role().term);
        if is_own && !self.is_splitting() && !self.group.is_membership_pending() {
            return Ok(());
        }
        Err(RequestError::Busy(self.region.id))
    }

    /// Whether a split that this leader proposed, or any replica's applier was given, has no result yet.
    pub(crate) fn is_splitting(&self) -> bool {
        let applied = self.apply.applied;
        self.apply.split_handed > applied || self.is_split_proposed()
    }

    /// Whether a split of this very lead has no result yet: whatever is proposed behind it is refused.
    pub(crate) fn is_split_proposed(&self) -> bool {
        let term = self.group.role().term;
        let is_open =
            |it: flotilla_raftgroup::LogPosition| it.term == term && it.index > self.apply.applied;
        self.group.is_leader() && self.writes.split().is_some_and(is_open)
    }

    /// The region has its new range. Whoever was checked against the old one is refused; then readers may see
    /// the new permit, and then the children hear that they live.
    pub(crate) fn handle_split_done(&mut self, done: SplitDone, effects: &mut Effects<T>) {
        let SplitDone { parent, mut births, orphans } = done;
        assert_eq!(parent.id, self.region.id, "{self:?}: the result of another region's split");
        assert!(parent.epoch.version > self.region.epoch.version, "{self:?}: a split goes back");
        debug_assert!(self.region.range.covers(&parent.range), "{self:?}: a split takes keys");
        self.region = parent.clone();
        self.refuse_old_shape(effects);
        self.group.broadcast_commits(false);
        let leads = self.group.is_leader();
        births.iter_mut().for_each(|birth| birth.leads = leads);
        effects.births.push(Report::Split { parent, peer: self.peer, births });
        // Behind it: until then the parent owns their keys.
        effects.births.extend(orphans.into_iter().map(Report::Orphaned));
    }

    fn refuse_old_shape(&mut self, effects: &mut Effects<T>) {
        let writes = self.writes.take_waiting();
        let mut tickets = self.reads.take_unconfirmed();
        tickets.extend(self.reads.take_granted());
        for ticket in tickets.into_iter().chain(writes) {
            let current = Box::new(self.region.clone());
            effects.refuse(ticket, RequestError::EpochNotMatch { current });
        }
    }
}

#[cfg(test)]
mod tests {
    use flotilla_base::{Epoch, Peer, StoreId};
    use proptest::prelude::*;

    use super::*;

    fn region() -> Region {
        let peers = (1..=3).map(|store| Peer::voter(PeerId(20 + store), StoreId(store))).collect();
        Region { id: RegionId(2), range: KeyRange::new("b", "y"), epoch: Epoch::FIRST, peers }
    }

    fn child(end: impl Into<key::Key>, id: u64) -> NewRegion {
        let peers = (1..=3).map(|store| PeerId(id * 10 + store)).collect();
        NewRegion { end: end.into(), region: RegionId(id), peers }
    }

    fn split(children: Vec<NewRegion>) -> SplitCommand {
        SplitCommand { epoch: Epoch::FIRST, children }
    }

    fn refusal(command: &SplitCommand) -> SplitError {
        match divide(&region(), command) {
            Err(RequestError::Split { cause, .. }) => cause,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_region_keeps_the_last_part() {
        let division =
            divide(&region(), &split(vec![child("f", 3), child("m", 4)])).expect("sound");
        let shown: Vec<(u64, String, u64)> = division
            .regions()
            .map(|it| (it.id.get(), it.range.to_string(), it.epoch.version.get()))
            .collect();
        let expected = [(3, "[b, f)", 3), (4, "[f, m)", 3), (2, "[m, y)", 3)];
        assert_eq!(shown, expected.map(|(id, range, version)| (id, range.to_owned(), version)));
        assert_eq!(division.parent.peers, region().peers);
        let stores = |region: &Region| region.peers.iter().map(|it| it.store).collect::<Vec<_>>();
        assert_eq!(stores(&division.children[1]), stores(&region()));
        assert_eq!(division.children[1].peers[2].id, PeerId(43));
    }

    #[test]
    fn another_epoch_is_told_the_current_one() {
        for (version, conf_ver) in [(2, 1), (1, 2), (0, 1)] {
            let epoch = Epoch { version: version.into(), conf_ver: conf_ver.into() };
            let command = SplitCommand { epoch, ..split(vec![child("f", 3)]) };
            let current = Box::new(region());
            assert_eq!(divide(&region(), &command), Err(RequestError::EpochNotMatch { current }));
        }
    }

    #[test]
    fn keys_and_ids_that_make_no_sense_are_refused() {
        for key in ["b", "a", "y", "z", ""] {
            assert_eq!(refusal(&split(vec![child(key, 3)])), SplitError::Outside(key.into()));
        }
        for second in ["f", "e"] {
            let children = vec![child("f", 3), child(second, 4)];
            assert_eq!(refusal(&split(children)), SplitError::Order(second.into()));
        }
        let long = |bytes| child(vec![b'c'; bytes], 3);
        assert_eq!(refusal(&split(vec![long(KEY_BYTES_MAX + 1)])), SplitError::Long(8_193));
        divide(&region(), &split(vec![long(KEY_BYTES_MAX)])).expect("as long as keys may be");
        let few = NewRegion { peers: vec![PeerId(31), PeerId(32)], ..child("m", 3) };
        let none = NewRegion { peers: vec![PeerId(31), PeerId(0), PeerId(33)], ..child("m", 3) };
        let old = NewRegion { peers: vec![PeerId(21), PeerId(32), PeerId(33)], ..child("m", 3) };
        for bad in [few, none, old, child("m", 0), child("m", 2)] {
            let id = bad.region;
            assert_eq!(refusal(&split(vec![bad])), SplitError::Ids(id));
        }
        let twice = split(vec![child("f", 3), child("m", 3)]);
        assert_eq!(refusal(&twice), SplitError::Ids(RegionId(3)));
        assert_eq!(refusal(&split(Vec::new())), SplitError::Count(0));
        let many = (0..=64_u8).map(|it| child(vec![b'c', it], 3 + u64::from(it))).collect();
        assert_eq!(refusal(&split(many)), SplitError::Count(65));
    }

    #[test]
    fn the_guard_region_and_a_changing_one_are_left_alone() {
        let refused = |region: &Region| match divide(region, &split(vec![child("f", 3)])) {
            Err(RequestError::Split { cause, .. }) => cause,
            other => panic!("{other:?}"),
        };
        let guard = Region { range: KeyRange::new(key::guard_border(), ""), ..region() };
        assert_eq!(refused(&guard), SplitError::Guard);
        let mut changing = region();
        changing.peers[1].role = PeerRole::IncomingVoter;
        assert_eq!(refused(&changing), SplitError::Membership);
    }

    proptest! {
        /// The parts tile what there was, whatever the keys.
        #[test]
        fn parts_tile_the_range(
            ends in prop::collection::btree_set(prop::collection::vec(any::<u8>(), 1..4), 1..9),
            end in prop::option::of(Just(vec![0xff_u8; 5])),
        ) {
            let range = KeyRange::new("", end.unwrap_or_default());
            let whole = Region { range: range.clone(), ..region() };
            let children = ends.into_iter().zip(3..).map(|(end, id)| child(end, id)).collect();
            let command = split(children);
            let division = divide(&whole, &command).expect("sound");
            let mut border = range.start;
            for part in division.regions() {
                prop_assert_eq!(&part.range.start, &border);
                prop_assert!(!part.range.is_empty());
                border = part.range.end.clone();
            }
            prop_assert_eq!(border, range.end);
            prop_assert_eq!(division.children.len(), command.children.len());
        }
    }
}
