//! One account's usage of one hour, as it is kept in memory: small, since a million accounts may have one each.
//!
//! It is bounded, so that whoever makes endpoints up fills nothing: what has no place of its own is counted together.

use super::endpoint::EndpointName;
use super::id::KeyId;
use super::usage::{Change, OTHER_KEYS, Tally};
use super::window::Window;

/// Endpoints of an account and hour that have rows of their own: more than anybody reads. The rest are `other`.
pub const ENDPOINTS_MAX: usize = 200;
/// Rows of an account and hour, of a key and an endpoint each, before a new one is the key's `other`: five keys with all
/// endpoints, or a hundred keys with ten. Before it is that of [`OTHER_KEYS`]: twice as many.
const ROWS_MAX: usize = 1000;
/// With fewer rows there is room for no more than there are: most accounts have one key and few endpoints.
const ROWS_EXACT: usize = 4;

/// What an account's requests of one hour came to, by key and by endpoint.
#[derive(Debug)]
pub struct HourUsage {
    window: Window,
    /// By key and endpoint.
    rows: Vec<Row>,
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
    is_unwritten: bool,
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
        Self { window, rows: Vec::new(), endpoints: 0, has_unwritten: false, is_whole: false }
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
        row.is_unwritten = true;
        !std::mem::replace(&mut self.has_unwritten, true)
    }

    /// Says what a row is that was kept, whatever was known of it. It is taken for written, and has a place of its own
    /// because it had one.
    pub fn set(&mut self, key_id: KeyId, endpoint: &EndpointName, tally: Tally) {
        let at = self.find(key_id, endpoint).unwrap_or_else(|_none| self.insert(key_id, endpoint.clone()));
        if let Some(row) = self.rows.get_mut(at) {
            row.figures = Figures::of(tally);
            row.is_unwritten = false;
        }
    }

    /// Adds what is known of the hour from before this was made, and says from now on what all requests came to.
    pub fn add_earlier(&mut self, mut earlier: Self) {
        self.is_whole = true;
        if earlier.rows.is_empty() {
            return;
        }
        for Row { key_id, endpoint, figures, is_unwritten } in std::mem::take(&mut self.rows) {
            if let Some(row) = earlier.row_for(key_id, &endpoint) {
                row.figures = figures.after(&row.figures);
                row.is_unwritten |= is_unwritten;
            }
        }
        (self.rows, self.endpoints) = (earlier.rows, earlier.endpoints);
    }

    /// What each row came to.
    pub fn rows(&self) -> impl Iterator<Item = (KeyId, &EndpointName, Tally)> {
        self.rows.iter().map(|row| (row.key_id, &row.endpoint, row.figures.tally()))
    }

    /// All rows are to be written, be it once more.
    pub fn unwrite(&mut self) {
        self.rows.iter_mut().for_each(|row| row.is_unwritten = true);
        self.has_unwritten = true;
    }

    /// The same of those rows that were not written, which they are from now on.
    pub fn take_unwritten(&mut self) -> impl Iterator<Item = (KeyId, &EndpointName, Tally)> {
        self.has_unwritten = false;
        let unwritten = self.rows.iter_mut().filter_map(|row| std::mem::take(&mut row.is_unwritten).then_some(&*row));
        unwritten.map(|row| (row.key_id, &row.endpoint, row.figures.tally()))
    }

    /// The row for a key and an endpoint, or another one if there is no place for it.
    fn row_for(&mut self, key_id: KeyId, endpoint: &EndpointName) -> Option<&mut Row> {
        let at = self.find(key_id, endpoint).unwrap_or_else(|_none| self.place(key_id, endpoint));
        self.rows.get_mut(at)
    }

    fn find(&self, key_id: KeyId, endpoint: &EndpointName) -> Result<usize, usize> {
        self.rows.binary_search_by(|row| row.key_id.cmp(&key_id).then_with(|| row.endpoint.cmp(endpoint)))
    }

    /// Where a change goes whose row there is none of yet.
    fn place(&mut self, key_id: KeyId, endpoint: &EndpointName) -> usize {
        let has_place = usize::from(self.endpoints) < ENDPOINTS_MAX || self.knows(endpoint);
        if has_place && self.rows.len() < ROWS_MAX {
            return self.insert(key_id, endpoint.clone());
        }
        let keys_have_place = self.rows.len() < ROWS_MAX.saturating_mul(2);
        let key_id = if keys_have_place { key_id } else { OTHER_KEYS };
        self.find(key_id, &EndpointName::OTHER).unwrap_or_else(|_none| self.insert(key_id, EndpointName::OTHER))
    }

    /// Whether there are rows for an endpoint; for `other` none are kept apart.
    fn knows(&self, endpoint: &EndpointName) -> bool {
        *endpoint == EndpointName::OTHER || self.rows.iter().any(|row| row.endpoint == *endpoint)
    }

    fn insert(&mut self, key_id: KeyId, endpoint: EndpointName) -> usize {
        self.endpoints = self.endpoints.saturating_add((!self.knows(&endpoint)).into());
        if self.rows.len() < ROWS_EXACT {
            self.rows.reserve_exact(1);
        }
        let at = self.find(key_id, &endpoint).unwrap_or_else(|at| at);
        self.rows.insert(at, Row { key_id, endpoint, figures: Figures::Few(Change::default()), is_unwritten: false });
        at
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
