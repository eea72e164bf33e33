//! What must, and what must not, stand in files.

use flotilla_tidy::{SourceFile, assert_clean, manifest, markdown, root, source_files};

/// Every place where `is_hit` finds something, as `path:line: text`.
fn hits(files: impl IntoIterator<Item = SourceFile>, is_hit: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        for (number, line) in (1..).zip(file.text.lines()) {
            if is_hit(line) {
                found.push(format!("{}:{number}: {}", file.path, line.trim()));
            }
        }
    }
    found
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
}

fn rust() -> impl Iterator<Item = SourceFile> {
    source_files().into_iter().filter(SourceFile::is_rust)
}

/// Without this file and its kind, whose text is about forbidden words.
fn other_than_tidy() -> impl Iterator<Item = SourceFile> {
    source_files().into_iter().filter(|file| !file.path.starts_with("tests/tidy/"))
}

#[test]
fn nothing_is_left_for_later() {
    let words = ["TODO", "FIXME", "XXX", "HACK"];
    let found = hits(other_than_tidy(), |line| {
        words.iter().any(|word| has_word(line, word)) || line.contains("todo!(")
    });
    assert_clean("work that is left for later", &found);
}

#[test]
fn every_ignored_test_says_why() {
    let found = hits(other_than_tidy(), |line| line.trim_start().starts_with("#[ignore]"));
    assert_clean("ignored without a reason", &found);
}

#[test]
fn the_tree_names_no_machine() {
    let places = ["/root/", "/work/", "/home/", "/Users/", "artifactory", "nexus.", "devpi"];
    let found = hits(other_than_tidy(), |line| places.iter().any(|place| line.contains(place)));
    assert_clean("paths and hosts of somebody's machine", &found);
}

#[test]
fn unsafe_code_lives_in_the_engine() {
    let others = rust().filter(|file| {
        !file.path.starts_with("components/engine/") && !file.path.starts_with("tests/tidy/")
    });
    let found = hits(others, |line| has_word(line, "unsafe") || has_word(line, "unsafe_code"));
    // Words of comments, and of a path of the public protocol.
    let is_word = |hit: &String| hit.contains(": //") || hit.contains("\"/admin/unsafe/");
    let found = found.into_iter().filter(|hit| !is_word(hit)).collect::<Vec<_>>();
    assert_clean("unsafe code outside of the engine", &found);
}

#[test]
fn lints_are_waived_by_expectations() {
    // Generated code may or may not do what is waived for it, so an expectation can not be used there.
    let production = rust().filter(|file| !file.is_test() && file.path != "proto/src/lib.rs");
    let found = hits(production, |line| {
        let line = line.trim_start();
        line.starts_with("#[allow(") || line.starts_with("#![allow(")
    });
    assert_clean("use #[expect(lint, reason = \"…\")]", &found);
}

/// Three stores run in one process: what is global to it is shared by all of them.
#[test]
fn libraries_have_no_global_state() {
    let kinds = ["Atomic", "Mutex", "RwLock", "Cell", "Once", "Lazy"];
    let production = rust().filter(|file| !file.is_test());
    let found = hits(production, |line| {
        let words = line.trim_start().trim_start_matches("pub(crate) ").trim_start_matches("pub ");
        let is_static =
            words.starts_with("static ") && kinds.iter().any(|kind| words.contains(kind));
        is_static || words.starts_with("thread_local!") || words.starts_with("lazy_static!")
    });
    assert_clean("process-global state", &found);
}

#[test]
fn every_library_introduces_itself() {
    let mut complaints = Vec::new();
    for package in manifest::packages() {
        let path = format!("{}/src/lib.rs", package.folder);
        let Ok(text) = std::fs::read_to_string(root().join(&path)) else { continue };
        let lines = text.lines().take_while(|line| line.starts_with("//!"));
        let header = lines.collect::<Vec<_>>().join("\n");
        for needle in ["**Knows nothing of**", "Entry types", "Reading order"] {
            if !header.contains(needle) {
                complaints.push(format!("{path}: the header lacks {needle:?}"));
            }
        }
    }
    assert_clean("purpose, ignorance, entry types, reading order", &complaints);
}

/// A page of promises is worth what its tests are.
#[test]
fn tests_that_are_named_exist() {
    let known: Vec<SourceFile> =
        source_files().into_iter().filter(|file| !file.path.ends_with(".md")).collect();
    let is_known = |name: &str| {
        let (function, bug) = (format!("fn {name}("), format!("\"{name}\""));
        let is_script = |file: &SourceFile| file.path.ends_with(&format!("/testscripts/{name}"));
        known.iter().any(|file| {
            is_script(file) || file.text.contains(&function) || file.text.contains(&bug)
        })
    };
    let page = std::fs::read_to_string(root().join("docs/pitfalls.md")).expect("the page is there");
    let rows = markdown::table(&page);
    assert!(rows.len() >= 19, "pitfalls 10 to 28");
    let tests = rows.iter().filter_map(|row| row.last());
    let names = tests.flat_map(|tests| tests.split('`').skip(1).step_by(2));
    let unknown: Vec<String> = names.filter(|name| !is_known(name)).map(str::to_owned).collect();
    assert_clean("tests that do not exist", &unknown);
}

#[test]
fn links_lead_somewhere() {
    let mut complaints = Vec::new();
    for file in source_files().iter().filter(|file| file.path.ends_with(".md")) {
        let folder = root().join(&file.path);
        let folder = folder.parent().expect("a file lies in a folder");
        for link in markdown::links(&file.text) {
            let path = link.split('#').next().unwrap_or_default();
            let is_elsewhere = path.is_empty() || path.contains("://") || path.contains("mailto:");
            if !is_elsewhere && !folder.join(path).exists() {
                complaints.push(format!("{}: {link}", file.path));
            }
        }
    }
    assert_clean("broken links", &complaints);
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).expect("it is there")
}

#[test]
fn formats_name_every_command_and_key_of_the_placement_driver() {
    let formats = read("docs/formats.md");
    let (_, own) = formats.split_once("## Placement driver").expect("a section");
    let (own, _) = own.split_once("\n## ").expect("it is not the last");
    let commands = read("components/placement/src/meta/command.rs");
    let tags = commands.lines().filter_map(|line| {
        let (name, tag) = line.strip_prefix("const ")?.strip_suffix(';')?.split_once(": u8 = ")?;
        (name != "COMMAND_VERSION").then(|| tag.to_owned())
    });
    let records = read("components/placement/src/meta/record.rs");
    let keys = records.lines().filter_map(|line| {
        let (_, name) = line.split_once("= b\"\\x80")?;
        name.strip_suffix("\";").filter(|name| !name.is_empty()).map(str::to_owned)
    });
    let wanted: Vec<String> = tags
        .map(|tag| format!("\n| {tag} | "))
        .chain(keys.map(|key| format!("\n| `{key}` ")))
        .collect();
    assert!(wanted.len() >= 22, "the search finds what is there: {wanted:?}");
    let missing = wanted.into_iter().filter(|row| !own.contains(row.as_str()));
    assert_clean("rows that docs/formats.md lacks", &missing.collect::<Vec<_>>());
}
