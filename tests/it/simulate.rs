//! `klinky simulate`: what it counts of a log, how it shows that, and what it makes of what it cannot read.

use std::fs;

use serde_json::{Value, json};

use crate::process::{Ended, Process, klinky, run, run_with_input};

/// Simulates the log, and must succeed.
pub(crate) fn simulated(flags: &[&str], log: &str) -> Vec<Value> {
    let ended = run_with_input(klinky(&["simulate", "--format", "json"]).args(flags), log.as_bytes());
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    rows(&ended)
}

fn rows(ended: &Ended) -> Vec<Value> {
    ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The row of an account.
pub(crate) fn row<'a>(rows: &'a [Value], account: &str) -> &'a Value {
    rows.iter().find(|row| row["account"] == account).unwrap_or_else(|| panic!("no {account} in {rows:?}"))
}

/// How many requests of an account were denied under each of what was tried.
pub(crate) fn denied(rows: &[Value], account: &str) -> Vec<u64> {
    row(rows, account)["limits"].as_array().unwrap().iter().map(|limit| limit["denied"].as_u64().unwrap()).collect()
}

/// The names of the accounts, in their order.
pub(crate) fn accounts(rows: &[Value]) -> Vec<&str> {
    rows.iter().filter_map(|row| row["account"].as_str()).collect()
}

/// How many lines were passed over, by why.
pub(crate) fn passed_over(rows: &[Value]) -> &Value {
    &rows.last().unwrap()["passed_over"]
}

/// A line of the combined format.
fn line(user: &str, time: &str, request: &str, status: u16) -> String {
    format!("192.0.2.7 - {user} [{time}] \"{request} HTTP/1.1\" {status} 12 \"-\" \"curl/8\"\n")
}

/// So many lines of a user in an hour of 29 November 2026.
fn hour(user: &str, hour: u32, requests: usize) -> String {
    line(user, &format!("29/Nov/2026:{hour:02}:30:00 +0000"), "GET /v1/a", 200).repeat(requests)
}

#[test]
fn each_plan_denies_what_is_over_its_limit_in_an_hour() {
    let log = [hour("acme", 10, 130), hour("acme", 11, 100), hour("beta", 10, 1005)].concat();

    let rows = simulated(&[], &log);

    assert_eq!(accounts(&rows), ["beta", "acme"]);
    assert_eq!(
        *row(&rows, "acme"),
        json!({
            "kind": "account", "account": "acme", "requests": 230, "units": 230,
            "busiest_hour": {"hour": "2026-11-29T10:00:00Z", "units": 130},
            "limits": [{"plan": "growth", "limit": 100, "denied": 30}, {"plan": "scale", "limit": 1000, "denied": 0}],
            "enough": {"plan": "scale", "limit": 1000},
        })
    );
    assert_eq!(denied(&rows, "beta"), [905, 5]);
    assert_eq!(row(&rows, "beta")["enough"], Value::Null);
    assert_eq!(
        rows[2],
        json!({"kind": "limit", "plan": "growth", "limit": 100, "denied": 935, "share": 0.757_085, "accounts_denied": 2})
    );
    assert_eq!(rows[4]["requests"], 1235);
}

#[test]
fn an_hour_is_one_of_utc_and_begins_at_its_top() {
    let at = |time: &str| line("acme", &format!("29/Nov/2026:{time}"), "GET /v1/a", 200);
    let log =
        ["10:59:59 +0000", "11:00:00 +0000", "12:59:59 +0100", "11:30:00 +0530", "04:30:00 -0530"].map(at).concat();

    // Two fall into 11 o'clock, two into 10 o'clock, one into 6 o'clock.
    let rows = simulated(&["--limit", "1"], &log);

    assert_eq!(denied(&rows, "acme")[0], 2);
    assert_eq!(row(&rows, "acme")["busiest_hour"], json!({"hour": "2026-11-29T10:00:00Z", "units": 2}));
}

#[test]
fn files_count_together_in_whatever_order_their_hours_come() {
    let temp = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| temp.path().join(name));
    fs::write(&first, [hour("acme", 11, 60), hour("acme", 10, 60)].concat()).unwrap();
    fs::write(&second, [hour("acme", 10, 60), hour("acme", 11, 10)].concat()).unwrap();

    let ended = run(klinky(&["simulate", "--format", "json"]).args([&first, &second]));

    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(denied(&rows(&ended), "acme"), [20, 0]);
}

#[test]
fn a_denied_request_uses_nothing_and_the_next_cheaper_one_passes() {
    let time = "29/Nov/2026:10:00:00 +0000";
    let log = ["POST /v1/render", "POST /v1/Render/", "GET /v1/a", "GET /v1/a", "GET /v1/a", "GET /v1/a"];
    let log: String = log.iter().map(|request| line("acme", time, request, 200)).collect();

    let rows = simulated(&["--cost", "POST /v1/render=5", "--limit", "8"], &log);

    // 5, then 5 more that do not fit, three times 1, and one too many.
    assert_eq!(denied(&rows, "acme")[0], 2);
    assert_eq!((&row(&rows, "acme")["requests"], &row(&rows, "acme")["units"]), (&json!(6), &json!(14)));
}

#[test]
fn what_is_no_request_of_an_account_is_not_tried() {
    let time = "29/Nov/2026:10:00:00 +0000";
    let answered = |status| line("acme", time, "GET /v1/a", status);
    let log = [answered(200), answered(401), answered(403), answered(404), answered(429), answered(500)].concat()
        + &line("acme", time, "OPTIONS /v1/a", 204)
        + &answered(200).replace("192.0.2.7 - acme", "- - -")
        + &answered(408).replace("GET /v1/a HTTP/1.1", "-");

    let rows = simulated(&["--limit", "3"], &log);

    assert_eq!(row(&rows, "acme")["requests"], 4);
    assert_eq!(denied(&rows, "acme")[0], 1);
    let expected = json!({
        "no_account": 1, "refused": 2, "preflights": 1, "not_counted": 0, "no_request": 1, "other_events": 0,
        "unreadable": 0
    });
    assert_eq!(*passed_over(&rows), expected);
}

#[test]
fn plans_come_from_a_dump_and_limits_stand_among_them() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("db");
    let process = Process::serve(&dir, &[]);
    let plan = json!({"id": "tiny", "name": "Tiny", "api_access": true, "requests_per_hour": 20, "best_for": "-"});
    process.admin_ok("POST", "/plans", &plan);
    process.account("growth");
    process.stop();
    let dump = temp.path().join("plans.jsonl");
    fs::write(&dump, run(&mut klinky(&["dump", "--data-dir", dir.to_str().unwrap()])).stdout).unwrap();
    let flags = ["--plans", dump.to_str().unwrap(), "--limit", "100", "--limit", "50"];

    let rows = simulated(&flags, &hour("acme", 10, 60));
    let by_variable = run_with_input(
        klinky(&["simulate", "--format", "json"]).env("KLINKY_SIMULATE_LIMIT", "50,70"),
        hour("acme", 10, 60).as_bytes(),
    );

    let names = |rows: &[Value]| -> Vec<String> {
        let limits = row(rows, "acme")["limits"].as_array().unwrap().clone();
        limits.iter().map(|limit| format!("{} {}", limit["plan"].as_str().unwrap_or("-"), limit["limit"])).collect()
    };
    assert_eq!(names(&rows), ["tiny 20", "- 50", "growth 100", "- 100", "scale 1000"]);
    assert_eq!(denied(&rows, "acme"), [40, 10, 0, 0, 0]);
    assert_eq!(row(&rows, "acme")["enough"], json!({"plan": "growth", "limit": 100}));
    assert_eq!(names(&self::rows(&by_variable)), ["- 50", "- 70", "growth 100", "scale 1000"]);
}

#[test]
fn a_table_shows_those_who_are_denied_most_and_how_many_more_there_are() {
    let log = [hour("acme", 10, 130), hour("beta", 10, 300), hour("gamma", 9, 7), hour("delta", 9, 8)].concat();

    let ended = run_with_input(klinky(&["simulate", "--top", "3"]).args(["--limit", "250"]), log.as_bytes());

    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    insta::assert_snapshot!(ended.stdout, @"
    ACCOUNT  REQUESTS  UNITS  BUSIEST HOUR          ITS UNITS  DENIED ON growth  DENIED ON 250  DENIED ON scale  ENOUGH
    beta          300    300  2026-11-29T10:00:00Z        300               200             50                0  scale
    acme          130    130  2026-11-29T10:00:00Z        130                30              0                0  250
    delta           8      8  2026-11-29T09:00:00Z          8                 0              0                0  growth
    and 1 more: see --top

    PLAN    LIMIT  DENIED    SHARE  ACCOUNTS DENIED
    growth    100     230  51.69 %           2 of 4
    -         250      50  11.24 %           1 of 4
    scale    1000       0   0.00 %           0 of 4

    445 requests of 4 accounts in 445 lines; passed over: none
    ");
}

#[test]
fn no_control_character_of_a_log_reaches_the_terminal() {
    let evil = "a\u{1b}[2J\u{9b}31m\u{202e}\u{7f}b";
    let json = json!({"user": evil, "time": 1_795_946_400, "status": 200}).to_string() + "\n";
    let log = hour(evil, 10, 1) + &json + &format!("{evil} is no log\n");

    let table = run_with_input(&mut klinky(&["simulate", "--account-field", "user"]), log.as_bytes());
    let lines = run_with_input(
        klinky(&["simulate", "--account-field", "user", "--format", "json"]).arg("--limit=1"),
        log.as_bytes(),
    );
    let nothing = run_with_input(&mut klinky(&["simulate"]), format!("{evil}\n").as_bytes());

    for text in [&table.stdout, &table.stderr, &lines.stdout, &lines.stderr, &nothing.stderr] {
        let bad = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.is_empty() && !text.contains(bad), "{text:?}");
    }
    assert!(table.stdout.contains(r"a\u{1b}[2J\u{9b}31m\u{202e}\u{7f}b"), "{}", table.stdout);
    // JSON says the same name in escapes, and the two lines were of one account.
    assert_eq!(row(&rows(&lines), evil)["requests"], 2);
}

#[test]
fn lines_that_cannot_be_read_are_named_and_passed_over() {
    let overlong = format!("{}\n", "x".repeat(300 * 1024));
    let broken = "{\"ts\": \n".repeat(6);
    let not_utf8: &[u8] =
        b"192.0.2.7 - acme [29/Nov/2026:10:00:00 +0000] \"GET /caf\xe9 HTTP/1.1\" 200 1\n{\"a\":\"\xe9\"}\n";
    let log = [hour("acme", 10, 1).as_bytes(), overlong.as_bytes(), not_utf8, b"\n\r\n", broken.as_bytes()].concat();

    let ended = run_with_input(&mut klinky(&["simulate", "--format", "json"]), &log);

    assert_eq!(ended.code, Some(0));
    assert_eq!(row(&rows(&ended), "acme")["requests"], 2);
    assert_eq!(passed_over(&rows(&ended))["unreadable"], 8);
    insta::assert_snapshot!(ended.stderr, @"
    klinky: standard input, line 2: it is longer than 262144 bytes
    klinky: standard input, line 4: it is JSON, but neither klinky's nor Caddy's: name its account's field with --account-field
    klinky: standard input, line 7: it is not JSON: EOF while parsing a value at column 6
    klinky: standard input, line 8: it is not JSON: EOF while parsing a value at column 6
    klinky: standard input, line 9: it is not JSON: EOF while parsing a value at column 6
    ");
}

#[test]
fn a_log_of_which_nothing_can_be_read_is_an_error_that_shows_it() {
    let temp = tempfile::tempdir().unwrap();
    let log = temp.path().join("access.log");
    fs::write(&log, format!("{}\nbye\n", "hello ".repeat(100))).unwrap();
    let complaint = |paths: &[&std::path::Path]| {
        let ended = run(klinky(&["simulate"]).args(paths));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
        ended.stderr.replace(temp.path().to_str().unwrap(), "DIR")
    };

    insta::assert_snapshot!(complaint(&[&log]), @"klinky: not one of 2 lines could be read: DIR/access.log, line 1: it is of no format that is understood; it begins hello hello hello hello hello hello hello hello hello hello hello hello hello hello hello hello hell…; understood are the common and the combined log format, klinky's own log (text or json), Caddy's JSON access log, and with --account-field any JSON objects, one a line");
    let [absent, evil] = ["absent.log", "\u{1b}[2J.log"].map(|name| temp.path().join(name));
    insta::assert_snapshot!(complaint(&[&absent, &log, &evil]), @r"klinky: could not open DIR/absent.log: No such file or directory (os error 2); could not open DIR/\u{1b}[2J.log: No such file or directory (os error 2)");
    insta::assert_snapshot!(complaint(&[temp.path()]), @"klinky: could not read DIR: Is a directory (os error 21)");
}

#[test]
fn a_compressed_log_is_an_error_also_among_others() {
    let temp = tempfile::tempdir().unwrap();
    let [log, zipped] = ["access.log", "access.log.1.gz"].map(|name| temp.path().join(name));
    fs::write(&log, hour("acme", 10, 1)).unwrap();
    fs::write(&zipped, b"\x1f\x8b\x08\x00junk\njunk").unwrap();

    let ended = run(klinky(&["simulate"]).args([&log, &zipped]));

    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    let told = ended.stderr.replace(temp.path().to_str().unwrap(), "DIR");
    insta::assert_snapshot!(told, @"klinky: DIR/access.log.1.gz is compressed: pipe it through zcat");
}

#[test]
fn what_stands_before_a_line_and_is_not_of_it_is_skipped() {
    let log = format!("\u{feff}{}{}{}", hour("-", 10, 1), "\0".repeat(5000), hour("-", 10, 1));

    assert_eq!(row(&simulated(&[], &log), "192.0.2.7")["requests"], 2);
}

#[test]
fn a_share_is_rounded_and_what_is_not_nothing_does_not_look_like_it() {
    let others: String = (0..300).map(|nth| hour(&format!("b{nth}"), 10, 100)).collect();
    let log = hour("acme", 10, 101) + &others;

    let rows = simulated(&[], &log);
    let table = run_with_input(&mut klinky(&["simulate", "--top", "0"]), log.as_bytes());

    // 1 of 30,101 is 0.0000332.
    assert_eq!(rows.iter().find(|row| row["kind"] == "limit").unwrap()["share"], 0.000_033);
    assert!(table.stdout.contains("  <0.01 %  "), "{}", table.stdout);
    assert!(table.stdout.contains("  0.00 %  "), "{}", table.stdout);
}

#[test]
fn a_log_without_a_line_is_an_error_that_names_it() {
    let temp = tempfile::tempdir().unwrap();
    let files = ["access.log", "access.log.1"].map(|name| temp.path().join(name));
    files.iter().for_each(|file| fs::write(file, "\n\n").unwrap());

    let piped = ["", "\n", " \n\n"].map(|log| run_with_input(&mut klinky(&["simulate"]), log.as_bytes()));
    let named = run(klinky(&["simulate"]).args(&files));

    for ended in piped {
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
        assert_eq!(ended.stderr, "klinky: there is nothing to simulate: no line came from standard input\n");
    }
    assert_eq!((named.code, named.stdout.as_str()), (Some(1), ""));
    let told = named.stderr.replace(temp.path().to_str().unwrap(), "DIR");
    insta::assert_snapshot!(told, @"klinky: there is nothing to simulate: no line came from DIR/access.log, DIR/access.log.1");
}

#[test]
fn all_faults_of_simulate_are_told_in_one_go() {
    let temp = tempfile::tempdir().unwrap();
    let plans = temp.path().join("plans.jsonl");
    fs::write(&plans, "{\"kind\":\"header\",\"format\":\"klinky\",\"version\":1,\"created_at\":\"-\"}\nhello\n")
        .unwrap();
    let mut command = klinky(&["simulate", "--limit", "4294967296", "--limit", "many", "--cost", "render=5"]);
    command.args(["--account-field", "", "--time-field", &"x".repeat(201), "--format", "xml", "--top", "100001"]);
    command.args(["--plans", plans.to_str().unwrap(), "--limit", "1,000"]);

    let ended = run(&mut command);

    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    let told = ended.stderr.replace(temp.path().to_str().unwrap(), "DIR").replace(&"x".repeat(201), "xxx");
    insta::assert_snapshot!(told, @r#"
    klinky: --plans: DIR/plans.jsonl: line 2: must be a JSON object
    klinky: --limit: must be 0 to 4294967295, got "4294967296"
    klinky: --limit: must be 0 to 4294967295, got "many"
    klinky: --limit: must be a number without a comma in it and without a zero before it, got "000"
    klinky: --cost: must be a method, a path and 1 to 1000 such as POST /v1/reports=10, got "render=5"
    klinky: --account-field: must be 1 to 200 characters, got ""
    klinky: --time-field: must be 1 to 200 characters, got "xxx"
    klinky: --format: must be table or json, got "xml"
    klinky: --top: must be 0 to 100000, got "100001"
    "#);
}

#[test]
fn too_many_plans_are_blamed_on_plans_and_too_many_limits_on_limits() {
    let temp = tempfile::tempdir().unwrap();
    let plans = temp.path().join("plans.jsonl");
    let plan = |number: u32| {
        let id = format!("p{number}");
        json!({"kind": "plan", "id": id, "name": "P", "api_access": true, "requests_per_hour": 1, "best_for": "-"})
    };
    // An edited file may have empty lines.
    fs::write(&plans, (0..33).map(|number| format!("{}\n\n", plan(number))).collect::<String>()).unwrap();
    let limits: Vec<String> = (0..31).map(|limit| format!("--limit={limit}")).collect();

    let by_plans = run(klinky(&["simulate", "--plans", plans.to_str().unwrap()]).arg("no.log"));
    let by_limits = run(klinky(&["simulate"]).args(&limits));

    assert_eq!((by_plans.code, by_limits.code), (Some(2), Some(2)));
    insta::assert_snapshot!(by_plans.stderr, @"klinky: --plans: must be, plans and limits together, at most 32, got 33");
    insta::assert_snapshot!(by_limits.stderr, @"klinky: --limit: must be, plans and limits together, at most 32, got 33");
}
