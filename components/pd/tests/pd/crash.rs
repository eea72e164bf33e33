//! kill -9 of a placement driver: what it handed out is never handed out again.
//!
//! The test program starts itself as the process that is killed.

use std::{
    env,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::support::{Clients, own_address, start};

const CHILD_DIR: &str = "FLOTILLA_TEST_PD_DIR";
const CHILD_ADDRESS: &str = "FLOTILLA_TEST_PD_ADDRESS";

/// Runs as the process that is killed, where it is asked to; as a test of its own it has nothing to do.
#[tokio::test]
async fn victim() -> Result<()> {
    let (Ok(dir), Ok(address)) = (env::var(CHILD_DIR), env::var(CHILD_ADDRESS)) else {
        return Ok(());
    };
    let mut pd = start(&PathBuf::from(dir), address.parse()?, 1).await?;
    println!("\nserves {}", pd.client_url());
    Ok(pd.ended().await?)
}

/// A process that is killed in any case.
struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        let _may_be_dead = self.0.kill();
        let _exit_status = self.0.wait();
    }
}

fn spawn(dir: &Path, address: SocketAddr) -> Result<(Victim, String)> {
    let mut child = Command::new(env::current_exe()?)
        .args(["crash::victim", "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD_DIR, dir)
        .env(CHILD_ADDRESS, address.to_string())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().context("piped")?;
    let victim = Victim(child);
    for line in BufReader::new(output).lines() {
        if let Some(url) = line?.strip_prefix("serves ") {
            return Ok((victim, url.to_owned()));
        }
    }
    anyhow::bail!("the victim ended before it served")
}

#[tokio::test]
async fn timestamps_and_ids_only_grow_over_kills() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let address = own_address();
    let (mut last_timestamp, mut last_id, mut cluster) = (0, 0, None);
    for round in 0..5 {
        let (victim, url) = spawn(dir.path(), address)?;
        let mut clients = Clients::connect(&url).await?;
        ensure!(*cluster.get_or_insert(clients.cluster_id) == clients.cluster_id, "identity");
        for _request in 0..50 {
            let timestamp = clients.timestamp(1000).await?;
            ensure!(timestamp - 1000 >= last_timestamp, "{timestamp} after {last_timestamp}");
            last_timestamp = timestamp;
        }
        // Far ahead of the clock, so that the next run's clock alone would not save it.
        let ahead = clients.timestamps(&[262_143; 900]).await?;
        let furthest = ahead.last().and_then(|answer| answer.timestamp).context("timestamps")?;
        last_timestamp = (furthest.physical << 18) + furthest.logical;
        let id = clients.alloc_id(3).await?;
        ensure!(id - 3 >= last_id, "round {round}: {id} after {last_id}");
        last_id = id;
        if round == 0 {
            clients.bootstrap(1).await?;
        }
        drop(victim);
    }
    let pd = start(dir.path(), address, 1).await?;
    let mut clients = Clients::connect(pd.client_url()).await?;
    let header = clients.header();
    let request = flotilla_proto::pdpb::IsBootstrappedRequest { header };
    ensure!(clients.pd.is_bootstrapped(request).await?.into_inner().bootstrapped, "bootstrapped");
    Ok(pd.shutdown().await?)
}
