//! `klinky dump`, `restore` and `token`, with the server running and without.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use crate::harness::{ADMIN_TOKEN, JWT_SECRET};
use crate::process::{Ended, Process, big_dump, klinky, rows, run, run_with_input};

fn dump(dir: &Path, flags: &[&str]) -> Ended {
    let mut command = klinky(&["dump", "--data-dir", dir.to_str().unwrap()]);
    run(command.args(flags).env("KLINKY_ADMIN_TOKEN", ADMIN_TOKEN))
}

/// The dump of a directory, which must succeed.
fn dumped(dir: &Path) -> String {
    let ended = dump(dir, &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    ended.stdout
}

/// What a command complains of, with the directory's name and ports taken out.
fn complaint(ended: &Ended, dir: &Path) -> String {
    crate::harness::redact(&ended.stderr.replace(dir.to_str().unwrap(), "DIR"))
}

/// Restores a dump from standard input.
fn restore(dir: &Path, dump: &str) -> Ended {
    run_with_input(&mut klinky(&["restore", "--data-dir", dir.to_str().unwrap()]), dump.as_bytes())
}

#[test]
fn a_restore_that_fails_leaves_no_store_that_a_server_could_start_on() {
    let temp = tempfile::tempdir().unwrap();
    let first = temp.path().join("first");
    let process = Process::serve(&first, &[]);
    process.account("growth");
    process.stop();
    let whole = dumped(&first);
    let cut: String = whole.lines().take(3).map(|line| format!("{line}\n")).collect();
    let (absent, empty) = (temp.path().join("absent"), temp.path().join("empty"));
    fs::create_dir(&empty).unwrap();

    for wrong in [cut.as_str(), "{\"name\": \"Acme\"}\n", ""] {
        for dir in [&absent, &empty] {
            let ended = restore(dir, wrong);
            assert_eq!(ended.code, Some(1), "{}", ended.stdout);
        }
        assert!(!absent.exists());
        assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
    }
    assert_eq!(restore(&absent, &whole).code, Some(0));

    // What was there before stays.
    let before = dumped(&absent);
    assert_eq!(restore(&absent, &cut).code, Some(1));
    assert_eq!(rows(&dumped(&absent)), rows(&before));
}

#[test]
fn a_dump_that_is_given_up_because_its_client_takes_nothing_does_not_end_as_if_it_were_whole() {
    let temp = tempfile::tempdir().unwrap();
    assert_eq!(restore(temp.path(), &big_dump(40_000)).code, Some(0));
    let mut process = Process::serve(temp.path(), &[]);
    let mut stream = process.admin.connect();
    let request = format!("GET /admin/v1/dump HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();

    // 30 s after the client's system has taken something for the last time.
    process.wait_for_log("a dump was cut off");
    let mut read = Vec::new();
    let _broken_off = stream.read_to_end(&mut read);

    assert!(read.starts_with(b"HTTP/1.1 200 "));
    assert!(!read.ends_with(b"\r\n0\r\n\r\n"), "{} bytes end as a whole dump does", read.len());
}

#[test]
fn a_dump_is_the_same_with_the_server_running_and_stopped() {
    let temp = tempfile::tempdir().unwrap();
    let process = Process::serve(temp.path(), &[]);
    let (_id, key) = process.account("growth");
    process.public.exchange(&format!("GET /api/v1/public/links\nX-API-Key: {key}"));

    let running = dumped(temp.path());
    process.stop();
    let stopped = dumped(temp.path());

    assert_eq!(rows(&running).len(), 4 + 1 + 1 + 1 + 1, "{running}");
    assert_eq!(rows(&running), rows(&stopped));
}

#[test]
fn a_table_has_headers_and_the_same_rows() {
    let temp = tempfile::tempdir().unwrap();
    let process = Process::serve(temp.path(), &[]);
    let (id, _key) = process.account("growth");

    let running = dump(temp.path(), &["--format", "table"]);
    process.stop();
    let stopped = dump(temp.path(), &["--format", "table"]);

    assert_eq!((running.code, stopped.code), (Some(0), Some(0)));
    assert_eq!(running.stdout, stopped.stdout);
    for title in ["PLAN ", "ACCOUNT ", "KEY "] {
        assert!(running.stdout.lines().any(|line| line.starts_with(title)), "{}", running.stdout);
    }
    assert!(running.stdout.lines().any(|line| line.starts_with(&id)), "{}", running.stdout);
}

#[test]
fn a_dump_takes_only_the_kinds_and_the_account_that_are_asked_for() {
    let temp = tempfile::tempdir().unwrap();
    let process = Process::serve(temp.path(), &[]);
    let (id, _key) = process.account("growth");
    process.account("scale");
    let flags = ["--only", "accounts,keys", "--account", &id];

    let running = dump(temp.path(), &flags);
    process.stop();
    let stopped = dump(temp.path(), &flags);

    assert_eq!(rows(&running.stdout), rows(&stopped.stdout));
    let kinds: Vec<&str> = rows(&running.stdout).iter().map(|row| row.split('"').nth(3).unwrap()).collect();
    assert_eq!(kinds, ["account", "key"]);
    assert!(rows(&running.stdout).iter().all(|row| row.contains(&id)));
}

#[test]
fn a_dump_of_an_account_that_does_not_exist_is_an_error() {
    let temp = tempfile::tempdir().unwrap();
    let process = Process::serve(temp.path(), &[]);
    let flags = ["--account", "018d0d5e-0001-7000-8000-000000000000"];

    let running = dump(temp.path(), &flags);
    process.stop();
    let stopped = dump(temp.path(), &flags);

    assert_eq!((running.code, stopped.code), (Some(1), Some(1)));
    assert_eq!((running.stdout.as_str(), stopped.stdout.as_str()), ("", ""));
    insta::assert_snapshot!(complaint(&running, temp.path()), @"klinky: the server at <address> answered 404: No such account.");
    insta::assert_snapshot!(complaint(&stopped, temp.path()), @"klinky: no such account");
}

#[test]
fn a_servers_admin_address_does_not_outlive_it() {
    let temp = tempfile::tempdir().unwrap();
    let address = temp.path().join("admin-address");

    Process::serve(temp.path(), &[]).stop();
    let after_stop = address.exists();
    Process::serve(temp.path(), &[]).kill();
    let after_crash = address.exists();
    let dumped = run(&mut klinky(&["dump", "--data-dir", temp.path().to_str().unwrap()]));

    assert!(!after_stop);
    assert!(after_crash && !address.exists(), "{}", dumped.stderr);
}

#[test]
fn the_admin_address_of_a_server_that_crashed_goes_before_the_next_one_listens() {
    let temp = tempfile::tempdir().unwrap();
    Process::serve(temp.path(), &[]).kill();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (dir, listen) = (temp.path().to_str().unwrap(), taken.local_addr().unwrap().to_string());

    let ended = run(&mut klinky(&["serve", "--data-dir", dir, "--listen", &listen, "--admin-listen", "127.0.0.1:0"]));

    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(!temp.path().join("admin-address").exists());
}

#[test]
fn a_dump_of_a_missing_directory_fails_and_makes_none() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("db");

    let ended = dump(&dir, &[]);

    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(!dir.exists());
}

#[test]
fn a_reader_that_leaves_early_ends_the_dump_without_an_error() {
    let temp = tempfile::tempdir().unwrap();
    assert_eq!(restore(temp.path(), &big_dump(2000)).code, Some(0));
    let dump_head = || {
        let mut command = klinky(&["dump", "--data-dir", temp.path().to_str().unwrap()]);
        command.env("KLINKY_ADMIN_TOKEN", ADMIN_TOKEN).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert!(first.contains("\"header\""), "{first}");
        let ended = child.wait_with_output().unwrap();
        (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
    };

    let stopped = dump_head();
    let process = Process::serve(temp.path(), &[]);
    let running = dump_head();

    assert_eq!(stopped, (Some(0), String::new()));
    assert_eq!(running, (Some(0), String::new()));
    assert_eq!(process.admin.exchange("GET /readyz").status, 200);
}

#[test]
fn a_wrong_admin_token_is_told() {
    let temp = tempfile::tempdir().unwrap();
    let _process = Process::serve(temp.path(), &[]);

    let mut command = klinky(&["dump", "--data-dir", temp.path().to_str().unwrap()]);
    let wrong = run(command.env("KLINKY_ADMIN_TOKEN", "a-wrong-admin-token-9876543210"));
    let absent = run(&mut klinky(&["dump", "--data-dir", temp.path().to_str().unwrap()]));

    assert_eq!((wrong.code, absent.code), (Some(1), Some(1)));
    assert_eq!((wrong.stdout.as_str(), absent.stdout.as_str()), ("", ""));
    insta::assert_snapshot!(complaint(&wrong, temp.path()), @"klinky: the server at <address> answered 401: Missing or wrong admin token. Include Authorization: Bearer header.");
    insta::assert_snapshot!(complaint(&absent, temp.path()), @"klinky: DIR/admin-token does not exist: no server has run on this data directory, or its secret comes from the environment, which must then be set here, too");
}

#[test]
fn a_restored_dump_dumps_the_same_from_a_file_and_from_standard_input() {
    let temp = tempfile::tempdir().unwrap();
    let dirs = ["first", "file", "input"].map(|name| temp.path().join(name));
    let process = Process::serve(&dirs[0], &[]);
    let (_id, key) = process.account("growth");
    process.account("free");
    process.public.exchange(&format!("GET /api/v1/public/links\nX-API-Key: {key}"));
    process.stop();
    let first = dumped(&dirs[0]);
    let file = temp.path().join("dump.jsonl");
    fs::write(&file, &first).unwrap();

    let from_file = run(&mut klinky(&["restore", "--data-dir", dirs[1].to_str().unwrap(), file.to_str().unwrap()]));
    let from_input = restore(&dirs[2], &first);

    assert_eq!((from_file.code, from_input.code), (Some(0), Some(0)), "{} {}", from_file.stderr, from_input.stderr);
    assert_eq!(
        complaint(&Ended { stderr: from_input.stdout, ..from_file }, &dirs[2]),
        "restored 4 plans, 2 accounts, 2 keys, 1 counters and 0 links into DIR\n"
    );
    assert_eq!(rows(&dumped(&dirs[1])), rows(&first));
    assert_eq!(rows(&dumped(&dirs[2])), rows(&first));
}

#[test]
fn a_restored_key_opens_the_api() {
    let temp = tempfile::tempdir().unwrap();
    let (first, second) = (temp.path().join("first"), temp.path().join("second"));
    let process = Process::serve(&first, &[]);
    let (_id, key) = process.account("growth");
    process.stop();
    restore(&second, &dumped(&first));

    let process = Process::serve(&second, &[]);

    assert_eq!(process.public.exchange(&format!("GET /api/v1/public/links\nX-API-Key: {key}")).status, 200);
}

#[test]
fn a_restore_into_a_filled_store_is_refused_and_changes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    restore(temp.path(), &big_dump(2));
    let before = dumped(temp.path());

    let ended = restore(temp.path(), &big_dump(3));

    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    insta::assert_snapshot!(complaint(&ended, temp.path()), @"klinky: the store is not empty: restore only into a new one");
    assert_eq!(rows(&dumped(temp.path())), rows(&before));
}

#[test]
fn a_restore_while_the_server_runs_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let process = Process::serve(temp.path(), &[]);

    let ended = restore(temp.path(), &big_dump(2));

    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    insta::assert_snapshot!(complaint(&ended, temp.path()), @"klinky: DIR is in use by another klinky process; stop that one first, or name another directory with --data-dir");
    assert_eq!(process.admin_ok("GET", "/accounts", &serde_json::Value::Null)["items"], serde_json::json!([]));
}

#[test]
fn a_restore_of_what_is_no_dump_leaves_an_empty_store() {
    let temp = tempfile::tempdir().unwrap();
    let cut = big_dump(5).replace("\"sha256\":\"0000", "\"sha256\":\"zzzz");

    let no_dump = restore(temp.path(), "hello\n");
    let damaged = restore(temp.path(), &cut);
    let absent = run(&mut klinky(&["restore", "--data-dir", temp.path().to_str().unwrap(), "/nowhere.jsonl"]));
    let whole = restore(temp.path(), &big_dump(5));

    assert_eq!([no_dump.code, damaged.code, absent.code, whole.code], [Some(1), Some(1), Some(1), Some(0)]);
    insta::assert_snapshot!([no_dump.stderr, damaged.stderr, absent.stderr].concat(), @"
    klinky: not a klinky dump of a version up to 1: must be a JSON object
    klinky: line 8: sha256: must be 64 lower-case hexadecimal digits
    klinky: could not open /nowhere.jsonl: No such file or directory (os error 2)
    ");
}

#[test]
fn a_token_opens_the_running_server() {
    let temp = tempfile::tempdir().unwrap();
    let process = Process::start(
        klinky(&["serve", "--data-dir", temp.path().to_str().unwrap()]).env("KLINKY_ADMIN_TOKEN", ADMIN_TOKEN),
    );
    let (id, _key) = process.account("growth");
    let status = |jwt: &str| {
        let path = "GET /api/v1/public/keys/rate-limit";
        process.public.exchange(&format!("{path}\nAuthorization: Bearer {}", jwt.trim())).status
    };

    let mut command = klinky(&["token", &id, "--data-dir", temp.path().to_str().unwrap(), "--ttl-seconds", "60"]);
    let own = run(&mut command);
    let other = run(command.env("KLINKY_JWT_SECRET", JWT_SECRET));

    assert_eq!((own.code, other.code), (Some(0), Some(0)), "{} {}", own.stderr, other.stderr);
    assert_eq!((status(&own.stdout), status(&other.stdout)), (200, 401));
}

#[test]
fn a_token_without_a_secret_to_sign_is_an_error() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().to_str().unwrap();

    let ended = run(&mut klinky(&["token", "018d0d5e-0001-7000-8000-000000000000", "--data-dir", dir]));

    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    insta::assert_snapshot!(complaint(&ended, temp.path()), @"klinky: DIR/jwt-secret does not exist: no server has run on this data directory, or its secret comes from the environment, which must then be set here, too");
}

#[test]
fn a_misspelt_variable_is_warned_of_beside_the_dump() {
    let temp = tempfile::tempdir().unwrap();
    restore(temp.path(), &big_dump(2));
    let plain = dumped(temp.path());
    let dir = temp.path().to_str().unwrap();

    let mut command = klinky(&["dump", "--data-dir", dir]);
    let dump = run(command.env("KLINKY_FORMAT", "table").env("KLINKY_DUMP_FORMAT", "json").env("KLINKY_WORKERS", "1"));
    let others = ["restore", "verify", "token", "simulate"].map(|other| {
        let args = if other == "token" { vec![other, "018d0d5e-0001-7000-8000-000000000000"] } else { vec![other] };
        run(klinky(&args).env("KLINKY_DATA_DIR", dir).env("KLINKY_FORMAT", "table"))
    });

    let warning = "klinky: warning: nothing reads KLINKY_FORMAT: is its name misspelt?\n";
    assert_eq!((dump.code, dump.stderr.as_str()), (Some(0), warning));
    assert_eq!(rows(&dump.stdout), rows(&plain));
    for other in others {
        assert!(other.stderr.starts_with(warning), "{}", other.stderr);
    }
}
