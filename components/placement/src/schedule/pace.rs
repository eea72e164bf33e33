//! When a scheduler looks: soon while it finds something, ever more seldom while it does not.

use flotilla_base::{Moment, Span};

const SOON: Span = Span::from_millis(100);
const SELDOM: Span = Span::from_millis(5_000);

/// When the next look is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    next: Moment,
    pause: Span,
}

impl Default for Pace {
    fn default() -> Self {
        Self { next: Moment(0), pause: SOON }
    }
}

impl Pace {
    /// When the next look is due.
    pub(crate) const fn next(&self) -> Moment {
        self.next
    }

    /// Something was found.
    pub(crate) fn found(&mut self, now: Moment) {
        self.pause = SOON;
        self.next = now + SOON;
    }

    /// Nothing was found: the pause grows by a third.
    pub(crate) fn idle(&mut self, now: Moment) {
        self.next = now + self.pause;
        self.pause = SELDOM.min(Span(self.pause.0 + self.pause.0 / 3));
    }

    /// Something has changed: there may be something to find.
    pub(crate) fn hurry(&mut self, now: Moment) {
        self.pause = SOON;
        self.next = self.next.min(now + SOON);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_five_seconds_and_end_with_a_change() {
        let mut pace = Pace::default();
        let mut now = Moment(0);
        let mut looks = 0;
        while now < Moment(0) + Span::from_millis(60_000) {
            pace.idle(now);
            assert!(pace.next() > now && pace.next() <= now + SELDOM);
            now = pace.next();
            looks += 1;
        }
        assert!((20..=30).contains(&looks), "{looks}");
        pace.idle(now);
        assert_eq!(pace.next(), now + SELDOM);
        pace.hurry(now);
        assert_eq!(pace.next(), now + SOON);
    }
}
