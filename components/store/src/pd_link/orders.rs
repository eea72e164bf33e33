//! Orders of the placement driver: to hand a lead over, to change members, to split.
//!
//! An order is void for another membership than the one that it was made for. Nobody waits for what becomes of it: the
//! placement driver sees the region as it is reported, and orders again what it still wants. So a region has one order
//! at a time, and what comes meanwhile is left out.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use flotilla_base::{ConfVer, Epoch, Key, Peer, PeerId, PeerRole, Region, RegionId, Version};
use flotilla_engine::Engine;
use flotilla_multiraft::{
    ChangeKind, ChangePeers, Input, PeerChange, Reply, split::SPLIT_CHILDREN_MAX,
};
use flotilla_proto::{
    eraftpb::ConfChangeType,
    pdpb::{self, CheckPolicy, RegionHeartbeatResponse},
};
use flotilla_telemetry::spawn_or_abort;
use parking_lot::Mutex;
use tokio::{runtime::Handle, time::timeout};

use crate::{
    router::{Router, WriteOutcome},
    split::{
        borders::{cut, cut_at},
        splitter::SplitRegions,
        survey::{edges_of, survey},
    },
};

/// So many orders are carried out at once.
const RUNNING_MAX: usize = 64;

/// An order has its outcome in moments, unless its region has no majority.
const PATIENCE: Duration = Duration::from_secs(10);

/// Carries orders out.
pub(super) struct Orders {
    engine: Engine,
    router: Router,
    splitter: Arc<dyn SplitRegions>,
    /// Regions that an order is about.
    running: Mutex<BTreeSet<RegionId>>,
}

/// What the placement driver wants of a region.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Order {
    /// The lead goes to this peer.
    Transfer(PeerId),
    /// The members change.
    Change(ChangePeers),
    /// The region is cut at these keys, or in its middle where there are none.
    Split(Vec<Key>),
}

impl Orders {
    pub(super) fn new(
        engine: Engine,
        router: Router,
        splitter: Arc<dyn SplitRegions>,
    ) -> Arc<Self> {
        Arc::new(Self { engine, router, splitter, running: Mutex::default() })
    }

    /// Begins to carry an order out; what makes no sense is left out with a word in the log.
    pub(super) fn take(self: &Arc<Self>, order: RegionHeartbeatResponse) {
        let id = RegionId(order.region_id);
        let Some(region) = self.router.region(id) else { return };
        let Some(own) = region.peer_on(self.router.store_id()) else { return };
        let order = match read(order, &region, own.id) {
            Ok(Some(order)) => order,
            // An answer without an order.
            Ok(None) => return,
            Err(why) => {
                tracing::warn!(region = id.get(), why, "an order is not carried out");
                return;
            }
        };
        let Some(turn) = Turn::begin(self, id) else { return };
        let carry_out = async move {
            let carried = turn.orders.carry_out(region, own.id, order.clone());
            match timeout(PATIENCE, carried).await {
                Ok(Ok(())) => tracing::info!(region = id.get(), ?order, "an order is carried out"),
                Ok(Err(why)) => {
                    tracing::warn!(region = id.get(), ?order, why, "an order is refused");
                }
                Err(_elapsed) => {
                    tracing::warn!(region = id.get(), ?order, "an order has no outcome yet");
                }
            }
        };
        let _ends_by_itself = spawn_or_abort(&Handle::current(), "order", carry_out);
    }

    async fn carry_out(&self, region: Region, own: PeerId, order: Order) -> Result<(), String> {
        match order {
            Order::Transfer(to) => {
                self.router.notify(region.id, own, Input::Transfer(to));
                Ok(())
            }
            Order::Change(command) => {
                match self.router.change_peers(region.id, own, command).await {
                    WriteOutcome::Done(Reply::Failed(refusal)) => Err(refusal.to_string()),
                    WriteOutcome::Done(_) => Ok(()),
                    WriteOutcome::Unknown => Err("the lead was lost meanwhile".to_owned()),
                }
            }
            Order::Split(keys) => {
                let borders = self.borders(&region, keys).await?;
                if borders.is_empty() {
                    return Err("no border fits into the region".to_owned());
                }
                let split = self.splitter.split(region, borders).await;
                split.map(|_regions| ()).map_err(|failure| failure.to_string())
            }
        }
    }

    async fn borders(&self, region: &Region, keys: Vec<Key>) -> Result<Vec<Key>, String> {
        if keys.is_empty() {
            // The middle is found as well as this.
            let mark_bytes = 1 << 16;
            let found = survey(&self.engine, &region.range, mark_bytes).await;
            return Ok(cut(&region.range, &found.map_err(|error| error.to_string())?, 2));
        }
        let edges = edges_of(&self.engine, &region.range).await;
        let edges = edges.map_err(|error| error.to_string())?;
        Ok(cut_at(&region.range, &edges, keys))
    }
}

/// The one order of a region; ends when it is dropped.
struct Turn {
    orders: Arc<Orders>,
    region: RegionId,
}

impl Turn {
    fn begin(orders: &Arc<Orders>, region: RegionId) -> Option<Self> {
        let mut running = orders.running.lock();
        let is_free = running.len() < RUNNING_MAX && running.insert(region);
        is_free.then(|| Self { orders: Arc::clone(orders), region })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.orders.running.lock().remove(&self.region);
    }
}

/// What an answer orders of `region`, which `own` leads as far as this store knows.
fn read(
    answer: RegionHeartbeatResponse,
    region: &Region,
    own: PeerId,
) -> Result<Option<Order>, &'static str> {
    let RegionHeartbeatResponse {
        change_peer, transfer_leader, split_region, change_peer_v2, ..
    } = answer;
    let has_order = change_peer.is_some()
        || transfer_leader.is_some()
        || split_region.is_some()
        || change_peer_v2.is_some();
    if !has_order {
        return Ok(None);
    }
    let epoch = answer.region_epoch.ok_or("it has no epoch")?;
    let epoch = Epoch { version: Version(epoch.version), conf_ver: ConfVer(epoch.conf_ver) };
    if epoch.conf_ver != region.epoch.conf_ver {
        return Err("it is for another membership");
    }
    if answer.target_peer.is_some_and(|target| target.id != own.get()) {
        return Err("it is for another leader");
    }
    if let Some(transfer) = transfer_leader {
        return read_transfer(transfer, region, own).map(Some);
    }
    if let Some(split) = split_region {
        return read_split(split, &epoch, region).map(Some);
    }
    let changes = match (change_peer_v2, change_peer) {
        (Some(several), _) => several.changes,
        (None, one) => one.into_iter().collect(),
    };
    // Leaders leave joint configurations by themselves.
    if changes.is_empty() {
        return Ok(None);
    }
    let changes = changes.into_iter().map(|change| read_change(change, region));
    let changes = changes.collect::<Result<_, _>>()?;
    Ok(Some(Order::Change(ChangePeers { epoch, changes })))
}

fn read_transfer(
    transfer: pdpb::TransferLeader,
    region: &Region,
    own: PeerId,
) -> Result<Order, &'static str> {
    let is_heir = |id: &PeerId| {
        *id != own && region.peer(*id).is_some_and(|peer| peer.role == PeerRole::Voter)
    };
    let heirs = transfer.peers.iter().chain(&transfer.peer).map(|peer| PeerId(peer.id));
    heirs.filter(is_heir).map(Order::Transfer).next().ok_or("it names no other voter")
}

fn read_split(
    split: pdpb::SplitRegion,
    epoch: &Epoch,
    region: &Region,
) -> Result<Order, &'static str> {
    if epoch.version != region.epoch.version {
        return Err("it is for another shape of the region");
    }
    match split.policy() {
        CheckPolicy::Scan | CheckPolicy::Approximate => Ok(Order::Split(Vec::new())),
        CheckPolicy::Usekey if split.keys.is_empty() => Err("it names no keys"),
        CheckPolicy::Usekey if split.keys.len() > SPLIT_CHILDREN_MAX => {
            Err("it names more keys than one split may have")
        }
        CheckPolicy::Usekey => Ok(Order::Split(split.keys)),
    }
}

/// What the protocol calls "add" is a promotion for a learner, and "add as a learner" the demotion of a voter. A peer
/// that is new is a learner first, whatever it is to become.
fn read_change(change: pdpb::ChangePeer, region: &Region) -> Result<PeerChange, &'static str> {
    let kind = ConfChangeType::try_from(change.change_type);
    let kind = kind.map_err(|_unknown| "it changes a peer in an unknown way")?;
    let peer = change.peer.ok_or("it changes nobody")?;
    let peer = Peer::try_from(peer).map_err(|_senseless| "it has a peer that makes no sense")?;
    let member = region.peer(peer.id);
    let kind = match (kind, member.map(|member| member.role)) {
        (ConfChangeType::AddNode, Some(_)) => ChangeKind::Promote,
        (ConfChangeType::AddLearnerNode, Some(_)) => ChangeKind::Demote,
        (ConfChangeType::AddNode | ConfChangeType::AddLearnerNode, None) => ChangeKind::AddLearner,
        (ConfChangeType::RemoveNode, _) => ChangeKind::Remove,
    };
    Ok(PeerChange { kind, peer: peer.id, store: peer.store })
}

#[cfg(test)]
mod tests {
    use flotilla_base::{KeyRange, StoreId};
    use flotilla_proto::metapb;

    use super::*;

    fn learner() -> Peer {
        Peer { id: PeerId(23), store: StoreId(3), role: PeerRole::Learner }
    }

    fn region() -> Region {
        let voter = |id, store| Peer::voter(PeerId(id), StoreId(store));
        Region {
            id: RegionId(2),
            range: KeyRange::new("b", "p"),
            epoch: Epoch { version: Version(4), conf_ver: ConfVer(5) },
            peers: vec![voter(21, 1), voter(22, 2), learner()],
        }
    }

    fn order(
        fill: impl FnOnce(&mut RegionHeartbeatResponse),
    ) -> Result<Option<Order>, &'static str> {
        let mut answer = RegionHeartbeatResponse {
            region_id: 2,
            region_epoch: Some(metapb::RegionEpoch { conf_ver: 5, version: 4 }),
            target_peer: Some(region().peers[0].into()),
            ..RegionHeartbeatResponse::default()
        };
        fill(&mut answer);
        read(answer, &region(), PeerId(21))
    }

    fn step(kind: ConfChangeType, peer: Peer) -> pdpb::ChangePeer {
        pdpb::ChangePeer { peer: Some(peer.into()), change_type: kind.into() }
    }

    fn changes(steps: Vec<pdpb::ChangePeer>) -> Result<Option<Order>, &'static str> {
        order(|answer| answer.change_peer_v2 = Some(pdpb::ChangePeerV2 { changes: steps }))
    }

    #[test]
    fn a_step_is_read_by_what_the_peer_is() {
        let [first, second, third] = region().peers[..] else { unreachable!("it has three") };
        let fourth = Peer::voter(PeerId(24), StoreId(4));
        let steps = vec![
            step(ConfChangeType::AddNode, third),
            step(ConfChangeType::AddLearnerNode, second),
            step(ConfChangeType::AddNode, fourth),
            step(ConfChangeType::RemoveNode, first),
        ];
        let expected = [
            (ChangeKind::Promote, third),
            (ChangeKind::Demote, second),
            (ChangeKind::AddLearner, fourth),
            (ChangeKind::Remove, first),
        ];
        let expected =
            expected.map(|(kind, peer)| PeerChange { kind, peer: peer.id, store: peer.store });
        let command = ChangePeers { epoch: region().epoch, changes: expected.to_vec() };
        assert_eq!(changes(steps), Ok(Some(Order::Change(command))));
        let one = order(|answer| answer.change_peer = Some(step(ConfChangeType::AddNode, third)));
        let command = ChangePeers { epoch: region().epoch, changes: vec![expected[0]] };
        assert_eq!(one, Ok(Some(Order::Change(command))));
    }

    #[test]
    fn an_answer_without_an_order_is_none() {
        assert_eq!(order(|_answer| {}), Ok(None));
        assert_eq!(changes(Vec::new()), Ok(None), "joint configurations are left without orders");
    }

    #[test]
    fn leads_go_to_other_voters() {
        let transfer = |peers: &[Peer]| {
            let peers = peers.iter().map(|peer| (*peer).into()).collect();
            order(|answer| {
                answer.transfer_leader = Some(pdpb::TransferLeader { peer: None, peers });
            })
        };
        let [own, second, learner] = region().peers[..] else { unreachable!("it has three") };
        assert_eq!(transfer(&[own, learner, second]), Ok(Some(Order::Transfer(PeerId(22)))));
        assert!(transfer(&[own, learner]).is_err());
        assert!(transfer(&[]).is_err());
    }

    #[test]
    fn regions_are_split_in_the_middle_or_at_keys() {
        let split = |policy: CheckPolicy, keys: usize| {
            let keys = (0..keys).map(|key| format!("c{key}").into()).collect();
            let split_region = pdpb::SplitRegion { policy: policy.into(), keys };
            order(|answer| answer.split_region = Some(split_region))
        };
        let middle = Ok(Some(Order::Split(Vec::new())));
        assert_eq!(split(CheckPolicy::Approximate, 0), middle);
        assert_eq!(split(CheckPolicy::Scan, 0), middle);
        let at_key = Ok(Some(Order::Split(vec!["c0".into()])));
        assert_eq!(split(CheckPolicy::Usekey, 1), at_key);
        assert!(split(CheckPolicy::Usekey, 0).is_err());
        assert!(split(CheckPolicy::Usekey, SPLIT_CHILDREN_MAX + 1).is_err());
    }

    #[test]
    fn what_was_meant_for_something_else_is_void() {
        let with = |fill: fn(&mut RegionHeartbeatResponse)| {
            order(|answer| {
                let transfer = region().peers[1].into();
                answer.transfer_leader =
                    Some(pdpb::TransferLeader { peer: Some(transfer), peers: Vec::new() });
                fill(answer);
            })
        };
        assert!(with(|_answer| {}).is_ok());
        assert!(with(|answer| answer.region_epoch = None).is_err());
        assert!(with(|answer| answer.region_epoch.as_mut().expect("set").conf_ver = 4).is_err());
        assert!(with(|answer| answer.target_peer.as_mut().expect("set").id = 22).is_err());
        assert!(with(|answer| answer.region_epoch.as_mut().expect("set").version = 3).is_ok());
        let senseless = pdpb::ChangePeer { peer: None, change_type: 0 };
        assert!(changes(vec![senseless]).is_err());
        let unknown = pdpb::ChangePeer { peer: Some(learner().into()), change_type: 9 };
        assert!(changes(vec![unknown]).is_err());
    }
}
