//! Snapshots in scripts: views that are taken, data on its way, and stages that are put in place, each by a command.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use flotilla_base::{Family, Key, KeyRange, KvRead, Mutation, PeerId, RegionId, ScanDirection};
use flotilla_multiraft::{
    Arrival, Input, InstallEffect, LogFetch, PeerMessage, SnapshotEffect, SnapshotInput,
    SnapshotMeta, StageNumber,
};
use flotilla_raftgroup::{LogBound, LogLimits, SnapshotNumber, SnapshotOutcome};
use goldenscript::ArgumentConsumer;

use super::store::Store;
use super::{Outcome, Stores, number, show};

type Pairs = Vec<(Key, Bytes)>;

/// What a store has in the works.
#[derive(Default)]
pub(crate) struct Snapshots {
    wishes: VecDeque<(RegionId, PeerId, SnapshotNumber)>,
    views: BTreeMap<(RegionId, SnapshotNumber), (SnapshotMeta, Pairs)>,
    /// Pieces of the log that somebody is slow to read.
    pub(crate) held_reads: Option<Vec<LogFetch>>,
    outgoing: VecDeque<(SnapshotNumber, PeerMessage)>,
    pub(crate) stages: BTreeMap<StageNumber, Pairs>,
    last_stage: u64,
    replaces: VecDeque<(RegionId, PeerId, KeyRange, StageNumber)>,
}

impl Snapshots {
    /// What a crash leaves: stages are durable when a peer hears of them.
    pub(crate) fn crashed(self) -> Self {
        Self { stages: self.stages, last_stage: self.last_stage, ..Self::default() }
    }

    /// What no peer is being given is needed by nobody.
    pub(crate) fn keep(&mut self, named: &[StageNumber]) {
        self.stages.retain(|stage, _| named.contains(stage));
    }

    /// An input that reaches nobody: its peer is gone, and so is what was staged for it.
    pub(crate) fn forget(&mut self, input: &Input<super::store::Ticket>) {
        if let Input::Snapshot(input) = input
            && let SnapshotInput::Arrived(arrival) = input.as_ref()
        {
            self.stages.remove(&arrival.stage);
        }
    }

    pub(crate) fn is_busy(&self) -> bool {
        !(self.wishes.is_empty() && self.outgoing.is_empty() && self.replaces.is_empty())
    }

    pub(crate) fn order(&mut self, effect: SnapshotEffect) {
        match effect {
            SnapshotEffect::Take { region, peer, number, .. } => {
                self.wishes.push_back((region, peer, number));
            }
            SnapshotEffect::Send { number, message } => self.outgoing.push_back((number, *message)),
            // A slow host: it hears too late that nobody needs them.
            SnapshotEffect::Cancel { .. } if self.held_reads.is_some() => {}
            SnapshotEffect::Cancel { region, peer, number } => {
                self.wishes.retain(|wish| *wish != (region, peer, number));
                self.views.remove(&(region, number));
            }
            SnapshotEffect::Install(InstallEffect::Replace { region, peer, clean, stage }) => {
                self.replaces.push_back((region, peer, clean, stage));
            }
            SnapshotEffect::Install(_) => {}
        }
    }
}

impl Store {
    /// Takes a view for each wish.
    pub(crate) fn take_views(&mut self, lines: &mut Vec<String>) {
        while let Some((region, peer, number)) = self.snapshots.wishes.pop_front() {
            let view = Arc::clone(&self.disk.view);
            let Some(meta) = SnapshotMeta::read(view.as_ref(), region).expect("sound") else {
                lines.push(format!("region {region} has no data"));
                let refused = SnapshotInput::Refused(number);
                self.post_to((region, peer), Input::Snapshot(Box::new(refused)), lines);
                continue;
            };
            let mut pairs = Vec::new();
            let mut visit = |key: &[u8], value: &[u8]| {
                pairs.push((Key::copy_from_slice(key), Bytes::copy_from_slice(value)));
                true
            };
            let range = &meta.region.range;
            view.scan(Family::Raw, range, ScanDirection::Forward, &mut visit).expect("memory");
            let at = meta.apply.applied;
            lines.push(format!("view of region {region} at {}/{}", at.term, at.index));
            let taken = SnapshotInput::Taken(number, Box::new(meta.clone()));
            self.snapshots.views.insert((region, number), (meta, pairs));
            self.post_to((region, peer), Input::Snapshot(Box::new(taken)), lines);
        }
    }

    /// Puts what is staged in place.
    pub(crate) fn replace(&mut self, lines: &mut Vec<String>) {
        while let Some((region, _, clean, stage)) = self.snapshots.replaces.pop_front() {
            let end = if let Some(pairs) = self.snapshots.stages.get(&stage).cloned() {
                let put = |(key, value)| Mutation::Put(Family::Raw, key, value);
                let mut batch = vec![Mutation::DeleteRange(Family::Raw, clean)];
                batch.extend(pairs.into_iter().map(put));
                lines.push(format!("write {}", self.write(batch)));
                SnapshotInput::Installed(stage)
            } else {
                lines.push(format!("stage {} is gone", stage.0));
                SnapshotInput::StageLost(stage)
            };
            self.post(region, Input::Snapshot(Box::new(end)));
        }
    }

    fn stage(&mut self, mut arrival: Arrival, pairs: Pairs, lines: &mut Vec<String>) -> bool {
        self.snapshots.last_stage += 1;
        arrival.stage = StageNumber(self.snapshots.last_stage);
        if let Err(error) = self.table.claim_install(&arrival) {
            lines.push(format!("refused: {error}"));
            return false;
        }
        lines.push(format!("stage {} is whole", arrival.stage.0));
        self.snapshots.stages.insert(arrival.stage, pairs);
        let region = arrival.message.region;
        let arrived = SnapshotInput::Arrived(Box::new(arrival));
        self.post(region, Input::Snapshot(Box::new(arrived)));
        true
    }
}

impl Stores {
    pub(crate) fn snapshot_command(
        &mut self,
        verb: &str,
        args: &mut ArgumentConsumer<'_>,
        lines: &mut Vec<String>,
    ) -> Outcome<()> {
        match verb {
            // keep ENTRIES: stores that are made from now on keep so much of a log, for whomever.
            "keep" => {
                let bound = LogBound { entries: number(args)?, bytes: u64::MAX };
                let (silent, slow, worth_entries) = (bound, bound, 1);
                self.limits.log = LogLimits { silent, slow, worth_entries, ..LogLimits::default() };
            }
            // view STORE: takes the views that its leaders wish for. refuse_view STORE: takes none.
            "view" => self.at(args)?.take_views(lines),
            "refuse_view" => {
                let store = self.at(args)?;
                while let Some((region, peer, number)) = store.snapshots.wishes.pop_front() {
                    let refused = SnapshotInput::Refused(number);
                    store.post_to((region, peer), Input::Snapshot(Box::new(refused)), lines);
                }
            }
            // slow STORE: from now on its log is read by read_log STORE, and nothing of it is cancelled in time.
            "slow" => self.at(args)?.snapshots.held_reads = Some(Vec::new()),
            "read_log" => {
                let store = self.at(args)?;
                for fetch in store.snapshots.held_reads.take().unwrap_or_default() {
                    store.read_log(&fetch, lines);
                }
                store.snapshots.held_reads = Some(Vec::new());
            }
            // stream: snapshots on their way arrive whole, or are refused. break: they are lost.
            "stream" => self.stream(lines)?,
            "break" => self.break_streams(lines),
            // replace STORE: what is staged is put in place. lose_stages STORE: files are gone.
            "replace" => self.at(args)?.replace(lines),
            "lose_stages" => self.at(args)?.snapshots.stages.clear(),
            name => return Err(format!("unknown command {name}").into()),
        }
        Ok(())
    }

    pub(crate) fn stream(&mut self, lines: &mut Vec<String>) -> Outcome<()> {
        for from in 0..self.stores.len() {
            while let Some((number, message)) = self.stores[from].snapshots.outgoing.pop_front() {
                let (region, to) = (message.region, message.to.store.get());
                let sender = message.from.id;
                let view = self.stores[from].snapshots.views.remove(&(region, number));
                let Some((meta, pairs)) = view else { continue };
                lines.push(format!("stream {}", show::message(&message)));
                let now = self.now;
                let receiver = self.store(to)?;
                if receiver.is_down {
                    continue;
                }
                receiver.create(region, message.to.id, now)?;
                let arrival = Arrival { message, meta, stage: StageNumber(0) };
                let is_taken = receiver.stage(arrival, pairs, lines);
                let outcome =
                    if is_taken { SnapshotOutcome::Arrived } else { SnapshotOutcome::Failed };
                let sent = Input::Snapshot(Box::new(SnapshotInput::Sent(number, outcome)));
                self.stores[from].post_to((region, sender), sent, lines);
            }
        }
        Ok(())
    }

    fn break_streams(&mut self, lines: &mut Vec<String>) {
        for store in &mut self.stores {
            while let Some((number, message)) = store.snapshots.outgoing.pop_front() {
                lines.push(format!("broken {}", show::message(&message)));
                store.snapshots.views.remove(&(message.region, number));
                let sent = SnapshotInput::Sent(number, SnapshotOutcome::Failed);
                let sender = (message.region, message.from.id);
                store.post_to(sender, Input::Snapshot(Box::new(sent)), lines);
            }
        }
    }
}
