//! Nothing that was acknowledged is ever missing: rounds of SIGKILL under load, with clients that check
//! what was acknowledged to them.
//!
//! Each round kills one store, the placement driver, or everything, at a moment that is counted in
//! acknowledged writes; waits until the survivors make progress; starts what is down; and waits until
//! every client makes progress again. In the end everything is read back.

mod common;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use common::{LIVENESS, cluster::Cluster, say};
use flotilla_base::Rng;
use flotilla_client::{Applied, KeyRange, RawKv};
use tokio::{sync::watch, task::JoinSet, time::timeout};

const CLIENTS: u32 = 16;
/// Keys that each client writes again and again.
const REGISTERS: u64 = 16;
/// Time for every second append. Between a kill and the next leader that is too little, so that some are
/// refused for certain.
const HASTE: Duration = Duration::from_millis(100);
/// Rounds of every test run; `fifty_rounds` is for `make kill-rounds`.
const SAMPLED_ROUNDS: u32 = 10;

#[test]
fn sampled_rounds() {
    run(SAMPLED_ROUNDS, 1);
}

#[test]
#[ignore = "takes minutes: make kill-rounds"]
fn fifty_rounds() {
    run(50, 2);
}

fn run(rounds: u32, seed: u64) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(rounds_of(rounds, seed));
}

/// What the clients and the test share.
struct Load {
    acknowledged: watch::Sender<u64>,
    is_over: AtomicBool,
    failures: AtomicU64,
}

impl Load {
    /// Waits for so many more acknowledged writes. How fast they come depends on the machine; but there must
    /// never be silence for long.
    async fn progress(&self, more: u64, what: &str) {
        let mut acknowledged = self.acknowledged.subscribe();
        let wanted = *acknowledged.borrow_and_update() + more;
        while *acknowledged.borrow_and_update() < wanted {
            let next = timeout(LIVENESS, acknowledged.changed()).await;
            assert!(matches!(next, Ok(Ok(()))), "no progress {what}");
        }
    }
}

async fn rounds_of(rounds: u32, seed: u64) {
    let mut cluster = Cluster::start(3);
    let client = cluster.client(Duration::from_secs(5)).await;
    let load = Arc::new(Load {
        acknowledged: watch::Sender::new(0),
        is_over: AtomicBool::new(false),
        failures: AtomicU64::new(0),
    });
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let writer = Writer::new(number, seed, client.raw(), Arc::clone(&load));
        clients.spawn(writer.run());
    }
    let mut rng = Rng::lane(seed, 1_000);
    load.progress(100, "before the first round").await;
    for round in 1..=rounds {
        load.progress(1 + rng.below(3_000), "under full load").await;
        let (what, is_majority_left) = match rng.below(6) {
            0 => {
                cluster.kill(Cluster::PD);
                ("the placement driver".to_owned(), true)
            }
            1 => {
                cluster.kill_all();
                ("everything".to_owned(), false)
            }
            _ => {
                let victim = 1 + usize::try_from(rng.below(3)).expect("small");
                cluster.kill(victim);
                (format!("store {victim}"), true)
            }
        };
        if is_majority_left {
            load.progress(1 + rng.below(200), "while a minority is down").await;
        }
        cluster.revive_all();
        load.progress(u64::from(CLIENTS) * 4, "after the round").await;
        say(&format!(
            "round {round}/{rounds}: killed {what}; {} writes acknowledged, {} calls failed",
            *load.acknowledged.borrow(),
            load.failures.load(Ordering::Relaxed),
        ));
    }
    load.is_over.store(true, Ordering::Relaxed);
    let (mut appended, mut refused) = (0, 0);
    while let Some(writer) = clients.join_next().await {
        let mut writer = writer.expect("no client fails a check");
        writer.check_everything().await;
        appended += writer.appended.len();
        refused += writer.refused.len();
    }
    say(&format!(
        "{appended} appended keys, {refused} refused ones and {} registers read back",
        u64::from(CLIENTS) * REGISTERS
    ));
}

/// The only one who writes its keys. It appends keys that are written once, and overwrites registers.
struct Writer {
    number: u32,
    raw: RawKv,
    load: Arc<Load>,
    rng: Rng,
    sequence: u64,
    /// Keys that were acknowledged, and such as were certainly not written.
    appended: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    registers: Vec<Register>,
}

/// What a register may hold.
#[derive(Clone, Debug, Default)]
struct Register {
    /// The last value that was acknowledged or read; `None` before the first.
    certain: Option<u64>,
    /// Values whose writing failed without certainty: each may still appear, at any time, once.
    possible: BTreeSet<u64>,
}

impl Register {
    /// Whether this may be read; it is what is certain from then on.
    fn may_hold(&mut self, found: Option<u64>) -> bool {
        if found == self.certain {
            return true;
        }
        let late = found.filter(|value| self.possible.remove(value));
        self.certain = late.or(self.certain);
        late.is_some()
    }
}

#[test]
fn a_register_accepts_what_was_acknowledged_or_is_in_doubt_and_nothing_else() {
    let mut register = Register { certain: Some(3), possible: BTreeSet::from([2, 4]) };
    for (found, is_right) in [
        (Some(3), true),
        (None, false),
        (Some(1), false),
        (Some(2), true),
        (Some(3), false),
        (Some(4), true),
        (Some(2), false),
        (Some(4), true),
    ] {
        assert_eq!(register.may_hold(found), is_right, "{found:?} {register:?}");
    }
}

impl Writer {
    fn new(number: u32, seed: u64, raw: RawKv, load: Arc<Load>) -> Self {
        let registers = vec![Register::default(); usize::try_from(REGISTERS).expect("few")];
        let rng = Rng::lane(seed, u64::from(number));
        let (appended, refused) = (BTreeSet::new(), BTreeSet::new());
        Self { number, raw, load, rng, sequence: 0, appended, refused, registers }
    }

    async fn run(mut self) -> Self {
        while !self.load.is_over.load(Ordering::Relaxed) {
            self.sequence += 1;
            match self.rng.below(4) {
                0 => self.append().await,
                1 => self.check_register().await,
                _ => self.overwrite().await,
            }
        }
        self
    }

    fn append_key(&self, sequence: u64) -> String {
        format!("append/{:03}/{sequence:010}", self.number)
    }

    fn register_key(&self, position: usize) -> String {
        format!("register/{:03}/{position:03}", self.number)
    }

    fn draw(&mut self) -> usize {
        usize::try_from(self.rng.below(REGISTERS)).expect("few")
    }

    fn failed(&self, error: &flotilla_client::Error) {
        self.load.failures.fetch_add(1, Ordering::Relaxed);
        assert_ne!(error.applied(), Applied::Yes, "{error}");
    }

    async fn append(&mut self) {
        let key = self.append_key(self.sequence);
        let raw =
            if self.rng.chance(500) { self.raw.with_deadline(HASTE) } else { self.raw.clone() };
        match raw.put(key.clone(), key).await {
            Ok(()) => {
                self.appended.insert(self.sequence);
                self.load.acknowledged.send_modify(|count| *count += 1);
            }
            Err(error) => {
                if error.applied() == Applied::No {
                    self.refused.insert(self.sequence);
                }
                self.failed(&error);
            }
        }
    }

    async fn overwrite(&mut self) {
        let (position, value) = (self.draw(), self.sequence);
        let outcome = self.raw.put(self.register_key(position), value.to_string()).await;
        let register = &mut self.registers[position];
        match outcome {
            Ok(()) => {
                register.certain = Some(value);
                self.load.acknowledged.send_modify(|count| *count += 1);
            }
            Err(error) => {
                // What is certainly not applied must never appear.
                if error.applied() == Applied::Unknown {
                    register.possible.insert(value);
                }
                self.failed(&error);
            }
        }
    }

    async fn check_register(&mut self) {
        let position = self.draw();
        match self.raw.get(self.register_key(position)).await {
            Ok(found) => self.judge(position, found.as_deref()),
            Err(error) => self.failed(&error),
        }
    }

    fn judge(&mut self, position: usize, found: Option<&[u8]>) {
        let key = self.register_key(position);
        let register = &mut self.registers[position];
        let found = found.map(|bytes| {
            let text = std::str::from_utf8(bytes).expect("we wrote text");
            text.parse::<u64>().expect("we wrote a number")
        });
        assert!(
            register.may_hold(found),
            "{key} holds {found:?}, but {register:?} was acknowledged"
        );
    }

    async fn check_everything(&mut self) {
        let raw = self.raw.with_deadline(LIVENESS);
        for position in 0..self.registers.len() {
            let found = raw.get(self.register_key(position)).await.expect("the cluster is up");
            self.judge(position, found.as_deref());
        }
        let range = KeyRange::new(self.append_key(0), self.append_key(9_999_999_999));
        let pairs = raw.scan(range).collect().await.expect("the cluster is up");
        for pair in &pairs {
            assert_eq!(pair.key, pair.value, "a key holds what was written");
        }
        let found: BTreeSet<&[u8]> = pairs.iter().map(|pair| pair.key.as_ref()).collect();
        assert_eq!(found.len(), pairs.len(), "a scan shows each key once");
        for sequence in &self.appended {
            let key = self.append_key(*sequence);
            assert!(found.contains(key.as_bytes()), "{key} was acknowledged and is missing");
        }
        for sequence in &self.refused {
            let key = self.append_key(*sequence);
            assert!(!found.contains(key.as_bytes()), "{key} was refused and is there");
        }
    }
}
