//! What a store does before it serves: read its peers back, and take part in the cluster's bootstrap.

use std::collections::BTreeSet;
use std::sync::Arc;

use flotilla_base::codec::RecordWriter;
use flotilla_base::{Family, KvRead, Mutation, PeerId, Region, RegionId};
use flotilla_engine::{Engine, EngineError, WriteBatch};
use flotilla_multiraft::region_table::ClaimError;
use flotilla_multiraft::{
    Applier, Cleanup, Input, RecoveredPeer, RegionTable, Replica, ReplicaConfig, StageNumber,
    recover_remains, recover_store, ruin::marks_of_ruins, spread_at_start,
};
use flotilla_raftgroup::disk;
use flotilla_telemetry::MonotonicClock;
use tokio::sync::watch;

use crate::host::Shared;
use crate::network::Inbound;
use crate::node::StoreError;
use crate::router::PeerState;

/// Kind of the record that says that this store has received its share of the first regions. Without it
/// a store that lost a region later would make it anew from the plan.
const BOOTSTRAPPED_KIND: u8 = 0x01;

/// One region of the bootstrap plan, and the peer that campaigns at once.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) region: Region,
    pub(crate) first_leader: PeerId,
}

/// The peers of a store as they were before it stopped.
pub(crate) struct Recovered {
    pub(crate) replicas: Vec<PeerState>,
    pub(crate) appliers: Vec<(RegionId, Applier)>,
    /// What destroyed peers left.
    pub(crate) cleanups: Vec<Cleanup>,
    /// What peers need that are given a snapshot.
    pub(crate) stages: BTreeSet<StageNumber>,
    pub(crate) interrupted: Interrupted,
}

/// What the last run had begun and not ended; this one goes on with all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interrupted {
    /// Children of splits that had not written anything.
    pub(crate) splits: usize,
    /// Snapshots that were to take the place of a peer's data.
    pub(crate) installs: usize,
    /// Peers that were about to end, and keys that destroyed ones left.
    pub(crate) destroys: usize,
}

impl Interrupted {
    fn count(&mut self, found: &RecoveredPeer) {
        match found {
            RecoveredPeer::Installing { .. } => self.installs += 1,
            RecoveredPeer::Normal { is_fresh: true, .. } => self.splits += 1,
            RecoveredPeer::Normal { peer, region, .. } if region.peer(*peer).is_none() => {
                self.destroys += 1;
            }
            _ => {}
        }
    }
}

/// Reads all peers back and claims their keys; damaged ones keep their slots and take part in nothing, now and in every
/// later run.
pub(crate) fn recover(
    config: &ReplicaConfig,
    engine: &Engine,
    table: &mut RegionTable,
    clock: MonotonicClock,
) -> Result<Recovered, StoreError> {
    let remains = recover_remains(config.disk.as_ref())?;
    for (region, tombstone) in remains.tombstones {
        table.bury(region, tombstone);
    }
    let found = recover_store(config.disk.as_ref()).map_err(StoreError::Read)?;
    let marks = marks_of_ruins(config.disk.as_ref(), &found).map_err(StoreError::Read)?;
    if !marks.is_empty() {
        engine.write(&WriteBatch::from(marks))?;
        engine.sync()?;
    }
    let config = ReplicaConfig { start_spread: spread_at_start(found.len()), ..config.clone() };
    let mut recovered = Recovered {
        replicas: Vec::new(),
        appliers: Vec::new(),
        interrupted: Interrupted { destroys: remains.cleanups.len(), ..Interrupted::default() },
        cleanups: remains.cleanups,
        stages: BTreeSet::new(),
    };
    for peer in found {
        recovered.interrupted.count(&peer);
        match &peer {
            RecoveredPeer::Damaged { region, peer, cause } => {
                tracing::error!(region = region.get(), %cause, "peer is damaged and stays out of service");
                table.find_ruin(*region, *peer);
            }
            RecoveredPeer::Uninitialised { region, peer, .. } => {
                table.create_uninitialised(*region, *peer).map_err(StoreError::Claim)?;
            }
            RecoveredPeer::Installing { applying, .. } => {
                table.claim_again(applying).map_err(StoreError::Claim)?;
                recovered.stages.insert(applying.stage);
            }
            RecoveredPeer::Normal { peer, region, apply, .. } => {
                table.initialise(*peer, region).map_err(StoreError::Claim)?;
                let applier = Applier::new(region.clone(), *peer, *apply);
                recovered.appliers.push((region.id, applier));
            }
        }
        let replica = Replica::restart(config.clone(), peer, clock.now())?;
        recovered.replicas.extend(replica.map(Box::new));
    }
    Ok(recovered)
}

/// Whether this store has its share of the first regions.
pub(crate) fn is_bootstrapped(engine: &Engine) -> Result<bool, StoreError> {
    let key = disk::meta_key(BOOTSTRAPPED_KIND, RegionId(0));
    let record = engine.get(Family::RaftMeta, &key).map_err(StoreError::Read)?;
    Ok(record.is_some())
}

/// Gives this store its peers of the first regions, and returns when they are durable.
///
/// # Errors
/// One of them cannot be made, or the mark cannot be written: the next start tries again.
pub(crate) async fn bootstrap(
    shared: Shared,
    inbound: Arc<Inbound>,
    plan: Vec<Planned>,
    mut initialised: watch::Receiver<usize>,
) -> Result<(), StoreError> {
    let mut wanted = 0_usize;
    for planned in &plan {
        let is_started = start_first_peer(&shared, &inbound, planned);
        wanted += usize::from(is_started.map_err(StoreError::Claim)?);
    }
    // The sender lives as long as the store's threads; without it there is nothing left to wait for.
    let _store_stopped = initialised.wait_for(|count| *count >= wanted).await.is_err();
    let engine = shared.engine.clone();
    let written = tokio::task::spawn_blocking(move || mark_bootstrapped(&engine)).await;
    written.map_err(|_cancelled| StoreError::Stopped)?.map_err(StoreError::Engine)
}

/// Whether a peer was started: not where the store has no share in the region, or has it already.
fn start_first_peer(
    shared: &Shared,
    inbound: &Inbound,
    planned: &Planned,
) -> Result<bool, ClaimError> {
    let Planned { region, first_leader } = planned;
    let Some(peer) = region.peer_on(shared.router.store_id()) else { return Ok(false) };
    if shared.router.table().live(region.id).is_some() {
        return Ok(false);
    }
    inbound.create(region.id, peer.id);
    shared.router.table().initialise(peer.id, region)?;
    let leads = *first_leader == peer.id;
    let input = Input::Bootstrap { region: Box::new(region.clone()), leads };
    shared.router.notify(region.id, peer.id, input);
    Ok(true)
}

fn mark_bootstrapped(engine: &Engine) -> Result<(), EngineError> {
    let key = disk::meta_key(BOOTSTRAPPED_KIND, RegionId(0));
    let mark = Mutation::Put(Family::RaftMeta, key, RecordWriter::new(1).finish());
    // Behind the peers in the write-ahead log: where the mark survives, so do they.
    engine.write(&WriteBatch::from(vec![mark]))?;
    engine.sync()
}
