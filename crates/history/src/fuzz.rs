//! Checks of the files of the store for any bytes. The crate `ostler-fuzzing` runs them; see
//! `docs/fuzzing.md`.

use std::collections::BTreeMap;
use std::io;

use crate::disk::Disk;
use crate::packed::{MOST_POINTS, pack, unpack};
use crate::varint::{put, take, unzigzag, zigzag};
use crate::{History, Options, SampleInterval, Scale};

/// Checks packed points: what is read can be packed and read again.
pub fn history_points(bytes: &[u8]) {
    let mut rest = bytes;
    while let Some(value) = take(&mut rest) {
        let mut written = Vec::new();
        put(&mut written, value);
        assert_eq!(take(&mut written.as_slice()), Some(value));
        assert_eq!(zigzag(unzigzag(value)), value);
    }
    for base in [0, 1 << 40, u64::MAX] {
        let Some(points) = unpack(bytes, base) else { continue };
        assert!((1..=MOST_POINTS).contains(&points.len()));
        assert!(points.windows(2).all(|pair| pair[0].slot < pair[1].slot), "in order");
        let mut packed = Vec::new();
        pack(&points, base, &mut packed);
        assert_eq!(unpack(&packed, base).as_ref(), Some(&points));
    }
}

/// Files in memory.
#[derive(Clone, Debug, Default)]
struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    fn file(&mut self, name: &str) -> io::Result<&mut Vec<u8>> {
        self.0.get_mut(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Disk for Files {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        Ok(self.0.iter().map(|(name, bytes)| (name.clone(), bytes.len() as u64)).collect())
    }

    fn read(&self, name: &str, at: u64, most: usize) -> io::Result<Vec<u8>> {
        let bytes = self.0.get(name).ok_or(io::ErrorKind::NotFound)?;
        let rest = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
        Ok(rest[..most.min(rest.len())].to_vec())
    }

    fn write(&mut self, name: &str, at: u64, bytes: &[u8]) -> io::Result<()> {
        let at = usize::try_from(at).map_err(io::Error::other)?;
        let file = self.0.entry(name.to_owned()).or_default();
        assert!(at <= file.len(), "a hole in {name}");
        file.resize(file.len().max(at + bytes.len()), 0);
        file[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn cut(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.file(name)?.truncate(usize::try_from(length).map_err(io::Error::other)?);
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let bytes = self.0.remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.0.insert(to.to_owned(), bytes);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.0.remove(name).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }
}

/// Returns the files of an input: for each a name with its length (1 byte) before it, and a content
/// with its length (4 bytes, little-endian) before it. A missing rest is empty.
fn files(mut bytes: &[u8]) -> Files {
    let mut files = Files::default();
    while let Some((length, rest)) = bytes.split_first() {
        let (name, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        let (size, rest) = rest.split_at(rest.len().min(4));
        let size = size.iter().rev().fold(0, |all: usize, byte| all << 8 | usize::from(*byte));
        let (content, rest) = rest.split_at(rest.len().min(size));
        files.0.insert(String::from_utf8_lossy(name).into_owned(), content.to_vec());
        bytes = rest;
    }
    files
}

const NOW_MS: u64 = 1_795_600_000_000;

/// Checks the files of a store: it opens whatever is in them, answers, and continues.
pub fn history_files(bytes: &[u8]) {
    let files = files(bytes);
    if let Ok(history) = History::read(files.clone()) {
        ask(&history);
    }
    let Ok(mut history) = History::open(files, Options { most_bytes: 1 << 20 }) else { return };
    assert!(history.take_notices().len() <= 64);
    ask(&history);
    run(&mut history, "after", 40);
    ask(&history);
    let figures = history.query("after", NOW_MS - 10_000, NOW_MS + 3_600_000, 100).figures.len();
    assert!(figures > 0 || history.left_out() > 0 || !history.take_notices().is_empty(), "new samples are kept");
}

fn ask(history: &History<Files>) {
    let keys: Vec<&str> = history.keys().collect();
    assert!(keys.iter().all(|key| key.len() <= crate::LONGEST_KEY));
    for key in keys.into_iter().take(4).chain(["none"]) {
        for (from, to) in [(NOW_MS - 3_600_000, NOW_MS), (0, u64::MAX), (u64::MAX, 0)] {
            let result = history.query(key, from, to, 50);
            assert!(result.figures.len() <= 4001, "{} figures", result.figures.len());
        }
    }
}

fn run(history: &mut History<Files>, key: &str, count: u64) {
    for at in 0..count {
        history.moment(NOW_MS + at * 10_000, SampleInterval::TenSeconds);
        history.record(key, Scale::new(0.1, 5), f64::from(u32::try_from(at % 7).unwrap_or(0)));
    }
    history.flush();
}
