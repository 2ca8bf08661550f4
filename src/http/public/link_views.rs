//! Links, clicks and statistics as clients see them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::domain::click::{Click, Tally};
use crate::domain::id::LinkId;
use crate::domain::link::{Link, Slug};
use crate::domain::time::{Day, Timestamp};
use crate::domain::variant::Variant;
use crate::store::Tallies;

/// A link, whose texts are written where they stand and not copied first: it is what is asked for most.
#[derive(Serialize)]
pub(crate) struct LinkView<'l> {
    id: Text<LinkId>,
    name: &'l str,
    slug: &'l str,
    short_url: Text<ShortUrl<'l>>,
    variants: Vec<VariantView<'l>>,
    routing_type: &'static str,
    geo_rules: BTreeMap<String, &'l str>,
    auto_winner: bool,
    auto_winner_threshold: u32,
    enable_conversion_tracking: bool,
    conversion_redirect_url: Option<&'l str>,
    expires_at: Option<Text<Timestamp>>,
    is_active: bool,
    created_at: Text<Timestamp>,
    updated_at: Text<Timestamp>,
    click_count: u64,
}

#[derive(Serialize)]
struct VariantView<'l> {
    label: &'l str,
    destination_url: &'l str,
    weight: u32,
}

/// A string in JSON.
struct Text<T>(T);

struct ShortUrl<'l> {
    base_url: &'l str,
    slug: &'l Slug,
}

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl fmt::Display for ShortUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base_url, self.slug)
    }
}

impl<'l> From<&'l Variant> for VariantView<'l> {
    fn from(variant: &'l Variant) -> Self {
        Self {
            label: variant.label.as_str(),
            destination_url: variant.destination.as_str(),
            weight: variant.weight.as_percent(),
        }
    }
}

impl<'l> LinkView<'l> {
    pub(crate) fn of(link: &'l Link, base_url: &'l str, clicks: u64) -> Self {
        let terms = &link.terms;
        let country = |country: Option<crate::domain::web::Country>| {
            country.map_or_else(|| "default".to_owned(), |country| country.to_string())
        };
        let rules = terms.geo_rules.iter();
        Self {
            id: Text(link.id),
            name: terms.name.as_str(),
            slug: link.slug.as_str(),
            short_url: Text(ShortUrl { base_url, slug: &link.slug }),
            variants: terms.variants.as_slice().iter().map(VariantView::from).collect(),
            routing_type: terms.routing.as_str(),
            geo_rules: rules.map(|rule| (country(rule.country), rule.label.as_str())).collect(),
            auto_winner: terms.auto_winner,
            auto_winner_threshold: terms.auto_winner_threshold.as_clicks(),
            enable_conversion_tracking: terms.conversion_tracking,
            conversion_redirect_url: terms.conversion_redirect.as_ref().map(|url| url.as_str()),
            expires_at: terms.expires_at.map(Text),
            is_active: terms.is_active,
            created_at: Text(link.created_at),
            updated_at: Text(link.updated_at),
            click_count: clicks,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct ClickView {
    id: String,
    clicked_at: String,
    variant: String,
    country: Option<String>,
    referrer: Option<String>,
    device: &'static str,
    browser: String,
    os: String,
    ip: Option<String>,
}

impl From<Click> for ClickView {
    fn from(click: Click) -> Self {
        Self {
            id: click.id.to_string(),
            clicked_at: click.clicked_at.to_string(),
            variant: click.variant.as_str().to_owned(),
            country: click.country.map(|country| country.to_string()),
            referrer: click.referrer,
            device: click.device.as_str(),
            browser: click.browser,
            os: click.os,
            ip: click.ip.map(|ip| ip.to_string()),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct StatsView {
    clicks: u64,
    conversions: u64,
    variants: Vec<VariantStats>,
    days: Vec<DayStats>,
    /// The label that the auto-winner sends traffic to.
    winner: Option<String>,
}

#[derive(Serialize)]
struct VariantStats {
    label: String,
    clicks: u64,
    conversions: u64,
}

#[derive(Serialize)]
struct DayStats {
    date: String,
    clicks: u64,
    conversions: u64,
    variants: Vec<VariantStats>,
}

impl StatsView {
    /// Labels that the link has no more are counted as long as they had clicks.
    pub(crate) fn of(link: &Link, totals: &Tallies, days: &[(Day, Tallies)], winner: Option<&Variant>) -> Self {
        let Tally { clicks, conversions } = totals.sum();
        let unclicked = link.terms.variants.as_slice().iter().map(|variant| (variant.label.as_str(), Tally::default()));
        let known = |label: &str| totals.as_slice().iter().any(|(found, _tally)| found.as_str() == label);
        let variants = by_label(totals).chain(unclicked.filter(|(label, _tally)| !known(label)));
        Self {
            clicks,
            conversions,
            variants: variants.map(VariantStats::from).collect(),
            days: days.iter().map(DayStats::from).collect(),
            winner: winner.map(|variant| variant.label.as_str().to_owned()),
        }
    }
}

fn by_label(tallies: &Tallies) -> impl Iterator<Item = (&str, Tally)> {
    tallies.as_slice().iter().map(|(label, tally)| (label.as_str(), *tally))
}

impl From<(&str, Tally)> for VariantStats {
    fn from((label, tally): (&str, Tally)) -> Self {
        Self { label: label.to_owned(), clicks: tally.clicks, conversions: tally.conversions }
    }
}

impl From<&(Day, Tallies)> for DayStats {
    fn from((day, tallies): &(Day, Tallies)) -> Self {
        let Tally { clicks, conversions } = tallies.sum();
        let variants = by_label(tallies).map(VariantStats::from).collect();
        Self { date: day.to_string(), clicks, conversions, variants }
    }
}
