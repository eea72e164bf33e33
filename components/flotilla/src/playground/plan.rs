//! What a playground consists of: names, addresses and directories, decided before anything starts.

use std::{
    collections::BTreeMap,
    env, fs,
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use flotilla_store::config::{SERVICE_PORT, STATUS_PORT};

use super::{
    descriptor::{Descriptor, StoreAddresses, start_ticks},
    kept::Kept,
};
use crate::{args::PlaygroundStartArgs, catalogue, fault::Fault, server::PD_PORT, text};

/// Stores that hold each key, where there are that many.
const REPLICAS: u32 = 3;

/// Stores of a new playground where nothing else is said.
const STORES: u16 = 3;

/// Zones that stores are dealt out to where nothing else is said.
const ZONES: u16 = 3;

/// Stores that have their ports side by side: behind so many, the ports for metrics begin.
const PORT_BLOCK: u16 = STATUS_PORT - SERVICE_PORT;

/// As many as a playground can have.
pub(super) const STORES_MAX: u16 = 64;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Pd,
    Store,
}

/// One node.
#[derive(Clone, Debug)]
pub(super) struct NodePlan {
    pub name: String,
    pub role: Role,
    pub address: SocketAddr,
    /// Where a store shows metrics; a placement driver shows them on its only address.
    pub status: Option<SocketAddr>,
    pub data: PathBuf,
    pub labels: BTreeMap<String, String>,
}

/// What becomes of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lifetime {
    /// Deleted at the end.
    Temporary,
    /// Kept, and used again by the next start.
    Kept,
}

/// Where nodes listen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    host: IpAddr,
    /// Added to every port.
    offset: u16,
}

/// All of it.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub name: Option<String>,
    pub data: PathBuf,
    pub lifetime: Lifetime,
    pub log: PathBuf,
    pub is_processes: bool,
    pub is_insecure: bool,
    pub ports: Ports,
    /// There is no data yet.
    pub is_new: bool,
    pub replicas: u32,
    /// Stores of which there is data.
    pub stores_held: u16,
    /// What it remembers, with what was said at this start.
    pub kept: Kept,
    /// Those that it starts with, the placement driver first.
    pub nodes: Vec<NodePlan>,
}

impl Plan {
    /// Decides, and makes the directories.
    pub(super) fn new(args: &PlaygroundStartArgs) -> Result<Self, Fault> {
        if args.host.is_unspecified() {
            let text = format!("{} is no address that clients can connect to", args.host);
            let fault = Fault::new(&catalogue::BAD_CONFIG, text);
            let why = "all nodes listen on it, and tell it to clients";
            return Err(fault.why(why).hint("--host 127.0.0.1"));
        }
        if !args.host.is_loopback() && !args.insecure {
            return Err(exposed(args.host));
        }
        let (data, lifetime) = place(args)?;
        let stores_held = stores_in(&data);
        let stores = args.stores.unwrap_or(if stores_held == 0 { STORES } else { stores_held });
        if stores < stores_held {
            return Err(too_few(&data, stores_held, stores));
        }
        let found = Kept::read(&data)?;
        let kept = remembered(args, found.clone());
        let is_new = !data.join("pd-1").exists();
        let log = data.join("log");
        let made = fs::create_dir_all(&log);
        made.map_err(|cause| {
            let text = format!("cannot create {}", log.display());
            Fault::new(&catalogue::START_FAILED, text)
                .why(cause.to_string())
                .hint("--data DIR   with a directory that this user may write to")
        })?;
        let mut plan = Self {
            name: args.name.clone(),
            data,
            lifetime,
            log,
            is_processes: args.processes,
            is_insecure: args.insecure,
            ports: Ports { host: args.host, offset: args.port_offset },
            is_new,
            replicas: REPLICAS.min(u32::from(stores)),
            stores_held,
            kept,
            nodes: Vec::new(),
        };
        plan.nodes.push(NodePlan {
            name: "pd-1".to_owned(),
            role: Role::Pd,
            address: plan.ports.address(PD_PORT, 0)?,
            status: None,
            data: plan.data.join("pd-1"),
            labels: BTreeMap::new(),
        });
        for number in 1..=stores {
            let store = plan.store(number, &plan.kept)?;
            plan.nodes.push(store);
        }
        if plan.kept != found {
            plan.remember(&plan.kept)?;
        }
        Ok(plan)
    }

    /// The store of this number, which counts from 1, with the labels that `kept` says.
    pub(super) fn store(&self, number: u16, kept: &Kept) -> Result<NodePlan, Fault> {
        let name = store_name(number);
        let position = number - 1;
        let zone = format!("z{}", position % kept.zones.unwrap_or(ZONES) + 1);
        let mut labels = BTreeMap::from([("zone".to_owned(), zone)]);
        labels.extend(kept.labels.get(&name).cloned().unwrap_or_default());
        // The usual ports, as far as they do not run into those for metrics.
        let place = position / PORT_BLOCK * 2 * PORT_BLOCK + position % PORT_BLOCK;
        Ok(NodePlan {
            role: Role::Store,
            address: self.ports.address(SERVICE_PORT, place)?,
            status: Some(self.ports.address(STATUS_PORT, place)?),
            data: self.data.join(&name),
            labels,
            name,
        })
    }

    /// Has the next start go on with `kept`, where there is one.
    pub(super) fn remember(&self, kept: &Kept) -> Result<(), Fault> {
        match self.lifetime {
            Lifetime::Temporary => Ok(()),
            Lifetime::Kept => kept.write(&self.data),
        }
    }

    /// Where clients find the cluster.
    pub(super) fn pd_address(&self) -> SocketAddr {
        self.nodes[0].address
    }

    /// The stores among the nodes.
    pub(super) fn stores(&self) -> impl Iterator<Item = &NodePlan> {
        self.nodes.iter().filter(|node| node.role == Role::Store)
    }

    /// The note for other commands, with these nodes.
    pub(super) fn descriptor<'a>(
        &self,
        socket: &Path,
        nodes: impl Iterator<Item = &'a NodePlan>,
    ) -> Descriptor {
        let pid = std::process::id();
        let text = |address: SocketAddr| address.to_string();
        let store = |node: &NodePlan| StoreAddresses {
            name: node.name.clone(),
            address: text(node.address),
            status: node.status.map(text).unwrap_or_default(),
        };
        let stores = nodes.filter(|node| node.role == Role::Store);
        Descriptor {
            name: self.name.clone(),
            pid,
            start_ticks: start_ticks(pid).unwrap_or_default(),
            socket: socket.to_owned(),
            pd: vec![text(self.pd_address())],
            stores: stores.map(store).collect(),
            data: self.data.clone(),
            log: self.log.clone(),
        }
    }

    /// The stores that come to a cluster which was made without them.
    pub(super) fn late_stores(&self) -> impl Iterator<Item = &NodePlan> {
        let held = if self.is_new { usize::MAX } else { usize::from(self.stores_held) };
        self.stores().skip(held)
    }

    /// What there is to say where nothing is stopped in order or deleted any more.
    pub(super) fn left_behind(&self) -> String {
        let data = self.data.display();
        match self.lifetime {
            Lifetime::Temporary => {
                format!("ended at once; left behind: {data}. Remove it: rm -r {data}")
            }
            Lifetime::Kept => {
                format!(
                    "ended at once; nothing that was acknowledged is lost. The data is kept: {data}"
                )
            }
        }
    }

    /// Deletes data that is not kept; whether there was any.
    pub(super) fn clean_up(&self) -> bool {
        self.lifetime == Lifetime::Temporary && fs::remove_dir_all(&self.data).is_ok()
    }
}

/// What a playground remembers, with what is said now.
fn remembered(args: &PlaygroundStartArgs, mut kept: Kept) -> Kept {
    if let Some(size) = args.region_size {
        kept.region_size_bytes = Some(size.bytes());
    }
    kept.zones = args.zones.or(kept.zones);
    kept
}

fn exposed(host: IpAddr) -> Fault {
    let entry = &catalogue::EXPOSED;
    Fault::new(entry, format!("address {host} is not a loopback address"))
        .why(entry.cause)
        .hint("flotilla playground --host 127.0.0.1")
        .hint("flotilla playground --insecure …   in a closed network")
}

fn too_few(data: &Path, held: u16, asked: u16) -> Fault {
    let entry = &catalogue::FEWER_STORES;
    let text = format!(
        "data directory {} holds {}, and {asked} were asked for",
        data.display(),
        text::counted(u64::from(held), "store"),
    );
    Fault::new(entry, text)
        .why(entry.cause)
        .hint(format!("--stores {held}, or more; without --stores it is as many as there are"))
        .hint("another --name or --data, for a new cluster")
}

impl Ports {
    /// The address at the port which is so many behind the usual one.
    fn address(self, port: u16, number: u16) -> Result<SocketAddr, Fault> {
        let port = port.checked_add(number).and_then(|port| port.checked_add(self.offset));
        let port = port.ok_or_else(|| {
            let text = format!("port offset {} is too large", self.offset);
            let fault = Fault::new(&catalogue::BAD_CONFIG, text);
            fault.why("a port cannot be larger than 65535").hint("--port-offset 10000")
        })?;
        Ok(SocketAddr::new(self.host, port))
    }
}

/// What the store of this number is called.
pub(super) fn store_name(number: u16) -> String {
    format!("store-{number}")
}

fn place(args: &PlaygroundStartArgs) -> Result<(PathBuf, Lifetime), Fault> {
    if let Some(data) = &args.data {
        let data = std::path::absolute(data)
            .map_err(|cause| Fault::io(format!("cannot use {}", data.display()), &cause))?;
        return Ok((data, Lifetime::Kept));
    }
    if let Some(name) = &args.name {
        let is_plain = |letter: char| letter.is_alphanumeric() || "-_".contains(letter);
        if name.is_empty() || !name.chars().all(is_plain) {
            let text = format!("{name:?} is no name for a playground");
            let fault = Fault::new(&catalogue::BAD_CONFIG, text);
            let why = "letters, digits, \"-\" and \"_\" are allowed";
            return Err(fault.why(why).hint("--name mine").hint("--data DIR   for any place"));
        }
        return Ok((user_data().join(name), Lifetime::Kept));
    }
    let random = RandomState::new().hash_one(std::process::id()) % 0xfff_ffff;
    Ok((env::temp_dir().join(format!("flotilla-{random:07x}")), Lifetime::Temporary))
}

fn user_data() -> PathBuf {
    let given = |name: &str| env::var_os(name).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let data_home = given("XDG_DATA_HOME")
        .or_else(|| given("HOME").map(|home| home.join(".local/share")))
        .unwrap_or_else(env::temp_dir);
    data_home.join("flotilla")
}

/// The largest number of a store that has a directory in `data`.
fn stores_in(data: &Path) -> u16 {
    let Ok(entries) = fs::read_dir(data) else { return 0 };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let numbers = names.filter_map(|name| name.strip_prefix("store-")?.parse().ok());
    numbers.max().unwrap_or(0)
}

#[cfg(test)]
impl Plan {
    /// A plan of no nodes.
    pub(super) fn trial(data: PathBuf) -> Self {
        Self {
            name: None,
            lifetime: Lifetime::Temporary,
            log: data.join("log"),
            data,
            is_processes: false,
            is_insecure: false,
            ports: Ports { host: [127, 0, 0, 1].into(), offset: 0 },
            is_new: true,
            replicas: REPLICAS,
            stores_held: 0,
            kept: Kept::default(),
            nodes: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn as_many_stores_as_there_can_be_have_ports_and_zones_of_their_own() {
        let mut plan = Plan::trial("d".into());
        plan.kept
            .labels
            .insert("store-3".to_owned(), BTreeMap::from([("zone".to_owned(), "far".to_owned())]));
        let stores = (1..=STORES_MAX).map(|number| plan.store(number, &plan.kept));
        let stores: Vec<NodePlan> = stores.map(|store| store.expect("there is room")).collect();
        let ports = stores.iter().flat_map(|store| {
            [Some(store.address), store.status].map(|address| address.expect("both").port())
        });
        let ports: BTreeSet<u16> = ports.chain([PD_PORT]).collect();
        assert_eq!(ports.len(), 2 * usize::from(STORES_MAX) + 1, "{ports:?}");
        let usual = |number: usize| {
            let store = &stores[number - 1];
            (store.address.port(), store.status.expect("an address").port())
        };
        assert_eq!((usual(1), usual(20)), ((20160, 20180), (20179, 20199)));
        let zones = |count: usize| -> Vec<&str> {
            stores.iter().take(count).map(|store| store.labels["zone"].as_str()).collect()
        };
        assert_eq!(zones(5), ["z1", "z2", "far", "z1", "z2"]);
        plan.kept.zones = Some(1);
        assert_eq!(plan.store(2, &plan.kept).expect("there is room").labels["zone"], "z1");
    }
}
