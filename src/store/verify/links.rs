//! Links, their slugs, and the lists of accounts.

use super::super::{StoreError, Trees, codec, engine, records_links};
use super::Walk;

impl Walk {
    pub(super) fn links(&mut self, trees: &Trees) {
        self.each("links", &trees.links, |walk, id, bytes| walk.link(trees, id, bytes));
        self.each("slugs", &trees.slugs, |walk, slug, id| {
            let Some(parsed) = walk.decoded("slugs", slug, codec::parse_link_id(id)) else { return Ok(()) };
            let Some(bytes) = trees.links.get(id).map_err(engine("look a row up"))? else { return Ok(()) };
            if let Ok(link) = records_links::link_from_bytes(parsed, &bytes)
                && link.slug.as_str().as_bytes() != slug
            {
                walk.fault("slugs", slug, format!("leads to link {parsed}, whose slug is {}", link.slug));
            }
            Ok(())
        });
        self.each("account_links", &trees.account_links, |walk, at, _fate| {
            let Some(id) = walk.decoded("account_links", at, codec::parse_account_link_key(at)) else { return Ok(()) };
            let Some(bytes) = trees.links.get(id.as_bytes()).map_err(engine("look a row up"))? else {
                walk.fault("account_links", at, format!("links has no {id}, which it names"));
                return Ok(());
            };
            if let Ok(link) = records_links::link_from_bytes(id, &bytes)
                && codec::account_link_key(link.account_id, id) != at
            {
                walk.fault("account_links", at, format!("lists link {id} of account {}", link.account_id));
            }
            Ok(())
        });
        self.each("doomed_links", &trees.doomed_links, |walk, id, _nothing| {
            walk.decoded("doomed_links", id, codec::parse_link_id(id));
            if trees.links.contains_key(id).map_err(engine("look a row up"))? {
                walk.fault("doomed_links", id, "the link that is to be purged is there".to_owned());
            }
            Ok(())
        });
    }

    fn link(&mut self, trees: &Trees, id: &[u8], bytes: &[u8]) -> Result<(), StoreError> {
        let decoded = codec::parse_link_id(id).and_then(|parsed| records_links::link_from_bytes(parsed, bytes));
        let Some(link) = self.decoded("links", id, decoded) else { return Ok(()) };
        self.require("links", id, &trees.accounts, "accounts", link.account_id.as_bytes())?;
        self.listed("links", id, &trees.slugs, "slugs", link.slug.as_str().as_bytes(), id)?;
        let at = codec::account_link_key(link.account_id, link.id);
        let fate = if link.deleted_at.is_none() { codec::LINK_LIVE } else { codec::LINK_DELETED };
        self.listed("links", id, &trees.account_links, "account_links", &at, fate)
    }
}
