//! Why a server does not start, as an error of the catalogue.

use std::{io, net::SocketAddr};

use flotilla_engine::{DataDirError, EngineError};
use flotilla_pd::{CoreError, PdError};
use flotilla_store::{StoreError, pd_link::PdLinkError};

use super::port;
use crate::{
    catalogue::{self, Entry},
    fault::Fault,
};

/// A placement driver does not start.
pub(crate) fn pd_fault(error: &PdError) -> Fault {
    match error {
        PdError::Config(text) => Fault::new(&catalogue::BAD_CONFIG, text),
        PdError::AddressInUse(address) => port::in_use("pd", *address).hint("--listen IP:PORT"),
        PdError::Listen { address, cause } => listen_fault("pd", *address, cause),
        PdError::DataDir(error) => data_dir_fault(error),
        PdError::Engine(error) => engine_fault("pd", error),
        PdError::Core(CoreError::Disk(_) | CoreError::State(_) | CoreError::Damaged(_))
        | PdError::MixedUp { .. } => explained(&catalogue::STORAGE, error.to_string()),
        PdError::Core(CoreError::Group(_)) | PdError::Thread(_) | PdError::NotReady => {
            Fault::new(&catalogue::START_FAILED, "cannot start pd").why(error.to_string())
        }
    }
}

/// A store does not start.
pub(crate) fn store_fault(error: &StoreError) -> Fault {
    match error {
        StoreError::DataDir(error) => data_dir_fault(error),
        StoreError::Engine(error) => engine_fault("the store", error),
        StoreError::Listen { address, cause } => listen_fault("the store", *address, cause),
        StoreError::ListenStatus { address, cause } if cause.kind() == io::ErrorKind::AddrInUse => {
            port::in_use("the store", *address).hint("--status-listen IP:PORT")
        }
        StoreError::ListenStatus { address, cause } => listen_fault("the store", *address, cause),
        StoreError::Join(error) => join_fault(error),
        StoreError::Read(_) | StoreError::Claim(_) => {
            explained(&catalogue::STORAGE, error.to_string())
        }
        _ => Fault::new(&catalogue::START_FAILED, "cannot start the store").why(error.to_string()),
    }
}

fn join_fault(error: &PdLinkError) -> Fault {
    match error {
        PdLinkError::OtherCluster { ours, theirs } => {
            let text =
                format!("this store belongs to cluster {ours}, the placement driver to {theirs}");
            explained(&catalogue::OTHER_CLUSTER, text)
        }
        PdLinkError::Unreachable { endpoints, cause } => {
            let text = format!("no placement driver answers at {endpoints}");
            Fault::new(&catalogue::NO_PD, text).why(cause).hint(catalogue::NO_PD.remedy)
        }
        PdLinkError::Removed(why) => {
            let text = "this store was removed from its cluster for good";
            Fault::new(&catalogue::STORE_REMOVED, text)
                .why(why)
                .hint(catalogue::STORE_REMOVED.remedy)
        }
        PdLinkError::Refused(_) | PdLinkError::NotBootstrapped => {
            let text = "the placement driver refuses this store";
            Fault::new(&catalogue::STORE_REFUSED, text)
                .why(error.to_string())
                .hint(catalogue::STORE_REFUSED.remedy)
        }
    }
}

fn explained(entry: &'static Entry, message: String) -> Fault {
    Fault::new(entry, message).why(entry.cause).hint(entry.remedy)
}

fn listen_fault(node: &str, address: SocketAddr, cause: &io::Error) -> Fault {
    if cause.kind() == io::ErrorKind::AddrInUse {
        return port::in_use(node, address).hint("--listen IP:PORT");
    }
    let text = format!("cannot start: {node} cannot listen on {address}");
    Fault::new(&catalogue::START_FAILED, text)
        .why(cause.to_string())
        .hint("choose an address of this machine")
}

fn engine_fault(node: &str, error: &EngineError) -> Fault {
    match error {
        EngineError::Open { path, message } => {
            let text = format!("the database of {node} in {} cannot be opened", path.display());
            Fault::new(&catalogue::STORAGE, text).why(message).hint(catalogue::STORAGE.remedy)
        }
        EngineError::Fatal { .. } | EngineError::RefusedBatch(_) => {
            Fault::new(&catalogue::START_FAILED, format!("cannot start {node}"))
                .why(error.to_string())
        }
    }
}

fn data_dir_fault(error: &DataDirError) -> Fault {
    let entry = match error {
        DataDirError::InUse { .. } => &catalogue::DATA_DIR_IN_USE,
        DataDirError::DirectoryOfAnotherCluster { .. } => &catalogue::OTHER_CLUSTER,
        DataDirError::NewerFormat { .. } => &catalogue::NEWER_FORMAT,
        DataDirError::TooLittleDisk { .. } => &catalogue::TOO_LITTLE_DISK,
        DataDirError::DirectoryOfAnotherStore { .. }
        | DataDirError::OtherRole { .. }
        | DataDirError::NotEmptyWithoutIdent { .. }
        | DataDirError::DamagedIdent { .. } => &catalogue::BAD_DATA_DIR,
        DataDirError::Io { action, path, cause } => {
            let text = format!("cannot {action} {}", path.display());
            return Fault::new(&catalogue::START_FAILED, text)
                .why(cause.to_string())
                .hint("check its permissions and the disk");
        }
    };
    // The text holds the parts one after the other: what; why. What to do. The reason may be left out.
    let text = error.to_string();
    let (problem, hint) = text.split_once(". ").unwrap_or((&text, entry.remedy));
    let (what, why) = problem.split_once("; ").unwrap_or((problem, entry.cause));
    Fault::new(entry, what).why(why).hint(hint)
}

#[cfg(test)]
mod tests {
    use flotilla_base::{ByteSize, ClusterId, StoreId};
    use flotilla_engine::data_dir::Role;

    use super::*;

    /// Each error with a part of its reason and the begin of its advice.
    fn refusals() -> Vec<(DataDirError, &'static str, &'static str)> {
        let path = || "/data".into();
        let (expected, found) = (ClusterId(1), ClusterId(2));
        let another_cluster =
            DataDirError::DirectoryOfAnotherCluster { path: path(), expected, found };
        let (expected, found) = (StoreId(1), StoreId(2));
        let another_store = DataDirError::DirectoryOfAnotherStore { path: path(), expected, found };
        let (expected, found) = (Role::Pd, Role::Store);
        let other_role = DataDirError::OtherRole { path: path(), expected, found };
        let newer = DataDirError::NewerFormat { path: path(), found: 9, newest_known: 1 };
        let foreign = DataDirError::NotEmptyWithoutIdent { path: path() };
        let damaged = DataDirError::DamagedIdent { path: path(), reason: "no text" };
        let (available, needed) = (ByteSize::mib(1), ByteSize::mib(2));
        let full = DataDirError::TooLittleDisk { path: path(), available, needed };
        vec![
            (DataDirError::InUse { path: path(), pid: Some(7) }, "would destroy it", "Stop"),
            (another_cluster, "corrupt both", "Connect to"),
            (another_store, "never changes", "Choose"),
            (other_role, "Nothing in it was changed.", "Start a store there"),
            (newer, "nothing was changed", "Start a newer"),
            (foreign, "nothing was changed", "Choose an empty"),
            (damaged, "nothing was changed", "Leave the directory"),
            (full, "full disk", "Free some"),
        ]
    }

    #[test]
    fn a_refused_store_is_told_apart_from_a_removed_one() {
        let twin = "store 2 is registered there. Its address is free once it is a tombstone";
        let told = |error| join_fault(&error).to_json()["error"]["code"].clone();
        assert_eq!(told(PdLinkError::Refused(twin.to_owned())), "FLT-1012");
        assert_eq!(told(PdLinkError::Removed("store 2".to_owned())), "FLT-1014");
    }

    #[test]
    fn an_address_that_is_taken_is_told_with_its_option() {
        let address: SocketAddr = "127.0.0.1:20180".parse().expect("an address");
        let in_use = || io::Error::from(io::ErrorKind::AddrInUse);
        for (error, option) in [
            (StoreError::Listen { address, cause: in_use() }, "[\"--listen IP:PORT\"]"),
            (
                StoreError::ListenStatus { address, cause: in_use() },
                "[\"--status-listen IP:PORT\"]",
            ),
        ] {
            let told = store_fault(&error).to_json();
            assert_eq!(
                (&told["error"]["code"], told["error"]["try"].to_string()),
                (&"FLT-1004".into(), option.to_owned())
            );
        }
        let foreign = io::Error::from(io::ErrorKind::AddrNotAvailable);
        let told = store_fault(&StoreError::ListenStatus { address, cause: foreign });
        assert!(told.is(&catalogue::START_FAILED), "{}", told.to_text());
    }

    /// That nothing was changed is no advice.
    #[test]
    fn what_is_wrong_with_a_directory_stands_in_its_part_of_the_error() {
        for (error, why, hint) in refusals() {
            let error = data_dir_fault(&error).to_json();
            let text = |part: &str| error["error"][part].to_string();
            assert!(text("why").contains(why), "{error}");
            assert!(text("try").starts_with(&format!("[\"{hint}")), "{error}");
            assert!(!text("try").contains("changed") && !text("message").contains(';'), "{error}");
        }
    }
}
