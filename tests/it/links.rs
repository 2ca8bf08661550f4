//! Links created, listed and read.

use serde_json::{Value, json};

use crate::harness::{Account, Exchange, Server};

/// A server, and one account on it that holds links.
pub(crate) struct Holder {
    pub(crate) server: Server,
    pub(crate) account: Account,
}

impl Holder {
    pub(crate) fn on(plan: &str) -> Self {
        let server = Server::start();
        let account = server.account(plan);
        Self { server, account }
    }

    /// A call below `/api/v1/public/links` with the account's key; null stands for no body.
    pub(crate) fn call(&self, method: &str, path: &str, body: &Value) -> Exchange {
        call(&self.server, &self.account.key, method, path, body)
    }

    pub(crate) fn get(&self, path: &str) -> Exchange {
        self.call("GET", path, &Value::Null)
    }

    pub(crate) fn create(&self, body: &Value) -> Exchange {
        self.call("POST", "", body)
    }

    /// A link with one variant; its path below `/links`.
    pub(crate) fn link(&self, slug: &str) -> String {
        let made = self.create(&plain(slug));
        assert_eq!(made.status, 201, "{made}");
        format!("/{}", made.json()["id"].as_str().unwrap())
    }

    pub(crate) fn used(&self) -> u64 {
        self.server.used(&self.account.id)
    }

    /// The links that the account has, according to its list.
    pub(crate) fn total(&self) -> u64 {
        self.get("").json()["total"].as_u64().unwrap()
    }
}

/// A call below `/api/v1/public/links`; null stands for no body.
pub(crate) fn call(server: &Server, key: &str, method: &str, path: &str, body: &Value) -> Exchange {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    server.public.exchange(&format!("{method} /api/v1/public/links{path}\nX-API-Key: {key}\n\n{body}"))
}

/// The least that makes a link with a slug.
pub(crate) fn plain(slug: &str) -> Value {
    json!({"name": "Spring", "slug": slug, "destination_url": "https://example.com/"})
}

/// All fields of a link.
pub(crate) fn full() -> Value {
    json!({
        "name": "Spring sale",
        "slug": "spring-24",
        "variants": [
            {"label": "A", "destination_url": "https://example.com/a", "weight": 70},
            {"label": "B", "destination_url": "http://example.com/b?x=%20", "weight": 30},
        ],
        "routing_type": "geo",
        "geo_rules": {"DE": "A", "default": "B"},
        "auto_winner": true,
        "auto_winner_threshold": 250,
        "enable_conversion_tracking": true,
        "conversion_redirect_url": "https://example.com/thanks",
        "expires_at": "2024-02-01T01:00:00+01:00",
        "is_active": true,
    })
}

pub(crate) fn items_of(list: &Exchange, field: &str) -> Vec<String> {
    let items = list.json()["items"].as_array().unwrap().clone();
    items.iter().map(|item| item[field].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_link_is_created_with_all_of_its_fields() {
    let holder = Holder::on("growth");

    let answer = holder.create(&full());

    insta::assert_snapshot!(answer, @r#"
    POST /api/v1/public/links
    X-API-Key: <key>

    {"auto_winner":true,"auto_winner_threshold":250,"conversion_redirect_url":"https://example.com/thanks","enable_conversion_tracking":true,"expires_at":"2024-02-01T01:00:00+01:00","geo_rules":{"DE":"A","default":"B"},"is_active":true,"name":"Spring sale","routing_type":"geo","slug":"spring-24","variants":[{"destination_url":"https://example.com/a","label":"A","weight":70},{"destination_url":"http://example.com/b?x=%20","label":"B","weight":30}]}

    201
    content-type: application/json
    ratelimit: "hour";r=99;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 99
    x-ratelimit-reset: 1705330800

    {"id":"<id>","name":"Spring sale","slug":"spring-24","short_url":"http://<address>/spring-24","variants":[{"label":"A","destination_url":"https://example.com/a","weight":70},{"label":"B","destination_url":"http://example.com/b?x=%20","weight":30}],"routing_type":"geo","geo_rules":{"DE":"A","default":"B"},"auto_winner":true,"auto_winner_threshold":250,"enable_conversion_tracking":true,"conversion_redirect_url":"https://example.com/thanks","expires_at":"2024-02-01T00:00:00Z","is_active":true,"created_at":"2024-01-15T14:30:00Z","updated_at":"2024-01-15T14:30:00Z","click_count":0}
    "#);
}

#[test]
fn a_link_needs_no_more_than_a_name_and_a_variant() {
    let holder = Holder::on("growth");

    let answer = holder.create(&json!({
        "name": "Spring",
        "slug": "spring",
        "variants": [{"label": "only", "destination_url": "https://example.com/"}],
    }));

    insta::assert_snapshot!(answer, @r#"
    POST /api/v1/public/links
    X-API-Key: <key>

    {"name":"Spring","slug":"spring","variants":[{"destination_url":"https://example.com/","label":"only"}]}

    201
    content-type: application/json
    ratelimit: "hour";r=99;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 99
    x-ratelimit-reset: 1705330800

    {"id":"<id>","name":"Spring","slug":"spring","short_url":"http://<address>/spring","variants":[{"label":"only","destination_url":"https://example.com/","weight":100}],"routing_type":"ab_test","geo_rules":{},"auto_winner":false,"auto_winner_threshold":100,"enable_conversion_tracking":false,"conversion_redirect_url":null,"expires_at":null,"is_active":true,"created_at":"2024-01-15T14:30:00Z","updated_at":"2024-01-15T14:30:00Z","click_count":0}
    "#);
}

#[test]
fn a_single_destination_is_one_variant_of_weight_100() {
    let holder = Holder::on("growth");

    let answer = holder.create(&plain("spring"));

    insta::assert_snapshot!(answer.json()["variants"], @r#"[{"destination_url":"https://example.com/","label":"default","weight":100}]"#);
}

#[test]
fn a_slug_is_made_if_none_is_given() {
    let holder = Holder::on("growth");

    let absent = json!({"name": "Spring", "destination_url": "https://example.com/"});
    let null = json!({"name": "Spring", "destination_url": "https://example.com/", "slug": null});

    for body in [absent, null] {
        let made = holder.create(&body).json();
        let slug = made["slug"].as_str().unwrap();

        assert!(slug.len() == 7 && slug.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()), "{slug}");
        assert!(made["short_url"].as_str().unwrap().ends_with(&format!("/{slug}")), "{made}");
        let led = holder.server.public.exchange(&format!("GET /{slug}"));
        assert_eq!((led.status, led.header("location")), (302, Some("https://example.com/")));
    }
}

#[test]
fn links_are_listed_newest_first_in_an_envelope() {
    let holder = Holder::on("growth");
    for slug in ["first", "second", "third"] {
        holder.link(slug);
    }

    let first_page = holder.get("?per_page=2");
    let second_page = holder.get("?page=2&per_page=2");

    assert_eq!(items_of(&first_page, "slug"), ["third", "second"]);
    insta::assert_snapshot!(second_page, @r#"
    GET /api/v1/public/links?page=2&per_page=2
    X-API-Key: <key>

    200
    cache-control: private, no-cache
    content-type: application/json
    etag: <etag>
    ratelimit: "hour";r=95;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 95
    x-ratelimit-reset: 1705330800

    {"items":[{"id":"<id>","name":"Spring","slug":"first","short_url":"http://<address>/first","variants":[{"label":"default","destination_url":"https://example.com/","weight":100}],"routing_type":"ab_test","geo_rules":{},"auto_winner":false,"auto_winner_threshold":100,"enable_conversion_tracking":false,"conversion_redirect_url":null,"expires_at":null,"is_active":true,"created_at":"2024-01-15T14:30:00Z","updated_at":"2024-01-15T14:30:00Z","click_count":0}],"total":3,"page":2,"per_page":2,"pages":2}
    "#);
}

#[test]
fn links_of_later_hours_come_first() {
    let holder = Holder::on("growth");
    holder.link("early");
    holder.server.set_clock("2024-03-01T09:00:00.250Z");
    holder.link("late");

    let list = holder.get("");

    assert_eq!(items_of(&list, "slug"), ["late", "early"]);
    assert_eq!(items_of(&list, "created_at"), ["2024-03-01T09:00:00.250Z", "2024-01-15T14:30:00Z"]);
}

#[test]
fn an_account_without_links_has_an_empty_list() {
    let holder = Holder::on("growth");

    let list = holder.get("");

    assert_eq!(list.json(), json!({"items": [], "total": 0, "page": 1, "per_page": 20, "pages": 0}));
}

#[test]
fn pages_beyond_the_end_are_empty_and_pages_out_of_range_refused() {
    let holder = Holder::on("growth");
    holder.link("one");
    holder.link("two");

    let queries = [
        "page=2",
        "page=1000000000",
        "page=1000000001",
        "page=0",
        "page=-1",
        "page=x",
        "page=",
        "page=1.0",
        "page=99999999999999999999",
        "per_page=0",
        "per_page=1",
        "per_page=100",
        "per_page=101",
        "per_page=x",
        "page=1&page=2",
        "per_page=%FF",
    ];
    let verdicts = queries.map(|query| {
        let answer = holder.get(&format!("?{query}"));
        if answer.status != 200 {
            return format!("{query}: {} {}", answer.status, answer.detail());
        }
        let list = answer.json();
        let rows = list["items"].as_array().unwrap().len();
        format!("{query}: {rows} of {} on {} pages of {}", list["total"], list["pages"], list["per_page"])
    });

    insta::assert_snapshot!(verdicts.join("\n"), @"
    page=2: 0 of 2 on 1 pages of 20
    page=1000000000: 0 of 2 on 1 pages of 20
    page=1000000001: 422 page: must be 1 to 1000000000
    page=0: 422 page: must be 1 to 1000000000
    page=-1: 422 page: must be 1 to 1000000000
    page=x: 422 page: must be 1 to 1000000000
    page=: 422 page: must be 1 to 1000000000
    page=1.0: 422 page: must be 1 to 1000000000
    page=99999999999999999999: 422 page: must be 1 to 1000000000
    per_page=0: 422 per_page: must be 1 to 100
    per_page=1: 1 of 2 on 2 pages of 1
    per_page=100: 2 of 2 on 1 pages of 100
    per_page=101: 422 per_page: must be 1 to 100
    per_page=x: 422 per_page: must be 1 to 100
    page=1&page=2: 422 page: must stand once
    per_page=%FF: 422 per_page: must be UTF-8
    ");
}

#[test]
fn a_link_is_read_by_its_id() {
    let holder = Holder::on("growth");
    let path = holder.link("spring");

    let answer = holder.get(&path);

    insta::assert_snapshot!(answer, @r#"
    GET /api/v1/public/links/<id>
    X-API-Key: <key>

    200
    cache-control: private, no-cache
    content-type: application/json
    etag: <etag>
    ratelimit: "hour";r=98;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 98
    x-ratelimit-reset: 1705330800

    {"id":"<id>","name":"Spring","slug":"spring","short_url":"http://<address>/spring","variants":[{"label":"default","destination_url":"https://example.com/","weight":100}],"routing_type":"ab_test","geo_rules":{},"auto_winner":false,"auto_winner_threshold":100,"enable_conversion_tracking":false,"conversion_redirect_url":null,"expires_at":null,"is_active":true,"created_at":"2024-01-15T14:30:00Z","updated_at":"2024-01-15T14:30:00Z","click_count":0}
    "#);
}

#[test]
fn a_link_counts_its_clicks() {
    let holder = Holder::on("growth");
    let path = holder.link("spring");
    for _visitor in 0..3 {
        holder.server.public.exchange("GET /spring\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Firefox/121.0");
    }

    let (link, list) = (holder.get(&path).json(), holder.get("").json());

    assert_eq!((&link["click_count"], &list["items"][0]["click_count"]), (&json!(3), &json!(3)));
}
