//! The variants of a link: where it leads, and to whom by which share.

use super::Invalid;
use super::text::Name;
use super::web::WebUrl;

/// Most variants of a link: more cannot be told apart by clicks in useful time.
pub const VARIANTS_MAX: usize = 5;
/// Most characters in a variant's label.
pub const LABEL_CHARS_MAX: usize = 50;
/// What the weights of a link's variants add up to.
pub const WEIGHT_SUM: u32 = 100;

/// One of the places that a link leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Names it among the link's variants: 1 to 50 characters.
    pub label: Label,
    /// Where it leads.
    pub destination: WebUrl,
    /// Its share of visitors, in per cent.
    pub weight: Weight,
}

/// A variant's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(Box<str>);

impl Label {
    /// Checks a label.
    ///
    /// # Errors
    /// When it is blank, longer than [`LABEL_CHARS_MAX`], or has a control character.
    pub fn new(raw: &str) -> Result<Self, Invalid> {
        let chars = raw.chars().count();
        if chars == 0 || chars > LABEL_CHARS_MAX {
            return Err(Invalid::new(format!("must be 1 to {LABEL_CHARS_MAX} characters, got {chars}")));
        }
        Name::new(raw)?;
        Ok(Self(raw.into()))
    }

    /// The label as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A share in per cent: 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u32);

impl Weight {
    /// Everybody.
    pub const ALL: Self = Self(WEIGHT_SUM);

    /// Checks a weight.
    ///
    /// # Errors
    /// When it is above 100.
    pub fn new(percent: u32) -> Result<Self, Invalid> {
        if percent <= WEIGHT_SUM { Ok(Self(percent)) } else { Err(Invalid::new("must be 0 to 100")) }
    }

    /// Per cent.
    #[must_use]
    pub const fn as_percent(self) -> u32 {
        self.0
    }
}

/// The variants of a link: 1 to 5, with labels that differ and weights that sum to 100.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variants(Vec<Variant>);

impl Variants {
    /// Checks a set of variants.
    ///
    /// # Errors
    /// When there are none or too many, two share a label, or the weights do not sum to 100.
    pub fn new(variants: Vec<Variant>) -> Result<Self, Invalid> {
        if variants.is_empty() || variants.len() > VARIANTS_MAX {
            return Err(Invalid::new(format!("must be 1 to {VARIANTS_MAX}, got {}", variants.len())));
        }
        for (place, variant) in variants.iter().enumerate() {
            if variants.iter().take(place).any(|earlier| earlier.label == variant.label) {
                return Err(Invalid::new(format!("label {:?} stands twice", variant.label.as_str())));
            }
        }
        let sum = variants.iter().fold(0_u32, |sum, variant| sum.saturating_add(variant.weight.0));
        if sum != WEIGHT_SUM {
            return Err(Invalid::new(format!("weights must sum to {WEIGHT_SUM}, got {sum}")));
        }
        Ok(Self(variants))
    }

    /// The variants in their order.
    #[must_use]
    pub fn as_slice(&self) -> &[Variant] {
        &self.0
    }

    /// The variant with a label.
    #[must_use]
    pub fn find(&self, label: &str) -> Option<&Variant> {
        self.0.iter().find(|variant| variant.label.as_str() == label)
    }

    /// The variant that a share falls to: `percent` counts from 0 to 99 through the weights.
    #[must_use]
    pub fn at_percent(&self, percent: u32) -> Option<&Variant> {
        let mut passed = 0_u32;
        self.0.iter().find(|variant| {
            passed = passed.saturating_add(variant.weight.0);
            percent < passed
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(label: &str, weight: u32) -> Variant {
        Variant {
            label: Label::new(label).unwrap(),
            destination: WebUrl::new("https://example.com/").unwrap(),
            weight: Weight::new(weight).unwrap(),
        }
    }

    #[test]
    fn variants_sum_to_100_and_differ() {
        let sum = |weights: &[u32]| {
            let labels = ["a", "b", "c", "d", "e", "f"];
            Variants::new(weights.iter().zip(labels).map(|(&weight, label)| variant(label, weight)).collect())
        };
        assert!(sum(&[100]).is_ok() && sum(&[0, 100]).is_ok() && sum(&[20, 20, 20, 20, 20]).is_ok());
        assert_eq!(sum(&[50, 40]).unwrap_err().to_string(), "weights must sum to 100, got 90");
        assert_eq!(sum(&[]).unwrap_err().to_string(), "must be 1 to 5, got 0");
        assert_eq!(sum(&[20, 20, 20, 20, 10, 10]).unwrap_err().to_string(), "must be 1 to 5, got 6");
        let twice = Variants::new(vec![variant("a", 50), variant("a", 50)]);
        assert_eq!(twice.unwrap_err().to_string(), "label \"a\" stands twice");
    }

    #[test]
    fn each_per_cent_falls_to_one_variant() {
        let variants = Variants::new(vec![variant("a", 30), variant("b", 0), variant("c", 70)]).unwrap();
        let label = |percent| variants.at_percent(percent).map(|variant| variant.label.as_str());
        assert_eq!(
            (label(0), label(29), label(30), label(99), label(100)),
            (Some("a"), Some("a"), Some("c"), Some("c"), None)
        );
    }
}
