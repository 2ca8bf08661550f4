//! Heads through the gateway: what stays on its side of it, what is added, what is refused.

use crate::harness::{Account, Exchange, Server};
use crate::upstream::{Asked, Upstream};

/// A server in front of an upstream, and an account.
fn start() -> (Upstream, Server, Account) {
    let upstream = Upstream::plain();
    let server = upstream.guarded(&[]);
    let account = server.account("growth");
    (upstream, server, account)
}

fn ask(server: &Server, account: &Account, headers: &str) -> Exchange {
    server.public.exchange(&format!("GET /v1/x\nX-API-Key: {}\n{headers}", account.key))
}

fn passed(upstream: &Upstream, server: &Server, account: &Account, headers: &str) -> Asked {
    let answer = ask(server, account, headers);
    assert_eq!(answer.status, 200, "{answer}");
    upstream.asked()
}

#[test]
fn headers_of_the_clients_connection_stay_here() {
    let (upstream, server, account) = start();

    let asked = passed(
        &upstream,
        &server,
        &account,
        "Connection: X-Hop, keep-alive\nX-Hop: 1\nX-End: 2\nKeep-Alive: timeout=5\nProxy-Connection: x\nTE: trailers\n\
         Upgrade: h2c\nHTTP2-Settings: x\nAuthorization: Bearer t\nCookie: a=1",
    );

    for name in ["x-hop", "keep-alive", "proxy-connection", "te", "upgrade", "http2-settings", "connection"] {
        assert_eq!(asked.header(name), None, "{asked:?}");
    }
    assert_eq!(asked.header("x-end"), Some("2"));
    assert_eq!(asked.header("authorization"), Some("Bearer t"));
    assert_eq!(asked.header("cookie"), Some("a=1"));
}

#[test]
fn a_connection_header_cannot_take_away_what_we_say() {
    let (upstream, server, account) = start();

    let asked = passed(&upstream, &server, &account, "Connection: X-Klinky-Account, X-Forwarded-For, Host, Via");

    assert_eq!(asked.header("x-klinky-account"), Some(account.id.as_str()));
    assert_eq!(asked.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(asked.header("via"), Some("1.1 klinky"));
    assert!(asked.header("host").is_some());
}

#[test]
fn headers_of_the_upstreams_connection_stay_there() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
         Upgrade: h2c\r\nTrailer: x\r\nProxy-Connection: x\r\n\r\nok",
    );
    let server = upstream.guarded(&[]);
    let account = server.account("growth");

    let answer = ask(&server, &account, "");

    for name in ["x-hop", "keep-alive", "upgrade", "trailer", "proxy-connection"] {
        assert_eq!(answer.header(name), None, "{answer}");
    }
    assert_eq!(answer.body, "ok");
}

#[test]
fn a_header_that_the_clients_connection_names_is_dropped_by_that_name_alone() {
    let (upstream, server, account) = start();

    let asked = passed(&upstream, &server, &account, "Connection: X_Hop\nX_Hop: 1\nX-Hop: 2\nKeep_Alive: 3");

    assert_eq!((asked.header("x_hop"), asked.header("x-hop")), (None, Some("2")));
    assert_eq!(asked.header("keep_alive"), None);
}

#[test]
fn lines_of_vary_arrive_all() {
    let upstream =
        Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nVary: Accept-Encoding\r\nVary: Cookie\r\n\r\nok");
    let gateway = upstream.settings(&[]);
    for origins in [vec![], vec!["https://app.example.com".to_owned()]] {
        let (gateway, has_cors) = (gateway.clone(), !origins.is_empty());
        let server = Server::start_with(move |settings| {
            settings.gateway = Some(gateway.clone());
            settings.cors_origins.clone_from(&origins);
        });
        let account = server.account("growth");

        let answer = ask(&server, &account, "Origin: https://app.example.com");

        let vary = answer.header("vary").unwrap();
        assert!(vary.contains("Accept-Encoding") && vary.contains("Cookie"), "{answer}");
        assert_eq!(vary.contains("Origin"), has_cors, "{answer}");
    }
}

#[test]
fn a_client_cannot_say_who_it_is() {
    let (upstream, server, account) = start();

    let asked = passed(
        &upstream,
        &server,
        &account,
        "X-Klinky-Account: root\nX_Klinky_Account: root\nx-klinky_plan: scale\nX-Klinky-Other: x\nX_API_Key: x\n\
         X.Klinky.Account: root\nX~Klinky|Plan: scale\nX.API.Key: x\nX-Original-URL: /admin\nX-Rewrite-URL: /admin\nX_Custom: kept",
    );

    let about_us: Vec<_> = asked.headers.iter().filter(|(name, _value)| name.contains("klinky")).collect();
    assert_eq!(about_us.len(), 3, "{asked:?}");
    assert_eq!(asked.header("x-klinky-account"), Some(account.id.as_str()));
    for name in ["x_api_key", "x.api.key", "x-original-url", "x-rewrite-url"] {
        assert_eq!(asked.header(name), None, "{asked:?}");
    }
    assert_eq!(asked.header("x_custom"), Some("kept"));
}

#[test]
fn what_a_stranger_says_of_forwarding_is_replaced() {
    let (upstream, server, account) = start();

    let asked = passed(
        &upstream,
        &server,
        &account,
        "X-Forwarded-For: 9.9.9.9\nX_Forwarded_For: 9.9.9.9\nX-Forwarded-Proto: https\nX-Forwarded-Host: evil\n\
         X-Forwarded-Prefix: /x\nForwarded: for=9.9.9.9\nX-Real-IP: 9.9.9.9\nVia: 1.0 other",
    );

    assert_eq!(asked.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(asked.header("x-forwarded-proto"), Some("http"));
    assert_eq!(asked.header("x-forwarded-host"), Some(server.public.0.to_string().as_str()));
    assert_eq!(asked.values("via"), ["1.0 other", "1.1 klinky"]);
    for name in ["x_forwarded_for", "x-forwarded-prefix", "forwarded", "x-real-ip"] {
        assert_eq!(asked.header(name), None, "{asked:?}");
    }
}

#[test]
fn what_a_trusted_proxy_says_of_forwarding_is_added_to() {
    let upstream = Upstream::plain();
    let gateway = upstream.settings(&[]);
    let server = Server::start_with(move |settings| {
        settings.gateway = Some(gateway.clone());
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    });
    let account = server.account("growth");

    let asked = passed(
        &upstream,
        &server,
        &account,
        "X-Forwarded-For: 9.9.9.9\nX-Forwarded-For: 10.0.0.1\nX-Forwarded-Proto: https\nX-Forwarded-Host: api.example\n\
         Forwarded: for=9.9.9.9\nX_Forwarded_For: 8.8.8.8\nX.Real.IP: 8.8.8.8",
    );

    assert_eq!(asked.header("x-forwarded-for"), Some("9.9.9.9, 10.0.0.1, 127.0.0.1"));
    assert_eq!(asked.header("x-forwarded-proto"), Some("https"));
    assert_eq!(asked.header("x-forwarded-host"), Some("api.example"));
    assert_eq!(asked.header("forwarded"), Some("for=9.9.9.9"));
    // A proxy spells its headers with hyphens; what looks alike to the upstream is its client's.
    assert_eq!([asked.header("x_forwarded_for"), asked.header("x.real.ip")], [None, None]);
}

#[test]
fn what_cannot_be_passed_on_is_refused_and_not_counted() {
    let (upstream, server, account) = start();

    for (headers, status, word) in [
        ("Connection: Upgrade\nUpgrade: websocket", 501, "Upgrades"),
        ("Connection: Upgrade\nUpgrade: h2c, foo/2", 501, "Upgrades"),
        ("Trailer: X-Sum", 501, "Trailers"),
        ("Expect: the-impossible", 417, "100-continue"),
        ("X-HTTP-Method-Override: DELETE", 400, "x-http-method-override"),
        ("X_HTTP_Method_Override: DELETE", 400, "x_http_method_override"),
        ("X-HTTP-Method: DELETE", 400, "x-http-method"),
    ] {
        let answer = ask(&server, &account, headers);
        assert_eq!(answer.status, status, "{answer}");
        assert!(answer.detail().contains(word), "{answer}");
    }
    for method in ["TRACE", "CONNECT"] {
        let answer = server.public.exchange(&format!("{method} /v1/x\nX-API-Key: {}", account.key));
        assert!([400, 501].contains(&answer.status), "{answer}");
    }
    upstream.assert_not_asked();
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn a_head_over_its_bounds_is_refused() {
    let (upstream, server, account) = start();

    assert_eq!(ask(&server, &account, &format!("X-Long: {}", "x".repeat(17 * 1024))).status, 431);
    let long = format!("GET /v1/{}\nX-API-Key: {}", "x".repeat(9 * 1024), account.key);
    assert_eq!(server.public.exchange(&long).status, 414);
    upstream.assert_not_asked();
}

#[test]
fn an_options_request_that_may_go_no_further_is_answered_here() {
    let (upstream, server, account) = start();
    let request = format!("OPTIONS /v1/x\nX-API-Key: {}\nMax-Forwards: 0", account.key);

    let answer = server.public.exchange(&request);

    assert_eq!((answer.status, answer.body.as_str(), answer.remaining()), (204, "", 99), "{answer}");
    assert_eq!(server.public.exchange("OPTIONS /v1/x\nMax-Forwards: 0").status, 401);
    upstream.assert_not_asked();
    assert_eq!(server.used(&account.id), 1);
}

#[test]
fn what_is_left_of_max_forwards_is_counted_down_for_options_alone() {
    let (upstream, server, account) = start();
    let ask = |method: &str, lines: &str| {
        let answer = server.public.exchange(&format!("{method} /v1/x\nX-API-Key: {}\n{lines}", account.key));
        assert_eq!(answer.status, 200, "{answer}");
        upstream.asked().values("max-forwards").join("|")
    };

    assert_eq!(ask("OPTIONS", "Max-Forwards: 1"), "0");
    assert_eq!(ask("OPTIONS", "Max-Forwards: 010"), "9");
    assert_eq!(ask("OPTIONS", "Max-Forwards: 99999999999999999999"), (u64::MAX - 1).to_string());
    for bad in ["-1", "+0", "1, 2", "x", "0x0"] {
        assert_eq!(ask("OPTIONS", &format!("Max-Forwards: {bad}")), bad);
    }
    assert_eq!(ask("OPTIONS", "Max-Forwards: 0\nMax-Forwards: 0"), "0|0");
    assert_eq!(ask("GET", "Max-Forwards: 0"), "0");
}
