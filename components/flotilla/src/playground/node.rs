//! A running node: part of this process, or a process of its own.

use std::{
    convert::Infallible,
    io::{BufRead as _, BufReader, Read},
    os::unix::process::CommandExt as _,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread::{self, JoinHandle},
    time::Duration,
};

use flotilla_store::{Store, config::SplitLimits};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::plan::{NodePlan, Plan, Role};
use crate::{
    catalogue,
    fault::Fault,
    server::{self, EmbeddedPd, End},
};

/// What is kept of a child's words, for the case that it does not start.
const LAST_WORDS_LINES: usize = 50;

/// How long a process may take to end in order. Beyond that it is frozen, or hangs.
pub(super) const STOP_PATIENCE: Duration = Duration::from_secs(4);

/// How a node that was stopped has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// In order.
    InOrder,
    /// Killed, because it did not do so in time.
    Killed,
}

/// A node that serves.
pub(super) enum Node {
    Pd(Box<EmbeddedPd>),
    Store(Box<Store>),
    Process(Process),
}

/// A child process.
pub(super) struct Process {
    child: Child,
    /// Its id, where it is a store.
    store_id: Option<u64>,
    /// The child ends when this is closed, so it never outlives the playground.
    _leash: Option<ChildStdin>,
    /// Copies the child's words into the playground's log.
    words: Option<JoinHandle<Vec<String>>>,
    /// Disconnected when the child can say no more, which is at its end.
    end: Receiver<Infallible>,
}

/// Starts a node, and returns when it serves. Blocks.
pub(super) fn start(plan: &Plan, node: &NodePlan) -> Result<Node, Fault> {
    if plan.is_processes {
        return Process::start(plan, node).map(Node::Process);
    }
    match node.role {
        Role::Pd => {
            let mut config = flotilla_pd::PdConfig::new(&node.name, &node.data, node.address);
            config.max_replicas = plan.replicas;
            let pd = EmbeddedPd::start(config);
            pd.map(|pd| Node::Pd(Box::new(pd))).map_err(|error| server::pd_fault(&error))
        }
        Role::Store => {
            let pd = vec![plan.pd_address().to_string()];
            let mut config = flotilla_store::StoreConfig::new(&node.data, pd);
            config.listen = node.address;
            config.status_listen = node.status.unwrap_or(config.status_listen);
            config.is_insecure = plan.is_insecure;
            config.labels.clone_from(&node.labels);
            config.limits.splits =
                plan.kept.region_size().map_or(config.limits.splits, SplitLimits::of);
            let store = Store::start(config);
            let store = store.map(|store| Node::Store(Box::new(store)));
            store.map_err(|error| server::store_fault(&error))
        }
    }
}

impl Node {
    /// Ends without a word to anyone: no leadership is handed over, nothing is flushed.
    pub(super) fn kill(self) {
        match self {
            Self::Pd(pd) => pd.stop(End::AtOnce),
            Self::Store(store) => store.kill(),
            Self::Process(process) => process.kill(),
        }
    }

    /// Ends in order, or by force where that takes too long.
    pub(super) fn stop(self) -> Ended {
        match self {
            Self::Pd(pd) => pd.stop(End::InOrder),
            Self::Store(store) => store.shutdown(),
            Self::Process(process) => return process.stop(),
        }
        Ended::InOrder
    }

    /// Whether it is still there: a process may have been ended by somebody else, and a placement driver
    /// ends by itself where it must not go on. (A store that must not go on ends the whole process.)
    pub(super) fn is_running(&mut self) -> bool {
        match self {
            Self::Pd(pd) => pd.is_running(),
            Self::Store(_) => true,
            Self::Process(process) => matches!(process.child.try_wait(), Ok(None)),
        }
    }

    /// Its id in the cluster, where it is a store.
    pub(super) fn store_id(&self) -> Option<u64> {
        match self {
            Self::Pd(_) => None,
            Self::Store(store) => Some(store.id().get()),
            Self::Process(process) => process.store_id,
        }
    }

    /// Its process, where it has one of its own.
    pub(super) fn pid(&self) -> Option<u32> {
        match self {
            Self::Pd(_) | Self::Store(_) => None,
            Self::Process(process) => Some(process.child.id()),
        }
    }
}

impl Process {
    fn start(plan: &Plan, node: &NodePlan) -> Result<Self, Fault> {
        let refused = |cause: std::io::Error| {
            let text = format!("cannot start {}", node.name);
            Fault::new(&catalogue::START_FAILED, text).why(cause.to_string())
        };
        let mut child =
            command(plan, node).and_then(|mut command| command.spawn()).map_err(refused)?;
        let leash = child.stdin.take();
        let (alive, end) = mpsc::channel();
        let words = child.stderr.take().map(|words| {
            let name = node.name.clone();
            thread::spawn(move || {
                let _until_its_end = alive;
                copy_words(&name, words)
            })
        });
        let stdout = child.stdout.take();
        let mut process = Self { child, store_id: None, _leash: leash, words, end };
        let mut line = String::new();
        let read = stdout.map(|stdout| BufReader::new(stdout).read_line(&mut line));
        if matches!(read, Some(Ok(bytes)) if bytes > 0) {
            let said = serde_json::from_str::<Value>(&line).unwrap_or_default();
            process.store_id = said["store"]["id"].as_u64();
            return Ok(process);
        }
        let _exit_status = process.child.wait();
        let words = process.words.take().and_then(|words| words.join().ok()).unwrap_or_default();
        let told = words.iter().rev().find_map(|line| serde_json::from_str(line).ok());
        if let Some(error) = told {
            return Err(Fault::from_json(&error));
        }
        let text = format!("cannot start {}: its process ended early", node.name);
        let last = words.last().map_or("it said nothing", String::as_str);
        Err(Fault::new(&catalogue::START_FAILED, text).why(last))
    }

    fn kill(self) {
        self.signal(Signal::KILL);
        self.wait();
    }

    fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        let ended = match self.end.recv_timeout(STOP_PATIENCE) {
            Err(RecvTimeoutError::Timeout) => {
                // The one signal that reaches a process that is stopped.
                self.signal(Signal::KILL);
                Ended::Killed
            }
            _disconnected => Ended::InOrder,
        };
        self.wait();
        ended
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // It may have ended by itself; until it is waited for, no other process has its id.
            let _gone = kill_process(pid, signal);
        }
    }

    fn wait(mut self) {
        let _exit_status = self.child.wait();
        if let Some(words) = self.words.take() {
            let _last_words = words.join();
        }
    }
}

fn command(plan: &Plan, node: &NodePlan) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    match node.role {
        Role::Pd => {
            command.args(["pd", "--name", &node.name]);
            command.args(["--max-replicas", &plan.replicas.to_string()]);
        }
        Role::Store => {
            command.args(["store", "--pd", &plan.pd_address().to_string()]);
            if let Some(status) = node.status {
                command.args(["--status-listen", &status.to_string()]);
            }
            for (name, value) in &node.labels {
                command.args(["--label", &format!("{name}={value}")]);
            }
            if let Some(size) = plan.kept.region_size() {
                command.args(["--region-size", &size.bytes().to_string()]);
            }
        }
    }
    command.arg("--data").arg(&node.data);
    command.args(["--listen", &node.address.to_string()]);
    command.arg("--log-file").arg(plan.log.join(format!("{}.log", node.name)));
    command.args(["--exit-on-stdin-eof", "--output", "json"]);
    if plan.is_insecure {
        command.arg("--insecure");
    }
    command.env_remove("FLOTILLA_PD").env_remove("FLOTILLA_CONFIG");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // In a group of its own, an interrupt from the keyboard reaches the playground alone, which then
    // stops its nodes in order.
    command.process_group(0);
    Ok(command)
}

fn copy_words(name: &str, words: impl Read) -> Vec<String> {
    let mut last = Vec::new();
    for line in BufReader::new(words).lines() {
        let Ok(line) = line else { break };
        tracing::warn!(node = name, "{line}");
        if last.len() == LAST_WORDS_LINES {
            last.remove(0);
        }
        last.push(line);
    }
    last
}
