//! Links as clients send them: unknown fields are ignored, whole numbers may be written as `50.0`, times as dates.

use serde::{Deserialize, Deserializer};

use crate::domain::Invalid;
use crate::domain::link::{GeoRule, LinkPatch, LinkTerms, RoutingType, Slug, Threshold};
use crate::domain::text::Name;
use crate::domain::time::{Day, Timestamp};
use crate::domain::variant::{Label, Variant, Variants, Weight};
use crate::domain::web::{Country, WebUrl};
use crate::http::error::ApiError;
use crate::http::extract::field;
use crate::http::json_fields::{Object, Pairs, nullable};
use crate::links::LinkDraft;

/// The label of the only variant of a link that was created with a `destination_url`.
const ONLY_LABEL: &str = "default";
/// The key of the geo rule for all other countries.
const ELSEWHERE: &str = "default";

#[derive(Default, Deserialize)]
pub(crate) struct LinkInput {
    name: Option<String>,
    slug: Option<String>,
    destination_url: Option<String>,
    variants: Option<Vec<Object<VariantInput>>>,
    routing_type: Option<String>,
    geo_rules: Option<Pairs<String>>,
    auto_winner: Option<bool>,
    auto_winner_threshold: Option<Whole>,
    enable_conversion_tracking: Option<bool>,
    #[serde(default, deserialize_with = "nullable")]
    conversion_redirect_url: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    expires_at: Option<Option<String>>,
    is_active: Option<bool>,
}

#[derive(Deserialize)]
pub(crate) struct VariantInput {
    label: String,
    destination_url: String,
    weight: Option<Whole>,
}

/// A whole number of at least 0, also as `50.0`; whatever else is there is kept to be refused by its field.
#[derive(Clone, Copy)]
struct Whole(Option<u32>);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(value)?;
        let whole = number.as_u64().map(|whole| whole.to_string());
        let text = whole.unwrap_or_else(|| number.to_string());
        Ok(Self(text.strip_suffix(".0").unwrap_or(&text).parse().ok()))
    }
}

impl Whole {
    /// The number; `range` says in a refusal what it may be.
    fn check(self, range: &str) -> Result<u32, Invalid> {
        self.0.ok_or_else(|| Invalid::new(format!("must be a whole number {range}")))
    }
}

impl LinkInput {
    /// A new link. `place` names it among several: `links[3].`.
    pub(crate) fn draft(self, place: &str) -> Result<LinkDraft, ApiError> {
        let required = |name: &str| ApiError::Invalid(format!("field required: {place}{name}"));
        let slug = self.slug.as_deref().map(Slug::new).transpose();
        let slug = field(&format!("{place}slug"), slug)?;
        let mut patch = self.patch(place)?;
        let name = patch.name.take().ok_or_else(|| required("name"))?;
        let variants = patch.variants.take().ok_or_else(|| required("variants"))?;
        let terms = field(&format!("{place}geo_rules"), patch.apply(LinkTerms::new(name, variants)))?;
        Ok(LinkDraft { slug, terms })
    }

    /// A change of the link with `slug`, which is for the link's life: clients may send it along as it is.
    pub(crate) fn change(self, slug: &Slug) -> Result<LinkPatch, ApiError> {
        if self.slug.as_deref().is_some_and(|sent| sent != slug.as_str()) {
            return Err(ApiError::Invalid(format!("slug: cannot be changed, it stays {slug}")));
        }
        self.patch("")
    }

    fn patch(self, place: &str) -> Result<LinkPatch, ApiError> {
        let at = |name: &str| format!("{place}{name}");
        let variants = match (self.variants, self.destination_url) {
            (Some(variants), _) => Some(variants_of(variants, &at("variants"))?),
            (None, Some(url)) => Some(only_variant(&url, &at("destination_url"))?),
            (None, None) => None,
        };
        let threshold = |whole: Whole| whole.check("from 10 to 4294967295").and_then(Threshold::new);
        let url = |text: Option<String>| text.as_deref().map(WebUrl::new).transpose();
        let instant = |text: Option<String>| text.as_deref().map(parse_instant).transpose();
        Ok(LinkPatch {
            name: field(&at("name"), self.name.as_deref().map(Name::new).transpose())?,
            variants,
            routing: field(&at("routing_type"), self.routing_type.as_deref().map(RoutingType::parse).transpose())?,
            geo_rules: self.geo_rules.map(|Pairs(rules)| rules_of(rules, &at("geo_rules"))).transpose()?,
            auto_winner: self.auto_winner,
            auto_winner_threshold: field(
                &at("auto_winner_threshold"),
                self.auto_winner_threshold.map(threshold).transpose(),
            )?,
            conversion_tracking: self.enable_conversion_tracking,
            conversion_redirect: field(
                &at("conversion_redirect_url"),
                self.conversion_redirect_url.map(url).transpose(),
            )?,
            expires_at: field(&at("expires_at"), self.expires_at.map(instant).transpose())?,
            is_active: self.is_active,
        })
    }
}

/// Variants from a body; `place` names them in errors. A weight may be left out where there is one variant.
pub(crate) fn variants_of(inputs: Vec<Object<VariantInput>>, place: &str) -> Result<Variants, ApiError> {
    let is_only = inputs.len() == 1;
    let mut variants = Vec::with_capacity(inputs.len());
    for (number, Object(input)) in inputs.into_iter().enumerate() {
        let at = |name: &str| format!("{place}[{number}].{name}");
        let weight = match input.weight {
            Some(weight) => field(&at("weight"), weight.check("from 0 to 100").and_then(Weight::new))?,
            None if is_only => Weight::ALL,
            None => return Err(ApiError::Invalid(format!("field required: {}", at("weight")))),
        };
        variants.push(Variant {
            label: field(&at("label"), Label::new(&input.label))?,
            destination: field(&at("destination_url"), WebUrl::new(&input.destination_url))?,
            weight,
        });
    }
    field(place, Variants::new(variants))
}

fn only_variant(url: &str, place: &str) -> Result<Variants, ApiError> {
    let label = field("label", Label::new(ONLY_LABEL))?;
    let variant = Variant { label, destination: field(place, WebUrl::new(url))?, weight: Weight::ALL };
    field(place, Variants::new(vec![variant]))
}

fn rules_of(mut rules: Vec<(String, String)>, place: &str) -> Result<Vec<GeoRule>, ApiError> {
    rules.sort();
    let rule = |(country, label): &(String, String)| {
        let is_elsewhere = country.eq_ignore_ascii_case(ELSEWHERE);
        let parsed =
            if is_elsewhere { None } else { Some(field(&format!("{place}.{country}"), Country::parse(country))?) };
        Ok(GeoRule { country: parsed, label: field(&format!("{place}.{country}"), Label::new(label))? })
    };
    rules.iter().map(rule).collect()
}

/// An instant: RFC 3339, the same without an offset (taken as UTC), or a date (its first instant).
pub(crate) fn parse_instant(text: &str) -> Result<Timestamp, Invalid> {
    let as_utc = || Timestamp::parse(&format!("{}Z", text.replacen(' ', "T", 1)));
    Timestamp::parse(text)
        .or_else(|error| Day::parse(text).map(Day::start).or_else(|_date| as_utc()).map_err(|_none| error))
}
