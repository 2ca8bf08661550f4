//! Idempotency where it matters: a link is created once, whoever asks again and however.

use std::io::Write;
use std::sync::Barrier;

use serde_json::json;

use crate::harness::{Account, Exchange, Server};
use crate::process::wait_until;

fn create(server: &Server, account: &Account, key: &str) -> Exchange {
    let body = json!({"name": "Spring", "destination_url": "https://example.com"});
    server
        .public
        .exchange(&format!("POST /api/v1/public/links\nX-API-Key: {}\nIdempotency-Key: {key}\n\n{body}", account.key))
}

/// How many links the account has; to ask uses no quota.
fn total(server: &Server, account: &Account) -> u64 {
    let session = server.token(&account.id);
    let list = server.public.exchange(&format!("GET /api/v1/public/account/links\nAuthorization: Bearer {session}"));
    list.json()["total"].as_u64().unwrap()
}

#[test]
fn a_repeated_create_is_answered_with_the_same_link_also_after_a_restart() {
    let server = Server::start();
    let account = server.account("growth");
    let first = create(&server, &account, "spring");

    let again = create(&server, &account, "spring");
    let server = server.restart();
    let later = create(&server, &account, "spring");

    assert_eq!([first.status, again.status, later.status], [201, 201, 201]);
    assert_eq!([&again.body, &later.body], [&first.body, &first.body]);
    assert_eq!(first.header("idempotent-replayed"), None);
    assert_eq!([&again, &later].map(|answer| answer.header("idempotent-replayed")), [Some("true"), Some("true")]);
    assert_eq!([first.remaining(), again.remaining(), later.remaining()], [99, 98, 97]);
    assert_eq!(total(&server, &account), 1);
}

#[test]
fn of_racing_creates_with_one_key_one_makes_a_link() {
    let server = Server::start();
    let account = server.account("scale");
    for round in 0..10 {
        let barrier = Barrier::new(8);
        let answers: Vec<Exchange> = std::thread::scope(|scope| {
            let race = || {
                barrier.wait();
                create(&server, &account, &format!("round-{round}"))
            };
            let racers: Vec<_> = (0..8).map(|_| scope.spawn(race)).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });

        let made = |answer: &&Exchange| answer.status == 201 && answer.header("idempotent-replayed").is_none();
        assert_eq!(answers.iter().filter(made).count(), 1);
        assert!(answers.iter().all(|answer| [201, 409].contains(&answer.status)));
        assert_eq!(total(&server, &account), round + 1);
    }
}

#[test]
fn a_client_that_goes_away_after_it_asked_finds_its_link_when_it_asks_again() {
    let server = Server::start();
    let account = server.account("growth");
    let body = json!({"name": "Spring", "destination_url": "https://example.com"}).to_string();
    let head = format!(
        "POST /api/v1/public/links HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\nIdempotency-Key: k\r\n",
        account.key
    );
    let mut stream = server.public.connect();
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();

    drop(stream);
    wait_until("the link is made", || total(&server, &account) > 0);

    let mut again = create(&server, &account, "k");
    wait_until("the first request ends", || {
        if again.status == 409 {
            again = create(&server, &account, "k");
        }
        again.status != 409
    });
    assert_eq!((again.status, again.header("idempotent-replayed")), (201, Some("true")));
    assert_eq!(total(&server, &account), 1);
}

#[test]
fn a_repeated_bulk_costs_its_links_again_and_creates_none() {
    let server = Server::start();
    let account = server.account("growth");
    let body = json!({"links": [{"name": "a", "destination_url": "https://a.example"}, {"name": "b", "destination_url": "https://b.example"}]});
    let ask = || {
        let head = format!("POST /api/v1/public/links/bulk\nX-API-Key: {}\nIdempotency-Key: k", account.key);
        server.public.exchange(&format!("{head}\n\n{body}"))
    };

    let (first, again) = (ask(), ask());

    assert_eq!((first.remaining(), again.remaining()), (98, 96));
    assert_eq!(first.body, again.body);
    assert_eq!(total(&server, &account), 2);
}

#[test]
fn a_fault_that_repeats_a_long_text_is_short_and_kept() {
    let server = Server::start();
    let account = server.account("scale");
    let long = "\u{fc}".repeat(200_000);
    for (key, body) in
        [("a", json!({"variants": long})), ("b", json!({"name": "x", "geo_rules": {long.as_str(): "a"}}))]
    {
        let request =
            format!("POST /api/v1/public/links\nX-API-Key: {}\nIdempotency-Key: {key}\n\n{body}", account.key);
        let (first, again) = (server.public.exchange(&request), server.public.exchange(&request));

        assert_eq!((first.status, again.status), (422, 422));
        let detail = first.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.chars().count() <= 501, "{} characters", detail.chars().count());
        assert_eq!(
            (again.json()["detail"].as_str(), again.header("idempotent-replayed")),
            (Some(&*detail), Some("true"))
        );
    }
}
