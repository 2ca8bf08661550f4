//! How long clicks stay: through stops and crashes all of them, in the end none, and the sums for ever.

use std::sync::Arc;
use std::time::Duration;

use klinky::accounts::{self, AccountDraft};
use klinky::clock::ManualClock;
use klinky::domain::click::{Click, Device};
use klinky::domain::id::{AccountId, LinkId};
use klinky::domain::link::{Link, Slug};
use klinky::domain::plan::PlanId;
use klinky::domain::text::Name;
use klinky::domain::time::Timestamp;
use klinky::domain::variant::Label;
use klinky::dump::{self, DumpFilter};
use klinky::housekeeping::{Housekeeping, Retention};
use klinky::ids;
use klinky::recorder::Recorder;
use klinky::store::{Event, Span, Store};
use serde_json::json;

use crate::harness::{START, Server, at};
use crate::link_redirects::{BROWSER, Site};
use crate::link_routing::link;
use crate::process::{Process, wait_until};
use crate::store::{RETENTION, author, open};

/// All time.
pub(crate) const EVER: Span = Span { start: Timestamp::EPOCH, end: Timestamp::LAST };

/// A click on `a`, unless another label is put in.
pub(crate) fn click(link_id: LinkId, clicked_at: Timestamp) -> Click {
    Click {
        id: ids::click_id(clicked_at),
        link_id,
        clicked_at,
        variant: Label::new("a").unwrap(),
        country: None,
        referrer: None,
        device: Device::Other,
        browser: "other".to_owned(),
        os: "other".to_owned(),
        ip: None,
    }
}

/// An account with a link on `slug`.
pub(crate) fn linked(store: &Store, slug: &str) -> (AccountId, LinkId) {
    let draft = AccountDraft {
        name: Name::new("Acme").unwrap(),
        email: None,
        plan: PlanId::new("scale").unwrap(),
        custom_limit: None,
        trial: None,
    };
    let account_id = accounts::create(store, draft, &author()).unwrap().id;
    let id = ids::link_id(at(START));
    store.create_links(&[Link { id, account_id, slug: Slug::new(slug).unwrap(), ..link(&[50, 50]) }]).unwrap();
    (account_id, id)
}

fn clicks(link: LinkId, instants: impl Iterator<Item = Timestamp>) -> Vec<Event> {
    instants.map(|at| Event::Click(click(link, at))).collect()
}

fn after(text: &str, secs: u64) -> Timestamp {
    at(text).plus(Duration::from_secs(secs))
}

fn total(store: &Store, link: LinkId) -> u64 {
    store.list_clicks(link, EVER, 0, 0).unwrap().1
}

#[test]
fn a_purge_goes_in_steps_and_leaves_later_clicks_and_all_sums() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Duration::from_millis(100));
    let (_account, id) = linked(&store, "promo");
    let (_account, other) = linked(&store, "other");
    let old = "2024-01-01T00:00:00Z";
    store.record(&clicks(id, (0..250).map(|secs| after(old, secs)))).unwrap();
    store.record(&clicks(id, (0..10).map(|secs| after(START, secs)))).unwrap();
    store.record(&clicks(other, (0..10).map(|secs| after(old, secs)))).unwrap();

    let more_after: Vec<bool> = (0..3).map(|_| store.purge_clicks_step(id, at(START)).unwrap()).collect();

    assert_eq!(more_after, [true, true, false]);
    assert_eq!((total(&store, id), total(&store, other)), (10, 10));
    assert_eq!(store.click_totals(id).unwrap().sum().clicks, 260);
    let days: Vec<u64> = store.click_days(id).unwrap().iter().map(|(_day, sums)| sums.sum().clicks).collect();
    assert_eq!(days, [250, 10]);
}

#[test]
fn housekeeping_purges_what_is_older_than_the_retention() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path(), Duration::from_millis(100)));
    let (_account, id) = linked(&store, "promo");
    let kept = at("2024-01-14T00:00:00Z");
    store.record(&clicks(id, (0..1500).map(|secs| after("2024-01-13T23:00:00Z", secs)))).unwrap();
    store.record(&clicks(id, [kept, at(START)].into_iter())).unwrap();

    let retention = Retention { click_days: 1, ..RETENTION };
    let mut housekeeping =
        Housekeeping::start(Arc::clone(&store), Arc::new(ManualClock::at(at(START))), retention).unwrap();
    wait_until("the old clicks are purged", || total(&store, id) <= 2);
    housekeeping.stop();

    let (left, _total) = store.list_clicks(id, EVER, 0, 10).unwrap();
    assert_eq!(left.iter().map(|click| click.clicked_at).collect::<Vec<_>>(), [at(START), kept]);
}

#[test]
fn clicks_older_than_the_retention_are_not_listed_whether_purged_or_not() {
    let site = Site::start();
    let id = site.promo(&[100], &json!({}));
    for instant in ["2024-01-15T23:59:59Z", "2024-01-16T00:00:00Z"] {
        site.server.set_clock(instant);
        site.visit();
    }

    site.server.set_clock("2024-04-15T12:00:00Z");

    let page = site.get(&format!("/links/{id}/clicks"));
    assert_eq!((page["total"].as_u64(), &page["items"][0]["clicked_at"]), (Some(1), &json!("2024-01-16T00:00:00Z")));
    assert_eq!(site.get(&format!("/links/{id}/clicks?end_date=2024-01-15"))["total"], 0);
    assert_eq!(site.get(&format!("/links/{id}"))["click_count"], 2);
    assert_eq!(site.get(&format!("/links/{id}/stats"))["days"].as_array().unwrap().len(), 2);
}

#[test]
fn purged_days_are_not_in_the_total_when_the_retention_is_raised_later() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Duration::from_millis(100));
    let (_account, id) = linked(&store, "promo");
    let days = ["2024-01-13T12:00:00Z", "2024-01-14T12:00:00Z", "2024-01-15T12:00:00Z"].map(at);
    store.record(&clicks(id, days.into_iter())).unwrap();

    store.purge_clicks_step(id, at("2024-01-15T00:00:00Z")).unwrap();

    let (listed, total) = store.list_clicks(id, EVER, 0, 10).unwrap();
    assert_eq!((listed.len(), total), (1, 1));
    store.purge_clicks_step(id, at("2024-01-16T00:00:00Z")).unwrap();
    assert_eq!(store.list_clicks(id, EVER, 0, 10).unwrap(), (vec![], 0));
}

#[test]
fn clicks_go_with_their_account_and_do_not_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Duration::from_millis(100));
    let (account, id) = linked(&store, "promo");
    let (_account, other) = linked(&store, "other");
    let conversion =
        Event::Conversion { link_id: id, visitor: [7; 16], variant: Label::new("a").unwrap(), at: at(START) };
    let events: Vec<Event> =
        clicks(id, (0..250).map(|secs| after(START, secs))).into_iter().chain([conversion]).collect();
    store.record(&events).unwrap();
    store.record(&clicks(other, (0..10).map(|secs| after(START, secs)))).unwrap();

    store.remove_account(account, &author()).unwrap();
    let steps = (0..100).take_while(|_step| store.purge_doomed_step().unwrap()).count();
    store.record(&events).unwrap();

    assert!((3..10).contains(&steps), "{steps} steps");
    assert_eq!(total(&store, id), 0);
    assert_eq!((store.click_totals(id).unwrap().as_slice(), store.click_days(id).unwrap().len()), (&[][..], 0));
    assert_eq!(total(&store, other), 10);
}

#[test]
fn clicks_that_a_restore_brings_back_do_not_go_with_the_account_that_was_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Duration::from_millis(100));
    let (account, id) = linked(&store, "promo");
    store.record(&clicks(id, (0..10).map(|secs| after(START, secs)))).unwrap();
    let mut dumped = Vec::new();
    dump::write(&store, &DumpFilter::default(), at(START), &mut dumped).unwrap();

    store.remove_account(account, &author()).unwrap();
    dump::restore(&store, dumped.as_slice(), &author()).unwrap();
    let steps = (0..100).take_while(|_step| store.purge_doomed_step().unwrap()).count();

    assert_eq!((steps, total(&store, id), store.click_days(id).unwrap().len()), (0, 10, 1));
    assert_eq!(store.click_totals(id).unwrap().sum().clicks, 10);
}

#[test]
fn labels_without_end_do_not_stop_the_recording() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Duration::from_millis(100));
    let (_account, id) = linked(&store, "promo");

    for number in 0..1000 {
        let variant = Label::new(&format!("{}{number:04}", "\u{1f517}".repeat(46))).unwrap();
        store.record(&[Event::Click(Click { variant, ..click(id, at(START)) })]).unwrap();
    }

    let totals = store.click_totals(id).unwrap();
    assert_eq!((totals.sum().clicks, totals.as_slice().len()), (1000, 101));
}

#[test]
fn a_closed_store_leaves_events_with_the_recorder() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path(), Duration::from_millis(100)));
    let (_account, id) = linked(&store, "promo");
    let recorder = Recorder::start(Arc::clone(&store)).unwrap();
    store.close().unwrap();

    recorder.push(Event::Click(click(id, at(START))));
    let refused: Vec<String> = (0..2).map(|_| recorder.catch_up().unwrap_err().to_string()).collect();

    assert_eq!(refused, ["could not commit: the store is closed"; 2]);
    recorder.stop();
    assert_eq!(total(&store, id), 0);
}

#[test]
fn a_clean_stop_loses_no_click() {
    let site = Site::of(Server::start_with(|settings| settings.flush_within = Duration::from_secs(3600)));
    let id = site.promo(&[100], &json!({}));
    std::thread::scope(|threads| {
        for _client in 0..4 {
            threads.spawn(|| (0..100).for_each(|_| assert_eq!(site.visit().status, 302)));
        }
    });

    let site = Site { server: site.server.restart(), account: site.account };

    assert_eq!(site.clicks(&id), 400);
}

/// What is not on disk yet when a click was answered: a round of the recorder, and the flush interval.
#[test]
fn a_crash_loses_at_most_the_clicks_of_the_flush_interval() {
    for flush_every_ms in ["0", "100"] {
        let temp = tempfile::tempdir().unwrap();
        let flags = ["--flush-every-ms", flush_every_ms, "--log", "warn,klinky::run=info"];
        let process = Process::serve(temp.path(), &flags);
        let (_account, key) = process.account("scale");
        let body = json!({"name": "Promo", "slug": "promo", "destination_url": "https://a.example/"});
        let request = format!("POST /api/v1/public/links\nX-API-Key: {key}\n\n{body}");
        let id = process.public.exchange(&request).json()["id"].as_str().unwrap().to_owned();
        let visit = format!("GET /promo\nUser-Agent: {BROWSER}");
        for _ in 0..200 {
            assert_eq!(process.public.exchange(&visit).status, 302);
        }
        crate::process::pass(Duration::from_millis(600));

        process.kill();

        let process = Process::serve(temp.path(), &flags);
        let stats = process.public.exchange(&format!("GET /api/v1/public/links/{id}/stats\nX-API-Key: {key}"));
        assert_eq!(stats.json()["clicks"], 200, "--flush-every-ms {flush_every_ms}");
    }
}
