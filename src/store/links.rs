//! Links in the store: unique slugs, an account's links newest first. They are read from memory (`memory_links.rs`).
//!
//! Writes run under the directory's lock, so of two that claim one slug the later one sees the earlier one.

use std::sync::Arc;

use super::changes::Change;
use super::directory::Page;
use super::{Store, StoreError, codec, damaged, engine, records_links};
use crate::domain::Invalid;
use crate::domain::id::{AccountId, LinkId};
use crate::domain::link::{Link, LinkPatch, Slug};
use crate::domain::time::Timestamp;
use crate::domain::variant::Label;

/// Why links were not written or found.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No link has this id, or not of this account, or it was deleted.
    #[error("no such link")]
    NoLink,
    /// Another link has the slug, or had it.
    #[error("slug {0} is taken")]
    SlugTaken(Slug),
    /// The change does not fit the link's geo rules.
    #[error("geo_rules: {0}")]
    GeoRules(Invalid),
    /// The account was deleted meanwhile.
    #[error("no such account")]
    NoAccount,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Adds links of one account: all of them, or none. They are on disk when this returns.
    ///
    /// # Errors
    /// When a slug is taken, twice among them too, the account is gone, or the store fails.
    pub fn create_links(&self, links: &[Link]) -> Result<(), LinkError> {
        self.write_links(|| {
            for (place, link) in links.iter().enumerate() {
                self.memory.find_terms(link.account_id)?.ok_or(LinkError::NoAccount)?;
                let among = links.iter().take(place).any(|earlier| earlier.slug == link.slug);
                if among || self.find_slug(&link.slug)?.is_some() {
                    return Err(LinkError::SlugTaken(link.slug.clone()));
                }
            }
            Ok(((), links.iter().cloned().map(Change::PutLink).collect()))
        })
    }

    /// Changes a link. It is on disk when this returns.
    ///
    /// # Errors
    /// When the account has no such link, the change does not fit, or the store fails.
    pub fn update_link(
        &self,
        account: AccountId,
        id: LinkId,
        patch: LinkPatch,
        now: Timestamp,
    ) -> Result<Link, LinkError> {
        self.write_links(|| {
            let link = self.get_link(account, id)?;
            let terms = patch.apply(link.terms.clone()).map_err(LinkError::GeoRules)?;
            let changed = Link { terms, updated_at: now, ..(*link).clone() };
            Ok((changed.clone(), vec![Change::PutLink(changed)]))
        })
    }

    /// Deletes a link: it is gone from the list and leads nowhere, but its slug stays taken and its clicks readable.
    ///
    /// # Errors
    /// When the account has no such link, or the store fails.
    pub fn remove_link(&self, account: AccountId, id: LinkId, now: Timestamp) -> Result<(), LinkError> {
        self.write_links(|| {
            let link = self.get_link(account, id)?;
            Ok(((), vec![Change::PutLink(Link { deleted_at: Some(now), updated_at: now, ..(*link).clone() })]))
        })
    }

    /// A link of an account that was not deleted.
    ///
    /// # Errors
    /// When there is none.
    pub fn get_link(&self, account: AccountId, id: LinkId) -> Result<Arc<Link>, LinkError> {
        self.find_own_link(account, id).filter(|link| link.deleted_at.is_none()).ok_or(LinkError::NoLink)
    }

    /// A link of an account, deleted or not.
    pub fn find_own_link(&self, account: AccountId, id: LinkId) -> Option<Arc<Link>> {
        self.find_link(id).filter(|link| link.account_id == account)
    }

    /// A link by its id, whoever has it.
    pub fn find_link(&self, id: LinkId) -> Option<Arc<Link>> {
        self.links.find(id)
    }

    /// The link that a slug leads to.
    pub fn find_link_by_slug(&self, slug: &Slug) -> Option<Arc<Link>> {
        self.links.find_by_slug(slug)
    }

    /// The label of the variant that a link's auto-winner has decided for, if it has.
    pub fn find_winner(&self, id: LinkId) -> Option<Label> {
        self.links.winner(id)
    }

    /// One page of an account's links, newest first, after `skip` of them; and how many there are.
    pub fn list_links(&self, account: AccountId, skip: usize, limit: usize) -> (Vec<Arc<Link>>, usize) {
        let (ids, total) = self.links.page(account, skip, limit);
        (ids.into_iter().filter_map(|id| self.find_link(id)).collect(), total)
    }

    /// What must go with an account: its links, deleted ones too. Their clicks are purged in the background.
    pub(super) fn links_to_remove(&self, account: AccountId) -> Result<Vec<Change>, StoreError> {
        self.links_of(account).map(|link| Ok(Change::RemoveLink((*link?).clone()))).collect()
    }

    /// All links, the oldest first; ordered and safe beside writes, but not a snapshot.
    pub fn links(&self) -> impl Iterator<Item = Result<Link, StoreError>> + '_ {
        self.trees.links.iter().map(|row| {
            let (key, bytes) = row.map_err(engine("list links"))?;
            let decoded = codec::parse_link_id(&key).and_then(|id| records_links::link_from_bytes(id, &bytes));
            decoded.map_err(damaged("links", &key))
        })
    }

    /// The slugs that stay taken though their links went with their accounts, and those links' ids; in the order of the
    /// slugs, safe beside writes, but not a snapshot.
    pub fn taken_slugs(&self) -> impl Iterator<Item = Result<(Slug, LinkId), StoreError>> + '_ {
        self.trees.slugs.iter().filter_map(|row| {
            let taken = || {
                let (key, id) = row.map_err(engine("list slugs"))?;
                let parsed = codec::parse_link_id(&id).and_then(|id| Ok((codec::parse_slug(&key)?, id)));
                let (slug, id) = parsed.map_err(damaged("slugs", &key))?;
                // In sled, where a link goes and comes in one step with its slug; in memory somewhat later.
                let has_link = self.trees.links.contains_key(id.as_bytes()).map_err(engine("look a link up"))?;
                Ok((!has_link).then_some((slug, id)))
            };
            taken().transpose()
        })
    }

    /// All links of an account, deleted ones too, the oldest first.
    pub fn links_of(&self, account: AccountId) -> impl Iterator<Item = Result<Arc<Link>, StoreError>> + '_ {
        self.trees.account_links.scan_prefix(account.as_bytes()).keys().filter_map(|key| {
            let link = || {
                let key = key.map_err(engine("list links"))?;
                let id = codec::parse_account_link_key(&key).map_err(damaged("account_links", &key))?;
                Ok(self.find_link(id))
            };
            link().transpose()
        })
    }

    /// Pages of rows that follow a link, for background work.
    ///
    /// # Errors
    /// When the store fails.
    pub fn link_ids_after(&self, after: Option<LinkId>, limit: usize) -> Result<Page<LinkId>, StoreError> {
        let start = match &after {
            Some(id) => std::ops::Bound::Excluded(id.as_bytes().as_slice()),
            None => std::ops::Bound::Unbounded,
        };
        let rows = self.trees.links.range::<&[u8], _>((start, std::ops::Bound::Unbounded)).keys();
        Page::take(
            rows.map(|key| {
                let key = key.map_err(engine("list links"))?;
                codec::parse_link_id(&key).map_err(damaged("links", &key))
            }),
            limit,
        )
    }

    fn find_slug(&self, slug: &Slug) -> Result<Option<LinkId>, StoreError> {
        let key = slug.as_str().as_bytes();
        let found = self.trees.slugs.get(key).map_err(engine("look a slug up"))?;
        found.map(|id| codec::parse_link_id(&id)).transpose().map_err(damaged("slugs", key))
    }

    /// Runs a rule and its write under the lock, then waits until what it wrote is on disk.
    fn write_links<T>(&self, rule: impl FnOnce() -> Result<(T, Vec<Change>), LinkError>) -> Result<T, LinkError> {
        let mut lock = self.writing.lock();
        let (value, changes) = rule()?;
        self.apply_unnoted(&mut lock, changes)?;
        drop(lock);
        self.committer.commit().wait()?;
        Ok(value)
    }
}
