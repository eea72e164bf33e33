//! Snapshots at a store: what arrives, what is put in place, and what becomes of views.

use flotilla_base::{Family, Mutation, RegionId};
use flotilla_multiraft::{Admission, Arrival, Input, Slot, SnapshotInput};
use flotilla_raftgroup::SnapshotOutcome;

use super::{Desk, Process, StoreNode, bench};
use crate::judge::{Place, installs};
use crate::marks;
use crate::snapshots::{ClaimEnd, Incoming, Replacing, ViewKey};
use crate::stages::Pair;

/// What becomes of a part that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartFate {
    /// It is staged.
    Taken,
    /// It was here before, or is not due.
    Ignored,
    /// Nothing of this snapshot is taken.
    Refused,
}

impl StoreNode {
    /// Whether a view is open.
    #[must_use]
    pub fn has_view(&self, key: &ViewKey) -> bool {
        self.process.as_ref().is_some_and(|it| it.works.snapshots.views.contains_key(key))
    }

    /// The end of an attempt, unless it has ended before: its view is given up.
    pub fn end_view(&mut self, key: ViewKey, outcome: SnapshotOutcome, desk: &mut Desk<'_>) {
        let Some(process) = &mut self.process else { return };
        if process.works.snapshots.views.remove(&key).is_none() {
            return;
        }
        let marks = &mut desk.judges.lookout.marks;
        marks.reach_if(outcome == SnapshotOutcome::Arrived, marks::SNAPSHOT_SENT);
        let verdict = desk.judges.records.views.on_over(self.id, key);
        desk.judges.note(verdict);
        let input = Input::Snapshot(Box::new(SnapshotInput::Sent(key.number, outcome)));
        process.works.inputs.push((key.region, key.peer, input));
        process.take_inputs();
    }

    /// Whether a region's data is being replaced.
    #[must_use]
    pub fn is_replacing(&self, region: RegionId) -> bool {
        self.process.as_ref().is_some_and(|it| it.works.snapshots.replacing.contains_key(&region))
    }

    /// A part of a snapshot arrives.
    pub fn take_part(
        &mut self,
        stream: u64,
        arrival: &Arrival,
        (part, pairs): (u64, &[Pair]),
        desk: &mut Desk<'_>,
    ) -> PartFate {
        let Some(process) = &mut self.process else { return PartFate::Refused };
        if part == 0 && !process.works.snapshots.incoming.contains_key(&stream) {
            let is_full = process.works.snapshots.incoming.len() >= process.config.streams_max;
            if is_full || self.disk.is_full() {
                return PartFate::Refused;
            }
            match process.table.admit(&arrival.message) {
                Admission::Drop(_) | Admission::Confirm | Admission::Clear => {
                    return PartFate::Refused;
                }
                Admission::Deliver => {}
                Admission::Create(peer) => {
                    let config = process.replica_config(self.id, &self.disk);
                    process.create(arrival.message.region, peer, config, desk.now);
                }
            }
            if process.table.check_install(&arrival.message, &arrival.meta).is_err() {
                desk.judges.lookout.reach(marks::SNAPSHOT_REFUSED);
                return PartFate::Refused;
            }
            let incoming = Incoming { stage: self.disk.stages.open(), due: 0 };
            process.works.snapshots.incoming.insert(stream, incoming);
        }
        let Some(incoming) = process.works.snapshots.incoming.get_mut(&stream) else {
            return PartFate::Refused;
        };
        if incoming.due != part {
            return PartFate::Ignored;
        }
        incoming.due += 1;
        let stage = incoming.stage;
        if self.disk.is_full() {
            self.break_off(stream);
            return PartFate::Refused;
        }
        self.disk.stages.append(stage, pairs);
        PartFate::Taken
    }

    /// Nothing more of a snapshot comes.
    pub fn break_off(&mut self, stream: u64) {
        let Some(process) = &mut self.process else { return };
        if let Some(incoming) = process.works.snapshots.incoming.remove(&stream) {
            self.disk.stages.remove(incoming.stage);
        }
    }

    /// All of a snapshot is staged, and synced. Returns whether its peer is told.
    pub fn staged(
        &mut self,
        stream: u64,
        arrival: &Arrival,
        is_damaged: bool,
        desk: &mut Desk<'_>,
    ) -> bool {
        let Some(process) = &mut self.process else { return false };
        let Some(incoming) = process.works.snapshots.incoming.remove(&stream) else { return false };
        let stage = incoming.stage;
        self.disk.stages.sync(stage);
        let arrival = Arrival { stage, ..arrival.clone() };
        let is_admitted = process.table.admit(&arrival.message) == Admission::Deliver;
        let slot = process.table.slot(arrival.message.region);
        let is_new = matches!(slot, Some(Slot::Uninitialised(_)));
        let is_whole = !is_damaged && self.disk.is_sound();
        if !is_whole || !is_admitted || process.table.claim_install(&arrival).is_err() {
            desk.judges.lookout.reach(marks::SNAPSHOT_REFUSED);
            self.disk.stages.remove(stage);
            return false;
        }
        desk.judges.lookout.marks.reach_if(is_new, marks::SNAPSHOT_TO_NEW);
        let region = arrival.message.region;
        let input = Input::Snapshot(Box::new(SnapshotInput::Arrived(Box::new(arrival))));
        process.post(region, input);
        true
    }

    /// The next step of putting a stage in place. Returns whether there is another one.
    pub fn replace(&mut self, region: RegionId, desk: &mut Desk<'_>) -> bool {
        let Some(process) = &mut self.process else { return false };
        let Some(work) = process.works.snapshots.replacing.get_mut(&region) else { return false };
        let Replacing { peer, clean, stage, steps } = work.clone();
        work.steps += 1;
        let pairs = self.disk.stages.read(stage).map(<[Pair]>::to_vec);
        let half = pairs.as_ref().map_or(0, |pairs| pairs.len() / 2);
        let put = |(key, value): &Pair| Mutation::Put(Family::Raw, key.clone(), value.clone());
        let batch = match (&pairs, steps) {
            (None, _) => Vec::new(),
            (Some(_), 0) => vec![Mutation::DeleteRange(Family::Raw, clean)],
            (Some(pairs), 1) => pairs[..half].iter().map(put).collect(),
            (Some(pairs), _) => pairs[half..].iter().map(put).collect(),
        };
        if !batch.is_empty() {
            let body = (self.id, &mut self.disk, &mut self.doom);
            let mut bench = bench(body, (&mut process.works, process.clock), desk);
            if bench.write(batch).is_none() {
                return false;
            }
            if steps == 0 {
                let place = Place(self.id, region);
                let verdict = self.disk.image().look(|image| installs::check_deleted(place, image));
                desk.judges.note(verdict);
            }
        }
        let end = match pairs {
            None => SnapshotInput::StageLost(stage),
            Some(_) if steps >= 2 => SnapshotInput::Installed(stage),
            Some(_) => return true,
        };
        process.works.snapshots.replacing.remove(&region);
        process.works.inputs.push((region, peer, Input::Snapshot(Box::new(end))));
        process.take_inputs();
        false
    }
}

impl Process {
    /// Claims that have ended.
    pub(super) fn take_claims(&mut self) {
        if !self.works.snapshots.claims.is_empty() {
            self.works.news.cleanups.append(&mut self.works.snapshots.postponed);
        }
        for end in std::mem::take(&mut self.works.snapshots.claims) {
            match end {
                ClaimEnd::Installed(region, peer) => self.table.installed(&region, peer),
                ClaimEnd::Released(region, peer) => self.table.release_claim(region, peer),
            }
        }
    }
}
