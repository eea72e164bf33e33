//! The command line: commands, flags, their defaults and help.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{output::Format, text};

/// Lines under the help of the program.
const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 unreachable (certainly not applied),
6 refused for safety, 7 checked and unhealthy, 8 bad configuration, 9 outcome unknown.
First steps: flotilla playground; then, in another terminal: flotilla put hello world";

/// What `flotilla` alone prints.
pub(crate) const TOUR: &str = "\
Flotilla, a replicated, range-sharded key-value store that speaks TiKV's protocol.

  flotilla playground              a cluster of three stores in this terminal
  flotilla put hello world         write a key (in another terminal)
  flotilla get hello               read it
  flotilla bench --duration 10s    measure
  flotilla ctl status              look at the cluster

All commands: flotilla --help
";

/// A replicated, range-sharded key-value store that speaks TiKV's protocol.
#[derive(Debug, Parser)]
#[command(name = "flotilla", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What every command understands.
#[derive(Clone, Debug, Args)]
pub(crate) struct Globals {
    /// Placement driver of the cluster; without it, the playground that runs here
    #[arg(
        long,
        global = true,
        env = "FLOTILLA_PD",
        value_delimiter = ',',
        value_name = "HOST:PORT"
    )]
    pub pd: Vec<String>,
    /// How long each call to the cluster may take
    #[arg(long, global = true, default_value = "10s", value_parser = text::duration)]
    pub timeout: Duration,
    /// Form of results, and of errors
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a cluster here, or command the one that runs
    Playground(PlaygroundArgs),
    /// Run a placement driver
    Pd(PdArgs),
    /// Run a store
    Store(StoreArgs),
    /// Read a key
    Get(GetArgs),
    /// Write a key
    Put(PutArgs),
    /// Remove keys
    Del(DelArgs),
    /// List keys and values in order
    Scan(ScanArgs),
    /// Load and dump many keys
    #[command(subcommand)]
    Kv(KvCommand),
    /// Look at the cluster
    #[command(subcommand)]
    Ctl(CtlCommand),
    /// Measure throughput and latency
    Bench(BenchArgs),
    /// Explain an error code
    Explain(ExplainArgs),
    /// Show what this program is
    Version,
}

/// A playground: by default the data is deleted at its end.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  flotilla playground --stores 5
  flotilla playground --processes            then: flotilla playground kill store-1
  flotilla playground --exec make -C app test"
)]
pub(crate) struct PlaygroundArgs {
    #[command(subcommand)]
    pub command: Option<PlaygroundCommand>,
    #[command(flatten)]
    pub start: PlaygroundStartArgs,
}

/// How a playground is started.
#[derive(Debug, Args)]
pub(crate) struct PlaygroundStartArgs {
    /// Number of stores; up to three of them hold each key
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub stores: u16,
    /// Keep the data under this name in the user's data directory
    #[arg(long, conflicts_with = "data")]
    pub name: Option<String>,
    /// Keep the data in this directory
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Run each node as a process of its own, so that `kill` is a real SIGKILL
    #[arg(long)]
    pub processes: bool,
    /// Write the addresses to this file, as JSON, as soon as the cluster is ready
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Add this to every port
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub port_offset: u16,
    /// Address that all nodes listen on
    #[arg(long, env = "FLOTILLA_HOST", default_value = "127.0.0.1", value_name = "IP")]
    pub host: IpAddr,
    /// Listen on an address that others can reach, without encryption
    #[arg(long)]
    pub insecure: bool,
    /// Run this command with FLOTILLA_PD set, then stop; its exit code is the playground's
    #[arg(long, num_args = 1.., allow_hyphen_values = true, value_name = "COMMAND")]
    pub exec: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PlaygroundCommand {
    /// Show the nodes of the running playground
    Status(Selector),
    /// Kill a node without warning, and measure how long its regions are without a leader
    Kill(NodeArgs),
    /// Start a node that was killed
    Start(NodeArgs),
    /// Stop the playground
    Stop(Selector),
}

/// Which playground.
#[derive(Debug, Args)]
pub(crate) struct Selector {
    /// Process id of the playground, where more than one runs
    #[arg(long)]
    pub pid: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// pd-1, store-1, store-2, …
    pub node: String,
    #[command(flatten)]
    pub selector: Selector,
}

/// What both kinds of servers understand.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// Settings in TOML; flags win over them
    #[arg(long, env = "FLOTILLA_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory that belongs to this node alone
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address to serve clients on
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<String>,
    /// Address under which others reach it; the listening address where not given
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// Listen on an address that others can reach, without encryption
    #[arg(long)]
    pub insecure: bool,
    /// A level, or a filter such as "info,flotilla_store=debug"
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Log to this file instead of standard error
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
    /// End at once when standard input is closed: how the nodes of a playground follow it
    #[arg(long, hide = true)]
    pub exit_on_stdin_eof: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PdArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    /// Name of this member
    #[arg(long)]
    pub name: Option<String>,
    /// Stores that hold each key; chosen at the first start, for ever
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=7))]
    pub max_replicas: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct StoreArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    /// Address to show metrics, health and configuration on
    #[arg(long, value_name = "IP:PORT")]
    pub status_listen: Option<String>,
    /// Where the store stands, e.g. zone=z1; may be given more than once
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub labels: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// Text; \xNN stands for a byte
    pub key: String,
    /// KEY is hexadecimal
    #[arg(short = 'x', long)]
    pub hex: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PutArgs {
    /// Text; \xNN stands for a byte
    pub key: String,
    /// The value, byte by byte as it is
    #[arg(required_unless_present = "stdin", conflicts_with = "stdin")]
    pub value: Option<String>,
    /// Read the value from standard input
    #[arg(long)]
    pub stdin: bool,
    /// KEY is hexadecimal
    #[arg(short = 'x', long)]
    pub hex: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DelArgs {
    /// Text; \xNN stands for a byte
    #[arg(required = true, value_name = "KEY")]
    pub keys: Vec<String>,
    /// KEYs are hexadecimal
    #[arg(short = 'x', long)]
    pub hex: bool,
}

/// A range of keys.
#[derive(Debug, Args)]
pub(crate) struct RangeArgs {
    /// First key
    #[arg(conflicts_with = "prefix")]
    pub from: Option<String>,
    /// First key that is not wanted any more
    #[arg(long, value_name = "KEY", conflicts_with = "prefix")]
    pub to: Option<String>,
    /// All keys that begin like this
    #[arg(long, value_name = "KEY")]
    pub prefix: Option<String>,
    /// Keys are hexadecimal
    #[arg(short = 'x', long)]
    pub hex: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ScanArgs {
    #[command(flatten)]
    pub range: RangeArgs,
    /// Show at most so many
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub limit: u64,
    /// From the end of the range to its start
    #[arg(long)]
    pub reverse: bool,
    /// Keys without values
    #[arg(long)]
    pub keys_only: bool,
    /// Only count the keys of the range; no limit
    #[arg(long, conflicts_with_all = ["limit", "keys_only", "reverse"])]
    pub count: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KvCommand {
    /// Write records, one JSON object a line: {"key" or "key_hex", "value" or "value_hex"}
    Load {
        /// Standard input where not given
        file: Option<PathBuf>,
    },
    /// Print records in the form that `load` reads
    Dump(RangeArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum CtlCommand {
    /// The cluster on one page
    Status {
        /// Exit with 7 unless everything is well
        #[arg(long)]
        check: bool,
    },
    /// All stores
    Stores,
    /// All regions
    Regions {
        /// Show at most so many
        #[arg(long, default_value_t = 1000, value_name = "N")]
        limit: usize,
    },
}

/// What a benchmark does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// Read single keys
    Get,
    /// Write single keys
    Put,
    /// Half of each
    Mixed,
    /// Read 100 keys in order
    Scan,
}

/// Closed loop: every client sends its next request when it has the answer to the last.
#[derive(Clone, Debug, Args)]
pub(crate) struct BenchArgs {
    /// What to do
    #[arg(value_enum, default_value_t = Workload::Mixed)]
    pub workload: Workload,
    /// Requests under way at the same time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub clients: u32,
    /// How long to measure
    #[arg(long, default_value = "10s", value_parser = text::duration)]
    pub duration: Duration,
    /// Number of different keys, drawn uniformly
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=9_999_999_999))]
    pub keys: u64,
    /// Size of each value
    #[arg(long, default_value = "128", value_parser = text::size)]
    pub value_size: usize,
    /// Connections to each store
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub connections: u8,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// FLT-nnnn; all codes are listed where not given
    pub code: Option<String>,
    /// Write the page of all errors
    #[arg(long, hide = true)]
    pub all: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
