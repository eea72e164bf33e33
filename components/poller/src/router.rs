//! From keys to mailboxes.

use std::collections::HashMap;

use crate::sync::RwLock;
use crate::{Closed, Mailbox, SendError};

/// A power of two: many senders look up at once, few cells come and go.
const SHARDS: usize = 64;

/// The mailboxes of all cells of a pool, by key. Looking up takes one read lock of one shard.
///
/// No lock is held while a message is sent or a callback runs.
pub struct Router<S, M> {
    shards: Vec<Shard<S, M>>,
}

type Shard<S, M> = RwLock<HashMap<u64, Mailbox<S, M>>>;

impl<S, M> Router<S, M> {
    /// A router without mailboxes.
    #[must_use]
    pub fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| RwLock::new(HashMap::new())).collect() }
    }

    /// Adds a mailbox under its key.
    ///
    /// # Errors
    /// The key has a mailbox already, which is returned: who may take its place is for the caller to decide.
    pub fn register(&self, mailbox: Mailbox<S, M>) -> Result<(), Mailbox<S, M>> {
        let mut shard = self.shard(mailbox.key()).write();
        match shard.get(&mailbox.key()) {
            Some(present) => Err(present.clone()),
            None => {
                shard.insert(mailbox.key(), mailbox);
                Ok(())
            }
        }
    }

    /// Removes the mailbox of `key`, but only that of this generation: a later one stays.
    pub fn remove(&self, key: u64, generation: u64) -> Option<Mailbox<S, M>> {
        let mut shard = self.shard(key).write();
        if shard.get(&key)?.generation() != generation {
            return None;
        }
        shard.remove(&key)
    }

    /// The mailbox of `key`.
    #[must_use]
    pub fn get(&self, key: u64) -> Option<Mailbox<S, M>> {
        self.shard(key).read().get(&key).cloned()
    }

    /// Sends a message that must not be lost; see [`Mailbox::send`].
    ///
    /// # Errors
    /// There is no such cell, or it is closed.
    pub fn send(&self, key: u64, message: M) -> Result<(), Closed<M>> {
        match self.get(key) {
            Some(mailbox) => mailbox.send(message),
            None => Err(Closed(message)),
        }
    }

    /// Sends a message that may be refused; see [`Mailbox::try_send`].
    ///
    /// # Errors
    /// There is no such cell, it is closed, or a quota is used up.
    pub fn try_send(&self, key: u64, message: M, bytes: usize) -> Result<(), SendError<M>> {
        match self.get(key) {
            Some(mailbox) => mailbox.try_send(message, bytes),
            None => Err(SendError::Closed(message)),
        }
    }

    /// Calls `with` on every mailbox, in no particular order. Sees those present when it comes to their shard.
    pub fn for_each(&self, mut with: impl FnMut(&Mailbox<S, M>)) {
        for shard in &self.shards {
            let mailboxes: Vec<_> = shard.read().values().cloned().collect();
            mailboxes.iter().for_each(&mut with);
        }
    }

    /// Takes all mailboxes out: the last act of a pool's owner.
    #[must_use]
    pub fn drain(&self) -> Vec<Mailbox<S, M>> {
        self.shards
            .iter()
            .flat_map(|shard| std::mem::take(&mut *shard.write()).into_values())
            .collect()
    }

    /// Number of mailboxes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// Whether there is no mailbox.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, key: u64) -> &Shard<S, M> {
        // Keys are handed out in sequence: Fibonacci hashing spreads neighbours over the shards.
        let mixed = key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - SHARDS.ilog2());
        let index = usize::try_from(mixed).expect("fewer than 64 shards");
        &self.shards[index]
    }
}

impl<S, M> Default for Router<S, M> {
    fn default() -> Self {
        Self::new()
    }
}
