//! One account's usage of one hour, as it is kept in memory: small, since a million accounts may have one each.
//!
//! It is bounded, so that whoever makes endpoints up fills nothing: what has no place of its own is counted together.

use std::{mem, slice};

use super::endpoint::EndpointName;
use super::id::KeyId;
use super::usage::{Change, OTHER_KEYS, Tally};
use super::window::Window;

/// Endpoints of an account and hour that have rows of their own: more than anybody reads. The rest are `other`.
const ENDPOINTS_MAX: usize = 200;
/// Rows of an account and hour, of a key and an endpoint each, before a new one is the key's `other`: five keys with all
/// endpoints, or a hundred keys with ten. Before it is that of [`OTHER_KEYS`]: twice as many.
const ROWS_MAX: usize = 1000;
/// With fewer rows there is room for no more than there are: most accounts have one key and few endpoints.
const ROWS_EXACT: usize = 4;

/// Rows by key and endpoint. A single one, as most accounts have, needs no place of its own.
#[derive(Debug)]
enum Rows {
    One(Row),
    Any(Vec<Row>),
}

/// What an account's requests of one hour came to, by key and by endpoint.
#[derive(Debug)]
pub struct HourUsage {
    window: Window,
    /// By key and endpoint.
    rows: Rows,
    endpoints: u16,
    has_unwritten: bool,
    /// Whether the rows say what all requests came to, and not only those since this was made.
    is_whole: bool,
}

#[derive(Debug)]
struct Row {
    key_id: KeyId,
    endpoint: EndpointName,
    figures: Figures,
    kept: Kept,
}

/// Where it is kept what a row came to, besides memory. Each place is later than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kept {
    /// Nowhere, or in what will not be kept.
    Nowhere,
    /// In the journal, since its turn with this number: with each turn it leaves what is in it from before.
    InJournal(u32),
    /// In the row itself.
    InRow,
}

/// A tally. The first form is a fifth of the size, and most rows never need the other.
#[derive(Debug)]
enum Figures {
    Few(Change),
    Many(Box<Tally>),
}

impl HourUsage {
    /// Nothing yet, of requests from now on.
    #[must_use]
    pub fn new(window: Window) -> Self {
        Self { window, rows: Rows::Any(Vec::new()), endpoints: 0, has_unwritten: false, is_whole: false }
    }

    /// The hour.
    #[must_use]
    pub fn window(&self) -> Window {
        self.window
    }

    /// Whether the rows say what all requests of the hour came to.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Adds what a request came to. Answers whether all of it was written before.
    pub fn add(&mut self, key_id: KeyId, endpoint: &EndpointName, change: &Change) -> bool {
        let Some(row) = self.row_for(key_id, endpoint) else { return false };
        row.figures.add(change);
        row.kept = Kept::Nowhere;
        !mem::replace(&mut self.has_unwritten, true)
    }

    /// Says what a row is that was kept, whatever was known of it. It has a place of its own because it had one.
    pub fn set(&mut self, key_id: KeyId, endpoint: &EndpointName, tally: Tally, kept: Kept) {
        let at = self.find(key_id, endpoint).unwrap_or_else(|_none| self.insert(key_id, endpoint.clone()));
        if let Some(row) = self.rows.as_mut_slice().get_mut(at) {
            row.figures = Figures::of(tally);
            row.kept = kept;
            self.has_unwritten |= kept == Kept::Nowhere;
        }
    }

    /// Adds what came later.
    pub fn add_later(&mut self, later: Self) {
        self.has_unwritten |= later.has_unwritten;
        for Row { key_id, endpoint, figures, kept } in later.rows.into_iter() {
            if let Some(row) = self.row_for(key_id, &endpoint) {
                row.figures = figures.after(&row.figures);
                row.kept = row.kept.min(kept);
            }
        }
    }

    /// Adds what is known of the hour from before this was made, and says from now on what all requests came to.
    pub fn add_earlier(&mut self, mut earlier: Self) {
        if !earlier.rows.as_slice().is_empty() {
            earlier.add_later(mem::replace(self, Self::new(self.window)));
            *self = earlier;
        }
        self.is_whole = true;
    }

    /// What each row came to.
    pub fn rows(&self) -> impl Iterator<Item = (KeyId, &EndpointName, Tally)> {
        self.rows.as_slice().iter().map(Row::figures)
    }

    /// What the rows came to that are kept nowhere. They are taken for kept in the journal's `turn` from now on.
    pub fn take_unwritten(&mut self, turn: u32) -> impl Iterator<Item = (KeyId, &EndpointName, Tally)> {
        self.has_unwritten = false;
        self.take(Kept::InJournal(0), Kept::InJournal(turn))
    }

    /// The same, and of those that are in the journal from earlier turns only.
    pub fn take_left_behind(&mut self, turn: u32) -> impl Iterator<Item = (KeyId, &EndpointName, Tally)> {
        self.has_unwritten = false;
        self.take(Kept::InJournal(turn), Kept::InJournal(turn))
    }

    /// The same of those that are kept nowhere else but in the journal, where all of them are. They are taken for kept in
    /// rows from now on.
    pub fn take_unfolded(&mut self) -> impl Iterator<Item = (KeyId, &EndpointName, Tally)> {
        self.take(Kept::InRow, Kept::InRow)
    }

    /// Nothing is kept anywhere, as far as is known.
    pub fn unwrite(&mut self) {
        self.rows.as_mut_slice().iter_mut().for_each(|row| row.kept = Kept::Nowhere);
        self.has_unwritten = !self.rows.as_slice().is_empty();
    }

    /// Rows that are kept before a place; from now on they are kept in another.
    fn take(&mut self, before: Kept, kept: Kept) -> impl Iterator<Item = (KeyId, &EndpointName, Tally)> {
        let taken = self.rows.as_mut_slice().iter_mut().filter(move |row| row.kept < before);
        taken.map(move |row| {
            row.kept = kept;
            row.figures()
        })
    }

    /// The row for a key and an endpoint, or another one if there is no place for it.
    fn row_for(&mut self, key_id: KeyId, endpoint: &EndpointName) -> Option<&mut Row> {
        let at = self.find(key_id, endpoint).unwrap_or_else(|_none| self.place(key_id, endpoint));
        self.rows.as_mut_slice().get_mut(at)
    }

    fn find(&self, key_id: KeyId, endpoint: &EndpointName) -> Result<usize, usize> {
        self.rows.as_slice().binary_search_by(|row| row.key_id.cmp(&key_id).then_with(|| row.endpoint.cmp(endpoint)))
    }

    /// Where a change goes whose row there is none of yet.
    fn place(&mut self, key_id: KeyId, endpoint: &EndpointName) -> usize {
        let has_place = usize::from(self.endpoints) < ENDPOINTS_MAX || self.knows(endpoint);
        if has_place && self.rows.as_slice().len() < ROWS_MAX {
            return self.insert(key_id, endpoint.clone());
        }
        let keys_have_place = self.rows.as_slice().len() < ROWS_MAX.saturating_mul(2);
        let key_id = if keys_have_place { key_id } else { OTHER_KEYS };
        self.find(key_id, &EndpointName::OTHER).unwrap_or_else(|_none| self.insert(key_id, EndpointName::OTHER))
    }

    /// Whether there are rows for an endpoint; for `other` none are kept apart.
    fn knows(&self, endpoint: &EndpointName) -> bool {
        *endpoint == EndpointName::OTHER || self.rows.as_slice().iter().any(|row| row.endpoint == *endpoint)
    }

    fn insert(&mut self, key_id: KeyId, endpoint: EndpointName) -> usize {
        self.endpoints = self.endpoints.saturating_add((!self.knows(&endpoint)).into());
        let at = self.find(key_id, &endpoint).unwrap_or_else(|at| at);
        self.rows.insert(at, Row { key_id, endpoint, figures: Figures::Few(Change::default()), kept: Kept::InRow });
        at
    }
}

impl Rows {
    fn as_slice(&self) -> &[Row] {
        match self {
            Self::One(row) => slice::from_ref(row),
            Self::Any(rows) => rows,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [Row] {
        match self {
            Self::One(row) => slice::from_mut(row),
            Self::Any(rows) => rows,
        }
    }

    fn insert(&mut self, at: usize, row: Row) {
        let mut rows = match mem::replace(self, Self::Any(Vec::new())) {
            Self::Any(rows) if rows.is_empty() => {
                *self = Self::One(row);
                return;
            }
            Self::One(only) => vec![only],
            Self::Any(rows) => rows,
        };
        if rows.len() < ROWS_EXACT {
            rows.reserve_exact(1);
        }
        rows.insert(at, row);
        *self = Self::Any(rows);
    }

    fn into_iter(self) -> impl Iterator<Item = Row> {
        let (one, any) = match self {
            Self::One(row) => (Some(row), Vec::new()),
            Self::Any(rows) => (None, rows),
        };
        one.into_iter().chain(any)
    }
}

impl Row {
    fn figures(&self) -> (KeyId, &EndpointName, Tally) {
        (self.key_id, &self.endpoint, self.figures.tally())
    }
}

impl Figures {
    fn of(tally: Tally) -> Self {
        let few = Change::of(&tally);
        few.map_or_else(|| Self::Many(Box::new(tally)), Self::Few)
    }

    fn tally(&self) -> Tally {
        self.added_to(Tally::default())
    }

    fn added_to(&self, mut tally: Tally) -> Tally {
        match self {
            Self::Few(sum) => tally.add_change(sum),
            Self::Many(own) => tally.add(own),
        }
        tally
    }

    fn after(&self, earlier: &Self) -> Self {
        Self::of(self.added_to(earlier.tally()))
    }

    fn add(&mut self, change: &Change) {
        match self {
            Self::Few(sum) => match sum.and(change) {
                Some(both) => *sum = both,
                None => {
                    let mut tally = self.tally();
                    tally.add_change(change);
                    *self = Self::of(tally);
                }
            },
            Self::Many(tally) => tally.add_change(change),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::decision::Cost;

    const HOUR: Window = Window::from_hours(7);

    fn key(number: u8) -> KeyId {
        KeyId::from_bytes([number; 16])
    }

    fn name(path: &str) -> EndpointName {
        EndpointName::of_route("GET", path)
    }

    fn used(hour: &HourUsage) -> Vec<(KeyId, String, u64)> {
        hour.rows().map(|(key, name, tally)| (key, name.to_string(), tally.used)).collect()
    }

    #[test]
    fn a_row_is_taken_once_for_each_place_where_it_is_kept() {
        let mut hour = HourUsage::new(HOUR);
        assert!(hour.add(key(1), &name("/a"), &Change::counted(Cost::ONE)));
        assert!(!hour.add(key(2), &name("/a"), &Change::counted(Cost::ONE)), "it is on a list already");
        assert_eq!([1, 1].map(|turn| hour.take_unwritten(turn).count()), [2, 0]);

        assert!(hour.add(key(2), &name("/a"), &Change::denied()));
        assert_eq!([2, 2].map(|turn| hour.take_unwritten(turn).count()), [1, 0]);
        assert_eq!([1, 2, 2].map(|turn| hour.take_left_behind(turn).count()), [0, 1, 0]);
        assert_eq!([(); 2].map(|()| hour.take_unfolded().count()), [2, 0]);
        assert_eq!(hour.take_left_behind(3).count(), 0, "what is in rows need not be in the journal");

        hour.unwrite();
        assert_eq!((hour.take_left_behind(3).count(), hour.take_unfolded().count()), (2, 2));
    }

    #[test]
    fn what_came_earlier_and_what_came_later_is_added_row_by_row() {
        let mut earlier = HourUsage::new(HOUR);
        let tally = Tally { used: u64::from(u32::MAX), ..Tally::default() };
        earlier.set(key(1), &name("/a"), tally, Kept::InRow);
        earlier.set(key(3), &name("/a"), tally, Kept::InRow);
        let (mut hour, mut later) = (HourUsage::new(HOUR), HourUsage::new(HOUR));
        hour.add(key(1), &name("/a"), &Change::counted(Cost::ONE));
        later.add(key(2), &name("/a"), &Change::counted(Cost::ONE));
        later.add(key(1), &name("/a"), &Change::counted(Cost::ONE));

        hour.add_earlier(earlier);
        hour.add_later(later);

        let most = u64::from(u32::MAX);
        let wanted = [(1, most + 2), (2, 1), (3, most)].map(|(number, used)| (key(number), "GET /a".to_owned(), used));
        assert_eq!((used(&hour), hour.is_whole()), (wanted.to_vec(), true));
        assert_eq!(hour.take_unwritten(1).count(), 2);
    }

    #[test]
    fn answers_of_any_buckets_are_told_apart() {
        let mut hour = HourUsage::new(HOUR);
        for took_ms in [0, 3, 3, 70, 0] {
            hour.add(key(1), &name("/a"), &Change::answered(took_ms == 70, Duration::from_millis(took_ms)));
        }
        let tally = hour.rows().next().unwrap().2;
        assert_eq!((tally.errors, &tally.latency.0[..6]), (1, &[2, 0, 2, 0, 0, 0][..]));
        assert_eq!(tally.latency.answers(), 5);
    }

    #[test]
    fn most_hours_take_64_bytes() {
        assert_eq!((size_of::<Row>(), size_of::<HourUsage>()), (56, 64));
    }
}
