//! Faults that wait for their moment: what a store does calls for them. Faults at random moments would need
//! years to meet two or three such moments in a row.

use flotilla_base::{Rng, Span, StoreId};

use crate::fault::{Order, Strike};

/// What is waited for, and what happens then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ambush {
    /// Figure 8 of the paper on raft: two leaders in a row are cut off before their first message leaves,
    /// the third one when it hands its first entries to the appliers.
    Usurp,
    /// A leader that hands over is cut off while its successor may still be told.
    HandOver,
}

/// Waits for its moments in a cluster of three stores.
#[derive(Debug)]
pub struct Ambusher {
    ambush: Option<Ambush>,
    rng: Rng,
    leaders: u64,
    /// Whose first entries are waited for.
    awaited: Option<StoreId>,
}

const fn millis(count: u64) -> Span {
    Span::from_millis(count)
}

impl Ambusher {
    /// Waits for the moments of `ambush`.
    #[must_use]
    pub const fn new(ambush: Option<Ambush>, rng: Rng) -> Self {
        Self { ambush, rng, leaders: 0, awaited: None }
    }

    /// The first region has another leader, of which no message has left yet.
    pub fn on_leader(&mut self, leader: StoreId) -> Option<Strike> {
        if self.ambush != Some(Ambush::Usurp) {
            return None;
        }
        self.leaders += 1;
        let (after, length) = match self.leaders % 4 {
            // Long enough to be deposed, and to come back before the second one does.
            1 => (Span::ZERO, (2_000, 2_500)),
            2 => (Span::ZERO, (3_500, 4_500)),
            3 => {
                self.awaited = Some(leader);
                return None;
            }
            // The next round begins.
            _ => (millis(1_000), (1_000, 2_000)),
        };
        Some(self.isolation(leader, after, length))
    }

    /// A store hands entries of the first region to their applier.
    pub fn on_apply(&mut self, store: StoreId) -> Option<Strike> {
        let is_awaited = self.awaited.take_if(|awaited| *awaited == store).is_some();
        is_awaited.then(|| self.isolation(store, Span::ZERO, (2_000, 3_000)))
    }

    /// A leader is told to hand over.
    pub fn on_transfer(&mut self, leader: StoreId) -> Option<Strike> {
        let after = millis(200) + Span(self.rng.below(millis(1_800).0));
        let is_laid = self.ambush == Some(Ambush::HandOver);
        is_laid.then(|| self.isolation(leader, after, (700, 1_400)))
    }

    /// `victim` hears nobody and is heard by nobody, for so many milliseconds.
    fn isolation(&mut self, victim: StoreId, after: Span, length: (u64, u64)) -> Strike {
        let (shortest, longest) = (millis(length.0), millis(length.1));
        let others = (1..=3).map(StoreId).filter(|store| *store != victim);
        let order = Order::Cut(others.flat_map(|it| [(victim, it), (it, victim)]).collect());
        Strike { after, order, length: shortest + Span(self.rng.below(longest.0 - shortest.0)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: StoreId = StoreId(1);
    const OTHER: StoreId = StoreId(2);

    fn ambusher(ambush: Option<Ambush>) -> Ambusher {
        Ambusher::new(ambush, Rng::new(1))
    }

    fn is_cut_at_once(strike: Option<Strike>) -> bool {
        matches!(strike, Some(Strike { after: Span::ZERO, order: Order::Cut(links), .. }) if links.len() == 4)
    }

    #[test]
    fn two_leaders_are_cut_off_at_once_and_the_third_one_when_it_applies() {
        let mut ambusher = ambusher(Some(Ambush::Usurp));
        for _ in 0..3 {
            assert!(is_cut_at_once(ambusher.on_leader(ONE)));
            assert!(is_cut_at_once(ambusher.on_leader(OTHER)));
            assert_eq!(ambusher.on_apply(ONE), None, "too early");
            assert_eq!(ambusher.on_leader(ONE), None);
            assert_eq!(ambusher.on_apply(OTHER), None, "not this one");
            assert!(is_cut_at_once(ambusher.on_apply(ONE)));
            assert_eq!(ambusher.on_apply(ONE), None, "once");
            assert!(ambusher.on_leader(OTHER).is_some());
        }
    }

    #[test]
    fn nothing_waits_where_nothing_is_laid() {
        let mut ambusher = ambusher(None);
        assert_eq!(ambusher.on_leader(ONE), None);
        assert_eq!((ambusher.on_apply(ONE), ambusher.on_transfer(ONE)), (None, None));
    }

    #[test]
    fn a_leader_that_hands_over_is_cut_off_a_while_later() {
        let mut ambusher = ambusher(Some(Ambush::HandOver));
        let strike = ambusher.on_transfer(ONE).expect("it is laid");
        assert!(strike.after >= millis(200) && strike.after < millis(2_000));
        assert_eq!(ambusher.on_leader(ONE), None);
    }
}
