//! File of the outbox: `<home>/web/alerts/outbox.log` (0600). `ostler_alerts::journal` defines its
//! format; this module reads it, appends to it, and compacts it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ostler_alerts::journal::{JournalDamage, JournalRecord, OutboxContents, encode};
use ostler_sys::fs::replace::{Durability, Writers, replace};

/// Size from which the file is compacted. It grows to twice the compacted size if that is larger.
const FULL: u64 = 1 << 20;
/// Maximum size of a file that is read; a larger file is not an outbox.
const MAX_BYTES: u64 = 64 << 20;

/// Outbox file and its contents.
#[derive(Debug)]
pub(super) struct Outbox {
    path: PathBuf,
    file: Option<File>,
    length: u64,
    full: u64,
    pub(super) contents: OutboxContents,
    /// Disk problem; reported once.
    pub(super) trouble: Option<String>,
}

fn path_of(home: &Path) -> PathBuf {
    crate::settings::names::folder(home).join("alerts").join("outbox.log")
}

/// Returns the contents of a home's file without changing it.
pub(super) fn read(home: &Path) -> OutboxContents {
    bytes(&path_of(home)).map(|bytes| OutboxContents::read(&bytes).0).unwrap_or_default()
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Outbox {
    /// Opens the outbox of a home. Invalid content is moved to a file beside it and reported on
    /// standard error; the call never fails.
    pub(super) fn open(home: &Path) -> Self {
        let path = path_of(home);
        let mut outbox = Self { path, file: None, length: 0, full: FULL, contents: OutboxContents::default(), trouble: None };
        if let Some(folder) = outbox.path.parent() {
            let made = DirBuilder::new().mode(0o700).recursive(true).create(folder);
            outbox.record_result(made, "create the folder of");
        }
        let bytes = match bytes(&outbox.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                outbox.record_result(Err(error), "read");
                return outbox;
            }
        };
        let (contents, fault) = if bytes.len() as u64 > MAX_BYTES {
            (OutboxContents::default(), Some(JournalDamage::Unknown))
        } else {
            OutboxContents::read(&bytes)
        };
        outbox.contents = contents;
        match fault {
            None => outbox.length = bytes.len() as u64,
            Some(JournalDamage::Unknown) => {
                let aside = outbox.path.with_extension(format!("set-aside-{}", crate::clock::now_ms()));
                log_line(&format!("\"{}\" is invalid and was renamed to \"{}\"", outbox.path.display(), aside.display()));
                let moved = std::fs::rename(&outbox.path, aside);
                outbox.record_result(moved, "set aside");
            }
            Some(JournalDamage::Torn { good }) => {
                let kept = replace(&outbox.path.with_extension("torn"), &bytes[good..], Durability::Process, Writers::One);
                log_line(&format!("the end of \"{}\" was incomplete and was moved to a file beside it", outbox.path.display()));
                outbox.record_result(kept.map_err(|error| error.source), "save the incomplete end of");
                outbox.compact();
            }
        }
        outbox
    }

    /// Applies a record. With `at_once`, it is on disk before this returns, even in case of a power
    /// failure. A failed write is reported, and the messages are sent anyway.
    pub(super) fn append(&mut self, record: JournalRecord, at_once: bool) {
        let line = encode(&record);
        self.contents.apply(record);
        let written = self.write(&line, at_once);
        match written {
            // The file is writable again, so the earlier problem is over.
            Ok(()) => self.trouble = None,
            failed => self.record_result(failed, "write"),
        }
        if self.length > self.full {
            self.compact();
        }
    }

    fn write(&mut self, line: &[u8], at_once: bool) -> io::Result<()> {
        if self.file.is_none() {
            let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
            // Removes a partial record that was written on a full disk.
            file.set_len(self.length)?;
            self.file = Some(file);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let head = if self.length == 0 { ostler_alerts::journal::HEAD.as_bytes() } else { b"" };
        let whole = [head, line].concat();
        let result = file.write_all(&whole).and_then(|()| if at_once { file.sync_data() } else { Ok(()) });
        match result {
            Ok(()) => self.length += whole.len() as u64,
            Err(_) => self.file = None,
        }
        result
    }

    /// Compacts the file: rewrites it with only the current contents.
    fn compact(&mut self) {
        let bytes = self.contents.write();
        self.file = None;
        match replace(&self.path, &bytes, Durability::Power, Writers::One) {
            Ok(()) => {
                self.length = bytes.len() as u64;
                self.full = FULL.max(2 * self.length);
            }
            Err(error) => {
                self.full = self.full.saturating_mul(2);
                self.record_result(Err(error.source), "replace");
            }
        }
    }

    fn record_result(&mut self, result: io::Result<()>, what: &str) {
        match result {
            Ok(()) => {}
            Err(error) => {
                let trouble = format!("cannot {what} \"{}\": {error}", self.path.display());
                if self.trouble.as_ref() != Some(&trouble) {
                    log_line(&trouble);
                    self.trouble = Some(trouble);
                }
            }
        }
    }
}

fn log_line(text: &str) {
    let _ = writeln!(io::stderr(), "alerts: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_alerts::engine::EngineState;
    use ostler_alerts::message::Message;

    fn home(name: &str) -> PathBuf {
        let home = std::env::temp_dir().join(format!("ostler-outbox-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&home);
        std::fs::create_dir_all(home.join("web")).unwrap();
        home
    }

    fn step(n: u64) -> JournalRecord {
        let messages = vec![Message::test("ops", "box", format!("1-{n}"), n)];
        JournalRecord::Step { state: Box::new(EngineState::new(n)), messages, changes: vec![] }
    }

    #[test]
    fn reopened_outbox_has_same_messages_and_bounded_file() {
        let home = home("small");
        let mut outbox = Outbox::open(&home);
        for n in 0..5000 {
            outbox.append(step(n), false);
            if n % 2 == 0 {
                outbox.append(JournalRecord::Done { id: format!("1-{n}"), fault: None, at: n }, false);
            }
        }
        assert!(outbox.length < 3 * FULL, "{}", outbox.length);
        let again = Outbox::open(&home);
        assert_eq!(again.contents.waiting, outbox.contents.waiting);
        assert_eq!(again.contents.state, outbox.contents.state);
        std::fs::remove_dir_all(&home).unwrap();
    }

    #[test]
    fn torn_end_and_unknown_version_are_set_aside() {
        let home = home("torn");
        let mut outbox = Outbox::open(&home);
        outbox.append(step(1), true);
        let path = path_of(&home);
        let mut bytes = std::fs::read(&path).unwrap();
        let whole = bytes.len();
        bytes.extend(b"01234567 {\"step\":{\"sta");
        std::fs::write(&path, &bytes).unwrap();
        let mut outbox = Outbox::open(&home);
        assert_eq!(outbox.contents.waiting.len(), 1);
        outbox.append(step(2), true);
        assert_eq!(Outbox::open(&home).contents.waiting.len(), 2);
        assert_eq!(std::fs::read(path.with_extension("torn")).unwrap(), bytes[whole..]);
        std::fs::write(&path, "ostler-alerts 99\nwhat comes\n").unwrap();
        let mut outbox = Outbox::open(&home);
        assert_eq!(outbox.contents, OutboxContents::default());
        outbox.append(step(3), true);
        assert_eq!(Outbox::open(&home).contents.waiting.len(), 1);
        let kept = std::fs::read_dir(path.parent().unwrap())
            .unwrap()
            .any(|entry| entry.unwrap().file_name().to_string_lossy().contains("set-aside"));
        assert!(kept);
        std::fs::remove_dir_all(&home).unwrap();
    }

    #[test]
    fn write_failure_is_reported_and_outbox_keeps_working() {
        let home = home("full");
        std::fs::write(home.join("web/alerts"), "no folder").unwrap();
        let mut outbox = Outbox::open(&home);
        outbox.append(step(1), true);
        assert_eq!(outbox.contents.waiting.len(), 1);
        assert!(outbox.trouble.is_some());
        std::fs::remove_file(home.join("web/alerts")).unwrap();
        std::fs::create_dir(home.join("web/alerts")).unwrap();
        outbox.append(step(2), true);
        assert_eq!(outbox.trouble, None, "the problem is over");
        std::fs::remove_dir_all(&home).unwrap();
    }
}
