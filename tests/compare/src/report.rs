//! The table, with what a reader needs to judge it.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::{
    Args,
    load::{Plan, Sample},
    metrics::Syncs,
};

/// All measurements, in the order of the rounds.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    flotilla_puts: Vec<Sample>,
    flotilla_gets: Vec<Sample>,
    etcd_puts: Vec<Sample>,
    etcd_gets: Vec<Sample>,
    syncs: Vec<Syncs>,
}

impl Figures {
    pub(crate) fn flotilla(&mut self, puts: Sample, gets: Sample, syncs: Syncs) {
        self.flotilla_puts.push(puts);
        self.flotilla_gets.push(gets);
        self.syncs.push(syncs);
    }

    pub(crate) fn etcd(&mut self, puts: Sample, gets: Sample) {
        self.etcd_puts.push(puts);
        self.etcd_gets.push(gets);
    }
}

/// The lowest, middle and highest of some numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

impl Spread {
    fn of(numbers: impl Iterator<Item = f64>) -> Self {
        let mut numbers: Vec<f64> = numbers.collect();
        numbers.sort_by(f64::total_cmp);
        let middle = numbers.len() / 2;
        let median = if numbers.len() % 2 == 1 {
            numbers[middle]
        } else {
            f64::midpoint(numbers[middle - 1], numbers[middle])
        };
        Self { min: numbers[0], median, max: numbers[numbers.len() - 1] }
    }
}

/// Everything that goes into the text.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    pub(crate) figures: &'a Figures,
    pub(crate) plan: &'a Plan,
    pub(crate) args: &'a Args,
    pub(crate) disk: &'a str,
    /// What else the machine did: a comparison beside other work is worth little.
    pub(crate) load: &'a str,
}

impl Report<'_> {
    pub(crate) fn markdown(&self) -> Result<String> {
        let Self { figures, plan, args, .. } = self;
        let mut text = String::new();
        writeln!(text, "# Flotilla beside etcd 3.5.1\n")?;
        self.write_conditions(&mut text)?;
        writeln!(text, "\n| system | operation | min/s | median/s | max/s | p50 | p99 |")?;
        writeln!(text, "|---|---|---:|---:|---:|---:|---:|")?;
        write_row(&mut text, "Flotilla", "put", &figures.flotilla_puts)?;
        write_row(&mut text, "etcd", "put", &figures.etcd_puts)?;
        write_row(&mut text, "Flotilla", "get", &figures.flotilla_gets)?;
        write_row(&mut text, "etcd", "get", &figures.etcd_gets)?;
        writeln!(text, "\n| Flotilla ÷ etcd | lowest | ratio of medians | highest |")?;
        writeln!(text, "|---|---:|---:|---:|")?;
        write_ratio(&mut text, "put", &figures.flotilla_puts, &figures.etcd_puts)?;
        write_ratio(&mut text, "get", &figures.flotilla_gets, &figures.etcd_gets)?;
        writeln!(
            text,
            "\nLowest is the slowest round of Flotilla over the fastest of etcd; highest the other \
             way round. Latencies are medians over the {} rounds.",
            args.rounds
        )?;
        let entries = Spread::of(figures.syncs.iter().map(|syncs| syncs.mean()));
        writeln!(
            text,
            "\nLog entries made durable by one sync during the puts, mean over the three stores: \
             {:.1} (median of rounds; {:.1} to {:.1}) at {} clients.",
            entries.median, entries.min, entries.max, plan.clients
        )?;
        Ok(text)
    }

    fn write_conditions(&self, text: &mut String) -> Result<()> {
        let Self { plan, args, disk, .. } = self;
        let cores = std::thread::available_parallelism()?;
        writeln!(text, "- Date: {}", output("date", &["-u", "+%Y-%m-%d"])?)?;
        writeln!(text, "- Machine: {}, {cores} cores, {disk}", cpu_model()?)?;
        writeln!(text, "- Load average of the machine before the first round: {}", self.load)?;
        writeln!(text, "- Kernel: {}", fs::read_to_string("/proc/sys/kernel/osrelease")?.trim())?;
        writeln!(
            text,
            "- Command: `make bench ARGS=\"--rounds {} --clients {} --connections {} --seconds {} \
             --warm-up-seconds {} --keys {} --value-bytes {}\"`",
            args.rounds,
            args.clients,
            args.connections,
            args.seconds,
            args.warm_up_seconds,
            args.keys,
            args.value_bytes
        )?;
        writeln!(
            text,
            "- Load: {} clients, each with one call under way, over {} connections to the leader; \
             {} keys of 16 bytes, values of {} bytes; {} s after {} s of warm-up, {} rounds in \
             changing order, a fresh cluster for each. Gets are linearizable.",
            plan.clients,
            args.connections,
            plan.keys,
            plan.value_bytes,
            plan.duration.as_secs(),
            plan.warm_up.as_secs(),
            args.rounds
        )?;
        writeln!(
            text,
            "- Both with default durability (a put is answered when a majority has synced it), \
             servers and load on the same cores."
        )?;
        Ok(())
    }
}

fn write_row(text: &mut String, system: &str, operation: &str, samples: &[Sample]) -> Result<()> {
    let Spread { min, median, max } = Spread::of(samples.iter().map(Sample::rate));
    let middle = |percentile| {
        let micros = samples.iter().map(|sample| sample.micros(percentile) as f64);
        Spread::of(micros).median / 1_000.0
    };
    writeln!(
        text,
        "| {system} | {operation} | {min:.0} | {median:.0} | {max:.0} | {:.2} ms | {:.2} ms |",
        middle(50.0),
        middle(99.0)
    )?;
    Ok(())
}

fn write_ratio(text: &mut String, name: &str, ours: &[Sample], theirs: &[Sample]) -> Result<()> {
    let (ours, theirs) =
        (Spread::of(ours.iter().map(Sample::rate)), Spread::of(theirs.iter().map(Sample::rate)));
    let (low, middle, high) =
        (ours.min / theirs.max, ours.median / theirs.median, ours.max / theirs.min);
    writeln!(text, "| {name} | {low:.2} | {middle:.2} | {high:.2} |")?;
    Ok(())
}

fn cpu_model() -> Result<String> {
    let info = fs::read_to_string("/proc/cpuinfo")?;
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Ok(model.map_or_else(|| "unknown processor".to_owned(), |(_, model)| model.to_owned()))
}

/// The mean number of running tasks over the last minute.
pub(crate) fn load_average() -> Result<String> {
    let averages = fs::read_to_string("/proc/loadavg")?;
    Ok(averages.split(' ').next().unwrap_or_default().to_owned())
}

/// The kind of file system under `path`. One in memory is refused: there a sync costs nothing, and
/// the comparison is about syncs.
pub(crate) fn disk_of(path: &Path) -> Result<String> {
    let path = path.to_str().context("the path of the data is not text")?;
    let kind = output("stat", &["-f", "-c", "%T", path])?;
    ensure!(
        !["tmpfs", "ramfs"].contains(&kind.as_str()),
        "{path} is in memory ({kind}), where a sync costs nothing; choose a directory with --data"
    );
    Ok(kind)
}

fn output(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program).args(args).output();
    let output = output.with_context(|| format!("cannot run {program}"))?;
    ensure!(output.status.success(), "{program} failed");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_some_numbers() {
        let spread = |numbers: &[f64]| Spread::of(numbers.iter().copied());
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Spread { min: 1.0, median: 2.0, max: 3.0 });
        assert_eq!(spread(&[4.0, 1.0]), Spread { min: 1.0, median: 2.5, max: 4.0 });
    }
}
