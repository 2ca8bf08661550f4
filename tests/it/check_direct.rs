//! `/check` is answered past all routes, or, where browsers may have to be told of the answer, by its route.

use serde_json::json;

use crate::cors::OURS;
use crate::harness::{Account, Exchange, Server};

/// A server that answers `/check` by its route.
fn routed() -> Server {
    Server::start_with(|settings| settings.cors_origins = vec![OURS.to_owned()])
}

/// Requests of every kind that `/check` tells apart.
fn requests(account: &Account) -> Vec<String> {
    let key = &account.key;
    let question = |body: &str| format!("POST /check\nContent-Type: application/json\n\n{body}");
    let asked = json!({"key": key, "cost": 2, "endpoint": "GET /v1/reports"}).to_string();
    let mut requests = vec![
        format!("GET /check\nX-API-Key: {key}"),
        format!("HEAD /check\nX-API-Key: {key}"),
        format!("GET /%63heck?cost=7\nX-API-Key: {key}"),
        format!("POST /check?cost=1\nX-API-Key: {key}\nContent-Type: application/json\n\n{asked}"),
        format!("OPTIONS /check\nX-API-Key: {key}\nOrigin: https://evil.example"),
        format!("GET /check/v1/reports?cost=7\nX-API-Key: {key}\nX-Original-Method: no method"),
        format!("GET /check\nX-API-Key: {key}\nHost: a b"),
        question(&asked),
        question(&asked.replace('2', "0")),
        question("{"),
        question(&format!("{{\"key\":\"{}\"}}", "x".repeat(20_000))),
        question(r#"{"key":"klinky_live_nobodys"}"#),
        format!("GET /check?cost=81\nX-API-Key: {key}"),
        format!("GET /check?cost=81&deny=403\nX-API-Key: {key}"),
        format!("GET /check?cost=81\nX-API-Key: {key}\nAccept: application/problem+json"),
    ];
    let faulty = ["?cost=0", "?cost=x&deny=403", "?deny=404", "?cost=1&cost=1", "?cost=%ff", "/", "x"];
    requests.extend(faulty.iter().map(|rest| format!("GET /check{rest}\nX-API-Key: {key}")));
    requests.extend(["GET /check", "GET /check?deny=403", "GET /check\nX-API-Key: x"].map(str::to_owned));
    requests
}

/// An answer without what only browsers look at.
fn shown(mut answer: Exchange) -> String {
    answer.headers.retain(|(name, _value)| name != "access-control-expose-headers");
    answer.to_string()
}

#[test]
fn past_the_routes_or_by_them_the_answers_are_the_same() {
    let (direct, routed) = (Server::start(), routed());

    let [past, by] = [&direct, &routed].map(|server| {
        let account = server.account("growth");
        let answers = requests(&account).into_iter().map(|request| shown(server.public.exchange(&request)));
        (answers.collect::<Vec<_>>(), server.used(&account.id))
    });

    assert_eq!(past, by);
    // 11 of the first five requests, 2 of the question, 81 until that no longer fits, and 1 of `/check/`.
    assert_eq!(past.1, 95);
}

#[test]
fn where_browsers_may_ask_a_page_may_read_the_answer() {
    let server = routed();
    let account = server.account("growth");
    let preflight = format!("OPTIONS /check\nOrigin: {OURS}\nAccess-Control-Request-Method: GET");

    let answer = server.public.exchange(&format!("GET /check\nOrigin: {OURS}\nX-API-Key: {}", account.key));

    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some(OURS)), "{answer}");
    assert_eq!(server.public.exchange(&preflight).status, 200);
    assert_eq!(server.used(&account.id), 1);
}
