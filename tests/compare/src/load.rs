//! The loop: clients that each have one call under way, for a fixed time. One code for both systems.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use bytes::Bytes;
use flotilla_base::Rng;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

/// What is measured.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) clients: u32,
    pub(crate) keys: u64,
    pub(crate) value_bytes: usize,
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
}

/// One client's access to a system.
pub(crate) trait Target: Clone + Send + 'static {
    /// Access for client `number`.
    fn client(&self, number: u32) -> Self;

    /// Writes durably, as the system's defaults have it.
    fn put(&mut self, key: Bytes, value: Bytes) -> impl Future<Output = Result<()>> + Send;

    /// Reads linearizably.
    fn get(&mut self, key: Bytes) -> impl Future<Output = Result<Option<Bytes>>> + Send;
}

/// What one measurement gave.
#[derive(Debug)]
pub(crate) struct Sample {
    /// Latencies in microseconds of the calls that ended within the measured time.
    latencies: Histogram<u64>,
    elapsed: Duration,
}

impl Sample {
    /// Calls a second.
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// A percentile of the latencies, in microseconds.
    pub(crate) fn micros(&self, percentile: f64) -> u64 {
        self.latencies.value_at_percentile(percentile)
    }
}

#[derive(Clone, Copy)]
enum Work {
    Put,
    Get,
}

/// Puts of random keys. Every key is written once before, so that both systems overwrite.
pub(crate) async fn puts<T: Target>(plan: &Plan, target: T) -> Result<Sample> {
    fill(plan, &target).await?;
    let sample = measure(plan, &target, Work::Put).await?;
    crate::announce_sample("puts", &sample);
    Ok(sample)
}

/// Gets of random keys, all of which are there.
pub(crate) async fn gets<T: Target>(plan: &Plan, target: T) -> Result<Sample> {
    let sample = measure(plan, &target, Work::Get).await?;
    crate::announce_sample("gets", &sample);
    Ok(sample)
}

/// 16 bytes.
fn key(number: u64) -> Bytes {
    Bytes::from(format!("compare:{number:08}"))
}

fn value(rng: &mut Rng, bytes: usize) -> Bytes {
    // Drawn, so that nobody gains from compression.
    std::iter::repeat_with(|| rng.next().to_le_bytes()).flatten().take(bytes).collect()
}

async fn fill<T: Target>(plan: &Plan, target: &T) -> Result<()> {
    let mut clients = JoinSet::new();
    for number in 0..plan.clients {
        let (mut client, plan) = (target.client(number), plan.clone());
        clients.spawn(async move {
            let mut rng = Rng::lane(1, u64::from(number));
            for position in (u64::from(number)..plan.keys).step_by(plan.clients as usize) {
                client.put(key(position), value(&mut rng, plan.value_bytes)).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    Ok(())
}

async fn measure<T: Target>(plan: &Plan, target: &T, work: Work) -> Result<Sample> {
    let start = Instant::now() + plan.warm_up;
    let end = start + plan.duration;
    let mut clients = JoinSet::new();
    for number in 0..plan.clients {
        let (mut client, plan) = (target.client(number), plan.clone());
        let mut rng = Rng::lane(2, u64::from(number));
        clients.spawn(async move {
            let mut latencies: Histogram<u64> = Histogram::new(3)?;
            loop {
                let key = key(rng.below(plan.keys));
                let sent = Instant::now();
                match work {
                    Work::Put => client.put(key, value(&mut rng, plan.value_bytes)).await?,
                    Work::Get => {
                        let found = client.get(key).await?;
                        ensure!(
                            found.is_some_and(|value| value.len() == plan.value_bytes),
                            "a key that was written is not there as it was written"
                        );
                    }
                }
                let answered = Instant::now();
                if answered >= end {
                    return anyhow::Ok(latencies);
                }
                if answered >= start {
                    let micros = answered.duration_since(sent).as_micros();
                    latencies.record(u64::try_from(micros).unwrap_or(u64::MAX).max(1))?;
                }
            }
        });
    }
    let mut latencies = Histogram::new(3)?;
    // An error ends the comparison: a rate with errors in it means nothing.
    while let Some(client) = clients.join_next().await {
        latencies.add(client??)?;
    }
    ensure!(!latencies.is_empty(), "no call ended within the measured time");
    Ok(Sample { latencies, elapsed: plan.duration })
}
