//! Errors as problems (RFC 9457), for clients that ask for them.

use serde_json::{Value, json};

use crate::harness::{ADMIN_TOKEN, Exchange, Server};

const WANTED: &str = "Accept: application/problem+json";

/// Checks the shape that every problem but a 429 has, and that its detail is the plain one.
fn assert_problem(problem: &Exchange, plain: &Exchange, title: &str) {
    assert_eq!(problem.header("content-type"), Some("application/problem+json"), "{problem}");
    assert_eq!(plain.header("content-type"), Some("application/json"), "{plain}");
    let wanted =
        json!({"type": "about:blank", "title": title, "status": problem.status, "detail": plain.json()["detail"]});
    assert_eq!((problem.status, problem.json()), (plain.status, wanted));
}

#[test]
fn an_exceeded_quota_names_its_type_and_policy() {
    let server = Server::start();
    let account = server.account("growth");
    server.admin_ok("PUT", &format!("/accounts/{}/rate-limit", account.id), &json!({"used": 100}));

    let answer = server.ping(&format!("{}\n{WANTED}", account.key));

    insta::assert_snapshot!(answer, @r#"
    GET /api/v1/public/links
    X-API-Key: <key>
    Accept: application/problem+json

    429
    content-type: application/problem+json
    ratelimit: "hour";r=0;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    retry-after: 1800
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 0
    x-ratelimit-reset: 1705330800

    {"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Request cannot be satisfied as assigned quota has been exceeded","status":429,"detail":"Rate limit exceeded. Please try again later.","violated-policies":["hour"]}
    "#);
}

#[test]
fn a_plan_without_access_is_a_problem() {
    let server = Server::start();
    let account = server.account("free");

    let answer = server.ping(&format!("{}\n{WANTED}", account.key));

    insta::assert_snapshot!(answer, @r#"
    GET /api/v1/public/links
    X-API-Key: <key>
    Accept: application/problem+json

    403
    content-type: application/problem+json
    ratelimit: "hour";r=0;t=1800
    ratelimit-policy: "hour";q=0;w=3600
    x-ratelimit-limit: 0
    x-ratelimit-remaining: 0
    x-ratelimit-reset: 1705330800

    {"type":"about:blank","title":"Forbidden","status":403,"detail":"Your plan (free) does not include API access. Upgrade to Growth or Scale."}
    "#);
}

#[test]
fn every_class_of_error_has_the_form_of_a_problem() {
    let server = Server::start();
    let account = server.account("growth");
    let suspended = server.account("growth");
    server.admin_ok("PATCH", &format!("/accounts/{}", suspended.id), &json!({"suspended": true}));
    let (key, token) = (&account.key, server.token(&account.id));
    let (long, large) = ("x".repeat(9000), "x".repeat(17_000));

    for (status, title, line, headers) in [
        (401, "Unauthorized", "GET /api/v1/public/links", String::new()),
        (401, "Unauthorized", "GET /api/v1/public/account", "Authorization: Bearer x".to_owned()),
        (403, "Forbidden", "GET /api/v1/public/links", format!("X-API-Key: {}", suspended.key)),
        (404, "Not Found", "GET /api/v1/public/nothing", format!("X-API-Key: {key}")),
        (404, "Not Found", "GET /nothing", String::new()),
        (
            405,
            "Method Not Allowed",
            "PUT /api/v1/public/links/018d0d80-0000-7000-8000-000000000001/clicks",
            format!("X-API-Key: {key}"),
        ),
        (414, "URI Too Long", &format!("GET /{long}"), String::new()),
        (422, "Unprocessable Entity", "POST /api/v1/public/keys", format!("Authorization: Bearer {token}")),
        (422, "Unprocessable Entity", "GET /check?cost=0", format!("X-API-Key: {key}")),
        (431, "Request Header Fields Too Large", "GET /", format!("X-Filler: {large}")),
    ] {
        let plain = server.public.exchange(&format!("{line}\n{headers}"));
        let problem = server.public.exchange(&format!("{line}\n{headers}\n{WANTED}").replace("\n\n", "\n"));
        assert_eq!(problem.status, status);
        assert_problem(&problem, &plain, title);
    }
}

#[test]
fn a_problem_is_for_those_who_name_it_and_do_not_refuse_it() {
    let server = Server::start();

    for (accept, is_problem) in [
        ("application/problem+json;q=0.5, application/json", true),
        ("text/html, APPLICATION/Problem+JSON", true),
        ("application/problem+json; charset=utf-8", true),
        ("text/html\nAccept: application/problem+json", true),
        ("application/problem+json;q=0", false),
        ("application/problem+json; Q=0.000, application/json", false),
        ("application/problem+json-seq", false),
        ("*/*", false),
    ] {
        let answer = server.public.exchange(&format!("GET /nothing\nAccept: {accept}"));

        let content_type = if is_problem { "application/problem+json" } else { "application/json" };
        assert_eq!((answer.status, answer.header("content-type")), (404, Some(content_type)), "{accept}");
    }
}

#[test]
fn a_body_that_is_too_large_is_a_problem() {
    let server = Server::start();
    let token = server.token(&server.account("growth").id);
    let request = |accept: &str| {
        let raw = format!(
            "POST /api/v1/public/keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{accept}\
             Content-Length: 1048577\r\n\r\n"
        );
        server.public.exchange_raw("POST /api/v1/public/keys", raw.as_bytes())
    };

    let problem = request(&format!("{WANTED}\r\n"));

    assert_eq!(problem.status, 413);
    assert_problem(&problem, &request(""), "Payload Too Large");
}

#[test]
fn the_decision_service_answers_problems() {
    let server = Server::start();
    let account = server.account("growth");
    server.admin_ok("PUT", &format!("/accounts/{}/rate-limit", account.id), &json!({"used": 100}));

    let denied = server.public.exchange(&format!("GET /check\nX-API-Key: {}\n{WANTED}", account.key));
    let asked = server
        .public
        .exchange(&format!("POST /check\nContent-Type: application/json\n{WANTED}\n\n{}", json!({"key": account.key})));

    assert_eq!((denied.status, asked.status), (429, 429));
    assert_eq!(denied.json()["violated-policies"], json!(["hour"]));
    assert_eq!(denied.json(), asked.json());
}

#[test]
fn the_admin_listener_answers_problems() {
    let server = Server::start();
    let ask = |line: &str, headers: &str| server.admin.exchange(&format!("{line}\n{WANTED}\n{headers}"));
    let token = format!("Authorization: Bearer {ADMIN_TOKEN}");

    let unauthorized = ask("GET /admin/v1/plans", "");
    let answers = [
        unauthorized,
        ask("GET /admin/v1/accounts/x", &token),
        ask("PUT /admin/v1/plans", &token),
        ask("DELETE /admin/v1/plans/growthless", &token),
        ask("GET /nothing", ""),
    ];

    assert_eq!(answers.each_ref().map(|answer| answer.status), [401, 404, 405, 404, 404]);
    for answer in &answers {
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer}");
        assert_eq!(answer.json()["type"], json!("about:blank"));
    }
}

#[test]
fn a_lock_out_is_no_exceeded_quota() {
    let server = Server::start();
    let guess = || server.admin.exchange(&format!("GET /admin/v1/plans\nAuthorization: Bearer x\n{WANTED}"));
    for _nth in 0..10 {
        guess();
    }

    insta::assert_snapshot!(guess(), @r#"
    GET /admin/v1/plans
    Authorization: Bearer x
    Accept: application/problem+json

    429
    content-type: application/problem+json
    retry-after: 60

    {"type":"about:blank","title":"Too Many Requests","status":429,"detail":"Too many wrong admin tokens from this address. Try again in 60 seconds."}
    "#);
}

#[test]
fn a_problem_is_given_to_who_lists_it_among_others() {
    let server = Server::start();
    let accept = |value: &str| {
        let answer = server.public.exchange(&format!("GET /nothing\n{value}"));
        answer.header("content-type").unwrap().to_owned()
    };

    let problems = [
        "Accept: application/json, application/problem+json;q=0.9",
        "Accept: text/html\nAccept: application/problem+json",
        "Accept: Application/Problem+JSON",
    ]
    .map(accept);
    let plain = ["", "Accept: */*", "Accept: application/json", "Accept: \u{e9}"].map(accept);

    assert_eq!(problems, ["application/problem+json"; 3]);
    assert_eq!(plain, ["application/json"; 4]);
}

#[test]
fn success_is_no_problem() {
    let server = Server::start();
    let account = server.account("growth");

    let answer = server.ping(&format!("{}\n{WANTED}", account.key));

    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json()["items"], json!([]));
}

#[test]
fn a_head_request_is_told_of_a_problem_without_a_body() {
    let server = Server::start();

    let answer = server.public.exchange(&format!("HEAD /nothing\n{WANTED}"));

    assert_eq!((answer.status, answer.header("content-type")), (404, Some("application/problem+json")));
    assert_eq!(answer.body, "");
    let length: usize = answer.header("content-length").unwrap().parse().unwrap();
    let problem: Value = server.public.exchange(&format!("GET /nothing\n{WANTED}")).json();
    assert_eq!(length, problem.to_string().len());
}
