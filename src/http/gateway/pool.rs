//! Connections to the upstream. Each worker has its own, so that nothing is shared between threads.
//!
//! hyper's own pool (hyper-util's legacy client) asks for bodies that can go to another thread, which actix's cannot.

use std::cell::RefCell;
use std::time::Duration;

use actix_web::rt;
use actix_web::rt::task::JoinHandle;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use super::fault::Fault;
use super::once_more::once_more;
use super::upload::Upload;
use crate::clock::Stopwatch;
use crate::config::GatewaySettings;

/// Most connections that wait for the next request: as many as a worker has requests in flight on a busy day.
const IDLE_MAX: usize = 256;
/// Longest wait of a connection. Servers close idle ones after 5 s (node, uvicorn) or later, and a request that meets
/// the closing is lost, so we let go first.
const IDLE: Duration = Duration::from_secs(4);
/// Most bytes that a connection reads ahead, and the longest head of an answer.
pub(super) const READ_BYTES_MAX: usize = 128 * 1024;
/// Most header lines of an answer: hyper's own bound. With any other it allocates twice for every answer.
pub(super) const HEADER_LINES_MAX: usize = 100;

/// The idle connections of one worker, the last used last.
#[derive(Default)]
pub(crate) struct Pool(RefCell<Vec<Idle>>);

struct Idle {
    connection: Connection,
    since: Stopwatch,
}

/// A connection. Dropping it closes it, whatever it is doing.
pub(crate) struct Connection {
    sender: SendRequest<Upload>,
    task: JoinHandle<()>,
}

impl Pool {
    /// The connection that was used last, for its upstream is the least likely to be closing it. One that is not ready
    /// by now is closed: its upstream may have answered without reading the request, and never will.
    pub(crate) async fn take(&self) -> Option<Connection> {
        loop {
            let idle = self.0.borrow_mut().pop()?;
            if u128::from(idle.since.elapsed_us()) > IDLE.as_micros() {
                // All others have waited for longer.
                self.0.borrow_mut().clear();
                return None;
            }
            let mut connection = idle.connection;
            if once_more(|cx| connection.sender.poll_ready(cx)).await.is_some_and(|ready| ready.is_ok()) {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection whose exchange is over.
    pub(crate) fn give_back(&self, connection: Connection) {
        let mut idle = self.0.borrow_mut();
        if idle.len() < IDLE_MAX && !connection.sender.is_closed() {
            idle.push(Idle { connection, since: Stopwatch::start() });
        }
    }
}

impl Connection {
    /// A new connection.
    ///
    /// # Errors
    /// When the upstream does not accept one, or not in time.
    pub(crate) async fn open(settings: &GatewaySettings) -> Result<Self, Fault> {
        let address = (settings.upstream.host.as_str(), settings.upstream.port);
        let connected = tokio::time::timeout(settings.connect_timeout, TcpStream::connect(address)).await;
        let stream = connected.map_err(|_elapsed| Fault::Slow { ms: settings.connect_timeout.as_millis() })?;
        let stream = stream.map_err(|error| Fault::Unreachable(error.into()))?;
        stream.set_nodelay(true).map_err(|error| Fault::Unreachable(error.into()))?;
        let shaken = Builder::new().max_buf_size(READ_BYTES_MAX).handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(|error| Fault::Unreachable(error.into()))?;
        let task = rt::spawn(async move {
            if let Err(error) = connection.await {
                // Who waits for an answer is told as well.
                tracing::debug!(error = &error as &dyn std::error::Error, "a connection to the upstream ended");
            }
        });
        Ok(Self { sender, task })
    }

    /// Closes the connection from elsewhere.
    pub(crate) fn abort_handle(&self) -> AbortHandle {
        self.task.abort_handle()
    }

    /// Sends a request and waits for the head of its answer.
    ///
    /// # Errors
    /// When there is none; with the request if nothing of it was sent.
    pub(crate) fn send(
        &mut self,
        request: Request<Upload>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Upload>>>> + use<> {
        self.sender.try_send_request(request)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}
