//! Registers whose written values are all different, in O(n log n): the zones of Gibbons and Korach.
//!
//! A write and the reads of its value are a cluster: in every order they stand together. Its zone lies
//! between the first end and the last start of its operations. If the first end comes first, the value
//! must have been there throughout (a forward zone); otherwise any moment of the zone will do (a
//! backward zone). There is an order if, and only if, no two forward zones overlap and no backward zone
//! lies within a forward one. Nothing at all is a value as well, written before everything else.

use std::collections::BTreeMap;

use flotilla_base::Moment;

use crate::model::{Call, Effect, State};

/// Two clusters that must both come first: `first_end` of each is before `last_start` of the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conflict {
    /// The cluster whose value was there throughout.
    pub(crate) held: Cluster,
    /// The cluster that comes between.
    pub(crate) between: Cluster,
}

/// A write and the reads of its value; operations are named by their place in the list of calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cluster {
    /// None for what was there in the beginning.
    pub(crate) write: Option<usize>,
    /// The operation that ended first; `None`, before all moments, is the beginning.
    pub(crate) first_end: Option<(Moment, usize)>,
    /// The operation that started last.
    pub(crate) last_start: Option<(Moment, usize)>,
}

impl Cluster {
    const INITIAL: Self = Self { write: None, first_end: None, last_start: None };

    const fn of_write(place: usize, call: &Call) -> Self {
        // An unknown write has no end; the first read of it that ends gives the cluster one. Without a
        // read it precedes nothing, so it contradicts nothing.
        Self {
            write: Some(place),
            first_end: Some((call.returned, place)),
            last_start: Some((call.invoked, place)),
        }
    }

    fn add_read(&mut self, place: usize, call: &Call) {
        self.first_end = self.first_end.min(Some((call.returned, place)));
        self.last_start = self.last_start.max(Some((call.invoked, place)));
    }

    fn end(&self) -> Option<Moment> {
        self.first_end.map(|(moment, _)| moment)
    }

    fn start(&self) -> Option<Moment> {
        self.last_start.map(|(moment, _)| moment)
    }

    fn is_forward(&self) -> bool {
        self.end() < self.start()
    }

    /// Whether real time puts an operation of this cluster in front of one of the other.
    fn must_precede(&self, other: &Self) -> bool {
        self.end() < other.start()
    }
}

/// Whether zones decide about `calls`: reads and writes only, and no value is written twice.
pub(crate) fn are_applicable(calls: &[Call]) -> bool {
    let mut written = Vec::new();
    for call in calls {
        match call.effect {
            Effect::Read(_) => {}
            Effect::Write(state) => written.push(state),
            Effect::Cas { .. } | Effect::Add { .. } => return false,
        }
    }
    let is_deleted = |state: &State| *state == State::Absent;
    written.retain(|state| !is_deleted(state));
    written.sort_unstable();
    written.windows(2).all(|pair| pair[0] != pair[1])
}

/// Two values that contradict each other, if there are such.
///
/// Each value that is read must have a write that began before the read ended. Deletes are no part of
/// `calls` unless nobody found the key absent.
pub(crate) fn conflict(calls: &[Call]) -> Option<Conflict> {
    let clusters = clusters(calls);
    let (mut forward, backward): (Vec<Cluster>, Vec<Cluster>) =
        clusters.into_iter().partition(Cluster::is_forward);
    forward.sort_by_key(Cluster::end);
    for pair in forward.windows(2) {
        // They end in this order, so the earlier one must come first anyway.
        if pair[1].must_precede(&pair[0]) {
            return Some(Conflict { held: pair[0], between: pair[1] });
        }
    }
    let conflicts = backward.into_iter().filter_map(|between| {
        // Forward zones do not overlap, so only the last one that begins before could reach beyond.
        let begun = forward.partition_point(|held| held.must_precede(&between));
        let held = *forward[..begun].last()?;
        between.must_precede(&held).then_some(Conflict { held, between })
    });
    conflicts.min_by_key(|conflict| conflict.held.start().max(conflict.between.start()))
}

fn clusters(calls: &[Call]) -> Vec<Cluster> {
    let mut by_value = BTreeMap::from([(State::Absent, Cluster::INITIAL)]);
    let mut clusters = Vec::new();
    for (place, call) in calls.iter().enumerate() {
        match call.effect {
            // Nobody read it: it may have happened at any moment of its interval, alone.
            Effect::Write(State::Absent) => clusters.push(Cluster::of_write(place, call)),
            Effect::Write(state) => {
                by_value.insert(state, Cluster::of_write(place, call));
            }
            _ => {}
        }
    }
    for (place, call) in calls.iter().enumerate() {
        if let Effect::Read(state) = call.effect
            && let Some(cluster) = by_value.get_mut(&state)
        {
            cluster.add_read(place, call);
        }
    }
    clusters.extend(by_value.into_values());
    clusters
}
