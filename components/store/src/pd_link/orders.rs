//! Orders of the placement driver: to hand a lead over, to change members, to split.
//!
//! An order is void for another membership than the one that it was made for. Nobody waits for what becomes of it: the
//! placement driver sees the region as it is reported, and orders again what it still wants. So a region has one order
//! at a time, and what comes meanwhile is left out. Where what stands in the way of one passes by itself, the region is
//! reported again soon.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use flotilla_base::{
    ByteSize, ConfVer, Epoch, Key, Peer, PeerId, PeerRole, ReadError, Region, RegionId, Version,
};
use flotilla_engine::Engine;
use flotilla_multiraft::{
    ChangeError, ChangeKind, ChangePeers, Input, PeerChange, Reply, RequestError,
    split::SPLIT_CHILDREN_MAX,
};
use flotilla_proto::{
    eraftpb::ConfChangeType,
    pdpb::{self, CheckPolicy, RegionHeartbeatResponse},
};
use flotilla_telemetry::{off_thread, spawn_or_abort};
use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    time::{sleep, timeout},
};

use super::regions::LedRegions;
use crate::{
    router::{Router, WriteOutcome},
    split::{
        borders::{cut, cut_at},
        splitter::{SplitFailure, SplitRegions},
        survey::{edges_of, survey},
    },
};

/// So many orders are carried out at once.
const RUNNING_MAX: usize = 64;

/// A command has its outcome in moments, unless its region has no majority.
const PATIENCE: Duration = Duration::from_secs(10);

/// So much longer may the search for the middle of a region take for each MiB that it holds: a survey makes pauses, and its
/// disk may be busy. It is half of what the placement driver gives a split.
const SURVEY_PER_MIB: Duration = Duration::from_millis(300);

/// A hand-over has succeeded or was given up by then: it takes no longer than one gate.
const HAND_OVER: Duration = Duration::from_secs(1);

/// How soon a region is reported again where what stood in the way of an order passes by itself. The placement driver
/// repeats an order that had no effect after 400 ms, so it answers that report.
const SOON: Duration = Duration::from_millis(500);

/// Carries orders out.
pub(super) struct Orders {
    engine: Engine,
    router: Router,
    splitter: Arc<dyn SplitRegions>,
    led: Arc<LedRegions>,
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
        led: Arc<LedRegions>,
    ) -> Arc<Self> {
        Arc::new(Self { engine, router, splitter, led, running: Mutex::default() })
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
            let carried = turn.orders.carry_out(region, own.id, order.clone()).await;
            match carried {
                Ok(()) => tracing::info!(region = id.get(), ?order, "an order is carried out"),
                Err(Failure::Passing(why)) => {
                    tracing::info!(region = id.get(), ?order, why, "an order has to wait");
                    turn.end_with_report().await;
                }
                Err(Failure::Refused(why)) => {
                    tracing::warn!(region = id.get(), ?order, why, "an order is refused");
                }
                Err(Failure::Open) => {
                    tracing::warn!(region = id.get(), ?order, "an order has no outcome yet");
                }
            }
        };
        let _ends_by_itself = spawn_or_abort(&Handle::current(), "order", carry_out);
    }

    #[cfg(test)]
    pub(super) fn is_free(&self, region: RegionId) -> bool {
        !self.running.lock().contains(&region)
    }

    async fn carry_out(&self, region: Region, own: PeerId, order: Order) -> Result<(), Failure> {
        let (id, is_open) = (region.id, |_elapsed| Failure::Open);
        match order {
            Order::Transfer(to) => {
                self.router.notify(id, own, Input::Transfer(Some(to)));
                let leader = [(id, own)];
                let handed_over = timeout(HAND_OVER, self.led.until_led_elsewhere(&leader)).await;
                handed_over.map_err(|_elapsed| Failure::Passing("it leads still".to_owned()))
            }
            Order::Change(command) => {
                let changed = timeout(PATIENCE, self.router.change_peers(id, own, command)).await;
                match changed.map_err(is_open)? {
                    WriteOutcome::Done(Reply::Failed(refusal)) => Err(refusal.into()),
                    WriteOutcome::Done(_) => Ok(()),
                    WriteOutcome::Unknown => Err(Failure::refused("the lead was lost meanwhile")),
                }
            }
            Order::Split(keys) => {
                let borders = self.borders(&region, keys).await?;
                if borders.is_empty() {
                    return Err(Failure::refused("no border fits into the region"));
                }
                let split = timeout(PATIENCE, self.splitter.split(region, borders)).await;
                split.map_err(is_open)?.map(|_regions| ()).map_err(|failure| match failure {
                    SplitFailure::Refused(refusal) => refusal.into(),
                    other => Failure::refused(&other.to_string()),
                })
            }
        }
    }

    async fn borders(&self, region: &Region, keys: Vec<Key>) -> Result<Vec<Key>, Failure> {
        let unreadable = |error: ReadError| Failure::refused(&error.to_string());
        if keys.is_empty() {
            // The middle is found as well as this.
            let mark_bytes = 1 << 16;
            let (engine, range) = (self.engine.clone(), region.range.clone());
            // Without what is in memtables, which is read fastest.
            let size = off_thread(move || engine.approximate_size(&range)).await;
            let patience = survey_patience(ByteSize(size.unwrap_or_default()));
            let found = timeout(patience, survey(&self.engine, &region.range, mark_bytes)).await;
            let found =
                found.map_err(|_elapsed| Failure::refused("its data is read too slowly"))?;
            return Ok(cut(&region.range, &found.map_err(unreadable)?, 2));
        }
        let edges = edges_of(&self.engine, &region.range).await.map_err(unreadable)?;
        Ok(cut_at(&region.range, &edges, keys))
    }
}

/// How long the search for the middle of so many bytes may take.
fn survey_patience(size: ByteSize) -> Duration {
    let mib = u32::try_from(size.bytes() >> 20).unwrap_or(u32::MAX);
    PATIENCE.saturating_add(SURVEY_PER_MIB.saturating_mul(mib))
}

/// Why an order has had no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Failure {
    /// What stands in its way passes by itself, in moments.
    Passing(String),
    /// To order it again at once would not help.
    Refused(String),
    /// It may have one still.
    Open,
}

impl Failure {
    fn refused(why: &str) -> Self {
        Self::Refused(why.to_owned())
    }
}

impl From<RequestError> for Failure {
    fn from(refusal: RequestError) -> Self {
        let why = refusal.to_string();
        match refusal {
            // A leader that has just come, or another change, has entries to apply first.
            RequestError::Busy(_)
            | RequestError::ApplyBehind(_)
            | RequestError::Change {
                cause:
                    ChangeError::Joint
                    | ChangeError::NotCaughtUp { .. }
                    | ChangeError::Leader { successor: Some(_) },
                ..
            } => Self::Passing(why),
            _ => Self::Refused(why),
        }
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

    /// Has the region reported, soon and behind the end of the turn: that report may be answered with the order.
    async fn end_with_report(self) {
        sleep(SOON).await;
        let (led, region) = (Arc::clone(&self.orders.led), self.region);
        drop(self);
        led.report_again(region);
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

    /// What passes by itself is ordered again at once, and nothing else.
    #[test]
    fn only_what_passes_by_itself_is_waited_for() {
        let region = RegionId(2);
        let change = |cause| RequestError::Change { region, cause };
        let is_passing =
            |refusal: RequestError| matches!(Failure::from(refusal), Failure::Passing(_));
        assert!(is_passing(RequestError::Busy(region)));
        assert!(is_passing(RequestError::ApplyBehind(region)));
        assert!(is_passing(change(ChangeError::Joint)));
        assert!(is_passing(change(ChangeError::Leader { successor: Some(PeerId(22)) })));
        assert!(!is_passing(change(ChangeError::Leader { successor: None })));
        assert!(!is_passing(change(ChangeError::LastVoter)));
        assert!(!is_passing(RequestError::NotLeader { region, leader: None }));
        assert!(!is_passing(RequestError::Quarantined(region)));
    }

    /// At its usual pace a survey of any size has time to spare, several times over.
    #[test]
    fn the_search_for_a_middle_has_the_time_that_its_size_needs() {
        let pace_bytes_per_second = 60 << 20;
        for gib in [1, 10, 100] {
            let size = ByteSize(gib << 30);
            let usual = Duration::from_secs(size.bytes() / pace_bytes_per_second);
            assert!(survey_patience(size) > 5 * usual, "{gib} GiB");
        }
        assert_eq!(survey_patience(ByteSize(0)), PATIENCE);
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
