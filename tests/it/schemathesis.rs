//! The reference against real answers: [schemathesis](https://schemathesis.io) makes requests of the document, of what it
//! allows and of what it forbids, and holds each answer against it. No 5xx, and no status, body, header or content type that
//! is not documented. What it is told is in `fixtures/schemathesis.toml`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::harness::{ADMIN_TOKEN, Account, Server};
use crate::process::find_program;

/// Where nothing listens: what is not for this machine must not leave it.
const NO_PROXY_HERE: &str = "http://127.0.0.1:9";
/// Lines of its report that are shown when it finds something.
const REPORT_LINES_MAX: usize = 120;

fn find() -> Option<PathBuf> {
    find_program("schemathesis", "pip install -r tests/it/fixtures/schemathesis.txt")
}

/// Has schemathesis ask a listener for all calls that `which` selects, with a header that opens them.
fn hold(program: &Path, address: SocketAddr, which: &[&str], header: &str) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures");
    let (url, dir) = (format!("http://{address}"), tempfile::tempdir().unwrap());
    // It looks for both where it is run.
    for file in ["schemathesis.toml", "schemathesis.py"] {
        fs::copy(fixtures.join(file), dir.path().join(file)).unwrap();
    }
    let mut command = Command::new(program);
    command.args(["--no-color", "run", &format!("{url}/openapi.json"), "--url", &url, "--header", header]).args(which);
    command.env("HTTP_PROXY", NO_PROXY_HERE).env("HTTPS_PROXY", NO_PROXY_HERE).env("NO_PROXY", "127.0.0.1");

    let done = command.env("PYTHONDONTWRITEBYTECODE", "1").current_dir(dir.path()).output().unwrap();

    let report = String::from_utf8_lossy(&done.stdout);
    let found = report.find("==== FAILURES").or_else(|| report.find("==== ERRORS")).unwrap_or(0);
    let shown: Vec<&str> = report[found..].lines().filter(|line| !line.is_empty()).take(REPORT_LINES_MAX).collect();
    assert!(done.status.success(), "{}\n{}", shown.join("\n"), String::from_utf8_lossy(&done.stderr));
    assert!(report.contains(" passed"), "schemathesis tested nothing: {report}");
}

/// An account whose limit is never reached.
fn account(server: &Server) -> Account {
    let account = server.account("scale");
    server.admin_ok("PATCH", &format!("/accounts/{}", account.id), &json!({"custom_limit": u32::MAX}));
    account
}

#[test]
fn what_a_key_opens_answers_as_documented() {
    let Some(program) = find() else { return };
    let server = Server::start();
    let account = account(&server);

    hold(&program, server.public.0, &["--include-tag", "Links"], &format!("X-API-Key: {}", account.key));
}

#[test]
fn an_account_at_its_limit_is_answered_as_documented() {
    let Some(program) = find() else { return };
    let server = Server::start();
    let account = server.account("growth");
    server.admin_ok("PUT", &format!("/accounts/{}/rate-limit", account.id), &json!({"used": 100}));
    let which = ["--include-tag", "Links", "--include-tag", "Decisions", "--phases", "examples,coverage"];

    hold(&program, server.public.0, &which, &format!("X-API-Key: {}", account.key));
}

#[test]
fn what_a_session_opens_answers_as_documented() {
    let Some(program) = find() else { return };
    let server = Server::start();
    let token = server.token(&account(&server).id);

    hold(&program, server.public.0, &["--include-tag", "Account"], &format!("Authorization: Bearer {token}"));
}

#[test]
fn what_anybody_may_call_and_decisions_answer_as_documented() {
    let Some(program) = find() else { return };
    let server = Server::start();
    let account = account(&server);
    let link = json!({"name": "Spring", "slug": "spring", "destination_url": "https://example.com/"});
    let made = server.public.exchange(&format!("POST /api/v1/public/links\nX-API-Key: {}\n\n{link}", account.key));
    assert_eq!(made.status, 201, "{made}");
    let which = ["--include-tag", "Decisions", "--include-tag", "Short links", "--include-tag", "Reference"];

    hold(&program, server.public.0, &which, &format!("X-API-Key: {}", account.key));
}

#[test]
fn the_admin_listener_answers_as_documented() {
    let Some(program) = find() else { return };
    let server = Server::start();
    account(&server);
    let which = ["--include-path-regex", "^/(admin/|healthz|readyz|metrics|openapi)"];

    hold(&program, server.admin.0, &which, &format!("Authorization: Bearer {ADMIN_TOKEN}"));
}
