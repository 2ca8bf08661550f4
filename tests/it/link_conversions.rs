//! `/c/{link id}`: who counts as converted; and the auto-winner, which acts on it.

use serde_json::{Value, json};

use crate::harness::Exchange;
use crate::link_redirects::{Site, cookie, led_to};

fn tracked(site: &Site, weights: &[u32]) -> String {
    site.promo(weights, &json!({"enable_conversion_tracking": true}))
}

fn pixel(site: &Site, id: &str, cookie: &str) -> Exchange {
    site.server.public.exchange(&format!("GET /c/{id}\nCookie: {cookie}"))
}

fn conversions(site: &Site, id: &str) -> u64 {
    site.get(&format!("/links/{id}/stats"))["conversions"].as_u64().unwrap()
}

#[test]
fn the_pixel_is_a_transparent_gif_and_counts_the_visitor() {
    let site = Site::start();
    let id = tracked(&site, &[100]);
    let visitor = cookie(&site.visit());

    let mut stream = site.server.public.connect();
    let request = format!("GET /c/{id} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: {visitor}\r\n\r\n");
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut answer).unwrap();

    let head_bytes = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8(answer[..head_bytes].to_vec()).unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
    assert!(head.contains("content-type: image/gif\r\n") && head.contains("cache-control: private, no-store\r\n"));
    assert_eq!(answer[head_bytes..], *PIXEL);
    assert_eq!(conversions(&site, &id), 1);
}

/// As it has gone round the web for decades: `GIF89a`, 1 by 1, two colours, the first of them transparent.
const PIXEL: &[u8] = &[
    0x47, 0x49, 0x46, 0x38, 0x39, 0x61, 1, 0, 1, 0, 0x80, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x21, 0xf9, 4, 1, 0, 0, 0,
    0, 0x2c, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 1, 0x44, 0, 0x3b,
];

#[test]
fn a_conversion_can_be_posted() {
    let site = Site::start();
    let id = tracked(&site, &[100]);
    let visitor = cookie(&site.visit());

    let posted = site.server.public.exchange(&format!("POST /c/{id}\nCookie: {visitor}"));

    assert_eq!((posted.status, posted.body.as_str(), conversions(&site, &id)), (204, "", 1));
}

#[test]
fn a_visitor_converts_once() {
    let site = Site::start();
    let id = tracked(&site, &[100]);
    let first = site.visit();
    conversion_status(&site, &id, &cookie(&first));

    site.server.set_clock("2024-01-17T00:00:00Z");
    let second = site.again(&first);
    conversion_status(&site, &id, &cookie(&second));
    let site = Site { server: site.server.restart(), account: site.account };
    conversion_status(&site, &id, &cookie(&second));

    assert_eq!((conversions(&site, &id), site.clicks(&id)), (1, 2));
}

#[test]
fn a_visitor_who_converts_many_times_at_once_counts_once() {
    let site = Site::start();
    let id = tracked(&site, &[100]);
    let visitors: Vec<String> = (0..4).map(|_| cookie(&site.visit())).collect();

    std::thread::scope(|threads| {
        for client in 0..8 {
            let (site, visitor, id) = (&site, &visitors[client % 4], &id);
            threads.spawn(move || (0..10).for_each(|_| assert_eq!(conversion_status(site, id, visitor), 204)));
        }
    });

    assert_eq!(conversions(&site, &id), 4);
}

fn conversion_status(site: &Site, id: &str, cookie: &str) -> u16 {
    site.server.public.exchange(&format!("POST /c/{id}\nCookie: {cookie}")).status
}

#[test]
fn without_tracking_nothing_is_counted() {
    let site = Site::start();
    let id = site.promo(&[100], &json!({}));
    let visitor = cookie(&site.visit());

    let answered = conversion_status(&site, &id, &visitor);

    assert_eq!((answered, conversions(&site, &id)), (204, 0));
}

#[test]
fn who_never_came_by_the_link_does_not_convert() {
    let site = Site::start();
    let id = tracked(&site, &[100]);
    let genuine = cookie(&site.visit());
    let (head, _signature) = genuine.rsplit_once('.').unwrap();
    let label = head.split('.').nth(1).unwrap();
    let other_label = genuine.replace(&format!(".{label}."), ".00000000.");
    let (name, value) = genuine.split_once('=').unwrap();
    let made_up = format!("{name}={}.{label}.0.{}", "1".repeat(32), "0".repeat(32));
    let unsigned = head.to_owned();
    let first = value.chars().next().unwrap();
    let other_visitor = format!("{name}={}{}", if first == 'f' { 'e' } else { 'f' }, &value[1..]);

    let forged = ["", "a=b", &genuine[..20], &other_label, &made_up, &unsigned, &other_visitor];
    let answered = forged.map(|cookie| conversion_status(&site, &id, cookie));

    assert_eq!((answered, conversions(&site, &id)), ([204; 7], 0));
    assert_eq!((conversion_status(&site, &id, &genuine), conversions(&site, &id)), (204, 1));
}

#[test]
fn a_conversion_leads_on_where_the_link_says() {
    let site = Site::start();
    let url = "https://thanks.example/?a=b";
    let id = site.promo(&[100], &json!({"enable_conversion_tracking": true, "conversion_redirect_url": url}));
    let visitor = cookie(&site.visit());

    let shown = pixel(&site, &id, &visitor);
    let posted = site.server.public.exchange(&format!("POST /c/{id}"));

    assert_eq!((shown.status, shown.header("location")), (302, Some(url)));
    assert_eq!((posted.status, posted.header("location")), (303, Some(url)));
    assert_eq!(conversions(&site, &id), 1);
}

#[test]
fn conversions_of_no_link_are_not_found() {
    let site = Site::start();
    let id = tracked(&site, &[100]);
    assert_eq!(site.ask("DELETE", &format!("/links/{id}"), &Value::Null).status, 204);

    let unknown = site.server.public.exchange("GET /c/018d0d5e-0000-7000-8000-000000000000");

    insta::assert_snapshot!(unknown, @r#"
    GET /c/<id>

    404
    cache-control: private, no-store
    content-type: application/json

    {"detail":"No such link."}
    "#);
    for path in [format!("/c/{id}"), "/c/promo".to_owned(), "/c/".to_owned(), "/c".to_owned()] {
        assert_eq!(site.server.public.exchange(&format!("GET {path}")).status, 404, "{path}");
    }
    assert_eq!(site.server.public.exchange("DELETE /c/x").status, 405);
}

/// Sends new visitors until each of `a` and `b` has so many; then the first of them convert.
fn trial(site: &Site, id: &str, visitors: usize, converting: [usize; 2]) -> [Vec<Exchange>; 2] {
    let mut got: [Vec<Exchange>; 2] = [Vec::new(), Vec::new()];
    for (place, weights) in [[100, 0], [0, 100]].into_iter().enumerate() {
        site.update(id, &json!({"variants": crate::link_redirects::variants(&weights)}));
        got[place].extend((0..visitors).map(|_| site.visit()));
    }
    site.update(id, &json!({"variants": crate::link_redirects::variants(&[50, 50])}));
    for (visits, converting) in got.iter().zip(converting) {
        for visit in &visits[..converting] {
            assert_eq!(conversion_status(site, id, &cookie(visit)), 204);
        }
    }
    got
}

fn auto_winner(site: &Site, threshold: u32) -> String {
    let fields = json!({"enable_conversion_tracking": true, "auto_winner": true, "auto_winner_threshold": threshold});
    site.promo(&[50, 50], &fields)
}

fn winner(site: &Site, id: &str) -> Value {
    site.get(&format!("/links/{id}/stats"))["winner"].clone()
}

#[test]
fn the_better_variant_gets_all_new_visitors_once_it_leads_with_confidence() {
    let site = Site::start();
    let id = auto_winner(&site, 40);

    let visits = trial(&site, &id, 20, [4, 15]);

    assert_eq!(winner(&site, &id), "b");
    for _ in 0..30 {
        let visit = site.visit();
        assert_eq!(led_to(&visit), "b");
        conversion_status(&site, &id, &cookie(&visit));
    }
    assert!(visits[0].iter().all(|visit| led_to(&site.again(visit)) == "a"), "visitors of the loser stay");
}

#[test]
fn before_the_threshold_nothing_has_won() {
    let site = Site::start();
    let id = auto_winner(&site, 41);
    trial(&site, &id, 20, [4, 15]);

    let before = winner(&site, &id);
    site.visit();

    assert_eq!((before, winner(&site, &id)), (Value::Null, json!("b")));
}

#[test]
fn without_confidence_nothing_has_won() {
    let site = Site::start();
    let id = auto_winner(&site, 10);

    trial(&site, &id, 20, [8, 10]);

    assert_eq!(winner(&site, &id), Value::Null);
    let labels: Vec<String> = (0..60).map(|_| led_to(&site.visit()).to_owned()).collect();
    assert!(labels.contains(&"a".to_owned()) && labels.contains(&"b".to_owned()), "{labels:?}");
}

#[test]
fn a_winner_without_weight_gets_nobody() {
    let site = Site::start();
    let id = auto_winner(&site, 10);
    trial(&site, &id, 20, [4, 15]);

    site.update(&id, &json!({"variants": crate::link_redirects::variants(&[100, 0])}));

    assert!((0..10).all(|_| led_to(&site.visit()) == "a"));
}

#[test]
fn nothing_wins_unless_it_is_asked_for() {
    let site = Site::start();
    let id = auto_winner(&site, 10);
    trial(&site, &id, 20, [4, 15]);

    site.update(&id, &json!({"auto_winner": false}));

    assert_eq!(winner(&site, &id), Value::Null);
}
