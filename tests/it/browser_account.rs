//! The account holder's dashboard in a real browser, beside what the API says.
//!
//! The server's clock stands in 2024 here, so the browser's own is wrong by years in all of these.

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::harness::{Account, Server};

/// The page of an account, opened as by a link with the token in it.
fn open(browser: &Browser, server: &Server, account: &Account) {
    browser.go(&format!("{}#token={}", page(server), server.token(&account.id)));
    browser.wait_for("document.querySelector('#used')");
}

fn page(server: &Server) -> String {
    format!("{}/dashboard", origin(server))
}

fn origin(server: &Server) -> String {
    format!("http://{}", server.public.0)
}

/// What the API says to the account's session.
fn ask(server: &Server, account: &Account, path: &str) -> Value {
    let token = server.token(&account.id);
    server.public.exchange(&format!("GET /api/v1/public{path}\nAuthorization: Bearer {token}")).json()
}

#[test]
fn an_account_holder_sees_the_figures_of_the_api() {
    let Some(browser) = Browser::open() else { return };
    let server = Server::start();
    let account = server.account("scale");
    for _request in 0..3 {
        server.ping(&account.key);
    }

    open(&browser, &server, &account);

    let standing = ask(&server, &account, "/keys/rate-limit");
    assert_eq!((&standing["limit"], &standing["remaining"]), (&json!(1000), &json!(997)));
    browser.wait_for_text("#remaining", "997");
    assert_eq!(browser.text("#used"), "3");
    assert_eq!(browser.text("#limit"), "1,000");
    assert_eq!(browser.text("#plan-name").to_lowercase(), "scale");
    assert_eq!(browser.text("#who"), "Acme");
    assert_eq!(server.used(&account.id), 3, "looking is not counted");
}

#[test]
fn the_token_goes_from_the_address_at_once_and_into_no_storage() {
    let Some(browser) = Browser::open() else { return };
    let server = Server::start();
    let account = server.account("growth");

    open(&browser, &server, &account);

    let kept = "return [location.href, JSON.stringify(localStorage), JSON.stringify(sessionStorage), document.cookie]";
    assert_eq!(browser.run(kept, &[]), json!([page(&server), "{}", "{}", ""]));
    assert_eq!(browser.run("return history.length", &[]), json!(2), "no entry of its own in the history");
    browser.go(&format!("{}?reloaded", page(&server)));
    browser.wait_to_see("Session token");
}

#[test]
fn a_key_is_made_used_rotated_and_revoked_on_the_page() {
    let Some(browser) = Browser::open() else { return };
    let server = Server::start();
    let account = server.account("growth");
    open(&browser, &server, &account);
    browser.wait_for_text("#remaining", "100");

    browser.press("Create key");
    browser.write("dialog input[name=name]", "laptop");
    browser.press("Create the key");
    browser.wait_for("document.querySelector('.secret')");
    let key = browser.text(".secret");
    assert_eq!(server.ping(&key).status, 200);
    browser.devtools(
        "Browser.grantPermissions",
        &json!({"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}),
    );
    browser.press("Copy");
    browser.wait_for_text("dialog .toast", "Copied.");
    assert_eq!(browser.run("return navigator.clipboard.readText()", &[]), json!(key));
    // The gauge moves by itself.
    browser.wait_for_text("#remaining", "99");
    browser.press("Done");
    browser.wait_for("!document.querySelector('.secret')");
    assert_eq!(
        browser.run("return document.documentElement.outerHTML.includes(arguments[0])", &[json!(key)]),
        json!(false)
    );

    browser.click("[aria-label='Rotate laptop']");
    browser.click("dialog select[name=grace] option[value='0']");
    browser.press("Rotate");
    browser.wait_for("document.querySelector('.secret')");
    let rotated = browser.text(".secret");
    browser.press("Done");
    assert_eq!((server.ping(&key).status, server.ping(&rotated).status), (401, 200));

    browser.wait_for("document.querySelectorAll(\"[aria-label='Revoke laptop']\").length === 1");
    browser.click("[aria-label='Revoke laptop']");
    browser.press("Revoke the key");
    browser.wait_to_see("laptop is revoked.");
    assert_eq!(server.ping(&rotated).status, 401);
    browser.press("Show 2 ended keys");
    browser.wait_to_see("Revoked");
    let keys = ask(&server, &account, "/keys");
    let names: Vec<&Value> = keys["items"].as_array().unwrap().iter().map(|key| &key["name"]).collect();
    assert_eq!(names, ["test", "laptop", "laptop"]);
    browser.assert_clean(&origin(&server));
}

#[test]
fn what_a_key_may_not_be_called_is_said_in_the_dialog() {
    let Some(browser) = Browser::open() else { return };
    let server = Server::start();
    open(&browser, &server, &server.account("growth"));

    browser.press("Create key");
    browser.run("document.querySelector('dialog input').removeAttribute('maxlength')", &[]);
    browser.write("dialog input[name=name]", &"x".repeat(101));
    browser.press("Create the key");

    browser.wait_for("document.querySelector('dialog .fault').innerText.startsWith('name: ')");
    // The dialog stays, to mend it.
    browser.keyboard("\u{e00c}");
    browser.wait_for("!document.querySelector('dialog')");
}

#[test]
fn markup_in_names_is_shown_as_text() {
    let Some(browser) = Browser::open() else { return };
    let server = Server::start();
    let hostile = "<img src=x onerror=alert(1)><script>alert(2)</script>";
    let account = server.admin_ok("POST", "/accounts", &json!({"name": hostile, "plan": "growth"}));
    let id = account["id"].as_str().unwrap().to_owned();
    let path = format!("/accounts/{id}/keys");
    let issued = server.admin_ok("POST", &path, &json!({"name": hostile}));
    let key = issued["key"].as_str().unwrap().to_owned();
    let link = json!({"name": hostile, "destination_url": "https://example.com"});
    let made = server.public.exchange(&format!("POST /api/v1/public/links\nX-API-Key: {key}\n\n{link}"));
    assert_eq!(made.status, 201, "{made}");

    open(&browser, &server, &Account { id, key, key_id: String::new() });

    browser.wait_for_text("#keys td .strong", hostile);
    browser.wait_for_text("#links td .strong", hostile);
    assert_eq!(browser.text("#who"), hostile);
    assert_eq!(browser.run("return document.querySelectorAll('main img[src=x], main script').length", &[]), json!(0));
    browser.assert_clean(&origin(&server));
}

#[test]
fn a_session_that_ends_under_way_is_said_and_a_new_token_goes_on() {
    let Some(browser) = Browser::open() else { return };
    let server = Server::start();
    let account = server.account("growth");
    open(&browser, &server, &account);

    server.set_clock("2024-01-15T15:31:00Z");
    browser.wait_to_see("Your session has ended. Paste a new token to go on.");
    browser.write("#token", "not a token");
    browser.press("Open the dashboard");
    browser.wait_for_text("#sign-in-fault", "This token is not valid, or has expired.");
    browser.write("#token", &server.token(&account.id));
    browser.press("Open the dashboard");

    browser.wait_for_text("#remaining", "100");
    assert_eq!(browser.run("return document.querySelector('#token').value", &[]), json!(""));
}

#[test]
fn a_token_that_is_not_whole_is_said_to_be_so_and_not_sent() {
    let Some(browser) = Browser::open() else { return };
    let server = Server::start();
    let token = server.token(&server.account("growth").id);

    browser.go(&format!("{}#token=%zz", page(&server)));
    browser.wait_for_text("#sign-in-fault", "This token is not valid, or has expired.");
    browser.go(&format!("{}?broken#token={}%0A{}", page(&server), &token[..20], &token[20..]));
    browser.wait_to_see("This is not a whole token: ");
    browser.write("#token", "klinky_live_abcd…");
    browser.press("Open the dashboard");
    browser.wait_to_see("This is not a whole token: ");
    let banner = browser.run("return document.querySelector('#banner').hidden", &[]);
    browser.go(&format!("{}?whole#token={token}%0A", page(&server)));

    browser.wait_for_text("#remaining", "100");
    assert_eq!(banner, json!(true), "the server is not said to be away");
}

#[test]
fn a_server_that_goes_away_is_said_and_found_again() {
    let Some(browser) = Browser::open() else { return };
    // A port that stays the same over the restart.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut server = Server::start_with(move |settings| settings.listen = free);
    let account = server.account("growth");
    open(&browser, &server, &account);
    browser.wait_for_text("#remaining", "100");

    server.halt();
    browser.wait_to_see("The server does not answer.");
    let server = server.restart();

    browser.wait_to_see("The server is back.");
    browser.wait_for("document.querySelector('#banner').hidden");
    server.ping(&account.key);
    browser.wait_for_text("#remaining", "99");
}

#[test]
fn a_browser_whose_clock_is_wrong_by_an_hour_counts_down_to_the_right_instant() {
    let Some(browser) = Browser::open() else { return };
    let server = Server::start();
    let wrong = "{ const Right = Date; Date = class extends Right {
        constructor(...given) { given.length ? super(...given) : super(Right.now() + 3600e3); }
        static now() { return Right.now() + 3600e3; } }; }";
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", &json!({"source": wrong}));

    open(&browser, &server, &server.account("growth"));

    browser.wait_for("/^(30:00|29:5\\d)$/.test(document.querySelector('#reset-in').innerText)");
    assert_eq!(browser.text("#reset-at"), "15:00 UTC");
    browser.wait_to_see("The server’s clock shows 15 Jan 2024, 14:30 UTC.");
}

#[test]
fn everything_can_be_reached_and_done_with_the_keyboard() {
    let Some(browser) = Browser::open() else { return };
    let server = Server::start();
    let account = server.account("growth");
    browser.go(&page(&server));
    browser.wait_for("document.activeElement.id === 'token'");
    browser.keyboard(&server.token(&account.id));
    browser.keyboard("\u{e007}");
    browser.wait_for("document.querySelector('#remaining')");

    for _tab in 0..40 {
        if browser.run("return document.activeElement.id", &[]) == json!("create-key") {
            break;
        }
        browser.keyboard("\u{e004}");
    }
    let outline = "return getComputedStyle(document.activeElement).outlineStyle";
    assert_eq!(browser.run(outline, &[]), json!("solid"), "the focus is seen");
    browser.keyboard("\u{e007}");
    browser.wait_for("document.activeElement.name === 'name'");
    browser.keyboard("from the keyboard\u{e007}");
    browser.wait_for("document.querySelector('.secret')");
    browser.keyboard("\u{e00c}");

    browser.wait_for_text("#keys tr:last-child td .strong", "from the keyboard");
    browser.wait_for("document.activeElement.id === 'create-key'");
}

#[test]
fn an_account_without_access_or_at_its_limit_is_told_so() {
    let Some(browser) = Browser::open() else { return };
    let server = Server::start();
    let account = server.account("growth");
    server.admin_ok("PUT", &format!("/accounts/{}/rate-limit", account.id), &json!({"used": 100}));

    open(&browser, &server, &account);
    browser.wait_to_see("The limit is reached: requests are answered 429 until the hour ends.");
    server.admin_ok("PATCH", &format!("/accounts/{}", account.id), &json!({"plan": "free"}));
    open(&browser, &server, &account);
    browser.wait_to_see("This plan has no API access");
    server.admin_ok("PATCH", &format!("/accounts/{}", account.id), &json!({"plan": "growth", "suspended": true}));
    open(&browser, &server, &account);

    browser.wait_to_see("This account is suspended");
    browser.wait_for_text("#hour .strong", "Suspended");
    browser.wait_for("document.querySelector('#plan dl').innerText.includes('API access\\nNo')");
    assert_eq!(browser.run("return document.querySelectorAll('#remaining').length", &[]), json!(0));
}

#[test]
fn the_page_fits_a_phone_and_a_wide_screen_in_light_and_dark() {
    let Some(browser) = Browser::open() else { return };
    let server = Server::start();
    let account = server.account("growth");
    let link = json!({"name": "n".repeat(100), "slug": "s".repeat(32), "destination_url": "https://example.com"});
    server.public.exchange(&format!("POST /api/v1/public/links\nX-API-Key: {}\n\n{link}", account.key));
    open(&browser, &server, &account);
    browser.wait_for("document.querySelector('#links td')");

    for (width, scheme) in [(360, "light"), (390, "dark"), (820, "light"), (1440, "dark")] {
        browser.look(width, 900, scheme);
        browser.wait_for(&format!("innerWidth === {width}"));
        let overflow = browser.run("return document.documentElement.scrollWidth - innerWidth", &[]);
        assert!(overflow.as_i64().unwrap() <= 0, "at {width} it is {overflow} pixels too wide");
    }
    let ground = browser.run("return getComputedStyle(document.body).backgroundColor", &[]);
    assert_eq!(ground, json!("rgb(13, 17, 23)"), "dark follows the system");
}
