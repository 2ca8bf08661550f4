//! Dumps with links and what became of them: there and back again.

use klinky::domain::web::Country;
use serde_json::{Value, json};

use crate::dumps::{dump, restore, rows};
use crate::harness::{Account, Exchange, Server};

const BROWSER: &str = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0";

fn post(server: &Server, account: &Account, body: &Value) -> Exchange {
    server.public.exchange(&format!("POST /api/v1/public/links\nX-API-Key: {}\n\n{body}", account.key))
}

fn get(server: &Server, account: &Account, path: &str) -> Exchange {
    server.public.exchange(&format!("GET /api/v1/public/links{path}\nX-API-Key: {}", account.key))
}

fn visit(server: &Server, slug: &str, headers: &str) -> Exchange {
    server.public.exchange(&format!("GET /{slug}\n{BROWSER}\n{headers}"))
}

/// A server with links of every kind, clicks on two days, and a conversion. Answers the cookie of who converted.
fn furnished() -> (Server, Account, String, String) {
    let server = Server::start();
    let account = server.account("scale");
    let variants = json!([
        {"label": "here", "destination_url": "https://example.com/here", "weight": 60},
        {"label": "dort", "destination_url": "https://example.com/dort", "weight": 40},
    ]);
    let whole = json!({
        "name": "Früh", "slug": "spring", "variants": variants, "routing_type": "geo",
        "geo_rules": {"DE": "dort", "default": "here"}, "auto_winner": true, "auto_winner_threshold": 50,
        "enable_conversion_tracking": true, "expires_at": "2025-01-01T00:00:00Z",
    });
    let id = post(&server, &account, &whole).json()["id"].as_str().unwrap().to_owned();
    post(&server, &account, &json!({"name": "Plain", "destination_url": "https://example.com"}));
    let gone =
        post(&server, &account, &json!({"name": "Gone", "slug": "gone", "destination_url": "https://example.com"}));
    let gone = gone.json()["id"].as_str().unwrap().to_owned();
    server.public.exchange(&format!("DELETE /api/v1/public/links/{gone}\nX-API-Key: {}", account.key));
    let cookie = visit(&server, "spring", "CF-IPCountry: DE\nReferer: https://news.example/")
        .header("set-cookie")
        .unwrap()
        .to_owned();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    server.public.exchange(&format!("POST /c/{id}\nCookie: {cookie}"));
    server.set_clock("2024-01-16T09:00:00Z");
    for _ in 0..3 {
        visit(&server, "spring", "");
    }
    (server, account, id, cookie)
}

#[test]
fn links_clicks_sums_and_conversions_come_back_as_they_were() {
    let (server, account, id, _cookie) = furnished();
    let before = [
        get(&server, &account, &format!("/{id}/clicks")).json(),
        get(&server, &account, &format!("/{id}/stats")).json(),
    ];
    let dumped = dump(&server);

    let other = Server::start();
    other.set_clock("2024-01-16T09:00:00Z");
    let answer = restore(&other, &dumped);

    assert_eq!(answer.status, 201, "{answer}");
    assert_eq!(rows(&dump(&other)), rows(&dumped));
    let after =
        [get(&other, &account, &format!("/{id}/clicks")).json(), get(&other, &account, &format!("/{id}/stats")).json()];
    assert_eq!(after, before);
    assert_eq!((after[0]["total"].as_u64(), after[1]["conversions"].as_u64()), (Some(4), Some(1)));
}

#[test]
fn what_a_link_did_before_goes_on_after_a_restore() {
    let (server, account, id, cookie) = furnished();
    let dumped = dump(&server);
    let other = Server::start();
    other.set_clock("2024-01-16T10:00:00Z");
    restore(&other, &dumped);

    let redirect = visit(&other, "spring", "CF-IPCountry: DE");
    other.public.exchange(&format!("POST /c/{id}\nCookie: {cookie}"));

    assert_eq!(redirect.header("location"), Some("https://example.com/dort"));
    let stats = get(&other, &account, &format!("/{id}/stats")).json();
    assert_eq!((stats["clicks"].as_u64(), stats["conversions"].as_u64()), (Some(5), Some(1)));
    assert_eq!(
        post(&other, &account, &json!({"name": "x", "slug": "gone", "destination_url": "https://example.com"})).status,
        409
    );
    assert_eq!(visit(&other, "gone", "").status, 410);
}

#[test]
fn a_slug_stays_taken_after_a_restore_though_its_account_is_gone() {
    let server = Server::start();
    let (first, second) = (server.account("scale"), server.account("scale"));
    let printed = json!({"name": "Printed", "slug": "printed", "destination_url": "https://example.com"});
    assert_eq!(post(&server, &first, &printed).status, 201);
    server.admin_ok("DELETE", &format!("/accounts/{}", first.id), &Value::Null);
    let dumped = dump(&server);

    let other = Server::start();
    let answer = restore(&other, &dumped);

    assert!(answer.body.contains(r#""links":0"#) && answer.body.contains(r#""taken_slugs":1"#), "{answer}");
    assert_eq!(rows(&dump(&other)), rows(&dumped));
    assert_eq!(post(&other, &second, &printed).status, 409);
}

#[test]
fn a_slug_stays_taken_when_a_restore_fails() {
    let server = Server::start();
    let account = server.account("scale");
    let printed = json!({"name": "Printed", "slug": "printed", "destination_url": "https://example.com"});
    assert_eq!(post(&server, &account, &printed).status, 201);
    server.admin_ok("DELETE", &format!("/accounts/{}", account.id), &Value::Null);

    assert_eq!(restore(&server, &GOLDEN.replace("\"rows\":", "\"rows\":1")).status, 422);

    assert_eq!(post(&server, &server.account("scale"), &printed).status, 409);
}

#[test]
fn a_line_of_a_link_that_contradicts_others_is_refused_and_nothing_is_kept() {
    let (server, account, id, _cookie) = furnished();
    let dumped = dump(&server);
    let other = Server::start();
    let before = dump(&other);

    for (from, to, said) in [
        (r#""slug":"gone""#, r#""slug":"spring""#, "slug spring stands twice"),
        (r#""weight":60"#, r#""weight":50"#, "variants: weights must sum to 100, got 90"),
        (r#""date":"2024-01-15""#, r#""date":"2024-01-32""#, "date: must be a date such as 2026-01-31"),
        (&format!(r#""kind":"link","id":"{id}""#), r#""kind":"link","id":"x""#, "id: must be a UUID"),
        (
            &format!(r#"{{"kind":"link","id":"{id}","account_id":"{}""#, account.id),
            r#"{"kind":"link","id":"019a0000-0000-7000-8000-000000000000","account_id":"019a0000-0000-7000-8000-000000000000""#,
            "account 019a0000-0000-7000-8000-000000000000 does not exist; what a row names must stand before it",
        ),
        (r#""device":"desktop""#, r#""device":"fridge""#, "device: must be desktop, mobile or other"),
    ] {
        assert!(dumped.contains(from), "{from}");
        let answer = restore(&other, &dumped.replacen(from, to, 1));
        assert_eq!(answer.status, 422, "{answer}");
        assert!(answer.detail().ends_with(said), "{} is not {said}", answer.detail());
        assert_eq!(dump(&other), before);
    }
}

#[test]
fn a_dump_beside_clicks_is_always_whole() {
    let (server, account, id, _cookie) = furnished();
    let dumps: Vec<String> = std::thread::scope(|scope| {
        let clicks = scope.spawn(|| (0..300).for_each(|_| assert_eq!(visit(&server, "spring", "").status, 302)));
        let dumps = (0..10).map(|_| dump(&server)).collect();
        clicks.join().unwrap();
        dumps
    });

    for dumped in dumps {
        let other = Server::start();
        other.set_clock("2024-01-16T09:00:00Z");
        assert_eq!(restore(&other, &dumped).status, 201);
        let clicks = get(&other, &account, &format!("/{id}/clicks?per_page=100")).json();
        let stats = get(&other, &account, &format!("/{id}/stats")).json();
        assert_eq!(clicks["total"], stats["clicks"], "{dumped}");
        let listed = clicks["items"].as_array().unwrap().len() as u64;
        assert_eq!(listed, clicks["total"].as_u64().unwrap().min(100));
    }
}

/// A dump of version 1 as a server wrote it, with everything that links leave behind. It must be read for ever.
const GOLDEN: &str = include_str!("../../data/dumps/v1-links.jsonl");

#[test]
fn the_golden_dump_of_links_comes_back_as_it_is() {
    let server = Server::start();
    server.set_clock("2026-11-24T09:30:00Z");

    let answer = restore(&server, GOLDEN);

    assert_eq!(
        answer.body,
        r#"{"plans":4,"accounts":1,"keys":1,"counters":1,"links":2,"click_days":1,"clicks":2,"conversions":1,"taken_slugs":0,"usage":0}"#
    );
    assert_eq!(rows(&dump(&server)), rows(GOLDEN));
    assert_eq!(visit(&server, "spring", "CF-IPCountry: DE").header("location"), Some("https://example.com/dort"));
}

#[test]
fn the_largest_link_comes_back() {
    let server = Server::start();
    let account = server.account("scale");
    let label = |number: u32| format!("{}{number}", "\u{1f600}".repeat(49));
    let url = format!("https://example.com/{}", "\"".repeat(2028));
    let variant = |number| json!({"label": label(number), "destination_url": url, "weight": 20});
    let variants: Vec<Value> = (0..5).map(variant).collect();
    let countries = ('A'..='Z').flat_map(|first| ('A'..='Z').map(move |second| format!("{first}{second}")));
    let rules: serde_json::Map<String, Value> =
        countries.filter(|code| Country::parse(code).is_ok()).map(|country| (country, json!(label(0)))).collect();
    assert_eq!(rules.len(), 250);
    let whole = json!({
        "name": "\u{1f600}".repeat(100), "variants": variants, "routing_type": "geo", "geo_rules": rules,
        "conversion_redirect_url": url,
    });
    assert_eq!(post(&server, &account, &whole).status, 201);
    let dumped = dump(&server);

    let other = Server::start();
    let answer = restore(&other, &dumped);

    assert_eq!(answer.status, 201, "{answer}");
    assert_eq!(rows(&dump(&other)), rows(&dumped));
}
