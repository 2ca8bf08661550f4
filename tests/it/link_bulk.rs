//! Many links in one call: all or nothing, at a unit per link.

use std::io::Write as _;

use serde_json::{Value, json};

use crate::bodies::{chunked, post};
use crate::harness::{Exchange, Server};
use crate::links::{Holder, plain};

const PATH: &str = "/api/v1/public/links/bulk";
const MIB: usize = 1024 * 1024;

fn links(count: usize) -> Value {
    let links: Vec<Value> = (0..count).map(|number| plain(&format!("link-{number}"))).collect();
    json!({ "links": links })
}

impl Holder {
    fn bulk(&self, body: &Value) -> Exchange {
        self.call("POST", "/bulk", body)
    }

    fn set_used(&self, used: u64) {
        self.server.admin_ok("PUT", &format!("/accounts/{}/rate-limit", self.account.id), &json!({ "used": used }));
    }
}

#[test]
fn links_are_created_at_a_unit_each() {
    let holder = Holder::on("growth");
    let mut body = links(2);
    body["links"][1]["name"] = json!("Summer");

    let answer = holder.bulk(&body);

    insta::assert_snapshot!(answer, @r#"
    POST /api/v1/public/links/bulk
    X-API-Key: <key>

    {"links":[{"destination_url":"https://example.com/","name":"Spring","slug":"link-0"},{"destination_url":"https://example.com/","name":"Summer","slug":"link-1"}]}

    201
    content-type: application/json
    ratelimit: "hour";r=98;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 98
    x-ratelimit-reset: 1705330800

    {"items":[{"id":"<id>","name":"Spring","slug":"link-0","short_url":"http://<address>/link-0","variants":[{"label":"default","destination_url":"https://example.com/","weight":100}],"routing_type":"ab_test","geo_rules":{},"auto_winner":false,"auto_winner_threshold":100,"enable_conversion_tracking":false,"conversion_redirect_url":null,"expires_at":null,"is_active":true,"created_at":"2024-01-15T14:30:00Z","updated_at":"2024-01-15T14:30:00Z","click_count":0},{"id":"<id>","name":"Summer","slug":"link-1","short_url":"http://<address>/link-1","variants":[{"label":"default","destination_url":"https://example.com/","weight":100}],"routing_type":"ab_test","geo_rules":{},"auto_winner":false,"auto_winner_threshold":100,"enable_conversion_tracking":false,"conversion_redirect_url":null,"expires_at":null,"is_active":true,"created_at":"2024-01-15T14:30:00Z","updated_at":"2024-01-15T14:30:00Z","click_count":0}]}
    "#);
    assert_eq!(holder.used(), 2);
}

#[test]
fn one_to_100_links_are_created_at_once() {
    let holder = Holder::on("scale");

    let refused = [links(0), links(101)].map(|body| holder.bulk(&body));
    let one = holder.bulk(&json!({"links": [plain("alone")]}));
    let hundred = holder.bulk(&links(100));

    assert_eq!(
        refused.map(|answer| (answer.status, answer.detail(), answer.remaining())),
        [
            (422, "links: must be 1 to 100, got 0".to_owned(), 999),
            (422, "links: must be 1 to 100, got 101".to_owned(), 998)
        ]
    );
    assert_eq!((one.status, one.remaining()), (201, 997));
    assert_eq!((hundred.status, hundred.remaining()), (201, 897));
    let items = hundred.json()["items"].as_array().unwrap().clone();
    assert_eq!(
        (items.len(), items[0]["slug"].as_str(), items[99]["slug"].as_str()),
        (100, Some("link-0"), Some("link-99"))
    );
    assert_eq!(holder.total(), 101);
}

#[test]
fn links_without_slugs_get_one_each() {
    let holder = Holder::on("growth");
    let link = json!({"name": "Spring", "destination_url": "https://example.com/"});

    let answer = holder.bulk(&json!({"links": [link, link, link]}));

    let made = answer.json();
    let slugs: std::collections::BTreeSet<&str> =
        made["items"].as_array().unwrap().iter().map(|item| item["slug"].as_str().unwrap()).collect();
    assert_eq!((answer.status, slugs.len()), (201, 3));
}

#[test]
fn when_fewer_units_remain_than_links_nothing_is_created_or_counted() {
    let holder = Holder::on("growth");
    holder.set_used(97);

    let four = holder.bulk(&links(4));
    let three = holder.bulk(&links(3));

    insta::assert_snapshot!(four.to_string().split_once("\n\n429").unwrap().1, @r#"

    content-type: application/json
    ratelimit: "hour";r=3;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    retry-after: 1800
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 3
    x-ratelimit-reset: 1705330800

    {"detail":"Rate limit exceeded. Please try again later."}
    "#);
    assert_eq!((three.status, three.remaining()), (201, 0));
    holder.server.set_clock("2024-01-15T15:00:00Z");
    assert_eq!(holder.total(), 3);
}

#[test]
fn one_bad_link_keeps_all_from_being_created() {
    let holder = Holder::on("growth");
    let mut body = links(5);
    body["links"][3]["slug"] = json!("Nein");

    let answer = holder.bulk(&body);

    let detail = "links[3].slug: must be 3 to 32 characters of a-z, 0-9 and -";
    assert_eq!((answer.status, answer.detail().as_str(), answer.remaining()), (422, detail, 95));
    assert_eq!(holder.total(), 0);
}

#[test]
fn faults_name_the_link_and_the_field() {
    let holder = Holder::on("scale");
    let variants = |weight: i64| {
        json!({"name": "x", "variants": [
            {"label": "a", "destination_url": "https://example.com/", "weight": 50},
            {"label": "b", "destination_url": "https://example.com/", "weight": weight},
        ]})
    };

    let details = [
        json!({}),
        json!({"name": "x"}),
        json!({"name": 1}),
        json!({"name": "x", "destination_url": "ftp://example.com/"}),
        variants(40),
        variants(-1),
        json!({"name": "x", "destination_url": "https://example.com/", "geo_rules": {"DE": "b"}}),
        json!({"name": "x", "destination_url": "https://example.com/", "geo_rules": {"DEU": "b"}}),
        json!({"name": "x", "destination_url": "https://example.com/", "expires_at": "soon"}),
        json!(null),
        json!("x"),
        json!(["x", "abc", "https://example.com/"]),
    ]
    .map(|bad| holder.bulk(&json!({"links": [plain("good"), bad]})).detail());

    insta::assert_snapshot!(details.join("\n"), @r#"
    field required: links[1].name
    field required: links[1].variants
    links[1].name: invalid type: integer `1`, expected a string
    links[1].destination_url: must begin with http:// or https://
    links[1].variants: weights must sum to 100, got 90
    links[1].variants[1].weight: must be a whole number from 0 to 100
    links[1].geo_rules: no variant has the label "b"
    links[1].geo_rules.DEU: must be a country code of two letters, or default
    links[1].expires_at: must be an RFC 3339 time such as 2026-01-31T12:00:00Z
    links[1]: invalid type: null, expected an object
    links[1]: invalid type: string "x", expected an object
    links[1]: invalid type: sequence, expected an object
    "#);
    assert_eq!(holder.total(), 0);
}

#[test]
fn a_slug_that_is_taken_keeps_all_from_being_created() {
    let holder = Holder::on("growth");
    holder.link("taken");

    let twice = holder.bulk(&json!({"links": [plain("new-1"), plain("twice"), plain("twice")]}));
    let taken = holder.bulk(&json!({"links": [plain("new-2"), plain("taken")]}));

    assert_eq!((twice.status, twice.detail().as_str(), twice.remaining()), (409, "Slug twice is taken.", 96));
    assert_eq!((taken.status, taken.detail().as_str(), taken.remaining()), (409, "Slug taken is taken.", 94));
    assert_eq!(holder.total(), 1);
}

#[test]
fn a_body_that_holds_no_links_costs_a_unit() {
    let holder = Holder::on("growth");
    let bodies = [
        "",
        "{",
        "{}",
        "[]",
        "[[{},{},{}]]",
        "null",
        r#""x""#,
        r#"{"links": {}}"#,
        r#"{"links": null}"#,
        r#"{"links": "x"}"#,
        r#"{"links": [{}, {}"#,
        r#"{"links": [], "links": [{}, {}]}"#,
        r#"{"links": [{}]} x"#,
    ];

    let verdicts = bodies.map(|body| {
        let answer =
            holder.server.public.exchange(&format!("POST {PATH}\nX-API-Key: {}\n\n{body}", holder.account.key));
        format!("{body} => {} {}", answer.status, answer.detail())
    });

    insta::assert_snapshot!(verdicts.join("\n"), @r#"
     => 422 Invalid JSON in request body
    { => 422 Invalid JSON in request body
    {} => 422 field required: links
    [] => 422 request body: must be a JSON object
    [[{},{},{}]] => 422 request body: must be a JSON object
    null => 422 request body: must be a JSON object
    "x" => 422 request body: must be a JSON object
    {"links": {}} => 422 links: invalid type: map, expected a sequence
    {"links": null} => 422 links: invalid type: null, expected a sequence
    {"links": "x"} => 422 links: invalid type: string "x", expected a sequence
    {"links": [{}, {} => 422 Invalid JSON in request body
    {"links": [], "links": [{}, {}]} => 422 duplicate field `links`
    {"links": [{}]} x => 422 Invalid JSON in request body
    "#);
    assert_eq!(holder.used(), u64::try_from(bodies.len()).unwrap());
}

#[test]
fn a_percent_encoded_path_costs_the_same() {
    let holder = Holder::on("growth");

    let answer = holder.call("POST", "/%62ulk", &links(5));

    assert_eq!((answer.status, answer.remaining()), (201, 95));
}

#[test]
fn a_body_over_its_bound_is_refused_and_costs_a_unit() {
    let holder = Holder::on("growth");
    let key = format!("X-API-Key: {}\r\n", holder.account.key);

    let announced = post(&holder.server, PATH, &format!("{key}Content-Length: {}\r\n", MIB + 1), b"");
    let in_chunks = post(&holder.server, PATH, &format!("{key}Transfer-Encoding: chunked\r\n"), &chunked(MIB + 1));

    insta::assert_snapshot!(announced, @r#"
    POST /api/v1/public/links/bulk

    413
    content-type: application/json
    ratelimit: "hour";r=99;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 99
    x-ratelimit-reset: 1705330800

    {"detail":"Request body exceeds 1048576 bytes."}
    "#);
    assert_eq!((in_chunks.status, in_chunks.detail().as_str()), (413, "Request body exceeds 1048576 bytes."));
    assert_eq!(holder.used(), 2);
}

#[test]
fn a_body_in_chunks_is_counted_by_its_links() {
    let holder = Holder::on("growth");
    let (key, body) = (&holder.account.key, links(3).to_string());
    let (first, rest) = body.split_at(40);
    let raw = format!("{:x}\r\n{first}\r\n{:x}\r\n{rest}\r\n0\r\n\r\n", first.len(), rest.len());

    let headers = format!("X-API-Key: {key}\r\nTransfer-Encoding: chunked\r\n");
    let answer = post(&holder.server, PATH, &headers, raw.as_bytes());

    assert_eq!((answer.status, answer.remaining()), (201, 97));
}

#[test]
fn a_body_in_broken_chunks_is_answered_400() {
    let holder = Holder::on("growth");
    let headers = format!("X-API-Key: {}\r\nTransfer-Encoding: chunked\r\n", holder.account.key);

    let answer = post(&holder.server, PATH, &headers, b"zz\r\n{}\r\n0\r\n\r\n");

    assert_eq!(answer.status, 400, "{answer}");
}

#[test]
fn the_body_of_a_request_that_may_not_come_in_is_not_read() {
    let server = Server::start();
    let (account, dashboard) = (server.account("growth"), server.account("free"));
    let draft = json!({"name": "reader", "scope": "read_only"});
    let issued = server.admin_ok("POST", &format!("/accounts/{}/keys", account.id), &draft);
    let read_only = issued["key"].as_str().unwrap();
    let wrong = "klinky_live_00000000000000000000000000000000";
    let spent = server.account("growth");
    server.admin_ok("PUT", &format!("/accounts/{}/rate-limit", spent.id), &json!({"used": 100}));

    let keys = [None, Some(wrong), Some(dashboard.key.as_str()), Some(read_only), Some(spent.key.as_str())];
    let statuses = keys.map(|key| {
        let key = key.map_or(String::new(), |key| format!("X-API-Key: {key}\r\n"));
        let mut stream = server.public.connect();
        // Announces a body and sends none: who waits for it, waits long.
        write!(stream, "POST {PATH} HTTP/1.1\r\nHost: x\r\n{key}Content-Length: 100\r\n\r\n").unwrap();
        Exchange::read("POST", &mut stream).status
    });

    assert_eq!(statuses, [401, 401, 403, 403, 429]);
    assert_eq!(server.used(&account.id), 0);
}
