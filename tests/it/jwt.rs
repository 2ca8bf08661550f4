//! Sessions: which tokens open an account, and that no other does.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::harness::{Account, Exchange, JWT_SECRET, Server, at};

/// What the clock shows at first, in Unix seconds.
const NOW: i64 = 1_705_329_000;
const INVALID: &str = "Invalid or expired session token.";
const MISSING: &str = "Missing session token. Include Authorization: Bearer header.";
/// `{"alg":"none","typ":"JWT"}` and the like, in base64url.
const HEADER_NONE: &str = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
const HEADER_RS256: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9";

fn sign_with(algorithm: Algorithm, secret: &[u8], claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret)).unwrap()
}

/// A token as the server signs them, with any claims.
fn sign(claims: &Value) -> String {
    sign_with(Algorithm::HS256, JWT_SECRET.as_bytes(), claims)
}

/// Claims that are right for an account.
fn claims(account: &Account) -> Value {
    json!({"sub": account.id, "exp": NOW + 60})
}

fn open_account(server: &Server, token: &str) -> Exchange {
    server.public.exchange(&format!("GET /api/v1/public/account\nAuthorization: Bearer {token}"))
}

fn assert_refused(answer: &Exchange, detail: &str) {
    assert_eq!((answer.status, answer.detail().as_str()), (401, detail), "{answer}");
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    assert_eq!(answer.header("x-ratelimit-limit"), None, "{answer}");
}

#[test]
fn a_token_opens_its_account_and_no_other() {
    let server = Server::start();
    let (one, _other) = (server.account("scale"), server.account("growth"));

    let answer = open_account(&server, &server.token(&one.id));

    assert_eq!(answer.json()["id"], json!(one.id));
    insta::assert_snapshot!(answer, @r#"
    GET /api/v1/public/account
    Authorization: Bearer <jwt>

    200
    content-type: application/json
    ratelimit: "hour";r=1000;t=1800
    ratelimit-policy: "hour";q=1000;w=3600
    x-ratelimit-limit: 1000
    x-ratelimit-remaining: 1000
    x-ratelimit-reset: 1705330800

    {"id":"<id>","name":"Acme","plan":"scale","trial":null,"suspended":false,"api_access":true,"limit":1000}
    "#);
}

#[test]
fn a_token_opens_nothing_from_its_expiry_on() {
    let server = Server::start();
    let token = server.token(&server.account("growth").id);

    server.set_clock("2024-01-15T15:29:59.999Z");
    let last = open_account(&server, &token);
    server.set_clock("2024-01-15T15:30:00Z");
    let after = open_account(&server, &token);

    assert_eq!(last.status, 200);
    assert_refused(&after, INVALID);
    insta::assert_snapshot!(after, @r#"
    GET /api/v1/public/account
    Authorization: Bearer <jwt>

    401
    content-type: application/json
    www-authenticate: Bearer

    {"detail":"Invalid or expired session token."}
    "#);
}

#[test]
fn a_token_opens_nothing_before_its_start() {
    let server = Server::start();
    let account = server.account("growth");
    let token = sign(&json!({"sub": account.id, "exp": NOW + 60, "nbf": NOW + 1}));

    let before = open_account(&server, &token);
    server.set_clock("2024-01-15T14:30:01Z");
    let after = open_account(&server, &token);

    assert_refused(&before, INVALID);
    assert_eq!(after.status, 200);
}

#[test]
fn a_token_without_a_numeric_expiry_is_refused() {
    let server = Server::start();
    let id = server.account("growth").id;

    for faulty in [
        json!({"sub": id}),
        json!({"sub": id, "exp": null}),
        json!({"sub": id, "exp": "2099-01-01T00:00:00Z"}),
        json!({"sub": id, "exp": (NOW + 60).to_string()}),
        json!({"sub": id, "exp": true}),
        json!({"sub": id, "exp": -1}),
        json!({"sub": id, "exp": [NOW + 60]}),
        json!({"sub": id, "exp": NOW + 60, "nbf": "yesterday"}),
    ] {
        assert_refused(&open_account(&server, &sign(&faulty)), INVALID);
    }
}

#[test]
fn times_may_have_fractions_of_a_second() {
    let server = Server::start();
    let id = server.account("growth").id;
    let token = sign(&json!({"sub": id, "exp": 1_705_329_000.5, "nbf": 1_705_328_999.25, "iat": 1_705_328_999.1}));

    for (clock, status) in [
        ("2024-01-15T14:29:59.249Z", 401),
        ("2024-01-15T14:29:59.250Z", 200),
        ("2024-01-15T14:30:00.499Z", 200),
        ("2024-01-15T14:30:00.500Z", 401),
    ] {
        server.set_clock(clock);
        assert_eq!(open_account(&server, &token).status, status, "{clock}");
    }
    for far in [json!(1e300), json!(-0.5)] {
        assert_refused(&open_account(&server, &sign(&json!({"sub": id, "exp": far}))), INVALID);
    }
}

#[test]
fn a_token_that_asks_for_an_extension_is_refused() {
    let server = Server::start();
    let account = server.account("growth");
    let key = EncodingKey::from_secret(JWT_SECRET.as_bytes());

    for critical in [vec![], vec!["exp"], vec!["b64"], vec!["https://example.com/ext"]] {
        let mut header = Header::new(Algorithm::HS256);
        header.crit = Some(critical.into_iter().map(str::to_owned).collect());
        let token = jsonwebtoken::encode(&header, &claims(&account), &key).unwrap();
        assert_refused(&open_account(&server, &token), INVALID);
    }
}

#[test]
fn a_token_must_name_an_account_that_exists() {
    let server = Server::start();
    let id = server.account("growth").id;

    for sub in [
        Value::Null,
        json!(7),
        json!(""),
        json!("Acme"),
        json!("00000000-0000-7000-8000-000000000000"),
        json!(id.replace('-', "")),
        json!(format!("{id}\0")),
        json!([id]),
    ] {
        assert_refused(&open_account(&server, &sign(&json!({"sub": sub, "exp": NOW + 60}))), INVALID);
    }
    assert_refused(&open_account(&server, &sign(&json!({"exp": NOW + 60}))), INVALID);
    assert_refused(&open_account(&server, &sign(&json!([id, NOW + 60]))), INVALID);
}

#[test]
fn the_token_of_a_deleted_account_opens_nothing() {
    let server = Server::start();
    let account = server.account("growth");
    let token = server.token(&account.id);
    assert_eq!(open_account(&server, &token).status, 200);

    server.admin_ok("DELETE", &format!("/accounts/{}", account.id), &Value::Null);

    assert_refused(&open_account(&server, &token), INVALID);
}

#[test]
fn a_suspended_account_still_sees_itself() {
    let server = Server::start();
    let account = server.account("growth");
    let token = server.token(&account.id);

    server.admin_ok("PATCH", &format!("/accounts/{}", account.id), &json!({"suspended": true}));

    assert_eq!(open_account(&server, &token).status, 200);
}

#[test]
fn a_token_without_a_signature_is_refused() {
    let server = Server::start();
    let token = sign(&claims(&server.account("growth")));
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("no JWT: {token}") };

    for forged in [
        format!("{HEADER_NONE}.{payload}."),
        format!("{HEADER_NONE}.{payload}"),
        format!("{HEADER_NONE}.{payload}.{signature}"),
        format!("{header}.{payload}."),
        format!("{header}.{payload}"),
    ] {
        assert_refused(&open_account(&server, &forged), INVALID);
    }
}

#[test]
fn a_token_cannot_choose_its_algorithm() {
    let server = Server::start();
    let claims = claims(&server.account("growth"));
    let good = sign(&claims);
    let (_header, rest) = good.split_once('.').unwrap();

    for other in [
        sign_with(Algorithm::HS384, JWT_SECRET.as_bytes(), &claims),
        sign_with(Algorithm::HS512, JWT_SECRET.as_bytes(), &claims),
        format!("{HEADER_RS256}.{rest}"),
    ] {
        assert_refused(&open_account(&server, &other), INVALID);
    }
}

#[test]
fn a_token_with_a_wrong_signature_is_refused() {
    let server = Server::start();
    let (one, other) = (server.account("growth"), server.account("growth"));
    let (good, others) = (sign(&claims(&one)), sign(&claims(&other)));
    let (signed, _signature) = good.rsplit_once('.').unwrap();
    let (_signed, foreign) = others.rsplit_once('.').unwrap();

    let by_another_secret = sign_with(Algorithm::HS256, b"another-secret-0123456789-0123456789", &claims(&one));
    let with_a_foreign_signature = format!("{signed}.{foreign}");

    assert_refused(&open_account(&server, &by_another_secret), INVALID);
    assert_refused(&open_account(&server, &with_a_foreign_signature), INVALID);
}

#[test]
fn what_is_no_token_is_refused() {
    let server = Server::start();
    let account = server.account("growth");

    for garbage in
        ["x", ".", "..", "...", "a.b.c", "{}", "eyJ.eyJ.eyJ", "\u{e9}", &account.key, &account.id, &"x.".repeat(4000)]
    {
        let answer = open_account(&server, garbage);
        assert!([INVALID, MISSING].contains(&answer.detail().as_str()) && answer.status == 401, "{answer}");
    }
}

#[test]
fn a_request_without_one_bearer_token_is_told_what_is_missing() {
    let server = Server::start();
    let token = server.token(&server.account("growth").id);
    let with = |headers: &str| server.public.exchange(&format!("GET /api/v1/public/account\n{headers}"));

    let none = server.public.exchange("GET /api/v1/public/account");
    let two = with(&format!("Authorization: Bearer {token}\nAuthorization: Bearer {token}"));
    let basic = with("Authorization: Basic dXNlcjpwYXNz");
    let bare = with(&format!("Authorization: {token}"));

    for answer in [&none, &two, &basic, &bare] {
        assert_refused(answer, MISSING);
    }
    insta::assert_snapshot!(none, @r#"
    GET /api/v1/public/account

    401
    content-type: application/json
    www-authenticate: Bearer

    {"detail":"Missing session token. Include Authorization: Bearer header."}
    "#);
}

#[test]
fn the_scheme_is_read_without_regard_to_case() {
    let server = Server::start();
    let token = server.token(&server.account("growth").id);

    let answer = server.public.exchange(&format!("GET /api/v1/public/account\nauthorization: bEARER {token}"));

    assert_eq!(answer.status, 200, "{answer}");
}

#[test]
fn a_token_opens_no_limited_route() {
    let server = Server::start();
    let account = server.account("growth");
    let token = server.token(&account.id);

    let answer = server.public.exchange(&format!("GET /api/v1/public/links\nAuthorization: Bearer {token}"));

    assert_eq!((answer.status, answer.detail().as_str()), (401, "Missing API key. Include X-API-Key header."));
    assert_eq!(server.used(&account.id), 0);
}

#[test]
fn a_new_token_lives_as_long_as_it_was_asked_to() {
    let server = Server::start();
    let account = server.account("growth");

    let path = format!("/accounts/{}/tokens", account.id);
    let answer = server.admin_ok("POST", &path, &json!({"ttl_seconds": 1}));

    assert_eq!(at(answer["expires_at"].as_str().unwrap()), at("2024-01-15T14:30:01Z"));
    let token = answer["token"].as_str().unwrap();
    assert_eq!(open_account(&server, token).status, 200);
    server.set_clock("2024-01-15T14:30:01Z");
    assert_refused(&open_account(&server, token), INVALID);
}
