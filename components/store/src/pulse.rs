//! The pulse of a store: it gives others a sign of life, and judges theirs. Regions that sleep rely on it, in both
//! directions; see [`flotilla_multiraft::liveness`].

use std::sync::Arc;

use flotilla_multiraft::Liveness;
use flotilla_telemetry::Unfinished;
use flotilla_transport::Peers;
use tokio::time::{MissedTickBehavior, interval};

use crate::network::Inbound;

/// Beats for as long as the store runs.
pub(crate) async fn beat(inbound: Arc<Inbound>, peers: Arc<Peers>, unfinished: Unfinished) {
    let period = Liveness::interval(&inbound.replicas.timing);
    let mut ticks = interval(std::time::Duration::from_nanos(period.0));
    // A process that stood still has missed signs of others, and gives its own once.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = inbound.clock.now();
        for store in inbound.replicas.liveness.change(|liveness| liveness.judge(now)) {
            tracing::info!(
                store = store.get(),
                "store is silent, or gone for good; regions that need it wake up"
            );
            inbound.tell_of(store);
        }
        // A store whose threads hang leads nobody, whatever its network does.
        if unfinished.check(now).is_ok() {
            inbound.give_sign(&peers.known_stores());
        }
    }
}
