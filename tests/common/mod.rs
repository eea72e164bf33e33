//! What tests of whole programs share: processes whose output is an event, sandboxes that keep tests
//! apart, playgrounds, and clusters whose every process the test holds.
//!
//! Each sandbox has a loopback address of its own, so that all use the usual ports side by side.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(unreachable_pub, reason = "a module that several test programs include")]

pub mod cluster;
pub mod in_process;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::Value;

/// Nothing that is expected may take longer.
pub const LIVENESS: Duration = Duration::from_secs(30);

/// The program.
pub const FLOTILLA: &str = env!("CARGO_BIN_EXE_flotilla");

/// Asks until the answer is yes; each time anew.
#[track_caller]
pub fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < LIVENESS, "{what}: not within {LIVENESS:?}");
    }
}

/// A line for people who measure or read along.
pub fn say(text: &str) {
    writeln!(std::io::stdout().lock(), "{text}").expect("standard output takes a line");
}

/// What the server at `address` answers to a GET, its head included; `None` where it does not answer within
/// 5 s.
pub fn http_get(address: &str, path: &str) -> Option<String> {
    let patience = Some(Duration::from_secs(5));
    let mut server = TcpStream::connect(address).ok()?;
    server.set_read_timeout(patience).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    server.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    server.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// The JSON that the server at `address` answers to a GET.
#[track_caller]
pub fn http_json(address: &str, path: &str) -> Value {
    let answer = http_get(address, path).unwrap_or_else(|| panic!("{address}{path}: no answer"));
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200"), "{address}{path}: {answer}");
    serde_json::from_str(body).unwrap_or_else(|why| panic!("{address}{path}: {why}: {body}"))
}

/// The sum of the counters and gauges at `address` whose series begin with `series`; `None` where it does not
/// answer.
pub fn metric(address: &str, series: &str) -> Option<u64> {
    let answer = http_get(address, "/metrics")?;
    let value = |line: &str| line.rsplit(' ').next().and_then(|number| number.parse::<u64>().ok());
    Some(answer.lines().filter(|line| line.starts_with(series)).filter_map(value).sum())
}

/// A place where a test is alone: an address, and directories that end with it.
#[derive(Debug)]
pub struct Sandbox {
    pub host: String,
    directory: tempfile::TempDir,
}

/// What a finished command left.
#[derive(Debug)]
pub struct Finished {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Sandbox {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let host =
            format!("127.{}.{}.{}", 1 + process / 250 % 250, 1 + process % 250, 1 + count % 250);
        Self { host, directory: tempfile::tempdir().expect("a directory") }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn pd(&self) -> String {
        format!("{}:2379", self.host)
    }

    /// The program, not started, in this place.
    pub fn command<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(FLOTILLA);
        command.args(args);
        self.settle(&mut command);
        command
    }

    /// Puts any command into this place.
    pub fn settle(&self, command: &mut Command) {
        let directory = |name: &str| {
            let path = self.path().join(name);
            fs::create_dir_all(&path).expect("made");
            path
        };
        command
            .env_remove("FLOTILLA_PD")
            .env_remove("FLOTILLA_CONFIG")
            .env("FLOTILLA_HOST", &self.host)
            .env("XDG_RUNTIME_DIR", directory("run"))
            .env("XDG_DATA_HOME", directory("share"))
            .env("TMPDIR", directory("tmp"))
            .stdin(Stdio::null());
    }

    /// Runs a command to its end.
    pub fn run<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Finished {
        Process::spawn(&mut self.command(args)).finish()
    }

    /// Runs a command with `input` as its standard input.
    pub fn run_with_input(&self, args: &[&str], input: &[u8]) -> Finished {
        let mut command = self.command(args);
        command.stdin(Stdio::piped());
        let mut process = Process::spawn(&mut command);
        let mut stdin = process.stdin.take().expect("piped");
        let input = input.to_vec();
        let writer = thread::spawn(move || stdin.write_all(&input));
        let finished = process.finish();
        let _read_to_the_end_or_not = writer.join();
        finished
    }

    /// Runs a command that must succeed, and returns its standard output.
    #[track_caller]
    pub fn ok<S: AsRef<std::ffi::OsStr> + std::fmt::Debug>(&self, args: &[S]) -> String {
        let finished = self.run(args);
        assert_eq!(finished.code, 0, "{args:?}: {}", finished.stderr);
        finished.stdout
    }

    /// Runs a command that must fail with this exit code and error code, and returns the error's text.
    #[track_caller]
    pub fn fails<S: AsRef<std::ffi::OsStr> + std::fmt::Debug>(
        &self,
        args: &[S],
        exit: i32,
        code: &str,
    ) -> String {
        let Finished { code: found, stdout, stderr } = self.run(args);
        assert_eq!(found, exit, "{args:?}: {stderr}");
        assert!(stderr.contains(code), "{args:?}: {stderr}");
        assert!(stderr.starts_with("flotilla: "), "{args:?}: {stderr}");
        assert!(!stdout.contains("error"), "{args:?}: {stdout}");
        for word in ["panicked", "Status {", "status:", "os error"] {
            assert!(!stderr.contains(word), "{args:?}: {stderr}");
        }
        stderr
    }

    /// Runs a command with `-o json` that must succeed, and returns its object.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        let mut args = args.to_vec();
        args.extend(["-o", "json"]);
        let text = self.ok(&args);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
    }
}

/// A process whose lines are events. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// Kept open: some programs end when it is closed.
    pub stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    seen: String,
    errors: Option<JoinHandle<String>>,
}

impl Process {
    pub fn spawn(command: &mut Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let (sender, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        thread::spawn(move || {
            let mut stdout = stdout;
            let mut line = Vec::new();
            while stdout.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
                let text = String::from_utf8_lossy(&line).into_owned();
                line.clear();
                if sender.send(text).is_err() {
                    break;
                }
            }
        });
        let mut stderr = child.stderr.take().expect("piped");
        let errors = thread::spawn(move || {
            let mut text = Vec::new();
            let _ends_with_the_process = stderr.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let stdin = child.stdin.take();
        Self { child, stdin, lines, seen: String::new(), errors: Some(errors) }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line that holds `part`.
    #[track_caller]
    pub fn line_with(&mut self, part: &str) -> String {
        self.line_within(part, LIVENESS)
    }

    /// The next line that holds `part`, within a time.
    #[track_caller]
    pub fn line_within(&mut self, part: &str, patience: Duration) -> String {
        let deadline = Instant::now() + patience;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push_str(&line);
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(why) => {
                    let _already_dead = self.child.kill();
                    let errors = self.errors.take().and_then(|errors| errors.join().ok());
                    let errors = errors.unwrap_or_default();
                    panic!("no line with {part:?}: {why}\nit said: {}\n{errors}", self.seen);
                }
            }
        }
    }

    /// The next line, whatever it says, within a time; `None` when there are no more.
    #[track_caller]
    pub fn line(&mut self, patience: Duration) -> Option<String> {
        match self.lines.recv_timeout(patience) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("process {} says nothing", self.id()),
        }
    }

    /// Sends a signal by its number's name: `INT`, `TERM`, `KILL`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.id().to_string()]).status();
        assert!(sent.expect("kill runs").success(), "signal {name}");
    }

    /// Kills it, and returns when it is gone.
    pub fn kill(&mut self) {
        let _already_dead = self.child.kill();
        let _status = self.child.wait();
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        self.wait_within(LIVENESS)
    }

    /// Waits for its end, within a time.
    #[track_caller]
    fn wait_within(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push_str(&line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    let _already_dead = self.child.kill();
                    panic!("process {} does not end; it said: {}", self.id(), self.seen);
                }
            }
        }
        self.child.wait().expect("a child can be waited for")
    }

    /// Waits for its end, and returns what it said.
    #[track_caller]
    pub fn finish(self) -> Finished {
        self.finish_within(LIVENESS)
    }

    /// Waits for its end, within a time, and returns what it said.
    #[track_caller]
    pub fn finish_within(mut self, patience: Duration) -> Finished {
        let status = self.wait_within(patience);
        let stderr = self.errors.take().and_then(|errors| errors.join().ok()).unwrap_or_default();
        let code = status.code().unwrap_or(-1);
        Finished { code, stdout: std::mem::take(&mut self.seen), stderr }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A playground that is ready.
#[derive(Debug)]
pub struct Playground {
    pub process: Process,
    /// What it says of itself.
    pub note: Value,
}

impl Playground {
    pub fn start(sandbox: &Sandbox, args: &[&str]) -> Self {
        let mut all = vec!["playground", "-o", "json"];
        all.extend(args);
        let mut process = Process::spawn(&mut sandbox.command(&all));
        let line = process.line_with("{");
        let mut note: Value = serde_json::from_str(&line).expect("an object");
        Self { process, note: note["playground"].take() }
    }

    pub fn data(&self) -> PathBuf {
        PathBuf::from(self.note["data"].as_str().expect("a directory"))
    }

    /// Every address that it listens on.
    pub fn addresses(&self) -> Vec<String> {
        let text = |value: &Value| value.as_str().expect("an address").to_owned();
        let mut all = vec![text(&self.note["pd"][0])];
        for store in self.note["stores"].as_array().expect("a list") {
            all.extend([text(&store["address"]), text(&store["status"])]);
        }
        all
    }

    /// Ends it in order.
    #[track_caller]
    pub fn stop(mut self) {
        self.process.signal("TERM");
        let status = self.process.wait();
        assert_eq!(status.code(), Some(0), "a stop in order");
    }
}
