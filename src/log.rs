//! Log lines on their way to standard error: what is logged, and the thread that writes them.
//!
//! A request must not wait for a terminal, a pipe or a disk. So lines are kept in memory, and a thread writes all that wait
//! at once. If standard error takes them slower than they come, those that find no room are left out, and counted.

mod json;
mod line;
mod text;

use std::io::{self, Write};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

use self::json::Json;
use self::text::Text;
use crate::clock::Stopwatch;
use crate::config::{LogFormat, LogSettings};

/// Most bytes of lines that wait, and of those that are being written: of some 30,000 requests each.
const WAITING_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of room that are kept for the next lines once all are written.
const KEPT_BYTES: usize = 1024 * 1024;
/// Bytes that are written at once: as many as a pipe holds on Linux.
const PIECE_BYTES: usize = 64 * 1024;
/// How long lines gather before they are written together: the thread is woken a hundred times a second at most.
const GATHER: Duration = Duration::from_millis(10);
/// How long the end of the process waits for a standard error that takes nothing, and for one that takes something.
const END_WITHIN: Duration = Duration::from_secs(1);
const SLOW_END_WITHIN: Duration = Duration::from_secs(10);

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
        LogFormat::Json => registry.with(layer.event_format(Json).fmt_fields(Json)).init(),
    }
    Ok(log)
}

/// How many lines the logs of this process have left out, or could not write.
static LOST: AtomicU64 = AtomicU64::new(0);

/// How many lines were left out of the log since the start, because standard error did not take them.
#[must_use]
pub fn lost_lines() -> u64 {
    LOST.load(Ordering::Relaxed)
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
    /// Lines that found no room, or could not be written.
    lost: u64,
    /// Pieces that were written.
    pieces: u64,
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
        let begun = Stopwatch::start();
        let mut waiting = self.lines.waiting.lock();
        waiting.stop = true;
        self.lines.changed.notify_all();
        loop {
            let pieces = waiting.pieces;
            let is_stuck = |waiting: &mut Waiting| !waiting.stopped && waiting.pieces == pieces;
            let waited = self.lines.changed.wait_while_for(&mut waiting, is_stuck, END_WITHIN);
            if waiting.stopped || waited.timed_out() || u128::from(begun.elapsed_us()) > SLOW_END_WITHIN.as_micros() {
                return;
            }
        }
    }
}

impl Waiting {
    fn lose(&mut self, lines: u64) {
        self.lost = self.lost.saturating_add(lines);
        LOST.fetch_add(lines, Ordering::Relaxed);
    }
}

impl Lines {
    fn add(&self, line: &[u8]) {
        let mut waiting = self.waiting.lock();
        if waiting.bytes.len().saturating_add(line.len()) > WAITING_BYTES_MAX {
            waiting.lose(1);
            return;
        }
        waiting.bytes.extend_from_slice(line);
        if mem::take(&mut waiting.idle) {
            self.changed.notify_all();
        }
    }

    fn write_all_to(&self, mut out: impl Write) {
        let (mut taken, mut is_whole, mut goes_well) = (Vec::new(), true, true);
        while let Some(mut waiting) = self.wait_for_lines() {
            mem::swap(&mut waiting.bytes, &mut taken);
            // What cannot be written need not be told either.
            let lost = if goes_well { mem::take(&mut waiting.lost) } else { 0 };
            drop(waiting);
            if lost > 0 {
                // Now, as there is room for it.
                tracing::warn!(lost, "log lines are missing here: standard error did not take them");
            }
            // What a failed write left of a line is ended first.
            is_whole = is_whole || self.write(b"\n", &mut out).is_empty();
            let unwritten = if is_whole { self.write(&taken, &mut out) } else { taken.as_slice() };
            let written = taken.get(..taken.len().saturating_sub(unwritten.len())).unwrap_or_default();
            is_whole = written.last().map_or(is_whole, |last| *last == b'\n');
            goes_well = unwritten.is_empty();
            let mut waiting = self.waiting.lock();
            waiting.lose(count_lines(unwritten));
            self.changed.wait_while_for(&mut waiting, |waiting| !waiting.stop, GATHER);
            drop(waiting);
            taken.clear();
            taken.shrink_to(KEPT_BYTES);
        }
    }

    /// Waits until there are lines. `None`: there are none, and will be none.
    fn wait_for_lines(&self) -> Option<MutexGuard<'_, Waiting>> {
        let mut waiting = self.waiting.lock();
        while waiting.bytes.is_empty() && !waiting.stop {
            waiting.idle = true;
            self.changed.wait(&mut waiting);
        }
        if waiting.bytes.is_empty() {
            waiting.stopped = true;
            self.changed.notify_all();
            return None;
        }
        Some(waiting)
    }

    /// Writes piece by piece. Answers what could not be written.
    fn write<'l>(&self, lines: &'l [u8], out: &mut impl Write) -> &'l [u8] {
        let mut left = lines;
        while !left.is_empty() {
            match out.write(left.get(..PIECE_BYTES).unwrap_or(left)) {
                Ok(0) => break,
                Ok(written) => {
                    left = left.get(written..).unwrap_or_default();
                    let mut waiting = self.waiting.lock();
                    waiting.pieces = waiting.pieces.saturating_add(1);
                    self.changed.notify_all();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Who shares standard error with us may have made it one that does not wait.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::park_timeout(GATHER),
                Err(_closed_or_full) => break,
            }
        }
        left
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte == b'\n')).sum()
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

#[cfg(test)]
mod tests {
    use tracing_subscriber::Registry;
    use tracing_subscriber::fmt::{FormatEvent, FormatFields};

    use super::*;

    /// What `log` logs, in a form.
    pub(super) fn logged<E, F>(events: E, fields: F, log: impl FnOnce()) -> String
    where
        E: FormatEvent<Registry, F> + Send + Sync + 'static,
        F: for<'w> FormatFields<'w> + Send + Sync + 'static,
    {
        let lines = Arc::<Lines>::default();
        let writer = Arc::clone(&lines);
        let layer = fmt::layer().with_writer(move || Writer(Arc::clone(&writer)));
        let layer = layer.with_target(false).fmt_fields(fields).event_format(events);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        String::from_utf8(mem::take(&mut lines.waiting.lock().bytes)).unwrap()
    }

    /// Takes three bytes, then fails twice, as a file on a disk that is full for a while.
    struct FullForAWhile {
        written: Arc<Mutex<Vec<u8>>>,
        calls: usize,
    }

    impl Write for FullForAWhile {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            let taken = match self.calls {
                1 => 3,
                2 | 3 => return Err(io::ErrorKind::StorageFull.into()),
                _ => bytes.len(),
            };
            self.written.lock().extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_could_not_be_written_is_counted_and_the_next_line_begins_on_a_line_of_its_own() {
        let (written, lost_before) = (Arc::<Mutex<Vec<u8>>>::default(), lost_lines());
        let log = Log::start(FullForAWhile { written: Arc::clone(&written), calls: 0 }).unwrap();
        let lines = Arc::clone(&log.lines);
        let wait_for_lost = |lost| {
            let waiting = Stopwatch::start();
            while lines.waiting.lock().lost < lost {
                assert!(waiting.elapsed_us() < 60_000_000, "{lost} lines are never lost");
                thread::yield_now();
            }
        };

        lines.add(b"first\nsecond\n");
        wait_for_lost(2);
        lines.add(b"third\n");
        wait_for_lost(3);
        lines.add(b"fourth\n");
        drop(log);

        assert_eq!(String::from_utf8(written.lock().clone()).unwrap(), "fir\nfourth\n");
        assert_eq!((lines.waiting.lock().lost, lost_lines() - lost_before), (3, 3));
    }

    /// A line without its time, which is one to the microsecond.
    pub(super) fn without_time(line: &str) -> &str {
        let (time, rest) = line.split_once(' ').unwrap();
        assert_eq!((time.len(), &time[19..20], &time[26..]), (27, ".", "Z"), "{time}");
        assert!(chrono::DateTime::parse_from_rfc3339(time).is_ok(), "{time}");
        rest
    }
}
