//! Reading stores' metrics as any scraper does.

use anyhow::{Context as _, Result, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The histogram of log entries made durable by one sync.
const SYNC_ENTRIES: &str = "flotilla_raft_sync_entries";

/// Entries made durable, and the syncs that did it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Syncs {
    entries: f64,
    syncs: f64,
}

impl Syncs {
    /// Adds one store's counters.
    pub(crate) fn add(&mut self, metrics: &str) -> Result<()> {
        self.entries += sample(metrics, &format!("{SYNC_ENTRIES}_sum"))?;
        self.syncs += sample(metrics, &format!("{SYNC_ENTRIES}_count"))?;
        Ok(())
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self { entries: self.entries - before.entries, syncs: self.syncs - before.syncs }
    }

    /// Mean entries of one sync.
    pub(crate) fn mean(self) -> f64 {
        if self.syncs > 0.0 { self.entries / self.syncs } else { 0.0 }
    }
}

/// The text of `http://ADDRESS/metrics`.
pub(crate) async fn scrape(address: &str) -> Result<String> {
    let authority = address.strip_prefix("http://").unwrap_or(address);
    let mut stream = TcpStream::connect(authority).await?;
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {authority}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    ensure!(answer.lines().next().is_some_and(|line| line.contains(" 200 ")), "not served");
    Ok(answer)
}

fn sample(metrics: &str, name: &str) -> Result<f64> {
    let values = metrics.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let found = series.split('{').next() == Some(name);
        found.then(|| value.parse::<f64>())
    });
    let values: Vec<f64> = values.collect::<Result<_, _>>()?;
    ensure!(!values.is_empty(), "no metric {name}");
    values.into_iter().reduce(|sum, value| sum + value).context("no value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_one_sync() {
        let text = "# TYPE flotilla_raft_sync_entries histogram\n\
                    flotilla_raft_sync_entries_bucket{le=\"1\"} 3\n\
                    flotilla_raft_sync_entries_sum 60\n\
                    flotilla_raft_sync_entries_count 10\n";
        let mut syncs = Syncs::default();
        syncs.add(text).unwrap();
        let before = syncs;
        syncs.add(text).unwrap();
        assert_eq!(syncs.since(before).mean(), 6.0);
        assert!(Syncs::default().add("other 1\n").is_err());
    }
}
