//! All nodes of a playground, each up or down, and the four things that can be done to one.

use std::{
    panic::resume_unwind,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};

use super::{
    node::{self, Ended, Node},
    plan::{NodePlan, Plan, Role},
};
use crate::{catalogue, fault::Fault};

/// The nodes.
pub(super) struct Fleet {
    plan: Plan,
    /// One for each node of the plan.
    places: Vec<Place>,
}

/// Where one node is, or could be.
struct Place {
    slot: Mutex<Slot>,
    /// The id of the store, once it was up.
    store_id: Mutex<Option<u64>>,
    /// Told when a change is over.
    settled: Condvar,
}

enum Slot {
    Down,
    /// A store that was removed from its cluster for good: it could not be started.
    Removed,
    /// Being started or ended; the node itself is in the hands of whoever does it.
    Changing,
    Up(Node),
    /// The playground ends: nothing is started here any more.
    Over,
}

/// A start or an end that is under way. Whatever becomes of it, who waits for it is told.
struct Change<'a> {
    place: &'a Place,
    outcome: Slot,
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        *self.place.slot.lock() = std::mem::replace(&mut self.outcome, Slot::Down);
        self.place.settled.notify_all();
    }
}

impl Place {
    fn new() -> Self {
        let (slot, store_id) = (Mutex::new(Slot::Down), Mutex::new(None));
        Self { slot, store_id, settled: Condvar::new() }
    }

    fn state(&self) -> &'static str {
        state(&mut self.slot.lock())
    }

    /// Begins a change from one of the states `from`, and returns what was here; `None` in any other state.
    fn change(&self, from: &[&str]) -> Option<(Change<'_>, Slot)> {
        let mut slot = self.slot.lock();
        if !from.contains(&state(&mut slot)) {
            return None;
        }
        let before = std::mem::replace(&mut *slot, Slot::Changing);
        Some((Change { place: self, outcome: Slot::Down }, before))
    }

    /// Ends the node in order, after the change that is under way, and for ever; `None` where none is up. Blocks.
    fn close(&self) -> Option<Ended> {
        let mut slot = self.slot.lock();
        self.settled.wait_while(&mut slot, |slot| matches!(slot, Slot::Changing));
        let last = std::mem::replace(&mut *slot, Slot::Over);
        // Outside of the lock: the end of a node takes a while.
        drop(slot);
        match last {
            Slot::Up(running) => Some(running.stop()),
            Slot::Down | Slot::Removed | Slot::Changing | Slot::Over => None,
        }
    }
}

impl Fleet {
    pub(super) fn new(plan: Plan) -> Self {
        let places = plan.nodes.iter().map(|_| Place::new()).collect();
        Self { plan, places }
    }

    pub(super) const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Starts the node at `position`, and returns how long it took. Blocks. One that was removed is tried as well: its
    /// directory may have been deleted, so that it is a new store.
    pub(super) fn start(&self, position: usize) -> Result<Duration, Fault> {
        let node = &self.plan.nodes[position];
        let place = &self.places[position];
        let change = place.change(&["down", "removed"]);
        let (mut change, _nothing) = change.ok_or_else(|| wrong_state(node, "is not down"))?;
        let started = Instant::now();
        let running = node::start(&self.plan, node).inspect_err(|fault| {
            if fault.is(&catalogue::STORE_REMOVED) {
                change.outcome = Slot::Removed;
            }
        })?;
        *place.store_id.lock() = running.store_id();
        change.outcome = Slot::Up(running);
        Ok(started.elapsed())
    }

    /// Kills the node at `position` without warning. Blocks.
    pub(super) fn kill(&self, position: usize) -> Result<(), Fault> {
        let change = self.places[position].change(&["up"]);
        let killed = change.ok_or_else(|| wrong_state(&self.plan.nodes[position], "is not up"))?;
        if let (_change, Slot::Up(running)) = killed {
            running.kill();
        }
        Ok(())
    }

    /// Stops everything in order: the stores, which may want the placement driver until their end, and
    /// then that. What is being started is waited for, and nothing can be started any more. Blocks. The names of
    /// those that had to be killed.
    pub(super) fn stop(&self) -> Vec<String> {
        let mut killed = Vec::new();
        for role in [Role::Store, Role::Pd] {
            std::thread::scope(|scope| {
                let nodes = self.plan.nodes.iter().zip(&self.places);
                let stopped = nodes.filter(|(node, _place)| node.role == role);
                let ends = stopped.map(|(node, place)| (node, scope.spawn(|| place.close())));
                let ends: Vec<_> = ends.collect();
                for (node, end) in ends {
                    let ended = end.join().unwrap_or_else(|panic| resume_unwind(panic));
                    if ended == Some(Ended::Killed) {
                        killed.push(node.name.clone());
                    }
                }
            });
        }
        killed
    }

    /// Where the node of this name stands among all.
    pub(super) fn position(&self, name: &str) -> Result<usize, Fault> {
        self.plan.nodes.iter().position(|node| node.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.plan.nodes.iter().map(|node| node.name.as_str()).collect();
            let text = format!("the playground has no node {name:?}");
            let fault = Fault::new(&catalogue::NO_NODE, text);
            fault.why(format!("it has {}", names.join(", "))).hint("flotilla playground status")
        })
    }

    /// How many nodes are up.
    pub(super) fn up(&self) -> usize {
        self.places.iter().filter(|place| place.state() == "up").count()
    }

    /// The nodes that there are: all but those that were removed.
    pub(super) fn present(&self) -> Vec<&NodePlan> {
        let nodes = self.plan.nodes.iter().zip(&self.places);
        let present = nodes.filter(|(_node, place)| place.state() != "removed");
        present.map(|(node, _place)| node).collect()
    }

    /// Addresses of the stores that are not up.
    pub(super) fn down_stores(&self) -> Vec<String> {
        let nodes = self.plan.nodes.iter().zip(&self.places);
        let is_down = |place: &Place| !["up", "removed"].contains(&place.state());
        let down = nodes.filter(|(node, place)| node.role == Role::Store && is_down(place));
        down.map(|(node, _place)| node.address.to_string()).collect()
    }

    /// All nodes for `playground status`.
    pub(super) fn to_json(&self) -> Value {
        let nodes = self.plan.nodes.iter().zip(&self.places);
        let nodes = nodes.map(|(node, place)| {
            let mut slot = place.slot.lock();
            let state = state(&mut slot);
            let pid = match &*slot {
                Slot::Up(running) => running.pid().or_else(|| Some(std::process::id())),
                // What is not there has no process, whoever looks after it.
                Slot::Down | Slot::Removed | Slot::Changing | Slot::Over => None,
            };
            json!({
                "name": node.name,
                "role": match node.role { Role::Pd => "pd", Role::Store => "store" },
                "store_id": *place.store_id.lock(),
                "state": state,
                "address": node.address,
                "status_address": node.status,
                "pid": pid,
                "data": node.data,
            })
        });
        Value::Array(nodes.collect())
    }
}

fn wrong_state(node: &NodePlan, what: &str) -> Fault {
    let text = format!("{} {what}", node.name);
    Fault::new(&catalogue::NODE_STATE, text).hint("flotilla playground status")
}

fn state(slot: &mut Slot) -> &'static str {
    if let Slot::Up(node) = slot
        && !node.is_running()
    {
        *slot = Slot::Down;
    }
    match slot {
        Slot::Down => "down",
        Slot::Removed => "removed",
        Slot::Changing => "changing",
        Slot::Up(_) => "up",
        Slot::Over => "over",
    }
}
