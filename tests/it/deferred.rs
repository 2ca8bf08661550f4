//! Clicks that come faster than they can be recorded wait on disk: nothing forgets them, and they are counted once.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use klinky::backups::Backups;
use klinky::clock::ManualClock;
use klinky::config::BackupSettings;
use klinky::domain::id::LinkId;
use klinky::recorder::Recorder;
use klinky::store::{Event, Store};
use serde_json::json;

use crate::crash::{NOTING, now, rounds};
use crate::crash_rounds::assert_whole;
use crate::harness::{Listener, START, at};
use crate::link_retention::{EVER, click, linked};
use crate::process::{Process, klinky, pass, run, wait_until};
use crate::store::open;

const FLUSH: Duration = Duration::from_millis(100);

fn clicks(link: LinkId, number: u64) -> Vec<Event> {
    (0..number).map(|secs| Event::Click(click(link, at(START).plus(Duration::from_secs(secs))))).collect()
}

fn conversion(link_id: LinkId, visitor: u8) -> Event {
    let variant = click(link_id, at(START)).variant;
    Event::Conversion { link_id, visitor: [visitor; 16], variant, at: at(START) }
}

fn verify(dir: &Path) -> String {
    run(&mut klinky(&["verify", "--data-dir", dir.to_str().unwrap()])).stdout
}

#[test]
fn what_was_deferred_is_recorded_once_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), FLUSH);
    let (_account, link) = linked(&store, "promo");
    let mut events = clicks(link, 250);
    events.extend([conversion(link, 1), conversion(link, 2), conversion(link, 1)]);
    store.defer(&events).unwrap();
    assert_eq!((store.deferred_events(), store.list_clicks(link, EVER, 0, 1000).unwrap().1), (253, 0));
    store.close().unwrap();
    drop(store);
    assert!(verify(dir.path()).contains(" 3 deferred_events, "), "{}", verify(dir.path()));

    let store = open(dir.path(), FLUSH);
    assert_eq!(store.deferred_events(), 253);
    assert!(store.record_deferred().unwrap());
    assert_eq!((store.deferred_events(), store.list_clicks(link, EVER, 0, 1000).unwrap().1), (153, 100));
    store.record_all_deferred().unwrap();
    assert!(!store.record_deferred().unwrap());

    let (listed, total) = store.list_clicks(link, EVER, 0, 1000).unwrap();
    let sums = store.click_totals(link).unwrap().sum();
    assert_eq!((listed.len(), total, sums.clicks, sums.conversions), (250, 250, 250, 2));
    assert_eq!(store.click_count(link), Some(250));
    store.close().unwrap();
    drop(store);
    assert!(verify(dir.path()).starts_with("0 faults in "), "{}", verify(dir.path()));
}

/// While few come, what is deferred becomes less: rows of few events are recorded many at a time.
#[test]
fn rows_of_few_events_are_recorded_together() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), FLUSH);
    let (_account, link) = linked(&store, "promo");
    for few in clicks(link, 250).chunks(3) {
        store.defer(few).unwrap();
    }

    assert!(store.record_deferred().unwrap());
    let after_one = store.deferred_events();
    assert!(store.record_deferred().unwrap());
    assert!(!store.record_deferred().unwrap());

    assert_eq!((after_one, store.deferred_events(), store.click_count(link)), (151, 0, Some(250)));
}

#[test]
fn a_dump_of_a_stopped_server_has_the_deferred_clicks() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), FLUSH);
    let (_account, link) = linked(&store, "promo");
    store.defer(&clicks(link, 120)).unwrap();
    store.close().unwrap();
    drop(store);

    let dumped = run(&mut klinky(&["dump", "--data-dir", dir.path().to_str().unwrap(), "--format", "json"]));

    let rows = dumped.stdout.lines().filter(|line| line.contains(r#"{"kind":"click","#)).count();
    assert_eq!(rows, 120, "{}{}", dumped.stdout, dumped.stderr);
}

#[test]
fn a_backup_has_the_deferred_clicks() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(&dir.path().join("db"), FLUSH));
    let (_account, link) = linked(&store, "promo");
    store.defer(&clicks(link, 120)).unwrap();
    let settings = BackupSettings { dir: dir.path().join("backups"), every: Duration::from_secs(3600), keep: 1 };

    let backups = Backups::start(Arc::clone(&store), Arc::new(ManualClock::at(at(START))), settings).unwrap();
    wait_until("a backup is made", || backups.totals().newest_secs() > 0);

    let backup = fs::read_to_string(dir.path().join("backups/klinky-2024-01-15T14-30-00Z.jsonl")).unwrap();
    assert_eq!(backup.lines().filter(|line| line.contains(r#"{"kind":"click","#)).count(), 120, "{backup}");
}

#[test]
fn verify_finds_deferred_clicks_that_are_damaged_or_recorded_already() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), FLUSH);
    let (_account, link) = linked(&store, "promo");
    let events = clicks(link, 2);
    store.defer(&events[..1]).unwrap();
    store.record(&events[1..]).unwrap();
    store.defer(&events[1..]).unwrap();
    store.close().unwrap();
    drop(store);
    assert!(verify(dir.path()).contains("deferred_events 0000000000000001: click "), "{}", verify(dir.path()));

    let whole = crate::verify::Whole::new();
    let damaged = whole.damaged(|db| drop(db.open_tree("deferred_events").unwrap().insert([0; 8], b"torn!").unwrap()));

    let found = verify(damaged.path());
    assert!(found.contains("deferred_events 0000000000000000: its checksum does not match"), "{found}");
}

#[test]
fn a_damaged_row_of_deferred_clicks_stops_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), FLUSH);
    let (_account, link) = linked(&store, "promo");
    store.defer(&clicks(link, 5)).unwrap();
    store.close().unwrap();
    drop(store);
    crate::verify::change_engine(dir.path(), |db| {
        drop(db.open_tree("deferred_events").unwrap().insert([0; 8], b"torn!").unwrap());
        let row = db.open_tree("deferred_events").unwrap();
        assert_eq!(row.len(), 1);
    });

    let store = Arc::new(open(dir.path(), FLUSH));
    store.defer(&clicks(link, 7)).unwrap();
    let recorder = Recorder::start(Arc::clone(&store)).unwrap();
    recorder.catch_up().unwrap();

    assert_eq!((store.click_count(link), store.deferred_events()), (Some(7), 0));
}

/// More at once than one transaction takes, and the recorder is stopped at once: all are on disk, whether recorded or not.
#[test]
fn a_clean_stop_leaves_what_it_cannot_record_at_once_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path(), Duration::from_secs(3600)));
    let (_account, link) = linked(&store, "promo");
    let recorder = Recorder::start(Arc::clone(&store)).unwrap();
    clicks(link, 20_000).into_iter().for_each(|event| recorder.push(event));

    recorder.stop();
    store.close().unwrap();
    drop((recorder, store));

    let store = open(dir.path(), FLUSH);
    let deferred = store.deferred_events();
    assert!(deferred > 0, "they were all recorded before the stop");
    store.record_all_deferred().unwrap();
    assert_eq!(store.click_count(link), Some(20_000));
}

/// How long a click may wait until it is on disk: for a round of the recorder, and for the flush interval.
const CLICKS_WAIT: Duration = Duration::from_millis(110);
/// Requests that a client has on its way at a time.
const AT_ONCE: u64 = 50;
/// Between two such: what then comes is more than is recorded.
const PAUSE: Duration = Duration::from_millis(1);
/// To record a click costs more, the more links there are: with so many, the recorder does not keep up.
const LINKS: usize = 600;

/// In memory, where there is room: redirects do not wait for a disk that other tests keep busy.
fn fast_dir() -> tempfile::TempDir {
    let free = rustix::fs::statvfs("/dev/shm").map_or(0, |stat| stat.f_bavail * stat.f_frsize);
    let in_memory = (free > 512 << 20).then(|| tempfile::tempdir_in("/dev/shm").unwrap());
    in_memory.unwrap_or_else(|| tempfile::tempdir().unwrap())
}

/// What one client was answered: how many redirects, and by when.
type Answered = Vec<(Instant, u64)>;

fn visit_until_gone(listener: Listener, first: usize, answered: &Mutex<(u64, Answered)>) {
    let Ok(mut stream) = TcpStream::connect(listener.0) else { return };
    let mut next = first;
    loop {
        pass(PAUSE);
        let mut requests = String::new();
        for _request in 0..AT_ONCE {
            next = (next + 1) % LINKS;
            requests +=
                &format!("GET /busy-{next} HTTP/1.1\r\nHost: x\r\nUser-Agent: {}\r\n\r\n", crate::crash_rounds::AGENT);
        }
        answered.lock().unwrap().0 += AT_ONCE;
        if stream.write_all(requests.as_bytes()).is_err() {
            return;
        }
        let (mut left, mut unread) = (AT_ONCE, Vec::new());
        while left > 0 {
            let mut part = [0; 16 * 1024];
            match stream.read(&mut part) {
                Ok(0) | Err(_) => return,
                Ok(length) => unread.extend(&part[..length]),
            }
            let mut came: u64 = 0;
            while let Some(end) = unread.windows(4).position(|four| four == b"\r\n\r\n") {
                assert!(unread.starts_with(b"HTTP/1.1 302"), "{}", String::from_utf8_lossy(&unread[..end]));
                unread.drain(..end + 4);
                came += 1;
            }
            if came > 0 {
                answered.lock().unwrap().1.push((now(), came));
                left -= came;
            }
        }
    }
}

fn most_within(answered: &Answered, time: Duration) -> u64 {
    let sum = |first: usize| -> u64 {
        let end = answered[first..].partition_point(|(at, _)| *at - answered[first].0 <= time);
        answered[first..first + end].iter().map(|(_at, came)| came).sum()
    };
    (0..answered.len()).map(sum).max().unwrap_or(0)
}

/// How many clicks the links have together, once all are recorded.
fn total(dir: &Path, process: Process) -> u64 {
    process.stop();
    let store: Store = open(dir, FLUSH);
    store.record_all_deferred().unwrap();
    (0..LINKS)
        .map(|place| {
            let slug = klinky::domain::link::Slug::new(&format!("busy-{place}")).unwrap();
            store.click_count(store.find_link_by_slug(&slug).unwrap().id).unwrap()
        })
        .sum()
}

#[test]
fn a_crash_forgets_no_more_clicks_than_its_time_even_when_they_come_faster_than_they_are_recorded() {
    let temp = fast_dir();
    let flags = ["--flush-every-ms", "100", "--log", "warn,klinky::run=info"];
    let process = Process::serve(temp.path(), &flags);
    let (id, key) = process.account("scale");
    process.admin_ok("PATCH", &format!("/accounts/{id}"), &json!({"custom_limit": u32::MAX}));
    let links: Vec<_> = (0..LINKS)
        .map(|place| json!({"name": "Busy", "slug": format!("busy-{place}"), "destination_url": "https://a.example/"}))
        .collect();
    for links in links.chunks(100) {
        let body = json!({"links": links});
        let made = process.public.exchange(&format!("POST /api/v1/public/links/bulk\nX-API-Key: {key}\n\n{body}"));
        assert_eq!(made.status, 201, "{made}");
    }
    process.stop();

    let (mut before, mut were_deferred) = (0, false);
    for round in 0..rounds(5) {
        let process = Process::serve(temp.path(), &flags);
        let answered = Mutex::new((0, Answered::new()));
        std::thread::scope(|threads| {
            for client in 0..2 {
                let (public, answered) = (process.public, &answered);
                threads.spawn(move || visit_until_gone(public, client * LINKS / 2, answered));
            }
            pass(Duration::from_millis(700 + 150 * u64::from(round % 5)));
            process.signal("KILL");
        });
        process.kill();
        assert_whole(temp.path());
        let left = verify(temp.path());
        were_deferred |= !left.contains(" 0 deferred_events, ");

        let (sent, answered) = answered.into_inner().unwrap();
        let came: u64 = answered.iter().map(|(_at, came)| came).sum();
        let least = came - most_within(&answered, CLICKS_WAIT + NOTING);
        let after = total(temp.path(), Process::serve(temp.path(), &flags));
        let counted = after - before;
        println!("round {round}: {came} redirects, at least {least} must be there, and {counted} are");
        assert!(
            (least..=sent).contains(&counted),
            "{came} redirects, at least {least} must be there, and {counted} are"
        );
        assert!(least > 0, "the bound allows for everything");
        before = after;
    }
    assert!(were_deferred, "the recorder kept up, so nothing was shown");
}
