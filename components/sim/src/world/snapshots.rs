//! Snapshots under way between stores: in parts, each of which may be lost, and the rest with it.

use flotilla_base::{RegionId, Rng, Span, StoreId};
use flotilla_multiraft::{Arrival, PeerMessage, StageNumber};
use flotilla_raftgroup::SnapshotOutcome;

use super::World;
use crate::event::{Event, Run, Task};
use crate::net::Fate;
use crate::node::PartFate;
use crate::snapshots::{SnapshotPlan, View, ViewKey};
use crate::stages::Pair;

/// A snapshot on its way.
#[derive(Debug)]
pub(super) struct Stream {
    from: (StoreId, Run),
    key: ViewKey,
    arrival: Arrival,
    data: Vec<Pair>,
}

impl Stream {
    const fn to(&self) -> StoreId {
        self.arrival.message.to.store
    }
}

/// Draws about snapshots, and what is under way.
#[derive(Debug)]
pub(super) struct Streams {
    rng: Rng,
    last: u64,
    under_way: std::collections::BTreeMap<u64, Stream>,
}

impl Streams {
    pub(super) fn new(seed: u64) -> Self {
        let under_way = std::collections::BTreeMap::new();
        Self { rng: Rng::lane(seed, 14), last: 0, under_way }
    }

    /// Up to so long.
    pub(super) fn delay(&mut self, spread: Span) -> Span {
        Span(self.rng.below(spread.0 + 1))
    }
}

impl World {
    /// A view is open: it is given up in time.
    pub(super) fn view_opened(&mut self, store: StoreId, run: Run, key: ViewKey) {
        let task = Task::SnapshotOver(key, SnapshotOutcome::Failed);
        // One that is too short for every stream proves nothing of a cluster that is whole.
        let usual = SnapshotPlan::calm().view_max;
        let view_max =
            if self.record.is_healed { usual } else { self.plan.disk.snapshots.view_max };
        self.schedule(view_max, Event::Task(store, run, task));
    }

    /// A view begins to be sent.
    pub(super) fn stream(
        &mut self,
        from: (StoreId, Run),
        key: ViewKey,
        message: PeerMessage,
        view: View,
    ) {
        self.chance.streams.last += 1;
        let stream = self.chance.streams.last;
        let View { meta, data } = view;
        let applied = meta.apply.applied.index;
        let arrival = Arrival { message, meta, stage: StageNumber(0) };
        let to = arrival.message.to.store;
        self.trace(|| {
            format!(
                "  stream {stream}: store {} -> {to} region {} at {applied}",
                from.0, key.region
            )
        });
        self.chance.streams.under_way.insert(stream, Stream { from, key, arrival, data });
        self.send_part(stream, 0);
    }

    fn send_part(&mut self, stream: u64, part: u64) {
        let Some(Stream { from, key, arrival, .. }) = self.chance.streams.under_way.get(&stream)
        else {
            return;
        };
        let ((from, run), to) = (*from, arrival.message.to.store);
        let lives = self.store(from).run() == Some(run) && self.store(from).has_view(key);
        match self.net.carry(from, to, self.now) {
            Fate::Arrives(delays) if lives => {
                let spread = self.plan.disk.snapshots.part_spread;
                for delay in delays {
                    let delay = delay + self.chance.streams.delay(spread);
                    self.schedule(delay, Event::Part(to, stream, part));
                }
            }
            fate => self.break_stream(stream, fate == Fate::Lost { is_noticed: true }),
        }
    }

    /// The connection of a stream is gone.
    fn break_stream(&mut self, stream: u64, is_noticed: bool) {
        let Some(Stream { from, key, arrival, .. }) = self.chance.streams.under_way.remove(&stream)
        else {
            return;
        };
        self.trace(|| format!("  stream {stream} is broken"));
        self.schedule(Span::from_millis(20), Event::Broken(arrival.message.to.store, stream));
        if is_noticed {
            let task = Task::SnapshotOver(key, SnapshotOutcome::Failed);
            self.schedule(Span::from_millis(5), Event::Task(from.0, from.1, task));
        }
    }

    /// A part arrives.
    pub(super) fn part(&mut self, store: StoreId, stream: u64, part: u64) {
        let Some(under_way) = self.chance.streams.under_way.remove(&stream) else { return };
        let parts = self.plan.disk.snapshots.parts.max(1);
        let count = under_way.data.len() as u64;
        let place = |part: u64| usize::try_from(part * count / parts).unwrap_or(0);
        let mut fate = PartFate::Refused;
        self.at_store(store, |node, desk| {
            let pairs = &under_way.data[place(part)..place(part + 1)];
            fate = node.take_part(stream, &under_way.arrival, (part, pairs), desk);
            Ok(())
        });
        self.chance.streams.under_way.insert(stream, under_way);
        match fate {
            PartFate::Ignored => {}
            PartFate::Refused => self.end_stream(stream, SnapshotOutcome::Failed),
            PartFate::Taken if part + 1 < parts => self.send_part(stream, part + 1),
            PartFate::Taken => {
                let Some(run) = self.store(store).run() else { return };
                let plan = &self.plan.disk;
                let sync = plan.sync_min + self.chance.streams.delay(plan.sync_spread);
                self.schedule(sync, Event::Task(store, run, Task::Staged(stream)));
            }
        }
    }

    /// All of a snapshot is durable where it was sent.
    pub(super) fn staged(&mut self, store: StoreId, stream: u64) {
        let Some(under_way) = self.chance.streams.under_way.remove(&stream) else { return };
        let permille =
            if self.record.is_healed { 0 } else { self.plan.disk.snapshots.damage_permille };
        let is_damaged = self.chance.streams.rng.chance(permille);
        let mut is_taken = false;
        self.at_store(store, |node, desk| {
            is_taken = node.staged(stream, &under_way.arrival, is_damaged, desk);
            Ok(())
        });
        self.chance.streams.under_way.insert(stream, under_way);
        let outcome = if is_taken { SnapshotOutcome::Arrived } else { SnapshotOutcome::Failed };
        self.end_stream(stream, outcome);
    }

    /// The receiver says how it ended; that may be lost, too.
    fn end_stream(&mut self, stream: u64, outcome: SnapshotOutcome) {
        let Some(under_way) = self.chance.streams.under_way.remove(&stream) else { return };
        let ((from, run), to) = (under_way.from, under_way.to());
        self.trace(|| format!("  stream {stream}: {outcome:?}"));
        if let Fate::Arrives(delays) = self.net.carry(to, from, self.now) {
            let task = Task::SnapshotOver(under_way.key, outcome);
            self.schedule(delays[0], Event::Task(from, run, task));
        }
    }

    /// A store is gone, and with it what it sent and received.
    pub(super) fn break_streams(&mut self, store: StoreId) {
        let streams = self.chance.streams.under_way.iter();
        let ends = |it: &Stream| it.from.0 == store || it.to() == store;
        let broken: Vec<u64> = streams.filter(|(_, it)| ends(it)).map(|(id, _)| *id).collect();
        for stream in broken {
            self.break_stream(stream, false);
        }
    }

    /// A stage is to be put in place, step by step.
    pub(super) fn replace_later(&mut self, store: StoreId, run: Run, region: RegionId) {
        let spread = self.plan.disk.snapshots.install_spread;
        let delay = self.chance.streams.delay(spread);
        self.schedule(delay, Event::Task(store, run, Task::Replace(region)));
    }

    pub(super) fn replace(&mut self, store: StoreId, region: RegionId) {
        let mut has_more = false;
        self.at_store(store, |node, desk| {
            has_more = node.replace(region, desk);
            Ok(())
        });
        if let Some(run) = self.store(store).run()
            && has_more
        {
            self.replace_later(store, run, region);
        }
    }
}
