//! The copy in memory of links, so that a redirect reads no store: a look-up in sled would wait whenever a
//! transaction writes, and the recorder writes all the time.
//!
//! As with the rest of `memory.rs`, it is filled when the store opens and changed right after the transaction.
//! Winners are decided, and clicks noted, where sums change, under the lock that all writers hold.

use std::sync::Arc;

use dashmap::DashMap;

use crate::domain::click::winner;
use crate::domain::id::{AccountId, LinkId};
use crate::domain::link::{Link, Slug};
use crate::domain::variant::Label;

use super::records_links::Tallies;

#[derive(Default)]
pub(super) struct LinkMemory {
    by_id: DashMap<LinkId, Arc<Link>>,
    by_slug: DashMap<Slug, Arc<Link>>,
    /// Of each account the links that were not deleted, the oldest first.
    listed: DashMap<AccountId, Vec<LinkId>>,
    /// What the auto-winner has decided, of links where it has.
    winners: DashMap<LinkId, Label>,
    /// Clicks of links whose sums can be read.
    clicks: DashMap<LinkId, u64>,
}

impl LinkMemory {
    pub(super) fn find(&self, id: LinkId) -> Option<Arc<Link>> {
        self.by_id.get(&id).map(|link| Arc::clone(&link))
    }

    pub(super) fn find_by_slug(&self, slug: &Slug) -> Option<Arc<Link>> {
        self.by_slug.get(slug).map(|link| Arc::clone(&link))
    }

    pub(super) fn has(&self, id: LinkId) -> bool {
        self.by_id.contains_key(&id)
    }

    /// How many links there are, those included that were deleted.
    pub(super) fn count(&self) -> usize {
        self.by_id.len()
    }

    /// The label of the variant that has won, if one has.
    pub(super) fn winner(&self, id: LinkId) -> Option<Label> {
        self.winners.get(&id).map(|label| label.clone())
    }

    /// All clicks of a link; `None` if its sums are damaged.
    pub(super) fn clicks(&self, id: LinkId) -> Option<u64> {
        self.clicks.get(&id).map(|clicks| *clicks)
    }

    /// The ids of one page of an account's links, newest first; and how many there are.
    pub(super) fn page(&self, account: AccountId, skip: usize, limit: usize) -> (Vec<LinkId>, usize) {
        let Some(listed) = self.listed.get(&account) else { return (Vec::new(), 0) };
        (listed.iter().rev().skip(skip).take(limit).copied().collect(), listed.len())
    }

    pub(super) fn put(&self, link: Link) {
        let mut listed = self.listed.entry(link.account_id).or_default();
        match (listed.binary_search(&link.id), link.deleted_at) {
            (Err(place), None) => listed.insert(place, link.id),
            (Ok(place), Some(_deleted)) => {
                listed.remove(place);
            }
            (Ok(_), None) | (Err(_), Some(_)) => {}
        }
        drop(listed);
        let link = Arc::new(link);
        self.by_slug.insert(link.slug.clone(), Arc::clone(&link));
        self.by_id.insert(link.id, link);
    }

    pub(super) fn remove(&self, link: &Link) {
        self.by_id.remove(&link.id);
        self.by_slug.remove(&link.slug);
        self.winners.remove(&link.id);
        self.clicks.remove(&link.id);
        // All links of an account go together, with the account.
        self.listed.remove(&link.account_id);
    }

    /// Notes a link's clicks, and decides anew whether its auto-winner has won, because its sums or terms have changed.
    pub(super) fn note_sums(&self, id: LinkId, totals: &Tallies) {
        let Some(link) = self.find(id) else { return };
        self.clicks.insert(id, totals.sum().clicks);
        match winner(&link, |label| totals.of(label)) {
            Some(variant) => self.winners.insert(id, variant.label.clone()),
            None => self.winners.remove(&id).map(|(_id, label)| label),
        };
    }

    pub(super) fn clear(&self) {
        self.by_id.clear();
        self.by_slug.clear();
        self.listed.clear();
        self.winners.clear();
        self.clicks.clear();
    }
}
