//! Variables: an empty one is as good as none, one that nothing reads is most likely misspelt, and secrets have no flag.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;

use clap::builder::Resettable;
use clap::{Arg, CommandFactory, FromArgMatches};

use super::Cli;
use crate::secrets::{ADMIN_TOKEN_BYTES_MIN, JWT_SECRET_BYTES_MIN, Secret};

/// What all of ours begin with.
const PREFIX: &str = "KLINKY_";
/// Of the admin token, which no flag has.
pub(super) const ADMIN_TOKEN: &str = "KLINKY_ADMIN_TOKEN";
/// Of the JWT secret, likewise.
pub(super) const JWT_SECRET: &str = "KLINKY_JWT_SECRET";

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

/// A secret as its variable has it. It prints as a placeholder.
#[derive(Clone)]
pub struct SecretVariable(Option<OsString>);

impl SecretVariable {
    pub(super) fn find(variable: &str) -> Self {
        Self(std::env::var_os(variable).filter(|value| !value.is_empty()))
    }

    /// The admin token, as an `Authorization` header can carry it. White space at the end goes, as it does from a file:
    /// whoever writes such variables, as from a file or with `echo`, easily has a line's end in them.
    pub(super) fn admin_token(&self) -> Result<Option<Secret>, String> {
        let Some(text) = self.text()? else { return Ok(None) };
        let token = text.trim_end();
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(
                "must be visible ASCII without spaces: no Authorization header carries anything else".to_owned()
            );
        }
        at_least(ADMIN_TOKEN_BYTES_MIN, token).map(Some)
    }

    /// The JWT secret. Each of its bytes counts, the last ones too.
    pub(super) fn jwt_secret(&self) -> Result<Option<Secret>, String> {
        self.text()?.map(|text| at_least(JWT_SECRET_BYTES_MIN, text)).transpose()
    }

    fn text(&self) -> Result<Option<&str>, String> {
        let text = self.0.as_deref().map(|value| value.to_str().ok_or("must be UTF-8"));
        Ok(text.transpose()?)
    }
}

impl fmt::Debug for SecretVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretVariable(…)")
    }
}

fn at_least(bytes_min: usize, text: &str) -> Result<Secret, String> {
    if text.len() < bytes_min {
        return Err(format!("must be at least {bytes_min} bytes"));
    }
    Ok(Secret::new(text))
}

/// Names of variables that are set and begin as ours do, but are read by no command.
#[must_use]
pub fn unread_variables() -> BTreeSet<String> {
    let command = Cli::command();
    let flags = command.get_subcommands().flat_map(clap::Command::get_arguments);
    let read: BTreeSet<&str> =
        flags.filter_map(|flag| flag.get_env()?.to_str()).chain([ADMIN_TOKEN, JWT_SECRET]).collect();
    let names = std::env::vars_os().filter_map(|(name, _value)| name.into_string().ok());
    names.filter(|name| name.starts_with(PREFIX) && !read.contains(name.as_str())).collect()
}
