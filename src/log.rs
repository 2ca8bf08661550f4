//! Log lines on their way to standard error: what is logged, and the thread that writes them.
//!
//! A request must not wait for a terminal, a pipe or a disk. So lines are kept in memory, and a thread writes all that wait
//! at once. If standard error takes them slower than they come, those that find no room are left out, and counted.

mod text;

use std::io::{self, Write};
use std::mem;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

use self::text::Text;
use crate::config::{LogFormat, LogSettings};

/// Most bytes of lines that wait: a second of 40,000 requests.
const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long lines gather before they are written together: the thread is woken a hundred times a second at most.
const GATHER: Duration = Duration::from_millis(10);
/// How long the end of the process waits for a standard error that takes nothing.
const END_WITHIN: Duration = Duration::from_secs(1);

/// Starts the log of the process: what the settings let pass goes to standard error. Dropping what is answered
/// writes what is left.
///
/// # Errors
/// When no thread can be started.
pub fn start(settings: &LogSettings) -> io::Result<Log> {
    let log = Log::start(io::stderr())?;
    let lines = Arc::clone(&log.lines);
    let layer = fmt::layer().with_writer(move || Writer(Arc::clone(&lines))).with_target(false);
    let registry = tracing_subscriber::registry().with(settings.filter.clone());
    match settings.format {
        LogFormat::Text => registry.with(layer.event_format(Text).fmt_fields(Text)).init(),
        LogFormat::Json => registry.with(layer.json().flatten_event(true).with_span_list(false)).init(),
    }
    Ok(log)
}

/// The running log.
pub struct Log {
    lines: Arc<Lines>,
}

/// What the thread and those who log share.
#[derive(Default)]
struct Lines {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Lines that found no room.
    lost: u64,
    /// Whether the thread has nothing to do and is to be woken.
    idle: bool,
    stop: bool,
    stopped: bool,
}

impl Log {
    fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let lines = Arc::<Lines>::default();
        let shared = Arc::clone(&lines);
        thread::Builder::new().name("log".to_owned()).spawn(move || shared.write_all_to(out))?;
        Ok(Self { lines })
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let mut waiting = self.lines.waiting.lock();
        waiting.stop = true;
        self.lines.changed.notify_all();
        self.lines.changed.wait_while_for(&mut waiting, |waiting| !waiting.stopped, END_WITHIN);
    }
}

impl Lines {
    fn add(&self, line: &[u8]) {
        let mut waiting = self.waiting.lock();
        if waiting.bytes.len().saturating_add(line.len()) > WAITING_BYTES_MAX {
            waiting.lost = waiting.lost.saturating_add(1);
            return;
        }
        waiting.bytes.extend_from_slice(line);
        if mem::take(&mut waiting.idle) {
            self.changed.notify_all();
        }
    }

    /// Takes what waits.
    #[cfg(test)]
    fn take(&self) -> Vec<u8> {
        mem::take(&mut self.waiting.lock().bytes)
    }

    fn write_all_to(&self, mut out: impl Write) {
        let mut taken = Vec::new();
        loop {
            let lost = {
                let mut waiting = self.waiting.lock();
                while waiting.bytes.is_empty() && !waiting.stop {
                    waiting.idle = true;
                    self.changed.wait(&mut waiting);
                }
                if waiting.bytes.is_empty() {
                    waiting.stopped = true;
                    self.changed.notify_all();
                    return;
                }
                mem::swap(&mut waiting.bytes, &mut taken);
                mem::take(&mut waiting.lost)
            };
            if lost > 0 {
                // Now, as there is room for it.
                tracing::warn!(lost, "log lines are missing here: standard error took them more slowly than they came");
            }
            // Who closed standard error wants to know nothing.
            let _closed = out.write_all(&taken);
            taken.clear();
            let mut waiting = self.waiting.lock();
            self.changed.wait_while_for(&mut waiting, |waiting| !waiting.stop, GATHER);
        }
    }
}

/// Takes a line at each `write`, as the formatter makes it.
struct Writer(Arc<Lines>);

impl Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.add(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
