//! Commands: the payload of the placement driver's log entries.

use bytes::Bytes;
use flotilla_base::{
    ClusterId, StoreId, Term,
    codec::{CodecError, RecordReader, RecordWriter},
};

use super::{
    Cluster, StoreRecord,
    store::{read_pairs, write_pairs},
};
use crate::{BootstrapPlan, RuleBook, SchedulerName, SchedulerPolicy, StorePolicy};

/// Newest format of a command that this program reads and writes.
const COMMAND_VERSION: u8 = 1;

/// What a command changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetaChange {
    /// Gives the cluster its identity, once.
    InitCluster(Cluster),
    /// Takes so many ids out of the id space.
    AllocWindow {
        /// How many.
        ids: u64,
    },
    /// Allows timestamps below this physical time.
    TsoWindow {
        /// First physical time, in milliseconds since 1970, that may *not* be handed out.
        end_ms: u64,
    },
    /// Registers a store or a new run of it.
    PutStore(StoreRecord),
    /// Makes the first regions, once.
    Bootstrap(BootstrapPlan),
    /// A store is to leave: its regions are moved away from now on.
    RemoveStore(StoreId),
    /// Nothing is left on a store that was to leave: it is gone for good, and its address is free.
    BuryStore(StoreId),
    /// A store that was to leave stays.
    KeepStore(StoreId),
    /// Stores that are gone for good are listed no more, all or none. Their ids are never free again.
    ForgetStores(Vec<StoreId>),
    /// Sets settings, all or none: names and values.
    Set(Vec<(String, String)>),
    /// How a store is to be treated.
    TreatStore(StoreId, StorePolicy),
    /// How a scheduler runs; `None` where it is not to run.
    Schedule(SchedulerName, Option<SchedulerPolicy>),
    /// Replaces all placement rules.
    PutRules {
        /// Of the rules that are replaced: others are not.
        revision: u64,
        /// The new ones. Their revision does not count: it is the next one.
        book: RuleBook,
    },
    /// This store is slow, and leads are to leave it; `None` where none is.
    NoteSlow(Option<StoreId>),
}

/// A change together with the term of its proposer.
///
/// A command applied under another term was decided by a leader who no longer knew the state: it is
/// discarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaCommand {
    /// The proposer's term.
    pub term: Term,
    /// What to change.
    pub change: MetaChange,
}

const INIT_CLUSTER: u8 = 1;
const ALLOC_WINDOW: u8 = 2;
const TSO_WINDOW: u8 = 3;
const PUT_STORE: u8 = 4;
const BOOTSTRAP: u8 = 5;
const REMOVE_STORE: u8 = 6;
const BURY_STORE: u8 = 7;
const KEEP_STORE: u8 = 8;
const SET: u8 = 9;
const TREAT_STORE: u8 = 10;
const SCHEDULE: u8 = 11;
const PUT_RULES: u8 = 12;
const NOTE_SLOW: u8 = 13;
const FORGET_STORES: u8 = 14;

impl MetaCommand {
    /// The bytes of a log entry.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut writer = RecordWriter::new(COMMAND_VERSION);
        writer.number(self.term.get());
        match &self.change {
            MetaChange::InitCluster(cluster) => {
                writer.byte(INIT_CLUSTER);
                write_cluster(*cluster, &mut writer);
            }
            MetaChange::AllocWindow { ids } => {
                writer.byte(ALLOC_WINDOW).number(*ids);
            }
            MetaChange::TsoWindow { end_ms } => {
                writer.byte(TSO_WINDOW).number(*end_ms);
            }
            MetaChange::PutStore(store) => store.write(writer.byte(PUT_STORE)),
            MetaChange::Bootstrap(plan) => plan.write(writer.byte(BOOTSTRAP)),
            MetaChange::RemoveStore(store) => {
                writer.byte(REMOVE_STORE).number(store.get());
            }
            MetaChange::BuryStore(store) => {
                writer.byte(BURY_STORE).number(store.get());
            }
            MetaChange::KeepStore(store) => {
                writer.byte(KEEP_STORE).number(store.get());
            }
            MetaChange::ForgetStores(stores) => {
                writer.byte(FORGET_STORES).number(stores.len() as u64);
                stores.iter().for_each(|store| _ = writer.number(store.get()));
            }
            MetaChange::Set(settings) => write_pairs(settings, writer.byte(SET)),
            MetaChange::TreatStore(store, policy) => {
                policy.write(writer.byte(TREAT_STORE).number(store.get()));
            }
            MetaChange::Schedule(name, policy) => {
                name.write(writer.byte(SCHEDULE));
                writer.byte(u8::from(policy.is_some()));
                if let Some(policy) = policy {
                    policy.write(&mut writer);
                }
            }
            MetaChange::PutRules { revision, book } => {
                book.write(writer.byte(PUT_RULES).number(*revision));
            }
            MetaChange::NoteSlow(store) => {
                // No store has the id 0.
                writer.byte(NOTE_SLOW).number(store.map_or(0, StoreId::get));
            }
        }
        writer.finish()
    }

    /// Reads the bytes of a log entry.
    ///
    /// # Errors
    /// [`CodecError`] where they are no command this program knows. The program must then stop before
    /// it has any effect: other members may have applied it.
    pub fn decode(bytes: &Bytes) -> Result<Self, CodecError> {
        let mut reader = RecordReader::open(bytes, COMMAND_VERSION)?;
        let term = Term(reader.number()?);
        let change = match reader.byte()? {
            INIT_CLUSTER => MetaChange::InitCluster(read_cluster(&mut reader)?),
            ALLOC_WINDOW => MetaChange::AllocWindow { ids: reader.number()? },
            TSO_WINDOW => MetaChange::TsoWindow { end_ms: reader.number()? },
            PUT_STORE => MetaChange::PutStore(StoreRecord::read(&mut reader)?),
            BOOTSTRAP => MetaChange::Bootstrap(BootstrapPlan::read(&mut reader)?),
            REMOVE_STORE => MetaChange::RemoveStore(StoreId(reader.number()?)),
            BURY_STORE => MetaChange::BuryStore(StoreId(reader.number()?)),
            KEEP_STORE => MetaChange::KeepStore(StoreId(reader.number()?)),
            SET => MetaChange::Set(read_pairs(&mut reader)?),
            TREAT_STORE => {
                let store = StoreId(reader.number()?);
                MetaChange::TreatStore(store, StorePolicy::read(&mut reader)?)
            }
            SCHEDULE => {
                let name = SchedulerName::read(&mut reader)?;
                let policy = match reader.byte()? {
                    0 => None,
                    1 => Some(SchedulerPolicy::read(&mut reader)?),
                    _ => return Err(CodecError::Meaningless("scheduler that runs or not")),
                };
                MetaChange::Schedule(name, policy)
            }
            PUT_RULES => {
                let revision = reader.number()?;
                MetaChange::PutRules { revision, book: RuleBook::read(&mut reader)? }
            }
            NOTE_SLOW => {
                let store = StoreId(reader.number()?);
                MetaChange::NoteSlow(Some(store).filter(|store| !store.is_none()))
            }
            FORGET_STORES => {
                // No capacity from the count: it comes from outside and may be nonsense.
                let count = reader.number()?;
                let mut stores = Vec::new();
                for _store in 0..count {
                    stores.push(StoreId(reader.number()?));
                }
                MetaChange::ForgetStores(stores)
            }
            _ => return Err(CodecError::Meaningless("kind of command")),
        };
        reader.finish()?;
        Ok(Self { term, change })
    }
}

pub(super) fn write_cluster(cluster: Cluster, writer: &mut RecordWriter) {
    writer.number(cluster.id.get()).number(u64::from(cluster.max_replicas));
}

pub(super) fn read_cluster(reader: &mut RecordReader) -> Result<Cluster, CodecError> {
    let id = ClusterId(reader.number()?);
    let max_replicas = u32::try_from(reader.number()?)
        .map_err(|_too_large| CodecError::Meaningless("replica count"))?;
    Ok(Cluster { id, max_replicas })
}
