//! The real binary on a disk that takes no more: here, a bound on the size of its files.

use serde_json::json;
use std::path::Path;
use std::process::Command;

use crate::harness::{ADMIN_TOKEN, JWT_SECRET, admin_request};
use crate::process::Process;

/// Kibibytes that a file may have: enough to start, and for some hundred accounts.
const FILE_KIB_MAX: u32 = 700;
/// Accounts that are more than fit.
const ACCOUNTS: u32 = 5000;

/// Serves `dir` on a disk with little room.
pub(crate) fn serve_with_little_room(dir: &Path) -> Process {
    // Ignored, the signal does not kill, and the write fails as on a full disk.
    let script = format!(r#"trap "" XFSZ; ulimit -f {FILE_KIB_MAX}; exec "$0" "$@""#);
    Process::start(
        Command::new("bash")
            .args(["-c", &script, env!("CARGO_BIN_EXE_klinky"), "serve", "--data-dir", dir.to_str().unwrap()])
            .env("KLINKY_ADMIN_TOKEN", ADMIN_TOKEN)
            .env("KLINKY_JWT_SECRET", JWT_SECRET),
    )
}

/// Adds accounts until the disk takes no more; answers how many it took.
pub(crate) fn fill(process: &Process) -> usize {
    let account = admin_request("POST", "/accounts", &json!({"name": "x".repeat(100)}).to_string());
    let statuses = (0..ACCOUNTS).map(|_nth| process.admin.exchange(&account).status);
    let taken = statuses.take_while(|status| *status == 201).count();
    assert!(taken < ACCOUNTS as usize, "the disk took everything");
    assert_eq!(process.admin.exchange(&account).status, 503);
    taken
}

#[test]
fn a_full_disk_is_said_and_loses_nothing_that_was_answered() {
    let temp = tempfile::tempdir().unwrap();
    let process = serve_with_little_room(temp.path());
    let (_id, key) = process.account("growth");
    let ping = format!("GET /api/v1/public/links\nX-API-Key: {key}");
    assert_eq!(process.admin.exchange("GET /readyz").status, 200);

    let taken = fill(&process);

    let refused = process.public.exchange(&ping);
    assert_eq!(refused.status, 503);
    assert!(refused.detail().contains("Nothing was counted"), "{refused}");
    assert_eq!(process.admin.exchange("GET /readyz").status, 503);
    assert_eq!(process.admin.exchange("GET /healthz").status, 200);
    process.kill();
    let process = Process::serve(temp.path(), &[]);
    let stored = process.admin.exchange(&admin_request("GET", "/stats", "")).json();
    assert!(stored["accounts"].as_u64() > u64::try_from(taken).ok(), "{stored}");
    assert_eq!(process.public.exchange(&ping).status, 200);
}

#[test]
fn a_request_whose_unit_is_given_back_is_not_logged_as_allowed() {
    let temp = tempfile::tempdir().unwrap();
    let mut process = serve_with_little_room(temp.path());
    let (_id, key) = process.account("scale");
    let url = format!("https://example.com/{}", "x".repeat(2000));
    let variant = |label: u32| json!({"label": label.to_string(), "destination_url": url, "weight": 20});
    let link = json!({"name": "x", "variants": (0..5).map(variant).collect::<Vec<_>>()});
    let create = format!("POST /api/v1/public/links\nX-API-Key: {key}\n\n{link}");

    let mut answers = (0..500).map(|_nth| process.public.exchange(&create));
    let (mut last, mut failed) = (answers.next().unwrap(), answers.next().unwrap());
    while failed.status == 201 {
        (last, failed) = (failed, answers.next().expect("the disk took everything"));
    }
    drop(answers);

    assert_eq!((failed.status, failed.remaining()), (503, last.remaining()));
    let line = process.wait_for_log("status=503");
    assert!(line.contains("decision=\"failed\""), "{line}");
    assert!(line.contains(&format!("remaining={}", last.remaining())), "{line}");
}
