//! JSON objects: klinky's own log, Caddy's access log, and a log of the user's own, whose account is in a field that the
//! user names. They differ in what their fields are called. What has no status is no request, but another event.

use std::borrow::Cow;

use serde_json::Value;

use super::common_line::read_request;
use super::line::{LogLine, LoggedRequest, Why, passed_over, passed_over_by};
use super::time;
use crate::config::{Call, Fields};
use crate::domain::decision::Cost;
use crate::domain::time::Timestamp;

/// What the fields of a log are called; of several, the first that can be read counts.
struct Names {
    account: &'static [&'static str],
    time: &'static [&'static str],
    method: &'static [&'static str],
    target: &'static [&'static str],
    status: &'static [&'static str],
    /// A method and a target in one.
    call: &'static [&'static str],
    cost: &'static [&'static str],
}

const KLINKY: Names = Names {
    account: &["account.id"],
    time: &["timestamp"],
    method: &["method"],
    target: &["route"],
    status: &["status"],
    // A proxy that asks klinky asks about another call than its own.
    call: &["endpoint"],
    cost: &["cost"],
};
/// `remote_ip` is there since Caddy 2.5, `client_ip` since 2.7.
const CADDY: Names = Names {
    account: &["user_id", "request.client_ip", "request.remote_ip"],
    time: &["ts"],
    method: &["request.method"],
    target: &["request.uri"],
    status: &["status"],
    call: &[],
    cost: &[],
};
/// What servers and their loggers use to call them: variables of nginx, pino, Traefik, Envoy, AWS, the names of Elastic and
/// OpenTelemetry, and plain words.
const OWN: Names = Names {
    account: &[],
    time: &["time", "timestamp", "@timestamp", "ts", "time_iso8601", "time_local", "msec", "StartUTC", "start_time"],
    method: &[
        "method",
        "request_method",
        "req.method",
        "request.method",
        "RequestMethod",
        "httpMethod",
        "http.request.method",
    ],
    target: &[
        "uri",
        "request_uri",
        "path",
        "url",
        "req.url",
        "request.uri",
        "request.url",
        "route",
        "RequestPath",
        "url.path",
    ],
    status: &[
        "status",
        "status_code",
        "statusCode",
        "response_code",
        "res.statusCode",
        "response.status",
        "DownstreamStatus",
        "http.response.status_code",
        "http.status_code",
    ],
    call: &["request"],
    cost: &[],
};

/// Reads a line.
///
/// # Errors
/// When it is no object of a log that is understood, with what is wrong.
pub(super) fn read(line: &str, fields: &Fields) -> Result<LogLine<'static>, String> {
    let object: Value = serde_json::from_str(line).map_err(|error| {
        let text = error.to_string();
        format!("it is not JSON: {}", text.replace(" at line 1 column ", " at column "))
    })?;
    if is_klinkys(&object) {
        let why = passed_over_by(text(&object, "decision").as_deref());
        return read_as(&KLINKY, &object, fields, |_call, _status| why);
    }
    let by_status = |call: &Call<'_>, status| passed_over(&call.method, status);
    if is_caddys(&object) {
        // What goes wrong with a request it logs in a line more, with all that is in the other one.
        return match object.get("msg").and_then(Value::as_str) {
            None | Some("handled request") => read_as(&CADDY, &object, fields, by_status),
            Some(_) => Ok(LogLine::PassedOver(Why::OtherEvent)),
        };
    }
    if fields.account.is_some() {
        return read_as(&OWN, &object, fields, by_status);
    }
    if is_event(&object) {
        return Ok(LogLine::PassedOver(Why::OtherEvent));
    }
    Err("it is JSON, but neither klinky's nor Caddy's: name its account's field with --account-field".to_owned())
}

fn read_as(
    names: &Names,
    object: &Value,
    fields: &Fields,
    passed_over: impl FnOnce(&Call<'_>, u16) -> Option<Why>,
) -> Result<LogLine<'static>, String> {
    let mut statuses = texts(object, names.status).filter_map(|status| status.parse().ok());
    let Some(status) = statuses.next() else { return Ok(LogLine::PassedOver(Why::OtherEvent)) };
    let call = call(names, object);
    if let Some(why) = passed_over(&call, status) {
        return Ok(LogLine::PassedOver(why));
    }
    let Some(account) = find_account(names, object, fields)? else { return Ok(LogLine::PassedOver(Why::NoAccount)) };
    let at = time(names, object, fields)?;
    let cost = first(object, names.cost).and_then(|cost| Cost::new(cost.parse().ok()?).ok());
    Ok(LogLine::Request(LoggedRequest { account: account.into(), at, call, cost }))
}

fn find_account(names: &Names, object: &Value, fields: &Fields) -> Result<Option<String>, String> {
    match &fields.account {
        // Beyond 64 bits, several numbers would be read as the same one.
        Some(name) if find(object, name).is_some_and(Value::is_f64) => {
            Err(format!("its {name:?} is no whole number of 64 bits: log it as a text"))
        }
        Some(name) => Ok(text(object, name)),
        None => Ok(first(object, names.account)),
    }
}

/// The time. Of the usual names, the first whose value is one: the others may say how long something took.
fn time(names: &Names, object: &Value, fields: &Fields) -> Result<Timestamp, String> {
    if let Some(name) = &fields.time {
        return time::read(&text(object, name).ok_or_else(|| format!("it has no field {name:?}"))?);
    }
    let times = || texts(object, names.time).map(|text| time::read(&text));
    let found = times().find(Result::is_ok).or_else(|| times().next());
    found.unwrap_or_else(|| Err("it has no time: name its field with --time-field".to_owned()))
}

fn call(names: &Names, object: &Value) -> Call<'static> {
    if let Some(Call { method, target }) = first(object, names.call).as_deref().and_then(read_request) {
        return Call { method: method.into_owned().into(), target: target.into_owned().into() };
    }
    let word = |names| first(object, names).map_or(Cow::Borrowed(""), Cow::Owned);
    Call { method: word(names.method), target: word(names.target) }
}

/// Whether it is the closing event of a request.
fn is_klinkys(object: &Value) -> bool {
    object.get("message").and_then(Value::as_str) == Some("answered") && object.get("route").is_some()
}

/// Whether it is about a request to Caddy.
fn is_caddys(object: &Value) -> bool {
    ["request.uri", "request.remote_ip"].into_iter().all(|name| find(object, name).is_some_and(Value::is_string))
}

/// Whether it is what klinky or Caddy say of themselves, and not a request to a server whose log begins alike.
fn is_event(object: &Value) -> bool {
    let has = |names: [&str; 3]| names.into_iter().all(|name| object.get(name).is_some());
    let is_requests = [OWN.status, OWN.method, OWN.target].into_iter().any(|names| first(object, names).is_some());
    (has(["timestamp", "level", "message"]) || has(["ts", "level", "msg"])) && !is_requests
}

fn first(object: &Value, names: &[&str]) -> Option<String> {
    texts(object, names).next()
}

fn texts(object: &Value, names: &[&str]) -> impl Iterator<Item = String> {
    names.iter().filter_map(|name| text(object, name))
}

/// A text, or a number as one. Loggers write what they do not know as nothing, or as `-`.
fn text(object: &Value, name: &str) -> Option<String> {
    match find(object, name)? {
        Value::String(text) if !matches!(text.as_str(), "" | "-") => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A field by its name, or else by its way there: `request.headers.X-Account.0`.
fn find<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let get = |name: &str| match value {
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        Value::Object(fields) => fields.get(name),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    };
    get(name).or_else(|| {
        let mut ways = name.match_indices('.').map(|(dot, _)| name.split_at(dot));
        ways.find_map(|(head, rest)| find(get(head)?, rest.strip_prefix('.')?))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Reads an object whose account is in `user`.
    fn read_own(object: &Value) -> Result<LogLine<'static>, String> {
        read(&object.to_string(), &Fields { account: Some("user".to_owned()), time: None })
    }

    fn request(object: &Value) -> LoggedRequest<'static> {
        match read_own(object) {
            Ok(LogLine::Request(request)) => request,
            other => panic!("{other:?}: {object}"),
        }
    }

    #[test]
    fn the_usual_names_of_a_status_are_known() {
        for own in [
            json!({"status": 401}),
            json!({"status_code": "401"}),
            json!({"statusCode": 401}),
            json!({"response_code": 401}),
            json!({"res": {"statusCode": 401}}),
            json!({"http.response.status_code": 401}),
            json!({"http": {"response": {"status_code": 401}}}),
            json!({"http": {"status_code": 401}}),
            json!({"status": "done", "DownstreamStatus": 401}),
        ] {
            assert_eq!(read_own(&own), Ok(LogLine::PassedOver(Why::Refused)), "{own}");
        }
        let event = json!({"user": 7, "time": 1_795_946_400, "msg": "cache miss", "status": "cold"});
        assert_eq!(read_own(&event), Ok(LogLine::PassedOver(Why::OtherEvent)));
    }

    #[test]
    fn the_usual_names_of_a_call_are_known() {
        for own in [
            json!({"method": "GET", "path": "/a"}),
            json!({"httpMethod": "GET", "path": "/a"}),
            json!({"http": {"request": {"method": "GET"}}, "url": {"path": "/a"}}),
            json!({"request": "GET /a HTTP/1.1"}),
        ] {
            let mut object = json!({"user": "acme", "status": 200, "start_time": "2026-11-29T10:00:00Z"});
            object.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
            assert_eq!(request(&object).call, Call { method: "GET".into(), target: "/a".into() }, "{object}");
        }
    }

    #[test]
    fn a_duration_is_not_taken_for_the_time() {
        let both = json!({"user": "acme", "status": 200, "time": 0.003, "timestamp": "2026-11-29T10:00:00Z"});
        let one = json!({"user": "acme", "status": 200, "time": 0.003});

        assert_eq!(request(&both).at.to_string(), "2026-11-29T10:00:00Z");
        assert!(read_own(&one).unwrap_err().contains("its time \"0.003\""));
    }

    #[test]
    fn an_account_beyond_64_bits_is_refused() {
        let of = |user: &str| format!(r#"{{"user":{user},"status":200,"time":1795946400}}"#).parse::<Value>().unwrap();

        assert_eq!(request(&of("18446744073709551615")).account, "18446744073709551615");
        for user in ["18446744073709551616", "7.5"] {
            assert!(read_own(&of(user)).unwrap_err().contains("64 bits"), "{user}");
        }
    }

    #[test]
    fn a_field_is_found_whichever_of_its_dots_reach_into_objects() {
        for object in [
            json!({"http.request.user": 7}),
            json!({"http.request": {"user": 7}}),
            json!({"http": {"request.user": 7}, "http.request": {}}),
            json!({"http": {"request": {"user": 7}}}),
        ] {
            assert_eq!(text(&object, "http.request.user").as_deref(), Some("7"), "{object}");
        }
        assert_eq!(text(&json!({"a": ["x", {"b": "y"}]}), "a.1.b").as_deref(), Some("y"));
    }

    #[test]
    fn an_event_that_looks_like_a_request_is_none_of_klinkys() {
        let event = json!({"timestamp": "2026-11-29T10:00:00Z", "level": "INFO", "message": "done", "user": 7});
        let line = |object: &Value| read(&object.to_string(), &Fields::default());

        assert_eq!(line(&event), Ok(LogLine::PassedOver(Why::OtherEvent)));
        for (name, value) in [("status", json!(200)), ("method", json!("GET")), ("path", json!("/a"))] {
            let mut request = event.clone();
            request[name] = value;
            assert!(line(&request).unwrap_err().contains("--account-field"), "{request}");
        }
    }
}
