//! The log of the real binary, where standard error is slow or gone.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::process::klinky;

/// More lines than a pipe and the lines that may wait have room for.
const REQUESTS: usize = 40_000;

/// Starts the server; answers it, where it listens, and its standard error, of which nothing more is read.
fn unread(command: &mut Command) -> (Child, String, BufReader<impl Read + use<>>) {
    command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-format", "json"]);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("\"ready\"") {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it ended");
    }
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    (child, ready["public"].as_str().unwrap().to_owned(), stderr)
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

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn a_log_that_nobody_reads_holds_up_no_request_and_says_afterwards_what_it_lacks() {
    let temp = tempfile::tempdir().unwrap();
    let (mut child, address, mut stderr) = unread(klinky(&["serve", "--data-dir"]).arg(temp.path().join("db")));

    send(&address, REQUESTS);
    let (mut log, mut line) = (String::new(), 0..0);
    while !log[line].contains("log lines are missing here") {
        line = log.len()..log.len() + stderr.read_line(&mut log).unwrap();
        assert!(!line.is_empty(), "it ended");
    }
    signal(&child, "TERM");
    stderr.read_to_string(&mut log).unwrap();

    assert!(child.wait().unwrap().success());
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let answered = lines.iter().filter(|line| line["message"] == "answered").count();
    let lost: Vec<u64> = lines.iter().filter_map(|line| line["lost"].as_u64()).collect();
    assert!(lost.iter().sum::<u64>() > 0, "all {answered} lines found room");
    assert_eq!(answered as u64 + lost.iter().sum::<u64>(), REQUESTS as u64, "{lost:?}");
    assert_eq!(lines.last().unwrap()["message"], "stopped; everything is on disk");
}

#[test]
fn a_standard_error_that_takes_nothing_does_not_keep_the_server_from_ending() {
    let temp = tempfile::tempdir().unwrap();
    let (mut child, address, stderr) = unread(klinky(&["serve", "--data-dir"]).arg(temp.path().join("db")));
    // More than a pipe has room for.
    send(&address, 2_000);

    signal(&child, "TERM");

    assert!(child.wait().unwrap().success());
    drop(stderr);
}

#[test]
fn a_closed_standard_error_does_not_disturb_the_server() {
    let temp = tempfile::tempdir().unwrap();
    let (mut child, address, stderr) = unread(klinky(&["serve", "--data-dir"]).arg(temp.path().join("db")));
    drop(stderr);

    send(&address, 100);
    signal(&child, "TERM");

    assert!(child.wait().unwrap().success());
}
