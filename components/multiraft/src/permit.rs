//! Reads on any thread, without the replica: what a leader lets others see of its lease, and how they use it.
//!
//! A read in place is, in this order:
//! 1. the delegate: is there a permit, and is it for this request ([`LocalRead::begin`]);
//! 2. the published commit index: has apply reached it ([`LocalRead::begin`]). Whatever the leader let a
//!    follower read is at or below it, so leader and followers never show a client an older state after a
//!    newer one;
//! 3. a view of the data;
//! 4. the clock: does the lease still hold ([`LocalRead::finish`]);
//! 5. the delegate again: is it of the same generation ([`LocalRead::finish`]).
//!
//! The clock comes after the view: a thread that stands still in between finds the lease run out. The
//! generation comes last: a lease that was withdrawn, though its time is not over, was withdrawn before
//! anybody could act on it (rule F1 of [`crate::round`]), so what this view shows was the newest then.
//!
//! What is not served in place goes to the replica, which answers with a round of heartbeats or with the
//! reason why it cannot.

use flotilla_base::{Bug, Index, Moment, PeerId, Term, Version};

use crate::effects::Effects;
use crate::input::RequestHeader;
use crate::replica::{Lifecycle, Replica};

/// What a leader lets others read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    /// The leader.
    pub peer: PeerId,
    /// The term of its lead.
    pub term: Term,
    /// Version of the region's range.
    pub version: Version,
    /// Data must be applied up to there: everything that anybody was told of is.
    pub commit: Index,
    /// By this store's clock, the lease ends there.
    pub until: Moment,
}

/// What readers see of a replica: plain data that a host shares with all threads. It is replaced as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delegate {
    /// Grows whenever a permit is withdrawn.
    pub generation: u64,
    /// What may be read now.
    pub permit: Option<Permit>,
}

/// Why a read is not served in place. Nothing is wrong with it: the replica answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotInPlace {
    /// The peer here has no lease, or does not lead.
    #[error("there is no permit")]
    NoPermit,
    /// The request means another peer or another shape of the region, or knows only much older terms.
    #[error("the permit is not for this request")]
    OtherRequest,
    /// The data here is not new enough yet.
    #[error("apply has not reached the published commit index")]
    NotApplied,
    /// The lease ran out before the view of the data was taken, or while it was.
    #[error("the lease has run out")]
    RanOut,
    /// The permit was withdrawn meanwhile.
    #[error("the permit was withdrawn")]
    Withdrawn,
}

/// A read in place that has passed the first two steps; the view of the data is to be taken next.
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing may be served before `finish`"]
pub struct LocalRead {
    generation: u64,
}

impl LocalRead {
    /// Steps 1 and 2; `applied` was published by the applier after its batch could be read, and is read
    /// after `delegate`.
    ///
    /// # Errors
    /// [`NotInPlace`].
    pub fn begin(
        delegate: &Delegate,
        header: &RequestHeader,
        applied: Index,
    ) -> Result<Self, NotInPlace> {
        let permit = delegate.permit.ok_or(NotInPlace::NoPermit)?;
        if !permit.is_for(header) {
            return Err(NotInPlace::OtherRequest);
        }
        if applied < permit.commit {
            return Err(NotInPlace::NotApplied);
        }
        Ok(Self { generation: delegate.generation })
    }

    /// Steps 4 and 5: the clock was read after the view of the data was taken, and `delegate` after the
    /// clock. What the view shows may be served then, and not before.
    ///
    /// # Errors
    /// [`NotInPlace`]; the view must not be used.
    pub fn finish(self, now: Moment, delegate: &Delegate) -> Result<(), NotInPlace> {
        if delegate.generation != self.generation {
            return Err(NotInPlace::Withdrawn);
        }
        // A lease of the same generation that was renewed meanwhile proves as much as the first one.
        let permit = delegate.permit.ok_or(NotInPlace::Withdrawn)?;
        if now < permit.until { Ok(()) } else { Err(NotInPlace::RanOut) }
    }
}

impl Permit {
    fn is_for(&self, header: &RequestHeader) -> bool {
        let is_peer = header.peer.is_none() || header.peer == self.peer;
        let is_recent = header.term.is_none() || self.term <= header.term.next();
        is_peer && is_recent && header.version == self.version
    }

    /// The lead is the same one; commit index and end of the lease only grow within it.
    fn continues(&self, earlier: &Self) -> bool {
        let lead = |it: &Self| (it.peer, it.term, it.version);
        lead(self) == lead(earlier) && self.commit >= earlier.commit && self.until >= earlier.until
    }
}

impl Delegate {
    /// What follows when `permit` is what may be read from now on.
    fn next(&self, permit: Option<Permit>) -> Self {
        let is_withdrawn = self
            .permit
            .is_some_and(|earlier| !permit.is_some_and(|permit| permit.continues(&earlier)));
        assert!(self.generation < u64::MAX, "generations never come again");
        Self { generation: self.generation + u64::from(is_withdrawn), permit }
    }
}

impl<T> Replica<T> {
    /// Tells readers what they may do from now on, where that has changed.
    pub(crate) fn publish_permit(&mut self, effects: &mut Effects<T>) {
        let permit = self.permit();
        if permit != self.told.delegate.permit {
            self.told.delegate = self.told.delegate.next(permit);
            effects.permits.push((self.region.id, self.peer, self.told.delegate));
        }
    }

    fn permit(&self) -> Option<Permit> {
        let lease = self.group.lease().filter(|_| self.life() == Lifecycle::Active)?;
        if self.is_splitting() && !self.has_bug(Bug::PERMIT_DURING_SPLIT) {
            // As soon as it is applied anywhere, another group may serve a part of the range.
            return None;
        }
        Some(Permit {
            peer: self.peer,
            term: lease.term,
            version: self.region.epoch.version,
            commit: self.group.committed(),
            until: lease.until,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERMIT: Permit = Permit {
        peer: PeerId(21),
        term: Term(6),
        version: Version(1),
        commit: Index(7),
        until: Moment(600),
    };

    fn delegate() -> Delegate {
        Delegate { generation: 3, permit: Some(PERMIT) }
    }

    fn header() -> RequestHeader {
        RequestHeader { version: Version(1), ..RequestHeader::default() }
    }

    #[test]
    fn a_read_needs_a_permit_for_it_and_data_up_to_the_published_index() {
        let begin = |delegate: &Delegate, header: RequestHeader, applied| {
            LocalRead::begin(delegate, &header, Index(applied)).map(|_| ())
        };
        assert_eq!(begin(&delegate(), header(), 7), Ok(()));
        assert_eq!(begin(&delegate(), header(), 6), Err(NotInPlace::NotApplied));
        assert_eq!(begin(&Delegate::default(), header(), 7), Err(NotInPlace::NoPermit));
        let (peer, term, version) = (PeerId(21), Term(5), Version(1));
        assert_eq!(begin(&delegate(), RequestHeader { peer, version, term }, 7), Ok(()));
        for other in [
            RequestHeader { peer: PeerId(22), ..header() },
            RequestHeader { version: Version(2), ..header() },
            RequestHeader { term: Term(4), ..header() },
        ] {
            assert_eq!(begin(&delegate(), other, 7), Err(NotInPlace::OtherRequest), "{other:?}");
        }
    }

    #[test]
    fn a_read_ends_within_the_lease_and_the_generation() {
        let read = LocalRead::begin(&delegate(), &header(), Index(7)).expect("a good permit");
        assert_eq!(read.finish(Moment(599), &delegate()), Ok(()));
        assert_eq!(read.finish(Moment(600), &delegate()), Err(NotInPlace::RanOut));
        let renewed = delegate().next(Some(Permit { until: Moment(700), ..PERMIT }));
        assert_eq!(read.finish(Moment(600), &renewed), Ok(()));
        let withdrawn = delegate().next(None);
        assert_eq!(read.finish(Moment(599), &withdrawn), Err(NotInPlace::Withdrawn));
        let again = withdrawn.next(Some(PERMIT));
        assert_eq!(read.finish(Moment(599), &again), Err(NotInPlace::Withdrawn));
    }

    #[test]
    fn whatever_is_not_the_same_lead_is_another_generation() {
        let generation = |permit| delegate().next(permit).generation;
        let grown = Permit { commit: Index(8), until: Moment(700), ..PERMIT };
        assert_eq!(generation(Some(grown)), 3);
        for other in [
            Permit { term: Term(7), ..PERMIT },
            Permit { version: Version(2), ..PERMIT },
            Permit { peer: PeerId(22), ..PERMIT },
            Permit { until: Moment(599), ..PERMIT },
        ] {
            assert_eq!(generation(Some(other)), 4, "{other:?}");
        }
        assert_eq!(generation(None), 4);
    }
}
