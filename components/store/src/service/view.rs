//! How a read comes to a view of the data that holds everything which was acknowledged before it.
//!
//! 1. **In place**: the leader's permit allows it, nobody is asked. The view is taken and the permit is looked at
//!    again on the thread that reads ([`Reader::confirm`]).
//! 2. **Behind a barrier**: the leader answers from its lease, or with a round of heartbeats.
//! 3. **At a replica**: the peer here asks its leader.
//!
//! No way leads through the disk before the read has a thread of the pool: the threads that carry requests also
//! receive raft messages.
//!
//! The end of a value is a matter of clocks, which differ. By the clock that entries carry, a value is gone for
//! every store; by the clock of this store alone it is not. So a leader that finds a value gone by its own clock
//! alone first gives that clock to an entry, and a replica sends its client to the leader: no later read, under
//! whatever clock, finds the value again.

use std::{
    cell::{Cell, OnceCell},
    sync::Arc,
};

use flotilla_multiraft::{NotInPlace, Reply, RequestError};
use tokio::time::{Instant, timeout_at};

use super::{
    Regions,
    admission::PATIENCE,
    context::{Rejection, Target},
    error,
    raw::{RawService, Source},
    read::internal,
    read_pool::{NotRead, Patience},
    rpc_metrics::Way,
};
use crate::value;

/// What a read needs on the thread that does it.
pub(super) struct Reader<'a, R: Regions> {
    pub(super) source: &'a Source<R>,
    pub(super) target: Target,
    /// Until the view is taken.
    begun: Cell<Option<Begun<R::InPlace>>>,
    now: OnceCell<Now>,
    /// Something was left out that is gone by this store's clock alone.
    has_judged_alone: Cell<bool>,
}

/// How a read came to take its view.
pub(super) enum Begun<P> {
    /// A permit allows it.
    InPlace(P),
    /// A barrier was passed.
    Behind(Barrier),
}

/// A barrier that was passed.
#[derive(Clone, Copy)]
pub(super) struct Barrier {
    /// [`Regions::last_install`] from before it was asked for.
    installs: u64,
}

/// The time by which values end, read once for each read, after it began.
#[derive(Clone, Copy)]
struct Now {
    /// The largest clock that an applied entry carried.
    applied_seconds: u64,
    /// This store's own.
    own_millis: u64,
}

/// Why a read has no result on its thread.
pub(super) enum Stop {
    /// The view may not be used: another one is needed.
    NotInPlace(NotInPlace),
    /// That is the answer.
    Rejected(Rejection),
}

impl From<Rejection> for Stop {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl From<NotRead> for Rejection {
    fn from(not_read: NotRead) -> Self {
        match not_read {
            NotRead::Full => Self::region(error::server_is_busy_for(
                "too many reads are waiting",
                error::BACKOFF,
            )),
            NotRead::Late => Self::deadline(),
            NotRead::Panicked => internal("the read failed inside; see the store's log"),
        }
    }
}

/// What was read, and by which clock it was left out what is gone by this store's clock alone.
struct Seen<T> {
    value: T,
    alone_millis: Option<u64>,
}

impl<R: Regions> RawService<R> {
    /// Runs `read` on the pool, again with another view where the first one may not be used.
    pub(super) async fn read<T, F>(&self, target: &Target, read: F) -> Result<T, Rejection>
    where
        T: Send + 'static,
        F: Fn(&Reader<'_, R>, &Patience<'_>) -> Result<T, Stop> + Clone + Send + 'static,
    {
        self.parts.answers.wait(target.deadline).await?;
        if let Some(seen) = self.read_in_place(target, &read).await? {
            return self.settle(target, seen).await;
        }
        if target.is_for_any_replica {
            let barrier = self.replica_barrier(target).await?;
            let seen = self.read_behind(target, barrier, &read, Way::Replica).await?;
            if seen.alone_millis.is_none() {
                return Ok(seen.value);
            }
            // Only a leader's clock can become everybody's: where this peer does not lead, the client is told
            // who does.
        }
        let barrier = self.barrier(target).await?;
        let seen = self.read_behind(target, barrier, &read, Way::Barrier).await?;
        self.settle(target, seen).await
    }

    async fn read_in_place<T, F>(
        &self,
        target: &Target,
        read: &F,
    ) -> Result<Option<Seen<T>>, Rejection>
    where
        T: Send + 'static,
        F: Fn(&Reader<'_, R>, &Patience<'_>) -> Result<T, Stop> + Clone + Send + 'static,
    {
        let metrics = &self.source().metrics;
        let done = match self.source().regions.begin_in_place(target.region, &target.header) {
            Ok(begun) => self.on_pool(target, Begun::InPlace(begun), read.clone()).await?,
            Err(why) => Err(why),
        };
        match done {
            Ok(seen) => {
                metrics.read(Way::InPlace);
                Ok(Some(seen))
            }
            Err(why) => {
                // A follower has no permit; that is no news where any replica may serve.
                if !target.is_for_any_replica {
                    metrics.not_in_place(why);
                }
                Ok(None)
            }
        }
    }

    async fn read_behind<T, F>(
        &self,
        target: &Target,
        barrier: Barrier,
        read: &F,
        way: Way,
    ) -> Result<Seen<T>, Rejection>
    where
        T: Send + 'static,
        F: Fn(&Reader<'_, R>, &Patience<'_>) -> Result<T, Stop> + Clone + Send + 'static,
    {
        let done = self.on_pool(target, Begun::Behind(barrier), read.clone()).await?;
        let seen = done.map_err(|_nothing_had_begun| internal("a barrier was not enough"))?;
        self.source().metrics.read(way);
        Ok(seen)
    }

    /// What was left out stays gone for every later reader.
    async fn settle<T>(&self, target: &Target, seen: Seen<T>) -> Result<T, Rejection> {
        if let Some(clock_millis) = seen.alone_millis {
            self.advance_clock(target, clock_millis).await?;
        }
        Ok(seen.value)
    }

    async fn barrier(&self, target: &Target) -> Result<Barrier, Rejection> {
        let installs = self.source().regions.last_install(target.region);
        let barrier = self.source().regions.read_barrier(target.region, target.header);
        let reply = timeout_at(target.deadline, barrier).await;
        self.is_passed(target, reply.map_err(|_elapsed| Rejection::deadline())?)?;
        Ok(Barrier { installs })
    }

    async fn replica_barrier(&self, target: &Target) -> Result<Barrier, Rejection> {
        let installs = self.source().regions.last_install(target.region);
        let barrier = self.source().regions.replica_barrier(target.region, target.header);
        let reply = timeout_at(target.deadline, barrier).await;
        match reply.map_err(|_elapsed| Rejection::deadline())? {
            Reply::Failed(RequestError::NotLeader { region, leader: None }) => {
                let reason = "no leader is known that could be asked for a read index";
                Err(Rejection::region(error::read_index_not_ready(region, reason)))
            }
            reply => self.is_passed(target, reply).map(|()| Barrier { installs }),
        }
    }

    fn is_passed(&self, target: &Target, reply: Reply) -> Result<(), Rejection> {
        match reply {
            Reply::ReadAt(_) => Ok(()),
            Reply::Failed(refusal) => Err(self.refusal(refusal, target)),
            Reply::Written
            | Reply::Split(_)
            | Reply::Changed(_)
            | Reply::GuardFailed
            | Reply::Unknown => Err(internal("a read was answered as a write")),
        }
    }

    async fn on_pool<T: Send + 'static>(
        &self,
        target: &Target,
        begun: Begun<R::InPlace>,
        read: impl FnOnce(&Reader<'_, R>, &Patience<'_>) -> Result<T, Stop> + Send + 'static,
    ) -> Result<Result<Seen<T>, NotInPlace>, Rejection> {
        let (source, target) = (Arc::clone(self.source()), *target);
        let wait_until = target.deadline.min(Instant::now() + PATIENCE);
        let job = move |patience: &Patience<'_>| {
            let reader = Reader::new(&source, target, begun);
            let value = read(&reader, patience)?;
            Ok(Seen { value, alone_millis: reader.judged_alone() })
        };
        match self.parts.pool.run(wait_until, target.deadline, job).await {
            Ok(Ok(seen)) => Ok(Ok(seen)),
            Ok(Err(Stop::NotInPlace(why))) => Ok(Err(why)),
            Ok(Err(Stop::Rejected(rejection))) => Err(rejection),
            Err(not_read) => Err(not_read.into()),
        }
    }
}

impl<'a, R: Regions> Reader<'a, R> {
    /// A read that has `begun`, and takes one view.
    pub(super) fn new(source: &'a Source<R>, target: Target, begun: Begun<R::InPlace>) -> Self {
        let begun = Cell::new(Some(begun));
        let (now, has_judged_alone) = (OnceCell::new(), Cell::new(false));
        Self { source, target, begun, now, has_judged_alone }
    }

    /// To be called after the view of the data is taken, and before anything of it is used.
    ///
    /// # Errors
    /// [`Stop`]. Behind a barrier, a thread that stood still over a whole install may have taken its view in the middle
    /// of it, and finds the region as it was.
    pub(super) fn confirm(&self) -> Result<(), Stop> {
        let (regions, region) = (&self.source.regions, self.target.region);
        match self.begun.take() {
            Some(Begun::InPlace(begun)) => regions.finish_in_place(begun).map_err(Stop::NotInPlace),
            Some(Begun::Behind(Barrier { installs }))
                if installs != regions.last_install(region) =>
            {
                let refusal = RequestError::NotInitialised(region);
                let refusal = error::region_error(refusal, &self.target.header, regions);
                Err(Rejection::region(refusal).into())
            }
            Some(Begun::Behind(_)) | None => Ok(()),
        }
    }

    /// Whether a value of this expiry is to be left out; zero never is.
    pub(super) fn is_gone(&self, expiry_seconds: u64) -> bool {
        if expiry_seconds == 0 || !value::is_expired(expiry_seconds, self.now_seconds()) {
            return false;
        }
        if !value::is_expired(expiry_seconds, self.now().applied_seconds) {
            self.has_judged_alone.set(true);
        }
        true
    }

    /// Seconds since 1970, rounded down: the time from which life times are counted.
    pub(super) fn now_seconds(&self) -> u64 {
        let now = self.now();
        now.applied_seconds.max(now.own_millis / 1000)
    }

    fn now(&self) -> Now {
        *self.now.get_or_init(|| Now {
            applied_seconds: self.source.regions.applied_clock_millis(self.target.region) / 1000,
            own_millis: (self.source.clock_millis)(),
        })
    }

    /// By which clock of this store alone something was left out, in milliseconds since 1970.
    pub(super) fn judged_alone(&self) -> Option<u64> {
        self.has_judged_alone.get().then(|| self.now().own_millis)
    }
}
