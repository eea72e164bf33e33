//! Clients that read and write while regions move, and may not notice.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use flotilla_base::Rng;
use flotilla_client::{Client, RawKv};
use parking_lot::Mutex;
use tokio::{runtime::Runtime, task::JoinHandle, time::sleep};

use crate::arena::{key, value};

/// Between two writes of a client. Regions that are asked for too much would be split, and those that are moved are to
/// keep their number.
const PERIOD: Duration = Duration::from_millis(20);
/// Behind the numbers of the values that were loaded.
const FIRST_TURN: u64 = 1 << 32;

#[derive(Debug, Default)]
struct Shared {
    is_over: AtomicBool,
    calls: AtomicU64,
    complaints: Mutex<Vec<String>>,
}

/// One client for each lane, whose keys nobody else writes.
#[derive(Debug)]
pub(crate) struct Traffic {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

impl Traffic {
    pub(crate) fn start(runtime: &Runtime, client: &Client, lanes: u64, keys: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let clients = (0..lanes).map(|lane| {
            runtime.spawn(write_and_read(Arc::clone(&shared), client.raw(), lane, keys))
        });
        Self { clients: clients.collect(), shared }
    }

    pub(crate) fn calls(&self) -> u64 {
        self.shared.calls.load(Ordering::Relaxed)
    }

    /// Ends it. No client may have had an error, or read what it did not write. How many calls there were.
    #[track_caller]
    pub(crate) fn finish(self) -> u64 {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let runtime = Runtime::new().expect("a runtime starts");
        for client in self.clients {
            runtime.block_on(client).expect("no client panics");
        }
        let complaints = self.shared.complaints.lock();
        assert!(complaints.is_empty(), "{} complaints: {:?}", complaints.len(), complaints.first());
        self.shared.calls.load(Ordering::Relaxed)
    }
}

async fn write_and_read(shared: Arc<Shared>, raw: RawKv, lane: u64, keys: u64) {
    let mut rng = Rng::lane(lane, keys);
    let mut turn = FIRST_TURN;
    while !shared.is_over.load(Ordering::Relaxed) {
        sleep(PERIOD).await;
        turn += 1;
        let (key, value) = (key(lane, rng.below(keys)), value(lane, turn));
        let complaint = match raw.put(key.clone(), value.clone()).await {
            Err(error) => Some(error.to_string()),
            Ok(()) => match raw.get(key).await {
                Err(error) => Some(error.to_string()),
                Ok(Some(found)) if found == value => None,
                Ok(_another_or_none) => Some(format!("what turn {turn} wrote is not there")),
            },
        };
        shared.complaints.lock().extend(complaint);
        shared.calls.fetch_add(2, Ordering::Relaxed);
    }
}
