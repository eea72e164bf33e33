//! `flotilla bench`: a closed loop of many clients, and what it measured.

mod keys;
mod pace;
mod record;
mod report;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use flotilla_base::Rng;
use flotilla_client::{Client, ClientOptions, KeyRange, RawKv};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::{sync::watch, task::JoinSet};

use self::{
    pace::Pace,
    record::{Operation, Recorder},
};
use crate::{
    args::{BenchArgs, Globals, Workload},
    catalogue::{self, Exit},
    context,
    fault::Fault,
    output::{self, Format},
    server::signal::{self, Interrupts},
    text,
};

/// Keys of one scan.
const SCAN_KEYS: u32 = 100;
/// Random bytes that values are cut from: no two neighbouring values are equal, and none compresses.
const POOL_BYTES: usize = 64 << 10;
/// How often the progress bar moves.
const PROGRESS_PERIOD: Duration = Duration::from_millis(200);

/// Runs a benchmark; the exit code.
pub(crate) async fn run(globals: &Globals, args: BenchArgs) -> Result<u8, Fault> {
    let mut interrupts = Interrupts::new()?;
    let options = ClientOptions {
        deadline: globals.timeout,
        connections_per_store: usize::from(args.connections),
        ..ClientOptions::default()
    };
    let (stop, stopped) = watch::channel(false);
    let work = async {
        let client = context::connect_with(globals, options).await?;
        let measured = measure(globals, &args, &client, &stopped).await;
        if args.keep {
            return measured;
        }
        let removed = remove_keys(globals, &args, &client).await;
        // What went wrong first is what the user has to know.
        measured.and(removed)
    };
    tokio::pin!(work);
    let interrupt = tokio::select! {
        done = &mut work => return done.map(|()| Exit::Done as u8),
        interrupt = interrupts.first() => interrupt,
    };
    stop.send_replace(true);
    tokio::select! {
        done = work => done.map(|()| interrupt.exit() as u8),
        // Whoever asks again does not want to wait.
        interrupt = interrupts.again() => {
            if !args.keep {
                let (keys, remover) = (text::counted(args.keys, "key"), remover(globals, &args));
                output::note(&format!(
                    "ended at once; left behind: up to {keys}, {} and following. Remove them: {remover}",
                    text::shown(&key(0)),
                ));
            }
            signal::exit(interrupt)
        }
    }
}

/// Writes the keys where the workload wants them, runs it, and prints what was measured.
async fn measure(
    globals: &Globals,
    args: &BenchArgs,
    client: &Client,
    stopped: &watch::Receiver<bool>,
) -> Result<(), Fault> {
    let values = Values::new(args.value_size);
    let mut loaded = None;
    if args.workload != Workload::Put {
        note(globals, format!("writing {} first …", text::counted(args.keys, "key")));
        let started = Instant::now();
        keys::fill(&client.raw(), args, &values, stopped).await?;
        loaded = Some(started.elapsed());
    }
    if *stopped.borrow() {
        return Ok(());
    }
    let run = Arc::new(Run {
        raw: client.raw(),
        workload: args.workload,
        keys: args.keys,
        values,
        operations: AtomicU64::new(0),
        pace: Pace::new(args.duration, stopped.clone()),
    });
    let started = Instant::now();
    let mut clients = JoinSet::new();
    for number in 0..args.clients {
        clients.spawn(Arc::clone(&run).client(number));
    }
    show_progress(&run, args.duration).await;
    let elapsed = started.elapsed();
    let mut total = Recorder::default();
    while let Some(ended) = clients.join_next().await {
        let recorder =
            ended.map_err(|cause| Fault::new(&catalogue::INTERNAL, cause.to_string()))?;
        total.add(recorder);
    }
    let outcome = report::Outcome { loaded, elapsed, total, stats: client.stats() };
    report::print(globals, args, outcome)
}

/// Removes the keys, those of a run that was broken off as well.
async fn remove_keys(globals: &Globals, args: &BenchArgs, client: &Client) -> Result<(), Fault> {
    let removed = keys::remove(&client.raw(), args).await.map_err(|fault| {
        let fault = fault.about("keys of the benchmark are still there");
        fault.hint(format!("{}   removes them", remover(globals, args)))
    })?;
    note(globals, format!("removed {}; --keep leaves them", text::counted(removed, "key")));
    Ok(())
}

/// The command that removes the keys of `args`.
fn remover(globals: &Globals, args: &BenchArgs) -> String {
    let pd = globals.pd.join(",");
    let pd = if pd.is_empty() { pd } else { format!(" --pd {pd}") };
    format!("flotilla bench put --keys {} --duration 1s{pd}", args.keys)
}

/// A word for people on what happens beside the measurement.
fn note(globals: &Globals, text: String) {
    if globals.output == Format::Table {
        output::note(&text);
    }
}

/// What all clients share.
struct Run {
    raw: RawKv,
    workload: Workload,
    keys: u64,
    values: Values,
    operations: AtomicU64,
    pace: Pace,
}

impl Run {
    async fn client(self: Arc<Self>, number: u32) -> Recorder {
        let mut rng = Rng::lane(0x0f10_7111_a000, u64::from(number));
        let mut recorder = Recorder::default();
        while self.pace.goes_on().await {
            let operation = match self.workload {
                Workload::Get => Operation::Get,
                Workload::Put => Operation::Put,
                Workload::Scan => Operation::Scan,
                Workload::Mixed if rng.chance(500) => Operation::Get,
                Workload::Mixed => Operation::Put,
            };
            let started = Instant::now();
            let outcome = self.operate(operation, &mut rng).await;
            recorder.record(operation, started.elapsed(), outcome.err());
            self.operations.fetch_add(1, Ordering::Relaxed);
        }
        recorder
    }

    async fn operate(
        &self,
        operation: Operation,
        rng: &mut Rng,
    ) -> Result<(), flotilla_client::Error> {
        let key = key(rng.below(self.keys));
        match operation {
            Operation::Get => self.raw.get(key).await.map(|_value| ()),
            Operation::Put => self.raw.put(key, self.values.draw(rng)).await,
            Operation::Scan => {
                let range = KeyRange::new(key, "bench;");
                let scan = self.raw.scan(range).limit(u64::from(SCAN_KEYS)).page(SCAN_KEYS);
                scan.collect().await.map(|_pairs| ())
            }
        }
    }
}

/// The key of a number: 16 bytes, in the order of the numbers.
fn key(number: u64) -> Bytes {
    Bytes::from(format!("bench:{number:010}"))
}

/// Where values come from.
struct Values {
    pool: Bytes,
    size: usize,
}

impl Values {
    fn new(size: usize) -> Self {
        let mut rng = Rng::new(7);
        let words = (POOL_BYTES + size) / 8 + 1;
        let pool: Vec<u8> = (0..words).flat_map(|_| rng.next().to_le_bytes()).collect();
        Self { pool: pool.into(), size }
    }

    fn draw(&self, rng: &mut Rng) -> Bytes {
        let offset = usize::try_from(rng.below(POOL_BYTES as u64)).unwrap_or(0);
        self.pool.slice(offset..offset + self.size)
    }
}

/// A bar on the terminal; nothing elsewhere.
fn progress_bar(length: u64, label: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    let style = ProgressStyle::with_template("{prefix:<5} {bar:32} {msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.set_prefix(label);
    bar
}

async fn show_progress(run: &Run, duration: Duration) {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let bar = progress_bar(millis(duration), "run");
    let started = Instant::now();
    let (mut last, mut last_operations) = (started, 0);
    while !run.pace.is_over() {
        tokio::select! {
            () = tokio::time::sleep(PROGRESS_PERIOD) => {}
            () = run.pace.over() => {}
        }
        let (now, operations) = (Instant::now(), run.operations.load(Ordering::Relaxed));
        #[expect(clippy::cast_precision_loss, reason = "shown without decimals")]
        let rate = (operations - last_operations) as f64 / now.duration_since(last).as_secs_f64();
        (last, last_operations) = (now, operations);
        bar.set_position(millis(started.elapsed()));
        let seconds = started.elapsed().as_secs_f64();
        bar.set_message(format!("{seconds:.1} s   {rate:.0} op/s"));
    }
    bar.finish_and_clear();
}
