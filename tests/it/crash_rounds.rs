//! Crash after crash of one store, at random instants, with everything being written at once: counters, clicks, links
//! and the operator's writes. After each, `klinky verify` walks what is left, and every answer is held against it.
//!
//! `KLINKY_CRASH_ROUNDS` asks for more rounds than CI makes.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::crash::{BLOCK_REST_MAX, NOTING, kill_during_start, now, rounds};
use crate::harness::{ADMIN_TOKEN, Exchange, Listener};
use crate::process::{Process, klinky, pass, run};

/// Rounds of each of the two tests: 20 in all.
const ROUNDS: u32 = 10;
pub(crate) const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0";

/// Units of this long a time before a crash may be forgotten.
pub(crate) const AT_100_MS: Duration = Duration::from_millis(100);
/// With `--flush-every-ms 0`.
pub(crate) const AT_0_MS: Duration = Duration::ZERO;

/// One account whose units are counted by the test, one that writes links, one link that is clicked.
pub(crate) struct Setup {
    counted_id: String,
    counted_key: String,
    writer_key: String,
    link_id: String,
    /// What may be answered in place of what was asked for; nothing was done then.
    refusal: Option<u16>,
}

/// What was answered, and when, and how many requests were sent at all.
#[derive(Default)]
struct Answered {
    at: Vec<Instant>,
    sent: u64,
}

impl Answered {
    fn granted(&self) -> u64 {
        self.at.len().try_into().unwrap()
    }

    /// The most answers within any time as long as this one. None, if there is no such time: 0 is before the answer.
    fn most_within(&self, time: Duration) -> u64 {
        if time.is_zero() {
            return 0;
        }
        let time = time + NOTING;
        let most = (0..self.at.len()).map(|first| self.at[first..].partition_point(|at| *at - self.at[first] <= time));
        most.max().unwrap_or(0).try_into().unwrap()
    }

    fn assert_bounds(&self, what: &str, counted: u64, least: u64, beyond: u64) {
        let most = self.sent + beyond;
        assert!(
            (least..=most).contains(&counted),
            "{what}: {} answered of {}, at least {least} must be there, and {counted} are",
            self.granted(),
            self.sent
        );
    }
}

/// A write that was answered 201, and where it is to be found.
struct Written {
    request: String,
    view: Value,
}

/// All that a round's load was answered.
pub(crate) struct Load {
    units: Answered,
    clicks: Answered,
    written: Vec<Written>,
    units_before: u64,
    usage_before: u64,
    clicks_before: u64,
    /// Clicks that were shown before a write was sent that was then answered: what it waited for has them, too.
    /// No time bounds them here, since redirects do not wait for a slow disk, as counted requests do: see `deferred.rs`.
    clicks_on_disk: u64,
}

impl Setup {
    pub(crate) fn new(process: &Process) -> Self {
        let endless = json!({"custom_limit": u32::MAX});
        let account = || {
            let (id, key) = process.account("scale");
            process.admin_ok("PATCH", &format!("/accounts/{id}"), &endless);
            (id, key)
        };
        let ((counted_id, counted_key), (_writer_id, writer_key)) = (account(), account());
        let body = json!({"name": "Clicked", "slug": "clicked", "destination_url": "https://example.com/"});
        let request = format!("POST /api/v1/public/links\nX-API-Key: {writer_key}\n\n{body}");
        let link_id = process.public.exchange(&request).json()["id"].as_str().unwrap().to_owned();
        Self { counted_id, counted_key, writer_key, link_id, refusal: None }
    }

    /// The same, for a store that may be full meanwhile.
    pub(crate) fn on_a_small_disk(process: &Process) -> Self {
        Self { refusal: Some(503), ..Self::new(process) }
    }

    fn units(&self, process: &Process) -> u64 {
        self.sum(process, "counters")
    }

    fn usage(&self, process: &Process) -> u64 {
        self.sum(process, "usage")
    }

    fn sum(&self, process: &Process, kind: &str) -> u64 {
        // In all hours together: a test may run across the top of one.
        let path = format!("/dump?only={kind}&account={}", self.counted_id);
        let dump = process.admin.exchange(&crate::harness::admin_request("GET", &path, ""));
        let used = crate::process::rows(&dump.body)
            .into_iter()
            .map(|row| serde_json::from_str::<Value>(row).unwrap()["used"].as_u64().unwrap());
        used.sum()
    }

    fn clicks(&self, process: &Process) -> u64 {
        let request = format!("GET /api/v1/public/links/{}/stats\nX-API-Key: {}", self.link_id, self.writer_key);
        process.public.exchange(&request).json()["clicks"].as_u64().unwrap()
    }

    /// Puts a process under load until `stop` returns, and for as long as it answers.
    pub(crate) fn load(&self, process: &Process, stop: impl FnOnce()) -> Load {
        let (units_before, clicks_before) = (self.units(process), self.clicks(process));
        let usage_before = self.usage(process);
        let (units, clicks) = (Mutex::new(Answered::default()), Mutex::new(Answered::default()));
        let (written, clicks_on_disk) = (Mutex::new(Vec::new()), AtomicU64::new(clicks_before));
        let (public, admin) = (process.public, process.admin);
        std::thread::scope(|threads| {
            for _client in 0..2 {
                threads.spawn(|| {
                    let request = format!("GET /api/v1/public/links HTTP/1.1\r\nX-API-Key: {}", self.counted_key);
                    self.ask_until_gone(public, &request, 200, &units);
                });
            }
            threads.spawn(|| {
                let request = format!("GET /clicked HTTP/1.1\r\nUser-Agent: {AGENT}");
                self.ask_until_gone(public, &request, 302, &clicks);
            });
            threads.spawn(|| self.write_links_until_gone(public, &written, &clicks_on_disk));
            threads.spawn(|| self.write_accounts_until_gone(admin, &written));
            stop();
        });
        let (units, clicks) = (units.into_inner().unwrap(), clicks.into_inner().unwrap());
        let (written, clicks_on_disk) = (written.into_inner().unwrap(), clicks_on_disk.into_inner());
        Load { units, clicks, written, units_before, usage_before, clicks_before, clicks_on_disk }
    }

    fn write_links_until_gone(&self, public: Listener, written: &Mutex<Vec<Written>>, clicks_on_disk: &AtomicU64) {
        let body = json!({"name": "Written under load", "destination_url": "https://example.com/"}).to_string();
        let head = format!("X-API-Key: {}", self.writer_key);
        loop {
            let shown = self.clicks_shown(public);
            let view = self.write(public, &format!("POST /api/v1/public/links HTTP/1.1\r\n{head}"), &body);
            let Some(view) = view else { return };
            clicks_on_disk.fetch_max(shown.unwrap_or(0), Ordering::SeqCst);
            let id = view["id"].as_str().unwrap();
            let request = format!("GET /api/v1/public/links/{id}\n{head}");
            written.lock().unwrap().push(Written { request, view });
        }
    }

    /// Clicks that a server shows, unless it is gone or refuses. It records those that wait before it does.
    fn clicks_shown(&self, public: Listener) -> Option<u64> {
        use std::io::Write;
        let mut stream = std::net::TcpStream::connect(public.0).ok()?;
        let (id, key) = (&self.link_id, &self.writer_key);
        let head = format!("GET /api/v1/public/links/{id}/stats HTTP/1.1\r\nX-API-Key: {key}\r\nHost: x");
        write!(stream, "{head}\r\nConnection: close\r\n\r\n").ok()?;
        let answer = Exchange::try_read("GET", &mut stream).filter(|answer| answer.status == 200)?;
        answer.json()["clicks"].as_u64()
    }

    /// Sends a request again and again on one connection until it breaks.
    fn ask_until_gone(&self, listener: Listener, request: &str, status: u16, answered: &Mutex<Answered>) {
        use std::io::Write;
        let Ok(mut stream) = std::net::TcpStream::connect(listener.0) else { return };
        while stream.write_all(format!("{request}\r\nHost: x\r\n\r\n").as_bytes()).is_ok() {
            answered.lock().unwrap().sent += 1;
            let Some(answer) = Exchange::try_read("GET", &mut stream) else { return };
            if Some(answer.status) == self.refusal {
                // Not even counted as sent: it must not have been counted by the server.
                answered.lock().unwrap().sent -= 1;
                continue;
            }
            assert_eq!(answer.status, status, "{answer}");
            answered.lock().unwrap().at.push(now());
        }
    }

    /// Creates accounts and their keys until the listener is gone.
    fn write_accounts_until_gone(&self, admin: Listener, written: &Mutex<Vec<Written>>) {
        let authorization = format!("Authorization: Bearer {ADMIN_TOKEN}");
        let body = json!({"name": "Written under load"}).to_string();
        let create = |path: &str, shown_at: &str| -> Option<String> {
            let view = self.write(admin, &format!("POST /admin/v1{path} HTTP/1.1\r\n{authorization}"), &body)?;
            let id = view["id"].as_str().unwrap().to_owned();
            let request = format!("GET /admin/v1{shown_at}/{id}\n{authorization}");
            written.lock().unwrap().push(Written { request, view });
            Some(id)
        };
        while let Some(account) = create("/accounts", "/accounts") {
            if create(&format!("/accounts/{account}/keys"), "/keys").is_none() {
                return;
            }
        }
    }

    /// Creates one thing; answers how it is shown from then on, or nothing once the listener is gone.
    fn write(&self, listener: Listener, head: &str, body: &str) -> Option<Value> {
        use std::io::Write;
        let answer = loop {
            let mut stream = std::net::TcpStream::connect(listener.0).ok()?;
            write!(stream, "{head}\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
                .ok()?;
            let answer = Exchange::try_read("POST", &mut stream)?;
            if Some(answer.status) != self.refusal {
                break answer;
            }
            pass(Duration::from_millis(5));
        };
        assert_eq!(answer.status, 201, "{answer}");
        let mut view = answer.json();
        view.as_object_mut().unwrap().retain(|name, _value| name != "key" && name != "short_url");
        Some(view)
    }

    /// Holds what is there against what was answered.
    pub(crate) fn check(&self, process: &Process, load: &Load, may_forget: Duration) {
        let (units, clicks) = (self.units(process) - load.units_before, self.clicks(process) - load.clicks_before);
        load.units.assert_bounds(
            "units",
            units,
            load.units.granted() - load.units.most_within(may_forget),
            BLOCK_REST_MAX,
        );
        // What it may lack is held in `crash.rs`; here, with starts that are killed too, that none is counted twice.
        load.units.assert_bounds("usage", self.usage(process) - load.usage_before, 0, 0);
        let on_disk = load.clicks_on_disk - load.clicks_before;
        load.clicks.assert_bounds("clicks", clicks, on_disk, 0);
        for Written { request, view } in &load.written {
            let listener = if request.contains("/admin/") { process.admin } else { process.public };
            let found = listener.exchange(request);
            let mut found_view = found.json();
            // What short URLs begin with is the listener's address, which is another one after each start.
            found_view.as_object_mut().unwrap().remove("short_url");
            assert_eq!((found.status, &found_view), (200, view), "{request}");
        }
    }
}

impl Load {
    /// What it came to, to be printed.
    pub(crate) fn summary(&self) -> String {
        format!("{} units, {} clicks, {} writes", self.units.granted(), self.clicks.granted(), self.written.len())
    }

    /// How many writes were answered.
    pub(crate) fn writes(&self) -> usize {
        self.written.len()
    }
}

/// What a crash has left is whole, before anything recovers it.
pub(crate) fn assert_whole(dir: &Path) {
    let ended = run(&mut klinky(&["verify", "--data-dir", dir.to_str().unwrap()]));
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
}

fn crash_again_and_again(flush_every_ms: &str, may_forget: Duration) {
    let temp = tempfile::tempdir().unwrap();
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let flags = ["--flush-every-ms", flush_every_ms, "--log", "warn,klinky::run=info"];
    let mut process = Process::serve(temp.path(), &flags);
    let setup = Setup::new(&process);
    let mut writes = 0;
    for round in 0..rounds(ROUNDS) {
        let lasts = Duration::from_millis(random.random_range(50..1200));
        let load = setup.load(&process, || {
            pass(lasts);
            process.signal("KILL");
        });
        process.kill();
        println!("round {round}: {} in {lasts:?}", load.summary());
        assert_whole(temp.path());
        if random.random_bool(0.5) {
            let moment = Duration::from_micros(random.random_range(0..40_000));
            println!("round {round}: killed {moment:?} into the next start");
            kill_during_start(temp.path(), moment);
            assert_whole(temp.path());
        }
        process = Process::serve(temp.path(), &flags);
        setup.check(&process, &load, may_forget);
        writes += load.writes();
    }
    assert!(writes > 0, "nothing was written");
}

#[test]
fn crashes_at_random_instants_forget_at_most_an_interval() {
    crash_again_and_again("100", AT_100_MS);
}

#[test]
fn crashes_at_random_instants_forget_no_unit_that_was_on_disk_before_the_answer() {
    crash_again_and_again("0", AT_0_MS);
}
