//! Flags of `simulate`: the logs, the plans that are tried on them, what calls cost, and how the report looks.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use actix_web::http::Method;
use clap::{Args, ValueEnum};
use percent_encoding::percent_decode_str;

use super::calls::{self, CostRule, parse_cost};
use super::parse::{Faults, parse_bounded, parse_choice};
use crate::domain::decision::{Cost, Limit};
use crate::domain::plan::{Plan, PlanId};

/// Most plans and limits that are tried at once: each has a counter for every account and hour, and a column.
const TRIED_MAX: usize = 32;
/// Most accounts in a table: who wants more reads JSON.
const TOP_MAX: usize = 100_000;
/// Most characters of a field's name.
const FIELD_CHARS_MAX: usize = 200;
/// Stands for the method of a call whose log does not say it: no rule can name it but `*`.
const NO_METHOD: &[u8] = b"unknown";

/// Flags of `simulate`.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// The access logs; standard input if absent
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Try the plans of this dump, as `klinky dump --only plans` prints it, in place of the built-in ones
    #[arg(long, env = "KLINKY_SIMULATE_PLANS", value_name = "FILE")]
    pub plans: Option<PathBuf>,
    /// Try this limit as well, 0 to 4294967295 units an hour (repeatable)
    ///
    /// Several are separated by commas, so a number is written without one.
    #[arg(long, env = "KLINKY_SIMULATE_LIMIT", value_name = "N", value_delimiter = ',')]
    pub limit: Vec<String>,
    /// What calls cost, such as 'POST /v1/reports=10', as with serve: 1 to 1000 units (repeatable)
    ///
    /// A method or *, and a glob. The first one that matches counts; a call that none matches costs what the log
    /// says, if it is klinky's, or else 1. In the variable, several are separated by ;
    #[arg(long, env = "KLINKY_COST", value_name = "COST", value_delimiter = ';')]
    pub cost: Vec<String>,
    /// The field of a JSON log that names the account, such as user.id
    ///
    /// A dot reaches into an object, a number into an array; a field whose name has the dot is found as well.
    #[arg(long, env = "KLINKY_SIMULATE_ACCOUNT_FIELD", value_name = "NAME")]
    pub account_field: Option<String>,
    /// The field of a JSON log that names the time, unless it has one of the usual names
    ///
    /// Its value may be RFC 3339, or seconds or milliseconds since 1970.
    #[arg(long, env = "KLINKY_SIMULATE_TIME_FIELD", value_name = "NAME")]
    pub time_field: Option<String>,
    /// How the report looks: table, for people, or json, one object a line
    #[arg(long, env = "KLINKY_SIMULATE_FORMAT", value_name = "FORMAT", default_value = "table")]
    pub format: String,
    /// Most accounts in the table, 0 to 100000
    #[arg(long, env = "KLINKY_SIMULATE_TOP", value_name = "N", default_value = "20")]
    pub top: String,
}

/// How a report looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// Columns for people.
    Table,
    /// JSON lines.
    Json,
}

/// A limit that is tried, and the plan whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// Most units per window.
    pub limit: Limit,
    /// `None` if the limit was given by its number.
    pub plan: Option<PlanId>,
}

impl fmt::Display for Tried {
    /// The plan's id, or else the limit.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.plan {
            Some(plan) => plan.fmt(f),
            None => self.limit.as_units().fmt(f),
        }
    }
}

/// Which fields of a JSON log are what, where that was said.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    /// The account.
    pub account: Option<String>,
    /// The time.
    pub time: Option<String>,
}

/// What was called, as a log says it: both are empty where it does not.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Call<'a> {
    /// The method.
    pub method: Cow<'a, str>,
    /// A path with its query, or what else a client asked for.
    pub target: Cow<'a, str>,
}

/// What `simulate` tries, and on what, checked.
#[derive(Debug, Clone)]
pub struct SimulateSettings {
    /// The logs; standard input if empty.
    pub files: Vec<PathBuf>,
    /// The limits to try, the smallest first; at least one.
    pub tried: Vec<Tried>,
    /// What calls cost, in the order in which they are looked at.
    pub costs: Vec<CostRule>,
    /// Which fields of a JSON log are what.
    pub fields: Fields,
    /// How the report looks.
    pub format: ReportFormat,
    /// Most accounts in the table.
    pub top: usize,
}

impl SimulateSettings {
    /// What the rules say that a call costs, if one is about it. The target of a request is taken as the gateway takes
    /// it: without its query, and with its escapes undone.
    #[must_use]
    pub fn find_cost(&self, call: &Call<'_>) -> Option<Cost> {
        if self.costs.is_empty() {
            return None;
        }
        let method = Method::from_bytes(call.method.as_bytes());
        let method = method.or_else(|_none| Method::from_bytes(NO_METHOD)).ok()?;
        calls::find_cost(&self.costs, &method, &path_of(&call.target))
    }
}

impl SimulateArgs {
    /// Checks all values, and the plans of [`plans`](Self::plans), or why they could not be read.
    ///
    /// # Errors
    /// With a line for each fault.
    pub fn check(self, plans: Result<Vec<Plan>, String>) -> Result<SimulateSettings, Vec<String>> {
        let mut faults = Faults::default();
        let plans = faults.keep("--plans", plans.and_then(open_plans));
        let limits = faults.keep_all("--limit", &self.limit, parse_limit);
        let too_many = if limits.is_empty() { "--plans" } else { "--limit" };
        let tried = faults.keep(too_many, bounded(tried(plans.unwrap_or_default(), &limits)));
        let costs = faults.keep_all("--cost", &self.cost, |raw| parse_cost(raw, ""));
        let account = faults.keep("--account-field", self.account_field.map(parse_field).transpose());
        let time = faults.keep("--time-field", self.time_field.map(parse_field).transpose());
        let format = faults.keep("--format", parse_choice(&self.format));
        let top = faults.keep("--top", parse_bounded(&self.top, 0, TOP_MAX));
        match (tried, account, time, format, top) {
            (Some(tried), Some(account), Some(time), Some(format), Some(top)) if faults.0.is_empty() => {
                let fields = Fields { account, time };
                Ok(SimulateSettings { files: self.files, tried, costs, fields, format, top })
            }
            _ => Err(faults.0),
        }
    }
}

/// Those of the plans that give API access: the others let nobody in, whatever their limit.
fn open_plans(plans: Vec<Plan>) -> Result<Vec<Plan>, String> {
    let open: Vec<Plan> = plans.into_iter().filter(|plan| plan.api_access).collect();
    if open.is_empty() { Err("no plan in it has API access".to_owned()) } else { Ok(open) }
}

/// Commas separate limits, so that `1,000` arrives as two of them.
fn parse_limit(raw: &str) -> Result<u32, String> {
    if raw.len() > 1 && raw.starts_with('0') {
        return Err(format!("must be a number without a comma in it and without a zero before it, got {raw:?}"));
    }
    parse_bounded(raw, 0, u32::MAX)
}

fn tried(plans: Vec<Plan>, limits: &[u32]) -> Vec<Tried> {
    let plans = plans.into_iter().map(|plan| Tried { limit: plan.requests_per_hour, plan: Some(plan.id) });
    let limits = limits.iter().map(|units| Tried { limit: Limit::new(*units), plan: None });
    let mut tried: Vec<Tried> = plans.chain(limits).collect();
    // Of equals the plan comes first: it is what can be chosen.
    tried.sort_by_key(|tried| (tried.limit, tried.plan.is_none(), tried.plan.clone()));
    tried.dedup();
    tried
}

fn bounded(tried: Vec<Tried>) -> Result<Vec<Tried>, String> {
    if tried.len() > TRIED_MAX {
        return Err(format!("must be, plans and limits together, at most {TRIED_MAX}, got {}", tried.len()));
    }
    Ok(tried)
}

fn parse_field(raw: String) -> Result<String, String> {
    if (1..=FIELD_CHARS_MAX).contains(&raw.chars().count()) {
        Ok(raw)
    } else {
        Err(format!("must be 1 to {FIELD_CHARS_MAX} characters, got {raw:?}"))
    }
}

/// The path of a request's target, which proxies are asked for with a scheme and a host before it (RFC 9112 §3.2.2).
fn path_of(target: &str) -> Cow<'_, str> {
    let target = target.split(['?', '#']).next().unwrap_or_default();
    let path = match target.split_once("://") {
        Some((_scheme, rest)) if !target.starts_with('/') => {
            rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
        }
        Some(_) | None => target,
    };
    percent_decode_str(path).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_taken_without_its_host_its_query_and_its_escapes() {
        for (target, path) in [
            ("/v1/reports?page=2", "/v1/reports"),
            ("/v1/%72eports#x", "/v1/reports"),
            ("http://api.example:8080/v1/reports?x", "/v1/reports"),
            ("http://api.example", "/"),
            ("/go?to=http://a.example/b", "/go"),
            ("/go/http://a.example/b", "/go/http://a.example/b"),
            ("*", "*"),
        ] {
            assert_eq!(path_of(target), path, "{target}");
        }
    }
}
