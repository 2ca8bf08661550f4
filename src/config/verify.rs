//! Flags of `verify`.

use std::path::PathBuf;

use clap::Args;

/// Flags of `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The data directory
    #[arg(long, env = "KLINKY_DATA_DIR", value_name = "DIR", default_value = "data/db")]
    pub data_dir: PathBuf,
}
