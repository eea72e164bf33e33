//! How well a cluster is, from what the placement driver tells of stores and regions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flotilla_client::{RegionInfo, StoreInfo, StoreState};

/// A store reports every ten seconds; one that is silent for longer than this is not up. The placement driver calls
/// it disconnected after the same time.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// A store with what the regions say of it.
#[derive(Debug)]
pub(super) struct StoreView {
    pub info: StoreInfo,
    pub state: &'static str,
    pub leaders: usize,
    pub regions: usize,
    /// Time since its last report; `None` before the first.
    pub silent_for: Option<Duration>,
}

impl StoreView {
    fn is_up(&self) -> bool {
        self.state == "up"
    }
}

/// Puts stores and regions together.
pub(super) fn views(stores: Vec<StoreInfo>, regions: &[RegionInfo]) -> Vec<StoreView> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    stores.into_iter().map(|info| view(info, regions, now)).collect()
}

fn view(info: StoreInfo, regions: &[RegionInfo], now: Duration) -> StoreView {
    let leads = |region: &&RegionInfo| region.leader.is_some_and(|leader| leader.store == info.id);
    let holds = |region: &&RegionInfo| region.region.peers.iter().any(|peer| peer.store == info.id);
    // Leaders notice a dead peer long before its store's next report is overdue.
    let is_missed =
        regions.iter().any(|region| region.down.iter().any(|peer| peer.store == info.id));
    let beat = u64::try_from(info.last_heartbeat_unix_nanos).ok().filter(|nanos| *nanos > 0);
    let silent_for = beat.map(|nanos| now.saturating_sub(Duration::from_nanos(nanos)));
    let is_silent = silent_for.is_none_or(|age| age > SILENCE_MAX);
    let state = match info.state {
        StoreState::Up if is_missed || is_silent => "disconnected",
        StoreState::Up => "up",
        StoreState::Offline => "offline",
        StoreState::Tombstone => "tombstone",
    };
    let (leaders, held) =
        (regions.iter().filter(leads).count(), regions.iter().filter(holds).count());
    StoreView { state, leaders, regions: held, silent_for, info }
}

/// The cluster in numbers.
#[derive(Debug)]
pub(super) struct Health {
    pub stores: usize,
    pub stores_up: usize,
    pub regions: usize,
    pub leaderless: usize,
    pub under_replicated: usize,
    /// Stores that may still fail before some region loses its majority; negative where one has.
    pub may_fail: i64,
}

impl Health {
    pub(super) fn of(stores: &[StoreView], regions: &[RegionInfo]) -> Self {
        let in_use = |store: &&StoreView| store.state != "tombstone";
        let is_up = |id| stores.iter().any(|store| store.info.id == id && store.is_up());
        let living = |region: &RegionInfo| {
            let living = region.region.peers.iter().filter(|peer| is_up(peer.store)).count();
            i64::try_from(living).unwrap_or(i64::MAX)
        };
        let voters = |region: &RegionInfo| i64::try_from(region.region.peers.len()).unwrap_or(0);
        let spare = regions.iter().map(|region| living(region) - (voters(region) / 2 + 1));
        Self {
            stores: stores.iter().filter(in_use).count(),
            stores_up: stores.iter().filter(|store| store.is_up()).count(),
            regions: regions.len(),
            leaderless: regions.iter().filter(|region| region.leader.is_none()).count(),
            under_replicated: regions
                .iter()
                .filter(|region| living(region) < voters(region))
                .count(),
            may_fail: spare.min().unwrap_or(-1),
        }
    }

    pub(super) fn is_well(&self) -> bool {
        self.stores_up == self.stores
            && self.leaderless == 0
            && self.under_replicated == 0
            && self.may_fail >= 0
    }

    pub(super) fn may_fail_text(&self) -> String {
        match self.may_fail {
            ..0 => "some keys cannot be written".to_owned(),
            0 => "cannot lose another store".to_owned(),
            1 => "can lose 1 store".to_owned(),
            more => format!("can lose {more} stores"),
        }
    }

    /// What is not well, in one line.
    pub(super) fn complaint(&self) -> Option<String> {
        if self.is_well() {
            return None;
        }
        let (down, stores) = (self.stores - self.stores_up, self.stores);
        Some(format!(
            "degraded: {down} of {stores} stores not up; {} regions leaderless, {} under-replicated; {}",
            self.leaderless,
            self.under_replicated,
            self.may_fail_text(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use flotilla_base::{Peer, PeerId, Region, StoreId};

    use super::*;

    fn store(id: u64, beat_seconds_ago: u64, now: Duration) -> StoreInfo {
        let beat = now.saturating_sub(Duration::from_secs(beat_seconds_ago));
        StoreInfo {
            id: StoreId(id),
            address: String::new(),
            status_address: String::new(),
            state: StoreState::Up,
            version: String::new(),
            last_heartbeat_unix_nanos: i64::try_from(beat.as_nanos()).expect("fits"),
            report: flotilla_client::admin::StoreReport::default(),
        }
    }

    fn region(down: &[u64]) -> RegionInfo {
        let peer = |store: u64| Peer::voter(PeerId(store + 10), StoreId(store));
        let region = Region { peers: (1..=3).map(peer).collect(), ..Region::default() };
        let down = down.iter().map(|store| peer(*store)).collect();
        RegionInfo { region, leader: Some(peer(1)), down, pending: Vec::new() }
    }

    #[test]
    fn a_store_counts_as_up_while_leaders_hear_it_and_reports_come() {
        let now = Duration::from_secs(1_000_000);
        let health = |silent: u64, down: &[u64]| {
            let regions = [region(down)];
            let stores: Vec<StoreView> = [(1, 1), (2, 2), (3, silent)]
                .into_iter()
                .map(|(id, ago)| view(store(id, ago, now), &regions, now))
                .collect();
            Health::of(&stores, &regions)
        };
        let well = health(9, &[]);
        assert!(well.is_well() && well.may_fail == 1 && well.complaint().is_none());
        for ill in [health(60, &[]), health(9, &[3])] {
            assert_eq!((ill.stores_up, ill.under_replicated, ill.may_fail), (2, 1, 0));
            assert!(ill.complaint().expect("one").contains("1 of 3 stores"));
        }
        assert_eq!(health(60, &[2]).may_fail_text(), "some keys cannot be written");
    }
}
