//! How keys end: revoked, rotated, and removed to make room, all by the account holder's session.

use serde_json::json;

use crate::own_keys::{Holder, text};

#[test]
fn a_key_is_revoked_at_once_and_only_once() {
    let holder = Holder::on("growth");
    let path = format!("/{}", holder.account.key_id);

    let first = holder.call("DELETE", &path, "");
    let after = holder.server.ping(&holder.account.key);
    holder.server.set_clock("2024-01-15T14:31:00Z");
    let second = holder.call("DELETE", &path, "");

    insta::assert_snapshot!(first, @r#"
    DELETE /api/v1/public/keys/<id>
    Authorization: Bearer <jwt>

    204
    ratelimit: "hour";r=100;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 100
    x-ratelimit-reset: 1705330800
    "#);
    assert_eq!((after.status, second.status), (401, 204));
    let revoked_at = holder.call("GET", "", "").json()["items"][0]["revoked_at"].clone();
    assert_eq!(revoked_at, json!("2024-01-15T14:30:00Z"));
}

#[test]
fn another_accounts_key_is_not_found() {
    let holder = Holder::on("growth");
    let other = holder.server.account("growth");

    let revoke = holder.call("DELETE", &format!("/{}", other.key_id), "");
    let rotate = holder.call("POST", &format!("/{}/rotate", other.key_id), "{}");

    insta::assert_snapshot!(revoke, @r#"
    DELETE /api/v1/public/keys/<id>
    Authorization: Bearer <jwt>

    404
    content-type: application/json
    ratelimit: "hour";r=100;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 100
    x-ratelimit-reset: 1705330800

    {"detail":"No such key."}
    "#);
    assert_eq!((rotate.status, rotate.detail().as_str()), (404, "No such key."));
    assert_eq!(holder.server.ping(&other.key).status, 200);
}

#[test]
fn an_id_that_is_no_uuid_is_no_keys_id() {
    let holder = Holder::on("growth");
    let simple = holder.account.key_id.replace('-', "");
    let upper = holder.account.key_id.to_uppercase();

    for id in ["x", "0", "00000000-0000-7000-8000-000000000000", "%00", "%ff", "%2e%2e", "a%2Fb", &simple] {
        for answer in [holder.call("DELETE", &format!("/{id}"), ""), holder.call("POST", &format!("/{id}/rotate"), "")]
        {
            assert_eq!((answer.status, answer.detail().as_str()), (404, "No such key."), "{answer}");
        }
    }
    // RFC 9562 §4: a UUID is read without regard to case.
    assert_eq!(holder.call("DELETE", &format!("/{upper}"), "").status, 204);
}

#[test]
fn a_rotated_key_lives_on_for_an_hour_unless_said() {
    let holder = Holder::on("growth");

    let answer = holder.call("POST", &format!("/{}/rotate", holder.account.key_id), "");

    insta::assert_snapshot!(answer, @r#"
    POST /api/v1/public/keys/<id>/rotate
    Authorization: Bearer <jwt>

    201
    content-type: application/json
    ratelimit: "hour";r=100;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 100
    x-ratelimit-reset: 1705330800

    {"id":"<id>","account_id":"<id>","name":"test","key":"<key>","display":"<display>","scope":"read_write","created_at":"2024-01-15T14:30:00Z","expires_at":null,"revoked_at":null,"last_used_at":null}
    "#);
    let new = answer.json()["key"].clone();
    holder.server.set_clock("2024-01-15T15:29:59.999Z");
    assert_eq!((holder.ping_status(&json!(holder.account.key)), holder.ping_status(&new)), (200, 200));
    holder.server.set_clock("2024-01-15T15:30:00Z");
    assert_eq!((holder.ping_status(&json!(holder.account.key)), holder.ping_status(&new)), (401, 200));
}

#[test]
fn a_key_rotated_without_grace_ends_at_once() {
    let holder = Holder::on("growth");

    let answer = holder.rotate(&json!({"grace_seconds": 0}));

    assert_eq!((answer.status, holder.ping_status(&answer.json()["key"])), (201, 200));
    assert_eq!(holder.server.ping(&holder.account.key).status, 401);
}

#[test]
fn a_grace_period_never_outlives_the_keys_own_expiry() {
    let holder = Holder::on("growth");
    let patch = json!({"expires_at": "2024-01-15T14:40:00Z"});
    holder.server.admin_ok("PATCH", &format!("/keys/{}", holder.account.key_id), &patch);

    let answer = holder.rotate(&json!({"grace_seconds": 3600}));

    let items = holder.call("GET", "", "").json()["items"].clone();
    assert_eq!(items[0]["expires_at"], json!("2024-01-15T14:40:00Z"));
    holder.server.set_clock("2024-01-15T14:40:00Z");
    assert_eq!((answer.status, holder.server.ping(&holder.account.key).status), (201, 401));
}

#[test]
fn a_grace_period_out_of_range_is_refused() {
    let holder = Holder::on("growth");

    for (grace, detail) in [
        (json!(2_592_001), "grace_seconds: must be 0 to 2592000"),
        (json!(u64::MAX), "grace_seconds: must be 0 to 2592000"),
        (json!(-1), "grace_seconds: invalid value: integer `-1`, expected a whole number of at least 0"),
        (json!(1.5), "grace_seconds: invalid type: floating point `1.5`, expected a whole number of at least 0"),
        (json!("60"), "grace_seconds: invalid type: string \"60\", expected a whole number of at least 0"),
    ] {
        let answer = holder.rotate(&json!({"grace_seconds": grace}));
        assert_eq!((answer.status, answer.detail().as_str()), (422, detail), "{answer}");
    }
    assert_eq!(holder.call("GET", "", "").json()["items"].as_array().unwrap().len(), 1);
    assert_eq!(holder.rotate(&json!({"grace_seconds": 2_592_000})).status, 201);
}

#[test]
fn a_key_that_has_ended_is_not_rotated() {
    let holder = Holder::on("growth");
    holder.call("DELETE", &format!("/{}", holder.account.key_id), "");

    let answer = holder.rotate(&json!({}));

    insta::assert_snapshot!(answer, @r#"
    POST /api/v1/public/keys/<id>/rotate
    Authorization: Bearer <jwt>

    {}

    409
    content-type: application/json
    ratelimit: "hour";r=100;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 100
    x-ratelimit-reset: 1705330800

    {"detail":"The key is revoked or expired. Create a new one instead."}
    "#);
}

#[test]
fn a_key_is_rotated_once() {
    let holder = Holder::on("growth");
    let path = format!("/keys/{}", holder.account.key_id);
    assert_eq!(holder.rotate(&json!({"grace_seconds": 60})).status, 201);

    let again = holder.rotate(&json!({}));
    holder.server.admin_ok("PATCH", &path, &json!({"expires_at": null}));
    let kept_after_all = holder.rotate(&json!({}));

    assert_eq!(
        (again.status, again.detail().as_str()),
        (409, "The key was rotated before. Rotate the key that took its place, or create a new one.")
    );
    assert_eq!((kept_after_all.status, kept_after_all.json()["expires_at"].is_null()), (201, true));
}

#[test]
fn a_hundred_live_keys_are_the_most() {
    let holder = Holder::on("growth");
    for number in 2..=100 {
        assert_eq!(holder.create(&json!({"name": format!("key {number}")})).status, 201);
    }

    let answer = holder.create(&json!({"name": "one more"}));
    let rotated = holder.rotate(&json!({"grace_seconds": 60}));

    insta::assert_snapshot!(answer, @r#"
    POST /api/v1/public/keys
    Authorization: Bearer <jwt>

    {"name":"one more"}

    409
    content-type: application/json
    ratelimit: "hour";r=100;t=1800
    ratelimit-policy: "hour";q=100;w=3600
    x-ratelimit-limit: 100
    x-ratelimit-remaining: 100
    x-ratelimit-reset: 1705330800

    {"detail":"The account has 100 live keys, the most that it may have. Revoke one first."}
    "#);
    assert_eq!((rotated.status, holder.server.ping(&holder.account.key).status), (409, 200));
    // Without grace, the old key makes room for the new one.
    assert_eq!(holder.rotate(&json!({"grace_seconds": 0})).status, 201);
}

#[test]
fn the_oldest_key_that_has_ended_makes_room() {
    let holder = Holder::on("growth");
    let ids: Vec<String> = (2..=100)
        .map(|number| text(&holder.create(&json!({"name": format!("key {number}")})).json()["id"]).to_owned())
        .collect();
    for ended in [&ids[50], &ids[7]] {
        holder.call("DELETE", &format!("/{ended}"), "");
    }

    let answer = holder.create(&json!({"name": "one more"}));

    assert_eq!(answer.status, 201);
    let listed = holder.call("GET", "", "").json();
    let has = |id: &str| listed["items"].as_array().unwrap().iter().any(|item| item["id"] == json!(id));
    assert!(!has(&ids[7]) && has(&ids[50]) && has(text(&answer.json()["id"])));
}
