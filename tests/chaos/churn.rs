//! Regions change while a cluster is hurt: they are split where clients have keys, moved to stores that have no peer of
//! theirs, and handed over.
//!
//! Whatever is refused or fails is counted, and no more: the next one is tried. But of each kind some must have been carried
//! out, and some faults must have met a move. What stores were in the middle of when they ended is looked for on their
//! disks, and told by their next starts; a long run must have met each of it but splits.

use std::{
    fmt,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use flotilla_base::{Peer, PeerRole, Rng, StoreId};
use flotilla_client::{Bytes, Client, KeyRange, OperatorInfo, RegionChange, RegionInfo};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    arena::{Invalid, Outcome},
    common::{LIVENESS, cluster::Cluster},
};

/// What each call may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long the end of one change is waited for: the store that it needs may be down.
const PATIENCE: Duration = Duration::from_secs(8);
/// Time between two looks at a change that is under way.
const LOOK: Duration = Duration::from_millis(30);
/// Time between two changes of one kind.
const PERIOD: Duration = Duration::from_millis(100);
/// The same for splits once there are so many regions: each costs every store its share.
const MANY: usize = 60;
const PERIOD_OF_MANY: Duration = Duration::from_secs(2);
/// Moves that are under way at the same time.
const MOVERS: u64 = 3;
/// Most faults wait so long for the end of a move.
const REST: Duration = Duration::from_secs(5);
/// So many changes of each kind must have been carried out, and so many faults must have met one.
const LEAST: u64 = 3;

/// Keys that stay as they are, so that there is something to send.
const FILL_KEYS: u64 = 600;
const FILL_BYTES: usize = 4 << 10;

fn filling(number: u64) -> Bytes {
    format!("b/{number:04}").into()
}

/// The value does not shrink much where it is compressed.
fn filled(number: u64) -> Bytes {
    let mut rng = Rng::lane(17, number);
    (0..FILL_BYTES).map(|_| b'!' + u8::try_from(rng.below(90)).expect("below 90")).collect()
}

/// What stores were in the middle of when they ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Interrupted {
    /// Parts of split regions that had not begun.
    pub(crate) splits: u64,
    /// Snapshots that were arriving, or whole and not put in place.
    pub(crate) snapshots: u64,
    /// Snapshots that were being put in place.
    pub(crate) installs: u64,
    /// Peers that were ending, and keys of theirs that were not cleaned.
    pub(crate) destroys: u64,
}

impl Interrupted {
    pub(crate) fn add(&mut self, more: Self) {
        self.splits += more.splits;
        self.snapshots += more.snapshots;
        self.installs += more.installs;
        self.destroys += more.destroys;
    }

    /// Splits are counted and not asked for: the moment between the birth of a part and its first write is short.
    const fn has_enough(&self) -> bool {
        self.snapshots > 0 && self.installs > 0 && self.destroys > 0
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { splits, snapshots, installs, destroys } = self;
        write!(
            formatter,
            "{splits} splits, {snapshots} snapshots, {installs} installs, {destroys} destroys"
        )
    }
}

/// What came of the changes of a run.
#[derive(Debug)]
pub(crate) struct Changed {
    counts: Arc<Counts>,
    interrupted: Interrupted,
    must_meet_all: bool,
}

impl Changed {
    /// A run of which regions took no notice says nothing about them, nor does a long one that met only some of what they
    /// do.
    pub(crate) fn ensure_effect(&self) -> Outcome {
        self.counts.ensure_effect()?;
        let has_met = !self.must_meet_all || self.interrupted.has_enough();
        let otherwise = || Invalid(format!("of these nothing was interrupted: {self}"));
        has_met.then_some(()).ok_or_else(otherwise)
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}; interrupted: {}", self.counts, self.interrupted)
    }
}

/// What was carried out so far.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    splits: AtomicU64,
    moves: AtomicU64,
    transfers: AtomicU64,
    /// Changes that were refused, or whose end nobody saw.
    failed: AtomicU64,
    /// Moves that are under way.
    moving: AtomicU64,
    /// One of them has been carried out.
    moved: Notify,
    /// A split is asked for.
    splitting: Notify,
    /// Faults that began while a region moved.
    met: AtomicU64,
}

impl Counts {
    fn ensure_effect(&self) -> Outcome {
        let Self { splits, moves, transfers, met, .. } = self;
        let is_enough = |count: &AtomicU64| count.load(Ordering::Relaxed) >= LEAST;
        let all = [splits, moves, transfers, met].into_iter().all(is_enough);
        all.then_some(()).ok_or_else(|| Invalid(format!("regions changed too seldom: {self}")))
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { splits, moves, transfers, failed, met, .. } = self;
        let [splits, moves, transfers, failed, met] =
            [splits, moves, transfers, failed, met].map(|count| count.load(Ordering::Relaxed));
        write!(
            formatter,
            "{splits} splits, {moves} moves, {transfers} transfers, {failed} without success; {met} faults met a move"
        )
    }
}

/// What changes regions.
#[derive(Debug)]
pub(crate) struct Churn {
    tasks: JoinSet<()>,
    is_over: watch::Sender<bool>,
    counts: Arc<Counts>,
    interrupted: Interrupted,
    must_meet_all: bool,
}

/// One of those who change regions, each in its own way.
#[derive(Debug)]
struct Changer {
    client: Client,
    stores: Vec<StoreId>,
    rng: Rng,
    counts: Arc<Counts>,
}

impl Churn {
    /// Fills the regions, and begins to change them.
    pub(crate) async fn start(cluster: &Cluster, seed: u64, must_meet_all: bool) -> Self {
        let client = cluster.client(DEADLINE).await;
        let raw = client.raw().with_deadline(LIVENESS);
        for first in (0..FILL_KEYS).step_by(50) {
            let pairs = (first..first + 50).map(|number| (filling(number), filled(number)));
            raw.batch_put(pairs).await.expect("written");
        }
        let stores = client.admin().with_deadline(LIVENESS).stores().await.expect("they are known");
        let stores: Vec<StoreId> = stores.into_iter().map(|store| store.id).collect();
        let (is_over, counts) = (watch::Sender::new(false), Arc::new(Counts::default()));
        let mut tasks = JoinSet::new();
        let changer = |lane| Changer {
            client: client.clone(),
            stores: stores.clone(),
            rng: Rng::lane(seed, lane),
            counts: Arc::clone(&counts),
        };
        tasks.spawn(repeat(is_over.subscribe(), changer(0), Changer::split));
        tasks.spawn(repeat(is_over.subscribe(), changer(1), Changer::transfer));
        for lane in 2..2 + MOVERS {
            tasks.spawn(repeat(is_over.subscribe(), changer(lane), Changer::move_a_peer));
        }
        Self { tasks, is_over, counts, interrupted: Interrupted::default(), must_meet_all }
    }

    /// Returns when a move has been carried out since the last time. Not all of them can be: what was begun may wait for a
    /// placement driver that has forgotten it.
    pub(crate) async fn get_on(&self) {
        let _none_in_time = timeout(REST, self.counts.moved.notified()).await.is_err();
    }

    /// Returns when the next split is asked for.
    pub(crate) async fn until_split(&self) {
        let _none_in_time = timeout(REST, self.counts.splitting.notified()).await.is_err();
    }

    /// So much was found to have been interrupted by a fault.
    pub(crate) fn found(&mut self, interrupted: Interrupted) {
        self.interrupted.add(interrupted);
    }

    /// A fault begins.
    pub(crate) fn meets_fault(&self) {
        let meets = self.counts.moving.load(Ordering::Relaxed) > 0;
        self.counts.met.fetch_add(u64::from(meets), Ordering::Relaxed);
    }

    /// Lets all come to their ends; what the placement driver has begun goes on.
    pub(crate) async fn end(mut self) -> Changed {
        self.is_over.send_replace(true);
        while let Some(changer) = self.tasks.join_next().await {
            changer.expect("no change of a region panics");
        }
        let Self { counts, interrupted, must_meet_all, .. } = self;
        Changed { counts, interrupted, must_meet_all }
    }
}

/// What every key that stays is read back as.
pub(crate) async fn read_filling_back(client: &Client) -> Result<(), String> {
    let raw = client.raw().with_deadline(LIVENESS);
    let found = raw.scan(KeyRange::new("b/", "b0")).collect().await;
    let found = found.map_err(|error| error.to_string())?;
    let expected = (0..FILL_KEYS).map(|number| (filling(number), filled(number)));
    let is_whole = found.into_iter().map(|pair| (pair.key, pair.value)).eq(expected);
    is_whole
        .then_some(())
        .ok_or_else(|| "keys that nobody wrote again are not as they were".to_owned())
}

async fn repeat<F: Future<Output = Changer> + Send>(
    is_over: watch::Receiver<bool>,
    mut changer: Changer,
    change: fn(Changer) -> F,
) {
    while !*is_over.borrow() {
        changer = change(changer).await;
        sleep(PERIOD).await;
    }
}

impl Changer {
    async fn split(mut self) -> Self {
        let regions = self.regions().await;
        if regions.len() > MANY {
            sleep(PERIOD_OF_MANY).await;
        }
        let at = self.draw_key();
        self.counts.splitting.notify_waiters();
        let is_split = self.client.admin().split([at]).await.is_ok_and(|cuts| !cuts.is_empty());
        self.count(is_split, |counts| &counts.splits);
        self
    }

    /// Where clients have keys: at one of them, or between two.
    fn draw_key(&mut self) -> Bytes {
        let (kind, number) = (self.rng.below(6), self.rng.below(12));
        let between = if self.rng.chance(500) { "~" } else { "" };
        let key = match kind {
            0 => format!("r/{number:02}"),
            1 => format!("c/{number:06}"),
            2 => format!("w/{number:06}"),
            3 => format!("s/{number:06}/{}-{}", 1 + self.rng.below(9), self.rng.below(100)),
            _ => return filling(self.rng.below(FILL_KEYS)),
        };
        [key.as_str(), between].concat().into()
    }

    /// A peer of some region goes to a store that has none.
    async fn move_a_peer(mut self) -> Self {
        let regions = self.regions().await;
        let Some(info) = pick(&regions, &mut self.rng) else { return self };
        let is_member = |store: &StoreId| info.region.peer_on(*store).is_some();
        let (members, others): (Vec<_>, Vec<_>) = self.stores.iter().copied().partition(is_member);
        let ends = (pick(&members, &mut self.rng), pick(&others, &mut self.rng));
        let (Some(from), Some(to)) = ends else { return self };
        self.counts.moving.fetch_add(1, Ordering::Relaxed);
        let is_moved = self.change(&info, RegionChange::MovePeer { from, to }).await;
        self.counts.moving.fetch_sub(1, Ordering::Relaxed);
        if is_moved {
            self.counts.moved.notify_one();
        }
        self.count(is_moved, |counts| &counts.moves);
        self
    }

    async fn transfer(mut self) -> Self {
        let regions = self.regions().await;
        let Some(info) = pick(&regions, &mut self.rng) else { return self };
        let leader = info.leader.map(|leader| leader.id);
        let is_heir = |peer: &&Peer| peer.role == PeerRole::Voter && Some(peer.id) != leader;
        let heirs = info.region.peers.iter().filter(is_heir).map(|peer| peer.store);
        let Some(to) = pick(&heirs.collect::<Vec<_>>(), &mut self.rng) else { return self };
        let is_led = self.change(&info, RegionChange::TransferLeader(to)).await;
        self.count(is_led, |counts| &counts.transfers);
        self
    }

    fn count(&self, is_done: bool, done: fn(&Counts) -> &AtomicU64) {
        let count = if is_done { done(&self.counts) } else { &self.counts.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// The regions as the placement driver knows them; none where it does not answer.
    async fn regions(&self) -> Vec<RegionInfo> {
        self.client.admin().regions(KeyRange::all(), usize::MAX).await.unwrap_or_default()
    }

    /// Whether a region was changed, and that was seen.
    async fn change(&self, info: &RegionInfo, change: RegionChange) -> bool {
        let (admin, region) = (self.client.admin(), info.region.id);
        let Ok(operator) = admin.change_region(region, change).await else { return false };
        let ending = async {
            loop {
                sleep(LOOK).await;
                let Ok(operators) = admin.operators().await else { continue };
                if operators.running.iter().all(|running| running.id != operator.id) {
                    let is_it = |it: &&OperatorInfo| as_asked(it, &operator);
                    break operators.ended.iter().find(is_it).and_then(|it| it.ending.clone());
                }
            }
        };
        let ending = timeout(PATIENCE, ending).await.ok().flatten();
        ending.is_some_and(|ending| ending.outcome == "finished")
    }
}

/// Another placement driver may give the same number to another change.
fn as_asked(one: &OperatorInfo, other: &OperatorInfo) -> bool {
    (one.id, one.region, &one.brief) == (other.id, other.region, &other.brief)
}

fn pick<T: Clone>(from: &[T], rng: &mut Rng) -> Option<T> {
    let count = u64::try_from(from.len()).expect("small");
    (count > 0).then(|| from[usize::try_from(rng.below(count)).expect("small")].clone())
}
