//! The two listeners and their start; their stop is in `running.rs`. What is served where is in `routes.rs`.
//!
//! Every request of both passes `trace.rs`, where `/check` is answered; other public ones then pass CORS, and a guard of
//! `guard.rs`.

mod accept;
mod admin;
mod check;
mod client;
mod cors;
mod dashboard;
mod error;
mod error_from;
mod etag;
mod extract;
mod gateway;
mod guard;
mod headers;
mod host;
mod idempotency;
mod idle;
mod json_fields;
mod key_input;
mod metrics;
mod notes;
mod ops;
mod public;
mod redirect;
mod reference;
mod routes;
mod running;
mod state;
mod threads;
mod trace;
mod usage;
mod usage_views;
mod views;
mod visitor;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServiceRequest};
use actix_web::http::KeepAlive;
use actix_web::middleware::{Condition, Next, from_fn};
use actix_web::rt::net::TcpStream;
use actix_web::rt::task::spawn_blocking;
use actix_web::{App, HttpRequest, HttpServer, web};
use foldhash::fast::RandomState;
use isbot::Bots;
use rustix::process::Resource;
use tokio::sync::{Semaphore, oneshot};

use self::admin::{DUMPS_MAX, Lockouts};
use self::error::ApiError;
use self::idle::Connections;
use self::metrics::Metrics;
use self::notes::Notes;
use self::routes::{nothing_here, resource};
pub use self::running::Running;
pub(crate) use self::state::{Listener, State};
use self::threads::Threads;
use self::visitor::CookieKey;
use crate::backups::{BackupError, Backups};
use crate::clock::Clock;
use crate::config::ServeSettings;
use crate::gate::Gate;
use crate::idempotency::Idempotency;
use crate::plans::{PlansError, first_plans};
use crate::secrets::{self, SecretError};
use crate::store::{OpenError, Store, StoreError, StoreOptions, Unfinished};
use crate::tokens::{Signer, Verifier};

/// Connections that one worker holds at once. More than this on a
/// small VM is an attack, and waits in the backlog.
const CONNECTIONS_PER_WORKER_MAX: usize = 10_000;
/// Open files that the public listener leaves to the admin listener, the store and the system: an attack on the
/// one must not shut out the other.
const FILES_RESERVED: u64 = 256;
/// Connections of the admin listener.
const ADMIN_CONNECTIONS_MAX: usize = 128;
/// How long an idle connection is kept at least: longer than the 60 s of common load balancers, so that it is they
/// who close (a connection that we close may lose a request).
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a closing connection may take.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long running requests may take to finish once the server is told to stop: longer than the
/// longest body, shorter than the 90 s after which systemd kills.
const SHUTDOWN_SECS: u64 = 40;
/// Threads of the admin listener: one operator or script at a time is the usual case.
const ADMIN_WORKERS: usize = 1;

/// Why a server does not start, or did not stop well.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data directory is refused.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The directory of backups is refused.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A secret cannot be read or made.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The embedded plans are not plans.
    #[error(transparent)]
    Plans(#[from] PlansError),
    /// An address cannot be listened on.
    #[error("could not listen on {address}")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The system refused a thread or randomness.
    #[error("could not start")]
    System(#[source] io::Error),
    /// A listener ended with an error.
    #[error("a listener failed")]
    Listener(#[source] io::Error),
    /// The store could not be closed.
    #[error("could not close the store; what the last commit did not cover may be lost")]
    Close(#[source] StoreError),
}

/// Opens the store, starts both listeners, and returns while they run. Accounts and keys may still be read then: see
/// [`Running::opened`]. Needs an actix system.
///
/// # Errors
/// When the data directory, a secret or an address is refused.
pub async fn start(settings: &ServeSettings, clock: Arc<dyn Clock>) -> Result<Running, ServeError> {
    let plans = first_plans()?;
    let options = StoreOptions { dir: settings.data_dir.clone(), flush_within: settings.flush_within };
    let (store, unfinished) = off_runtime(move || {
        let opened = Store::open_early(&options, &plans)?;
        // Of a server that crashed. `dump` would send the admin token there.
        secrets::remove_admin_address(&options.dir)?;
        Ok(opened)
    })
    .await?;
    let store = Arc::new(store);
    let opening = finish_opening(Arc::clone(&store), unfinished).map_err(ServeError::System)?;
    let result = start_on(settings, clock, Arc::clone(&store), opening);
    if result.is_err() {
        off_runtime(move || store.close().map_err(ServeError::Close)).await?;
    }
    result
}

/// On a thread that nobody waits for: a process that is to end at once does.
fn finish_opening(store: Arc<Store>, unfinished: Unfinished) -> io::Result<oneshot::Receiver<Result<(), OpenError>>> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new().name("opening".to_owned()).spawn(move || {
        let finished = unfinished.finish(&store);
        drop(store);
        // Nobody listens to it any more where the server could not start.
        let _heard = sender.send(finished);
    })?;
    Ok(receiver)
}

/// Runs what blocks where it may.
async fn off_runtime<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, ServeError> + Send + 'static,
) -> Result<T, ServeError> {
    let done = spawn_blocking(run).await;
    done.map_err(|panicked| ServeError::System(panicked.into()))?
}

fn start_on(
    settings: &ServeSettings,
    clock: Arc<dyn Clock>,
    store: Arc<Store>,
    opening: oneshot::Receiver<Result<(), OpenError>>,
) -> Result<Running, ServeError> {
    let dir = store.dir();
    let admin_token = settings.admin_token.clone().map_or_else(|| secrets::admin_token(dir), Ok)?;
    let jwt_secret = settings.jwt_secret.clone().map_or_else(|| secrets::jwt_secret(dir), Ok)?;
    let connections = Arc::new(Connections::default());
    let threads = Threads::start(settings, &clock, &store, &connections)?;
    let state = web::Data::new(State {
        gate: Gate::new(Arc::clone(&store), settings.key_format.clone()),
        idempotency: Idempotency::new(Arc::clone(&store)),
        clock,
        key_format: settings.key_format.clone(),
        signer: Signer::new(&jwt_secret),
        verifier: Verifier::new(&jwt_secret, settings.issuer.clone()),
        admin_token: admin_token.clone(),
        lockouts: Lockouts::default(),
        dumps: Arc::new(Semaphore::new(DUMPS_MAX)),
        metrics: Metrics::new(threads.backups.as_ref().map(Backups::totals), settings.gateway.as_ref()),
        trusted_proxies: settings.trusted_proxies.clone(),
        recorder: Arc::clone(&threads.recorder),
        usage_reads: Arc::new(Semaphore::new(usage_views::READS_MAX)),
        usage_retention_days: settings.usage_retention_days,
        links: settings.links.clone(),
        cookie_key: CookieKey::new(&jwt_secret).ok_or_else(|| ServeError::System(io::Error::other("no cookie key")))?,
        gateway: settings.gateway.clone(),
        cors_origins: settings.cors_origins.clone(),
        connections,
        bots: Bots::default(),
        agents: woothee::parser::Parser::new(),
        request_numbers: RandomState::default(),
        boot_id: trace::boot_id().map_err(|error| ServeError::System(io::Error::other(error.to_string())))?,
        store: Arc::clone(&store),
    });
    let (public_server, public) = listen(Binding::public(settings), &state)?;
    let (admin_server, admin) = listen(Binding::admin(settings), &state)?;
    secrets::write_admin_address(dir, admin)?;
    Ok(Running {
        public,
        admin,
        store,
        opening: Some(opening),
        admin_token,
        jwt_secret,
        handles: [public_server.handle(), admin_server.handle()],
        tasks: [actix_web::rt::spawn(public_server), actix_web::rt::spawn(admin_server)],
        threads,
    })
}

/// What differs between the two listeners.
#[derive(Clone)]
struct Binding {
    listener: Listener,
    address: SocketAddr,
    workers: usize,
    keep_alive: KeepAlive,
    cors_origins: Vec<String>,
    routes: fn(&mut web::ServiceConfig),
}

impl Binding {
    fn public(settings: &ServeSettings) -> Self {
        Self {
            listener: Listener::Public,
            address: settings.listen,
            workers: settings.workers,
            // `idle.rs` ends idle connections. A timer of actix-web's, set and cleared with each request, costs 2 % of its CPU.
            keep_alive: KeepAlive::Os,
            cors_origins: settings.cors_origins.clone(),
            routes: if settings.gateway.is_some() { routes::gateway } else { routes::public },
        }
    }

    fn admin(settings: &ServeSettings) -> Self {
        Self {
            listener: Listener::Admin,
            address: settings.admin_listen,
            workers: ADMIN_WORKERS,
            keep_alive: KeepAlive::Timeout(KEEP_ALIVE),
            cors_origins: Vec::new(),
            routes: routes::admin,
        }
    }
}

/// Binds a listener and begins to serve. The server runs once it is spawned.
fn listen(binding: Binding, state: &web::Data<State>) -> Result<(Server, SocketAddr), ServeError> {
    let (address, workers, state) = (binding.address, binding.workers, state.clone());
    let is_gateway = state.gateway.is_some() && binding.listener == Listener::Public;
    let connections_max = connections_per_worker(binding.listener, workers, if is_gateway { 3 } else { 2 });
    let (own, listener) = (state.clone(), binding.listener);
    let has_cors = !binding.cors_origins.is_empty();
    let policy = if is_gateway { cors::gateway_policy } else { cors::policy };
    let server = HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .configure(binding.routes)
            .wrap(Condition::new(has_cors, policy(&binding.cors_origins)))
            .wrap(from_fn({
                let state = state.clone();
                move |request: ServiceRequest, next: Next<_>| trace::finish(state.clone(), listener, request, next)
            }))
    });
    let bound = server
        // What is with a connection goes when it is closed.
        .on_connect(move |connection, with| {
            with.insert(own.metrics.count_connection(listener));
            let stream = connection.downcast_ref::<TcpStream>().filter(|_stream| listener == Listener::Public);
            if let Some(noted) = stream.and_then(|stream| own.connections.note(stream)) {
                with.insert(noted);
            }
        })
        .workers(workers)
        .max_connections(connections_max)
        .keep_alive(binding.keep_alive)
        .client_request_timeout(HEAD_TIMEOUT)
        .client_disconnect_timeout(DISCONNECT_TIMEOUT)
        .shutdown_timeout(SHUTDOWN_SECS)
        // A client that closed its side has gone away, to a gateway: its request to the upstream is cancelled.
        .h1_allow_half_closed(!is_gateway)
        .disable_signals()
        .bind(address)
        .map_err(|source| ServeError::Bind { address, source })?;
    let listening = bound.addrs().first().copied().unwrap_or(address);
    Ok((bound.run(), listening))
}

/// Connections that one worker of a listener may hold, so that all together fit the process's open files. Each needs
/// two (`idle.rs`), and with a gateway a third: a connection to the upstream.
fn connections_per_worker(listener: Listener, workers: usize, files_each: usize) -> usize {
    match listener {
        Listener::Admin => ADMIN_CONNECTIONS_MAX,
        Listener::Public => {
            let files = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
            let free = usize::try_from(files.saturating_sub(FILES_RESERVED)).unwrap_or(usize::MAX);
            free.checked_div(workers.saturating_mul(files_each)).unwrap_or(free).clamp(1, CONNECTIONS_PER_WORKER_MAX)
        }
    }
}

/// Runs what blocks (the store's writes wait for the disk) on the pool that is there for it.
async fn block<T, E>(run: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, ApiError>
where
    T: Send + 'static,
    E: Send + 'static,
    ApiError: From<E>,
{
    let span = tracing::Span::current();
    let done = web::block(move || span.in_scope(run)).await;
    Ok(done.map_err(|cancelled| ApiError::Internal("the blocking pool is gone", Some(Box::new(cancelled))))??)
}

/// The id that `trace.rs` gave the request.
fn request_id(request: &HttpRequest) -> String {
    Notes::find(request, |notes| notes.id.to_str().ok().map(str::to_owned)).unwrap_or_default()
}
