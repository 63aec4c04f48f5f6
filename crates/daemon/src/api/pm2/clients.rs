//! Version of npm's command line as a client.
//!
//! The command line of npm's PM2 5 and 6 compares the daemon's version with its own, and prints
//! four lines before its output if they differ. The daemon therefore answers with the client's own
//! version, if it can find it. The client's arguments name the script, and `package.json` beside
//! the script names the version. Both are data of another process. Nothing but a short version text
//! is taken from them, and root reads for root only.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde_json::Value;

/// Most bytes of a command line that are read.
const MOST_ARGUMENT_BYTES: u64 = 16 << 10;
/// Largest `package.json` that is read.
const MOST_PACKAGE_BYTES: u64 = 64 << 10;
/// Longest version in bytes.
const MOST_VERSION_BYTES: usize = 32;

/// Returns the version of npm's command line if this process runs it.
pub(super) fn version(pid: i32, uid: u32) -> Option<String> {
    let own = rustix::process::geteuid().as_raw();
    if pid <= 0 || own == 0 && uid != 0 || !shares_file_tree(pid) {
        return None;
    }
    let mut bytes = Vec::new();
    fs::File::open(format!("/proc/{pid}/cmdline")).ok()?.take(MOST_ARGUMENT_BYTES).read_to_end(&mut bytes).ok()?;
    let script = script(&bytes)?;
    // If the script's path is absolute, `join` returns it unchanged.
    let script = fs::read_link(format!("/proc/{pid}/cwd")).ok()?.join(script).canonicalize().ok()?;
    version_in(&script.parent()?.parent()?.join("package.json"))
}

/// Returns the script in `node [options] <folder>/pm2 [words]`.
fn script(cmdline: &[u8]) -> Option<PathBuf> {
    let mut words = cmdline.split(|byte| *byte == 0).map(|word| std::str::from_utf8(word).ok());
    let program = words.next()??;
    if !matches!(program.rsplit('/').next(), Some("node" | "nodejs" | "bun")) {
        return None;
    }
    let script = words.find(|word| word.is_none_or(|word| !word.starts_with('-')))??;
    Some(PathBuf::from(script)).filter(|script| script.file_name().is_some_and(|name| name == "pm2"))
}

/// Returns true if paths name the same files for that process and for this one.
fn shares_file_tree(pid: i32) -> bool {
    let root = |who: &str| fs::metadata(format!("/proc/{who}/root")).map(|meta| (meta.dev(), meta.ino())).ok();
    let mounts = |who: &str| fs::read_link(format!("/proc/{who}/ns/mnt")).ok();
    let (own, other) = ("self", pid.to_string());
    root(own).is_some() && root(own) == root(&other) && mounts(own) == mounts(&other)
}

fn version_in(package: &Path) -> Option<String> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(package).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MOST_PACKAGE_BYTES).read_to_end(&mut bytes).ok()?;
    let package: Value = serde_json::from_slice(&bytes).ok()?;
    let version = package.get("version")?.as_str()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+');
    let is_version =
        version.len() <= MOST_VERSION_BYTES && version.starts_with(|c: char| c.is_ascii_digit()) && version.bytes().all(is_plain);
    (package.get("name")? == "pm2" && is_version).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn script_of_a_pm2_client_is_found_in_its_command_line() {
        for (cmdline, expected) in [
            ("node\0/usr/bin/pm2\0jlist\0", Some("/usr/bin/pm2")),
            ("/opt/node/bin/node\0--no-warnings\0/usr/bin/pm2\0update\0", Some("/usr/bin/pm2")),
            ("node\0node_modules/.bin/pm2\0list\0", Some("node_modules/.bin/pm2")),
            ("node\0/srv/app.js\0/usr/bin/pm2\0", None),
            ("node\0/usr/bin/pm2-runtime\0", None),
            ("/usr/bin/pm2\0jlist\0", None),
            ("sh\0/usr/bin/pm2\0", None),
            ("node\0-e\0", None),
            ("", None),
        ] {
            assert_eq!(script(cmdline.as_bytes()), expected.map(PathBuf::from), "{cmdline:?}");
        }
        assert_eq!(script(b"node\0/\xff/pm2\0"), None);
    }

    #[test]
    fn only_a_short_version_of_the_pm2_package_is_accepted() {
        let folder = std::env::temp_dir().join(format!("ostler-client-version-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("package.json");
        for (text, expected) in [
            (r#"{"name": "pm2", "version": "5.4.3"}"#, Some("5.4.3")),
            (r#"{"name": "pm2", "version": "7.0.0-beta.1"}"#, Some("7.0.0-beta.1")),
            (r#"{"name": "other", "version": "5.4.3"}"#, None),
            (r#"{"name": "pm2", "version": "root:x:0:0"}"#, None),
            (r#"{"name": "pm2", "version": "5\n"}"#, None),
            (r#"{"name": "pm2", "version": 5}"#, None),
            (r#"{"name": "pm2", "version": "1.11111111111111111111111111111111111"}"#, None),
            ("root:x:0:0", None),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(version_in(&path).as_deref(), expected, "{text}");
        }
        let link = folder.join("link.json");
        fs::write(&path, r#"{"name": "pm2", "version": "5.4.3"}"#).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!((version_in(&link), version_in(&folder), version_in(Path::new("/dev/zero"))), (None, None, None));
        fs::remove_dir_all(&folder).unwrap();
    }
}
