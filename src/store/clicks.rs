//! Clicks and conversions as they are read and purged: rows sorted by link and time, and running sums per day and in
//! all. `recording.rs` writes them.

use std::ops::Bound;

use super::recording::{FIRST_DAY, LAST_DAY, VisitorId};
use super::records_links::{self, DaySums, Tallies};
use super::steps::{self, STEP_ROWS};
use super::{Store, StoreError, Trees, codec, codec_numbers, damaged, engine};
use crate::domain::click::Click;
use crate::domain::id::LinkId;
use crate::domain::time::{Day, Timestamp};

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

/// A span of time, the start included, the end not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first instant.
    pub start: Timestamp,
    /// The first instant after it.
    pub end: Timestamp,
}

impl Store {
    /// The sums of all days of a link.
    ///
    /// # Errors
    /// When the store fails or the record is damaged.
    pub fn click_totals(&self, link: LinkId) -> Result<Tallies, StoreError> {
        read_totals(&self.trees, link)
    }

    /// All clicks of a link that were recorded, from memory; `None` if its sums are damaged.
    #[must_use]
    pub fn click_count(&self, link: LinkId) -> Option<u64> {
        self.links.clicks(link)
    }

    /// The sums of each day of a link that had any, the oldest first.
    ///
    /// # Errors
    /// When the store fails or a record is damaged.
    pub fn click_days(&self, link: LinkId) -> Result<Vec<(Day, Tallies)>, StoreError> {
        self.days(link, FIRST_DAY, LAST_DAY).map(|row| row.map(|(day, sums)| (day, sums.tallies))).collect()
    }

    /// All clicks of a link, the oldest first.
    pub fn clicks_of(&self, link: LinkId) -> impl Iterator<Item = Result<Click, StoreError>> + '_ {
        self.trees.clicks.scan_prefix(link.as_bytes()).map(read_click)
    }

    /// All visitors of a link who converted.
    pub fn conversions_of(&self, link: LinkId) -> impl Iterator<Item = Result<Conversion, StoreError>> + '_ {
        self.trees.conversions.scan_prefix(link.as_bytes()).map(move |row| {
            let (key, at) = row.map_err(engine("list conversions"))?;
            let decoded = || Ok((codec::parse_visitor(&key)?, codec_numbers::parse_instant(&key, &at)?));
            let (visitor, at) = decoded().map_err(damaged("conversions", &key))?;
            Ok(Conversion { link_id: link, visitor, at })
        })
    }

    /// One page of a link's clicks in a span, newest first, after `skip` of them; and how many the span has.
    ///
    /// Whole days are counted by two of their sums and skipped by one each, so a page costs its own rows, the rows of
    /// the days that the span cuts, and a row for each day that is skipped. Days before the first click that is left
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
        let Some(first_kept) = self.first_click_day(link)? else { return Ok((Vec::new(), 0)) };
        let span = Span { start: span.start.max(first_kept.start()), end: span.end };
        if span.start >= span.end {
            return Ok((Vec::new(), 0));
        }
        let total = self.clicks_in(link, span)?;
        if skip >= total {
            return Ok((Vec::new(), total));
        }
        let (span, skip) = self.skip_days(link, span, skip)?;
        Ok((self.read_clicks(link, span, skip, limit)?, total))
    }

    /// Deletes up to a step of a link's clicks before an instant; answers whether more are left. Sums stay.
    ///
    /// # Errors
    /// When the store fails.
    pub fn purge_clicks_step(&self, link: LinkId, before: Timestamp) -> Result<bool, StoreError> {
        let (start, end) = codec::click_range(link, Timestamp::EPOCH, before);
        let clicks = &self.trees.clicks;
        self.purge(|| steps::delete(clicks, clicks.range(start..end).keys(), "purge clicks"))
    }

    /// Purges one step of what is left of the links of deleted accounts; answers whether more is left.
    ///
    /// # Errors
    /// When the store fails.
    pub fn purge_doomed_step(&self) -> Result<bool, StoreError> {
        if !self.room.has_room() {
            return Ok(false);
        }
        // A restore may bring a link back: it begins before a step or after it, not during it.
        let _lock = self.writing.lock();
        let Some(first) = self.trees.doomed_links.first().map_err(engine("list doomed links"))? else {
            return Ok(false);
        };
        let (key, trees) = (first.0, &self.trees);
        for tree in [&trees.clicks, &trees.click_days, &trees.click_totals, &trees.conversions] {
            if steps::delete(tree, tree.scan_prefix(&key).keys(), "purge clicks")? == STEP_ROWS {
                return Ok(true);
            }
        }
        trees.doomed_links.remove(&key).map_err(engine("purge a link"))?;
        self.committer.mark_dirty();
        Ok(true)
    }

    /// How many clicks a link had before a day.
    pub(super) fn clicks_before(&self, link: LinkId, day: Day) -> Result<u64, StoreError> {
        let Some(last) = day.as_days().checked_sub(1).map(Day::from_days) else { return Ok(0) };
        let mut clicks: u64 = 0;
        for row in self.days(link, FIRST_DAY, last).rev() {
            let (_day, sums) = row?;
            clicks = clicks.saturating_add(sums.tallies.sum().clicks);
            if let Some(before) = sums.before {
                return Ok(clicks.saturating_add(before));
            }
        }
        Ok(clicks)
    }

    /// How many clicks a link had in a span: by the sums of its whole days, and by the rows of those that it cuts.
    fn clicks_in(&self, link: LinkId, span: Span) -> Result<u64, StoreError> {
        let (first, last) = (Day::of(span.start), Day::of(span.end));
        let first_whole =
            if span.start == first.start() { first } else { Day::from_days(first.as_days().saturating_add(1)) };
        if first_whole > last {
            return self.count_clicks(link, span);
        }
        let whole = self.clicks_before(link, last)?.saturating_sub(self.clicks_before(link, first_whole)?);
        let head = self.count_clicks(link, Span { start: span.start, end: first_whole.start() })?;
        let tail = self.count_clicks(link, Span { start: last.start(), end: span.end })?;
        Ok(whole.saturating_add(head).saturating_add(tail))
    }

    /// Takes whole days, the newest first, from a span's end as long as they hold clicks that are to be skipped only;
    /// answers the rest of the span, and how many clicks of it are to be skipped.
    fn skip_days(&self, link: LinkId, span: Span, skip: u64) -> Result<(Span, u64), StoreError> {
        let (mut end, mut left) = (span.end, skip);
        if left == 0 {
            return Ok((span, left));
        }
        for row in self.days(link, Day::of(span.start), Day::of(span.end)).rev() {
            let (day, sums) = row?;
            let part = Span { start: span.start.max(day.start()), end: span.end.min(day.end()) };
            let is_whole = part.start == day.start() && part.end == day.end();
            let rows = if is_whole { sums.tallies.sum().clicks } else { self.count_clicks(link, part)? };
            if left < rows {
                break;
            }
            (end, left) = (part.start, left.saturating_sub(rows));
        }
        Ok((Span { start: span.start, end }, left))
    }

    /// The sums of days, both ends included, the oldest first.
    pub(super) fn days(
        &self,
        link: LinkId,
        first: Day,
        last: Day,
    ) -> impl DoubleEndedIterator<Item = Result<(Day, DaySums), StoreError>> + use<> {
        let rows = self.trees.click_days.range(codec::click_day_key(link, first)..=codec::click_day_key(link, last));
        rows.map(|row| {
            let (key, bytes) = row.map_err(engine("list days"))?;
            let decoded = || Ok((codec::parse_click_day_key(&key)?, records_links::day_from_bytes(&bytes)?));
            decoded().map_err(damaged("click_days", &key))
        })
    }

    fn first_click_day(&self, link: LinkId) -> Result<Option<Day>, StoreError> {
        let (start, end) = codec::click_range(link, Timestamp::EPOCH, Timestamp::LAST);
        let first = self.trees.clicks.range(start..end).next().transpose().map_err(engine("list clicks"))?;
        first.map(|(key, bytes)| Ok(Day::of(decode_click(&key, &bytes)?.clicked_at))).transpose()
    }

    fn count_clicks(&self, link: LinkId, span: Span) -> Result<u64, StoreError> {
        if span.start == span.end {
            return Ok(0);
        }
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

pub(super) fn read_totals(trees: &Trees, link: LinkId) -> Result<Tallies, StoreError> {
    let bytes = trees.click_totals.get(link.as_bytes()).map_err(engine("read sums"))?;
    let decoded = bytes.map(|bytes| records_links::tallies_from_bytes(&bytes)).transpose();
    Ok(decoded.map_err(damaged("click_totals", link.as_bytes()))?.unwrap_or_default())
}
