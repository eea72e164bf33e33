//! The result of a benchmark.

use std::time::Duration;

use flotilla_base::ByteSize;
use flotilla_client::ClientStats;
use serde_json::{Map, Value, json};

use super::record::{Operation, Recorder, Series};
use crate::{
    args::{BenchArgs, Globals},
    fault::Fault,
    output::{self, Column, Format, Table},
    text,
};

/// The quantiles that are shown.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

/// What was measured.
pub(super) struct Outcome<'a> {
    /// How long writing the keys took; `None` where that was not done.
    pub loaded: Option<Duration>,
    pub elapsed: Duration,
    pub total: Recorder,
    pub stats: &'a ClientStats,
}

/// Prints it. An error where nothing at all succeeded: that of the first operation.
pub(super) fn print(
    globals: &Globals,
    args: &BenchArgs,
    mut outcome: Outcome<'_>,
) -> Result<(), Fault> {
    match globals.output {
        Format::Json => output::print_json("bench", to_json(args, &outcome))?,
        Format::Table => output::print(&to_text(args, &outcome))?,
    }
    let done: u64 = shown(&outcome).map(|(_operation, series)| series.latencies.len()).sum();
    match outcome.total.take_first_error() {
        Some(error) if done == 0 => Err(Fault::from(error).about("no operation succeeded")),
        _ => Ok(()),
    }
}

fn shown<'a>(outcome: &'a Outcome<'_>) -> impl Iterator<Item = (Operation, &'a Series)> {
    let series = Operation::ALL.map(|operation| (operation, outcome.total.series(operation)));
    series.into_iter().filter(|(_operation, series)| series.latencies.len() + series.errors > 0)
}

fn rate(series: &Series, outcome: &Outcome<'_>) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a rate is no count")]
    let operations = series.latencies.len() as f64;
    operations / outcome.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
}

fn to_text(args: &BenchArgs, outcome: &Outcome<'_>) -> String {
    let mut table = Table::new(&[
        Column::Left(""),
        Column::Right("OPS"),
        Column::Right("OP/S"),
        Column::Right("P50"),
        Column::Right("P90"),
        Column::Right("P99"),
        Column::Right("P99.9"),
        Column::Right("MAX"),
        Column::Right("ERRORS"),
    ]);
    for (operation, series) in shown(outcome) {
        let latencies = &series.latencies;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate is positive and shown without decimals"
        )]
        let per_second = rate(series, outcome) as u64;
        let mut cells = vec![
            operation.name().to_owned(),
            text::grouped(latencies.len()),
            text::grouped(per_second),
        ];
        let quantiles = QUANTILES.iter().map(|(_name, at)| latencies.value_at_quantile(*at));
        cells.extend(quantiles.chain([latencies.max()]).map(text::latency));
        cells.push(text::grouped(series.errors));
        table.row(cells);
    }
    let retries: Vec<String> = outcome
        .stats
        .all_retries()
        .filter(|(_cause, count)| *count > 0)
        .map(|(cause, count)| format!("{cause} {count}"))
        .collect();
    let retries = if retries.is_empty() { "none".to_owned() } else { retries.join(", ") };
    let first_error = outcome.total.first_error();
    let first_error =
        first_error.map(|error| format!("first error: {error}\n")).unwrap_or_default();
    let loaded = outcome.loaded.map(|took| took.as_secs_f64());
    let loaded =
        loaded.map(|seconds| format!("; written in {seconds:.2} s before")).unwrap_or_default();
    format!(
        "{}, key 16B, value {}{loaded}; {}, closed loop, {:.1} s\n\n{}\nretries: {retries}\n{first_error}",
        text::counted(args.keys, "key"),
        ByteSize(args.value_size as u64),
        text::counted(args.clients.into(), "client"),
        outcome.elapsed.as_secs_f64(),
        table.render(),
    )
}

fn to_json(args: &BenchArgs, outcome: &Outcome<'_>) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "latencies are far below 2^53")]
    let seconds = |micros: u64| micros as f64 / 1e6;
    let row = |(operation, series): (Operation, &Series)| {
        let mut row = json!({
            "operation": operation.name(),
            "operations": series.latencies.len(),
            "operations_per_second": rate(series, outcome),
            "max_seconds": seconds(series.latencies.max()),
            "errors": series.errors,
        });
        for (name, at) in QUANTILES {
            row[format!("{name}_seconds")] = json!(seconds(series.latencies.value_at_quantile(at)));
        }
        row
    };
    let retries = outcome.stats.all_retries();
    let retries: Map<String, Value> =
        retries.map(|(cause, count)| (cause.to_owned(), json!(count))).collect();
    json!({
        "clients": args.clients,
        "keys": args.keys,
        "value_size_bytes": args.value_size,
        "load_seconds": outcome.loaded.map(|took| took.as_secs_f64()),
        "duration_seconds": outcome.elapsed.as_secs_f64(),
        "kept": args.keep,
        "results": shown(outcome).map(row).collect::<Vec<_>>(),
        "retries": retries,
        "first_error": outcome.total.first_error().map(ToString::to_string),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use flotilla_client::{Client, ClientOptions};

    use super::*;
    use crate::args::{Cli, Command};

    #[tokio::test]
    async fn where_nothing_succeeded_the_first_error_says_why() {
        let line = ["flotilla", "bench", "put", "--clients", "1", "-o", "json"];
        let Cli { globals, command } = Cli::parse_from(line);
        let Some(Command::Bench(args)) = command else { panic!("a benchmark") };
        // Any error of the client does.
        let refused = Client::connect::<&str>(&[], ClientOptions::default()).await;
        let mut total = Recorder::default();
        total.record(Operation::Put, Duration::from_millis(1), refused.err());
        let stats = ClientStats::default();
        let (loaded, elapsed) = (None, Duration::from_secs(1));
        let outcome = Outcome { loaded, elapsed, total, stats: &stats };
        let fault = print(&globals, &args, outcome).expect_err("no operation succeeded");
        assert!(fault.message().starts_with("no operation succeeded: cannot connect"), "{fault:?}");
        assert_eq!(fault.to_json()["error"]["code"], "FLT-2108");
    }
}
