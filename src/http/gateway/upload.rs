//! The client's body on its way to the upstream, piece by piece as it comes.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use futures_util::Stream;
use hyper::body::{Body, Bytes, Frame, SizeHint};

use crate::clock::Stopwatch;

/// A body of a request. It lives with the connection, which may outlive the request.
pub(crate) struct Upload {
    payload: Payload,
    bytes_left: Option<u64>,
    progress: Rc<Progress>,
}

/// How far an upload is, for who waits for the answer.
#[derive(Default)]
pub(crate) struct Progress {
    state: Cell<UploadState>,
    moved: Cell<Option<Stopwatch>>,
}

/// What an upload waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum UploadState {
    /// For the upstream to take more.
    #[default]
    Upstream,
    /// For the client to send more.
    Client,
    /// For nothing: it is through.
    Done,
    /// For nothing: the client went away, or what it sent is no body.
    Broken,
}

impl Upload {
    /// A body of so many bytes; `None` if that will be seen at its end.
    pub(crate) fn new(payload: Payload, bytes: Option<u64>) -> Self {
        let upload = Self { payload, bytes_left: bytes, progress: Rc::default() };
        if upload.is_end_stream() {
            upload.progress.state.set(UploadState::Done);
        }
        upload
    }

    /// A request without a body.
    pub(crate) fn empty() -> Self {
        Self::new(Payload::None, Some(0))
    }

    /// How far it is.
    pub(crate) fn progress(&self) -> Rc<Progress> {
        Rc::clone(&self.progress)
    }
}

impl Progress {
    /// What the upload waits for.
    pub(crate) fn state(&self) -> UploadState {
        self.state.get()
    }

    /// Since when nothing was sent any more, if something was, or all of it, since this was last asked.
    pub(crate) fn take_moved(&self) -> Option<Stopwatch> {
        self.moved.take()
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = PayloadError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, PayloadError>>> {
        if matches!(self.payload, Payload::None) {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.payload).poll_next(cx);
        self.progress.state.set(match &polled {
            Poll::Pending => UploadState::Client,
            Poll::Ready(Some(Ok(_piece))) => UploadState::Upstream,
            Poll::Ready(Some(Err(_broken))) => UploadState::Broken,
            Poll::Ready(None) => UploadState::Done,
        });
        if let Poll::Ready(Some(Ok(_)) | None) = &polled {
            self.progress.moved.set(Some(Stopwatch::start()));
        }
        if let Poll::Ready(Some(Ok(piece))) = &polled {
            let sent = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            self.bytes_left = self.bytes_left.map(|left| left.saturating_sub(sent));
            if self.bytes_left == Some(0) {
                // hyper does not ask again once it has as much as was announced.
                self.progress.state.set(UploadState::Done);
            }
        }
        polled.map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.payload, Payload::None) || self.bytes_left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        if matches!(self.payload, Payload::None) {
            return SizeHint::with_exact(0);
        }
        self.bytes_left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}
