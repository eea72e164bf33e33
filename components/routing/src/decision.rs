//! The error table: what each failure means for the cache, for the next attempt, and for the
//! question whether a write may have happened. Goldens: `testscripts/decide`.

use flotilla_base::{Peer, Region, Span};

use crate::{
    cache::Route,
    failure::{Cause, Failure, NoRoute, Refusal, Unready},
};

/// The consequences of one failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What the cache has to learn from it.
    pub correction: Correction,
    /// What the call does next.
    pub next: Next,
    /// Whether a write of this attempt may have taken effect. `false` is a promise: a store gives
    /// an error of routing only when the write is certain not to be in the log.
    pub may_have_happened: bool,
}

/// What a failure teaches about the map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Correction {
    /// Nothing.
    Nothing,
    /// This peer leads.
    Leader(Peer),
    /// The peer that was asked does not lead.
    NextPeer,
    /// The store does not answer: ask its other peers first for a while.
    AvoidStore,
    /// The region is out of date and must be asked for again.
    ReloadRegion,
    /// Both the store's address and the region are out of date.
    ReloadStore,
    /// These regions stand where the region stood.
    Replace(Vec<Region>),
}

/// What a call does after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another attempt at once: another peer, or a better map, promises another answer.
    Again(Cause),
    /// Another attempt after a pause that grows from attempt to attempt.
    Pause(Cause),
    /// The same, but the pause is at least as long as the store asked for, within reason.
    PauseFor(Cause, Span),
    /// No further attempt.
    End(Ended),
}

/// Why no further attempt makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The deadline passed.
    Late,
    /// The request is larger than the cluster allows, or its answer than the client takes in.
    TooLarge,
    /// The cluster refuses this request, now and later.
    Rejected,
    /// The store said that the outcome is not known.
    Undetermined,
}

impl Decision {
    const fn not_applied(correction: Correction, next: Next) -> Self {
        Self { correction, next, may_have_happened: false }
    }

    const fn maybe_applied(correction: Correction, next: Next) -> Self {
        Self { correction, next, may_have_happened: true }
    }
}

/// Looks a failure of an attempt along `route` up in the table.
#[must_use]
pub fn decide(failure: &Failure, route: Option<&Route>) -> Decision {
    use Correction as Learn;
    match failure {
        Failure::NoRoute(
            NoRoute::PlacementDriver(_) | NoRoute::NotBootstrapped | NoRoute::Region,
        ) => Decision::not_applied(Learn::Nothing, Next::Pause(Cause::PlacementDriver)),
        // A region may name a store that is gone: only a fresh region helps.
        Failure::NoRoute(NoRoute::Store(_)) => {
            Decision::not_applied(Learn::ReloadRegion, Next::Pause(Cause::PlacementDriver))
        }
        // The leader, which answers without asking anybody, is next.
        Failure::Unsent(_) | Failure::Silent => {
            Decision::not_applied(Learn::AvoidStore, Next::Again(Cause::Unreachable))
        }
        Failure::Lost(_) => Decision::maybe_applied(Learn::NextPeer, Next::Again(Cause::Lost)),
        Failure::Late => Decision::maybe_applied(Learn::NextPeer, Next::End(Ended::Late)),
        Failure::Rejected(_) => Decision::not_applied(Learn::Nothing, Next::End(Ended::Rejected)),
        Failure::AnswerTooLarge(_) => {
            Decision::not_applied(Learn::Nothing, Next::End(Ended::TooLarge))
        }
        Failure::Refused(refusal) => decide_refusal(refusal, route),
    }
}

fn decide_refusal(refusal: &Refusal, route: Option<&Route>) -> Decision {
    use Correction as Learn;
    let (correction, next) = match refusal {
        Refusal::NotLeader { leader: Some(leader) } => {
            // The role is left out: it may have changed since the region was cached.
            let is_member = route.is_some_and(|route| {
                route.region.peer(leader.id).is_some_and(|peer| peer.store == leader.store)
            });
            // A leader that is no peer of the cached region proves the region to be out of date.
            let correction = if is_member { Learn::Leader(*leader) } else { Learn::ReloadRegion };
            (correction, Next::Again(Cause::Leader))
        }
        Refusal::NotLeader { leader: None } | Refusal::StaleCommand => {
            (Learn::NextPeer, Next::Again(Cause::Leader))
        }
        Refusal::RegionNotFound | Refusal::MismatchPeer => {
            (Learn::ReloadRegion, Next::Again(Cause::Region))
        }
        // The epoch fits, the key does not: the map is wrong in a way that haste does not mend.
        Refusal::KeyNotInRegion => (Learn::ReloadRegion, Next::Pause(Cause::Region)),
        Refusal::EpochNotMatch { current } => decide_epoch(current, route),
        Refusal::StoreNotMatch => (Learn::ReloadStore, Next::Again(Cause::Region)),
        Refusal::ServerIsBusy { wait, .. } if *wait > Span::ZERO => {
            (Learn::Nothing, Next::PauseFor(Cause::Busy, *wait))
        }
        Refusal::ServerIsBusy { .. } | Refusal::DiskFull => {
            (Learn::Nothing, Next::Pause(Cause::Busy))
        }
        Refusal::NotReady(Unready::Snapshot | Unready::Witness) => {
            (Learn::NextPeer, Next::Pause(Cause::NotReady))
        }
        Refusal::NotReady(_) => (Learn::Nothing, Next::Pause(Cause::NotReady)),
        Refusal::EntryTooLarge { .. } => (Learn::Nothing, Next::End(Ended::TooLarge)),
        Refusal::Flashback => (Learn::Nothing, Next::End(Ended::Rejected)),
        Refusal::Undetermined(_) => {
            return Decision::maybe_applied(Learn::Nothing, Next::Again(Cause::Lost));
        }
        // A text promises nothing, so neither do we.
        Refusal::Other(_) => {
            return Decision::maybe_applied(Learn::ReloadRegion, Next::Pause(Cause::NotReady));
        }
    };
    Decision::not_applied(correction, next)
}

fn decide_epoch(current: &[Region], route: Option<&Route>) -> (Correction, Next) {
    if current.is_empty() || current.iter().any(|region| region.validate().is_err()) {
        return (Correction::ReloadRegion, Next::Again(Cause::Region));
    }
    let is_behind = route.is_some_and(|route| {
        let known = &route.region;
        current.iter().any(|told| told.id == known.id && told.epoch.version < known.epoch.version)
    });
    if is_behind {
        // The store has not applied the change that the client has seen: it needs time, not news.
        return (Correction::Nothing, Next::Pause(Cause::Region));
    }
    (Correction::Replace(current.to_vec()), Next::Again(Cause::Region))
}
