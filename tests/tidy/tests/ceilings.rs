//! Sizes: what is too big to be read is split, or waived with a reason where a tool allows it.

use flotilla_tidy::{
    SourceFile, assert_clean,
    rust::{Kind, items},
    source_files,
};

const FILE_LINES_MAX: usize = 800;
const BODY_LINES_MAX: usize = 100;
const PARAMETERS_MAX: usize = 5;
const FIELDS_MAX: usize = 12;
const VARIANTS_MAX: usize = 16;
const MACROS_MAX: usize = 6;
const TRAITS_OF_A_CRATE_MAX: usize = 5;
const LONG_FUNCTION_WAIVERS_MAX: usize = 15;

fn production() -> Vec<SourceFile> {
    source_files().into_iter().filter(|file| file.is_rust() && !file.is_test()).collect()
}

fn count(files: &[SourceFile], is_counted: impl Fn(&str) -> bool) -> usize {
    files.iter().flat_map(SourceFile::production_lines).filter(|line| is_counted(line)).count()
}

#[test]
fn files_are_short() {
    let mut complaints = Vec::new();
    for file in production() {
        let lines = file.production_lines().count();
        if lines > FILE_LINES_MAX {
            complaints.push(format!("{}: {lines} lines", file.path));
        }
    }
    assert_clean(&format!("files above {FILE_LINES_MAX} lines"), &complaints);
}

#[test]
fn functions_structs_and_enums_are_small() {
    let mut complaints = Vec::new();
    for file in production() {
        let lines: Vec<&str> = file.production_lines().collect();
        for item in items(&lines) {
            let mut check = |what: &str, size: usize, max: usize| {
                if size > max {
                    let (path, line, name) = (&file.path, item.line, &item.name);
                    complaints
                        .push(format!("{path}:{line}: {name} has {size} {what}, at most {max}"));
                }
            };
            match item.kind {
                Kind::Function { body_lines, parameters } => {
                    check("lines", body_lines, BODY_LINES_MAX);
                    check("parameters", parameters, PARAMETERS_MAX);
                }
                Kind::Struct { fields } => check("fields", fields, FIELDS_MAX),
                Kind::Enum { variants } => check("variants", variants, VARIANTS_MAX),
            }
        }
    }
    assert_clean("items above their ceiling", &complaints);
}

#[test]
fn macros_and_waivers_are_few() {
    let files = production();
    let macros = count(&files, |line| line.trim_start().starts_with("macro_rules!"));
    assert!(macros <= MACROS_MAX, "{macros} macros in the tree, at most {MACROS_MAX}");
    let waivers = count(&files, |line| line.contains("clippy::too_many_lines"));
    assert!(waivers <= LONG_FUNCTION_WAIVERS_MAX, "{waivers} long functions are waived");
}

#[test]
fn a_crate_exports_few_traits() {
    let files = production();
    let folder = |file: &SourceFile| {
        file.path.split_once("/src/").map_or(String::new(), |(folder, _)| folder.to_owned())
    };
    let mut folders: Vec<String> = files.iter().map(folder).collect();
    folders.dedup();
    let mut complaints = Vec::new();
    for name in folders {
        let own: Vec<SourceFile> = files.iter().filter(|it| folder(it) == name).cloned().collect();
        let traits = count(&own, |line| line.starts_with("pub trait "));
        if traits > TRAITS_OF_A_CRATE_MAX {
            complaints.push(format!("{name}: {traits} public traits"));
        }
    }
    assert_clean("crates with too many traits", &complaints);
}

/// Crates whose invariants must stand in the code. The simulator and the checkers of histories are
/// witnesses themselves: their judges say what must hold.
const CORES: [&str; 6] = ["base", "routing", "raftgroup", "multiraft", "placement", "pdcore"];
const ASSERTIONS_PER_THOUSAND_LINES_MIN: usize = 5;
const COMMENT_PERCENT_MIN: usize = 15;

#[test]
fn pure_cores_state_their_invariants_and_reasons() {
    let files = production();
    let mut complaints = Vec::new();
    for name in CORES {
        let folder = format!("components/{name}/src/");
        let own: Vec<SourceFile> =
            files.iter().filter(|file| file.path.starts_with(&folder)).cloned().collect();
        let lines = count(&own, |line| !line.trim().is_empty());
        let comments = count(&own, |line| line.trim_start().starts_with("//"));
        let code = lines - comments;
        let assertions = count(&own, |line| {
            let line = line.trim_start();
            line.starts_with("assert") || line.starts_with("debug_assert")
        });
        if assertions * 1000 < code * ASSERTIONS_PER_THOUSAND_LINES_MIN {
            complaints.push(format!("{name}: {assertions} assertions in {code} lines of code"));
        }
        if comments * 100 < lines * COMMENT_PERCENT_MIN {
            complaints.push(format!("{name}: {comments} comments in {lines} lines"));
        }
    }
    assert_clean("cores that say too little", &complaints);
}
