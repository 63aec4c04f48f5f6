//! Writer of `.tar.gz` files whose bytes depend only on their content.

use std::path::Path;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

/// A file to pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ArchiveEntry {
    /// Path in the archive.
    pub(super) path: String,
    /// Whether it is executable.
    pub(super) is_program: bool,
    /// Content of the file.
    pub(super) bytes: Vec<u8>,
}

impl ArchiveEntry {
    /// Returns a text file.
    pub(super) fn text(path: &str, text: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), is_program: false, bytes: text.into() }
    }

    /// Returns a program.
    pub(super) fn program(path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), is_program: true, bytes: bytes.into() }
    }
}

/// Packs these files: owner 0, this time (seconds since 1970), in this order.
pub(super) fn tar_gz(entries: &[ArchiveEntry], time: u64) -> Result<Vec<u8>> {
    // The gzip header then has neither name nor time.
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
    for entry in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(entry.bytes.len() as u64);
        header.set_mode(if entry.is_program { 0o755 } else { 0o644 });
        header.set_mtime(time);
        header.set_uid(0);
        header.set_gid(0);
        header.set_entry_type(tar::EntryType::Regular);
        tar.append_data(&mut header, Path::new(&entry.path), entry.bytes.as_slice())
            .with_context(|| format!("cannot pack {}", entry.path))?;
    }
    Ok(tar.into_inner()?.finish()?)
}

/// Compresses one file as Debian requires it: best level, without name and time.
pub(super) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    use std::io::Write as _;
    let mut out = GzEncoder::new(Vec::new(), Compression::best());
    out.write_all(bytes)?;
    Ok(out.finish()?)
}

/// Returns SHA-256 in hexadecimal digits.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn archive_round_trips_and_is_reproducible() {
        let entries = [ArchiveEntry::program("a/ostler", *b"\x7fELF"), ArchiveEntry::text("a/README", "read")];
        let packed = tar_gz(&entries, 1_700_000_000).unwrap();
        assert_eq!(packed, tar_gz(&entries, 1_700_000_000).unwrap());
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed.as_slice()));
        let out: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let header = (entry.header().mode().unwrap(), entry.header().mtime().unwrap(), entry.header().uid().unwrap());
                let path = entry.path().unwrap().display().to_string();
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                (path, header, bytes)
            })
            .collect();
        let time = 1_700_000_000;
        assert_eq!(out[0], ("a/ostler".into(), (0o755, time, 0), b"\x7fELF".to_vec()));
        assert_eq!(out[1], ("a/README".into(), (0o644, time, 0), b"read".to_vec()));
        assert_eq!(sha256(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
