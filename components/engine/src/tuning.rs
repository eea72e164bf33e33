//! What RocksDB is told, and why. Sizes come from `EngineOptions`; everything else is fixed here.

use flotilla_base::Family;
use rocksdb::{
    AsRawPtr as _, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType,
    DBRecoveryMode, LogLevel, Options,
};

use crate::{EngineOptions, MemtableOptions};

const BLOCK_BYTES: usize = 16 << 10;
const LOG_BLOCK_BYTES: usize = 32 << 10;
const BLOOM_BITS_PER_KEY: f64 = 10.0;
/// Write-back of dirty pages starts after so many bytes, so that a sync finds little left to do.
const WAL_BYTES_PER_SYNC: u64 = 512 << 10;
const TABLE_BYTES_PER_SYNC: u64 = 1 << 20;
const INFO_LOG_BYTES: usize = 4 << 20;
/// Larger than the number of level-0 files that can ever exist: the trigger is off.
const TRIGGER_OFF: i32 = 1 << 30;

/// Options of the database as a whole.
pub(crate) fn database_options(options: &EngineOptions) -> Options {
    let mut database = Options::default();
    database.create_if_missing(true);
    database.create_missing_column_families(true);
    database.set_paranoid_checks(true);

    // A crash leaves a prefix of the order of writes: recovery stops at the first damaged record, and at a
    // log whose predecessor did not come back whole. A log that was synced and closed is refused where it is
    // missing or shorter than it was then.
    database.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    database.set_track_and_verify_wals_in_manifest(true);
    set_verify_log_before(&mut database, true);
    database.set_recycle_log_file_num(0);
    // Every write reaches the operating system before it returns, so that the death of the process
    // alone loses nothing; `Engine::sync` guards against the death of the machine.
    database.set_manual_wal_flush(false);
    database.set_wal_bytes_per_sync(WAL_BYTES_PER_SYNC);
    database.set_bytes_per_sync(TABLE_BYTES_PER_SYNC);
    database.set_max_total_wal_size(options.wal_total_bytes_max());
    // The WAL append of one group overlaps the memtable insertion of the group before. Unordered
    // writes would break the immutability of snapshots.
    database.set_enable_pipelined_write(true);
    // Two threads write at most, each into families of its own. One writer at a time finds the place of
    // the next log entry right behind the last one, instead of searching the whole memtable for it.
    database.set_allow_concurrent_memtable_write(false);
    // Waiting writers sleep instead of spinning: on few cores a spin only delays whom it waits for.
    database.set_enable_write_thread_adaptive_yield(false);
    database.set_unordered_write(false);
    // Atomic flush would force `min_write_buffer_number_to_merge` to 1; one WAL makes it needless.
    database.set_atomic_flush(false);

    database.set_max_open_files(i32::try_from(options.open_files_max).unwrap_or(i32::MAX));
    database.set_max_background_jobs(i32::try_from(options.background_jobs).unwrap_or(i32::MAX));
    database.set_avoid_unnecessary_blocking_io(true);

    database.set_log_level(LogLevel::Warn);
    database.set_keep_log_file_num(2);
    database.set_max_log_file_size(INFO_LOG_BYTES);
    // No periodic statistics: an idle store does nothing.
    database.set_stats_dump_period_sec(0);
    database.set_stats_persist_period_sec(0);
    database
}

/// Options for a database that has no log: [`database_options`] would refuse it.
pub(crate) fn options_without_log(options: &EngineOptions) -> Options {
    let mut database = database_options(options);
    set_verify_log_before(&mut database, false);
    database
}

/// Lets each log begin with number, size and last sequence number of the one before it, and recovery stop at
/// a log that says something else than what came back. A power cut may take the end of a log with it that was
/// closed and not synced yet, and leave a part of the next one; nothing else notices that gap.
fn set_verify_log_before(database: &mut Options, is_on: bool) {
    #[expect(unsafe_code, reason = "the crate has no setter for it")]
    // SAFETY: the pointer is the one that `database` owns until its end, and nobody else uses it meanwhile:
    // the borrow is exclusive. The call stores one byte.
    unsafe {
        librocksdb_sys::rocksdb_options_set_track_and_verify_wals(
            database.as_raw_ptr(),
            u8::from(is_on),
        );
    }
}

/// One descriptor for each family; all share one block cache.
pub(crate) fn families(options: &EngineOptions) -> Vec<ColumnFamilyDescriptor> {
    let cache_bytes = usize::try_from(options.block_cache.bytes()).unwrap_or(usize::MAX);
    let cache = Cache::new_lru_cache(cache_bytes);
    let describe = |family| {
        let tuned = match family {
            Family::Raw | Family::Default | Family::Lock | Family::Write => {
                data_family(options.data_memtables, &cache)
            }
            Family::RaftLog => log_family(options.log_memtables, &cache),
            Family::RaftMeta => meta_family(options.meta_memtables, &cache),
        };
        ColumnFamilyDescriptor::new(family.name(), tuned)
    };
    Family::ALL.into_iter().map(describe).collect()
}

fn data_family(memtables: MemtableOptions, cache: &Cache) -> Options {
    let mut family = any_family(memtables);
    let mut table = any_table(cache, BLOCK_BYTES);
    table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
    family.set_block_based_table_factory(&table);
    family
}

/// Options for tables that are written beside the database and become part of a data family.
pub(crate) fn staged_tables() -> Options {
    let mut tables = Options::default();
    tables.set_compression_type(DBCompressionType::Lz4);
    let mut table = BlockBasedOptions::default();
    table.set_block_size(BLOCK_BYTES);
    table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
    tables.set_block_based_table_factory(&table);
    tables
}

fn log_family(memtables: MemtableOptions, cache: &Cache) -> Options {
    let mut family = any_family(memtables);
    // Two memtables are merged into one flush, so that entries and their deletions meet in memory.
    family.set_min_write_buffer_number_to_merge(2.min(clamp(memtables.count)));
    // No filter: every key that is asked for exists, and most reads are scans.
    family.set_block_based_table_factory(&any_table(cache, LOG_BLOCK_BYTES));
    family
}

fn meta_family(memtables: MemtableOptions, cache: &Cache) -> Options {
    let mut family = any_family(memtables);
    let mut table = any_table(cache, BLOCK_BYTES);
    table.set_bloom_filter(BLOOM_BITS_PER_KEY, false);
    family.set_block_based_table_factory(&table);
    family
}

fn any_family(memtables: MemtableOptions) -> Options {
    let mut family = Options::default();
    let memtable_bytes = usize::try_from(memtables.size.bytes()).unwrap_or(usize::MAX);
    family.set_write_buffer_size(memtable_bytes);
    family.set_max_write_buffer_number(clamp(memtables.count));
    family.set_level_compaction_dynamic_level_bytes(true);
    family.set_compression_per_level(&[
        DBCompressionType::None,
        DBCompressionType::None,
        DBCompressionType::Lz4,
        DBCompressionType::Lz4,
        DBCompressionType::Lz4,
        DBCompressionType::Lz4,
        DBCompressionType::Lz4,
    ]);
    // RocksDB stalls the whole database, not one family: compaction debt of user data must never
    // stop raft from writing its log, so these brakes are off. Slowing clients down where they come in is the
    // owner's work, by `EngineStats`. Full memtables still stop writes: that is the bound of memory.
    family.set_level_zero_slowdown_writes_trigger(TRIGGER_OFF);
    family.set_level_zero_stop_writes_trigger(TRIGGER_OFF);
    family.set_soft_pending_compaction_bytes_limit(0);
    family.set_hard_pending_compaction_bytes_limit(0);
    family
}

fn any_table(cache: &Cache, block_bytes: usize) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_size(block_bytes);
    table.set_block_cache(cache);
    // Indexes and filters count against the cache, so that memory stays bounded by its size.
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table
}

fn clamp(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
