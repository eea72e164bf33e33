//! Every error that the program reports: one row each, from which the message's code, the text of
//! `flotilla explain` and the page `docs/errors.md` are made.

use std::fmt::Write as _;

/// How the program ends. The numbers are a contract with scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// A server refused, or something inside failed.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// A key, node or code does not exist.
    NotFound = 3,
    /// Nobody answered in time; certainly nothing was applied.
    Unreachable = 4,
    /// Refused, because it would do harm.
    Unsafe = 6,
    /// Looked at, and not healthy.
    Unhealthy = 7,
    /// The configuration makes no sense.
    Config = 8,
    /// Whether a write took effect is not known.
    Unknown = 9,
    /// Interrupted from the keyboard.
    Interrupted = 130,
    /// Asked by the system to end.
    Terminated = 143,
}

/// One kind of error.
#[derive(Debug)]
pub(crate) struct Entry {
    /// `FLT-nnnn`; never given to another error.
    pub code: &'static str,
    /// The name in JSON.
    pub kind: &'static str,
    /// How the program ends with it.
    pub exit: Exit,
    /// The message, objects in capitals.
    pub template: &'static str,
    /// Why it happens.
    pub cause: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

macro_rules! catalogue {
    ($($name:ident: $code:literal, $kind:literal, $exit:ident, $template:literal,
        $cause:literal, $remedy:literal;)*) => {
        $(pub(crate) static $name: Entry = Entry {
            code: $code,
            kind: $kind,
            exit: Exit::$exit,
            template: $template,
            cause: $cause,
            remedy: $remedy,
        };)*
        /// All of them, by code.
        pub(crate) static ALL: &[&Entry] = &[$(&$name),*];
    };
}

catalogue! {
    DATA_DIR_IN_USE: "FLT-1001", "data_dir_in_use", Failed,
        "data directory DIR is in use by PROCESS",
        "Two processes on one data directory would destroy it, so the first one holds a lock.",
        "Stop the other process, or choose another directory with --data.";
    OTHER_CLUSTER: "FLT-1002", "other_cluster", Unsafe,
        "data directory DIR belongs to cluster A, but this is cluster B",
        "The directory was filled by a member of another cluster; mixing them would corrupt both.",
        "Connect to the placement driver of that cluster, or choose an empty directory.";
    NEWER_FORMAT: "FLT-1003", "newer_format", Unsafe,
        "data directory DIR has format N, but this program knows formats up to M",
        "A newer Flotilla wrote the directory. This program has changed nothing in it.",
        "Start the newer Flotilla on it, or choose an empty directory.";
    PORT_IN_USE: "FLT-1004", "port_in_use", Failed,
        "cannot start: port PORT is in use",
        "Another program listens on the address that a node wants to serve.",
        "Stop that program, or choose other addresses: playground --port-offset or --host, pd and \
         store --listen, store --status-listen.";
    TOO_LITTLE_DISK: "FLT-1005", "too_little_disk", Failed,
        "the volume of data directory DIR has too little free space",
        "A full disk would stop the node at once, so it does not even start.",
        "Free some space, or put the data directory on another volume.";
    BAD_CONFIG: "FLT-1006", "bad_config", Config,
        "FILE has N problems; nothing was started",
        "The configuration has a key that does not exist, a value of the wrong form, or a size or \
         duration without its unit.",
        "Correct what is named, a line of the file or an option. Sizes look like \"8MiB\", durations like \"500ms\".";
    BAD_DATA_DIR: "FLT-1007", "bad_data_dir", Unsafe,
        "data directory DIR cannot be used",
        "The directory belongs to a node of another kind, holds other files, or its identity is \
         damaged. Nothing in it was changed.",
        "Choose an empty directory for a new node, or the one that belongs to the node. One whose \
         identity is damaged: leave it as it is, look for errors of the disk, and report it.";
    EXPOSED: "FLT-1008", "exposed_address", Config,
        "address ADDRESS is not a loopback address",
        "Connections are neither encrypted nor authenticated, so anyone in the network could read \
         and change all data.",
        "Listen on a loopback address, or accept the risk in a closed network with --insecure.";
    START_FAILED: "FLT-1009", "start_failed", Failed,
        "cannot start NODE",
        "The system refused something that the node needs; the message says what.",
        "Correct what the message names, and start again; the node's log tells more.";
    NOT_READY: "FLT-1010", "not_ready", Failed,
        "the cluster was not ready in time",
        "All nodes started, but a region could not be written and read within 30 seconds.",
        "Read the logs that the message names; a very slow disk is the usual reason.";
    NO_PD: "FLT-1011", "no_placement_driver", Failed,
        "no placement driver answers at ADDRESSES",
        "A store can only start with its cluster's placement driver, which did not answer for a minute.",
        "Start the placement driver, or correct the addresses of --pd. Starting the store again is safe.";
    STORE_REFUSED: "FLT-1012", "store_refused", Failed,
        "the placement driver refuses this store",
        "Another store has its address, or a later run of the same store is known.",
        "Give the store an address of its own, and start each data directory once.";
    FEWER_STORES: "FLT-1013", "fewer_stores", Unsafe,
        "data directory DIR holds N stores, and M were asked for",
        "Each store of a playground holds a part of the data, so all of them are needed, but for those that were removed \
         for good. Nothing was started.",
        "Leave --stores out, or ask for as many or more: those that are new hold no regions. For a smaller cluster \
         choose another --name or --data. A store that was removed counts until its directory is deleted.";
    STORE_REMOVED: "FLT-1014", "store_removed", Unsafe,
        "store ID was removed from its cluster for good",
        "Its replicas were made anew on other stores, so what its directory holds is out of date and must never be \
         served again. Nothing was started.",
        "Start a store with an empty directory in its place; the old one can be deleted. A playground goes on without \
         the store, and makes a new one where the directory is deleted.";
    NO_PLAYGROUND: "FLT-1020", "no_playground", NotFound,
        "no playground is running",
        "Each running playground leaves a note of itself for this user; there is none that fits.",
        "Start one in another terminal: flotilla playground. These commands know playgrounds only; a cluster that was \
         started by hand is looked at with flotilla ctl status --pd HOST:PORT.";
    MANY_PLAYGROUNDS: "FLT-1021", "many_playgrounds", Usage,
        "more than one playground is running",
        "The command does not say which of them it means.",
        "Name one with --pd HOST:PORT; playground commands also take --pid PID.";
    NO_NODE: "FLT-1022", "no_node", NotFound,
        "the playground has no node NAME",
        "Nodes are called pd-1, store-1, store-2, and so on.",
        "List them: flotilla playground status";
    NODE_STATE: "FLT-1023", "node_state", Failed,
        "node NAME is up already, or down already",
        "Only a node that is up can be killed, and only one that is down can be started.",
        "Look at them: flotilla playground status";
    NO_ANSWER: "FLT-1024", "no_answer", Unknown,
        "the playground has not answered in time",
        "The command was sent; the node may still be starting or ending. A store with much data needs a \
         while to start.",
        "Look at it: flotilla playground status. Allow more time with --timeout.";
    PLAYGROUND_FULL: "FLT-1025", "playground_full", Failed,
        "the playground has as many stores as it can have",
        "A playground has at most 64 stores, those that were removed for good included. Nothing was started.",
        "Go on with those that are there; a larger cluster is made of nodes that are started by themselves.";
    NO_CODE: "FLT-1030", "no_such_code", NotFound,
        "there is no error code TEXT",
        "Codes look like FLT-1004; this program knows none like that.",
        "List them: flotilla explain";
    KEY_NOT_FOUND: "FLT-2001", "not_found", NotFound,
        "key not found: KEY",
        "The key has no value.",
        "Look at what is there: flotilla scan";
    BAD_KEY: "FLT-2002", "bad_key", Usage,
        "TEXT is no key",
        "Keys are text in which \\xNN, \\n, \\r, \\t and \\\\ stand for single bytes; with --hex they are \
         pairs of hexadecimal digits.",
        "Write a backslash as \\\\, and any other byte as \\xNN.";
    BAD_LINE: "FLT-2003", "bad_line", Failed,
        "line N of the input is no record",
        "Each line is a JSON object with \"key\" or \"key_hex\", and \"value\" or \"value_hex\".",
        "Correct the line and load again: loading the same records twice does no harm.";
    UNREACHABLE: "FLT-2101", "unreachable", Unreachable,
        "cannot reach the cluster",
        "The placement driver does not answer: nothing listens at its address, or the network drops what is sent \
         there. Certainly nothing was applied.",
        "Check that the cluster runs and that the address is right; start one here: flotilla playground";
    TIMEOUT: "FLT-2102", "timeout", Unreachable,
        "the deadline passed",
        "The cluster answers, but was not ready: most often a majority of a region's stores is down, or fewer stores have \
         registered with a new cluster than it keeps replicas. Certainly nothing was applied.",
        "Look at the stores (flotilla ctl status), or allow more time with --timeout.";
    OUTCOME_UNKNOWN: "FLT-2103", "outcome_unknown", Unknown,
        "whether the write took effect is not known",
        "The write was sent, and no answer came before the deadline or the connection broke. Or a command of many \
         writes failed when some of them had taken effect; the message says how many.",
        "Read what was to be written, then write it again if need be.";
    BUSY: "FLT-2104", "busy", Unreachable,
        "the store is overloaded, or its disk is full",
        "The store refused work until the deadline. Certainly nothing was applied.",
        "Send less at a time, free disk space, or allow more time with --timeout.";
    TOO_LARGE: "FLT-2105", "too_large", Failed,
        "the key or value is too large",
        "A key may have 8 KiB, a value 6 MiB. Nothing was applied.",
        "Shorten the key, or split the value over several keys.";
    REFUSED: "FLT-2106", "refused", Failed,
        "the cluster refused the request",
        "The request makes no sense to the cluster as it is now; the message carries its reason. Nothing was done.",
        "Do what stands beside try in the message: it is made for the reason. Or change the request.";
    WRONG_CLUSTER: "FLT-2107", "wrong_cluster", Failed,
        "the server belongs to another cluster",
        "Addresses of different clusters were mixed, or an address was given to a new cluster.",
        "Check the addresses of --pd.";
    INVALID_ARGUMENT: "FLT-2108", "invalid_argument", Usage,
        "the argument makes no sense",
        "An option or command does not exist or is missing, or an address, range, size or limit is not of the \
         form that is needed.",
        "Correct the argument as the message says; --help shows what is possible.";
    NOT_AN_INTEGER: "FLT-2109", "not_an_integer", Failed,
        "the value of KEY is no integer",
        "Only a decimal integer of 64 bits can be added to, such as 42 or -7, and the sum has to be one as well. \
         A line end behind the digits makes a text of them. Nothing was changed.",
        "Read the value: flotilla get KEY. Put an integer in its place: flotilla put KEY 0. Or add to another key.";
    UNHEALTHY: "FLT-3001", "unhealthy", Unhealthy,
        "the cluster is degraded, or some keys are unavailable",
        "A store is not up, or a region has no leader, or fewer voters than the cluster's number of replicas, or one \
         that does not answer. Without a majority of its stores a region serves nothing.",
        "Start what is down; the stores are listed by flotilla ctl stores, the regions by flotilla ctl regions. A region \
         that lacks a voter gets one by flotilla ctl region add-peer.";
    UNCONFIRMED: "FLT-3002", "unconfirmed", Unsafe,
        "ACTION needs to be confirmed",
        "The action moves or gives up copies of data. Nothing was done.",
        "Read what it would cost, then give the command again with --yes, or choose another way.";
    NO_STORE: "FLT-3003", "no_store", NotFound,
        "no store has the id ID",
        "The cluster has never had a store with this id. Ids are numbers that the placement driver gives; the names of a \
         playground's nodes are something else.",
        "List the stores with their ids: flotilla ctl stores";
    NO_REGION: "FLT-3004", "no_region", NotFound,
        "no leader has reported a region ID",
        "There is no such region, or its leader has not reported to a placement driver that was just started.",
        "List the regions with their ids: flotilla ctl regions";
    NO_SETTING: "FLT-3005", "no_setting", NotFound,
        "there is no setting NAME",
        "The cluster has no setting of this name. What a node is started with stands in its own file.",
        "List the settings: flotilla ctl settings";
    BAD_SETTING: "FLT-3006", "bad_setting", Failed,
        "no setting was changed",
        "A value is not possible, or does not go together with another setting. Settings that are given together are \
         changed together, or not at all.",
        "See what is possible: flotilla ctl settings show NAME";
    BAD_SCHEDULER: "FLT-3007", "bad_scheduler", Failed,
        "cannot change the scheduler NAME",
        "There is none of that name, it runs already or does not run, or a store is missing, not known, or none that it is for.",
        "List the schedulers and the stores that they are for: flotilla ctl schedulers";
    BAD_RULE: "FLT-3008", "bad_rule", Failed,
        "no placement rule was changed",
        "A rule is malformed, no stores are as it asks, or it does not go together with the others. Rules that are given \
         together are changed together, or not at all.",
        "Do what the message says would be possible. The rules that there are: flotilla ctl rules -o json";
    NO_RULE: "FLT-3009", "no_rule", NotFound,
        "there is no placement rule GROUP/ID",
        "No rule has this name.",
        "List the rules: flotilla ctl rules";
    STORAGE: "FLT-4001", "storage", Failed,
        "the database of NODE cannot be opened",
        "The files of the database are damaged, or were written by something else.",
        "Leave the directory as it is, look for errors of the disk in the system's log, and read the \
         node's own log, then report it with both. A store whose directory is lost is replaced: start a \
         new one at another address, then flotilla ctl store remove ID.";
    OUTPUT: "FLT-9001", "output", Failed,
        "cannot read the input or write the output",
        "The file or terminal refused to be read or written.",
        "Check the file's permissions and the free space of its volume.";
    INTERNAL: "FLT-9002", "internal", Failed,
        "something that cannot happen happened",
        "This is a defect of Flotilla.",
        "Please report it with the message and the log.";
}

/// The error with this code; capital and small letters are the same, and `FLT-` may be left out.
pub(crate) fn find(code: &str) -> Option<&'static Entry> {
    let wanted = code.trim().to_ascii_uppercase();
    let digits = wanted.strip_prefix("FLT-").unwrap_or(&wanted);
    ALL.iter().copied().find(|entry| entry.code.ends_with(digits) && digits.len() == 4)
}

/// The page of all errors for the documentation.
pub(crate) fn markdown() -> String {
    let mut page = String::from(
        "# Errors\n\nWritten by `flotilla explain --all`; do not edit. Every error names its code; \
         `flotilla explain CODE` shows the same text.\n\n\
         | exit code | meaning |\n|---|---|\n\
         | 0 | done |\n| 1 | failed: a server refused, or something inside failed |\n\
         | 2 | the command line makes no sense |\n| 3 | key, node or code not found |\n\
         | 4 | unreachable, or the deadline passed; certainly nothing was applied |\n\
         | 6 | refused, because it would do harm |\n| 7 | looked at, and not healthy |\n\
         | 8 | the configuration makes no sense |\n| 9 | whether the write took effect is not known |\n\
         | 101 | a defect of Flotilla |\n| 130, 143 | interrupted, terminated |\n",
    );
    for Entry { code, kind, exit, template, cause, remedy } in ALL {
        let exit = *exit as u8;
        write!(
            page,
            "\n## {code}\n\n`{kind}`, exit code {exit}: {template}\n\n{cause}\n\n**What to do:** {remedy}\n"
        )
        .expect("a string takes all that is written");
    }
    page
}

#[cfg(test)]
mod tests {
    use flotilla_client::ErrorKind;

    use super::*;

    #[test]
    fn codes_ascend_and_are_found() {
        assert!(ALL.windows(2).all(|pair| pair[0].code < pair[1].code));
        for entry in ALL {
            assert_eq!(find(entry.code).map(|found| found.code), Some(entry.code));
        }
        assert!(find("flt-1004").is_some() && find("1004").is_some());
        assert!(find("4").is_none() && find("FLT-9999").is_none() && find("").is_none());
    }

    #[test]
    fn every_error_of_the_client_is_explained() {
        for kind in [
            ErrorKind::Unreachable,
            ErrorKind::Timeout,
            ErrorKind::OutcomeUnknown,
            ErrorKind::Busy,
            ErrorKind::TooLarge,
            ErrorKind::Refused,
            ErrorKind::WrongCluster,
            ErrorKind::InvalidArgument,
            ErrorKind::NotAnInteger,
        ] {
            let entry = find(kind.code()).expect("listed");
            assert_eq!(entry.kind, kind.name());
        }
    }

    #[test]
    fn the_page_in_the_documentation_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
        let page = std::fs::read_to_string(path).expect("the page is there");
        assert!(page == markdown(), "write it anew: flotilla explain --all > docs/errors.md");
    }
}
