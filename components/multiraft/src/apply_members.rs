//! Changes of the membership where they stand in the log.

use flotilla_base::{Index, KvRead, Peer, Region};
use flotilla_raftgroup::Entry;

use crate::apply::{Applier, ApplyEffects, ApplyFault, Notice};
use crate::command::ForgetCommand;
use crate::input::{MembersChanged, Reply};
use crate::membership::{ChangePeers, change};
use crate::persist::{RegionState, put_region_state};
use crate::removal::{RemovedError, put_removed, read_removed};

impl Applier {
    pub(crate) fn apply_change<T>(
        &mut self,
        entry: &Entry,
        data: &impl KvRead,
        effects: &mut ApplyEffects<T>,
    ) -> Result<Reply, ApplyFault> {
        let (region, index) = (self.region.id, entry.index);
        let mut command = ChangePeers::decode(&entry.data)
            .map_err(|cause| ApplyFault::UnknownCommand { region, index, cause })?;
        if self.is_careless() {
            command.epoch = self.region.epoch;
        }
        let after = match change(&self.region, &command) {
            Ok(after) => after,
            Err(refusal) => return Ok(Reply::Failed(refusal)),
        };
        let is_gone = |peer: &&Peer| after.peer(peer.id).is_none();
        let gone: Vec<Peer> = self.region.peers.iter().filter(is_gone).copied().collect();
        let mut removed = self.removed(index, data)?.to_vec();
        if !gone.is_empty() {
            removed.extend(gone.iter().map(|peer| Peer::voter(peer.id, peer.store)));
            effects.batch.push(put_removed(region, &removed));
        }
        let state = RegionState::Normal(self.peer, after.clone());
        effects.batch.push(put_region_state(region, &state));
        self.become_changed(after.clone(), removed, effects);
        Ok(Reply::Changed(Box::new(after)))
    }

    pub(crate) fn apply_forget<T>(
        &mut self,
        forget: &ForgetCommand,
        index: Index,
        data: &impl KvRead,
        effects: &mut ApplyEffects<T>,
    ) -> Result<Reply, ApplyFault> {
        let known = self.removed(index, data)?;
        let is_open = |peer: &&Peer| !forget.peers.contains(&peer.id);
        let removed: Vec<Peer> = known.iter().filter(is_open).copied().collect();
        if removed.len() < known.len() {
            effects.batch.push(put_removed(self.region.id, &removed));
            self.become_changed(self.region.clone(), removed, effects);
        }
        Ok(Reply::Written)
    }

    fn become_changed<T>(
        &mut self,
        region: Region,
        removed: Vec<Peer>,
        effects: &mut ApplyEffects<T>,
    ) {
        self.region = region.clone();
        self.removed = Some(removed.clone());
        let changed = MembersChanged { region, removed };
        effects.notices.push((self.region.id, self.peer, Notice::Members(changed)));
    }

    /// Nobody else writes the record, and what this applier has written it remembers.
    fn removed(&mut self, index: Index, data: &impl KvRead) -> Result<&[Peer], ApplyFault> {
        if self.removed.is_none() {
            let region = self.region.id;
            let found = read_removed(data, region).map_err(|error| match error {
                RemovedError::Read(cause) => ApplyFault::Read { region, index, cause },
                RemovedError::Record(cause) => ApplyFault::UnknownCommand { region, index, cause },
            })?;
            self.removed = Some(found);
        }
        Ok(self.removed.as_deref().unwrap_or_default())
    }
}
