//! The audit trail: one line for each administrative write.

use serde_json::{Value, json};

use crate::admin::{call, call_with};
use crate::harness::{Server, admin_request, redact};

fn audit_lines(server: &Server) -> String {
    let trail = call(server, "GET", "/audit").json();
    let items = trail["items"].as_array().unwrap();
    let line = |item: &Value| {
        let text = |field: &str| item[field].as_str().unwrap().to_owned();
        let target = text("target");
        format!("{} {} {} {} {target}", item["number"], text("request_id"), text("actor"), text("action"))
    };
    redact(&items.iter().map(line).collect::<Vec<_>>().join("\n"))
}

#[test]
fn every_write_is_one_line_of_the_trail_with_the_newest_first() {
    let server = Server::start();
    let mut made = 0;
    let mut write = |method: &str, path: &str, body: Value| {
        made += 1;
        let request = admin_request(method, path, &body.to_string());
        let request = request.replacen("\n\n", &format!("\nX-Request-Id: request-{made}\n\n"), 1);
        let answer = server.admin.exchange(&request);
        assert!(answer.status < 300, "{answer}");
        if answer.body.is_empty() { Value::Null } else { answer.json() }
    };

    let plan = json!({"id": "team", "name": "Team", "api_access": true, "requests_per_hour": 5});
    write("POST", "/plans", plan);
    write("PATCH", "/plans/team", json!({"requests_per_hour": 6}));
    write("DELETE", "/plans/team", Value::Null);
    let account = write("POST", "/accounts", json!({"name": "Acme", "plan": "growth"}))["id"].clone();
    let account = format!("/accounts/{}", account.as_str().unwrap());
    write("PATCH", &account, json!({"custom_limit": 5}));
    let key = write("POST", &format!("{account}/keys"), json!({"name": "ci"}))["id"].clone();
    let key = format!("/keys/{}", key.as_str().unwrap());
    write("PATCH", &key, json!({"name": "deploy"}));
    write("POST", &format!("{key}/rotate"), json!({"grace_seconds": 60}));
    write("DELETE", &key, Value::Null);
    write("PUT", &format!("{account}/rate-limit"), json!({"used": 3}));
    write("POST", &format!("{account}/tokens"), json!({}));
    write("DELETE", &account, Value::Null);

    insta::assert_snapshot!(audit_lines(&server), @"
    12 request-12 admin account.delete <id>
    11 request-11 admin token.create <id>
    10 request-10 admin rate-limit.set <id>
    9 request-9 admin key.revoke <id>
    8 request-8 admin key.rotate <id>
    7 request-7 admin key.update <id>
    6 request-6 admin key.create <id>
    5 request-5 admin account.update <id>
    4 request-4 admin account.create <id>
    3 request-3 admin plan.delete team
    2 request-2 admin plan.update team
    1 request-1 admin plan.create team
    ");
}

#[test]
fn an_entry_of_the_trail_says_who_did_what_and_when() {
    let server = Server::start();
    let body = r#"{"name": "Acme"}"#;
    let create = admin_request("POST", "/accounts", body).replacen("\n\n", "\nX-Request-Id: from-a-test\n\n", 1);
    assert_eq!(server.admin.exchange(&create).status, 201);

    let answer = call(&server, "GET", "/audit");

    insta::assert_snapshot!(answer, @r#"
    GET /admin/v1/audit
    Authorization: Bearer <admin token>

    200
    content-type: application/json

    {"items":[{"number":1,"at":"2024-01-15T14:30:00Z","actor":"admin","action":"account.create","target":"<id>","request_id":"from-a-test","changed":[]}],"next":null}
    "#);
}

#[test]
fn an_entry_says_what_a_change_changed_but_not_names_and_addresses() {
    let server = Server::start();
    let account = server.account("growth");
    let (path, key) = (format!("/accounts/{}", account.id), format!("/keys/{}", account.key_id));
    let trial = json!({"plan": "scale", "ends_at": "2024-02-01T00:00:00Z"});
    let all = json!({"name": "New", "email": "ops@acme.example", "plan": "scale", "custom_limit": 5000, "trial": trial,
        "suspended": true});
    for (method, path, body) in [
        ("PATCH", path.as_str(), all),
        ("PATCH", &path, json!({"plan": "scale", "custom_limit": null})),
        ("PATCH", &key, json!({"name": "other", "scope": "read_only", "expires_at": "2025-01-01T00:00:00Z"})),
        ("POST", &format!("{key}/rotate"), json!({"grace_seconds": 60})),
        ("PUT", &format!("{path}/rate-limit"), json!({"used": 7})),
        ("PATCH", "/plans/scale", json!({"requests_per_hour": 2000, "name": "Large"})),
    ] {
        server.admin_ok(method, path, &body);
    }

    let trail = call(&server, "GET", "/audit?limit=6").json();

    let line = |entry: &Value| format!("{} {}", entry["action"].as_str().unwrap(), entry["changed"]);
    let lines: Vec<String> = trail["items"].as_array().unwrap().iter().map(line).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    plan.update [{"field":"name","from":"Scale","to":"Large"},{"field":"requests_per_hour","from":"1000","to":"2000"}]
    rate-limit.set [{"field":"used","from":"0","to":"7"}]
    key.rotate [{"field":"expires_at","from":"2025-01-01T00:00:00Z","to":"2024-01-15T14:31:00Z"}]
    key.update [{"field":"name","from":null,"to":null},{"field":"scope","from":"read_write","to":"read_only"},{"field":"expires_at","from":null,"to":"2025-01-01T00:00:00Z"}]
    account.update [{"field":"custom_limit","from":"5000","to":null}]
    account.update [{"field":"name","from":null,"to":null},{"field":"email","from":null,"to":null},{"field":"plan","from":"growth","to":"scale"},{"field":"custom_limit","from":null,"to":"5000"},{"field":"trial","from":null,"to":"scale until 2024-02-01T00:00:00Z"},{"field":"suspended","from":"false","to":"true"}]
    "#);
}

#[test]
fn what_an_account_holder_writes_stands_in_the_trail_under_the_account() {
    let server = Server::start();
    let account = server.account("growth");
    let session = format!("Authorization: Bearer {}\nX-Request-Id: own", server.token(&account.id));
    let created = server.public.exchange(&format!("POST /api/v1/public/keys?name=mine\n{session}"));
    let key = created.json()["id"].as_str().unwrap().to_owned();
    let rotated = server.public.exchange(&format!("POST /api/v1/public/keys/{key}/rotate\n{session}"));
    let revoked = server.public.exchange(&format!("DELETE /api/v1/public/keys/{key}\n{session}"));
    assert_eq!((created.status, rotated.status, revoked.status), (201, 201, 204));

    let trail = call(&server, "GET", "/audit?limit=3").json();

    for (item, action) in trail["items"].as_array().unwrap().iter().zip(["key.revoke", "key.rotate", "key.create"]) {
        assert_eq!(item["actor"], format!("account:{}", account.id));
        assert_eq!((&item["action"], &item["request_id"]), (&json!(action), &json!("own")));
    }
}

#[test]
fn reads_and_refused_writes_leave_no_line_in_the_trail() {
    let server = Server::start();
    let account = server.account("growth");
    let before = audit_lines(&server);

    let path = format!("/accounts/{}", account.id);
    let refused = [
        call_with(
            &server,
            "POST",
            "/plans",
            &json!({"id": "growth", "name": "x", "api_access": true, "requests_per_hour": 1}),
        ),
        call(&server, "DELETE", "/plans/growth"),
        call_with(&server, "POST", "/accounts", &json!({"name": ""})),
        call_with(&server, "PATCH", &path, &json!({"plan": "none"})),
        call_with(&server, "PUT", &format!("{path}/rate-limit"), &json!({"used": -1})),
        call_with(&server, "POST", &format!("{path}/tokens"), &json!({"ttl_seconds": 0})),
        call_with(&server, "POST", &format!("{path}/keys"), &json!({"name": "x", "scope": "all"})),
        call(&server, "DELETE", "/keys/none"),
        call(&server, "POST", "/restore"),
    ];
    for read in ["/plans", "/accounts", "/audit", "/stats", "/dump", &path, &format!("{path}/rate-limit")] {
        assert_eq!(call(&server, "GET", read).status, 200, "{read}");
    }

    assert_eq!(refused.map(|answer| answer.status), [409, 409, 422, 422, 422, 422, 422, 404, 422]);
    assert_eq!(audit_lines(&server), before);
}

#[test]
fn the_trail_goes_on_with_older_entries() {
    let server = Server::start();
    for _write in 0..5 {
        server.admin_ok("POST", "/accounts", &json!({"name": "Acme"}));
    }

    let numbers = |path: &str| {
        let page = call(&server, "GET", path).json();
        let items: Vec<u64> =
            page["items"].as_array().unwrap().iter().map(|item| item["number"].as_u64().unwrap()).collect();
        (items, page["next"].clone())
    };

    assert_eq!(numbers("/audit?limit=2"), (vec![5, 4], json!("4")));
    assert_eq!(numbers("/audit?limit=2&after=4"), (vec![3, 2], json!("2")));
    assert_eq!(numbers("/audit?limit=2&after=2"), (vec![1], Value::Null));
    assert_eq!(numbers("/audit?after=0"), (vec![], Value::Null));
    assert_eq!(call(&server, "GET", "/audit?after=x").detail(), "after: must be the number of an entry");
}

#[test]
fn the_trail_survives_a_restart_and_counts_on() {
    let server = Server::start();
    server.admin_ok("POST", "/accounts", &json!({"name": "Acme"}));

    let server = server.restart();
    server.admin_ok("POST", "/accounts", &json!({"name": "Zenith"}));

    let trail = call(&server, "GET", "/audit").json();
    assert_eq!((&trail["items"][0]["number"], &trail["items"][1]["number"]), (&json!(2), &json!(1)));
}
