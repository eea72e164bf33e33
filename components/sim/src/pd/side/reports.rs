//! What stores report, and what the placement driver must know in the end.

use flotilla_base::{Incarnation, KeyRange, Moment, Peer, Region, Span, StoreId};
use flotilla_placement::{RegionReport, StoreStats};

use super::{Asker, PdSide};
use crate::event::Run;
use crate::judge::{Verdict, require};
use crate::pd::event::{PdAsk, PdEvent};
use crate::pd::plan::Origin;
use crate::pd::stores::{Agent, Phase, from_world};

/// Longest time between two changes of the regions on paper.
const PAPER_INTERVAL: Span = Span::from_millis(600);

impl PdSide {
    /// A run of a store begins.
    pub fn on_store_start(
        &mut self,
        now: Moment,
        place: StoreId,
        (run, incarnation): (Run, Incarnation),
    ) {
        self.now = now;
        if self.slots.is_empty() {
            return;
        }
        if let Some(agent) = self.around.agents.iter_mut().find(|agent| agent.place == place) {
            agent.start(run, incarnation);
            self.later(Span::from_micros(100), PdEvent::Store(place, run));
        }
    }

    /// A run of a store reports what it leads.
    ///
    /// # Errors
    /// It contradicts what the run reported before.
    pub fn report(
        &mut self,
        now: Moment,
        place: StoreId,
        run: Run,
        (stats, led): (StoreStats, Vec<RegionReport>),
    ) -> Verdict {
        self.now = now;
        let beat_max = self.settings.plan.beat_max;
        let index = usize::try_from(place.get() - 1).unwrap_or(0);
        let agent = &mut self.around.agents[index];
        let (id, target, pause) = (agent.id, agent.target, agent.pause(beat_max));
        let ghost = agent.ghost();
        self.later(pause, PdEvent::Beat(place, run));
        if let Some(ask) = ghost {
            self.post(Asker::Nobody, target, ask);
        }
        let leaders = if self.is_obeyed() { self.members() } else { vec![target] };
        for target in id.map(|_| leaders).unwrap_or_default() {
            let beat = PdAsk::StoreBeat(id.unwrap_or_default(), Box::new(stats));
            self.post(Asker::Nobody, target, beat);
        }
        led.into_iter().try_for_each(|report| self.pass_on(place, run, report))
    }

    /// A run of a store reports one of the regions that it leads: at once, since something of it is new.
    ///
    /// # Errors
    /// It contradicts what the run reported before.
    pub fn report_one(
        &mut self,
        now: Moment,
        place: StoreId,
        run: Run,
        report: RegionReport,
    ) -> Verdict {
        self.now = now;
        let is_there = |agent: &&mut Agent| agent.run == run && agent.phase == Phase::Reports;
        if self.agent(place).filter(is_there).is_none() {
            return Ok(());
        }
        self.pass_on(place, run, report)
    }

    fn pass_on(&mut self, place: StoreId, run: Run, mut report: RegionReport) -> Verdict {
        report.region = self.in_words_of_pd(report.region);
        let word = |peer: Peer| report.region.peer(peer.id).unwrap_or(peer);
        report.leader = word(report.leader);
        report.pending_peers.iter_mut().for_each(|peer| *peer = word(*peer));
        report.down_peers.iter_mut().for_each(|(peer, _)| *peer = word(*peer));
        self.judges.epochs.on_report(place, run, &report.region)?;
        self.tell_all(report);
        Ok(())
    }

    /// Whether a member leads and knows of all regions; `world` are those of the stores.
    ///
    /// # Errors
    /// What is missing.
    pub fn check_end(&self, world: &[Region]) -> Verdict {
        if self.slots.is_empty() {
            return Ok(());
        }
        let sight = self.slots.values().find_map(|slot| slot.node.leading(self.now));
        require(sight.is_some(), "liveness: a member of the placement driver leads", String::new)?;
        let found = sight.map(|sight| sight.regions().scan(&KeyRange::all(), usize::MAX));
        let truth: Vec<Region> = match self.settings.plan.origin {
            Origin::Paper => {
                self.around.paper.reports().iter().map(|report| report.region.clone()).collect()
            }
            Origin::Plan | Origin::World => {
                let regions = world.iter().cloned();
                regions.map(|region| self.in_words_of_pd(region)).collect()
            }
        };
        let found = found.unwrap_or_default();
        self.judges.regions.on_end(&truth, found.iter().map(AsRef::as_ref))
    }

    /// Sets the clock by which [`Self::check_end`] asks who leads.
    pub const fn note_time(&mut self, now: Moment) {
        self.now = now;
    }

    pub(super) fn in_words_of_pd(&self, region: Region) -> Region {
        match self.settings.plan.origin {
            Origin::Plan => from_world(region, &self.around.agents),
            Origin::World | Origin::Paper => region,
        }
    }

    /// Regions change on paper, and their leaders report; sometimes all of them do.
    pub(super) fn paper(&mut self) {
        let mut reports = if self.is_healed { Vec::new() } else { self.around.paper.step() };
        if self.is_healed || self.chance.schedule.chance(200) {
            reports.extend(self.around.paper.reports().iter().cloned());
        }
        for report in reports {
            self.tell_all(report);
        }
        // On its way with the reports of the leaders: either may come first.
        if let Some(pieces) = self.around.paper.take_split() {
            self.judges.regions.on_split(&pieces);
            for member in self.members() {
                self.post(Asker::Nobody, member, PdAsk::SplitDone(pieces.clone()));
            }
        }
        let pause = Span(1 + self.chance.schedule.below(PAPER_INTERVAL.0));
        self.later(pause, PdEvent::Paper);
    }

    /// A region's leader reports to all members: those that do not lead drop it.
    pub(super) fn tell_all(&mut self, report: RegionReport) {
        self.judges.regions.on_report(&report);
        for member in self.members() {
            self.post(Asker::Nobody, member, PdAsk::RegionBeat(Box::new(report.clone())));
        }
    }
}
