//! The reference against the server: each route is documented and each documented call is there, method by method.
//!
//! The routes are read from the sources, where each stands in a `resource("/path", "METHODS", …)`, so that a new one
//! without its paragraph in `data/openapi.yaml` fails here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::Value;

use crate::harness::{ADMIN_TOKEN, Exchange, Listener, Server};
use crate::tidy::sources;
use crate::upstream::Upstream;

/// All methods that an operation may have.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/// Routes that are no API: pages for people, and what they load.
const PAGES: [&str; 4] = ["/docs", "/docs/page.css", "/docs/page.js", "/docs/icon.svg"];
/// Where nothing but such pages is routed, in a way of its own.
const PAGES_DIR: &str = "src/http/dashboard/";
/// GETs whose HEAD is refused, as the reference says.
const WITHOUT_HEAD: [&str; 2] = ["/admin/v1/dump", "/c/{id}"];
/// Calls that take any method, and are routed by themselves.
const ANY_METHOD: [&str; 2] = ["/check", "/check/{original}"];
/// Where routes may be made in another way than by `resource(…)`: how many times.
const OTHER_WAYS: [(&str, usize); 2] = [("src/http/routes.rs", 2), ("src/http/check.rs", 2)];

/// A path, and what it may be asked with.
type Table = BTreeMap<String, BTreeSet<String>>;

fn set<'a>(methods: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    methods.into_iter().map(str::to_owned).collect()
}

/// The scopes of the sources: which file's routes lie below which path.
fn bases() -> BTreeMap<String, String> {
    let scope = Regex::new(r#"web::scope\("([^"]*)"\)((?:\s*\.configure\(\w+::routes\))*)"#).unwrap();
    let configured = Regex::new(r"configure\((\w+)::routes").unwrap();
    let mut bases = BTreeMap::new();
    for (path, text) in sources("src/http") {
        let dir = Path::new(&path).parent().unwrap();
        for found in scope.captures_iter(&text) {
            for module in configured.captures_iter(&found[2]) {
                let file = dir.join(format!("{}.rs", &module[1]));
                bases.insert(file.to_str().unwrap().to_owned(), found[1].to_owned());
            }
        }
    }
    bases
}

/// All routes in the sources with what they allow.
fn routes() -> Table {
    let route = Regex::new(r#"\bresource\(\s*"([^"]*)",\s*"([A-Z, ]+)","#).unwrap();
    let any = Regex::new(r"\bresource\(").unwrap();
    let other =
        Regex::new(r"web::resource\(|\.route\(|Resource::route|#\[(get|post|put|patch|delete|route)\(").unwrap();
    let (bases, mut found) = (bases(), Table::new());
    for (path, text) in sources("src/http").into_iter().filter(|(path, _text)| !path.starts_with(PAGES_DIR)) {
        let others = OTHER_WAYS.iter().find(|(file, _times)| *file == path).map_or(0, |(_file, times)| *times);
        assert_eq!(other.find_iter(&text).count(), others, "{path} makes a route in another way than by resource(…)");
        let own = text.replace("web::resource(", "").replace("fn resource(", "");
        let base = bases.get(&path).map_or("", String::as_str);
        let calls = route.captures_iter(&own).map(|call| (format!("{base}{}", &call[1]), set(call[2].split(", "))));
        let calls: Vec<_> = calls.collect();
        assert_eq!(any.find_iter(&own).count(), calls.len(), "{path} has a resource(…) that this test cannot read");
        for (path, methods) in calls {
            assert!(found.insert(path.clone(), methods).is_none(), "{path} is routed twice");
        }
    }
    found
}

/// The document as the admin listener shows it.
fn document() -> Value {
    shown_by(Server::start().admin)
}

fn shown_by(listener: Listener) -> Value {
    let answer = listener.exchange("GET /openapi.json");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{answer}");
    answer.json()
}

/// Paths and methods of the document; HEAD goes with GET.
fn documented(document: &Value) -> Table {
    let paths = document["paths"].as_object().unwrap().iter();
    let mut table: Table = paths
        .map(|(path, item)| {
            let methods = item.as_object().unwrap().keys().map(|field| field.to_uppercase());
            (path.clone(), methods.filter(|method| METHODS.contains(&method.as_str())).collect())
        })
        .collect();
    for (path, methods) in &mut table {
        if methods.contains("GET") && !WITHOUT_HEAD.contains(&path.as_str()) {
            methods.insert("HEAD".to_owned());
        }
    }
    table
}

fn is_admin(item: &Value) -> bool {
    item["servers"][0]["variables"]["admin"].is_object()
}

/// The listeners that serve a documented path.
fn listeners(server: &Server, item: &Value) -> Vec<Listener> {
    match (item["servers"].as_array().map(Vec::len), is_admin(item)) {
        (Some(2), _) => vec![server.public, server.admin],
        (_, true) => vec![server.admin],
        (_, false) => vec![server.public],
    }
}

/// A path with something in its places that is nowhere.
fn filled(path: &str) -> String {
    let id = if path.contains("/plans/") { "nothing" } else { "01a20d52-466d-7468-b39d-f8c33ef184eb" };
    path.replace("{id}", id).replace("{slug}", "nothing").replace("{original}", "v1/reports")
}

/// The header lines that open a call with these `security` requirements.
fn credentials(security: &Value, key: &str, token: &str) -> String {
    let schemes = security.as_array().unwrap().iter().flat_map(|need| need.as_object().unwrap().keys());
    let lines = schemes.map(|scheme| match scheme.as_str() {
        "apiKey" => format!("\nX-API-Key: {key}"),
        "session" => format!("\nAuthorization: Bearer {token}"),
        "adminToken" => format!("\nAuthorization: Bearer {ADMIN_TOKEN}"),
        other => panic!("no such scheme: {other}"),
    });
    lines.collect()
}

#[test]
fn every_route_is_documented_and_every_documented_call_is_routed() {
    let mut routed = routes();
    for page in PAGES {
        assert!(routed.remove(page).is_some(), "{page} is no route: take it out of PAGES");
    }
    let mut documented = documented(&document());
    for path in ANY_METHOD {
        assert!(documented.remove(path).is_some(), "{path} is not documented");
    }

    assert!(routed.len() > 25, "{routed:?}");
    for (path, methods) in &routed {
        assert_eq!(documented.get(path), Some(methods), "{path}: document it in data/openapi.yaml");
    }
    for path in documented.keys() {
        assert!(routed.contains_key(path), "{path} is documented and not routed");
    }
}

#[test]
fn documented_calls_answer_as_documented_and_others_are_405() {
    let (server, document) = (Server::start(), document());
    let account = server.account("scale");
    let token = server.token(&account.id);
    for (path, methods) in documented(&document) {
        let item = &document["paths"][&path];
        for (method, listener) in
            METHODS.iter().flat_map(|m| listeners(&server, item).into_iter().map(move |l| (*m, l)))
        {
            let documented_as = if method == "HEAD" { "get" } else { &method.to_lowercase() };
            let some = item.as_object().unwrap().values().find(|operation| operation["security"].is_array()).unwrap();
            let operation = if methods.contains(method) { &item[documented_as] } else { some };
            let headers = credentials(&operation["security"], &account.key, &token);

            let answer = listener.exchange(&format!("{method} {}{headers}", filled(&path)));

            if methods.contains(method) {
                let status = answer.status.to_string();
                let is_known = operation["responses"].get(&status).is_some();
                assert!(is_known, "{method} {path} answers {status}, which is not documented: {answer}");
                assert!(!answer.body.contains("No such resource."), "{method} {path} leads nowhere: {answer}");
            } else if !ANY_METHOD.contains(&path.as_str()) {
                assert_405(&answer, &methods);
            }
        }
    }
}

fn assert_405(answer: &Exchange, methods: &BTreeSet<String>) {
    assert_eq!(answer.status, 405, "{answer}");
    assert_eq!(set(answer.header("allow").unwrap().split(", ")), *methods, "{answer}");
}

#[test]
fn what_is_documented_to_need_a_key_or_token_is_401_without_it() {
    let (server, document) = (Server::start(), document());
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in
            item.as_object().unwrap().iter().filter(|(_name, value)| value["security"].is_array())
        {
            let needs = operation["security"].as_array().unwrap().iter();
            let needs = needs.filter(|need| !need.as_object().unwrap().is_empty()).count() > 0;
            for listener in listeners(&server, item) {
                let answer = listener.exchange(&format!("{} {}", method.to_uppercase(), filled(path)));
                assert_eq!(answer.status == 401, needs, "{answer}");
            }
        }
    }
}

/// All `$ref`s in a document.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|field| references(field, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_public_listener_shows_what_is_not_the_admin_listeners_alone() {
    let server = Server::start();
    let mut whole = shown_by(server.admin);

    let public = shown_by(server.public);

    whole["paths"].as_object_mut().unwrap().retain(|_path, item| listeners(&server, item).contains(&server.public));
    let paths = public["paths"].as_object().unwrap();
    assert!(paths.len() > 10 && public["paths"] == whole["paths"], "{:?}", paths.keys());
    for (kind, parts) in public["components"].as_object().unwrap() {
        for (name, part) in parts.as_object().unwrap() {
            assert_eq!(part, &whole["components"][kind][name], "{kind}/{name}");
        }
    }
    let text = public.to_string();
    for word in ["/admin/v1", "adminToken", "Accounts", "Plans", "Health"] {
        assert!(!text.contains(word), "{word}");
    }
}

#[test]
fn the_document_is_whole_on_both_listeners() {
    let server = Server::start();
    assert_whole(&shown_by(server.admin));
    assert_whole(&shown_by(server.public));
}

fn assert_whole(document: &Value) {
    assert_eq!(document["openapi"], "3.1.1");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let mut used = BTreeSet::new();
    references(document, &mut used);
    for reference in &used {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference} leads nowhere");
    }
    for (kind, parts) in
        document["components"].as_object().unwrap().iter().filter(|(kind, _)| *kind != "securitySchemes")
    {
        for name in parts.as_object().unwrap().keys() {
            assert!(used.contains(&format!("#/components/{kind}/{name}")), "nothing uses {kind}/{name}");
        }
    }
    let tags: Vec<&Value> = document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    let (mut ids, mut used_tags) = (BTreeSet::new(), BTreeSet::new());
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in
            item.as_object().unwrap().iter().filter(|(_name, value)| value["responses"].is_object())
        {
            let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{method} {path} has no operationId"));
            assert!(ids.insert(id), "{id} stands twice");
            assert!(tags.contains(&&operation["tags"][0]), "{id} has no known tag");
            used_tags.insert(operation["tags"][0].as_str().unwrap());
            assert!(operation["summary"].is_string() && operation["security"].is_array(), "{id} says too little");
        }
    }
    assert_eq!(used_tags.len(), tags.len(), "{tags:?}");
}

#[test]
fn the_document_comes_in_the_order_of_its_file() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("data/openapi.yaml");
    let written = fs::read_to_string(file).unwrap();
    let server = Server::start();

    let [served, of_public] = [server.admin, server.public].map(|listener| listener.exchange("GET /openapi.json").body);

    let places =
        |text: &str, marks: &[&str]| -> Vec<usize> { marks.iter().map(|mark| text.find(mark).unwrap()).collect() };
    let (in_file, in_answer) = (
        places(&written, &["\ninfo:", "/links:", "/links/bulk:", "/healthz:", "\ncomponents:"]),
        places(&served, &["\"info\":", "/links\":", "/links/bulk\":", "/healthz\":", "\"components\":"]),
    );
    assert!(in_file.is_sorted() && in_answer.is_sorted(), "{in_answer:?}");
    assert!(places(&of_public, &["\"info\":", "/links\":", "/check\":", "\"components\":"]).is_sorted());
}

#[test]
fn the_reference_is_for_anybody_and_is_not_sent_twice() {
    let server = Server::start();
    for (path, content_type) in [
        ("/openapi.json", "application/json"),
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/page.css", "text/css; charset=utf-8"),
        ("/docs/page.js", "text/javascript; charset=utf-8"),
        ("/docs/icon.svg", "image/svg+xml"),
    ] {
        for listener in [server.public, server.admin] {
            let answer = listener.exchange(&format!("GET {path}"));
            let again = listener.exchange(&format!("GET {path}\nIf-None-Match: {}", answer.header("etag").unwrap()));

            assert_eq!((answer.status, answer.header("content-type")), (200, Some(content_type)));
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
            assert_eq!((again.status, again.body.as_str()), (304, ""));
        }
    }
}

#[test]
fn the_page_may_load_nothing_from_elsewhere_and_run_nothing_inline() {
    let server = Server::start();

    let page = server.public.exchange("GET /docs");

    insta::assert_snapshot!(page.header("content-security-policy").unwrap(), @"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    let script = server.public.exchange("GET /docs/page.js").body;
    for (text, forbidden) in [(&page.body, "style="), (&page.body, "//"), (&script, "innerHTML"), (&script, "http:")] {
        assert!(!text.contains(forbidden), "{forbidden}");
    }
}

#[test]
fn in_front_of_another_api_the_reference_is_for_the_operator_only() {
    let upstream = Upstream::plain();
    let server = upstream.guarded(&[]);

    for path in ["/openapi.json", "/docs"] {
        assert_eq!(server.public.exchange(&format!("GET {path}")).status, 404, "{path}");
        assert_eq!(server.admin.exchange(&format!("GET {path}")).status, 200, "{path}");
    }
    upstream.assert_not_asked();
}
