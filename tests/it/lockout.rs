//! Guessing the admin token, and by which address the guesser is known.

use klinky::config::ServeSettings;

use crate::harness::{ADMIN_TOKEN, Exchange, Server};

fn ask(server: &Server, token: &str, headers: &str) -> Exchange {
    server.admin.exchange(&format!("GET /admin/v1/plans\nAuthorization: Bearer {token}\n{headers}"))
}

/// Guesses ten times, as the client that `headers` speak of.
fn guess_ten_times(server: &Server, headers: &str) {
    for _nth in 0..10 {
        assert_eq!(ask(server, "wrong", headers).status, 401);
    }
}

fn behind_proxies(settings: &mut ServeSettings) {
    settings.trusted_proxies = ["127.0.0.0/8", "10.0.0.0/8"].map(|network| network.parse().unwrap()).to_vec();
}

#[test]
fn ten_wrong_tokens_lock_an_address_out() {
    let server = Server::start();
    guess_ten_times(&server, "");

    let wrong = ask(&server, "wrong", "");
    let right = ask(&server, ADMIN_TOKEN, "");

    assert_eq!(wrong.status, 429);
    insta::assert_snapshot!(right, @r#"
    GET /admin/v1/plans
    Authorization: Bearer <admin token>

    429
    content-type: application/json
    retry-after: 60

    {"detail":"Too many wrong admin tokens from this address. Try again in 60 seconds."}
    "#);
}

#[test]
fn nine_wrong_tokens_do_not() {
    let server = Server::start();
    for _nth in 0..9 {
        ask(&server, "wrong", "");
    }

    assert_eq!(ask(&server, ADMIN_TOKEN, "").status, 200);
}

#[test]
fn a_lock_out_ends_after_a_minute() {
    let server = Server::start();
    guess_ten_times(&server, "");

    server.set_clock("2024-01-15T14:30:59.999Z");
    let last = ask(&server, ADMIN_TOKEN, "");
    server.set_clock("2024-01-15T14:31:00Z");
    let after = ask(&server, ADMIN_TOKEN, "");

    assert_eq!((last.status, last.header("retry-after")), (429, Some("1")));
    assert_eq!(after.status, 200);
}

#[test]
fn a_lock_out_runs_from_the_tenth_guess() {
    let server = Server::start();
    for _nth in 0..9 {
        ask(&server, "wrong", "");
    }
    server.set_clock("2024-01-15T14:30:50Z");
    ask(&server, "wrong", "");

    server.set_clock("2024-01-15T14:31:49Z");
    let within = ask(&server, ADMIN_TOKEN, "");
    server.set_clock("2024-01-15T14:31:50Z");
    let after = ask(&server, ADMIN_TOKEN, "");

    assert_eq!((within.status, after.status), (429, 200));
}

#[test]
fn wrong_tokens_of_another_minute_are_forgotten() {
    let server = Server::start();
    for _nth in 0..9 {
        ask(&server, "wrong", "");
    }

    server.set_clock("2024-01-15T14:31:00Z");
    ask(&server, "wrong", "");

    assert_eq!(ask(&server, ADMIN_TOKEN, "").status, 200);
}

#[test]
fn a_lock_out_does_not_touch_what_needs_no_token() {
    let server = Server::start();
    let account = server.account("growth");
    guess_ten_times(&server, "");

    let statuses = ["/healthz", "/readyz", "/metrics"].map(|path| server.admin.exchange(&format!("GET {path}")).status);

    assert_eq!(statuses, [200; 3]);
    assert_eq!(server.ping(&account.key).status, 200);
}

#[test]
fn a_request_without_a_token_is_no_guess() {
    let server = Server::start();
    for _nth in 0..20 {
        assert_eq!(server.admin.exchange("GET /admin/v1/plans").status, 401);
    }

    assert_eq!(ask(&server, ADMIN_TOKEN, "").status, 200);
}

#[test]
fn an_untrusted_peer_cannot_speak_for_others() {
    let server = Server::start();
    guess_ten_times(&server, "X-Forwarded-For: 203.0.113.1");

    let others = ask(&server, ADMIN_TOKEN, "X-Forwarded-For: 203.0.113.2");

    assert_eq!(others.status, 429, "the peer itself is locked out, whoever it claims to be");
}

#[test]
fn behind_a_trusted_proxy_only_the_guesser_is_locked_out() {
    let server = Server::start_with(behind_proxies);
    guess_ten_times(&server, "X-Forwarded-For: 203.0.113.1");

    let guesser = ask(&server, ADMIN_TOKEN, "X-Forwarded-For: 203.0.113.1");
    let other = ask(&server, ADMIN_TOKEN, "X-Forwarded-For: 203.0.113.2");
    let direct = ask(&server, ADMIN_TOKEN, "");

    assert_eq!((guesser.status, other.status, direct.status), (429, 200, 200));
}

#[test]
fn the_client_is_the_last_address_that_is_no_proxy() {
    let server = Server::start_with(behind_proxies);
    guess_ten_times(&server, "X-Forwarded-For: 203.0.113.1");
    let status = |headers: &str| ask(&server, ADMIN_TOKEN, headers).status;

    // What a client writes stands to the left of what the proxies add.
    for same in [
        "X-Forwarded-For: 198.51.100.7, 203.0.113.1",
        "X-Forwarded-For: 203.0.113.1, 10.0.0.5, 127.0.0.9",
        "X-Forwarded-For: x\nX-Forwarded-For: 203.0.113.1",
        "X-Forwarded-For: 198.51.100.7\nX-Forwarded-For: é, 203.0.113.1",
        "X-Forwarded-For: ,  203.0.113.1",
        "X-Forwarded-For: ::ffff:203.0.113.1",
    ] {
        assert_eq!(status(same), 429, "{same}");
    }
    for another in [
        "X-Forwarded-For: 203.0.113.1, 198.51.100.7",
        "X-Forwarded-For: 203.0.113.1\nX-Forwarded-For: 198.51.100.7",
        "X-Forwarded-For: 203.0.113.1, unknown",
        "X-Forwarded-For: 203.0.113.1, ",
        "X-Forwarded-For: 203.0.113.10",
        "Forwarded: for=203.0.113.1",
        "X-Real-IP: 203.0.113.1",
    ] {
        assert_eq!(status(another), 200, "{another}");
    }
}

#[test]
fn the_address_of_a_public_client_is_not_locked_out_by_wrong_keys() {
    let server = Server::start();
    let account = server.account("growth");
    for _nth in 0..20 {
        server.ping("x");
    }

    assert_eq!(server.ping(&account.key).status, 200);
    assert_eq!(ask(&server, ADMIN_TOKEN, "").status, 200);
}
