//! Access to files behind a trait, so that tests can simulate full disks and torn writes.

use std::cell::RefCell;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

/// Folder of files.
pub trait Disk {
    /// Returns names and sizes.
    ///
    /// # Errors
    /// Returns an error if the system call fails, as do all methods here.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;
    /// Reads at most `most` bytes from this offset, fewer at the end of the file.
    ///
    /// # Errors
    /// Returns an error if the system call fails.
    fn read(&self, name: &str, at: u64, most: usize) -> io::Result<Vec<u8>>;
    /// Writes at this offset and creates the file if it is missing.
    ///
    /// # Errors
    /// Returns an error if the system call fails; a part may have been written.
    fn write(&mut self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Truncates to this length.
    ///
    /// # Errors
    /// Returns an error if the system call fails.
    fn cut(&mut self, name: &str, length: u64) -> io::Result<()>;
    /// Renames a file and replaces an existing file of the new name.
    ///
    /// # Errors
    /// Returns an error if the system call fails.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// Returns an error if the system call fails.
    fn remove(&mut self, name: &str) -> io::Result<()>;
    /// Waits until the file is on disk.
    ///
    /// # Errors
    /// Returns an error if the system call fails.
    fn sync(&mut self, name: &str) -> io::Result<()>;
}

/// Folder of the file system, with access for its owner only.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Last file that was read.
    open: RefCell<Option<(String, File)>>,
}

impl Folder {
    /// Opens a folder and creates it if it is missing.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be created.
    pub fn make(path: PathBuf) -> io::Result<Self> {
        DirBuilder::new().mode(0o700).recursive(true).create(&path)?;
        Ok(Self::existing(path))
    }

    /// Returns a folder for reading.
    pub fn existing(path: PathBuf) -> Self {
        Self { path, open: RefCell::new(None) }
    }

    /// Closes the last file that was read, because its name may now belong to another file.
    fn forget(&mut self) {
        self.open.get_mut().take();
    }
}

impl Disk for Folder {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            // Ignores everything that is not a regular file (links, too) and names that are not
            // valid UTF-8.
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
