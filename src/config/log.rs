//! Flags of the log.

use clap::{Args, ValueEnum};
use tracing_subscriber::filter::{LevelFilter, Targets};

use super::parse::{Faults, parse_choice};

/// actix_server says at each start and stop what we say already; actix_http logs as errors what clients send that is no HTTP,
/// which is nobody's to mend. What `--log` says of them counts.
const QUIET: &str = "actix_server=warn,actix_http=off";

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

/// A lone word that is no level would be a module of that name, and switch all others off.
fn parse_filter(filter: &str) -> Result<Targets, String> {
    let lone = filter.split(',').map(str::trim).filter(|part| !part.contains('='));
    let levels = lone.map(str::parse::<LevelFilter>).collect::<Result<Vec<_>, _>>();
    let parsed = levels.ok().and_then(|_levels| format!("{QUIET},{filter}").parse().ok());
    parsed.ok_or_else(|| {
        format!("must be error, warn, info, debug, trace or off, or such levels of modules, as in info,klinky::store=debug; got {filter:?}")
    })
}
