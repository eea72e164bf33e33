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
        PdLinkError::Refused(why) => {
            let text = "the placement driver refuses this store";
            Fault::new(&catalogue::STORE_REFUSED, text)
                .why(why)
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
    // The text holds the three parts one after the other: what; why. What to do.
    let text = error.to_string();
    let (what, rest) = text.split_once("; ").unwrap_or((&text, entry.cause));
    let (why, hint) = rest.split_once(". ").unwrap_or((rest, entry.remedy));
    Fault::new(entry, what).why(why).hint(hint)
}
