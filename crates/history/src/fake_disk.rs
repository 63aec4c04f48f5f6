//! In-memory disk for tests that can be full or stop in the middle of a write.

use std::collections::BTreeMap;
use std::io;

use crate::disk::Disk;

/// Simulated disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeDisk {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Maximum size of all files in bytes; none = unlimited.
    pub(crate) room: Option<usize>,
    /// Bytes after which the disk stops for good; none = never.
    pub(crate) until_stop: Option<usize>,
}

impl FakeDisk {
    pub(crate) fn length(&self, name: &str) -> u64 {
        self.files.get(name).map_or(0, |bytes| bytes.len() as u64)
    }

    pub(crate) fn total(&self) -> usize {
        self.files.values().map(Vec::len).sum()
    }

    fn file(&mut self, name: &str) -> io::Result<&mut Vec<u8>> {
        self.files.get_mut(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn check_stopped(&self) -> io::Result<()> {
        if self.until_stop == Some(0) { Err(io::Error::other("killed")) } else { Ok(()) }
    }
}

impl Disk for FakeDisk {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        Ok(self.files.iter().map(|(name, bytes)| (name.clone(), bytes.len() as u64)).collect())
    }

    fn read(&self, name: &str, at: u64, most: usize) -> io::Result<Vec<u8>> {
        let bytes = self.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        let rest = bytes.get(usize::try_from(at).unwrap()..).unwrap_or_default();
        Ok(rest[..most.min(rest.len())].to_vec())
    }

    fn write(&mut self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_stopped()?;
        let at = usize::try_from(at).unwrap();
        let more = (at + bytes.len()).saturating_sub(self.files.get(name).map_or(0, Vec::len));
        let free = self.room.map_or(usize::MAX, |room| room.saturating_sub(self.total()));
        let mut count = if more > free { bytes.len() - (more - free).min(bytes.len()) } else { bytes.len() };
        if let Some(left) = &mut self.until_stop {
            count = count.min(*left);
            *left -= count;
        }
        let file = self.files.entry(name.to_owned()).or_default();
        file.resize(file.len().max(at + count), 0);
        file[at..at + count].copy_from_slice(&bytes[..count]);
        if count < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn cut(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.check_stopped()?;
        self.file(name)?.truncate(usize::try_from(length).unwrap());
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.check_stopped()?;
        let bytes = self.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.files.insert(to.to_owned(), bytes);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.check_stopped()?;
        self.files.remove(name).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync(&mut self, _: &str) -> io::Result<()> {
        self.check_stopped()
    }
}
