//! The replicated state machine: cluster identity, id and timestamp windows, stores, the bootstrap.
//!
//! Everything is decided when an entry is applied, from the state alone, so that every member decides
//! alike and a command that was proposed twice has its effect once.

mod command;
mod record;
mod refusal;
mod state;
mod store;

pub use command::{MetaChange, MetaCommand};
pub use record::META_PREFIX;
pub use refusal::{MetaError, Refusal};
pub use state::{Answer, Applied, Cluster, EntryPosition, MetaState};
pub use store::{StoreRecord, StoreState};
pub(crate) use store::{read_pairs, read_text, write_pairs};
