//! Slows clients down before the disk has to: looks at database and volume now and then, and lets writes in by that.
//!
//! [`verdict`] decides; a task of the store looks ([`watch`]) and hands leads over ([`hand_over`]); the service asks before
//! a write is proposed ([`Brake::pass`]), and so does whoever brings entries of other stores ([`Brake::room`]): these are
//! refused where there is no room, and not paced.

mod hand_over;
mod verdict;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use flotilla_base::ByteSize;
use flotilla_engine::Engine;
use flotilla_multiraft::Input;
use flotilla_telemetry::off_thread;
use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::{metrics::Volume, pd_link::PdLink, router::Router};

use hand_over::HandOver;
pub(crate) use verdict::Room;
use verdict::{Judge, Pressure, Verdict};

/// Time from one look to the next: files come to level 0 and leave it in seconds.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// What stands in the way of writes. Shared by all who write.
#[derive(Debug, Default)]
pub(crate) struct Brake {
    state: Mutex<State>,
    /// Bytes that were let in since the last look.
    written: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    verdict: Verdict,
    /// Where there is a pace: when the next write may pass.
    next: Option<Instant>,
}

/// What a client wants to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) bytes: usize,
    /// It brings values; otherwise it removes some.
    pub(crate) adds: bool,
}

/// Why a write does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Braked {
    /// The disk has so little room.
    NoRoom(Room),
    /// It would have to wait for too long; after so long it might pass.
    TooSlow(Duration),
}

impl Brake {
    /// How much room the disk has.
    pub(crate) fn room(&self) -> Room {
        self.state.lock().verdict.room
    }

    /// Bytes a second that are let in; `None` for all.
    pub(crate) fn pace(&self) -> Option<u64> {
        self.state.lock().verdict.pace
    }

    /// Waits until `write` may be proposed, in the order of arrival.
    ///
    /// # Errors
    /// The disk has no room for it, or it would not pass before `deadline`; nothing is waited for.
    pub(crate) async fn pass(&self, write: Write, deadline: Instant) -> Result<(), Braked> {
        if let Some(turn) = self.turn(write, Instant::now(), deadline)? {
            sleep_until(turn).await;
        }
        Ok(())
    }

    fn turn(
        &self,
        write: Write,
        now: Instant,
        deadline: Instant,
    ) -> Result<Option<Instant>, Braked> {
        let bytes = write.bytes as u64;
        let mut state = self.state.lock();
        match state.verdict.room {
            Room::Enough => {}
            Room::Scarce if !write.adds => {}
            room => return Err(Braked::NoRoom(room)),
        }
        let turn = match state.verdict.pace {
            None => None,
            Some(pace) => {
                let turn = state.next.map_or(now, |next| next.max(now));
                if turn > deadline {
                    return Err(Braked::TooSlow(turn - now));
                }
                let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(pace.max(1));
                let length = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
                state.next = Some(turn + length);
                Some(turn)
            }
        };
        drop(state);
        self.written.fetch_add(bytes, Ordering::Relaxed);
        Ok(turn.filter(|turn| *turn > now))
    }

    /// The disk has so much room.
    #[cfg(test)]
    pub(crate) fn set_room(&self, room: Room) {
        self.set(Verdict { room, pace: None });
    }

    /// From now on this holds. Returns the verdict before.
    fn set(&self, verdict: Verdict) -> Verdict {
        let mut state = self.state.lock();
        if verdict.pace.is_none() {
            state.next = None;
        }
        std::mem::replace(&mut state.verdict, verdict)
    }
}

/// What is looked at.
pub(crate) struct Watch {
    pub(crate) brake: Arc<Brake>,
    pub(crate) engine: Engine,
    pub(crate) data_dir: PathBuf,
    /// Below it the store has no room.
    pub(crate) free_min: ByteSize,
    pub(crate) router: Router,
    pub(crate) link: Arc<PdLink>,
}

/// Looks and judges, for ever.
pub(crate) async fn watch(watch: Watch) {
    let mut judge = Judge::new(watch.free_min);
    let mut ticks = interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    let mut hand_over = HandOver::default();
    loop {
        let now = ticks.tick().await;
        let Some(pressure) = watch.look().await else { return };
        let span_millis = u64::try_from((now - last).as_millis()).unwrap_or(u64::MAX).max(1);
        let written = watch.brake.written.swap(0, Ordering::Relaxed);
        last = now;
        let verdict = judge.judge(pressure, written.saturating_mul(1000) / span_millis);
        let before = watch.brake.set(verdict);
        watch.tell(before, verdict, pressure);
        for (region, peer) in hand_over.due(verdict.room, now, || watch.link.transferable()) {
            watch.router.notify(region, peer, Input::Transfer(None));
        }
    }
}

impl Watch {
    /// Asking the system may take as long as the disk does. `None` where the store stops.
    async fn look(&self) -> Option<Pressure> {
        let (engine, data_dir) = (self.engine.clone(), self.data_dir.clone());
        off_thread(move || {
            let debt = engine.compaction_debt();
            let Volume { capacity, available } = Volume::of(&data_dir);
            Pressure {
                level0_files: debt.level0_files_max,
                debt_bytes: debt.bytes,
                available: (capacity > ByteSize(0)).then_some(available),
            }
        })
        .await
    }

    fn tell(&self, before: Verdict, now: Verdict, pressure: Pressure) {
        if before.room != now.room {
            tracing::warn!(room = ?now.room, available = ?pressure.available, "room on the disk");
        }
        if before.pace.is_some() != now.pace.is_some() {
            let is_slow = now.pace.is_some();
            let (files, bytes) = (pressure.level0_files, pressure.debt_bytes);
            tracing::warn!(is_slow, files, bytes, "writes are slowed down by what compactions owe");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_pass_at_the_pace_that_is_set() {
        let brake = Brake::default();
        let start = Instant::now();
        let late = start + Duration::from_secs(1);
        let turn = |bytes| {
            let turn = brake.turn(Write { bytes, adds: true }, start, late);
            turn.map(|turn| turn.map_or(Duration::ZERO, |it| it - start))
        };
        assert_eq!(turn(1 << 30), Ok(Duration::ZERO), "nothing slows it down");
        brake.set(Verdict { pace: Some(1 << 20), ..Verdict::default() });
        let turns: Vec<_> = (0..4).map(|_| turn(256 << 10).expect("in time")).collect();
        assert_eq!(turns, [0, 250, 500, 750].map(Duration::from_millis));
        assert_eq!(turn(5 << 20), Ok(Duration::from_secs(1)), "it may begin");
        assert_eq!(turn(1), Err(Braked::TooSlow(Duration::from_secs(6))));
        assert_eq!(brake.written.load(Ordering::Relaxed), (1 << 30) + (6 << 20));
        brake.set(Verdict::default());
        assert_eq!(turn(1 << 30), Ok(Duration::ZERO), "nothing slows it down");
    }

    #[test]
    fn what_is_refused_for_lack_of_room_takes_no_turn() {
        let brake = Brake::default();
        let start = Instant::now();
        let verdict = |room| Verdict { room, pace: Some(1 << 20) };
        let turn = |adds| brake.turn(Write { bytes: 1 << 20, adds }, start, start);
        brake.set(verdict(Room::Scarce));
        assert_eq!(turn(true), Err(Braked::NoRoom(Room::Scarce)));
        assert_eq!(turn(false), Ok(None), "a deletion makes room");
        brake.set(verdict(Room::None));
        assert_eq!([true, false].map(turn), [Err(Braked::NoRoom(Room::None)); 2]);
    }
}
