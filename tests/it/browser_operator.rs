//! The operators' page in a real browser, beside what the admin API says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use klinky::secrets::Secret;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::harness::{ADMIN_TOKEN, Server};
use crate::process::big_dump;

fn origin(server: &Server) -> String {
    format!("http://{}", server.admin.0)
}

/// Opens the page and signs in.
fn open(browser: &Browser, server: &Server) {
    browser.go(&format!("{}/", origin(server)));
    browser.write("#token", ADMIN_TOKEN);
    browser.press("Sign in");
    browser.wait_for("document.querySelector('#accounts')");
}

fn account(server: &Server, name: &str, plan: &str) -> String {
    server.admin_ok("POST", "/accounts", &json!({"name": name, "plan": plan}))["id"].as_str().unwrap().to_owned()
}

#[test]
fn an_operator_upgrades_an_account_at_its_limit_and_its_next_request_passes() {
    let Some(browser) = Browser::open() else { return };
    let server = Server::start();
    let (acme, other) = (server.account("growth"), account(&server, "Other", "growth"));
    server.admin_ok("PUT", &format!("/accounts/{}/rate-limit", acme.id), &json!({"used": 100}));
    server.admin_ok("PUT", &format!("/accounts/{other}/rate-limit"), &json!({"used": 7}));
    assert_eq!(server.ping(&acme.key).status, 429);

    open(&browser, &server);
    browser.wait_for_text("#accounts tbody tr:first-child td:last-child .meter-text", "100 / 100\n100%");
    browser.click(&format!("a[href='#/accounts/{}']", acme.id));
    browser.wait_for_text("#remaining", "0");
    browser.press("Change plan");
    browser.click("dialog option[value=scale]");
    browser.press("Change");
    browser.wait_to_see("The new terms are in force.");

    assert_eq!(server.ping(&acme.key).status, 200);
    browser.wait_for_text("#remaining", "899");
    assert_eq!(browser.text("#plan-name").to_lowercase(), "scale");
    browser.assert_clean(&origin(&server));
}

#[test]
fn an_address_or_a_token_that_is_none_is_said_to_be_so() {
    let Some(browser) = Browser::open() else { return };
    let server = Server::start();

    browser.go(&format!("{}/#/accounts/%zz", origin(&server)));
    browser.write("#token", "admin…");
    browser.press("Sign in");
    browser.wait_to_see("This is not a whole token: ");
    browser.write("#token", ADMIN_TOKEN);
    browser.press("Sign in");

    browser.wait_to_see("This could not be loaded");
    assert_eq!(browser.run("return document.querySelector('#banner').hidden", &[]), json!(true));
}

#[test]
fn an_operator_resets_the_counter_suspends_and_sets_a_custom_limit_and_a_trial() {
    let Some(browser) = Browser::open() else { return };
    let server = Server::start();
    let acme = server.account("free");
    let path = format!("/accounts/{}", acme.id);
    server.admin_ok("PUT", &format!("{path}/rate-limit"), &json!({"used": 100}));
    let now = || server.admin_ok("GET", &path, &Value::Null);
    open(&browser, &server);
    browser.click(&format!("a[href='#/accounts/{}']", acme.id));

    browser.press("Reset to 0");
    browser.press("Reset");
    browser.wait_for_text("#used", "0");
    assert_eq!(server.used(&acme.id), 0);

    browser.press("Trial");
    browser.press("Save");
    browser.wait_to_see("growth on trial");
    assert_eq!(now()["trial"]["plan"], "growth");
    let ends_at = now()["trial"]["ends_at"].as_str().unwrap().to_owned();
    assert!(ends_at.starts_with("2024-01-29T14:3"), "14 days by the server's clock, not the browser's: {ends_at}");

    browser.press("Change plan");
    browser.write("dialog input[name=custom]", "2500");
    browser.press("Change");
    browser.wait_for_text("#limit", "2,500");
    assert_eq!(now()["custom_limit"], 2500);

    browser.press("Suspend");
    browser.press("Suspend the account");
    browser.wait_to_see("Lift suspension");
    assert_eq!(server.ping(&acme.key).status, 403);
    browser.assert_clean(&origin(&server));
}

#[test]
fn an_operator_makes_an_account_and_a_key_that_works_and_deletes_it() {
    let Some(browser) = Browser::open() else { return };
    let server = Server::start();
    open(&browser, &server);

    browser.press("New account");
    browser.wait_for("document.querySelector('dialog option[value=free]')?.textContent === 'Free: no API access'");
    browser.write("dialog input[name=name]", "Acme & <b>Sons</b>");
    browser.click("dialog option[value=growth]");
    browser.press("Create the account");
    browser.wait_for_text("#view h1", "Acme & <b>Sons</b>");
    browser.press("Create key");
    browser.write("dialog input[name=name]", "first");
    browser.press("Create the key");
    browser.wait_for("document.querySelector('.secret')");
    let key = browser.text(".secret");
    browser.press("Done");
    assert_eq!(server.ping(&key).status, 200);

    browser.press("Delete");
    browser
        .wait_to_see("removed with its keys, counters, usage, links and kept answers, for good; its links answer 404");
    browser.write("dialog input[name=name]", "Acme");
    browser.press("Delete the account");
    browser.wait_for_text("dialog .fault", "This is not the account’s name.");
    browser.write("dialog input[name=name]", "Acme & <b>Sons</b>");
    browser.press("Delete the account");
    browser.wait_to_see("No accounts yet");
    assert_eq!(server.ping(&key).status, 401);
    browser.assert_clean(&origin(&server));
}

#[test]
fn ten_thousand_accounts_are_paged_and_searched_and_the_page_answers() {
    let Some(browser) = Browser::open() else { return };
    let server = Server::start();
    let dump = big_dump(10_000);
    let request = format!("POST /admin/v1/restore\nAuthorization: Bearer {ADMIN_TOKEN}\n\n{dump}");
    assert_eq!(server.admin.exchange(&request).status, 201);

    open(&browser, &server);
    browser.wait_to_see("10,000 in all, 10,000 active this hour");
    let rows = "document.querySelectorAll('#accounts tbody tr').length";
    browser.wait_for(&format!("{rows} === 25"));
    assert!(browser.text("#accounts tbody tr:first-child").contains("100 / 100"));
    browser.press("Next");
    browser.wait_to_see("Page 2");
    browser.press("Previous");
    browser.wait_to_see("Page 1");
    browser.write("#search", "acme 9876");

    browser.wait_for(&format!("{rows} === 1"));
    browser.wait_for_text("#accounts td a", "Acme 9876");
    // From the keystroke to the row, by the page's own clock; generous, for a busy machine.
    let took = browser.run("return Math.max(...performance.getEntriesByType('resource').filter((entry) => entry.name.includes('search=')).map((entry) => entry.duration))", &[]);
    assert!(took.as_f64().unwrap() < 3000.0, "a search took {took} ms");
}

#[test]
fn plans_are_made_changed_and_removed_and_one_in_use_is_not() {
    let Some(browser) = Browser::open() else { return };
    let server = Server::start();
    account(&server, "Acme", "growth");
    open(&browser, &server);
    browser.click("a[href='#/plans']");

    browser.press("New plan");
    browser.write("dialog input[name=id]", "team");
    browser.write("dialog input[name=name]", "Team");
    browser.write("dialog input[name=limit]", "5000");
    browser.press("Save the plan");
    browser.wait_for("document.querySelector(\"[aria-label='Edit Team']\")");
    browser.click("[aria-label='Edit Team']");
    browser.write("dialog input[name=limit]", "6000");
    browser.press("Save the plan");
    browser.wait_to_see("6,000");
    assert_eq!(server.admin_ok("GET", "/plans/team", &Value::Null)["requests_per_hour"], 6000);
    browser.click("[aria-label='Remove Team']");
    browser.press("Remove the plan");
    browser.wait_to_see("Team is removed.");
    browser.click("[aria-label='Remove Growth']");
    browser.press("Remove the plan");

    browser.wait_for("document.querySelector('dialog .fault').innerText.includes('growth is in use')");
}

#[test]
fn the_server_and_the_audit_trail_are_shown() {
    let Some(browser) = Browser::open() else { return };
    let server = Server::start();
    let acme = server.account("growth");
    server.admin_ok("PATCH", &format!("/accounts/{}", acme.id), &json!({"plan": "scale", "name": "Acme"}));
    server.ping(&acme.key);
    open(&browser, &server);

    browser.click("a[href='#/server']");
    browser.wait_for_text(".badge", "Ready");
    browser.wait_for_text("#top-accounts td a", "Acme");
    browser.wait_to_see("klinky_");
    browser.click("a[href='#/audit']");
    browser.wait_for("document.querySelectorAll('#audit tbody tr').length === 3");

    let trail = browser.text("#audit");
    assert!(trail.contains("account.create") && trail.contains("plan: growth → scale"), "{trail}");
    browser.assert_clean(&origin(&server));
}

#[test]
fn a_wrong_admin_token_and_one_that_changes_under_way_are_said() {
    let Some(browser) = Browser::open() else { return };
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let is_changed = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_changed);
    let mut server = Server::start_with(move |settings| {
        settings.admin_listen = free;
        if seen.load(Ordering::SeqCst) {
            settings.admin_token = Some(Secret::new("another-admin-token-0123456789"));
        }
    });
    browser.go(&format!("{}/", origin(&server)));
    browser.write("#token", "wrong");
    browser.press("Sign in");
    browser.wait_for_text("#sign-in-fault", "This is not the admin token.");
    open(&browser, &server);

    server.halt();
    browser.wait_to_see("The server does not answer.");
    is_changed.store(true, Ordering::SeqCst);
    let _server = server.restart();

    browser.wait_to_see("The admin token is not taken any more.");
}

#[test]
fn the_operators_page_fits_a_phone() {
    let Some(browser) = Browser::open() else { return };
    let server = Server::start();
    let name = "n".repeat(100);
    let made = server.admin_ok(
        "POST",
        "/accounts",
        &json!({"name": name, "plan": "growth", "email": format!("{}@example.com", "e".repeat(60))}),
    );
    open(&browser, &server);

    for width in [360, 820, 1440] {
        browser.look(width, 900, "light");
        for view in ["accounts", &format!("accounts/{}", made["id"].as_str().unwrap()), "plans", "server", "audit"] {
            browser
                .run("location.hash = '#/accounts/none'; location.hash = arguments[0]", &[json!(format!("#/{view}"))]);
            browser.wait_for("document.querySelector('#view table, #view .empty')");
            let overflow = browser.run("return document.documentElement.scrollWidth - innerWidth", &[]);
            assert!(overflow.as_i64().unwrap() <= 0, "{view} at {width} is {overflow} pixels too wide");
        }
    }
}
