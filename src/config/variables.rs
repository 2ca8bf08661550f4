//! Variables: an empty one is as good as none, and one that nothing reads is most likely misspelt.

use std::collections::BTreeSet;

use clap::builder::Resettable;
use clap::{Arg, CommandFactory, FromArgMatches};

use super::Cli;
use crate::secrets::Secret;

/// What all of ours begin with.
const PREFIX: &str = "KLINKY_";
/// Those that are no flag's.
const SECRETS: [&str; 2] = ["KLINKY_ADMIN_TOKEN", "KLINKY_JWT_SECRET"];

impl Cli {
    /// The command line of this process, with its variables. Ends the process, as clap does, if it is none.
    #[must_use]
    pub fn of_process() -> Self {
        let prepared = |flag| with_negative_numbers(without_empty_variable(flag));
        let command = Self::command().mut_subcommands(|command| command.mut_args(prepared));
        Self::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
    }
}

/// A flag that does not look at its variable if that is empty: `KLINKY_LOG=` in a file for systemd, or `KLINKY_LOG:` in
/// one for containers, is how an operator says nothing, and clap takes it for a value.
fn without_empty_variable(flag: Arg) -> Arg {
    let is_empty = flag.get_env().and_then(std::env::var_os).is_some_and(|value| value.is_empty());
    if is_empty { flag.env(Resettable::Reset) } else { flag }
}

/// A flag that takes `-1` for a value. clap takes it for a flag that it does not know, and says nothing else of the line;
/// ours says what the bounds are.
fn with_negative_numbers(flag: Arg) -> Arg {
    if flag.get_action().takes_values() { flag.allow_negative_numbers(true) } else { flag }
}

/// A secret that stands in a variable.
pub(super) fn find_secret(variable: &str) -> Option<Secret> {
    let text = std::env::var_os(variable).and_then(|value| value.into_string().ok());
    text.filter(|text| !text.is_empty()).map(|text| Secret::new(&text))
}

/// Names of variables that are set and begin as ours do, but are read by no command.
#[must_use]
pub fn unread_variables() -> BTreeSet<String> {
    let command = Cli::command();
    let flags = command.get_subcommands().flat_map(clap::Command::get_arguments);
    let read: BTreeSet<&str> = flags.filter_map(|flag| flag.get_env()?.to_str()).chain(SECRETS).collect();
    let names = std::env::vars_os().filter_map(|(name, _value)| name.into_string().ok());
    names.filter(|name| name.starts_with(PREFIX) && !read.contains(name.as_str())).collect()
}
