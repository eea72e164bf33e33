//! The network between nodes, cut in any direction: a network namespace for each node, with a router between
//! them that silently drops; or, where there are no namespaces, a proxy in front of each node.

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
};

use tokio::runtime::Handle;

use crate::{
    common::{
        Sandbox,
        cluster::{Place, Processes},
    },
    proxy::{Line, Proxies},
    volume::system,
};

/// A node by its position, or all clients: one more than the last node.
pub(crate) type Member = usize;

/// What is cut: whatever the first one sends to the second one.
pub(crate) type Cuts = BTreeSet<(Member, Member)>;

const ROUTER: &str = "router";
/// How long a connection may take that is expected not to come about.
const PROBE_SECONDS: &str = "0.5";

/// How cuts are made.
#[derive(Debug)]
enum Means {
    /// All nodes share one address; nothing can be cut.
    None,
    Namespaces,
    Proxies(Proxies),
}

/// Which means are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    None,
    Namespaces,
    Proxies,
}

#[derive(Debug)]
pub(crate) struct Network {
    means: Means,
    nodes: usize,
    cuts: Cuts,
    /// To be kept up to date by whoever starts the nodes.
    pub(crate) processes: Processes,
}

/// The address of a member in its namespace.
fn address(member: Member) -> String {
    format!("10.77.0.{}", 10 + member)
}

fn namespace(member: Member) -> String {
    format!("node-{member}")
}

fn port(node: usize) -> usize {
    if node == 0 { 2379 } else { 20159 + node }
}

impl Network {
    /// Lays lines to so many nodes, the placement driver included.
    pub(crate) fn new(wanted: Wanted, nodes: usize, sandbox: &Sandbox, runtime: &Handle) -> Self {
        let processes = Processes::default();
        let means = match wanted {
            Wanted::None => Means::None,
            Wanted::Namespaces => {
                lay_lines(nodes).expect("the probe of facilities has done the same");
                Means::Namespaces
            }
            Wanted::Proxies => {
                let line = |node| {
                    let at = |port| format!("{}:{port}", sandbox.host).parse().expect("an address");
                    Line { node, outside: at(port(node) + 10_000), inside: at(port(node)) }
                };
                let lines = (0..nodes).map(line).collect();
                Means::Proxies(Proxies::start(lines, Processes::clone(&processes), runtime))
            }
        };
        Self { means, nodes, cuts: Cuts::new(), processes }
    }

    /// The member that all clients are.
    pub(crate) fn clients(&self) -> Member {
        self.nodes
    }

    /// Puts a node into the network.
    pub(crate) fn settle(&self, node: usize, place: &mut Place) {
        match &self.means {
            Means::None => {}
            Means::Namespaces => {
                place.host = address(node);
                let enter = ["ip", "netns", "exec", &namespace(node)].map(str::to_owned);
                place.wrap.splice(0..0, enter);
                place.more.push("--insecure".to_owned());
            }
            Means::Proxies(_) => {
                place.advertise = Some(format!("{}:{}", place.host, port(node) + 10_000));
            }
        }
    }

    /// Cuts these directions and opens all others.
    pub(crate) fn cut(&mut self, cuts: Cuts) {
        let change = |(from, to): &(Member, Member), verb: &str| {
            let (from, to) = (address(*from), address(*to));
            let rule = ["ip", "-n", ROUTER, "rule", verb, "from", &from, "to", &to, "blackhole"];
            system(&rule).expect("rules can be changed");
        };
        match &self.means {
            Means::None => assert!(cuts.is_empty(), "there is nothing to cut"),
            Means::Namespaces => {
                self.cuts.difference(&cuts).for_each(|pair| change(pair, "del"));
                cuts.difference(&self.cuts).for_each(|pair| change(pair, "add"));
            }
            Means::Proxies(proxies) => proxies.cut(cuts.clone()),
        }
        self.cuts = cuts;
    }

    /// The cuts between members that nevertheless connect, or through which nothing wanted to go.
    pub(crate) fn leaks(&self) -> Cuts {
        match &self.means {
            Means::None => Cuts::new(),
            Means::Namespaces => self.connecting(&self.cuts),
            // A proxy drops nothing: it holds back. The effect is that something waited.
            Means::Proxies(proxies) if proxies.has_held() => Cuts::new(),
            Means::Proxies(_) => self.cuts.clone(),
        }
    }

    /// The pairs of `pairs` of which the first one can connect to the second one.
    fn connecting(&self, pairs: &Cuts) -> Cuts {
        let is_node = |(_, to): &&(Member, Member)| *to != self.clients();
        let probes: Vec<_> =
            pairs.iter().filter(is_node).map(|pair| (pair, probe(*pair, self.clients()))).collect();
        let connects = probes.into_iter().filter_map(|(pair, probe)| {
            let status = probe.ok()?.wait().ok()?;
            status.success().then_some(*pair)
        });
        connects.collect()
    }

    /// Whether everything connects again.
    pub(crate) fn is_whole(&self, healed: &Cuts) -> bool {
        let to_nodes = healed.iter().filter(|(_, to)| *to != self.clients()).count();
        !matches!(self.means, Means::Namespaces) || self.connecting(healed).len() == to_nodes
    }
}

/// Tries to connect from one member to another.
fn probe((from, to): (Member, Member), clients: Member) -> std::io::Result<std::process::Child> {
    let connect = format!("exec 3<>/dev/tcp/{}/{}", address(to), port(to));
    let mut words = vec!["timeout", PROBE_SECONDS, "bash", "-c", &connect];
    let namespace = namespace(from);
    if from != clients {
        words.splice(0..0, ["ip", "netns", "exec", &namespace]);
    }
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn()
}

/// Makes addresses of loopback usable: in a new namespace they are not.
pub(crate) fn open_loopback() {
    system(&["ip", "link", "set", "lo", "up"]).expect("the namespace is ours");
}

/// One line from each member to the router; clients stay where they are.
fn lay_lines(nodes: usize) -> Result<(), String> {
    let run = |words: &str| system(&words.split(' ').collect::<Vec<_>>());
    // Nodes get mounts of their own with their networks; what is mounted or unmounted here must reach them.
    run("mount --make-rshared /")?;
    run("mount -t tmpfs none /run")?;
    run("mkdir -p /run/netns")?;
    run(&format!("ip netns add {ROUTER}"))?;
    let forward = "echo 1 > /proc/sys/net/ipv4/ip_forward";
    system(&["ip", "netns", "exec", ROUTER, "sh", "-c", forward])?;
    for member in 0..=nodes {
        let (own, address) = (namespace(member), address(member));
        let inside = |words: String| match member == nodes {
            true => run(&format!("ip {words}")),
            false => run(&format!("ip -n {own} {words}")),
        };
        if member == nodes {
            run(&format!("ip link add to-{member} netns {ROUTER} type veth peer name line"))?;
        } else {
            run(&format!("ip netns add {own}"))?;
            let peer = format!("type veth peer name line netns {own}");
            run(&format!("ip link add to-{member} netns {ROUTER} {peer}"))?;
        }
        inside("link set lo up".to_owned())?;
        inside(format!("addr add {address}/32 dev line"))?;
        inside("link set line up".to_owned())?;
        run(&format!("ip -n {ROUTER} link set to-{member} up"))?;
        run(&format!("ip -n {ROUTER} addr add 10.77.0.1/32 dev to-{member}"))?;
        run(&format!("ip -n {ROUTER} route add {address}/32 dev to-{member}"))?;
        inside("route add 10.77.0.1/32 dev line".to_owned())?;
        inside("route add default via 10.77.0.1".to_owned())?;
    }
    Ok(())
}

/// Whether lines can be laid and cut here.
pub(crate) fn is_possible() -> Result<(), String> {
    lay_lines(1)?;
    let rule = format!("ip -n {ROUTER} rule add from {} to {} blackhole", address(0), address(1));
    system(&rule.split(' ').collect::<Vec<_>>())
}
