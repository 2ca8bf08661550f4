//! `/check` is answered past all routes, or, where browsers may have to be told of the answer, by its route.

use serde_json::{Value, json};

use crate::cors::OURS;
use crate::harness::{Exchange, Server, redact};
use crate::process::Process;

/// Requests of every kind that `/check` tells apart, each with an id of its own. None has a limit reached.
fn requests(key: &str) -> Vec<String> {
    let question = |body: &str| format!("POST /check\nContent-Type: application/json\n\n{body}");
    let asked = json!({"key": key, "cost": 2, "endpoint": "GET /v1/reports"}).to_string();
    let mut requests = vec![
        format!("GET /check\nX-API-Key: {key}"),
        format!("HEAD /check\nX-API-Key: {key}"),
        format!("GET /%63heck?cost=7\nX-API-Key: {key}"),
        format!("POST /check?cost=1\nX-API-Key: {key}\nContent-Type: application/json\n\n{asked}"),
        format!("OPTIONS /check\nX-API-Key: {key}\nOrigin: https://evil.example"),
        format!("GET /check\nX-API-Key: {key}\nX-API-Key: {key}"),
        format!("GET /check/v1/reports?cost=7\nX-API-Key: {key}"),
        format!("GET /%63heck/v1/reports\nX-API-Key: {key}"),
        format!("GET /check/v1/reports\nX-API-Key: {key}\nX-Original-Method: no method"),
        question(&asked),
        question(&asked.replace("\"cost\":2", "\"cost\":0")),
        question("{"),
        question(&format!("{{\"key\":\"{}\"}}", "x".repeat(20_000))),
        question(r#"{"key":"klinky_live_nobodys"}"#),
    ];
    let faulty = ["?cost=0", "?cost=x&deny=403", "?deny=404", "?cost=1&cost=1", "?cost=%ff", "/", "x"];
    requests.extend(faulty.iter().map(|rest| format!("GET /check{rest}\nX-API-Key: {key}")));
    requests.extend(["GET /check", "GET /check?deny=403", "GET /check\nX-API-Key: x"].map(str::to_owned));
    requests.iter().enumerate().map(|(number, request)| with_id(request, &format!("nth-{number}-"))).collect()
}

fn with_id(request: &str, id: &str) -> String {
    let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
    format!("{head}\nX-Request-Id: {id}\n\n{body}")
}

/// An answer with all but what only browsers look at.
fn shown(mut answer: Exchange) -> String {
    answer.headers.retain(|(name, _value)| name != "access-control-expose-headers");
    let common = ["x-request-id", "content-length"].map(|name| answer.header(name).map(str::to_owned));
    format!("{common:?} {answer}")
}

#[test]
fn past_the_routes_or_by_them_the_answers_are_the_same() {
    let direct = Server::start();
    let routed = Server::start_with(|settings| settings.cors_origins = vec![OURS.to_owned()]);

    let [past, by] = [&direct, &routed].map(|server| {
        let account = server.account("growth");
        let key = &account.key;
        let denied = ["?cost=86", "?cost=86&deny=403"].map(|query| format!("GET /check{query}\nX-API-Key: {key}"));
        let problem = format!("{}\nAccept: application/problem+json", denied[0]);
        let denied = denied.into_iter().chain([problem]).map(|request| with_id(&request, "denied"));
        let answers = requests(key).into_iter().chain(denied).map(|request| shown(server.public.exchange(&request)));
        (answers.collect::<Vec<_>>(), server.used(&account.id))
    });

    assert_eq!(past, by);
    // 7 for one of them, 2 for the question, and 1 for each of seven more, of which `/check/` is one.
    assert_eq!(past.1, 16);
}

/// What a server logs of all of these requests.
fn lines(flags: &[&str]) -> Vec<Value> {
    let temp = tempfile::tempdir().unwrap();
    let process = Process::serve(temp.path(), &[&["--log-format", "json"], flags].concat());
    let (_id, key) = process.account("growth");
    let requests = requests(&key);
    requests.iter().for_each(|request| drop(process.public.exchange(request)));
    let log = process.stop();
    let line = |number: usize| {
        let is_its = |line: &&str| line.contains(&format!("nth-{number}-")) && line.contains("\"answered\"");
        let line = log.lines().find(is_its).expect("no line of a request");
        let mut line: Value = serde_json::from_str(&redact(line)).unwrap();
        let fields = line.as_object_mut().unwrap();
        fields.retain(|name, _value| !["timestamp", "duration_us", "remaining"].contains(&name.as_str()));
        line
    };
    (0..requests.len()).map(line).collect()
}

#[test]
fn past_the_routes_or_by_them_the_log_says_the_same() {
    let upstream = format!("http://{}", crate::gateway_faults::nobody());
    let gateway = ["--upstream", &upstream, "--upstream-prefix", "/", "--public-path", "/check/**"];

    for flags in [&[][..], &gateway] {
        let past = lines(flags);
        let by = lines(&[flags, &["--cors-origin", OURS]].concat());

        assert_eq!(past, by);
        assert!(past[..6].iter().all(|line| line["route"] == "/check" && line["decision"].is_string()), "{past:?}");
        assert_eq!((&past[2]["cost"], &past[6]["route"]), (&json!(7), &json!("/check/{original:.*}")));
    }
}

#[test]
fn where_browsers_may_ask_a_page_may_read_the_answer() {
    let server = Server::start_with(|settings| settings.cors_origins = vec![OURS.to_owned()]);
    let account = server.account("growth");
    let preflight = format!("OPTIONS /check\nOrigin: {OURS}\nAccess-Control-Request-Method: GET");

    let answer = server.public.exchange(&format!("GET /check\nOrigin: {OURS}\nX-API-Key: {}", account.key));

    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some(OURS)), "{answer}");
    assert_eq!(server.public.exchange(&preflight).status, 200);
    assert_eq!(server.used(&account.id), 1);
}
