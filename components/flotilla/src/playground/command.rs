//! `playground status | kill | start | stop`: commands to the playground that runs.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use flotilla_client::{Client, ClientOptions, KeyRange, RegionInfo};
use serde_json::{Value, json};
use tokio::task::{JoinSet, spawn_blocking};

use super::{control::Command, descriptor::Descriptor};
use crate::{
    args::{Globals, PlaygroundCommand, Selector},
    catalogue,
    fault::Fault,
    output::{self, Column, Format, Table},
};

/// How long a region may be without a leader before the measurement gives up.
const GAP_MAX: Duration = Duration::from_secs(30);
/// Regions that are watched while a store is killed.
const WATCHED_REGIONS_MAX: usize = 256;

/// Runs one command.
pub(super) async fn run(globals: &Globals, command: PlaygroundCommand) -> Result<(), Fault> {
    match command {
        PlaygroundCommand::Status(selector) => status(globals, &find(&selector)?).await,
        PlaygroundCommand::Stop(selector) => stop(globals, &find(&selector)?).await,
        PlaygroundCommand::Start(args) => {
            let found = find(&args.selector)?;
            let answer = ask(&found, Command::Start { node: args.node.clone() }).await?;
            if globals.output == Format::Json {
                return output::print_json("start", answer);
            }
            let seconds = answer["duration_seconds"].as_f64().unwrap_or_default();
            output::print(&format!("{} up in {seconds:.2} s\n", args.node))
        }
        PlaygroundCommand::Kill(args) => kill(globals, &find(&args.selector)?, args.node).await,
    }
}

fn find(selector: &Selector) -> Result<Descriptor, Fault> {
    let mut living = Descriptor::living();
    if let Some(pid) = selector.pid {
        living.retain(|one| one.pid == pid);
    }
    match living.as_slice() {
        [] => Err(Fault::new(&catalogue::NO_PLAYGROUND, "no such playground is running")
            .hint("flotilla playground")),
        [one] => Ok(one.clone()),
        many => {
            let text = format!("{} playgrounds are running", many.len());
            let fault = Fault::new(&catalogue::MANY_PLAYGROUNDS, text);
            let hint = |one: &Descriptor| format!("--pid {}   {}", one.pid, one.title());
            Err(many.iter().fold(fault, |fault, one| fault.hint(hint(one))))
        }
    }
}

/// Sends one command and waits for its answer; for the end of the playground with [`Command::Stop`].
async fn ask(playground: &Descriptor, command: Command) -> Result<Value, Fault> {
    let (socket, title) = (playground.socket.clone(), playground.title());
    let exchange = move || {
        let mut stream = UnixStream::connect(socket)?;
        let line = serde_json::to_string(&command)?;
        stream.write_all(format!("{line}\n").as_bytes())?;
        let mut stream = BufReader::new(stream);
        let mut answer = String::new();
        stream.read_line(&mut answer)?;
        if matches!(command, Command::Stop) {
            let mut nothing = Vec::new();
            stream.read_to_end(&mut nothing)?;
        }
        Ok::<_, std::io::Error>(serde_json::from_str::<Value>(&answer)?)
    };
    let answer = spawn_blocking(exchange).await;
    let answer = answer.map_err(|cause| Fault::new(&catalogue::INTERNAL, cause.to_string()))?;
    let answer = answer.map_err(|cause| {
        let text = format!("{title} does not answer");
        Fault::new(&catalogue::NO_PLAYGROUND, text).why(cause.to_string())
    })?;
    if answer["error"].is_object() { Err(Fault::from_json(&answer)) } else { Ok(answer) }
}

async fn status(globals: &Globals, playground: &Descriptor) -> Result<(), Fault> {
    let mut answer = ask(playground, Command::Status).await?;
    let nodes = answer["nodes"].take();
    if globals.output == Format::Json {
        let pid = playground.pid;
        let object =
            json!({"name": playground.name, "pid": pid, "pd": playground.pd, "nodes": nodes});
        return output::print_json("playground", object);
    }
    let mut table = Table::new(&[
        Column::Left("NODE"),
        Column::Left("STATE"),
        Column::Left("ADDRESS"),
        Column::Left("STATUS"),
        Column::Right("PID"),
    ]);
    for node in nodes.as_array().into_iter().flatten() {
        let text = |field: &str| node[field].as_str().unwrap_or("-").to_owned();
        let pid = node["pid"].as_u64().unwrap_or_else(|| u64::from(playground.pid));
        table.row(vec![
            text("name"),
            text("state"),
            text("address"),
            text("status_address"),
            pid.to_string(),
        ]);
    }
    output::print(&table.render())
}

async fn stop(globals: &Globals, playground: &Descriptor) -> Result<(), Fault> {
    ask(playground, Command::Stop).await?;
    match globals.output {
        Format::Json => output::print_json("stop", json!({"pid": playground.pid})),
        Format::Table => output::print(&format!("{} stopped\n", playground.title())),
    }
}

/// What is known of a region that was led by the node that was killed.
struct Gap {
    region: u64,
    seconds: Result<f64, Fault>,
}

async fn kill(globals: &Globals, playground: &Descriptor, node: String) -> Result<(), Fault> {
    let store = playground.stores.iter().find(|store| store.name == node);
    let observer = match store {
        Some(store) => Observer::new(playground, &store.address).await,
        None => None,
    };
    ask(playground, Command::Kill { node: node.clone() }).await?;
    let killed = Instant::now();
    let (led, regions) = observer.as_ref().map_or((0, 0), |seen| (seen.led.len(), seen.regions));
    if globals.output == Format::Table {
        let watched = if observer.is_some() {
            format!("; it led {led} of {regions} regions")
        } else {
            String::new()
        };
        output::print(&format!("{node} killed without warning{watched}\n"))?;
    }
    let gaps = match observer {
        Some(observer) => observer.gaps(killed).await,
        None => Vec::new(),
    };
    if globals.output == Format::Json {
        let gap = |gap: &Gap| json!({"id": gap.region, "gap_seconds": gap.seconds.as_ref().ok()});
        let regions: Vec<Value> = gaps.iter().map(gap).collect();
        return output::print_json("kill", json!({"node": node, "regions": regions}));
    }
    for gap in &gaps {
        let text = match &gap.seconds {
            Ok(seconds) => format!("readable again after {seconds:.2} s"),
            Err(fault) => fault.message().to_owned(),
        };
        output::print(&format!("  region {:>4}   {text}\n", gap.region))?;
    }
    output::print(&format!("revive: flotilla playground start {node}\n"))
}

/// Watches the regions that one store leads.
struct Observer {
    client: Client,
    led: Vec<RegionInfo>,
    regions: usize,
}

impl Observer {
    /// `None` where the cluster does not answer: then there is nothing to watch.
    async fn new(playground: &Descriptor, address: &str) -> Option<Self> {
        let options =
            ClientOptions { deadline: Duration::from_secs(2), ..ClientOptions::default() };
        let client = Client::connect(&playground.pd, options).await.ok()?;
        let stores = client.admin().stores().await.ok()?;
        let id = stores.iter().find(|store| store.address == address)?.id;
        let mut led = client.admin().regions(KeyRange::all(), usize::MAX).await.ok()?;
        let regions = led.len();
        led.retain(|info| info.leader.is_some_and(|leader| leader.store == id));
        led.truncate(WATCHED_REGIONS_MAX);
        // Fills the client's map, so that its search for the new leader is all that is measured.
        for info in &led {
            client.raw().get(info.region.range.start.clone()).await.ok()?;
        }
        Some(Self { client, led, regions })
    }

    /// The time from `killed` until each region can be read again. A read is answered only by a leader
    /// that has committed in its own term, which could write as well.
    async fn gaps(self, killed: Instant) -> Vec<Gap> {
        let mut reads = JoinSet::new();
        for info in self.led {
            let raw = self.client.raw().with_deadline(GAP_MAX);
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
