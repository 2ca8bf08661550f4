//! What endpoints are called in usage, whoever asks: the gateway, a proxy's sub-request, a server that asks by itself.

use serde_json::json;

use crate::gateway_faults::nobody;
use crate::harness::{Account, Server};
use crate::upstream::{Upstream, settings};
use crate::usage::endpoints;

fn names(server: &Server, account: &Account) -> Vec<String> {
    let mut names: Vec<String> = endpoints(server, &account.id).into_iter().map(|(name, ..)| name).collect();
    names.sort();
    names
}

#[test]
fn the_gateways_endpoints_are_paths_with_their_ids_folded() {
    let upstream = Upstream::plain();
    let server = upstream.guarded(&[]);
    let account = server.account("growth");
    for path in ["/v1/things/1", "/v1/things/2?key=secret", "/v1/things/018d0b3a-5c1e-7d2f-8a3b-1c2d3e4f5a6b", "/v1"] {
        let answer = server.public.exchange(&format!("GET {path}\nX-API-Key: {}", account.key));
        assert_eq!(answer.status, 200, "{answer}");
    }

    let found = endpoints(&server, &account.id);

    assert_eq!(found, [("GET /v1/things/{id}".to_owned(), 3, 0, 0), ("GET /v1".to_owned(), 1, 0, 0)]);
    assert_eq!(server.used(&account.id), 4);
}

#[test]
fn an_error_of_the_upstreams_is_an_error_and_so_is_an_upstream_that_is_gone() {
    let upstream = Upstream::answering("HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\n<none>");
    let server = upstream.guarded(&[]);
    let account = server.account("growth");
    let ask = |server: &Server, account: &Account| {
        server.public.exchange(&format!("GET /v1/things\nX-API-Key: {}", account.key)).status
    };
    assert_eq!(ask(&server, &account), 404);
    assert_eq!(endpoints(&server, &account.id), [("GET /v1/things".to_owned(), 1, 0, 1)]);

    let gateway = settings(nobody(), &[]);
    let server = Server::start_with(move |settings| settings.gateway = Some(gateway.clone()));
    let account = server.account("growth");
    assert_eq!(ask(&server, &account), 502);
    assert_eq!(endpoints(&server, &account.id), [("GET /v1/things".to_owned(), 1, 0, 1)]);
}

#[test]
fn a_decision_is_counted_under_the_endpoint_that_it_is_about() {
    let server = Server::start();
    let account = server.account("growth");
    let key = &account.key;
    for head in [
        "GET /check?cost=5\nX-Original-Method: POST\nX-Original-URI: /reports/17?token=secret",
        "GET /check\nX-Forwarded-Method: PUT\nX-Forwarded-Uri: /reports/18",
        "DELETE /check/reports/19?cost=1000",
        "GET /check",
        "GET /check\nX-Original-URI: /caf\u{e9}",
        "GET /check\nX-Original-URI: /<script>alert(1)</script>?<b>",
    ] {
        let answer = server.public.exchange(&format!("{head}\nX-API-Key: {key}"));
        assert_eq!(answer.status, 200, "{answer}");
    }
    let question = json!({"key": key, "cost": 2, "endpoint": "PATCH /reports/20"});
    let asked = server.public.exchange(&format!("POST /check\nContent-Type: application/json\n\n{question}"));
    assert_eq!(asked.status, 200, "{asked}");

    assert_eq!(
        names(&server, &account),
        [
            "DELETE /reports/{id}",
            "GET /<script>alert(1)</script>",
            "PATCH /reports/{id}",
            "POST /reports/{id}",
            "PUT /reports/{id}",
            "unknown",
        ]
    );
    let used: u64 = endpoints(&server, &account.id).iter().map(|(_name, used, ..)| used).sum();
    assert_eq!((used, server.used(&account.id)), (12, 12));
}

#[test]
fn the_201st_endpoint_of_an_hour_is_other() {
    let server = Server::start();
    let account = server.account("growth");
    server.admin_ok("PATCH", &format!("/accounts/{}", account.id), &json!({"custom_limit": 1000}));
    let check = |path: &str| {
        let answer = server.public.exchange(&format!("GET /check\nX-Original-URI: {path}\nX-API-Key: {}", account.key));
        assert_eq!(answer.status, 200, "{answer}");
    };
    (0..200).for_each(|at| check(&format!("/word{at}")));
    assert_eq!(names(&server, &account).len(), 200);

    (200..210).for_each(|at| check(&format!("/word{at}")));
    check("/word7");

    let found = endpoints(&server, &account.id);
    assert_eq!(found.len(), 201);
    let used = |wanted: &str| found.iter().find(|(name, ..)| name == wanted).map(|(_name, used, ..)| *used);
    assert_eq!((used("other"), used("GET /word7"), used("GET /word205")), (Some(10), Some(2), None));
    assert_eq!(server.used(&account.id), 211);

    // The next hour has place for others.
    server.set_clock("2024-01-15T15:00:00Z");
    check("/word205");
    assert_eq!(names(&server, &account), ["GET /word205"]);
}
