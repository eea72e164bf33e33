//! How large regions probably are: what was measured once, and what was written since.
//!
//! Counting what is applied costs nothing and sees what is not in any table yet, but overwrites and deletions look like
//! growth. So it says only when to measure; a [`Survey`] says what there is.

use std::{collections::HashMap, time::Duration};

use flotilla_base::{ByteSize, RegionId};
use flotilla_multiraft::{Applied, Birth};
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{
    borders::{PARTS_MAX, Survey},
    due::Due,
};

/// When regions are split. All other thresholds, such as when a region is measured, are shares of these two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitLimits {
    /// About so many bytes of keys and values a part has. A region is split once it holds half as much again.
    pub size: ByteSize,
    /// The same in keys.
    pub keys: u64,
}

/// Beyond that, what each key costs outweighs what it holds.
const KEYS_PER_MIB: u64 = 10_000;

impl Default for SplitLimits {
    /// 256 MiB, as the field has it: small enough to be moved in seconds, large enough for a store to hold
    /// terabytes.
    fn default() -> Self {
        Self::of(ByteSize::mib(256))
    }
}

impl SplitLimits {
    /// The smallest size that regions are split at.
    pub const SIZE_MIN: ByteSize = ByteSize::mib(1);
    /// The largest.
    pub const SIZE_MAX: ByteSize = ByteSize::mib(256 << 10);

    /// Regions of about this size, with as many keys for each MiB as regions of the usual size may have.
    #[must_use]
    pub const fn of(size: ByteSize) -> Self {
        Self { size, keys: (size.bytes() >> 10).saturating_mul(KEYS_PER_MIB) >> 10 }
    }

    /// Whether regions can be of this size.
    ///
    /// # Errors
    /// Why they cannot, and what is possible.
    pub fn check_size(size: ByteSize) -> Result<(), String> {
        if size < Self::SIZE_MIN {
            let least = Self::SIZE_MIN;
            return Err(format!(
                "every region costs memory and messages: at least {least}, better 64MiB and more"
            ));
        }
        if size > Self::SIZE_MAX {
            return Err(format!("a region moves as a whole: at most {}", Self::SIZE_MAX));
        }
        Ok(())
    }

    /// Into how many parts a region falls that holds so much; one where it stays whole.
    pub(super) fn parts(&self, survey: &Survey) -> usize {
        let parts = |amount: u64, limit: u64| {
            if is_over(amount, limit) { amount.div_ceil(limit) } else { 1 }
        };
        let parts = parts(survey.bytes, self.size.bytes()).max(parts(survey.keys, self.keys));
        usize::try_from(parts).unwrap_or(usize::MAX).min(PARTS_MAX)
    }

    /// Distance of the marks of a survey: fine enough to cut anywhere.
    pub(super) fn mark_bytes(&self) -> u64 {
        self.size.bytes() / 64
    }
}

const fn is_over(amount: u64, limit: u64) -> bool {
    amount >= limit + limit / 2
}

/// What is known of one region.
#[derive(Clone, Copy, Debug, Default)]
struct Size {
    /// Bytes and keys when it was measured, if it was.
    measured: Option<(u64, u64)>,
    /// Bytes and keys that were written since.
    grown: (u64, u64),
    /// What of it was there when somebody began to look.
    seen: (u64, u64),
    /// Whether no border fits into what was measured: to measure the same once more would find none either.
    is_indivisible: bool,
}

impl Size {
    /// Whether it is worth a look. What was measured is looked at again after a quarter of a part, so that
    /// overwriting costs at most some six times the bytes that are written.
    fn is_due(&self, limits: &SplitLimits) -> bool {
        let is_due = |measured: Option<u64>, grown: u64, limit: u64| match measured {
            None => grown >= limit / 16,
            Some(measured) => is_over(measured + grown, limit) && grown >= limit / 4,
        };
        let (bytes, keys) = (self.measured.map(|it| it.0), self.measured.map(|it| it.1));
        is_due(bytes, self.grown.0, limits.size.bytes()) || is_due(keys, self.grown.1, limits.keys)
    }

    /// Whether what was measured and what was written since are too much, if nothing of it was overwritten.
    const fn is_over(&self, limits: &SplitLimits, (bytes, keys): (u64, u64)) -> bool {
        is_over(bytes.saturating_add(self.grown.0), limits.size.bytes())
            || is_over(keys.saturating_add(self.grown.1), limits.keys)
    }
}

#[derive(Debug, Default)]
struct State {
    regions: HashMap<RegionId, Size>,
    due: Due,
}

/// The sizes of a store's regions.
#[derive(Debug)]
pub(crate) struct Sizes {
    limits: SplitLimits,
    state: Mutex<State>,
    is_due: Notify,
}

impl Sizes {
    pub(crate) fn new(limits: SplitLimits) -> Self {
        Self { limits, state: Mutex::default(), is_due: Notify::new() }
    }

    pub(super) const fn limits(&self) -> &SplitLimits {
        &self.limits
    }

    /// A region that is led here takes about so many bytes on disk. One that is too large without being written to is
    /// looked at as well: another store led it when it grew, or its parent could not be cut into enough parts at once.
    pub(crate) fn on_disk(&self, region: RegionId, bytes: u64) {
        let mut state = self.state.lock();
        let size = state.regions.entry(region).or_default();
        // What was measured counts more: on disk there may be much that is deleted.
        let may_be_over = size.measured.is_none_or(|measured| size.is_over(&self.limits, measured));
        if may_be_over
            && !size.is_indivisible
            && is_over(bytes, self.limits.size.bytes())
            && state.due.add(region, Instant::now())
        {
            drop(state);
            self.is_due.notify_one();
        }
    }

    /// Entries were applied.
    pub(crate) fn applied(&self, region: RegionId, applied: &Applied) {
        let mut state = self.state.lock();
        let size = state.regions.entry(region).or_default();
        size.grown.0 += applied.bytes as u64;
        size.grown.1 += applied.mutations as u64;
        if size.is_due(&self.limits) && state.due.add(region, Instant::now()) {
            drop(state);
            self.is_due.notify_one();
        }
    }

    /// A region became several: each has an equal share until somebody measures it.
    pub(crate) fn divided(&self, parent: RegionId, births: &[Birth]) {
        let mut state = self.state.lock();
        let parts = births.len() as u64 + 1;
        let whole = state.regions.get(&parent).copied().unwrap_or_default();
        let share = |(bytes, keys): (u64, u64)| (bytes / parts, keys / parts);
        let (measured, grown) = (whole.measured.map(share), share(whole.grown));
        let size = Size { measured, grown, ..Size::default() };
        let children = births.iter().map(|birth| birth.region.id);
        let pieces: Vec<RegionId> = children.chain([parent]).collect();
        state.regions.extend(pieces.iter().map(|region| (*region, size)));
        // One split makes so many parts at most: the rest of the work is not left to the next write.
        if size.measured.is_some_and(|measured| size.is_over(&self.limits, measured)) {
            let now = Instant::now();
            for piece in pieces {
                let _was_not_due = state.due.add(piece, now);
            }
            drop(state);
            self.is_due.notify_one();
        }
    }

    /// The next region that is worth a look, as soon as there is one. For one waiter.
    pub(super) async fn next_due(&self) -> RegionId {
        loop {
            if let Some(region) = self.take_due(Instant::now()) {
                return region;
            }
            let notified = self.is_due.notified();
            // A look into the queue behind that: whatever comes in between is heard of.
            let next = self.state.lock().due.next();
            match next {
                Some(next) => {
                    let _somebody_is_due_before = timeout_at(next, notified).await.is_ok();
                }
                None => notified.await,
            }
        }
    }

    fn take_due(&self, now: Instant) -> Option<RegionId> {
        let mut state = self.state.lock();
        let region = state.due.pop(now)?;
        // What is written from now on may be missed by who looks.
        if let Some(size) = state.regions.get_mut(&region) {
            size.seen = size.grown;
        }
        Some(region)
    }

    /// A survey is over. It tells nothing of a region that was forgotten meanwhile: its peer may be destroyed, and nobody would
    /// forget it again.
    pub(super) fn measured(&self, region: RegionId, survey: &Survey) {
        let mut state = self.state.lock();
        let State { regions, due } = &mut *state;
        let Some(size) = regions.get_mut(&region) else {
            due.remove(region);
            return;
        };
        // A split in between has left less.
        let behind =
            (size.grown.0.saturating_sub(size.seen.0), size.grown.1.saturating_sub(size.seen.1));
        let measured = Some((survey.bytes, survey.keys));
        *size = Size { measured, grown: behind, ..Size::default() };
        if !size.is_due(&self.limits) {
            due.remove(region);
        }
    }

    /// No border fits into the region as it was measured. It is looked at again when it has grown.
    pub(super) fn indivisible(&self, region: RegionId) {
        if let Some(size) = self.state.lock().regions.get_mut(&region) {
            size.is_indivisible = true;
        }
    }

    /// Somebody else splits the region, if anybody does, or its data has changed as a whole. Whoever leads it later
    /// measures it first.
    pub(crate) fn forget(&self, region: RegionId) {
        self.state.lock().regions.remove(&region);
    }

    /// The region is to be looked at again after `pause`, and not before, however much is written to it. Others have their
    /// turns meanwhile. For the one who waits for [`Self::next_due`].
    pub(super) fn again(&self, region: RegionId, pause: Duration) {
        self.state.lock().due.put_off(region, Instant::now() + pause);
    }
}

#[cfg(test)]
mod tests {
    use flotilla_base::{Index, Region};
    use flotilla_raftgroup::LogPosition;

    use super::*;

    const REGION: RegionId = RegionId(2);

    fn sizes() -> Sizes {
        Sizes::new(SplitLimits { size: ByteSize::mib(16), keys: 1600 })
    }

    fn apply(sizes: &Sizes, mebibytes: usize, mutations: usize) -> bool {
        let truncated = LogPosition::default();
        let bytes = mebibytes << 20;
        let applied = Applied { index: Index(7), truncated, bytes, mutations, clock_millis: 0 };
        sizes.applied(REGION, &applied);
        sizes.state.lock().due.regions().contains(&REGION)
    }

    fn found(mebibytes: u64, keys: u64) -> Survey {
        Survey { bytes: mebibytes << 20, keys, ..Survey::default() }
    }

    #[tokio::test]
    async fn what_is_unknown_is_measured_soon_and_the_rest_when_it_may_be_too_large() {
        let sizes = sizes();
        assert!(!apply(&sizes, 0, 99));
        assert!(apply(&sizes, 1, 0), "a sixteenth of a part");
        assert_eq!(sizes.next_due().await, REGION);
        sizes.measured(REGION, &found(21, 0));
        assert!(!apply(&sizes, 3, 0), "large enough, and a survey was made a moment ago");
        assert!(apply(&sizes, 1, 0));
        assert_eq!(sizes.next_due().await, REGION);
        sizes.measured(REGION, &found(8, 0));
        assert!(!apply(&sizes, 15, 0));
        assert!(apply(&sizes, 1, 0), "half as much again as a part");
        sizes.measured(REGION, &found(0, 2000));
        assert!(!apply(&sizes, 0, 399));
        assert!(apply(&sizes, 0, 1), "many small keys");
    }

    #[tokio::test]
    async fn what_is_written_during_a_look_counts_behind_it() {
        let sizes = sizes();
        assert!(apply(&sizes, 1, 0));
        assert_eq!(sizes.next_due().await, REGION);
        assert!(apply(&sizes, 5, 0), "unknown still");
        sizes.measured(REGION, &found(2, 0));
        let size = sizes.state.lock().regions[&REGION];
        assert_eq!((size.measured, size.grown.0), (Some((2 << 20, 0)), 5 << 20));
        assert!(due(&sizes).is_empty(), "one look is enough");
    }

    /// Writes go on, and so does whatever makes the looks fail.
    #[tokio::test]
    async fn what_is_put_off_is_not_due_before_by_being_written_to() {
        let sizes = sizes();
        assert!(apply(&sizes, 1, 0));
        assert_eq!(sizes.next_due().await, REGION);
        assert!(apply(&sizes, 1, 0), "during the look");
        sizes.again(REGION, Duration::from_millis(20));
        let begin = Instant::now();
        assert!(apply(&sizes, 1, 0), "it is due, later");
        sizes.on_disk(REGION, 100 << 20);
        assert_eq!(sizes.next_due().await, REGION);
        assert!(begin.elapsed() >= Duration::from_millis(20));
    }

    /// The peer is destroyed while somebody surveys its data; a later peer of the region is measured by itself.
    #[tokio::test]
    async fn a_survey_of_a_destroyed_peer_is_forgotten() {
        let sizes = sizes();
        assert!(apply(&sizes, 1, 0));
        assert_eq!(sizes.next_due().await, REGION);
        sizes.forget(REGION);
        sizes.measured(REGION, &found(100, 0));
        sizes.indivisible(REGION);
        assert!(sizes.state.lock().regions.is_empty() && due(&sizes).is_empty());
        assert!(apply(&sizes, 1, 0), "its successor, of which nothing is known");
        assert_eq!(sizes.next_due().await, REGION);
        sizes.forget(REGION);
        assert!(apply(&sizes, 1, 0));
        sizes.forget(REGION);
        assert_eq!(sizes.next_due().await, REGION, "somebody looks, and finds nobody");
        assert!(sizes.state.lock().regions.is_empty());
    }

    fn due(sizes: &Sizes) -> Vec<u64> {
        sizes.state.lock().due.regions().into_iter().map(RegionId::get).collect()
    }

    fn birth(id: u64) -> Birth {
        Birth {
            region: Region { id: RegionId(id), ..Region::default() },
            peer: flotilla_base::PeerId(1),
            apply: flotilla_raftgroup::ApplyState::starting_at(LogPosition::default()),
            leads: false,
        }
    }

    #[test]
    fn parts_that_are_too_large_still_are_looked_at_without_being_written_to() {
        let sizes = sizes();
        sizes.on_disk(REGION, 0);
        sizes.measured(REGION, &found(47, 0));
        sizes.divided(REGION, &[birth(3)]);
        assert!(due(&sizes).is_empty(), "half as much again as a part, and a little less");
        sizes.measured(REGION, &found(100, 0));
        sizes.divided(REGION, &[birth(4), birth(5)]);
        assert_eq!(due(&sizes), [2, 4, 5]);
    }

    #[test]
    fn a_region_that_grew_elsewhere_is_looked_at_where_it_is_led() {
        let sizes = sizes();
        let on_disk = |region, mebibytes: u64| sizes.on_disk(RegionId(region), mebibytes << 20);
        on_disk(2, 23);
        on_disk(3, 24);
        assert_eq!(due(&sizes), [3]);
        // What is deleted stays on disk for a while.
        sizes.measured(RegionId(3), &found(5, 0));
        on_disk(3, 24);
        assert!(due(&sizes).is_empty());
        sizes.measured(RegionId(3), &found(30, 0));
        on_disk(3, 30);
        assert_eq!(due(&sizes), [3], "it could not be cut then");
    }

    /// A survey reads all of the region.
    #[test]
    fn what_cannot_be_cut_is_not_measured_with_each_report() {
        let sizes = sizes();
        let reported = || {
            sizes.on_disk(REGION, 30 << 20);
            !due(&sizes).is_empty()
        };
        sizes.on_disk(REGION, 0);
        sizes.measured(REGION, &found(30, 0));
        sizes.indivisible(REGION);
        assert!(!reported() && !reported());
        assert!(!apply(&sizes, 3, 0) && apply(&sizes, 1, 0), "it has grown by a quarter of a part");
        sizes.measured(REGION, &found(34, 0));
        assert!(reported(), "other data, and perhaps a border in it");
    }

    #[test]
    fn children_have_their_share() {
        let sizes = sizes();
        sizes.on_disk(REGION, 0);
        sizes.measured(REGION, &found(30, 300));
        assert!(apply(&sizes, 6, 0));
        sizes.divided(REGION, &[birth(3), birth(4)]);
        for region in [2, 3, 4] {
            let size = sizes.state.lock().regions[&RegionId(region)];
            assert_eq!(size.measured, Some((10 << 20, 100)));
            assert_eq!(size.grown, (2 << 20, 0));
        }
    }

    /// What is derived from one size keeps the shares that the usual size has.
    #[test]
    fn all_thresholds_follow_from_one_size() {
        let usual = SplitLimits::default();
        assert_eq!((usual.size, usual.keys), (ByteSize::mib(256), 2_560_000));
        for share in [1, 4, 64, 256] {
            let limits = SplitLimits::of(ByteSize(usual.size.bytes() / share));
            assert_eq!(limits.keys, usual.keys / share);
            assert_eq!(limits.mark_bytes(), usual.mark_bytes() / share);
        }
        let (least, most) = (SplitLimits::SIZE_MIN, SplitLimits::SIZE_MAX);
        // Both are numbers that a file can say.
        assert!(u32::try_from(SplitLimits::of(most).keys).is_ok());
        assert!(SplitLimits::check_size(least).is_ok() && SplitLimits::check_size(most).is_ok());
        for bytes in [0, least.bytes() - 1, most.bytes() + 1, u64::MAX] {
            let why = SplitLimits::check_size(ByteSize(bytes)).expect_err("no size of a region");
            assert!(why.contains("at least 1MiB") || why.contains("at most 256GiB"), "{why}");
        }
    }

    #[test]
    fn parts_are_about_as_large_as_wanted() {
        let limits = *sizes().limits();
        for (mebibytes, keys, parts) in
            [(23, 0, 1), (24, 0, 2), (33, 0, 3), (900, 0, PARTS_MAX), (0, 2399, 1), (0, 4801, 4)]
        {
            assert_eq!(
                limits.parts(&found(mebibytes, keys)),
                parts,
                "{mebibytes} MiB, {keys} keys"
            );
        }
    }
}
