//! Writes all keys before a benchmark reads them.

use flotilla_base::Rng;
use flotilla_client::RawKv;
use tokio::task::JoinSet;

use super::{Values, key, progress_bar};
use crate::{args::BenchArgs, catalogue, fault::Fault};

/// Batches under way, and what one may hold: an entry of the log on the store.
const LANES: usize = 16;
const BATCH_KEYS: u64 = 256;
const BATCH_BYTES: u64 = 256 << 10;

/// Writes every key once.
pub(super) async fn fill(raw: &RawKv, args: &BenchArgs, values: &Values) -> Result<(), Fault> {
    let pair_bytes = args.value_size as u64 + 16;
    let step = (BATCH_BYTES / pair_bytes).clamp(1, BATCH_KEYS);
    let bar = progress_bar(args.keys, "load");
    let mut rng = Rng::new(1);
    let mut batches = JoinSet::new();
    let mut first = 0;
    while first < args.keys || !batches.is_empty() {
        if first < args.keys && batches.len() < LANES {
            let end = (first + step).min(args.keys);
            let pairs: Vec<_> =
                (first..end).map(|number| (key(number), values.draw(&mut rng))).collect();
            let raw = raw.clone();
            batches.spawn(async move { raw.batch_put(pairs).await.map(|()| end - first) });
            first = end;
        } else if let Some(ended) = batches.join_next().await {
            let written =
                ended.map_err(|cause| Fault::new(&catalogue::INTERNAL, cause.to_string()))??;
            bar.inc(written);
        }
    }
    bar.finish_and_clear();
    Ok(())
}
