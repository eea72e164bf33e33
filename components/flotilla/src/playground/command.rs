//! `playground status | start | add-store | stop`: commands to the playground that runs. `kill` has a file of its own.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use flotilla_client::{Client, ClientOptions, Error};
use serde_json::{Value, json};
use tokio::{task::spawn_blocking, time::timeout};

use super::{
    control::Command,
    descriptor::Descriptor,
    kill,
    node::STOP_PATIENCE,
    select::{self, GLANCE},
};
use crate::{
    args::{AddStoreArgs, Globals, PlaygroundCommand},
    catalogue,
    fault::Fault,
    health::ClusterView,
    output::{self, Column, Format, Table},
};

/// Between two looks at a store that was started, of which nobody tells.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// Runs one command.
pub(super) async fn run(globals: &Globals, command: PlaygroundCommand) -> Result<(), Fault> {
    match command {
        PlaygroundCommand::Status(selector) => {
            status(globals, &select::one(globals, &selector).await?).await
        }
        PlaygroundCommand::Stop(selector) => {
            stop(globals, &select::one(globals, &selector).await?).await
        }
        PlaygroundCommand::Start(args) => {
            let found = select::one(globals, &args.selector).await?;
            start(globals, &found, args.node).await
        }
        PlaygroundCommand::AddStore(args) => {
            let labels = distinct(&args)?;
            let found = select::one(globals, &args.selector).await?;
            add_stores(globals, &found, labels, args.count).await
        }
        PlaygroundCommand::Kill(args) => {
            let found = select::one(globals, &args.selector).await?;
            kill::run(globals, &found, args.node).await
        }
    }
}

/// Sends one command and waits for its answer; for the end of the playground with [`Command::Stop`].
pub(super) async fn ask(
    playground: &Descriptor,
    command: Command,
    patience: Duration,
) -> Result<Value, Fault> {
    let (socket, title) = (playground.socket.clone(), playground.title());
    let is_look = matches!(command, Command::Status);
    let exchange = move || {
        let mut stream = UnixStream::connect(socket)?;
        let line = serde_json::to_string(&command)?;
        stream.write_all(format!("{line}\n").as_bytes())?;
        let mut stream = BufReader::new(stream);
        let mut answer = String::new();
        stream.read_line(&mut answer)?;
        let mut answer = serde_json::from_str::<Value>(&answer)?;
        if matches!(command, Command::Stop) {
            let mut ended = String::new();
            stream.read_to_string(&mut ended)?;
            // Only a playground that ends on its own account says nothing more.
            let ended = serde_json::from_str::<Value>(&ended).unwrap_or_default();
            answer["killed"] = ended["killed"].clone();
        }
        Ok::<_, io::Error>(answer)
    };
    let Ok(answer) = timeout(patience, spawn_blocking(exchange)).await else {
        let text = format!("{title} has not answered within {patience:?}");
        let fault = Fault::new(&catalogue::NO_ANSWER, text);
        let why = if is_look { "it is busy, or hangs" } else { "what it was told to do goes on" };
        return Err(fault.why(why).hint("flotilla playground status").hint("--timeout 1m"));
    };
    let answer = answer.map_err(|cause| Fault::new(&catalogue::INTERNAL, cause.to_string()))?;
    let answer = answer.map_err(|cause| {
        let text = format!("{title} does not answer");
        let fault = Fault::new(&catalogue::NO_PLAYGROUND, text).why(cause.to_string());
        fault.hint("flotilla playground")
    })?;
    if answer["error"].is_object() { Err(Fault::from_json(&answer)) } else { Ok(answer) }
}

async fn start(globals: &Globals, playground: &Descriptor, node: String) -> Result<(), Fault> {
    let began = Instant::now();
    let command = Command::Start { node: node.clone() };
    let store = playground.stores.iter().find(|store| store.name == node);
    let asked = ask(playground, command, globals.timeout).await;
    let mut answer = match asked {
        Err(fault) if store.is_some() => return Err(not_started(playground, &node, fault).await),
        answered => answered?,
    };
    if let Some(store) = store {
        until_seen(globals, playground, (&node, &store.address), began).await?;
        answer["seen_seconds"] = json!(began.elapsed().as_secs_f64());
    }
    if globals.output == Format::Json {
        return output::print_json("start", answer);
    }
    output::print(&format!("{node} {}\n", up(&answer)))
}

/// How fast a node came up, of which the answer tells.
fn up(answer: &Value) -> String {
    let seconds = answer["duration_seconds"].as_f64().unwrap_or_default();
    let seen = answer["seen_seconds"].as_f64().map_or_else(String::new, |seconds| {
        format!("; the placement driver sees it after {seconds:.2} s")
    });
    format!("up in {seconds:.2} s{seen}")
}

/// Why a store was not started, as far as the playground knows, and what to do.
async fn not_started(playground: &Descriptor, node: &str, fault: Fault) -> Fault {
    if fault.is(&catalogue::STORE_REMOVED) {
        let data = playground.data.join(node);
        let anew = format!("for a new store in its place: rm -r {}", data.display());
        let again = format!("flotilla playground start {node}");
        return fault.advised(&catalogue::STORE_REMOVED, vec![anew, again]);
    }
    if !fault.is(&catalogue::NO_ANSWER) {
        return fault;
    }
    let nodes = ask(playground, Command::Status, GLANCE).await.unwrap_or_default();
    let mut nodes = nodes["nodes"].as_array().into_iter().flatten();
    let down = nodes.find(|node| node["role"] == "pd" && node["state"] != "up");
    let Some(pd) = down.and_then(|pd| pd["name"].as_str()) else { return fault };
    let start = format!("flotilla playground start {pd}");
    let why = format!("{pd} is not up, and a store that starts waits for it; it goes on");
    fault.why(why).advised(&catalogue::NO_ANSWER, vec![start])
}

/// The labels by their names, each of which may be said once.
fn distinct(args: &AddStoreArgs) -> Result<BTreeMap<String, String>, Fault> {
    let mut labels = BTreeMap::new();
    for label in &args.labels {
        if let Some(other) = labels.insert(label.name().to_owned(), label.value().to_owned()) {
            let name = label.name();
            let text = format!("label {name:?} is given twice");
            let why = format!("a store has one value of it, {other:?} or {:?}", label.value());
            let fault = Fault::new(&catalogue::INVALID_ARGUMENT, text).why(why);
            return Err(fault.hint(format!("--label {name}={}", label.value())));
        }
    }
    Ok(labels)
}

/// Adds one store after the other. Those that are there before one fails are told, and stay.
async fn add_stores(
    globals: &Globals,
    playground: &Descriptor,
    labels: BTreeMap<String, String>,
    count: u16,
) -> Result<(), Fault> {
    let is_json = globals.output == Format::Json;
    let mut added = Vec::new();
    let mut outcome = Ok(());
    while outcome.is_ok() && added.len() < usize::from(count) {
        match add_store(globals, playground, labels.clone()).await {
            Ok(answer) if is_json => added.push(answer),
            Ok(answer) => {
                let text = |field: &str| answer[field].as_str().unwrap_or("-").to_owned();
                let (name, address, status) =
                    (text("name"), text("address"), text("status_address"));
                let (id, up) = (&answer["store_id"], up(&answer));
                output::print(&format!("{name} {up}\n  id {id}   {address}   status {status}\n"))?;
                added.push(answer);
            }
            Err(fault) => outcome = Err(fault),
        }
    }
    if is_json && !added.is_empty() {
        output::print_json("added", Value::Array(added))?;
    }
    outcome
}

/// Adds one, and returns when the cluster counts it as up.
async fn add_store(
    globals: &Globals,
    playground: &Descriptor,
    labels: BTreeMap<String, String>,
) -> Result<Value, Fault> {
    let began = Instant::now();
    let mut answer = ask(playground, Command::AddStore { labels }, globals.timeout).await?;
    let text = |field: &str| answer[field].as_str().unwrap_or_default();
    until_seen(globals, playground, (text("name"), text("address")), began).await?;
    answer["seen_seconds"] = json!(began.elapsed().as_secs_f64());
    Ok(answer)
}

/// Returns when the cluster counts a store, of this name and address, as up; an error where that takes longer than the
/// command that `began` then may.
async fn until_seen(
    globals: &Globals,
    playground: &Descriptor,
    (name, address): (&str, &str),
    began: Instant,
) -> Result<(), Fault> {
    let patience = globals.timeout.saturating_sub(began.elapsed());
    match timeout(patience, counts_as_up(playground, address, patience)).await {
        Ok(Ok(())) => Ok(()),
        _too_late_or_unreachable => Err(unseen(globals, name)),
    }
}

async fn counts_as_up(
    playground: &Descriptor,
    address: &str,
    patience: Duration,
) -> Result<(), Error> {
    let options = ClientOptions { deadline: patience, ..ClientOptions::default() };
    let admin = Client::connect(&playground.pd, options).await?.admin();
    loop {
        let view = ClusterView::look(&admin, &[]).await?;
        let mut stores = view.stores.iter();
        if stores.any(|found| found.info.address == address && found.state == "up") {
            return Ok(());
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

fn unseen(globals: &Globals, node: &str) -> Fault {
    let patience = globals.timeout;
    let text = format!("{node} is started, but does not count as up within {patience:?}");
    let why = "the placement driver or the leaders of its regions do not hear it yet";
    let fault = Fault::new(&catalogue::UNHEALTHY, text).why(why);
    fault.hint("flotilla ctl stores").hint("--timeout 1m")
}

async fn status(globals: &Globals, playground: &Descriptor) -> Result<(), Fault> {
    let mut answer = ask(playground, Command::Status, globals.timeout).await?;
    let nodes = answer["nodes"].take();
    if globals.output == Format::Json {
        let pid = playground.pid;
        let object =
            json!({"name": playground.name, "pid": pid, "pd": playground.pd, "nodes": nodes});
        return output::print_json("playground", object);
    }
    let mut table = Table::new(&[
        Column::Left("NODE"),
        Column::Right("ID"),
        Column::Left("STATE"),
        Column::Left("ADDRESS"),
        Column::Left("STATUS"),
        Column::Right("PID"),
    ]);
    for node in nodes.as_array().into_iter().flatten() {
        let text = |field: &str| node[field].as_str().unwrap_or("-").to_owned();
        let number = |field: &str| {
            node[field].as_u64().map_or_else(|| "-".to_owned(), |number| number.to_string())
        };
        table.row(vec![
            text("name"),
            number("store_id"),
            text("state"),
            text("address"),
            text("status_address"),
            number("pid"),
        ]);
    }
    output::print(&table.render())
}

async fn stop(globals: &Globals, playground: &Descriptor) -> Result<(), Fault> {
    let answer = ask(playground, Command::Stop, globals.timeout).await?;
    let killed = answer["killed"].as_array().into_iter().flatten();
    let killed: Vec<String> = killed.filter_map(|name| name.as_str().map(str::to_owned)).collect();
    match globals.output {
        Format::Json => {
            output::print_json("stop", json!({"pid": playground.pid, "killed": killed}))
        }
        Format::Table => {
            let killed: String = killed_note(&killed).into_iter().map(|note| note + "\n").collect();
            output::print(&format!("{killed}{} stopped\n", playground.title()))
        }
    }
}

/// What is to be said of nodes that did not stop in order; nothing where all did.
pub(super) fn killed_note(killed: &[String]) -> Option<String> {
    let names = killed.join(", ");
    (!killed.is_empty()).then(|| {
        format!(
            "killed, not having stopped within {STOP_PATIENCE:?}: {names}; nothing that was acknowledged is lost"
        )
    })
}
