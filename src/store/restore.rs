//! Restore: fills an empty store row by row. While it runs the store says so of itself, so that a
//! restore that a crash interrupts is never taken for a whole store.

use std::cell::Cell;

use parking_lot::MutexGuard;

use super::audit::{Author, Deed, Writing};
use super::changes::encode;
use super::open::write_first_plans;
use super::recording::LAST_DAY;
use super::records::{self, Phase};
use super::{
    Conversion, Counter, KEYS_PER_ACCOUNT_MAX, KeyUse, Store, StoreError, Tallies, codec, codec_numbers, engine,
    records_links, records_usage,
};
use crate::domain::account::Account;
use crate::domain::click::Click;
use crate::domain::id::{AccountId, LinkId};
use crate::domain::link::{Link, Slug};
use crate::domain::plan::Plan;
use crate::domain::time::Day;
use crate::domain::usage::UsageRow;

/// Why a row or a restore was refused.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There are accounts or keys in the store.
    #[error("the store is not empty: restore only into a new one")]
    NotEmpty,
    /// A row repeats an earlier one's id.
    #[error("{0} stands twice")]
    Twice(String),
    /// A row is one more key than the dump of an account can have, and all before it are live.
    #[error("account {0} has more than {LIVE_KEYS_MAX} live keys")]
    KeysFull(AccountId),
    /// A row names something that no earlier row has.
    #[error("{0} does not exist; what a row names must stand before it")]
    Missing(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A restore writes faster than a busy disk takes it, and what waits in memory is not seen by whoever looks for room. So
/// it commits and looks by itself after so many bytes of rows: with what the engine adds to them far less than the blocks
/// that the file has ahead.
const BYTES_PER_LOOK: usize = 2 * 1024 * 1024;

/// Live keys of an account in a dump: each of those that it may have may have been rotated after it went out, and its successor
/// went out as well.
const LIVE_KEYS_MAX: usize = 2 * KEYS_PER_ACCOUNT_MAX;

/// A restore that is under way. Administrative writes wait until it has ended.
pub struct Restore<'s> {
    store: &'s Store,
    lock: MutexGuard<'s, Writing>,
    by: &'s Author,
    /// What the store held when the restore began.
    earlier_plans: Vec<Plan>,
    /// The slugs that are taken, and their links' ids, all of deleted accounts.
    earlier_slugs: Vec<(sled::IVec, sled::IVec)>,
    /// Bytes of the rows that were added since it last looked for room.
    bytes: Cell<usize>,
    finished: bool,
}

impl Store {
    /// Begins to fill this store, which must have neither accounts nor keys. Its plans give way to
    /// those of the rows; they come back if the restore fails, and so does the emptiness.
    ///
    /// # Errors
    /// When the store is not empty or fails.
    pub fn start_restore<'s>(&'s self, by: &'s Author) -> Result<Restore<'s>, RestoreError> {
        self.room.check()?;
        self.opening.wait()?;
        let lock = self.writing.lock();
        let (_plans, accounts, keys) = self.memory.counts();
        if accounts > 0 || keys > 0 {
            return Err(RestoreError::NotEmpty);
        }
        let earlier_plans = self.list_plans(None, usize::MAX)?.items;
        let earlier_slugs = self.trees.slugs.iter().collect::<Result<_, _>>().map_err(engine("list slugs"))?;
        // Before the first write: whatever fails from here on is undone, the phase as well.
        let restore =
            Restore { store: self, lock, by, earlier_plans, earlier_slugs, bytes: Cell::new(0), finished: false };
        self.write_phase(Phase::Restoring)?;
        restore.clear()?;
        Ok(restore)
    }
}

impl Restore<'_> {
    /// Adds a plan.
    ///
    /// # Errors
    /// When its id stood before, or the store fails.
    pub fn put_plan(&self, plan: &Plan) -> Result<(), RestoreError> {
        let bytes = records::plan_to_bytes(plan).map_err(encode("plans"))?;
        self.insert(&self.store.trees.plans, plan.id.as_str().as_bytes(), &bytes, || format!("plan {}", plan.id))
    }

    /// Adds an account.
    ///
    /// # Errors
    /// When its id stood before, a plan that it names did not, or the store fails.
    pub fn put_account(&self, account: &Account) -> Result<(), RestoreError> {
        let terms = &account.terms;
        for plan in [Some(&terms.plan), terms.trial.as_ref().map(|trial| &trial.plan)].into_iter().flatten() {
            require(&self.store.trees.plans, plan.as_str().as_bytes(), || format!("plan {plan}"))?;
        }
        let bytes = records::account_to_bytes(account).map_err(encode("accounts"))?;
        self.insert(&self.store.trees.accounts, account.id.as_bytes(), &bytes, || format!("account {}", account.id))
    }

    /// Adds a key.
    ///
    /// # Errors
    /// When its id or hash stood before, its account did not or is full of live ones, or the store fails.
    pub fn put_key(&self, row: &KeyUse) -> Result<(), RestoreError> {
        let (trees, key) = (&self.store.trees, &row.key);
        require(&trees.accounts, key.account_id.as_bytes(), || format!("account {}", key.account_id))?;
        self.make_room_for_key(key.account_id)?;
        let bytes = records::key_to_bytes(key).map_err(encode("keys"))?;
        let (hash, name) = (key.hash.as_bytes(), || format!("key {}", key.id));
        self.insert(&trees.keys, hash, &bytes, name)?;
        self.insert(&trees.key_ids, key.id.as_bytes(), hash, name)?;
        self.insert(&trees.account_keys, &codec::account_key(key.account_id, key.id), hash, name)?;
        match row.last_used_at {
            Some(at) => self.insert(&trees.last_used, hash, &codec_numbers::instant_value(hash, at), name),
            None => Ok(()),
        }
    }

    /// An account whose keys are rotated while it is dumped has more of them in the dump than it ever had: those that had to
    /// go are in it, and those that came. So the oldest one that has ended makes room, as it did then; live ones all stay.
    fn make_room_for_key(&self, account: AccountId) -> Result<(), RestoreError> {
        let rows = self.store.trees.account_keys.scan_prefix(account.as_bytes());
        let count = rows.take(LIVE_KEYS_MAX).count();
        if count < KEYS_PER_ACCOUNT_MAX {
            return Ok(());
        }
        let is_ended = |found: &Result<KeyUse, _>| found.as_ref().map_or(true, |found| !found.key.is_live(self.by.at));
        let ended = match self.store.keys_of(account, None).find(is_ended) {
            Some(ended) => ended?.key,
            None if count < LIVE_KEYS_MAX => return Ok(()),
            None => return Err(RestoreError::KeysFull(account)),
        };
        let (trees, hash) = (&self.store.trees, ended.hash.as_bytes());
        for (tree, row) in [
            (&trees.keys, hash.as_slice()),
            (&trees.key_ids, ended.id.as_bytes()),
            (&trees.account_keys, &codec::account_key(account, ended.id)),
            (&trees.last_used, hash),
        ] {
            tree.remove(row).map_err(engine("remove a key"))?;
        }
        Ok(())
    }

    /// Adds a counter.
    ///
    /// # Errors
    /// When it stood before, its account did not, or the store fails.
    pub fn put_counter(&self, row: &Counter) -> Result<(), RestoreError> {
        let trees = &self.store.trees;
        require(&trees.accounts, row.account_id.as_bytes(), || format!("account {}", row.account_id))?;
        let key = codec::counter_key(row.window, row.account_id);
        let name = || format!("counter of {} at {}", row.account_id, row.window.start());
        self.insert(&trees.counters, &key, &codec_numbers::used_value(&key, row.used), name)
    }

    /// Adds a link.
    ///
    /// # Errors
    /// When its id or slug stood before, its account did not, or the store fails.
    pub fn put_link(&self, link: &Link) -> Result<(), RestoreError> {
        let trees = &self.store.trees;
        require(&trees.accounts, link.account_id.as_bytes(), || format!("account {}", link.account_id))?;
        let bytes = records_links::link_to_bytes(link).map_err(encode("links"))?;
        let (id, fate) =
            (link.id.as_bytes(), if link.deleted_at.is_none() { codec::LINK_LIVE } else { codec::LINK_DELETED });
        self.insert(&trees.links, id, &bytes, || format!("link {}", link.id))?;
        self.insert(&trees.slugs, link.slug.as_str().as_bytes(), id, || format!("slug {}", link.slug))?;
        let listed = codec::account_link_key(link.account_id, link.id);
        self.insert(&trees.account_links, &listed, fate, || format!("link {}", link.id))
    }

    /// Adds a slug that stays taken, though its link went with its account. The link may have come all the same: of an
    /// account that was deleted while it was dumped.
    ///
    /// # Errors
    /// When another link has it, the link has another, or the store fails.
    pub fn put_taken_slug(&self, slug: &Slug, link: LinkId) -> Result<(), RestoreError> {
        let has_come = self.store.trees.slugs.get(slug.as_str()).map_err(engine("look a slug up"))?;
        if has_come.is_some_and(|owner| owner == link.as_bytes()) {
            return Ok(());
        }
        if self.store.trees.links.contains_key(link.as_bytes()).map_err(engine("look a link up"))? {
            return Err(RestoreError::Twice(format!("a slug of link {link}")));
        }
        self.insert(&self.store.trees.slugs, slug.as_str().as_bytes(), link.as_bytes(), || format!("slug {slug}"))
    }

    /// Adds a click.
    ///
    /// # Errors
    /// When it stood before, its link did not, or the store fails.
    pub fn put_click(&self, click: &Click) -> Result<(), RestoreError> {
        self.require_link(click.link_id)?;
        let bytes = records_links::click_to_bytes(click).map_err(encode("clicks"))?;
        let key = codec::click_key(click.link_id, click.id);
        self.insert(&self.store.trees.clicks, &key, &bytes, || format!("click {}", click.id))
    }

    /// Adds the sums of a day of a link to those of all days.
    ///
    /// # Errors
    /// When the day stood before, the link did not, or the store fails.
    pub fn put_click_day(&self, link: LinkId, day: Day, tallies: &Tallies) -> Result<(), RestoreError> {
        self.require_link(link)?;
        let (trees, encode) = (&self.store.trees, encode("click_days"));
        let (key, name) = (codec::click_day_key(link, day), || format!("day {day} of link {link}"));
        let before = self.store.clicks_before(link, day)?;
        let bytes = records_links::day_to_bytes(before, tallies).map_err(&encode)?;
        self.insert(&trees.click_days, &key, &bytes, name)?;
        // Only in a dump that somebody has sorted otherwise do later days stand before earlier ones.
        for row in self.store.days(link, Day::from_days(day.as_days().saturating_add(1)), LAST_DAY) {
            let (later, sums) = row?;
            let before = self.store.clicks_before(link, later)?;
            let bytes = records_links::day_to_bytes(before, &sums.tallies).map_err(&encode)?;
            trees.click_days.insert(codec::click_day_key(link, later), bytes).map_err(engine("write sums"))?;
        }
        let mut totals = self.store.click_totals(link)?;
        totals.add(tallies);
        let bytes = records_links::tallies_to_bytes(&totals).map_err(&encode)?;
        trees.click_totals.insert(link.as_bytes(), bytes).map_err(engine("write sums"))?;
        Ok(())
    }

    /// Adds a visitor who converted.
    ///
    /// # Errors
    /// When the visitor stood before, the link did not, or the store fails.
    pub fn put_conversion(&self, conversion: &Conversion) -> Result<(), RestoreError> {
        self.require_link(conversion.link_id)?;
        let key = codec::conversion_key(conversion.link_id, conversion.visitor);
        let name = || format!("a conversion of link {}", conversion.link_id);
        self.insert(&self.store.trees.conversions, &key, &codec_numbers::instant_value(&key, conversion.at), name)
    }

    /// Adds a row of usage. Its key may be gone.
    ///
    /// # Errors
    /// When it stood before, its account did not, or the store fails.
    pub fn put_usage(&self, row: &UsageRow) -> Result<(), RestoreError> {
        let (trees, spender) = (&self.store.trees, &row.spender);
        require(&trees.accounts, spender.account_id.as_bytes(), || format!("account {}", spender.account_id))?;
        let bytes = records_usage::tally_to_bytes(&row.tally).map_err(encode("usage"))?;
        let name = || format!("usage of {} for {} at {}", spender.key_id, row.endpoint, spender.window.start());
        let key = codec::usage_key(spender, &row.endpoint);
        self.insert(&trees.usage, &key, &bytes, name)
    }

    /// Adds a row that must be new.
    fn insert(
        &self,
        tree: &sled::Tree,
        key: &[u8],
        value: &[u8],
        name: impl Fn() -> String,
    ) -> Result<(), RestoreError> {
        let bytes = self.bytes.get().saturating_add(key.len()).saturating_add(value.len());
        self.bytes.set(bytes);
        if bytes > BYTES_PER_LOOK {
            self.bytes.set(0);
            self.store.committer.commit().wait()?;
            self.store.room.look();
        }
        self.store.room.check()?;
        match tree.insert(key, value).map_err(engine("write a row"))? {
            None => Ok(()),
            Some(_earlier) => Err(RestoreError::Twice(name())),
        }
    }

    fn require_link(&self, link: LinkId) -> Result<(), RestoreError> {
        require(&self.store.trees.links, link.as_bytes(), || format!("link {link}"))
    }

    /// Ends the restore: it is on disk, whole, and in force.
    ///
    /// # Errors
    /// When the store fails; then nothing was restored.
    pub fn finish(mut self) -> Result<(), RestoreError> {
        self.store.reload()?;
        self.store.apply(&mut self.lock, Vec::new(), self.by, Deed::new("store.restore", &"store"))?;
        self.store.write_phase(Phase::Open)?;
        self.finished = true;
        Ok(())
    }

    fn clear(&self) -> Result<(), StoreError> {
        self.store.kept.clear()?;
        let trees = &self.store.trees;
        let filled = [
            &trees.plans,
            &trees.accounts,
            &trees.keys,
            &trees.key_ids,
            &trees.account_keys,
            &trees.last_used,
            &trees.counters,
            &trees.links,
            &trees.slugs,
            &trees.account_links,
            &trees.clicks,
            &trees.click_days,
            &trees.click_totals,
            &trees.conversions,
            &trees.deferred_events,
            &trees.usage,
            // What was to go with an account must not go from among the rows that come back under the same ids.
            &trees.doomed_links,
        ];
        filled.into_iter().try_for_each(|tree| tree.clear().map_err(engine("empty a tree")))
    }

    /// Makes the store as empty as it was.
    fn undo(&self) -> Result<(), RestoreError> {
        self.clear()?;
        write_first_plans(&self.store.trees, &self.earlier_plans)?;
        for (slug, link) in &self.earlier_slugs {
            self.store.trees.slugs.insert(slug, link).map_err(engine("write a slug"))?;
        }
        self.store.reload()?;
        Ok(self.store.write_phase(Phase::Open)?)
    }
}

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if let Err(error) = self.undo() {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "could not undo a failed restore; the store will refuse to open"
            );
        }
    }
}

fn require(tree: &sled::Tree, key: &[u8], name: impl Fn() -> String) -> Result<(), RestoreError> {
    if tree.contains_key(key).map_err(engine("look a row up"))? { Ok(()) } else { Err(RestoreError::Missing(name())) }
}
