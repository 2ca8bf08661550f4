//! Flags of `klinky dump`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::parse::{Faults, parse_address, parse_choice};
use super::variables::{ADMIN_TOKEN, SecretVariable};
use crate::domain::id::AccountId;
use crate::secrets::Secret;

/// Flags of `dump`.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// The data directory
    #[arg(long, env = "KLINKY_DATA_DIR", value_name = "DIR", default_value = "data/db")]
    pub data_dir: PathBuf,
    /// Where a running server's admin listener is
    ///
    /// Default: where the server left word in the data directory that it is.
    #[arg(long, env = "KLINKY_ADMIN_LISTEN", value_name = "ADDR")]
    pub admin_listen: Option<String>,
    /// How the dump looks: json, lines that restore reads, or table, for people
    #[arg(long, env = "KLINKY_DUMP_FORMAT", value_name = "FORMAT", default_value = "json")]
    pub format: String,
    /// Only these kinds of rows: plans, accounts, keys, counters, links, usage, or several with commas
    #[arg(long, env = "KLINKY_DUMP_ONLY", value_name = "KINDS", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Only this account, with all that is its own
    #[arg(long, env = "KLINKY_DUMP_ACCOUNT", value_name = "ID")]
    pub account: Option<String>,
    /// The admin token; only from the environment.
    #[arg(skip = SecretVariable::find(ADMIN_TOKEN))]
    pub admin_token: SecretVariable,
}

/// How a dump looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DumpFormat {
    /// JSON lines.
    Json,
    /// Columns for people.
    Table,
}

/// A kind of rows in a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DumpKind {
    /// Plans.
    Plans,
    /// Accounts.
    Accounts,
    /// Keys, as hashes.
    Keys,
    /// Counters.
    Counters,
    /// Links, with their clicks.
    Links,
    /// Usage, by key and endpoint.
    Usage,
}

/// What `dump` prints, and from where, checked.
#[derive(Debug, Clone)]
pub struct DumpSettings {
    /// The data directory.
    pub data_dir: PathBuf,
    /// Where a running server's admin listener is, if that was said.
    pub admin_listen: Option<SocketAddr>,
    /// How the dump looks.
    pub format: DumpFormat,
    /// Only these kinds of rows; all if empty.
    pub only: Vec<DumpKind>,
    /// Only this account.
    pub account: Option<AccountId>,
    /// From the environment.
    pub admin_token: Option<Secret>,
}

impl DumpArgs {
    /// Checks all values.
    ///
    /// # Errors
    /// With a line for each fault.
    pub fn check(self) -> Result<DumpSettings, Vec<String>> {
        let mut faults = Faults::default();
        let admin_listen = self.admin_listen.as_deref().map(parse_address).transpose();
        let admin_listen = faults.keep("--admin-listen", admin_listen);
        let format = faults.keep("--format", parse_choice(&self.format));
        let only = faults.keep_all("--only", &self.only, parse_choice);
        let account = faults.keep("--account", self.account.as_deref().map(AccountId::parse).transpose());
        let admin_token = faults.keep(ADMIN_TOKEN, self.admin_token.admin_token());
        match (admin_listen, format, account, admin_token) {
            (Some(admin_listen), Some(format), Some(account), Some(admin_token)) if faults.0.is_empty() => {
                Ok(DumpSettings { data_dir: self.data_dir, admin_listen, format, only, account, admin_token })
            }
            _ => Err(faults.0),
        }
    }
}
