//! What commands do with a data directory that they may not read, or may not write to.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use crate::process::{Process, big_dump, klinky, klinky_bound_by_modes, rows, run, run_with_input};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_data_directory_that_may_not_be_read_is_not_taken_for_one_that_is_not_there() {
    let temp = tempfile::tempdir().unwrap();
    let parent = temp.path().join("parent");
    let dir = parent.join("db");
    Process::serve(&dir, &[]).stop();
    let user = rustix::process::geteuid().as_raw();
    let wanted = format!(
        "klinky: user {user} may not read {}: run klinky as the user that owns it, or with sudo\n",
        dir.display()
    );

    for closed in [&dir, &parent] {
        set_mode(closed, 0);
        for command in [&["dump"][..], &["verify"], &["token", "018d0d5e-0001-7000-8000-000000000000"]] {
            let args = [command, &["--data-dir", dir.to_str().unwrap()]].concat();
            let Some(mut command) = klinky_bound_by_modes(&args) else { return };

            let ended = run(&mut command);

            assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(1), "", wanted.as_str()));
        }
        set_mode(closed, 0o700);
    }
}

#[test]
fn a_restore_into_what_may_not_be_read_or_is_no_directory_names_it() {
    let temp = tempfile::tempdir().unwrap();
    let (closed, file) = (temp.path().join("closed"), temp.path().join("file"));
    fs::create_dir(&closed).unwrap();
    set_mode(&closed, 0);
    fs::write(&file, "mine").unwrap();
    for (dir, reason) in [
        (closed.clone(), "Permission denied (os error 13)"),
        (closed.join("db"), "Permission denied (os error 13)"),
        (file.clone(), "Not a directory (os error 20)"),
        (file.join("db"), "Not a directory (os error 20)"),
    ] {
        let dir = dir.to_str().unwrap();
        let Some(mut command) = klinky_bound_by_modes(&["restore", "--data-dir", dir]) else { return };

        let ended = run_with_input(&mut command, big_dump(1).as_bytes());

        let advice = "make it writable, or name another with --data-dir";
        assert_eq!(ended.stderr, format!("klinky: cannot use {dir} as the data directory: {advice}: {reason}\n"));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    }
    set_mode(&closed, 0o700);
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn a_store_that_may_be_read_only_is_verified() {
    let temp = tempfile::tempdir().unwrap();
    Process::serve(temp.path(), &[]).stop();
    let chmod = |mode: &str| {
        assert!(Command::new("chmod").args(["-R", mode]).arg(temp.path()).status().unwrap().success());
    };
    chmod("a-w");
    let verify = klinky_bound_by_modes(&["verify", "--data-dir", temp.path().to_str().unwrap()]);

    let ended = verify.map(|mut command| run(&mut command));

    chmod("u+w");
    let Some(ended) = ended else { return };
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
    assert!(ended.stdout.starts_with("0 faults in 4 plans, "), "{}", ended.stdout);
}

#[test]
fn root_is_told_that_what_it_writes_in_anothers_data_directory_is_its_own() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root may give files away");
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    Process::serve(temp.path(), &[]).stop();
    let dump = || run(&mut klinky(&["dump", "--data-dir", temp.path().to_str().unwrap()]));
    let own = dump();
    chown(temp.path(), Some(65534), Some(65534)).unwrap();

    let anothers = dump();

    let said = anothers.stderr.replace(temp.path().to_str().unwrap(), "DIR");
    insta::assert_snapshot!(said, @"klinky: warning: DIR belongs to user 65534, whose server may not open it after root: finish with `chown -R --reference=DIR DIR`");
    assert_eq!((own.code, own.stderr.as_str(), anothers.code), (Some(0), "", Some(0)));
    assert_eq!(rows(&own.stdout), rows(&anothers.stdout));
}
