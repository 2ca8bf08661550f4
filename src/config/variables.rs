//! Variables that look like ours and are read by nothing: most likely misspelt.

use std::collections::BTreeSet;

use clap::CommandFactory;

use super::Cli;

/// What all of ours begin with.
const PREFIX: &str = "KLINKY_";
/// Those that are no flag's.
const SECRETS: [&str; 2] = ["KLINKY_ADMIN_TOKEN", "KLINKY_JWT_SECRET"];

/// Names of variables that are set and begin as ours do, but are read by no command.
#[must_use]
pub fn unread_variables() -> BTreeSet<String> {
    let command = Cli::command();
    let flags = command.get_subcommands().flat_map(clap::Command::get_arguments);
    let read: BTreeSet<&str> = flags.filter_map(|flag| flag.get_env()?.to_str()).chain(SECRETS).collect();
    let names = std::env::vars_os().filter_map(|(name, _value)| name.into_string().ok());
    names.filter(|name| name.starts_with(PREFIX) && !read.contains(name.as_str())).collect()
}
