//! How a peer is given the data of a snapshot, in place of what it has.
//!
//! ```text
//! Arrived      the host has staged all of it, whole and durable, and claimed the range        RegionTable::claim_install
//! draining     what the peer has promised and applied comes to its end; it takes part in nothing from now on
//! begun        one batch: Applying, raft state, apply state, removed members, and no log       synced
//! Replace      the host deletes the old range and writes the staged data into it
//! Installed
//! ended        one batch: Normal                                                               synced
//! Done         the peer takes part again, behind a closed gate; the host forgets the stage
//! ```
//! The first batch destroys nothing that the stage does not hold: a crash behind it begins again at `Replace`, which
//! may be done any number of times; a crash in front of it leaves the peer as it was. Nothing is acknowledged before
//! the last one is durable: an acknowledgement makes others forget what they would have sent.
//!
//! A peer that hears meanwhile that it was removed gives the install up as long as it is draining. Behind the first
//! batch it ends the install first, and hears of its removal again.
//!
//! The crate `raft` has no part in it. A new group begins with the promises of the old one and with the position of
//! the snapshot, as it would after a restart; its leader hears from it as if it had waited.

use flotilla_base::{Bug, Index, KeyRange, Moment, Mutation, PeerId, Region, RegionId};
use flotilla_raftgroup::{
    ApplyState, Damage, Group, HardState, LogPosition, Message, MessageKind, Origin, RaftState,
    ReadyNumber, disk,
};

use crate::effects::{AfterPersist, Effects, Report};
use crate::input::{PeerMessage, Reply, RequestError};
use crate::persist::{Applying, RegionState, delete_peer_mark, put_region_state};
use crate::removal::{Removals, put_removed};
use crate::replica::{Lifecycle, Replica, Start, new_group};
use crate::snapshot::{SnapshotEffect, SnapshotMeta};

/// Names what a store has staged; never used twice by one store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StageNumber(pub u64);

/// A snapshot on the store of its receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// What raft said with it.
    pub message: PeerMessage,
    /// What it is of.
    pub meta: SnapshotMeta,
    /// Where the data is.
    pub stage: StageNumber,
}

/// What is to be done with a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstallEffect {
    /// Deletes all data in `clean` and writes what is staged, of which all keys are in there; says
    /// [`crate::SnapshotInput::Installed`] when reads see that and nothing that is written later can survive a crash
    /// without it. May be asked for again behind a crash.
    Replace {
        /// The region.
        region: RegionId,
        /// Whose data.
        peer: PeerId,
        /// What the peer has owned, and what it is to own.
        clean: KeyRange,
        /// The new data.
        stage: StageNumber,
    },
    /// The peer is as it was: the claim is released, and the stage forgotten.
    Refused {
        /// The region.
        region: RegionId,
        /// The peer.
        peer: PeerId,
        /// Is needed by nobody.
        stage: StageNumber,
    },
    /// The peer has its new data, and serves it: the claim becomes ownership, the stage is forgotten.
    Done {
        /// The region as it is now.
        region: Region,
        /// The peer.
        peer: PeerId,
        /// Is needed by nobody.
        stage: StageNumber,
    },
}

/// A peer between two lives.
#[derive(Debug)]
pub(crate) struct Installing {
    meta: SnapshotMeta,
    stage: StageNumber,
    /// What the peer owned before, if anything, and what it is to own; known once it is drained.
    clean: KeyRange,
    had_data: bool,
    raft: RaftState,
    /// Who waits for a word; zero where nobody is known to.
    leader: PeerId,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waits for what is written to be durable, and for what was handed to the applier.
    Draining,
    /// The first batch is written.
    Begun,
    /// The first batch is durable, and nobody was told.
    Due,
    /// The host replaces the data.
    Replacing,
    /// The last batch is written.
    Ended,
}

/// Numbers of the two notices. No Ready is outstanding meanwhile.
const BEGUN: ReadyNumber = ReadyNumber(1);
const ENDED: ReadyNumber = ReadyNumber(2);

impl Installing {
    /// An install that a crash interrupted.
    pub(crate) fn recovered(applying: Applying, raft: RaftState, apply: ApplyState) -> Self {
        let Applying { region, clean, stage, .. } = applying;
        // Who was removed stands on the disk already.
        let meta = SnapshotMeta { region, apply, removed: Vec::new() };
        let (leader, phase) = (PeerId(0), Phase::Due);
        Self { meta, stage, clean, had_data: true, raft, leader, phase }
    }
}

impl<T> Replica<T> {
    /// All of a snapshot is here. Where it brings this peer on, everything else ends.
    pub(crate) fn handle_arrival(&mut self, arrival: Box<Arrival>, effects: &mut Effects<T>) {
        let Arrival { message, meta, stage } = *arrival;
        if !self.brings_on(&message, &meta) {
            let (region, peer) = (self.region.id, self.peer);
            let refused = InstallEffect::Refused { region, peer, stage };
            effects.snapshots.push(SnapshotEffect::Install(refused));
            return;
        }
        let last = meta.apply.applied;
        let hard_state = Group::promise_behind_snapshot(self.told.hard_state, &message.message);
        let apply =
            ApplyState { clock_millis: meta.apply.clock_millis, ..ApplyState::starting_at(last) };
        self.embryo.install = Some(Box::new(Installing {
            clean: meta.region.range.clone(),
            had_data: self.life == Lifecycle::Active,
            raft: RaftState { hard_state, last },
            meta: SnapshotMeta { apply, ..meta },
            stage,
            leader: message.from.id,
            phase: Phase::Draining,
        }));
        self.life = Lifecycle::Installing;
        self.leave_for_install(effects);
    }

    fn brings_on(&self, message: &PeerMessage, meta: &SnapshotMeta) -> bool {
        let at = LogPosition { index: message.message.index, term: message.message.log_term };
        let is_for_this = message.to.id == self.peer && meta.region.id == self.region.id;
        let is_idle = self.embryo.install.is_none() && self.embryo.awaited.is_none();
        let (new, old) = (meta.region.epoch, self.region.epoch);
        let is_newer = new.version >= old.version && new.conf_ver >= old.conf_ver;
        // What this peer has owned is given up with what it is given: it may not be given anything else.
        let fits = match self.life {
            Lifecycle::Active => self.region.range.covers(&meta.region.range),
            Lifecycle::Uninitialised => true,
            Lifecycle::Installing | Lifecycle::Quarantined | Lifecycle::Leaving => false,
        };
        let is_member = meta.region.peer(self.peer).is_some_and(|it| it.store == self.config.store);
        is_for_this
            && is_idle
            && is_newer
            && fits
            && is_member
            && at == meta.apply.applied
            && self.group.check_snapshot(&message.message).is_ok()
    }

    /// Whoever waits here is told: nothing of what they wait for is seen here.
    fn leave_for_install(&mut self, effects: &mut Effects<T>) {
        self.fail_reads(effects);
        let region = self.region.id;
        for ticket in self.reads.take_granted() {
            effects.refuse(ticket, RequestError::NotInitialised(region));
        }
        let waiting = self.writes.take_waiting().into_iter();
        let refused = waiting.map(|ticket| (ticket, Reply::Failed(self.not_leader())));
        effects.replies.extend(refused.collect::<Vec<_>>());
        let proposed = self.writes.drain().into_iter();
        effects.replies.extend(proposed.map(|ticket| (ticket, Reply::Unknown)));
    }

    /// The next step of an install, where nothing has to be waited for.
    pub(crate) fn go_on_installing(&mut self, now: Moment, effects: &mut Effects<T>) {
        let is_drained = self.group.outstanding() == 0 && self.apply.open_tasks == 0;
        let Some(install) = &mut self.embryo.install else { return };
        match install.phase {
            Phase::Draining if is_drained && install.had_data => {
                // A split may have taken keys since the snapshot came, and members may have changed. A snapshot of
                // what comes behind knows that.
                let (new, own) = (&install.meta.region, &self.region);
                let is_newer = new.epoch.version >= own.epoch.version
                    && new.epoch.conf_ver >= own.epoch.conf_ver;
                if own.range.covers(&new.range) && is_newer {
                    install.clean = own.range.clone();
                    self.begin_install(now, effects);
                } else {
                    self.give_up_install(effects);
                }
            }
            Phase::Draining if is_drained => self.begin_install(now, effects),
            Phase::Due => {
                install.phase = Phase::Replacing;
                let (region, peer, stage) = (self.region.id, self.peer, install.stage);
                let is_careless = self.config.seeded.has(Bug::INSTALL_WITHOUT_CLEANING);
                let clean =
                    if is_careless { KeyRange::new("~", "~") } else { install.clean.clone() };
                let replace = InstallEffect::Replace { region, peer, clean, stage };
                effects.snapshots.push(SnapshotEffect::Install(replace));
            }
            Phase::Draining | Phase::Begun | Phase::Replacing | Phase::Ended => {}
        }
    }

    /// Whether nothing of an install is written: the peer can still become what it was.
    pub(crate) fn may_give_up_install(&self) -> bool {
        self.embryo.install.as_ref().is_none_or(|install| install.phase == Phase::Draining)
    }

    /// Takes part again, as if nothing had come; where nothing has come, nothing changes.
    pub(crate) fn give_up_install(&mut self, effects: &mut Effects<T>) {
        assert!(self.may_give_up_install(), "{self:?}: what was is gone");
        let Some(install) = self.embryo.install.take() else { return };
        let Installing { stage, had_data, .. } = *install;
        self.life = if had_data { Lifecycle::Active } else { Lifecycle::Uninitialised };
        let (region, peer) = (self.region.id, self.peer);
        let refused = InstallEffect::Refused { region, peer, stage };
        effects.snapshots.push(SnapshotEffect::Install(refused));
    }

    fn begin_install(&mut self, now: Moment, effects: &mut Effects<T>) {
        let Some(install) = &mut self.embryo.install else { return };
        install.phase = Phase::Begun;
        let Some(Installing { meta, stage, clean, raft, .. }) = self.embryo.install.as_deref()
        else {
            return;
        };
        assert!(raft.last.index > self.apply.applied, "{self:?}: a snapshot of the past");
        assert!(clean.covers(&meta.region.range), "{self:?}: data of keys that others own");
        let id = self.region.id;
        let region = meta.region.clone();
        let applying = Applying { peer: self.peer, region, clean: clean.clone(), stage: *stage };
        let (first, last) = (self.group.truncated().index.next(), self.group.written_last().index);
        let mut batch = vec![
            put_region_state(id, &RegionState::Applying(applying)),
            disk::put_raft_state(id, raft),
            disk::put_apply_state(id, &meta.apply),
            put_removed(id, &meta.removed),
        ];
        if !self.has_bug(Bug::STALE_LOG_AFTER_INSTALL) {
            disk::delete_entries(id, first, last, &mut batch);
        }
        let (region, apply, raft) = (meta.region.clone(), meta.apply, *raft);
        self.members.removals = Removals::new(meta.removed.clone());
        self.begin_group(Start { region, ..self.start_at(raft, apply) }, now);
        self.write_install(batch, BEGUN, effects);
    }

    fn write_install(&self, batch: Vec<Mutation>, number: ReadyNumber, effects: &mut Effects<T>) {
        let (region, peer) = (self.region.id, self.peer);
        effects.log.extend(batch);
        effects.log.after.push(AfterPersist { region, peer, number, messages: Vec::new() });
    }

    /// A batch is durable. Returns whether it was one of an install.
    pub(crate) fn on_install_persisted(
        &mut self,
        now: Moment,
        number: ReadyNumber,
        effects: &mut Effects<T>,
    ) -> bool {
        let Some(install) = &mut self.embryo.install else { return false };
        match (install.phase, number) {
            (Phase::Begun, BEGUN) => {
                install.phase = Phase::Due;
                if self.has_bug(Bug::ANSWER_BEFORE_INSTALL) {
                    self.acknowledge_too_early(effects);
                }
                true
            }
            (Phase::Ended, ENDED) => {
                self.finish_install(now, effects);
                true
            }
            // What was promised before.
            _ => false,
        }
    }

    pub(crate) fn handle_installed(&mut self, stage: StageNumber, effects: &mut Effects<T>) {
        let Some(install) = &mut self.embryo.install else { return };
        if install.phase != Phase::Replacing || install.stage != stage {
            return;
        }
        install.phase = Phase::Ended;
        let region = install.meta.region.clone();
        let mut batch = vec![put_region_state(region.id, &RegionState::Normal(self.peer, region))];
        if std::mem::take(&mut self.embryo.is_marked) {
            batch.push(delete_peer_mark(self.region.id));
        }
        self.write_install(batch, ENDED, effects);
    }

    /// Both the old data and the new are gone: another peer has to take this one's place.
    pub(crate) fn handle_stage_lost(&mut self, stage: StageNumber, effects: &mut Effects<T>) {
        let Some(install) = self.embryo.install.take_if(|install| install.stage == stage) else {
            return;
        };
        self.life = Lifecycle::Quarantined;
        // What is left of either is cleaned where this peer ends.
        self.region = Region { range: install.clean, ..install.meta.region };
        let state = RegionState::Quarantined(self.peer);
        effects.log.extend([put_region_state(self.region.id, &state)]);
        let damage = Damage::Short { committed: install.raft.last.index, last: Index(0) };
        effects.reports.push(Report::Quarantined { region: self.region.id, damage });
    }

    fn finish_install(&mut self, now: Moment, effects: &mut Effects<T>) {
        let Some(install) = self.embryo.install.take() else { return };
        let Installing { meta, stage, raft, leader, .. } = *install;
        let SnapshotMeta { region, apply, removed: _ } = meta;
        let peer = self.peer;
        self.life = Lifecycle::Active;
        self.region = region.clone();
        // Once more: its gate is closed from now on.
        self.begin_group(Start { region: region.clone(), ..self.start_at(raft, apply) }, now);
        if !leader.is_none() {
            self.group.acknowledge_to(leader);
        }
        let done = InstallEffect::Done { region: region.clone(), peer, stage };
        effects.snapshots.push(SnapshotEffect::Install(done));
        effects.births.push(Report::Initialised { region, peer, apply });
    }

    /// A group of what was installed. What is written and what the group says agree at any time.
    fn begin_group(&mut self, start: Start, now: Moment) {
        self.group = new_group(&self.config, &start, now)
            .expect("a region that was checked, and promises that a group kept, are sound");
        self.told.hard_state = start.raft.hard_state;
        self.apply.begin_at(start.apply.applied.index);
    }

    fn start_at(&self, raft: RaftState, apply: ApplyState) -> Start {
        let (region, peer, life) = (self.region.clone(), self.peer, self.life);
        Start { region, peer, raft, apply, life, origin: Origin::Restarted }
    }

    /// What [`Bug::ANSWER_BEFORE_INSTALL`] does.
    fn acknowledge_too_early(&self, effects: &mut Effects<T>) {
        let Some(Installing { raft, leader, .. }) = self.embryo.install.as_deref() else { return };
        let HardState { term, commit, .. } = raft.hard_state;
        let kind = MessageKind::AppendResponse;
        let answer = Message::new(kind, self.peer, *leader, term);
        let answer = Message { index: commit, commit, ..answer };
        effects.send_now.extend(self.address(answer));
    }
}
