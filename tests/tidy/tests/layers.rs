//! Who may know whom: the table of crates in `docs/architecture.md` against the manifests.

use std::{collections::BTreeMap, fs};

use flotilla_tidy::{
    assert_clean,
    manifest::{self, Row},
    root,
};

/// The crates that may link RocksDB. All others never reach it, not even through dev-dependencies.
const MAY_REACH_ROCKSDB: [&str; 4] = ["engine", "store", "pd", "flotilla"];

fn table() -> BTreeMap<String, Row> {
    manifest::crate_table().into_iter().map(|row| (row.name.clone(), row)).collect()
}

#[test]
fn every_crate_depends_on_what_the_table_allows() {
    let table = table();
    let mut complaints = Vec::new();
    for package in manifest::packages() {
        let Some(row) = table.get(&package.name) else {
            complaints.push(format!("{} is not in the table", package.name));
            continue;
        };
        if row.folder != package.folder {
            complaints.push(format!("{} lies in {}", package.name, package.folder));
        }
        for name in package.ours.difference(&row.ours).chain(package.others.difference(&row.others))
        {
            complaints.push(format!("{} must not depend on {name}", package.name));
        }
    }
    assert_clean("dependencies that docs/architecture.md does not allow", &complaints);
}

/// What nobody uses is no law: whoever needs it asks for it then.
#[test]
fn the_table_allows_nothing_that_nobody_uses() {
    let packages = manifest::packages();
    let mut complaints = Vec::new();
    for row in table().values() {
        let Some(package) = packages.iter().find(|package| package.name == row.name) else {
            continue;
        };
        for name in row.ours.difference(&package.ours).chain(row.others.difference(&package.others))
        {
            complaints.push(format!("{} does not depend on {name}", row.name));
        }
    }
    assert_clean("dependencies that docs/architecture.md allows and nobody has", &complaints);
}

#[test]
fn the_table_points_downwards() {
    let table = table();
    let mut complaints = Vec::new();
    for row in table.values() {
        for below in &row.ours {
            match table.get(below) {
                Some(other) if other.floor < row.floor && (!row.is_pure || other.is_pure) => {}
                _ => complaints.push(format!("{} may not know {below}", row.name)),
            }
        }
    }
    assert_clean(
        "edges that do not point to a lower floor, or from pure crates to shells",
        &complaints,
    );
}

#[test]
fn the_table_lists_no_crate_that_is_gone() {
    let packages: Vec<String> = manifest::packages().into_iter().map(|it| it.name).collect();
    let gone = table().into_keys().filter(|name| !packages.contains(name)).collect::<Vec<_>>();
    assert_clean("crates of the table that do not exist", &gone);
}

#[test]
fn only_shells_above_the_engine_reach_rocksdb() {
    let graph = manifest::locked_dependencies();
    let mut complaints = Vec::new();
    for package in manifest::packages() {
        if MAY_REACH_ROCKSDB.contains(&package.name.as_str()) {
            continue;
        }
        let full_name = format!("flotilla-{}", package.name);
        assert!(graph.contains_key(&full_name), "{full_name} is not in the lock file");
        let path = manifest::path_between(&graph, &full_name, "rocksdb");
        if !path.is_empty() {
            complaints.push(path.join(" → "));
        }
    }
    assert_clean("ways to RocksDB", &complaints);
    let engine = manifest::path_between(&graph, "flotilla-engine", "rocksdb");
    assert_eq!(engine, ["flotilla-engine", "rocksdb"], "the search finds what is there");
}

/// What plants mistakes on purpose: for the board of docs/testing.md alone.
const SEEDED_BUGS: &str = "seeded-bugs";

#[test]
fn no_release_can_carry_a_planted_bug() {
    let mut complaints = Vec::new();
    let packages = manifest::packages();
    let mut paths: Vec<String> =
        packages.iter().map(|it| format!("{}/Cargo.toml", it.folder)).collect();
    paths.push("Cargo.toml".to_owned());
    let mut found = Vec::new();
    for path in &paths {
        let text = fs::read_to_string(root().join(path)).expect("manifest");
        let lines = text.lines().filter(|line| line.contains(SEEDED_BUGS));
        found.extend(lines.map(|line| format!("{path}: {line}")));
    }
    // The feature, the simulator's word for it, and the test program that needs it. Nothing is on by default.
    let allowed = [
        "components/base/Cargo.toml: seeded-bugs = []",
        "components/sim/Cargo.toml: required-features = [\"seeded-bugs\"]",
        "components/sim/Cargo.toml: seeded-bugs = [\"flotilla-base/seeded-bugs\"]",
    ];
    complaints.extend(found.iter().filter(|it| !allowed.contains(&it.as_str())).cloned());
    assert_clean("who turns the planted bugs on", &complaints);
    for line in allowed {
        assert!(found.iter().any(|it| it == line), "the search finds {line:?}");
    }
    let users = packages.iter().filter(|package| package.ours.contains("sim"));
    let users: Vec<String> = users.map(|package| package.folder.clone()).collect();
    assert_clean("packages that depend on the simulator", &users);
    let makefile = fs::read_to_string(root().join("Makefile")).expect("commands");
    let lines = makefile.lines().filter(|line| line.contains(SEEDED_BUGS));
    let others = lines.filter(|line| !line.starts_with("BOARD := "));
    assert_clean("commands that turn them on", &others.map(str::to_owned).collect::<Vec<_>>());
}

#[test]
fn every_package_comes_from_the_public_registry() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("lock file");
    let sources = lock.lines().filter(|line| line.starts_with("source = "));
    let foreign = sources.filter(|line| !line.contains("github.com/rust-lang/crates.io-index"));
    assert_clean("foreign sources", &foreign.map(str::to_owned).collect::<Vec<_>>());
}

#[test]
fn pure_crates_have_the_same_lints() {
    let root_lints = fs::read_to_string(root().join(".clippy.toml")).expect("lints of the root");
    let mut complaints = Vec::new();
    let mut first: Option<(String, String)> = None;
    for row in table().values().filter(|row| row.is_pure) {
        let path = format!("{}/clippy.toml", row.folder);
        let Ok(lints) = fs::read_to_string(root().join(&path)) else {
            complaints.push(format!("{path} is missing"));
            continue;
        };
        // Clippy reads the nearest file only, so the keys of the root stand in each of them.
        let missing = root_lints.lines().filter(|line| !lints.lines().any(|own| own == *line));
        complaints.extend(missing.map(|line| format!("{path} lacks {line:?}")));
        match &first {
            None => first = Some((path, lints)),
            Some((other, expected)) if *expected != lints => {
                complaints.push(format!("{path} differs from {other}"));
            }
            Some(_) => {}
        }
    }
    assert_clean("lints of the pure crates", &complaints);
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let mut complaints = Vec::new();
    for package in manifest::packages() {
        let path = root().join(&package.folder).join("Cargo.toml");
        let text = fs::read_to_string(path).expect("manifest");
        if !text.contains("[lints]\nworkspace = true") {
            complaints.push(package.folder);
        }
    }
    assert_clean("crates without [lints] workspace = true", &complaints);
}

/// Where the region table has its lock, and what would let its guard out or run something foreign below it.
const TABLE: &str = "components/store/src/shared_table.rs";
const LETS_OUT: [&str; 6] = ["Guard", "Fn", "fn(", "dyn ", ".lock()", "&mut RegionTable"];

/// Pitfall P18: no second lock can be taken where the table's is held, so there is no second order.
#[test]
fn the_region_tables_lock_never_leaves_its_file() {
    let files = flotilla_tidy::source_files();
    let is_shell = |path: &str| path.starts_with("components/store/src/");
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| is_shell(&file.path)) {
        let lines: Vec<&str> = file.production_lines().collect();
        let is_home = file.path == TABLE;
        let locks = lines.iter().filter(|line| line.contains("<RegionTable>"));
        let foreign = locks.filter(|_| !is_home);
        complaints.extend(foreign.map(|line| format!("{}: {line}", file.path)));
        if is_home {
            let found = lines.iter().filter(|line| LETS_OUT.iter().any(|it| line.contains(it)));
            complaints.extend(found.map(|line| format!("{TABLE}: {line}")));
            assert!(lines.iter().any(|line| line.contains("RwLock<RegionTable>")), "it is there");
        }
    }
    assert_clean("ways of the region table's lock out of its file", &complaints);
}
