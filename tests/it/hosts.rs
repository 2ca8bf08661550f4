//! The host that a client asks for, which short URLs begin with.

use crate::harness::{Exchange, Listener};
use crate::links::Holder;

/// Asks for a link with these lines of `Host`.
fn ask(holder: &Holder, path: &str, hosts: &str) -> Exchange {
    let raw = format!(
        "GET /api/v1/public/links{path} HTTP/1.1\r\n{hosts}X-API-Key: {}\r\nConnection: close\r\n\r\n",
        holder.account.key
    );
    holder.server.public.exchange_raw("GET with a Host", raw.as_bytes())
}

#[test]
fn a_short_url_begins_with_the_host_that_was_asked() {
    let holder = Holder::on("growth");
    let path = holder.link("spring");

    for host in ["links.example", "LINKS.example:8080", "my_proxy", "192.0.2.7:80", "[2001:db8::1]:8080"] {
        let link = ask(&holder, &path, &format!("Host: {host}\r\n")).json();
        assert_eq!(link["short_url"], format!("http://{host}/spring"));
    }
}

#[test]
fn a_host_that_is_none_is_refused_and_counts_nothing() {
    let holder = Holder::on("growth");
    let path = holder.link("spring");
    let before = holder.server.used(&holder.account.id);

    for hosts in [
        "Host: a/b\r\n",
        "Host: evil.example?\r\n",
        "Host: u@a\r\n",
        "Host: a\"><script>\r\n",
        "Host: a b\r\n",
        "Host: a:99999\r\n",
        "Host: [::1\r\n",
        "Host: caf\u{e9}\r\n",
    ] {
        let answer = ask(&holder, &path, hosts);
        assert_eq!(answer.status, 400, "{hosts}{answer}");
        assert_eq!(answer.detail(), "Host: must be a name or an address, with or without a port.");
    }
    assert_eq!(holder.server.used(&holder.account.id), before);
}

#[test]
fn without_a_host_a_short_url_begins_with_where_the_server_listens() {
    let holder = Holder::on("growth");
    let path = holder.link("spring");
    let Listener(address) = holder.server.public;

    for end in ["1.0", "1.1\r\nHost:", "1.0\r\nHost: "] {
        let raw = format!("GET /api/v1/public/links{path} HTTP/{end}\r\nX-API-Key: {}\r\n\r\n", holder.account.key);
        let link = holder.server.public.exchange_raw("GET without a Host", raw.as_bytes()).json();
        assert_eq!(link["short_url"], format!("http://{address}/spring"));
    }
}

#[test]
fn the_operators_listener_refuses_a_host_that_is_none_as_well() {
    let holder = Holder::on("growth");

    let answer = holder.server.admin.exchange_raw("GET /healthz", b"GET /healthz HTTP/1.1\r\nHost: a/b\r\n\r\n");

    assert_eq!(answer.status, 400, "{answer}");
}
