//! Files beside sled that are only appended to, for what comes in numbers that a tree is too slow for: sled writes all
//! of a leaf again with every few records of it, four times the bytes in all.
//!
//! They are numbered in the order in which they are written, and each holds records in frames. A record says by itself
//! whether it is whole.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::codec;

/// Bytes of a file that are read at a time.
const READ_BYTES: usize = 256 * 1024;

/// The files, for the one who writes them.
pub(super) struct JournalFiles {
    dir: PathBuf,
    /// The one that is written.
    current: Option<Current>,
    /// The number of the last one.
    last: u64,
    unsynced: Arc<Unsynced>,
}

struct Current {
    file: Arc<File>,
    bytes: u64,
}

/// Files that were written since they were synced last.
#[derive(Default)]
pub(super) struct Unsynced(Mutex<Vec<Arc<File>>>);

/// Where a record stands: it prints as `3.17`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// The number of its file.
    pub(super) file: u64,
    /// How many are before it there.
    at: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.file, self.at)
    }
}

impl JournalFiles {
    /// Those in `dir`, which is made if it is absent; new ones get numbers above `used`, too. What is written to them is on
    /// disk once `unsynced` was synced.
    pub(super) fn open(dir: PathBuf, used: u64, unsynced: Arc<Unsynced>) -> io::Result<Self> {
        if !dir.is_dir() {
            DirBuilder::new().mode(0o700).create(&dir)?;
            dir.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())?;
        }
        let last = numbers(&dir)?.last().copied().unwrap_or(0).max(used);
        Ok(Self { dir, current: None, last, unsynced })
    }

    /// Writes a record, whole or not at all.
    pub(super) fn append(&mut self, record: &[u8]) -> io::Result<()> {
        let framed = codec::frame(record).map_err(io::Error::other)?;
        let mut current = match self.current.take() {
            Some(current) => current,
            None => self.begin()?,
        };
        if let Err(error) = (&*current.file).write_all(&framed) {
            // What was written of it is taken off again; if that fails too, a new file is begun.
            current.file.set_len(current.bytes)?;
            self.current = Some(current);
            return Err(error);
        }
        // After the write: a commit that began before it does not have it.
        self.unsynced.note(&current.file);
        current.bytes = current.bytes.saturating_add(u64::try_from(framed.len()).unwrap_or(u64::MAX));
        self.current = Some(current);
        Ok(())
    }

    fn begin(&mut self) -> io::Result<Current> {
        self.last = self.last.saturating_add(1);
        let path = self.dir.join(self.last.to_string());
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
        // The file is there after a power cut once its directory is on disk.
        File::open(&self.dir)?.sync_all()?;
        Ok(Current { file: Arc::new(file), bytes: 0 })
    }

    /// Ends the file that is written. Answers its number: what is written from now on comes into later ones.
    pub(super) fn end(&mut self) -> u64 {
        self.current = None;
        self.last
    }

    /// Removes the files up to this number, the oldest first; a power cut does not bring them back.
    pub(super) fn remove_until(&self, last: u64) -> io::Result<()> {
        let mut done = numbers(&self.dir)?.into_iter().take_while(|number| *number <= last);
        done.try_for_each(|number| fs::remove_file(self.dir.join(number.to_string())))?;
        File::open(&self.dir)?.sync_all()
    }
}

impl Unsynced {
    /// Makes all that was written so far durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        let files = std::mem::take(&mut *self.0.lock());
        let synced = files.iter().try_for_each(|file| file.sync_data());
        if synced.is_err() {
            self.0.lock().extend(files);
        }
        synced
    }

    fn note(&self, file: &Arc<File>) {
        let mut files = self.0.lock();
        if !files.iter().any(|noted| Arc::ptr_eq(noted, file)) {
            files.push(Arc::clone(file));
        }
    }
}

/// Has `take` take all records in `dir`, in the order in which they were written. Answers those that it refused as damaged,
/// and whether all could be read. The end of a file that it refused is not among them: that was being written when the
/// process or the machine stopped, and was never on disk as a whole.
pub(super) fn read<E>(
    dir: &Path,
    mut take: impl FnMut(Place, &[u8]) -> Result<(), E>,
) -> (Vec<(Place, E)>, io::Result<()>) {
    let mut refused = Vec::new();
    let read = numbers(dir).and_then(|numbers| {
        numbers.into_iter().try_for_each(|number| {
            let mut end = Vec::new();
            read_file(dir, number, |place, record| match take(place, record) {
                Ok(()) => refused.append(&mut end),
                Err(damage) => end.push((place, damage)),
            })
        })
    });
    (refused, read)
}

fn read_file(dir: &Path, number: u64, mut take: impl FnMut(Place, &[u8])) -> io::Result<()> {
    let file = File::open(dir.join(number.to_string()))?;
    let mut left = BufReader::with_capacity(READ_BYTES, &file).take(file.metadata()?.len());
    let (mut at, mut record) = (0_usize, Vec::new());
    while next_record(&mut left, &mut record)? {
        take(Place { file: number, at }, &record);
        at = at.saturating_add(1);
    }
    Ok(())
}

/// Reads the next record of a file; false where it ends before the record does, or goes on with zeros.
fn next_record<R: Read>(left: &mut io::Take<R>, record: &mut Vec<u8>) -> io::Result<bool> {
    let mut head = [0; codec::FRAME_HEAD_BYTES];
    record.clear();
    match left.read_exact(&mut head) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        read => read?,
    }
    let Some(length) = codec::framed_bytes(head).filter(|length| *length <= left.limit()) else { return Ok(false) };
    left.by_ref().take(length).read_to_end(record)?;
    Ok(true)
}

/// The numbers of the files in `dir`, in order. There may be none, and no directory: a store that was never open since
/// there are journals.
fn numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        found.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(dir: &Path) -> JournalFiles {
        JournalFiles::open(dir.join("journal"), 0, Arc::default()).unwrap()
    }

    /// The records; those that begin with `!` do not decode.
    fn found(dir: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let (refused, read) = read(&dir.join("journal"), |place, record| {
            let text = String::from_utf8(record.to_vec()).unwrap();
            if text.starts_with('!') {
                return Err(format!("damaged {text}"));
            }
            found.push((place, text));
            Ok(())
        });
        read.unwrap();
        found.extend(refused);
        found.sort_by_key(|(place, _text)| (place.file, place.at));
        found.into_iter().map(|(place, text)| format!("{place} {text}")).collect()
    }

    #[test]
    fn records_come_back_in_their_order_until_their_files_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = opened(dir.path());
        journal.append(b"a").unwrap();
        journal.append(b"b").unwrap();
        let first = journal.end();
        journal.append(b"c").unwrap();
        drop(journal);
        let mut journal = opened(dir.path());
        for number in 3..=10 {
            journal.append(b"d").unwrap();
            assert_eq!(journal.end(), number);
        }
        assert_eq!(found(dir.path())[..4], ["1.0 a", "1.1 b", "2.0 c", "3.0 d"]);
        assert_eq!(found(dir.path()).last().unwrap(), "10.0 d");

        journal.remove_until(first).unwrap();
        assert_eq!(found(dir.path())[0], "2.0 c");
        journal.remove_until(9).unwrap();
        assert_eq!(found(dir.path()), ["10.0 d"]);
        journal.remove_until(10).unwrap();
        let mut journal = JournalFiles::open(dir.path().join("journal"), 10, Arc::default()).unwrap();
        journal.append(b"e").unwrap();
        assert_eq!(found(dir.path()), ["11.0 e"], "no number comes again");
    }

    #[test]
    fn the_torn_end_of_a_file_is_passed_over_and_damage_before_it_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = opened(dir.path());
        for record in [b"a", b"!", b"b", b"!"] {
            journal.append(record).unwrap();
        }
        journal.end();
        journal.append(b"c").unwrap();
        for torn in [&[0, 0][..], &[0, 0, 0, 9, 1], &[0; 16], &[255; 16]] {
            let file = dir.path().join("journal/1");
            let whole = fs::read(&file).unwrap();
            fs::write(&file, [&whole, torn].concat()).unwrap();
            assert_eq!(found(dir.path()), ["1.0 a", "1.1 damaged !", "1.2 b", "2.0 c"], "{torn:?}");
            fs::write(&file, whole).unwrap();
        }
    }

    #[test]
    fn a_sync_is_of_what_was_written_since_the_last_one() {
        let dir = tempfile::tempdir().unwrap();
        let unsynced = Arc::new(Unsynced::default());
        let mut journal = JournalFiles::open(dir.path().join("journal"), 0, Arc::clone(&unsynced)).unwrap();
        journal.append(b"a").unwrap();
        journal.append(b"b").unwrap();
        journal.end();
        journal.append(b"c").unwrap();
        assert_eq!(unsynced.0.lock().len(), 2);

        unsynced.sync().unwrap();
        assert!(unsynced.0.lock().is_empty());

        journal.append(b"d").unwrap();
        assert_eq!(unsynced.0.lock().len(), 1);
        // The null device cannot be synced.
        unsynced.note(&Arc::new(File::open("/dev/null").unwrap()));
        assert!(unsynced.sync().is_err());
        assert_eq!(unsynced.0.lock().len(), 2, "they are tried again");
    }
}
