//! Who may do what with links, what each call costs, and who wins a race.

use std::collections::BTreeMap;
use std::sync::Barrier;

use serde_json::{Value, json};

use crate::harness::{Exchange, Server};
use crate::links::{Holder, call, plain};

const VARIANTS: &str = r#"[{"label": "A", "destination_url": "https://example.org/", "weight": 100}]"#;

/// Every call that names a link.
fn calls_on(server: &Server, key: &str, path: &str) -> [Exchange; 6] {
    let none = Value::Null;
    [
        call(server, key, "GET", path, &none),
        call(server, key, "PUT", path, &json!({"name": "Mine"})),
        call(server, key, "PUT", &format!("{path}/variants"), &serde_json::from_str(VARIANTS).unwrap()),
        call(server, key, "GET", &format!("{path}/clicks"), &none),
        call(server, key, "GET", &format!("{path}/stats"), &none),
        call(server, key, "DELETE", path, &none),
    ]
}

fn read_only_key(server: &Server, account_id: &str) -> String {
    let draft = json!({"name": "reader", "scope": "read_only"});
    let issued = server.admin_ok("POST", &format!("/accounts/{account_id}/keys"), &draft);
    issued["key"].as_str().unwrap().to_owned()
}

/// Runs `request` on so many threads at once; how often each status came.
fn race(threads: usize, request: impl Fn(usize) -> u16 + Sync) -> BTreeMap<u16, usize> {
    let barrier = Barrier::new(threads);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let run = |number| {
            let (barrier, request) = (&barrier, &request);
            scope.spawn(move || {
                barrier.wait();
                request(number)
            })
        };
        let running: Vec<_> = (0..threads).map(run).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut counts = BTreeMap::new();
    for status in statuses {
        *counts.entry(status).or_default() += 1;
    }
    counts
}

#[test]
fn a_link_of_another_account_is_a_404() {
    let holder = Holder::on("growth");
    let path = holder.link("spring");
    let stranger = holder.server.account("growth");
    let before = holder.get(&path).json();

    let answers = calls_on(&holder.server, &stranger.key, &path);

    for answer in &answers {
        assert_eq!((answer.status, answer.detail().as_str()), (404, "No such link."), "{answer}");
    }
    assert_eq!(holder.get(&path).json(), before);
    assert_eq!(call(&holder.server, &stranger.key, "GET", "", &Value::Null).json()["total"], 0);
    insta::assert_snapshot!(answers[0], @r#"
    GET /api/v1/public/links/<id>
    X-API-Key: <key>

    404
    content-type: application/json
    ratelimit: "hour";r=99;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 99
    x-ratelimit-reset: 1705330800

    {"detail":"No such link."}
    "#);
}

#[test]
fn a_slug_of_another_account_is_taken() {
    let holder = Holder::on("growth");
    holder.link("spring");
    let stranger = holder.server.account("growth");

    let answer = call(&holder.server, &stranger.key, "POST", "", &plain("spring"));

    insta::assert_snapshot!(answer, @r#"
    POST /api/v1/public/links
    X-API-Key: <key>

    {"destination_url":"https://example.com/","name":"Spring","slug":"spring"}

    409
    content-type: application/json
    ratelimit: "hour";r=99;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 99
    x-ratelimit-reset: 1705330800

    {"detail":"Slug spring is taken."}
    "#);
}

#[test]
fn what_is_no_id_is_no_links_id() {
    let holder = Holder::on("growth");
    let unknown = "018d0d9e-0000-7000-8000-000000000000";

    for id in [unknown, "1", "x", "%00", "018d0d9e00007000800000000000000f", "spring", "..%2Flinks", "%FF", "é"] {
        for answer in calls_on(&holder.server, &holder.account.key, &format!("/{id}")) {
            let is_bad_request = answer.status == 400 && !id.is_ascii();
            assert!(answer.status == 404 || is_bad_request, "{answer}");
        }
    }
}

#[test]
fn each_call_costs_a_unit_whatever_it_answers() {
    let holder = Holder::on("growth");
    let path = holder.link("spring");
    let none = Value::Null;
    let mut answers = vec![
        holder.create(&plain("spring")),
        holder.create(&json!({})),
        holder.create(&json!([])),
        holder.get(""),
        holder.get("?page=0"),
        holder.get("/none"),
        holder.get("/none/none/none"),
        holder.call("HEAD", &path, &none),
        holder.call("PATCH", &path, &none),
    ];
    answers.extend(calls_on(&holder.server, &holder.account.key, &path));

    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    let left: Vec<u64> = answers.iter().map(Exchange::remaining).collect();

    assert_eq!(statuses, [409, 422, 422, 200, 422, 404, 404, 200, 405, 200, 200, 200, 200, 200, 204]);
    assert_eq!(left, (84..99).rev().collect::<Vec<u64>>());
    assert_eq!(holder.used(), 16);
}

#[test]
fn a_request_over_the_limit_changes_nothing() {
    let holder = Holder::on("growth");
    let path = holder.link("spring");
    let before = holder.get(&path).json();
    holder.server.admin_ok("PUT", &format!("/accounts/{}/rate-limit", holder.account.id), &json!({"used": 100}));

    let created = holder.create(&plain("summer"));
    let others = calls_on(&holder.server, &holder.account.key, &path);

    insta::assert_snapshot!(created, @r#"
    POST /api/v1/public/links
    X-API-Key: <key>

    {"destination_url":"https://example.com/","name":"Spring","slug":"summer"}

    429
    content-type: application/json
    ratelimit: "hour";r=0;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    retry-after: 1800
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 0
    x-ratelimit-reset: 1705330800

    {"detail":"Rate limit exceeded. Please try again later."}
    "#);
    assert!(others.iter().all(|answer| answer.status == 429), "{}", others[5]);
    holder.server.set_clock("2024-01-15T15:00:00Z");
    assert_eq!((holder.get(&path).json(), holder.total()), (before, 1));
}

#[test]
fn a_read_only_key_reads_links_and_writes_none() {
    let holder = Holder::on("growth");
    let path = holder.link("spring");
    let key = read_only_key(&holder.server, &holder.account.id);

    let list = call(&holder.server, &key, "GET", "", &Value::Null);
    let created = call(&holder.server, &key, "POST", "", &plain("summer"));
    let bulk = call(&holder.server, &key, "POST", "/bulk", &json!({"links": [plain("summer")]}));
    let on_link = calls_on(&holder.server, &key, &path).map(|answer| answer.status);

    assert_eq!((list.status, bulk.status, on_link), (200, 403, [200, 403, 403, 200, 200, 403]));
    insta::assert_snapshot!(created, @r#"
    POST /api/v1/public/links
    X-API-Key: <key>

    {"destination_url":"https://example.com/","name":"Spring","slug":"summer"}

    403
    content-type: application/json
    ratelimit: "hour";r=98;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 98
    x-ratelimit-reset: 1705330800

    {"detail":"This API key is read-only. Use a read_write key for this request."}
    "#);
    assert_eq!((holder.total(), holder.used()), (1, 6));
}

#[test]
fn of_racing_requests_for_a_slug_one_gets_it() {
    let holder = Holder::on("scale");
    let rival = holder.server.account("scale");

    for slug in ["one", "two", "three"] {
        let keys = [&holder.account.key, &rival.key];
        let counts = race(12, |number| call(&holder.server, keys[number % 2], "POST", "", &plain(slug)).status);

        assert_eq!(counts, BTreeMap::from([(201, 1), (409, 11)]), "{slug}");
    }
    let rivals = call(&holder.server, &rival.key, "GET", "", &Value::Null).json()["total"].as_u64().unwrap();
    assert_eq!(holder.total() + rivals, 3);
}

#[test]
fn of_racing_bulks_that_share_a_slug_one_creates_all_of_its_links() {
    let holder = Holder::on("scale");

    let counts = race(6, |number| {
        let own = plain(&format!("own-{number}"));
        holder.call("POST", "/bulk", &json!({"links": [own, plain("shared")]})).status
    });

    assert_eq!(counts, BTreeMap::from([(201, 1), (409, 5)]));
    assert_eq!(holder.total(), 2);
}

#[test]
fn racing_changes_of_different_fields_all_stay() {
    let holder = Holder::on("scale");
    let path = holder.link("spring");
    let changes = [
        json!({"name": "Summer"}),
        json!({"is_active": false}),
        json!({"auto_winner": true}),
        json!({"auto_winner_threshold": 77}),
        json!({"expires_at": "2025-01-01"}),
        json!({"enable_conversion_tracking": true}),
    ];

    let counts = race(changes.len(), |number| holder.call("PUT", &path, &changes[number]).status);

    let link = holder.get(&path).json();
    assert_eq!(counts, BTreeMap::from([(200, changes.len())]));
    for change in changes {
        for (field, value) in change.as_object().unwrap() {
            assert!(link[field] == *value || field == "expires_at" && link[field] == "2025-01-01T00:00:00Z", "{link}");
        }
    }
}

#[test]
fn of_changes_that_race_a_deletion_the_late_ones_find_nothing() {
    let holder = Holder::on("scale");

    for round in 0..4 {
        let path = holder.link(&format!("race-{round}"));
        let counts = race(9, |number| match number {
            0..3 => holder.call("DELETE", &path, &Value::Null).status,
            3..6 => holder.call("PUT", &path, &json!({"name": "x"})).status,
            _ => holder.call("PUT", &format!("{path}/variants"), &serde_json::from_str(VARIANTS).unwrap()).status,
        });

        assert_eq!(counts.get(&204), Some(&1), "{counts:?}");
        assert!(counts.keys().all(|status| [200, 204, 404].contains(status)), "{counts:?}");
        assert_eq!(holder.get(&path).status, 404);
    }
}

#[test]
fn with_an_account_go_its_links_but_their_slugs_stay_taken() {
    let holder = Holder::on("growth");
    holder.link("spring");
    let deleted = holder.link("summer");
    holder.call("DELETE", &deleted, &Value::Null);
    let heir = holder.server.account("growth");

    holder.server.admin_ok("DELETE", &format!("/accounts/{}", holder.account.id), &Value::Null);

    let redirects = ["spring", "summer"].map(|slug| holder.server.public.exchange(&format!("GET /{slug}")).status);
    let claimed = ["spring", "summer"].map(|slug| call(&holder.server, &heir.key, "POST", "", &plain(slug)).status);
    assert_eq!((redirects, claimed), ([404, 404], [409, 409]));
}
