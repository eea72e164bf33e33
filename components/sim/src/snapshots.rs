//! How snapshots are sent and installed: views that are open, streams in parts, stages that are put in place.

use std::collections::BTreeMap;

use bytes::Bytes;
use flotilla_base::{
    Bug, Family, Key, KeyRange, KvRead, PeerId, RegionId, Rng, ScanDirection, Span, StoreId,
};
use flotilla_multiraft::{
    Cleaning, Cleanup, Input, InstallEffect, PeerMessage, SnapshotEffect, SnapshotInput,
    SnapshotMeta, StageNumber,
};
use flotilla_raftgroup::{LogBound, LogLimits, SnapshotNumber};

use crate::hands::{Bench, Out};
use crate::judge::{Place, Verdict};
use crate::marks;
use crate::stages::Pair;

/// How much of a log is kept, and how snapshots travel.
#[derive(Clone, Debug)]
pub struct SnapshotPlan {
    /// Views that a store has open at once.
    pub views_max: usize,
    /// Snapshots that a store receives at once.
    pub streams_max: usize,
    /// Parts of a snapshot.
    pub parts: u64,
    /// A part takes up to this much longer than a message.
    pub part_spread: Span,
    /// A view is given up when it was open for so long.
    pub view_max: Span,
    /// Each step of putting a stage in place takes up to so long.
    pub install_spread: Span,
    /// Snapshots that arrive damaged, in thousandths.
    pub damage_permille: u64,
    /// Each step of deleting what destroyed peers left begins up to so much later.
    pub clean_spread: Span,
}

impl SnapshotPlan {
    /// Nothing takes time or breaks.
    #[must_use]
    pub const fn calm() -> Self {
        Self {
            views_max: 8,
            streams_max: 8,
            parts: 2,
            part_spread: Span::ZERO,
            view_max: Span::from_millis(60_000),
            install_spread: Span::ZERO,
            damage_permille: 0,
            clean_spread: Span::ZERO,
        }
    }

    /// The plan of a seed.
    #[must_use]
    pub fn swarm(seed: u64) -> Self {
        let mut rng = Rng::lane(seed, 12);
        let mut pick = |choices: [u64; 3]| choices[to_usize(rng.below(3))];
        Self {
            views_max: to_usize(pick([1, 2, 8])),
            streams_max: to_usize(pick([1, 2, 8])),
            parts: pick([1, 2, 6]),
            part_spread: Span::from_millis(pick([0, 5, 300])),
            view_max: Span::from_millis(pick([1_000, 5_000, 20_000])),
            install_spread: Span::from_millis(pick([0, 5, 300])),
            damage_permille: pick([0, 0, 200]),
            clean_spread: Span::from_millis(pick([0, 300, 3_000])),
        }
    }

    /// How much of a log the stores of a seed keep: mostly so little that whoever is away for a moment needs a
    /// snapshot.
    #[must_use]
    pub fn swarm_log(seed: u64) -> LogLimits {
        let mut rng = Rng::lane(seed, 13);
        let mut pick = |choices: [u64; 4]| choices[to_usize(rng.below(4))];
        let silent =
            LogBound { entries: pick([0, 3, 20, 4_096]), bytes: pick([1, 20, 20, 20]) << 20 };
        // A judge knows who is slow by entries alone.
        let slow = LogBound { entries: pick([5, 30, 30, 65_536]), bytes: u64::MAX };
        LogLimits {
            silent: LogBound { entries: silent.entries.min(slow.entries), ..silent },
            slow,
            silent_after_gates: pick([1, 1, 3, 10]),
            install_gates: pick([2, 10, 20, 75]),
            worth_entries: pick([1, 2, 16, 256]),
            ..LogLimits::default()
        }
    }
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

/// Names an attempt of a peer to send a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ViewKey {
    /// The region.
    pub region: RegionId,
    /// Who sends.
    pub peer: PeerId,
    /// Which attempt.
    pub number: SnapshotNumber,
}

/// A view of a store's data.
#[derive(Clone, Debug)]
pub struct View {
    /// What stands in it.
    pub meta: SnapshotMeta,
    /// The data of the region.
    pub data: Vec<Pair>,
}

/// A stage that is being put in place.
#[derive(Clone, Debug)]
pub struct Replacing {
    /// Whose data.
    pub peer: PeerId,
    /// What is deleted.
    pub clean: KeyRange,
    /// What is written.
    pub stage: StageNumber,
    /// Steps that are done.
    pub steps: u64,
}

/// A stage that is being filled.
#[derive(Clone, Copy, Debug)]
pub struct Incoming {
    /// Where to.
    pub stage: StageNumber,
    /// Which part comes next.
    pub due: u64,
}

/// What becomes of a claim.
#[derive(Clone, Debug)]
pub enum ClaimEnd {
    /// The region has the data now.
    Installed(flotilla_base::Region, PeerId),
    /// It is as it was.
    Released(RegionId, PeerId),
}

/// What a store has in the works of snapshots.
#[derive(Debug, Default)]
pub struct SnapshotWorks {
    /// Open views.
    pub views: BTreeMap<ViewKey, View>,
    /// So many at once.
    pub views_max: usize,
    /// What arrives, by stream.
    pub incoming: BTreeMap<u64, Incoming>,
    /// What is put in place.
    pub replacing: BTreeMap<RegionId, Replacing>,
    /// Not yet in the table.
    pub claims: Vec<ClaimEnd>,
    /// Keys to be cleaned that are claimed for a peer without data: looked at again when a claim ends.
    pub postponed: Vec<Cleanup>,
    /// Keys that are set aside, and about to be deleted.
    pub cleaning: Vec<Cleaning>,
}

impl Bench<'_> {
    /// Does something about a snapshot.
    pub(crate) fn snapshot(&mut self, effect: SnapshotEffect) -> Verdict {
        match effect {
            SnapshotEffect::Take { region, peer, number, to } => {
                self.take_view(ViewKey { region, peer, number }, to.store)
            }
            SnapshotEffect::Send { number, message } => {
                let key = ViewKey { region: message.region, peer: message.from.id, number };
                self.send_view(key, message)
            }
            SnapshotEffect::Cancel { region, peer, number } => {
                let key = ViewKey { region, peer, number };
                if self.works.snapshots.views.remove(&key).is_none() {
                    // It has ended meanwhile, and the replica will hear of that.
                    return Ok(());
                }
                self.judges.lookout.reach(marks::SNAPSHOT_CANCELLED);
                self.judges.records.views.on_over(self.store, key)
            }
            SnapshotEffect::Install(effect) => {
                self.install(effect);
                Ok(())
            }
        }
    }

    fn take_view(&mut self, key: ViewKey, to: StoreId) -> Verdict {
        let ViewKey { region, peer, number } = key;
        self.judges.lookout.reach(marks::FOLLOWER_BEHIND);
        self.judges.records.views.on_wish(self.store, key)?;
        let has_room = self.works.snapshots.views.len() < self.works.snapshots.views_max;
        let view = self.view_of(region).filter(|_| has_room);
        let Some(view) = view else {
            let input = SnapshotInput::Refused(number);
            self.works.inputs.push((region, peer, Input::Snapshot(Box::new(input))));
            return self.judges.records.views.on_over(self.store, key);
        };
        let (place, at) = (Place(self.store, region), view.meta.apply.applied.index);
        self.judges.records.retention.on_snapshot(place, to, at);
        let input = SnapshotInput::Taken(number, Box::new(view.meta.clone()));
        self.works.inputs.push((region, peer, Input::Snapshot(Box::new(input))));
        self.works.snapshots.views.insert(key, view);
        self.out.push(Out::View(key));
        Ok(())
    }

    fn view_of(&self, region: RegionId) -> Option<View> {
        let image = self.disk.image();
        let mut meta = SnapshotMeta::read(image.as_ref(), region).ok().flatten()?;
        if self.works.seeded.has(Bug::SNAPSHOT_BEFORE_APPLY_FLUSH) {
            meta.apply = *self.works.appliers.get(&region)?.state();
            let tasks = self.works.tasks.iter().filter(|task| task.region == region);
            let last = tasks.filter_map(|task| task.entries.last()).next_back();
            meta.apply.applied = last.map_or(meta.apply.applied, |(entry, _)| entry.position());
        }
        let data = self.data_of(&meta.region.range);
        Some(View { meta, data })
    }

    fn data_of(&self, range: &KeyRange) -> Vec<Pair> {
        let mut data = Vec::new();
        let image = self.disk.image();
        let scanned = image.scan(Family::Raw, range, ScanDirection::Forward, &mut |key, value| {
            data.push((Key::copy_from_slice(key), Bytes::copy_from_slice(value)));
            true
        });
        debug_assert!(scanned.is_ok(), "memory can be read");
        data
    }

    fn send_view(&mut self, key: ViewKey, message: Box<PeerMessage>) -> Verdict {
        let Some(mut view) = self.works.snapshots.views.get(&key).cloned() else {
            // It was open for too long, and the replica will hear of that.
            return Ok(());
        };
        if self.works.seeded.has(Bug::VIEW_NOT_AT_META_INDEX) {
            view.data = self.data_of(&view.meta.region.range);
        }
        let verdict = self.judge_message(&message);
        self.out.push(Out::Stream(key, message, Box::new(view)));
        verdict.and(self.judges.records.views.on_send(self.store, key))
    }

    fn install(&mut self, effect: InstallEffect) {
        match effect {
            InstallEffect::Replace { region, peer, clean, stage } => {
                let replacing = Replacing { peer, clean, stage, steps: 0 };
                self.works.snapshots.replacing.insert(region, replacing);
                self.works.appliers.remove(&region);
                self.out.push(Out::Replace(region));
            }
            InstallEffect::Refused { region, peer, stage } => {
                self.disk.stages.remove(stage);
                self.works.snapshots.claims.push(ClaimEnd::Released(region, peer));
            }
            InstallEffect::Done { region, peer, stage } => {
                self.disk.stages.remove(stage);
                self.judges.lookout.reach(marks::SNAPSHOT_INSTALLED);
                self.works.snapshots.claims.push(ClaimEnd::Installed(region, peer));
            }
        }
    }
}
