//! Files, behind a seam: full disks and torn writes are played in tests.

use std::cell::RefCell;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

/// A folder of files.
pub trait Disk {
    /// Names and sizes.
    ///
    /// # Errors
    /// What the system says, here and below.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;
    /// At most so many bytes from there on; fewer at the end of the file.
    ///
    /// # Errors
    /// As above.
    fn read(&self, name: &str, at: u64, most: usize) -> io::Result<Vec<u8>>;
    /// Writes there; a file that is not there is made.
    ///
    /// # Errors
    /// As above; a part may have been written.
    fn write(&mut self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts to this length.
    ///
    /// # Errors
    /// As above.
    fn cut(&mut self, name: &str, length: u64) -> io::Result<()>;
    /// Gives another name, in place of what had it.
    ///
    /// # Errors
    /// As above.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Removes.
    ///
    /// # Errors
    /// As above.
    fn remove(&mut self, name: &str) -> io::Result<()>;
    /// Waits until it is on the disk.
    ///
    /// # Errors
    /// As above.
    fn sync(&mut self, name: &str) -> io::Result<()>;
}

/// A folder of the system, for its owner alone.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// The file that was read last.
    open: RefCell<Option<(String, File)>>,
}

impl Folder {
    /// A folder that is made if it is not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn make(path: PathBuf) -> io::Result<Self> {
        DirBuilder::new().mode(0o700).recursive(true).create(&path)?;
        Ok(Self::existing(path))
    }

    /// A folder to read.
    pub fn existing(path: PathBuf) -> Self {
        Self { path, open: RefCell::new(None) }
    }

    /// Forgets the file that was read last: its name may be another's now.
    fn forget(&mut self) {
        self.open.get_mut().take();
    }
}

impl Disk for Folder {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            // What is no file, or has a name that is no text, is none of ours; a link is none either.
            if let (Ok(name), Ok(facts)) = (entry.file_name().into_string(), entry.metadata())
                && facts.is_file()
            {
                files.push((name, facts.len()));
            }
        }
        Ok(files)
    }

    fn read(&self, name: &str, at: u64, most: usize) -> io::Result<Vec<u8>> {
        let mut open = self.open.borrow_mut();
        if open.as_ref().is_none_or(|(known, _)| known != name) {
            *open = Some((name.to_owned(), File::open(self.path.join(name))?));
        }
        let Some((_, file)) = open.as_ref() else { return Ok(Vec::new()) };
        let there = usize::try_from(file.metadata()?.len().saturating_sub(at)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; most.min(there)];
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, at + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(done);
        Ok(bytes)
    }

    fn write(&mut self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(self.path.join(name))?;
        file.write_all_at(bytes, at)
    }

    fn cut(&mut self, name: &str, length: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.path.join(name))?.set_len(length)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.forget();
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.forget();
        std::fs::remove_file(self.path.join(name))
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        File::open(self.path.join(name))?.sync_data()
    }
}
