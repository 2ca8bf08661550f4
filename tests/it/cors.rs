//! Browsers: which pages of other origins may call the public API.

use crate::harness::{Exchange, Listener, Server};

pub(crate) const OURS: &str = "https://app.example.com";
pub(crate) const FOREIGN: &str = "https://evil.example";

fn start() -> Server {
    Server::start_with(|settings| settings.cors_origins = vec![OURS.to_owned(), "http://localhost:3000".to_owned()])
}

fn preflight(server: &Server, origin: &str, method: &str, headers: &str) -> Exchange {
    server.public.exchange(&format!(
        "OPTIONS /api/v1/public/links\nOrigin: {origin}\nAccess-Control-Request-Method: {method}\n\
         Access-Control-Request-Headers: {headers}"
    ))
}

/// The names of a list header, lower-case and sorted.
pub(crate) fn names(answer: &Exchange, header: &str) -> Vec<String> {
    let list = answer.header(header).unwrap_or_default().to_ascii_lowercase();
    let mut names: Vec<String> = list.split(',').map(|name| name.trim().to_owned()).collect();
    names.sort();
    names
}

pub(crate) fn has_cors_headers(answer: &Exchange) -> bool {
    answer.headers.iter().any(|(name, _value)| name.starts_with("access-control-"))
}

#[test]
fn a_preflight_of_an_allowed_origin_is_answered_without_a_key() {
    let server = start();

    let answer = preflight(&server, OURS, "POST", "x-api-key, content-type, idempotency-key");

    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert_eq!(answer.header("access-control-allow-origin"), Some(OURS));
    assert_eq!(answer.header("access-control-max-age"), Some("7200"));
    assert_eq!(
        names(&answer, "access-control-allow-methods"),
        ["delete", "get", "head", "patch", "post", "put"],
        "{answer}"
    );
    let allowed = names(&answer, "access-control-allow-headers");
    for needed in ["x-api-key", "authorization", "content-type", "idempotency-key", "if-none-match", "x-request-id"] {
        assert!(allowed.iter().any(|name| name == needed), "{needed} in {allowed:?}");
    }
}

#[test]
fn a_preflight_is_not_counted_even_with_a_key() {
    let server = start();
    let account = server.account("growth");

    let answer = server.public.exchange(&format!(
        "OPTIONS /api/v1/public/links\nOrigin: {OURS}\nAccess-Control-Request-Method: GET\nX-API-Key: {}",
        account.key
    ));

    assert_eq!((answer.status, server.used(&account.id)), (200, 0));
}

#[test]
fn a_preflight_of_another_origin_is_refused_in_our_form() {
    let server = start();

    let answer = preflight(&server, FOREIGN, "GET", "x-api-key");

    insta::assert_snapshot!(answer, @r#"
    OPTIONS /api/v1/public/links
    Origin: https://evil.example
    Access-Control-Request-Method: GET
    Access-Control-Request-Headers: x-api-key

    400
    content-type: application/json

    {"detail":"Bad Request."}
    "#);
    assert!(!has_cors_headers(&answer));
}

#[test]
fn a_preflight_for_what_is_not_allowed_is_refused() {
    let server = start();

    let method = preflight(&server, OURS, "TRACE", "x-api-key");
    let header = preflight(&server, OURS, "GET", "x-surprise");

    assert_eq!((method.status, header.status), (400, 400));
}

#[test]
fn an_answer_to_an_allowed_origin_exposes_our_headers() {
    let server = start();
    let account = server.account("growth");

    let answer = server.ping(&format!("{}\nOrigin: {OURS}", account.key));

    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some(OURS)));
    assert_eq!(
        names(&answer, "access-control-expose-headers"),
        [
            "etag",
            "idempotent-replayed",
            "ratelimit",
            "ratelimit-policy",
            "retry-after",
            "x-ratelimit-limit",
            "x-ratelimit-remaining",
            "x-ratelimit-reset",
            "x-request-id"
        ]
    );
    assert!(names(&answer, "vary").contains(&"origin".to_owned()), "caches must tell origins apart");
}

#[test]
fn a_page_of_an_allowed_origin_can_read_errors() {
    let server = start();
    let free = server.account("free");

    let unauthorized = server.public.exchange(&format!("GET /api/v1/public/links\nOrigin: {OURS}"));
    let forbidden = server.ping(&format!("{}\nOrigin: {OURS}", free.key));
    let unknown = server.public.exchange(&format!("GET /nothing\nOrigin: {OURS}"));

    for (answer, status) in [(unauthorized, 401), (forbidden, 403), (unknown, 404)] {
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (status, Some(OURS)), "{answer}");
    }
}

#[test]
fn a_page_of_an_allowed_origin_can_read_what_is_refused_for_its_length() {
    let server = start();
    let (path, filler) = ("x".repeat(9000), "x".repeat(17_000));
    let long_path = |listener: Listener, origin: &str| listener.exchange(&format!("GET /{path}\nOrigin: {origin}"));

    let too_long = long_path(server.public, OURS);
    let too_large = server.public.exchange(&format!("GET /\nX-Filler: {filler}\nOrigin: {OURS}"));

    let served = server.public.exchange(&format!("GET /nothing\nOrigin: {OURS}"));
    for (answer, status) in [(&too_long, 414), (&too_large, 431)] {
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (status, Some(OURS)), "{answer}");
        assert!(names(answer, "vary").contains(&"origin".to_owned()), "caches must tell origins apart");
        assert!(answer.header("x-request-id").is_some() && answer.detail().contains("exceed"), "{answer}");
        let exposed = "access-control-expose-headers";
        assert_eq!(names(answer, exposed), names(&served, exposed));
    }
    assert!(!has_cors_headers(&long_path(server.public, FOREIGN)) && !has_cors_headers(&long_path(server.admin, OURS)));
}

#[test]
fn an_answer_to_another_origin_allows_it_nothing() {
    let server = start();
    let account = server.account("growth");

    for origin in [FOREIGN, "null", "https://app.example.com.evil.example", "http://app.example.com", "HTTPS://APP"] {
        let answer = server.ping(&format!("{}\nOrigin: {origin}", account.key));
        // The browser keeps it from the page; other clients may send any Origin.
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, None), "{answer}");
    }
}

#[test]
fn no_origin_is_allowed_unless_one_is_named() {
    let server = Server::start();
    let account = server.account("growth");

    let answer = server.ping(&format!("{}\nOrigin: {OURS}", account.key));
    let preflight = preflight(&server, OURS, "GET", "x-api-key");

    assert_eq!((answer.status, preflight.status), (200, 401));
    assert!(!has_cors_headers(&answer) && !has_cors_headers(&preflight));
    assert_eq!(server.used(&account.id), 1);
}

#[test]
fn the_admin_listener_allows_no_origin() {
    let server = start();

    let answer = server.admin.exchange(&format!("GET /healthz\nOrigin: {OURS}"));

    assert!(answer.status == 200 && !has_cors_headers(&answer), "{answer}");
}
