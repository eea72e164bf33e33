//! All nodes of a playground, each up or down, and the four things that can be done to one.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{
    node::{self, Node},
    plan::{NodePlan, Plan, Role},
};
use crate::{catalogue, fault::Fault};

/// The nodes.
pub(super) struct Fleet {
    plan: Plan,
    /// One for each node of the plan.
    slots: Vec<Mutex<Slot>>,
}

enum Slot {
    Down,
    /// Being started or ended; the node itself is in the hands of whoever does it.
    Changing,
    Up(Node),
}

impl Fleet {
    pub(super) fn new(plan: Plan) -> Self {
        let slots = plan.nodes.iter().map(|_| Mutex::new(Slot::Down)).collect();
        Self { plan, slots }
    }

    pub(super) const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Starts the node at `position`, and returns how long it took. Blocks.
    pub(super) fn start(&self, position: usize) -> Result<Duration, Fault> {
        let node = &self.plan.nodes[position];
        {
            let mut slot = self.slots[position].lock();
            if state(&mut slot) != "down" {
                return Err(wrong_state(node, "is up already"));
            }
            *slot = Slot::Changing;
        }
        let started = Instant::now();
        match node::start(&self.plan, node) {
            Ok(running) => {
                *self.slots[position].lock() = Slot::Up(running);
                Ok(started.elapsed())
            }
            Err(fault) => {
                *self.slots[position].lock() = Slot::Down;
                Err(fault)
            }
        }
    }

    /// Kills the node at `position` without warning. Blocks.
    pub(super) fn kill(&self, position: usize) -> Result<(), Fault> {
        let running = {
            let mut slot = self.slots[position].lock();
            if state(&mut slot) != "up" {
                return Err(wrong_state(&self.plan.nodes[position], "is not up"));
            }
            std::mem::replace(&mut *slot, Slot::Changing)
        };
        // Outside of the lock: the end of a node takes a while.
        if let Slot::Up(running) = running {
            running.kill();
        }
        *self.slots[position].lock() = Slot::Down;
        Ok(())
    }

    /// Stops everything in order: the stores, which may want the placement driver until their end, and
    /// then that. Blocks.
    pub(super) fn stop(&self) {
        for role in [Role::Store, Role::Pd] {
            std::thread::scope(|scope| {
                for (node, slot) in self.plan.nodes.iter().zip(&self.slots) {
                    let running = (node.role == role)
                        .then(|| std::mem::replace(&mut *slot.lock(), Slot::Changing));
                    if let Some(Slot::Up(running)) = running {
                        scope.spawn(|| running.stop());
                    }
                }
            });
        }
    }

    /// Where the node of this name stands among all.
    pub(super) fn position(&self, name: &str) -> Result<usize, Fault> {
        self.plan.nodes.iter().position(|node| node.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.plan.nodes.iter().map(|node| node.name.as_str()).collect();
            let text = format!("the playground has no node {name:?}");
            Fault::new(&catalogue::NO_NODE, text).why(format!("it has {}", names.join(", ")))
        })
    }

    /// How many nodes are up.
    pub(super) fn up(&self) -> usize {
        let is_up = |slot: &&Mutex<Slot>| state(&mut slot.lock()) == "up";
        self.slots.iter().filter(is_up).count()
    }

    /// All nodes for `playground status`.
    pub(super) fn to_json(&self) -> Value {
        let nodes = self.plan.nodes.iter().zip(&self.slots);
        let nodes = nodes.map(|(node, slot)| {
            let mut slot = slot.lock();
            let state = state(&mut slot);
            let pid = match &*slot {
                Slot::Up(running) => running.pid(),
                Slot::Down | Slot::Changing => None,
            };
            json!({
                "name": node.name,
                "role": match node.role { Role::Pd => "pd", Role::Store => "store" },
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
        Slot::Changing => "changing",
        Slot::Up(_) => "up",
    }
}
