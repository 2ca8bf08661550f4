//! What may stand in the fields of a link: routing, thresholds, times, switches.

use klinky::domain::web::Country;
use serde_json::json;

use crate::link_input::verdicts;
use crate::links::Holder;

#[test]
fn a_routing_type_is_one_of_two() {
    let lines = verdicts(
        "routing_type",
        [json!("ab_test"), json!("geo"), json!("AB_TEST"), json!("random"), json!(""), json!(null), json!(1)],
    );

    insta::assert_snapshot!(lines, @r#"
    "ab_test" => 201 "ab_test"
    "geo" => 201 "geo"
    "AB_TEST" => 422 routing_type: must be ab_test or geo
    "random" => 422 routing_type: must be ab_test or geo
    "" => 422 routing_type: must be ab_test or geo
    null => 201 "ab_test"
    1 => 422 routing_type: invalid type: integer `1`, expected a string
    "#);
}

#[test]
fn geo_rules_name_countries_and_variants() {
    let many = |count: usize| {
        let codes = ('A'..='Z').flat_map(|first| ('A'..='Z').map(move |second| format!("{first}{second}")));
        let countries = codes.filter(|code| Country::parse(code).is_ok());
        let all =
            ["default".to_owned()].into_iter().chain(countries.clone()).chain(countries.map(|c| c.to_lowercase()));
        all.take(count).map(|code| (code, json!("default"))).collect::<serde_json::Map<_, _>>()
    };

    let lines = verdicts(
        "geo_rules",
        [
            json!({}),
            json!(null),
            json!({"DE": "default", "us": "default", "default": "default"}),
            json!(many(251)),
            json!(many(252)),
            json!({"AA": "default"}),
            json!({"UK": "default"}),
            json!({"DE": "nobody"}),
            json!({"DE": ""}),
            json!({"DE": null}),
            json!({"DE": 1}),
            json!({"DEU": "default"}),
            json!({"D1": "default"}),
            json!({"é": "default"}),
            json!({"": "default"}),
            json!({"DE": "default", "de": "default"}),
            json!({"default": "default", "Default": "default"}),
            json!([]),
            json!("DE"),
        ],
    );

    insta::assert_snapshot!(lines, @r#"
    {} => 201 {}
    null => 201 {}
    {"DE":"default","default":"default","us":"default"} => 201 {"DE":"default","US":"default","default":"default"}
    {"AD":"default","AE":"default","AF":"default","AG":"default","AI":"default","AL":"default","AM":"def… => 201 {"AD":"default","AE":"default","AF":"default","AG":"default","AI":"default","AL":"default","AM":"def…
    {"AD":"default","AE":"default","AF":"default","AG":"default","AI":"default","AL":"default","AM":"def… => 422 geo_rules: must be at most 251
    {"AA":"default"} => 422 geo_rules.AA: AA is no country code of ISO 3166-1
    {"UK":"default"} => 422 geo_rules.UK: UK is no country code of ISO 3166-1
    {"DE":"nobody"} => 422 geo_rules: no variant has the label "nobody"
    {"DE":""} => 422 geo_rules.DE: must be 1 to 50 characters, got 0
    {"DE":null} => 422 geo_rules.DE: invalid type: null, expected a string
    {"DE":1} => 422 geo_rules.DE: invalid type: integer `1`, expected a string
    {"DEU":"default"} => 422 geo_rules.DEU: must be a country code of two letters, or default
    {"D1":"default"} => 422 geo_rules.D1: must be a country code of two letters, or default
    {"é":"default"} => 422 geo_rules.é: must be a country code of two letters, or default
    {"":"default"} => 422 geo_rules.: must be a country code of two letters, or default
    {"DE":"default","de":"default"} => 422 geo_rules: a country stands twice
    {"Default":"default","default":"default"} => 422 geo_rules: a country stands twice
    [] => 422 geo_rules: invalid type: sequence, expected a map
    "DE" => 422 geo_rules: invalid type: string "DE", expected a map
    "#);
}

#[test]
fn a_country_that_stands_twice_in_the_geo_rules_is_refused() {
    let holder = Holder::on("growth");
    let link = holder.link("spring");

    for rules in [
        r#"{"DE": "default", "DE": "default"}"#,
        r#"{"DE": "default", "FR": "default", "\u0044E": "default"}"#,
        r#"{"DE": "default", "de": "default"}"#,
    ] {
        let answer = holder.server.public.exchange(&format!(
            "PUT /api/v1/public/links{link}\nX-API-Key: {}\n\n{{\"geo_rules\": {rules}}}",
            holder.account.key
        ));
        assert_eq!((answer.status, answer.detail().as_str()), (422, "geo_rules: a country stands twice"), "{answer}");
    }
}

#[test]
fn a_threshold_is_at_least_10() {
    let lines = verdicts(
        "auto_winner_threshold",
        [
            json!(10),
            json!(250.0),
            json!(u32::MAX),
            json!(null),
            json!(9),
            json!(0),
            json!(-10),
            json!(10.5),
            json!(u64::from(u32::MAX) + 1),
            json!("100"),
        ],
    );

    insta::assert_snapshot!(lines, @r#"
    10 => 201 10
    250.0 => 201 250
    4294967295 => 201 4294967295
    null => 201 100
    9 => 422 auto_winner_threshold: must be at least 10
    0 => 422 auto_winner_threshold: must be at least 10
    -10 => 422 auto_winner_threshold: must be a whole number from 10 to 4294967295
    10.5 => 422 auto_winner_threshold: must be a whole number from 10 to 4294967295
    4294967296 => 422 auto_winner_threshold: must be a whole number from 10 to 4294967295
    "100" => 422 auto_winner_threshold: invalid type: string "100", expected a JSON number
    "#);
}

#[test]
fn an_expiry_is_an_instant_or_a_date() {
    let lines = verdicts(
        "expires_at",
        [
            json!("2024-02-01T12:00:00Z"),
            json!("2024-02-01T12:00:00.250+05:30"),
            json!("2024-02-01T12:00:00"),
            json!("2024-02-01 12:00:00"),
            json!("2024-02-01T12:00:00.123456"),
            json!("2024-02-29"),
            json!("9999-12-31T23:59:59Z"),
            json!(null),
            json!("2023-02-29"),
            json!("2024-02-30T00:00:00Z"),
            json!("2024-13-01"),
            json!("2024-02-01T25:00:00Z"),
            json!("1969-12-31"),
            json!("10000-01-01T00:00:00Z"),
            json!("01.02.2024"),
            json!("tomorrow"),
            json!(""),
            json!("2024-02-01T12:00:00ZZ"),
            json!(1_706_788_800),
        ],
    );

    insta::assert_snapshot!(lines, @r#"
    "2024-02-01T12:00:00Z" => 201 "2024-02-01T12:00:00Z"
    "2024-02-01T12:00:00.250+05:30" => 201 "2024-02-01T06:30:00.250Z"
    "2024-02-01T12:00:00" => 201 "2024-02-01T12:00:00Z"
    "2024-02-01 12:00:00" => 201 "2024-02-01T12:00:00Z"
    "2024-02-01T12:00:00.123456" => 201 "2024-02-01T12:00:00.123Z"
    "2024-02-29" => 201 "2024-02-29T00:00:00Z"
    "9999-12-31T23:59:59Z" => 201 "9999-12-31T23:59:59Z"
    null => 201 null
    "2023-02-29" => 422 expires_at: must be an RFC 3339 time such as 2026-01-31T12:00:00Z
    "2024-02-30T00:00:00Z" => 422 expires_at: must be an RFC 3339 time such as 2026-01-31T12:00:00Z
    "2024-13-01" => 422 expires_at: must be an RFC 3339 time such as 2026-01-31T12:00:00Z
    "2024-02-01T25:00:00Z" => 422 expires_at: must be an RFC 3339 time such as 2026-01-31T12:00:00Z
    "1969-12-31" => 422 expires_at: must be an RFC 3339 time such as 2026-01-31T12:00:00Z
    "10000-01-01T00:00:00Z" => 422 expires_at: must be an RFC 3339 time such as 2026-01-31T12:00:00Z
    "01.02.2024" => 422 expires_at: must be an RFC 3339 time such as 2026-01-31T12:00:00Z
    "tomorrow" => 422 expires_at: must be an RFC 3339 time such as 2026-01-31T12:00:00Z
    "" => 422 expires_at: must be an RFC 3339 time such as 2026-01-31T12:00:00Z
    "2024-02-01T12:00:00ZZ" => 422 expires_at: must be an RFC 3339 time such as 2026-01-31T12:00:00Z
    1706788800 => 422 expires_at: invalid type: integer `1706788800`, expected a string
    "#);
}

#[test]
fn switches_are_booleans() {
    for field in ["is_active", "auto_winner", "enable_conversion_tracking"] {
        let lines = verdicts(field, [json!(true), json!(false), json!("true"), json!(1), json!([])]);

        let expected = [
            "true => 201 true".to_owned(),
            "false => 201 false".to_owned(),
            format!("\"true\" => 422 {field}: invalid type: string \"true\", expected a boolean"),
            format!("1 => 422 {field}: invalid type: integer `1`, expected a boolean"),
            format!("[] => 422 {field}: invalid type: sequence, expected a boolean"),
        ];
        assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
    }
}
