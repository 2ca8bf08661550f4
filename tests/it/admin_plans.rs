//! Plans over the admin API.

use serde_json::{Value, json};

use crate::admin::{answers, call, call_with};
use crate::harness::Server;

fn team() -> Value {
    json!({"id": "team", "name": "Team", "api_access": true, "requests_per_hour": 500, "best_for": "teams"})
}

#[test]
fn a_new_store_has_the_four_plans() {
    let server = Server::start();

    let answer = call(&server, "GET", "/plans");

    insta::assert_snapshot!(answer, @r#"
    GET /admin/v1/plans
    Authorization: Bearer <admin token>

    200
    content-type: application/json

    {"items":[{"id":"free","name":"Free","api_access":false,"requests_per_hour":0,"best_for":"dashboard only"},{"id":"growth","name":"Growth","api_access":true,"requests_per_hour":100,"best_for":"small teams, basic automation"},{"id":"scale","name":"Scale","api_access":true,"requests_per_hour":1000,"best_for":"large teams, heavy API use"},{"id":"starter","name":"Starter","api_access":false,"requests_per_hour":0,"best_for":"dashboard only"}],"next":null}
    "#);
}

#[test]
fn a_plan_is_created_and_shown() {
    let server = Server::start();

    let created = call_with(&server, "POST", "/plans", &team());
    let server = server.restart();
    let shown = call(&server, "GET", "/plans/team");

    insta::assert_snapshot!(created, @r#"
    POST /admin/v1/plans
    Authorization: Bearer <admin token>

    {"api_access":true,"best_for":"teams","id":"team","name":"Team","requests_per_hour":500}

    201
    content-type: application/json

    {"id":"team","name":"Team","api_access":true,"requests_per_hour":500,"best_for":"teams"}
    "#);
    assert_eq!((shown.status, shown.json()), (200, team()));
}

#[test]
fn a_plans_id_is_taken_once() {
    let server = Server::start();
    server.admin_ok("POST", "/plans", &team());

    let answer = call_with(
        &server,
        "POST",
        "/plans",
        &json!({"id": "team", "name": "Other", "api_access": false, "requests_per_hour": 0}),
    );

    insta::assert_snapshot!(answer, @r#"
    POST /admin/v1/plans
    Authorization: Bearer <admin token>

    {"api_access":false,"id":"team","name":"Other","requests_per_hour":0}

    409
    content-type: application/json

    {"detail":"Plan team exists already."}
    "#);
    assert_eq!(call(&server, "GET", "/plans/team").json(), team());
}

/// Plans that are refused.
fn bad_plans() -> Vec<String> {
    let plan = |field: &str, value: &str| {
        let mut body = team();
        body[field] = json!("VALUE");
        body.to_string().replace("\"VALUE\"", value)
    };
    let long = format!("\"{}\"", "x".repeat(33));
    let note = format!("\"{}\"", "é".repeat(201));
    vec![
        "{}".to_owned(),
        "".to_owned(),
        r#"["team", "Team", true, 500, ""]"#.to_owned(),
        plan("id", "\"\""),
        plan("id", &long),
        plan("id", "\"Team\""),
        plan("id", "\"a b\""),
        plan("id", "\"a/b\""),
        plan("id", "\"a\\u0000\""),
        plan("id", "5"),
        plan("name", "\"\""),
        plan("name", "null"),
        plan("api_access", "1"),
        plan("api_access", "\"true\""),
        plan("api_access", "null"),
        plan("requests_per_hour", "-1"),
        plan("requests_per_hour", "4294967296"),
        plan("requests_per_hour", "0.5"),
        plan("requests_per_hour", "\"500\""),
        plan("requests_per_hour", "null"),
        plan("best_for", "null"),
        plan("best_for", "\"tab\\t\""),
        plan("best_for", &note),
        plan("price", "5"),
        r#"{"id": "team", "name": "Team", "api_access": true}"#.to_owned(),
        r#"{"id": "team", "id": "team", "name": "Team", "api_access": true, "requests_per_hour": 1}"#.to_owned(),
    ]
}

#[test]
fn a_plan_out_of_range_or_of_another_type_is_refused() {
    let server = Server::start();

    let answers = answers(&server, "POST", "/plans", &bad_plans().iter().map(String::as_str).collect::<Vec<_>>());

    insta::assert_snapshot!(answers, @r#"
    {} → 422 field required: id
     → 422 Invalid JSON in request body
    ["team", "Team", true, 500, ""] → 422 request body: must be a JSON object
    {"api_access":true,"best_for":"teams","id":"","name":"Team","requests_per_hour":500} → 422 id: must be 1 to 32 characters of a-z, 0-9, - and _
    {"api_access":true,"best_for":"teams","i … uests_per_hour":500} (117 characters) → 422 id: must be 1 to 32 characters of a-z, 0-9, - and _
    {"api_access":true,"best_for":"teams","id":"Team","name":"Team","requests_per_hour":500} → 422 id: must be 1 to 32 characters of a-z, 0-9, - and _
    {"api_access":true,"best_for":"teams","id":"a b","name":"Team","requests_per_hour":500} → 422 id: must be 1 to 32 characters of a-z, 0-9, - and _
    {"api_access":true,"best_for":"teams","id":"a/b","name":"Team","requests_per_hour":500} → 422 id: must be 1 to 32 characters of a-z, 0-9, - and _
    {"api_access":true,"best_for":"teams","i … uests_per_hour":500} (91 characters) → 422 id: must be 1 to 32 characters of a-z, 0-9, - and _
    {"api_access":true,"best_for":"teams","id":5,"name":"Team","requests_per_hour":500} → 422 id: invalid type: integer `5`, expected a string
    {"api_access":true,"best_for":"teams","id":"team","name":"","requests_per_hour":500} → 422 name: must be 1 to 100 characters, got 0
    {"api_access":true,"best_for":"teams","id":"team","name":null,"requests_per_hour":500} → 422 name: invalid type: null, expected a string
    {"api_access":1,"best_for":"teams","id":"team","name":"Team","requests_per_hour":500} → 422 api_access: invalid type: integer `1`, expected a boolean
    {"api_access":"true","best_for":"teams","id":"team","name":"Team","requests_per_hour":500} → 422 api_access: invalid type: string "true", expected a boolean
    {"api_access":null,"best_for":"teams","id":"team","name":"Team","requests_per_hour":500} → 422 api_access: invalid type: null, expected a boolean
    {"api_access":true,"best_for":"teams","id":"team","name":"Team","requests_per_hour":-1} → 422 requests_per_hour: invalid value: integer `-1`, expected a whole number from 0 to 4294967295
    {"api_access":true,"best_for":"teams","i … er_hour":4294967296} (95 characters) → 422 requests_per_hour: invalid value: integer `4294967296`, expected a whole number from 0 to 4294967295
    {"api_access":true,"best_for":"teams","id":"team","name":"Team","requests_per_hour":0.5} → 422 requests_per_hour: invalid type: floating point `0.5`, expected a whole number from 0 to 4294967295
    {"api_access":true,"best_for":"teams","id":"team","name":"Team","requests_per_hour":"500"} → 422 requests_per_hour: invalid type: string "500", expected a whole number from 0 to 4294967295
    {"api_access":true,"best_for":"teams","id":"team","name":"Team","requests_per_hour":null} → 422 requests_per_hour: invalid type: null, expected a whole number from 0 to 4294967295
    {"api_access":true,"best_for":null,"id":"team","name":"Team","requests_per_hour":500} → 422 best_for: invalid type: null, expected a string
    {"api_access":true,"best_for":"tab\t","id":"team","name":"Team","requests_per_hour":500} → 422 best_for: must not contain control characters
    {"api_access":true,"best_for":"ééééééééé … uests_per_hour":500} (284 characters) → 422 best_for: must be 0 to 200 characters, got 201
    {"api_access":true,"best_for":"teams","i … uests_per_hour":500} (98 characters) → 422 price: unknown field `price`, expected one of `id`, `name`, `api_access`, `requests_per_hour`, `best_for`
    {"id": "team", "name": "Team", "api_access": true} → 422 field required: requests_per_hour
    {"id": "team", "id": "team", "name": "Team", "api_access": true, "requests_per_hour": 1} → 422 duplicate field `id`
    "#);
    assert_eq!(call(&server, "GET", "/plans/team").status, 404);
}

#[test]
fn values_at_the_edges_of_their_ranges_are_accepted() {
    let server = Server::start();
    let bodies = [
        json!({"id": "a", "name": "x", "api_access": true, "requests_per_hour": 4_294_967_295_u32, "best_for": "é".repeat(200)}),
        json!({"id": "x-_9".repeat(8), "name": "é".repeat(100), "api_access": false, "requests_per_hour": 0, "best_for": ""}),
    ];

    for body in bodies {
        assert_eq!(server.admin_ok("POST", "/plans", &body), body);
    }
}

#[test]
fn a_change_leaves_what_it_does_not_name() {
    let server = Server::start();
    let mut expected = team();
    server.admin_ok("POST", "/plans", &expected);

    for (field, value) in [
        ("name", json!("Teams")),
        ("api_access", json!(false)),
        ("requests_per_hour", json!(7)),
        ("best_for", json!("")),
    ] {
        expected[field] = value.clone();
        assert_eq!(server.admin_ok("PATCH", "/plans/team", &json!({field: value})), expected);
    }
    assert_eq!(call(&server.restart(), "GET", "/plans/team").json(), expected);
}

#[test]
fn a_change_out_of_range_or_of_another_type_changes_nothing() {
    let server = Server::start();
    server.admin_ok("POST", "/plans", &team());
    let bodies = [
        "",
        r#"["Teams"]"#,
        r#"{"name": null}"#,
        r#"{"name": "Teams", "id": "teams"}"#,
        r#"{"name": "Teams", "api_access": null}"#,
        r#"{"name": "Teams", "requests_per_hour": null}"#,
        r#"{"name": "Teams", "requests_per_hour": 4294967296}"#,
        r#"{"name": "Teams", "best_for": null}"#,
        r#"{"name": "Teams", "best_for": "\u0000"}"#,
    ];

    let answers = answers(&server, "PATCH", "/plans/team", &bodies);

    insta::assert_snapshot!(answers, @r#"
     → 422 Invalid JSON in request body
    ["Teams"] → 422 request body: must be a JSON object
    {"name": null} → 422 name: invalid type: null, expected a string
    {"name": "Teams", "id": "teams"} → 422 id: unknown field `id`, expected one of `name`, `api_access`, `requests_per_hour`, `best_for`
    {"name": "Teams", "api_access": null} → 422 api_access: invalid type: null, expected a boolean
    {"name": "Teams", "requests_per_hour": null} → 422 requests_per_hour: invalid type: null, expected a whole number from 0 to 4294967295
    {"name": "Teams", "requests_per_hour": 4294967296} → 422 requests_per_hour: invalid value: integer `4294967296`, expected a whole number from 0 to 4294967295
    {"name": "Teams", "best_for": null} → 422 best_for: invalid type: null, expected a string
    {"name": "Teams", "best_for": "\u0000"} → 422 best_for: must not contain control characters
    "#);
    assert_eq!(call(&server, "GET", "/plans/team").json(), team());
}

#[test]
fn a_plan_that_does_not_exist_is_not_found() {
    let server = Server::start();

    insta::assert_snapshot!(call(&server, "GET", "/plans/none"), @r#"
    GET /admin/v1/plans/none
    Authorization: Bearer <admin token>

    404
    content-type: application/json

    {"detail":"No such plan."}
    "#);
    for id in ["none", "NONE", "%20", "a%2Fb", "%FF", &"x".repeat(33)] {
        let path = format!("/plans/{id}");
        assert_eq!(call(&server, "GET", &path).status, 404, "{id}");
        assert_eq!(call_with(&server, "PATCH", &path, &json!({"name": "x"})).status, 404, "{id}");
        assert_eq!(call(&server, "DELETE", &path).status, 404, "{id}");
    }
}

#[test]
fn a_plan_that_an_account_is_on_is_not_removed() {
    let server = Server::start();
    let account = server.account("growth");

    insta::assert_snapshot!(call(&server, "DELETE", "/plans/growth"), @r#"
    DELETE /admin/v1/plans/growth
    Authorization: Bearer <admin token>

    409
    content-type: application/json

    {"detail":"Plan growth is in use. Move its accounts to another plan first."}
    "#);
    assert_eq!(server.ping(&account.key).status, 200);
    server.admin_ok("PATCH", &format!("/accounts/{}", account.id), &json!({"plan": "scale"}));
    assert_eq!(call(&server, "DELETE", "/plans/growth").status, 204);
}

#[test]
fn a_plan_that_a_trial_names_is_not_removed_not_even_after_the_trial() {
    let server = Server::start();
    let account = json!({"name": "Acme", "trial": {"plan": "scale", "ends_at": "2024-01-15T15:00:00Z"}});
    let id = server.admin_ok("POST", "/accounts", &account)["id"].as_str().unwrap().to_owned();

    assert_eq!(call(&server, "DELETE", "/plans/scale").status, 409);
    server.set_clock("2024-01-15T15:00:00Z");
    assert_eq!(call(&server, "DELETE", "/plans/scale").status, 409);
    server.admin_ok("PATCH", &format!("/accounts/{id}"), &json!({"trial": null}));
    assert_eq!(call(&server, "DELETE", "/plans/scale").status, 204);
}

#[test]
fn a_plan_that_nobody_is_on_is_removed() {
    let server = Server::start();

    let answer = call(&server, "DELETE", "/plans/starter");

    insta::assert_snapshot!(answer, @"
    DELETE /admin/v1/plans/starter
    Authorization: Bearer <admin token>

    204
    ");
    let server = server.restart();
    assert_eq!(call(&server, "GET", "/plans/starter").status, 404);
    let account = call_with(&server, "POST", "/accounts", &json!({"name": "Acme", "plan": "starter"}));
    assert_eq!((account.status, account.detail().as_str()), (422, "plan: no such plan: starter"));
}

#[test]
fn a_removed_default_plan_is_missed_by_accounts_that_name_none() {
    let server = Server::start();
    server.admin_ok("DELETE", "/plans/free", &json!(null));
    server.admin_ok("DELETE", "/plans/growth", &json!(null));

    let on_default = call_with(&server, "POST", "/accounts", &json!({"name": "Acme"}));
    let on_trial = call_with(&server, "POST", "/accounts", &json!({"name": "Acme", "plan": "scale", "trial": {}}));

    assert_eq!((on_default.status, on_default.detail().as_str()), (422, "plan: no such plan: free"));
    assert_eq!((on_trial.status, on_trial.detail().as_str()), (422, "trial.plan: no such plan: growth"));
}
