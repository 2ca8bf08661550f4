//! Asks a running server, by its admin listener, for what only it can read.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;

use crate::dump::DumpFilter;
use crate::secrets::Secret;

/// How long the server may take to begin its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of an error's body that are read.
const ERROR_BYTES_MAX: u64 = 64 * 1024;

/// Why a server did not hand its dump over.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// It cannot be reached, or it broke off.
    #[error("could not get a dump from the server at {admin}")]
    Transport {
        /// Its admin listener.
        admin: SocketAddr,
        /// What went wrong.
        #[source]
        source: Box<ureq::Error>,
    },
    /// It answered with an error.
    #[error("the server at {admin} answered {status}: {detail}")]
    Refused {
        /// Its admin listener.
        admin: SocketAddr,
        /// The status.
        status: u16,
        /// What it says.
        detail: String,
    },
    /// The dump could not be read or written to the end.
    #[error("the dump was cut off")]
    CutOff(#[from] io::Error),
}

#[derive(Deserialize)]
struct Detail {
    detail: String,
}

/// Copies the dump of the server at `admin` to `out`.
///
/// # Errors
/// When the server cannot be reached, refuses, or breaks off.
pub fn stream_dump(
    admin: SocketAddr,
    token: &Secret,
    filter: &DumpFilter,
    out: &mut impl Write,
) -> Result<(), RemoteError> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_recv_response(Some(ANSWER_TIMEOUT))
        .proxy(None)
        .build()
        .into();
    let mut request = agent
        .get(format!("http://{admin}/admin/v1/dump"))
        .header("Authorization", format!("Bearer {}", token.reveal()));
    let kinds: Vec<String> =
        filter.only.iter().filter_map(|kind| Some(kind.to_possible_value()?.get_name().to_owned())).collect();
    if !kinds.is_empty() {
        request = request.query("only", kinds.join(","));
    }
    if let Some(account) = filter.account {
        request = request.query("account", account.to_string());
    }
    let transport = |error| RemoteError::Transport { admin, source: Box::new(error) };
    let mut answer = request.call().map_err(transport)?;
    if answer.status() != 200 {
        let text = answer.body_mut().with_config().limit(ERROR_BYTES_MAX).read_to_string().map_err(transport)?;
        let detail = serde_json::from_str::<Detail>(&text).map_or(text, |body| body.detail);
        return Err(RemoteError::Refused { admin, status: answer.status().as_u16(), detail });
    }
    io::copy(&mut answer.into_body().into_reader(), out)?;
    Ok(())
}
