//! What may stand in the fields of a link, and how a refusal words what may not: addresses, names, variants.

use serde_json::{Value, json};

use crate::links::{Holder, plain};

/// Creates a link with each of the values in a field. A line each: the value (cut), the status, the detail.
pub(crate) fn verdicts<const N: usize>(field: &str, values: [Value; N]) -> String {
    let holder = Holder::on("scale");
    let lines = values.map(|value| {
        let mut body = plain("x");
        body.as_object_mut().unwrap().remove("slug");
        if field == "variants" {
            body.as_object_mut().unwrap().remove("destination_url");
        }
        let shown = brief(&value);
        body[field] = value;
        let answer = holder.create(&body);
        let status = answer.status;
        if status != 201 {
            return format!("{shown} => {status} {}", answer.detail());
        }
        let link = answer.json();
        let kept = if field == "destination_url" { &link["variants"][0][field] } else { &link[field] };
        format!("{shown} => {status} {}", brief(kept))
    });
    lines.join("\n")
}

/// A value without what all have in common, cut where it goes on and on.
fn brief(value: &Value) -> String {
    let text = value.to_string().replace(r#""destination_url":"https://example.com/","#, "");
    let cut: String = text.chars().take(100).collect();
    if cut.len() < text.len() { format!("{cut}…") } else { text }
}

pub(crate) fn variant(label: &str, weight: impl Into<Value>) -> Value {
    json!({"label": label, "destination_url": "https://example.com/", "weight": weight.into()})
}

/// Two variants, the first with this weight.
pub(crate) fn weighing(weight: Value) -> Value {
    json!([variant("a", weight), variant("b", json!(50))])
}

pub(crate) fn named(label: &str) -> Value {
    json!([variant(label, json!(100))])
}

#[test]
fn a_destination_is_an_absolute_web_address() {
    let long = |chars: usize| json!(format!("https://example.com/{}", "x".repeat(chars - 20)));

    let lines = verdicts(
        "destination_url",
        [
            json!("http://example.com"),
            json!("HTTPS://EXAMPLE.COM/A?b=c#d"),
            json!("https://192.0.2.1:8443/"),
            json!("https://[2001:db8::1]/"),
            json!("https://xn--mnchen-3ya.de/"),
            json!("https://example.com/a@b?c=d@e"),
            long(2048),
            long(2049),
        ],
    );

    insta::assert_snapshot!(lines, @r#"
    "http://example.com" => 201 "http://example.com"
    "HTTPS://EXAMPLE.COM/A?b=c#d" => 201 "HTTPS://EXAMPLE.COM/A?b=c#d"
    "https://192.0.2.1:8443/" => 201 "https://192.0.2.1:8443/"
    "https://[2001:db8::1]/" => 201 "https://[2001:db8::1]/"
    "https://xn--mnchen-3ya.de/" => 201 "https://xn--mnchen-3ya.de/"
    "https://example.com/a@b?c=d@e" => 201 "https://example.com/a@b?c=d@e"
    "https://example.com/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx… => 201 "https://example.com/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
    "https://example.com/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx… => 422 destination_url: must be at most 2048 characters, got 2049
    "#);
}

#[test]
fn an_address_with_another_scheme_or_other_letters_is_refused() {
    let lines = verdicts(
        "destination_url",
        [
            json!("javascript:alert(1)"),
            json!("JavaScript://example.com/%0aalert(1)"),
            json!("data:text/html,hi"),
            json!("ftp://example.com/"),
            json!("file:///etc/passwd"),
            json!("mailto:ops@example.com"),
            json!("https://user@example.com/"),
            json!("https://user:secret@example.com/"),
            json!("https://:@example.com/"),
            json!("https://@example.com/"),
            json!("https://example.com/\nSet-Cookie: x=1"),
            json!("https://example.com/\u{0}"),
            json!("java\tscript:alert(1)"),
            json!(" https://example.com/"),
            json!("https://example.com/a b"),
            json!("https://münchen.de/"),
            json!("https://example.com/ü"),
        ],
    );

    insta::assert_snapshot!(lines, @r#"
    "javascript:alert(1)" => 422 destination_url: must begin with http:// or https://
    "JavaScript://example.com/%0aalert(1)" => 422 destination_url: must begin with http:// or https://
    "data:text/html,hi" => 422 destination_url: must begin with http:// or https://
    "ftp://example.com/" => 422 destination_url: must begin with http:// or https://
    "file:///etc/passwd" => 422 destination_url: must begin with http:// or https://
    "mailto:ops@example.com" => 422 destination_url: must begin with http:// or https://
    "https://user@example.com/" => 422 destination_url: must not contain a user name or password
    "https://user:secret@example.com/" => 422 destination_url: must not contain a user name or password
    "https://:@example.com/" => 422 destination_url: must not contain a user name or password
    "https://@example.com/" => 422 destination_url: must not contain a user name or password
    "https://example.com/\nSet-Cookie: x=1" => 422 destination_url: must be percent-encoded ASCII without spaces
    "https://example.com/\u0000" => 422 destination_url: must be percent-encoded ASCII without spaces
    "java\tscript:alert(1)" => 422 destination_url: must be percent-encoded ASCII without spaces
    " https://example.com/" => 422 destination_url: must be percent-encoded ASCII without spaces
    "https://example.com/a b" => 422 destination_url: must be percent-encoded ASCII without spaces
    "https://münchen.de/" => 422 destination_url: must be percent-encoded ASCII without spaces
    "https://example.com/ü" => 422 destination_url: must be percent-encoded ASCII without spaces
    "#);
}

#[test]
fn an_address_that_is_not_absolute_is_refused() {
    let lines = verdicts(
        "destination_url",
        [
            json!("/path"),
            json!("//example.com/"),
            json!("example.com"),
            json!("https:example.com"),
            json!("https:/example.com"),
            json!("https:///example.com"),
            json!("https:\\\\example.com"),
            json!("https://"),
            json!("https://example.com:99999/"),
            json!(""),
            json!(1),
            json!(["https://example.com/"]),
        ],
    );

    insta::assert_snapshot!(lines, @r#"
    "/path" => 422 destination_url: must be a URL: relative URL without a base
    "//example.com/" => 422 destination_url: must be a URL: relative URL without a base
    "example.com" => 422 destination_url: must be a URL: relative URL without a base
    "https:example.com" => 422 destination_url: must begin with http:// or https://
    "https:/example.com" => 422 destination_url: must begin with http:// or https://
    "https:///example.com" => 422 destination_url: must begin with http:// or https://
    "https:\\\\example.com" => 422 destination_url: must begin with http:// or https://
    "https://" => 422 destination_url: must be a URL: empty host
    "https://example.com:99999/" => 422 destination_url: must be a URL: invalid port number
    "" => 422 destination_url: must be a URL: relative URL without a base
    1 => 422 destination_url: invalid type: integer `1`, expected a string
    ["https://example.com/"] => 422 destination_url: invalid type: sequence, expected a string
    "#);
}

#[test]
fn a_conversion_redirect_is_one_too() {
    let lines = verdicts(
        "conversion_redirect_url",
        [json!("https://example.com/thanks"), json!(null), json!("javascript:alert(1)"), json!(""), json!(false)],
    );

    insta::assert_snapshot!(lines, @r#"
    "https://example.com/thanks" => 201 "https://example.com/thanks"
    null => 201 null
    "javascript:alert(1)" => 422 conversion_redirect_url: must begin with http:// or https://
    "" => 422 conversion_redirect_url: must be a URL: relative URL without a base
    false => 422 conversion_redirect_url: invalid type: boolean `false`, expected a string
    "#);
}

#[test]
fn a_slug_is_3_to_32_of_its_letters() {
    let lines = verdicts(
        "slug",
        [
            json!("abc"),
            json!("a-1"),
            json!("x".repeat(32)),
            json!("x".repeat(33)),
            json!("ab"),
            json!("c"),
            json!(""),
            json!("Spring"),
            json!("frühling"),
            json!("ｓｐｒｉｎｇ"),
            json!("a_b"),
            json!("a b"),
            json!("a/b"),
            json!("a.b"),
            json!("../"),
            json!("abc\n"),
            json!("abc\u{0}"),
        ],
    );

    insta::assert_snapshot!(lines, @r#"
    "abc" => 201 "abc"
    "a-1" => 201 "a-1"
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" => 201 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" => 422 slug: must be 3 to 32 characters of a-z, 0-9 and -
    "ab" => 422 slug: must be 3 to 32 characters of a-z, 0-9 and -
    "c" => 422 slug: must be 3 to 32 characters of a-z, 0-9 and -
    "" => 422 slug: must be 3 to 32 characters of a-z, 0-9 and -
    "Spring" => 422 slug: must be 3 to 32 characters of a-z, 0-9 and -
    "frühling" => 422 slug: must be 3 to 32 characters of a-z, 0-9 and -
    "ｓｐｒｉｎｇ" => 422 slug: must be 3 to 32 characters of a-z, 0-9 and -
    "a_b" => 422 slug: must be 3 to 32 characters of a-z, 0-9 and -
    "a b" => 422 slug: must be 3 to 32 characters of a-z, 0-9 and -
    "a/b" => 422 slug: must be 3 to 32 characters of a-z, 0-9 and -
    "a.b" => 422 slug: must be 3 to 32 characters of a-z, 0-9 and -
    "../" => 422 slug: must be 3 to 32 characters of a-z, 0-9 and -
    "abc\n" => 422 slug: must be 3 to 32 characters of a-z, 0-9 and -
    "abc\u0000" => 422 slug: must be 3 to 32 characters of a-z, 0-9 and -
    "#);
}

#[test]
fn a_slug_is_no_word_of_the_server_and_not_taken() {
    let lines = verdicts(
        "slug",
        [
            json!("api"),
            json!("check"),
            json!("dashboard"),
            json!("admin"),
            json!("metrics"),
            json!("healthz"),
            json!("readyz"),
            json!("public"),
            json!("static"),
            json!("sale"),
            json!("sale"),
            json!(123),
            json!([]),
        ],
    );

    insta::assert_snapshot!(lines, @r#"
    "api" => 422 slug: api is a word that the server uses itself
    "check" => 422 slug: check is a word that the server uses itself
    "dashboard" => 422 slug: dashboard is a word that the server uses itself
    "admin" => 422 slug: admin is a word that the server uses itself
    "metrics" => 422 slug: metrics is a word that the server uses itself
    "healthz" => 422 slug: healthz is a word that the server uses itself
    "readyz" => 422 slug: readyz is a word that the server uses itself
    "public" => 422 slug: public is a word that the server uses itself
    "static" => 422 slug: static is a word that the server uses itself
    "sale" => 201 "sale"
    "sale" => 409 Slug sale is taken.
    123 => 422 slug: invalid type: integer `123`, expected a string
    [] => 422 slug: invalid type: sequence, expected a string
    "#);
}

#[test]
fn a_name_has_1_to_100_characters() {
    let lines = verdicts(
        "name",
        [
            json!("x"),
            json!("é".repeat(100)),
            json!("é".repeat(101)),
            json!(""),
            json!(" "),
            json!("a\u{7}"),
            json!(null),
            json!(1),
            json!({}),
        ],
    );

    insta::assert_snapshot!(lines, @r#"
    "x" => 201 "x"
    "ééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé… => 201 "ééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé…
    "ééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééééé… => 422 name: must be 1 to 100 characters, got 101
    "" => 422 name: must be 1 to 100 characters, got 0
    " " => 422 name: must not be blank
    "a\u0007" => 422 name: must not contain control characters
    null => 422 field required: name
    1 => 422 name: invalid type: integer `1`, expected a string
    {} => 422 name: invalid type: map, expected a string
    "#);
}

#[test]
fn a_label_has_1_to_50_characters_and_stands_once() {
    let lines = verdicts(
        "variants",
        [
            named("é"),
            named(&"é".repeat(50)),
            named(&"é".repeat(51)),
            named(""),
            named(" "),
            named("a\n"),
            json!([{"destination_url": "https://example.com/", "weight": 100}]),
            json!([{"label": null, "destination_url": "https://example.com/", "weight": 100}]),
            json!([variant("a", json!(50)), variant("a", json!(50))]),
        ],
    );

    insta::assert_snapshot!(lines, @r#"
    [{"label":"é","weight":100}] => 201 [{"label":"é","weight":100}]
    [{"label":"éééééééééééééééééééééééééééééééééééééééééééééééééé","weight":100}] => 201 [{"label":"éééééééééééééééééééééééééééééééééééééééééééééééééé","weight":100}]
    [{"label":"ééééééééééééééééééééééééééééééééééééééééééééééééééé","weight":100}] => 422 variants[0].label: must be 1 to 50 characters, got 51
    [{"label":"","weight":100}] => 422 variants[0].label: must be 1 to 50 characters, got 0
    [{"label":" ","weight":100}] => 422 variants[0].label: must not be blank
    [{"label":"a\n","weight":100}] => 422 variants[0].label: must not contain control characters
    [{"weight":100}] => 422 field required: variants[0].label
    [{"label":null,"weight":100}] => 422 variants[0].label: invalid type: null, expected a string
    [{"label":"a","weight":50},{"label":"a","weight":50}] => 422 variants: label "a" stands twice
    "#);
}

#[test]
fn weights_are_whole_numbers_that_sum_to_100() {
    let lines = verdicts(
        "variants",
        [
            weighing(json!(50)),
            weighing(json!(50.0)),
            weighing(json!(40)),
            weighing(json!(51)),
            weighing(json!(0)),
            weighing(json!(-50)),
            weighing(json!(-0.0)),
            weighing(json!(49.5)),
            weighing(json!(101)),
            weighing(json!(4_294_967_246_u64)),
            weighing(json!(4_294_967_346_u64)),
            weighing(json!(u64::MAX)),
            weighing(json!(1e20)),
            weighing(json!("50")),
            weighing(json!(null)),
            weighing(json!(true)),
            json!([variant("a", json!(90))]),
        ],
    );

    insta::assert_snapshot!(lines, @r#"
    [{"label":"a","weight":50},{"label":"b","weight":50}] => 201 [{"label":"a","weight":50},{"label":"b","weight":50}]
    [{"label":"a","weight":50.0},{"label":"b","weight":50}] => 201 [{"label":"a","weight":50},{"label":"b","weight":50}]
    [{"label":"a","weight":40},{"label":"b","weight":50}] => 422 variants: weights must sum to 100, got 90
    [{"label":"a","weight":51},{"label":"b","weight":50}] => 422 variants: weights must sum to 100, got 101
    [{"label":"a","weight":0},{"label":"b","weight":50}] => 422 variants: weights must sum to 100, got 50
    [{"label":"a","weight":-50},{"label":"b","weight":50}] => 422 variants[0].weight: must be a whole number from 0 to 100
    [{"label":"a","weight":-0.0},{"label":"b","weight":50}] => 422 variants[0].weight: must be a whole number from 0 to 100
    [{"label":"a","weight":49.5},{"label":"b","weight":50}] => 422 variants[0].weight: must be a whole number from 0 to 100
    [{"label":"a","weight":101},{"label":"b","weight":50}] => 422 variants[0].weight: must be 0 to 100
    [{"label":"a","weight":4294967246},{"label":"b","weight":50}] => 422 variants[0].weight: must be 0 to 100
    [{"label":"a","weight":4294967346},{"label":"b","weight":50}] => 422 variants[0].weight: must be a whole number from 0 to 100
    [{"label":"a","weight":18446744073709551615},{"label":"b","weight":50}] => 422 variants[0].weight: must be a whole number from 0 to 100
    [{"label":"a","weight":1e+20},{"label":"b","weight":50}] => 422 variants[0].weight: must be a whole number from 0 to 100
    [{"label":"a","weight":"50"},{"label":"b","weight":50}] => 422 variants[0].weight: invalid type: string "50", expected a JSON number
    [{"label":"a","weight":null},{"label":"b","weight":50}] => 422 field required: variants[0].weight
    [{"label":"a","weight":true},{"label":"b","weight":50}] => 422 variants[0].weight: invalid type: boolean `true`, expected a JSON number
    [{"label":"a","weight":90}] => 422 variants: weights must sum to 100, got 90
    "#);
}

#[test]
fn a_link_has_1_to_5_variants() {
    let some = |count: u32| (0..count).map(|n| variant(&n.to_string(), json!(100 / count))).collect::<Vec<_>>();

    let lines = verdicts(
        "variants",
        [
            json!(some(5)),
            json!(some(6)),
            json!([]),
            json!(null),
            json!({}),
            json!("x"),
            json!([null]),
            json!([["a", "https://example.com/", 100]]),
            json!([{"label": "a", "weight": 100}]),
            json!([variant("a", json!(100)), {"label": "b", "destination_url": "ftp://example.com/", "weight": 0}]),
        ],
    );

    insta::assert_snapshot!(lines, @r#"
    [{"label":"0","weight":20},{"label":"1","weight":20},{"label":"2","weight":20},{"label":"3","weight"… => 201 [{"label":"0","weight":20},{"label":"1","weight":20},{"label":"2","weight":20},{"label":"3","weight"…
    [{"label":"0","weight":16},{"label":"1","weight":16},{"label":"2","weight":16},{"label":"3","weight"… => 422 variants: must be 1 to 5, got 6
    [] => 422 variants: must be 1 to 5, got 0
    null => 422 field required: variants
    {} => 422 variants: invalid type: map, expected a sequence
    "x" => 422 variants: invalid type: string "x", expected a sequence
    [null] => 422 variants[0]: invalid type: null, expected an object
    [["a","https://example.com/",100]] => 422 variants[0]: invalid type: sequence, expected an object
    [{"label":"a","weight":100}] => 422 field required: variants[0].destination_url
    [{"label":"a","weight":100},{"destination_url":"ftp://example.com/","label":"b","weight":0}] => 422 variants[1].destination_url: must begin with http:// or https://
    "#);
}
