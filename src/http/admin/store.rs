//! The store as a whole: dump, restore, audit trail.

use std::io::{self, BufReader, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::{self, Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse};
use clap::ValueEnum;
use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::author;
use crate::config::DumpKind;
use crate::domain::Invalid;
use crate::domain::id::AccountId;
use crate::dump::{self, DumpError, DumpFilter, RestoreFailure};
use crate::http::error::ApiError;
use crate::http::extract::{BODY_SECS_MAX, PageQuery, Query, field};
use crate::http::views::{AuditView, List};
use crate::http::{State, block, resource};

/// Bytes of a dump that are sent at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks that wait between the store and the network, in either direction.
const CHUNKS_MAX: usize = 4;
/// Dumps that run at once: each holds a thread of the pool on which administrative writes run, too.
pub(crate) const DUMPS_MAX: usize = 4;
/// How long a client of a dump may take nothing: as long as a body may take to come.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(BODY_SECS_MAX);

pub(super) fn routes(routes: &mut web::ServiceConfig) {
    routes
        .service(resource("/dump", "GET", [web::get().to(dump)]))
        .service(resource("/restore", "POST", [web::post().to(restore)]))
        .service(resource("/audit", "GET, HEAD", [web::get().to(audit), web::head().to(audit)]));
}

/// Streams a dump. It is written on a thread of its own, as fast as the client takes it.
async fn dump(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let (filter, now) = (dump_filter(&request)?, state.clock.now());
    if let Some(id) = filter.account {
        state.store.find_terms(id)?.ok_or(ApiError::NotFound("account"))?;
    }
    let place = Arc::clone(&state.dumps).try_acquire_owned();
    let place =
        place.map_err(|_full| ApiError::Conflict(format!("{DUMPS_MAX} dumps are running. Try again later.")))?;
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    let span = tracing::Span::current();
    actix_web::rt::task::spawn_blocking(move || {
        let (_entered, _place) = (span.enter(), place);
        let mut out = ChunkWriter { sender, chunk: Vec::with_capacity(CHUNK_BYTES) };
        let caught_up = state.recorder.catch_up().and_then(|()| dump::catch_up(&state.store, &filter));
        let caught_up = caught_up.map_err(DumpError::from);
        let written = caught_up.and_then(|()| dump::write(&state.store, &filter, now, &mut out));
        if let Err(error) = written.and_then(|()| Ok(out.send(None)?)) {
            tracing::warn!(error = &error as &dyn std::error::Error, "a dump was cut off");
        }
    });
    let chunks = futures_util::stream::unfold(receiver, |mut receiver| async move {
        match receiver.recv().await {
            Some(Some(chunk)) => Some((Ok(chunk), receiver)),
            Some(None) => None,
            // An error in place of the end breaks the connection off, so that the client notices.
            None => Some((Err(ApiError::Internal("a dump was cut off", None)), receiver)),
        }
    });
    Ok(HttpResponse::Ok().content_type("application/jsonl").streaming(chunks))
}

fn dump_filter(request: &HttpRequest) -> Result<DumpFilter, ApiError> {
    let query = Query::of(request);
    let kinds = query.find("only")?.into_iter().flat_map(|list| list.split(','));
    let only = kinds
        .map(|kind| {
            DumpKind::from_str(kind, false).map_err(|_unknown| {
                ApiError::Invalid(
                    "only: must be plans, accounts, keys, counters, links, usage, or several with commas".to_owned(),
                )
            })
        })
        .collect::<Result<_, _>>()?;
    let account = field("account", query.find("account")?.map(AccountId::parse).transpose())?;
    Ok(DumpFilter { only, account })
}

/// Gathers small writes into chunks and hands them to the network; `None` after the last.
struct ChunkWriter {
    sender: mpsc::Sender<Option<Bytes>>,
    chunk: Vec<u8>,
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.chunk.extend_from_slice(bytes);
        if self.chunk.len() >= CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_BYTES));
        self.send(Some(chunk.into()))
    }
}

impl ChunkWriter {
    fn send(&self, chunk: Option<Bytes>) -> io::Result<()> {
        let sent = tokio::time::timeout(CHUNK_TIMEOUT, self.sender.send(chunk));
        match tokio::runtime::Handle::current().block_on(sent) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_gone)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the client went away")),
            Err(_elapsed) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")),
        }
    }
}

/// Takes a dump as it comes. It has no bound on its size: only who has the admin token sends one. But
/// administrative writes wait for its end, so a client that falls silent is given up.
async fn restore(
    state: web::Data<State>,
    request: HttpRequest,
    mut payload: Payload,
) -> Result<HttpResponse, ApiError> {
    let by = author(&state, &request);
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    let reading = actix_web::rt::spawn(async move {
        loop {
            let chunk = match tokio::time::timeout(Duration::from_secs(BODY_SECS_MAX), payload.next()).await {
                Ok(None) => return,
                Ok(Some(chunk)) => chunk.map_err(|error| io::Error::other(error.to_string())),
                Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
            };
            if sender.send(chunk).await.is_err() {
                // The restore ended early; what is left of the body is not wanted.
                return;
            }
        }
    });
    let restored = block(move || {
        let lines = BufReader::new(ChunkReader { receiver, chunk: Bytes::new() });
        dump::restore(&state.store, lines, &by)
    })
    .await;
    reading.abort();
    Ok(HttpResponse::Created().json(restored?))
}

/// Reads chunks that come from the network.
struct ChunkReader {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    chunk: Bytes,
}

impl Read for ChunkReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.receiver.blocking_recv() {
                None => return Ok(0),
                Some(chunk) => self.chunk = chunk?,
            }
        }
        let taken = self.chunk.split_to(out.len().min(self.chunk.len()));
        io::Cursor::new(taken).read(out)
    }
}

impl From<RestoreFailure> for ApiError {
    fn from(failure: RestoreFailure) -> Self {
        match failure {
            RestoreFailure::Store(error) => error.into(),
            RestoreFailure::Input(error) if error.kind() == io::ErrorKind::TimedOut => {
                Self::Timeout { secs: BODY_SECS_MAX }
            }
            RestoreFailure::Input(_) => Self::BadRequest,
            RestoreFailure::Header(_) | RestoreFailure::Line { .. } => Self::Invalid(failure.to_string()),
        }
    }
}

/// Newest first; `after` goes on with older entries.
async fn audit(state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let query = PageQuery::of(&request)?;
    let after =
        query.after(|text| text.parse::<u64>().map_err(|_syntax| Invalid::new("must be the number of an entry")))?;
    let page = block(move || state.store.list_audit(after, query.rows)).await?;
    let list = List::of(page, |entry| entry.number.to_string(), |entry| Ok::<_, ApiError>(AuditView::from(entry)))?;
    Ok(HttpResponse::Ok().json(list))
}
