//! Sessions of an outside issuer, checked with a public key. The keys in `fixtures/` were made for
//! these tests and are used nowhere else.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use klinky::config::ServeSettings;
use klinky::tokens::Issuer;
use serde_json::{Value, json};

use crate::harness::{Exchange, Server};

const RSA: &[u8] = include_bytes!("fixtures/test-key-rsa.pem");
const RSA_PUBLIC: &[u8] = include_bytes!("fixtures/test-key-rsa.pub.pem");
const P256: &[u8] = include_bytes!("fixtures/test-key-p256.pem");
const P256_PUBLIC: &[u8] = include_bytes!("fixtures/test-key-p256.pub.pem");
const P384_PUBLIC: &[u8] = include_bytes!("fixtures/test-key-p384.pub.pem");
const ED25519: &[u8] = include_bytes!("fixtures/test-key-ed25519.pem");
const ED25519_PUBLIC: &[u8] = include_bytes!("fixtures/test-key-ed25519.pub.pem");
/// `{"alg":"RS256","typ":"JWT"}` in base64url.
const HEADER_RS256: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9";
/// A minute after what the clock shows.
const EXP: i64 = 1_705_329_060;

fn trust(settings: &mut ServeSettings, pem: &[u8], audience: Option<&str>) {
    settings.issuer = Some(Issuer::from_pem(pem, audience.map(str::to_owned)).unwrap());
}

fn sign(algorithm: Algorithm, claims: &Value) -> String {
    let key = if algorithm == Algorithm::ES256 {
        EncodingKey::from_ec_pem(P256)
    } else if algorithm == Algorithm::EdDSA {
        EncodingKey::from_ed_pem(ED25519)
    } else {
        EncodingKey::from_rsa_pem(RSA)
    };
    jsonwebtoken::encode(&Header::new(algorithm), claims, &key.unwrap()).unwrap()
}

fn hmac(secret: &[u8], claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret)).unwrap()
}

fn open_account(server: &Server, token: &str) -> Exchange {
    server.public.exchange(&format!("GET /api/v1/public/account\nAuthorization: Bearer {token}"))
}

fn assert_refused(answer: &Exchange) {
    assert_eq!((answer.status, answer.detail().as_str()), (401, "Invalid or expired session token."), "{answer}");
}

#[test]
fn an_rsa_key_admits_rs256_and_nothing_else() {
    let server = Server::start_with(|settings| trust(settings, RSA_PUBLIC, None));
    let claims = json!({"sub": server.account("growth").id, "exp": EXP});

    let good = open_account(&server, &sign(Algorithm::RS256, &claims));
    let others = [Algorithm::RS512, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA]
        .map(|algorithm| open_account(&server, &sign(algorithm, &claims)));

    assert_eq!(good.status, 200, "{good}");
    others.iter().for_each(assert_refused);
}

#[test]
fn a_p256_key_admits_es256_and_nothing_else() {
    let server = Server::start_with(|settings| trust(settings, P256_PUBLIC, None));
    let claims = json!({"sub": server.account("growth").id, "exp": EXP});

    let good = open_account(&server, &sign(Algorithm::ES256, &claims));
    let others = [Algorithm::RS256, Algorithm::EdDSA].map(|other| open_account(&server, &sign(other, &claims)));

    assert_eq!(good.status, 200, "{good}");
    others.iter().for_each(assert_refused);
}

#[test]
fn an_ed25519_key_admits_eddsa_and_nothing_else() {
    let server = Server::start_with(|settings| trust(settings, ED25519_PUBLIC, None));
    let claims = json!({"sub": server.account("growth").id, "exp": EXP});

    let good = open_account(&server, &sign(Algorithm::EdDSA, &claims));
    let others = [Algorithm::RS256, Algorithm::ES256].map(|other| open_account(&server, &sign(other, &claims)));

    assert_eq!(good.status, 200, "{good}");
    others.iter().for_each(assert_refused);
}

#[test]
fn without_an_issuer_its_tokens_are_refused() {
    let server = Server::start();
    let claims = json!({"sub": server.account("growth").id, "exp": EXP});

    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        assert_refused(&open_account(&server, &sign(algorithm, &claims)));
    }
}

#[test]
fn a_public_key_is_no_secret_for_hs256() {
    let server = Server::start_with(|settings| trust(settings, RSA_PUBLIC, None));
    let claims = json!({"sub": server.account("growth").id, "exp": EXP});

    let confused = hmac(RSA_PUBLIC, &claims);
    let trimmed = hmac(RSA_PUBLIC.trim_ascii_end(), &claims);
    let relabelled = format!("{HEADER_RS256}.{}", confused.split_once('.').unwrap().1);

    for token in [confused, trimmed, relabelled] {
        assert_refused(&open_account(&server, &token));
    }
}

#[test]
fn the_servers_own_tokens_open_beside_an_issuers() {
    let server = Server::start_with(|settings| trust(settings, P256_PUBLIC, Some("klinky")));
    let account = server.account("growth");

    let answer = open_account(&server, &server.token(&account.id));

    assert_eq!(answer.status, 200, "{answer}");
}

#[test]
fn an_audience_that_is_asked_for_must_be_named() {
    let server = Server::start_with(|settings| trust(settings, ED25519_PUBLIC, Some("klinky")));
    let id = server.account("growth").id;
    let open = |claims: &Value| open_account(&server, &sign(Algorithm::EdDSA, claims));

    let named = open(&json!({"sub": id, "exp": EXP, "aud": "klinky"}));
    let among_others = open(&json!({"sub": id, "exp": EXP, "aud": ["shop", "klinky"]}));
    let absent = open(&json!({"sub": id, "exp": EXP}));
    let wrong = [json!("shop"), json!(["shop"]), json!([]), json!(""), json!(null), json!(7), json!("Klinky")]
        .map(|aud| open(&json!({"sub": id, "exp": EXP, "aud": aud})));

    assert_eq!((named.status, among_others.status), (200, 200));
    assert_refused(&absent);
    wrong.iter().for_each(assert_refused);
}

#[test]
fn a_token_for_somebody_is_refused_where_no_audience_is_set() {
    let server = Server::start_with(|settings| trust(settings, ED25519_PUBLIC, None));
    let id = server.account("growth").id;

    for aud in [json!("shop"), json!(["shop", "klinky"]), json!(7)] {
        let token = sign(Algorithm::EdDSA, &json!({"sub": id, "exp": EXP, "aud": aud}));
        assert_refused(&open_account(&server, &token));
    }
}

#[test]
fn an_issuers_token_keeps_to_the_same_claims() {
    let server = Server::start_with(|settings| trust(settings, RSA_PUBLIC, None));
    let id = server.account("growth").id;

    for faulty in [
        json!({"sub": id}),
        json!({"sub": id, "exp": EXP - 60}),
        json!({"sub": id, "exp": EXP, "nbf": EXP - 59}),
        json!({"sub": "user-7", "exp": EXP}),
        json!({"exp": EXP}),
    ] {
        assert_refused(&open_account(&server, &sign(Algorithm::RS256, &faulty)));
    }
}

#[test]
fn an_issuers_token_with_another_keys_signature_is_refused() {
    let server = Server::start_with(|settings| trust(settings, ED25519_PUBLIC, None));
    let (one, other) = (server.account("growth"), server.account("growth"));
    let [signed, foreign] =
        [&one, &other].map(|account| sign(Algorithm::EdDSA, &json!({"sub": account.id, "exp": EXP})));

    let spliced = format!("{}.{}", signed.rsplit_once('.').unwrap().0, foreign.rsplit_once('.').unwrap().1);

    assert_refused(&open_account(&server, &spliced));
    assert_refused(&open_account(&server, &hmac(b"", &json!({"sub": one.id, "exp": EXP}))));
}

#[test]
fn a_pem_that_is_no_fitting_public_key_is_refused() {
    for pem in [P384_PUBLIC, RSA, P256, ED25519, b"", b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"] {
        let issuer = Issuer::from_pem(pem, None);

        assert!(issuer.is_err(), "{}", String::from_utf8_lossy(pem));
    }
}
