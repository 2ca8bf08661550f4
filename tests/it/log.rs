//! The log of the real binary, where standard error is slow or gone.

use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use klinky::clock::Stopwatch;
use rustix::fs::OFlags;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::Listener;
use crate::process::klinky;

/// More lines than a pipe and the lines that may wait have room for.
const TOO_MANY: usize = 70_000;
/// How long the server may take to end, before a test fails.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// The server, where it listens, and the end of its standard error of which nothing more is read.
struct Unread {
    child: Child,
    address: String,
    admin: Listener,
    stderr: BufReader<PipeReader>,
    _data: TempDir,
}

impl Unread {
    fn start(flags: &[&str], is_blocking: bool) -> Self {
        let data = tempfile::tempdir().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        if !is_blocking {
            rustix::fs::fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
        }
        let mut command = klinky(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        command.args(["--log-format", "json"]).args(flags).arg("--data-dir").arg(data.path().join("db"));
        let child = command.stdin(Stdio::null()).stderr(writer).spawn().unwrap();
        // It holds the other end of the pipe.
        drop(command);
        let (mut stderr, mut line) = (BufReader::new(reader), String::new());
        while !line.contains("\"ready\"") {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it ended");
        }
        let of = |listener: &str| parsed(&line)[listener].as_str().unwrap().to_owned();
        let admin = Listener(of("admin").parse().unwrap());
        Self { child, address: of("public"), admin, stderr, _data: data }
    }

    fn terminate(&self) {
        assert!(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap().success());
    }

    fn has_ended_well(&mut self) -> bool {
        let begun = Stopwatch::start();
        while u128::from(begun.elapsed_us()) < ENDS_WITHIN.as_micros() {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.success();
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        self.child.kill().unwrap();
        false
    }
}

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// How many requests the log names, and how many lines it says that it lost.
fn told(log: &str) -> (usize, usize) {
    let lines: Vec<Value> = log.lines().map(parsed).collect();
    let answered = lines.iter().filter(|line| line["message"] == "answered").count();
    let lost: u64 = lines.iter().filter_map(|line| line["lost"].as_u64()).sum();
    (answered, usize::try_from(lost).unwrap())
}

/// Sends so many requests with long ids on one connection, and waits for the answer to each.
fn send(address: &str, requests: usize) {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    connection.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
    let request = format!("GET /check HTTP/1.1\r\nHost: x\r\nX-Request-Id: {}\r\n\r\n", "r".repeat(128));
    let mut writer = connection.try_clone().unwrap();
    std::thread::scope(|threads| {
        threads.spawn(move || (0..requests).try_for_each(|_| writer.write_all(request.as_bytes())).unwrap());
        // A body ends without a line end, so that the next answer begins behind it.
        let (mut seen, mut answers) = (0, BufReader::new(&mut connection).lines());
        while seen < requests {
            seen += usize::from(answers.next().unwrap().unwrap().contains("HTTP/1.1 401 "));
        }
    });
}

#[test]
fn a_log_that_nobody_reads_holds_up_no_request_and_says_afterwards_what_it_lacks() {
    // Whatever else is logged.
    let mut server = Unread::start(&["--log", "error,klinky::run=info,klinky::http=info"], true);

    send(&server.address, TOO_MANY);
    let (mut log, mut line) = (String::new(), 0..0);
    while !log[line].contains("log lines are missing here") {
        line = log.len()..log.len() + server.stderr.read_line(&mut log).unwrap();
        assert!(!line.is_empty(), "it ended");
    }
    let metrics = server.admin.exchange("GET /metrics").body;
    server.terminate();
    server.stderr.read_to_string(&mut log).unwrap();

    assert!(server.has_ended_well());
    let (answered, lost) = told(&log);
    assert!(lost > 0, "all {answered} lines found room");
    // And the one that asked for the metrics.
    assert_eq!(answered + lost, TOO_MANY + 1);
    assert!(metrics.contains(&format!("\nklinky_log_lines_lost_total {lost}\n")), "{lost}: {metrics}");
    assert_eq!(parsed(log.lines().last().unwrap())["message"], "stopped; everything is on disk");
}

#[test]
fn a_standard_error_that_does_not_wait_loses_nothing_and_tears_no_line() {
    let mut server = Unread::start(&[], false);

    // More than the pipe has room for.
    send(&server.address, 2_000);
    server.terminate();
    let mut log = String::new();
    server.stderr.read_to_string(&mut log).unwrap();

    assert!(server.has_ended_well());
    assert_eq!(told(&log), (2_000, 0));
}

#[test]
fn a_slow_standard_error_gets_all_lines_before_the_server_ends() {
    let mut server = Unread::start(&[], true);
    send(&server.address, 10_000);

    server.terminate();
    let (mut log, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        // In all, well over the second after which one that takes nothing is given up.
        std::thread::park_timeout(Duration::from_millis(40));
        match server.stderr.read(&mut piece).unwrap() {
            0 => break,
            bytes => log.extend_from_slice(&piece[..bytes]),
        }
    }

    assert!(server.has_ended_well());
    let log = String::from_utf8(log).unwrap();
    assert_eq!(told(&log), (10_000, 0));
    assert_eq!(parsed(log.lines().last().unwrap())["message"], "stopped; everything is on disk");
}

#[test]
fn a_standard_error_that_takes_nothing_does_not_keep_the_server_from_ending() {
    let mut server = Unread::start(&[], true);
    // More than a pipe has room for.
    send(&server.address, 2_000);

    server.terminate();

    assert!(server.has_ended_well());
}

#[test]
fn a_closed_standard_error_does_not_disturb_the_server() {
    let mut server = Unread::start(&[], true);
    server.stderr = BufReader::new(std::io::pipe().unwrap().0);

    send(&server.address, 100);
    server.terminate();

    assert!(server.has_ended_well());
}
