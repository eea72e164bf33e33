//! The keys of a benchmark: written before it, removed after it.

use std::future::Future;

use bytes::Bytes;
use flotilla_base::Rng;
use flotilla_client::{Error, KeyRange, RawKv};
use indicatif::ProgressBar;
use tokio::{sync::watch, task::JoinSet};

use super::{Values, key, progress_bar};
use crate::{args::BenchArgs, catalogue, fault::Fault, tally::Tally};

/// Batches under way, and what one may hold: an entry of the log on the store.
const LANES: usize = 16;
const BATCH_KEYS: u64 = 256;
const BATCH_BYTES: u64 = 256 << 10;

/// Batches that are sent side by side, each with the number of its keys.
#[derive(Default)]
struct Batches {
    under_way: JoinSet<Result<u64, Error>>,
    tally: Tally,
}

impl Batches {
    /// Sends one more as soon as there is room; whether it was sent, which it is not behind a failure.
    async fn send(
        &mut self,
        batch: impl Future<Output = Result<u64, Error>> + Send + 'static,
    ) -> bool {
        while self.under_way.len() >= LANES {
            self.join().await;
        }
        let is_sent = !self.tally.has_failed();
        if is_sent {
            self.under_way.spawn(batch);
        }
        is_sent
    }

    /// Waits for the next to end, if any is under way.
    async fn join(&mut self) {
        match self.under_way.join_next().await {
            Some(Ok(ended)) => self.tally.add(ended),
            Some(Err(cause)) => {
                self.tally.fail(Fault::new(&catalogue::INTERNAL, cause.to_string()));
            }
            None => {}
        }
    }

    /// Waits for all to end: none is left behind whose outcome nobody knows.
    async fn finish(mut self, bar: &ProgressBar, done: &str) -> Result<u64, Fault> {
        while !self.under_way.is_empty() {
            self.join().await;
            bar.set_position(self.tally.keys());
        }
        bar.finish_and_clear();
        self.tally.finish(done)
    }
}

/// Writes every key once, or until `stopped` says so.
pub(super) async fn fill(
    raw: &RawKv,
    args: &BenchArgs,
    values: &Values,
    stopped: &watch::Receiver<bool>,
) -> Result<(), Fault> {
    let pair_bytes = args.value_size as u64 + 16;
    let step = (BATCH_BYTES / pair_bytes).clamp(1, BATCH_KEYS);
    let bar = progress_bar(args.keys, "load");
    let mut rng = Rng::new(1);
    let mut batches = Batches::default();
    let mut first = 0;
    while first < args.keys && !*stopped.borrow() {
        let end = (first + step).min(args.keys);
        let pairs: Vec<_> =
            (first..end).map(|number| (key(number), values.draw(&mut rng))).collect();
        let raw = raw.clone();
        let batch = async move { raw.batch_put(pairs).await.map(|()| end - first) };
        if !batches.send(batch).await {
            break;
        }
        bar.set_position(batches.tally.keys());
        first = end;
    }
    batches.finish(&bar, "written").await.map(|_keys| ())
}

/// Removes every key that is there, and nothing else; how many there were.
pub(super) async fn remove(raw: &RawKv, args: &BenchArgs) -> Result<u64, Fault> {
    let page = u32::try_from(BATCH_KEYS).unwrap_or(u32::MAX);
    let mut scan = raw.scan(KeyRange::new(key(0), key(args.keys))).key_only().page(page);
    let bar = progress_bar(args.keys, "clean");
    let mut batches = Batches::default();
    loop {
        let page = match scan.next_page().await {
            Ok(Some(page)) => page,
            Ok(None) => break,
            Err(error) => {
                batches.tally.fail(error.into());
                break;
            }
        };
        let keys = page.into_iter().map(|pair| pair.key).filter(|key| is_ours(key));
        let keys: Vec<Bytes> = keys.collect();
        let (raw, count) = (raw.clone(), keys.len() as u64);
        let batch = async move { raw.batch_delete(keys).await.map(|()| count) };
        if !batches.send(batch).await {
            break;
        }
        bar.set_position(batches.tally.keys());
    }
    batches.finish(&bar, "removed").await
}

/// Whether a key has the form of [`key`]: others may stand between them.
fn is_ours(found: &[u8]) -> bool {
    let number = std::str::from_utf8(found).ok().and_then(|text| text.strip_prefix("bench:"));
    number.and_then(|digits| digits.parse().ok()).is_some_and(|number| key(number) == found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_keys_of_a_benchmark_is_removed() {
        for number in [0, 7, 9_999_999_999] {
            assert!(is_ours(&key(number)));
        }
        for other in
            ["bench:0000000001x", "bench:1", "bench:+000000001", "bench:", "user:0000000001"]
        {
            assert!(!is_ours(other.as_bytes()), "{other}");
        }
        assert!(!is_ours(b"bench:\xff"));
    }
}
