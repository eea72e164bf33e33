//! How stores see the placement driver: they ask for an id, register each run, wait for the first regions,
//! and report.
//!
//! The world names stores by their place; the placement driver names them by the ids that it hands out.
//! The words of both meet here.

use flotilla_base::{Incarnation, Peer, PeerId, Region, Rng, Span, StoreId};
use flotilla_placement::{BootstrapPlan, Command, Order, StoreRecord};

use super::event::{PdAnswer, PdAsk, PdTicket};
use super::plan::Origin;
use crate::event::Run;

/// How far a store has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its run is not registered.
    Registers,
    /// It waits for the first regions.
    WaitsForPlan,
    /// It reports.
    Reports,
}

/// One store's end of the placement driver.
#[derive(Debug)]
pub struct Agent {
    /// Its place in the world.
    pub place: StoreId,
    /// Its id, once it has one: durable at the store.
    pub id: Option<StoreId>,
    /// The last run that was started.
    pub run: Run,
    /// The number that it registers under.
    incarnation: Incarnation,
    /// How far that has come.
    pub phase: Phase,
    /// The request under way.
    pub ticket: Option<PdTicket>,
    /// Whom it asks.
    pub target: PeerId,
    labels: Vec<(String, String)>,
    rng: Rng,
}

impl Agent {
    /// A store that was never started.
    #[must_use]
    pub const fn new(place: StoreId, labels: Vec<(String, String)>, rng: Rng) -> Self {
        let (run, incarnation, phase) = (Run(0), Incarnation(0), Phase::Registers);
        let target = PeerId(1);
        Self { place, id: None, run, incarnation, phase, ticket: None, target, labels, rng }
    }

    /// A run begins.
    pub const fn start(&mut self, run: Run, incarnation: Incarnation) {
        self.run = run;
        self.incarnation = incarnation;
        self.phase = Phase::Registers;
        self.ticket = None;
    }

    /// What it asks next; `None` where it only reports.
    #[must_use]
    pub fn ask(&self) -> Option<PdAsk> {
        let Some(id) = self.id else { return Some(PdAsk::Ids(1)) };
        match self.phase {
            Phase::Registers => Some(PdAsk::Register(Box::new(self.record(id, self.incarnation)))),
            Phase::WaitsForPlan => Some(PdAsk::Plan(id)),
            Phase::Reports => None,
        }
    }

    /// A registration of an earlier run, as a process on a copy of the data directory would make it.
    pub fn ghost(&mut self) -> Option<PdAsk> {
        let is_due = self.incarnation > Incarnation(1) && self.rng.chance(50);
        let earlier = Incarnation(self.incarnation.get() - u64::from(is_due));
        let id = self.id.filter(|_| is_due)?;
        Some(PdAsk::Register(Box::new(self.record(id, earlier))))
    }

    /// Time to the next step after one that worked, or after one that did not.
    pub fn pause(&mut self, most: Span) -> Span {
        Span(1 + self.rng.below(most.0))
    }

    /// An answer to the request under way; the first regions, where it brings them.
    pub fn on_answer(&mut self, answer: PdAnswer, origin: Origin) -> Option<BootstrapPlan> {
        match answer {
            PdAnswer::Ids(batch) => self.id = Some(StoreId(batch.last)),
            PdAnswer::Done if self.phase == Phase::Registers => {
                let waits = origin == Origin::Plan;
                self.phase = if waits { Phase::WaitsForPlan } else { Phase::Reports };
            }
            PdAnswer::Plan(Some(plan)) => {
                self.phase = Phase::Reports;
                return Some(plan);
            }
            _ => {}
        }
        None
    }

    fn record(&self, id: StoreId, incarnation: Incarnation) -> StoreRecord {
        let address = format!("store-{}:20160", self.place);
        let labels = self.labels.clone();
        StoreRecord { id, address, labels, incarnation, ..StoreRecord::default() }
    }
}

/// The regions of a plan in the words of the world, the peer that is to lead first in front.
#[must_use]
pub fn to_world(plan: &BootstrapPlan, agents: &[Agent]) -> Vec<Region> {
    let regions = plan.regions.iter().map(|planned| {
        let mut region = planned.region.clone();
        for peer in &mut region.peers {
            peer.store = place_of(peer.store, agents).unwrap_or_default();
        }
        region.peers.sort_by_key(|peer| (peer.id != planned.first_leader, peer.id));
        region
    });
    regions.collect()
}

/// An order in the words of the world; `None` where it names a store that is not of the world.
#[must_use]
pub fn order_to_world(mut order: Order, agents: &[Agent]) -> Option<Order> {
    let name = |peer: &mut Peer| place_of(peer.store, agents).map(|place| peer.store = place);
    name(&mut order.leader)?;
    match &mut order.command {
        Command::ChangePeer(change) => name(&mut change.peer)?,
        Command::ChangePeers(changes) => {
            changes.iter_mut().try_for_each(|change| name(&mut change.peer))?;
        }
        Command::TransferLeader(heirs) => heirs.iter_mut().try_for_each(name)?,
        Command::LeaveJoint | Command::Split(_) => {}
    }
    Some(order)
}

/// The place of a store.
#[must_use]
pub fn place_of(id: StoreId, agents: &[Agent]) -> Option<StoreId> {
    agents.iter().find(|it| it.id == Some(id)).map(|it| it.place)
}

/// A region of the world in the words of the placement driver.
#[must_use]
pub fn from_world(mut region: Region, agents: &[Agent]) -> Region {
    for peer in &mut region.peers {
        let agent = agents.iter().find(|it| it.place == peer.store);
        peer.store = agent.and_then(|it| it.id).unwrap_or(peer.store);
    }
    region
}
