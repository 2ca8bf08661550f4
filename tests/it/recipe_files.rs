//! The recipes that cannot run here. Those for Traefik and Envoy are read, and klinky is asked just what their proxies ask
//! with them, header by header, as their documentation and sources say; systemd reads its unit.

use std::fs;
use std::path::Path;
use std::process::Command;

use regex::Regex;
use serde_json::json;
use yaml_rust2::{Yaml, YamlLoader};

use crate::harness::{Account, Exchange, Server};

fn recipe(name: &str) -> Yaml {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/recipes").join(name);
    let mut documents = YamlLoader::load_from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(documents.len(), 1, "{name}");
    documents.remove(0)
}

fn texts(list: &Yaml) -> Vec<String> {
    let texts: Vec<String> = list.as_vec().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect();
    assert!(!texts.is_empty());
    texts
}

/// The options that these use came with those versions, by the changelogs of their projects.
#[test]
fn the_least_version_of_a_proxy_stands_in_its_recipe_and_in_the_readme() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    for (file, version) in
        [("traefik.yml", "Traefik 2.4"), ("envoy.yaml", "Envoy 1.26"), ("haproxy.cfg", "HAProxy 2.6")]
    {
        let text = fs::read_to_string(root.join("data/recipes").join(file)).unwrap();
        assert!(text.lines().next().unwrap().contains(&format!("behind {version} or later")), "{file}");
        let row = readme.lines().find(|line| line.contains(&format!("](data/recipes/{file})"))).unwrap();
        assert!(row.starts_with(&format!("| {version}")), "{row}");
    }
}

/// Headers that a recipe passes on must be there to be passed on.
fn assert_has(answer: &Exchange, names: &[String]) {
    for name in names {
        assert!(answer.header(&name.to_ascii_lowercase()).is_some(), "no {name} in {answer}");
    }
}

/// What Traefik sends: a GET, the listed headers of the client's, and the `X-Forwarded-…` of its own.
fn traefik(server: &Server, method: &str, uri: &str, key: &str) -> Exchange {
    let recipe = recipe("traefik.yml");
    let auth = &recipe["http"]["middlewares"]["klinky"]["forwardAuth"];
    assert!(texts(&auth["authRequestHeaders"]).contains(&"X-API-Key".to_owned()));
    let target = auth["address"].as_str().unwrap().strip_prefix("http://127.0.0.1:8080").unwrap();
    server.public.exchange(&format!(
        "GET {target}\nUser-Agent: Go-http-client/1.1\nX-Api-Key: {key}\nAccept: */*\nX-Forwarded-For: 192.0.2.7\n\
         X-Forwarded-Host: api.example.com\nX-Forwarded-Method: {method}\nX-Forwarded-Proto: https\n\
         X-Forwarded-Uri: {uri}\nAccept-Encoding: gzip"
    ))
}

#[test]
fn what_traefik_asks_is_answered_with_all_that_its_recipe_passes_on() {
    let server = Server::start();
    let account = server.account("growth");

    let allowed = traefik(&server, "POST", "/v1/things?page=2&cost=500", &account.key);
    let denied = traefik(&server, "POST", "/v1/things", "klinky_live_x");

    assert_eq!((allowed.status, allowed.body.as_str(), server.used(&account.id)), (200, "", 1));
    let recipe = recipe("traefik.yml");
    let auth = &recipe["http"]["middlewares"]["klinky"]["forwardAuth"];
    assert_has(&allowed, &texts(&auth["authResponseHeaders"]));
    let named = Regex::new(auth["authResponseHeadersRegex"].as_str().unwrap()).unwrap();
    let mut passed: Vec<&str> = allowed.headers.iter().map(|(name, _value)| name.as_str()).collect();
    passed.retain(|name| named.is_match(name));
    passed.sort_unstable();
    assert_eq!(passed, ["x-klinky-account", "x-klinky-key", "x-klinky-plan"]);
    assert!(["X-Klinky-Account", "X_klinky_account", "X.Klinky~Key"].iter().all(|forged| named.is_match(forged)));
    assert_eq!((denied.status, denied.detail().as_str()), (401, "Invalid API key."));
}

#[test]
fn traefik_says_which_method_is_asked_about() {
    let server = Server::start();
    let account = read_only(&server);

    let statuses = ["GET", "POST"].map(|method| traefik(&server, method, "/v1/things", &account.key).status);

    assert_eq!(statuses, [200, 403]);
}

#[test]
fn traefik_takes_the_key_away_after_klinky_has_seen_it() {
    let recipe = recipe("traefik.yml");
    let http = &recipe["http"];

    assert_eq!(texts(&http["routers"]["api"]["middlewares"]), ["klinky", "without-key"]);
    assert_eq!(http["middlewares"]["without-key"]["headers"]["customRequestHeaders"]["X-API-Key"].as_str(), Some(""));
    assert_eq!(http["services"]["api"]["loadBalancer"]["servers"][0]["url"].as_str(), Some("http://127.0.0.1:9000"));
}

#[test]
fn systemd_knows_every_setting_of_its_unit() {
    let temp = tempfile::tempdir().unwrap();
    let unit = temp.path().join("klinky.service");
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("data/recipes/klinky.service")).unwrap();
    fs::write(&unit, text.replace("/usr/local/bin/klinky", env!("CARGO_BIN_EXE_klinky"))).unwrap();

    let Ok(said) = Command::new("systemd-analyze").arg("verify").arg(&unit).output() else {
        return eprintln!("systemd-analyze is not installed");
    };

    let said = String::from_utf8(said.stderr).unwrap();
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("klinky")).collect();
    assert!(ours.is_empty(), "{ours:#?}");
}

/// The filters of Envoy's recipe and its route table.
fn envoy() -> Yaml {
    let recipe = recipe("envoy.yaml");
    recipe["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"].clone()
}

fn ext_authz() -> Yaml {
    let http = envoy();
    let filters = http["http_filters"].as_vec().unwrap();
    filters.iter().find(|filter| filter["name"].as_str() == Some("envoy.filters.http.ext_authz")).unwrap()
        ["typed_config"]
        .clone()
}

fn patterns(list: &Yaml) -> Vec<String> {
    list["patterns"].as_vec().unwrap().iter().map(|pattern| pattern["exact"].as_str().unwrap().to_owned()).collect()
}

/// What Envoy sends: the client's own method, its path and query behind the prefix, its `Host`, the listed headers
/// of its, an empty body.
fn ask_as_envoy(server: &Server, method: &str, uri: &str, key: &str) -> Exchange {
    let filter = ext_authz();
    assert!(patterns(&filter["allowed_headers"]).contains(&"x-api-key".to_owned()));
    let prefix = filter["http_service"]["path_prefix"].as_str().unwrap();
    let raw = format!(
        "{method} {prefix}{uri} HTTP/1.1\r\nhost: api.example.com\r\ncontent-length: 0\r\nx-api-key: {key}\r\n\
         accept: */*\r\nx-envoy-internal: true\r\nx-forwarded-for: 10.0.0.1\r\nx-envoy-expected-rq-timeout-ms: 5000\r\n\r\n"
    );
    server.public.exchange_raw(&format!("{method} {prefix}{uri}"), raw.as_bytes())
}

#[test]
fn what_envoy_asks_is_answered_with_all_that_its_recipe_passes_on() {
    let server = Server::start();
    let account = server.account("growth");
    let response = &ext_authz()["http_service"]["authorization_response"];

    let allowed = ask_as_envoy(&server, "POST", "/v1/things?page=2", &account.key);
    server.admin_ok("PUT", &format!("/accounts/{}/rate-limit", account.id), &json!({"used": 100}));
    let denied = ask_as_envoy(&server, "POST", "/v1/things", &account.key);
    let unknown = ask_as_envoy(&server, "GET", "/", "klinky_live_x");

    assert_eq!((allowed.status, allowed.body.as_str(), allowed.remaining()), (200, "", 99));
    assert_has(&allowed, &patterns(&response["allowed_upstream_headers"]));
    assert_has(&allowed, &patterns(&response["allowed_client_headers_on_success"]));
    assert_eq!((denied.status, denied.detail().as_str()), (429, "Rate limit exceeded. Please try again later."));
    let to_client = patterns(&response["allowed_client_headers"]);
    let but_for_401: Vec<String> = to_client.iter().filter(|name| *name != "www-authenticate").cloned().collect();
    assert_has(&denied, &but_for_401);
    assert_eq!((unknown.status, unknown.detail().as_str()), (401, "Invalid API key."));
    assert!(unknown.header("www-authenticate").is_some() && to_client.contains(&"www-authenticate".to_owned()));
}

#[test]
fn envoy_asks_with_the_method_itself() {
    let server = Server::start();
    let account = read_only(&server);

    let statuses = ["GET", "HEAD", "POST", "DELETE"]
        .map(|method| ask_as_envoy(&server, method, "/v1/things", &account.key).status);

    assert_eq!(statuses, [200, 200, 403, 403]);
}

#[test]
fn envoys_recipe_drops_what_clients_say_of_themselves_and_is_closed() {
    let http = envoy();
    let first = &http["http_filters"][0];
    let removed = first["typed_config"]["mutations"]["request_mutations"].as_vec().unwrap();
    let removed: Vec<String> = removed.iter().map(|one| one["remove"].as_str().unwrap().to_owned()).collect();

    assert_eq!(first["name"].as_str(), Some("envoy.filters.http.header_mutation"));
    let upstream = patterns(&ext_authz()["http_service"]["authorization_response"]["allowed_upstream_headers"]);
    assert_eq!(removed, upstream);
    assert_eq!(ext_authz()["failure_mode_allow"].as_bool(), Some(false));
    assert_eq!(texts(&http["route_config"]["request_headers_to_remove"]), ["x-api-key"]);
    let on_success = &ext_authz()["http_service"]["authorization_response"]["allowed_client_headers_on_success"];
    assert_eq!(texts(&http["route_config"]["response_headers_to_remove"]), patterns(on_success));
}

fn read_only(server: &Server) -> Account {
    let account = server.account("growth");
    server.admin_ok("PATCH", &format!("/keys/{}", account.key_id), &json!({"scope": "read_only"}));
    account
}
