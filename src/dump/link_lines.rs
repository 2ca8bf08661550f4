//! The lines of links and of what became of them. As in `lines.rs`, every value that is read is checked.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::lines::{field, instant};
use crate::domain::click::{Click, Device, Tally};
use crate::domain::id::{AccountId, ClickId, LinkId};
use crate::domain::link::{GeoRule, Link, LinkTerms, RoutingType, Slug, Threshold};
use crate::domain::text::Name;
use crate::domain::time::{Day, Timestamp};
use crate::domain::variant::{Label, Variant, Variants, Weight};
use crate::domain::web::{Country, WebUrl};
use crate::store::{Conversion, Tallies, VisitorId};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkLine {
    id: String,
    account_id: String,
    slug: String,
    name: String,
    variants: Vec<VariantLine>,
    routing_type: String,
    geo_rules: Vec<GeoRuleLine>,
    auto_winner: bool,
    auto_winner_threshold: u32,
    enable_conversion_tracking: bool,
    conversion_redirect_url: Option<String>,
    expires_at: Option<String>,
    is_active: bool,
    created_at: String,
    updated_at: String,
    deleted_at: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TakenSlugLine {
    slug: String,
    link_id: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct VariantLine {
    label: String,
    destination_url: String,
    weight: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GeoRuleLine {
    country: Option<String>,
    label: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClickLine {
    id: String,
    link_id: String,
    clicked_at: String,
    variant: String,
    country: Option<String>,
    referrer: Option<String>,
    device: String,
    browser: String,
    os: String,
    ip: Option<String>,
}

/// The sums of a day; those of all days are their sum.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClickDayLine {
    link_id: String,
    date: String,
    variants: Vec<TallyLine>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TallyLine {
    label: String,
    clicks: u64,
    conversions: u64,
}

/// A visitor who converted, so that the visitor counts once after a restore, too.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConversionLine {
    link_id: String,
    visitor: String,
    at: String,
}

impl From<&Link> for LinkLine {
    fn from(link: &Link) -> Self {
        let terms = &link.terms;
        let variant = |variant: &Variant| VariantLine {
            label: variant.label.as_str().to_owned(),
            destination_url: variant.destination.as_str().to_owned(),
            weight: variant.weight.as_percent(),
        };
        let rule = |rule: &GeoRule| GeoRuleLine {
            country: rule.country.map(|country| country.to_string()),
            label: rule.label.as_str().to_owned(),
        };
        Self {
            id: link.id.to_string(),
            account_id: link.account_id.to_string(),
            slug: link.slug.to_string(),
            name: terms.name.to_string(),
            variants: terms.variants.as_slice().iter().map(variant).collect(),
            routing_type: terms.routing.as_str().to_owned(),
            geo_rules: terms.geo_rules.iter().map(rule).collect(),
            auto_winner: terms.auto_winner,
            auto_winner_threshold: terms.auto_winner_threshold.as_clicks(),
            enable_conversion_tracking: terms.conversion_tracking,
            conversion_redirect_url: terms.conversion_redirect.as_ref().map(|url| url.as_str().to_owned()),
            expires_at: terms.expires_at.map(|at| at.to_string()),
            is_active: terms.is_active,
            created_at: link.created_at.to_string(),
            updated_at: link.updated_at.to_string(),
            deleted_at: link.deleted_at.map(|at| at.to_string()),
        }
    }
}

impl From<&Click> for ClickLine {
    fn from(click: &Click) -> Self {
        Self {
            id: click.id.to_string(),
            link_id: click.link_id.to_string(),
            clicked_at: click.clicked_at.to_string(),
            variant: click.variant.as_str().to_owned(),
            country: click.country.map(|country| country.to_string()),
            referrer: click.referrer.clone(),
            device: click.device.as_str().to_owned(),
            browser: click.browser.clone(),
            os: click.os.clone(),
            ip: click.ip.map(|ip| ip.to_string()),
        }
    }
}

impl From<(LinkId, Day, &Tallies)> for ClickDayLine {
    fn from((link, day, tallies): (LinkId, Day, &Tallies)) -> Self {
        let tally = |(label, tally): &(Label, Tally)| TallyLine {
            label: label.as_str().to_owned(),
            clicks: tally.clicks,
            conversions: tally.conversions,
        };
        Self {
            link_id: link.to_string(),
            date: day.to_string(),
            variants: tallies.as_slice().iter().map(tally).collect(),
        }
    }
}

impl From<&Conversion> for ConversionLine {
    fn from(conversion: &Conversion) -> Self {
        Self {
            link_id: conversion.link_id.to_string(),
            visitor: Uuid::from_bytes(conversion.visitor).simple().to_string(),
            at: conversion.at.to_string(),
        }
    }
}

impl From<(&Slug, LinkId)> for TakenSlugLine {
    fn from((slug, link): (&Slug, LinkId)) -> Self {
        Self { slug: slug.to_string(), link_id: link.to_string() }
    }
}

impl TakenSlugLine {
    /// What the line says, checked; the error names the field.
    pub(super) fn check(&self) -> Result<(Slug, LinkId), String> {
        Ok((field("slug", Slug::new(&self.slug))?, field("link_id", LinkId::parse(&self.link_id))?))
    }
}

impl LinkLine {
    /// What the line says, checked; the error names the field.
    pub(super) fn check(&self) -> Result<Link, String> {
        let terms = LinkTerms {
            name: field("name", Name::new(&self.name))?,
            variants: self.check_variants()?,
            routing: field("routing_type", RoutingType::parse(&self.routing_type))?,
            geo_rules: self.geo_rules.iter().map(GeoRuleLine::check).collect::<Result<_, _>>()?,
            auto_winner: self.auto_winner,
            auto_winner_threshold: field("auto_winner_threshold", Threshold::new(self.auto_winner_threshold))?,
            conversion_tracking: self.enable_conversion_tracking,
            conversion_redirect: field(
                "conversion_redirect_url",
                self.conversion_redirect_url.as_deref().map(WebUrl::new).transpose(),
            )?,
            expires_at: instant("expires_at", self.expires_at.as_ref())?,
            is_active: self.is_active,
        };
        field("geo_rules", terms.check())?;
        Ok(Link {
            id: field("id", LinkId::parse(&self.id))?,
            account_id: field("account_id", AccountId::parse(&self.account_id))?,
            slug: field("slug", Slug::new(&self.slug))?,
            terms,
            created_at: field("created_at", Timestamp::parse(&self.created_at))?,
            updated_at: field("updated_at", Timestamp::parse(&self.updated_at))?,
            deleted_at: instant("deleted_at", self.deleted_at.as_ref())?,
        })
    }

    fn check_variants(&self) -> Result<Variants, String> {
        let variant = |line: &VariantLine| -> Result<Variant, String> {
            Ok(Variant {
                label: field("label", Label::new(&line.label))?,
                destination: field("destination_url", WebUrl::new(&line.destination_url))?,
                weight: field("weight", Weight::new(line.weight))?,
            })
        };
        field("variants", Variants::new(self.variants.iter().map(variant).collect::<Result<_, _>>()?))
    }
}

impl GeoRuleLine {
    fn check(&self) -> Result<GeoRule, String> {
        Ok(GeoRule {
            country: field("country", self.country.as_deref().map(Country::from_letters).transpose())?,
            label: field("label", Label::new(&self.label))?,
        })
    }
}

impl ClickLine {
    /// What the line says, checked; the error names the field.
    pub(super) fn check(&self) -> Result<Click, String> {
        let text = |name: &str, text: &String| field(name, Name::new(text)).map(|name| name.as_str().to_owned());
        Ok(Click {
            id: field("id", ClickId::parse(&self.id))?,
            link_id: field("link_id", LinkId::parse(&self.link_id))?,
            clicked_at: field("clicked_at", Timestamp::parse(&self.clicked_at))?,
            variant: field("variant", Label::new(&self.variant))?,
            country: field("country", self.country.as_deref().map(Country::from_letters).transpose())?,
            referrer: self.referrer.clone(),
            device: field("device", Device::parse(&self.device))?,
            browser: text("browser", &self.browser)?,
            os: text("os", &self.os)?,
            ip: self
                .ip
                .as_deref()
                .map(str::parse)
                .transpose()
                .map_err(|_syntax| "ip: must be an address".to_owned())?,
        })
    }
}

impl ClickDayLine {
    /// What the line says, checked; the error names the field.
    pub(super) fn check(&self) -> Result<(LinkId, Day, Tallies), String> {
        let tally = |line: &TallyLine| -> Result<(Label, Tally), String> {
            let tally = Tally { clicks: line.clicks, conversions: line.conversions };
            Ok((field("label", Label::new(&line.label))?, tally))
        };
        let tallies = self.variants.iter().map(tally).collect::<Result<_, _>>()?;
        let link = field("link_id", LinkId::parse(&self.link_id))?;
        Ok((link, field("date", Day::parse(&self.date))?, Tallies::new(tallies)))
    }
}

impl ConversionLine {
    /// What the line says, checked; the error names the field.
    pub(super) fn check(&self) -> Result<Conversion, String> {
        Ok(Conversion {
            link_id: field("link_id", LinkId::parse(&self.link_id))?,
            visitor: parse_visitor(&self.visitor)?,
            at: field("at", Timestamp::parse(&self.at))?,
        })
    }
}

fn parse_visitor(text: &str) -> Result<VisitorId, String> {
    let parsed = Uuid::try_parse(text).ok().filter(|_uuid| text.len() == 32);
    parsed.map(Uuid::into_bytes).ok_or_else(|| "visitor: must be 32 hexadecimal digits".to_owned())
}
