//! Lists of the admin API: bounds and cursors.

use serde_json::{Value, json};

use crate::admin::call;
use crate::harness::Server;

/// The ids of a list, walked in pages of `limit`, and how many pages there were.
fn walk(server: &Server, path: &str, limit: usize) -> (Vec<String>, usize) {
    let (mut ids, mut pages, mut after) = (Vec::new(), 0, String::new());
    loop {
        let page = call(server, "GET", &format!("{path}?limit={limit}{after}")).json();
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= limit);
        ids.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        pages += 1;
        let Some(next) = page["next"].as_str() else {
            assert_eq!(page["next"], Value::Null);
            return (ids, pages);
        };
        assert_eq!(next, items[limit - 1]["id"]);
        after = format!("&after={next}");
    }
}

#[test]
fn a_walk_over_accounts_meets_each_once_in_the_order_of_their_creation() {
    let server = Server::start();
    let created: Vec<String> = (0..7)
        .map(|n| {
            server.admin_ok("POST", "/accounts", &json!({"name": format!("Acme {n}")}))["id"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();

    assert_eq!(walk(&server, "/accounts", 3), (created.clone(), 3));
    assert_eq!(walk(&server, "/accounts", 7), (created.clone(), 1));
    assert_eq!(walk(&server, "/accounts", 1), (created.clone(), 7));
    assert_eq!(walk(&server, "/accounts", 1000), (created, 1));
}

#[test]
fn a_walk_over_keys_meets_the_accounts_own_each_once() {
    let server = Server::start();
    let (first, second) = (server.account("growth"), server.account("growth"));
    let mut created = vec![first.key_id.clone()];
    for _key in 0..4 {
        created.push(server.key(&first.id).0);
        server.key(&second.id);
    }

    assert_eq!(walk(&server, &format!("/accounts/{}/keys", first.id), 2), (created, 3));
}

#[test]
fn a_walk_over_plans_meets_each_once_in_the_order_of_their_ids() {
    let server = Server::start();

    assert_eq!(walk(&server, "/plans", 3).0, ["free", "growth", "scale", "starter"]);
    assert_eq!(walk(&server, "/plans", 4), walk(&server, "/plans", 1000));
}

#[test]
fn a_cursor_outlives_what_it_names() {
    let server = Server::start();
    let ids: Vec<String> = (0..3).map(|_n| server.account("growth").id).collect();
    server.admin_ok("DELETE", &format!("/accounts/{}", ids[1]), &json!(null));

    let page = call(&server, "GET", &format!("/accounts?after={}", ids[1])).json();

    assert_eq!(page["items"].as_array().unwrap().len(), 1);
    assert_eq!(page["items"][0]["id"], json!(ids[2]));
}

#[test]
fn a_page_has_100_rows_unless_said() {
    let server = Server::start();
    for n in 0..101 {
        server.admin_ok(
            "POST",
            "/plans",
            &json!({"id": format!("p{n:03}"), "name": "P", "api_access": false, "requests_per_hour": 0}),
        );
    }

    let page = call(&server, "GET", "/plans").json();

    assert_eq!(page["items"].as_array().unwrap().len(), 100);
    assert_eq!(page["next"], page["items"][99]["id"]);
    assert_eq!(call(&server, "GET", "/plans?limit=1000").json()["items"].as_array().unwrap().len(), 105);
}

#[test]
fn bounds_and_cursors_out_of_range_are_refused() {
    let server = Server::start();
    let account = server.account("growth");
    let keys = format!("/accounts/{}/keys", account.id);
    let good = ["limit=1", "limit=1000", "after=01900000-0000-7000-8000-000000000000", "unknown=1", ""];
    let bad = [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=x",
        "limit=",
        "limit=1.0",
        "limit=1&limit=1",
        "after=",
        "after=x",
        "after=%FF",
    ];

    let answer = |query: &str| {
        let answer = call(&server, "GET", &format!("/accounts?{query}"));
        let said = if answer.status == 200 { "accepted".to_owned() } else { answer.detail() };
        format!("{query}: {} {said}", answer.status)
    };

    insta::assert_snapshot!(good.into_iter().chain(bad).map(answer).collect::<Vec<_>>().join("\n"), @"
    limit=1: 200 accepted
    limit=1000: 200 accepted
    after=01900000-0000-7000-8000-000000000000: 200 accepted
    unknown=1: 200 accepted
    : 200 accepted
    limit=0: 422 limit: must be 1 to 1000
    limit=1001: 422 limit: must be 1 to 1000
    limit=-1: 422 limit: must be 1 to 1000
    limit=x: 422 limit: must be 1 to 1000
    limit=: 422 limit: must be 1 to 1000
    limit=1.0: 422 limit: must be 1 to 1000
    limit=1&limit=1: 422 limit: must stand once
    after=: 422 after: must be a UUID
    after=x: 422 after: must be a UUID
    after=%FF: 422 after: must be UTF-8
    ");
    for path in ["/plans", "/audit", &keys] {
        assert_eq!(call(&server, "GET", &format!("{path}?limit=0")).status, 422, "{path}");
        assert_eq!(call(&server, "GET", &format!("{path}?after=A+B")).status, 422, "{path}");
    }
}
