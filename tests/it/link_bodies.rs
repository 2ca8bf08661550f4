//! Whole bodies that make or change links: what may be missing, unknown, of another kind, too large.

use serde_json::json;

use crate::bodies::{chunked, post};
use crate::link_input::{named, variant, weighing};
use crate::links::{Holder, plain};

#[test]
fn fields_that_nobody_knows_are_ignored() {
    let holder = Holder::on("growth");
    let mut body = plain("spring");
    body["tags"] = json!(["x"]);
    body["variants"] = json!([{"label": "a", "destination_url": "https://example.org/", "weight": 100.0, "color": {}}]);

    let created = holder.create(&body);
    let path = format!("/{}", created.json()["id"].as_str().unwrap());
    let changed = holder.call("PUT", &path, &json!({"id": 5, "click_count": 99, "created_at": "now", "": null}));

    assert_eq!((created.status, changed.status), (201, 200));
    assert_eq!(changed.json(), created.json());
}

#[test]
fn what_is_missing_is_named() {
    let holder = Holder::on("growth");

    let details = [
        json!({}),
        json!({"destination_url": "https://example.com/"}),
        json!({"name": "x"}),
        json!({"name": "x", "variants": [{}]}),
        json!({"name": "x", "variants": [{"label": "a"}]}),
        json!({"name": "x", "variants": [{"label": "a", "destination_url": "https://example.com/"}, {"label": "b", "destination_url": "https://example.com/"}]}),
    ]
    .map(|body| holder.create(&body).detail());

    insta::assert_snapshot!(details.join("\n"), @"
    field required: name
    field required: name
    field required: variants
    field required: variants[0].label
    field required: variants[0].destination_url
    field required: variants[0].weight
    ");
}

#[test]
fn a_refusal_shows_the_limits_too() {
    let holder = Holder::on("growth");

    let answer = holder.create(&json!({"name": "Spring", "variants": [
        {"label": "A", "destination_url": "https://example.com/", "weight": 50},
        {"label": "B", "destination_url": "https://example.com/", "weight": 40},
    ]}));

    insta::assert_snapshot!(answer, @r#"
    POST /api/v1/public/links
    X-API-Key: <key>

    {"name":"Spring","variants":[{"destination_url":"https://example.com/","label":"A","weight":50},{"destination_url":"https://example.com/","label":"B","weight":40}]}

    422
    content-type: application/json
    ratelimit: "hour";r=99;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 99
    x-ratelimit-reset: 1705330800

    {"detail":"variants: weights must sum to 100, got 90"}
    "#);
}

#[test]
fn bodies_of_another_kind_are_refused() {
    let holder = Holder::on("scale");
    let path = holder.link("spring");
    let before = holder.get(&path).json();
    let bodies = [
        "",
        "{",
        "[]",
        "null",
        r#""x""#,
        "1",
        r#"["x", "abc"]"#,
        r#"{"name": "x"} x"#,
        r#"{"name": "x", "name": "y"}"#,
        "\u{0}",
    ];

    let lines = bodies.map(|body| {
        let answers = [("POST", ""), ("PUT", path.as_str())].map(|(method, path)| {
            let request = format!("{method} /api/v1/public/links{path}\nX-API-Key: {}\n\n{body}", holder.account.key);
            let answer = holder.server.public.exchange(&request);
            format!("{} {}", answer.status, answer.detail())
        });
        assert_eq!(answers[0], answers[1]);
        format!("{body:?} => {}", answers[0])
    });

    insta::assert_snapshot!(lines.join("\n"), @r#"
    "" => 422 Invalid JSON in request body
    "{" => 422 Invalid JSON in request body
    "[]" => 422 request body: must be a JSON object
    "null" => 422 request body: must be a JSON object
    "\"x\"" => 422 request body: must be a JSON object
    "1" => 422 request body: must be a JSON object
    "[\"x\", \"abc\"]" => 422 request body: must be a JSON object
    "{\"name\": \"x\"} x" => 422 Invalid JSON in request body
    "{\"name\": \"x\", \"name\": \"y\"}" => 422 duplicate field `name`
    "\0" => 422 Invalid JSON in request body
    "#);
    assert_eq!((holder.get(&path).json(), holder.total()), (before, 1));
}

#[test]
fn variants_are_replaced_by_an_array_only() {
    let holder = Holder::on("scale");
    let path = format!("{}/variants", holder.link("spring"));
    let bodies = [
        json!({}),
        json!({"variants": named("a")}),
        json!("x"),
        json!([]),
        json!([null]),
        json!([["a", "https://example.com/", 100]]),
        json!([variant("a", json!(90))]),
        json!([variant("a", json!(100)), {"label": "b", "destination_url": "data:,", "weight": 0}]),
        json!([variant("a", json!(60)), {"label": "b", "destination_url": "https://example.com/"}]),
        json!([variant("a", json!(0)), variant("b", json!(0)), variant("c", json!(0))]),
    ];

    let lines = bodies.map(|body| {
        let answer = holder.call("PUT", &path, &body);
        format!("{body} => {} {}", answer.status, answer.detail())
    });

    insta::assert_snapshot!(lines.join("\n"), @r#"
    {} => 422 request body: must be a JSON array
    {"variants":[{"destination_url":"https://example.com/","label":"a","weight":100}]} => 422 request body: must be a JSON array
    "x" => 422 request body: must be a JSON array
    [] => 422 variants: must be 1 to 5, got 0
    [null] => 422 variants[0]: invalid type: null, expected an object
    [["a","https://example.com/",100]] => 422 variants[0]: invalid type: sequence, expected an object
    [{"destination_url":"https://example.com/","label":"a","weight":90}] => 422 variants: weights must sum to 100, got 90
    [{"destination_url":"https://example.com/","label":"a","weight":100},{"destination_url":"data:,","label":"b","weight":0}] => 422 variants[1].destination_url: must begin with http:// or https://
    [{"destination_url":"https://example.com/","label":"a","weight":60},{"destination_url":"https://example.com/","label":"b"}] => 422 field required: variants[1].weight
    [{"destination_url":"https://example.com/","label":"a","weight":0},{"destination_url":"https://example.com/","label":"b","weight":0},{"destination_url":"https://example.com/","label":"c","weight":0}] => 422 variants: weights must sum to 100, got 0
    "#);
}

#[test]
fn a_change_is_checked_like_a_new_link() {
    let holder = Holder::on("scale");
    let path = holder.link("spring");
    let before = holder.get(&path).json();
    let bodies = [
        json!({"name": ""}),
        json!({"destination_url": "javascript:alert(1)"}),
        json!({"variants": weighing(json!(40))}),
        json!({"geo_rules": {"DE": "nobody"}}),
        json!({"expires_at": "soon"}),
        json!({"conversion_redirect_url": "ftp://example.com/"}),
        json!({"auto_winner_threshold": 9}),
        json!({"name": "good", "routing_type": "bad"}),
    ];

    let lines = bodies.map(|body| {
        let answer = holder.call("PUT", &path, &body);
        format!("{} {}", answer.status, answer.detail())
    });

    insta::assert_snapshot!(lines.join("\n"), @r#"
    422 name: must be 1 to 100 characters, got 0
    422 destination_url: must begin with http:// or https://
    422 variants: weights must sum to 100, got 90
    422 geo_rules: no variant has the label "nobody"
    422 expires_at: must be an RFC 3339 time such as 2026-01-31T12:00:00Z
    422 conversion_redirect_url: must begin with http:// or https://
    422 auto_winner_threshold: must be at least 10
    422 routing_type: must be ab_test or geo
    "#);
    assert_eq!(holder.get(&path).json(), before);
}

#[test]
fn a_body_over_its_bound_is_refused_and_costs_a_unit() {
    const MIB: usize = 1024 * 1024;
    let holder = Holder::on("growth");
    let key = format!("X-API-Key: {}\r\n", holder.account.key);
    let path = "/api/v1/public/links";

    let announced = post(&holder.server, path, &format!("{key}Content-Length: {}\r\n", MIB + 1), b"");
    let in_chunks = post(&holder.server, path, &format!("{key}Transfer-Encoding: chunked\r\n"), &chunked(MIB + 1));

    for answer in [announced, in_chunks] {
        assert_eq!((answer.status, answer.detail().as_str()), (413, "Request body exceeds 1048576 bytes."));
    }
    assert_eq!(holder.used(), 2);
}
