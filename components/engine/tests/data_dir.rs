//! A directory is used by the right process, or not at all.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use flotilla_base::{ByteSize, ClusterId, Incarnation, StoreId};
use flotilla_engine::{
    DataDir, DataDirError, LogDeletion,
    data_dir::{Expect, Role},
};
use tempfile::TempDir;

const HOLD_DIR: &str = "FLOTILLA_ENGINE_HOLD_DIR";

fn scratch() -> TempDir {
    tempfile::tempdir().expect("scratch directory")
}

fn store() -> Expect {
    Expect::of(Role::Store)
}

fn open(path: &Path) -> DataDir {
    DataDir::open(path, &store()).expect("open")
}

fn refusal(path: &Path, expect: &Expect) -> DataDirError {
    DataDir::open(path, expect).expect_err("must be refused")
}

/// Every message names the directory, and ends with what to do.
fn assert_message(error: &DataDirError, path: &Path, needles: &[&str]) {
    let message = error.to_string();
    assert!(message.contains(&path.display().to_string()), "{message}");
    for needle in needles {
        assert!(message.contains(needle), "{message:?} lacks {needle:?}");
    }
}

#[test]
fn every_start_is_a_new_incarnation() {
    let scratch = scratch();
    let path = scratch.path().join("deep/store-1");
    for run in 1..=3 {
        let dir = open(&path);
        assert_eq!(dir.incarnation(), Incarnation(run));
        assert_eq!(dir.database_path(), path.join("db"));
        assert!(dir.cluster_id().is_none() && dir.store_id().is_none());
    }
}

#[test]
fn identities_are_claimed_once() {
    let scratch = scratch();
    let mut dir = open(scratch.path());
    dir.claim(ClusterId(7), StoreId(0)).expect("the cluster alone");
    dir.claim(ClusterId(7), StoreId(4)).expect("then the store");
    dir.claim(ClusterId(7), StoreId(4)).expect("again");
    drop(dir);
    let mut dir = open(scratch.path());
    assert_eq!((dir.cluster_id(), dir.store_id()), (ClusterId(7), StoreId(4)));
    let error = dir.claim(ClusterId(8), StoreId(4)).expect_err("another cluster");
    assert_message(
        &error,
        scratch.path(),
        &["cluster 7", "cluster 8", "choose an empty directory"],
    );
    assert!(matches!(
        error,
        DataDirError::DirectoryOfAnotherCluster { expected: ClusterId(8), found: ClusterId(7), .. }
    ));
    let error = dir.claim(ClusterId(7), StoreId(5)).expect_err("another store");
    assert_message(&error, scratch.path(), &["store 4", "store 5"]);
    assert_eq!(dir.ident().store, StoreId(4));
}

#[test]
fn the_log_deletion_mode_is_that_of_the_creation() {
    let scratch = scratch();
    let created = Expect { log_deletion: LogDeletion::Delete, ..store() };
    drop(DataDir::open(scratch.path(), &created).expect("open"));
    assert_eq!(open(scratch.path()).log_deletion(), LogDeletion::Delete);
}

#[test]
fn a_directory_in_use_is_refused() {
    let scratch = scratch();
    let held = open(scratch.path());
    let error = refusal(scratch.path(), &store());
    let pid = std::process::id();
    assert!(matches!(&error, DataDirError::InUse { pid: Some(found), .. } if *found == pid));
    assert_message(&error, scratch.path(), &[&format!("process {pid}"), "Stop the other one"]);
    drop(held);
    assert_eq!(open(scratch.path()).incarnation(), Incarnation(2), "the refusal counted no run");
}

/// Not a test by itself: the body of the process that the next test kills.
#[test]
fn holder() {
    let Ok(path) = std::env::var(HOLD_DIR) else { return };
    let _held = open(Path::new(&path));
    println!("\nheld");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("wait for the killer");
}

#[test]
fn a_dead_process_holds_nothing() {
    let scratch = scratch();
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "holder", "--nocapture"])
        .env(HOLD_DIR, scratch.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start the holder");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    assert!(lines.any(|line| line.expect("line") == "held"));
    let error = refusal(scratch.path(), &store());
    assert!(matches!(error, DataDirError::InUse { pid: Some(pid), .. } if pid == child.id()));
    child.kill().expect("kill");
    child.wait().expect("wait");
    assert_eq!(open(scratch.path()).incarnation(), Incarnation(2));
}

#[test]
fn another_role_is_refused() {
    let scratch = scratch();
    drop(open(scratch.path()));
    let error = refusal(scratch.path(), &Expect::of(Role::Pd));
    assert!(matches!(
        error,
        DataDirError::OtherRole { expected: Role::Pd, found: Role::Store, .. }
    ));
    assert_message(&error, scratch.path(), &["belongs to a store", "Start a store there"]);
    assert_eq!(open(scratch.path()).incarnation(), Incarnation(2), "the refusal changed nothing");
}

#[test]
fn a_newer_format_is_refused() {
    let scratch = scratch();
    let newer = Expect { format_version: 9, ..store() };
    drop(DataDir::open(scratch.path(), &newer).expect("open"));
    let ident = fs::read(scratch.path().join("ident")).expect("ident");
    let error = refusal(scratch.path(), &store());
    assert!(matches!(error, DataDirError::NewerFormat { found: 9, newest_known: 1, .. }));
    assert_message(&error, scratch.path(), &["format 9", "up to 1", "Start a newer Flotilla"]);
    assert_eq!(fs::read(scratch.path().join("ident")).expect("ident"), ident);
}

#[test]
fn a_foreign_directory_is_refused() {
    let scratch = scratch();
    fs::write(scratch.path().join("holiday.jpg"), "sea").expect("write");
    let error = refusal(scratch.path(), &store());
    assert!(matches!(error, DataDirError::NotEmptyWithoutIdent { .. }));
    assert_message(&error, scratch.path(), &["not empty", "Choose an empty directory"]);
    assert!(!scratch.path().join("ident").exists());
}

#[test]
fn a_lost_ident_is_noticed_and_a_start_that_died_is_not_in_the_way() {
    let scratch = scratch();
    fs::write(scratch.path().join("LOCK"), "4711").expect("write");
    fs::write(scratch.path().join("ident.new"), "half an id").expect("write");
    let dir = open(scratch.path());
    fs::create_dir(dir.database_path()).expect("create");
    drop(dir);
    fs::remove_file(scratch.path().join("ident")).expect("remove");
    let error = refusal(scratch.path(), &store());
    assert!(matches!(error, DataDirError::NotEmptyWithoutIdent { .. }));
}

#[test]
fn any_damage_of_the_ident_is_noticed() {
    let scratch = scratch();
    drop(open(scratch.path()));
    let path = scratch.path().join("ident");
    let intact = fs::read(&path).expect("ident");
    let newline_at_end = intact.len() - 1;
    for position in 0..newline_at_end {
        let mut damaged = intact.clone();
        damaged[position] ^= 0x01;
        fs::write(&path, &damaged).expect("damage");
        let error = refusal(scratch.path(), &store());
        assert!(matches!(error, DataDirError::DamagedIdent { .. }), "byte {position}: {error}");
        fs::write(&path, &intact[..position]).expect("cut");
        let error = refusal(scratch.path(), &store());
        assert!(matches!(error, DataDirError::DamagedIdent { .. }), "cut at {position}: {error}");
    }
    fs::write(&path, [0xff; 100]).expect("damage");
    let error = refusal(scratch.path(), &store());
    assert_message(
        &error,
        scratch.path(),
        &["damaged", "nothing was changed", "do not start with an empty one"],
    );
    fs::write(&path, vec![b'x'; 1 << 20]).expect("damage");
    assert!(matches!(refusal(scratch.path(), &store()), DataDirError::DamagedIdent { .. }));
    fs::write(&path, &intact).expect("repair");
    assert_eq!(open(scratch.path()).incarnation(), Incarnation(2));
}

#[test]
fn a_full_volume_is_refused() {
    let scratch = scratch();
    let greedy = Expect { free_min: ByteSize(u64::MAX), ..store() };
    let error = refusal(scratch.path(), &greedy);
    assert!(matches!(error, DataDirError::TooLittleDisk { .. }));
    assert_message(&error, scratch.path(), &["free", "needed", "Free some space"]);
    assert!(!scratch.path().join("ident").exists(), "nothing was created");
}

/// Stages that were not finished may be what has filled it.
#[test]
fn what_was_not_finished_goes_before_a_full_volume_is_refused() {
    let scratch = scratch();
    let stages = open(scratch.path()).stages_path();
    for name in ["3.new", "4"] {
        fs::create_dir_all(stages.join(name)).expect("create");
        fs::write(stages.join(name).join("raw-1.sst"), "data").expect("write");
    }
    let greedy = Expect { free_min: ByteSize(u64::MAX), ..store() };
    let error = refusal(scratch.path(), &greedy);
    assert!(matches!(error, DataDirError::TooLittleDisk { .. }));
    assert!(!stages.join("3.new").exists(), "its room is free");
    assert!(stages.join("4").exists(), "a peer may need it");
}

#[test]
fn a_file_in_the_way_is_named() {
    let scratch = scratch();
    let path = scratch.path().join("file");
    fs::write(&path, "").expect("write");
    let error = refusal(&path, &store());
    assert_message(&error, &path, &["cannot create", "permissions"]);
}
