//! Validators: a client that has an answer's body is told so in a short 304.

use crate::harness::{Exchange, Server};

fn ask(server: &Server, method: &str, key: &str, headers: &str) -> Exchange {
    server.public.exchange(&format!("{method} /api/v1/public/links\nX-API-Key: {key}\n{headers}"))
}

#[test]
fn a_get_has_a_validator_and_a_client_that_shows_it_gets_304() {
    let server = Server::start();
    let account = server.account("growth");
    let first = server.ping(&account.key);
    let tag = first.header("etag").unwrap().to_owned();

    let second = ask(&server, "GET", &account.key, &format!("If-None-Match: {tag}"));

    insta::assert_snapshot!(first, @r#"
    GET /api/v1/public/links
    X-API-Key: <key>

    200
    cache-control: private, no-cache
    content-type: application/json
    etag: <etag>
    ratelimit: "hour";r=99;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 99
    x-ratelimit-reset: 1705330800

    {"items":[],"total":0,"page":1,"per_page":20,"pages":0}
    "#);
    insta::assert_snapshot!(second, @r#"
    GET /api/v1/public/links
    X-API-Key: <key>
    If-None-Match: "582f289efc65d4c59b039ec068b9fde7d0103473c4e4a74894a7b1d5cd5f8229"

    304
    cache-control: private, no-cache
    etag: <etag>
    ratelimit: "hour";r=98;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 98
    x-ratelimit-reset: 1705330800
    "#);
    assert_eq!(server.used(&account.id), 2);
}

#[test]
fn tags_are_compared_weakly_in_lists_over_lines_and_by_a_star() {
    let server = Server::start();
    let account = server.account("growth");
    let tag = server.ping(&account.key).header("etag").unwrap().to_owned();

    for has in [
        format!("If-None-Match: W/{tag}"),
        format!("If-None-Match: \"a\", W/\"b\" ,{tag}"),
        format!("If-None-Match: \"a\"\nIf-None-Match: {tag}"),
        "If-None-Match: *".to_owned(),
    ] {
        let answer = ask(&server, "GET", &account.key, &has);
        assert_eq!((answer.status, answer.body.as_str()), (304, ""), "{has}");
    }
}

#[test]
fn other_tags_get_the_whole_answer() {
    let server = Server::start();
    let account = server.account("growth");
    let tag = server.ping(&account.key).header("etag").unwrap().trim_matches('"').to_owned();

    for has in [
        "If-None-Match: \"other\"".to_owned(),
        "If-None-Match:".to_owned(),
        format!("If-None-Match: {tag}"),
        format!("If-None-Match: \"{}\"", tag.to_uppercase()),
        "If-None-Match: \u{fc}".to_owned(),
    ] {
        assert_eq!(ask(&server, "GET", &account.key, &has).status, 200, "{has}");
    }
}

#[test]
fn all_that_a_key_reads_has_a_validator() {
    let server = Server::start();
    let account = server.account("growth");
    let body = r#"{"name": "A", "variants": [{"label": "a", "destination_url": "https://a.example", "weight": 100}]}"#;
    let head = format!("X-API-Key: {}\nContent-Type: application/json", account.key);
    let link = server.public.exchange(&format!("POST /api/v1/public/links\n{head}\n\n{body}"));
    let path = format!("/api/v1/public/links/{}", link.json()["id"].as_str().unwrap());

    assert_eq!((link.status, link.header("etag")), (201, None));
    for path in [path.clone(), format!("{path}/clicks"), format!("{path}/stats")] {
        for method in ["GET", "HEAD"] {
            let ask = |headers: &str| {
                server.public.exchange(&format!("{method} {path}\nX-API-Key: {}\n{headers}", account.key))
            };
            let first = ask("Accept: */*");
            let tag = first.header("etag").unwrap();
            let second = ask(&format!("If-None-Match: {tag}"));
            assert_eq!((first.status, second.status), (200, 304), "{method} {path}");
            assert!(!second.header("x-request-id").unwrap().is_empty());
        }
    }
}

#[test]
fn a_head_has_the_validator_of_its_get() {
    let server = Server::start();
    let account = server.account("growth");
    let get = server.ping(&account.key);
    let tag = get.header("etag").unwrap().to_owned();

    let head = ask(&server, "HEAD", &account.key, "Accept: */*");
    let same = ask(&server, "HEAD", &account.key, &format!("If-None-Match: {tag}"));

    assert_eq!((head.status, head.header("etag")), (200, Some(tag.as_str())));
    assert_eq!(head.header("content-length"), get.header("content-length"));
    assert_eq!((same.status, same.header("etag"), same.header("content-length")), (304, Some(tag.as_str()), None));
}

#[test]
fn errors_have_no_validator() {
    let server = Server::start();
    let account = server.account("growth");

    let unknown =
        server.public.exchange(&format!("GET /api/v1/public/x\nX-API-Key: {}\nIf-None-Match: *", account.key));
    let not_allowed = ask(&server, "POST", &account.key, "If-None-Match: *");
    let no_key = server.public.exchange("GET /api/v1/public/links\nIf-None-Match: *");

    assert_eq!([unknown.status, not_allowed.status, no_key.status], [404, 422, 401]);
    assert!([unknown, not_allowed, no_key].iter().all(|answer| answer.header("etag").is_none()));
}

#[test]
fn a_client_without_units_is_not_told_that_nothing_changed() {
    let server = Server::start();
    let account = server.account("growth");
    let path = format!("/accounts/{}/rate-limit", account.id);
    server.admin_ok("PUT", &path, &serde_json::json!({"used": 100}));

    let denied = ask(&server, "GET", &account.key, "If-None-Match: *");

    assert_eq!(denied.status, 429);
}
