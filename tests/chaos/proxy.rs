//! Cuts without privileges: each node is reached through a proxy, which holds back what must not go through.
//!
//! Who connects is found out by the system's table of connections: all of them come from one loopback address.
//! A cut keeps the order of bytes and loses none, as a network does for TCP; what it held back arrives late.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Handle,
    sync::watch,
    time::sleep,
};

use crate::{
    common::cluster::Processes,
    network::{Cuts, Member},
};

/// A node that has just been started may connect before anybody has said which process it is.
const STRANGERS: Duration = Duration::from_secs(2);
const STRANGERS_PERIOD: Duration = Duration::from_millis(5);

/// Where a proxy listens, and the node behind it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) node: usize,
    pub(crate) outside: SocketAddr,
    pub(crate) inside: SocketAddr,
}

/// All proxies of a run.
#[derive(Debug)]
pub(crate) struct Proxies {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    cuts: watch::Sender<Cuts>,
    processes: Processes,
    clients: Member,
    /// Pieces that were held back since the last change of cuts.
    held: AtomicU64,
}

impl Proxies {
    pub(crate) fn start(lines: Vec<Line>, processes: Processes, runtime: &Handle) -> Self {
        let (cuts, held) = (watch::Sender::new(Cuts::new()), AtomicU64::new(0));
        let shared = Arc::new(Shared { cuts, processes, held, clients: lines.len() });
        for line in lines {
            let shared = Arc::clone(&shared);
            let listener = runtime.block_on(TcpListener::bind(line.outside));
            let listener = listener.expect("nobody else has this loopback address");
            runtime.spawn(async move {
                while let Ok((stream, peer)) = listener.accept().await {
                    let _runs_until_it_is_closed =
                        tokio::spawn(connect(Arc::clone(&shared), line, stream, peer));
                }
            });
        }
        Self { shared }
    }

    pub(crate) fn cut(&self, cuts: Cuts) {
        self.shared.held.store(0, Ordering::Relaxed);
        self.shared.cuts.send_replace(cuts);
    }

    pub(crate) fn has_held(&self) -> bool {
        self.shared.held.load(Ordering::Relaxed) > 0
    }
}

async fn connect(shared: Arc<Shared>, line: Line, outer: TcpStream, peer: SocketAddr) {
    let Some(caller) = shared.caller(peer, line.outside).await else { return };
    let Ok(inner) = TcpStream::connect(line.inside).await else { return };
    let _small_messages_are_fast = (outer.set_nodelay(true), inner.set_nodelay(true));
    let ((outer_read, outer_write), (inner_read, inner_write)) =
        (outer.into_split(), inner.into_split());
    let there =
        tokio::spawn(pump(Arc::clone(&shared), (caller, line.node), outer_read, inner_write));
    pump(shared, (line.node, caller), inner_read, outer_write).await;
    // Where one direction is at its end, the other one has nobody to talk to.
    there.abort();
}

/// Passes bytes on in one direction while it is open.
async fn pump(
    shared: Arc<Shared>,
    way: (Member, Member),
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
) {
    let mut cuts = shared.cuts.subscribe();
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if cuts.borrow_and_update().contains(&way) {
            shared.held.fetch_add(1, Ordering::Relaxed);
            if cuts.wait_for(|cuts| !cuts.contains(&way)).await.is_err() {
                return;
            }
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

impl Shared {
    /// Who has connected from `peer` to the proxy at `outside`.
    async fn caller(&self, peer: SocketAddr, outside: SocketAddr) -> Option<Member> {
        let deadline = Instant::now() + STRANGERS;
        while Instant::now() < deadline {
            let inode = inode(peer, outside)?;
            if holds(std::process::id(), &inode) {
                return Some(self.clients);
            }
            let processes = self.processes.lock().clone();
            let theirs = processes.into_iter().find(|(_, process)| holds(*process, &inode));
            if let Some((node, _)) = theirs {
                return Some(node);
            }
            sleep(STRANGERS_PERIOD).await;
        }
        None
    }
}

/// The inode of the socket whose own end is `local`.
fn inode(local: SocketAddr, remote: SocketAddr) -> Option<String> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let (local, remote) = (hexadecimal(local)?, hexadecimal(remote)?);
    table.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (words.get(1) == Some(&local.as_str()) && words.get(2) == Some(&remote.as_str()))
            .then(|| words.get(9).map(|inode| (*inode).to_owned()))?
    })
}

/// An address as the system's table shows it.
fn hexadecimal(address: SocketAddr) -> Option<String> {
    let SocketAddr::V4(address) = address else { return None };
    let bytes = u32::from_ne_bytes(address.ip().octets());
    Some(format!("{bytes:08X}:{:04X}", address.port()))
}

/// Whether a process has a socket open.
fn holds(process: u32, inode: &str) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    let name = format!("socket:[{inode}]");
    let mut links = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    links.any(|link| link.as_os_str() == name.as_str())
}
