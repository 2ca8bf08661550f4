//! Session tokens of account holders: JWTs (RFC 7519) signed with HS256 by this server, or, if the
//! operator names a public key, by an outside issuer.
//!
//! The algorithm is fixed by the server's configuration; what a token's header claims is only ever
//! compared with it. `exp` is required. Times are checked against the request's `now`.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, TokenData, Validation};
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::domain::Invalid;
use crate::domain::id::AccountId;
use crate::domain::time::Timestamp;
use crate::secrets::Secret;

/// Longest life of a token that we sign: a dashboard session, not a credential for a year.
pub const TTL_SECS_MAX: u32 = 30 * 24 * 3600;
/// Life of a token that says nothing of it.
pub const TTL_SECS_DEFAULT: u32 = 3600;

/// How long a token lives: 1 second to 30 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ttl(u32);

impl Ttl {
    /// Checks a life.
    ///
    /// # Errors
    /// When it is not 1 to [`TTL_SECS_MAX`] seconds.
    pub fn from_secs(secs: u32) -> Result<Self, Invalid> {
        if (1..=TTL_SECS_MAX).contains(&secs) {
            Ok(Self(secs))
        } else {
            Err(Invalid::new(format!("must be 1 to {TTL_SECS_MAX}")))
        }
    }
}

/// Why a token was not signed or not accepted.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Not a token of ours: wrong form, algorithm or signature, out of its time, or no account's id.
    #[error("the token is not valid")]
    Invalid,
    /// The library refused to sign.
    #[error("could not sign a token")]
    Sign(#[source] jsonwebtoken::errors::Error),
    /// The public key's file is no PEM of an RSA, P-256 or Ed25519 public key.
    #[error("not a PEM public key for RS256, ES256 or EdDSA")]
    PublicKey,
}

/// What we sign.
#[derive(Serialize)]
struct OwnClaims {
    sub: String,
    exp: u64,
    iat: u64,
}

/// What is read of a token.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: NumericDate,
    /// Decides nothing, but must be what it should be.
    #[serde(default, rename = "iat")]
    _iat: Option<NumericDate>,
    #[serde(default)]
    nbf: Option<NumericDate>,
    /// Of any form, so that one of a wrong form is met as well.
    #[serde(default)]
    aud: Option<serde_json::Value>,
}

/// A time since 1970; RFC 7519 §2 allows fractions of a second.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct NumericDate(Duration);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(value)?;
        let whole = number.as_u64().map(Duration::from_secs);
        let time = whole.or_else(|| Duration::try_from_secs_f64(number.as_f64()?).ok());
        time.map(Self).ok_or_else(|| de::Error::custom("no time since 1970"))
    }
}

impl NumericDate {
    fn of(now: Timestamp) -> Self {
        Self(Duration::from_millis(u64::try_from(now.as_millis()).unwrap_or(0)))
    }
}

/// Signs tokens.
pub struct Signer(EncodingKey);

impl Signer {
    /// Signs with the server's own secret.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        Self(EncodingKey::from_secret(secret.reveal().as_bytes()))
    }

    /// A token for `account` that lives `ttl` from `now`, and the instant of its end.
    ///
    /// # Errors
    /// When the library refuses.
    pub fn sign(&self, account: AccountId, ttl: Ttl, now: Timestamp) -> Result<(String, Timestamp), TokenError> {
        let issued = u64::try_from(now.as_secs()).unwrap_or(0);
        let exp = issued.saturating_add(u64::from(ttl.0));
        let claims = OwnClaims { sub: account.to_string(), exp, iat: issued };
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.0).map_err(TokenError::Sign)?;
        let exp_ms = i64::try_from(exp).unwrap_or(i64::MAX).saturating_mul(1000);
        Ok((token, Timestamp::from_millis_clamped(exp_ms)))
    }
}

/// An outside issuer whose tokens are accepted too.
#[derive(Debug, Clone)]
pub struct Issuer {
    key: DecodingKey,
    algorithm: Algorithm,
    audience: Option<String>,
}

impl Issuer {
    /// Reads a PEM public key; its kind fixes the algorithm: RSA RS256, P-256 ES256, Ed25519 `EdDSA`.
    /// A token must name `audience` as its `aud`, if one is given, and may not have an `aud` if none is.
    ///
    /// # Errors
    /// When the PEM is none of the three.
    pub fn from_pem(pem: &[u8], audience: Option<String>) -> Result<Self, TokenError> {
        let kinds = [
            (DecodingKey::from_rsa_pem(pem), Algorithm::RS256),
            (DecodingKey::from_ec_pem(pem), Algorithm::ES256),
            (DecodingKey::from_ed_pem(pem), Algorithm::EdDSA),
        ];
        let found = kinds.into_iter().find_map(|(key, algorithm)| Some((key.ok()?, algorithm)));
        let (key, algorithm) = found.ok_or(TokenError::PublicKey)?;
        if is_private(pem) || !fits(&key, algorithm) {
            return Err(TokenError::PublicKey);
        }
        Ok(Self { key, algorithm, audience })
    }
}

/// The library reads a private RSA key as if it were the public one, and then refuses every token.
fn is_private(pem: &[u8]) -> bool {
    const LABEL: &[u8] = b"PRIVATE KEY-----";
    pem.windows(LABEL.len()).any(|bytes| bytes == LABEL)
}

/// The library looks at the curve of a PEM only when it checks a token, so one is checked here; and
/// it takes the first 32 bytes of an Ed25519 key without a look at how many there are.
fn fits(key: &DecodingKey, algorithm: Algorithm) -> bool {
    const ED25519_BYTES: usize = 32;
    let whole = |bytes: &[u8]| algorithm != Algorithm::EdDSA || bytes.len() == ED25519_BYTES;
    key.try_get_as_bytes().is_ok_and(whole) && jsonwebtoken::crypto::verify("", b"", key, algorithm).is_ok()
}

/// Checks tokens.
pub struct Verifier {
    own: DecodingKey,
    issuer: Option<Issuer>,
}

impl Verifier {
    /// Accepts tokens signed with the server's own secret, and those of `issuer`.
    #[must_use]
    pub fn new(secret: &Secret, issuer: Option<Issuer>) -> Self {
        Self { own: DecodingKey::from_secret(secret.reveal().as_bytes()), issuer }
    }

    /// Whose token it is.
    ///
    /// # Errors
    /// When it is not valid at `now`. Whether the account exists is not looked at.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<AccountId, TokenError> {
        let own = decode(token, &self.own, Algorithm::HS256, None);
        let outside = || {
            let issuer = self.issuer.as_ref()?;
            decode(token, &issuer.key, issuer.algorithm, issuer.audience.as_deref())
        };
        let claims = own.or_else(outside).ok_or(TokenError::Invalid)?;
        let now = NumericDate::of(now);
        if now >= claims.exp || claims.nbf.is_some_and(|start| now < start) {
            return Err(TokenError::Invalid);
        }
        AccountId::parse(&claims.sub).map_err(|_no_account| TokenError::Invalid)
    }
}

fn decode(token: &str, key: &DecodingKey, algorithm: Algorithm, audience: Option<&str>) -> Option<Claims> {
    let mut validation = Validation::new(algorithm);
    // Times are checked by the caller, on the request's reading of the clock.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.set_required_spec_claims(&["exp"]);
    if let Some(audience) = audience {
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "aud"]);
    }
    let TokenData { header, claims } = jsonwebtoken::decode::<Claims>(token, key, &validation).ok()?;
    // RFC 7515 §4.1.11: who does not understand all that `crit` names refuses the token, and we understand no extension.
    if header.crit.is_some() {
        return None;
    }
    // RFC 7519 §4.1.3: who is not named by an `aud` refuses the token. The library overlooks one of a wrong form.
    (audience.is_some() || claims.aud.is_none()).then_some(claims)
}
