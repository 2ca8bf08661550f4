//! Clicks, conversions and their sums.

use std::collections::BTreeMap;

use super::super::records_links::{self, Tallies};
use super::super::{Event, StoreError, Trees, codec, codec_numbers, engine, records_deferred};
use super::Walk;
use crate::domain::click::Tally;
use crate::domain::id::LinkId;
use crate::domain::time::Day;

/// The clicks of one link that were met on the walk.
struct Met {
    link: LinkId,
    days: BTreeMap<Day, u64>,
}

impl Walk {
    pub(super) fn clicks(&mut self, trees: &Trees) {
        let mut met: Option<Met> = None;
        self.each("clicks", &trees.clicks, |walk, key, bytes| {
            let parsed = codec::parse_click_key(key);
            let decoded = parsed.and_then(|(link, click)| records_links::click_from_bytes(link, click, bytes));
            let Some(click) = walk.decoded("clicks", key, decoded) else { return Ok(()) };
            if met.as_ref().is_none_or(|met| met.link != click.link_id) {
                walk.belongs("clicks", key, trees, click.link_id)?;
                let done = met.replace(Met { link: click.link_id, days: BTreeMap::new() });
                done.map_or(Ok(()), |done| walk.days_of(trees, &done))?;
            }
            if let Some(met) = &mut met {
                let rows = met.days.entry(Day::of(click.clicked_at)).or_default();
                *rows = rows.saturating_add(1);
            }
            Ok(())
        });
        if let Some(Err(error)) = met.map(|met| self.days_of(trees, &met)) {
            self.fault("click_days", &[], super::chain(&error));
        }
        let mut earlier = None;
        self.each("click_days", &trees.click_days, |walk, key, bytes| walk.day(trees, &mut earlier, key, bytes));
        self.each("click_totals", &trees.click_totals, |walk, id, bytes| walk.totals(trees, id, bytes));
        self.each("deferred_events", &trees.deferred_events, |walk, number, bytes| {
            let decoded = codec::parse_number(number).and_then(|_number| records_deferred::events_from_bytes(bytes));
            for event in walk.decoded("deferred_events", number, decoded).into_iter().flatten() {
                walk.is_yet_to_be_recorded(trees, number, &event)?;
            }
            Ok(())
        });
        self.each("conversions", &trees.conversions, |walk, key, at| {
            walk.decoded(
                "conversions",
                key,
                codec::parse_visitor(key).and_then(|_visitor| codec_numbers::parse_instant(key, at)),
            );
            let link = key.split_last_chunk::<16>().map_or(key, |(link, _visitor)| link);
            match codec::parse_link_id(link) {
                Ok(link) => walk.belongs("conversions", key, trees, link),
                Err(_fault_already) => Ok(()),
            }
        });
    }

    /// A click that is deferred has no row yet, or it would be counted twice.
    fn is_yet_to_be_recorded(&mut self, trees: &Trees, number: &[u8], event: &Event) -> Result<(), StoreError> {
        let Event::Click(click) = event else { return Ok(()) };
        let key = codec::click_key(click.link_id, click.id);
        if trees.clicks.contains_key(key).map_err(engine("look a row up"))? {
            self.fault("deferred_events", number, format!("click {} is recorded already", click.id));
        }
        Ok(())
    }

    /// The sums of a day. `earlier`: a link, and how many clicks its days so far have, unless one did not decode.
    fn day(
        &mut self,
        trees: &Trees,
        earlier: &mut Option<(Vec<u8>, Option<u64>)>,
        key: &[u8],
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let decoded = codec::parse_click_day_key(key).and_then(|_day| records_links::day_from_bytes(bytes));
        let sums = self.decoded("click_days", key, decoded);
        let link = key.split_last_chunk::<4>().map_or(key, |(link, _day)| link);
        if trees.doomed_links.contains_key(link).map_err(engine("look a row up"))? {
            return Ok(());
        }
        let same_link = earlier.take().filter(|(of, _clicks)| of == link);
        let had = same_link.map_or(Some(0), |(_of, clicks)| clicks);
        let said = sums.as_ref().and_then(|sums| sums.before);
        if let (Some(had), Some(said)) = (had, said)
            && had != said
        {
            self.fault("click_days", key, format!("it says {said} clicks on the days before it, and they have {had}"));
        }
        let clicks = had.zip(sums).map(|(had, sums)| had.saturating_add(sums.tallies.sum().clicks));
        *earlier = Some((link.to_vec(), clicks));
        self.require("click_days", key, &trees.click_totals, "click_totals", link)
    }

    /// The link that a row is of must be there, or be one whose rows are being purged.
    fn belongs(&mut self, tree: &'static str, key: &[u8], trees: &Trees, link: LinkId) -> Result<(), StoreError> {
        let doomed = trees.doomed_links.contains_key(link.as_bytes()).map_err(engine("look a row up"))?;
        if doomed { Ok(()) } else { self.require(tree, key, &trees.links, "links", link.as_bytes()) }
    }

    /// Of each day there are as many clicks as it counts. Retention purges the oldest first and keeps the sums, so
    /// the first day that is left may have fewer, and those before it none.
    fn days_of(&mut self, trees: &Trees, met: &Met) -> Result<(), StoreError> {
        let Met { link, days } = met;
        if trees.doomed_links.contains_key(link.as_bytes()).map_err(engine("look a row up"))? {
            return Ok(());
        }
        let Some((&first, _rows)) = days.first_key_value() else { return Ok(()) };
        let from = codec::click_day_key(*link, first);
        let mut left = days.clone();
        for row in trees.click_days.range(from..=codec::click_day_key(*link, Day::from_days(u32::MAX))) {
            let (key, bytes) = row.map_err(engine("read sums"))?;
            let parsed = codec::parse_click_day_key(&key).and_then(|day| {
                let sums = records_links::day_from_bytes(&bytes)?;
                Ok((day, sums.tallies.sum().clicks))
            });
            // One that does not decode is a fault of its own.
            let Ok((day, counted)) = parsed else { continue };
            let rows = left.remove(&day).unwrap_or(0);
            if rows > counted || (rows < counted && day != first) {
                self.fault("click_days", &key, format!("it counts {counted} clicks of {day}, and there are {rows}"));
            }
        }
        for (day, rows) in left {
            let key = codec::click_day_key(*link, day);
            if !trees.click_days.contains_key(key).map_err(engine("look a row up"))? {
                self.fault("click_days", &key, format!("there are {rows} clicks of {day}, and nothing counts them"));
            }
        }
        Ok(())
    }

    /// The sums of all days are the sum of the days'. A dump of an earlier build that ran beside a conversion may
    /// have the visitor and not the sum, but never the sum and not the visitor.
    fn totals(&mut self, trees: &Trees, id: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let link = self.decoded("click_totals", id, codec::parse_link_id(id));
        let totals = self.decoded("click_totals", id, records_links::tallies_from_bytes(bytes));
        let (Some(link), Some(totals)) = (link, totals) else { return Ok(()) };
        self.belongs("click_totals", id, trees, link)?;
        if trees.doomed_links.contains_key(id).map_err(engine("look a row up"))? {
            return Ok(());
        }
        let mut days = Tallies::default();
        for row in trees.click_days.scan_prefix(id).values() {
            let Ok(day) = records_links::day_from_bytes(&row.map_err(engine("read sums"))?) else { return Ok(()) };
            days.add(&day.tallies);
        }
        let (total, summed) = (totals.sum(), days.sum());
        if total != summed {
            let count = |tally: Tally| format!("{} clicks and {} conversions", tally.clicks, tally.conversions);
            self.fault("click_totals", id, format!("it has {}, and its days {}", count(total), count(summed)));
        }
        let visitors = trees.conversions.scan_prefix(id).keys().count();
        if u64::try_from(visitors).unwrap_or(u64::MAX) < total.conversions {
            let conversions = total.conversions;
            self.fault("conversions", id, format!("{conversions} visitors converted, and there are {visitors}"));
        }
        Ok(())
    }
}
