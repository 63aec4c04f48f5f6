//! Counts of errors: lines that were added to error logs since the last check, and exceptions that
//! apps report.
//!
//! A thread reads the files while an app uses this, because a slow disk must not block the event
//! loop.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use ostler_core::logs::files::own_stream;

use super::Limits;
use crate::engine::Ctx;
use crate::platform::rights::Rights;

/// Most bytes that one check reads of a file. The rest is estimated from them.
const MOST_BYTES: u64 = 4 << 20;
const STACK_BYTES: usize = 128 << 10;

/// File, and the position up to which it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ReadPosition {
    path: PathBuf,
    rights: Rights,
    inode: u64,
    at: u64,
}

/// Result of a check.
#[derive(Debug)]
struct ErrorCount {
    id: u32,
    inc: u32,
    place: ReadPosition,
    lines: u64,
}

type Batch = Vec<(u32, u32, ReadPosition)>;

/// Error logs of all apps whose errors are counted.
#[derive(Debug, Default)]
pub(crate) struct ErrorLogs {
    all: BTreeMap<u32, (u32, ReadPosition)>,
    reader: Option<Reader>,
}

#[derive(Debug)]
struct Reader {
    to_read: SyncSender<Batch>,
    counted: Receiver<Vec<ErrorCount>>,
    busy: bool,
}

impl ErrorLogs {
    /// Starts to read the file of this process from this position. Without a file, only exceptions
    /// are counted.
    pub(super) fn begin(&mut self, id: u32, inc: u32, rights: Rights, file: Option<(String, u64)>) {
        let readable = file.filter(|(path, _)| own_stream(path).is_none() && !crate::logs::is_nowhere(path.as_ref()));
        if let Some((path, at)) = readable {
            let path = PathBuf::from(path);
            let inode = std::fs::metadata(&path).map_or(0, |meta| meta.ino());
            self.all.insert(id, (inc, ReadPosition { path, rights, inode, at }));
        }
    }

    pub(super) fn end(&mut self, id: u32) {
        self.all.remove(&id);
        if self.all.is_empty() {
            // Its thread exits when its channel closes.
            self.reader = None;
        }
    }

    /// Takes the counts, and starts the next check.
    fn next_counts(&mut self) -> Vec<(u32, u32, u64)> {
        if self.all.is_empty() {
            return Vec::new();
        }
        let reader = self.reader.get_or_insert_with(Reader::begin);
        let mut found = Vec::new();
        while let Ok(counted) = reader.counted.try_recv() {
            reader.busy = false;
            for ErrorCount { id, inc, place, lines } in counted {
                if let Some((known, present)) = self.all.get_mut(&id).filter(|(known, _)| *known == inc) {
                    *present = place;
                    found.push((id, *known, lines));
                }
            }
        }
        if !reader.busy {
            let batch = self.all.iter().map(|(id, (inc, place))| (*id, *inc, place.clone())).collect();
            match reader.to_read.try_send(batch) {
                Ok(()) => reader.busy = true,
                Err(_) => self.reader = None,
            }
        }
        found
    }
}

impl Reader {
    fn begin() -> Self {
        let (to_read, batches) = sync_channel::<Batch>(1);
        let (sender, counted) = sync_channel(1);
        let reading = move || {
            for batch in batches {
                let look = |(id, inc, place): (u32, u32, ReadPosition)| {
                    let (place, lines) = count(place);
                    ErrorCount { id, inc, place, lines }
                };
                if sender.send(batch.into_iter().map(look).collect()).is_err() {
                    return;
                }
            }
        };
        // If there is no thread, no lines are counted. The next check tries again, because the
        // channel is closed.
        drop(std::thread::Builder::new().name("error-logs".into()).stack_size(STACK_BYTES).spawn(reading));
        Self { to_read, counted, busy: false }
    }
}

/// Counts the lines that were added since the last check.
fn count(mut place: ReadPosition) -> (ReadPosition, u64) {
    let Ok(file) = place.rights.read(&place.path) else { return (place, 0) };
    let Ok(meta) = file.metadata() else { return (place, 0) };
    if !meta.is_file() {
        return (place, 0);
    }
    // The file was rotated or emptied.
    if meta.ino() != place.inode || meta.len() < place.at {
        (place.inode, place.at) = (meta.ino(), 0);
    }
    let fresh = meta.len() - place.at;
    let lines = lines_of(&file, place.at, fresh.min(MOST_BYTES));
    let lines = if fresh > MOST_BYTES { (u128::from(lines) * u128::from(fresh) / u128::from(MOST_BYTES)) as u64 } else { lines };
    place.at = meta.len();
    (place, lines)
}

fn lines_of(file: &File, mut at: u64, length: u64) -> u64 {
    let end = at.saturating_add(length);
    let mut buffer = vec![0; 64 << 10];
    let mut lines = 0;
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        match file.read_at(&mut buffer[..want], at) {
            Ok(0) | Err(_) => break,
            Ok(n) => {
                lines += memchr::memchr_iter(b'\n', &buffer[..n]).count() as u64;
                at += n as u64;
            }
        }
    }
    lines
}

impl Limits {
    /// Starts a check of all error logs.
    pub(super) fn count_errors(&mut self, ctx: &mut Ctx) {
        for (id, inc, lines) in self.error_logs.next_counts() {
            if self.watched.get(&id).is_some_and(|watched| watched.inc == inc) {
                self.add_errors(ctx, id, lines);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn only_new_error_lines_are_counted() {
        let path = std::env::temp_dir().join(format!("ostler-errors-{}", std::process::id()));
        let append =
            |text: &str| std::fs::OpenOptions::new().append(true).create(true).open(&path).unwrap().write_all(text.as_bytes()).unwrap();
        append("old\nold\n");
        let inode = std::fs::metadata(&path).unwrap().ino();
        let (place, lines) = count(ReadPosition { path: path.clone(), rights: Rights::default(), inode, at: 8 });
        assert_eq!((lines, place.at), (0, 8));
        append("one\ntwo\nthr");
        let (place, lines) = count(place);
        assert_eq!(lines, 2);
        append("ee\n");
        let (place, lines) = count(place);
        assert_eq!(lines, 1);
        std::fs::write(&path, "new\n").unwrap();
        let (place, lines) = count(place);
        assert_eq!((lines, place.at), (1, 4), "emptied and written anew");
        append(&"x\n".repeat(5 << 20));
        let (_, lines) = count(place.clone());
        assert_eq!(lines, 5 << 20, "the rest is like what was read");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(count(place).1, 0);
    }
}
