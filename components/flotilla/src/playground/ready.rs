//! Whether a cluster is ready: every region has a leader that a majority follows, and what is put can be got again.

use std::time::{Duration, Instant};

use bytes::Bytes;
use flotilla_base::Region;
use flotilla_client::{Client, ClientOptions, KeyRange, RawKv, RegionInfo};
use tokio::task::{JoinError, JoinSet};

use super::plan::Plan;
use crate::{catalogue, fault::Fault};

/// How long a cluster may take to become ready after all its nodes serve.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at the list of regions, which fills while leaders report.
const PAUSE: Duration = Duration::from_millis(10);
/// Regions tried at the same time.
const LANES: usize = 32;
/// Regions that a key is put into, spread over all of them. A get on the others says already that their leaders have
/// committed something, and are followed by a majority; each put costs three stores a sync.
const PUTS_MAX: usize = 64;
/// What the tried key is, behind the first key of its region.
const SUFFIX: &[u8] = b"\0flotilla ready?";

/// What was found.
pub(super) struct Readiness {
    pub regions: usize,
    /// Replicas of the region that has the fewest.
    pub voters: usize,
    /// Regions that a key was put into, beside being asked for it.
    pub written: usize,
}

/// Waits until the cluster of `plan` is ready.
pub(super) async fn wait(plan: &Plan) -> Result<(Client, Readiness), Fault> {
    let deadline = Instant::now() + PATIENCE;
    let waiting = async {
        let options = ClientOptions { deadline: PATIENCE, ..ClientOptions::default() };
        let client = Client::connect(&[plan.pd_address().to_string()], options).await?;
        let regions = regions(&client).await?;
        let mut readiness = Readiness {
            regions: regions.len(),
            voters: regions.iter().map(|info| info.region.peers.len()).min().unwrap_or(0),
            written: 0,
        };
        let mut trials = JoinSet::new();
        let stride = regions.len().div_ceil(PUTS_MAX).max(1);
        for (position, info) in regions.into_iter().enumerate() {
            if trials.len() >= LANES {
                readiness.written += take(trials.join_next().await)?;
            }
            let raw = client.raw();
            let may_put = position % stride == 0;
            trials.spawn(async move { try_region(&raw, &info.region, may_put).await });
        }
        while !trials.is_empty() {
            readiness.written += take(trials.join_next().await)?;
        }
        Ok::<_, Fault>((client, readiness))
    };
    let not_ready = |why: String| {
        let log = plan.log.display();
        Fault::new(&catalogue::NOT_READY, "the cluster was not ready in time")
            .why(why)
            .hint(format!("read the logs in {log}"))
    };
    match tokio::time::timeout_at(deadline.into(), waiting).await {
        Ok(Ok(ready)) => Ok(ready),
        Ok(Err(fault)) => Err(not_ready(fault.message().to_owned())),
        Err(_elapsed) => Err(not_ready("some region had no leader".to_owned())),
    }
}

/// How many regions were written to by a trial.
fn take(trial: Option<Result<Result<bool, Fault>, JoinError>>) -> Result<usize, Fault> {
    match trial {
        Some(Ok(outcome)) => outcome.map(usize::from),
        Some(Err(cause)) => Err(Fault::new(&catalogue::INTERNAL, cause.to_string())),
        None => Ok(0),
    }
}

/// The regions, as soon as they own all keys.
async fn regions(client: &Client) -> Result<Vec<RegionInfo>, Fault> {
    loop {
        let regions = client.admin().regions(KeyRange::all(), usize::MAX).await?;
        let is_first = regions.first().is_some_and(|info| info.region.range.start.is_empty());
        let is_last = regions.last().is_some_and(|info| info.region.range.end.is_empty());
        let touch = |pair: &[RegionInfo]| pair[0].region.range.end == pair[1].region.range.start;
        if is_first && is_last && regions.windows(2).all(touch) {
            return Ok(regions);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Gets a key of `region`; if it may, puts it, gets it and removes it again. The guard region stays empty for ever, and a
/// key that the user has is left alone: there, the answer of a leader has to do. Whether a key was put.
async fn try_region(raw: &RawKv, region: &Region, may_put: bool) -> Result<bool, Fault> {
    let mut key = region.range.start.to_vec();
    key.extend_from_slice(SUFFIX);
    let key =
        if region.range.contains(&key) { Bytes::from(key) } else { region.range.start.clone() };
    let is_taken = raw.get(key.clone()).await?.is_some();
    if is_taken || !may_put || region.is_guard() {
        return Ok(false);
    }
    let value = Bytes::from_static(b"yes");
    raw.put(key.clone(), value.clone()).await?;
    let got = raw.get(key.clone()).await?;
    raw.delete(key).await?;
    if got.as_ref() == Some(&value) {
        return Ok(true);
    }
    let text = format!("region {} does not hold what was put into it", region.id);
    Err(Fault::new(&catalogue::INTERNAL, text))
}
