//! The dashboard's files and calls, without a browser.

use serde_json::json;

use crate::harness::{Exchange, Listener, Server};
use crate::upstream;

/// What every file of a page must say to the browser.
fn assert_confined(answer: &Exchange) {
    let policy = answer.header("content-security-policy").expect("no policy");
    for rule in ["default-src 'none'", "script-src 'self'", "form-action 'none'", "frame-ancestors 'none'"] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
}

/// The addresses of its own server that a text names in quotes.
fn named(text: &str) -> Vec<&str> {
    text.split('"').filter(|word| word.starts_with("/dashboard/") || word.starts_with("./")).collect()
}

#[test]
fn all_that_the_pages_name_is_served_and_confined() {
    let server = Server::start();

    for (listener, path) in [(server.public, "/dashboard"), (server.admin, "/")] {
        assert_whole(listener, path);
    }
}

/// Holds that a page, and what it and its files name, are there.
fn assert_whole(listener: Listener, path: &str) {
    let page = listener.exchange(&format!("GET {path}"));

    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert_confined(&page);
    let mut to_read: Vec<String> = named(&page.body).into_iter().map(str::to_owned).collect();
    let mut read: Vec<String> = Vec::new();
    while let Some(path) = to_read.pop() {
        let path = path.replace("./", "/dashboard/");
        if read.contains(&path) {
            continue;
        }
        let file = listener.exchange(&format!("GET {path}"));
        assert_eq!(file.status, 200, "{path}");
        assert_confined(&file);
        to_read.extend(named(&file.body).into_iter().map(str::to_owned));
        read.push(path);
    }
    assert!(read.len() > 8, "{read:?}");
}

#[test]
fn no_file_makes_markup_of_text_or_asks_another_host() {
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/data/dashboard")).unwrap();
    for file in files.map(|file| file.unwrap().path()) {
        let text = std::fs::read_to_string(&file).unwrap();
        for word in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "localStorage", "https://"]
        {
            assert!(!text.contains(word), "{} has {word}", file.display());
        }
        let hosts = text.replace("http://www.w3.org/2000/svg", "");
        assert!(!hosts.contains("http://"), "{} names a host", file.display());
    }
}

#[test]
fn a_file_that_the_browser_has_is_not_sent_again() {
    let server = Server::start();
    let first = server.public.exchange("GET /dashboard/style.css");
    let tag = first.header("etag").unwrap();

    let second = server.public.exchange(&format!("GET /dashboard/style.css\nIf-None-Match: {tag}"));

    assert_eq!((second.status, second.body.as_str()), (304, ""));
    assert_eq!(second.header("cache-control"), Some("private, no-cache"));
}

#[test]
fn the_page_answers_get_and_head_only_and_has_no_other_files() {
    let server = Server::start();

    assert_eq!(server.public.exchange("GET /dashboard/").status, 200);
    assert_eq!(server.public.exchange("POST /dashboard").status, 405);
    let missing = server.public.exchange("GET /dashboard/plans.json");
    assert_eq!((missing.status, missing.body.as_str()), (404, r#"{"detail":"No such resource."}"#));
}

#[test]
fn a_gateway_has_the_page_too() {
    let nowhere = "127.0.0.1:9".parse().unwrap();
    let server = Server::start_with(move |settings| settings.gateway = Some(upstream::settings(nowhere, &[])));

    assert_eq!(server.public.exchange("GET /dashboard").status, 200);
}

#[test]
fn a_session_sees_its_links_and_uses_nothing() {
    let server = Server::start();
    let account = server.account("growth");
    let link = json!({"name": "Spring", "slug": "spring", "destination_url": "https://example.com"});
    let made =
        server.public.exchange(&format!("POST /api/v1/public/links\nX-API-Key: {}\n\n{link}", account.key)).json();
    server
        .public
        .exchange("GET /spring\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0");
    let session = format!("Authorization: Bearer {}", server.token(&account.id));
    let base = "/api/v1/public/account/links";

    let list = server.public.exchange(&format!("GET {base}\n{session}")).json();
    let stats = server.public.exchange(&format!("GET {base}/{}/stats\n{session}", made["id"].as_str().unwrap())).json();

    assert_eq!((&list["total"], &list["items"][0]["slug"]), (&json!(1), &json!("spring")));
    assert_eq!((&list["items"][0]["click_count"], &stats["days"][0]["clicks"]), (&json!(1), &json!(1)));
    assert_eq!(server.used(&account.id), 1, "the link's making alone");
}

#[test]
fn a_key_or_another_account_does_not_open_the_links_of_a_session() {
    let server = Server::start();
    let (account, other) = (server.account("growth"), server.account("growth"));
    let link = json!({"name": "Spring", "slug": "spring", "destination_url": "https://example.com"});
    let made =
        server.public.exchange(&format!("POST /api/v1/public/links\nX-API-Key: {}\n\n{link}", account.key)).json();
    let base = "/api/v1/public/account/links";
    let session = format!("Authorization: Bearer {}", server.token(&other.id));

    let by_key = server.public.exchange(&format!("GET {base}\nX-API-Key: {}", account.key));
    let list = server.public.exchange(&format!("GET {base}\n{session}")).json();
    let stats = server.public.exchange(&format!("GET {base}/{}/stats\n{session}", made["id"].as_str().unwrap()));
    let write = server.public.exchange(&format!("POST {base}\n{session}\n\n{link}"));

    assert_eq!(by_key.status, 401);
    assert_eq!((&list["total"], stats.status, write.status), (&json!(0), 404, 405));
}
