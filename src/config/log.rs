//! Flags of the log.

use clap::{Args, ValueEnum};
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::parse::{Faults, parse_choice};

/// actix_server says at each start and stop what we say already; actix_http logs as errors what clients send that is no HTTP,
/// which is nobody's to mend; that lines are missing is said whatever is logged. What `--log` says of them counts.
const DEFAULTS: [(&str, LevelFilter); 3] =
    [("actix_server", LevelFilter::WARN), ("actix_http", LevelFilter::OFF), ("klinky::log", LevelFilter::WARN)];
/// What `Targets` reads is more, and an empty level means errors there.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Flags of the log.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// How log lines look: text, for people, or json, one object a line
    #[arg(long, env = "KLINKY_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: String,
    /// What is logged: off, error, warn, info, debug, or by module: info,klinky::store=debug
    #[arg(long, env = "KLINKY_LOG", value_name = "LEVEL", default_value = "info")]
    pub log: String,
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// What is logged.
    pub filter: Targets,
    /// How lines look.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogArgs {
    pub(super) fn check(&self, faults: &mut Faults) -> Option<LogSettings> {
        let format = faults.keep("--log-format", parse_choice(&self.log_format));
        let filter = faults.keep("--log", parse_filter(&self.log));
        Some(LogSettings { filter: filter?, format: format? })
    }
}

/// Reads levels, of all or of single modules, with commas between them.
fn parse_filter(filter: &str) -> Result<Targets, String> {
    let read =
        filter.split(',').try_fold(Targets::new().with_targets(DEFAULTS), |targets, part| match part.split_once('=') {
            None => Some(targets.with_default(parse_level(part)?)),
            Some((module, level)) => Some(targets.with_target(parse_module(module)?, parse_level(level)?)),
        });
    read.ok_or_else(|| {
        format!("must be error, warn, info, debug, trace or off, or such levels of modules, as in info,klinky::store=debug; got {filter:?}")
    })
}

fn parse_level(text: &str) -> Option<LevelFilter> {
    let level = text.trim().to_ascii_lowercase();
    LEVELS.contains(&level.as_str()).then(|| level.parse().ok())?
}

fn parse_module(text: &str) -> Option<&str> {
    let module = text.trim();
    let is_one = !module.is_empty() && module.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'));
    is_one.then_some(module)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn blanks_and_capitals_do_not_matter_and_later_parts_count() {
        let targets = parse_filter(" INFO , klinky::store = debug,actix_http=warn").unwrap();

        let is_on = |target, level| targets.would_enable(target, &level);
        assert!(is_on("klinky::http", Level::INFO) && !is_on("klinky::http", Level::DEBUG));
        assert!(is_on("klinky::store::open", Level::DEBUG) && is_on("actix_http::h1", Level::WARN));
        assert!(is_on("actix_server", Level::WARN) && !is_on("actix_server", Level::INFO));
    }

    #[test]
    fn that_lines_are_missing_is_said_whatever_is_logged() {
        assert!(parse_filter("klinky::http=info").unwrap().would_enable("klinky::log", &Level::WARN));
        assert!(!parse_filter("info,klinky::log=off").unwrap().would_enable("klinky::log", &Level::WARN));
    }
}
