//! Watches that a client takes the answer that it asked for: as long as it does not, a connection to the upstream waits,
//! and whatever the upstream holds for it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use actix_web::rt;
use actix_web::rt::task::JoinHandle;
use tokio::task::AbortHandle;

/// Closes a connection to the upstream once the client has taken nothing for a timeout; that is seen after one to two
/// of them. Dropping it ends the watch.
pub(crate) struct Watch {
    client: Rc<Client>,
    task: JoinHandle<()>,
}

/// What a client does.
#[derive(Default)]
struct Client {
    /// Whether it is its turn: it was given something, and nobody waits for the upstream.
    has_turn: Cell<bool>,
    /// Whether it has taken anything since this was last asked.
    took: Cell<bool>,
}

impl Watch {
    pub(crate) fn start(connection: AbortHandle, timeout: Duration) -> Self {
        let client = Rc::new(Client::default());
        let watched = Rc::clone(&client);
        let task = rt::spawn(async move {
            loop {
                tokio::time::sleep(timeout).await;
                if !watched.took.take() && watched.has_turn.get() {
                    break;
                }
            }
            tracing::warn!("a client takes nothing of its answer: the connection to the upstream is closed");
            connection.abort();
        });
        Self { client, task }
    }

    /// Notes that the client asks for more; `is_given` if it gets that, and need not wait for the upstream.
    pub(crate) fn note(&self, is_given: bool) {
        self.client.took.set(true);
        self.client.has_turn.set(is_given);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}
