//! What the system says of this process, under the names that the client libraries of Prometheus give it. It is read from
//! `/proc` when somebody scrapes; what is not there is left out.

use std::fs;
use std::time::Duration;

use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use rustix::process::{Resource, getrlimit};

const PREFIX: &str = "process";
/// What Linux counts a process's times in towards programs, whatever its own clock is (`USER_HZ`): 10 ms.
const TICK_MS: u64 = 10;
/// Where the fields of `/proc/self/stat` stand behind the program's name (proc(5) has them from 1 on, the name second).
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;
const START_TICKS: usize = 19;

/// Reads it. Blocks.
pub(super) fn read() -> Registry {
    let mut registry = Registry::with_prefix(PREFIX);
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    if let (Some(user), Some(system)) = (ticks(&stat, USER_TICKS), ticks(&stat, SYSTEM_TICKS)) {
        let help = "Time on processors, of this process and for it in the system";
        let used = ConstCounter::new(user.saturating_add(system).as_secs_f64());
        registry.register_with_unit("cpu", help, Unit::Seconds, used);
    }
    if let (Some(boot), Some(after)) = (boot_time(), ticks(&stat, START_TICKS)) {
        let started = ConstGauge::new(boot.saturating_add(after).as_secs_f64());
        registry.register_with_unit("start_time", "When it started, in Unix seconds", Unit::Seconds, started);
    }
    if let Some(bytes) = resident_bytes() {
        registry.register_with_unit("resident_memory", "Memory that it holds", Unit::Bytes, ConstGauge::new(bytes));
    }
    if let Some(files) = open_files() {
        registry.register("open_fds", "Open files, connections among them", ConstGauge::new(files));
    }
    if let Some(files) = getrlimit(Resource::Nofile).current {
        registry.register("max_fds", "Most files that it may open", ConstGauge::new(files));
    }
    registry
}

/// A time among the fields behind the program's name, which stands in brackets and may have any in it.
fn ticks(stat: &str, field: usize) -> Option<Duration> {
    let (_name, fields) = stat.rsplit_once(')')?;
    let ticks: u64 = fields.split_ascii_whitespace().nth(field)?.parse().ok()?;
    Some(Duration::from_millis(ticks.saturating_mul(TICK_MS)))
}

/// When the machine started, since 1970.
fn boot_time() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let secs = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(Duration::from_secs(secs.trim().parse().ok()?))
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let size = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = size.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib.saturating_mul(1024))
}

/// Without the one that counts them.
fn open_files() -> Option<u64> {
    let files = fs::read_dir("/proc/self/fd").ok()?.count();
    u64::try_from(files.saturating_sub(1)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_name_may_look_like_fields() {
        let stat = "7 (a) 1 (b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 1 0 12345 0 0";

        assert_eq!(ticks(stat, USER_TICKS), Some(Duration::from_millis(2500)));
        assert_eq!(ticks(stat, SYSTEM_TICKS), Some(Duration::from_millis(500)));
        assert_eq!(ticks(stat, START_TICKS), Some(Duration::from_millis(123_450)));
        assert_eq!(ticks("", START_TICKS), None);
    }
}
