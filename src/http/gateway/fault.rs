//! What a gateway answers in place of its upstream. The texts are public; causes are for the log alone.

use std::error::Error;

use super::pool::{HEADER_LINES_MAX, READ_BYTES_MAX};

/// The cause of a fault, for the log.
pub(crate) type Cause = Box<dyn Error + Send + Sync>;

/// Why a request is not answered by the upstream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// It can be read in more than one way.
    #[error("{0}")]
    Refused(String),
    /// It asks for what cannot be passed on.
    #[error("{0}")]
    Unsupported(&'static str),
    /// RFC 9110 §10.1.1 knows one expectation only.
    #[error("Only the expectation 100-continue can be met.")]
    Expectation,
    /// The client's body is not one, or ended early.
    #[error("The request's body cannot be read.")]
    BrokenBody,
    /// There is no connection to be had.
    #[error("The API behind this gateway cannot be reached. Please try again later.")]
    Unreachable(#[source] Cause),
    /// What came back is no answer.
    #[error("The API behind this gateway gave no proper answer.")]
    Malformed(#[source] Cause),
    /// What came back has a head over its bounds.
    #[error(
        "The API behind this gateway answered with more than {HEADER_LINES_MAX} header lines, or {READ_BYTES_MAX} bytes of them."
    )]
    LongHead(#[source] Cause),
    /// Nothing came back in time.
    #[error("The API behind this gateway did not answer within {ms} milliseconds.")]
    Slow { ms: u128 },
}

impl Fault {
    /// The upstream's faults are ours to know of, and not to send; the client's are in its answer.
    pub(crate) fn log_cause(&self) {
        match self {
            Self::Unreachable(cause) | Self::Malformed(cause) | Self::LongHead(cause) => {
                tracing::warn!(error = cause.as_ref() as &dyn Error, "the upstream failed: {self}");
            }
            Self::Slow { .. } => tracing::warn!("the upstream is slow: {self}"),
            Self::Refused(_) | Self::Unsupported(_) | Self::Expectation | Self::BrokenBody => {}
        }
    }
}
