//! The socket on which a running playground takes commands: one line of JSON each way.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream, unix::OwnedWriteHalf},
    sync::Notify,
    task::spawn_blocking,
};

use super::{descriptor::Descriptor, fleet::Fleet};
use crate::{catalogue, fault::Fault};

/// Longest command: labels may be long.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// Time for a command to arrive after its connection.
const LINE_TIMEOUT: Duration = Duration::from_secs(5);

/// What can be asked of a playground.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub(super) enum Command {
    /// All nodes.
    Status,
    /// Kill one.
    Kill { node: String },
    /// Start one.
    Start { node: String },
    /// Start one more store, with these labels beside its zone.
    AddStore { labels: BTreeMap<String, String> },
    /// Stop everything. The connection stays open until the process is gone; a second line tells how the nodes ended.
    Stop,
}

/// The commands that ask for the end, and wait for it.
#[derive(Default)]
pub(super) struct Stops {
    asked: Notify,
    waiting: Mutex<Vec<OwnedWriteHalf>>,
}

impl Stops {
    /// Returns when the first has come.
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Tells all of them how the nodes ended. Their connections stay open.
    pub(super) async fn tell(&self, ended: &Value) {
        let mut waiting = std::mem::take(&mut *self.waiting.lock());
        for asker in &mut waiting {
            // Whoever has gone away wants to know nothing.
            let _told = asker.write_all(format!("{ended}\n").as_bytes()).await;
        }
        self.waiting.lock().extend(waiting);
    }

    fn add(&self, asker: OwnedWriteHalf) {
        self.waiting.lock().push(asker);
        self.asked.notify_one();
    }
}

/// The listening side.
pub(super) struct Control {
    fleet: Arc<Fleet>,
    stops: Arc<Stops>,
    socket: PathBuf,
}

impl Control {
    /// Begins to listen, and returns the socket's path.
    pub(super) fn listen(fleet: &Arc<Fleet>, stops: &Arc<Stops>) -> Result<PathBuf, Fault> {
        let refused = |cause| Fault::io("cannot make the playground's socket", &cause);
        let directory = Descriptor::directory().map_err(refused)?;
        let path = directory.join(format!("{}.sock", std::process::id()));
        // Left by a process that had the same id and was killed.
        let _was_none = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).map_err(refused)?;
        let (fleet, stops, socket) = (Arc::clone(fleet), Arc::clone(stops), path.clone());
        let control = Arc::new(Self { fleet, stops, socket });
        tokio::spawn(control.serve(listener));
        Ok(path)
    }

    async fn serve(self: Arc<Self>, listener: UnixListener) {
        while let Ok((stream, _address)) = listener.accept().await {
            tokio::spawn(Arc::clone(&self).converse(stream));
        }
    }

    async fn converse(self: Arc<Self>, stream: UnixStream) {
        let (input, mut output) = stream.into_split();
        let mut input = BufReader::new(input.take(LINE_BYTES_MAX));
        let mut line = String::new();
        let read = tokio::time::timeout(LINE_TIMEOUT, input.read_line(&mut line)).await;
        if !matches!(read, Ok(Ok(bytes)) if bytes > 0) {
            return;
        }
        let command = serde_json::from_str::<Command>(&line);
        let is_stop = matches!(command, Ok(Command::Stop));
        let answer = match command {
            Ok(command) => self.obey(command).await,
            Err(why) => {
                let fault =
                    Fault::new(&catalogue::INTERNAL, "the playground does not know this command");
                Err(fault.why(why.to_string()))
            }
        };
        let answer = answer.unwrap_or_else(|fault| fault.to_json());
        if output.write_all(format!("{answer}\n").as_bytes()).await.is_err() {
            return;
        }
        if is_stop {
            // The other side takes the end of the connection for the end of the process.
            self.stops.add(output);
        }
    }

    async fn obey(&self, command: Command) -> Result<Value, Fault> {
        match command {
            Command::Status => Ok(json!({"nodes": self.fleet.to_json()})),
            Command::Stop => Ok(json!({"stopping": true})),
            Command::Kill { node } => {
                let place = self.fleet.place(&node)?;
                self.blocking(move |_fleet| Fleet::kill(&place)).await?;
                Ok(json!({"killed": node}))
            }
            Command::Start { node } => {
                let place = self.fleet.place(&node)?;
                let took = self.blocking(move |fleet| fleet.start(&place)).await?;
                Ok(json!({"started": node, "duration_seconds": took.as_secs_f64()}))
            }
            Command::AddStore { labels } => {
                let added = self.blocking(move |fleet| fleet.add(labels)).await;
                // Also one that did not start may be there now, down.
                let note = self.fleet.descriptor(&self.socket);
                note.write().map_err(|cause| Fault::io("cannot write the note", &cause))?;
                let (place, took) = added?;
                Ok(json!({
                    "name": place.node.name,
                    "store_id": place.store_id(),
                    "address": place.node.address,
                    "status_address": place.node.status,
                    "labels": place.node.labels,
                    "duration_seconds": took.as_secs_f64(),
                }))
            }
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Fleet) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let fleet = Arc::clone(&self.fleet);
        let done = spawn_blocking(move || work(&fleet)).await;
        done.map_err(|cause| Fault::new(&catalogue::INTERNAL, cause.to_string()))?
    }
}

#[cfg(test)]
mod tests {
    use flotilla_damage::damaged;
    use proptest::prelude::*;

    use super::*;

    /// As a program of another version may send them.
    const LINES: [&str; 5] = [
        r#"{"command":"status"}"#,
        r#"{"command":"kill","node":"store-1"}"#,
        r#"{"node":"store-1","command":"start"}"#,
        r#"{"command":"add_store","labels":{"zone":"z1"}}"#,
        r#"{"command":"stop"}"#,
    ];

    proptest! {
        #[test]
        fn damaged_commands_are_refused_or_mean_themselves(
            line in damaged(prop::sample::select(&LINES).prop_map(|line| line.as_bytes().to_vec())),
        ) {
            if let Ok(command) = serde_json::from_slice::<Command>(&line) {
                let text = serde_json::to_string(&command).expect("JSON takes it");
                let again: Command = serde_json::from_str(&text).expect("our own form");
                prop_assert_eq!(serde_json::to_string(&again).expect("JSON takes it"), text);
            }
        }
    }
}
