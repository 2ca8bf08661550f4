//! Recording: what a batch of clicks and conversions writes.
//!
//! It is done under one lock, which is what makes the sums exact without a loop of compare-and-swap: a click and its
//! sums go into one transaction. Each day's sums also say how many clicks the days before it had, so that any
//! span is counted by two of them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use parking_lot::MutexGuard;

use super::audit::Writing;
use super::changes::{encode, transact};
use super::records_links::{self, Tallies};
use super::{Store, StoreError, codec, codec_numbers, engine};
use crate::domain::click::{Click, Tally};
use crate::domain::id::LinkId;
use crate::domain::time::{Day, Timestamp};
use crate::domain::variant::Label;

/// A visitor, by the random number in the cookie.
pub type VisitorId = [u8; 16];

/// What there is to record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A click.
    Click(Click),
    /// A visitor who had got a variant converted; counts once per visitor and link.
    Conversion {
        /// The link.
        link_id: LinkId,
        /// The visitor.
        visitor: VisitorId,
        /// The variant that the visitor had got.
        variant: Label,
        /// When.
        at: Timestamp,
    },
}

impl Event {
    fn link_id(&self) -> LinkId {
        match self {
            Self::Click(click) => click.link_id,
            Self::Conversion { link_id, .. } => *link_id,
        }
    }
}

/// The sums of a day while events are added.
struct RunningDay {
    /// Clicks of all days before it.
    before: u64,
    tallies: Tallies,
}

/// What a batch of events writes.
#[derive(Default)]
struct Recording {
    clicks: sled::Batch,
    conversions: sled::Batch,
    converted: BTreeSet<[u8; 32]>,
    days: BTreeMap<(LinkId, Day), RunningDay>,
    totals: BTreeMap<LinkId, Tallies>,
}

impl Store {
    /// Records events, oldest first, in one transaction. What concerns a link that went
    /// with its account is passed over: nobody would purge it. So is, with an error line, what concerns a link whose
    /// sums are damaged: the clicks of all other links must not wait for it.
    ///
    /// # Errors
    /// When the store fails or is closed; then none of them was recorded.
    pub fn record(&self, events: &[Event]) -> Result<(), StoreError> {
        let lock = self.lock_rows()?;
        self.record_under(&lock, events, sled::Batch::default())?;
        drop(lock);
        self.note_events_written();
        Ok(())
    }

    /// The lock under which clicks and rows of usage are written: an account that is being removed takes its own along
    /// before a write or after it, not during it.
    pub(super) fn lock_rows(&self) -> Result<MutexGuard<'_, Writing>, StoreError> {
        let lock = self.writing.lock();
        if lock.is_closed {
            return Err(StoreError::Commit { reason: "the store is closed".to_owned() });
        }
        self.room.check()?;
        Ok(lock)
    }

    /// To be called after a write of events, without the lock.
    pub(super) fn note_events_written(&self) {
        self.writes.note_clicks();
        // Nobody waits for it; but where units are on disk before the answer, nothing commits unless it is asked to.
        let _on_its_way = self.committer.commit_if_due();
    }

    /// Records events, and writes in the same transaction that they are deferred no more.
    pub(super) fn record_under(
        &self,
        _lock: &MutexGuard<'_, Writing>,
        events: &[Event],
        no_longer_deferred: sled::Batch,
    ) -> Result<(), StoreError> {
        let mut recording = Recording::default();
        let mut set_aside = BTreeSet::new();
        for event in events {
            let link = event.link_id();
            if set_aside.contains(&link) || !self.links.has(link) {
                continue;
            }
            match self.add(&mut recording, event) {
                Err(error @ StoreError::Damaged { .. }) => {
                    set_aside.insert(link);
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(link.id = %link, error, "clicks of this link are lost until its sums are restored");
                }
                other => other?,
            }
        }
        let totals = self.write_recording(recording, no_longer_deferred)?;
        for (link, totals) in &totals {
            self.links.note_sums(*link, totals);
        }
        Ok(())
    }

    fn add(&self, recording: &mut Recording, event: &Event) -> Result<(), StoreError> {
        match event {
            Event::Click(click) => {
                let bytes = records_links::click_to_bytes(click).map_err(encode("clicks"))?;
                let day = Day::of(click.clicked_at);
                self.read_sums(recording, click.link_id, day)?;
                recording.clicks.insert(&codec::click_key(click.link_id, click.id), bytes);
                recording.count_click(click.link_id, day, &click.variant);
            }
            Event::Conversion { link_id, visitor, variant, at } => {
                let key = codec::conversion_key(*link_id, *visitor);
                let known = self.trees.conversions.contains_key(key).map_err(engine("look a visitor up"))?;
                if known || recording.converted.contains(&key) {
                    return Ok(());
                }
                let day = Day::of(*at);
                self.read_sums(recording, *link_id, day)?;
                recording.converted.insert(key);
                recording.conversions.insert(&key, codec_numbers::instant_value(&key, *at));
                recording.count_conversion(*link_id, day, variant);
            }
        }
        Ok(())
    }

    /// Reads the sums that an event of `day` changes: of all days, of the day, and, after a clock has stepped back,
    /// of later days, since those count the clicks before them.
    fn read_sums(&self, recording: &mut Recording, link: LinkId, day: Day) -> Result<(), StoreError> {
        if let Entry::Vacant(slot) = recording.totals.entry(link) {
            slot.insert(self.click_totals(link)?);
        }
        if recording.days.contains_key(&(link, day)) {
            return Ok(());
        }
        for row in self.days(link, day, LAST_DAY) {
            let (found, sums) = row?;
            if let Entry::Vacant(slot) = recording.days.entry((link, found)) {
                let before = sums.before.map_or_else(|| self.clicks_before(link, found), Ok)?;
                slot.insert(RunningDay { before, tallies: sums.tallies });
            }
        }
        if !recording.days.contains_key(&(link, day)) {
            // All later days were read with the first one, so an earlier one here is newer than any in the store.
            let earlier = recording.days.range((link, FIRST_DAY)..(link, day)).next_back();
            let before = match earlier {
                Some((_day, sums)) => sums.before.saturating_add(sums.tallies.sum().clicks),
                None => self.clicks_before(link, day)?,
            };
            recording.days.insert((link, day), RunningDay { before, tallies: Tallies::default() });
        }
        Ok(())
    }

    /// Writes it in one transaction; answers the sums of all days of the links that it touched.
    fn write_recording(
        &self,
        recording: Recording,
        no_longer_deferred: sled::Batch,
    ) -> Result<BTreeMap<LinkId, Tallies>, StoreError> {
        let (mut days, mut totals) = (sled::Batch::default(), sled::Batch::default());
        for ((link, day), sums) in &recording.days {
            let bytes = records_links::day_to_bytes(sums.before, &sums.tallies).map_err(encode("click_days"))?;
            days.insert(&codec::click_day_key(*link, *day), bytes);
        }
        for (link, tallies) in &recording.totals {
            let bytes = records_links::tallies_to_bytes(tallies).map_err(encode("click_totals"))?;
            totals.insert(link.as_bytes(), bytes);
        }
        let trees = &self.trees;
        transact(&[
            (&trees.clicks, recording.clicks),
            (&trees.conversions, recording.conversions),
            (&trees.click_days, days),
            (&trees.click_totals, totals),
            (&trees.deferred_events, no_longer_deferred),
        ])?;
        Ok(recording.totals)
    }
}

/// Before and after any day that there is.
pub(super) const FIRST_DAY: Day = Day::from_days(0);
pub(super) const LAST_DAY: Day = Day::from_days(u32::MAX);

impl Recording {
    fn count_click(&mut self, link: LinkId, day: Day, variant: &Label) {
        self.count(link, day, variant, |tally| tally.clicks = tally.clicks.saturating_add(1));
        let later = (Bound::Excluded((link, day)), Bound::Included((link, LAST_DAY)));
        for (_day, sums) in self.days.range_mut(later) {
            sums.before = sums.before.saturating_add(1);
        }
    }

    fn count_conversion(&mut self, link: LinkId, day: Day, variant: &Label) {
        self.count(link, day, variant, |tally| tally.conversions = tally.conversions.saturating_add(1));
    }

    fn count(&mut self, link: LinkId, day: Day, variant: &Label, count: impl Fn(&mut Tally)) {
        let of_day = self.days.get_mut(&(link, day)).map(|sums| &mut sums.tallies);
        let of_all = self.totals.get_mut(&link);
        of_day.into_iter().chain(of_all).filter_map(|tallies| tallies.entry(variant)).for_each(count);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::account::{Account, Terms};
    use crate::domain::click::Device;
    use crate::domain::decision::Limit;
    use crate::domain::id::AccountId;
    use crate::domain::link::{Link, LinkTerms, Slug};
    use crate::domain::plan::{Plan, PlanId};
    use crate::domain::text::{Name, Note};
    use crate::domain::variant::{Variant, Variants, Weight};
    use crate::domain::web::WebUrl;
    use crate::ids;
    use crate::store::{Author, Span, StoreOptions};

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const EVER: Span = Span { start: Timestamp::EPOCH, end: Timestamp::LAST };

    fn start() -> Timestamp {
        Timestamp::parse("2026-01-15T00:00:00Z").unwrap()
    }

    fn click(link_id: LinkId, days: u32) -> Event {
        let clicked_at = start().plus(DAY * days);
        Event::Click(Click {
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
        })
    }

    /// A store with so many links.
    fn with_links(dir: &std::path::Path, links: usize) -> (Store, Vec<LinkId>) {
        let options = StoreOptions { dir: dir.to_owned(), flush_within: Duration::from_millis(100) };
        let plan = Plan {
            id: PlanId::new("scale").unwrap(),
            name: Name::new("Scale").unwrap(),
            api_access: true,
            requests_per_hour: Limit::new(1000),
            best_for: Note::new("").unwrap(),
        };
        let store = Store::open(&options, std::slice::from_ref(&plan)).unwrap();
        let account = Account {
            id: AccountId::from_bytes([1; 16]),
            name: Name::new("test").unwrap(),
            email: None,
            terms: Terms { plan: plan.id, custom_limit: None, trial: None, suspended: false },
            created_at: start(),
            updated_at: start(),
        };
        let by = Author { actor: "test".to_owned(), request_id: "-".to_owned(), at: start() };
        let account_id = store.create_account(account, &by).unwrap().id;
        let variant = Variant {
            label: Label::new("a").unwrap(),
            destination: WebUrl::new("https://example.com/").unwrap(),
            weight: Weight::ALL,
        };
        let terms = LinkTerms::new(Name::new("test").unwrap(), Variants::new(vec![variant]).unwrap());
        let link = |place| Link {
            id: ids::link_id(start()),
            account_id,
            slug: Slug::new(&format!("link-{place}")).unwrap(),
            terms: terms.clone(),
            created_at: start(),
            updated_at: start(),
            deleted_at: None,
        };
        let links: Vec<Link> = (0..links).map(link).collect();
        store.create_links(&links).unwrap();
        let ids = links.iter().map(|link| link.id).collect();
        (store, ids)
    }

    #[test]
    fn damaged_sums_of_one_link_do_not_stop_the_clicks_of_others() {
        let dir = tempfile::tempdir().unwrap();
        let (store, links) = with_links(dir.path(), 3);
        let events: Vec<Event> = links.iter().map(|link| click(*link, 0)).collect();
        store.record(&events).unwrap();
        store.trees.click_totals.insert(links[0].as_bytes(), b"damaged").unwrap();
        store.trees.click_days.insert(codec::click_day_key(links[1], Day::of(start())), b"damaged").unwrap();

        store.record(&events).unwrap();

        assert_eq!(store.click_totals(links[2]).unwrap().sum().clicks, 2);
        assert_eq!(store.click_totals(links[1]).unwrap().sum().clicks, 1);
        assert!(matches!(store.click_totals(links[0]), Err(StoreError::Damaged { tree: "click_totals", .. })));
    }

    #[test]
    fn days_of_the_first_version_are_counted_and_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let (store, links) = with_links(dir.path(), 1);
        let link = links[0];
        store.record(&[click(link, 0), click(link, 1), click(link, 1), click(link, 3)]).unwrap();
        for row in store.days(link, FIRST_DAY, LAST_DAY).collect::<Vec<_>>() {
            let (day, sums) = row.unwrap();
            let bytes = records_links::tallies_to_bytes(&sums.tallies).unwrap();
            store.trees.click_days.insert(codec::click_day_key(link, day), bytes).unwrap();
        }
        assert_eq!(store.list_clicks(link, EVER, 0, 2).unwrap().1, 4);

        // After the last of them, and, with a clock that stepped back, between two.
        store.record(&[click(link, 4), click(link, 2), click(link, 1)]).unwrap();

        let before: Vec<Option<u64>> = store.days(link, FIRST_DAY, LAST_DAY).map(|row| row.unwrap().1.before).collect();
        assert_eq!(before, [None, Some(1), Some(4), Some(5), Some(6)]);
        assert_eq!(store.list_clicks(link, EVER, 0, 2).unwrap().1, 7);
    }
}
