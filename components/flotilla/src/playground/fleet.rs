//! All nodes of a playground, each up or down, and what can be done to one.

use std::{
    collections::BTreeMap,
    panic::resume_unwind,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use serde_json::{Value, json};

use super::{
    descriptor::Descriptor,
    kept::Kept,
    node::{self, Ended, Node},
    plan::{NodePlan, Plan, Role, STORES_MAX, store_name},
};
use crate::{catalogue, fault::Fault, server::port};

/// The nodes.
pub(super) struct Fleet {
    plan: Plan,
    places: Mutex<Places>,
    /// Held by whoever adds a store: the next one gets its name when this one is there.
    adding: Mutex<()>,
}

/// Where all nodes are.
struct Places {
    /// The placement driver, and all stores by their numbers; never empty.
    all: Vec<Arc<Place>>,
    kept: Kept,
    /// The playground ends: none is added any more.
    is_over: bool,
}

/// Where one node is, or could be.
pub(super) struct Place {
    pub node: NodePlan,
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
    fn new(node: NodePlan) -> Self {
        let (slot, store_id) = (Mutex::new(Slot::Down), Mutex::new(None));
        Self { node, slot, store_id, settled: Condvar::new() }
    }

    /// The id of the store, once it was up.
    pub(super) fn store_id(&self) -> Option<u64> {
        *self.store_id.lock()
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
        let all = plan.nodes.iter().map(|node| Arc::new(Place::new(node.clone()))).collect();
        let places = Places { all, kept: plan.kept.clone(), is_over: false };
        Self { plan, places: Mutex::new(places), adding: Mutex::default() }
    }

    pub(super) const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// All nodes, the placement driver first.
    pub(super) fn places(&self) -> Vec<Arc<Place>> {
        self.places.lock().all.clone()
    }

    /// The note for other commands.
    pub(super) fn descriptor(&self, socket: &Path) -> Descriptor {
        let places = self.places();
        self.plan.descriptor(socket, places.iter().map(|place| &place.node))
    }

    /// Starts a node, and returns how long it took. Blocks. One that was removed is tried as well: its directory may
    /// have been deleted, so that it is a new store.
    pub(super) fn start(&self, place: &Place) -> Result<Duration, Fault> {
        let change = place.change(&["down", "removed"]);
        let (mut change, _nothing) =
            change.ok_or_else(|| wrong_state(&place.node, "is not down"))?;
        let started = Instant::now();
        let running = node::start(&self.plan, &place.node).inspect_err(|fault| {
            if fault.is(&catalogue::STORE_REMOVED) {
                change.outcome = Slot::Removed;
            }
        })?;
        *place.store_id.lock() = running.store_id();
        change.outcome = Slot::Up(running);
        Ok(started.elapsed())
    }

    /// Starts one more store with these labels beside its zone. Blocks. Its place, and how long the start took; where
    /// it does not start and has left nothing on disk, there is no such store.
    pub(super) fn add(
        &self,
        labels: BTreeMap<String, String>,
    ) -> Result<(Arc<Place>, Duration), Fault> {
        let _one_after_the_other = self.adding.lock();
        let place = self.make_place(labels)?;
        let started = self.start(&place);
        if started.is_err() && !place.node.data.exists() {
            self.places.lock().all.retain(|other| !Arc::ptr_eq(other, &place));
        }
        started.map(|took| (place, took))
    }

    /// A place for the next store.
    fn make_place(&self, labels: BTreeMap<String, String>) -> Result<Arc<Place>, Fault> {
        let mut places = self.places.lock();
        if places.is_over {
            let fault = Fault::new(&catalogue::NO_PLAYGROUND, "the playground is ending");
            return Err(fault.why("nothing is started in it any more"));
        }
        // The placement driver counts for the number that is next.
        let number = u16::try_from(places.all.len()).unwrap_or(u16::MAX);
        if number > STORES_MAX {
            let entry = &catalogue::PLAYGROUND_FULL;
            let text = format!("the playground has {STORES_MAX} stores, which is the most");
            return Err(Fault::new(entry, text).why(entry.cause).hint(entry.remedy));
        }
        let mut kept = places.kept.clone();
        // What a store of this name had that never came to be is void.
        kept.labels.remove(&store_name(number));
        if !labels.is_empty() {
            kept.labels.insert(store_name(number), labels);
        }
        let node = self.plan.store(number, &kept)?;
        for address in [Some(node.address), node.status].into_iter().flatten() {
            port::check(&node.name, address)?;
        }
        if kept != places.kept {
            self.plan.remember(&kept)?;
            places.kept = kept;
        }
        let place = Arc::new(Place::new(node));
        places.all.push(Arc::clone(&place));
        Ok(place)
    }

    /// Kills a node without warning. Blocks.
    pub(super) fn kill(place: &Place) -> Result<(), Fault> {
        let change = place.change(&["up"]);
        let killed = change.ok_or_else(|| wrong_state(&place.node, "is not up"))?;
        if let (_change, Slot::Up(running)) = killed {
            running.kill();
        }
        Ok(())
    }

    /// Stops everything in order: the stores, which may want the placement driver until their end, and
    /// then that. What is being started is waited for, and nothing can be started any more. Blocks. The names of
    /// those that had to be killed.
    pub(super) fn stop(&self) -> Vec<String> {
        self.places.lock().is_over = true;
        let places = self.places();
        let mut killed = Vec::new();
        for role in [Role::Store, Role::Pd] {
            std::thread::scope(|scope| {
                let stopped = places.iter().filter(|place| place.node.role == role);
                let ends = stopped.map(|place| (place, scope.spawn(|| place.close())));
                let ends: Vec<_> = ends.collect();
                for (place, end) in ends {
                    let ended = end.join().unwrap_or_else(|panic| resume_unwind(panic));
                    if ended == Some(Ended::Killed) {
                        killed.push(place.node.name.clone());
                    }
                }
            });
        }
        killed
    }

    /// The node of this name.
    pub(super) fn place(&self, name: &str) -> Result<Arc<Place>, Fault> {
        let places = self.places();
        let found = places.iter().find(|place| place.node.name == name);
        found.cloned().ok_or_else(|| {
            let names: Vec<&str> = places.iter().map(|place| place.node.name.as_str()).collect();
            let text = format!("the playground has no node {name:?}");
            let fault = Fault::new(&catalogue::NO_NODE, text);
            fault.why(format!("it has {}", names.join(", "))).hint("flotilla playground status")
        })
    }

    /// How many nodes are up.
    pub(super) fn up(&self) -> usize {
        self.places().iter().filter(|place| place.state() == "up").count()
    }

    /// The nodes that there are: all but those that were removed.
    pub(super) fn present(&self) -> Vec<NodePlan> {
        let places = self.places();
        let present = places.iter().filter(|place| place.state() != "removed");
        present.map(|place| place.node.clone()).collect()
    }

    /// Addresses of the stores that are not up.
    pub(super) fn down_stores(&self) -> Vec<String> {
        let places = self.places();
        let stores = places.iter().filter(|place| place.node.role == Role::Store);
        let down = stores.filter(|place| !["up", "removed"].contains(&place.state()));
        down.map(|place| place.node.address.to_string()).collect()
    }

    /// All nodes for `playground status`.
    pub(super) fn to_json(&self) -> Value {
        let places = self.places();
        let nodes = places.iter().map(|place| {
            let node = &place.node;
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
                "store_id": place.store_id(),
                "state": state,
                "address": node.address,
                "status_address": node.status,
                "labels": node.labels,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_store_is_added_to_what_is_full_or_at_its_end() {
        let mut plan = Plan::trial("d".into());
        let store = |plan: &Plan, number| plan.store(number, &plan.kept).expect("there is room");
        let pd = NodePlan { role: Role::Pd, ..store(&plan, 1) };
        let stores = (1..=STORES_MAX).map(|number| store(&plan, number));
        plan.nodes = [pd].into_iter().chain(stores).collect();
        let fleet = Fleet::new(plan);
        let refused = |fleet: &Fleet| fleet.add(BTreeMap::new()).err().expect("it is refused");
        assert!(refused(&fleet).is(&catalogue::PLAYGROUND_FULL));
        assert_eq!(fleet.stop(), Vec::<String>::new(), "none was up");
        assert!(refused(&fleet).is(&catalogue::NO_PLAYGROUND));
        assert_eq!(fleet.places().len(), 1 + usize::from(STORES_MAX));
    }
}
