//! Short links: their slug, their variants, where they send a visitor.

use std::fmt;

use super::Invalid;
use super::id::{AccountId, LinkId};
use super::text::Name;
use super::time::Timestamp;
use super::variant::{Label, Variant, Variants};
use super::web::{Country, WebUrl};

/// Fewest and most characters in a slug.
pub const SLUG_CHARS_MIN: usize = 3;
/// Most characters in a slug.
pub const SLUG_CHARS_MAX: usize = 32;
/// Fewest clicks after which the auto-winner may decide: below, its test says little.
pub const THRESHOLD_MIN: u32 = 10;
/// The auto-winner's threshold of a link that says nothing of it.
pub const THRESHOLD_DEFAULT: u32 = 100;

/// Most geo rules of a link: one for each of the 250 countries, and `default`.
pub const GEO_RULES_MAX: usize = 251;

/// Words that the server uses itself, or will: no slugs.
const RESERVED: [&str; 18] = [
    "admin",
    "api",
    "assets",
    "audit",
    "check",
    "dashboard",
    "docs",
    "favicon",
    "health",
    "healthz",
    "login",
    "metrics",
    "openapi",
    "public",
    "readyz",
    "robots",
    "static",
    "well-known",
];

/// The last part of a short URL: 3 to 32 of `[a-z0-9-]`, unique over the server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slug(Box<str>);

impl Slug {
    /// Checks a slug.
    ///
    /// # Errors
    /// When it is too short or long, has another character, or is a word that the server uses itself.
    pub fn new(raw: &str) -> Result<Self, Invalid> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !(SLUG_CHARS_MIN..=SLUG_CHARS_MAX).contains(&raw.len()) || !raw.chars().all(allowed) {
            let form = format!("must be {SLUG_CHARS_MIN} to {SLUG_CHARS_MAX} characters of a-z, 0-9 and -");
            return Err(Invalid::new(form));
        }
        if RESERVED.contains(&raw) {
            return Err(Invalid::new(format!("{raw} is a word that the server uses itself")));
        }
        Ok(Self(raw.into()))
    }

    /// The slug as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where the visitors of a country go; `default` is for all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeoRule {
    /// The country, or `None` for all that no other rule names.
    pub country: Option<Country>,
    /// The variant's label.
    pub label: Label,
}

/// How a variant is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoutingType {
    /// By weight.
    AbTest,
    /// By the visitor's country, and by weight where no rule applies.
    Geo,
}

impl RoutingType {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AbTest => "ab_test",
            Self::Geo => "geo",
        }
    }

    /// Reads the name.
    ///
    /// # Errors
    /// When it is neither `ab_test` nor `geo`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text {
            "ab_test" => Ok(Self::AbTest),
            "geo" => Ok(Self::Geo),
            _ => Err(Invalid::new("must be ab_test or geo")),
        }
    }
}

/// When the auto-winner may decide: after at least 10 clicks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold(u32);

impl Threshold {
    /// Checks a threshold.
    ///
    /// # Errors
    /// When it is below [`THRESHOLD_MIN`].
    pub fn new(clicks: u32) -> Result<Self, Invalid> {
        if clicks >= THRESHOLD_MIN {
            Ok(Self(clicks))
        } else {
            Err(Invalid::new(format!("must be at least {THRESHOLD_MIN}")))
        }
    }

    /// Clicks.
    #[must_use]
    pub const fn as_clicks(self) -> u32 {
        self.0
    }
}

/// What the holder of a link decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkTerms {
    /// For people.
    pub name: Name,
    /// Where it leads.
    pub variants: Variants,
    /// How a variant is chosen.
    pub routing: RoutingType,
    /// Which country goes where; each names a variant.
    pub geo_rules: Vec<GeoRule>,
    /// Whether traffic goes to the better variant once that is clear.
    pub auto_winner: bool,
    /// When that may be.
    pub auto_winner_threshold: Threshold,
    /// Whether the pixel counts conversions.
    pub conversion_tracking: bool,
    /// Where a conversion leads on to.
    pub conversion_redirect: Option<WebUrl>,
    /// The first instant at which the link no longer leads anywhere.
    pub expires_at: Option<Timestamp>,
    /// Whether it leads anywhere.
    pub is_active: bool,
}

/// What the holder of a link changes; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkPatch {
    /// A new name.
    pub name: Option<Name>,
    /// New variants, in place of all.
    pub variants: Option<Variants>,
    /// Another routing.
    pub routing: Option<RoutingType>,
    /// New rules, in place of all.
    pub geo_rules: Option<Vec<GeoRule>>,
    /// The auto-winner on or off.
    pub auto_winner: Option<bool>,
    /// A new threshold.
    pub auto_winner_threshold: Option<Threshold>,
    /// Conversions counted or not.
    pub conversion_tracking: Option<bool>,
    /// A new place to lead on to, or none any more.
    pub conversion_redirect: Option<Option<WebUrl>>,
    /// A new expiry, or none any more.
    pub expires_at: Option<Option<Timestamp>>,
    /// Open or closed.
    pub is_active: Option<bool>,
}

impl LinkPatch {
    /// The terms with the change made.
    ///
    /// # Errors
    /// When the geo rules do not fit the variants.
    pub fn apply(self, terms: LinkTerms) -> Result<LinkTerms, Invalid> {
        let changed = LinkTerms {
            name: self.name.unwrap_or(terms.name),
            variants: self.variants.unwrap_or(terms.variants),
            routing: self.routing.unwrap_or(terms.routing),
            geo_rules: self.geo_rules.unwrap_or(terms.geo_rules),
            auto_winner: self.auto_winner.unwrap_or(terms.auto_winner),
            auto_winner_threshold: self.auto_winner_threshold.unwrap_or(terms.auto_winner_threshold),
            conversion_tracking: self.conversion_tracking.unwrap_or(terms.conversion_tracking),
            conversion_redirect: self.conversion_redirect.unwrap_or(terms.conversion_redirect),
            expires_at: self.expires_at.unwrap_or(terms.expires_at),
            is_active: self.is_active.unwrap_or(terms.is_active),
        };
        changed.check()?;
        Ok(changed)
    }
}

impl LinkTerms {
    /// Terms that say nothing but a name and where to.
    #[must_use]
    pub fn new(name: Name, variants: Variants) -> Self {
        Self {
            name,
            variants,
            routing: RoutingType::AbTest,
            geo_rules: Vec::new(),
            auto_winner: false,
            auto_winner_threshold: Threshold(THRESHOLD_DEFAULT),
            conversion_tracking: false,
            conversion_redirect: None,
            expires_at: None,
            is_active: true,
        }
    }

    /// Checks what belongs together: geo rules name variants that exist, no country twice.
    ///
    /// # Errors
    /// When a rule names no variant, or two rules a country.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.geo_rules.len() > GEO_RULES_MAX {
            return Err(Invalid::new(format!("must be at most {GEO_RULES_MAX}")));
        }
        for (place, rule) in self.geo_rules.iter().enumerate() {
            if self.variants.find(rule.label.as_str()).is_none() {
                return Err(Invalid::new(format!("no variant has the label {:?}", rule.label.as_str())));
            }
            if self.geo_rules.iter().take(place).any(|earlier| earlier.country == rule.country) {
                return Err(Invalid::new("a country stands twice"));
            }
        }
        Ok(())
    }

    /// The variant that geo rules send a visitor of `country` to, if any does.
    #[must_use]
    pub fn by_country(&self, country: Option<Country>) -> Option<&Variant> {
        if self.routing == RoutingType::AbTest {
            return None;
        }
        let rule = |wanted: Option<Country>| self.geo_rules.iter().find(|rule| rule.country == wanted);
        let found = country.and_then(|country| rule(Some(country))).or_else(|| rule(None))?;
        self.variants.find(found.label.as_str())
    }
}

/// A short link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Made by the server.
    pub id: LinkId,
    /// Whose link it is.
    pub account_id: AccountId,
    /// Fixed for the link's life.
    pub slug: Slug,
    /// What its holder decided.
    pub terms: LinkTerms,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its holder last changed it.
    pub updated_at: Timestamp,
    /// When it was deleted; its slug stays taken.
    pub deleted_at: Option<Timestamp>,
}

impl Link {
    /// Whether it leads anywhere at `now`.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.deleted_at.is_none() && self.terms.is_active && self.terms.expires_at.is_none_or(|end| now < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_3_to_32_of_its_alphabet_and_not_a_word_of_ours() {
        for raw in ["abc", "a-b", "0-0", "x".repeat(32).as_str()] {
            assert!(Slug::new(raw).is_ok(), "{raw}");
        }
        for raw in ["", "ab", "ABC", "a_b", "é-é", "a b", "check", "api", "x".repeat(33).as_str()] {
            assert!(Slug::new(raw).is_err(), "{raw}");
        }
    }
}
