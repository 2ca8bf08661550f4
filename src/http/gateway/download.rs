//! The upstream's body on its way to the client, piece by piece as the client takes it.

use std::error::Error;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::web::Bytes;
use futures_util::FutureExt;
use hyper::body::{Body, Incoming};
use tokio::time::Sleep;

use super::fault::{Cause, Fault};
use super::once_more::once_more;
use super::pool::{Connection, Pool};
use super::upload::{Progress, UploadState};
use super::watch::Watch;

/// Bytes from which on an answer is sent in pieces: its own system calls are little beside them.
const AT_HAND_BYTES_MAX: usize = 16 * 1024;

/// A body of an answer. At its end the connection goes back to the pool; if it is dropped before, the connection is
/// closed, and so the upstream learns that nobody listens.
pub(crate) struct Download {
    /// What was read already, and comes first.
    read: Option<Bytes>,
    body: Incoming,
    size: BodySize,
    connection: Option<Connection>,
    pool: Rc<Pool>,
    upload: Rc<Progress>,
    timeout: Duration,
    /// Runs while the upstream is waited for.
    patience: Option<Pin<Box<Sleep>>>,
    /// Runs while the body is sent in pieces.
    watch: Option<Watch>,
}

impl Download {
    pub(crate) fn new(
        body: Incoming,
        connection: Connection,
        pool: Rc<Pool>,
        upload: Rc<Progress>,
        timeout: Duration,
    ) -> Self {
        let size = body.size_hint().exact().map_or(BodySize::Stream, BodySize::Sized);
        let connection = Some(connection);
        let mut download =
            Self { read: None, body, size, connection, pool, upload, timeout, patience: None, watch: None };
        if download.body.is_end_stream() {
            download.finish();
        }
        download
    }

    /// Reads ahead, up to so many bytes and for as long as the upstream may stand still. `Ok` is the whole body; `Err`
    /// goes on from its start.
    ///
    /// # Errors
    /// When the body is longer, or takes longer. A body that breaks off is a fault inside of the `Ok`.
    pub(crate) async fn read_whole(mut self, bytes_max: usize) -> Result<Result<Bytes, Cause>, Self> {
        let mut read = self.read.take().map(Vec::from).unwrap_or_default();
        let (timeout, mut deadline) = (self.timeout, None);
        loop {
            let next = std::future::poll_fn(|cx| match self.poll_piece(cx) {
                Poll::Ready(piece) => Poll::Ready(Some(piece)),
                // Begun behind the patience with the upstream: that it stands still is its fault, and told as one.
                Poll::Pending => {
                    let deadline = deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
                    deadline.poll_unpin(cx).map(|()| None)
                }
            });
            let is_late = match next.await {
                Some(None) => return Ok(Ok(Bytes::from(read))),
                Some(Some(Err(cause))) => return Ok(Err(cause)),
                Some(Some(Ok(piece))) => {
                    read.extend_from_slice(&piece);
                    false
                }
                None => true,
            };
            if is_late || read.len() > bytes_max {
                // An empty piece would end the answer.
                self.read = Some(Bytes::from(read)).filter(|read| !read.is_empty());
                return Err(self);
            }
        }
    }

    /// Takes what has come with the head already, so that a short answer leaves in one piece with its own: the body if
    /// that is all of it. It does not wait for more to come.
    ///
    /// # Errors
    /// When the body breaks off.
    pub(crate) async fn read_at_hand(&mut self) -> Result<Option<Bytes>, Cause> {
        while self.read.as_ref().is_none_or(|read| read.len() < AT_HAND_BYTES_MAX) {
            match once_more(|cx| self.poll_at_hand(cx)).await {
                None => return Ok(None),
                Some(None) => return Ok(Some(self.read.take().unwrap_or_default())),
                Some(Some(piece)) => {
                    let piece = piece?;
                    self.read = Some(match self.read.take() {
                        None => piece,
                        Some(read) => [read, piece].concat().into(),
                    });
                }
            }
            if self.body.is_end_stream() {
                self.finish();
                return Ok(Some(self.read.take().unwrap_or_default()));
            }
        }
        Ok(None)
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cause>>> {
        match self.poll_at_hand(cx) {
            Poll::Ready(piece) => {
                self.patience = None;
                Poll::Ready(piece)
            }
            Poll::Pending => self.poll_patience(cx).map(|()| {
                let slow = Fault::Slow { ms: self.timeout.as_millis() };
                Some(Err(self.cut(slow.into())))
            }),
        }
    }

    fn poll_at_hand(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cause>>> {
        loop {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    // What is no data are trailers, which actix has no way to send on (RFC 9110 §6.5.1 allows for that).
                    match frame.into_data() {
                        Ok(piece) => return Poll::Ready(Some(Ok(piece))),
                        Err(_trailers) => tracing::debug!("the trailers of an answer are not passed on"),
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(self.cut(error.into())))),
                None => {
                    self.finish();
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timeout = self.timeout;
        let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(patience.poll_unpin(cx));
        Poll::Ready(())
    }

    /// The answer ends here, and must not look whole.
    fn cut(&mut self, cause: Cause) -> Cause {
        self.connection = None;
        tracing::warn!(error = cause.as_ref() as &dyn Error, "an answer of the upstream broke off");
        cause
    }

    /// A connection on which the request is not through yet cannot take another one.
    fn finish(&mut self) {
        self.watch = None;
        let through = self.upload.state() == UploadState::Done;
        if let Some(connection) = self.connection.take().filter(|_connection| through) {
            self.pool.give_back(connection);
        }
    }
}

impl MessageBody for Download {
    type Error = Box<dyn Error>;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let polled = match self.read.take() {
            Some(read) => Poll::Ready(Some(Ok(read))),
            None => self.poll_piece(cx).map_err(|cause| -> Self::Error { cause }),
        };
        let Self { connection, watch, timeout, .. } = &mut *self;
        *watch = watch.take().or_else(|| Some(Watch::start(connection.as_ref()?.abort_handle(), *timeout)));
        if let Some(watch) = watch {
            watch.note(polled.is_ready());
        }
        polled
    }
}
