//! A thread that works in the background until it is told to stop.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// The running thread; it ends when this is stopped or dropped.
pub(crate) struct Background {
    name: &'static str,
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

/// How the thread learns that it is to stop.
#[derive(Default)]
pub(crate) struct Stop {
    asked: Mutex<bool>,
    wake: Condvar,
}

impl Stop {
    /// Sleeps; answers whether to stop.
    pub(crate) fn sleep(&self, pause: Duration) -> bool {
        let mut asked = self.asked.lock();
        if !*asked {
            self.wake.wait_for(&mut asked, pause);
        }
        *asked
    }

    /// Whether to stop.
    pub(crate) fn is_asked(&self) -> bool {
        *self.asked.lock()
    }
}

impl Background {
    /// Starts a thread that runs until `work` returns, which it should do soon after it is told to stop.
    pub(crate) fn start(name: &'static str, work: impl FnOnce(&Stop) + Send + 'static) -> std::io::Result<Self> {
        let stop = Arc::new(Stop::default());
        let asked = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || work(&asked))?;
        Ok(Self { name, stop, thread: Some(thread) })
    }

    /// Ends the thread and waits for its end.
    pub(crate) fn stop(&mut self) {
        *self.stop.asked.lock() = true;
        self.stop.wake.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(thread = self.name, "a background thread panicked");
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop();
    }
}
