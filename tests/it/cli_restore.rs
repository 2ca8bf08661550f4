//! `klinky restore` as a process: what it reads, and what it leaves. What it restores is in `dumps.rs` and `cli_dump.rs`.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;

use crate::process::{KLINKY, big_dump, find_program, klinky, rows, run, run_with_input, without_variables};

/// Restores what is no dump.
fn fail_to_restore(dir: &Path) {
    let ended = run_with_input(&mut klinky(&["restore", "--data-dir", dir.to_str().unwrap()]), b"x\n");
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
}

#[test]
fn a_restore_that_fails_removes_the_directories_that_it_made_and_no_others() {
    let temp = tempfile::tempdir().unwrap();
    let mine = temp.path().join("mine");
    fs::create_dir(&mine).unwrap();

    fail_to_restore(&temp.path().join("new/below/deeper/db"));
    fail_to_restore(&mine.join("below/db"));
    let mut relative = klinky(&["restore", "--data-dir", "new/../other/db"]);
    let ended = run_with_input(relative.current_dir(temp.path()), b"x\n");

    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let left: Vec<_> = fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["mine"]);
    assert_eq!(fs::read_dir(mine).unwrap().count(), 0);
}

#[test]
fn a_restore_whose_summary_is_not_taken_says_that_it_is_done() {
    let temp = tempfile::tempdir().unwrap();
    let (file, dir) = (temp.path().join("dump.jsonl"), temp.path().join("db"));
    fs::write(&file, big_dump(2)).unwrap();
    let mut command = klinky(&["restore", file.to_str().unwrap(), "--data-dir", dir.to_str().unwrap()]);
    // A device that takes nothing.
    let full = File::options().write(true).open("/dev/full").unwrap();

    let ended = command.stdin(Stdio::null()).stdout(full).output().unwrap();

    assert_eq!(ended.status.code(), Some(0));
    let said = String::from_utf8(ended.stderr).unwrap().replace(dir.to_str().unwrap(), "DIR");
    insta::assert_snapshot!(said, @"klinky: restored 1 plans, 2 accounts, 2 keys, 2 counters and 0 links into DIR; standard output did not take this: No space left on device (os error 28)");
    let dumped = run(&mut klinky(&["dump", "--data-dir", dir.to_str().unwrap()]));
    assert_eq!(rows(&dumped.stdout), rows(&big_dump(2)));
}

#[test]
fn a_restore_without_a_dump_does_not_wait_for_one_from_a_terminal() {
    let Some(script) = find_program("script", "apt-get install bsdutils") else { return };
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("db");
    let line = format!("'{KLINKY}' restore --data-dir '{}'", dir.display());

    let ended = run(without_variables(script).args(["-qec", &line, "/dev/null"]));

    assert_eq!(ended.code, Some(2), "{}", ended.stdout);
    // The terminal's.
    insta::assert_snapshot!(ended.stdout.trim_end(), @"klinky: FILE: must name a dump, unless one comes on standard input, as from klinky restore < FILE");
    assert!(!dir.exists());
}
