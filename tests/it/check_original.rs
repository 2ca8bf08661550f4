//! What `/check` takes from the proxies' headers and from Envoy's path, and what it does not.

use serde_json::{Value, json};

use crate::harness::{Account, Exchange, Server};
use crate::process::Process;

fn ask(server: &Server, line: &str, account: &Account, rest: &str) -> Exchange {
    server.public.exchange(&format!("{line}\nX-API-Key: {}\n{rest}", account.key))
}

#[test]
fn behind_a_prefix_the_path_is_the_originals() {
    let server = Server::start();
    let account = server.account("growth");

    let answer = ask(&server, "GET /check/v1/things?page=2", &account, "");

    insta::assert_snapshot!(answer, @r#"
    GET /check/v1/things?page=2
    X-API-Key: <key>

    200
    ratelimit: "hour";r=99;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-klinky-account: <id>
    x-klinky-key: <id>
    x-klinky-plan: growth
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 99
    x-ratelimit-reset: 1705330800
    "#);
    assert_eq!((answer.header("content-length"), server.used(&account.id)), (Some("0"), 1));
    assert_eq!(answer.header("x-klinky-key"), Some(account.key_id.as_str()));
}

#[test]
fn behind_a_prefix_the_query_is_the_clients_and_chooses_nothing() {
    let server = Server::start();
    let account = server.account("growth");

    for query in ["cost=50", "cost=0", "cost=x&cost=y", "deny=403", "deny=1"] {
        assert_eq!(ask(&server, &format!("GET /check/v1/things?{query}"), &account, "").status, 200, "{query}");
    }
    assert_eq!(server.used(&account.id), 5);
    server.admin_ok("PUT", &format!("/accounts/{}/rate-limit", account.id), &json!({"used": 100}));
    let denied = ask(&server, "GET /check/v1/things?deny=403", &account, "");
    assert_eq!((denied.status, denied.detail().as_str()), (429, "Rate limit exceeded. Please try again later."));
}

#[test]
fn behind_a_prefix_no_path_leads_elsewhere() {
    let server = Server::start();
    let account = server.account("growth");
    let paths = [
        "/",
        "//",
        "/../api/v1/public/links",
        "/../../admin/v1/accounts",
        "/%2e%2e/%2e%2e",
        "/a%2fb",
        "/a%00b",
        "/.",
        "/check",
        "/*",
        "/:x",
        "/{slug}",
        "/%ff",
        "/http://elsewhere.example/",
    ];

    for path in paths {
        let answer = ask(&server, &format!("GET /check{path}"), &account, "");
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{answer}");
    }

    assert_eq!(server.used(&account.id), u64::try_from(paths.len()).unwrap());
}

#[test]
fn behind_a_prefix_a_body_is_never_a_question() {
    let server = Server::start();
    let account = server.account("growth");
    let body = json!({"key": account.key});

    for path in ["/check/", "/check/v1/things"] {
        let answer = server.public.exchange(&format!("POST {path}\nContent-Type: application/json\n\n{body}"));
        assert_eq!((answer.status, answer.detail().as_str()), (401, "Missing API key. Include X-API-Key header."));
    }
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn behind_a_prefix_the_method_is_the_originals() {
    let server = Server::start();
    let account = server.account("growth");
    server.admin_ok("PATCH", &format!("/keys/{}", account.key_id), &json!({"scope": "read_only"}));

    let statuses = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "PURGE"]
        .map(|method| ask(&server, &format!("{method} /check/v1/things"), &account, "").status);

    assert_eq!(statuses, [200, 200, 200, 403, 403, 403, 403, 403]);
    assert_eq!(ask(&server, "GET /check/v1/things", &account, "X-Forwarded-Method: POST").status, 403);
}

#[test]
fn a_path_beside_check_is_not_check() {
    let server = Server::start();
    let account = server.account("growth");

    for path in ["/checks", "/check.", "/Check", "/CHECK/v1"] {
        assert_eq!(ask(&server, &format!("GET {path}"), &account, "").status, 404, "{path}");
    }
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn an_original_uri_changes_no_decision_whatever_it_is() {
    let server = Server::start();
    let account = server.account("growth");
    let long = format!("/{}", "x".repeat(9000));
    let uris = ["", "*", "x", "/", "//", "/../..", "http://x/y", "/caf\u{e9}", "/a\tb", "/a b", "/?cost=50", &long];

    for uri in uris {
        for name in ["X-Original-URI", "X-Forwarded-Uri"] {
            let answer = ask(&server, "GET /check", &account, &format!("{name}: {uri}\n{name}: /other"));
            assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{name}: {uri}");
        }
    }

    assert_eq!(server.used(&account.id), 24);
}

#[test]
fn what_a_client_says_of_itself_does_not_come_back() {
    let server = Server::start();
    let account = server.account("growth");
    let forged = "X-Klinky-Account: forged\nX-Klinky-Plan: forged\nX-Klinky-Key: forged\nX-Klinky-Error-Body: forged\n\
                  X-RateLimit-Status: forged\nX-RateLimit-Limit: forged\nRetry-After: forged";

    for target in ["/check", "/check?deny=403", "/check/v1/things"] {
        let allowed = ask(&server, &format!("GET {target}"), &account, forged);
        let denied = server.public.exchange(&format!("GET {target}\n{forged}"));
        assert_eq!((allowed.status, denied.status), (200, 401));
        for answer in [allowed, denied] {
            assert!(answer.headers.iter().all(|(_name, value)| value != "forged"), "{:?}", answer.headers);
        }
    }
}

#[test]
fn two_keys_are_as_wrong_as_a_wrong_one() {
    let server = Server::start();
    let account = server.account("growth");

    for target in ["/check", "/check?deny=403", "/check/v1/things"] {
        let answer = ask(&server, &format!("GET {target}"), &account, &format!("X-API-Key: {}", account.key));
        assert_eq!(answer.status, 401, "{answer}");
    }
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn for_nginx_a_fault_of_the_question_has_no_body_either() {
    let server = Server::start();
    let account = server.account("growth");

    for (query, headers, detail) in [
        ("cost=0", "", "cost: must be 1 to 1000"),
        ("cost=1&cost=2", "", "cost: must stand once"),
        ("cost=1", "X-Original-Method: G\u{e9}T", "x-original-method: must be an HTTP method"),
    ] {
        let answer = ask(&server, &format!("GET /check?deny=403&{query}"), &account, headers);
        assert_eq!((answer.status, answer.header("content-length")), (422, Some("0")), "{answer}");
        let said: Value = serde_json::from_str(answer.header("x-klinky-error-body").unwrap()).unwrap();
        assert_eq!(said, json!({"detail": detail}));
    }
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn for_nginx_a_failed_store_is_an_error_without_a_body() {
    let temp = tempfile::tempdir().unwrap();
    let klinky = crate::full_disk::serve_with_little_room(temp.path());
    let (_id, key) = klinky.account("growth");
    crate::full_disk::fill(&klinky);

    let answer = klinky.public.exchange(&format!("GET /check?deny=403\nX-API-Key: {key}"));

    assert_eq!((answer.status, answer.header("content-length")), (503, Some("0")), "{answer}");
    assert!(answer.header("x-klinky-error-body").unwrap().contains("Nothing was counted"), "{answer}");
}

#[test]
fn the_log_names_the_endpoint_that_was_asked_about() {
    let temp = tempfile::tempdir().unwrap();
    let process = Process::serve(temp.path(), &["--log-format", "json"]);
    let (_id, key) = process.account("growth");
    let long = format!("GET /check\nX-Original-URI: /{}", "x".repeat(2000));
    let cases = [
        ("GET /check\nX-Original-Method: POST\nX-Original-URI: /v1/a?token=secret#secret", Some("POST /v1/a")),
        ("GET /check\nX-Forwarded-Method: PUT\nX-Forwarded-Uri: /v1/b", Some("PUT /v1/b")),
        ("GET /check\nX-Original-Method: PUT\nX-Forwarded-Method: PUT\nX-Forwarded-Uri: /c", Some("PUT /c")),
        ("PATCH /check/v1/d/../e?token=secret", Some("PATCH /v1/d/../e")),
        ("POST /check\nX-Original-URI: /v1/f", Some("POST /v1/f")),
        ("GET /check", None),
        ("GET /check\nX-Original-Method: POST", None),
        // The proxy sets one pair, and the client the other.
        ("GET /check\nX-Original-URI: /v1/g\nX-Forwarded-Uri: /v1/h", None),
        ("GET /check\nX-Original-Method: PUT\nX-Forwarded-Method: POST\nX-Forwarded-Uri: /v1/i", None),
        // None of these is a path that can stand in a log as it is.
        ("GET /check\nX-Original-URI: http://elsewhere.example/v1", None),
        ("GET /check\nX-Original-URI: /caf\u{e9}", None),
        ("GET /check\nX-Original-URI: /a b", None),
        (&long, None),
    ];

    for (number, (request, _endpoint)) in cases.iter().enumerate() {
        let answer = process.public.exchange(&format!("{request}\nX-API-Key: {key}\nX-Request-Id: nth-{number}-"));
        assert_eq!(answer.status, 200, "{request}");
    }

    let log = process.stop();
    assert!(!log.contains("secret"), "{log}");
    for (number, (request, endpoint)) in cases.iter().enumerate() {
        let line = log.lines().find(|line| line.contains(&format!("nth-{number}-"))).unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["endpoint"].as_str(), *endpoint, "{request}");
    }
}
