//! The README's console blocks, run word by word against the real binary.
//!
//! A `console` block is part of the tour: the demo's exports are set. So they are in a `console gateway` block, before an upstream. A `console data` block runs in a
//! directory with a server on `data/db` and `klinky` on the path; a `console log` block beside an `access.log`; a `console damaged` block where such a server has backed up into `data/backups`, was stopped, and its
//! database was damaged. Lines that begin with `$ ` are run; what follows is
//! what they print, but for what differs from run to run. `KLINKY_README=write` writes what they print now.

use std::fs::{self, DirEntry};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use klinky::clock::{Clock, SystemClock};
use klinky::domain::window::Window;
use regex::Regex;
use serde_json::json;

use crate::harness::redact;
use crate::process::{self, wait_until};
use crate::upstream::{self, Upstream};

const MARK: &str = "@@@ output of command";

/// A command and the lines of the README that say what it prints.
struct Step {
    command: String,
    output: std::ops::Range<usize>,
}

fn readme() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")
}

/// The steps of all blocks that begin with this fence.
fn steps(lines: &[&str], fence: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for (number, line) in lines.iter().enumerate() {
        match line.strip_prefix("$ ") {
            _ if !inside => inside = *line == fence,
            _ if *line == "```" => inside = false,
            Some(command) => steps.push(Step { command: command.to_owned(), output: number + 1..number + 1 }),
            None => steps.last_mut().expect("output before a command").output.end = number + 1,
        }
    }
    assert!(!steps.is_empty(), "the README has no block {fence}");
    steps
}

/// A server process that is killed, by its pid, when the test ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn klinky() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_klinky"))
}

fn serve(dir: &Path, flags: &[&str]) -> Process {
    let mut command = Command::new(klinky());
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]).args(flags).current_dir(dir);
    Process(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

/// Runs the commands in one shell; answers what each of them prints.
fn run(dir: &Path, exports: &str, steps: &[Step]) -> Vec<String> {
    let mut script = format!("exec 2>&1\n{exports}\n");
    for step in steps {
        script.push_str(&format!("echo '{MARK}'\n{}\necho\n", step.command));
    }
    let path = format!("{}:{}", klinky().parent().unwrap().display(), std::env::var_os("PATH").unwrap().display());
    let done = Command::new("bash")
        .arg("-c")
        .arg(script)
        .current_dir(dir)
        .env("PATH", path)
        .env_remove("KLINKY_README")
        .output()
        .unwrap();
    let text = String::from_utf8(done.stdout).unwrap().replace('\r', "");
    let outputs: Vec<String> = text.split(MARK).skip(1).map(|output| output.trim().to_owned()).collect();
    assert_eq!(outputs.len(), steps.len(), "{text}");
    outputs
}

/// What must be the same in every run. Header lines come in any order, so lines are sorted.
fn comparable(text: &str) -> Vec<String> {
    static FORMS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        let form = |pattern: &str| Regex::new(pattern).unwrap();
        vec![
            (form(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "<time>"),
            (form("(?m)^date: .*$"), "date: <date>"),
            (form(r#""date":"\d{4}-\d\d-\d\d""#), "\"date\":\"<date>\""),
            (form(r"(?m)^x-request-id: [0-9a-f]{16}-\d{10,20}$"), "x-request-id: <id>"),
            (form(r"(?m)^x-ratelimit-reset: \d+$"), "x-ratelimit-reset: <secs>"),
            (form(r"(?m)^retry-after: \d+$"), "retry-after: <secs>"),
            (form(r";t=\d+"), ";t=<secs>"),
            (form("etag: \"[0-9a-f]{64}\""), "etag: <etag>"),
            (form(r"<visitor>\.[0-9a-f]{8}\.\d+\.<signature>"), "<visit>"),
            (form(r#""p(50|99)_ms":\d+"#), "\"p${1}_ms\":<ms>"),
            (form("  +"), "  "),
        ]
    });
    let text = FORMS.iter().fold(redact(text), |text, (form, name)| form.replace_all(&text, *name).into_owned());
    let mut lines: Vec<String> = text.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.sort();
    lines
}

/// Holds the README against what the commands print, or writes it.
fn check(fence: &str, outputs_of: impl Fn(&[Step]) -> Vec<String>) {
    let text = fs::read_to_string(readme()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let steps = steps(&lines, fence);
    let hour = || Window::at(SystemClock.now());
    let before = hour();
    let mut outputs = outputs_of(&steps);
    if hour() != before {
        // The hour turned in the middle of the tour, and its counters began anew.
        outputs = outputs_of(&steps);
    }
    if std::env::var_os("KLINKY_README").is_some_and(|mode| mode == "write") {
        return write(&lines, &steps, &outputs);
    }
    for (step, output) in steps.iter().zip(&outputs) {
        let written = lines[step.output.clone()].join("\n");
        assert_eq!(comparable(&written), comparable(output), "the README says otherwise of: {}", step.command);
    }
}

fn write(lines: &[&str], steps: &[Step], outputs: &[String]) {
    let any_port = Regex::new(r"http://127\.0\.0\.1:\d+").unwrap();
    let mut new: Vec<String> = Vec::new();
    let mut next = 0;
    for (step, output) in steps.iter().zip(outputs) {
        new.extend(lines[next..step.output.start].iter().map(|line| (*line).to_owned()));
        new.extend(output.lines().map(|line| any_port.replace_all(line, "http://127.0.0.1:8080").into_owned()));
        next = step.output.end;
    }
    new.extend(lines[next..].iter().map(|line| (*line).to_owned()));
    fs::write(readme(), new.join("\n") + "\n").unwrap();
}

#[test]
fn the_tour_prints_what_it_says() {
    check("```console", |steps| {
        let dir = tempfile::tempdir().unwrap();
        let mut server = serve(dir.path(), &["--demo"]);
        let exports = exports(&mut server);
        run(dir.path(), &exports, steps)
    });
}

/// The variables that the demo prints.
fn exports(demo: &mut Process) -> String {
    let banner = BufReader::new(demo.0.stdout.take().unwrap());
    let lines = banner.lines().map(Result::unwrap);
    let exports = lines.skip_while(|line| !line.starts_with("  export"));
    exports.take_while(|line| line.starts_with("  export")).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_gateway_works_as_it_says() {
    let upstream = Upstream::start(|mut stream, _number, _asked| {
        while let Some(asked) = upstream::read(&mut stream) {
            let account = asked.header("x-klinky-account").unwrap_or("-");
            let plan = asked.header("x-klinky-plan").unwrap_or("-");
            let line = asked.line.trim_end_matches(" HTTP/1.1");
            let body = serde_json::json!({"request": line, "account": account, "plan": plan}).to_string();
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        }
    });
    check("```console gateway", |steps| {
        let dir = tempfile::tempdir().unwrap();
        let url = format!("http://{}", upstream.address);
        let gateway = ["--upstream", &url, "--upstream-prefix", "/v1", "--public-path", "/v1/docs/**"];
        let flags = [&["--demo", "--cost", "POST /v1/reports=10"][..], &gateway].concat();
        let mut server = serve(dir.path(), &flags);
        let exports = exports(&mut server);
        run(dir.path(), &exports, steps)
    });
}

#[test]
fn operating_it_works_as_it_says() {
    check("```console data", |steps| {
        let dir = tempfile::tempdir().unwrap();
        let mut server = serve(dir.path(), &["--data-dir", "data/db"]);
        let log = BufReader::new(server.0.stderr.take().unwrap());
        let ready = log.lines().map(Result::unwrap).find(|line| line.contains("ready")).expect("not ready");
        let address =
            |name: &str| ready.split(&format!(" {name}=")).nth(1).unwrap().split(' ').next().unwrap().to_owned();
        let (public, admin) = (address("public"), address("admin"));
        run(dir.path(), &format!("export API=http://{public} ADMIN=http://{admin}"), steps)
    });
}

/// The log of an API before it had plans.
fn access_log() -> String {
    let lines = |requests: usize, who: &str, minute: &str, request: &str, status: u16| {
        let line =
            format!("{who} [29/Nov/2026:{minute}:27 +0000] \"{request} HTTP/1.1\" {status} 512 \"-\" \"curl/8.5\"\n");
        line.repeat(requests)
    };
    [
        lines(64, "192.0.2.7 - acme", "09:12", "GET /v1/things?page=2", 200),
        lines(131, "192.0.2.7 - acme", "10:41", "GET /v1/things?page=2", 200),
        lines(9, "198.51.100.4 - beta", "10:44", "POST /v1/reports", 201),
        lines(35, "198.51.100.4 - beta", "10:48", "GET /v1/things/7", 404),
        "203.0.113.9 - - [29/Nov/2026:10:50:02 +0000] \"\\x16\\x03\\x01\" 400 0 \"-\" \"-\"\n".to_owned(),
        lines(412, "192.0.2.8 - gamma", "10:52", "GET /v1/things", 200),
        lines(3, "203.0.113.9 - -", "10:55", "GET /v1/things", 401),
        lines(1, "203.0.113.9 - -", "10:58", "OPTIONS /v1/things", 204),
        lines(22, "203.0.113.9 - -", "11:02", "GET /v1/things", 200),
    ]
    .concat()
}

#[test]
fn plans_are_tried_on_a_log_as_it_says() {
    check("```console log", |steps| {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("access.log"), access_log()).unwrap();
        run(dir.path(), "", steps)
    });
}

/// Backs a store up, and damages it.
fn damaged(dir: &Path) {
    let before = process::Process::serve(&dir.join("data/db"), &[]);
    let account = before.admin_ok("POST", "/accounts", &json!({"name": "Acme", "plan": "growth"}));
    before.admin_ok("POST", &format!("/accounts/{}/keys", account["id"].as_str().unwrap()), &json!({"name": "first"}));
    before.stop();
    let backups = dir.join("data/backups");
    let server = process::Process::start(process::klinky(&["serve", "--backup-dir", "data/backups"]).current_dir(dir));
    let is_backup = |file: io::Result<DirEntry>| file.unwrap().path().extension().is_some_and(|end| end == "jsonl");
    wait_until("a backup is made", || fs::read_dir(&backups).unwrap().any(is_backup));
    server.stop();
    let database = dir.join("data/db/store/db");
    let mut bytes = fs::read(&database).unwrap();
    bytes[1000] ^= 1;
    fs::write(database, bytes).unwrap();
}

#[test]
fn the_way_back_from_damage_works_as_it_says() {
    check("```console damaged", |steps| {
        let dir = tempfile::tempdir().unwrap();
        damaged(dir.path());

        let outputs = run(dir.path(), "", steps);

        let server = process::Process::serve(&dir.path().join("data/db"), &[]);
        let accounts = server.admin_ok("GET", "/accounts", &serde_json::Value::Null);
        assert_eq!(accounts["items"].as_array().unwrap().len(), 1);
        outputs
    });
}
