//! What every recipe must do, whichever proxy runs it; the files `recipe_….rs` run these.

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Account, Exchange, Server};
use crate::process::Process;
use crate::recipe_api::{Api, OWN_LIMITS, Seen};
use crate::recipes::{Proxy, Recipe};

/// A client's side of a proxy, klinky at its side and an API behind it.
pub(crate) struct Stage {
    recipe: Recipe,
    pub(crate) klinky: Server,
    pub(crate) api: Api,
    pub(crate) proxy: Proxy,
}

impl Stage {
    /// `None` if the proxy is not installed.
    pub(crate) fn set(recipe: Recipe) -> Option<Self> {
        let (klinky, api) = (Server::start(), Api::start());
        let proxy = Proxy::start(recipe, klinky.public, api.address)?;
        Some(Self { recipe, klinky, api, proxy })
    }

    /// A request with a key, through the proxy.
    pub(crate) fn send(&self, line: &str, account: &Account, headers: &str) -> Exchange {
        self.proxy.listener.exchange(&format!("{line}\nX-API-Key: {}\n{headers}", account.key))
    }

    pub(crate) fn set_used(&self, account: &Account, used: u32) {
        self.klinky.admin_ok("PUT", &format!("/accounts/{}/rate-limit", account.id), &json!({"used": used}));
    }

    /// The one request that the API has got.
    pub(crate) fn only_seen(&self) -> Seen {
        let seen = self.api.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen[0].clone()
    }
}

/// Each of the limit headers stands at most once.
fn limits(answer: &Exchange) -> [Option<&str>; 5] {
    OWN_LIMITS.map(|(wanted, _value)| {
        let mut values = answer.headers.iter().filter(|(name, _value)| name == wanted);
        let value = values.next().map(|(_name, value)| value.as_str());
        assert_eq!(values.next(), None, "{answer}");
        value
    })
}

/// The headers of an account on Growth in the middle of the hour.
fn growth(remaining: &'static str, ratelimit: &'static str) -> [Option<&'static str>; 5] {
    [Some("100"), Some(remaining), Some("1705330800"), Some("\"hour\";q=100;w=3600"), Some(ratelimit)]
}

/// What a client sees of its limit with an answer of the API's: where klinky cannot be heard then, the API's own.
fn shown(stage: &Stage, klinkys: [Option<&'static str>; 5]) -> [Option<&'static str>; 5] {
    if stage.recipe.shows_limits() { klinkys } else { OWN_LIMITS.map(|(_name, value)| Some(value)) }
}

pub(crate) fn an_allowed_request_reaches_the_api_with_its_account_and_without_its_key(stage: &Stage) {
    let account = stage.klinky.account("growth");
    // WSGI, CGI and others take _ for -, and some servers any other character.
    let forged = "X-Klinky-Account: admin\nX-Klinky-Plan: scale\nx-klinky-key: 1\nX-Klinky-Account: admin\n\
                  X_Klinky_Account: admin\nX-Klinky_Plan: scale\nx_klinky-key: 1\n\
                  X.Klinky.Account: admin\nX-Klinky.Plan: scale\nX~Klinky|Key: 1";

    let answer = stage.send("GET /v1/things?page=2&cost=500&deny=403", &account, forged);

    assert_eq!((answer.status, answer.body.as_str()), (200, "the API's answer"));
    assert_eq!(limits(&answer), shown(stage, growth("99", "\"hour\";r=99;t=1800")));
    assert_eq!(answer.header("x-own"), Some("yes"));
    assert!(answer.headers.iter().all(|(name, _value)| !name.starts_with("x-klinky")), "{answer}");
    let seen = stage.only_seen();
    assert_eq!((seen.method.as_str(), seen.uri.as_str()), ("GET", "/v1/things?page=2&cost=500&deny=403"));
    assert_eq!(seen.names_like_ours(), ["x-klinky-account", "x-klinky-key", "x-klinky-plan"]);
    assert_eq!(seen.header("x-klinky-account"), [account.id.as_str()]);
    assert_eq!(seen.header("x-klinky-plan"), ["growth"]);
    assert_eq!(seen.header("x-klinky-key"), [account.key_id.as_str()]);
    assert_eq!(seen.header("x-api-key"), [""; 0]);
    assert_eq!(stage.klinky.used(&account.id), 1);
}

/// `Connection` names headers that a proxy drops; those that it adds itself are not the client's to take away, neither
/// here nor at a proxy behind it.
pub(crate) fn a_client_cannot_take_its_account_away(stage: &Stage) {
    let account = stage.klinky.account("growth");

    let answer =
        stage.send("GET /v1/things", &account, "Connection: close, X-Klinky-Account, X-Klinky-Plan, X-Klinky-Key");

    assert_eq!(answer.status, 200, "{answer}");
    let seen = stage.only_seen();
    assert_eq!(seen.header("x-klinky-account"), [account.id.as_str()]);
    let passed_on = seen.header("connection");
    assert!(passed_on.iter().all(|names| !names.to_ascii_lowercase().contains("klinky")), "{passed_on:?}");
}

pub(crate) fn a_request_without_a_valid_key_is_401(stage: &Stage) {
    let missing = stage.proxy.listener.exchange("GET /v1/things");
    let wrong = stage.proxy.listener.exchange("POST /v1/things\nX-API-Key: klinky_live_x\n\nbody");

    for (answer, detail) in [(missing, "Missing API key. Include X-API-Key header."), (wrong, "Invalid API key.")] {
        assert_eq!((answer.status, answer.json()), (401, json!({"detail": detail})), "{answer}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("www-authenticate"), Some("ApiKey header=\"X-API-Key\""));
        assert_eq!(limits(&answer), [None; 5]);
    }
    assert!(stage.api.seen().is_empty());
}

pub(crate) fn an_account_without_access_is_403(stage: &Stage) {
    let account = stage.klinky.account("free");

    let answer = stage.send("GET /v1/things", &account, "");

    assert_eq!(answer.status, 403, "{answer}");
    assert_eq!(answer.detail(), "Your plan (free) does not include API access. Upgrade to Growth or Scale.");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("retry-after"), None);
    assert_eq!((answer.header("x-ratelimit-limit"), answer.remaining()), (Some("0"), 0));
    assert!(stage.api.seen().is_empty());
}

pub(crate) fn a_request_over_the_limit_is_429(stage: &Stage) {
    let account = stage.klinky.account("growth");
    stage.set_used(&account, 100);

    for line in ["GET /v1/things", "POST /v1/things"] {
        let answer = stage.send(line, &account, "X-Klinky-Account: admin\n\nbody");

        assert_eq!(answer.status, 429, "{answer}");
        assert_eq!(answer.json(), json!({"detail": "Rate limit exceeded. Please try again later."}));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("retry-after"), Some("1800"));
        assert_eq!(limits(&answer), growth("0", "\"hour\";r=0;t=1800"));
        assert_eq!(answer.header("x-ratelimit-status"), None);
        assert!(answer.headers.iter().all(|(name, _value)| !name.starts_with("x-klinky")), "{answer}");
    }
    assert!(stage.api.seen().is_empty());
    assert_eq!(stage.klinky.used(&account.id), 100);
}

pub(crate) fn bodies_reach_the_api(stage: &Stage) {
    let account = stage.klinky.account("growth");
    let long = "x".repeat(300_000);
    let json = "Content-Type: application/json\n\n{\"key\": \"x\"}";

    let whole = stage.send("POST /v1/things", &account, &format!("\n{long}"));
    let question = stage.send("POST /v1/things", &account, json);
    let chunked = chunked(stage, &account, &long);

    assert_eq!([whole.status, question.status, chunked.status], [200; 3], "{whole}\n{question}\n{chunked}");
    let bodies: Vec<usize> = stage.api.seen().iter().map(|seen| seen.body_bytes).collect();
    assert_eq!(bodies, [300_000, 12, 300_000]);
    assert_eq!(stage.klinky.used(&account.id), 3);
}

fn chunked(stage: &Stage, account: &Account, body: &str) -> Exchange {
    let mut stream = stage.proxy.listener.connect();
    let head = format!(
        "PUT /v1/things HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\nTransfer-Encoding: chunked\r\n\r\n",
        account.key
    );
    stream.write_all(format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).as_bytes()).unwrap();
    Exchange::read("PUT /v1/things", &mut stream)
}

pub(crate) fn methods_reach_the_api(stage: &Stage) {
    let account = stage.klinky.account("growth");
    let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

    for method in methods {
        let answer = stage.send(&format!("{method} /v1/things"), &account, "");
        assert_eq!(answer.status, 200, "{answer}");
        assert_eq!(limits(&answer)[0], shown(stage, growth("", ""))[0], "{answer}");
    }

    let seen: Vec<String> = stage.api.seen().into_iter().map(|seen| seen.method).collect();
    assert_eq!(seen, methods);
    assert_eq!(stage.klinky.used(&account.id), 7);
}

pub(crate) fn a_read_only_key_cannot_write(stage: &Stage) {
    let account = stage.klinky.account("growth");
    stage.klinky.admin_ok("PATCH", &format!("/keys/{}", account.key_id), &json!({"scope": "read_only"}));
    let forged = "X-Original-Method: GET\nX-Forwarded-Method: GET";

    let read = stage.send("GET /v1/things", &account, "");
    let writes =
        ["POST", "PUT", "PATCH", "DELETE"].map(|method| stage.send(&format!("{method} /v1/things"), &account, forged));

    assert_eq!(read.status, 200, "{read}");
    for write in writes {
        let detail = "This API key is read-only. Use a read_write key for this request.";
        assert_eq!((write.status, write.detail().as_str()), (403, detail), "{write}");
    }
    assert_eq!((stage.only_seen().method.as_str(), stage.klinky.used(&account.id)), ("GET", 1));
}

pub(crate) fn the_apis_own_errors_pass_as_they_are(stage: &Stage) {
    let account = stage.klinky.account("growth");

    for status in [401, 403, 404, 429, 500, 503] {
        let answer = stage.send(&format!("GET /status/{status}"), &account, "");
        assert_eq!((answer.status, answer.body.as_str()), (status, "the API's answer"), "{answer}");
        assert_eq!(limits(&answer)[0], shown(stage, growth("", ""))[0], "{answer}");
    }

    assert_eq!(stage.klinky.used(&account.id), 6);
}

pub(crate) fn exactly_the_limit_passes_when_many_race(stage: &Stage) {
    let account = stage.klinky.account("growth");

    let statuses: Vec<u16> = std::thread::scope(|threads| {
        let send = || (0..25).map(|_nth| stage.send("GET /v1/things", &account, "").status).collect::<Vec<_>>();
        let clients: Vec<_> = (0..8).map(|_nth| threads.spawn(send)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });

    let count = |wanted| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!((count(200), count(429)), (100, 100));
    assert_eq!(stage.api.seen().len(), 100);
    assert_eq!(stage.klinky.used(&account.id), 100);
}

pub(crate) fn a_second_key_does_not_make_up_for_a_wrong_one(stage: &Stage) {
    let account = stage.klinky.account("growth");

    let answer =
        stage.proxy.listener.exchange(&format!("GET /v1/things\nX-API-Key: klinky_live_x\nX-API-Key: {}", account.key));

    assert_eq!((answer.status, answer.detail().as_str()), (401, "Invalid API key."), "{answer}");
    assert!(stage.api.seen().is_empty());
}

/// klinky takes 16 KiB of headers, and most proxies more.
pub(crate) fn long_cookies_do_not_disturb_the_check(stage: &Stage) {
    let account = stage.klinky.account("growth");
    let cookie = format!("Cookie: c={}", "x".repeat(6000));

    let answer = stage.send("GET /v1/things", &account, &[cookie.as_str(); 3].join("\n"));

    assert_eq!((answer.status, stage.klinky.used(&account.id)), (200, 1), "{answer}");
}

/// Connections are used again: the system remembers for a minute those that were closed, too.
pub(crate) fn checks_share_connections(stage: &Stage) {
    let account = stage.klinky.account("growth");

    for _nth in 0..50 {
        assert_eq!(stage.send("GET /v1/things", &account, "").status, 200);
    }

    let klinky = format!("0100007F:{:04X}", stage.klinky.public.0.port());
    let Ok(table) = std::fs::read_to_string("/proc/net/tcp") else {
        return eprintln!("SKIPPED: this system does not list its connections in /proc/net/tcp");
    };
    let to_klinky = table.lines().filter(|line| line.split_whitespace().nth(2) == Some(klinky.as_str())).count();
    assert!((1..10).contains(&to_klinky), "{to_klinky} connections for 50 checks");
}

/// A new id, not one of the client's: with it a line of klinky's log, one of the API's and the client's answer are told to
/// be of the same request.
pub(crate) fn the_client_and_the_api_see_the_id_that_klinky_logs(stage: &Stage) {
    let account = stage.klinky.account("growth");

    let allowed = stage.send("GET /v1/things", &account, "X-Request-Id: abc");
    let denied = stage.proxy.listener.exchange("GET /v1/things\nX-Request-Id: abc");

    for (answer, status) in [(&allowed, 200), (&denied, 401)] {
        assert_eq!(answer.status, status, "{answer}");
        let ids: Vec<_> = answer.headers.iter().filter(|(name, _value)| name == "x-request-id").collect();
        assert!(ids.len() == 1 && ids[0].1.len() == 32, "{answer}");
    }
    assert_eq!(stage.only_seen().header("x-request-id"), [allowed.header("x-request-id").unwrap()]);
}

/// Once it is known that klinky is down, nobody waits for it.
pub(crate) fn nobody_waits_while_klinky_is_down(mut stage: Stage) {
    let account = stage.klinky.account("growth");
    assert_eq!(stage.send("GET /v1/things", &account, "").status, 200);
    stage.klinky.halt();

    let began = crate::crash::now();
    loop {
        let asked = crate::crash::now();
        let answer = stage.send("GET /v1/things", &account, "");
        assert_eq!(answer.status, 503, "{answer}");
        if asked.elapsed() < Duration::from_millis(500) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "each request waits {:?}", asked.elapsed());
    }
}

pub(crate) fn nothing_passes_while_klinky_is_down(mut stage: Stage) {
    let account = stage.klinky.account("growth");
    assert_eq!(stage.send("GET /v1/things", &account, "").status, 200);
    stage.klinky.halt();

    for line in ["GET /v1/things", "POST /v1/things"] {
        let answer = stage.send(line, &account, "X-Klinky-Account: admin\n\nbody");

        assert_eq!(answer.status, 503, "{answer}");
        assert_eq!(answer.detail(), "API keys cannot be checked at the moment. Please try again.");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(limits(&answer), [None; 5]);
    }
    stage.only_seen();
}

/// klinky without room on its disk, which answers that its store failed.
pub(crate) fn nothing_passes_while_the_store_fails(recipe: Recipe) {
    let temp = tempfile::tempdir().unwrap();
    let klinky = crate::full_disk::serve_with_little_room(temp.path());
    let (_id, key) = klinky.account("growth");
    let api = Api::start();
    let Some(proxy) = Proxy::start(recipe, klinky.public, api.address) else { return };
    crate::full_disk::fill(&klinky);

    let answer = proxy.listener.exchange(&format!("GET /v1/things\nX-API-Key: {key}"));

    assert_eq!(answer.status, 503, "{answer}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert!(!answer.detail().is_empty());
    assert!(api.seen().is_empty());
}

pub(crate) fn klinky_learns_which_request_is_asked_about(recipe: Recipe) {
    let temp = tempfile::tempdir().unwrap();
    let klinky = Process::serve(temp.path(), &["--log-format", "json"]);
    let (id, key) = klinky.account("growth");
    let api = Api::start();
    let Some(proxy) = Proxy::start(recipe, klinky.public, api.address) else { return };
    let forged = "X-Original-URI: /other\nX-Forwarded-Uri: /other";

    let request = format!("DELETE /v1/things/7?token=secret\nX-API-Key: {key}\n{forged}");
    let answer = proxy.listener.exchange(&request);
    drop(proxy);

    assert_eq!(answer.status, 200, "{answer}");
    let log = klinky.stop();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    // Who waits for Traefik to start asks too, without a key.
    let is_check = |line: &Value| line["route"].as_str().is_some_and(|route| route.starts_with("/check"));
    let checks: Vec<Value> = lines.filter(|line| is_check(line) && !line["account.id"].is_null()).collect();
    assert_eq!(checks.len(), 1, "{log}");
    assert_eq!((&checks[0]["endpoint"], &checks[0]["account.id"]), (&json!("DELETE /v1/things/7"), &json!(id)));
    assert!(!log.contains("secret"), "{log}");
    if matches!(recipe, Recipe::Nginx) {
        assert_eq!(checks[0]["span"]["request.id"], json!(answer.header("x-request-id").unwrap()));
    }
}

/// With the part of the recipe that stands behind signs; without it these paths are the API's, and guarded.
pub(crate) fn klinkys_pages_can_be_shown_beside_the_api(recipe: Recipe) {
    let (klinky, api) = (Server::start(), Api::start());
    let Some(guarded) = Proxy::start(recipe, klinky.public, api.address) else { return };
    let Some(shown) = Proxy::start_with_pages(recipe, klinky.public, api.address) else { return };
    let account = klinky.account("growth");
    let session = format!("Authorization: Bearer {}", klinky.token(&account.id));
    let base = "/api/v1/public";

    for page in ["/dashboard", "/dashboard/", "/dashboard/account.js", "/docs", "/docs/page.css", "/openapi.json"] {
        let there = klinky.public.exchange(&format!("GET {page}"));
        let here = shown.listener.exchange(&format!("GET {page}"));
        assert_eq!((here.status, &here.body), (200, &there.body), "{here}");
        assert_eq!(guarded.listener.exchange(&format!("GET {page}")).status, 401, "{page}");
    }
    let calls = ["GET /keys", "GET /keys/rate-limit", "GET /account", "GET /account/links", "GET /usage", "POST /keys"];
    for (method, path) in calls.map(|call| call.split_once(' ').unwrap()) {
        let call = format!("{method} {base}{path}\n{session}\n\n{{\"name\": \"new\"}}");
        let answer = shown.listener.exchange(&call);
        assert!([200, 201].contains(&answer.status), "{answer}");
        assert_eq!(guarded.listener.exchange(&call).status, 401, "{call}");
    }
    let around =
        ["/dashboards", "/docs2", "/openapi.jsonx", "/api/v1/public/keysx", "/api/v1/public/links", "/x/dashboard"];
    for path in around.into_iter().chain(["/dashboard/../v1/x", "/v1/x?/dashboard", "/"]) {
        let answer = shown.listener.exchange(&format!("GET {path}"));
        assert!([401, 404].contains(&answer.status), "{answer}");
    }
    assert!(api.seen().is_empty());

    let passed = shown.listener.exchange(&format!("GET /v1/things\nX-API-Key: {}", account.key));
    assert_eq!((passed.status, klinky.used(&account.id), api.seen().len()), (200, 1, 1), "{passed}");
}
