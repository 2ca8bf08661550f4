//! Which variant a visitor gets: by weight, by the cookie, by country.

use klinky::domain::click::{Visit, choose};
use klinky::domain::id::{AccountId, LinkId};
use klinky::domain::link::{Link, LinkTerms, Slug};
use klinky::domain::text::Name;
use klinky::domain::variant::{Label, Variant, Variants, Weight};
use klinky::domain::web::WebUrl;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::harness::{START, at};
use crate::link_redirects::{BROWSER, Site, led_to, variants};

/// A link with variants of these weights, labelled `a`, `b`, …
pub(crate) fn link(weights: &[u32]) -> Link {
    let variant = |(label, weight): (&&str, &u32)| Variant {
        label: Label::new(label).unwrap(),
        destination: WebUrl::new("https://example.com/").unwrap(),
        weight: Weight::new(*weight).unwrap(),
    };
    let variants = ["a", "b", "c", "d", "e"].iter().zip(weights).map(variant).collect();
    Link {
        id: LinkId::from_bytes([1; 16]),
        account_id: AccountId::from_bytes([2; 16]),
        slug: Slug::new("promo").unwrap(),
        terms: LinkTerms::new(Name::new("Promo").unwrap(), Variants::new(variants).unwrap()),
        created_at: at(START),
        updated_at: at(START),
        deleted_at: None,
    }
}

/// Tolerance: five standard deviations of the binomial distribution, less than 0.8 % of all choices.
#[test]
fn of_100_000_choices_each_variant_gets_its_weight() {
    const CHOICES: u32 = 100_000;
    let weights = [50, 30, 15, 5, 0];
    let link = link(&weights);
    let mut random = StdRng::seed_from_u64(3);

    let mut chosen = [0_u32; 5];
    for _ in 0..CHOICES {
        let visit = Visit { country: None, earlier: None, percent: random.random_range(0..100) };
        let label = choose(&link, visit, None).unwrap().label.as_str().to_owned();
        chosen[usize::from(label.as_bytes()[0] - b'a')] += 1;
    }

    for (weight, times) in weights.into_iter().zip(chosen) {
        let share = f64::from(weight) / 100.0;
        let deviation = (f64::from(CHOICES) * share * (1.0 - share)).sqrt();
        let off = (f64::from(times) - f64::from(CHOICES) * share).abs();
        assert!(off <= 5.0 * deviation, "{times} for a weight of {weight}");
    }
}

/// Tolerance: six standard deviations; a right server fails once in 500 million runs.
#[test]
fn new_visitors_are_spread_by_weight() {
    let site = Site::start();
    site.promo(&[80, 0, 20], &json!({}));

    let labels: Vec<String> = (0..400).map(|_| led_to(&site.visit()).to_owned()).collect();

    let times = |label: &str| labels.iter().filter(|found| *found == label).count();
    assert!((272..=368).contains(&times("a")), "{} of 400", times("a"));
    assert_eq!((times("b"), times("a") + times("c")), (0, 400));
}

#[test]
fn a_visitor_stays_with_a_variant_also_after_the_weights_changed() {
    let site = Site::start();
    let id = site.promo(&[100, 0], &json!({}));
    let first = site.visit();

    site.update(&id, &json!({"variants": variants(&[1, 99])}));
    site.server.set_clock("2024-02-15T00:00:00Z");

    let mut last = first;
    for _ in 0..10 {
        last = site.again(&last);
        assert_eq!(led_to(&last), "a");
    }
}

#[test]
fn a_visitor_of_a_variant_without_weight_moves_on_and_stays_there() {
    let site = Site::start();
    let id = site.promo(&[100, 0], &json!({}));
    let first = site.visit();

    site.update(&id, &json!({"variants": variants(&[0, 100])}));
    let moved = site.again(&first);
    site.update(&id, &json!({"variants": variants(&[99, 1])}));

    assert_eq!(led_to(&moved), "b");
    for _ in 0..10 {
        assert_eq!(led_to(&site.again(&moved)), "b");
    }
}

#[test]
fn a_visitor_of_a_variant_that_is_gone_gets_another_one() {
    let site = Site::start();
    let id = site.promo(&[100], &json!({}));
    let first = site.visit();

    let other = json!([{"label": "new", "destination_url": "https://new.example/"}]);
    site.update(&id, &json!({"variants": other}));

    assert_eq!(led_to(&site.again(&first)), "new");
}

#[test]
fn a_visitor_follows_a_variant_to_its_new_destination() {
    let site = Site::start();
    let id = site.promo(&[50, 50], &json!({}));
    let first = site.visit();
    let label = led_to(&first).to_owned();

    let moved: serde_json::Value = ["a", "b"]
        .iter()
        .map(|label| json!({"label": label, "destination_url": format!("https://{label}{label}.example/"), "weight": 50}))
        .collect();
    site.update(&id, &json!({"variants": moved}));

    assert_eq!(led_to(&site.again(&first)), format!("{label}{label}"));
}

fn geo(rules: &serde_json::Value) -> Site {
    let site = Site::start();
    site.promo(&[0, 0, 100], &json!({"routing_type": "geo", "geo_rules": rules}));
    site
}

#[test]
fn a_geo_link_sends_countries_by_rule_and_others_to_the_default() {
    let site = geo(&json!({"DE": "a", "default": "b"}));
    let expected = [
        ("CF-IPCountry: DE", "a"),
        ("cf-ipcountry: de", "a"),
        ("CF-IPCountry: FR", "b"),
        ("CF-IPCountry: T1", "b"),
        ("CF-IPCountry: Germany", "b"),
        ("CF-IPCountry: \u{e9}", "b"),
        ("CF-IPCountry:", "b"),
        ("X-Country: DE", "b"),
        ("", "b"),
    ];

    for (header, label) in expected {
        assert_eq!(led_to(&site.visit_with(header)), label, "{header:?}");
    }
}

#[test]
fn without_a_default_other_countries_go_by_weight() {
    let site = geo(&json!({"DE": "a"}));

    let labels = ["CF-IPCountry: DE", "CF-IPCountry: FR", ""].map(|header| led_to(&site.visit_with(header)).to_owned());

    assert_eq!(labels, ["a", "c", "c"]);
}

#[test]
fn a_visitor_who_travels_goes_by_the_new_country() {
    let site = geo(&json!({"DE": "a", "FR": "b"}));
    let at_home = site.visit_with("CF-IPCountry: DE");

    let abroad = site.visit_with(&format!("CF-IPCountry: FR\nCookie: {}", crate::link_redirects::cookie(&at_home)));

    assert_eq!((led_to(&at_home), led_to(&abroad)), ("a", "b"));
}

#[test]
fn geo_rules_of_an_ab_test_wait_until_it_is_a_geo_link() {
    let site = Site::start();
    let id = site.promo(&[100, 0], &json!({"geo_rules": {"DE": "b"}}));
    let german = format!("GET /promo\nUser-Agent: {BROWSER}\nCF-IPCountry: DE");

    let before = led_to(&site.server.public.exchange(&german)).to_owned();
    site.update(&id, &json!({"routing_type": "geo"}));

    assert_eq!((before.as_str(), led_to(&site.server.public.exchange(&german))), ("a", "b"));
}
