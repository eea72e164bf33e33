//! Manifests, the lock file, and the table of crates in `docs/architecture.md`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use toml::Table;

use crate::{markdown, tree::root};

/// What the names of our packages begin with.
const PREFIX: &str = "flotilla-";

/// A package of the workspace.
#[derive(Clone, Debug)]
pub struct Package {
    /// Name without the prefix.
    pub name: String,
    /// Its folder, from the root.
    pub folder: String,
    /// Our packages that it depends on outside of tests, by name without the prefix.
    pub ours: BTreeSet<String>,
    /// Other packages that it depends on outside of tests.
    pub others: BTreeSet<String>,
}

/// One row of the table of crates.
#[derive(Clone, Debug)]
pub struct Row {
    /// Dependencies point to lower floors.
    pub floor: u32,
    /// Name without the prefix.
    pub name: String,
    /// Its folder, from the root.
    pub folder: String,
    /// Whether it is a pure crate.
    pub is_pure: bool,
    /// Our packages that it may depend on.
    pub ours: BTreeSet<String>,
    /// Other packages that it may depend on.
    pub others: BTreeSet<String>,
}

/// The packages of the workspace.
///
/// # Panics
/// Where a manifest can not be read.
#[must_use]
pub fn packages() -> Vec<Package> {
    let manifest = read_table("Cargo.toml");
    let members = manifest["workspace"]["members"].as_array().expect("a list of members");
    let members = members.iter().map(|member| member.as_str().expect("members are texts"));
    members.flat_map(expand).map(|folder| package(&folder)).collect()
}

fn expand(member: &str) -> Vec<String> {
    let Some(parent) = member.strip_suffix("/*") else { return vec![member.to_owned()] };
    let entries = fs::read_dir(root().join(parent)).expect("folder of members");
    let names = entries.map(|entry| entry.expect("entry").file_name());
    let mut folders: Vec<String> =
        names.map(|name| format!("{parent}/{}", name.to_string_lossy())).collect();
    folders.retain(|folder| root().join(folder).join("Cargo.toml").is_file());
    folders.sort();
    folders
}

fn package(folder: &str) -> Package {
    let manifest = read_table(&format!("{folder}/Cargo.toml"));
    let name = manifest["package"]["name"].as_str().expect("a package has a name");
    let mut dependencies = BTreeSet::new();
    for section in ["dependencies", "build-dependencies"] {
        if let Some(table) = manifest.get(section).and_then(toml::Value::as_table) {
            dependencies.extend(table.keys().cloned());
        }
    }
    let (ours, others) = dependencies.into_iter().partition(|name| is_ours(name));
    Package { name: short(name), folder: folder.to_owned(), ours: shorten(ours), others }
}

fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX)
}

fn short(name: &str) -> String {
    name.strip_prefix(PREFIX).unwrap_or(name).to_owned()
}

fn shorten(names: BTreeSet<String>) -> BTreeSet<String> {
    names.iter().map(|name| short(name)).collect()
}

/// The table of crates: the law about dependencies.
///
/// # Panics
/// Where it is missing or malformed.
#[must_use]
pub fn crate_table() -> Vec<Row> {
    let text = fs::read_to_string(root().join("docs/architecture.md")).expect("architecture");
    let (_, behind) = text.split_once("<!-- crate table").expect("the table is marked");
    let rows = markdown::table(behind);
    rows.iter().map(|cells| row(cells)).collect()
}

fn row(cells: &[String]) -> Row {
    let [floor, name, folder, kind, ours, others, ignorance] = cells else {
        panic!("a row of the crate table has seven cells: {cells:?}")
    };
    assert!(!ignorance.is_empty(), "{name}: what does it know nothing of?");
    Row {
        floor: floor.parse().expect("a floor is a number"),
        name: name.clone(),
        folder: folder.clone(),
        is_pure: match kind.as_str() {
            "pure" => true,
            "shell" => false,
            other => panic!("{name}: {other:?} is no kind of crate"),
        },
        ours: names(ours),
        others: names(others),
    }
}

fn names(cell: &str) -> BTreeSet<String> {
    let names = cell.split(',').map(str::trim).filter(|name| !name.is_empty() && *name != "–");
    names.map(str::to_owned).collect()
}

/// What each locked package depends on directly, tests included: full names.
///
/// # Panics
/// Where the lock file can not be read.
#[must_use]
pub fn locked_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let lock = read_table("Cargo.lock");
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in lock["package"].as_array().expect("locked packages") {
        let name = package["name"].as_str().expect("a locked package has a name");
        let dependencies = package.get("dependencies").and_then(toml::Value::as_array);
        // An entry is `name` or `name version`: versions of one name count as one package here.
        let dependencies = dependencies
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.as_str()?.split(' ').next().map(str::to_owned));
        graph.entry(name.to_owned()).or_default().extend(dependencies);
    }
    graph
}

/// A chain of dependencies from `from` to `to`; empty where there is none.
#[must_use]
pub fn path_between(
    graph: &BTreeMap<String, BTreeSet<String>>,
    from: &str,
    to: &str,
) -> Vec<String> {
    let mut reached_from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut open = vec![from];
    while let Some(name) = open.pop() {
        if name == to {
            let back = std::iter::successors(Some(name), |at| reached_from.get(at).copied());
            let mut path: Vec<String> = back.map(str::to_owned).collect();
            path.reverse();
            return path;
        }
        for next in graph.get(name).into_iter().flatten() {
            if next != from && !reached_from.contains_key(next.as_str()) {
                reached_from.insert(next, name);
                open.push(next);
            }
        }
    }
    Vec::new()
}

fn read_table(path: &str) -> Table {
    let text = fs::read_to_string(root().join(path));
    let text = text.unwrap_or_else(|cause| panic!("{path}: {cause}"));
    text.parse().unwrap_or_else(|cause| panic!("{path}: {cause}"))
}
