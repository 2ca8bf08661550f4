//! Links for their holders: creating one or many, with slugs made where none are given.

use crate::domain::id::AccountId;
use crate::domain::link::{Link, LinkTerms, Slug};
use crate::domain::time::Timestamp;
use crate::ids;
use crate::store::{LinkError, Store};

/// Most links that one bulk call creates.
pub const BULK_MAX: usize = 100;
/// Characters of a slug that we make: 36^7 are 78 billion.
const MADE_CHARS: usize = 7;
/// Tries to make slugs that are free; with a million links one try in 78,000 is not.
const TRIES: usize = 8;

const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Why links were not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The system gave no randomness.
    #[error("could not draw random bytes")]
    Random(#[from] getrandom::Error),
    /// The store refused.
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// What a holder says of a new link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkDraft {
    /// Made if absent.
    pub slug: Option<Slug>,
    /// Everything else.
    pub terms: LinkTerms,
}

/// Creates links: all of them, or none. They are on disk when this returns.
///
/// # Errors
/// When a slug is taken, the account is gone, or the store fails.
pub fn create(
    store: &Store,
    account_id: AccountId,
    drafts: &[LinkDraft],
    now: Timestamp,
) -> Result<Vec<Link>, CreateError> {
    let mut tries = 0;
    loop {
        let links = drafts.iter().map(|draft| link(account_id, draft, now)).collect::<Result<Vec<_>, _>>()?;
        tries += 1;
        match store.create_links(&links) {
            Ok(()) => return Ok(links),
            // A slug of ours hit another: draw again. One that was asked for stays taken.
            Err(LinkError::SlugTaken(slug)) if tries < TRIES && !asks_for(drafts, &slug) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn asks_for(drafts: &[LinkDraft], slug: &Slug) -> bool {
    drafts.iter().any(|draft| draft.slug.as_ref() == Some(slug))
}

fn link(account_id: AccountId, draft: &LinkDraft, now: Timestamp) -> Result<Link, CreateError> {
    Ok(Link {
        id: ids::link_id(now),
        account_id,
        slug: draft.slug.clone().map_or_else(make_slug, Ok)?,
        terms: draft.terms.clone(),
        created_at: now,
        updated_at: now,
        deleted_at: None,
    })
}

fn make_slug() -> Result<Slug, CreateError> {
    loop {
        let mut bytes = [0; MADE_CHARS];
        getrandom::fill(&mut bytes)?;
        let text: String =
            bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte % 36)).map(|&c| char::from(c))).collect();
        // All but the few words that are reserved are slugs.
        if let Ok(slug) = Slug::new(&text) {
            return Ok(slug);
        }
    }
}
