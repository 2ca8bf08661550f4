//! What a million accounts cost: the start, also after a crash, memory, decisions beside those of a thousand accounts, and
//! beside the purge of a million counters.

use std::path::Path;
use std::time::{Duration, Instant};

use klinky::clock::{Clock, SystemClock};
use klinky::domain::window::Window;

use crate::accounts::{self, Group, Made, Wanted};
use crate::load::{Figures, Load};
use crate::median;
use crate::servers::{self, Klinky, Server};

const FEW: usize = 1000;
const MANY: usize = 1_000_000;
/// Long enough that each account of the many asks once.
const SECS: usize = 20;
/// Purging a million counters takes 10 to 20 s, from the second second on.
const PURGE_SECS: usize = 8;
const PURGED_WITHIN: Duration = Duration::from_secs(45);
const OFF: [&str; 2] = ["--log", "off"];

/// Runs it all, with so many rounds of requests.
pub(crate) fn run(rounds: usize) {
    let dir = tempfile::tempdir().unwrap();
    let few = store(&dir.path().join("few"), FEW);
    let many = store(&dir.path().join("many"), MANY);
    println!("{MANY} accounts, a key and a counter each");
    starts(&dir.path().join("many"));
    let server = on_first_core(&dir.path().join("many"));
    println!("resident after the start: {} MB", server.resident_mb());
    let load = Load::of(&many, Group::Spread);
    let purging = load.run(&server, PURGE_SECS);
    std::thread::sleep(PURGED_WITHIN);
    let purged = load.run(&server, PURGE_SECS);
    println!("p99 beside the purge: {:.0} µs, without it: {:.0} µs", purging.p99_us, purged.p99_us);
    let others = (on_first_core(&dir.path().join("few")), Load::of(&few, Group::Spread));
    let turns: Vec<(Figures, Figures)> =
        (0..rounds).map(|_| (others.1.run(&others.0, SECS), load.run(&server, SECS))).collect();
    for (few, many) in &turns {
        println!("{FEW} accounts: {few:?}\n{MANY} accounts: {many:?}");
    }
    let ratio = |of: fn(&Figures) -> f64| median(turns.iter().map(|(few, many)| of(many) / of(few)).collect());
    let (rate, cpu) = (ratio(|figures| figures.rate), ratio(|figures| figures.cpu_secs_per_million));
    println!("{MANY} to {FEW} accounts: req/s {rate:.2}, CPU {cpu:.2}");
    println!("resident after that: {} MB", server.resident_mb());
}

fn store(data: &Path, accounts: usize) -> Made {
    let hour = Window::at(SystemClock.now()).previous().previous().previous().start();
    let groups = [(Group::Spread, u32::MAX)];
    let made = accounts::make(
        data.parent().unwrap(),
        &Wanted { accounts, keys_each: 1, groups: &groups, counted_in: Some(hour) },
    );
    servers::restore(&made.dump, data);
    made
}

/// Starts and ends the server by turns, killed each second time.
fn starts(data: &Path) {
    for after in ["a restore", "a clean stop", "a crash", "a clean stop", "a crash"] {
        let begun = Instant::now();
        let server = servers::free_klinky(&Klinky { data: data.to_owned(), flags: &OFF });
        println!("start after {after}: {:.2} s", begun.elapsed().as_secs_f64());
        if after == "a clean stop" {
            server.kill();
        }
    }
}

fn on_first_core(data: &Path) -> Server {
    servers::klinky(&Klinky { data: data.to_owned(), flags: &OFF })
}
