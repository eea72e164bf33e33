//! Reports of the regions that this store leads: at once when it comes to lead one, and now and then.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use flotilla_base::{KeyRange, Peer, Region, RegionId, StoreId, Term};
use flotilla_multiraft::Report;
use flotilla_proto::pdpb::{self, pd_client::PdClient};
use flotilla_raftgroup::Role;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{PdLinkError, leader::Leader, unix_millis};

/// A region as its leader sees it.
#[derive(Clone, Debug)]
struct Led {
    region: Region,
    leader: Peer,
    term: Term,
    /// Bytes on disk when last looked; zero for not known.
    bytes: u64,
}

#[derive(Debug, Default)]
struct State {
    regions: BTreeMap<RegionId, Led>,
    /// To be reported.
    changed: BTreeSet<RegionId>,
}

/// The regions that this store leads. Bounded by the regions of the store: a newer report of a region
/// takes the place of an older one.
#[derive(Debug, Default)]
pub(super) struct LedRegions {
    state: Mutex<State>,
    has_changed: Notify,
}

impl LedRegions {
    pub(super) fn note(&self, report: &Report) {
        match report {
            Report::Role { region, peer, change } => {
                let leader = region.peer(*peer).filter(|_peer| change.role == Role::Leader);
                match leader {
                    Some(leader) => self.lead(region, leader, change.term),
                    None => self.forget(region.id),
                }
            }
            Report::Quarantined { region, .. } => self.forget(*region),
            Report::Initialised { .. } => {}
        }
    }

    fn lead(&self, region: &Region, leader: Peer, term: Term) {
        let mut state = self.state.lock();
        let bytes = state.regions.get(&region.id).map_or(0, |known| known.bytes);
        let led = Led { region: region.clone(), leader, term, bytes };
        state.regions.insert(region.id, led);
        state.changed.insert(region.id);
        drop(state);
        self.has_changed.notify_one();
    }

    fn forget(&self, region: RegionId) {
        let mut state = self.state.lock();
        state.regions.remove(&region);
        state.changed.remove(&region);
    }

    pub(super) fn len(&self) -> usize {
        self.state.lock().regions.len()
    }

    /// The ranges of all, to be measured.
    pub(super) fn ranges(&self) -> Vec<(RegionId, KeyRange)> {
        let state = self.state.lock();
        state.regions.values().map(|led| (led.region.id, led.region.range.clone())).collect()
    }

    /// Notes how large regions are, and has all of them reported.
    pub(super) fn measured(&self, sizes: &[(RegionId, u64)]) {
        let mut state = self.state.lock();
        for (region, bytes) in sizes {
            if let Some(led) = state.regions.get_mut(region) {
                led.bytes = *bytes;
            }
        }
        drop(state);
        self.report_all();
    }

    /// Whoever listens now knows nothing yet.
    fn report_all(&self) {
        let mut state = self.state.lock();
        state.changed = state.regions.keys().copied().collect();
        drop(state);
        self.has_changed.notify_one();
    }

    /// The next region to be reported, as it is now.
    async fn next(&self) -> Led {
        loop {
            if let Some(led) = self.take() {
                return led;
            }
            self.has_changed.notified().await;
        }
    }

    fn take(&self) -> Option<Led> {
        let mut state = self.state.lock();
        let region = state.changed.pop_first()?;
        state.regions.get(&region).cloned()
    }
}

/// Keeps a stream of reports open, for ever.
pub(super) async fn report_regions(leader: Arc<Leader>, led: Arc<LedRegions>, store: StoreId) {
    loop {
        match report_on_one_stream(&leader, &led, store).await {
            Ok(()) => tracing::debug!("the placement driver ended the stream of region reports"),
            Err(error) => tracing::debug!(%error, "region reports were interrupted"),
        }
        leader.forget();
        leader.pause().await;
    }
}

async fn report_on_one_stream(
    leader: &Leader,
    led: &LedRegions,
    store: StoreId,
) -> Result<(), PdLinkError> {
    let channel = leader.channel().await?;
    led.report_all();
    let (reports, stream) = mpsc::channel(1);
    let send = async {
        loop {
            let report = request(led.next().await, leader.header(store.get()));
            if reports.send(report).await.is_err() {
                return;
            }
        }
    };
    // The answer may not begin before the first report: sending does not wait for it.
    let receive = async {
        let call = PdClient::new(channel).region_heartbeat(ReceiverStream::new(stream)).await;
        let mut orders = call?.into_inner();
        while let Some(order) = orders.message().await? {
            super::leader::check_header(order.header)?;
            tracing::debug!(region = order.region_id, "an order that this version does not know");
        }
        Ok::<_, Status>(())
    };
    tokio::select! {
        () = send => Ok(()),
        ended = receive => ended.map_err(|status| PdLinkError::Refused(status.message().to_owned())),
    }
}

fn request(led: Led, header: pdpb::RequestHeader) -> pdpb::RegionHeartbeatRequest {
    let now = unix_millis() / 1000;
    let span = super::REPORT_INTERVAL.as_secs();
    let interval =
        pdpb::TimeInterval { start_timestamp: now.saturating_sub(span), end_timestamp: now };
    pdpb::RegionHeartbeatRequest {
        header: Some(header),
        region: Some(led.region.into()),
        leader: Some(led.leader.into()),
        approximate_size: led.bytes,
        interval: Some(interval),
        term: led.term.get(),
        ..pdpb::RegionHeartbeatRequest::default()
    }
}
