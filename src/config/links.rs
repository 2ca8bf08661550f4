//! Flags of the links that the built-in API serves.

#![expect(clippy::doc_markdown, reason = "the docs of flags are their help texts, where backticks are noise")]
#![allow(rustdoc::bare_urls, clippy::allow_attributes, reason = "likewise; only rustdoc would see an expectation met")]

use actix_web::http::header::HeaderName;
use clap::Args;

use super::parse::{Faults, parse_bounded, parse_public_url};

/// Longest time that clicks are kept: ten years.
const RETENTION_DAYS_MAX: u32 = 3650;

/// Flags of links.
#[derive(Debug, Args)]
pub struct LinkArgs {
    /// What short URLs begin with, such as https://klnk.example
    ///
    /// Default: http:// and the Host header of the request that asks.
    #[arg(long, env = "KLINKY_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,
    /// The header in which a proxy says the visitor's country, such as CF-IPCountry
    ///
    /// Only name a header that your proxy always sets: otherwise visitors can.
    #[arg(long, env = "KLINKY_COUNTRY_HEADER", value_name = "NAME")]
    pub country_header: Option<String>,
    /// How many days clicks are kept, 1 to 3650; the sums per day are kept for ever
    #[arg(long, env = "KLINKY_CLICK_RETENTION_DAYS", value_name = "DAYS", default_value = "90")]
    pub click_retention_days: String,
}

/// What links run on, checked.
#[derive(Debug, Clone)]
pub struct LinkSettings {
    /// What short URLs begin with.
    pub public_url: Option<String>,
    /// The header with the visitor's country, in lower case.
    pub country_header: Option<String>,
    /// Days that clicks are kept.
    pub click_retention_days: u32,
}

impl LinkArgs {
    pub(super) fn check(&self, faults: &mut Faults) -> Option<LinkSettings> {
        let public_url = self.public_url.as_deref().map(parse_public_url).transpose();
        let header = |raw: &str| {
            let name = HeaderName::try_from(raw).map_err(|_syntax| format!("must be a header's name, got {raw:?}"))?;
            Ok::<_, String>(name.as_str().to_owned())
        };
        let country_header = self.country_header.as_deref().map(header).transpose();
        let days = parse_bounded(&self.click_retention_days, 1, RETENTION_DAYS_MAX);
        let public_url = faults.keep("--public-url", public_url);
        let country_header = faults.keep("--country-header", country_header);
        let click_retention_days = faults.keep("--click-retention-days", days)?;
        Some(LinkSettings { public_url: public_url?, country_header: country_header?, click_retention_days })
    }
}
