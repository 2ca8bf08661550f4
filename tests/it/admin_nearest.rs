//! Lists of accounts by a text, and by how near they are to their limit.

use serde_json::{Value, json};

use crate::harness::{Server, admin_request};

/// An account with a name, a plan and what it has used of the hour.
fn account(server: &Server, name: &str, plan: &str, used: u32) -> String {
    let made = server.admin_ok("POST", "/accounts", &json!({"name": name, "plan": plan}));
    let id = made["id"].as_str().unwrap().to_owned();
    if used > 0 {
        server.admin_ok("PUT", &format!("/accounts/{id}/rate-limit"), &json!({"used": used}));
    }
    id
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

/// All pages of a list, of so many rows each.
fn walk(server: &Server, query: &str, rows: usize) -> Vec<String> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = server.admin_ok("GET", &format!("/accounts?limit={rows}{query}{after}"), &Value::Null);
        assert!(names(&page).len() <= rows);
        all.extend(names(&page).into_iter().map(str::to_owned));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return all,
        }
    }
}

/// Six accounts; with their share of the limit in brackets.
fn filled() -> Server {
    let server = Server::start();
    account(&server, "Idle", "growth", 0);
    account(&server, "Small", "scale", 50); // 5 %
    account(&server, "Half", "growth", 50); // 50 %
    account(&server, "Over", "growth", 120); // 120 %
    account(&server, "Closed", "free", 7); // no access, so no limit to reach
    account(&server, "Half again", "scale", 500); // 50 %
    server
}

const IN_ORDER: [&str; 6] = ["Over", "Half", "Half again", "Small", "Idle", "Closed"];

#[test]
fn accounts_nearest_to_their_limit_come_first_and_say_what_they_used() {
    let server = filled();

    let list = server.admin_ok("GET", "/accounts?sort=usage", &Value::Null);

    assert_eq!(names(&list), IN_ORDER);
    let used: Vec<&Value> = list["items"].as_array().unwrap().iter().map(|item| &item["used"]).collect();
    assert_eq!(used, [120, 50, 500, 50, 0, 7]);
    assert_eq!(list["next"], Value::Null);
}

#[test]
fn pages_of_any_size_give_each_account_once() {
    let server = filled();

    for rows in 1..=7 {
        assert_eq!(walk(&server, "&sort=usage", rows), IN_ORDER, "{rows} a page");
        let found = walk(&server, "&sort=usage&search=half", rows);
        assert_eq!(found, ["Half", "Half again"], "{rows} a page");
        assert_eq!(walk(&server, "&search=half", rows), ["Half", "Half again"], "{rows} a page");
    }
}

#[test]
fn a_text_is_looked_for_in_name_address_plan_and_id_whatever_its_case() {
    let server = filled();
    let change = json!({"name": "Größe & Söhne", "email": "ops@acme.example", "plan": "starter"});
    let id = account(&server, "x", "free", 0);
    server.admin_ok("PATCH", &format!("/accounts/{id}"), &change);

    for text in ["gr%C3%B6%C3%9Fe", "S%C3%96HNE", "ACME.Example", "starter", &id, "%26%20s"] {
        for sort in ["", "&sort=usage"] {
            let list = server.admin_ok("GET", &format!("/accounts?search={text}{sort}"), &Value::Null);
            assert_eq!(names(&list), ["Größe & Söhne"], "{text}{sort}");
        }
    }
}

#[test]
fn the_order_is_that_of_the_terms_in_force_now() {
    let server = filled();
    let id = account(&server, "Grown", "growth", 99);
    assert_eq!(walk(&server, "&sort=usage", 2)[1], "Grown");

    server.admin_ok("PATCH", &format!("/accounts/{id}"), &json!({"custom_limit": 100_000}));

    assert_eq!(walk(&server, "&sort=usage", 2)[4], "Grown");
    server.set_clock("2024-01-15T15:00:00Z");
    let fresh = walk(&server, "&sort=usage", 3);
    assert_eq!(fresh, ["Idle", "Small", "Half", "Over", "Closed", "Half again", "Grown"], "the hour is over");
}

#[test]
fn what_is_no_search_order_or_place_is_refused() {
    let server = Server::start();

    for (query, detail) in [
        ("sort=name", "sort: must be created or usage"),
        ("search=", "search: must have 1 to 100 characters"),
        (&format!("search={}", "x".repeat(101)), "search: must have 1 to 100 characters"),
        ("sort=usage&after=7", "after: must be the `next` of a page in the same order"),
        ("sort=usage&limit=1001", "limit: must be 1 to 1000"),
        ("search=a&search=b", "search: must stand once"),
    ] {
        let answer = server.admin.exchange(&admin_request("GET", &format!("/accounts?{query}"), ""));
        assert_eq!((answer.status, answer.json()), (422, json!({"detail": detail})), "{query}");
    }
}
