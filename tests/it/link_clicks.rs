//! Clicks as their link's holder sees them: the list, its dates and pages, what is kept of a visit, statistics.

use serde_json::{Value, json};

use crate::harness::Server;
use crate::link_redirects::{BROWSER, Site};

/// Clicks at these instants. Answers the link's id.
fn clicked_at(site: &Site, instants: &[&str]) -> String {
    let id = site.promo(&[100], &json!({}));
    for instant in instants {
        site.server.set_clock(instant);
        assert_eq!(site.visit().status, 302);
    }
    id
}

/// Total, and the instants listed.
fn listed(site: &Site, id: &str, query: &str) -> (u64, Vec<String>) {
    let page = site.get(&format!("/links/{id}/clicks?{query}"));
    let instants = page["items"].as_array().unwrap().iter();
    let instants = instants.map(|click| click["clicked_at"].as_str().unwrap().to_owned());
    (page["total"].as_u64().unwrap(), instants.collect())
}

const INSTANTS: [&str; 6] = [
    "2024-01-30T12:00:00Z",
    "2024-01-30T23:59:59.999Z",
    "2024-01-31T00:00:00Z",
    "2024-01-31T12:00:00Z",
    "2024-01-31T23:59:59.999Z",
    "2024-02-01T00:00:00Z",
];

#[test]
fn a_click_says_what_is_kept_of_a_visit() {
    let site = Site::start();
    let id = site.promo(&[100], &json!({}));
    site.visit_with("CF-IPCountry: de\nReferer: https://user:secret@news.example:8443/path?token=secret#x");

    let page = site.ask("GET", &format!("/links/{id}/clicks"), &Value::Null);

    insta::assert_snapshot!(page, @r#"
    GET /api/v1/public/links/<id>/clicks
    X-API-Key: <key>

    200
    cache-control: private, no-cache
    content-type: application/json
    etag: <etag>
    ratelimit: "hour";r=998;t=1800
    ratelimit-policy: "hour";q=1000;w=3600
    x-ratelimit-limit: 1000
    x-ratelimit-remaining: 998
    x-ratelimit-reset: 1705330800

    {"items":[{"id":"<id>","clicked_at":"2024-01-15T14:30:00Z","variant":"a","country":"DE","referrer":"news.example","device":"desktop","browser":"Chrome","os":"Linux","ip":"127.0.0.0"}],"total":1,"page":1,"per_page":20,"pages":1}
    "#);
}

#[test]
fn what_is_unknown_of_a_visit_is_null_or_other() {
    let site = Site::start();
    let id = site.promo(&[100], &json!({}));
    site.server.public.exchange("GET /promo\nReferer: nonsense\nCF-IPCountry: Germany");
    site.server.public.exchange(&format!(
        "GET /promo\nUser-Agent: {}\nReferer: https://{}/",
        "\u{e9}",
        "x".repeat(300)
    ));

    let page = site.get(&format!("/links/{id}/clicks"));

    for click in page["items"].as_array().unwrap() {
        assert_eq!((&click["country"], &click["referrer"]), (&Value::Null, &Value::Null));
        assert_eq!(
            (&click["device"], &click["browser"], &click["os"]),
            (&json!("other"), &json!("other"), &json!("other"))
        );
    }
    assert_eq!(page["total"], 2);
}

#[test]
fn devices_browsers_and_systems_are_told_apart() {
    let site = Site::start();
    let id = site.promo(&[100], &json!({}));
    let agents = [
        (BROWSER, ["desktop", "Chrome", "Linux"]),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:121.0) Gecko/20100101 Firefox/121.0",
            ["desktop", "Firefox", "Windows 10"],
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_2 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.2 Mobile/15E148 Safari/604.1",
            ["mobile", "Safari", "iPhone"],
        ),
        (
            "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Mobile Safari/537.36",
            ["mobile", "Chrome", "Android"],
        ),
    ];

    for (agent, expected) in agents {
        site.server.clock.advance(std::time::Duration::from_secs(1));
        site.server.public.exchange(&format!("GET /promo\nUser-Agent: {agent}"));

        let click = &site.get(&format!("/links/{id}/clicks?per_page=1"))["items"][0];
        assert_eq!(
            ["device", "browser", "os"].map(|name| click[name].as_str().unwrap().to_owned()),
            expected,
            "{agent}"
        );
    }
}

#[test]
fn addresses_are_kept_without_what_points_to_a_household() {
    let site = Site::of(Server::start_with(|settings| {
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    }));
    let id = site.promo(&[100], &json!({}));
    let forwarded = [
        ("203.0.113.77", "203.0.113.0"),
        ("198.51.100.1, 203.0.113.255", "203.0.113.0"),
        ("2001:db8:1234:5678:9abc:def0:1234:5678", "2001:db8:1234::"),
        ("::ffff:203.0.113.77", "203.0.113.0"),
        ("nonsense", "127.0.0.0"),
    ];

    for (addresses, kept) in forwarded {
        site.server.clock.advance(std::time::Duration::from_secs(1));
        site.visit_with(&format!("X-Forwarded-For: {addresses}"));

        assert_eq!(site.get(&format!("/links/{id}/clicks?per_page=1"))["items"][0]["ip"], kept, "{addresses}");
    }
}

#[test]
fn whom_nobody_trusts_cannot_name_an_address() {
    let site = Site::start();
    let id = site.promo(&[100], &json!({}));

    site.visit_with("X-Forwarded-For: 203.0.113.77");

    assert_eq!(site.get(&format!("/links/{id}/clicks"))["items"][0]["ip"], "127.0.0.0");
}

#[test]
fn dates_are_whole_utc_days_the_end_included() {
    let site = Site::start();
    let id = clicked_at(&site, &INSTANTS);
    let newest_first = |part: &[&str]| part.iter().rev().map(|at| (*at).to_owned()).collect::<Vec<_>>();
    let expected = [
        ("", &INSTANTS[..]),
        ("start_date=2024-01-31", &INSTANTS[2..]),
        ("end_date=2024-01-31", &INSTANTS[..5]),
        ("start_date=2024-01-31&end_date=2024-01-31", &INSTANTS[2..5]),
        ("start_date=2024-01-30&end_date=2024-01-31", &INSTANTS[..5]),
        ("start_date=2024-02-02", &[]),
        ("end_date=2024-01-29", &[]),
        ("start_date=1970-01-01&end_date=9999-12-31", &INSTANTS[..]),
    ];

    for (query, part) in expected {
        assert_eq!(listed(&site, &id, query), (part.len() as u64, newest_first(part)), "{query}");
    }
}

#[test]
fn instants_of_any_offset_cut_days() {
    let site = Site::start();
    let id = clicked_at(&site, &INSTANTS);
    let expected = [
        ("start_date=2024-01-31T12:00:00Z", 3),
        ("start_date=2024-01-31T12:00:00.001Z", 2),
        ("end_date=2024-01-31T12:00:00Z", 4),
        ("end_date=2024-01-31T11:59:59.999Z", 3),
        ("start_date=2024-01-31T12:00:00Z&end_date=2024-01-31T12:00:00Z", 1),
        ("start_date=2024-01-31T02:00:00%2B02:00", 4),
        ("start_date=2024-01-30T19:00:00-05:00&end_date=2024-01-31T18:59:59.999-05:00", 3),
        ("start_date=2024-01-30T13:00:00Z&end_date=2024-01-31", 4),
        ("start_date=2024-01-30T12:00:00.001Z&end_date=2024-01-31T23:59:59.998Z", 3),
        ("start_date=2024-01-31T12:00:00", 3),
    ];

    for (query, total) in expected {
        let (found, instants) = listed(&site, &id, query);
        assert_eq!((found, instants.len() as u64), (total, total), "{query}");
    }
}

#[test]
fn dates_that_are_none_or_reversed_are_refused() {
    let site = Site::start();
    let id = site.promo(&[100], &json!({}));
    let refused = [
        ("start_date=2024-02-30", "start_date: must be an RFC 3339 time such as 2026-01-31T12:00:00Z"),
        ("end_date=2024-13-01", "end_date: must be an RFC 3339 time such as 2026-01-31T12:00:00Z"),
        ("end_date=yesterday", "end_date: must be an RFC 3339 time such as 2026-01-31T12:00:00Z"),
        ("start_date=", "start_date: must be an RFC 3339 time such as 2026-01-31T12:00:00Z"),
        ("start_date=1969-12-31", "start_date: must be an RFC 3339 time such as 2026-01-31T12:00:00Z"),
        ("start_date=2024-02-01&end_date=2024-01-31", "start_date: must not lie after end_date"),
        ("start_date=2024-02-02&end_date=2024-01-31", "start_date: must not lie after end_date"),
        (
            "start_date=2024-01-31T12:00:00Z&end_date=2024-01-31T11:59:59.999Z",
            "start_date: must not lie after end_date",
        ),
        ("start_date=2024-01-31T12:00:00Z&end_date=2024-01-30", "start_date: must not lie after end_date"),
        ("start_date=2024-01-01&start_date=2024-01-02", "start_date: must stand once"),
        ("page=0", "page: must be 1 to 1000000000"),
        ("per_page=101", "per_page: must be 1 to 100"),
    ];

    for (query, detail) in refused {
        let answer = site.ask("GET", &format!("/links/{id}/clicks?{query}"), &Value::Null);
        assert_eq!((answer.status, answer.detail().as_str()), (422, detail), "{query}");
    }
}

#[test]
fn pages_go_newest_first_across_days() {
    let site = Site::start();
    let id = clicked_at(&site, &INSTANTS);

    let pages: Vec<_> = (1..=3).map(|page| listed(&site, &id, &format!("per_page=4&page={page}"))).collect();

    let all: Vec<String> = pages.iter().flat_map(|(_total, instants)| instants.clone()).collect();
    assert_eq!(all, INSTANTS.iter().rev().map(|at| (*at).to_owned()).collect::<Vec<_>>());
    assert!(pages.iter().all(|(total, _instants)| *total == 6));
    assert_eq!(pages[2].1.len(), 0);
}

#[test]
fn a_page_far_beyond_the_end_is_empty_and_has_the_totals() {
    let site = Site::start();
    let id = clicked_at(&site, &INSTANTS);

    let page = site.ask("GET", &format!("/links/{id}/clicks?page=1000000000&per_page=100"), &Value::Null);

    assert_eq!(page.body, r#"{"items":[],"total":6,"page":1000000000,"per_page":100,"pages":1}"#);
}

#[test]
fn clicks_are_found_by_their_instants_also_after_the_clock_stepped_back() {
    let site = Site::start();
    let instants = ["2024-01-31T12:00:00Z", "2024-01-30T12:00:00Z", "2024-01-31T11:59:59Z", "2024-01-31T12:00:01Z"];
    let id = clicked_at(&site, &instants);

    let before_the_step_back = listed(&site, &id, "end_date=2024-01-30");
    let in_all = listed(&site, &id, "");

    assert_eq!(before_the_step_back, (1, vec![instants[1].to_owned()]));
    assert_eq!(in_all, (4, [3, 0, 2, 1].map(|place: usize| instants[place].to_owned()).to_vec()));
}

#[test]
fn clicks_of_another_account_are_not_found() {
    let site = Site::start();
    let id = clicked_at(&site, &INSTANTS[..1]);
    let other = site.server.account("scale");

    for path in [format!("/links/{id}/clicks"), format!("/links/{id}/stats")] {
        let answer = site.server.public.exchange(&format!("GET /api/v1/public{path}\nX-API-Key: {}", other.key));
        assert_eq!((answer.status, answer.detail().as_str()), (404, "No such link."), "{path}");
    }
}

#[test]
fn statistics_are_per_variant_and_per_utc_day() {
    let site = Site::start();
    let id = site.promo(&[100, 0], &json!({"enable_conversion_tracking": true}));
    site.server.set_clock("2024-01-30T23:59:59.999Z");
    let visitor = crate::link_redirects::cookie(&site.visit());
    site.server.set_clock("2024-01-31T00:00:00Z");
    site.visit();
    site.server.public.exchange(&format!("POST /c/{id}\nCookie: {visitor}"));
    let new = json!([{"label": "b", "destination_url": "https://b.example/"}]);
    site.update(&id, &json!({"variants": new}));
    site.visit();

    let stats = site.ask("GET", &format!("/links/{id}/stats"), &Value::Null);

    insta::assert_snapshot!(stats, @r#"
    GET /api/v1/public/links/<id>/stats
    X-API-Key: <key>

    200
    cache-control: private, no-cache
    content-type: application/json
    etag: <etag>
    ratelimit: "hour";r=998;t=3600
    ratelimit-policy: "hour";q=1000;w=3600
    x-ratelimit-limit: 1000
    x-ratelimit-remaining: 998
    x-ratelimit-reset: 1706662800

    {"clicks":3,"conversions":1,"variants":[{"label":"a","clicks":2,"conversions":1},{"label":"b","clicks":1,"conversions":0}],"days":[{"date":"2024-01-30","clicks":1,"conversions":0,"variants":[{"label":"a","clicks":1,"conversions":0}]},{"date":"2024-01-31","clicks":2,"conversions":1,"variants":[{"label":"a","clicks":1,"conversions":1},{"label":"b","clicks":1,"conversions":0}]}],"winner":null}
    "#);
}

#[test]
fn a_link_without_clicks_has_statistics_of_zero() {
    let site = Site::start();
    let id = site.promo(&[70, 30], &json!({}));

    let stats = site.ask("GET", &format!("/links/{id}/stats"), &Value::Null);

    insta::assert_snapshot!(stats.body, @r#"{"clicks":0,"conversions":0,"variants":[{"label":"a","clicks":0,"conversions":0},{"label":"b","clicks":0,"conversions":0}],"days":[],"winner":null}"#);
}
