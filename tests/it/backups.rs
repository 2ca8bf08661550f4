//! Backups that a server makes by itself: when, what, where, how many. The way back is in `readme.rs`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use klinky::backups::{BackupError, Backups};
use klinky::clock::{Clock, ManualClock};
use klinky::config::BackupSettings;
use klinky::dump::{self, DumpFilter};
use klinky::store::Store;
use tempfile::TempDir;

use crate::harness::{START, at};
use crate::process::{Process, big_dump, klinky, rows, run, wait_until};
use crate::store::{author, open};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A store with rows of every kind that `big_dump` has, a clock, and a place for backups.
struct Setup {
    temp: TempDir,
    store: Arc<Store>,
    clock: ManualClock,
}

impl Setup {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let store = Arc::new(open(&temp.path().join("db"), Duration::ZERO));
        dump::restore(&store, big_dump(20).as_bytes(), &author()).unwrap();
        Self { temp, store, clock: ManualClock::at(at(START)) }
    }

    fn dir(&self) -> std::path::PathBuf {
        self.temp.path().join("backups")
    }

    fn start(&self, keep: usize) -> Result<Backups, BackupError> {
        let settings = BackupSettings { dir: self.dir(), every: HOUR, keep };
        Backups::start(Arc::clone(&self.store), Arc::new(self.clock.clone()), settings)
    }

    /// Waits until a backup was made at the instant that the clock shows.
    fn wait(&self, backups: &Backups) {
        let now_secs = u64::try_from(self.clock.now().as_secs()).unwrap();
        wait_until("a backup is made", || backups.totals().newest_secs() == now_secs);
    }

    /// Puts a file there.
    fn put(&self, name: &str) {
        fs::create_dir_all(self.dir()).unwrap();
        fs::write(self.dir().join(name), "").unwrap();
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_backup_is_made_at_the_start_and_each_interval_and_the_oldest_are_removed() {
    let setup = Setup::new();
    setup.put("klinky-2024-01-01T00-00-00Z.jsonl");
    setup.put("klinky-notes.jsonl");

    let backups = setup.start(2).unwrap();
    setup.wait(&backups);
    assert_eq!(
        names(&setup.dir()),
        ["klinky-2024-01-01T00-00-00Z.jsonl", "klinky-2024-01-15T14-30-00Z.jsonl", "klinky-notes.jsonl"]
    );
    setup.clock.advance(HOUR);
    setup.wait(&backups);

    let kept = ["klinky-2024-01-15T14-30-00Z.jsonl", "klinky-2024-01-15T15-30-00Z.jsonl", "klinky-notes.jsonl"];
    assert_eq!(names(&setup.dir()), kept);
    let mode = fs::metadata(setup.dir().join(kept[0])).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_backup_restores_to_everything_but_counters() {
    let setup = Setup::new();
    let backups = setup.start(1).unwrap();
    setup.wait(&backups);

    let backup = fs::read(setup.dir().join("klinky-2024-01-15T14-30-00Z.jsonl")).unwrap();
    let restored = open(&setup.temp.path().join("restored"), Duration::ZERO);
    dump::restore(&restored, backup.as_slice(), &author()).unwrap();

    let all = |store: &Store| {
        let mut out = Vec::new();
        dump::write(store, &DumpFilter::default(), at(START), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let (before, after) = (all(&setup.store), all(&restored));
    let without_counters: Vec<&str> =
        rows(&before).into_iter().filter(|row| !row.contains(r#""kind":"counter""#)).collect();
    assert_eq!(rows(&after), without_counters);
    assert_eq!(without_counters.len(), 1 + 20 + 20);
}

#[test]
fn a_young_backup_is_not_made_again_at_the_start_and_one_of_the_future_puts_nothing_off() {
    let setup = Setup::new();
    setup.put("klinky-2024-01-15T14-00-00Z.jsonl");
    setup.put("klinky-2031-01-01T00-00-00Z.jsonl");
    let before = names(&setup.dir());

    let mut backups = setup.start(24).unwrap();
    backups.stop();
    assert_eq!(names(&setup.dir()), before);
    let newest = backups.totals().newest_secs();
    assert_eq!(Ok(newest), u64::try_from(at("2024-01-15T14:00:00Z").as_secs()));

    let backups = setup.start(24).unwrap();
    setup.clock.set(at("2024-01-15T15:00:00Z"));
    setup.wait(&backups);
    assert!(setup.dir().join("klinky-2024-01-15T15-00-00Z.jsonl").is_file());
}

#[test]
fn an_old_backup_that_is_not_removed_makes_no_failure_of_the_new_one() {
    let setup = Setup::new();
    // As a directory, it cannot be removed.
    let stuck = setup.dir().join("klinky-2024-01-01T00-00-00Z.jsonl");
    fs::create_dir_all(stuck).unwrap();

    let backups = setup.start(1).unwrap();
    setup.wait(&backups);
    setup.clock.advance(HOUR);
    setup.wait(&backups);

    assert_eq!(names(&setup.dir()), ["klinky-2024-01-01T00-00-00Z.jsonl", "klinky-2024-01-15T15-30-00Z.jsonl"]);
    assert_eq!(backups.totals().failures(), 0);
}

#[test]
fn backups_of_a_clock_that_ran_ahead_take_no_place_from_others() {
    let setup = Setup::new();
    setup.put("klinky-2031-01-01T00-00-00Z.jsonl");
    setup.put("klinky-2031-01-01T01-00-00Z.jsonl");

    let backups = setup.start(2).unwrap();
    setup.wait(&backups);
    setup.clock.advance(HOUR);
    setup.wait(&backups);

    let now = ["klinky-2024-01-15T14-30-00Z.jsonl", "klinky-2024-01-15T15-30-00Z.jsonl"];
    assert_eq!(names(&setup.dir())[..2], now);
    assert_eq!(names(&setup.dir()).len(), 4);
}

#[test]
fn a_clock_that_was_set_back_does_not_stop_backups() {
    let setup = Setup::new();
    let backups = setup.start(1).unwrap();
    setup.wait(&backups);

    setup.clock.set(at("2024-01-10T00:00:00Z"));
    setup.wait(&backups);

    // The newest by name is another one; what was just written stays all the same.
    assert!(setup.dir().join("klinky-2024-01-10T00-00-00Z.jsonl").is_file());
}

#[test]
fn a_backup_that_fails_is_counted_leaves_the_others_alone_and_is_tried_again() {
    let setup = Setup::new();
    setup.put("klinky-2024-01-01T00-00-00Z.jsonl");
    // No file can take its place, not even that of root.
    fs::create_dir(setup.dir().join("klinky-backup.new")).unwrap();

    let backups = setup.start(1).unwrap();
    wait_until("a backup fails", || backups.totals().failures() > 0);
    assert_eq!(names(&setup.dir()), ["klinky-2024-01-01T00-00-00Z.jsonl", "klinky-backup.new"]);
    fs::remove_dir(setup.dir().join("klinky-backup.new")).unwrap();
    setup.clock.advance(Duration::from_secs(60));
    setup.wait(&backups);

    assert_eq!(names(&setup.dir()), ["klinky-2024-01-15T14-31-00Z.jsonl"]);
    assert_eq!(backups.totals().failures(), 1);
}

#[test]
fn what_a_killed_server_left_half_written_is_replaced() {
    let setup = Setup::new();
    setup.put("klinky-backup.new");

    let backups = setup.start(1).unwrap();
    setup.wait(&backups);

    assert_eq!(names(&setup.dir()), ["klinky-2024-01-15T14-30-00Z.jsonl"]);
}

#[test]
fn two_servers_do_not_share_a_directory_of_backups() {
    let setup = Setup::new();
    let first = setup.start(1).unwrap();

    let second = setup.start(1);

    let message = second.err().expect("it started").to_string();
    let shown = message.replace(setup.dir().to_str().unwrap(), "DIR");
    assert_eq!(shown, "DIR is where another klinky server keeps its backups; name another with --backup-dir");
    drop(first);
    assert!(setup.start(1).is_ok());
}

#[test]
fn a_server_backs_up_says_so_and_shows_it_in_its_metrics() {
    let temp = tempfile::tempdir().unwrap();
    let backups = temp.path().join("backups");
    let flags = ["--backup-dir", backups.to_str().unwrap(), "--backup-every", "1h", "--backup-keep", "2"];
    let process = Process::serve(&temp.path().join("db"), &flags);
    let metric = |name: &str| {
        let metrics = process.admin.exchange("GET /metrics").body;
        let line = metrics.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{metrics}"));
        line.split(' ').nth(1).unwrap().parse::<u64>().unwrap()
    };

    wait_until("the metrics show a backup", || metric("klinky_backup_newest_timestamp_seconds ") > 0);

    assert_eq!(metric("klinky_backup_failures_total "), 0);
    assert_eq!(fs::metadata(&backups).unwrap().permissions().mode() & 0o777, 0o700);
    let (names, log) = (names(&backups), process.stop());
    assert_eq!(names.len(), 1);
    assert!(log.contains("backed up") && log.contains(&names[0]), "{log}");
}

#[test]
fn a_server_without_backups_has_no_metrics_of_them() {
    let temp = tempfile::tempdir().unwrap();
    let process = Process::serve(temp.path(), &[]);

    assert!(!process.admin.exchange("GET /metrics").body.contains("backup"));
}

#[test]
fn a_directory_of_backups_that_cannot_be_used_is_refused_before_the_server_listens() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("file");
    fs::write(&file, "mine").unwrap();
    let refused = |backup_dir: &Path, flags: &[&str]| {
        let mut command = klinky(&["serve", "--data-dir", temp.path().join("db").to_str().unwrap()]);
        let ended = run(command.args(["--backup-dir", backup_dir.to_str().unwrap()]).args(flags));
        (ended.code, ended.stderr.replace(temp.path().to_str().unwrap(), "DIR"))
    };

    let (code, message) = refused(&file, &[]);
    assert_eq!(code, Some(1));
    insta::assert_snapshot!(message, @"klinky: cannot use DIR/file for backups: make it writable and make room there, or name another with --backup-dir: File exists (os error 17)");
    let (code, message) = refused(&temp.path().join("db/backups"), &["--backup-every", "1s", "--backup-keep", "0"]);
    assert_eq!(code, Some(2));
    insta::assert_snapshot!(message, @r#"
    klinky: --backup-every: must be 10s to 30days, such as 1h or 30min, got "1s"
    klinky: --backup-keep: must be 1 to 10000, got "0"
    klinky: --backup-dir: must lie outside of the data directory, got DIR/db/backups
    "#);
}

#[test]
fn a_directory_of_backups_within_the_data_directory_is_refused_whichever_way_it_is_reached() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    fs::create_dir(&data).unwrap();
    symlink("data", temp.path().join("link")).unwrap();
    let refused = |data_dir: &str, backup_dir: &str| {
        let [data_dir, backup_dir] = [data_dir, backup_dir].map(|dir| temp.path().join(dir));
        let mut command = klinky(&["serve", "--data-dir", data_dir.to_str().unwrap()]);
        // So that nothing is started.
        let ended = run(command.args(["--backup-dir", backup_dir.to_str().unwrap(), "--workers", "0"]));
        assert_eq!(ended.code, Some(2));
        ended.stderr.contains("--backup-dir: must lie outside of the data directory")
    };

    for (data_dir, backup_dir) in [
        ("data", "link/new"),
        ("link", "data/new"),
        ("link/db", "data/db/new"),
        ("data", "new/../data/new"),
        ("data/new/..", "link/backups"),
    ] {
        assert!(refused(data_dir, backup_dir), "{data_dir} {backup_dir}");
    }
    for (data_dir, backup_dir) in
        [("data", "new"), ("link/db", "link/new"), ("data", "link/../new"), ("data", "database")]
    {
        assert!(!refused(data_dir, backup_dir), "{data_dir} {backup_dir}");
    }
}

#[test]
fn the_demo_leaves_the_backups_of_real_data_alone() {
    let temp = tempfile::tempdir().unwrap();
    let backups = temp.path().join("backups");
    let mut command = klinky(&["serve", "--demo"]);
    let process = Process::start(command.env("KLINKY_BACKUP_DIR", &backups).stdout(std::process::Stdio::null()));

    process.stop();

    assert!(!backups.exists());
}
