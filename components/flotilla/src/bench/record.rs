//! What one client measured, and the sum of all.

use std::time::Duration;

use flotilla_client::Error;
use hdrhistogram::Histogram;

/// Digits that a latency keeps.
const DIGITS: u8 = 3;

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
        let latencies = Histogram::new(DIGITS).expect("three digits are allowed");
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
        series.latencies.saturating_record(micros.max(1));
    }

    /// Adds what another client measured.
    pub(super) fn add(&mut self, other: Self) {
        for (sum, part) in self.series.iter_mut().zip(other.series) {
            sum.errors += part.errors;
            sum.latencies.add(part.latencies).expect("a histogram that grows takes any other");
        }
        self.first_error = self.first_error.take().or(other.first_error);
    }

    pub(super) const fn series(&self, operation: Operation) -> &Series {
        &self.series[operation as usize]
    }

    pub(super) const fn first_error(&self) -> Option<&Error> {
        self.first_error.as_ref()
    }
}
