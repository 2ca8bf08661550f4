//! The real binary as a process of its own, as operators run it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use klinky::clock::Stopwatch;
use regex::Regex;
use serde_json::Value;

use crate::harness::{ADMIN_TOKEN, JWT_SECRET, Listener, admin_request};

/// How long a process may take to start, to say something, or to end, before a test fails.
const PROCESS_TIMEOUT: Duration = Duration::from_secs(120);
/// How long what a test waits for may take: far longer than it does, also on a busy machine.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
/// The time between two looks: short beside what is waited for, long enough to leave it the processor.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Where the binary is.
pub(crate) const KLINKY: &str = env!("CARGO_BIN_EXE_klinky");

/// The binary, with none of the variables that it reads.
pub(crate) fn klinky(args: &[&str]) -> Command {
    let mut command = without_variables(KLINKY);
    command.args(args);
    command
}

/// The same for a user whom the modes of files bind: for root, without its right to pass over them.
pub(crate) fn klinky_bound_by_modes(args: &[&str]) -> Option<Command> {
    if !rustix::process::geteuid().is_root() {
        return Some(klinky(args));
    }
    let mut command = without_variables(find_program("setpriv", "apt-get install util-linux")?);
    command.args(["--bounding-set=-dac_override,-dac_read_search", KLINKY]).args(args);
    Some(command)
}

/// A program that may start the binary, with none of the variables that that reads.
pub(crate) fn without_variables(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (variable, _value) in std::env::vars_os().filter(|(variable, _value)| is_ours(variable)) {
        command.env_remove(variable);
    }
    command
}

/// Where a program is that a test needs, and how it is installed. In CI it must be there; elsewhere, its absence is said.
pub(crate) fn find_program(program: &str, installation: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers where users do not look.
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let found = places.map(|place| place.join(program)).find(|file| file.is_file());
    if found.is_none() {
        let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        assert!(!in_ci, "{program} is missing: {installation}");
        eprintln!("SKIPPED: {program} is not installed ({installation})");
    }
    found
}

fn is_ours(variable: &OsStr) -> bool {
    variable.to_string_lossy().starts_with("KLINKY_")
}

/// How a process ended, and what it printed.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Ended {
    run_with_input(command, b"")
}

/// Runs a command to its end, with `input` on its standard input.
pub(crate) fn run_with_input(command: &mut Command, input: &[u8]) -> Ended {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|threads| {
        // Whoever does not read its input to the end closes it.
        threads.spawn(move || stdin.write_all(input).is_ok());
        let output = child.wait_with_output().unwrap();
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    })
}

/// A running `klinky serve`. It is killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) public: Listener,
    pub(crate) admin: Listener,
    lines: Receiver<String>,
    log: String,
}

impl Process {
    /// Serves `dir` with the tests' secrets and waits until it is ready.
    pub(crate) fn serve(dir: &Path, flags: &[&str]) -> Self {
        Self::start(
            klinky(&["serve", "--data-dir", dir.to_str().unwrap()])
                .args(flags)
                .env("KLINKY_ADMIN_TOKEN", ADMIN_TOKEN)
                .env("KLINKY_JWT_SECRET", JWT_SECRET),
        )
    }

    /// Starts a `serve` command on ports that the system picks and waits until it is ready.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_as_it_is(command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]))
    }

    /// Starts a `serve` command that says where to listen and waits until it is ready.
    pub(crate) fn start_as_it_is(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let nowhere = Listener("127.0.0.1:0".parse().unwrap());
        let mut process = Self { child, public: nowhere, admin: nowhere, lines, log: String::new() };
        let ready = process.wait_for_log("ready");
        process.public = address(&ready, "public");
        process.admin = address(&ready, "admin");
        process
    }

    /// Waits for a log line that holds `text`, and answers it.
    pub(crate) fn wait_for_log(&mut self, text: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PROCESS_TIMEOUT);
            let line = line.unwrap_or_else(|error| panic!("{error}: no line with {text:?} in:\n{}", self.log));
            self.log.push_str(&line);
            self.log.push('\n');
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Its id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard output, if the command has it piped.
    pub(crate) fn take_stdout(&mut self) -> impl BufRead + use<> {
        BufReader::new(self.child.stdout.take().unwrap())
    }

    /// Sends a signal, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.id())]).status().unwrap();
        assert!(sent.success());
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end. Answers its exit code and all that it logged.
    pub(crate) fn ended(mut self) -> (Option<i32>, String) {
        loop {
            match self.lines.recv_timeout(PROCESS_TIMEOUT) {
                Ok(line) => {
                    self.log.push_str(&line);
                    self.log.push('\n');
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("it does not end; its log:\n{}", self.log),
            }
        }
        (self.child.wait().unwrap().code(), std::mem::take(&mut self.log))
    }

    /// Stops it cleanly. Answers all that it logged.
    pub(crate) fn stop(self) -> String {
        self.signal("TERM");
        let (code, log) = self.ended();
        assert_eq!(code, Some(0), "{log}");
        log
    }

    /// An admin call that must succeed; its JSON answer.
    pub(crate) fn admin_ok(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.admin.exchange(&admin_request(method, path, &body.to_string()));
        assert!((200..300).contains(&answer.status), "{answer}");
        answer.json()
    }

    /// A new account's id and its key.
    pub(crate) fn account(&self, plan: &str) -> (String, String) {
        let account = self.admin_ok("POST", "/accounts", &serde_json::json!({"name": "Acme", "plan": plan}));
        let id = account["id"].as_str().unwrap().to_owned();
        let issued = self.admin_ok("POST", &format!("/accounts/{id}/keys"), &serde_json::json!({"name": "test"}));
        (id, issued["key"].as_str().unwrap().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already.
        let _gone = self.child.kill();
        let _waited = self.child.wait();
    }
}

/// The address after a field's name in a log line, text or JSON.
fn address(line: &str, field: &str) -> Listener {
    let form = Regex::new(&format!(r#"\b{field}"?[=:]"?([0-9.]+:[0-9]+)"#)).unwrap();
    Listener(form.captures(line).unwrap_or_else(|| panic!("no {field} in {line}"))[1].parse().unwrap())
}

/// A dump of so many accounts, each with a key and a counter, as a server would write it.
pub(crate) fn big_dump(accounts: u32) -> String {
    let mut lines = vec![
        r#"{"kind":"header","format":"klinky","version":1,"created_at":"2024-01-15T14:30:00Z"}"#.to_owned(),
        r#"{"kind":"plan","id":"growth","name":"Growth","api_access":true,"requests_per_hour":100,"best_for":"-"}"#
            .to_owned(),
    ];
    let id = |kind: u32, number: u32| format!("018d0d5e-{kind:04x}-7000-8000-{number:012x}");
    let created = r#""created_at":"2024-01-15T14:30:00Z""#;
    for number in 0..accounts {
        lines.push(format!(
            r#"{{"kind":"account","id":"{}","name":"Acme {number}","email":null,"plan":"growth","custom_limit":null,"trial":null,"suspended":false,{created},"updated_at":"2024-01-15T14:30:00Z"}}"#,
            id(1, number)
        ));
    }
    for number in 0..accounts {
        lines.push(format!(
            r#"{{"kind":"key","id":"{}","account_id":"{}","sha256":"{number:064x}","name":"test","display":"klinky_live_aaaa…","scope":"read_write",{created},"expires_at":null,"revoked_at":null,"last_used_at":null}}"#,
            id(2, number),
            id(1, number)
        ));
    }
    for number in 0..accounts {
        lines.push(format!(
            r#"{{"kind":"counter","account_id":"{}","hour":"2024-01-15T14:00:00Z","used":{}}}"#,
            id(1, number),
            number % 100 + 1
        ));
    }
    lines.push(format!(r#"{{"kind":"end","rows":{}}}"#, lines.len() - 1));
    lines.join("\n") + "\n"
}

/// The rows of a dump: all but its header, which names the instant, and its end, which counts them.
pub(crate) fn rows(dump: &str) -> Vec<&str> {
    let lines: Vec<&str> = dump.lines().skip(1).collect();
    let (end, rows) = lines.split_last().expect("a dump without an end line");
    assert_eq!(*end, format!(r#"{{"kind":"end","rows":{}}}"#, rows.len()));
    rows.to_vec()
}

/// Waits until something is so, which `what` names if that does not come.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = Stopwatch::start();
    while !is_so() {
        let is_late = u128::from(waiting.elapsed_us()) > WAIT_TIMEOUT.as_micros();
        assert!(!is_late, "waited {WAIT_TIMEOUT:?} in vain until {what}");
        pass(LOOK_EVERY);
    }
}

/// Lets time pass, where a test is about an instant and not about an event.
pub(crate) fn pass(time: Duration) {
    let (_never, nothing) = mpsc::channel::<()>();
    let _timed_out = nothing.recv_timeout(time);
}
