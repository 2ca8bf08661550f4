//! Ends connections whose clients hold them and ask for nothing.
//!
//! actix-web bounds the time for the head of a connection's first request. It could bound the pause between two, with a
//! timer that is set and cleared for each request; it has no bound once the next head has begun, for the rest of a body
//! that nobody reads any more because its request was denied, nor for a client that takes nothing of what it is sent.
//! Without one, whoever has no key could keep connections for ever, until there are none left for who has.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::rt::net::TcpStream;
use actix_web::web::Bytes;
use parking_lot::Mutex;
use rustix::net::{Shutdown, shutdown, sockopt};

use super::{HEAD_TIMEOUT, KEEP_ALIVE};
use crate::background::Background;

/// Between two looks. Time is told in looks: no request need ask for it.
const LOOK: Duration = Duration::from_secs(5);
/// The look at which a connection has surely been without a request that runs for all of the pause that it may make, and
/// then all of the time for the next head: one more than fit in, because it began between two.
const IDLE_LOOKS: u64 = (KEEP_ALIVE.as_secs() + HEAD_TIMEOUT.as_secs()).div_ceil(LOOK.as_secs()) + 1;
/// Bytes of a body that are handed over at a time: as many as actix-web gathers before it writes.
const PIECE_BYTES: usize = 32 * 1024;
/// How long a client may take nothing of what it is sent: as long as for the upstream by default.
const UNTAKEN_MAX_MS: u32 = 60_000;

/// The open connections of a listener.
#[derive(Default)]
pub(crate) struct Connections {
    open: Mutex<Open>,
    /// Looks so far.
    looks: Arc<AtomicU64>,
}

#[derive(Default)]
struct Open {
    sockets: HashMap<u64, Arc<Socket>>,
    last: u64,
}

struct Socket {
    /// Its own descriptor: that of the server may be another connection's by the time of the look.
    descriptor: OwnedFd,
    /// Requests that run.
    running: AtomicU32,
    /// How many looks there were when the last of them ended.
    ended_after: AtomicU64,
    looks: Arc<AtomicU64>,
}

/// A connection that is open; it is forgotten when this is dropped.
pub(crate) struct Connection {
    number: u64,
    socket: Arc<Socket>,
    all: Arc<Connections>,
}

/// A request that runs, until this is dropped.
pub(crate) struct RunningRequest(Arc<Socket>);

impl Connections {
    /// Notes a connection that was opened. If the process has no descriptor left for that, it is ended at once, for nobody
    /// would end it later.
    pub(crate) fn note(self: &Arc<Self>, stream: &TcpStream) -> Option<Connection> {
        self.try_note(stream)
            .inspect_err(|error| {
                tracing::warn!(error = error as &dyn std::error::Error, "a connection is refused");
                let _closed = shutdown(stream, Shutdown::Both);
            })
            .ok()
    }

    fn try_note(self: &Arc<Self>, stream: &TcpStream) -> io::Result<Connection> {
        sockopt::set_tcp_user_timeout(stream, UNTAKEN_MAX_MS)?;
        let socket = Arc::new(Socket {
            descriptor: stream.as_fd().try_clone_to_owned()?,
            running: AtomicU32::new(0),
            ended_after: AtomicU64::new(self.looks.load(Ordering::Relaxed)),
            looks: Arc::clone(&self.looks),
        });
        let mut open = self.open.lock();
        open.last = open.last.saturating_add(1);
        let number = open.last;
        open.sockets.insert(number, Arc::clone(&socket));
        Ok(Connection { number, socket, all: Arc::clone(self) })
    }

    /// Starts the thread that looks after them.
    pub(crate) fn watch(self: &Arc<Self>) -> io::Result<Background> {
        let all = Arc::clone(self);
        Background::start("idle", move |stop| {
            while !stop.sleep(LOOK) {
                all.end_idle(IDLE_LOOKS);
            }
        })
    }

    fn end_idle(&self, idle_looks: u64) {
        let look = self.looks.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let first_kept = look.saturating_add(1).saturating_sub(idle_looks);
        for socket in self.open.lock().sockets.values().filter(|socket| socket.is_idle(first_kept)) {
            // It may be closed by now.
            let _closed = shutdown(&socket.descriptor, Shutdown::Both);
        }
    }
}

impl Socket {
    /// Whether no request runs, nor ended after so many looks.
    fn is_idle(&self, first_kept: u64) -> bool {
        // In this order: where none runs, the end of the last one is known.
        self.running.load(Ordering::Acquire) == 0 && self.ended_after.load(Ordering::Relaxed) < first_kept
    }
}

impl Connection {
    /// Notes that a request runs.
    pub(crate) fn begin(&self) -> RunningRequest {
        self.socket.running.fetch_add(1, Ordering::AcqRel);
        RunningRequest(Arc::clone(&self.socket))
    }
}

impl RunningRequest {
    /// The body of the request's answer: while a long one is handed over, the request runs.
    pub(crate) fn until_handed_over(self, body: BoxBody) -> BoxBody {
        let size = body.size();
        if size == BodySize::None {
            return body;
        }
        // What is not at hand is yet to come, however short it is.
        let (body, rest) = match body.try_into_bytes() {
            Ok(whole) if whole.len() <= PIECE_BYTES => return BoxBody::new(whole),
            Ok(whole) => (BoxBody::new(()), whole),
            Err(to_come) => (to_come, Bytes::new()),
        };
        BoxBody::new(LongBody { size, body, rest, _running: self })
    }
}

/// A body that is handed over piece by piece: one that comes whole would be taken at once, long before the client has it.
struct LongBody {
    size: BodySize,
    body: BoxBody,
    /// Of what is at hand.
    rest: Bytes,
    _running: RunningRequest,
}

impl MessageBody for LongBody {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            match Pin::new(&mut this.body).poll_next(cx) {
                Poll::Ready(Some(Ok(bytes))) => this.rest = bytes,
                ended @ (Poll::Ready(Some(Err(_)) | None) | Poll::Pending) => return ended,
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE_BYTES));
        Poll::Ready(Some(Ok(piece)))
    }
}

impl Drop for RunningRequest {
    fn drop(&mut self) {
        // In this order: it is not idle in between.
        self.0.ended_after.store(self.0.looks.load(Ordering::Relaxed), Ordering::Relaxed);
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.all.open.lock().sockets.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net;

    use super::*;

    /// Both ends of a connection.
    fn connect() -> (net::TcpStream, TcpStream) {
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_nonblocking(true).unwrap();
        let accepted = listener.accept().unwrap().0;
        accepted.set_nonblocking(true).unwrap();
        (client, TcpStream::from_std(accepted).unwrap())
    }

    #[test]
    fn a_connection_on_which_nothing_has_run_is_kept_as_long_also_right_after_a_start() {
        actix_web::rt::System::new().block_on(async {
            let all = Arc::new(Connections::default());
            for _connection in 0..2 {
                let (mut client, stream) = connect();
                let _noted = all.note(&stream).unwrap();
                for _look in 1..IDLE_LOOKS {
                    all.end_idle(IDLE_LOOKS);
                    assert_eq!(client.read(&mut [0]).map_err(|error| error.kind()), Err(io::ErrorKind::WouldBlock));
                }
                all.end_idle(IDLE_LOOKS);
                assert_eq!(client.read(&mut [0]).unwrap(), 0);
            }
        });
    }

    #[test]
    fn a_connection_ends_that_is_idle_and_not_one_whose_request_runs() {
        actix_web::rt::System::new().block_on(async {
            let (mut client, stream) = connect();
            let all = Arc::new(Connections::default());
            let connection = all.note(&stream).unwrap();
            assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), UNTAKEN_MAX_MS);
            let mut read = || client.read(&mut [0]).map_err(|error| error.kind());

            let (first, second) = (connection.begin(), connection.begin());
            drop(first);
            (0..5).for_each(|_look| all.end_idle(2));
            assert_eq!(read(), Err(io::ErrorKind::WouldBlock));

            drop(second);
            all.end_idle(2);
            assert_eq!(read(), Err(io::ErrorKind::WouldBlock));
            all.end_idle(2);
            assert_eq!(read(), Ok(0));

            drop(connection);
            assert!(all.open.lock().sockets.is_empty());
        });
    }

    #[test]
    fn a_connection_is_not_idle_while_a_long_answer_is_handed_over() {
        actix_web::rt::System::new().block_on(async {
            let (mut client, stream) = connect();
            let all = Arc::new(Connections::default());
            let connection = all.note(&stream).unwrap();
            let mut read = || client.read(&mut [0]).map_err(|error| error.kind());
            let whole = BoxBody::new(Bytes::from(vec![7; 2 * PIECE_BYTES + 1]));
            let mut body = connection.begin().until_handed_over(whole);
            assert_eq!(body.size(), BodySize::Sized(2 * PIECE_BYTES as u64 + 1));

            for bytes in [PIECE_BYTES, PIECE_BYTES, 1] {
                (0..5).for_each(|_look| all.end_idle(2));
                assert_eq!(read(), Err(io::ErrorKind::WouldBlock));
                let piece = std::future::poll_fn(|cx| Pin::new(&mut body).poll_next(cx)).await;
                assert_eq!(piece.unwrap().unwrap().len(), bytes);
            }
            assert!(std::future::poll_fn(|cx| Pin::new(&mut body).poll_next(cx)).await.is_none());
            drop(body);
            (0..2).for_each(|_look| all.end_idle(2));
            assert_eq!(read(), Ok(0));

            // One that is short and to come from elsewhere is waited for, one that is at hand is taken at once.
            let to_come = futures_util::stream::pending::<Result<Bytes, io::Error>>();
            let to_come = BoxBody::new(actix_web::body::SizedStream::new(5, to_come));
            let body = connection.begin().until_handed_over(to_come);
            assert_eq!((body.size(), connection.socket.running.load(Ordering::Relaxed)), (BodySize::Sized(5), 1));
            drop(body);
            drop(connection.begin().until_handed_over(BoxBody::new(Bytes::from_static(b"short"))));
            assert_eq!(connection.socket.running.load(Ordering::Relaxed), 0);
        });
    }
}
