//! Files of the profiles: the data of each, and a note with its description. Limited in number and
//! size; the oldest are removed.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::{ProfileInfo, StoredProfile, extension};

/// Maximum number of profiles.
const MOST: usize = 40;
/// Maximum total size in bytes.
pub(super) const MOST_BYTES: u64 = 1 << 30;
/// Maximum size of a note that is read.
const NOTE_BYTES: u64 = 64 << 10;
/// Extension of a note.
const NOTE: &str = "json";
/// Extension of a file that is being copied.
const PART: &str = "part";

/// Folder of profiles and its contents.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
    /// Stored profiles, the oldest first.
    kept: Vec<StoredProfile>,
    /// Number of the next file.
    next: u64,
}

impl Store {
    /// Opens a folder. Files without a valid note are removed, because only this store writes
    /// there.
    pub(super) fn open(folder: PathBuf) -> Self {
        let mut kept: Vec<StoredProfile> = names(&folder).iter().filter_map(|name| read_note(&folder, name)).collect();
        kept.sort_by(|one, other| (one.subject.at, &one.id).cmp(&(other.subject.at, &other.id)));
        let known: Vec<String> = kept.iter().flat_map(|one| [data_name(one), note_name(&one.id)]).collect();
        for name in names(&folder).into_iter().filter(|name| !known.contains(name)) {
            let _ = std::fs::remove_file(folder.join(name));
        }
        let next = kept.iter().filter_map(|one| one.id.parse::<u64>().ok()).max().map_or(1, |newest| newest.saturating_add(1));
        let mut store = Self { folder, kept, next };
        store.make_room(0);
        store
    }

    /// Returns the path for a new file, which is written before it is stored.
    pub(super) fn part(&mut self) -> io::Result<PathBuf> {
        if let Some(parent) = self.folder.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        match DirBuilder::new().mode(0o700).create(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let number = self.next;
        self.next = self.next.saturating_add(1);
        Ok(self.folder.join(format!("{number}.{PART}")))
    }

    /// Stores a file that was written to such a path. A failure leaves no files.
    pub(super) fn keep(&mut self, subject: &ProfileInfo, part: &Path, bytes: u64) -> io::Result<()> {
        let id = part.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        let kept = StoredProfile { id, subject: subject.clone(), bytes };
        let done = self.write(&kept, part);
        if done.is_err() {
            for path in [part.to_owned(), self.folder.join(data_name(&kept)), self.folder.join(note_name(&kept.id))] {
                let _ = std::fs::remove_file(path);
            }
            return done;
        }
        self.make_room(bytes);
        self.kept.push(kept);
        Ok(())
    }

    /// Writes the note last: data without a note does not count.
    fn write(&self, kept: &StoredProfile, part: &Path) -> io::Result<()> {
        std::fs::rename(part, self.folder.join(data_name(kept)))?;
        let text = serde_json::to_vec(kept)?;
        let path = self.folder.join(note_name(&kept.id));
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(&text)
    }

    /// Removes the oldest until another file of `bytes` bytes fits.
    fn make_room(&mut self, bytes: u64) {
        let sizes: Vec<u64> = self.kept.iter().map(|one| one.bytes).collect();
        let more = usize::from(bytes > 0);
        for gone in self.kept.drain(..surplus(&sizes, bytes, more)) {
            remove_files(&self.folder, &gone);
        }
    }

    /// Returns all profiles, the newest first.
    pub(super) fn newest(&self) -> Vec<StoredProfile> {
        self.kept.iter().rev().cloned().collect()
    }

    pub(super) fn find(&self, id: &str) -> Option<&StoredProfile> {
        self.kept.iter().find(|one| one.id == id)
    }

    pub(super) fn open_file(&self, kept: &StoredProfile) -> io::Result<File> {
        File::open(self.folder.join(data_name(kept)))
    }

    pub(super) fn remove(&mut self, id: &str) -> io::Result<()> {
        let Some(at) = self.kept.iter().position(|one| one.id == id) else { return Ok(()) };
        let gone = self.kept.remove(at);
        remove_files(&self.folder, &gone);
        Ok(())
    }
}

/// Returns how many of the oldest must be removed before `more` others with `bytes` in total fit.
fn surplus(sizes: &[u64], bytes: u64, more: usize) -> usize {
    let mut all: u128 = sizes.iter().map(|size| u128::from(*size)).sum::<u128>() + u128::from(bytes);
    let mut gone = sizes.len().saturating_sub(MOST - more);
    all -= sizes[..gone].iter().map(|size| u128::from(*size)).sum::<u128>();
    while all > u128::from(MOST_BYTES) && gone < sizes.len() {
        all -= u128::from(sizes[gone]);
        gone += 1;
    }
    gone
}

fn data_name(kept: &StoredProfile) -> String {
    format!("{}.{}", kept.id, extension(kept.subject.kind))
}

fn note_name(id: &str) -> String {
    format!("{id}.{NOTE}")
}

/// Removes the note first: data without a note is removed at the next start.
fn remove_files(folder: &Path, kept: &StoredProfile) {
    let _ = std::fs::remove_file(folder.join(note_name(&kept.id)));
    let _ = std::fs::remove_file(folder.join(data_name(kept)));
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Reads a note, with the actual size of its data.
fn read_note(folder: &Path, name: &str) -> Option<StoredProfile> {
    let id = name.strip_suffix(NOTE)?.strip_suffix('.')?;
    let mut bytes = Vec::new();
    File::open(folder.join(name)).ok()?.take(NOTE_BYTES).read_to_end(&mut bytes).ok()?;
    let mut kept: StoredProfile = serde_json::from_slice(&bytes).ok()?;
    // A name that leads out of the folder is invalid.
    if kept.id != id || id.parse::<u64>().is_err() {
        return None;
    }
    kept.bytes = std::fs::metadata(folder.join(data_name(&kept))).ok()?.len();
    Some(kept)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::profiles::tests_subject;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("ostler-profiles-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        folder
    }

    fn add(store: &mut Store, text: &str) -> String {
        let part = store.part().unwrap();
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part).unwrap().write_all(text.as_bytes()).unwrap();
        store.keep(&tests_subject(), &part, text.len() as u64).unwrap();
        store.newest()[0].id.clone()
    }

    #[test]
    fn surplus_counts_oldest_profiles_beyond_limits() {
        assert_eq!((surplus(&[], 5, 1), surplus(&[1; 39], 5, 1), surplus(&[1; 40], 5, 1), surplus(&[1; 45], 0, 0)), (0, 0, 1, 5));
        assert_eq!(surplus(&[MOST_BYTES / 2; 2], 1, 1), 1);
        assert_eq!(surplus(&[MOST_BYTES, 1], MOST_BYTES, 1), 2);
        assert_eq!(surplus(&[u64::MAX, u64::MAX], u64::MAX, 1), 2, "sizes of a strange disk");
    }

    #[test]
    fn reopened_store_lists_only_its_own_profiles() {
        let folder = folder("kept");
        let mut store = Store::open(folder.clone());
        assert_eq!(store.newest(), []);
        let ids: Vec<String> = (0..45).map(|n| add(&mut store, &format!("{{\"n\":{n}}}"))).collect();
        assert_eq!(store.newest().len(), MOST);
        assert!(names(&folder).iter().all(|name| folder.join(name).metadata().unwrap().permissions().mode() & 0o777 == 0o600));
        let newest = store.newest();
        store.remove(&newest[1].id).unwrap();
        for (name, text) in [("900.part", "x"), ("901.cpuprofile", "x"), ("902.json", "{}"), ("903.json", "nonsense")] {
            std::fs::write(folder.join(name), text).unwrap();
        }
        let note = serde_json::to_string(&StoredProfile { id: "../../audit".into(), ..newest[0].clone() }).unwrap();
        std::fs::write(folder.join("904.json"), note).unwrap();
        let mut again = Store::open(folder.clone());
        assert_eq!(again.newest().len(), MOST - 1);
        assert_eq!(names(&folder).len(), 2 * (MOST - 1), "{:?}", names(&folder));
        let mut text = String::new();
        again.open_file(&newest[0]).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "{\"n\":44}");
        let id = add(&mut again, "{}");
        assert!(!ids.contains(&id) && again.find(&id).is_some() && again.find(&ids[0]).is_none());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
