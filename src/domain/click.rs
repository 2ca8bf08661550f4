//! Clicks and conversions: what is kept of a visit, and which variant a visitor gets.

use std::net::IpAddr;

use super::Invalid;
use super::id::{ClickId, LinkId};
use super::link::Link;
use super::time::Timestamp;
use super::variant::{Label, Variant};
use super::web::Country;

/// One recorded click. Nothing in it names a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Click {
    /// Made by the server; sorts by time.
    pub id: ClickId,
    /// The link that was clicked.
    pub link_id: LinkId,
    /// When.
    pub clicked_at: Timestamp,
    /// Where it led.
    pub variant: Label,
    /// From the header that the operator names.
    pub country: Option<Country>,
    /// The host of the page that it came from.
    pub referrer: Option<String>,
    /// What it was clicked with.
    pub device: Device,
    /// The browser's name.
    pub browser: String,
    /// The operating system's name.
    pub os: String,
    /// The client's address, anonymized.
    pub ip: Option<IpAddr>,
}

/// A kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// A computer.
    Desktop,
    /// A phone or a tablet.
    Mobile,
    /// Anything else, or unknown.
    Other,
}

impl Device {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Desktop => "desktop",
            Self::Mobile => "mobile",
            Self::Other => "other",
        }
    }

    /// Reads the name.
    ///
    /// # Errors
    /// When it is none of the three.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text {
            "desktop" => Ok(Self::Desktop),
            "mobile" => Ok(Self::Mobile),
            "other" => Ok(Self::Other),
            _ => Err(Invalid::new("must be desktop, mobile or other")),
        }
    }
}

/// Clicks and conversions of one variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Recorded clicks.
    pub clicks: u64,
    /// Visitors among them who converted.
    pub conversions: u64,
}

/// The standard normal quantile for 95 % confidence, one-sided.
const Z_95: f64 = 1.644_853_626_951_472;

/// The variant that has won, if one has: the auto-winner's rule.
///
/// It decides once the link's variants have its threshold's clicks, but for those of weight 0, which take no part: the variant with the best conversion rate wins if it leads
/// each other variant by a one-sided two-proportion z-test with pooled variance at 95 % confidence (NIST/SEMATECH
/// e-Handbook of Statistical Methods, §7.3.3).
#[must_use]
pub fn winner(link: &Link, tally: impl Fn(&Label) -> Tally) -> Option<&Variant> {
    let variants = link.terms.variants.as_slice();
    let open = variants.iter().filter(|variant| variant.weight.as_percent() > 0);
    let tallies: Vec<(&Variant, Tally)> = open.map(|variant| (variant, tally(&variant.label))).collect();
    let clicks = tallies.iter().fold(0_u64, |sum, (_variant, tally)| sum.saturating_add(tally.clicks));
    if !link.terms.auto_winner || clicks < u64::from(link.terms.auto_winner_threshold.as_clicks()) {
        return None;
    }
    let (leader, best) = tallies.iter().max_by(|(_, a), (_, b)| rate(*a).total_cmp(&rate(*b)))?;
    let leads = |(other, tally): &(&Variant, Tally)| other.label == leader.label || z(*best, *tally) > Z_95;
    tallies.iter().all(leads).then_some(*leader)
}

/// What is known of a visitor when a variant is chosen.
#[derive(Debug, Clone, Copy)]
pub struct Visit<'v> {
    /// Where the visitor is, if the operator's header says so.
    pub country: Option<Country>,
    /// The variant that the visitor got before.
    pub earlier: Option<&'v Label>,
    /// Drawn for this visit: 0 to 99.
    pub percent: u32,
}

/// The variant that a visitor gets: the country's by a geo rule; else the one of an earlier visit, if it is still
/// there; else the auto-winner's; else one by weight.
#[must_use]
pub fn choose<'l>(link: &'l Link, visit: Visit<'_>, won: Option<&'l Variant>) -> Option<&'l Variant> {
    let terms = &link.terms;
    let earlier = || terms.variants.find(visit.earlier?.as_str()).filter(|variant| variant.weight.as_percent() > 0);
    terms.by_country(visit.country).or_else(earlier).or(won).or_else(|| terms.variants.at_percent(visit.percent))
}

#[expect(clippy::cast_precision_loss, reason = "a count above 2^53 is beyond any link")]
fn rate(tally: Tally) -> f64 {
    if tally.clicks == 0 { 0.0 } else { tally.conversions as f64 / tally.clicks as f64 }
}

/// How many standard deviations the first rate lies above the second; 0 where nothing can be said.
#[expect(clippy::cast_precision_loss, reason = "a count above 2^53 is beyond any link")]
fn z(first: Tally, second: Tally) -> f64 {
    let (n1, n2) = (first.clicks as f64, second.clicks as f64);
    if first.clicks == 0 || second.clicks == 0 {
        return 0.0;
    }
    let pooled = (first.conversions as f64 + second.conversions as f64) / (n1 + n2);
    let deviation = (pooled * (1.0 - pooled) * (1.0 / n1 + 1.0 / n2)).sqrt();
    if deviation > 0.0 { (rate(first) - rate(second)) / deviation } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(clicks: u64, conversions: u64) -> Tally {
        Tally { clicks, conversions }
    }

    #[test]
    fn the_test_statistic_is_that_of_the_handbook() {
        // 45 of 100 against 30 of 100: pooled 0.375, z = 0.15 / sqrt(0.375 × 0.625 × 0.02) = 2.19089.
        assert!((z(tally(100, 45), tally(100, 30)) - 2.190_89).abs() < 1e-5);
        assert!(z(tally(100, 45), tally(100, 30)) > Z_95);
        assert!(z(tally(100, 40), tally(100, 30)) < Z_95);
        assert!(z(tally(0, 0), tally(10, 5)).abs() < f64::EPSILON);
        assert!(z(tally(10, 0), tally(10, 0)).abs() < f64::EPSILON);
    }
}
