//! `GET /{slug}`: who is sent where on, with what, and which of it is a click.

use serde_json::{Value, json};

use crate::harness::{Account, Exchange, Server};

/// What a common browser says of itself.
pub(crate) const BROWSER: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36";

/// A server with an account, its links, and what their visitors do.
pub(crate) struct Site {
    pub(crate) server: Server,
    pub(crate) account: Account,
}

impl Site {
    pub(crate) fn start() -> Self {
        Self::of(Server::start())
    }

    pub(crate) fn of(server: Server) -> Self {
        let account = server.account("scale");
        Self { server, account }
    }

    /// A request of the account's. The path is below `/api/v1/public`.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> Exchange {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let key = &self.account.key;
        self.server.public.exchange(&format!("{method} /api/v1/public{path}\nX-API-Key: {key}\n\n{body}"))
    }

    /// The same, which must succeed.
    pub(crate) fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, &Value::Null);
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()
    }

    /// Creates a link. Answers its id.
    pub(crate) fn link(&self, fields: &Value) -> String {
        let answer = self.ask("POST", "/links", fields);
        assert_eq!(answer.status, 201, "{answer}");
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Creates a link with the slug `promo` and variants of these weights, labelled `a`, `b`, …
    pub(crate) fn promo(&self, weights: &[u32], fields: &Value) -> String {
        let mut all = json!({"name": "Promo", "slug": "promo", "variants": variants(weights)});
        all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        self.link(&all)
    }

    pub(crate) fn update(&self, id: &str, fields: &Value) {
        let answer = self.ask("PUT", &format!("/links/{id}"), fields);
        assert_eq!(answer.status, 200, "{answer}");
    }

    /// A visit with a browser that knows nothing yet.
    pub(crate) fn visit(&self) -> Exchange {
        self.visit_with("")
    }

    /// A visit with a browser and these header lines.
    pub(crate) fn visit_with(&self, headers: &str) -> Exchange {
        self.server.public.exchange(&format!("GET /promo\nUser-Agent: {BROWSER}\n{headers}"))
    }

    /// A visit with the cookie of an earlier answer.
    pub(crate) fn again(&self, earlier: &Exchange) -> Exchange {
        self.visit_with(&format!("Cookie: {}", cookie(earlier)))
    }

    /// The clicks that a link has according to its list, its view, its stats, which must agree.
    pub(crate) fn clicks(&self, id: &str) -> u64 {
        let listed = self.get(&format!("/links/{id}/clicks"))["total"].as_u64().unwrap();
        assert_eq!(self.get(&format!("/links/{id}"))["click_count"], listed);
        assert_eq!(self.get(&format!("/links/{id}/stats"))["clicks"], listed);
        listed
    }
}

/// Variants of these weights, labelled `a`, `b`, …, that lead to `https://a.example/`, ….
pub(crate) fn variants(weights: &[u32]) -> Value {
    let labels = ["a", "b", "c", "d", "e"].iter().zip(weights);
    labels
        .map(|(label, weight)| {
            json!({"label": label, "destination_url": format!("https://{label}.example/"), "weight": weight})
        })
        .collect()
}

/// The cookie that an answer sets, without its attributes.
pub(crate) fn cookie(answer: &Exchange) -> String {
    let line = answer.header("set-cookie").unwrap_or_else(|| panic!("no cookie in {answer}"));
    line.split(';').next().unwrap().to_owned()
}

/// The label of the variant that an answer leads to.
pub(crate) fn led_to(answer: &Exchange) -> &str {
    assert_eq!(answer.status, 302, "{answer}");
    answer.header("location").unwrap().trim_start_matches("https://").split('.').next().unwrap()
}

#[test]
fn a_visitor_is_sent_on_with_a_cookie_and_is_a_click_at_once() {
    let site = Site::start();
    let id = site.promo(&[100], &json!({}));

    let visit = site.visit();

    insta::assert_snapshot!(visit, @"
    GET /promo
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36

    302
    cache-control: private, no-store
    location: https://a.example/
    set-cookie: k_<link>=<visitor>.e8b7be43.1705329000.<signature>; Path=/; Max-Age=7776000; HttpOnly; SameSite=Lax
    ");
    assert_eq!(site.clicks(&id), 1);
}

#[test]
fn the_cookie_goes_along_from_other_sites_where_the_public_url_is_https() {
    let site = Site::of(Server::start_with(|settings| {
        settings.links.public_url = Some("https://klnk.example".to_owned());
    }));
    site.promo(&[100], &json!({}));

    let visit = site.visit();

    let attributes = visit.header("set-cookie").unwrap().split_once("; ").unwrap().1;
    assert_eq!(attributes, "Path=/; Max-Age=7776000; HttpOnly; SameSite=None; Secure");
}

#[test]
fn head_is_answered_and_is_no_visit() {
    let site = Site::start();
    let id = site.promo(&[100], &json!({}));

    let head = site.server.public.exchange(&format!("HEAD /promo\nUser-Agent: {BROWSER}"));

    insta::assert_snapshot!(head, @"
    HEAD /promo
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36

    302
    cache-control: private, no-store
    location: https://a.example/
    ");
    assert_eq!(site.clicks(&id), 0);
}

#[test]
fn a_redirect_takes_get_and_head_only() {
    let site = Site::start();
    site.promo(&[100], &json!({}));

    let post = site.server.public.exchange("POST /promo\n\nx");

    insta::assert_snapshot!(post, @r#"
    POST /promo

    x

    405
    allow: GET, HEAD
    cache-control: private, no-store
    content-type: application/json

    {"detail":"Method not allowed. Allowed: GET, HEAD."}
    "#);
}

#[test]
fn a_link_that_never_was_is_not_found() {
    let site = Site::start();
    site.promo(&[100], &json!({}));

    let unknown = site.server.public.exchange("GET /promo2");

    insta::assert_snapshot!(unknown, @r#"
    GET /promo2

    404
    cache-control: private, no-store
    content-type: application/json

    {"detail":"No such link."}
    "#);
    for path in ["/PROMO", "/pr", "/promo/", "/pr%C3%B6mo", "/healthz", "/favicon.ico", "/promo%00", "/"] {
        assert_eq!(site.server.public.exchange(&format!("GET {path}")).status, 404, "{path}");
    }
}

#[test]
fn a_deleted_link_is_gone() {
    let site = Site::start();
    let id = site.promo(&[100], &json!({}));
    site.visit();
    assert_eq!(site.ask("DELETE", &format!("/links/{id}"), &Value::Null).status, 204);

    let visit = site.visit();

    insta::assert_snapshot!(visit, @r#"
    GET /promo
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36

    410
    cache-control: private, no-store
    content-type: application/json

    {"detail":"This link leads nowhere any more."}
    "#);
    assert_eq!(site.get(&format!("/links/{id}/clicks"))["total"], 1);
}

#[test]
fn an_inactive_link_is_gone_until_it_is_active_again() {
    let site = Site::start();
    let id = site.promo(&[100], &json!({}));

    site.update(&id, &json!({"is_active": false}));
    let while_inactive = site.visit().status;
    site.update(&id, &json!({"is_active": true}));

    assert_eq!((while_inactive, site.visit().status), (410, 302));
}

#[test]
fn a_link_is_gone_from_the_instant_at_which_it_expires() {
    let site = Site::start();
    site.promo(&[100], &json!({"expires_at": "2024-01-15T15:00:00Z"}));

    site.server.set_clock("2024-01-15T14:59:59.999Z");
    let before = site.visit().status;
    site.server.set_clock("2024-01-15T15:00:00Z");

    assert_eq!((before, site.visit().status), (302, 410));
}

#[test]
fn the_links_of_a_deleted_account_lead_nowhere() {
    let site = Site::start();
    site.promo(&[100], &json!({}));

    site.server.admin_ok("DELETE", &format!("/accounts/{}", site.account.id), &Value::Null);

    assert_eq!(site.visit().status, 404);
}

#[test]
fn redirects_are_neither_limited_nor_counted() {
    let site = Site::start();
    site.promo(&[100], &json!({}));
    let path = format!("/accounts/{}/rate-limit", site.account.id);
    site.server.admin_ok("PUT", &path, &json!({"used": 1000}));

    let visits: Vec<Exchange> = (0..20).map(|_| site.visit()).collect();

    for visit in visits {
        assert_eq!((visit.status, visit.header("x-ratelimit-limit")), (302, None));
    }
    assert_eq!(site.server.used(&site.account.id), 1000);
}

#[test]
fn bots_are_sent_on_but_are_no_clicks() {
    let site = Site::start();
    let id = site.promo(&[100], &json!({}));
    let bots = [
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
        "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        "Twitterbot/1.0",
        "WhatsApp/2.23.20.0 A",
        "curl/8.5.0",
        "Wget/1.21.4",
        "python-requests/2.31.0",
        "Go-http-client/1.1",
    ];

    for bot in bots {
        let visit = site.server.public.exchange(&format!("GET /promo\nUser-Agent: {bot}"));

        assert_eq!((visit.status, visit.header("set-cookie")), (302, None), "{bot}");
    }
    assert_eq!(site.clicks(&id), 0);
}

#[test]
fn who_comes_again_within_30_minutes_is_no_second_click() {
    let site = Site::start();
    let id = site.promo(&[100], &json!({}));
    let first = site.visit();

    site.server.set_clock("2024-01-15T14:59:59Z");
    site.again(&first);
    let within = site.clicks(&id);
    site.server.set_clock("2024-01-15T15:00:00Z");
    site.again(&first);

    assert_eq!((within, site.clicks(&id)), (1, 2));
}

#[test]
fn each_visit_prolongs_the_session() {
    let site = Site::start();
    let id = site.promo(&[100], &json!({}));
    let first = site.visit();
    site.server.set_clock("2024-01-15T14:59:00Z");
    let second = site.again(&first);

    site.server.set_clock("2024-01-15T15:28:00Z");
    site.again(&second);

    assert_eq!(site.clicks(&id), 1);
}

#[test]
fn what_is_no_cookie_of_ours_is_no_cookie() {
    let site = Site::start();
    let id = site.promo(&[100], &json!({}));
    let genuine = cookie(&site.visit());
    let (name, value) = genuine.split_once('=').unwrap();
    let parts: Vec<&str> = value.split('.').collect();
    let (visitor, label, secs) = (parts[0], parts[1], parts[2]);
    let garbage = [
        format!("{name}="),
        format!("{name}=x"),
        format!("{name}={visitor}"),
        format!("{name}={visitor}.{label}"),
        format!("{name}={visitor}.{label}."),
        format!("{name}={visitor}.{label}.{secs}.{secs}"),
        format!("{name}={}.{label}.{secs}", &visitor[1..]),
        format!("{name}={visitor}.{label}.99999999999999999999"),
        format!("{name}={visitor}.zz.{secs}"),
        format!("{name}={visitor}.{label}.9223372036854775807"),
        format!("{name}={visitor}.{label}.-9223372036854775808"),
        format!("k_00000000={value}"),
        "=;;=; =".to_owned(),
        "\u{e9}".to_owned(),
    ];

    for cookie in &garbage {
        assert_eq!(site.visit_with(&format!("Cookie: {cookie}")).status, 302, "{cookie}");
    }

    assert_eq!(site.clicks(&id), 1 + u64::try_from(garbage.len()).unwrap());
}

#[test]
fn the_cookie_is_found_among_others() {
    let site = Site::start();
    let id = site.promo(&[100], &json!({}));
    let genuine = cookie(&site.visit());

    site.visit_with(&format!("Cookie: a=b; {genuine}; c"));
    site.visit_with(&format!("Cookie: a=b\nCookie: {genuine}"));

    assert_eq!(site.clicks(&id), 1);
}
