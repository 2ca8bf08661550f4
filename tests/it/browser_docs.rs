//! The page of the reference in a real browser: each call of the document is on it, and can be found.

use std::collections::BTreeSet;

use serde_json::json;

use crate::browser::Browser;
use crate::harness::{Listener, Server};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The ids of all calls of the document.
fn documented(listener: Listener) -> BTreeSet<String> {
    let document = listener.exchange("GET /openapi.json").json();
    let calls = document["paths"].as_object().unwrap().values().flat_map(|path| {
        METHODS.iter().filter_map(|method| path[*method]["operationId"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    });
    calls.collect()
}

fn shown(browser: &Browser, css: &str) -> BTreeSet<String> {
    let found =
        browser.run("return [...document.querySelectorAll(arguments[0])].map((call) => call.id)", &[json!(css)]);
    found.as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_reference_shows_each_call_on_both_listeners_and_finds_it() {
    let Some(browser) = Browser::open() else { return };
    let server = Server::start();
    for (listener, least) in [(server.public, 20), (server.admin, 45)] {
        let origin = format!("http://{}", listener.0);
        let calls = documented(listener);
        assert!(calls.len() >= least, "{calls:?}");

        browser.go(&format!("{origin}/docs"));
        browser.wait_for("document.querySelector('article.call')");

        assert_eq!(shown(&browser, "article.call"), calls);
        browser.write("#find", "no such call");
        browser.wait_for("!document.querySelector('#none').hidden");
        browser.write("#find", "rotate");
        browser.wait_for("document.querySelector('#none').hidden");
        let links = "return [...document.querySelectorAll('#toc a')].filter((link) => link.offsetParent).map((link) => link.hash)";
        let left = browser.run(links, &[]);
        let left: Vec<&str> = left.as_array().unwrap().iter().map(|hash| hash.as_str().unwrap()).collect();
        assert!(!left.is_empty() && left.len() < 6, "{left:?}");
        assert!(left.iter().all(|hash| calls.contains(&hash[1..])), "{left:?}");
        browser.assert_clean(&origin);
    }
}

#[test]
fn the_reference_fits_a_phone_and_a_wide_screen() {
    let Some(browser) = Browser::open() else { return };
    let server = Server::start();
    browser.go(&format!("http://{}/docs", server.public.0));
    browser.wait_for("document.querySelector('article.call')");
    for (width, scheme) in [(360, "light"), (820, "dark"), (1440, "light")] {
        browser.look(width, 900, scheme);
        browser.wait_for(&format!("innerWidth === {width}"));
        let overflow = browser.run("return document.documentElement.scrollWidth - innerWidth", &[]);
        assert!(overflow.as_i64().unwrap() <= 0, "at {width} it is {overflow} pixels too wide");
    }
}
