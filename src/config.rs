//! The command line: flags, `KLINKY_…` variables, defaults and bounds.
//!
//! clap takes every value as text, so that all faults of a command line are reported in one go:
//! [`ServeArgs::check`] turns text into [`ServeSettings`], or into the list of what is wrong.

#![expect(clippy::doc_markdown, reason = "the docs of flags are their help texts, where backticks are noise")]
#![allow(rustdoc::bare_urls, clippy::allow_attributes, reason = "likewise; only rustdoc would see an expectation met")]

mod backups;
mod calls;
mod dump;
mod gateway;
mod links;
mod log;
mod parse;
mod simulate;
mod usage;
mod variables;
mod verify;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};
use ipnet::IpNet;

pub use self::backups::{BackupArgs, BackupSettings};
pub use self::calls::{Calls, CostRule};
pub use self::dump::{DumpArgs, DumpFormat, DumpKind, DumpSettings};
pub use self::gateway::{GatewayArgs, GatewaySettings, Upstream};
pub use self::links::{LinkArgs, LinkSettings};
pub use self::log::{LogArgs, LogFormat, LogSettings};
use self::parse::{
    Faults, cores, parse_address, parse_bounded, parse_network, parse_origin, parse_switch, parse_ttl, parse_workers,
    read_issuer, share_a_port,
};
pub use self::simulate::{Call, Fields, ReportFormat, SimulateArgs, SimulateSettings, Tried};
pub use self::usage::UsageArgs;
use self::variables::{ADMIN_TOKEN, JWT_SECRET};
pub use self::variables::{SecretVariable, unread_variables};
pub use self::verify::VerifyArgs;
use crate::domain::id::AccountId;
use crate::domain::key::KeyFormat;
use crate::secrets::Secret;
use crate::tokens::{Issuer, Ttl};

/// Longest flush interval: what a crash may forget should stay in the range of seconds.
const FLUSH_MS_MAX: u64 = 60_000;

/// API keys, plans and exact hourly rate limits for an HTTP API, in one binary.
#[derive(Debug, Parser)]
#[command(name = "klinky", version, about, max_term_width = 100)]
#[command(
    after_help = "Try it: klinky serve --demo\nEvery flag can be given as a variable: --data-dir as KLINKY_DATA_DIR."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server
    ///
    /// The public listener serves /api/v1 and /check; the admin listener serves /admin/v1, /healthz,
    /// /readyz and /metrics. Secrets come from KLINKY_ADMIN_TOKEN and KLINKY_JWT_SECRET, or are made
    /// at first start and kept in the data directory (admin-token, jwt-secret; mode 0600).
    Serve(Box<ServeArgs>),
    /// Print what is stored, whether or not the server runs
    ///
    /// A running server holds the data directory; the dump is then streamed from its admin listener.
    /// Keys appear as hashes only.
    Dump(DumpArgs),
    /// Fill an empty data directory from a dump
    Restore(RestoreArgs),
    /// Say what is wrong in a data directory that no server has open, which stays as it is
    ///
    /// Works on a copy in the system's place for temporary files (TMPDIR), which must have room for it.
    /// A line for each fault; exit code 1 if there is any.
    Verify(VerifyArgs),
    /// Print a session token (JWT) for an account
    Token(TokenArgs),
    /// Say from an access log how many requests each plan would have denied
    ///
    /// Understood are, line by line: the common and the combined log format of nginx and Apache, the log of klinky
    /// itself (text or json), Caddy's JSON access log, and with --account-field a JSON log of your own. Nothing is
    /// opened but the files: no data directory and no socket.
    Simulate(SimulateArgs),
}

/// Flags of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Where the public listener listens
    #[arg(long, env = "KLINKY_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: String,
    /// Where the admin listener listens; keep it off the internet
    #[arg(long, env = "KLINKY_ADMIN_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:8081")]
    pub admin_listen: String,
    /// Where everything is kept; made if absent
    #[arg(long, env = "KLINKY_DATA_DIR", value_name = "DIR", default_value = "data/db")]
    pub data_dir: PathBuf,
    /// Counted requests are on disk within this many milliseconds, 0 to 60000
    ///
    /// A crash forgets at most the units of the last interval. 0: on disk before the answer, many
    /// requests sharing one flush.
    #[arg(long, env = "KLINKY_FLUSH_EVERY_MS", value_name = "MS", default_value = "100")]
    pub flush_every_ms: String,
    /// The word that keys begin with, before `_live_`: 1 to 20 of a-z and 0-9
    #[arg(long, env = "KLINKY_KEY_PREFIX", value_name = "WORD", default_value = "klinky")]
    pub key_prefix: String,
    /// Threads that serve the public listener, 1 to 256
    ///
    /// Default: one for each core.
    #[arg(long, env = "KLINKY_WORKERS", value_name = "N")]
    pub workers: Option<String>,
    /// An origin whose pages may call the public API, such as https://app.example.com (repeatable)
    ///
    /// In the variable, several are separated by commas.
    #[arg(long, env = "KLINKY_CORS_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    pub cors_origin: Vec<String>,
    /// A network of proxies whose X-Forwarded-For is believed, such as 10.0.0.0/8 (repeatable)
    ///
    /// In the variable, several are separated by commas.
    #[arg(long, env = "KLINKY_TRUSTED_PROXY", value_name = "CIDR", value_delimiter = ',')]
    pub trusted_proxy: Vec<String>,
    /// A PEM public key (RSA, P-256 or Ed25519) of an outside issuer whose JWTs are accepted too
    #[arg(long, env = "KLINKY_JWT_PUBLIC_KEY", value_name = "FILE")]
    pub jwt_public_key: Option<PathBuf>,
    /// The `aud` that tokens of the outside issuer must carry
    #[arg(long, env = "KLINKY_JWT_AUDIENCE", value_name = "TEXT")]
    pub jwt_audience: Option<String>,
    /// Links of the built-in API.
    #[command(flatten)]
    pub links: LinkArgs,
    /// Usage.
    #[command(flatten)]
    pub usage: UsageArgs,
    /// Another API in place of them.
    #[command(flatten)]
    pub gateway: GatewayArgs,
    /// Backups.
    #[command(flatten)]
    pub backups: BackupArgs,
    /// The log.
    #[command(flatten)]
    pub log: LogArgs,
    /// Run on a throw-away database with one account per plan, and print keys and curl lines
    ///
    /// The data directory is left alone.
    #[arg(long, env = "KLINKY_DEMO", action = ArgAction::SetTrue)]
    pub demo: String,
    /// The admin token; only from the environment, where other users cannot see it.
    #[arg(skip = SecretVariable::find(ADMIN_TOKEN))]
    pub admin_token: SecretVariable,
    /// The JWT secret; likewise.
    #[arg(skip = SecretVariable::find(JWT_SECRET))]
    pub jwt_secret: SecretVariable,
}

/// Flags of `restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The dump; standard input if absent
    pub file: Option<PathBuf>,
    /// The data directory to fill: a new or an empty one
    #[arg(long, env = "KLINKY_DATA_DIR", value_name = "DIR", default_value = "data/db")]
    pub data_dir: PathBuf,
}

/// Flags of `token`.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// The account's id
    pub account: String,
    /// How long the token lives, in seconds: 1 to 2592000
    #[arg(long, env = "KLINKY_TTL_SECONDS", value_name = "SECS", default_value = "3600")]
    pub ttl_seconds: String,
    /// The data directory whose JWT secret signs, unless KLINKY_JWT_SECRET is set
    #[arg(long, env = "KLINKY_DATA_DIR", value_name = "DIR", default_value = "data/db")]
    pub data_dir: PathBuf,
    /// The JWT secret; only from the environment.
    #[arg(skip = SecretVariable::find(JWT_SECRET))]
    pub jwt_secret: SecretVariable,
}

/// What `token` signs, checked.
#[derive(Debug, Clone)]
pub struct TokenSettings {
    /// Whose token it is.
    pub account: AccountId,
    /// How long it lives.
    pub ttl: Ttl,
    /// The data directory whose secret signs.
    pub data_dir: PathBuf,
    /// From the environment; it comes before the data directory's.
    pub jwt_secret: Option<Secret>,
}

/// What `serve` runs on, checked.
#[derive(Debug, Clone)]
pub struct ServeSettings {
    /// Where the public listener listens.
    pub listen: SocketAddr,
    /// Where the admin listener listens.
    pub admin_listen: SocketAddr,
    /// Where everything is kept.
    pub data_dir: PathBuf,
    /// Counted units are on disk within this time; zero: before the answer.
    pub flush_within: Duration,
    /// The form of keys.
    pub key_format: KeyFormat,
    /// Threads of the public listener.
    pub workers: usize,
    /// Origins whose pages may call the public API.
    pub cors_origins: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// An outside issuer of JWTs.
    pub issuer: Option<Issuer>,
    /// The log.
    pub log: LogSettings,
    /// What links run on.
    pub links: LinkSettings,
    /// Days that usage is kept.
    pub usage_retention_days: u32,
    /// The API that is guarded in place of the links, if one is.
    pub gateway: Option<GatewaySettings>,
    /// Backups, if they are wanted.
    pub backups: Option<BackupSettings>,
    /// Whether it runs on a throw-away database, with accounts to try it with.
    pub demo: bool,
    /// From the environment.
    pub admin_token: Option<Secret>,
    /// From the environment.
    pub jwt_secret: Option<Secret>,
}

impl ServeArgs {
    /// Checks all values.
    ///
    /// # Errors
    /// With a line for each fault.
    pub fn check(&self) -> Result<ServeSettings, Vec<String>> {
        let mut faults = Faults::default();
        match self.checked(&mut faults) {
            Some(settings) if faults.0.is_empty() => Ok(settings),
            Some(_) | None => Err(faults.0),
        }
    }

    /// Looks at all values before it gives up.
    fn checked(&self, faults: &mut Faults) -> Option<ServeSettings> {
        let [listen, admin_listen] = self.check_listeners(faults);
        let flush_ms = faults.keep("--flush-every-ms", parse_bounded(&self.flush_every_ms, 0, FLUSH_MS_MAX));
        let key_format = faults.keep("--key-prefix", KeyFormat::new(&self.key_prefix));
        let workers = faults.keep("--workers", self.workers.as_deref().map_or_else(|| Ok(cores()), parse_workers));
        let cors_origins = faults.keep_all("--cors-origin", &self.cors_origin, parse_origin);
        let trusted_proxies = faults.keep_all("--trusted-proxy", &self.trusted_proxy, parse_network);
        let issuer = self.check_issuer(faults);
        let admin_token = faults.keep(ADMIN_TOKEN, self.admin_token.admin_token());
        let jwt_secret = faults.keep(JWT_SECRET, self.jwt_secret.jwt_secret());
        let log = self.log.check(faults);
        let (links, gateway) = (self.links.check(faults), self.gateway.check(faults));
        if let Some(Some(gateway)) = &gateway {
            let listeners = [("--listen", listen), ("--admin-listen", admin_listen)];
            gateway.upstream.check_is_another(listeners, faults);
        }
        let usage_retention_days = self.usage.check(faults);
        let backups = self.backups.check(&self.data_dir, faults);
        let demo = faults.keep("--demo", parse_switch(&self.demo));
        Some(ServeSettings {
            listen: listen?,
            admin_listen: admin_listen?,
            data_dir: self.data_dir.clone(),
            flush_within: Duration::from_millis(flush_ms?),
            key_format: key_format?,
            workers: workers?,
            cors_origins,
            trusted_proxies,
            issuer: issuer?,
            log: log?,
            links: links?,
            usage_retention_days: usage_retention_days?,
            gateway: gateway?,
            backups,
            demo: demo?,
            admin_token: admin_token?,
            jwt_secret: jwt_secret?,
        })
    }

    fn check_listeners(&self, faults: &mut Faults) -> [Option<SocketAddr>; 2] {
        let listen = faults.keep("--listen", parse_address(&self.listen));
        let admin_listen = faults.keep("--admin-listen", parse_address(&self.admin_listen));
        if let (Some(listen), Some(admin)) = (listen, admin_listen)
            && share_a_port(listen, admin)
        {
            faults.0.push(format!("--admin-listen: must be another address than --listen, got {admin} and {listen}"));
        }
        [listen, admin_listen]
    }

    fn check_issuer(&self, faults: &mut Faults) -> Option<Option<Issuer>> {
        let audience = self.jwt_audience.clone();
        let issuer = self.jwt_public_key.as_deref().map(|path| read_issuer(path, audience)).transpose();
        let issuer = faults.keep("--jwt-public-key", issuer);
        if self.jwt_audience.is_some() && self.jwt_public_key.is_none() {
            faults.0.push("--jwt-audience: goes with --jwt-public-key only".to_owned());
        }
        issuer
    }
}

impl TokenArgs {
    /// Checks all values.
    ///
    /// # Errors
    /// With a line for each fault.
    pub fn check(self) -> Result<TokenSettings, Vec<String>> {
        let mut faults = Faults::default();
        let account = faults.keep("ACCOUNT", AccountId::parse(&self.account));
        let ttl = faults.keep("--ttl-seconds", parse_ttl(&self.ttl_seconds));
        let jwt_secret = faults.keep(JWT_SECRET, self.jwt_secret.jwt_secret());
        match (account, ttl, jwt_secret) {
            (Some(account), Some(ttl), Some(jwt_secret)) if faults.0.is_empty() => {
                Ok(TokenSettings { account, ttl, data_dir: self.data_dir, jwt_secret })
            }
            _ => Err(faults.0),
        }
    }
}
