//! How services reach the owner: wait for a leader, ask, wait for regions.

use std::{sync::Arc, time::Duration};

use flotilla_pdcore::{Denied, Leading};
use flotilla_placement::RegionInfo;
use flotilla_telemetry::{MonotonicClock, Unfinished};
use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    time::{Instant, timeout, timeout_at},
};

use crate::{
    admin::{Progress, ScatterGroups},
    core::{Glance, Look, RegionLookup, Reply, Request},
    status::Status,
    tso::TsoGate,
};

/// How long a request waits for a leader that is about to open, or for a region that no leader has
/// reported yet. Published clients wait at least that long for one answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The services' end of the owner.
#[derive(Clone, Debug)]
pub(crate) struct CoreHandle {
    pub requests: mpsc::Sender<Request>,
    pub status: watch::Receiver<Status>,
    pub regions: watch::Receiver<u64>,
    pub tso: Arc<TsoGate>,
    pub clock: MonotonicClock,
    pub unfinished: Unfinished,
    /// Held by whoever decides something that depends on what was decided before.
    pub deciding: Arc<Mutex<()>>,
    /// Held by whoever looks ahead, which takes a thread for long.
    pub planning: Arc<Mutex<()>>,
    pub progress: Progress,
    pub scatter_groups: ScatterGroups,
}

impl CoreHandle {
    /// The status now.
    pub(crate) fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// # Errors
    /// What this member has begun and does not finish.
    pub(crate) fn is_alive(&self) -> Result<(), String> {
        self.unfinished.check(self.clock.now())
    }

    /// Waits for a moment in which this member leads.
    pub(crate) async fn leading(&self) -> Result<Status, Denied> {
        let mut status = self.status.clone();
        let leading = timeout(PATIENCE, status.wait_for(|status| status.is_leading)).await;
        match leading {
            Ok(Ok(status)) => Ok(status.clone()),
            Ok(Err(_owner_is_gone)) => Err(Denied::Stopped),
            Err(_elapsed) => Err(Denied::NotLeader),
        }
    }

    /// Completes when this member leads no more.
    pub(crate) async fn deposed(&self) {
        let mut status = self.status.clone();
        let _ended_or_deposed = status.wait_for(|status| !status.is_leading).await;
    }

    /// Asks the owner.
    pub(crate) async fn ask<T, R: Into<Request>>(
        &self,
        request: impl FnOnce(Reply<T>) -> R,
    ) -> Result<T, Denied> {
        let (reply, answer) = oneshot::channel();
        self.tell(request(reply).into()).await?;
        answer.await.map_err(|_owner_is_gone| Denied::Stopped)?
    }

    /// Asks what the leader sees.
    pub(crate) async fn glance<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Leading<'_>) -> T + Send + 'static,
    ) -> Result<T, Denied> {
        self.ask(|reply| Look::Glance(Glance::new(question, reply))).await
    }

    /// Tells the owner; waits for room in its queue.
    pub(crate) async fn tell(&self, request: Request) -> Result<(), Denied> {
        self.requests.send(request).await.map_err(|_owner_is_gone| Denied::Stopped)
    }

    /// Looks a region up. Where none is known, or none that is led, waits a while for the next report: right
    /// after a start or a split the leaders are about to report.
    pub(crate) async fn region(
        &self,
        lookup: RegionLookup,
    ) -> Result<Option<Arc<RegionInfo>>, Denied> {
        let deadline = Instant::now() + PATIENCE;
        let mut regions = self.regions.clone();
        loop {
            regions.mark_unchanged();
            let asked = lookup.clone();
            let found = self.ask(|reply| Look::Region { lookup: asked, reply }).await?;
            // The first region has none before it, and an unknown id may never come: only keys must
            // have an owner.
            let is_led = found.as_ref().is_some_and(|info| info.leader.is_some());
            if is_led || !matches!(lookup, RegionLookup::Key(_)) {
                return Ok(found);
            }
            let changed = timeout_at(deadline, regions.changed()).await;
            if !matches!(changed, Ok(Ok(()))) {
                return Ok(found);
            }
        }
    }
}
