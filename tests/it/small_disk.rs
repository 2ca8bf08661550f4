//! The real binary on a small disk that others fill: what cannot be stored is refused, what was answered stays, and
//! writing begins again by itself. What a full disk does that the server does not see coming is in `full_disk.rs`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::crash_rounds::{AGENT, AT_0_MS, AT_100_MS, Setup, assert_whole};
use crate::harness::admin_request;
use crate::loop_disk::Disk;
use crate::process::{Process, big_dump, klinky, pass, run, run_with_input, wait_until};

const DISK_MIB: u64 = 160;

fn readiness(process: &Process) -> u16 {
    process.admin.exchange("GET /readyz").status
}

fn wait_for_readiness(process: &Process, wanted: u16) {
    wait_until(&format!("/readyz answers {wanted}"), || readiness(process) == wanted);
}

#[test]
fn on_a_full_disk_writes_are_refused_and_begin_again_by_themselves() {
    let Some(disk) = Disk::new(DISK_MIB) else { return };
    let process = Process::serve(&disk.path().join("db"), &[]);
    let (id, key) = process.account("growth");
    let ping = format!("GET /api/v1/public/links\nX-API-Key: {key}");
    let create = admin_request("POST", "/accounts", &json!({"name": "Late"}).to_string());
    let link = json!({"name": "x", "slug": "led", "destination_url": "https://example.com/"});
    let link = format!("POST /api/v1/public/links\nX-API-Key: {key}\nIdempotency-Key: once\n\n{link}");
    assert_eq!(process.public.exchange(&link).status, 201);

    let filler = disk.fill();
    wait_for_readiness(&process, 503);

    let refused = process.public.exchange(&ping);
    assert_eq!(refused.status, 503);
    assert!(refused.detail().contains("Nothing was counted"), "{refused}");
    assert_eq!(process.admin.exchange(&create).status, 503);
    // What reads goes on.
    let account = admin_request("GET", &format!("/accounts/{id}"), "");
    assert_eq!(process.admin.exchange(&account).status, 200);
    assert_eq!(process.public.exchange("GET /led").status, 302);
    assert_eq!(process.admin.exchange("GET /healthz").status, 200);
    // Also a dump, though a click waits in memory, which the store does not take.
    assert_eq!(process.public.exchange(&format!("GET /led\nUser-Agent: {AGENT}")).status, 302);
    let usage = process.admin.exchange(&admin_request("GET", &format!("/accounts/{id}/usage"), ""));
    assert_eq!(usage.status, 200, "{usage}");
    let dump = process.admin.exchange(&admin_request("GET", "/dump", ""));
    assert!(dump.body.trim_end().lines().last().unwrap().contains(r#""kind":"end""#), "{dump}");
    fs::remove_file(filler).unwrap();
    wait_for_readiness(&process, 200);

    assert_eq!(process.public.exchange(&ping).remaining(), 98);
    assert_eq!(process.admin.exchange(&create).status, 201);
    assert_eq!(process.public.exchange(&link).status, 201);
    let log = process.stop();
    assert!(log.contains("the disk is full: writes are refused until there is room"), "{log}");
    assert!(log.contains("there is room again"), "{log}");
    assert_whole(&disk.path().join("db"));
}

/// Kills a server when this is dropped, be it that a test fails: its clients end when it does, and the test when they do.
struct Killing<'p>(&'p Process);

impl Drop for Killing<'_> {
    fn drop(&mut self) {
        self.0.signal("KILL");
    }
}

/// Others fill the disk as fast as they can while everything is being written.
fn fill_under_load(flush_every_ms: &str, may_forget: Duration) {
    let Some(disk) = Disk::new(DISK_MIB) else { return };
    let dir = disk.path().join("db");
    let flags = ["--flush-every-ms", flush_every_ms, "--log", "error,klinky::run=info,klinky::store=info"];
    let mut process = Process::serve(&dir, &flags);
    let setup = Setup::on_a_small_disk(&process);
    for _round in 0..3 {
        let load = setup.load(&process, || {
            let _killing = Killing(&process);
            pass(Duration::from_millis(300));
            let filler = disk.fill();
            wait_for_readiness(&process, 503);
            fs::remove_file(filler).unwrap();
            wait_for_readiness(&process, 200);
            pass(Duration::from_millis(200));
        });
        process.kill();
        assert_whole(&dir);
        process = Process::serve(&dir, &flags);
        setup.check(&process, &load, may_forget);
    }
}

#[test]
fn a_disk_that_fills_under_load_takes_nothing_that_was_answered() {
    fill_under_load("100", AT_100_MS);
}

#[test]
fn a_disk_that_fills_under_load_takes_no_unit_that_was_on_disk_before_the_answer() {
    fill_under_load("0", AT_0_MS);
}

fn starting(dir: &Path) -> (Option<i32>, String) {
    let ended = run(&mut klinky(&["serve", "--data-dir", dir.to_str().unwrap()]));
    (ended.code, ended.stderr.replace(dir.to_str().unwrap(), "DIR"))
}

#[test]
fn a_server_does_not_start_on_a_full_disk_and_loses_nothing_by_trying() {
    let Some(disk) = Disk::new(DISK_MIB) else { return };
    let dir = disk.path().join("db");
    let process = Process::serve(&dir, &[]);
    let (id, _key) = process.account("growth");
    process.kill();
    let filler = disk.fill();

    let (code, message) = starting(&dir);

    assert_eq!(code, Some(1));
    let form = regex::Regex::new(
        r"^klinky: the disk that holds DIR is full: \d+ bytes are free, and opening it may take 16777216; make room there and start again\. Nothing is lost\n$",
    );
    assert!(form.unwrap().is_match(&message), "{message}");
    assert_eq!(starting(&disk.path().join("another")).0, Some(1));
    fs::remove_file(filler).unwrap();
    assert_whole(&dir);
    let process = Process::serve(&dir, &[]);
    process.admin_ok("GET", &format!("/accounts/{id}"), &serde_json::Value::Null);
}

#[test]
fn a_restore_that_fills_the_disk_says_so_and_leaves_an_empty_store() {
    let Some(disk) = Disk::new(DISK_MIB) else { return };
    let others = disk.path().join("others");
    fs::write(&others, vec![1; 80 * 1024 * 1024]).unwrap();
    let dir = disk.path().join("db");
    let command = || klinky(&["restore", "--data-dir", dir.to_str().unwrap()]);

    let ended = run_with_input(&mut command(), big_dump(100_000).as_bytes());

    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(ended.stderr.contains("is full; make room"), "{}", ended.stderr);
    fs::remove_file(others).unwrap();
    let again = run_with_input(&mut command(), big_dump(100).as_bytes());
    assert_eq!(again.code, Some(0), "{}", again.stderr);
}

#[test]
fn a_disk_that_can_only_be_read_is_refused_and_takes_nothing() {
    let Some(disk) = Disk::new(DISK_MIB) else { return };
    let dir = disk.path().join("db");
    Process::serve(&dir, &[]).stop();
    disk.make_read_only();

    let (code, message) = starting(&dir);

    assert_eq!(code, Some(1));
    insta::assert_snapshot!(message, @"klinky: cannot use DIR as the data directory: make it writable, or name another with --data-dir: Read-only file system (os error 30)");
    assert_whole(&dir);
}
