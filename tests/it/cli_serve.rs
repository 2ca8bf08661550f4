//! `klinky serve` as a process: secrets, signals, logs and the demo.

use std::fs;
use std::io::{BufRead, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::CommandFactory;
use klinky::config::Cli;
use serde_json::Value;

use crate::harness::{ADMIN_TOKEN, Exchange, JWT_SECRET, admin_request};
use crate::process::{Process, klinky, pass, rows, run, wait_until};
use crate::upstream::Upstream;

/// What a clean stop on a signal leaves: the running request is answered, and nothing is lost.
fn assert_stops_cleanly(signal: &str) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("db");
    let mut process = Process::serve(&dir, &["--flush-every-ms", "60000"]);
    let (_id, key) = process.account("growth");
    assert_eq!(process.public.exchange(&format!("GET /api/v1/public/links\nX-API-Key: {key}")).status, 200);
    let mut idle = process.public.connect();
    write!(idle, "GET /api/v1/public/links HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n").unwrap();
    assert_eq!(Exchange::read("GET", &mut idle).status, 200);
    let body = r#"{"name": "Half sent when the signal came"}"#;
    let mut running = process.admin.connect();
    let head = format!(
        "POST /admin/v1/accounts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\nExpect: 100-continue\r\n"
    );
    write!(running, "{head}Content-Length: {}\r\n\r\n", body.len()).unwrap();
    assert_eq!(Exchange::read("HEAD 100", &mut running).status, 100);

    process.signal(signal);
    process.wait_for_log("stopping");
    running.write_all(body.as_bytes()).unwrap();
    let answer = Exchange::read("POST /admin/v1/accounts", &mut running);
    let (code, log) = process.ended();

    assert_eq!(answer.status, 201, "{answer}");
    assert_eq!(code, Some(0), "{log}");
    let dump = run(&mut klinky(&["dump", "--data-dir", dir.to_str().unwrap()]));
    assert_eq!(dump.code, Some(0), "{}", dump.stderr);
    assert!(dump.stdout.contains("Half sent when the signal came"));
    assert!(rows(&dump.stdout).last().unwrap().contains(r#""used":2"#), "{}", dump.stdout);
}

#[test]
fn sigterm_finishes_what_runs_and_loses_nothing() {
    assert_stops_cleanly("TERM");
}

#[test]
fn ctrl_c_finishes_what_runs_and_loses_nothing() {
    assert_stops_cleanly("INT");
}

#[test]
fn a_second_signal_stops_at_once_and_what_was_counted_is_on_disk() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("db");
    let mut process = Process::serve(&dir, &["--flush-every-ms", "60000"]);
    let (id, key) = process.account("growth");
    process.admin_ok("PATCH", &format!("/accounts/{id}"), &serde_json::json!({"custom_limit": 50}));
    for _request in 0..3 {
        assert_eq!(process.public.exchange(&format!("GET /api/v1/public/links\nX-API-Key: {key}")).status, 200);
    }
    let mut running = process.public.connect();
    let head = format!("POST /api/v1/public/links HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nExpect: 100-continue\r\n");
    write!(running, "{head}Content-Length: 40\r\n\r\n").unwrap();
    assert_eq!(Exchange::read("HEAD 100", &mut running).status, 100);
    let used = || process.admin_ok("GET", &format!("/accounts/{id}/rate-limit"), &Value::Null)["used"].clone();
    wait_until("the running request is counted", || used() == 4);

    process.signal("TERM");
    process.wait_for_log("stopping: finishing what runs");
    // The same signal once more, as some send it.
    process.signal("TERM");
    pass(Duration::from_millis(1_100));
    process.signal("INT");
    let (code, log) = process.ended();

    assert_eq!(code, Some(1), "{log}");
    assert!(!dir.join("admin-address").exists());
    let last = log.lines().last().unwrap();
    insta::assert_snapshot!(last, @"klinky: stopped at once by a second signal: what ran was cut off; what was counted is on disk");
    let dump = run(&mut klinky(&["dump", "--data-dir", dir.to_str().unwrap()]));
    assert_eq!(dump.code, Some(0), "{}", dump.stderr);
    assert!(rows(&dump.stdout).iter().any(|row| row.contains(r#""used":4"#)), "{}", dump.stdout);
}

#[test]
fn a_second_server_on_the_same_directory_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().to_str().unwrap();
    let first = Process::serve(temp.path(), &[]);

    let second =
        run(&mut klinky(&["serve", "--data-dir", dir, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]));

    assert_eq!(second.code, Some(1));
    insta::assert_snapshot!(second.stderr.replace(dir, "DIR"), @"klinky: DIR is in use by another klinky process; stop that one first, or name another directory with --data-dir");
    assert_eq!(first.admin.exchange("GET /readyz").status, 200);
}

fn serve_plainly(dir: &Path) -> Process {
    Process::start(&mut klinky(&["serve", "--data-dir", dir.to_str().unwrap()]))
}

fn stats_status(process: &Process, token: &str) -> u16 {
    process.admin.exchange(&format!("GET /admin/v1/stats\nAuthorization: Bearer {token}")).status
}

#[test]
fn secrets_are_made_at_first_start_for_the_owner_only_and_kept() {
    let temp = tempfile::tempdir().unwrap();
    let files = [temp.path().join("admin-token"), temp.path().join("jwt-secret")];

    serve_plainly(temp.path()).stop();
    let made = files.each_ref().map(|file| fs::read_to_string(file).unwrap());
    let process = serve_plainly(temp.path());

    assert_eq!(stats_status(&process, made[0].trim()), 200);
    assert_eq!(files.each_ref().map(|file| fs::read_to_string(file).unwrap()), made);
    assert_ne!(made[0], made[1]);
    for file in &files {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn the_data_directory_that_is_made_is_for_the_owner_only() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("new/db");

    let _process = serve_plainly(&dir);

    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn what_is_made_in_a_directory_that_others_may_read_is_for_the_owner_only() {
    let temp = tempfile::tempdir().unwrap();
    fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755)).unwrap();

    serve_plainly(temp.path()).stop();

    let made = ["klinky.json", "store", "store/db", "usage-journal"];
    let modes = made.map(|name| fs::metadata(temp.path().join(name)).unwrap().permissions().mode() & 0o077);
    assert_eq!(modes, [0; 4]);
}

#[test]
fn secrets_of_the_environment_win_and_are_not_written_down() {
    let temp = tempfile::tempdir().unwrap();
    let kept = temp.path().join("kept");
    serve_plainly(&kept).stop();
    let token_of_file = fs::read_to_string(kept.join("admin-token")).unwrap();

    let beside_files = Process::serve(&kept, &[]);
    let without_files = Process::serve(&temp.path().join("new"), &[]);

    assert_eq!(stats_status(&beside_files, ADMIN_TOKEN), 200);
    assert_eq!(stats_status(&beside_files, token_of_file.trim()), 401);
    assert_eq!(stats_status(&without_files, ADMIN_TOKEN), 200);
    assert!(!temp.path().join("new/admin-token").exists() && !temp.path().join("new/jwt-secret").exists());
}

#[test]
fn an_admin_token_of_the_environment_goes_without_the_end_of_its_line() {
    let temp = tempfile::tempdir().unwrap();
    let mut command = klinky(&["serve", "--data-dir", temp.path().to_str().unwrap()]);
    let token = format!("{ADMIN_TOKEN} \r\n");

    let process = Process::start(command.env("KLINKY_ADMIN_TOKEN", &token));
    let mut dump = klinky(&["dump", "--data-dir", temp.path().to_str().unwrap()]);
    let dumped = run(dump.env("KLINKY_ADMIN_TOKEN", &token));

    assert_eq!(stats_status(&process, ADMIN_TOKEN), 200);
    assert_eq!(dumped.code, Some(0), "{}", dumped.stderr);
}

#[test]
fn a_secret_file_that_holds_too_little_is_refused_by_name() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("jwt-secret"), "short\n").unwrap();

    let ended = run(&mut klinky(&["serve", "--data-dir", temp.path().to_str().unwrap()]));

    assert_eq!(ended.code, Some(1));
    insta::assert_snapshot!(ended.stderr.replace(temp.path().to_str().unwrap(), "DIR"), @"klinky: DIR/jwt-secret holds fewer than 32 bytes; delete it and a new one is made");
}

#[test]
fn each_request_is_one_json_line_that_says_what_became_of_it() {
    let temp = tempfile::tempdir().unwrap();
    let process = Process::serve(temp.path(), &["--log-format", "json"]);
    let (id, key) = process.account("growth");
    process.public.exchange(&format!("GET /api/v1/public/links\nX-API-Key: {key}\nX-Request-Id: mine-1"));
    process.public.exchange("GET /api/v1/public/links\nX-Request-Id: mine-2");
    process.public.exchange(&format!("GET /check?cost=7\nX-API-Key: {key}\nX-Request-Id: mine-3"));
    let bulk = format!("POST /api/v1/public/links/bulk\nX-API-Key: {key}\nX-Request-Id: mine-4");
    process.public.exchange(&format!("{bulk}\n\n{{\"links\":[1,2,3]}}"));

    let log = process.stop();

    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |id: &str| {
        let mut own = lines.iter().filter(|line| line["span"]["request.id"] == id || line["request.id"] == id);
        let line = own.next().unwrap_or_else(|| panic!("no line of {id} in {log}"));
        assert!(own.next().is_none(), "two lines of {id} in {log}");
        line
    };
    let counted = of("mine-1");
    assert_eq!(counted["method"], "GET");
    assert_eq!(counted["route"], "/api/v1/public/links");
    assert_eq!(counted["status"], 200);
    assert_eq!(counted["decision"], "allowed");
    assert_eq!(counted["account.id"], id);
    assert_eq!(counted["plan.id"], "growth");
    assert!(counted["duration_us"].is_u64(), "{counted}");
    assert!(counted["timestamp"].is_string() && counted["level"] == "INFO", "{counted}");
    assert_eq!(of("mine-2")["status"], 401);
    // What most requests cost is not worth a field.
    assert_eq!([counted, of("mine-3"), of("mine-4")].map(|line| line["cost"].as_u64()), [None, Some(7), Some(3)]);
}

#[test]
fn the_line_of_a_request_for_the_upstream_has_its_path_with_ids_folded() {
    let temp = tempfile::tempdir().unwrap();
    let upstream = format!("http://{}", crate::gateway_faults::nobody());
    let flags =
        ["--log-format", "json", "--upstream", &upstream, "--upstream-prefix", "/v1", "--public-path", "/v1/docs/**"];
    let process = Process::serve(temp.path(), &flags);
    for path in ["/v1/things/42?secret=1", "/v1/docs/018d0b3a-5c1e-7d2f-8a3b-1c2d3e4f5a6b", "/elsewhere", "/check"] {
        process.public.exchange(&format!("GET {path}\n"));
    }

    let log = process.stop();

    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let routes: Vec<_> = lines.filter_map(|line| Some(line["route"].as_str()?.to_owned())).collect();
    assert_eq!(routes, ["/v1/things/{id}", "/v1/docs/{id}", "-", "/check"]);
}

#[test]
fn no_key_token_or_secret_reaches_the_log() {
    let temp = tempfile::tempdir().unwrap();
    let process = Process::serve(temp.path(), &["--log", "trace"]);
    let (id, key) = process.account("growth");
    let token = process.admin_ok("POST", &format!("/accounts/{id}/tokens"), &serde_json::json!({}))["token"].clone();
    let jwt = token.as_str().unwrap().to_owned();
    let (wrong_key, wrong_token) = (format!("{key}x"), "a-wrong-admin-token-9876543210");
    process.public.exchange(&format!("GET /api/v1/public/links\nX-API-Key: {key}"));
    process.public.exchange(&format!("GET /api/v1/public/links\nX-API-Key: {wrong_key}"));
    process.public.exchange(&format!("GET /api/v1/public/links?api_key={key}"));
    process.public.exchange(&format!("POST /check\nContent-Type: application/json\n\n{{\"key\": \"{key}\"}}"));
    process.public.exchange(&format!("POST /check\nContent-Type: application/json\n\n{{\"key\": {key}}}"));
    process.public.exchange(&format!("GET /api/v1/public/keys\nAuthorization: Bearer {jwt}"));
    process.public.exchange(&format!("GET /api/v1/public/keys\nAuthorization: Bearer {jwt}x"));
    assert_eq!(stats_status(&process, wrong_token), 401);
    process.admin.exchange(&admin_request("POST", "/accounts", "{\"name\": \"\"}"));

    let log = process.stop();

    assert!(log.contains("answered"), "{log}");
    for secret in [key.as_str(), &jwt, ADMIN_TOKEN, JWT_SECRET, wrong_token] {
        // Half of it is too much, too.
        let half = &secret[secret.len() / 2..];
        assert!(!log.contains(half), "{half} of {secret} is in the log");
    }
}

#[test]
fn an_admin_listener_that_other_machines_reach_is_warned_of() {
    let temp = tempfile::tempdir().unwrap();
    for (listen, is_reachable) in [("0.0.0.0:0", true), ("127.0.0.1:0", false), ("127.8.9.10:0", false)] {
        let flags = ["serve", "--data-dir", temp.path().to_str().unwrap(), "--listen", "127.0.0.1:0"];
        let child = Process::start_as_it_is(klinky(&flags).args(["--admin-listen", listen]));

        let log = child.stop();

        let warned: Vec<&str> = log.lines().filter(|line| line.contains("other machines may reach")).collect();
        assert_eq!(warned.len(), usize::from(is_reachable), "{listen}: {log}");
        assert!(warned.iter().all(|line| line.contains("WARN") && line.contains("admin=0.0.0.0:")), "{log}");
    }
}

#[test]
fn an_empty_variable_is_as_good_as_none() {
    let temp = tempfile::tempdir().unwrap();
    let mut command = klinky(&["serve", "--data-dir", temp.path().to_str().unwrap()]);
    let cli = Cli::command();
    let flags = cli.get_subcommands().flat_map(clap::Command::get_arguments);
    let variables: Vec<_> = flags.filter_map(clap::Arg::get_env).collect();
    assert!(variables.len() > 25, "{variables:?}");
    for variable in variables {
        command.env(variable, "");
    }

    let process = Process::start(command.env("KLINKY_ADMIN_TOKEN", "").env("KLINKY_JWT_SECRET", ""));

    let made = fs::read_to_string(temp.path().join("admin-token")).unwrap();
    assert_eq!(stats_status(&process, made.trim()), 200);
    let log = process.stop();
    assert!(!log.contains("misspelt"), "{log}");
}

#[test]
fn a_misspelt_variable_is_warned_of_and_no_other() {
    let temp = tempfile::tempdir().unwrap();
    let mut command = klinky(&["serve", "--demo"]);
    command.env("KLINKY_FLUSH_MS", "5").env("KLINKY_ADMIN_TOKENS", "x").env("KLINKY", "x");
    command.env("KLINKY_FLUSH_EVERY_MS", "50").env("KLINKY_DUMP_ONLY", "plans");
    command.env("KLINKY_ADMIN_TOKEN", ADMIN_TOKEN).env("KLINKY_JWT_SECRET", JWT_SECRET);
    let process = Process::start(command.env("TMPDIR", temp.path()).stdout(Stdio::null()));

    let log = process.stop();

    let named: Vec<&str> = log.lines().filter(|line| line.contains("misspelt")).collect();
    assert_eq!(named.len(), 2, "{log}");
    assert!(named[0].ends_with("variable=\"KLINKY_ADMIN_TOKENS\""), "{log}");
    assert!(named[1].ends_with("variable=\"KLINKY_FLUSH_MS\""), "{log}");
}

#[test]
fn the_demo_prints_lines_that_work_and_leaves_nothing_behind() {
    let temp = tempfile::tempdir().unwrap();
    let mut command = klinky(&["serve", "--demo"]);
    let mut process = Process::start(command.env("TMPDIR", temp.path()).stdout(Stdio::piped()));
    let stdout = process.take_stdout();
    let said: Vec<String> =
        stdout.lines().map_while(Result::ok).take_while(|line| !line.contains("curl -X PATCH")).collect();
    let (plans, shell): (Vec<_>, Vec<_>) =
        said.iter().map(|line| line.trim()).partition(|line| line.contains("_live_") && !line.starts_with("export"));
    let pasted = shell.into_iter().filter(|line| line.starts_with("export") || line.starts_with("curl"));
    let script = pasted.collect::<Vec<_>>().join("\n");

    let shown = Command::new("sh").args(["-ec", &script.replace("curl", "curl -sS")]).output().unwrap();
    let statuses: Vec<(&str, u16)> = plans
        .iter()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let ping = format!("GET /api/v1/public/links\nX-API-Key: {}", words[2]);
            (words[0], process.public.exchange(&ping).status)
        })
        .collect();
    process.stop();

    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.starts_with("HTTP/1.1 200 OK") && shown.contains("{\"items\":[]"), "{shown}\n{script}");
    assert!(shown.contains("{\"limit\":100,\"remaining\":99,"), "{shown}");
    assert_eq!(statuses, [("free", 403), ("growth", 200), ("scale", 200), ("starter", 403)]);
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
}

#[test]
fn the_demo_of_a_gateway_prints_a_line_that_reaches_the_upstream() {
    let upstream = Upstream::plain();
    let url = format!("http://{}", upstream.address);
    for (prefix, path) in [("/v1", "/v1"), ("/", "/")] {
        let mut command = klinky(&["serve", "--demo", "--upstream", &url, "--upstream-prefix", prefix]);
        let mut process = Process::start(command.stdout(Stdio::piped()));
        let lines = process.take_stdout().lines().map_while(Result::ok);
        let said: Vec<String> = lines.take_while(|line| !line.contains("curl -X PATCH")).collect();
        drop(process);

        let line = format!("  curl -i $API{path} -H \"X-API-Key: $KEY\"");
        assert!(said.contains(&line), "{said:?}");
    }
}

#[test]
fn a_demo_leaves_the_data_directory_alone() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("db");
    let mut command = klinky(&["serve", "--demo"]);

    let process = Process::start(command.env("KLINKY_DATA_DIR", &dir).stdout(Stdio::null()));

    assert_eq!(process.admin.exchange("GET /readyz").status, 200);
    assert!(!dir.exists());
}

#[test]
fn a_variable_can_say_that_there_is_no_demo() {
    let temp = tempfile::tempdir().unwrap();
    let mut command = klinky(&["serve", "--data-dir", temp.path().to_str().unwrap()]);

    let process = Process::start(command.env("KLINKY_DEMO", "false").stdout(Stdio::piped()));

    assert!(temp.path().join("klinky.json").exists());
    process.stop();
}
