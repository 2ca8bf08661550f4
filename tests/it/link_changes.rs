//! Links changed and deleted, and what stays of them.

use serde_json::{Value, json};

use crate::links::{Holder, full, items_of, plain};

#[test]
fn put_changes_the_fields_that_are_given() {
    let holder = Holder::on("growth");
    let path = format!("/{}", holder.create(&full()).json()["id"].as_str().unwrap());
    holder.server.set_clock("2024-01-15T14:45:00Z");

    let answer = holder.call("PUT", &path, &json!({"name": "Summer sale", "is_active": false}));

    insta::assert_snapshot!(answer, @r#"
    PUT /api/v1/public/links/<id>
    X-API-Key: <key>

    {"is_active":false,"name":"Summer sale"}

    200
    content-type: application/json
    ratelimit: "hour";r=98;t=900
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 98
    x-ratelimit-reset: 1705330800

    {"id":"<id>","name":"Summer sale","slug":"spring-24","short_url":"http://<address>/spring-24","variants":[{"label":"A","destination_url":"https://example.com/a","weight":70},{"label":"B","destination_url":"http://example.com/b?x=%20","weight":30}],"routing_type":"geo","geo_rules":{"DE":"A","default":"B"},"auto_winner":true,"auto_winner_threshold":250,"enable_conversion_tracking":true,"conversion_redirect_url":"https://example.com/thanks","expires_at":"2024-02-01T00:00:00Z","is_active":false,"created_at":"2024-01-15T14:30:00Z","updated_at":"2024-01-15T14:45:00Z","click_count":0}
    "#);
}

#[test]
fn every_field_can_be_changed_alone() {
    let holder = Holder::on("growth");
    let variants = json!([
        {"label": "A", "destination_url": "https://example.org/", "weight": 50},
        {"label": "B", "destination_url": "https://example.net/", "weight": 50},
    ]);
    let path = format!("/{}", holder.create(&full()).json()["id"].as_str().unwrap());

    for (field, value) in [
        ("name", json!("Summer")),
        ("variants", variants),
        ("routing_type", json!("ab_test")),
        ("geo_rules", json!({"FR": "B"})),
        ("geo_rules", json!({})),
        ("auto_winner", json!(false)),
        ("auto_winner_threshold", json!(10)),
        ("enable_conversion_tracking", json!(false)),
        ("conversion_redirect_url", json!("https://example.org/")),
        ("conversion_redirect_url", Value::Null),
        ("expires_at", json!("2025-01-01T00:00:00Z")),
        ("expires_at", Value::Null),
        ("is_active", json!(false)),
    ] {
        let mut expected = holder.get(&path).json();
        expected[field] = value.clone();

        let changed = holder.call("PUT", &path, &json!({ field: value }));

        assert_eq!((changed.status, changed.json()), (200, expected.clone()), "{changed}");
        assert_eq!(holder.get(&path).json(), expected);
    }
}

#[test]
fn null_leaves_what_cannot_be_empty_as_it_is() {
    let holder = Holder::on("growth");
    let made = holder.create(&full()).json();
    let path = format!("/{}", made["id"].as_str().unwrap());

    let answer =
        holder.call("PUT", &path, &json!({"name": null, "variants": null, "geo_rules": null, "is_active": null}));

    assert_eq!((answer.status, answer.json()), (200, made));
}

#[test]
fn a_slug_is_for_the_life_of_a_link() {
    let holder = Holder::on("growth");
    let path = holder.link("spring");

    let refused = holder.call("PUT", &path, &json!({"slug": "summer"}));
    let as_it_is = holder.call("PUT", &path, &json!({"slug": "spring", "name": "New"}));

    assert_eq!((refused.status, refused.detail()), (422, "slug: cannot be changed, it stays spring".to_owned()));
    assert_eq!((as_it_is.status, &as_it_is.json()["name"]), (200, &json!("New")));
    assert_eq!(holder.server.public.exchange("GET /summer").status, 404);
}

#[test]
fn a_destination_url_replaces_all_variants() {
    let holder = Holder::on("growth");
    let mut body = full();
    body["geo_rules"] = json!({});
    let path = format!("/{}", holder.create(&body).json()["id"].as_str().unwrap());

    let answer = holder.call("PUT", &path, &json!({"destination_url": "https://example.org/"}));

    assert_eq!(
        answer.json()["variants"],
        json!([{"label": "default", "destination_url": "https://example.org/", "weight": 100}])
    );
}

#[test]
fn all_variants_are_replaced_by_an_array() {
    let holder = Holder::on("growth");
    let path = holder.link("spring");
    holder.server.set_clock("2024-01-15T14:45:00Z");

    let answer = holder.call(
        "PUT",
        &format!("{path}/variants"),
        &json!([
            {"label": "new", "destination_url": "https://example.org/", "weight": 100},
            {"label": "idle", "destination_url": "https://example.net/", "weight": 0},
        ]),
    );

    insta::assert_snapshot!(answer, @r#"
    PUT /api/v1/public/links/<id>/variants
    X-API-Key: <key>

    [{"destination_url":"https://example.org/","label":"new","weight":100},{"destination_url":"https://example.net/","label":"idle","weight":0}]

    200
    content-type: application/json
    ratelimit: "hour";r=98;t=900
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 98
    x-ratelimit-reset: 1705330800

    {"id":"<id>","name":"Spring","slug":"spring","short_url":"http://<address>/spring","variants":[{"label":"new","destination_url":"https://example.org/","weight":100},{"label":"idle","destination_url":"https://example.net/","weight":0}],"routing_type":"ab_test","geo_rules":{},"auto_winner":false,"auto_winner_threshold":100,"enable_conversion_tracking":false,"conversion_redirect_url":null,"expires_at":null,"is_active":true,"created_at":"2024-01-15T14:30:00Z","updated_at":"2024-01-15T14:45:00Z","click_count":0}
    "#);
    assert_eq!(holder.server.public.exchange("GET /spring").header("location"), Some("https://example.org/"));
}

#[test]
fn variants_that_geo_rules_name_cannot_go_alone() {
    let holder = Holder::on("growth");
    let path = format!("/{}", holder.create(&full()).json()["id"].as_str().unwrap());
    let variants = json!([{"label": "A", "destination_url": "https://example.org/", "weight": 100}]);

    let alone = holder.call("PUT", &format!("{path}/variants"), &variants);
    let together = holder.call("PUT", &path, &json!({"variants": variants, "geo_rules": {"default": "A"}}));

    assert_eq!((alone.status, alone.detail().as_str()), (422, "geo_rules: no variant has the label \"B\""));
    assert_eq!(together.status, 200, "{together}");
}

#[test]
fn a_link_is_deleted() {
    let holder = Holder::on("growth");
    let path = holder.link("spring");

    let answer = holder.call("DELETE", &path, &Value::Null);

    insta::assert_snapshot!(answer, @r#"
    DELETE /api/v1/public/links/<id>
    X-API-Key: <key>

    204
    ratelimit: "hour";r=98;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 98
    x-ratelimit-reset: 1705330800
    "#);
}

#[test]
fn a_deleted_link_is_gone_but_for_its_slug_and_its_clicks() {
    let holder = Holder::on("growth");
    let path = holder.link("spring");
    holder.link("other");
    holder.server.public.exchange("GET /spring\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Firefox/121.0");
    holder.call("DELETE", &path, &Value::Null);

    let gone = [
        holder.get(&path),
        holder.call("PUT", &path, &json!({"name": "Back"})),
        holder.call("PUT", &format!("{path}/variants"), &full()["variants"]),
        holder.call("DELETE", &path, &Value::Null),
    ];
    let (list, again) = (holder.get(""), holder.create(&plain("spring")));
    let (clicks, stats) = (holder.get(&format!("{path}/clicks")), holder.get(&format!("{path}/stats")));

    assert_eq!(gone.map(|answer| (answer.status, answer.detail())), [0; 4].map(|_| (404, "No such link.".to_owned())));
    assert_eq!((items_of(&list, "slug"), &list.json()["total"]), (vec!["other".to_owned()], &json!(1)));
    assert_eq!((again.status, again.detail().as_str()), (409, "Slug spring is taken."));
    assert_eq!((clicks.status, &clicks.json()["total"]), (200, &json!(1)));
    assert_eq!((stats.status, &stats.json()["clicks"]), (200, &json!(1)));
}

#[test]
fn links_survive_a_restart() {
    let holder = Holder::on("growth");
    let (path, deleted) = (format!("/{}", holder.create(&full()).json()["id"].as_str().unwrap()), holder.link("gone"));
    holder.call("PUT", &path, &json!({"name": "Changed"}));
    holder.call("DELETE", &deleted, &Value::Null);
    let before = holder.get(&path).json();

    let holder = Holder { server: holder.server.restart(), account: holder.account };

    let mut after = holder.get(&path).json();
    let short_url = after["short_url"].as_str().unwrap().to_owned();
    assert!(short_url.ends_with("/spring-24"), "{short_url}");
    after["short_url"] = before["short_url"].clone();
    assert_eq!(after, before);
    assert_eq!((holder.get(&deleted).status, holder.total()), (404, 1));
    assert_eq!([holder.create(&plain("gone")).status, holder.create(&plain("spring-24")).status], [409, 409]);
}
