//! Measures Flotilla beside etcd: three stores against three members, with the default durability
//! of both, by the same loop over the public protocol of each, in alternating rounds.
//!
//! **Knows nothing of** how either is built: it starts programs and speaks to their ports.
//!
//! Entry point: `main`. Reading order: `load` (the loop), [`etcd`] and [`fleet`] (the two systems),
//! `nodes` (processes), `metrics`, `report`.

mod etcd;
mod fleet;
mod load;
mod metrics;
mod nodes;
mod report;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use load::{Plan, Sample};
use report::{Figures, Report};
use tokio::signal::unix::{SignalKind, signal};

/// Compare Flotilla with etcd on this machine.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// The program flotilla, built with optimisation
    #[arg(long)]
    flotilla: PathBuf,
    /// The program etcd; fetched where not given
    #[arg(long)]
    etcd: Option<PathBuf>,
    /// Rounds of each system
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Clients, each with one call under way at a time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// Connections to the leader that the clients share
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Seconds that each measurement lasts
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Seconds of the same load before each measurement
    #[arg(long, default_value_t = 3)]
    warm_up_seconds: u64,
    /// Different keys
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Bytes of each value
    #[arg(long, default_value_t = 128)]
    value_bytes: usize,
    /// Directory for the data of both, on the disk to be measured
    #[arg(long)]
    data: Option<PathBuf>,
    /// Also write the report to this file
    #[arg(long)]
    out: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    // Either way `run` is dropped or done before this returns, and with it processes and data.
    tokio::select! {
        done = run(args) => done,
        interrupted = interruption() => {
            interrupted.context("cannot wait for an interruption")?;
            anyhow::bail!("interrupted; processes and data are removed")
        }
    }
}

/// Waits for the terminal, or whoever started this, to end it.
async fn interruption() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _terminated = terminate.recv() => Ok(()),
        _hung_up = hang_up.recv() => Ok(()),
    }
}

async fn run(args: Args) -> Result<()> {
    let etcd = match &args.etcd {
        Some(path) => path.clone(),
        None => fetch_etcd(args.flotilla.parent().unwrap_or(Path::new("."))).await?,
    };
    ensure!(args.flotilla.is_file(), "{} is not there", args.flotilla.display());
    let base = args.data.clone().unwrap_or_else(std::env::temp_dir);
    let disk = report::disk_of(&base)?;
    let load = report::load_average()?;
    let plan = Plan {
        clients: args.clients,
        keys: args.keys,
        value_bytes: args.value_bytes,
        warm_up: Duration::from_secs(args.warm_up_seconds),
        duration: Duration::from_secs(args.seconds),
    };
    let mut figures = Figures::default();
    for round in 1..=args.rounds {
        // A fresh cluster each time, and only one at a time: neither pays for the other's idling
        // or for data of an earlier round. The order changes, so that neither always goes first.
        let order = if round % 2 == 1 { ["flotilla", "etcd"] } else { ["etcd", "flotilla"] };
        for system in order {
            announce(&format!("round {round} of {}: {system}", args.rounds));
            let scratch = nodes::Scratch::new(&base)?;
            if system == "etcd" {
                let cluster = etcd::Etcd::start(&etcd, &scratch, args.connections).await?;
                let puts = load::puts(&plan, cluster.target()).await?;
                let gets = load::gets(&plan, cluster.target()).await?;
                figures.etcd(puts, gets);
                cluster.stop().await?;
            } else {
                let connections = args.connections;
                let cluster = fleet::Fleet::start(&args.flotilla, &scratch, connections).await?;
                let before = cluster.syncs().await?;
                let puts = load::puts(&plan, cluster.target()).await?;
                let syncs = cluster.syncs().await?.since(before);
                let gets = load::gets(&plan, cluster.target()).await?;
                figures.flotilla(puts, gets, syncs);
                cluster.stop().await?;
            }
        }
    }
    let text = Report { figures: &figures, plan: &plan, args: &args, disk: &disk, load: &load }
        .markdown()?;
    show(&text);
    if let Some(path) = &args.out {
        std::fs::write(path, &text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

async fn fetch_etcd(directory: &Path) -> Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fetch-etcd.sh");
    let mut command = tokio::process::Command::new(&script);
    command.arg(directory.join("compare")).stderr(std::process::Stdio::inherit());
    let output = command.kill_on_drop(true).output().await?;
    ensure!(output.status.success(), "{} failed; give a path with --etcd", script.display());
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

#[expect(clippy::print_stderr, reason = "a command line program: progress goes to the terminal")]
fn announce(text: &str) {
    eprintln!("{text}");
}

#[expect(clippy::print_stdout, reason = "a command line program: the report is its output")]
fn show(text: &str) {
    println!("{text}");
}

/// One line about a measurement, while the next one runs.
fn announce_sample(name: &str, sample: &Sample) {
    announce(&format!("  {name}: {:.0}/s, p50 {} µs", sample.rate(), sample.micros(50.0)));
}
