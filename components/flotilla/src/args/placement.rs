//! The command line of placement: settings, stores, schedulers, and why something is done or not.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use flotilla_base::Label;

use crate::text;

/// Decisions that are shown where nobody says how many.
const DECISIONS_LIMIT: u32 = 10;

/// The cluster's settings.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
They are kept by the placement driver and hold for the whole cluster at once. What a node is started with stands in its own
file (flotilla store --help).

Examples:
  flotilla ctl settings
  flotilla ctl settings --changed
  flotilla ctl settings set schedule.max-store-down-time 10m"
)]
pub(crate) struct SettingsArgs {
    #[command(subcommand)]
    pub command: Option<SettingsCommand>,
    /// Only those that are not as usual
    #[arg(long)]
    pub changed: bool,
}

/// The placement rules.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
A rule says how many replicas of the keys of a range are on stores with which labels, and what they count for. Where there is
none, pd/default applies: as many voters as the setting replication.max-replicas says. Once there is another rule, pd/default
is a rule as any other, and its count is changed here.

Examples:
  flotilla ctl rules
  flotilla ctl rules -o json
  flotilla ctl rules set rules.json"
)]
pub(crate) struct RulesArgs {
    #[command(subcommand)]
    pub command: Option<RulesCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// Add rules, or put them in the place of those of their names
    #[command(after_help = "\
The file holds a rule, or a list of them, all or none of which are taken: group_id, id, role (voter, leader, follower or
learner), count; start_key and end_key in hexadecimal; label_constraints as a list of {key, op, values}, op being in, notIn,
exists or notExists; location_labels, isolation_level; index, override. One with the action \"del\" is deleted.

Examples:
  flotilla ctl rules set rules.json
  echo '{\"group_id\":\"pd\",\"id\":\"default\",\"role\":\"voter\",\"count\":5}' | flotilla ctl rules set - --yes")]
    Set {
        /// The file; - is standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Do it, knowing what it costs
        #[arg(short, long)]
        yes: bool,
    },
    /// Delete a rule
    #[command(after_help = "\
Examples:
  flotilla ctl rules delete pd hot-copies")]
    Delete {
        /// Its group
        group: String,
        /// Its id
        id: String,
        /// Do it, knowing what it costs
        #[arg(short, long)]
        yes: bool,
    },
}

/// What is supposed.
#[derive(Debug, Args)]
#[command(after_help = "\
The rules that would then decide are asked, on a copy of the cluster; nothing is done. A store that comes is taken to be as
large as the largest that is up. Without any of these it is told what is still to be done to the cluster as it is.

Examples:
  flotilla ctl plan
  flotilla ctl plan --add-stores 2 --labels zone=z4
  flotilla ctl plan --remove 5 --horizon 12h
  flotilla ctl plan --rules rules.json")]
pub(crate) struct PlanArgs {
    /// So many stores would come
    #[arg(
        long,
        default_value_t = 0,
        value_name = "N",
        value_parser = text::whole::<u16>(0..=64, 2)
    )]
    pub add_stores: u16,
    /// Where they would stand, e.g. zone=z4; may be given more than once
    #[arg(long = "labels", value_name = "NAME=VALUE", requires = "add_stores", value_parser = text::label)]
    pub labels: Vec<Label>,
    /// This store would be emptied; may be given more than once
    #[arg(long, value_name = "STORE", value_parser = text::whole::<u64>(1..=u64::MAX, 3))]
    pub remove: Vec<u64>,
    /// These rules would be set, as by flotilla ctl rules set; - for standard input
    #[arg(long, value_name = "FILE")]
    pub rules: Option<PathBuf>,
    /// How far to look ahead, 1m to 168h
    #[arg(
        long,
        default_value = "1h",
        value_name = "DURATION",
        value_parser = text::positive_duration
    )]
    pub horizon: Duration,
}

/// What is asked for most.
#[derive(Debug, Args)]
#[command(after_help = "\
Rates are those of a second, smoothed over about half a minute. HEAT is what a region costs the store that leads it, and
what all its leads and replicas cost a store: 1 is a key that is read in a second, or a KiB. A store is hot a fifth above
the mean. SLOW is the disk: 1 as it is to be, up to 100; from 80 on leads leave the store.

Examples:
  flotilla ctl hot
  flotilla ctl hot write --limit 5
  flotilla ctl hot stores")]
pub(crate) struct HotArgs {
    /// By what the hottest are found; stores are listed alone
    #[arg(value_enum, value_name = "WHAT", default_value = "all")]
    pub what: HotWhat,
    /// Regions that are shown at most
    #[arg(
        long,
        default_value_t = HOT_LIMIT,
        value_name = "REGIONS",
        value_parser = text::whole::<u32>(1..=u64::from(u32::MAX), u64::from(HOT_LIMIT))
    )]
    pub limit: u32,
}

/// Regions that are shown where nobody says how many.
const HOT_LIMIT: u32 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum HotWhat {
    /// Stores, and regions by what they cost
    All,
    /// Regions that are read most
    Read,
    /// Regions that are written most
    Write,
    /// Stores alone
    Stores,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SettingsCommand {
    /// Show all of them, or some
    #[command(after_help = "\
Examples:
  flotilla ctl settings show
  flotilla ctl settings show location-labels isolation-level")]
    Show {
        /// Their names, with or without the section
        #[arg(value_name = "KEY")]
        keys: Vec<String>,
    },
    /// Give settings values, all or none
    #[command(after_help = "\
The way back is told: it is the same command with the values of before.

Examples:
  flotilla ctl settings set schedule.max-store-down-time 10m
  flotilla ctl settings set location-labels zone,host isolation-level zone")]
    Set {
        /// Names and values in turn; a name may leave its section out
        #[arg(required = true, num_args = 2.., value_names = ["KEY", "VALUE"], allow_negative_numbers = true)]
        values: Vec<String>,
    },
    /// Give settings their usual values
    #[command(after_help = "\
Examples:
  flotilla ctl settings reset schedule.max-store-down-time")]
    Reset {
        /// Their names, with or without the section
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
    },
}

/// Which store is meant.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct StoreArg {
    /// The store's id; flotilla ctl stores lists them
    #[arg(value_name = "ID", value_parser = text::whole::<u64>(1..=u64::MAX, 3))]
    pub store: u64,
}

/// What is to become of a store.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Empty a store that works, or show how far that is
    #[command(after_help = "\
It serves while what it holds moves to other stores, and each region has all its replicas at any time. Then it is a
tombstone, and can be switched off. Until then it can be told to stay. Of a store that is being emptied already it is shown
how far that is, and which regions cannot be moved for which reason.

Examples:
  flotilla ctl store drain 4 --yes
  flotilla ctl store drain 4                 how far it is
  flotilla ctl store drain 4 --undo          it stays")]
    Drain {
        #[command(flatten)]
        store: StoreArg,
        /// The store stays
        #[arg(long, conflicts_with = "yes")]
        undo: bool,
        /// Do it, knowing what it costs
        #[arg(short, long)]
        yes: bool,
    },
    /// List a store that was removed for good no more
    #[command(after_help = "\
What is known of it goes: its address, its labels, and how it was treated. Its id stays marked for ever: a store with its
directory is refused as before. It cannot be taken back. Only a tombstone is forgotten (flotilla ctl stores --all).

Examples:
  flotilla ctl store forget 3 --yes
  flotilla ctl store forget --all-removed")]
    Forget {
        /// Their ids
        #[arg(
            value_name = "ID",
            required_unless_present = "all_removed",
            value_parser = text::whole::<u64>(1..=u64::MAX, 3)
        )]
        stores: Vec<u64>,
        /// All that were removed for good
        #[arg(long, conflicts_with = "stores")]
        all_removed: bool,
        /// Do it, knowing what it costs
        #[arg(short, long)]
        yes: bool,
    },
    /// Remove a store for good whose disk or machine is lost
    #[command(after_help = "\
What it held is made anew on other stores, from the replicas that are left. Then the store is a tombstone: its address is
free for a new store, and its directory must never be started again. It cannot be taken back. Where there are only as many
stores as replicas, start a new one first, at another address. flotilla ctl stores shows how it goes on.

Examples:
  flotilla ctl store remove 3 --yes")]
    Remove {
        #[command(flatten)]
        store: StoreArg,
        /// Do it, knowing what it costs
        #[arg(short, long)]
        yes: bool,
    },
    /// Remove a store that is lost, and say how another one takes its place
    #[command(after_help = "\
The same as remove, with the steps that are left.

Examples:
  flotilla ctl store replace 3 --yes")]
    Replace {
        #[command(flatten)]
        store: StoreArg,
        /// Do it, knowing what it costs
        #[arg(short, long)]
        yes: bool,
    },
    /// Say where a store stands, or what it is for
    #[command(after_help = "\
Labels that are set here go before those with which the store starts. Which of them count as places says the setting
replication.location-labels.

Examples:
  flotilla ctl store label 4 zone=z1 rack=r7
  flotilla ctl store label 4 --delete rack")]
    Label {
        #[command(flatten)]
        store: StoreArg,
        /// Labels to be set
        #[arg(value_name = "KEY=VALUE", required_unless_present = "delete", value_parser = pair)]
        labels: Vec<(String, String)>,
        /// Key of a label that was set here, to be taken away; may be given again
        #[arg(long, value_name = "KEY")]
        delete: Vec<String>,
    },
    /// Let a store have more or less than its equal share
    #[command(after_help = "\
A store of weight 2 gets twice as much as one of weight 1, and one of weight 0 nothing. What is not given stays as it is.

Examples:
  flotilla ctl store weight 4 --leader 0.5
  flotilla ctl store weight 4 --leader 1 --region 2")]
    Weight {
        #[command(flatten)]
        store: StoreArg,
        /// Its share of leads, 0 to 1000; 1 is usual
        #[arg(
            long,
            value_name = "WEIGHT",
            required_unless_present = "region",
            value_parser = weight
        )]
        leader: Option<f64>,
        /// Its share of data, 0 to 1000; 1 is usual
        #[arg(long, value_name = "WEIGHT", value_parser = weight)]
        region: Option<f64>,
    },
    /// Bound how many replicas may come to a store, or leave it, in a minute
    #[command(after_help = "\
The limit of stores that have none of their own is the setting schedule.store-limit. What is not given stays as it is.

Examples:
  flotilla ctl store limit 4 --add 15
  flotilla ctl store limit 4 --add usual --remove usual")]
    Limit {
        #[command(flatten)]
        store: StoreArg,
        /// Replicas that may come in a minute, or "usual"
        #[arg(long, value_name = "N", required_unless_present = "remove", value_parser = limit)]
        add: Option<StoreLimit>,
        /// Replicas that may leave in a minute, or "usual"
        #[arg(long, value_name = "N", value_parser = limit)]
        remove: Option<StoreLimit>,
    },
    /// Work on a store: it leads nothing meanwhile, and is not taken for down
    #[command(after_help = "\
It ends by itself when the time is over.

Examples:
  flotilla ctl store maintain 4 --for 20m
  flotilla ctl store maintain 4 --end")]
    Maintain {
        #[command(flatten)]
        store: StoreArg,
        /// For so long, at most 720h
        #[arg(
            long = "for",
            value_name = "DURATION",
            required_unless_present = "end",
            conflicts_with = "end",
            value_parser = text::positive_duration
        )]
        duration: Option<Duration>,
        /// The work is done
        #[arg(long)]
        end: bool,
    },
}

/// A limit as it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreLimit {
    /// That of the settings.
    Usual,
    /// Its own.
    Peers(u32),
}

fn limit(text: &str) -> Result<StoreLimit, String> {
    match text {
        "usual" => Ok(StoreLimit::Usual),
        _ => text::whole::<u32>(0..=1_000_000, 15)(text).map(StoreLimit::Peers),
    }
}

/// What a weight may be, the cluster says.
fn weight(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_no_number| "a number from 0 to 1000 is needed, e.g. 0.5".to_owned())
}

fn pair(text: &str) -> Result<(String, String), String> {
    let refused = || "a key and a value are needed, e.g. zone=z1".to_owned();
    let (key, value) = text.split_once('=').ok_or_else(refused)?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Who moves leads and replicas, and keeps moving them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  flotilla ctl schedulers
  flotilla ctl schedulers pause balance-region --for 10m
  flotilla ctl schedulers add evict-leader --store 4")]
pub(crate) struct SchedulersArgs {
    #[command(subcommand)]
    pub command: Option<SchedulersCommand>,
}

/// Which scheduler is meant.
#[derive(Clone, Debug, Args)]
pub(crate) struct SchedulerArg {
    /// Its name; flotilla ctl schedulers lists them
    #[arg(value_name = "NAME")]
    pub name: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SchedulersCommand {
    /// Show all of them
    List,
    /// Let one run, for a store where it is for some only
    #[command(after_help = "\
Examples:
  flotilla ctl schedulers add balance-region
  flotilla ctl schedulers add evict-leader --store 4     store 4 leads nothing from then on")]
    Add {
        #[command(flatten)]
        name: SchedulerArg,
        /// Store that it is for; one more where it runs already
        #[arg(long, value_name = "ID", value_parser = text::whole::<u64>(1..=u64::MAX, 4))]
        store: Option<u64>,
    },
    /// Let one not run any more, or not for a store
    #[command(after_help = "\
Examples:
  flotilla ctl schedulers remove evict-leader --store 4
  flotilla ctl schedulers remove balance-region")]
    Remove {
        #[command(flatten)]
        name: SchedulerArg,
        /// Store that it is for no more
        #[arg(long, value_name = "ID", value_parser = text::whole::<u64>(1..=u64::MAX, 4))]
        store: Option<u64>,
    },
    /// Let one do nothing for some time
    #[command(after_help = "\
It goes on by itself when the time is over, or with resume.

Examples:
  flotilla ctl schedulers pause balance-region --for 10m")]
    Pause {
        #[command(flatten)]
        name: SchedulerArg,
        /// For so long
        #[arg(long = "for", value_name = "DURATION", value_parser = text::positive_duration)]
        duration: Duration,
    },
    /// Let one go on that is paused
    #[command(after_help = "\
Examples:
  flotilla ctl schedulers resume balance-region")]
    Resume(SchedulerArg),
}

/// How many decisions are shown.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct DecisionsArg {
    /// Show so many decisions at most
    #[arg(
        long,
        default_value_t = DECISIONS_LIMIT,
        value_name = "N",
        value_parser = text::whole::<u32>(1..=1_000, 50)
    )]
    pub limit: u32,
}

/// What is to be explained. The decisions are those of the placement driver that leads; an earlier one has taken its own with it.
#[derive(Debug, Subcommand)]
pub(crate) enum ExplainSubject {
    /// What was done to a region and why, and what it is now
    #[command(after_help = "\
Examples:
  flotilla ctl explain region 17")]
    Region {
        /// The region's id; flotilla ctl regions lists them
        #[arg(value_name = "ID", value_parser = text::whole::<u64>(1..=u64::MAX, 17))]
        region: u64,
        #[command(flatten)]
        decisions: DecisionsArg,
    },
    /// What a store was chosen for, and why it takes more, or does not
    #[command(after_help = "\
Examples:
  flotilla ctl explain store 4")]
    Store {
        #[command(flatten)]
        store: StoreArg,
        #[command(flatten)]
        decisions: DecisionsArg,
    },
    /// What a scheduler or a checker decided, or why it does nothing
    #[command(after_help = "\
Examples:
  flotilla ctl explain scheduler balance-region")]
    Scheduler {
        #[command(flatten)]
        name: SchedulerArg,
        #[command(flatten)]
        decisions: DecisionsArg,
    },
    /// Why a region is being changed, or was changed last
    #[command(after_help = "\
Examples:
  flotilla ctl explain operator 17")]
    Operator {
        /// The region's id; flotilla ctl operators lists those that are changed
        #[arg(value_name = "REGION", value_parser = text::whole::<u64>(1..=u64::MAX, 17))]
        region: u64,
    },
}

/// Which regions are spread.
#[derive(Debug, Args)]
pub(crate) struct ScatterArgs {
    /// The regions' ids; flotilla ctl regions lists them
    #[arg(
        value_name = "ID",
        required_unless_present_any = ["from", "to"],
        conflicts_with_all = ["from", "to"],
        value_parser = text::whole::<u64>(1..=u64::MAX, 2)
    )]
    pub regions: Vec<u64>,
    /// All from the one that holds this key; from the first one where not given
    #[arg(long, value_name = "KEY")]
    pub from: Option<String>,
    /// All below this key; to the last one where not given
    #[arg(long, value_name = "KEY")]
    pub to: Option<String>,
    /// Keys are hexadecimal
    #[arg(short = 'x', long)]
    pub hex: bool,
}
