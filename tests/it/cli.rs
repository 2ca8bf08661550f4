//! The command line: flags, variables, faults and help. Contract section 9.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use clap::CommandFactory;
use klinky::config::Cli;

use crate::process::{Ended, klinky, run};

/// What a command printed as an error, with a directory's name taken out.
fn complaint(ended: &Ended, dir: &std::path::Path) -> String {
    assert_eq!(ended.stdout, "");
    ended.stderr.replace(dir.to_str().unwrap(), "DIR")
}

/// Flags of `serve` whose values are checked.
const CHECKED: [&str; 10] = [
    "--listen",
    "--admin-listen",
    "--flush-every-ms",
    "--key-prefix",
    "--workers",
    "--cors-origin",
    "--trusted-proxy",
    "--jwt-public-key",
    "--log-format",
    "--log",
];

fn variable(flag: &str) -> String {
    format!("KLINKY_{}", flag.trim_start_matches("--").replace('-', "_").to_uppercase())
}

fn with_variables(command: &mut Command, value: &str) {
    for flag in CHECKED {
        command.env(variable(flag), value);
    }
}

#[test]
fn every_flag_has_a_variable_of_its_name() {
    let cli = Cli::command();

    let flags: Vec<_> = cli
        .get_subcommands()
        .flat_map(|sub| sub.get_arguments().filter_map(|arg| Some((sub.get_name(), arg.get_long()?, arg.get_env()))))
        .collect();

    assert!(flags.len() > 15, "{flags:?}");
    for (sub, flag, found) in flags {
        let found = found.unwrap_or_else(|| panic!("{sub} --{flag} has no variable")).to_str().unwrap();
        let own = variable(flag);
        let of_sub = own.replace("KLINKY_", &format!("KLINKY_{}_", sub.to_uppercase()));
        assert!(found == own || found == of_sub, "{sub} --{flag} has {found}");
    }
}

#[test]
fn all_faults_of_serve_are_told_in_one_go_before_anything_is_made() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("db");
    let mut command = klinky(&["serve", "--listen", "localhost", "--admin-listen", "127.0.0.1:70000"]);
    command.args(["--flush-every-ms", "60001", "--key-prefix", "Klinky", "--workers", "0"]);
    command.args(["--cors-origin", "https://a.example/", "--cors-origin", "*", "--trusted-proxy", "10.0.0.0/33"]);
    command.args(["--jwt-public-key", "/nowhere.pem", "--log-format", "xml", "--log", "klinky=loud"]);
    command.args(["--data-dir", dir.to_str().unwrap()]);
    command.env("KLINKY_ADMIN_TOKEN", "short").env("KLINKY_JWT_SECRET", "short too");

    let ended = run(&mut command);

    assert_eq!(ended.code, Some(2));
    insta::assert_snapshot!(complaint(&ended, &dir), @r#"
    klinky: --listen: must be an address and a port such as 127.0.0.1:8080, got "localhost"
    klinky: --admin-listen: must be an address and a port such as 127.0.0.1:8080, got "127.0.0.1:70000"
    klinky: --flush-every-ms: must be 0 to 60000, got "60001"
    klinky: --key-prefix: must be 1 to 20 characters of a-z and 0-9
    klinky: --workers: must be 1 to 256, got "0"
    klinky: --cors-origin: must be as a browser sends it, https://a.example, got "https://a.example/"
    klinky: --cors-origin: must be an origin such as https://app.example.com, got "*"
    klinky: --trusted-proxy: must be a network such as 10.0.0.0/8 or ::1/128, got "10.0.0.0/33"
    klinky: --jwt-public-key: could not read /nowhere.pem: No such file or directory (os error 2)
    klinky: KLINKY_ADMIN_TOKEN: must be at least 16 bytes
    klinky: KLINKY_JWT_SECRET: must be at least 32 bytes
    klinky: --log-format: must be text or json, got "xml"
    klinky: --log: must be error, warn, info, debug, trace or off, or such levels of modules, as in info,klinky::store=debug; got "klinky=loud"
    "#);
    assert!(!dir.exists());
}

#[test]
fn a_word_that_is_no_level_is_refused_and_switches_no_log_off() {
    let lone = ["verbose", "info,verbose", "INFO klinky", "klinky=debug,klinky"];
    let empty = ["", " ", "info,", "info,,klinky=debug", "klinky=", "=info", "3"];
    let by_span = ["klinky[request]=debug", "info,klinky[{request.id}]=trace"];
    for filter in lone.into_iter().chain(empty).chain(by_span) {
        let ended = run(&mut klinky(&["serve", "--demo", "--log", filter]));

        assert_eq!(ended.code, Some(2), "{filter}: {}", ended.stderr);
        assert!(ended.stderr.starts_with("klinky: --log: must be error, warn,"), "{filter}: {}", ended.stderr);
    }
}

#[test]
fn an_upstream_that_is_klinky_itself_is_refused() {
    let serve = |listen: &str, upstream: &str| {
        run(&mut klinky(&[
            "serve",
            "--listen",
            listen,
            "--admin-listen",
            "127.0.0.1:9001",
            "--upstream",
            upstream,
            // So that nothing is started.
            "--workers",
            "0",
        ]))
    };
    for (listen, upstream) in [
        ("127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("127.0.0.1:9000", "http://localhost:9000/"),
        ("127.0.0.1:9000", "http://0.0.0.0:9000"),
        ("0.0.0.0:9000", "http://127.0.0.1:9000"),
        ("[::]:9000", "http://[::1]:9000"),
        ("[::]:9000", "http://LOCALHOST:9000"),
        ("192.0.2.1:80", "http://192.0.2.1"),
    ] {
        let told = serve(listen, upstream).stderr;
        let fault = "klinky: --upstream: is where klinky itself listens (--listen): it would ask itself\n";
        assert!(told.contains(fault), "{listen} {upstream}: {told}");
    }
    let admin = serve("127.0.0.1:9000", "http://127.0.0.1:9001");
    assert!(admin.stderr.contains("(--admin-listen)"), "{}", admin.stderr);
    for (listen, upstream) in [
        ("127.0.0.1:9000", "http://127.0.0.1:9002"),
        ("127.0.0.1:9000", "http://127.0.0.2:9000"),
        ("0.0.0.0:9000", "http://192.0.2.1:9000"),
        ("0.0.0.0:9000", "http://[::1]:9000"),
        ("192.0.2.1:9000", "http://localhost:9000"),
        ("127.0.0.1:9000", "http://api.internal:9000"),
    ] {
        let ended = serve(listen, upstream);
        assert_eq!(ended.code, Some(2));
        assert!(!ended.stderr.contains("--upstream"), "{listen} {upstream}: {}", ended.stderr);
    }
}

#[test]
fn a_switch_is_on_or_off_in_the_usual_words() {
    for word in ["1", "yes", "true", "on", "0", "no", "false", "off"] {
        let ended = run(klinky(&["serve", "--workers", "0"]).env("KLINKY_DEMO", word));
        assert_eq!(ended.code, Some(2));
        assert!(ended.stderr.contains("--workers") && !ended.stderr.contains("--demo"), "{}", ended.stderr);
    }
}

#[test]
fn a_variable_counts_where_no_flag_stands() {
    let mut command = klinky(&["serve"]);
    with_variables(&mut command, "a=b=c, from variable");

    let ended = run(&mut command);

    assert_eq!(ended.code, Some(2));
    for flag in CHECKED {
        assert!(ended.stderr.contains(&format!("klinky: {flag}: ")), "{flag}: {}", ended.stderr);
    }
}

#[test]
fn a_flag_wins_over_its_variable() {
    let mut command = klinky(&["serve"]);
    with_variables(&mut command, "a=b=c, from variable");
    for flag in CHECKED {
        command.args([flag, "a=b=c, from flag"]);
    }

    let ended = run(&mut command);

    assert_eq!(ended.code, Some(2));
    for flag in CHECKED {
        assert!(ended.stderr.contains(&format!("klinky: {flag}: ")), "{flag}: {}", ended.stderr);
    }
    assert!(ended.stderr.contains("from flag"));
    assert!(!ended.stderr.contains("from variable"), "{}", ended.stderr);
}

#[test]
fn the_data_directory_comes_from_the_flag_then_the_variable() {
    let temp = tempfile::tempdir().unwrap();
    let (flag, variable) = (temp.path().join("flag"), temp.path().join("variable"));

    let by_flag = run(klinky(&["dump", "--data-dir", flag.to_str().unwrap()]).env("KLINKY_DATA_DIR", &variable));
    let by_variable = run(klinky(&["dump"]).env("KLINKY_DATA_DIR", &variable));

    assert_eq!(complaint(&by_flag, &flag), "klinky: there is no klinky data directory at DIR\n");
    assert_eq!(complaint(&by_variable, &variable), "klinky: there is no klinky data directory at DIR\n");
}

#[test]
fn all_faults_of_dump_and_of_token_are_told_in_one_go() {
    let dump = run(&mut klinky(&[
        "dump",
        "--admin-listen",
        "here",
        "--format",
        "xml",
        "--only",
        "plans,links",
        "--account",
        "7",
    ]));
    let token = run(klinky(&["token", "not-an-id", "--ttl-seconds", "0"]).env("KLINKY_JWT_SECRET", "short"));

    assert_eq!((dump.code, token.code), (Some(2), Some(2)));
    insta::assert_snapshot!(dump.stderr, @r#"
    klinky: --admin-listen: must be an address and a port such as 127.0.0.1:8080, got "here"
    klinky: --format: must be json or table, got "xml"
    klinky: --account: must be a UUID
    "#);
    insta::assert_snapshot!(token.stderr, @r#"
    klinky: ACCOUNT: must be a UUID
    klinky: --ttl-seconds: must be 1 to 2592000, got "0"
    klinky: KLINKY_JWT_SECRET: must be at least 32 bytes
    "#);
}

#[test]
fn an_audience_without_an_issuers_key_is_a_fault() {
    let ended = run(&mut klinky(&["serve", "--jwt-audience", "klinky", "--workers", "0"]));

    assert_eq!(ended.code, Some(2));
    insta::assert_snapshot!(ended.stderr, @r#"
    klinky: --workers: must be 1 to 256, got "0"
    klinky: --jwt-audience: goes with --jwt-public-key only
    "#);
}

#[test]
fn an_unknown_flag_and_a_missing_command_are_usage_errors() {
    assert_eq!(run(&mut klinky(&["serve", "--quiet"])).code, Some(2));
    assert_eq!(run(&mut klinky(&[])).code, Some(2));
    assert_eq!(run(&mut klinky(&["token"])).code, Some(2));
}

#[test]
fn an_address_in_use_is_an_error_that_names_it() {
    let temp = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = temp.path().to_str().unwrap();

    let public = run(&mut klinky(&["serve", "--data-dir", dir, "--listen", &address, "--admin-listen", "127.0.0.1:0"]));
    let admin = run(&mut klinky(&["serve", "--data-dir", dir, "--admin-listen", &address, "--listen", "127.0.0.1:0"]));

    assert_eq!((public.code, admin.code), (Some(1), Some(1)));
    let last = |ended: &Ended| ended.stderr.lines().last().unwrap().replace(&address, "ADDRESS");
    insta::assert_snapshot!(last(&public), @"klinky: could not listen on ADDRESS: Address already in use (os error 98)");
    assert_eq!(last(&admin), last(&public));
}

#[test]
fn a_data_directory_that_cannot_be_made_is_an_error_that_names_it() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("file");
    fs::write(&file, "mine").unwrap();
    let below = file.join("db");

    let ended = run(&mut klinky(&["serve", "--data-dir", below.to_str().unwrap()]));

    assert_eq!(ended.code, Some(1));
    insta::assert_snapshot!(complaint(&ended, &below), @"klinky: cannot use DIR as the data directory: make it writable, or name another with --data-dir: Not a directory (os error 20)");
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn a_data_directory_that_cannot_be_written_is_an_error_that_names_it() {
    // Of a kind that not even root can write to.
    let ended = run(&mut klinky(&["serve", "--data-dir", "/proc/self"]));

    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.starts_with("klinky: cannot use /proc/self as the data directory: make it writable"));
}
