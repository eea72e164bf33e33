//! `playground status | start | stop`: commands to the playground that runs. `kill` has a file of its own.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{task::spawn_blocking, time::timeout};

use super::{control::Command, descriptor::Descriptor, kill, select};
use crate::{
    args::{Globals, PlaygroundCommand},
    catalogue,
    fault::Fault,
    output::{self, Column, Format, Table},
};

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
        if matches!(command, Command::Stop) {
            let mut nothing = Vec::new();
            stream.read_to_end(&mut nothing)?;
        }
        Ok::<_, io::Error>(serde_json::from_str::<Value>(&answer)?)
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
    let command = Command::Start { node: node.clone() };
    let answer = ask(playground, command, globals.timeout).await?;
    if globals.output == Format::Json {
        return output::print_json("start", answer);
    }
    let seconds = answer["duration_seconds"].as_f64().unwrap_or_default();
    output::print(&format!("{node} up in {seconds:.2} s\n"))
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
        Column::Left("STATE"),
        Column::Left("ADDRESS"),
        Column::Left("STATUS"),
        Column::Right("PID"),
    ]);
    for node in nodes.as_array().into_iter().flatten() {
        let text = |field: &str| node[field].as_str().unwrap_or("-").to_owned();
        let pid = node["pid"].as_u64().map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        table.row(vec![text("name"), text("state"), text("address"), text("status_address"), pid]);
    }
    output::print(&table.render())
}

async fn stop(globals: &Globals, playground: &Descriptor) -> Result<(), Fault> {
    ask(playground, Command::Stop, globals.timeout).await?;
    match globals.output {
        Format::Json => output::print_json("stop", json!({"pid": playground.pid})),
        Format::Table => output::print(&format!("{} stopped\n", playground.title())),
    }
}
