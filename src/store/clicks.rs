//! Clicks and conversions in the store: rows sorted by link and time, and running sums per day and in all.
//!
//! They are written by one thread (`recorder.rs`), which is what makes the sums exact without a loop of
//! compare-and-swap: a click and its sums go into one transaction.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;

use super::changes::{encode, transact};
use super::records_links::{self, Tallies};
use super::{Store, StoreError, codec, damaged, engine};
use crate::domain::click::Click;
use crate::domain::id::LinkId;
use crate::domain::time::{Day, Timestamp};
use crate::domain::variant::Label;

/// Rows that one purge step deletes, as for counters.
const PURGE_STEP_ROWS: usize = 1000;

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

/// A visitor who converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversion {
    /// The link.
    pub link_id: LinkId,
    /// The visitor.
    pub visitor: VisitorId,
    /// When.
    pub at: Timestamp,
}

impl Event {
    fn link_id(&self) -> LinkId {
        match self {
            Self::Click(click) => click.link_id,
            Self::Conversion { link_id, .. } => *link_id,
        }
    }
}

/// A span of time, the start included, the end not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first instant.
    pub start: Timestamp,
    /// The first instant after it.
    pub end: Timestamp,
}

/// What a batch of events changes.
#[derive(Default)]
struct Sums {
    days: BTreeMap<(LinkId, Day), Tallies>,
    totals: BTreeMap<LinkId, Tallies>,
}

impl Store {
    /// Records events, oldest first, in one transaction. For the one recorder only. What concerns a link that went
    /// with its account is passed over: nobody would purge it.
    ///
    /// # Errors
    /// When the store fails or is closed; then none of them was recorded.
    pub fn record(&self, events: &[Event]) -> Result<(), StoreError> {
        // An account that is being removed takes its links along before the write or after it, not during it.
        let lock = self.writing.lock();
        if lock.is_closed {
            return Err(StoreError::Commit { reason: "the store is closed".to_owned() });
        }
        let (mut clicks, mut conversions) = (sled::Batch::default(), sled::Batch::default());
        let (mut sums, mut converted, mut links) = (Sums::default(), BTreeMap::new(), BTreeMap::new());
        for event in events {
            if !self.has_link(&mut links, event.link_id())? {
                continue;
            }
            match event {
                Event::Click(click) => {
                    let bytes = records_links::click_to_bytes(click).map_err(encode("clicks"))?;
                    clicks.insert(&codec::click_key(click.link_id, click.id), bytes);
                    let day = Day::of(click.clicked_at);
                    self.add(&mut sums, click.link_id, day, |tallies| {
                        if let Some(tally) = tallies.entry(&click.variant) {
                            tally.clicks = tally.clicks.saturating_add(1);
                        }
                    })?;
                }
                Event::Conversion { link_id, visitor, variant, at } => {
                    let key = codec::conversion_key(*link_id, *visitor);
                    let known = self.trees.conversions.contains_key(key).map_err(engine("look a visitor up"))?;
                    if known || converted.insert(key, ()).is_some() {
                        continue;
                    }
                    conversions.insert(&key, &codec::instant_value(*at));
                    self.add(&mut sums, *link_id, Day::of(*at), |tallies| {
                        if let Some(tally) = tallies.entry(variant) {
                            tally.conversions = tally.conversions.saturating_add(1);
                        }
                    })?;
                }
            }
        }
        self.write_events(clicks, conversions, &sums)?;
        drop(lock);
        // Nobody waits for it; but where units are on disk before the answer, nothing commits unless it is asked to.
        let _on_its_way = self.committer.commit_if_due();
        Ok(())
    }

    /// The sums of all days of a link.
    ///
    /// # Errors
    /// When the store fails or the record is damaged.
    pub fn click_totals(&self, link: LinkId) -> Result<Tallies, StoreError> {
        read_tallies(&self.trees.click_totals, "click_totals", link.as_bytes())
    }

    /// The sums of each day of a link that had any, the oldest first.
    ///
    /// # Errors
    /// When the store fails or a record is damaged.
    pub fn click_days(&self, link: LinkId) -> Result<Vec<(Day, Tallies)>, StoreError> {
        self.days_between(link, Day::of(Timestamp::EPOCH), Day::of(Timestamp::LAST))
    }

    /// All clicks of a link, the oldest first.
    pub fn clicks_of(&self, link: LinkId) -> impl Iterator<Item = Result<Click, StoreError>> + '_ {
        self.trees.clicks.scan_prefix(link.as_bytes()).map(read_click)
    }

    /// All visitors of a link who converted.
    pub fn conversions_of(&self, link: LinkId) -> impl Iterator<Item = Result<Conversion, StoreError>> + '_ {
        self.trees.conversions.scan_prefix(link.as_bytes()).map(move |row| {
            let (key, at) = row.map_err(engine("list conversions"))?;
            let decoded = || Ok((codec::parse_visitor(&key)?, codec::parse_instant(&at)?));
            let (visitor, at) = decoded().map_err(damaged("conversions", &key))?;
            Ok(Conversion { link_id: link, visitor, at })
        })
    }

    /// One page of a link's clicks in a span, newest first, after `skip` of them; and how many the span has.
    ///
    /// Whole days are counted and skipped by their sums, so a page costs its own rows, the rows of the days that the
    /// span or the page cuts, and one row for each other day of the span. Days before the first click that is left
    /// were purged.
    ///
    /// # Errors
    /// When the store fails or a record is damaged.
    pub fn list_clicks(
        &self,
        link: LinkId,
        span: Span,
        skip: u64,
        limit: usize,
    ) -> Result<(Vec<Click>, u64), StoreError> {
        let (mut total, mut left_to_skip, mut clicks) = (0_u64, skip, Vec::new());
        let Some(first_kept) = self.first_click_day(link)? else { return Ok((clicks, total)) };
        let first = Day::of(span.start).max(first_kept);
        for (day, tallies) in self.days_between(link, first, Day::of(span.end))?.into_iter().rev() {
            let part = Span { start: span.start.max(day.start()), end: span.end.min(day.end()) };
            if part.start >= part.end {
                continue;
            }
            let is_whole = part.start == day.start() && part.end == day.end();
            let rows = if is_whole { tallies.sum().clicks } else { self.count_clicks(link, part)? };
            total = total.saturating_add(rows);
            if left_to_skip >= rows {
                left_to_skip = left_to_skip.saturating_sub(rows);
                continue;
            }
            let wanted = limit.saturating_sub(clicks.len());
            clicks.extend(self.read_clicks(link, part, left_to_skip, wanted)?);
            left_to_skip = 0;
        }
        Ok((clicks, total))
    }

    /// Deletes up to a step of a link's clicks before an instant; answers whether more are left. Sums stay.
    ///
    /// # Errors
    /// When the store fails.
    pub fn purge_clicks_step(&self, link: LinkId, before: Timestamp) -> Result<bool, StoreError> {
        let (start, end) = codec::click_range(link, Timestamp::EPOCH, before);
        let mut batch = sled::Batch::default();
        let mut rows: usize = 0;
        for key in self.trees.clicks.range(start..end).keys().take(PURGE_STEP_ROWS) {
            batch.remove(key.map_err(engine("list clicks"))?);
            rows = rows.saturating_add(1);
        }
        if rows > 0 {
            self.trees.clicks.apply_batch(batch).map_err(engine("purge clicks"))?;
            self.committer.mark_dirty();
        }
        Ok(rows == PURGE_STEP_ROWS)
    }

    /// Purges one step of what is left of the links of deleted accounts; answers whether more is left.
    ///
    /// # Errors
    /// When the store fails.
    pub fn purge_doomed_step(&self) -> Result<bool, StoreError> {
        // A restore may bring a link back: it begins before a step or after it, not during it.
        let _lock = self.writing.lock();
        let Some(first) = self.trees.doomed_links.first().map_err(engine("list doomed links"))? else {
            return Ok(false);
        };
        let (key, trees) = (first.0, &self.trees);
        for tree in [&trees.clicks, &trees.click_days, &trees.click_totals, &trees.conversions] {
            let mut batch = sled::Batch::default();
            let mut rows: usize = 0;
            for row in tree.scan_prefix(&key).keys().take(PURGE_STEP_ROWS) {
                batch.remove(row.map_err(engine("list clicks"))?);
                rows = rows.saturating_add(1);
            }
            tree.apply_batch(batch).map_err(engine("purge clicks"))?;
            if rows == PURGE_STEP_ROWS {
                return Ok(true);
            }
        }
        trees.doomed_links.remove(&key).map_err(engine("purge a link"))?;
        self.committer.mark_dirty();
        Ok(true)
    }

    fn has_link(&self, known: &mut BTreeMap<LinkId, bool>, link: LinkId) -> Result<bool, StoreError> {
        Ok(match known.entry(link) {
            Entry::Occupied(slot) => *slot.get(),
            Entry::Vacant(slot) => {
                *slot.insert(self.trees.links.contains_key(link.as_bytes()).map_err(engine("look a link up"))?)
            }
        })
    }

    /// The sums of days, both ends included, the oldest first.
    fn days_between(&self, link: LinkId, first: Day, last: Day) -> Result<Vec<(Day, Tallies)>, StoreError> {
        if first > last {
            return Ok(Vec::new());
        }
        let rows = self.trees.click_days.range(codec::click_day_key(link, first)..=codec::click_day_key(link, last));
        rows.map(|row| {
            let (key, bytes) = row.map_err(engine("list days"))?;
            let decoded = || Ok((codec::parse_click_day_key(&key)?, records_links::tallies_from_bytes(&bytes)?));
            decoded().map_err(damaged("click_days", &key))
        })
        .collect()
    }

    fn first_click_day(&self, link: LinkId) -> Result<Option<Day>, StoreError> {
        let (start, end) = codec::click_range(link, Timestamp::EPOCH, Timestamp::LAST);
        let first = self.trees.clicks.range(start..end).next().transpose().map_err(engine("list clicks"))?;
        first.map(|(key, bytes)| Ok(Day::of(decode_click(&key, &bytes)?.clicked_at))).transpose()
    }

    fn count_clicks(&self, link: LinkId, span: Span) -> Result<u64, StoreError> {
        let (start, end) = codec::click_range(link, span.start, span.end);
        self.trees.clicks.range(start..end).keys().try_fold(0_u64, |rows, key| {
            key.map_err(engine("count clicks"))?;
            Ok(rows.saturating_add(1))
        })
    }

    fn read_clicks(&self, link: LinkId, span: Span, skip: u64, limit: usize) -> Result<Vec<Click>, StoreError> {
        let (start, end) = codec::click_range(link, span.start, span.end);
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let range = (Bound::Included(start), Bound::Excluded(end));
        let rows = self.trees.clicks.range(range).rev().skip(skip).take(limit);
        rows.map(read_click).collect()
    }

    fn add(&self, sums: &mut Sums, link: LinkId, day: Day, add: impl Fn(&mut Tallies)) -> Result<(), StoreError> {
        if let Entry::Vacant(slot) = sums.days.entry((link, day)) {
            slot.insert(read_tallies(&self.trees.click_days, "click_days", &codec::click_day_key(link, day))?);
        }
        if let Entry::Vacant(slot) = sums.totals.entry(link) {
            slot.insert(self.click_totals(link)?);
        }
        sums.days.get_mut(&(link, day)).map(&add);
        sums.totals.get_mut(&link).map(&add);
        Ok(())
    }

    fn write_events(&self, clicks: sled::Batch, conversions: sled::Batch, sums: &Sums) -> Result<(), StoreError> {
        let (mut days, mut totals) = (sled::Batch::default(), sled::Batch::default());
        for ((link, day), tallies) in &sums.days {
            let bytes = records_links::tallies_to_bytes(tallies).map_err(encode("click_days"))?;
            days.insert(&codec::click_day_key(*link, *day), bytes);
        }
        for (link, tallies) in &sums.totals {
            let bytes = records_links::tallies_to_bytes(tallies).map_err(encode("click_totals"))?;
            totals.insert(link.as_bytes(), bytes);
        }
        let trees = &self.trees;
        transact(&[
            (&trees.clicks, clicks),
            (&trees.conversions, conversions),
            (&trees.click_days, days),
            (&trees.click_totals, totals),
        ])
    }
}

fn read_click(row: sled::Result<(sled::IVec, sled::IVec)>) -> Result<Click, StoreError> {
    let (key, bytes) = row.map_err(engine("list clicks"))?;
    decode_click(&key, &bytes)
}

fn decode_click(key: &[u8], bytes: &[u8]) -> Result<Click, StoreError> {
    let decoded =
        codec::parse_click_key(key).and_then(|(link, click)| records_links::click_from_bytes(link, click, bytes));
    decoded.map_err(damaged("clicks", key))
}

fn read_tallies(tree: &sled::Tree, name: &'static str, key: &[u8]) -> Result<Tallies, StoreError> {
    let bytes = tree.get(key).map_err(engine("read sums"))?;
    let decoded = bytes.map(|bytes| records_links::tallies_from_bytes(&bytes)).transpose();
    Ok(decoded.map_err(damaged(name, key))?.unwrap_or_default())
}
