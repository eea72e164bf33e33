//! The command line: commands, flags, their defaults and help.

mod placement;
mod regions;

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use flotilla_base::{ByteSize, Label, address};

pub(crate) use self::placement::{
    ExplainSubject, HotArgs, HotWhat, PlanArgs, RulesArgs, RulesCommand, ScatterArgs,
    SchedulersArgs, SchedulersCommand, SettingsArgs, SettingsCommand, StoreCommand, StoreLimit,
};
pub(crate) use self::regions::{CheckArg, REGIONS_LIMIT, RegionsArgs, RoleArg, SortArg, word};
use crate::{
    output::Format,
    server::{self, PD_PORT},
    text,
};

/// Keys that `scan` shows where nothing else is said.
pub(crate) const SCAN_LIMIT: u64 = 100;

/// Lines under the help of the program.
const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 unreachable (certainly not applied),
6 refused for safety, 7 checked and unhealthy, 8 bad configuration, 9 outcome unknown.
First steps: flotilla playground; then, in another terminal: flotilla put hello world";

/// Names the placement driver where the command line does not.
const ENVIRONMENT_PD: &str = "FLOTILLA_PD";

/// What the environment says of the placement driver, in the form of [`Globals::pd`].
pub(crate) fn environment_pd() -> Vec<String> {
    let said = std::env::var(ENVIRONMENT_PD).unwrap_or_default();
    said.split(',').map(|endpoint| with_pd_port(endpoint.to_owned())).collect()
}

/// The address with the usual port where it says none. What is no address stays, and is refused by whoever uses it.
fn with_pd_port(endpoint: String) -> String {
    address::with_port(&endpoint, PD_PORT).unwrap_or(endpoint)
}

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
#[command(next_help_heading = "Options of all commands")]
pub(crate) struct Globals {
    /// Placement driver of the cluster; a store needs it, `pd` takes none, all else finds the playground that runs here
    #[arg(
        long,
        global = true,
        env = ENVIRONMENT_PD,
        value_delimiter = ',',
        value_name = "HOST[:PORT]"
    )]
    pub pd: Vec<String>,
    /// How long each call to the cluster or to a playground may take, e.g. 500ms or 1m30s
    #[arg(
        long,
        global = true,
        default_value = "10s",
        value_name = "DURATION",
        value_parser = text::positive_duration
    )]
    pub timeout: Duration,
    /// Form of results, and of errors
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORM")]
    pub output: Format,
}

impl Globals {
    /// The same with a port in each address.
    pub(crate) fn complete(&mut self) {
        let said = std::mem::take(&mut self.pd);
        self.pd = said.into_iter().map(with_pd_port).collect();
    }
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
    /// Add to a number
    Add(AddArgs),
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
  flotilla playground --name mine            keeps the data; the next start goes on with it
  flotilla playground --region-size 4MiB     many small regions
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
    /// Number of stores; up to three of them hold each key [default: as many as there are in the data, else 3]
    #[arg(
        long,
        value_name = "N",
        value_parser = text::whole::<u16>(1..=64, 5)
    )]
    pub stores: Option<u16>,
    /// Deal the stores out to so many zones, z1 and so on, by their label "zone". Kept with the data
    /// [default: as kept, else 3]
    #[arg(
        long,
        value_name = "N",
        value_parser = text::whole::<u16>(1..=64, 3)
    )]
    pub zones: Option<u16>,
    /// About so much a region holds; a larger one is split. Kept with the data [default: as kept, else 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = server::region_size)]
    pub region_size: Option<ByteSize>,
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
    #[arg(
        long,
        default_value_t = 0,
        value_name = "N",
        value_parser = text::whole::<u16>(0..=65_535, 10_000)
    )]
    pub port_offset: u16,
    /// Address that all nodes listen on
    #[arg(
        long,
        env = "FLOTILLA_HOST",
        default_value = "127.0.0.1",
        value_name = "IP",
        value_parser = text::ip
    )]
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
    #[command(after_help = "\
Regions that still have a majority are watched until they can be read again, for as long as --timeout allows.
Exit code 7 where some region cannot be read afterwards.

Examples:
  flotilla playground kill store-1
  flotilla playground start store-1")]
    Kill(NodeArgs),
    /// Start a node that was killed
    Start(NodeArgs),
    /// Start one more store, which is there again after the next start where the data is kept
    #[command(after_help = "\
It gets the next name, the next ports and the next zone, and is empty at first.

Examples:
  flotilla playground add-store
  flotilla playground add-store --count 2
  flotilla playground add-store --label zone=z4 --label disk=ssd")]
    AddStore(AddStoreArgs),
    /// Stop the playground
    Stop(Selector),
}

/// Which playground, where more than one runs.
#[derive(Debug, Args)]
pub(crate) struct Selector {
    /// Process id of the playground, where more than one runs; it counts more than --pd
    #[arg(long, value_name = "PID", value_parser = text::whole::<u32>(1..=u64::from(u32::MAX), 4711))]
    pub pid: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// pd-1, store-1, store-2, …
    pub node: String,
    #[command(flatten)]
    pub selector: Selector,
}

#[derive(Debug, Args)]
pub(crate) struct AddStoreArgs {
    /// Where the store stands, e.g. zone=z1, beside or in place of its zone; may be given more than once
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = text::label)]
    pub labels: Vec<Label>,
    /// How many stores
    #[arg(
        long,
        default_value_t = 1,
        value_name = "N",
        value_parser = text::whole::<u16>(1..=64, 2)
    )]
    pub count: u16,
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
    /// Address to serve clients on [default: 127.0.0.1 and the usual port: pd 2379, store 20160]
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<String>,
    /// Address under which others reach it; the listening address where not given
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise: Option<String>,
    /// Listen on an address that others can reach, without encryption
    #[arg(long)]
    pub insecure: bool,
    /// A level, or a filter such as "info,flotilla_store=debug" [default: info]
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
#[command(after_help = "\
Examples:
  flotilla pd --data /var/lib/flotilla/pd
  flotilla pd --data pd --listen 10.0.0.1:2379 --insecure      in a closed network
  flotilla pd --config /etc/flotilla/pd.toml")]
pub(crate) struct PdArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    /// Name of this member [default: pd-1]
    #[arg(long)]
    pub name: Option<String>,
    /// Stores that hold each key, 1 to 7; chosen at the first start, for ever [default: 3]
    #[arg(long, value_name = "N", value_parser = text::whole::<u32>(1..=7, 3))]
    pub max_replicas: Option<u32>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla store --data /var/lib/flotilla/store --pd 127.0.0.1:2379
  flotilla store --data store-2 --pd 127.0.0.1:2379 --listen 127.0.0.1:20161 --status-listen 127.0.0.1:20181
  flotilla store --config /etc/flotilla/store.toml")]
pub(crate) struct StoreArgs {
    #[command(flatten)]
    pub server: ServerArgs,
    /// Address to show metrics, health and configuration on [default: 127.0.0.1:20180]
    #[arg(long, value_name = "IP:PORT")]
    pub status_listen: Option<String>,
    /// Where the store stands, e.g. zone=z1; may be given more than once
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = text::label)]
    pub labels: Vec<Label>,
    /// About so much a region holds; a larger one is split [default: 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = server::region_size)]
    pub region_size: Option<ByteSize>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The value is written as it is, byte by byte. Exit code 3 where the key has none.

Examples:
  flotilla get greeting
  flotilla get 'bin\\x00\\xff'        a key of any bytes
  flotilla get --hex 62696e00ff     the same key")]
pub(crate) struct GetArgs {
    /// Text; \xNN stands for a byte
    #[arg(allow_negative_numbers = true)]
    pub key: String,
    /// KEY is hexadecimal
    #[arg(short = 'x', long)]
    pub hex: bool,
}

#[derive(Debug, Args)]
#[command(
    override_usage = "flotilla put [OPTIONS] <KEY> <VALUE>\n       flotilla put [OPTIONS] --stdin <KEY>",
    after_help = "\
What begins with a minus and is no number stands behind --, which ends the options.

Examples:
  flotilla put greeting 'hello, world'
  flotilla put balance -5
  flotilla put note -- '- milk'
  flotilla put --stdin picture < picture.png"
)]
pub(crate) struct PutArgs {
    /// Text; \xNN stands for a byte
    #[arg(allow_negative_numbers = true)]
    pub key: String,
    /// The value, byte by byte as it is
    #[arg(
        required_unless_present = "stdin",
        conflicts_with = "stdin",
        allow_negative_numbers = true
    )]
    pub value: Option<String>,
    /// Read the value from standard input
    #[arg(long)]
    pub stdin: bool,
    /// KEY is hexadecimal
    #[arg(short = 'x', long)]
    pub hex: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The number is a decimal text; a key without a value counts as 0. Nothing is counted twice: an attempt whose outcome is
not known is not repeated, and exit code 9 says so.

Examples:
  flotilla add visits
  flotilla add stock -3")]
pub(crate) struct AddArgs {
    /// Text; \xNN stands for a byte
    #[arg(allow_negative_numbers = true)]
    pub key: String,
    /// How much to add
    #[arg(default_value_t = 1, allow_negative_numbers = true, value_parser = text::integer)]
    pub amount: i64,
    /// KEY is hexadecimal
    #[arg(short = 'x', long)]
    pub hex: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A key without a value is no error: afterwards none of them has one.

Examples:
  flotilla del greeting
  flotilla del user:1 user:2")]
pub(crate) struct DelArgs {
    /// Text; \xNN stands for a byte
    #[arg(required = true, value_name = "KEY", allow_negative_numbers = true)]
    pub keys: Vec<String>,
    /// KEYs are hexadecimal
    #[arg(short = 'x', long)]
    pub hex: bool,
}

/// A range of keys.
#[derive(Debug, Args)]
pub(crate) struct RangeArgs {
    /// First key; the least of all where not given
    #[arg(conflicts_with = "prefix", allow_negative_numbers = true)]
    pub from: Option<String>,
    /// First key that is not wanted any more
    #[arg(long, value_name = "KEY", conflicts_with = "prefix", allow_negative_numbers = true)]
    pub to: Option<String>,
    /// All keys that begin like this
    #[arg(long, value_name = "KEY", allow_negative_numbers = true)]
    pub prefix: Option<String>,
    /// Keys are hexadecimal
    #[arg(short = 'x', long)]
    pub hex: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Where more keys follow than --limit shows, the command that goes on is named.

Examples:
  flotilla scan
  flotilla scan --prefix user: --limit 1000
  flotilla scan user:1 --to user:5 --keys-only
  flotilla scan --prefix user: --count")]
pub(crate) struct ScanArgs {
    #[command(flatten)]
    pub range: RangeArgs,
    /// Show at most so many
    #[arg(
        long,
        default_value_t = SCAN_LIMIT,
        value_name = "N",
        value_parser = text::whole::<u64>(1..=u64::MAX, 1000)
    )]
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
    #[command(after_help = "\
Of two records with one key the later one counts. Loading the same records again does no harm.

Examples:
  echo '{\"key\":\"user:1\",\"value\":\"ada\"}' | flotilla kv load
  flotilla kv load records.jsonl")]
    Load {
        /// Standard input where not given
        file: Option<PathBuf>,
    },
    /// Print records in the form that `load` reads
    #[command(after_help = "\
Examples:
  flotilla kv dump > records.jsonl
  flotilla kv dump --prefix user:")]
    Dump(RangeArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum CtlCommand {
    /// The cluster on one page
    #[command(after_help = "\
healthy: every store is up, every region has a leader and as many voters as it is to have, all of which answer.
degraded: all keys can be read and written, but something is missing.
unavailable: some keys can be neither read nor written.

Examples:
  flotilla ctl status
  flotilla ctl status --check || echo look at it
  flotilla ctl status -o json")]
    Status {
        /// Exit with 7 unless everything is well
        #[arg(long)]
        check: bool,
    },
    /// All stores
    Stores(StoresArgs),
    /// Change one store
    #[command(subcommand)]
    Store(StoreCommand),
    /// All regions, in the order of their keys
    Regions(RegionsArgs),
    /// Change one region
    #[command(subcommand)]
    Region(RegionCommand),
    /// Changes of regions that are under way
    Operators(OperatorsArgs),
    /// Settings of the cluster: show them, set them
    Settings(SettingsArgs),
    /// Who moves leads and replicas by itself
    Schedulers(SchedulersArgs),
    /// What stores and regions are asked for most
    Hot(HotArgs),
    /// How many replicas of which keys are where
    Rules(RulesArgs),
    /// What would be moved if stores came or went
    Plan(PlanArgs),
    /// Why something was done, or is not done
    #[command(subcommand)]
    Explain(ExplainSubject),
}

/// Which stores are listed.
#[derive(Debug, Args)]
#[command(after_help = "\
NODE is the name of the store in the playground that runs here. With -o json all stores are listed; those that were
removed have the state \"tombstone\".

Examples:
  flotilla ctl stores
  flotilla ctl stores --all")]
pub(crate) struct StoresArgs {
    /// Those that were removed for good as well
    #[arg(long)]
    pub all: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RegionCommand {
    /// Cut regions at keys, so that one begins at each of them
    #[command(after_help = "\
The region that is cut keeps its id and its last part. A cut may come with up to two more, below and
above the raw data of its region: clients of transactions cannot read a raw key as a border.

Examples:
  flotilla ctl region split --at user:5000
  flotilla ctl region split --at b --at m --at t")]
    Split(SplitArgs),
    /// Let another store lead a region
    #[command(after_help = "\
Nothing is copied, and the region stands still for a moment at most. The way back is the same command with the store
that led before.

Examples:
  flotilla ctl region transfer-leader --region 2 --to 3")]
    TransferLeader {
        #[command(flatten)]
        region: RegionArg,
        /// Store that is to lead; it holds a peer that votes
        #[arg(long, value_name = "STORE", value_parser = text::whole::<u64>(1..=u64::MAX, 3))]
        to: u64,
    },
    /// Put a region on one more store
    #[command(after_help = "\
The region's data is copied first; the new peer votes once it has all of it.

Examples:
  flotilla ctl region add-peer --region 2 --store 4
  flotilla ctl region add-peer --region 2 --store 4 --learner      it never votes")]
    AddPeer {
        #[command(flatten)]
        region: RegionArg,
        /// Store that is to hold a peer
        #[arg(long, value_name = "STORE", value_parser = text::whole::<u64>(1..=u64::MAX, 4))]
        store: u64,
        /// The peer gets the data and does not vote
        #[arg(long)]
        learner: bool,
    },
    /// Take a region from a store, and stand fewer failures from then on
    #[command(after_help = "\
The copy on that store is deleted. To keep as many copies, move it instead: flotilla ctl region move-peer.

Examples:
  flotilla ctl region remove-peer --region 2 --store 4 --yes")]
    RemovePeer {
        #[command(flatten)]
        region: RegionArg,
        /// Store that is to hold none any more
        #[arg(long, value_name = "STORE", value_parser = text::whole::<u64>(1..=u64::MAX, 4))]
        store: u64,
        /// Do it, knowing what it costs
        #[arg(short, long)]
        yes: bool,
    },
    /// Move a region from one store to another
    #[command(after_help = "\
The data is copied first, then both peers change places in one step; at no time does the region stand fewer failures.

Examples:
  flotilla ctl region move-peer --region 2 --from 1 --to 4")]
    MovePeer {
        #[command(flatten)]
        region: RegionArg,
        /// Store that holds a peer now
        #[arg(long, value_name = "STORE", value_parser = text::whole::<u64>(1..=u64::MAX, 1))]
        from: u64,
        /// Store that is to hold it
        #[arg(long, value_name = "STORE", value_parser = text::whole::<u64>(1..=u64::MAX, 4))]
        to: u64,
    },
    /// Spread regions over the stores, before they are loaded
    #[command(after_help = "\
As many replicas and leads of these regions are on each store as can be, whatever else the stores carry. Regions that are
spread already stay where they are, so that it may be asked for again.

Examples:
  flotilla ctl region scatter 2 14 16
  flotilla ctl region scatter --from user: --to user;")]
    Scatter(ScatterArgs),
    /// Give up what is being done to a region
    #[command(after_help = "\
What was ordered last may still happen; the steps behind it do not. The answer says what stays behind, and how to end it.

Examples:
  flotilla ctl region cancel --region 2")]
    Cancel(RegionArg),
}

/// Which region is meant.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct RegionArg {
    /// The region's id; flotilla ctl regions lists them
    #[arg(long, value_name = "ID", value_parser = text::whole::<u64>(1..=u64::MAX, 2))]
    pub region: u64,
}

/// Which changes of regions are listed.
#[derive(Debug, Args)]
#[command(after_help = "\
They belong to the placement driver that leads; what an earlier one had under way is gone.

Examples:
  flotilla ctl operators
  flotilla ctl operators --history")]
pub(crate) struct OperatorsArgs {
    /// Those that have ended as well, the last one first
    #[arg(long)]
    pub history: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SplitArgs {
    /// First key of a new region: text, in which \xNN stands for a byte; may be given again
    #[arg(long, required = true, value_name = "KEY")]
    pub at: Vec<String>,
    /// KEYs are hexadecimal
    #[arg(short = 'x', long)]
    pub hex: bool,
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
#[command(after_help = "\
Keys are \"bench:\" and ten digits. All workloads but put write every key once before --duration begins. At the end
the keys are removed, whoever wrote them, unless --keep is given. Ctrl-C ends the measurement early.

Examples:
  flotilla bench --duration 30s
  flotilla bench get --keys 10000 --clients 1
  flotilla bench put --value-size 4KiB -o json")]
pub(crate) struct BenchArgs {
    /// What to do
    #[arg(value_enum, default_value_t = Workload::Mixed)]
    pub workload: Workload,
    /// Requests under way at the same time
    #[arg(
        long,
        default_value_t = 64,
        value_name = "N",
        value_parser = text::whole::<u32>(1..=65_536, 64)
    )]
    pub clients: u32,
    /// How long to measure; writing the keys before and removing them after it comes on top
    #[arg(
        long,
        default_value = "10s",
        value_name = "DURATION",
        value_parser = text::positive_duration
    )]
    pub duration: Duration,
    /// Number of different keys, drawn uniformly
    #[arg(
        long,
        default_value_t = 100_000,
        value_name = "N",
        value_parser = text::whole::<u64>(1..=9_999_999_999, 10_000)
    )]
    pub keys: u64,
    /// Size of each value, e.g. 128 or 4KiB; at most 6MiB
    #[arg(long, default_value = "128", value_name = "SIZE", value_parser = text::value_size)]
    pub value_size: usize,
    /// Connections to each store
    #[arg(
        long,
        default_value_t = 1,
        value_name = "N",
        value_parser = text::whole::<u8>(1..=64, 2)
    )]
    pub connections: u8,
    /// Leave the keys in the cluster at the end
    #[arg(long)]
    pub keep: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla explain
  flotilla explain FLT-1004")]
pub(crate) struct ExplainArgs {
    /// FLT-nnnn, or the digits alone; all codes are listed where not given
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
