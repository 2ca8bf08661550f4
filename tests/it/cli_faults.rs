//! Command lines that are refused: every fault is told, whatever the others are. Contract section 9.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use crate::process::{klinky, run};

/// What a command line that is refused is told.
fn faults(command: &mut Command) -> String {
    let ended = run(command);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{}", ended.stderr);
    ended.stderr
}

#[test]
fn a_switch_that_is_neither_on_nor_off_hides_no_other_fault() {
    let mut command = klinky(&["serve"]);
    command.env("KLINKY_DEMO", "maybe").env("KLINKY_LISTEN", "x").env("KLINKY_WORKERS", "abc");

    insta::assert_snapshot!(faults(&mut command), @r#"
    klinky: --listen: must be an address and a port such as 127.0.0.1:8080, got "x"
    klinky: --workers: must be 1 to 256, got "abc"
    klinky: --demo: must be true or false, got "maybe"
    "#);
}

#[test]
fn a_negative_number_is_out_of_bounds_and_hides_no_other_fault() {
    let mut serve = klinky(&["serve", "--flush-every-ms", "-1", "--backup-keep", "-5", "--listen", "x"]);
    let mut token = klinky(&["token", "018d0d5e-0001-7000-8000-000000000000", "--ttl-seconds", "-5"]);
    let mut simulate = klinky(&["simulate", "--limit", "-1", "--top", "-2"]);

    insta::assert_snapshot!(faults(&mut serve), @r#"
    klinky: --listen: must be an address and a port such as 127.0.0.1:8080, got "x"
    klinky: --flush-every-ms: must be 0 to 60000, got "-1"
    klinky: --backup-keep: must be 1 to 10000, got "-5"
    "#);
    insta::assert_snapshot!(faults(&mut token), @r#"klinky: --ttl-seconds: must be 1 to 2592000, got "-5""#);
    insta::assert_snapshot!(faults(&mut simulate), @r#"
    klinky: --limit: must be 0 to 4294967295, got "-1"
    klinky: --top: must be 0 to 100000, got "-2"
    "#);
}

#[test]
fn two_listeners_at_one_address_are_a_fault_before_anything_is_made() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("db");
    let serve = |listen: &str, admin: &str| {
        let mut command = klinky(&["serve", "--data-dir", dir.to_str().unwrap()]);
        // So that nothing is started, whatever the listeners are.
        faults(command.args(["--listen", listen, "--admin-listen", admin, "--workers", "0"]))
    };

    insta::assert_snapshot!(serve("127.0.0.1:9000", "127.0.0.1:9000"), @r#"
    klinky: --admin-listen: must be another address than --listen, got 127.0.0.1:9000 and 127.0.0.1:9000
    klinky: --workers: must be 1 to 256, got "0"
    "#);
    for (listen, admin) in
        [("0.0.0.0:9000", "127.0.0.1:9000"), ("[::1]:9000", "[::]:9000"), ("[::1]:9000", "[::1]:9000")]
    {
        let told = serve(listen, admin);
        assert!(told.contains("--admin-listen"), "{listen} {admin}: {told}");
    }
    for (listen, admin) in [
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("127.0.0.1:9000", "127.0.0.1:9001"),
        ("127.0.0.1:9000", "127.0.0.2:9000"),
        ("127.0.0.1:9000", "[::1]:9000"),
    ] {
        let told = serve(listen, admin);
        assert!(!told.contains("--admin-listen"), "{listen} {admin}: {told}");
    }
    assert!(!dir.exists());
}

#[test]
fn an_admin_token_that_no_header_carries_is_refused_without_being_shown() {
    for value in ["a-token-with a space-in-it", " a-token-behind-a-space", "a-token-of-ümlauts", "a-token-with-a\ttab"]
    {
        for command in ["serve", "dump"] {
            let told = faults(klinky(&[command]).env("KLINKY_ADMIN_TOKEN", value).env("KLINKY_FLUSH_EVERY_MS", "x"));
            let fault = "klinky: KLINKY_ADMIN_TOKEN: must be visible ASCII without spaces: no Authorization header carries anything else\n";
            assert!(told.contains(fault) && !told.contains(value), "{told}");
        }
    }
    for value in ["a-short-token", "a-short-token       \n", "                "] {
        let told = faults(klinky(&["serve"]).env("KLINKY_ADMIN_TOKEN", value));
        assert_eq!(told, "klinky: KLINKY_ADMIN_TOKEN: must be at least 16 bytes\n", "{value:?}");
    }
}

#[test]
fn a_secret_that_is_no_text_is_refused_and_not_passed_over() {
    let bytes = OsStr::from_bytes(&[0xff; 40]);
    let mut command = klinky(&["serve"]);

    insta::assert_snapshot!(faults(command.env("KLINKY_ADMIN_TOKEN", bytes).env("KLINKY_JWT_SECRET", bytes)), @"
    klinky: KLINKY_ADMIN_TOKEN: must be UTF-8
    klinky: KLINKY_JWT_SECRET: must be UTF-8
    ");
}
