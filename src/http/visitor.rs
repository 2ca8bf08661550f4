//! The cookie by which a link knows a visitor again: which variant the visitor got, and when.
//!
//! One cookie a link, `k_<first 8 hexadecimal digits of a checksum of its id>`, worth
//! `<visitor>.<checksum of the label>.<Unix seconds of the last visit>`. The visitor is a random number that says
//! nothing of a person and differs from link to link.

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderValue};
use uuid::Uuid;

use super::error::ApiError;
use super::headers;
use crate::domain::link::Link;
use crate::domain::time::Timestamp;
use crate::domain::variant::Label;
use crate::store::VisitorId;

/// A visit that begins within this many seconds after the last one belongs to the same session.
const SESSION_SECS: i64 = 30 * 60;
/// How long a browser keeps the cookie: as long as clicks are kept by default.
const COOKIE_SECS: u32 = 90 * 24 * 3600;

/// A visitor whom a link has seen.
pub(super) struct Visitor {
    id: VisitorId,
    label_checksum: u32,
    last_secs: i64,
}

impl Visitor {
    /// A visitor whom the link has not seen.
    pub(super) fn new() -> Result<Self, ApiError> {
        let mut id = VisitorId::default();
        getrandom::fill(&mut id).map_err(no_randomness)?;
        Ok(Self { id, label_checksum: 0, last_secs: 0 })
    }

    /// The visitor whom the link's cookie names. What is no cookie of ours is none.
    pub(super) fn of(request: &HttpRequest, link: &Link) -> Option<Self> {
        let name = cookie_name(link);
        let lines = request.headers().get_all(header::COOKIE).filter_map(|line| line.to_str().ok());
        let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let (_name, value) = pairs.find(|(found, _value)| *found == name)?;
        let mut parts = value.split('.');
        let (id, label, last, nothing) = (parts.next()?, parts.next()?, parts.next()?, parts.next());
        if id.len() != 32 || nothing.is_some() {
            return None;
        }
        Some(Self {
            id: Uuid::try_parse(id).ok()?.into_bytes(),
            label_checksum: u32::from_str_radix(label, 16).ok()?,
            last_secs: last.parse().ok()?,
        })
    }

    pub(super) fn id(&self) -> VisitorId {
        self.id
    }

    /// The variant that the visitor got, if the link still has it.
    pub(super) fn label<'l>(&self, link: &'l Link) -> Option<&'l Label> {
        let variants = link.terms.variants.as_slice().iter();
        variants.map(|variant| &variant.label).find(|label| checksum(label) == self.label_checksum)
    }

    /// Whether a visit at `now` belongs to the session of the last one.
    pub(super) fn is_same_session(&self, now: Timestamp) -> bool {
        (0..SESSION_SECS).contains(&now.as_secs().saturating_sub(self.last_secs))
    }

    /// The cookie that remembers this visit. Over https it may come along from other sites' pages, where pixels are.
    pub(super) fn cookie(&self, link: &Link, label: &Label, now: Timestamp, is_https: bool) -> HeaderValue {
        let (name, id) = (cookie_name(link), Uuid::from_bytes(self.id).simple().to_string());
        let (label, secs) = (checksum(label), now.as_secs());
        let site = if is_https { "SameSite=None; Secure" } else { "SameSite=Lax" };
        headers::text(format_args!("{name}={id}.{label:08x}.{secs}; Path=/; Max-Age={COOKIE_SECS}; HttpOnly; {site}"))
    }
}

fn cookie_name(link: &Link) -> String {
    format!("k_{:08x}", crc32fast::hash(link.id.as_bytes()))
}

fn checksum(label: &Label) -> u32 {
    crc32fast::hash(label.as_str().as_bytes())
}

pub(super) fn no_randomness(error: getrandom::Error) -> ApiError {
    ApiError::Internal("no randomness", Some(Box::new(error)))
}
