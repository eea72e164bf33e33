//! Reports of the regions that this store leads: at once when it comes to lead one or when a store with peers of it
//! falls silent or comes back, and now and then. The line that shows that this store is there stands and falls with
//! them.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::Arc,
    time::Duration,
};

use flotilla_base::{
    Incarnation, KeyRange, Peer, PeerId, PeerRole, Region, RegionId, StoreId, Term,
};
use flotilla_multiraft::Report;
use flotilla_proto::{
    pdpb::{self, pd_client::PdClient},
    store_link::{KeepLineRequest, LineNotice, store_link_client::StoreLinkClient},
};
use flotilla_raftgroup::Role;
use flotilla_telemetry::clock::unix_millis;
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use super::{
    PdLinkError,
    leader::{ANSWER_TIME, Leader},
};
use crate::{
    silence::{Silence, Silent},
    split::load::{flow::Flow, meter::Loads},
};

/// A region as its leader sees it.
#[derive(Clone, Debug)]
struct Led {
    region: Region,
    leader: Peer,
    term: Term,
    /// Members that are far behind.
    lagging: Vec<Peer>,
    /// Bytes on disk when last looked; zero for not known.
    bytes: u64,
    /// Until when what it was asked for is reported; `None` where it is led from here, or has its shape, since a moment
    /// ago: what was counted before says nothing about it.
    flow_until: Option<Instant>,
}

/// What was asked of a region, and in how long.
type SpanFlow = (Flow, Duration);

/// Less is no measure of a rate.
const FLOW_SPAN_MIN: Duration = Duration::from_secs(5);

impl Led {
    /// What was asked of the region since this was asked last; `None` where that is too short for a rate: it then counts
    /// for the next time.
    fn take_flow(&mut self, loads: &Loads, now: Instant) -> Option<SpanFlow> {
        let span = self.flow_until.map(|until| now - until);
        if span.is_some_and(|span| span < FLOW_SPAN_MIN) {
            return None;
        }
        self.flow_until = Some(now);
        let flow = loads.take_flow(self.region.id);
        span.map(|span| (flow, span))
    }
}

#[derive(Debug, Default)]
struct State {
    regions: BTreeMap<RegionId, Led>,
    /// To be reported, if they are still led here then.
    changed: BTreeSet<RegionId>,
    /// Stores whose peers do not answer.
    silent: Silent,
}

/// A report that is due.
#[derive(Clone, Debug)]
struct Due {
    led: Led,
    /// Peers that do not answer, and since when.
    down: Vec<(Peer, Instant)>,
    flow: Option<SpanFlow>,
}

/// The regions that this store leads. Bounded by the regions of the store: a newer report of a region
/// takes the place of an older one.
#[derive(Debug, Default)]
pub(super) struct LedRegions {
    state: Mutex<State>,
    has_changed: Notify,
    /// Marked as changed whenever a lead begins or ends here.
    leads: watch::Sender<()>,
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
            // The children's leaders report themselves when they lead.
            Report::Split { parent, births, .. } => self.shrink(parent, births.len() as u64),
            Report::Members { region, .. } => self.reshape(region),
            Report::Lagging { region, peers } => self.note_lagging(*region, peers),
            Report::Destroyed { region, .. } => self.forget(*region),
            Report::Initialised { .. } | Report::Leaving { .. } | Report::Orphaned(_) => {}
        }
    }

    fn lead(&self, region: &Region, leader: Peer, term: Term) {
        let mut state = self.state.lock();
        let bytes = state.regions.get(&region.id).map_or(0, |known| known.bytes);
        let (region, lagging, flow_until) = (region.clone(), Vec::new(), None);
        let led = Led { region, leader, term, lagging, bytes, flow_until };
        state.changed.insert(led.region.id);
        state.regions.insert(led.region.id, led);
        drop(state);
        self.has_changed.notify_one();
        self.leads.send_replace(());
    }

    /// A region that is led here has other members.
    fn reshape(&self, region: &Region) {
        self.change(region.id, |led| {
            led.region = region.clone();
            led.leader = region.peer(led.leader.id).unwrap_or(led.leader);
            led.lagging.retain(|lagging| region.peer(lagging.id).is_some());
        });
    }

    fn note_lagging(&self, region: RegionId, lagging: &[Peer]) {
        self.change(region, |led| led.lagging = lagging.to_vec());
    }

    /// Has a region reported that is led here, although nothing of it has changed.
    pub(super) fn report_again(&self, region: RegionId) {
        self.change(region, |_led| {});
    }

    /// Until somebody measures it, a region has its share of what it was.
    fn shrink(&self, region: &Region, children: u64) {
        self.change(region.id, |led| {
            led.region = region.clone();
            led.bytes /= children + 1;
            led.flow_until = None;
        });
    }

    /// Has a region reported that is led here, as it is behind `change`.
    fn change(&self, region: RegionId, change: impl FnOnce(&mut Led)) {
        let mut state = self.state.lock();
        let Some(led) = state.regions.get_mut(&region) else { return };
        change(led);
        state.changed.insert(region);
        drop(state);
        self.has_changed.notify_one();
    }

    fn forget(&self, region: RegionId) {
        let mut state = self.state.lock();
        state.regions.remove(&region);
        state.changed.remove(&region);
        drop(state);
        self.leads.send_replace(());
    }

    /// The leaders here that have another voter beside them.
    pub(super) fn transferable(&self) -> Vec<(RegionId, PeerId)> {
        let state = self.state.lock();
        let leaders = state.regions.values().map(|led| (&led.region, led.leader.id));
        let has_successor = |(region, leader): &(&Region, PeerId)| {
            let is_other_voter = |peer: &Peer| peer.id != *leader && peer.role == PeerRole::Voter;
            region.peers.iter().any(is_other_voter)
        };
        leaders.filter(has_successor).map(|(region, leader)| (region.id, leader)).collect()
    }

    /// Waits until none of these is led from here.
    pub(super) async fn until_led_elsewhere(&self, leaders: &[(RegionId, PeerId)]) {
        let mut leads = self.leads.subscribe();
        let is_so = |(): &()| {
            let state = self.state.lock();
            !leaders.iter().any(|(region, _)| state.regions.contains_key(region))
        };
        let _self_holds_the_sender = leads.wait_for(is_so).await.is_err();
    }

    pub(super) fn leads(&self, region: RegionId) -> bool {
        self.state.lock().regions.contains_key(&region)
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

    /// Notes which stores do not answer, and has the regions reported for which that is new.
    pub(super) fn note_silent(&self, silent: Silent) {
        let mut state = self.state.lock();
        let State { regions, changed, silent: known } = &mut *state;
        let differs =
            |peer: &Peer| known.contains_key(&peer.store) != silent.contains_key(&peer.store);
        let told = regions.values().filter(|led| led.region.peers.iter().any(differs));
        changed.extend(told.map(|led| led.region.id));
        *known = silent;
        drop(state);
        self.has_changed.notify_one();
    }

    /// The next region to be reported, as it is now.
    async fn next(&self, loads: &Loads) -> Due {
        loop {
            if let Some(due) = self.take(loads, Instant::now()) {
                return due;
            }
            self.has_changed.notified().await;
        }
    }

    fn take(&self, loads: &Loads, now: Instant) -> Option<Due> {
        let mut state = self.state.lock();
        let led = loop {
            let region = state.changed.pop_first()?;
            // One whose lead has ended meanwhile is nothing to report, and stands in nobody's way.
            if let Some(led) = state.regions.get_mut(&region) {
                break led;
            }
        };
        let flow = led.take_flow(loads, now);
        let led = led.clone();
        let since = |peer: &Peer| state.silent.get(&peer.store).map(|since| (*peer, *since));
        let down = led.region.peers.iter().filter_map(since).collect();
        Some(Due { led, down, flow })
    }
}

/// Watches which stores fall silent, for ever.
pub(super) async fn watch_silence(silence: Arc<Silence>, led: Arc<LedRegions>) {
    loop {
        let (silent, next) = silence.judge(Instant::now());
        led.note_silent(silent);
        let due = async {
            match next {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = silence.changed() => {}
            () = due => {}
        }
    }
}

/// Takes what the placement driver orders; must not block.
pub(super) type TakeOrder = Arc<dyn Fn(pdpb::RegionHeartbeatResponse) + Send + Sync>;

/// Who reports, and what was counted of its regions.
pub(super) struct Reporter {
    pub(super) store: StoreId,
    pub(super) run: Incarnation,
    pub(super) loads: Arc<Loads>,
}

/// Keeps a stream of reports open, for ever.
pub(super) async fn report_regions(
    leader: Arc<Leader>,
    led: Arc<LedRegions>,
    take_order: TakeOrder,
    reporter: Reporter,
) {
    loop {
        match report_on_one_stream(&leader, &led, &take_order, &reporter).await {
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
    take_order: &TakeOrder,
    Reporter { store, run, loads }: &Reporter,
) -> Result<(), PdLinkError> {
    let channel = leader.channel().await?;
    let refused = |status: Status| PdLinkError::Refused(status.message().to_owned());
    let request = KeepLineRequest {
        cluster_id: leader.cluster().get(),
        store_id: store.get(),
        incarnation: run.get(),
    };
    let mut line = open_line(channel.clone(), request).await.map_err(refused)?;
    led.report_all();
    let (reports, stream) = mpsc::channel(1);
    let send = async {
        loop {
            let report = request_of(led.next(loads).await, leader.header(store.get()));
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
            super::leader::check_header(order.header.clone())?;
            take_order(order);
        }
        Ok::<_, Status>(())
    };
    let end_of_line = async {
        while let Some(LineNotice {}) = line.message().await? {}
        Ok::<_, Status>(())
    };
    tokio::select! {
        () = send => Ok(()),
        ended = receive => ended.map_err(refused),
        ended = end_of_line => ended.map_err(refused),
    }
}

/// Opens the line that shows that this run is there. It ends when it is dropped.
async fn open_line(
    channel: Channel,
    request: KeepLineRequest,
) -> Result<Streaming<LineNotice>, Status> {
    let mut client = StoreLinkClient::new(channel);
    let opened = timeout(ANSWER_TIME, client.keep_line(request)).await;
    let silent = |_elapsed| Status::unavailable("no answer in time");
    Ok(opened.map_err(silent)??.into_inner())
}

fn request_of(due: Due, header: pdpb::RequestHeader) -> pdpb::RegionHeartbeatRequest {
    let Due { led, down, flow } = due;
    let (flow, span) = flow.unwrap_or_default();
    let down = down.into_iter().map(|(peer, since)| pdpb::PeerStats {
        peer: Some(peer.into()),
        // Tools take a zero for "answers".
        down_seconds: since.elapsed().as_secs().max(1),
    });
    pdpb::RegionHeartbeatRequest {
        header: Some(header),
        region: Some(led.region.into()),
        leader: Some(led.leader.into()),
        down_peers: down.collect(),
        pending_peers: led.lagging.into_iter().map(Into::into).collect(),
        approximate_size: led.bytes,
        bytes_written: flow.written_bytes,
        bytes_read: flow.read_bytes,
        keys_written: flow.written_keys,
        keys_read: flow.read_keys,
        interval: Some(time_interval(unix_millis() / 1000, span)),
        term: led.term.get(),
        ..pdpb::RegionHeartbeatRequest::default()
    }
}

/// An interval of so long that ends now. The protocol counts in seconds: it is the nearest number of them.
pub(super) fn time_interval(now_unix_seconds: u64, span: Duration) -> pdpb::TimeInterval {
    let seconds = (span + Duration::from_millis(500)).as_secs();
    let start_timestamp = now_unix_seconds.saturating_sub(seconds);
    pdpb::TimeInterval { start_timestamp, end_timestamp: now_unix_seconds }
}

#[cfg(test)]
mod tests {
    use flotilla_base::{Epoch, PeerId, Version};
    use flotilla_raftgroup::RoleChange;

    use super::*;
    use crate::{
        config::LoadLimits,
        split::load::{flow::Access, meter::Shape},
    };

    const REGION: RegionId = RegionId(2);

    struct Fixture {
        led: LedRegions,
        loads: Loads,
        region: Region,
        now: Instant,
    }

    impl Fixture {
        fn new() -> Self {
            let peers = vec![Peer::voter(PeerId(4), StoreId(1))];
            let region = Region { id: REGION, epoch: Epoch::FIRST, peers, ..Region::default() };
            let loads = Loads::new(LoadLimits::default());
            Self { led: LedRegions::default(), loads, region, now: Instant::now() }
        }

        fn pass(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }

        fn lead(&self, term: u64) {
            let change =
                RoleChange { role: Role::Leader, term: Term(term), leader: Some(PeerId(4)) };
            self.led.note(&Report::Role { region: self.region.clone(), peer: PeerId(4), change });
        }

        fn write(&self, keys: usize) {
            let shape = Shape { region: REGION, version: self.region.epoch.version };
            let keys = std::iter::repeat_n(b"k".as_slice(), keys);
            self.loads.touched((shape, Access::Write), 10, keys);
        }

        /// Keys that the report which is due tells of, and in how long.
        fn reported(&self) -> Option<(u64, u64)> {
            let due = self.led.take(&self.loads, self.now).expect("due");
            due.flow.map(|(flow, span)| (flow.written_keys, span.as_secs()))
        }
    }

    #[test]
    fn flows_are_told_with_the_time_in_which_they_were_counted() {
        let mut fixture = Fixture::new();
        fixture.write(1_000);
        fixture.lead(6);
        assert_eq!(fixture.reported(), None, "nobody knows since when");
        fixture.write(70);
        fixture.pass(3);
        fixture.led.report_again(REGION);
        assert_eq!(fixture.reported(), None, "too short for a rate");
        fixture.write(30);
        fixture.pass(4);
        fixture.led.report_again(REGION);
        assert_eq!(fixture.reported(), Some((100, 7)), "nothing was lost to the first");
        fixture.pass(10);
        fixture.led.report_again(REGION);
        assert_eq!(fixture.reported(), Some((0, 10)));
    }

    #[test]
    fn another_lead_and_another_shape_are_measured_anew() {
        let mut fixture = Fixture::new();
        fixture.lead(6);
        assert_eq!(fixture.reported(), None);
        fixture.write(50);
        fixture.pass(9);
        fixture.lead(7);
        assert_eq!(fixture.reported(), None);
        fixture.pass(9);
        fixture.region.epoch.version = Version(9);
        let (parent, peer) = (fixture.region.clone(), PeerId(4));
        fixture.led.note(&Report::Split { parent, peer, births: Vec::new() });
        assert_eq!(fixture.reported(), None);
        fixture.write(50);
        fixture.pass(10);
        fixture.led.report_again(REGION);
        assert_eq!(fixture.reported(), Some((50, 10)));
    }

    #[test]
    fn intervals_are_whole_seconds() {
        let span = |millis| {
            let interval = time_interval(1_000, Duration::from_millis(millis));
            (interval.start_timestamp, interval.end_timestamp)
        };
        assert_eq!((span(0), span(499), span(9_501)), ((1000, 1000), (1000, 1000), (990, 1000)));
        assert_eq!(time_interval(3, Duration::from_secs(9)).start_timestamp, 0);
    }

    #[test]
    fn what_is_not_led_any_more_keeps_nothing_else_from_being_reported() {
        let fixture = Fixture::new();
        fixture.lead(6);
        fixture.led.state.lock().changed.insert(RegionId(1));
        let take = || fixture.led.take(&fixture.loads, fixture.now);
        assert_eq!(take().map(|due| due.led.region.id), Some(REGION));
        assert!(take().is_none());
    }
}
