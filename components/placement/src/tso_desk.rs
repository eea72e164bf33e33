//! Where timestamps are taken and released: the reign's allocator, and the lease that is asked last.
//!
//! A timestamp is *taken* first and *released* after that, in two steps between which a thread may stand
//! still. Only a lease that holds at the release proves that nobody else led when it was taken; and only
//! for the reign from which it was taken: a member that led again meanwhile has another lease, which says
//! nothing about the end of the earlier reign.

use flotilla_base::Moment;

use crate::tso::{Timestamp, TsoError, TsoReign};

/// What changes at the desk.
#[derive(Debug)]
pub enum TsoChange {
    /// A reign begins. It hands out nothing before its first window and a lease.
    Open(TsoReign),
    /// A window was applied in the reign's own term.
    Extend {
        /// First physical time, in milliseconds, that may not be handed out.
        end_ms: u64,
    },
    /// Until when the member may say that it leads; `None` where it may not.
    Lease(Option<Moment>),
    /// The reign ends.
    Close,
}

/// A timestamp that nobody has been told yet.
#[derive(Debug)]
#[must_use]
pub struct Taken {
    timestamp: Timestamp,
    reign: u64,
}

/// Timestamps of one member.
#[derive(Debug, Default)]
pub struct TsoDesk {
    reign: Option<TsoReign>,
    /// Reigns that have begun here.
    reigns: u64,
    lease_end: Option<Moment>,
}

impl TsoDesk {
    /// Carries out a change.
    pub fn change(&mut self, change: TsoChange) {
        match change {
            TsoChange::Open(reign) => {
                self.reigns += 1;
                self.reign = Some(reign);
            }
            TsoChange::Extend { end_ms } => {
                if let Some(reign) = self.reign.as_mut() {
                    reign.extend(end_ms);
                }
            }
            TsoChange::Lease(end) => self.lease_end = end,
            TsoChange::Close => {
                self.lease_end = None;
                self.reign = None;
            }
        }
    }

    /// Whether the member may say at `now` that it leads. The clock must have been read after the
    /// question came.
    #[must_use]
    pub fn leads(&self, now: Moment) -> bool {
        self.lease_end.is_some_and(|end| now < end)
    }

    /// The end of the window to ask for now, in milliseconds; `None` while enough of it is left, and where
    /// there is no reign.
    #[must_use]
    pub fn window_wanted(&self, unix_ms: u64) -> Option<u64> {
        self.reign.as_ref().and_then(|reign| reign.window_wanted(unix_ms))
    }

    /// Takes `count` timestamps. A failed call takes none.
    ///
    /// # Errors
    /// [`TsoError`].
    pub fn take(&mut self, count: u32, unix_ms: u64) -> Result<Taken, TsoError> {
        let reign = self.reign.as_mut().ok_or(TsoError::NoReign)?;
        let timestamp = reign.alloc(count, unix_ms)?;
        Ok(Taken { timestamp, reign: self.reigns })
    }

    /// The timestamps, if they may be told to whoever asked. `now` must have been read after they were
    /// taken: whoever leads next hands out larger ones, and only after this lease has ended.
    #[must_use]
    pub fn release(&self, taken: Taken, now: Moment) -> Option<Timestamp> {
        let is_of_this_reign = self.reign.is_some() && taken.reign == self.reigns;
        (is_of_this_reign && self.leads(now)).then_some(taken.timestamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened() -> TsoDesk {
        let mut desk = TsoDesk::default();
        desk.change(TsoChange::Open(TsoReign::new(0, 1000)));
        desk.change(TsoChange::Extend { end_ms: 4000 });
        desk.change(TsoChange::Lease(Some(Moment(100))));
        desk
    }

    #[test]
    fn a_timestamp_leaves_under_the_lease_only() {
        let mut desk = opened();
        let first = desk.take(1, 1000).expect("within the window");
        let second = desk.take(1, 1000).expect("within the window");
        assert!(desk.release(first, Moment(99)).is_some());
        assert_eq!(desk.release(second, Moment(100)), None, "the lease has ended");
        let third = desk.take(1, 1000).expect("within the window");
        desk.change(TsoChange::Lease(None));
        assert_eq!(desk.release(third, Moment(50)), None, "the lease is withdrawn");
    }

    #[test]
    fn no_reign_no_timestamp() {
        let mut desk = TsoDesk::default();
        assert_eq!(desk.take(1, 1000).err(), Some(TsoError::NoReign));
        assert_eq!(desk.window_wanted(1000), None);
        let mut desk = opened();
        let taken = desk.take(1, 1000).expect("within the window");
        desk.change(TsoChange::Close);
        assert!(!desk.leads(Moment(1)));
        assert_eq!(desk.release(taken, Moment(1)), None);
    }

    /// Between the two reigns another member may have led, and may have handed out larger ones.
    #[test]
    fn a_later_reign_does_not_vouch_for_an_earlier_one() {
        let mut desk = opened();
        let taken = desk.take(1, 1000).expect("within the window");
        desk.change(TsoChange::Close);
        desk.change(TsoChange::Open(TsoReign::new(9000, 1000)));
        desk.change(TsoChange::Extend { end_ms: 12_000 });
        desk.change(TsoChange::Lease(Some(Moment(1000))));
        assert_eq!(desk.release(taken, Moment(500)), None);
        let later = desk.take(1, 1000).expect("within the window");
        assert!(desk.release(later, Moment(500)).is_some());
    }
}
