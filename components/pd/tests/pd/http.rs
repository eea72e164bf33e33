//! Scripts of `testscripts/`: what tools ask over HTTP, and the very bodies that they get. Four stores, of which no region has
//! reported: nothing is decided but what the script asks for. Regenerate with `UPDATE_GOLDENFILES=1`.

use std::error::Error;

use flotilla_pd::Pd;
use flotilla_proto::{metapb, pdpb, store_link};
use goldenscript::{Command, Context, Runner};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{
    port::send,
    support::{Clients, own_address, start},
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
    for script in ["http_settings", "http_stores", "http_schedulers", "http_rules", "http_plan"] {
        let mut stage = Stage::open().expect("it starts");
        goldenscript::run(&mut stage, format!("testscripts/{script}"))?;
        stage.runtime.block_on(stage.pd.shutdown()).expect("it ends");
    }
    Ok(())
}

struct Stage {
    runtime: Runtime,
    pd: Pd,
    _dir: TempDir,
}

impl Stage {
    fn open() -> anyhow::Result<Self> {
        let runtime = Runtime::new()?;
        let dir = tempfile::tempdir()?;
        let pd = runtime.block_on(async {
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
            let stats = pdpb::StoreStats {
                store_id: fourth,
                capacity: 100 << 30,
                available: 60 << 30,
                used_size: 40 << 30,
                ..Default::default()
            };
            let header = clients.header();
            let request = pdpb::StoreHeartbeatRequest { header, stats: Some(stats) };
            clients.pd.store_heartbeat(request).await?;
            anyhow::Ok(pd)
        })?;
        Ok(Self { runtime, pd, _dir: dir })
    }
}

impl Runner for Stage {
    type Command = Command;

    /// `get PATH`, `post PATH BODY`, `delete PATH [BODY]`; paths without the front that all have, but for ours.
    fn run(&mut self, command: &Command, _context: &Context) -> Result<String, Box<dyn Error>> {
        let mut args = command.consume_args();
        let path = args.next_pos().ok_or("a path")?.to_owned();
        let body = args.next_pos().unwrap_or_default().to_owned();
        args.reject_next()?;
        let front = if path.starts_with("/flotilla/") { "" } else { "/pd/api/v1" };
        let method = command.name.to_uppercase();
        let path = format!("{front}{path}");
        let asked = send(self.pd.address(), &method, &path, &body);
        let (code, answer) = self.runtime.block_on(asked)?;
        let mut value: Value = serde_json::from_str(&answer).map_err(|_no_json| answer.clone())?;
        mask(&mut value);
        Ok(format!("{code} {}", serde_json::to_string_pretty(&value)?))
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
