//! The server's decision against a bare actix-web server with the same answer, and against nginx's `limit_req` and
//! throttlecrab, in one run.
//!
//! `cargo bench --bench compare` builds and runs it; it needs wrk and taskset, and nginx and throttlecrab-server if they are to take part. Servers run in turn,
//! A B A C A, where A is the bare one: what another is held against came right before and after it, since the machine's speed changes. Each has one
//! worker on one core, wrk has one thread and 32 connections on another. Whose turn it is not is stopped, so that what a server does after the answers,
//! such as writing usage, burdens its own rows. CPU is what the system accounts to the server's own
//! processes, so that wrk does not blur it. `ROUNDS=3 SECS=5 ACCOUNTS=10000` are its settings.
//!
//! `cargo bench --bench compare -- scale` holds a store of 1,000,000 accounts against one of 1,000 instead: see `scale.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::allow_attributes,
    reason = "a bench that fails should stop"
)]
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program with settings of its own that prints a table"
)]

mod accounts;
mod bare;
mod load;
mod scale;
mod servers;

use std::path::Path;

use accounts::{KEYS_EACH, Made, Wanted};
use load::{Figures, Load};
use servers::{Klinky, Nginx, Server};

/// What stands in a row of the table.
struct Contestant {
    name: &'static str,
    server: Server,
    load: Load,
    runs: Vec<Run>,
}

/// What a contestant did, and the bare server just before and after.
struct Run {
    own: Figures,
    bare: [Figures; 2],
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(place) = args.iter().position(|arg| arg == bare::FLAG) {
        return bare::serve(args[place + 1].parse().unwrap());
    }
    let setting = |name: &str, default: usize| std::env::var(name).ok().map_or(default, |text| text.parse().unwrap());
    let (rounds, secs) = (setting("ROUNDS", 3), setting("SECS", 5));
    if args.iter().any(|arg| arg == "scale") {
        return scale::run(rounds);
    }
    let dir = tempfile::tempdir().unwrap();
    let (bare, mut contestants) = contestants(dir.path(), setting("ACCOUNTS", 10_000));
    contestants.iter().chain([&bare]).for_each(|contestant| contestant.server.pause());
    for contestant in contestants.iter().chain([&bare]) {
        contestant.run(1);
    }
    let mut floor = vec![bare.run(secs)];
    for round in 1..=rounds {
        for contestant in &mut contestants {
            let (before, own, after) = (floor[floor.len() - 1], contestant.run(secs), bare.run(secs));
            println!("round {round}: {:40} {own:?} beside {after:?}", contestant.name);
            contestant.runs.push(Run { own, bare: [before, after] });
            floor.push(after);
        }
    }
    println!(
        "\nmedians of {rounds} runs of {secs} s (bare: of all); ratios are to the bare server just before and after\n"
    );
    println!("| | req/s | ÷ bare | CPU s per 1M | ÷ bare | p50 µs | p99 µs |\n|---|---|---|---|---|---|---|");
    print(bare.name, &floor, [1.0, 1.0]);
    for contestant in &contestants {
        let own: Vec<Figures> = contestant.runs.iter().map(|run| run.own).collect();
        let cpu = contestant.ratio(|figures| figures.cpu_secs_per_million);
        print(contestant.name, &own, [contestant.ratio(|figures| figures.rate), cpu]);
    }
}

/// The bare server, and all that are held against it.
fn contestants(dir: &Path, accounts: usize) -> (Contestant, Vec<Contestant>) {
    let [spread, thousand, small] = [u32::MAX, 1000, 199]
        .map(|limit| accounts::make(dir, &Wanted { accounts, keys_each: KEYS_EACH, limit, counted_in: None }));
    // A server of its own for each row: what one writes later would burden another.
    let klinky = |name: &str, made: &Made, flags: &[&str]| {
        let data = dir.join(name);
        servers::restore(&made.dump, &data);
        servers::klinky(&Klinky { data, flags })
    };
    let off = ["--log", "off"];
    let text = klinky("text", &spread, &["--log-format", "text"]);
    let json = klinky("json", &spread, &["--log-format", "json"]);
    let strict = klinky("strict", &spread, &["--log", "off", "--flush-every-ms", "0"]);
    let link = klinky("link", &spread, &off);
    let linked = spread.link(&link);
    let asked = || Load::check(&spread.keys);
    let mut contestants = peers(dir, &spread.keys);
    contestants.extend([
        Contestant::new("klinky, limits from 10,000", klinky("spread", &spread, &off), asked()),
        Contestant::new(
            "klinky, one hot account",
            klinky("hot", &spread, &off),
            Load::check(&spread.keys[..KEYS_EACH]),
        ),
        Contestant::new("klinky, limit 1,000", klinky("thousand", &thousand, &off), Load::check(&thousand.keys)),
        // As with 100, which would be used up before the bench ends. This lasts for 12 runs of a second.
        Contestant::new("klinky, limit 199, blocks of 2", klinky("small", &small, &off), Load::check(&small.keys)),
        Contestant::new("klinky, text log", text, asked()),
        Contestant::new("klinky, JSON log", json, asked()),
        Contestant::new("klinky, --flush-every-ms 0", strict, asked()),
        Contestant::new("klinky, one link by id", link, linked),
    ]);
    (Contestant::new("bare actix-web", servers::bare(), asked()), contestants)
}

/// Those that are installed.
fn peers(dir: &Path, keys: &[String]) -> Vec<Contestant> {
    let mut peers = Vec::new();
    match servers::throttlecrab() {
        Some(crab) => {
            let load = Load::throttlecrab(keys);
            peers.push(Contestant::new("throttlecrab", crab, load));
        }
        None => println!("throttlecrab-server is not installed and takes no part"),
    }
    let nginx = [
        ("nginx limit_req, no log, open_file_cache", Nginx::FileKeptOpen),
        ("nginx limit_req, no log", Nginx::NoLog),
        ("nginx limit_req, as it comes", Nginx::AsItComes),
    ];
    for (name, does) in nginx {
        match servers::nginx(dir, does) {
            Some(nginx) => peers.push(Contestant::new(name, nginx, Load::check(keys))),
            None => println!("nginx is not installed and takes no part"),
        }
    }
    peers
}

impl Contestant {
    fn new(name: &'static str, server: Server, load: Load) -> Self {
        Self { name, server, load, runs: Vec::new() }
    }

    fn run(&self, secs: usize) -> Figures {
        self.server.resume();
        let figures = self.load.run(&self.server, secs);
        self.server.pause();
        // What it wrote is not to burden the next one.
        rustix::fs::sync();
        figures
    }

    /// The median of each run's ratio to the bare server beside it.
    fn ratio(&self, of: impl Fn(&Figures) -> f64) -> f64 {
        let ratios =
            self.runs.iter().map(|Run { own, bare: [before, after] }| 2.0 * of(own) / (of(before) + of(after)));
        median(ratios.collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn print(name: &str, figures: &[Figures], [rate_ratio, cpu_ratio]: [f64; 2]) {
    let of = |of: fn(&Figures) -> f64| median(figures.iter().map(of).collect());
    println!(
        "| {name} | {:.0} | {rate_ratio:.2} | {:.1} | {cpu_ratio:.2} | {:.0} | {:.0} |",
        of(|figures| figures.rate),
        of(|figures| figures.cpu_secs_per_million),
        of(|figures| figures.p50_us),
        of(|figures| figures.p99_us),
    );
}
