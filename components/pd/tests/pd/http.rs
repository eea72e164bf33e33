//! Scripts of `testscripts/`: what tools ask over HTTP, and the very bodies that they get. Four stores, of which no region has
//! reported but what the script reports: until it does, nothing is decided but what the script asks for. Regenerate with
//! `UPDATE_GOLDENFILES=1`.

use std::error::Error;

use flotilla_pd::Pd;
use flotilla_proto::{metapb, pdpb, store_link};
use goldenscript::{ArgumentConsumer, Command, Context, Runner};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{
    port::send,
    support::{Clients, LIVENESS, own_address, start},
};

/// What is different with each run.
const MASKED: [&str; 7] = [
    "last_heartbeat",
    "last_heartbeat_ts",
    "start_ts",
    "uptime",
    "client-urls",
    "resume_at",
    "maintained_until",
];

#[test]
fn scripts() -> std::io::Result<()> {
    const SCRIPTS: [&str; 8] = [
        "http_settings",
        "http_stores",
        "http_schedulers",
        "http_rules",
        "http_plan",
        "http_regions",
        "http_forget",
        "http_refused",
    ];
    for script in SCRIPTS {
        let mut stage = Stage::open().expect("it starts");
        goldenscript::run(&mut stage, format!("testscripts/{script}"))?;
        stage.runtime.block_on(stage.pd.shutdown()).expect("it ends");
    }
    Ok(())
}

struct Stage {
    runtime: Runtime,
    pd: Pd,
    clients: Clients,
    _dir: TempDir,
}

impl Stage {
    fn open() -> anyhow::Result<Self> {
        let runtime = Runtime::new()?;
        let dir = tempfile::tempdir()?;
        let (pd, clients) = runtime.block_on(async {
            let pd = start(dir.path(), own_address(), 3).await?;
            let mut clients = Clients::connect(pd.client_url()).await?;
            clients.bootstrap(3).await?;
            let fourth = clients.alloc_id(1).await?;
            let label = metapb::StoreLabel { key: "disk".to_owned(), value: "ssd".to_owned() };
            let store = metapb::Store {
                id: fourth,
                address: "127.0.0.1:20163".to_owned(),
                version: "8.5.0-flotilla-test".to_owned(),
                labels: vec![label],
                ..Default::default()
            };
            let cluster_id = clients.cluster_id;
            let store = Some(store);
            let request = store_link::RegisterStoreRequest { cluster_id, store, incarnation: 1 };
            clients.link.register_store(request).await?;
            beat(&mut clients, fourth, 40 << 30).await?;
            anyhow::Ok((pd, clients))
        })?;
        Ok(Self { runtime, pd, clients, _dir: dir })
    }
}

/// A store says how full it is.
async fn beat(clients: &mut Clients, store_id: u64, used_size: u64) -> anyhow::Result<()> {
    let capacity = 100 << 30;
    let available = capacity - used_size;
    let stats = pdpb::StoreStats { store_id, capacity, available, used_size, ..Default::default() };
    let header = clients.header();
    let request = pdpb::StoreHeartbeatRequest { header, stats: Some(stats) };
    clients.pd.store_heartbeat(request).await?;
    Ok(())
}

impl Stage {
    fn ask(&self, method: &str, path: &str, body: &str) -> anyhow::Result<(u16, String)> {
        let front = if path.starts_with("/flotilla/") { "" } else { "/pd/api/v1" };
        let path = format!("{front}{path}");
        self.runtime.block_on(send(self.pd.address(), method, &path, body))
    }

    /// The leader of a region reports it; comes back when that is taken.
    fn report(&mut self, beat: pdpb::RegionHeartbeatRequest) -> anyhow::Result<()> {
        let beat = pdpb::RegionHeartbeatRequest { header: self.clients.header(), ..beat };
        self.runtime.block_on(async {
            let beats = tokio_stream::iter([beat]);
            let answers = self.clients.pd.region_heartbeat(beats).await?;
            anyhow::ensure!(answers.into_inner().message().await?.is_none(), "it is refused");
            Ok(())
        })
    }

    /// What the public protocol says of a store.
    fn state(&mut self, store_id: u64) -> anyhow::Result<String> {
        let header = self.clients.header();
        let request = pdpb::GetStoreRequest { header, store_id };
        let answer = self.runtime.block_on(self.clients.pd.get_store(request));
        Ok(match answer {
            Ok(answer) => {
                let store = answer.into_inner().store.unwrap_or_default();
                format!("{:?} at {:?}", store.state(), store.address)
            }
            Err(status) => status.message().to_owned(),
        })
    }

    /// A store registers, as it does with each start.
    fn register(&mut self, id: u64) -> String {
        let registered = self.clients.register(id, "127.0.0.1:20163", 2);
        match self.runtime.block_on(registered) {
            Ok(_registered) => "registered".to_owned(),
            Err(status) => status.message().to_owned(),
        }
    }

    /// Waits until an answer holds this.
    fn until(&self, path: &str, part: &str) -> anyhow::Result<()> {
        let deadline = std::time::Instant::now() + LIVENESS;
        loop {
            let (_, answer) = self.ask("GET", path, "")?;
            if answer.contains(part) {
                return Ok(());
            }
            anyhow::ensure!(std::time::Instant::now() < deadline, "{path} is {answer}");
            std::thread::yield_now();
        }
    }
}

/// A region as its leader, the first of its peers, reports it: `ID START END voters=1,2,3 learners=12 down=3 pending=2 size=MiB
/// keys=N read=BYTES written=BYTES version=N conf=N`.
fn heartbeat(
    args: &mut ArgumentConsumer<'_>,
) -> Result<pdpb::RegionHeartbeatRequest, Box<dyn Error>> {
    let id: u64 = args.next_pos().ok_or("an id")?.parse()?;
    let mut border = || args.next_pos().map(str::to_owned).ok_or("a border");
    let (start, end) = (border()?, border()?);
    let mut stores = |name: &str| -> Result<Vec<u64>, Box<dyn Error>> {
        let text = args.take_key(name).unwrap_or_default();
        let ids = text.split(',').filter(|id| !id.is_empty()).map(str::parse);
        Ok(ids.collect::<Result<_, _>>()?)
    };
    let (voters, learners) = (stores("voters")?, stores("learners")?);
    let (down, pending) = (stores("down")?, stores("pending")?);
    let peer = |store: &u64| metapb::Peer {
        id: 100 * id + store,
        store_id: *store,
        role: i32::from(learners.contains(store)),
        ..Default::default()
    };
    let peers: Vec<metapb::Peer> = voters.iter().chain(&learners).map(peer).collect();
    let mut number =
        |name: &str, usual: u64| args.take_key(name).map_or(Ok(usual), str::parse::<u64>);
    let region_epoch =
        Some(metapb::RegionEpoch { version: number("version", 5)?, conf_ver: number("conf", 5)? });
    let (start_key, end_key) = (start.into(), end.into());
    let is_down = |store| pdpb::PeerStats { peer: Some(peer(store)), down_seconds: 60 };
    Ok(pdpb::RegionHeartbeatRequest {
        leader: peers.first().copied(),
        region: Some(metapb::Region { id, start_key, end_key, region_epoch, peers }),
        term: 6,
        approximate_size: number("size", 64)? << 20,
        approximate_keys: number("keys", 1_000)?,
        bytes_read: number("read", 0)?,
        bytes_written: number("written", 0)?,
        interval: Some(pdpb::TimeInterval { start_timestamp: 100, end_timestamp: 110 }),
        down_peers: down.iter().map(is_down).collect(),
        pending_peers: pending.iter().map(peer).collect(),
        ..Default::default()
    })
}

impl Runner for Stage {
    type Command = Command;

    /// `get PATH`, `post PATH BODY`, `delete PATH [BODY]`; paths without the front that all have, but for ours. `ids PATH`: which
    /// regions are answered. `beat STORE` and `report …`: a store, and the leader of a region, send a heartbeat. `until PATH
    /// TEXT` waits. `state STORE` asks by gRPC, and `register STORE` is a start.
    fn run(&mut self, command: &Command, _context: &Context) -> Result<String, Box<dyn Error>> {
        let mut args = command.consume_args();
        if command.name == "report" {
            let beat = heartbeat(&mut args)?;
            args.reject_next()?;
            self.report(beat)?;
            return Ok(String::new());
        }
        let what = args.next_pos().ok_or("a path or a store")?.to_owned();
        let more = args.next_pos().unwrap_or_default().to_owned();
        args.reject_next()?;
        Ok(match command.name.as_str() {
            "beat" => {
                let (clients, store) = (&mut self.clients, what.parse()?);
                self.runtime.block_on(beat(clients, store, 30 << 30))?;
                String::new()
            }
            "state" => self.state(what.parse()?)?,
            "register" => self.register(what.parse()?),
            "until" => {
                self.until(&what, &more)?;
                String::new()
            }
            "ids" => {
                let value: Value = serde_json::from_str(&self.ask("GET", &what, "")?.1)?;
                let regions = value["regions"].as_array().ok_or("no regions")?;
                let ids: Vec<String> =
                    regions.iter().map(|region| region["id"].to_string()).collect();
                format!("{}: {}", value["count"], ids.join(" "))
            }
            method => {
                let (code, answer) = self.ask(&method.to_uppercase(), &what, &more)?;
                let mut value: Value =
                    serde_json::from_str(&answer).map_err(|_no_json| answer.clone())?;
                mask(&mut value);
                format!("{code} {}", serde_json::to_string_pretty(&value)?)
            }
        })
    }
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                if MASKED.contains(&key.as_str()) && !value.is_null() {
                    *value = "*".into();
                } else {
                    mask(value);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(mask),
        _ => {}
    }
}
