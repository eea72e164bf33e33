//! The load: clients of several kinds, each of which records what it asked and what it was told.
//!
//! All are slow on purpose: the tests are about order, not about speed, and the machine has other work.

use std::{sync::Arc, time::Duration};

use flotilla_base::Rng;
use flotilla_client::{Applied, Client, ClientOptions, KeyRange, KeyValue, RawKv};
use flotilla_histcheck::{Request, Response, Value};
use parking_lot::Mutex;
use tikv_client::RawClient;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    common::LIVENESS,
    counters::{self, Swapped},
    ledger::Ledger,
    pinned,
};

/// Keys that all clients write and read.
const REGISTERS: u64 = 12;
/// Elements of one batch.
const BATCH: u64 = 8;
/// Elements of one set: a read lists them all.
const SET_ELEMENTS: u64 = 320;
/// Time between two calls of one client.
const REGISTER_PERIOD: Duration = Duration::from_millis(8);
const SET_PERIOD: Duration = Duration::from_millis(60);
const CLOCK_PERIOD: Duration = Duration::from_millis(20);
/// Half of the calls have little time, so that some are given up while nobody leads.
const HASTE: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(2);

/// Which clients a run has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Clients that put and get registers.
    pub(crate) registers: u32,
    /// Clients that add to counters and swap words.
    pub(crate) counters: u32,
    /// Clients that put batches of unique keys, or read all keys of a set.
    pub(crate) sets: u32,
    /// The same through the published client.
    pub(crate) published: u32,
    /// Readers at each store, whoever leads.
    pub(crate) pinned: u32,
    /// Bytes behind the value of a register.
    pub(crate) padding: usize,
}

/// The clients of a run, and what is read back in the end.
#[derive(Debug)]
pub(crate) struct Load {
    tasks: JoinSet<()>,
    raw: RawKv,
    ledger: Arc<Ledger>,
    sets: Arc<Sets>,
    swapped: Arc<Swapped>,
    /// Whether followers serve reads; `None` where no store was asked.
    pub(crate) serves_followers: Option<bool>,
}

/// Numbered vessels that are filled one after the other, each up to `SIZE`.
#[derive(Debug, Default)]
pub(crate) struct Filled<const SIZE: u64>(Mutex<u64>);

impl<const SIZE: u64> Filled<SIZE> {
    /// The number of the one that takes so much more.
    pub(crate) fn grow(&self, amount: u64) -> u64 {
        let mut sum = self.0.lock();
        *sum += amount;
        (*sum - 1) / SIZE
    }

    /// How many were begun.
    pub(crate) fn count(&self) -> u64 {
        self.0.lock().div_ceil(SIZE)
    }
}

/// The sets so far: each is full at some time, and then only read.
type Sets = Filled<SET_ELEMENTS>;

fn register(number: u64) -> String {
    format!("r/{number:02}")
}

fn set(number: u64) -> String {
    format!("s/{number:06}")
}

/// The range of a set's elements.
fn elements(set: &str) -> [String; 2] {
    [format!("{set}/"), format!("{set}0")]
}

/// The part of a key behind its set.
fn element(key: &[u8]) -> Value {
    let key = std::str::from_utf8(key).expect("keys are text");
    key.rsplit('/').next().expect("at least one part").into()
}

/// What was read of a register: the value without what pads it.
pub(crate) fn content(bytes: Option<&[u8]>) -> Response {
    Response::Found(bytes.map(|bytes| {
        let text = std::str::from_utf8(bytes).expect("values are text");
        text.split(' ').next().expect("at least one word").into()
    }))
}

impl Load {
    /// Starts the clients of `plan` with the placement driver at `pd`.
    pub(crate) async fn start(plan: Plan, pd: &str, seed: u64, ledger: &Arc<Ledger>) -> Self {
        let sets = Arc::new(Sets::default());
        let mut tasks = JoinSet::new();
        let hand = || Hand::new(ledger, &sets, seed);
        for _client in 0..plan.registers {
            tasks.spawn(use_registers(hand(), connect(pd).await.raw(), plan.padding));
        }
        let swapped = Arc::new(Swapped::default());
        for _client in 0..plan.counters {
            tasks.spawn(counters::swap(hand(), connect(pd).await.raw(), Arc::clone(&swapped)));
        }
        for _client in 0..plan.sets {
            tasks.spawn(use_sets(hand(), Own(connect(pd).await.raw())));
        }
        for _client in 0..plan.published {
            let raw = RawClient::new(vec![pd]).await.expect("the cluster answers");
            tasks.spawn(use_sets(hand(), Published(raw)));
        }
        let client = connect(pd).await;
        tasks.spawn(use_clock(Arc::clone(ledger), client.clone()));
        let mut serves_followers = None;
        if plan.pinned > 0 {
            let targets = pinned::targets(&client, &register(0)).await;
            serves_followers = Some(pinned::serve_followers(&targets).await);
            for target in targets {
                for _client in 0..plan.pinned {
                    let (hand, target) = (hand(), target.clone());
                    let key = |hand: &mut Hand| register(hand.rng.below(REGISTERS));
                    tasks.spawn(pinned::read(hand, target, serves_followers == Some(true), key));
                }
            }
        }
        let (raw, ledger) = (client.raw(), Arc::clone(ledger));
        Self { tasks, raw, ledger, sets, swapped, serves_followers }
    }

    /// Lets all clients come to their ends, and reads everything back.
    pub(crate) async fn finish(mut self) {
        self.ledger.end();
        while let Some(client) = self.tasks.join_next().await {
            client.expect("no client fails a check of its own");
        }
        Box::pin(self.read_back()).await;
    }

    /// Reads everything that was ever written, with patience.
    pub(crate) async fn read_back(&self) {
        let raw = self.raw.with_deadline(LIVENESS);
        let reader = self.ledger.new_client();
        for number in 0..REGISTERS {
            let key = register(number);
            let read = vec![(key.clone(), Request::Read)];
            let call = async {
                let found = raw.get(key).await.expect("the cluster is up");
                Ok(content(found.as_deref()))
            };
            self.ledger.attempt(reader, read, call).await;
        }
        counters::read_back(&self.ledger, &raw, &self.swapped).await;
        let own = Own(raw);
        for number in 0..self.sets.count() {
            let name = set(number);
            let call = async { Ok(own.list(elements(&name)).await.expect("the cluster is up")) };
            let read = vec![(name.clone(), Request::SetRead)];
            Box::pin(self.ledger.attempt(reader, read, call)).await;
        }
    }
}

async fn connect(pd: &str) -> Client {
    let options = ClientOptions {
        deadline: PATIENCE,
        // A repetition could undo what another client wrote in between.
        repeat_unknown_writes: false,
        ..ClientOptions::default()
    };
    Client::connect(&[pd], options).await.expect("the cluster answers")
}

/// What every client holds.
pub(crate) struct Hand {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) rng: Rng,
    pub(crate) number: u64,
    sets: Arc<Sets>,
    sequence: u64,
}

impl Hand {
    fn new(ledger: &Arc<Ledger>, sets: &Arc<Sets>, seed: u64) -> Self {
        let number = ledger.new_client();
        let (ledger, sets) = (Arc::clone(ledger), Arc::clone(sets));
        Self { ledger, rng: Rng::lane(seed, number), number, sets, sequence: 0 }
    }

    /// A value that nobody else writes.
    pub(crate) fn unique(&mut self) -> String {
        self.sequence += 1;
        format!("{}-{}", self.number, self.sequence)
    }

    pub(crate) fn patience(&mut self) -> Duration {
        if self.rng.chance(500) { HASTE } else { PATIENCE }
    }

    pub(crate) async fn attempt(
        &mut self,
        asked: Vec<(String, Request)>,
        call: impl Future<Output = Result<Response, Applied>>,
    ) {
        self.number = self.ledger.attempt(self.number, asked, call).await;
    }
}

async fn use_registers(mut hand: Hand, raw: RawKv, padding: usize) {
    while !hand.ledger.is_over() {
        sleep(REGISTER_PERIOD).await;
        let key = register(hand.rng.below(REGISTERS));
        let raw = raw.with_deadline(hand.patience());
        if hand.rng.chance(500) {
            let value = hand.unique();
            let asked = Request::Write(Some(value.as_str().into()));
            let bytes = format!("{value} {}", "x".repeat(padding));
            let put = async { raw.put(key.clone(), bytes).await };
            let call = async { put.await.map(|()| Response::Written).map_err(|it| it.applied()) };
            Box::pin(hand.attempt(vec![(key.clone(), asked)], call)).await;
        } else {
            let call = async {
                let found = raw.get(key.clone()).await;
                found.map(|found| content(found.as_deref())).map_err(|it| it.applied())
            };
            hand.attempt(vec![(key.clone(), Request::Read)], call).await;
        }
    }
}

/// A client that can put many keys and list a range.
trait Lists: Send + Sync + 'static {
    fn put(&self, keys: Vec<String>) -> impl Future<Output = Result<(), Applied>> + Send;
    fn list(&self, range: [String; 2]) -> impl Future<Output = Result<Response, Applied>> + Send;
}

struct Own(RawKv);

struct Published(RawClient);

impl Lists for Own {
    async fn put(&self, keys: Vec<String>) -> Result<(), Applied> {
        let pairs: Vec<(String, String)> = keys.into_iter().map(|key| (key.clone(), key)).collect();
        self.0.batch_put(pairs).await.map_err(|error| error.applied())
    }

    async fn list(&self, [start, end]: [String; 2]) -> Result<Response, Applied> {
        let pairs = self.0.scan(KeyRange::new(start, end)).collect().await;
        pairs.map(|pairs| listed(&pairs)).map_err(|error| error.applied())
    }
}

/// It repeats by itself and does not say what became of an attempt: a failed call is in doubt. So is one that
/// succeeded and cannot be read back: version 0.4 was seen to report success while no node was up.
impl Lists for Published {
    async fn put(&self, keys: Vec<String>) -> Result<(), Applied> {
        let pairs = keys.iter().map(|key| (key.clone(), key.clone()));
        self.0.batch_put(pairs).await.or(Err(Applied::Unknown))?;
        let found = self.0.batch_get(keys.iter().cloned()).await.or(Err(Applied::Unknown))?;
        if found.len() == keys.len() { Ok(()) } else { Err(Applied::Unknown) }
    }

    async fn list(&self, [start, end]: [String; 2]) -> Result<Response, Applied> {
        let limit = u32::try_from(2 * SET_ELEMENTS).expect("small");
        let keys = self.0.scan_keys(start..end, limit).await;
        let keys = keys.or(Err(Applied::No))?;
        let values = keys.into_iter().map(|key| element(&Vec::<u8>::from(key)));
        Ok(Response::Elements(values.collect()))
    }
}

fn listed(pairs: &[KeyValue]) -> Response {
    Response::Elements(pairs.iter().map(|pair| element(&pair.key)).collect())
}

async fn use_sets(mut hand: Hand, client: impl Lists) {
    while !hand.ledger.is_over() {
        sleep(SET_PERIOD).await;
        if hand.sets.count() > 0 && hand.rng.chance(300) {
            // Old sets are read as well: what was acknowledged stays for ever.
            let name = set(hand.rng.below(hand.sets.count()));
            let call = client.list(elements(&name));
            hand.attempt(vec![(name, Request::SetRead)], call).await;
            continue;
        }
        let name = set(hand.sets.grow(BATCH));
        let elements: Vec<String> = (0..BATCH).map(|_| hand.unique()).collect();
        let keys = elements.iter().map(|element| format!("{name}/{element}")).collect();
        let add = |it: String| (name.clone(), Request::SetAdd(it.as_str().into()));
        let asked = elements.into_iter().map(add).collect();
        let call = async { client.put(keys).await.map(|()| Response::Written) };
        hand.attempt(asked, call).await;
    }
}

/// Timestamps only grow, whatever becomes of the placement driver.
async fn use_clock(ledger: Arc<Ledger>, client: Client) {
    let mut last = None;
    while !ledger.is_over() {
        sleep(CLOCK_PERIOD).await;
        let Ok(next) = client.admin().with_deadline(HASTE).tso().await else { continue };
        let next = (next.physical_millis, next.logical);
        if last.is_some_and(|last| last >= next) {
            ledger.complain(format!("timestamp {next:?} was handed out after {last:?}"));
        }
        last = Some(next);
    }
}
