//! One request to the upstream and the head of its answer: on which connection, how often, how long.

use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::dev::Payload;
use actix_web::http::header::CONTENT_LENGTH;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::{Request, Response};

use super::fault::Fault;
use super::pool::{Connection, Pool};
use super::request_head;
use super::upload::{Progress, Upload, UploadState};
use crate::config::GatewaySettings;
use crate::http::State;
use crate::http::error::ApiError;

/// All that an exchange needs to know.
pub(crate) struct Exchange<'a> {
    pub(crate) state: &'a State,
    pub(crate) settings: &'a GatewaySettings,
    pub(crate) pool: &'a Pool,
    pub(crate) request: &'a HttpRequest,
}

/// The head of an answer, the connection that its body comes on, and how far the request's own body is.
type Answered = (Response<Incoming>, Connection, Rc<Progress>);

/// Why an attempt failed.
enum Failed {
    /// Nothing was sent.
    Unsent(Box<Request<Upload>>),
    /// The connection ended without an answer.
    Closed(hyper::Error),
    /// There is no use in another attempt.
    Final(ApiError),
}

impl Exchange<'_> {
    /// Sends the request and waits for the head of the answer.
    ///
    /// A connection from the pool may have been closed by the upstream in the meantime. Then the request is sent again
    /// if nothing of it was sent, or if it is without a body and of a method that may be repeated (RFC 9110 §9.2.2);
    /// the second time on a new connection. A failure on a new connection is final.
    ///
    /// # Errors
    /// When there is no answer.
    pub(crate) async fn run(&self, payload: Payload) -> Result<Answered, ApiError> {
        let upload = Upload::new(payload, self.announced_bytes());
        let may_repeat = upload.progress().state() == UploadState::Done && self.request.method().is_idempotent();
        let (mut upload, mut unsent) = (Some(upload), None::<Box<Request<Upload>>>);
        let mut is_repeated = false;
        loop {
            let kept = if is_repeated { None } else { self.pool.take().await };
            let is_kept = kept.is_some();
            let connection = match kept {
                Some(connection) => connection,
                // Boxed, as it is rare: every request would carry its size.
                None => Box::pin(Connection::open(self.settings)).await?,
            };
            let request = match unsent.take() {
                Some(unsent) => *unsent,
                None => self.build(upload.take().unwrap_or_else(Upload::empty))?,
            };
            match self.attempt(connection, request).await {
                Ok(answered) => return Ok(answered),
                Err(Failed::Unsent(request)) if is_kept => unsent = Some(request),
                Err(Failed::Unsent(_request)) => {
                    return Err(Fault::Unreachable("the connection closed at once".into()).into());
                }
                Err(Failed::Closed(_cause)) if is_kept && may_repeat => is_repeated = true,
                Err(Failed::Closed(cause)) => return Err(Fault::Malformed(cause.into()).into()),
                Err(Failed::Final(error)) => return Err(error),
            }
        }
    }

    fn build(&self, upload: Upload) -> Result<Request<Upload>, ApiError> {
        let host = &self.settings.upstream.authority;
        request_head::build(self.request, self.state, host, upload)
            .map_err(|cause| ApiError::Internal("a request cannot be passed on", Some(cause)))
    }

    fn announced_bytes(&self) -> Option<u64> {
        self.request.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// The request is sent before the future that waits is made, which so need not hold it: all that is awaited is
    /// part of a request's state, and moved and allocated with it.
    fn attempt(
        &self,
        mut connection: Connection,
        request: Request<Upload>,
    ) -> impl Future<Output = Result<Answered, Failed>> + use<> {
        let upload = request.body().progress();
        let mut head = Box::pin(connection.send(request));
        let timeout = self.settings.timeout;
        async move {
            match patiently(head.as_mut(), &upload, timeout).await {
                Ok(Ok(response)) => Ok((response, connection, upload)),
                Ok(Err(error)) => Err(failed(error, upload.state())),
                Err(error) => Err(Failed::Final(error)),
            }
        }
    }
}

fn failed(mut error: TrySendError<Request<Upload>>, upload: UploadState) -> Failed {
    if let Some(unsent) = error.take_message() {
        return Failed::Unsent(Box::new(unsent));
    }
    let error = error.into_error();
    if upload == UploadState::Broken {
        return Failed::Final(Fault::BrokenBody.into());
    }
    if error.is_parse_too_large() {
        return Failed::Final(Fault::LongHead(error.into()).into());
    }
    if error.is_parse() { Failed::Final(Fault::Malformed(error.into()).into()) } else { Failed::Closed(error) }
}

/// Waits for the head of an answer. Whenever the client's body moves, the wait begins anew; at its end it is the one who was
/// waited for that is to blame.
async fn patiently<T>(
    mut head: Pin<&mut impl Future<Output = T>>,
    upload: &Progress,
    timeout: Duration,
) -> Result<T, ApiError> {
    let mut wait = timeout;
    loop {
        if let Ok(done) = tokio::time::timeout(wait, head.as_mut()).await {
            return Ok(done);
        }
        let since_moved = upload.take_moved().map(|moved| Duration::from_micros(moved.elapsed_us()));
        if let Some(rest) = since_moved.and_then(|since| timeout.checked_sub(since)) {
            wait = rest;
            continue;
        }
        return Err(match upload.state() {
            UploadState::Client => ApiError::Timeout { secs: timeout.as_secs() },
            UploadState::Upstream | UploadState::Done | UploadState::Broken => {
                Fault::Slow { ms: timeout.as_millis() }.into()
            }
        });
    }
}
