//! What a million accounts cost: the start, also after a crash, memory, decisions beside those of a thousand accounts, and
//! beside the purge of a million counters.

use std::path::Path;
use std::time::{Duration, Instant};

use klinky::clock::{Clock, SystemClock};
use klinky::domain::window::Window;

use crate::accounts::{self, Made, Wanted};
use crate::load::{Figures, Load};
use crate::median;
use crate::servers::{self, Klinky, Server};

const FEW: usize = 1000;
const MANY: usize = 1_000_000;
/// First requests in an hour cost more: a block of units and a row of usage each. So many accounts have theirs in a run.
const FIRST: usize = 300_000;
const FIRST_SECS: usize = 6;
/// Long enough that each account of the many has asked.
const ALL_SECS: usize = 60;
/// Then each run goes over a part of them again.
const SECS: usize = 10;
/// How long it takes to read all accounts and keys beside requests, at least.
const READING_SECS: usize = 3;
/// Purging a million counters takes 10 to 20 s, from the second second on.
const PURGED_WITHIN: Duration = Duration::from_secs(45);
const OFF: [&str; 2] = ["--log", "off"];

/// Runs it all, with so many rounds of requests.
pub(crate) fn run(rounds: usize) {
    let dir = tempfile::tempdir().unwrap();
    let few = store(&dir.path().join("few"), FEW);
    let many = store(&dir.path().join("many"), MANY);
    println!("{MANY} accounts, a key and a counter each");
    let keys = &many.keys;
    starts(&dir.path().join("many"), keys);
    let server = on_first_core(&dir.path().join("many"));
    server.wait_for_metrics();
    println!("resident after the start: {} MB", server.resident_mb());
    let mut firsts = keys.chunks(FIRST).map(|part| Load::check(part).run(&server, FIRST_SECS));
    let purging = firsts.next().unwrap();
    std::thread::sleep(PURGED_WITHIN);
    let purged = firsts.next().unwrap();
    println!("first requests of an hour, beside the purge: {purging:?}\nwithout it: {purged:?}");
    let load = Load::check(keys);
    load.run(&server, ALL_SECS);
    println!("resident after a request of each: {} MB", server.resident_mb());
    let others = (on_first_core(&dir.path().join("few")), Load::check(&few.keys));
    [&server, &others.0].iter().for_each(|server| server.pause());
    let turn = |server: &Server, load: &Load| {
        server.resume();
        let figures = load.run(server, SECS);
        server.pause();
        figures
    };
    let turns: Vec<(Figures, Figures)> =
        (0..rounds).map(|_| (turn(&others.0, &others.1), turn(&server, &load))).collect();
    for (few, many) in &turns {
        println!("{FEW} accounts: {few:?}\n{MANY} accounts: {many:?}");
    }
    let ratio = |of: fn(&Figures) -> f64| median(turns.iter().map(|(few, many)| of(many) / of(few)).collect());
    let (rate, cpu) = (ratio(|figures| figures.rate), ratio(|figures| figures.cpu_secs_per_million));
    println!("{MANY} to {FEW} accounts, later requests: req/s {rate:.2}, CPU {cpu:.2}");
    println!("resident after that: {} MB", server.resident_mb());
    others.0.resume();
    server.resume();
    server.kill();
    let server = start(&dir.path().join("many"), "a crash in an hour in which all have asked");
    println!("resident then: {} MB", server.resident_mb());
}

fn store(data: &Path, accounts: usize) -> Made {
    let hour = Window::at(SystemClock.now()).previous().previous().previous().start();
    let wanted = Wanted { accounts, keys_each: 1, limit: u32::MAX, counted_in: Some(hour) };
    let made = accounts::make(data.parent().unwrap(), &wanted);
    servers::restore(&made.dump, data);
    made
}

/// Starts and ends the server by turns, killed each second time. The last time requests come at once.
fn starts(data: &Path, keys: &[String]) {
    for after in ["a restore", "a clean stop", "a crash", "a clean stop", "a crash"] {
        let server = start(data, after);
        if after == "a clean stop" {
            server.kill();
        }
    }
    let load = Load::check(&keys[..FIRST]);
    let server = servers::free_klinky(&Klinky { data: data.to_owned(), flags: &OFF });
    println!("requests while accounts and keys are read: {:?}", load.run(&server, READING_SECS));
}

fn start(data: &Path, after: &str) -> Server {
    let begun = Instant::now();
    let server = servers::free_klinky(&Klinky { data: data.to_owned(), flags: &OFF });
    let ready = begun.elapsed().as_secs_f64();
    server.wait_for_metrics();
    println!("start after {after}: {ready:.2} s; all are read after {:.2} s", begun.elapsed().as_secs_f64());
    server
}

fn on_first_core(data: &Path) -> Server {
    servers::klinky(&Klinky { data: data.to_owned(), flags: &OFF })
}
