//! JSON objects: klinky's own log, Caddy's access log, and a log of the user's own, whose account is in a field that the
//! user names. They differ in what their fields are called.

use std::borrow::Cow;

use serde_json::Value;

use super::common_line::read_request;
use super::line::{Call, LogLine, LoggedRequest, Why, passed_over, passed_over_by};
use super::time;
use crate::config::Fields;
use crate::domain::decision::Cost;

/// What the fields of a log are called; of several, the first that is there counts.
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
/// As of Caddy 2.5; before, there was no `client_ip`.
const CADDY: Names = Names {
    account: &["user_id", "request.client_ip", "request.remote_ip"],
    time: &["ts"],
    method: &["request.method"],
    target: &["request.uri"],
    status: &["status"],
    call: &[],
    cost: &[],
};
/// What servers and their loggers use to call them: variables of nginx, pino, Traefik, and plain words.
const OWN: Names = Names {
    account: &[],
    time: &["time", "timestamp", "@timestamp", "ts", "time_iso8601", "time_local", "msec", "StartUTC"],
    method: &["method", "request_method", "req.method", "request.method", "RequestMethod"],
    target: &["uri", "request_uri", "path", "url", "req.url", "request.uri", "request.url", "route", "RequestPath"],
    status: &["status", "status_code", "res.statusCode", "response.status", "DownstreamStatus"],
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
    if is_caddys(&object) {
        return read_as(&CADDY, &object, fields, |call, status| passed_over(&call.method, status));
    }
    if fields.account.is_some() {
        return read_as(&OWN, &object, fields, |call, status| passed_over(&call.method, status));
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
    passed_over: impl FnOnce(&Call<'_>, Option<u16>) -> Option<Why>,
) -> Result<LogLine<'static>, String> {
    let call = call(names, object);
    let status = first(object, names.status).and_then(|status| status.parse().ok());
    if let Some(why) = passed_over(&call, status) {
        return Ok(LogLine::PassedOver(why));
    }
    let account = match &fields.account {
        Some(name) => text(object, name),
        None => first(object, names.account),
    };
    let Some(account) = account else { return Ok(LogLine::PassedOver(Why::NoAccount)) };
    let time = match &fields.time {
        Some(name) => text(object, name).ok_or_else(|| format!("it has no field {name:?}")),
        None => first(object, names.time).ok_or_else(|| "it has no time: name its field with --time-field".to_owned()),
    };
    let at = time::read(&time?)?;
    let cost = first(object, names.cost).and_then(|cost| Cost::new(cost.parse().ok()?).ok());
    Ok(LogLine::Request(LoggedRequest { account: account.into(), at, call, cost }))
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

/// Whether it is the line of a request: Caddy logs what went wrong with one in a line of its own.
fn is_caddys(object: &Value) -> bool {
    let has = |name| find(object, name).is_some_and(Value::is_string);
    let message = object.get("msg").and_then(Value::as_str);
    has("request.uri") && has("request.remote_ip") && message.is_none_or(|message| message == "handled request")
}

/// Whether it is what klinky or Caddy say of themselves.
fn is_event(object: &Value) -> bool {
    let has = |names: [&str; 3]| names.into_iter().all(|name| object.get(name).is_some());
    has(["timestamp", "level", "message"]) || has(["ts", "level", "msg"])
}

fn first(object: &Value, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| text(object, name))
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
        let (head, rest) = name.split_once('.')?;
        find(get(head)?, rest)
    })
}
