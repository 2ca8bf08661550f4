//! Flags of usage.

use clap::Args;

use super::parse::{Faults, parse_bounded};

/// Longest time that usage is kept: ten years, as of clicks.
const RETENTION_DAYS_MAX: u32 = 3650;

/// Flags of usage.
#[derive(Debug, Args)]
pub struct UsageArgs {
    /// How many days usage per hour, key and endpoint is kept, 1 to 3650
    #[arg(long, env = "KLINKY_USAGE_RETENTION_DAYS", value_name = "DAYS", default_value = "30")]
    pub usage_retention_days: String,
}

impl UsageArgs {
    pub(super) fn check(&self, faults: &mut Faults) -> Option<u32> {
        faults.keep("--usage-retention-days", parse_bounded(&self.usage_retention_days, 1, RETENTION_DAYS_MAX))
    }
}
