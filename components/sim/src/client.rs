//! Clients: each puts and gets unique values, one operation at a time, and repeats until it succeeds.

use std::collections::BTreeMap;

use bytes::Bytes;
use flotilla_base::{Key, Region, RegionId, Rng, Span, StoreId};
use flotilla_multiraft::{Reply, RequestError};

use crate::event::{Answer, Ticket};
use crate::plan::LoadPlan;

/// Writes to keys whose content the client has seen that ask for this content to be there still, in thousandths.
const SWAP_PERMILLE: u64 = 200;

/// Operations of each client after all faults.
const LAST_OPERATIONS: u64 = 3;

/// What a client wants to be done.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The key.
    pub key: Key,
    /// Whether it reads.
    pub is_read: bool,
    /// The attempt under way.
    pub ticket: Option<Ticket>,
}

/// What a client does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The operation is done; the next one begins after a pause.
    Done(Span),
    /// Try again after a pause.
    Again(Span),
}

/// One client.
#[derive(Debug)]
pub struct SimClient {
    plan: LoadPlan,
    rng: Rng,
    left: u64,
    operation: Option<Operation>,
    leaders: BTreeMap<RegionId, StoreId>,
    /// The regions as this client knows them: it looks them up when a store tells it that they have changed.
    map: Vec<Region>,
    failures: u64,
    /// Which writes are swaps. A lane of its own, so that all else is drawn as it would be without them.
    swaps: Rng,
    /// What was seen last of each key.
    seen: BTreeMap<Key, Option<Bytes>>,
    /// What the attempt under way writes.
    writing: Option<Bytes>,
}

impl SimClient {
    /// A client that has its operations before it.
    #[must_use]
    pub fn new(mut plan: LoadPlan, mut rng: Rng, swaps: Rng) -> Self {
        // One that only reads stays with a leader that has lost its majority, while others write
        // elsewhere: that is when a read could be stale.
        match rng.below(4) {
            0 => plan.read_permille = 1000,
            1 => plan.read_permille = 0,
            _ => {}
        }
        let left = plan.operations;
        Self {
            plan,
            rng,
            left,
            operation: None,
            leaders: BTreeMap::new(),
            map: Vec::new(),
            failures: 0,
            swaps,
            seen: BTreeMap::new(),
            writing: None,
        }
    }

    /// Whether all its operations are done.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.left == 0 && self.operation.is_none()
    }

    /// Comes to an end: a few operations more, so that the judges see the cluster serve again.
    pub fn wind_down(&mut self) {
        self.left = self.left.min(LAST_OPERATIONS);
    }

    /// How many attempts failed or were given up.
    #[must_use]
    pub const fn failures(&self) -> u64 {
        self.failures
    }

    /// The operation under way, or a new one; `None` when all are done.
    pub fn operation(&mut self) -> Option<&mut Operation> {
        if self.operation.is_none() && self.left > 0 {
            self.left -= 1;
            let key = key_name(self.rng.below(self.plan.keys));
            let is_read = self.rng.chance(self.plan.read_permille);
            self.operation = Some(Operation { key, is_read, ticket: None });
        }
        self.operation.as_mut()
    }

    /// The operation whose attempt `ticket` is, if it is still under way.
    #[must_use]
    pub fn waits_for(&self, ticket: Ticket) -> Option<&Operation> {
        self.operation.as_ref().filter(|operation| operation.ticket == Some(ticket))
    }

    /// The value that the attempt writes; no two attempts write the same.
    pub fn value(&mut self, ticket: Ticket) -> Bytes {
        let filler = usize::try_from(self.rng.below(self.plan.value_bytes_max)).unwrap_or(0);
        let mut value = format!("{}:", ticket.0).into_bytes();
        value.resize(value.len() + filler, b'.');
        let value = Bytes::from(value);
        self.writing = Some(value.clone());
        value
    }

    /// What a write asks to find under its key, if it asks.
    pub fn over(&mut self, key: &Key) -> Option<Option<Bytes>> {
        if self.swaps.chance(SWAP_PERMILLE) { self.seen.get(key).cloned() } else { None }
    }

    /// The region of a key, in a map that may be old; `newest` is looked at where there is none.
    pub fn region_of(&mut self, key: &[u8], newest: &[Region]) -> Option<&Region> {
        if self.map.is_empty() {
            self.map = newest.to_vec();
        }
        self.map.iter().find(|region| region.range.contains(key))
    }

    /// Where to ask for a region.
    #[must_use]
    pub fn target(&self, region: &Region) -> StoreId {
        let first = region.peers.first().map(|peer| peer.store).unwrap_or_default();
        self.leaders.get(&region.id).copied().unwrap_or(first)
    }

    /// An answer to the attempt under way.
    pub fn on_answer(&mut self, region: &Region, answer: &Answer) -> Next {
        if matches!(answer, Answer::Reply(Reply::Written | Reply::GuardFailed) | Answer::Value(_)) {
            self.learn(answer);
            return Next::Done(Span(self.rng.below(self.plan.think_max.0 + 1)));
        }
        let is_moved = matches!(
            answer,
            Answer::Reply(Reply::Failed(
                RequestError::EpochNotMatch { .. }
                    | RequestError::RegionNotFound(_)
                    | RequestError::KeyNotInRegion { .. }
            ))
        );
        if is_moved {
            self.map.clear();
        }
        match answer {
            Answer::Reply(Reply::Failed(RequestError::NotLeader {
                leader: Some(leader), ..
            })) => {
                self.leaders.insert(region.id, leader.store);
            }
            Answer::Reply(Reply::Failed(
                RequestError::Busy(_)
                | RequestError::ApplyBehind(_)
                | RequestError::StaleCommand(_)
                | RequestError::EpochNotMatch { .. },
            )) => {}
            _ => self.turn_elsewhere(region),
        }
        self.again()
    }

    /// The operation is done.
    fn learn(&mut self, answer: &Answer) {
        let Some(Operation { key, .. }) = self.operation.take() else { return };
        match answer {
            Answer::Value(value) => _ = self.seen.insert(key, value.clone()),
            Answer::Reply(Reply::Written) => _ = self.seen.insert(key, self.writing.take()),
            _ => _ = self.seen.remove(&key),
        }
    }

    /// Nothing was heard for too long.
    pub fn on_silence(&mut self, region: &Region) -> Next {
        self.turn_elsewhere(region);
        self.again()
    }

    fn again(&mut self) -> Next {
        self.failures += 1;
        if let Some(operation) = &mut self.operation {
            operation.ticket = None;
        }
        Next::Again(Span::from_millis(1 + self.rng.below(50)))
    }

    fn turn_elsewhere(&mut self, region: &Region) {
        let current = self.target(region);
        let position = region.peers.iter().position(|peer| peer.store == current).unwrap_or(0);
        if let Some(next) = region.peers.get((position + 1) % region.peers.len().max(1)) {
            self.leaders.insert(region.id, next.store);
        }
    }
}

/// The name of a key.
#[must_use]
pub fn key_name(number: u64) -> Key {
    format!("k{number:02}").into()
}
