//! Usage on the account holder's page, in a real browser: of a day that the test lets go by. With
//! `KLINKY_SCREENSHOTS=write` it also makes the README's pictures.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::harness::{ADMIN_TOKEN, Account, Server};
use crate::upstream;

/// Requests of each hour of a day, from 15:00 on: a quiet night, and more than the limit of 40 at noon.
const REQUESTS: [u32; 24] = [31, 27, 24, 19, 14, 9, 7, 5, 4, 3, 3, 4, 5, 8, 13, 18, 24, 30, 34, 39, 46, 52, 44, 21];
const LIMIT: u32 = 40;

/// A day of an account that ends at 14:30 of 16 January, with keys and links.
fn a_day() -> (Server, Account) {
    let server = Server::start();
    let account = server.account("growth");
    let path = format!("/accounts/{}", account.id);
    server.admin_ok("PATCH", &path, &json!({"name": "Northwind Traders", "custom_limit": LIMIT}));
    let named = |name: &str| {
        server.admin_ok("POST", &format!("{path}/keys"), &json!({"name": name}))["key"].as_str().unwrap().to_owned()
    };
    let keys = [named("Storefront"), named("Billing service"), named("Nightly reports")];
    let mut made = 0_u32;
    for (place, requests) in REQUESTS.iter().enumerate() {
        let hour = 15 + place;
        server.set_clock(&format!("2024-01-{}T{:02}:10:00Z", 15 + hour / 24, hour % 24));
        for request in 0..*requests {
            let key = &keys[if request % 2 == 0 { 0 } else { (request % 3) as usize }];
            let call = match request % 5 {
                0 if made < 3 => {
                    made += 1;
                    let link = json!({"name": format!("Campaign {made}"), "slug": format!("campaign-{made}"), "destination_url": "https://example.com"});
                    format!("POST /api/v1/public/links\nX-API-Key: {key}\n\n{link}")
                }
                0 => format!("GET /api/v1/public/links/none\nX-API-Key: {key}"),
                1 => format!("GET /api/v1/public/links?page=2\nX-API-Key: {key}"),
                _ => format!("GET /api/v1/public/links\nX-API-Key: {key}"),
            };
            server.public.exchange(&call);
        }
    }
    server.set_clock("2024-01-16T14:30:00Z");
    (server, account)
}

/// Lets the page be as wide and high, and keeps its picture if that is wanted.
fn picture(browser: &Browser, name: &str, width: u32, height: u32) {
    browser.devtools("Emulation.setScrollbarsHidden", &json!({"hidden": true}));
    browser.look(width, height, "light");
    browser.wait_for(&format!("innerWidth === {width}"));
    let shot = json!({"format": "webp", "quality": 72});
    let bytes = base64(browser.devtools("Page.captureScreenshot", &shot)["data"].as_str().unwrap());
    assert!(bytes.starts_with(b"RIFF") && bytes.len() < 80_000, "{} bytes", bytes.len());
    if std::env::var_os("KLINKY_SCREENSHOTS").is_some_and(|mode| mode == "write") {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/screenshots");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("{name}.webp")), bytes).unwrap();
    }
}

/// Undoes base64 (RFC 4648 §4).
fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<u32> = text
        .bytes()
        .filter_map(|c| DIGITS.iter().position(|&digit| digit == c))
        .map(|digit| u32::try_from(digit).unwrap())
        .collect();
    let bytes = digits.chunks(4).flat_map(|four| {
        let bits = (0..4).fold(0, |bits, place| bits << 6 | four.get(place).copied().unwrap_or(0));
        let [_, first, second, third] = bits.to_be_bytes();
        [first, second, third].into_iter().take(four.len() * 3 / 4)
    });
    bytes.collect()
}

#[test]
fn a_day_is_shown_as_the_api_says_it() {
    let Some(browser) = Browser::open() else { return };
    let (server, account) = a_day();
    let origin = format!("http://{}", server.public.0);
    let token = server.token(&account.id);

    browser.go(&format!("{origin}/dashboard#token={token}"));
    browser.wait_for("document.querySelector('#usage .canvas svg')");

    let query = "from=2024-01-15T15:00:00Z&to=2024-01-16T15:00:00Z";
    let usage =
        server.public.exchange(&format!("GET /api/v1/public/usage?{query}\nAuthorization: Bearer {token}")).json();
    let used: u32 = REQUESTS.iter().map(|requests| requests.min(&LIMIT)).sum();
    let denied = REQUESTS.iter().sum::<u32>() - used;
    assert_eq!((&usage["total"]["used"], &usage["total"]["denied"]), (&json!(used), &json!(denied)));
    assert_eq!(browser.text(".figure-box.used .big"), used.to_string());
    assert_eq!(browser.text(".figure-box.denied .big"), denied.to_string());
    browser.wait_to_see("Storefront");
    browser.wait_to_see("GET /public/links/{id}");

    // The keyboard walks over the bars: the fourth from the end is 11:00.
    browser.run("document.querySelector('.canvas').focus()", &[]);
    browser.keyboard("\u{e012}\u{e012}\u{e012}\u{e012}");
    browser.wait_for_text(".tip strong", "16 Jan, 11:00–12:00");
    assert_eq!(browser.text(".tip .used"), "40 used");
    assert_eq!(browser.text(".tip .denied"), "6 denied");
    browser.run("document.activeElement.blur()", &[]);

    for (span, hours) in [("7d", "7 days"), ("30d", "30 days")] {
        browser.click(&format!("#span-{span}"));
        browser.wait_for(&format!("document.querySelector('.canvas').ariaLabel.includes('in the last {hours}')"));
        assert_eq!(browser.text(".figure-box.used .big"), used.to_string());
    }
    browser.click("#span-24h");
    browser.wait_for("document.querySelector('.canvas').ariaLabel.includes('in the last 24 hours')");
    browser.assert_clean(&origin);
    picture(&browser, "account", 1100, 800);
}

#[test]
fn no_label_of_the_chart_is_cut_off() {
    let Some(browser) = Browser::open() else { return };
    let server = Server::start();
    let account = server.account("growth");
    // The last bar is that of midnight, which has a label.
    server.set_clock("2024-01-17T00:30:00Z");
    server.ping(&account.key);
    let token = server.token(&account.id);
    browser.go(&format!("http://{}/dashboard#token={token}", server.public.0));
    browser.wait_for("document.querySelector('#usage .canvas svg')");

    for (width, span, hours, last) in
        [(1100, "7d", "7 days", "17 Jan"), (360, "7d", "7 days", "17 Jan"), (360, "24h", "24 hours", "00:00")]
    {
        browser.look(width, 800, "light");
        browser.wait_for(&format!("innerWidth === {width}"));
        browser.click(&format!("#span-{span}"));
        browser.wait_for(&format!("document.querySelector('.canvas').ariaLabel.includes('in the last {hours}')"));
        browser.wait_for(
            "document.querySelector('.canvas svg').clientWidth === document.querySelector('.canvas').clientWidth",
        );
        let beyond = "const svg = document.querySelector('#usage .canvas svg');
            const texts = [...svg.querySelectorAll('text')];
            const isCut = ({ x, width }) => x < 0 || x + width > svg.clientWidth;
            return [texts.at(-1).textContent, texts.filter((text) => isCut(text.getBBox())).map((text) => text.textContent)]";
        assert_eq!(browser.run(beyond, &[]), json!([last, []]), "{width} {span}");
    }
}

#[test]
fn the_operators_list_is_pictured_beside_the_readme() {
    let Some(browser) = Browser::open() else { return };
    let server = Server::start();
    let accounts = [
        ("Northwind Traders", "growth", 97),
        ("Contoso Labs", "scale", 870),
        ("Blue Yonder", "scale", 612),
        ("Fabrikam", "growth", 41),
        ("Tailspin Toys", "growth", 18),
        ("Wide World", "free", 0),
        ("Litware", "scale", 3),
    ];
    for (name, plan, used) in accounts {
        let email = format!("ops@{}.example", name.to_lowercase().replace(' ', "-"));
        let made = server.admin_ok("POST", "/accounts", &json!({"name": name, "plan": plan, "email": email}));
        let id = made["id"].as_str().unwrap();
        server.admin_ok("PUT", &format!("/accounts/{id}/rate-limit"), &json!({"used": used}));
        if name == "Tailspin Toys" {
            server.admin_ok("PATCH", &format!("/accounts/{id}"), &json!({"trial": {"plan": "scale"}}));
        }
    }

    browser.go(&format!("http://{}/", server.admin.0));
    browser.write("#token", ADMIN_TOKEN);
    browser.press("Sign in");
    browser.wait_for("document.querySelectorAll('#accounts tbody tr').length === 7");

    assert!(browser.text("#accounts tbody tr:first-child").starts_with("Northwind Traders"));
    browser.run("document.activeElement.blur()", &[]);
    picture(&browser, "operator", 1100, 760);
}

#[test]
fn two_hundred_endpoints_with_markup_in_them_are_listed_as_text() {
    let Some(browser) = Browser::open() else { return };
    let nowhere = "127.0.0.1:9".parse().unwrap();
    let server = Server::start_with(move |settings| settings.gateway = Some(upstream::settings(nowhere, &[])));
    let account = server.account("scale");
    for number in 0..210 {
        let letters: String =
            [number / 26, number % 26].iter().map(|&digit| char::from(b'a' + u8::try_from(digit).unwrap())).collect();
        let question = json!({"key": account.key, "endpoint": format!("GET /v1/<svg/onload=alert(1)>/{letters}")});
        assert_eq!(
            server.public.exchange(&format!("POST /check\nContent-Type: application/json\n\n{question}")).status,
            200
        );
    }

    browser.go(&format!("http://{}/dashboard#token={}", server.public.0, server.token(&account.id)));
    browser.wait_for("document.querySelectorAll('#usage .ranking .name').length > 0");

    let endpoints = browser.run(
        "return [...document.querySelectorAll('#usage .ranking .name.mono')].map((name) => name.textContent)",
        &[],
    );
    let endpoints: Vec<&str> = endpoints.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(endpoints.len(), 201, "200 and the rest as one: {endpoints:?}");
    assert!(endpoints.contains(&"other"));
    let shown = endpoints.iter().filter(|name| name.contains("<svg/onload="));
    assert!(shown.count() > 100, "{endpoints:?}");
    assert_eq!(browser.run("return document.querySelectorAll('#usage svg[onload], #usage img').length", &[]), json!(0));
    // In front of another API there are no links.
    browser.wait_for("document.querySelector('#links-card').hidden");
    let text = browser.run("return document.body.innerText.length", &[]);
    assert_ne!(text, Value::Null);
}
