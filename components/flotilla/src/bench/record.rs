//! What one client measured, and the sum of all.

use std::time::Duration;

use flotilla_client::Error;
use hdrhistogram::Histogram;

/// Digits that a latency keeps.
const DIGITS: u8 = 3;
/// Latencies above ten minutes count as ten minutes.
const LONGEST_MICROS: u64 = 600_000_000;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Get,
    Put,
    Scan,
}

impl Operation {
    pub(super) const ALL: [Self; 3] = [Self::Get, Self::Put, Self::Scan];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::Scan => "scan",
        }
    }
}

/// Latencies of one operation, in microseconds, and how often it failed.
#[derive(Debug)]
pub(super) struct Series {
    pub latencies: Histogram<u64>,
    pub errors: u64,
}

impl Default for Series {
    fn default() -> Self {
        // Bounded: a histogram that grows would clamp what `saturating_record` brings to its first bucket.
        let latencies =
            Histogram::new_with_bounds(1, LONGEST_MICROS, DIGITS).expect("the bounds are in order");
        Self { latencies, errors: 0 }
    }
}

/// All series of one client.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    series: [Series; Operation::ALL.len()],
    first_error: Option<Error>,
}

impl Recorder {
    pub(super) fn record(&mut self, operation: Operation, took: Duration, error: Option<Error>) {
        let series = &mut self.series[operation as usize];
        if let Some(error) = error {
            series.errors += 1;
            self.first_error.get_or_insert(error);
            return;
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // What is longer than the bound counts as the bound.
        series.latencies.saturating_record(micros.max(1));
    }

    /// Adds what another client measured.
    pub(super) fn add(&mut self, other: Self) {
        for (sum, part) in self.series.iter_mut().zip(other.series) {
            sum.errors += part.errors;
            sum.latencies.add(part.latencies).expect("all histograms have the same bounds");
        }
        self.first_error = self.first_error.take().or(other.first_error);
    }

    pub(super) const fn series(&self, operation: Operation) -> &Series {
        &self.series[operation as usize]
    }

    pub(super) const fn first_error(&self) -> Option<&Error> {
        self.first_error.as_ref()
    }

    pub(super) const fn take_first_error(&mut self) -> Option<Error> {
        self.first_error.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_of_all_clients_add_up() {
        let mut total = Recorder::default();
        for millis in [1, 20, 3_000] {
            let mut one = Recorder::default();
            one.record(Operation::Get, Duration::from_millis(millis), None);
            total.add(one);
        }
        let latencies = &total.series(Operation::Get).latencies;
        assert_eq!((latencies.len(), latencies.min()), (3, 1_000));
        assert!((19_900..=20_100).contains(&latencies.value_at_quantile(0.5)));
        assert!((2_990_000..=3_010_000).contains(&latencies.max()));
    }

    #[test]
    fn what_takes_longer_than_the_bound_counts_as_the_bound() {
        let mut recorder = Recorder::default();
        for took in [Duration::from_secs(3_600), Duration::MAX] {
            recorder.record(Operation::Put, took, None);
        }
        let latencies = &recorder.series(Operation::Put).latencies;
        assert_eq!(latencies.len(), 2);
        assert!((599_000_000..=601_000_000).contains(&latencies.min()), "{}", latencies.min());
    }
}
