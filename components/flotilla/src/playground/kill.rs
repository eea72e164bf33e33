//! `playground kill`: ends a node, and watches what becomes of the regions that it led.

use std::time::{Duration, Instant};

use flotilla_base::Peer;
use flotilla_client::{Client, ClientOptions, KeyRange, RegionInfo};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{command::ask, control::Command, descriptor::Descriptor, select::down_stores};
use crate::{
    args::Globals,
    catalogue, context,
    fault::Fault,
    output::{self, Format},
    text,
};

/// How long the look at the cluster before may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// Regions that are watched while a store is killed.
const WATCHED_REGIONS_MAX: usize = 256;

/// What became of a region that was led by the node that was killed.
struct Gap {
    region: u64,
    seconds: Result<f64, Fault>,
}

/// Kills `node`. An error where some region cannot be read afterwards.
pub(super) async fn run(
    globals: &Globals,
    playground: &Descriptor,
    node: String,
) -> Result<(), Fault> {
    let store = playground.stores.iter().find(|store| store.name == node);
    let observer = match store {
        Some(store) => Observer::new(globals, playground, &store.address).await,
        None => None,
    };
    let began = Instant::now();
    ask(playground, Command::Kill { node: node.clone() }, globals.timeout).await?;
    let killed = Instant::now();
    if globals.output == Format::Table {
        let watched = match (&observer, store) {
            (Some(seen), _) => {
                format!("; it led {} of {}", seen.led, text::counted(seen.regions, "region"))
            }
            (None, Some(_)) => {
                "; the cluster did not answer before, so nothing is measured".to_owned()
            }
            (None, None) => String::new(),
        };
        output::print(&format!("{node} killed without warning{watched}\n"))?;
    }
    let (gaps, lost) = match observer {
        Some(observer) => {
            let lost = observer.lost.clone();
            (observer.gaps(killed, globals.timeout.saturating_sub(began.elapsed())).await, lost)
        }
        None => (Vec::new(), Vec::new()),
    };
    print(globals, &node, &gaps, &lost)?;
    complaint(&node, &gaps, &lost).map_or(Ok(()), Err)
}

fn print(globals: &Globals, node: &str, gaps: &[Gap], lost: &[u64]) -> Result<(), Fault> {
    if globals.output == Format::Json {
        let gap = |gap: &Gap| json!({"id": gap.region, "gap_seconds": gap.seconds.as_ref().ok()});
        let regions: Vec<Value> = gaps.iter().map(gap).collect();
        let object = json!({"node": node, "regions": regions, "without_majority": lost});
        return output::print_json("kill", object);
    }
    for gap in gaps {
        let text = match &gap.seconds {
            Ok(seconds) => format!("readable again after {seconds:.2} s"),
            Err(fault) => fault.message().to_owned(),
        };
        output::print(&format!("  region {:>4}   {text}\n", gap.region))?;
    }
    for region in lost {
        output::print(&format!("  region {region:>4}   has no majority any more\n"))?;
    }
    let revive = format!("revive: flotilla playground start {node}\n");
    output::print(&context::pasted(globals, &revive))
}

/// What is not well now: the node is killed, but the cluster does not do without it.
fn complaint(node: &str, gaps: &[Gap], lost: &[u64]) -> Option<Fault> {
    let revive = format!("flotilla playground start {node}");
    if !lost.is_empty() {
        let regions = text::counted(lost.len() as u64, "region");
        let text =
            format!("{node} is killed; {regions} without a majority, until a store is started");
        let fault = Fault::new(&catalogue::UNHEALTHY, text).why("too few stores are up");
        return Some(fault.hint(revive));
    }
    let unread = gaps.iter().filter_map(|gap| Some((gap.region, gap.seconds.as_ref().err()?)));
    let unread: Vec<(u64, &Fault)> = unread.collect();
    let (region, fault) = unread.first()?;
    let regions = text::counted(unread.len() as u64, "region");
    let text = format!("{node} is killed; {regions} could not be read again within --timeout");
    let why = format!("region {region}: {}", fault.message());
    let fault = Fault::new(&catalogue::UNHEALTHY, text).why(why);
    Some(fault.hint("flotilla ctl regions").hint(revive))
}

/// Watches the regions that one store leads.
struct Observer {
    client: Client,
    /// Regions that it leads and that keep a majority without it.
    watched: Vec<RegionInfo>,
    /// Regions that have no majority without it.
    lost: Vec<u64>,
    /// How many regions it leads, and how many there are.
    led: u64,
    regions: u64,
}

impl Observer {
    /// `None` where the cluster does not answer: then there is nothing to watch.
    async fn new(globals: &Globals, playground: &Descriptor, address: &str) -> Option<Self> {
        let deadline = LOOK_TIMEOUT.min(globals.timeout);
        let options = ClientOptions { deadline, ..ClientOptions::default() };
        let client = Client::connect(&playground.pd, options).await.ok()?;
        let nodes = ask(playground, Command::Status, deadline).await.ok()?;
        let mut down = down_stores(&nodes);
        down.push(address.to_owned());
        let stores = client.admin().stores().await.ok()?;
        let regions = client.admin().regions(KeyRange::all(), usize::MAX).await.ok()?;
        let id = stores.iter().find(|store| store.address == address)?.id;
        // The playground knows best which of its stores are up.
        let is_down = |peer: &&Peer| {
            let store = stores.iter().find(|store| store.id == peer.store);
            store.is_none_or(|store| down.contains(&store.address))
        };
        let is_lost = |info: &RegionInfo| {
            let peers = &info.region.peers;
            peers.iter().filter(is_down).count() * 2 >= peers.len()
        };
        let leads = |info: &RegionInfo| info.leader.is_some_and(|leader| leader.store == id);
        let led = regions.iter().filter(|info| leads(info)).count() as u64;
        let count = regions.len() as u64;
        let (lost, kept): (Vec<_>, Vec<_>) = regions.into_iter().partition(is_lost);
        let mut watched: Vec<RegionInfo> = kept.into_iter().filter(leads).collect();
        watched.truncate(WATCHED_REGIONS_MAX);
        // Fills the client's map, so that its search for the new leader is all that is measured.
        for info in &watched {
            client.raw().get(info.region.range.start.clone()).await.ok()?;
        }
        let lost = lost.into_iter().map(|info| info.region.id.get()).collect();
        Some(Self { client, watched, lost, led, regions: count })
    }

    /// The time from `killed` until each region can be read again. A read is answered only by a leader
    /// that has committed in its own term, which could write as well.
    async fn gaps(self, killed: Instant, patience: Duration) -> Vec<Gap> {
        let mut reads = JoinSet::new();
        for info in self.watched {
            let raw = self.client.raw().with_deadline(patience);
            reads.spawn(async move {
                let read = raw.get(info.region.range.start).await;
                let seconds = read.map(|_value| killed.elapsed().as_secs_f64());
                Gap { region: info.region.id.get(), seconds: seconds.map_err(Fault::from) }
            });
        }
        let mut gaps = reads.join_all().await;
        gaps.sort_by_key(|gap| gap.region);
        gaps
    }
}
