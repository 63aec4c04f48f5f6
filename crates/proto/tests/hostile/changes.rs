//! Corpora of the fuzz targets, and mutations of their files: a bounded part of a fuzzer's search.

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;

/// Returns the files of a corpus, by name.
pub(crate) fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap().map(Result::unwrap);
    let mut files: Vec<_> = entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())).collect();
    files.sort();
    assert!(files.len() > 10, "{}", folder.display());
    files
}

/// Mutation of a file.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Flip(Index, u8),
    Put(Index, &'static [u8]),
    Remove(Index, usize),
    Repeat(Index, usize),
    Truncate(Index),
    Append(Index),
}

/// Bytes with a special meaning.
const WORDS: [&[u8]; 16] = [
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\0\0\x10\0",
    b"\0\0\x10\x01",
    b"\x10",
    b"\x1f",
    b"j:",
    b"s:",
    b"\\u0000",
    b"\\ud800",
    b"null",
    b"-1",
    b"1e400",
    b"[[[[",
    b"\"\"",
];

pub(crate) fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        (at(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, 1 << bit)),
        (at(), 0..WORDS.len()).prop_map(|(at, word)| Change::Put(at, WORDS[word])),
        (at(), 1..20_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        (at(), 1..20_usize).prop_map(|(at, length)| Change::Repeat(at, length)),
        at().prop_map(Change::Truncate),
        at().prop_map(Change::Append),
    ]
}

/// Returns a file of the corpus after these mutations.
pub(crate) fn changed(files: &[(String, Vec<u8>)], file: &Index, changes: &[Change]) -> Vec<u8> {
    let mut bytes = file.get(files).1.clone();
    for change in changes {
        let place = |at: &Index| at.index(bytes.len() + 1);
        match change {
            Change::Flip(at, bit) => {
                let at = place(at);
                bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= bit);
            }
            Change::Put(at, word) => {
                let at = place(at);
                bytes.splice(at..at, word.iter().copied());
            }
            Change::Remove(at, length) => {
                let at = place(at);
                bytes.drain(at..(at + length).min(bytes.len()));
            }
            Change::Repeat(at, length) => {
                let at = place(at);
                bytes.extend_from_within(at..(at + length).min(bytes.len()));
            }
            Change::Truncate(at) => bytes.truncate(place(at)),
            Change::Append(file) => bytes.extend_from_slice(&file.get(files).1),
        }
    }
    bytes
}
