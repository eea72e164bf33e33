//! The command line of `flotilla ctl regions`.

use clap::{Args, ValueEnum};

use crate::text;

/// Which regions are listed.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
All that is asked for must hold. Where more regions follow than --limit shows, the command that goes on is named; --sort
shows the first ones in that order. SIZE and KEYS are estimates of the leader.

Checks:
  miss-peer, extra-peer      fewer or more replicas than the rules ask for
  down-peer, pending-peer    a replica does not answer its leader, or lags behind
  learner-peer               a replica does not vote
  offline-peer               a replica is on a store that leaves, or has left
  empty, oversized           at most 1 MiB; more than 384 MiB

Examples:
  flotilla ctl regions
  flotilla ctl regions --key user:1
  flotilla ctl regions --store 3 --role leader --limit 20
  flotilla ctl regions --check miss-peer
  flotilla ctl regions --from user: --to user; --sort size --limit 10")]
pub(crate) struct RegionsArgs {
    /// Show at most so many
    #[arg(
        long,
        default_value_t = REGIONS_LIMIT,
        value_name = "N",
        value_parser = text::whole::<u64>(1..=u64::MAX, REGIONS_LIMIT)
    )]
    pub limit: u64,
    /// Only the region that holds this key
    #[arg(long, value_name = "KEY", conflicts_with_all = ["from", "to"])]
    pub key: Option<String>,
    /// Begin with the region that holds this key
    #[arg(long, value_name = "KEY")]
    pub from: Option<String>,
    /// Only regions that hold keys before this one
    #[arg(long, value_name = "KEY")]
    pub to: Option<String>,
    /// Only regions with a replica on this store
    #[arg(long, value_name = "ID", value_parser = text::whole::<u64>(1..=u64::MAX, 3))]
    pub store: Option<u64>,
    /// Only those in which the replica on the store is this
    #[arg(long, requires = "store")]
    pub role: Option<RoleArg>,
    /// Only regions of which this holds
    #[arg(long)]
    pub check: Option<CheckArg>,
    /// The largest first
    #[arg(long)]
    pub sort: Option<SortArg>,
    /// Keys are hexadecimal
    #[arg(short = 'x', long)]
    pub hex: bool,
}

/// Regions that are listed where nobody says how many.
pub(crate) const REGIONS_LIMIT: u64 = 1000;

/// What a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleArg {
    Leader,
    Follower,
    Learner,
}

/// What may be odd about a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CheckArg {
    MissPeer,
    ExtraPeer,
    DownPeer,
    PendingPeer,
    LearnerPeer,
    OfflinePeer,
    Empty,
    Oversized,
}

/// By what regions are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SortArg {
    Size,
    Keys,
    WriteFlow,
    ReadFlow,
    Version,
    ConfVersion,
}

/// The word that the command line has for it.
pub(crate) fn word(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
