//! Dumps that are refused: which line and why, and that nothing of them is stored.

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use serde_json::{Value, json};

use crate::admin::{call, send};
use crate::dumps::{GOLDEN, dump, restore, rows};
use crate::harness::{ADMIN_TOKEN, Exchange, Server};

/// [`GOLDEN`] with one text in place of another.
fn with(from: &str, to: &str) -> String {
    assert!(GOLDEN.contains(from), "{from}");
    GOLDEN.replacen(from, to, 1)
}

/// The `nth` line of [`GOLDEN`], counted from 1.
fn line(nth: usize) -> &'static str {
    GOLDEN.lines().nth(nth - 1).unwrap()
}

/// [`GOLDEN`] with one more line after its rows.
fn and(line: &str) -> String {
    let (rows, end) = GOLDEN.trim_end().rsplit_once('\n').unwrap();
    format!("{rows}\n{line}\n{end}\n")
}

/// What is said of each dump, one after another into the same store, which must stay as it was.
fn said_of(dumps: &[(&str, String)]) -> String {
    let server = Server::start();
    let before = dump(&server);
    let mut lines = Vec::new();
    for (name, text) in dumps {
        let answer = restore(&server, text);
        lines.push(format!("{name}: {} {}", answer.status, answer.detail()));
        assert_eq!(dump(&server), before, "{name} was stored in part");
    }
    assert_eq!(call(&server, "GET", "/audit").json()["items"], json!([]));
    assert_eq!(restore(&server, GOLDEN).status, 201);
    assert_eq!(dump(&server.restart()), GOLDEN);
    lines.join("\n")
}

#[test]
fn what_does_not_begin_as_a_dump_is_refused() {
    let said = said_of(&[
        ("nothing", String::new()),
        ("an empty line", "\n".to_owned()),
        ("no JSON", "hello\n".to_owned()),
        ("half a header", line(1)[..40].to_owned()),
        ("no header", rows(GOLDEN).to_owned()),
        ("another format", with("\"klinky\"", "\"redis\"")),
        ("a newer version", with("\"version\":1", "\"version\":2")),
        ("version 0", with("\"version\":1", "\"version\":0")),
        ("a version that is no number", with("\"version\":1", "\"version\":\"1\"")),
        ("no version", with("\"version\":1,", "")),
        ("an unknown field", with("\"version\":1", "\"version\":1,\"by\":\"me\"")),
        ("an array", with(line(1), r#"["header","klinky",1,"2024-01-15T14:30:00Z"]"#)),
        ("a byte order mark", format!("\u{feff}{GOLDEN}")),
    ]);

    insta::assert_snapshot!(said, @r#"
    nothing: 422 not a klinky dump of a version up to 1: it is empty
    an empty line: 422 not a klinky dump of a version up to 1: must be a JSON object
    no JSON: 422 not a klinky dump of a version up to 1: must be a JSON object
    half a header: 422 not a klinky dump of a version up to 1: EOF while parsing a string at column 40
    no header: 422 not a klinky dump of a version up to 1: its first line is not a header
    another format: 422 not a klinky dump of a version up to 1: its format is "redis", version 1
    a newer version: 422 not a klinky dump of a version up to 1: its format is "klinky", version 2
    version 0: 422 not a klinky dump of a version up to 1: its format is "klinky", version 0
    a version that is no number: 422 not a klinky dump of a version up to 1: invalid type: string "1", expected u32
    no version: 422 not a klinky dump of a version up to 1: missing field `version`
    an unknown field: 422 not a klinky dump of a version up to 1: unknown field `by`, expected one of `format`, `version`, `created_at`
    an array: 422 not a klinky dump of a version up to 1: must be a JSON object
    a byte order mark: 422 not a klinky dump of a version up to 1: must be a JSON object
    "#);
}

#[test]
fn a_line_that_does_not_read_is_refused_by_its_number() {
    let said = said_of(&[
        ("no JSON", and("hello")),
        ("an empty line in between", with(line(3), "")),
        ("an empty line at the end", and("")),
        ("two objects on a line", and(&format!("{}{}", line(16), line(16)))),
        ("an array", and(r#"["counter","018d0d80-0000-7000-8000-000000000002","2024-01-15T13:00:00Z",1]"#)),
        ("a number", and("5")),
        ("an unknown kind", and(r#"{"kind":"webhook"}"#)),
        ("no kind", and(r#"{"id":"x"}"#)),
        ("a second header", and(line(1))),
        ("an unknown field", with("\"suspended\":false", "\"suspended\":false,\"vip\":true")),
        ("a field that stands twice", with("\"suspended\":false", "\"suspended\":false,\"suspended\":true")),
        ("a missing field", with("\"suspended\":false,", "")),
        ("a null that may not be", with("\"suspended\":false", "\"suspended\":null")),
        ("a text for a number", with("\"used\":41", "\"used\":\"41\"")),
        ("a line of 300 kB", and(&format!(r#"{{"kind":"plan","id":"{}"}}"#, "x".repeat(300_000)))),
        ("cut off in the middle of a line", GOLDEN[..GOLDEN.len() - 20].to_owned()),
        ("cut off between two lines", GOLDEN.lines().take(12).map(|line| format!("{line}\n")).collect()),
        ("without its end line", with(line(20), "").trim_end().to_owned() + "\n"),
        ("a row too few", with(&format!("{}\n", line(19)), "")),
        ("a row after the end", format!("{GOLDEN}{}\n", line(19))),
        ("cut off after half a line", GOLDEN[..GOLDEN.find("\"leaked\"").unwrap()].to_owned()),
    ]);

    insta::assert_snapshot!(said, @r#"
    no JSON: 422 line 20: must be a JSON object
    an empty line in between: 422 line 3: must be a JSON object
    an empty line at the end: 422 line 20: must be a JSON object
    two objects on a line: 422 line 20: trailing characters at column 112
    an array: 422 line 20: must be a JSON object
    a number: 422 line 20: must be a JSON object
    an unknown kind: 422 line 20: unknown variant `webhook`, expected one of `header`, `plan`, `account`, `key`, `counter`, `link`, `click_day`, `click`, `conversion`, `taken_slug`, `usage`, `end` at column 17
    no kind: 422 line 20: missing field `kind` at column 10
    a second header: 422 line 20: a second header
    an unknown field: 422 line 7: unknown field `vip`, expected one of `id`, `name`, `email`, `plan`, `custom_limit`, `trial`, `suspended`, `created_at`, `updated_at`
    a field that stands twice: 422 line 7: duplicate field `suspended`
    a missing field: 422 line 7: missing field `suspended`
    a null that may not be: 422 line 7: invalid type: null, expected a boolean
    a text for a number: 422 line 18: invalid type: string "41", expected u32
    a line of 300 kB: 422 line 20: EOF while parsing a string at column 262144
    cut off in the middle of a line: 422 line 20: EOF while parsing a string at column 5
    cut off between two lines: 422 line 13: the dump ends without its end line
    without its end line: 422 line 20: the dump ends without its end line
    a row too few: 422 line 19: the dump says that it has 18 rows, and has 17
    a row after the end: 422 line 20: something follows the end line
    cut off after half a line: 422 line 12: EOF while parsing a value at column 193
    "#);
}

#[test]
fn a_value_out_of_range_is_refused_by_its_line_and_field() {
    let said = said_of(&[
        ("a plan's id", with("\"id\":\"starter\"", "\"id\":\"Starter\"")),
        ("a plan's name", with("\"name\":\"Starter\"", "\"name\":\"\"")),
        ("a plan's limit", with("\"requests_per_hour\":1000", "\"requests_per_hour\":4294967296")),
        ("a plan's note", with("\"dashboard only\"", &format!("\"{}\"", "x".repeat(201)))),
        ("an account's id", with("\"kind\":\"account\",\"id\":\"018d", "\"kind\":\"account\",\"id\":\"18d")),
        ("an account's name", with("\"Acme\"", &format!("\"{}\"", "é".repeat(101)))),
        ("an account's email", with("ops@acme.example", "nobody")),
        ("an account's custom limit", with("\"custom_limit\":0", "\"custom_limit\":-1")),
        ("a trial's plan", with("{\"plan\":\"scale\"", "{\"plan\":\"a b\"")),
        ("a trial's end", with("2024-01-29T14:30:00Z", "2024-01-32T14:30:00Z")),
        ("a creation", with("2024-01-01T00:00:00Z", "2024-01-01")),
        ("a key's id", with("\"kind\":\"key\",\"id\":\"018d0d81", "\"kind\":\"key\",\"id\":\"")),
        ("a key's hash in capitals", with("\"sha256\":\"", "\"sha256\":\"A")),
        ("a key's scope", with("\"read_only\"", "\"admin\"")),
        ("a key's display form", with("klinky_live_09IR…", "klinky\\u0000")),
        ("a key's expiry", with("9999-12-31T23:59:59.999Z", "10000-01-01T00:00:00Z")),
        ("a key's revocation", with("2024-01-06T00:00:00Z", "1969-12-31T23:59:59Z")),
        ("a key's last use", with("2024-01-15T14:29:59.999Z", "yesterday")),
        ("a counter's hour", with("\"hour\":\"2024-01-15T14:00:00Z\"", "\"hour\":\"2024-01-15T14:00:00.001Z\"")),
        ("a counter's units", with("\"used\":41", "\"used\":4294967296")),
    ]);

    insta::assert_snapshot!(said, @"
    a plan's id: 422 line 6: id: must be 1 to 32 characters of a-z, 0-9, - and _
    a plan's name: 422 line 6: name: must be 1 to 100 characters, got 0
    a plan's limit: 422 line 5: invalid value: integer `4294967296`, expected u32
    a plan's note: 422 line 2: best_for: must be 0 to 200 characters, got 201
    an account's id: 422 line 7: id: must be a UUID
    an account's name: 422 line 7: name: must be 1 to 100 characters, got 101
    an account's email: 422 line 7: email: must be an email address such as ops@example.com
    an account's custom limit: 422 line 10: invalid value: integer `-1`, expected u32
    a trial's plan: 422 line 8: trial.plan: must be 1 to 32 characters of a-z, 0-9, - and _
    a trial's end: 422 line 8: trial.ends_at: must be an RFC 3339 time such as 2026-01-31T12:00:00Z
    a creation: 422 line 7: created_at: must be an RFC 3339 time such as 2026-01-31T12:00:00Z
    a key's id: 422 line 11: id: must be a UUID
    a key's hash in capitals: 422 line 11: sha256: must be 64 lower-case hexadecimal digits
    a key's scope: 422 line 14: scope: must be read_write or read_only
    a key's display form: 422 line 11: display: must not contain control characters
    a key's expiry: 422 line 14: expires_at: must be an RFC 3339 time such as 2026-01-31T12:00:00Z
    a key's revocation: 422 line 12: revoked_at: must lie between the years 1970 and 9999
    a key's last use: 422 line 11: last_used_at: must be an RFC 3339 time such as 2026-01-31T12:00:00Z
    a counter's hour: 422 line 18: hour: must be the top of an hour
    a counter's units: 422 line 18: invalid value: integer `4294967296`, expected u32
    ");
}

fn with_hash(key: &str, hash: u32) -> String {
    let start = key.find("\"sha256\":\"").unwrap() + "\"sha256\":\"".len();
    format!("{}{hash:064}{}", &key[..start], &key[start + 64..])
}

/// So many more live keys of the account that has the key of the 15th line.
fn keys(count: u32) -> String {
    let key = |n: u32| with_hash(&line(15).replace("8000-000000000005", &format!("8000-000000001{n:03}")), n);
    (0..count).map(key).collect::<Vec<_>>().join("\n")
}

#[test]
fn live_keys_that_were_rotated_while_they_were_dumped_all_come_back_and_go_with_their_account() {
    let (server, before) = (Server::start(), GOLDEN.matches(r#""kind":"key""#).count());

    let rows = GOLDEN.lines().count() - 2;
    let more = and(&keys(100)).replace(&format!("\"rows\":{rows}"), &format!("\"rows\":{}", rows + 100));

    let answer = restore(&server, &more);

    assert_eq!(answer.status, 201, "{answer}");

    assert_eq!(dump(&server).matches(r#""kind":"key""#).count(), before + 100);
    let newest = "/keys/018d0d81-0000-7000-8000-000000001099/rotate";
    server.admin_ok("POST", newest, &json!({"grace_seconds": 0}));
    assert_eq!(dump(&server).matches(r#""kind":"key""#).count(), before + 100, "it makes room for its successor");
    assert_eq!(call(&server, "DELETE", "/accounts/018d0d80-0000-7000-8000-000000000004").status, 204);
    assert_eq!(dump(&server).matches(r#""kind":"key""#).count(), before - 1);
}

#[test]
fn a_line_that_contradicts_an_earlier_one_is_refused() {
    let other_id = line(15).replace("018d0d81-0000-7000-8000-000000000005", "018d0d81-0000-7000-8000-000000000006");
    let full = keys(200);
    let said = said_of(&[
        ("a plan twice", and(line(2))),
        ("an account twice", and(line(7))),
        ("a key twice", and(line(11))),
        ("two keys with one hash", and(&other_id)),
        ("two keys with one id", and(&with_hash(line(15), 1))),
        ("a counter twice", and(line(16))),
        ("an account on a plan that is not there", with("\"plan\":\"growth\"", "\"plan\":\"gone\"")),
        ("a trial of a plan that is not there", with("{\"plan\":\"scale\"", "{\"plan\":\"gone\"")),
        ("a plan after its account", format!("{}{}\n", with(&format!("{}\n", line(3)), ""), line(3))),
        ("a key of an account that is not there", with("\"account_id\":\"018d0d80", "\"account_id\":\"018d0d8f")),
        (
            "a counter of an account that is not there",
            with("\"counter\",\"account_id\":\"018d0d80", "\"counter\",\"account_id\":\"018d0d8f"),
        ),
        ("201 keys of an account", and(&full)),
    ]);

    insta::assert_snapshot!(said, @"
    a plan twice: 422 line 20: plan free stands twice
    an account twice: 422 line 20: account 018d0d80-0000-7000-8000-000000000001 stands twice
    a key twice: 422 line 20: key 018d0d81-0000-7000-8000-000000000001 stands twice
    two keys with one hash: 422 line 20: key 018d0d81-0000-7000-8000-000000000006 stands twice
    two keys with one id: 422 line 20: key 018d0d81-0000-7000-8000-000000000005 stands twice
    a counter twice: 422 line 20: counter of 018d0d80-0000-7000-8000-000000000001 at 2024-01-15T13:00:00Z stands twice
    an account on a plan that is not there: 422 line 7: plan gone does not exist; what a row names must stand before it
    a trial of a plan that is not there: 422 line 8: plan gone does not exist; what a row names must stand before it
    a plan after its account: 422 line 6: plan growth does not exist; what a row names must stand before it
    a key of an account that is not there: 422 line 11: account 018d0d8f-0000-7000-8000-000000000001 does not exist; what a row names must stand before it
    a counter of an account that is not there: 422 line 16: account 018d0d8f-0000-7000-8000-000000000001 does not exist; what a row names must stand before it
    201 keys of an account: 422 line 219: account 018d0d80-0000-7000-8000-000000000004 has more than 200 live keys
    ");
}

#[test]
fn what_is_not_utf_8_is_refused() {
    let server = Server::start();
    let mut bytes = GOLDEN.as_bytes().to_vec();
    let name = GOLDEN.find("Acme").unwrap();
    bytes[name] = 0xff;

    let answer = send(&server, "POST", "/restore", &bytes);

    insta::assert_snapshot!(answer.detail(), @"line 7: invalid unicode code point at column 71");
    assert_eq!(rows(&dump(&server)).lines().count(), 5);
}

#[test]
fn a_failed_restore_leaves_the_plans_that_an_operator_made() {
    let server = Server::start();
    let plan = json!({"id": "team", "name": "Team", "api_access": true, "requests_per_hour": 5});
    server.admin_ok("POST", "/plans", &plan);
    server.admin_ok("PATCH", "/plans/growth", &json!({"requests_per_hour": 7}));
    server.admin_ok("DELETE", "/plans/starter", &Value::Null);
    let before = dump(&server);

    assert_eq!(restore(&server, &and("hello")).status, 422);

    assert_eq!(dump(&server), before);
    assert_eq!(server.ping(&server.account("team").key).remaining(), 4);
    assert_eq!(server.ping(&server.account("growth").key).remaining(), 6);
    assert_eq!(call(&server.restart(), "GET", "/plans/team").status, 200);
}

#[test]
fn a_dump_that_fails_early_is_answered_though_more_of_it_comes() {
    let server = Server::start();
    let long = format!("{}\nhello\n{}", line(1), line(2).repeat(100_000));

    let answer = restore(&server, &long);

    assert_eq!((answer.status, answer.detail().as_str()), (422, "line 2: must be a JSON object"));
}

/// A restore whose body ends before it should.
fn broken_off(server: &Server, framing: &str, part: &str) -> TcpStream {
    let mut stream = server.admin.connect();
    let head = "POST /admin/v1/restore HTTP/1.1\r\nHost: klinky\r\nAuthorization: Bearer";
    stream.write_all(format!("{head} {ADMIN_TOKEN}\r\n{framing}\r\n\r\n{part}").as_bytes()).unwrap();
    stream
}

/// What is answered when the client will send no more.
fn closed(mut stream: TcpStream) -> Exchange {
    stream.shutdown(Shutdown::Write).unwrap();
    Exchange::read("POST /restore, broken off", &mut stream)
}

#[test]
fn a_body_that_breaks_off_between_two_lines_is_not_taken_for_the_whole() {
    let half = GOLDEN.lines().take(12).map(|line| format!("{line}\n")).collect::<String>();
    let server = Server::start();
    let before = dump(&server);

    let announced = closed(broken_off(&server, &format!("Content-Length: {}", GOLDEN.len()), &half));
    let chunk = format!("{:x}\r\n{half}\r\n", half.len());
    let in_chunks = closed(broken_off(&server, "Transfer-Encoding: chunked", &chunk));

    insta::assert_snapshot!(announced, @r#"
    POST /restore, broken off

    400
    content-type: application/json

    {"detail":"The request cannot be read."}
    "#);
    assert_eq!(in_chunks.status, 400);
    assert_eq!(dump(&server), before);
    assert_eq!(restore(&server, GOLDEN).status, 201);
}

#[test]
fn a_client_that_goes_away_in_the_middle_of_a_restore_leaves_nothing() {
    let server = Server::start();
    let half = GOLDEN.lines().take(12).map(|line| format!("{line}\n")).collect::<String>();
    let stream = broken_off(&server, &format!("Content-Length: {}", GOLDEN.len()), &half);

    drop(stream);

    let answer = restore(&server, GOLDEN);
    assert_eq!(answer.status, 201, "{answer}");
    assert_eq!(dump(&server), GOLDEN);
}
