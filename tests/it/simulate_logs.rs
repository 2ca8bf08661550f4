//! The logs that `klinky simulate` understands besides the common format, and that a server and it deny the same.

use klinky::clock::{Clock, SystemClock};
use klinky::domain::window::Window;
use serde_json::json;

use crate::process::{Process, klinky, run_with_input};
use crate::simulate::{accounts, denied, passed_over, row, simulated};

#[test]
fn caddys_lines_are_understood() {
    let caddy = |ts: &str, user: &str, request: &str, status: u16| {
        format!(
            r#"{{"level":"info","ts":{ts},"logger":"http.log.access","msg":"handled request","request":{{"remote_ip":"192.0.2.1","client_ip":"192.0.2.7","method":"GET","uri":"/v1/a"{request}}},"user_id":"{user}","status":{status}}}"#
        ) + "\n"
    };
    let log = [
        caddy("1795946400.25", "", "", 200),
        caddy("\"2026-11-29T11:59:59.000+0100\"", "", "", 200),
        caddy("1795946400", "acme", r#","headers":{"X-Account":["a1"]}"#, 200),
        caddy("1795946400", "", "", 401),
        caddy("1795946400", "acme", r#","headers":{"X-Account":["a1"]}"#, 502).replace("handled request", "dial tcp"),
        r#"{"level":"info","ts":1795946400.1,"msg":"serving initial configuration"}"#.to_owned(),
    ]
    .concat();

    let rows = simulated(&[], &log);
    let by_header = simulated(&["--account-field", "request.headers.X-Account.0"], &log);

    assert_eq!(accounts(&rows), ["192.0.2.7", "acme"]);
    assert_eq!(row(&rows, "192.0.2.7")["busiest_hour"], json!({"hour": "2026-11-29T10:00:00Z", "units": 2}));
    assert_eq!((&passed_over(&rows)["refused"], &passed_over(&rows)["other_events"]), (&json!(1), &json!(2)));
    assert_eq!(accounts(&by_header), ["a1"]);
    assert_eq!(row(&by_header, "a1")["requests"], 1);
}

#[test]
fn a_log_of_ones_own_is_understood_by_the_names_of_its_fields() {
    let log = concat!(
        r#"{"user":{"id":7},"at":1795946400000,"method":"GET","path":"/a","status":200}"#,
        "\n",
        r#"{"user.id":"7","at":"2026-11-29T10:59:59.999Z","request":"POST /render HTTP/1.1","status":"200"}"#,
        "\n",
        r#"{"user":{"id":7},"at":1795946400.5,"msg":"cache miss"}"#,
        "\n",
        r#"{"user":{"id":"-"},"at":1795946400,"status":200}"#,
        "\n",
        r#"{"user":{"id":7},"at":1795946400,"status":403}"#,
        "\n",
    );
    let flags = ["--account-field", "user.id", "--time-field", "at", "--cost", "POST /render=5"];

    let rows = simulated(&flags, log);

    assert_eq!(row(&rows, "7")["units"], 6);
    assert_eq!(row(&rows, "7")["busiest_hour"], json!({"hour": "2026-11-29T10:00:00Z", "units": 6}));
    assert_eq!((&passed_over(&rows)["refused"], &passed_over(&rows)["no_account"]), (&json!(1), &json!(1)));
    // What has no status.
    assert_eq!(passed_over(&rows)["other_events"], 1);

    let unnamed = run_with_input(&mut klinky(&["simulate"]), log.as_bytes());
    assert_eq!((unnamed.code, unnamed.stdout.as_str()), (Some(1), ""));
    assert!(unnamed.stderr.contains("name its account's field with --account-field"), "{}", unnamed.stderr);
}

#[test]
fn a_log_without_requests_is_an_error_that_says_what_is_missing() {
    let event = r#"{"timestamp":"2026-11-29T10:00:00Z","level":"info","message":"done""#;
    let told = |log: String| {
        let ended = run_with_input(&mut klinky(&["simulate"]), log.as_bytes());
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
        ended.stderr
    };

    let events = told(format!("{event}}}\n{event}}}\n"));
    let requests = told(format!("{event}}}\n{event},\"path\":\"/v1/a\",\"code\":200}}\n"));

    insta::assert_snapshot!(events, @"klinky: not one of 2 lines is about a request: an access log is asked for, and JSON objects must have a status");
    assert!(
        requests.contains("line 2: it is JSON, but neither klinky's nor Caddy's: name its account's"),
        "{requests}"
    );
}

#[test]
fn a_rule_about_any_method_is_one_about_a_call_whose_method_is_not_known() {
    let log = r#"{"user":7,"time":1795946400,"status":200,"path":"/v1/r"}"#;

    let rows = simulated(&["--account-field", "user", "--cost", "* /v1/r=50", "--cost", "GET /v1/**=2"], log);

    assert_eq!(row(&rows, "7")["units"], 50);
}

#[test]
fn the_log_format_for_nginx_of_the_readme_names_the_account_or_nobody() {
    let readme = include_str!("../../README.md");
    let format = readme.split("log_format klinky '").nth(1).unwrap().split('\'').next().unwrap();
    let line = |account: &str| {
        [
            ("$klinky_account", account),
            ("$remote_addr", "192.0.2.7"),
            ("$time_local", "29/Nov/2026:10:00:00 +0000"),
            ("$request", "GET /v1/a HTTP/1.1"),
            ("$status", "200"),
            ("$body_bytes_sent", "12"),
        ]
        .iter()
        .fold(format.to_owned(), |line, (variable, value)| line.replace(variable, value))
            + "\n"
    };

    // nginx writes `-` for a variable that was not set, and nothing for one that is empty.
    let rows = simulated(&[], &[line("01a21007-14a2-7567-8cfb-2d6cf96e4348"), line("-"), line("")].concat());

    assert_eq!(accounts(&rows), ["01a21007-14a2-7567-8cfb-2d6cf96e4348"]);
    assert_eq!(passed_over(&rows)["no_account"], 2);
}

#[test]
fn what_klinky_says_that_a_request_cost_counts_unless_a_rule_says_otherwise() {
    let line = |route: &str, more: &str| {
        format!(
            r#"{{"timestamp":"2026-11-29T10:00:00.5Z","level":"INFO","message":"answered","method":"GET","route":"{route}","status":200,"decision":"allowed","account.id":"acme"{more}}}"#
        ) + "\n"
    };
    let log =
        line("/v1/a", "") + &line("/check", r#","cost":7,"endpoint":"GET /v1/b""#) + &line("/v1/c", r#","cost":7"#);

    let rows = simulated(&["--cost", "GET /v1/b=50"], &log);

    assert_eq!(row(&rows, "acme")["units"], 1 + 50 + 7);
}

/// Serves with a log in this format, spends more than the limit over two keys, and answers the account, how many requests
/// were answered 429, and the log.
fn spend(format: &str) -> (String, u64, String) {
    let temp = tempfile::tempdir().unwrap();
    let process = Process::serve(temp.path(), &["--log-format", format]);
    let (id, first) = process.account("growth");
    let second = process.admin_ok("POST", &format!("/accounts/{id}/keys"), &json!({"name": "second"}));
    let second = second["key"].as_str().unwrap();
    let mut denied = 0;
    for number in 0..130 {
        let key = if number % 3 == 0 { second } else { &first };
        let asked = match number % 10 {
            // Not counted: without a key, with a wrong one, by what is never limited.
            0 => "GET /api/v1/public/links".to_owned(),
            1 => "GET /api/v1/public/links\nX-API-Key: wrong".to_owned(),
            2 => format!("GET /api/v1/public/keys/rate-limit\nX-API-Key: {key}"),
            // The form of a denial that nginx understands.
            3 => format!("GET /check?deny=403\nX-API-Key: {key}"),
            4 => format!("GET /check?cost=7\nX-API-Key: {key}"),
            5 => format!("GET /api/v1/public/nowhere\nX-API-Key: {key}"),
            _ => format!("GET /api/v1/public/links\nX-API-Key: {key}"),
        };
        let answer = process.public.exchange(&asked);
        let is_denied = answer.status == 429 || answer.header("x-ratelimit-status") == Some("429");
        denied += u64::from(is_denied);
    }
    (id, denied, process.stop())
}

#[test]
fn the_server_and_the_simulation_of_its_log_deny_the_same() {
    for format in ["json", "text"] {
        let hour = || Window::at(SystemClock.now());
        let before = hour();
        let mut spent = spend(format);
        if hour() != before {
            // The hour turned meanwhile, and a line may be of the other one than its decision.
            spent = spend(format);
        }
        let (id, denied_by_server, log) = spent;

        let rows = simulated(&[], &log);

        assert_eq!(accounts(&rows), [id.as_str()], "{log}");
        assert!(denied_by_server > 20, "{denied_by_server}");
        assert_eq!(denied(&rows, &id)[0], denied_by_server, "{format}");
        assert!(passed_over(&rows)["not_counted"].as_u64() > Some(13), "{rows:?}");
    }
}
