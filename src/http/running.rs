//! A server that runs: what is known of it, and its stop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::rt::task::JoinHandle;
use tokio::sync::oneshot;

use super::threads::Threads;
use super::{ServeError, off_runtime};
use crate::secrets::{self, Secret};
use crate::store::{OpenError, Store};
use crate::tokens::Signer;

/// How long, and how often, a stopped server waits for its threads to let go of the store: 2 s.
const RELEASE_TRIES_MAX: u32 = 400;
const RELEASE_PAUSE: Duration = Duration::from_millis(5);

/// A running server.
pub struct Running {
    pub(super) public: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) store: Arc<Store>,
    /// None once it has ended.
    pub(super) opening: Option<oneshot::Receiver<Result<(), OpenError>>>,
    pub(super) admin_token: Secret,
    pub(super) jwt_secret: Secret,
    pub(super) handles: [ServerHandle; 2],
    pub(super) tasks: [JoinHandle<io::Result<()>>; 2],
    pub(super) threads: Threads,
}

impl Running {
    /// Where the public listener listens.
    #[must_use]
    pub fn public_address(&self) -> SocketAddr {
        self.public
    }

    /// Where the admin listener listens.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// The store, for the demo's accounts.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The admin token in use.
    #[must_use]
    pub fn admin_token(&self) -> &Secret {
        &self.admin_token
    }

    /// Signs session tokens as the server does.
    #[must_use]
    pub fn signer(&self) -> Signer {
        Signer::new(&self.jwt_secret)
    }

    /// Waits until all accounts and keys are in memory.
    ///
    /// # Errors
    /// When the store is refused after all. The server should then be stopped: its writes of the directory fail.
    pub async fn opened(&mut self) -> Result<(), ServeError> {
        let Some(opening) = &mut self.opening else { return Ok(()) };
        let opened = opening.await;
        self.opening = None;
        Ok(opened.map_err(|panicked| ServeError::System(io::Error::other(panicked)))??)
    }

    /// Stops accepting, finishes what runs, writes everything, and closes the store.
    ///
    /// # Errors
    /// When a listener failed, or the store was refused or could not be closed.
    pub async fn stop(mut self) -> Result<(), ServeError> {
        let [public, admin] = self.handles.clone();
        futures_util::future::join(public.stop(true), admin.stop(true)).await;
        // Not before: what runs may wait for it.
        self.store.stop_opening();
        let opened = self.opened().await;
        let store = self.store;
        let store = off_runtime(move || {
            self.threads.stop();
            let removed = secrets::remove_admin_address(store.dir());
            store.close().map_err(ServeError::Close)?;
            removed?;
            Ok(store)
        })
        .await?;
        for task in self.tasks {
            task.await.map_err(|error| ServeError::Listener(error.into()))?.map_err(ServeError::Listener)?;
        }
        off_runtime(move || {
            release(store);
            Ok(())
        })
        .await?;
        opened
    }
}

/// Waits until nobody else holds a closed store: only then is its directory free for the next server. Workers let go
/// of it as their threads end, a moment after they have answered that they stopped.
fn release(mut store: Arc<Store>) {
    for _try in 0..RELEASE_TRIES_MAX {
        match Arc::try_unwrap(store) {
            Ok(_alone) => return,
            Err(shared) => store = shared,
        }
        std::thread::park_timeout(RELEASE_PAUSE);
    }
    tracing::warn!("the closed store is still held; its directory is free when the process ends");
}
