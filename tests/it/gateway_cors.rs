//! Pages of other origins and the gateway: what is allowed for an upstream that nobody here knows.

use crate::cors::{FOREIGN, OURS, has_cors_headers, names};
use crate::harness::{Account, Exchange, Server};
use crate::upstream::Upstream;

/// An upstream that does CORS itself, in its own way.
fn upstream() -> Upstream {
    Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAccess-Control-Allow-Origin: *\r\n\
         Access-Control-Allow-Credentials: true\r\nAccess-Control-Expose-Headers: X-Total\r\nX-Total: 7\r\n\r\nok",
    )
}

/// A server in front of it that has origins of its own.
fn start(upstream: &Upstream) -> (Server, Account) {
    let gateway = upstream.settings(&[]);
    let server = Server::start_with(move |settings| {
        settings.gateway = Some(gateway.clone());
        settings.cors_origins = vec![OURS.to_owned()];
    });
    let account = server.account("growth");
    (server, account)
}

fn preflight(server: &Server, origin: &str, method: &str, headers: &str) -> Exchange {
    server.public.exchange(&format!(
        "OPTIONS /v1/x\nOrigin: {origin}\nAccess-Control-Request-Method: {method}\n\
         Access-Control-Request-Headers: {headers}"
    ))
}

fn ask(server: &Server, account: &Account, origin: &str) -> Exchange {
    server
        .public
        .exchange(&format!("POST /v1/x\nX-API-Key: {}\nOrigin: {origin}\nIdempotency-Key: k1\n\nx", account.key))
}

fn values<'a>(answer: &'a Exchange, wanted: &str) -> Vec<&'a str> {
    answer.headers.iter().filter(|(name, _value)| name == wanted).map(|(_name, value)| value.as_str()).collect()
}

#[test]
fn a_preflight_may_ask_for_any_method_and_any_header() {
    let upstream = upstream();
    let (server, account) = start(&upstream);

    for method in ["GET", "PATCH", "PURGE", "X-OWN"] {
        let answer = preflight(&server, OURS, method, "x-own-thing, authorization");
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{answer}");
        assert_eq!(answer.header("access-control-allow-origin"), Some(OURS));
        assert_eq!(names(&answer, "access-control-allow-methods"), ["*", "get"]);
        assert_eq!(names(&answer, "access-control-allow-headers"), ["authorization", "x-own-thing"]);
    }
    upstream.assert_not_asked();
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn a_page_can_read_why_its_path_is_refused() {
    let upstream = upstream();
    let (server, _account) = start(&upstream);

    let refused = server.public.exchange(&format!("GET /v1//x\nOrigin: {OURS}"));

    assert_eq!((refused.status, refused.header("access-control-allow-origin")), (400, Some(OURS)), "{refused}");
    assert!(names(&refused, "access-control-expose-headers").contains(&"*".to_owned()), "{refused}");
    upstream.assert_not_asked();
}

#[test]
fn a_preflight_of_another_origin_is_refused() {
    let upstream = upstream();
    let (server, _account) = start(&upstream);

    let answer = preflight(&server, FOREIGN, "GET", "x-api-key");

    assert!(answer.status == 400 && !has_cors_headers(&answer), "{answer}");
    upstream.assert_not_asked();
}

#[test]
fn a_page_can_read_all_headers_and_the_upstreams_own_rules_are_dropped() {
    let upstream = upstream();
    let (server, account) = start(&upstream);

    // The second one is given again.
    for _ in 0..2 {
        let answer = ask(&server, &account, OURS);
        assert_eq!((answer.status, values(&answer, "access-control-allow-origin")), (200, vec![OURS]), "{answer}");
        assert_eq!(answer.header("access-control-allow-credentials"), None, "{answer}");
        assert_eq!(values(&answer, "access-control-expose-headers").len(), 1, "{answer}");
        let exposed = names(&answer, "access-control-expose-headers");
        assert!(
            ["*", "x-ratelimit-remaining", "x-request-id"].iter().all(|name| exposed.contains(&(*name).to_owned()))
        );
        assert_eq!(answer.header("x-total"), Some("7"));
    }
}

#[test]
fn a_page_of_another_origin_is_allowed_nothing_by_the_upstream() {
    let upstream = upstream();
    let (server, account) = start(&upstream);

    let answer = ask(&server, &account, FOREIGN);

    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, None), "{answer}");
    assert_eq!(answer.header("access-control-allow-credentials"), None, "{answer}");
}

#[test]
fn without_origins_of_ours_the_upstreams_own_rules_pass_untouched() {
    let upstream = upstream();
    let server = upstream.guarded(&[]);
    let account = server.account("growth");

    let answer = ask(&server, &account, FOREIGN);

    assert_eq!(values(&answer, "access-control-allow-origin"), ["*"], "{answer}");
    assert_eq!(values(&answer, "access-control-allow-credentials"), ["true"]);
    assert_eq!(values(&answer, "access-control-expose-headers"), ["X-Total"]);
}

#[test]
fn an_upstream_that_does_cors_itself_gets_preflights_without_a_key_if_options_is_public() {
    let upstream = upstream();
    let server = upstream.guarded(&["--public-path", "OPTIONS /v1/**"]);
    let account = server.account("growth");

    let answer = preflight(&server, FOREIGN, "POST", "x-api-key");

    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some("*")), "{answer}");
    let asked = upstream.asked();
    assert_eq!(
        (asked.line.as_str(), asked.header("access-control-request-method")),
        ("OPTIONS /v1/x HTTP/1.1", Some("POST"))
    );
    for call in ["GET /v1/x", "HEAD /v1/x", "POST /v1/x", "OPTION /v1/x", "POST /v1/x\nX-HTTP-Method-Override: OPTIONS"]
    {
        assert_ne!(server.public.exchange(call).status, 200, "{call}");
    }
    assert_eq!(preflight(&upstream.guarded(&[]), FOREIGN, "POST", "x-api-key").status, 401);
    upstream.assert_not_asked();
    assert_eq!(ask(&server, &account, FOREIGN).remaining(), 99);
}

#[test]
fn what_is_public_for_get_is_public_for_head() {
    let upstream = Upstream::plain();
    let server = upstream.guarded(&["--public-path", "GET /v1/docs/**"]);
    let statuses = ["GET", "HEAD", "POST", "DELETE", "OPTIONS"]
        .map(|method| server.public.exchange(&format!("{method} /v1/docs/a")).status);

    assert_eq!(statuses, [200, 200, 401, 401, 401]);
}
