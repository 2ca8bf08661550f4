//! Accounts as an operator looks for them: by a text, and nearest to the limit of the running hour first.
//!
//! This walks accounts: those with a counter of the hour, or all of them if a text is looked for. No request of an
//! account's own ever does.

use std::collections::{BinaryHeap, HashMap};
use std::fmt;

use crate::domain::Invalid;
use crate::domain::account::{Account, InForce};
use crate::domain::decision::Used;
use crate::domain::id::AccountId;
use crate::domain::time::Timestamp;
use crate::domain::window::Window;
use crate::store::{DirectoryError, Page, Store, StoreError};

/// Most characters of a text that is looked for: those of a name.
const SEARCH_CHARS_MAX: usize = 100;
/// Accounts that are read from the store at a time.
const STEP_ROWS: usize = 1000;
/// A whole limit, in the unit of [`Place::share`].
const WHOLE: u64 = 1_000_000;

/// A text to look for in accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search(String);

impl Search {
    /// Of 1 to 100 characters; upper and lower case are the same.
    ///
    /// # Errors
    /// When it is longer, or empty.
    pub fn new(text: &str) -> Result<Self, Invalid> {
        match text.chars().count() {
            1..=SEARCH_CHARS_MAX => Ok(Self(text.to_lowercase())),
            _ => Err(Invalid::new("must have 1 to 100 characters")),
        }
    }

    /// Whether the text stands in an account's name, e-mail address, plan or id.
    #[must_use]
    pub fn is_in(&self, account: &Account) -> bool {
        let has = |text: &str| text.to_lowercase().contains(&self.0);
        has(account.name.as_str())
            || account.email.as_ref().is_some_and(|email| has(email.as_str()))
            || has(account.terms.plan.as_str())
            || has(&account.id.to_string())
    }
}

/// Where an account stands in the order: the nearest to its limit first, the oldest first of those that are equally near.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// What is used of the limit, in millionths; 0 where there is no limit to reach.
    share: u64,
    id: AccountId,
}

impl Place {
    fn of(id: AccountId, used: Used, in_force: InForce) -> Self {
        let (used, limit) = (u64::from(used.as_units()), u64::from(in_force.limit.as_units()));
        let share = if in_force.api_access { used.saturating_mul(WHOLE).checked_div(limit) } else { None };
        Self { share: share.unwrap_or(0), id }
    }

    /// Reads what [`Place`] prints.
    ///
    /// # Errors
    /// When it is no such text.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let bad = || Invalid::new("must be the `next` of a page in the same order");
        let (share, id) = text.split_once('.').ok_or_else(bad)?;
        let share = share.parse().map_err(|_syntax| bad())?;
        Ok(Self { share, id: AccountId::parse(id).map_err(|_syntax| bad())? })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.share, self.id)
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.share.cmp(&self.share).then_with(|| self.id.cmp(&other.id))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// An account that was found, with what it has used of the running hour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The account.
    pub account: Account,
    /// What its terms come to.
    pub in_force: InForce,
    /// Units used in the running window.
    pub used: Used,
    /// Where it stands; the page that follows begins after it.
    pub place: Place,
}

/// One page of the accounts that hold a text, by id, after the account `after`.
///
/// # Errors
/// When the store fails.
pub fn search(
    store: &Store,
    search: &Search,
    after: Option<AccountId>,
    rows: usize,
) -> Result<Page<Account>, StoreError> {
    let wanted = rows.saturating_add(1);
    let matching = accounts(store, after).filter(|account| account.as_ref().map_or(true, |found| search.is_in(found)));
    let mut items = matching.take(wanted).collect::<Result<Vec<_>, _>>()?;
    let has_more = items.len() > rows;
    items.truncate(rows);
    Ok(Page { items, has_more })
}

/// One page of the accounts (that hold a text), the nearest to its limit first, after the place `after`. An account that
/// moves between two pages may stand on both or on neither.
///
/// # Errors
/// When the store fails.
pub fn nearest(
    store: &Store,
    search: Option<&Search>,
    after: Option<Place>,
    rows: usize,
    now: Timestamp,
) -> Result<Page<Found>, StoreError> {
    let ranks = Ranks { store, used: used_in(store, Window::at(now))?, now };
    let wanted = rows.saturating_add(1);
    let mut places = match search {
        Some(search) => first(wanted, after, ranks.of_matching(search))?,
        None => ranks.first(wanted, after)?,
    };
    let has_more = places.len() > rows;
    places.truncate(rows);
    let items = places.into_iter().filter_map(|place| ranks.find(place).transpose());
    Ok(Page { items: items.collect::<Result<_, _>>()?, has_more })
}

/// What accounts have used, and the places that follow from it.
struct Ranks<'a> {
    store: &'a Store,
    used: HashMap<AccountId, Used>,
    now: Timestamp,
}

impl Ranks<'_> {
    /// `None` if there is no such account any more.
    fn place(&self, id: AccountId) -> Result<Option<(Place, InForce)>, StoreError> {
        let in_force = self.store.terms_in_force(id, self.now)?;
        Ok(in_force.map(|(_plan, in_force)| (Place::of(id, self.used(id), in_force), in_force)))
    }

    fn used(&self, id: AccountId) -> Used {
        self.used.get(&id).copied().unwrap_or_default()
    }

    fn of_matching(&self, search: &Search) -> impl Iterator<Item = Result<Place, StoreError>> {
        accounts(self.store, None).filter_map(|account| match account {
            Ok(account) if search.is_in(&account) => {
                self.place(account.id).map(|found| found.map(|(place, _in_force)| place)).transpose()
            }
            Ok(_other) => None,
            Err(error) => Some(Err(error)),
        })
    }

    /// The first places after one. Only accounts with a counter can stand before those that have used nothing, and these
    /// follow by their ids: so not all accounts are read.
    fn first(&self, wanted: usize, after: Option<Place>) -> Result<Vec<Place>, StoreError> {
        let active = self.used.keys().filter_map(|&id| self.place(id).transpose());
        let near = active.filter_map(|found| {
            found.map(|(place, _in_force)| Some(place).filter(|place| place.share > 0)).transpose()
        });
        let mut places = first(wanted, after, near)?;
        let after = after.filter(|place| place.share == 0).map(|place| place.id);
        for account in accounts(self.store, after) {
            if places.len() >= wanted {
                break;
            }
            places.extend(self.place(account?.id)?.map(|(place, _in_force)| place).filter(|place| place.share == 0));
        }
        Ok(places)
    }

    fn find(&self, place: Place) -> Result<Option<Found>, StoreError> {
        let account = match self.store.get_account(place.id) {
            Ok(account) => account,
            Err(DirectoryError::Store(error)) => return Err(error),
            // It was removed meanwhile.
            Err(_gone) => return Ok(None),
        };
        let Some((_plan, in_force)) = self.store.terms_in_force(place.id, self.now)? else { return Ok(None) };
        Ok(Some(Found { account, in_force, used: self.used(place.id), place }))
    }
}

/// All accounts by id, after one of them, read in steps.
fn accounts(store: &Store, after: Option<AccountId>) -> impl Iterator<Item = Result<Account, StoreError>> {
    let mut after = Some(after);
    std::iter::from_fn(move || {
        let page = store.list_accounts(after?, STEP_ROWS);
        after = page.as_ref().ok().filter(|page| page.has_more).map(|page| page.items.last().map(|last| last.id));
        Some(page)
    })
    .flat_map(|page| match page {
        Ok(page) => page.items.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) => vec![Err(error)],
    })
}

/// The first of places that come in any order, sorted, and after one of them.
fn first(
    wanted: usize,
    after: Option<Place>,
    places: impl Iterator<Item = Result<Place, StoreError>>,
) -> Result<Vec<Place>, StoreError> {
    // Of a heap, the last in order goes first.
    let mut kept = BinaryHeap::new();
    for place in places {
        let place = place?;
        if after.is_none_or(|after| place > after) {
            kept.push(place);
            if kept.len() > wanted {
                kept.pop();
            }
        }
    }
    Ok(kept.into_sorted_vec())
}

/// What each account has used in a window that has used something.
fn used_in(store: &Store, window: Window) -> Result<HashMap<AccountId, Used>, StoreError> {
    let counters = store
        .counters_in(window)
        .filter(|counter| counter.as_ref().map_or(true, |counter| counter.used != Used::default()));
    counters.map(|counter| counter.map(|counter| (counter.account_id, counter.used))).collect()
}
