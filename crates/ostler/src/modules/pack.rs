//! `package`: a module as one tar file, in PM2's format.

use std::fs::File;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use ostler_core::marked;

use super::package::Package;
use crate::error::ModuleError;

/// Folders that are left out of a package.
const LEFT_OUT: &[&str] = &[".git", ".svn", ".hg"];

/// Packs a folder into `<folder>-v<version>.tar.gz` in `into`, below `module/`. Returns the path of
/// the file.
///
/// # Errors
/// Returns an error if the folder is no module, or if a file cannot be read or written; then no new
/// file exists.
pub(crate) fn pack(folder: &Path, into: &Path) -> Result<PathBuf, ModuleError> {
    let package = Package::read(folder)?;
    let version = package
        .version
        .ok_or_else(|| ModuleError::Package { path: folder.join("package.json"), source: Box::new(ModuleError::NoVersion) })?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
    if !version.chars().all(is_plain) {
        return Err(ModuleError::Version(version));
    }
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let target = into.join(format!("{name}-v{}.tar.gz", version.replace('.', "-")));
    let fresh = target.with_extension("gz.new");
    let written = write(folder, &fresh, &[&target, &fresh]);
    let done = written.and_then(|()| std::fs::rename(&fresh, &target));
    done.map_err(|source| {
        let _ = std::fs::remove_file(&fresh);
        ModuleError::File { what: marked!("pack"), path: folder.to_owned(), source }
    })?;
    Ok(target)
}

fn write(folder: &Path, target: &Path, not: &[&Path]) -> std::io::Result<()> {
    let mut archive = tar::Builder::new(GzEncoder::new(File::create(target)?, Compression::default()));
    // A link is packed as a link, without its target.
    archive.follow_symlinks(false);
    archive.append_dir("module", folder)?;
    add(&mut archive, folder, Path::new("module"), not)?;
    archive.into_inner()?.finish()?.sync_all()
}

fn add(archive: &mut tar::Builder<GzEncoder<File>>, folder: &Path, inside: &Path, not: &[&Path]) -> std::io::Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, kind) = (entry.path(), entry.file_type()?);
        let inside = inside.join(entry.file_name());
        if not.contains(&path.as_path()) || LEFT_OUT.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if kind.is_dir() {
            archive.append_dir(&inside, &path)?;
            add(archive, &path, &inside, not)?;
        } else if kind.is_file() || kind.is_symlink() {
            archive.append_path_with_name(&path, &inside)?;
        }
    }
    Ok(())
}
