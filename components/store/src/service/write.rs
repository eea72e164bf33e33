//! Writes: checked, admitted, replicated.

use bytes::Bytes;
use flotilla_base::{
    Family, Key, KeyRange, Mutation,
    limit::{KEY_BYTES_MAX, VALUE_BYTES_MAX},
};
use flotilla_multiraft::{Guard, Reply, RequestError, WriteCommand};
use tokio::time::{Instant, timeout_at};

use super::{
    Regions,
    admission::PATIENCE,
    context::{Rejection, Target},
    error,
    raw::RawService,
    read::internal,
    rpc_metrics::Proposed,
};
use crate::{
    brake::{self, Braked, Room},
    router::WriteOutcome,
    split::load::{flow::Access, meter::Loads},
};

const IN_FLIGHT: &str = "too many writes are in flight";

/// Refuses a key that is longer than keys may be.
pub(super) fn check_key(key: &[u8]) -> Result<(), Rejection> {
    check_length("key", key, KEY_BYTES_MAX)
}

/// Refuses a value that is longer than values may be.
pub(super) fn check_value(value: &[u8]) -> Result<(), Rejection> {
    check_length("value", value, VALUE_BYTES_MAX)
}

fn check_length(what: &str, bytes: &[u8], limit: usize) -> Result<(), Rejection> {
    if bytes.len() <= limit {
        return Ok(());
    }
    let text = format!(
        "{what} of {} bytes exceeds the limit of {limit} bytes; nothing was written",
        bytes.len()
    );
    Err(Rejection::Refused(text))
}

/// A compare-and-swap as the client asked for it.
pub(super) struct Swap {
    pub(super) key: Key,
    /// What the client wants to find; `None` for no value.
    pub(super) expected: Option<Bytes>,
    /// What is stored then; `None` removes the key.
    pub(super) stored: Option<Bytes>,
}

/// What became of one.
pub(super) struct Swapped {
    pub(super) is_done: bool,
    /// The value before.
    pub(super) found: Option<Bytes>,
}

/// Why a write was not acknowledged.
enum Unwritten {
    /// Its guard failed: it has no effect.
    Guarded,
    /// It certainly has no effect.
    Refused(Rejection),
    /// It may have one.
    Unknown(&'static str),
}

impl Unwritten {
    fn into_rejection(self) -> Rejection {
        match self {
            Self::Guarded => internal("a write without a guard was guarded"),
            Self::Refused(rejection) => rejection,
            Self::Unknown(why) => Rejection::region(error::undetermined(why)),
        }
    }
}

impl<R: Regions> RawService<R> {
    /// Replicates `mutations` all or none, and returns when they are applied.
    pub(super) async fn write(
        &self,
        target: &Target,
        mutations: Vec<Mutation>,
    ) -> Result<(), Rejection> {
        if mutations.is_empty() {
            return Ok(());
        }
        let command = self.command(target, None, mutations);
        self.replicate(target, command).await.map_err(Unwritten::into_rejection)
    }

    /// Compares and swaps. The value is read here and compared as it is stored: its bytes guard the write, and
    /// where another write came in between, this one has no effect and it all begins again. So somebody gets on
    /// whenever this does not.
    pub(super) async fn swap(&self, target: &Target, swap: Swap) -> Result<Swapped, Rejection> {
        loop {
            let (stored, value) = self.get_stored(target, swap.key.clone()).await?;
            let found = value.map(|value| value.bytes);
            if found != swap.expected {
                return Ok(Swapped { is_done: false, found });
            }
            let guard = Guard { family: Family::Raw, key: swap.key.clone(), stored };
            let change = match &swap.stored {
                Some(stored) => Mutation::Put(Family::Raw, swap.key.clone(), stored.clone()),
                None => Mutation::Delete(Family::Raw, swap.key.clone()),
            };
            let command = self.command(target, Some(guard), vec![change]);
            match self.replicate(target, command).await {
                Ok(()) => return Ok(Swapped { is_done: true, found }),
                Err(Unwritten::Guarded) => {}
                Err(unwritten) => return Err(unwritten.into_rejection()),
            }
            if Instant::now() >= target.deadline {
                return Err(Rejection::deadline());
            }
        }
    }

    fn command(
        &self,
        target: &Target,
        guard: Option<Guard>,
        mutations: Vec<Mutation>,
    ) -> WriteCommand {
        let clock_millis = (self.source().clock_millis)();
        WriteCommand { version: target.header.version, clock_millis, guard, mutations }
    }

    /// Makes this store's clock everybody's, who lead the region later or read from it: an entry without effect
    /// carries it.
    pub(super) async fn advance_clock(
        &self,
        target: &Target,
        clock_millis: u64,
    ) -> Result<(), Rejection> {
        // Values end at whole seconds.
        if self.source().regions.applied_clock_millis(target.region) / 1000 >= clock_millis / 1000 {
            return Ok(());
        }
        let (version, mutations) = (target.header.version, Vec::new());
        let command = WriteCommand { version, clock_millis, guard: None, mutations };
        self.replicate(target, command).await.map_err(|unwritten| match unwritten {
            Unwritten::Unknown(why) => Rejection::region(error::server_is_busy(why)),
            other => other.into_rejection(),
        })
    }

    /// Returns when `command` is applied here.
    async fn replicate(&self, target: &Target, command: WriteCommand) -> Result<(), Unwritten> {
        let source = self.source();
        let bytes = command.size_bytes();
        let wait_until = target.deadline.min(Instant::now() + PATIENCE);
        self.brake(&command, wait_until).await?;
        let admitted = self.parts.admission.admit(bytes, wait_until).await;
        let _admitted = admitted.map_err(|_full| refused_in_time(target, IN_FLIGHT))?;
        loop {
            let replicate = source.regions.write(target.region, target.header, command.clone());
            let outcome = timeout_at(target.deadline, replicate).await;
            let refusal = match outcome {
                Ok(WriteOutcome::Done(Reply::Written)) => {
                    source.metrics.proposed(Proposed::Applied);
                    count_load(&source.loads, target, &command);
                    return Ok(());
                }
                Ok(WriteOutcome::Done(Reply::GuardFailed)) => {
                    source.metrics.proposed(Proposed::Applied);
                    return Err(Unwritten::Guarded);
                }
                Ok(WriteOutcome::Done(Reply::Failed(refusal))) => refusal,
                Ok(
                    WriteOutcome::Done(
                        Reply::ReadAt(_) | Reply::Split(_) | Reply::Changed(_) | Reply::Unknown,
                    )
                    | WriteOutcome::Unknown,
                ) => {
                    source.metrics.proposed(Proposed::Unknown);
                    return Err(Unwritten::Unknown("the store stops"));
                }
                Err(_elapsed) => {
                    source.metrics.proposed(Proposed::Unknown);
                    return Err(Unwritten::Unknown("it was not committed before its deadline"));
                }
            };
            let busy = match refusal {
                RequestError::Busy(_) => Some(IN_FLIGHT),
                RequestError::ApplyBehind(_) => Some("too many writes wait to be applied"),
                _ => None,
            };
            let is_busy = busy.is_some();
            source.metrics.proposed(if is_busy { Proposed::Busy } else { Proposed::Refused });
            let Some(reason) = busy else {
                return Err(Unwritten::Refused(self.refusal(refusal, target)));
            };
            // Nothing was proposed: it may be tried again as soon as others are out of the way.
            let room = self.parts.admission.some_room(wait_until).await;
            room.map_err(|_full| refused_in_time(target, reason))?;
        }
    }

    /// Waits where writes are slowed down, and refuses what the disk has no room for. Deletions make room.
    async fn brake(&self, command: &WriteCommand, wait_until: Instant) -> Result<(), Unwritten> {
        if command.mutations.is_empty() {
            return Ok(());
        }
        let source = self.source();
        let adds = command.mutations.iter().any(|change| matches!(change, Mutation::Put(..)));
        let write = brake::Write { bytes: command.size_bytes(), adds };
        let refusal = match source.brake.pass(write, wait_until).await {
            Ok(()) => return Ok(()),
            Err(Braked::TooSlow(wait)) => {
                error::server_is_busy_for("compactions are behind, writes are slowed down", wait)
            }
            Err(Braked::NoRoom(room)) => {
                source.metrics.proposed(Proposed::Refused);
                let is_for_deletions = room < Room::None;
                let reason = if is_for_deletions {
                    "there is room for deletions only"
                } else {
                    "there is no room for anything"
                };
                error::disk_full(source.identity.store, reason)
            }
        };
        Err(Unwritten::Refused(Rejection::region(refusal)))
    }

    /// The range of a deletion with the bounds that its region gives it. No stored key lies behind the
    /// end of a region without one, so a key that is longer than all of them bounds it.
    pub(super) fn deletion_range(
        &self,
        target: &Target,
        start: Key,
        end: Key,
    ) -> Result<KeyRange, Rejection> {
        let region = self.region(target)?;
        if !region.range.contains_or_ends_at(&start) {
            return Err(self.outside(&region, start));
        }
        if !end.is_empty() {
            return Ok(KeyRange { start, end });
        }
        let is_bounded = !region.range.end.is_empty();
        let above_all = || vec![0xff; KEY_BYTES_MAX + 1].into();
        let end = if is_bounded { region.range.end } else { above_all() };
        Ok(KeyRange { start, end })
    }
}

fn first_key(change: &Mutation) -> &[u8] {
    match change {
        Mutation::Put(_, key, _) | Mutation::Delete(_, key) => key,
        Mutation::DeleteRange(_, range) => &range.start,
    }
}

/// What was written counts as what its region is asked for.
fn count_load(loads: &Loads, target: &Target, command: &WriteCommand) {
    let (load, bytes) = ((target.shape(), Access::Write), command.size_bytes());
    match command.mutations.as_slice() {
        // Of clocks: no client asked for it.
        [] => {}
        [Mutation::DeleteRange(_, range)] => loads.passed(load, (bytes, 1), || range.clone()),
        keys => loads.touched(load, bytes, keys.iter().map(first_key)),
    }
}

/// Nothing was proposed: for lack of time if the client gave little, otherwise for lack of room.
fn refused_in_time(target: &Target, reason: &str) -> Unwritten {
    Unwritten::Refused(if Instant::now() >= target.deadline {
        Rejection::deadline()
    } else {
        Rejection::region(error::server_is_busy_for(reason, error::BACKOFF))
    })
}
