//! Which leads a store hands over whose disk fills up, and when it tries again with those that stay or come back.
//!
//! Whether another store has more room is not known here: a lead goes to the voter that answers and holds the most. Where
//! none has any, leads go round, ever more seldom.
//!
//! **Knows nothing of** replicas, of what a hand-over is, and of whether it came about.

use std::{
    collections::{HashMap, hash_map::Entry},
    time::Duration,
};

use flotilla_base::{PeerId, RegionId};
use tokio::time::Instant;

use super::Room;

/// Leads that are handed over at one look: each costs an election without a wait, and a moment for its writes.
const AT_ONCE: usize = 64;
/// A lead that is still here, or here again, is handed over again after this; then after twice as long, and so on.
const PAUSE: Duration = Duration::from_secs(10);
/// The pause never grows beyond this.
const PAUSE_MAX: Duration = Duration::from_secs(320);

/// The leads that were to go since the disk began to fill up.
#[derive(Debug, Default)]
pub(super) struct HandOver {
    told: HashMap<(RegionId, PeerId), Told>,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    again_at: Instant,
    pause: Duration,
}

impl HandOver {
    /// What is to be handed over at `now`, of the `leads` that can be.
    pub(super) fn due(
        &mut self,
        room: Room,
        now: Instant,
        leads: impl FnOnce() -> Vec<(RegionId, PeerId)>,
    ) -> Vec<(RegionId, PeerId)> {
        if room == Room::Enough {
            self.told.clear();
            return Vec::new();
        }
        leads().into_iter().filter(|lead| self.tell(*lead, now)).take(AT_ONCE).collect()
    }

    /// Whether it is time for this one.
    fn tell(&mut self, lead: (RegionId, PeerId), now: Instant) -> bool {
        match self.told.entry(lead) {
            Entry::Vacant(new) => {
                new.insert(Told { again_at: now + PAUSE, pause: PAUSE });
                true
            }
            Entry::Occupied(mut told) if told.get().again_at <= now => {
                let pause = PAUSE_MAX.min(2 * told.get().pause);
                told.insert(Told { again_at: now + pause, pause });
                true
            }
            Entry::Occupied(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(count: u64) -> Vec<(RegionId, PeerId)> {
        (1..=count).map(|id| (RegionId(id), PeerId(10 * id))).collect()
    }

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_lead_that_comes_later_goes_too() {
        let (mut hand_over, start) = (HandOver::default(), Instant::now());
        assert_eq!(hand_over.due(Room::Enough, start, || leads(3)), []);
        assert_eq!(hand_over.due(Room::Scarce, start, || leads(2)), leads(2));
        assert_eq!(hand_over.due(Room::Scarce, at(start, 1), || leads(3)), leads(3)[2..]);
        assert_eq!(hand_over.due(Room::None, at(start, 2), || leads(3)), []);
        // As soon as there is room nothing is remembered.
        assert_eq!(hand_over.due(Room::Enough, at(start, 3), || leads(3)), []);
        assert_eq!(hand_over.due(Room::None, at(start, 4), || leads(3)), leads(3));
    }

    #[test]
    fn what_stays_is_tried_again_and_ever_more_seldom() {
        let (mut hand_over, start) = (HandOver::default(), Instant::now());
        let tried = (0..2_000).filter(|second| {
            !hand_over.due(Room::None, at(start, *second), || leads(1)).is_empty()
        });
        let tried: Vec<u64> = tried.collect();
        assert_eq!(tried, [0, 10, 30, 70, 150, 310, 630, 950, 1_270, 1_590, 1_910]);
    }

    #[test]
    fn leads_go_in_bunches() {
        let (mut hand_over, start) = (HandOver::default(), Instant::now());
        let mut gone = Vec::new();
        for _look in 0..4 {
            let due = hand_over.due(Room::Scarce, start, || leads(150));
            assert!(due.len() <= AT_ONCE);
            gone.extend(due);
        }
        assert_eq!(gone, leads(150));
    }
}
