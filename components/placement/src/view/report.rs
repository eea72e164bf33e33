//! What leaders report of their regions, and why a report is not taken.

use flotilla_base::{Epoch, Moment, Peer, Region, RegionError, RegionId, Term};

use super::load::{Flow, Load};

/// Sizes and flows of a region, as its leader estimates them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegionStats {
    /// Approximate size; 0 where the leader does not know yet.
    pub size_bytes: u64,
    /// Approximate number of keys; 0 where the leader does not know yet.
    pub keys: u64,
    /// Written in the interval.
    pub written_bytes: u64,
    /// Read in the interval.
    pub read_bytes: u64,
    /// Keys written in the interval.
    pub written_keys: u64,
    /// Keys read in the interval.
    pub read_keys: u64,
    /// How long that was, in seconds; 0 where nothing is said of flows.
    pub interval_s: u64,
}

impl RegionStats {
    /// What was asked for in the interval.
    #[must_use]
    pub const fn flow(&self) -> Flow {
        let Self { written_bytes, read_bytes, written_keys, read_keys, interval_s, .. } = *self;
        Flow { written_bytes, read_bytes, written_keys, read_keys, interval_s }
    }

    /// The same sizes, with other flows.
    #[must_use]
    pub const fn with_flow(self, flow: Flow) -> Self {
        let Flow { written_bytes, read_bytes, written_keys, read_keys, interval_s } = flow;
        Self { written_bytes, read_bytes, written_keys, read_keys, interval_s, ..self }
    }
}

/// A heartbeat of a region's leader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegionReport {
    /// The region as its leader has applied it.
    pub region: Region,
    /// The leader.
    pub leader: Peer,
    /// The leader's term; 0 where it did not say.
    pub term: Term,
    /// Sizes and flows.
    pub stats: RegionStats,
    /// Peers that do not answer, with the seconds since they did.
    pub down_peers: Vec<(Peer, u64)>,
    /// Peers that lag behind.
    pub pending_peers: Vec<Peer>,
}

/// A region as last reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionInfo {
    /// The region, word for word as a leader reported it.
    pub region: Region,
    /// Its leader; `None` for a region that is known from the report of a split alone.
    pub leader: Option<Peer>,
    /// The leader's term; 0 where that is not known.
    pub term: Term,
    /// Sizes, and the last flows that made sense.
    pub stats: RegionStats,
    /// What it is asked for.
    pub load: Load,
    /// Peers that do not answer, with the seconds since they did.
    pub down_peers: Vec<(Peer, u64)>,
    /// Peers that lag behind.
    pub pending_peers: Vec<Peer>,
    /// When its leader was last heard, or the split that made it.
    pub heard: Moment,
}

/// Why a report is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StaleReport {
    /// The region makes no sense.
    #[error(transparent)]
    Invalid(#[from] RegionError),
    /// The leader is no peer of the region.
    #[error("region {0}: its leader is no peer of it")]
    ForeignLeader(RegionId),
    /// The same region is known at a later epoch.
    #[error("region {region} is stale: epoch {reported} reported, {known} known")]
    Epoch {
        /// The region.
        region: RegionId,
        /// Epoch of the report.
        reported: Epoch,
        /// Epoch in the view.
        known: Epoch,
    },
    /// The same region at the same epoch has a later leader.
    #[error("region {region} is stale: reported by the leader of term {reported}, {known} known")]
    Leader {
        /// The region.
        region: RegionId,
        /// Term of the report.
        reported: Term,
        /// Term in the view.
        known: Term,
    },
    /// Another region owns some of the keys at a later version.
    #[error("region {region} is stale: region {owner} owns keys of it at a later version")]
    Overlap {
        /// The region.
        region: RegionId,
        /// The later owner.
        owner: RegionId,
    },
}

/// What a report that was taken changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportEffect {
    /// Whether range, peers or leader differ from what was known: what routing depends on.
    pub is_routing_changed: bool,
    /// Another region that claims the same keys at the same version. This cannot happen within one
    /// history of a cluster: an alarm is due.
    pub conflict: Option<RegionId>,
}

impl RegionInfo {
    pub(crate) fn new(now: Moment, report: RegionReport, known: Option<&Self>) -> Self {
        let mut stats = report.stats;
        // A leader that has just been elected does not know its sizes yet; the last ones are better
        // than none.
        if let Some(known) = known.filter(|_| stats.size_bytes == 0) {
            stats.size_bytes = known.stats.size_bytes;
            stats.keys = known.stats.keys;
        }
        // A leader that has just been elected has not counted for long enough, and clients ask it for the same.
        if let Some(known) = known.filter(|_| stats.flow().rates().is_none()) {
            stats = stats.with_flow(known.stats.flow());
        }
        let known = known.map(|known| match known.region.range == report.region.range {
            true => known.load,
            false => known.load.reshaped(),
        });
        let load = known.unwrap_or_default().and(&report.stats.flow());
        Self {
            region: report.region,
            leader: Some(report.leader),
            term: report.term,
            stats,
            load,
            down_peers: report.down_peers,
            pending_peers: report.pending_peers,
            heard: now,
        }
    }

    /// A piece of a split, before its leader has reported. Who led the region before leads it on.
    pub(super) fn piece(now: Moment, region: Region, known: Option<&Self>) -> Self {
        let leads_on = |leader: &Peer| region.peers.contains(leader);
        let leader = known.and_then(|known| known.leader).filter(leads_on);
        let term = known.filter(|_| leader.is_some()).map_or(Term(0), |known| known.term);
        let stats = known.map(|known| known.stats).unwrap_or_default();
        let load = known.map(|known| known.load.reshaped()).unwrap_or_default();
        let (down_peers, pending_peers) = <_>::default();
        Self { region, leader, term, stats, load, down_peers, pending_peers, heard: now }
    }

    /// Whether the same region in the shape of `region` may follow this one.
    pub(super) fn check_shape(&self, region: &Region) -> Result<(), StaleReport> {
        check_epoch(region, self.region.epoch)
    }

    /// Whether this report may follow in the same shape. An isolated old leader goes on reporting at
    /// the same epoch: its term gives it away.
    pub(super) fn check_leader(&self, report: &RegionReport) -> Result<(), StaleReport> {
        let is_old_leader = !report.term.is_none() && report.term < self.term;
        if report.region.epoch == self.region.epoch && is_old_leader {
            let (reported, known) = (report.term, self.term);
            return Err(StaleReport::Leader { region: self.region.id, reported, known });
        }
        Ok(())
    }
}

/// Whether a region that was known at `known` may be as it is reported.
pub(super) fn check_epoch(region: &Region, known: Epoch) -> Result<(), StaleReport> {
    let reported = region.epoch;
    if reported.version < known.version || reported.conf_ver < known.conf_ver {
        return Err(StaleReport::Epoch { region: region.id, reported, known });
    }
    Ok(())
}
