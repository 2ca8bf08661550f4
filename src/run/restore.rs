//! `klinky restore`: fills a new or an empty data directory, completely or not at all.

use std::fs;
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

use super::{Failure, complain, open, open_file};
use crate::clock::{Clock, SystemClock};
use crate::config::RestoreArgs;
use crate::dump;
use crate::plans::first_plans;
use crate::store::{Author, OpenError};

pub(super) fn restore(args: &RestoreArgs) -> Result<(), Failure> {
    let input = open_input(args)?;
    let dir = args.data_dir.as_path();
    let before = Before::of(dir).map_err(|source| OpenError::Unusable { dir: dir.to_owned(), source })?;
    let store = open(dir, &first_plans()?).inspect_err(|_refused| before.remove_made_dirs())?;
    let by = Author { actor: "command line".to_owned(), request_id: "-".to_owned(), at: SystemClock.now() };
    let restored = dump::restore(&store, input, &by);
    let closed = store.close();
    let removed = match &restored {
        // A server that started on it would refuse every key. The store is still held: none starts meanwhile.
        Err(_) if before.was_empty && store.is_new() => remove_all(dir).inspect(|()| before.remove_made_dirs()),
        _ => Ok(()),
    };
    drop(store);
    let dir = dir.display();
    if let (Err(error), Err(left)) = (&restored, removed) {
        return Err(format!("{error}; and the empty store in {dir} could not be removed: {left}").into());
    }
    let rows = restored?;
    closed?;
    let summary = format!(
        "restored {} plans, {} accounts, {} keys, {} counters and {} links into {dir}",
        rows.plans, rows.accounts, rows.keys, rows.counters, rows.links
    );
    if let Err(error) = writeln!(io::stdout(), "{summary}") {
        // It is no failure of the restore: who tried again would be refused.
        complain(&format!("{summary}; standard output did not take this: {error}"));
    }
    Ok(())
}

/// The dump. A terminal has none, and would be waited for in silence.
fn open_input(args: &RestoreArgs) -> Result<Box<dyn BufRead>, Failure> {
    match &args.file {
        Some(path) => Ok(Box::new(open_file(path)?)),
        None if io::stdin().is_terminal() => {
            let fault = "FILE: must name a dump, unless one comes on standard input, as from klinky restore < FILE";
            Err(Failure::Usage(vec![fault.to_owned()]))
        }
        None => Ok(Box::new(io::stdin().lock())),
    }
}

/// What was there before a restore began.
struct Before<'d> {
    /// The data directory and those above it that were not there, the innermost first.
    absent: Vec<&'d Path>,
    was_empty: bool,
}

impl<'d> Before<'d> {
    fn of(dir: &'d Path) -> io::Result<Self> {
        if fs::exists(dir)? {
            return Ok(Self { absent: Vec::new(), was_empty: fs::read_dir(dir)?.next().is_none() });
        }
        let is_absent = |dir: &&Path| !dir.as_os_str().is_empty() && fs::exists(dir).is_ok_and(|is_there| !is_there);
        Ok(Self { absent: dir.ancestors().take_while(is_absent).collect(), was_empty: true })
    }

    /// Removes the directories that were not there, as far as they are empty: in the others is what somebody else has made.
    fn remove_made_dirs(&self) {
        for dir in &self.absent {
            let _is_in_use = fs::remove_dir(dir);
        }
    }
}

/// Removes all that is in a directory.
fn remove_all(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
    }
    Ok(())
}
