//! The cookie by which a link knows a visitor again: which variant the visitor got, and when.
//!
//! One cookie a link, `k_<first 8 hexadecimal digits of a checksum of its id>`, worth
//! `<visitor>.<checksum of the label>.<Unix seconds of the last visit>.<signature>`. The visitor is a random number
//! that says nothing of a person and differs from link to link. The signature (HMAC-SHA-256, RFC 2104, of the link and
//! all before it, the first 128 bits) keeps anybody from making up visitors who convert.

use actix_web::HttpRequest;
use actix_web::http::header::{self, HeaderValue};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;

use super::error::ApiError;
use super::headers;
use crate::domain::link::Link;
use crate::domain::time::Timestamp;
use crate::domain::variant::Label;
use crate::secrets::Secret;
use crate::store::VisitorId;

/// A visit that begins within this many seconds after the last one belongs to the same session.
const SESSION_SECS: i64 = 30 * 60;
/// How long a browser keeps the cookie: as long as clicks are kept by default.
const COOKIE_SECS: u32 = 90 * 24 * 3600;

/// Parts the key of cookies from the secret that it is made of, which signs sessions, too.
const KEY_LABEL: &[u8] = b"klinky visitor cookie";

/// Signs visitors' cookies.
pub(crate) struct CookieKey(Hmac<Sha256>);

impl CookieKey {
    /// The key that belongs to a server's secret. `None` for a secret that is no key; HMAC takes any.
    pub(crate) fn new(secret: &Secret) -> Option<Self> {
        let key = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()).ok()?.chain_update(KEY_LABEL).finalize();
        Hmac::new_from_slice(&key.into_bytes()).ok().map(Self)
    }

    fn sign(&self, link: &Link, signed: &str) -> Hmac<Sha256> {
        self.0.clone().chain_update(link.id.as_bytes()).chain_update(signed)
    }
}

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
    pub(super) fn of(request: &HttpRequest, link: &Link, key: &CookieKey) -> Option<Self> {
        let name = cookie_name(link);
        let lines = request.headers().get_all(header::COOKIE).filter_map(|line| line.to_str().ok());
        let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
        let (_name, value) = pairs.find(|(found, _value)| *found == name)?;
        let (signed, signature) = value.rsplit_once('.')?;
        let signature = Uuid::try_parse(signature).ok()?;
        key.sign(link, signed).verify_truncated_left(signature.as_bytes()).ok()?;
        let mut parts = signed.split('.');
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
    pub(super) fn cookie(
        &self,
        link: &Link,
        label: &Label,
        now: Timestamp,
        is_https: bool,
        key: &CookieKey,
    ) -> HeaderValue {
        let signed = format!("{}.{:08x}.{}", Uuid::from_bytes(self.id).simple(), checksum(label), now.as_secs());
        let signature = key.sign(link, &signed).finalize().into_bytes();
        let signature = Uuid::from_bytes(signature.first_chunk().copied().unwrap_or_default());
        let site = if is_https { "SameSite=None; Secure" } else { "SameSite=Lax" };
        headers::text(format_args!(
            "{}={signed}.{}; Path=/; Max-Age={COOKIE_SECS}; HttpOnly; {site}",
            cookie_name(link),
            signature.simple()
        ))
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
