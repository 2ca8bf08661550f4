//! Records of links, clicks and tallies. The same rules as in `records.rs`.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::codec::{self, Damage};
use crate::domain::click::{Click, Device, Tally};
use crate::domain::id::{AccountId, ClickId, LinkId};
use crate::domain::link::{GeoRule, Link, LinkTerms, RoutingType, Slug, Threshold};
use crate::domain::text::Name;
use crate::domain::time::Timestamp;
use crate::domain::variant::{Label, Variant, Variants, Weight};
use crate::domain::web::{Country, WebUrl};

const V1: u8 = 1;
/// Of a day's sums: with the clicks before it.
const V2: u8 = 2;

/// Labels with sums of their own, of one link: far more than anybody tells apart, and at 224 bytes each far below
/// what a record may have. A link may change its labels as often as its holder likes.
const LABELS_MAX: usize = 100;
/// What the labels after those are counted under.
const LATER_LABELS: &str = "(later labels)";

#[derive(Serialize, Deserialize)]
struct LinkV1 {
    account_id: [u8; 16],
    slug: String,
    name: String,
    /// Label, URL, weight.
    variants: Vec<(String, String, u32)>,
    is_geo: bool,
    /// Country or none, label.
    geo_rules: Vec<(Option<String>, String)>,
    auto_winner: bool,
    auto_winner_threshold: u32,
    conversion_tracking: bool,
    conversion_redirect: Option<String>,
    expires_at_ms: Option<i64>,
    is_active: bool,
    created_at_ms: i64,
    updated_at_ms: i64,
    deleted_at_ms: Option<i64>,
}

pub(super) fn link_to_bytes(link: &Link) -> Result<Vec<u8>, bincode::Error> {
    let terms = &link.terms;
    let variant = |variant: &Variant| {
        let (label, url) = (variant.label.as_str().to_owned(), variant.destination.as_str().to_owned());
        (label, url, variant.weight.as_percent())
    };
    let rule = |rule: &GeoRule| (rule.country.map(|country| country.to_string()), rule.label.as_str().to_owned());
    let record = LinkV1 {
        account_id: *link.account_id.as_bytes(),
        slug: link.slug.to_string(),
        name: terms.name.to_string(),
        variants: terms.variants.as_slice().iter().map(variant).collect(),
        is_geo: match terms.routing {
            RoutingType::Geo => true,
            RoutingType::AbTest => false,
        },
        geo_rules: terms.geo_rules.iter().map(rule).collect(),
        auto_winner: terms.auto_winner,
        auto_winner_threshold: terms.auto_winner_threshold.as_clicks(),
        conversion_tracking: terms.conversion_tracking,
        conversion_redirect: terms.conversion_redirect.as_ref().map(|url| url.as_str().to_owned()),
        expires_at_ms: terms.expires_at.map(Timestamp::as_millis),
        is_active: terms.is_active,
        created_at_ms: link.created_at.as_millis(),
        updated_at_ms: link.updated_at.as_millis(),
        deleted_at_ms: link.deleted_at.map(Timestamp::as_millis),
    };
    codec::seal(V1, &record)
}

pub(super) fn link_from_bytes(id: LinkId, bytes: &[u8]) -> Result<Link, Damage> {
    let record: LinkV1 = codec::unseal(V1, bytes)?;
    let variant = |(label, url, weight): (String, String, u32)| -> Result<Variant, Damage> {
        Ok(Variant { label: Label::new(&label)?, destination: WebUrl::new(&url)?, weight: Weight::new(weight)? })
    };
    let rule = |(country, label): (Option<String>, String)| -> Result<GeoRule, Damage> {
        Ok(GeoRule { country: country.as_deref().map(Country::from_letters).transpose()?, label: Label::new(&label)? })
    };
    let instant = |ms: Option<i64>| ms.map(Timestamp::from_millis).transpose();
    Ok(Link {
        id,
        account_id: AccountId::from_bytes(record.account_id),
        slug: Slug::new(&record.slug)?,
        terms: LinkTerms {
            name: Name::new(&record.name)?,
            variants: Variants::new(record.variants.into_iter().map(variant).collect::<Result<_, _>>()?)?,
            routing: if record.is_geo { RoutingType::Geo } else { RoutingType::AbTest },
            geo_rules: record.geo_rules.into_iter().map(rule).collect::<Result<_, _>>()?,
            auto_winner: record.auto_winner,
            auto_winner_threshold: Threshold::new(record.auto_winner_threshold)?,
            conversion_tracking: record.conversion_tracking,
            conversion_redirect: record.conversion_redirect.as_deref().map(WebUrl::new).transpose()?,
            expires_at: instant(record.expires_at_ms)?,
            is_active: record.is_active,
        },
        created_at: Timestamp::from_millis(record.created_at_ms)?,
        updated_at: Timestamp::from_millis(record.updated_at_ms)?,
        deleted_at: instant(record.deleted_at_ms)?,
    })
}

#[derive(Serialize, Deserialize)]
pub(super) struct ClickV1 {
    clicked_at_ms: i64,
    variant: String,
    country: Option<String>,
    referrer: Option<String>,
    device: u8,
    browser: String,
    os: String,
    ip: Option<IpAddr>,
}

impl ClickV1 {
    pub(super) fn of(click: &Click) -> Self {
        Self {
            clicked_at_ms: click.clicked_at.as_millis(),
            variant: click.variant.as_str().to_owned(),
            country: click.country.map(|country| country.to_string()),
            referrer: click.referrer.clone(),
            device: match click.device {
                Device::Desktop => 0,
                Device::Mobile => 1,
                Device::Other => 2,
            },
            browser: click.browser.clone(),
            os: click.os.clone(),
            ip: click.ip,
        }
    }

    pub(super) fn into_click(self, link_id: LinkId, id: ClickId) -> Result<Click, Damage> {
        Ok(Click {
            id,
            link_id,
            clicked_at: Timestamp::from_millis(self.clicked_at_ms)?,
            variant: Label::new(&self.variant)?,
            country: self.country.as_deref().map(Country::from_letters).transpose()?,
            referrer: self.referrer,
            device: match self.device {
                0 => Device::Desktop,
                1 => Device::Mobile,
                2 => Device::Other,
                other => return Err(Damage::Body(format!("no device has the number {other}"))),
            },
            browser: self.browser,
            os: self.os,
            ip: self.ip,
        })
    }
}

pub(super) fn click_to_bytes(click: &Click) -> Result<Vec<u8>, bincode::Error> {
    codec::seal(V1, &ClickV1::of(click))
}

pub(super) fn click_from_bytes(link_id: LinkId, id: ClickId, bytes: &[u8]) -> Result<Click, Damage> {
    codec::unseal::<ClickV1>(V1, bytes)?.into_click(link_id, id)
}

/// Clicks and conversions per label, of one day or of all days.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tallies(Vec<(Label, Tally)>);

impl Tallies {
    /// The sums of these labels.
    #[must_use]
    pub fn new(tallies: Vec<(Label, Tally)>) -> Self {
        Self(tallies)
    }

    /// Adds other sums, label by label.
    pub(super) fn add(&mut self, other: &Self) {
        for (label, tally) in &other.0 {
            if let Some(own) = self.entry(label) {
                own.clicks = own.clicks.saturating_add(tally.clicks);
                own.conversions = own.conversions.saturating_add(tally.conversions);
            }
        }
    }

    /// The tally of a label; nothing if it never had a click.
    #[must_use]
    pub fn of(&self, label: &Label) -> Tally {
        self.0.iter().find(|(found, _tally)| found == label).map(|(_label, tally)| *tally).unwrap_or_default()
    }

    /// All labels that ever had a click, with their tallies.
    #[must_use]
    pub fn as_slice(&self) -> &[(Label, Tally)] {
        &self.0
    }

    /// The sum of all labels.
    #[must_use]
    pub fn sum(&self) -> Tally {
        self.0.iter().fold(Tally::default(), |sum, (_label, tally)| Tally {
            clicks: sum.clicks.saturating_add(tally.clicks),
            conversions: sum.conversions.saturating_add(tally.conversions),
        })
    }

    /// The tally to add to for a label: its own, or, once there are [`LABELS_MAX`], that of all later labels together.
    pub(super) fn entry(&mut self, label: &Label) -> Option<&mut Tally> {
        let has = |tallies: &Self, label: &Label| tallies.0.iter().any(|(found, _tally)| found == label);
        let label = if has(self, label) || self.0.len() < LABELS_MAX {
            label.clone()
        } else {
            Label::new(LATER_LABELS).ok()?
        };
        if !has(self, &label) {
            self.0.push((label.clone(), Tally::default()));
        }
        self.0.iter_mut().find(|(found, _tally)| *found == label).map(|(_label, tally)| tally)
    }
}

/// Label, clicks, conversions.
type TallyRow = (String, u64, u64);

fn rows(tallies: &Tallies) -> Vec<(&str, u64, u64)> {
    tallies.0.iter().map(|(label, tally)| (label.as_str(), tally.clicks, tally.conversions)).collect()
}

fn tallies(rows: Vec<TallyRow>) -> Result<Tallies, Damage> {
    let row = |(label, clicks, conversions): TallyRow| -> Result<(Label, Tally), Damage> {
        Ok((Label::new(&label)?, Tally { clicks, conversions }))
    };
    Ok(Tallies(rows.into_iter().map(row).collect::<Result<_, _>>()?))
}

pub(super) fn tallies_to_bytes(tallies: &Tallies) -> Result<Vec<u8>, bincode::Error> {
    codec::seal(V1, &rows(tallies))
}

pub(super) fn tallies_from_bytes(bytes: &[u8]) -> Result<Tallies, Damage> {
    tallies(codec::unseal(V1, bytes)?)
}

/// The sums of a day.
pub(super) struct DaySums {
    /// Clicks of all days before it; the first version did not say.
    pub(super) before: Option<u64>,
    pub(super) tallies: Tallies,
}

pub(super) fn day_to_bytes(before: u64, tallies: &Tallies) -> Result<Vec<u8>, bincode::Error> {
    codec::seal(V2, &(before, rows(tallies)))
}

pub(super) fn day_from_bytes(bytes: &[u8]) -> Result<DaySums, Damage> {
    if codec::version(bytes) == Some(V1) {
        return Ok(DaySums { before: None, tallies: tallies_from_bytes(bytes)? });
    }
    let (before, rows): (u64, Vec<TallyRow>) = codec::unseal(V2, bytes)?;
    Ok(DaySums { before: Some(before), tallies: tallies(rows)? })
}
