//! The metrics of one node: declared in tables, registered once, rendered as text.
//!
//! The rules for names: prefix `flotilla_` (or `process_`), base units, counters end in `_total`. Labels are few
//! and bounded; none of them is a region, a key, an address or an error text.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::{
    Counter, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, TextEncoder,
};

/// The labels that a metric may have: each has few values, whatever the size of the cluster.
const LABELS: [&str; 14] = [
    "cf",
    "component",
    "git",
    "level",
    "op",
    "pool",
    "profile",
    "reason",
    "result",
    "stage",
    "state",
    "store",
    "type",
    "version",
];

/// One row of a component's table of metrics.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// The name, with prefix and unit.
    pub name: &'static str,
    /// One sentence for people.
    pub help: &'static str,
    /// Names of its labels; empty for a metric that stands alone.
    pub labels: &'static [&'static str],
}

/// The upper bounds of a histogram's buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buckets {
    /// Seconds: 50 µs × 2ⁿ up to 26 s.
    Latency,
    /// Bytes: 64 × 4ⁿ up to 1 GiB.
    Sizes,
    /// Numbers of things: 2ⁿ up to 65,536.
    Counts,
}

/// The metrics of one node. Clones are the same registry.
///
/// Registering takes a row of a table; a row that breaks the rules, or that is registered twice, is a mistake in
/// the program and panics when the node is built.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    registry: prometheus::Registry,
    updates: Mutex<Vec<Arc<Update>>>,
    /// Held for a whole scrape: updates that add differences must not run twice at the same time.
    scrape: Mutex<()>,
}

type Update = dyn Fn() + Send + Sync;

impl Metric {
    /// A row without labels.
    #[must_use]
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, labels: &[] }
    }

    /// A row with labels.
    #[must_use]
    pub const fn labelled(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Self {
        Self { name, help, labels }
    }

    fn check(&self, counter: bool, vector: bool) {
        let Self { name, help, labels } = self;
        assert!(
            name.starts_with("flotilla_") || name.starts_with("process_"),
            "{name}: the prefix is flotilla_"
        );
        assert_eq!(name.ends_with("_total"), counter, "{name}: _total marks counters");
        assert!(!help.is_empty(), "{name}: help is missing");
        assert_eq!(!labels.is_empty(), vector, "{name}: labels ask for the plural method");
        for label in *labels {
            assert!(LABELS.contains(label), "{name}: label {label} is not one of the bounded ones");
        }
    }

    fn opts(&self) -> Opts {
        Opts::new(self.name, self.help)
    }
}

impl Buckets {
    fn bounds(self) -> Vec<f64> {
        let (first, factor, count) = match self {
            Self::Latency => (50e-6, 2.0, 20),
            Self::Sizes => (64.0, 4.0, 13),
            Self::Counts => (1.0, 2.0, 17),
        };
        prometheus::exponential_buckets(first, factor, count).expect("constant bounds ascend")
    }
}

impl Registry {
    /// A registry without metrics.
    #[must_use]
    pub fn new() -> Self {
        let inner = Inner {
            registry: prometheus::Registry::new(),
            updates: Mutex::default(),
            scrape: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// A counter of whole things.
    #[must_use]
    pub fn counter(&self, metric: &Metric) -> IntCounter {
        metric.check(true, false);
        self.register(metric, IntCounter::with_opts(metric.opts()))
    }

    /// Counters of whole things, one for each combination of labels.
    #[must_use]
    pub fn counters(&self, metric: &Metric) -> IntCounterVec {
        metric.check(true, true);
        self.register(metric, IntCounterVec::new(metric.opts(), metric.labels))
    }

    /// A counter of a quantity, such as seconds.
    #[must_use]
    pub fn sum(&self, metric: &Metric) -> Counter {
        metric.check(true, false);
        self.register(metric, Counter::with_opts(metric.opts()))
    }

    /// A gauge of whole things.
    #[must_use]
    pub fn gauge(&self, metric: &Metric) -> IntGauge {
        metric.check(false, false);
        self.register(metric, IntGauge::with_opts(metric.opts()))
    }

    /// Gauges of whole things, one for each combination of labels.
    #[must_use]
    pub fn gauges(&self, metric: &Metric) -> IntGaugeVec {
        metric.check(false, true);
        self.register(metric, IntGaugeVec::new(metric.opts(), metric.labels))
    }

    /// A gauge of a quantity, such as a ratio or seconds.
    #[must_use]
    pub fn level(&self, metric: &Metric) -> Gauge {
        metric.check(false, false);
        self.register(metric, Gauge::with_opts(metric.opts()))
    }

    /// Gauges of a quantity, one for each combination of labels.
    #[must_use]
    pub fn levels(&self, metric: &Metric) -> GaugeVec {
        metric.check(false, true);
        self.register(metric, GaugeVec::new(metric.opts(), metric.labels))
    }

    /// A histogram.
    #[must_use]
    pub fn histogram(&self, metric: &Metric, buckets: Buckets) -> Histogram {
        metric.check(false, false);
        let opts = HistogramOpts::from(metric.opts()).buckets(buckets.bounds());
        self.register(metric, Histogram::with_opts(opts))
    }

    /// Histograms, one for each combination of labels.
    #[must_use]
    pub fn histograms(&self, metric: &Metric, buckets: Buckets) -> HistogramVec {
        metric.check(false, true);
        let opts = HistogramOpts::from(metric.opts()).buckets(buckets.bounds());
        self.register(metric, HistogramVec::new(opts, metric.labels))
    }

    /// Runs `update` at the start of every scrape: it sets gauges to what they are at that time. It may block for
    /// a moment, but must not scrape.
    pub fn on_scrape(&self, update: impl Fn() + Send + Sync + 'static) {
        let mut updates = self.inner.updates.lock().unwrap_or_else(PoisonError::into_inner);
        updates.push(Arc::new(update));
    }

    fn register<C: Collector + Clone + 'static>(
        &self,
        metric: &Metric,
        made: prometheus::Result<C>,
    ) -> C {
        let name = metric.name;
        let collector = made.unwrap_or_else(|error| panic!("metric {name}: {error}"));
        let registered = self.inner.registry.register(Box::new(collector.clone()));
        registered.unwrap_or_else(|error| panic!("metric {name}: {error}"));
        collector
    }
}

/// The text of a scrape: all metrics in the exposition format 0.0.4.
#[must_use]
pub fn render(registry: &Registry) -> String {
    let inner = &registry.inner;
    let _scrape = inner.scrape.lock().unwrap_or_else(PoisonError::into_inner);
    let updates = inner.updates.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for update in updates {
        update();
    }
    let families = inner.registry.gather();
    TextEncoder::new().encode_to_string(&families).expect("gathered families are well formed")
}

/// Registers `flotilla_build_info`, which is always 1 and carries the build in its labels.
pub(crate) fn register_build_info(registry: &Registry) {
    const BUILD_INFO: Metric = Metric::labelled(
        "flotilla_build_info",
        "Version and profile of the running program; always 1.",
        &["version", "profile"],
    );
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let labels = HashMap::from([("version", env!("CARGO_PKG_VERSION")), ("profile", profile)]);
    registry.gauges(&BUILD_INFO).with(&labels).set(1);
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Registry")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READS: Metric = Metric::labelled("flotilla_reads_total", "Reads.", &["op"]);
    const WAIT: Metric = Metric::new("flotilla_wait_seconds", "Waiting.");
    const REGIONS: Metric = Metric::new("flotilla_regions", "Regions.");

    #[test]
    fn a_scrape_shows_what_was_counted_and_what_updates_set() {
        let registry = Registry::new();
        registry.counters(&READS).with_label_values(&["get"]).inc_by(3);
        registry.histogram(&WAIT, Buckets::Latency).observe(0.000_06);
        let regions = registry.gauge(&REGIONS);
        registry.on_scrape(move || regions.inc());
        register_build_info(&registry);
        let _first = render(&registry);
        let text = render(&registry);
        let (profile, version) =
            (if cfg!(debug_assertions) { "debug" } else { "release" }, env!("CARGO_PKG_VERSION"));
        let build = format!("flotilla_build_info{{profile=\"{profile}\",version=\"{version}\"}} 1");
        for line in [
            "# TYPE flotilla_reads_total counter",
            "flotilla_reads_total{op=\"get\"} 3",
            "flotilla_wait_seconds_bucket{le=\"0.00005\"} 0",
            "flotilla_wait_seconds_bucket{le=\"0.0001\"} 1",
            "flotilla_wait_seconds_bucket{le=\"26.2144\"} 1",
            "flotilla_regions 2",
            &build,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn registries_of_two_nodes_share_nothing() {
        let (one, two) = (Registry::new(), Registry::new());
        one.gauge(&REGIONS).set(1);
        two.gauge(&REGIONS).set(2);
        assert!(render(&one).contains("flotilla_regions 1"));
        assert!(render(&two).contains("flotilla_regions 2"));
    }

    #[test]
    #[should_panic(expected = "label key is not one of the bounded ones")]
    fn an_unbounded_label_is_refused() {
        let metric = Metric::labelled("flotilla_reads_total", "Reads.", &["key"]);
        drop(Registry::new().counters(&metric));
    }

    #[test]
    #[should_panic(expected = "_total marks counters")]
    fn a_counter_without_total_is_refused() {
        drop(Registry::new().counter(&REGIONS));
    }
}
