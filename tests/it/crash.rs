//! The real binary under `kill -9` and SIGTERM, with clients at full speed. Contract section 10.
//!
//! `KLINKY_CRASH_ROUNDS` asks for more rounds than CI makes.

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::harness::{ADMIN_TOKEN, Exchange, JWT_SECRET, Listener, Server, admin_request};
use crate::process::{Process, klinky, pass, rows};

/// Crashes of each kind: enough to show a fault that is always there, few enough for CI.
const ROUNDS: u32 = 3;
/// Clients that send one request after the other.
const CLIENTS: usize = 4;
const ACCOUNTS: usize = 3;
const KEYS_PER_ACCOUNT: usize = 2;
/// Endpoints that each key is spent on: rows of usage enough for adding them to take long.
const ENDPOINTS: usize = 150;
/// Units by which a counter may be ahead after a crash: the rest of one block, of an account with a large limit.
pub(crate) const BLOCK_REST_MAX: u64 = 63;
/// By how much later than the server a client of a busy machine may note a grant.
pub(crate) const NOTING: Duration = Duration::from_millis(100);

/// How long usage may wait until it is on disk: for its round, and for a commit of 100 ms or less.
const USAGE_WAITS: Duration = Duration::from_millis(250);

pub(crate) fn rounds(of_ci: u32) -> u32 {
    let wanted = std::env::vars().find(|(name, _value)| name == "KLINKY_CRASH_ROUNDS");
    wanted.map_or(of_ci, |(_name, value)| value.parse().unwrap())
}

#[expect(clippy::disallowed_methods, reason = "the test measures when real requests were answered")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A request that was sent.
struct Sent {
    account: usize,
    /// When its 200 came, if it came.
    granted_at: Option<Instant>,
}

/// A write of an operator that was answered.
struct Written {
    path: String,
    view: Value,
}

/// What a time of load came to.
struct Load {
    sent: Vec<Sent>,
    written: Vec<Written>,
}

impl Load {
    fn granted(&self, account: usize) -> u64 {
        self.count(account, |sent| sent.granted_at.is_some())
    }

    /// The most units that were granted within any time as long as this one.
    fn granted_within(&self, account: usize, time: Duration) -> u64 {
        let own = self.sent.iter().filter(|sent| sent.account == account);
        let mut instants: Vec<Instant> = own.filter_map(|sent| sent.granted_at).collect();
        instants.sort_unstable();
        let most =
            (0..instants.len()).map(|first| instants[first..].partition_point(|at| *at - instants[first] <= time));
        most.max().unwrap_or(0).try_into().unwrap()
    }

    fn unanswered(&self, account: usize) -> u64 {
        self.count(account, |sent| sent.granted_at.is_none())
    }

    fn count(&self, account: usize, test: impl Fn(&Sent) -> bool) -> u64 {
        self.sent.iter().filter(|sent| sent.account == account && test(sent)).count().try_into().unwrap()
    }
}

/// Accounts whose limit is out of reach, and their keys.
struct Setup {
    ids: Vec<String>,
    keys: Vec<(usize, String)>,
}

impl Setup {
    fn new(process: &Process) -> Self {
        let mut setup = Self { ids: Vec::new(), keys: Vec::new() };
        for account in 0..ACCOUNTS {
            let body = json!({"name": "Busy", "plan": "scale", "custom_limit": u32::MAX});
            let id = process.admin_ok("POST", "/accounts", &body)["id"].as_str().unwrap().to_owned();
            for _ in 0..KEYS_PER_ACCOUNT {
                let issued = process.admin_ok("POST", &format!("/accounts/{id}/keys"), &json!({"name": "busy"}));
                setup.keys.push((account, issued["key"].as_str().unwrap().to_owned()));
            }
            setup.ids.push(id);
        }
        setup
    }

    /// What each account has used, in all hours together: a test may run across the top of one.
    fn used(&self, process: &Process) -> Vec<u64> {
        self.sums(process, "counters")
    }

    /// What its usage adds up to, likewise.
    fn usage(&self, process: &Process) -> Vec<u64> {
        self.sums(process, "usage")
    }

    fn sums(&self, process: &Process, kind: &str) -> Vec<u64> {
        let dump = process.admin.exchange(&admin_request("GET", &format!("/dump?only={kind}"), ""));
        let mut used: HashMap<String, u64> = HashMap::new();
        for line in rows(&dump.body) {
            let row: Value = serde_json::from_str(line).unwrap();
            *used.entry(row["account_id"].as_str().unwrap().to_owned()).or_default() += row["used"].as_u64().unwrap();
        }
        self.ids.iter().map(|id| used.get(id).copied().unwrap_or(0)).collect()
    }
}

/// Puts a process under load until `stop` returns, and for as long as it answers.
fn load(process: &Process, setup: &Setup, with_admin: bool, stop: impl FnOnce()) -> Load {
    let (sent, written) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let stopping = AtomicBool::new(false);
    let (public, admin) = (process.public, process.admin);
    std::thread::scope(|threads| {
        for client in 0..CLIENTS {
            let sent = &sent;
            threads.spawn(move || {
                let own = ask_until_gone(public.connect(), &setup.keys, client);
                sent.lock().unwrap().extend(own);
            });
        }
        if with_admin {
            let (stopping, written) = (&stopping, &written);
            threads.spawn(move || write_until_gone(admin, stopping, written));
        }
        stop();
        stopping.store(true, Ordering::SeqCst);
    });
    Load { sent: sent.into_inner().unwrap(), written: written.into_inner().unwrap() }
}

/// Sends requests on one connection until it breaks.
fn ask_until_gone(mut stream: TcpStream, keys: &[(usize, String)], client: usize) -> Vec<Sent> {
    let mut sent = Vec::new();
    for (number, (account, key)) in keys.iter().cycle().skip(client).enumerate() {
        let request = format!(
            "GET /check HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nX-Original-Method: GET\r\nX-Original-URI: /{}\r\n\r\n",
            word(number % ENDPOINTS)
        );
        if stream.write_all(request.as_bytes()).is_err() {
            break;
        }
        let status = Exchange::try_read("GET", &mut stream).map(|answer| answer.status);
        let granted_at = status.map(|status| {
            assert_eq!(status, 200);
            now()
        });
        sent.push(Sent { account: *account, granted_at });
        if granted_at.is_none() {
            break;
        }
    }
    sent
}

/// A segment that is no id.
fn word(number: usize) -> String {
    format!("{number:b}").replace('0', "a").replace('1', "b")
}

/// Creates accounts and keys, one after the other, until the listener is gone.
fn write_until_gone(admin: Listener, stopping: &AtomicBool, written: &Mutex<Vec<Written>>) {
    let write = |path: &str, shown_at: &str| -> Option<String> {
        let mut stream = TcpStream::connect(admin.0).ok()?;
        let body = json!({"name": "Written under load"}).to_string();
        let head = format!("POST /admin/v1{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ADMIN_TOKEN}\r\n");
        write!(stream, "{head}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len()).ok()?;
        let answer = Exchange::try_read("POST", &mut stream)?;
        assert_eq!(answer.status, 201, "{answer}");
        let mut view = answer.json();
        view.as_object_mut().unwrap().remove("key");
        let id = view["id"].as_str().unwrap().to_owned();
        written.lock().unwrap().push(Written { path: format!("{shown_at}/{id}"), view });
        Some(id)
    };
    while !stopping.load(Ordering::SeqCst) {
        let account = write("/accounts", "/accounts");
        let key = account.and_then(|account| write(&format!("/accounts/{account}/keys"), "/keys"));
        if key.is_none() {
            return;
        }
    }
}

/// Every write that was answered is there, as it was answered.
fn assert_written(process: &Process, written: &[Written]) {
    for Written { path, view } in written {
        assert_eq!(&process.admin_ok("GET", path, &Value::Null), view, "{path}");
    }
}

/// The numbers of the audit trail have no gap, down to the first.
fn assert_audit_is_contiguous(process: &Process) {
    let mut after = String::new();
    let mut numbers = Vec::new();
    loop {
        let page = process.admin_ok("GET", &format!("/audit?limit=1000{after}"), &Value::Null);
        numbers.extend(page["items"].as_array().unwrap().iter().map(|entry| entry["number"].as_u64().unwrap()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    let newest = *numbers.first().unwrap();
    assert_eq!(numbers, (1..=newest).rev().collect::<Vec<_>>());
}

/// Crashes a server again and again. `may_forget`: the units of how long a time may be lost.
fn crash_rounds(flush_every_ms: &str, may_forget: Option<Duration>) {
    let temp = tempfile::tempdir().unwrap();
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let flags = ["--flush-every-ms", flush_every_ms, "--log", "warn,klinky::run=info"];
    let mut process = Process::serve(temp.path(), &flags);
    let setup = Setup::new(&process);
    let mut telling = 0;
    for round in 0..rounds(ROUNDS) {
        let (before, usage_before) = (setup.used(&process), setup.usage(&process));
        let lasts = Duration::from_millis(random.random_range(900..1400));
        // Writes of the operator commit the counters, too: without them the interval alone does.
        let load = load(&process, &setup, round % 2 == 1, || {
            pass(lasts);
            process.signal("KILL");
        });
        process.kill();
        process = Process::serve(temp.path(), &flags);

        let (after, usage_after) = (setup.used(&process), setup.usage(&process));
        for account in 0..ACCOUNTS {
            let (granted, unanswered) = (load.granted(account), load.unanswered(account));
            let forgettable = may_forget.map_or(0, |time| load.granted_within(account, time + NOTING));
            let counted = after[account] - before[account];
            println!("round {round}: granted {granted}, may forget {forgettable}, counted {counted}");
            telling += u32::from(granted > 2 * forgettable);
            let most = granted + unanswered + BLOCK_REST_MAX;
            assert!((granted - forgettable..=most).contains(&counted), "seed {seed}, round {round}");
            let (usage, forgettable) =
                (usage_after[account] - usage_before[account], load.granted_within(account, USAGE_WAITS + NOTING));
            println!("round {round}: usage may forget {forgettable}, and has {usage}");
            assert!((granted - forgettable..=granted + unanswered).contains(&usage), "seed {seed}, round {round}");
        }
        assert_written(&process, &load.written);
        assert_audit_is_contiguous(&process);
    }
    // A machine that is busy for a moment grants little in it; one that always is shows nothing.
    assert!(telling > 0, "the load was too small to show anything");
}

#[test]
fn a_crash_forgets_at_most_the_units_of_one_interval_and_no_answered_write() {
    crash_rounds("100", Some(Duration::from_millis(100)));
}

#[test]
fn a_crash_forgets_nothing_when_counters_are_on_disk_before_the_answer() {
    crash_rounds("0", None);
}

#[test]
fn sigterm_under_load_counts_exactly_what_was_granted() {
    let temp = tempfile::tempdir().unwrap();
    let process = Process::serve(temp.path(), &["--flush-every-ms", "60000", "--log", "warn,klinky::run=info"]);
    let setup = Setup::new(&process);
    let load = load(&process, &setup, true, || {
        pass(Duration::from_millis(500));
        process.signal("TERM");
    });
    let (code, log) = process.ended();

    assert_eq!(code, Some(0), "{log}");
    let process = Process::serve(temp.path(), &[]);
    assert_eq!(setup.usage(&process), setup.used(&process));
    for (account, used) in setup.used(&process).into_iter().enumerate() {
        assert!(used > 0);
        // A request that came after the signal may be cut off before it was read, but not after it was counted.
        assert_eq!(used, load.granted(account), "{} unanswered", load.unanswered(account));
    }
    assert_written(&process, &load.written);
    assert_audit_is_contiguous(&process);
}

/// Spawns a server on `dir` and kills it a moment later.
pub(crate) fn kill_during_start(dir: &Path, moment: Duration) {
    let mut command = klinky(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log", "off"]);
    command.args(["--data-dir", dir.to_str().unwrap()]);
    command.env("KLINKY_ADMIN_TOKEN", ADMIN_TOKEN).env("KLINKY_JWT_SECRET", JWT_SECRET);
    let mut child = command.spawn().unwrap();
    pass(moment);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Moments that span a whole start, which takes some 20 ms.
fn moments() -> impl Iterator<Item = Duration> {
    let moments = 12 * rounds(ROUNDS);
    (0..moments).map(move |step| Duration::from_millis(30) * step / moments)
}

#[test]
fn a_first_start_that_is_killed_at_any_instant_is_started_again() {
    for moment in moments() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("db");
        kill_during_start(&dir, moment);

        let process = Process::serve(&dir, &[]);

        let plans = process.admin_ok("GET", "/plans", &Value::Null);
        assert_eq!(plans["items"].as_array().unwrap().len(), 4, "killed after {moment:?}");
        process.kill();
    }
}

#[test]
fn a_start_that_is_killed_at_any_instant_loses_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let process = Process::serve(temp.path(), &[]);
    let (id, _key) = process.account("growth");
    process.stop();
    for (turn, moment) in moments().enumerate() {
        kill_during_start(temp.path(), moment);

        let process = Process::serve(temp.path(), &[]);

        assert_eq!(process.admin_ok("GET", &format!("/accounts/{id}"), &Value::Null)["id"], id, "{moment:?}");
        // Every other start is then one after a clean stop, every other one after a crash.
        if turn % 2 == 0 { drop(process.stop()) } else { process.kill() }
    }
}

/// A child process has copies of all open files, locks included, until it starts its program.
#[test]
fn a_closed_store_opens_again_while_processes_are_started() {
    std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| (0..150).all(|_turn| Command::new("true").status().unwrap().success()));
        }

        let mut server = Server::start();
        for _ in 0..10 {
            server = server.restart();
        }

        assert_eq!(server.admin.exchange("GET /readyz").status, 200);
    });
}
