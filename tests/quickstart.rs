//! The README's quick start, word for word: `make playground` in one terminal, and every command of the
//! blocks that are marked as quick start in another.

mod common;

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use common::{FLOTILLA, Process, Sandbox};
use rustix::process::{Pid, Signal, kill_process_group};

/// Blocks behind this line are part of it.
const MARK: &str = "<!-- quickstart -->";

/// `make playground` looks for things to build, and may have to link.
const BUILD_PATIENCE: Duration = Duration::from_secs(1200);

/// A process with all that it has started, of which nothing is left behind by a test that fails.
struct Group(Process);

impl Group {
    fn spawn(command: &mut Command) -> Self {
        Self(Process::spawn(command.process_group(0)))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let group = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group.filter(|_| std::thread::panicking()) {
            let _all_gone_already = kill_process_group(group, Signal::KILL);
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The commands of all marked blocks, line by line.
fn commands(readme: &str) -> Vec<&str> {
    let mut commands = Vec::new();
    for part in readme.split(MARK).skip(1) {
        let block = part.trim_start().strip_prefix("```sh\n").expect("a block of commands");
        let (block, _after) = block.split_once("```").expect("the block has an end");
        commands.extend(block.lines().filter(|line| !line.trim().is_empty()));
    }
    commands
}

/// What the README shows of the output of a command: the next block of text behind it.
fn shown_below<'a>(readme: &'a str, command: &str) -> &'a str {
    let (_, behind) = readme.split_once(command).expect("it is there");
    let (_, block) = behind.split_once("```text\n").expect("what it prints");
    block.split_once("```").expect("the block has an end").0
}

/// The same without the numbers in front of its lines: an election during the split costs some.
fn without_ids(text: &str) -> Vec<&str> {
    text.lines()
        .map(|line| line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()))
        .collect()
}

#[test]
fn the_quick_start_works_word_for_word() {
    let readme = fs::read_to_string(root().join("README.md")).expect("the README");
    assert!(readme.contains("make playground"), "how everything begins");
    let sandbox = Sandbox::new();
    let mut make = Command::new("make");
    make.arg("playground").current_dir(root());
    sandbox.settle(&mut make);
    let mut playground = Group::spawn(&mut make);
    playground.0.line_within("Ctrl-C stops it", BUILD_PATIENCE);

    let bin = Path::new(FLOTILLA).parent().expect("a folder").display().to_string();
    let path = format!("{bin}:{}", std::env::var("PATH").expect("a path"));
    let mut outputs = Vec::new();
    for command in commands(&readme) {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).env("PATH", &path);
        sandbox.settle(&mut shell);
        let finished = Process::spawn(shell.stdin(Stdio::null())).finish();
        assert_eq!(finished.code, 0, "{command}: {}", finished.stderr);
        outputs.push((command, finished.stdout));
    }
    let of = |command: &str| {
        let found = outputs.iter().find(|(line, _output)| *line == command);
        found.map(|(_line, output)| output.as_str()).unwrap_or_else(|| panic!("no {command}"))
    };
    assert_eq!(of("flotilla get greeting"), "hello, world");
    assert!(of("flotilla scan --prefix user:").contains("ada"));
    assert!(of("flotilla ctl status").contains("healthy"));
    assert_eq!(of("flotilla scan --prefix user: --count"), "3\n");
    let split = of("flotilla ctl region split --at user:2");
    let shown = shown_below(&readme, "flotilla ctl region split --at user:2");
    assert_eq!(without_ids(split), without_ids(shown), "what the README shows");
    // What was done last, if anything was, is told below.
    assert!(of("flotilla ctl operators").starts_with("nothing is being done to regions\n"));

    assert_eq!(sandbox.run(&["playground", "stop"]).code, 0);
    assert!(playground.0.wait().success());
}
