//! What a page of clicks costs: of a link with a million clicks, and of one with a hundred.
//!
//! `cargo bench --bench links` prints the times. The store is real, in a temporary directory. The clicks of `many` and
//! `few` are spread over the 90 days for which they are kept, those of `fresh` are a hundred of one day.
#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(clippy::unwrap_used, clippy::allow_attributes, reason = "a bench that cannot be set up should stop")]

use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use klinky::accounts::{self, AccountDraft};
use klinky::domain::click::{Click, Device};
use klinky::domain::id::{AccountId, LinkId};
use klinky::domain::link::{LinkTerms, Slug};
use klinky::domain::plan::PlanId;
use klinky::domain::text::Name;
use klinky::domain::time::Timestamp;
use klinky::domain::variant::{Label, Variant, Variants, Weight};
use klinky::domain::web::WebUrl;
use klinky::ids;
use klinky::links::{self, LinkDraft};
use klinky::plans::first_plans;
use klinky::store::{Author, Event, Span, Store, StoreOptions};

const MANY: u64 = 1_000_000;
const FEW: u64 = 100;
/// Clicks that the recorder writes at a time.
const BATCH: usize = 1000;
const KEPT: Duration = Duration::from_secs(90 * 24 * 3600);
/// A page that says nothing of its size.
const PAGE_ROWS: usize = 20;
const EVER: Span = Span { start: Timestamp::EPOCH, end: Timestamp::LAST };

fn start() -> Timestamp {
    Timestamp::parse("2026-01-15T00:00:00Z").unwrap()
}

fn account(store: &Store) -> AccountId {
    let draft = AccountDraft {
        name: Name::new("bench").unwrap(),
        email: None,
        plan: PlanId::new("scale").unwrap(),
        custom_limit: None,
        trial: None,
    };
    let by = Author { actor: "bench".to_owned(), request_id: "-".to_owned(), at: start() };
    accounts::create(store, draft, &by).unwrap().id
}

/// A link with so many clicks, spread over a time.
fn link(store: &Store, account: AccountId, slug: &str, clicks: u64, time: Duration) -> LinkId {
    let variant = Variant {
        label: Label::new("a").unwrap(),
        destination: WebUrl::new("https://example.com/").unwrap(),
        weight: Weight::ALL,
    };
    let terms = LinkTerms::new(Name::new("bench").unwrap(), Variants::new(vec![variant]).unwrap());
    let draft = LinkDraft { slug: Some(Slug::new(slug).unwrap()), terms };
    let link = links::create(store, account, &[draft], start()).unwrap().remove(0).id;
    let every = time / u32::try_from(clicks).unwrap();
    let events: Vec<u32> = (0..u32::try_from(clicks).unwrap()).collect();
    for batch in events.chunks(BATCH) {
        let events: Vec<Event> =
            batch.iter().map(|place| Event::Click(click(link, start().plus(every * *place)))).collect();
        store.record(&events).unwrap();
    }
    link
}

fn click(link_id: LinkId, clicked_at: Timestamp) -> Click {
    Click {
        id: ids::click_id(clicked_at),
        link_id,
        clicked_at,
        variant: Label::new("a").unwrap(),
        country: None,
        referrer: Some("news.example".to_owned()),
        device: Device::Desktop,
        browser: "Chrome".to_owned(),
        os: "Linux".to_owned(),
        ip: Some("203.0.113.0".parse().unwrap()),
    }
}

fn pages(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { dir: dir.path().to_owned(), flush_within: Duration::from_millis(100) };
    let store = Store::open(&options, &first_plans().unwrap()).unwrap();
    let account = account(&store);
    let named = [("fresh", FEW, KEPT / 90), ("few", FEW, KEPT), ("many", MANY, KEPT)];
    // A minute has 0 or 1 of the few, 7 or 8 of the many.
    let minute = start().plus(Duration::from_secs(45 * 24 * 3600 + 12 * 3600));
    let minute = Span { start: minute, end: minute.plus(Duration::from_secs(60)) };
    for (name, clicks, time) in named {
        let link = link(&store, account, name, clicks, time);
        assert_eq!(store.list_clicks(link, EVER, 0, PAGE_ROWS).unwrap().1, clicks);
        c.bench_function(&format!("clicks: page 1 of {name}"), |b| {
            b.iter(|| store.list_clicks(link, EVER, 0, PAGE_ROWS).unwrap());
        });
        c.bench_function(&format!("clicks: a minute of {name}"), |b| {
            b.iter(|| store.list_clicks(link, minute, 0, PAGE_ROWS).unwrap());
        });
        c.bench_function(&format!("clicks: the middle page of {name}"), |b| {
            b.iter(|| store.list_clicks(link, EVER, clicks / 2, PAGE_ROWS).unwrap());
        });
        c.bench_function(&format!("redirect: look up {name} by its slug"), |b| {
            let slug = Slug::new(name).unwrap();
            b.iter(|| store.find_link_by_slug(&slug).unwrap());
        });
    }
}

/// What the recorder can take in a second, of clicks over so many links and in batches of so many.
fn recording(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { dir: dir.path().to_owned(), flush_within: Duration::from_millis(100) };
    let store = Store::open(&options, &first_plans().unwrap()).unwrap();
    let account = account(&store);
    let links: Vec<LinkId> = (0..100).map(|place| link(&store, account, &format!("link-{place}"), 1, KEPT)).collect();
    for size in [100_u32, 1000] {
        let mut group = c.benchmark_group("clicks: record");
        group.throughput(Throughput::Elements(u64::from(size)));
        group.bench_function(format!("{size} at a time"), |b| {
            b.iter_batched(
                || {
                    (0..size)
                        .zip(links.iter().take(1).cycle())
                        .map(|(_, id)| Event::Click(click(*id, start())))
                        .collect()
                },
                |events: Vec<Event>| store.record(&events).unwrap(),
                BatchSize::LargeInput,
            );
        });
        group.bench_function(format!("{size} at a time, over 100 links"), |b| {
            b.iter_batched(
                || (0..size).zip(links.iter().cycle()).map(|(_, id)| Event::Click(click(*id, start()))).collect(),
                |events: Vec<Event>| store.record(&events).unwrap(),
                BatchSize::LargeInput,
            );
        });
        drop(group);
        let mut group = c.benchmark_group("clicks: defer");
        // They stay on disk.
        group.throughput(Throughput::Elements(u64::from(size))).measurement_time(Duration::from_secs(1));
        group.bench_function(format!("{size} at a time, over 100 links"), |b| {
            b.iter_batched(
                || (0..size).zip(links.iter().cycle()).map(|(_, id)| Event::Click(click(*id, start()))).collect(),
                |events: Vec<Event>| store.defer(&events).unwrap(),
                BatchSize::LargeInput,
            );
        });
    }
}

criterion_group!(benches, pages, recording);
criterion_main!(benches);
