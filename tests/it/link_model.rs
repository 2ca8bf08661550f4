//! Links and clicks against a model: random operations, restarts among them, must agree in every answer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use klinky::domain::click::{Click, Tally};
use klinky::domain::id::{AccountId, LinkId};
use klinky::domain::link::{Link, LinkPatch, Slug};
use klinky::domain::text::Name;
use klinky::domain::time::{Day, Timestamp};
use klinky::domain::variant::Label;
use klinky::ids;
use klinky::store::{Event, LinkError, Span, Store, Tallies};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError};

use crate::harness::{START, at};
use crate::link_retention::{click, linked};
use crate::link_routing::link;
use crate::store::open;

const HOUR_MS: i64 = 3_600_000;
/// How far the clock may step back, all steps together.
const BACK_MS: i64 = 48 * HOUR_MS;
const LABELS: [&str; 3] = ["a", "b", "c"];

/// One operation. Links are named by their place in the order of creation.
#[derive(Debug, Clone)]
enum Op {
    Create { account: usize, slugs: Vec<u8> },
    Update { link: usize, account: usize, name: u8, is_active: bool },
    Remove { link: usize, account: usize },
    Record { link: usize, events: Vec<(usize, Option<u8>, i64)>, defer: bool },
    List { link: usize, start_ms: i64, length_ms: i64, skip: u64, limit: usize },
    ListAll { account: usize, skip: usize, limit: usize },
    Purge { link: usize },
    MoveClock { ms: i64 },
    Restart { cleanly: bool },
}

fn op() -> impl Strategy<Value = Op> {
    let (account, link) = (0..2_usize, 0..5_usize);
    let ms = prop_oneof![Just(0), Just(1), -3 * HOUR_MS..30 * HOUR_MS];
    let event = (0..LABELS.len(), prop::option::weighted(0.3, 0..4_u8), prop_oneof![Just(0), Just(1), 0..2 * HOUR_MS]);
    // Whole days as well as any instants; spans that lie outside, and reversed ones.
    let start_ms = prop_oneof![(-6..4_i64).prop_map(|days| days * 24 * HOUR_MS), -100 * HOUR_MS..50 * HOUR_MS];
    let length_ms = prop_oneof![(0..6_i64).prop_map(|days| days * 24 * HOUR_MS), -HOUR_MS..100 * HOUR_MS];
    prop_oneof![
        2 => (account.clone(), prop::collection::vec(0..8_u8, 1..3))
            .prop_map(|(account, slugs)| Op::Create { account, slugs }),
        1 => (link.clone(), account.clone(), any::<u8>(), any::<bool>())
            .prop_map(|(link, account, name, is_active)| Op::Update { link, account, name, is_active }),
        1 => (link.clone(), account.clone()).prop_map(|(link, account)| Op::Remove { link, account }),
        8 => (link.clone(), prop::collection::vec(event, 1..12), any::<bool>())
            .prop_map(|(link, events, defer)| Op::Record { link, events, defer }),
        8 => (link.clone(), start_ms, length_ms, 0..30_u64, 0..20_usize).prop_map(
            |(link, start_ms, length_ms, skip, limit)| Op::List { link, start_ms, length_ms, skip, limit }
        ),
        2 => (account, 0..4_usize, 0..4_usize).prop_map(|(account, skip, limit)| Op::ListAll { account, skip, limit }),
        1 => link.prop_map(|link| Op::Purge { link }),
        5 => ms.prop_map(|ms| Op::MoveClock { ms }),
        1 => any::<bool>().prop_map(|cleanly| Op::Restart { cleanly }),
    ]
}

/// What the store should hold of a link.
struct ModelLink {
    link: Link,
    clicks: Vec<Click>,
    visitors: BTreeSet<u8>,
    days: BTreeMap<Day, BTreeMap<Label, Tally>>,
}

struct Run<'d> {
    dir: &'d Path,
    store: Option<Store>,
    accounts: [AccountId; 2],
    links: Vec<ModelLink>,
    now: Timestamp,
    latest: Timestamp,
}

fn moved(from: Timestamp, ms: i64) -> Timestamp {
    Timestamp::from_millis(from.as_millis() + ms).unwrap()
}

fn by_label(tallies: &Tallies) -> BTreeMap<Label, Tally> {
    tallies.as_slice().iter().cloned().collect()
}

impl Run<'_> {
    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn step(&mut self, op: &Op) -> Result<(), TestCaseError> {
        match op {
            Op::Create { account, slugs } => self.create(*account, slugs)?,
            Op::Update { link, account, name, is_active } => self.update(*link, *account, *name, *is_active)?,
            Op::Remove { link, account } => self.remove(*link, *account)?,
            Op::Record { link, events, defer } => self.record(*link, events, *defer),
            Op::List { link, start_ms, length_ms, skip, limit } => {
                let start = moved(self.latest, *start_ms);
                // A whole day begins at midnight.
                let start = if start_ms % (24 * HOUR_MS) == 0 { Day::of(start).start() } else { start };
                self.list(*link, Span { start, end: moved(start, *length_ms) }, *skip, *limit)?;
            }
            Op::ListAll { account, skip, limit } => self.list_all(*account, *skip, *limit)?,
            Op::Purge { link } => self.purge(*link),
            Op::MoveClock { ms } => self.move_clock(*ms),
            Op::Restart { cleanly } => self.restart(*cleanly),
        }
        Ok(())
    }

    fn move_clock(&mut self, ms: i64) {
        self.now = moved(self.now, ms).max(moved(self.latest, -BACK_MS));
        self.latest = self.latest.max(self.now);
    }

    fn create(&mut self, account: usize, slugs: &[u8]) -> Result<(), TestCaseError> {
        let new = |slug: &u8| Link {
            id: ids::link_id(self.now),
            account_id: self.accounts[account],
            slug: Slug::new(&format!("slug-{slug}")).unwrap(),
            created_at: self.now,
            ..link(&[50, 50])
        };
        let links: Vec<Link> = slugs.iter().map(new).collect();
        let taken = |link: &Link| self.links.iter().any(|known| known.link.slug == link.slug);
        let is_free = !links.iter().any(taken) && slugs.iter().collect::<BTreeSet<_>>().len() == slugs.len();

        let created = self.store().create_links(&links);

        prop_assert_eq!(created.is_ok(), is_free);
        prop_assert!(matches!(created, Ok(()) | Err(LinkError::SlugTaken(_))));
        if is_free {
            let new = |link| ModelLink { link, clicks: vec![], visitors: BTreeSet::new(), days: BTreeMap::new() };
            self.links.extend(links.into_iter().map(new));
        }
        Ok(())
    }

    /// The link, if the account has it and it was not deleted.
    fn own(&mut self, link: usize, account: usize) -> Option<(LinkId, Option<&mut Link>)> {
        let account = self.accounts[account];
        let found = self.links.get_mut(link)?;
        let id = found.link.id;
        let is_own = found.link.account_id == account && found.link.deleted_at.is_none();
        Some((id, is_own.then_some(&mut found.link)))
    }

    fn update(&mut self, link: usize, account: usize, name: u8, is_active: bool) -> Result<(), TestCaseError> {
        let (now, account_id) = (self.now, self.accounts[account]);
        let Some((id, own)) = self.own(link, account) else { return Ok(()) };
        let name = Name::new(&format!("name {name}")).unwrap();
        if let Some(own) = &own {
            prop_assert!(own.deleted_at.is_none());
        }
        let expected = own.map(|own| {
            own.terms.name = name.clone();
            own.terms.is_active = is_active;
            own.updated_at = now;
            own.clone()
        });
        let patch = LinkPatch { name: Some(name), is_active: Some(is_active), ..LinkPatch::default() };

        let updated = self.store().update_link(account_id, id, patch, now);

        prop_assert_eq!(updated.ok(), expected);
        Ok(())
    }

    fn remove(&mut self, link: usize, account: usize) -> Result<(), TestCaseError> {
        let (now, account_id) = (self.now, self.accounts[account]);
        let Some((id, own)) = self.own(link, account) else { return Ok(()) };
        let is_own = own.is_some();
        if let Some(own) = own {
            (own.deleted_at, own.updated_at) = (Some(now), now);
        }

        let removed = self.store().remove_link(account_id, id, now);

        prop_assert_eq!(removed.is_ok(), is_own);
        Ok(())
    }

    fn record(&mut self, link: usize, events: &[(usize, Option<u8>, i64)], defer: bool) {
        let mut recorded = Vec::new();
        for &(label, visitor, ms) in events {
            self.move_clock(ms);
            let Some(known) = self.links.get_mut(link) else { return };
            let variant = Label::new(LABELS[label]).unwrap();
            let tally = |known: &mut ModelLink, clicks: u64, conversions: u64| {
                let tally = known.days.entry(Day::of(self.now)).or_default().entry(variant.clone()).or_default();
                tally.clicks += clicks;
                tally.conversions += conversions;
            };
            if let Some(visitor) = visitor {
                if known.visitors.insert(visitor) {
                    tally(known, 0, 1);
                }
                let (link_id, visitor) = (known.link.id, [visitor; 16]);
                recorded.push(Event::Conversion { link_id, visitor, variant, at: self.now });
            } else {
                tally(known, 1, 0);
                let click = Click { variant, ..click(known.link.id, self.now) };
                known.clicks.push(click.clone());
                recorded.push(Event::Click(click));
            }
        }
        if defer {
            self.store().defer(&recorded).unwrap();
        } else {
            // As the recorder does it: in the order in which they came.
            self.store().record_all_deferred().unwrap();
            self.store().record(&recorded).unwrap();
        }
    }

    fn list(&self, link: usize, span: Span, skip: u64, limit: usize) -> Result<(), TestCaseError> {
        let Some(known) = self.links.get(link) else { return Ok(()) };
        self.store().record_all_deferred().unwrap();
        let in_span = |click: &&Click| span.start <= click.clicked_at && click.clicked_at < span.end;
        let mut expected: Vec<Click> = known.clicks.iter().filter(in_span).cloned().collect();
        expected.sort_by_key(|click| std::cmp::Reverse((click.clicked_at, click.id)));
        let total = u64::try_from(expected.len()).unwrap();
        let page: Vec<Click> = expected.into_iter().skip(usize::try_from(skip).unwrap()).take(limit).collect();

        prop_assert_eq!(self.store().list_clicks(known.link.id, span, skip, limit).unwrap(), (page, total));
        Ok(())
    }

    fn list_all(&self, account: usize, skip: usize, limit: usize) -> Result<(), TestCaseError> {
        let live =
            |known: &&ModelLink| known.link.account_id == self.accounts[account] && known.link.deleted_at.is_none();
        let mut expected: Vec<Link> = self.links.iter().filter(live).map(|known| known.link.clone()).collect();
        expected.sort_by_key(|link| std::cmp::Reverse(link.id));
        // Each account has one more link, the oldest, by which it was made.
        let total = expected.len() + 1;
        let (listed, found) = self.store().list_links(self.accounts[account], skip, limit);
        let ours = listed.iter().filter(|link| link.slug.as_str().starts_with("slug-"));
        let listed: Vec<Link> = ours.map(|link| Link::clone(link)).collect();

        prop_assert_eq!(found, total);
        prop_assert_eq!(listed, expected.into_iter().skip(skip).take(limit).collect::<Vec<_>>());
        Ok(())
    }

    /// As housekeeping does: whole days, which the clock does not come back to.
    fn purge(&mut self, link: usize) {
        let before = Day::of(moved(self.latest, -BACK_MS)).start();
        let Some(known) = self.links.get_mut(link) else { return };
        self.store.as_ref().unwrap().record_all_deferred().unwrap();
        known.clicks.retain(|click| click.clicked_at >= before);
        let id = known.link.id;
        while self.store().purge_clicks_step(id, before).unwrap() {}
    }

    fn restart(&mut self, cleanly: bool) {
        let store = self.store.take().unwrap();
        if cleanly {
            store.close().unwrap();
        }
        drop(store);
        self.store = Some(open(self.dir, Duration::from_millis(100)));
    }

    fn compare(&self) -> Result<(), TestCaseError> {
        let ever = Span { start: Timestamp::EPOCH, end: Timestamp::LAST };
        for (place, known) in self.links.iter().enumerate() {
            let id = known.link.id;
            let found = [self.store().find_link(id), self.store().find_link_by_slug(&known.link.slug)];
            prop_assert!(found.iter().all(|link| link.as_deref() == Some(&known.link)), "{found:?}");
            self.list(place, ever, 0, 1000)?;
            let days = self.store().click_days(id).unwrap();
            let days: BTreeMap<_, _> = days.iter().map(|(day, tallies)| (*day, by_label(tallies))).collect();
            prop_assert_eq!(&days, &known.days);
            let mut totals: BTreeMap<Label, Tally> = BTreeMap::new();
            for (label, tally) in known.days.values().flatten() {
                let sum = totals.entry(label.clone()).or_default();
                sum.clicks += tally.clicks;
                sum.conversions += tally.conversions;
            }
            prop_assert_eq!(by_label(&self.store().click_totals(id).unwrap()), totals);
        }
        (0..2).try_for_each(|account| self.list_all(account, 0, 1000))
    }
}

#[test]
fn links_and_clicks_agree_with_their_model_across_restarts() {
    let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
    proptest!(config, |(ops in prop::collection::vec(op(), 1..60))| {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), Duration::from_millis(100));
        let accounts = [linked(&store, "first").0, linked(&store, "second").0];
        let now = at(START);
        let mut run = Run { dir: dir.path(), store: Some(store), accounts, links: vec![], now, latest: now };
        for op in &ops {
            run.step(op)?;
        }
        run.compare()?;
        run.step(&Op::Restart { cleanly: true })?;
        run.compare()?;
    });
}
