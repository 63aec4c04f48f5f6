//! Fetches a module into a fresh folder.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::read::GzDecoder;
use serde_json::Value;

use ostler_core::{marked, message};

use super::source::Source;
use super::{name, npm};
use crate::cx::Cx;
use crate::error::ModuleError;

/// Most bytes and files of a tar file, unpacked.
const MAX_BYTES: u64 = 2 << 30;
const MAX_FILES: usize = 200_000;

/// Fetches into this folder, which is empty. Returns the path of the package in it.
///
/// # Errors
/// Returns one line for the user. The caller must then remove the content of the folder.
pub(super) fn fetch(cx: &mut Cx, source: &Source, folder: &Path, installs_dependencies: bool) -> Result<PathBuf, ModuleError> {
    match source {
        Source::Here => Err(ModuleError::Here),
        Source::Npm(word) => by_npm(cx, word.as_ref(), folder),
        Source::Local(path) if path.exists() => by_npm(cx, path.as_os_str(), folder),
        Source::Local(path) => Err(ModuleError::Missing(path.clone())),
        Source::Tarball(path) => {
            let file = File::open(path).map_err(|source| ModuleError::File { what: marked!("read"), path: path.clone(), source })?;
            by_tar(cx, file, folder, installs_dependencies)
        }
        Source::TarballAt(address) => {
            let file = download(cx, address, folder)?;
            by_tar(cx, file, folder, installs_dependencies)
        }
    }
}

fn by_npm(cx: &mut Cx, package: &std::ffi::OsStr, folder: &Path) -> Result<PathBuf, ModuleError> {
    // Without a package.json in this folder, npm would search the parent folders for one.
    fs::write(folder.join("package.json"), "{\"private\": true}\n").map_err(ModuleError::Write)?;
    npm::install(cx, folder, package)?;
    let name = only_dependency(folder)?;
    name::check(&name)?;
    let package = folder.join("node_modules").join(&name);
    if !package.join("package.json").is_file() {
        return Err(ModuleError::NoPackage(package));
    }
    Ok(package)
}

/// Returns the names of the packages that npm has installed, each with the requested version. Both
/// are in the folder's own `package.json`.
pub(super) fn dependencies(folder: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(folder.join("package.json")).unwrap_or_default();
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    let wanted = value["dependencies"].as_object().into_iter().flatten();
    wanted.filter_map(|(name, wanted)| Some((name.clone(), wanted.as_str()?.to_owned()))).collect()
}

fn only_dependency(folder: &Path) -> Result<String, ModuleError> {
    match &dependencies(folder)[..] {
        [(name, _)] => Ok(name.clone()),
        other => Err(ModuleError::PackageCount(other.len())),
    }
}

/// Unpacks `<top>/…` of a tar file. The library rejects paths that lead outside.
fn by_tar(cx: &mut Cx, file: File, folder: &Path, installs_dependencies: bool) -> Result<PathBuf, ModuleError> {
    let parts = folder.join(".unpacked");
    fs::create_dir(&parts)?;
    let mut archive = tar::Archive::new(GzDecoder::new(file).take(MAX_BYTES));
    let mut count = 0;
    for entry in archive.entries()? {
        let mut entry = entry?;
        count += 1;
        if count > MAX_FILES {
            return Err(io::Error::other(message!("it contains more than {most} files", most = MAX_FILES)).into());
        }
        if !entry.unpack_in(&parts)? {
            return Err(io::Error::other(message!("it contains files outside of its folder")).into());
        }
    }
    let tops: Vec<PathBuf> = fs::read_dir(&parts)?.flatten().map(|entry| entry.path()).collect();
    let [top] = &tops[..] else { return Err(ModuleError::FolderCount(tops.len())) };
    for entry in fs::read_dir(top)?.flatten() {
        fs::rename(entry.path(), folder.join(entry.file_name()))?;
    }
    fs::remove_dir_all(&parts)?;
    if installs_dependencies {
        npm::install_needs(cx, folder)?;
    }
    Ok(folder.to_owned())
}

/// Downloads with `curl`, or with `wget` if `curl` is missing.
fn download(cx: &mut Cx, address: &str, folder: &Path) -> Result<File, ModuleError> {
    let path = folder.join(".downloaded");
    cx.out.flush();
    let mut curl = Command::new("curl");
    curl.args(["--fail", "--silent", "--show-error", "--location", "--proto", "=http,https", "--output"]).arg(&path).args(["--", address]);
    let mut wget = Command::new("wget");
    wget.args(["--quiet", "--output-document"]).arg(&path).args(["--", address]);
    for (program, mut command) in [("curl", curl), ("wget", wget)] {
        match command.stdin(Stdio::null()).stdout(Stdio::null()).status() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(ModuleError::Run { program, source }),
            Ok(status) if status.success() => {
                let file = File::open(&path).map_err(|source| ModuleError::Downloaded { program, source })?;
                // The open file is enough; its name would only be in the way in the module's
                // folder.
                let _ = fs::remove_file(&path);
                return Ok(file);
            }
            Ok(status) => return Err(ModuleError::Download { program, status }),
        }
    }
    Err(ModuleError::NoDownloader)
}
