//! Usage: what each key spends on each endpoint. The store notes it in memory, in the step in which a request's units are
//! counted; the thread here has it written, so that no request waits for that.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use crate::background::Background;
use crate::clock::Clock;
use crate::domain::window::Window;
use crate::store::Store;

/// Between two rounds, at least and at most. In between it is a quarter of the flush interval: what waits in memory for
/// the round and then for the commit is on disk within the interval.
const ROUND_MIN: Duration = Duration::from_millis(10);
const ROUND_MAX: Duration = Duration::from_millis(250);
/// The same where units are on disk before the answer: then each round asks for a commit of its own.
const ROUND_STRICT: Duration = Duration::from_millis(100);
/// Usage is folded so often: a step of it takes a tenth of a core's time then. Where rounds are longer, there are more steps
/// in one.
const STEP_EVERY: Duration = Duration::from_millis(10);
/// Before what the store refused is tried again: often enough for a disk that is full for a moment, and no flood of
/// log lines.
const RETRY: Duration = Duration::from_secs(1);

/// The thread that writes usage; it ends when this is stopped or dropped.
pub struct UsageWriter(Background);

impl UsageWriter {
    /// Starts the thread. `flush_within`: the time within which units are on disk.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(store: Arc<Store>, clock: Arc<dyn Clock>, flush_within: Duration) -> std::io::Result<Self> {
        let round = if flush_within.is_zero() { ROUND_STRICT } else { (flush_within / 4).clamp(ROUND_MIN, ROUND_MAX) };
        let steps = round.as_millis().div_ceil(STEP_EVERY.as_millis());
        let thread = Background::start("usage", move |stop| {
            let mut pause = round;
            while !stop.sleep(pause) {
                let now = Window::at(clock.now());
                let written = store.write_usage().and_then(|()| (0..steps).try_for_each(|_step| store.fold_usage(now)));
                pause = match written {
                    Ok(()) => round,
                    Err(error) => {
                        let error = &error as &dyn Error;
                        tracing::error!(error, "could not write usage to the store; it is tried again");
                        RETRY
                    }
                };
            }
        })?;
        Ok(Self(thread))
    }

    /// Ends the thread; what it has not written is for whoever closes the store.
    pub fn stop(&mut self) {
        self.0.stop();
    }
}
