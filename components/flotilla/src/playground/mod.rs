//! A whole cluster from one command: decide, start, check, show, obey, stop.

mod command;
mod control;
pub(crate) mod descriptor;
mod fleet;
mod kept;
mod kill;
mod node;
mod plan;
mod ready;
mod screen;
mod select;

use std::{process::ExitStatus, sync::Arc, time::Instant};

use flotilla_client::Client;
use serde_json::json;
use tokio::task::{JoinSet, spawn_blocking};

pub(crate) use self::select::Insight;
use self::{
    control::{Control, Stops},
    fleet::Fleet,
    plan::Plan,
};
use crate::{
    args::{Globals, PlaygroundArgs, PlaygroundStartArgs},
    catalogue::{self, Exit},
    fault::Fault,
    output::{self, Format},
    server::{
        self,
        open_files::OpenFiles,
        port,
        signal::{self, Interrupts},
    },
};

/// `flotilla playground`; the exit code.
pub(crate) async fn run(globals: &Globals, args: PlaygroundArgs) -> Result<u8, Fault> {
    if let Some(command) = args.command {
        command::run(globals, command).await?;
        return Ok(Exit::Done as u8);
    }
    // Watched before there is anything that could be left behind.
    let mut interrupts = Interrupts::new()?;
    let plan = Plan::new(&args.start)?;
    let fleet = Arc::new(Fleet::new(plan));
    let stops = Arc::new(Stops::default());
    let outcome = live(globals, &args.start, &fleet, &mut interrupts, &stops).await;
    let stopping = Instant::now();
    let ending = Arc::clone(&fleet);
    // Behind the line that was being rewritten.
    let line_end = if output::is_terminal() { "\n" } else { "" };
    let stopped = tokio::select! {
        stopped = spawn_blocking(move || ending.stop()) => stopped,
        // Whoever asks again does not want to wait.
        interrupt = interrupts.again() => {
            output::note(&format!("{line_end}{}", fleet.plan().left_behind()));
            signal::exit(interrupt)
        }
    };
    // No node writes into it any more.
    let is_deleted = fleet.plan().clean_up();
    let is_shown = outcome.is_ok() && globals.output == Format::Table;
    if let Ok(killed) = &stopped {
        stops.tell(&json!({"killed": killed})).await;
    }
    if let (true, Ok(killed)) = (is_shown, stopped) {
        let seconds = stopping.elapsed().as_secs_f64();
        output::note(&format!("{line_end}stopped in {seconds:.1} s"));
        if let Some(note) = command::killed_note(&killed) {
            output::note(&note);
        }
        if is_deleted {
            let data = fleet.plan().data.display();
            output::note(&format!(
                "deleted {data}. Keep the next one with: flotilla playground --name demo"
            ));
        }
    }
    outcome
}

/// From the start of the first node to the wish to stop.
async fn live(
    globals: &Globals,
    args: &PlaygroundStartArgs,
    fleet: &Arc<Fleet>,
    interrupts: &mut Interrupts,
    stops: &Arc<Stops>,
) -> Result<u8, Fault> {
    let plan = fleet.plan();
    server::init_logging("info", Some(&plan.log.join("playground.log")))?;
    let in_this_process = if plan.is_processes { 1 } else { plan.nodes.len() };
    OpenFiles::raise().tell(in_this_process);
    let is_table = globals.output == Format::Table;
    let started = Instant::now();
    check_ports(args, plan)?;
    if is_table {
        screen::heading(plan)?;
    }
    let starting = async {
        start_all(fleet, is_table).await?;
        ready::wait(plan).await
    };
    let (client, readiness) = tokio::select! {
        ready = starting => ready?,
        // Starts cannot be broken off: those under way are waited for when the fleet is stopped.
        interrupt = interrupts.first() => return Ok(interrupt.exit() as u8),
    };
    let socket = Control::listen(fleet, stops)?;
    let note = fleet.descriptor(&socket);
    let _published = note.publish().map_err(|cause| Fault::io("cannot write the note", &cause))?;
    if let Some(path) = &args.ready_file {
        let written = descriptor::write_whole(path, &note.to_json());
        let what = format!("cannot write {}", path.display());
        written.map_err(|cause| Fault::io(what, &cause))?;
    }
    if is_table {
        screen::banner(fleet, &readiness, started.elapsed())?;
    } else {
        output::print(&note.to_json())?;
    }
    let watching = watch(client, fleet, is_table && args.exec.is_empty());
    let code = tokio::select! {
        code = execute(args, plan) => code?,
        () = stops.asked() => Exit::Done as u8,
        _interrupt = interrupts.first() => Exit::Done as u8,
        () = watching => Exit::Done as u8,
    };
    Ok(code)
}

async fn watch(client: Client, fleet: &Fleet, is_shown: bool) {
    if is_shown {
        screen::footer(client, fleet).await;
    }
    std::future::pending::<()>().await;
}

/// Refuses addresses that somebody else has, before anything is started.
fn check_ports(args: &PlaygroundStartArgs, plan: &Plan) -> Result<(), Fault> {
    // Other places than the one that was chosen.
    let offset = (args.port_offset < 20_000).then(|| args.port_offset + 10_000);
    let offset = offset.map(|offset| format!("flotilla playground --port-offset {offset}"));
    let hosts = ["127.0.0.2", "127.0.0.3"].into_iter();
    let host = hosts.filter(|host| args.host.to_string() != *host).take(1);
    let host = host.map(|host| format!("flotilla playground --host {host}"));
    let elsewhere: Vec<String> = offset.into_iter().chain(host).collect();
    for node in &plan.nodes {
        for address in [Some(node.address), node.status].into_iter().flatten() {
            port::check(&node.name, address)
                .map_err(|fault| elsewhere.iter().fold(fault, |fault, hint| fault.hint(hint)))?;
        }
    }
    Ok(())
}

/// Starts all nodes: a new cluster one after the other, so that stores get their numbers as ids; one
/// with data at once behind its placement driver, because each store may have a lot to read.
///
/// A store that was removed from its cluster is told and left out. Where anything else fails, those that are starting are waited for: this process must not end around the threads
/// of a database that is being opened. Where this is dropped, [`Fleet::stop`] waits for them.
async fn start_all(fleet: &Arc<Fleet>, is_shown: bool) -> Result<(), Fault> {
    let plan = fleet.plan();
    let mut starts = JoinSet::new();
    let mut places = fleet.places().into_iter();
    let mut lanes = 1;
    let mut outcome = Ok(());
    loop {
        while outcome.is_ok()
            && starts.len() < lanes
            && let Some(place) = places.next()
        {
            let fleet = Arc::clone(fleet);
            starts.spawn_blocking(move || {
                let started = fleet.start(&place);
                (place, started)
            });
        }
        let Some(started) = starts.join_next().await else { return outcome };
        let started = started.map_err(|cause| Fault::new(&catalogue::INTERNAL, cause.to_string()));
        let shown = match started {
            Ok((place, Ok(took))) if is_shown => screen::node_ready(&place.node, took),
            Ok((place, Err(fault))) if fault.is(&catalogue::STORE_REMOVED) => {
                screen::node_removed(&place.node);
                Ok(())
            }
            Ok((_place, Ok(_quietly))) => Ok(()),
            Ok((_place, Err(fault))) => Err(fault),
            Err(fault) => Err(fault),
        };
        outcome = outcome.and(shown);
        lanes = if plan.is_new { 1 } else { plan.nodes.len() };
    }
}

/// Runs the command of `--exec`; never ends where there is none. The command does not outlive this.
async fn execute(args: &PlaygroundStartArgs, plan: &Plan) -> Result<u8, Fault> {
    let [program, arguments @ ..] = args.exec.as_slice() else {
        return std::future::pending().await;
    };
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).env("FLOTILLA_PD", plan.pd_address().to_string()).kill_on_drop(true);
    let refused = |cause| Fault::io(format!("cannot run {program}"), &cause);
    let status = command.status().await.map_err(refused)?;
    Ok(exit_code(status))
}

/// As a shell tells it: 128 and the signal for a command that was killed.
fn exit_code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(Exit::Failed as u8)
}
