//! Version of Node that runs an app. A separate thread runs the program once per file, so the loop
//! never waits for it. The program runs as the app's user: a program of another user is never
//! executed with the daemon's rights.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ostler_sys::process::Target;
use ostler_sys::process::signal::KILL;
use ostler_sys::{Credentials, SpawnSpec, fd::pipe, process::child, spawn};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Node answers within milliseconds; a wrapper script may be slower.
const PATIENCE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
/// Longest version, such as `v20.20.2-nightly…`. Longer output is not a version.
const LONGEST: usize = 64;
const STACK_BYTES: usize = 64 << 10;

/// Identity of a program file. Another file at the same path is another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Binary {
    device: u64,
    inode: u64,
    changed_ns: (i64, i64),
    size: u64,
}

impl Binary {
    fn of(program: &Path) -> Option<Self> {
        let meta = std::fs::metadata(program).ok()?;
        Some(Self { device: meta.dev(), inode: meta.ino(), changed_ns: (meta.mtime(), meta.mtime_nsec()), size: meta.size() })
    }
}

/// Versions of all programs that were run; `None` if the program has not answered.
#[derive(Debug, Default)]
pub(crate) struct NodeVersions {
    versions: Arc<Mutex<BTreeMap<Binary, Option<String>>>>,
}

impl NodeVersions {
    /// Starts to determine the version of this program. Returns the key of its result.
    pub(crate) fn query(&self, program: &Path, user: Option<Credentials>) -> Option<Binary> {
        let binary = Binary::of(program)?;
        let is_new = {
            let mut known = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
            let is_new = !known.contains_key(&binary);
            known.entry(binary).or_default();
            is_new
        };
        if is_new {
            let known = Arc::clone(&self.versions);
            let program = CString::new(program.as_os_str().as_bytes()).ok()?;
            let asking = move || {
                let version = version_of(program, user);
                known.lock().unwrap_or_else(PoisonError::into_inner).insert(binary, version);
            };
            // Without a thread the version stays unknown, which is harmless.
            drop(std::thread::Builder::new().name("node-version".into()).stack_size(STACK_BYTES).spawn(asking));
        }
        Some(binary)
    }

    /// Returns the version, if it is known.
    pub(crate) fn get(&self, binary: &Binary) -> Option<String> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).get(binary).cloned().flatten()
    }
}

/// Runs `program --version`.
fn version_of(program: CString, user: Option<Credentials>) -> Option<String> {
    let (read, write) = pipe::pipe().ok()?;
    let spec = SpawnSpec {
        argv: [program.clone(), c"--version".into()].into_iter().collect(),
        program,
        // Wrapper scripts need `PATH`.
        envp: [c"PATH=/usr/local/bin:/usr/bin:/bin".into()].into_iter().collect(),
        cwd: c"/".into(),
        user,
        ..SpawnSpec::default()
    };
    let process = spawn(&spec, &[(write.as_fd(), 1)]).ok()?;
    drop(write);
    let answered = poll(&mut [PollFd::new(&read, PollFlags::IN)], Some(&PATIENCE)) == Ok(1);
    let mut text = String::new();
    // One read is enough: a program that writes more, slowly, is not Node.
    let mut bytes = [0; LONGEST];
    if answered && let Ok(count) = File::from(read).read(&mut bytes) {
        text = String::from_utf8_lossy(bytes.get(..count)?).into_owned();
    }
    // The child is not reaped yet, so its pid is still its own. It may have exited already.
    let _ = child::signal(process.pid, KILL, Target::Group);
    child::reap(process.pid);
    parse(&text)
}

/// Returns the version in the output: `20.20.2` of `v20.20.2\n`.
fn parse(text: &str) -> Option<String> {
    let version = text.strip_prefix('v')?.lines().next()?.trim_end();
    let plain = version.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-+".contains(&byte));
    (plain && version.starts_with(|c: char| c.is_ascii_digit())).then(|| version.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn only_a_version_line_is_parsed() {
        for (text, expected) in [
            ("v20.20.2\n", Some("20.20.2")),
            ("v22.0.0-nightly20240101abc\n", Some("22.0.0-nightly20240101abc")),
            ("20.20.2\n", None),
            ("v\n", None),
            ("version 1", None),
            ("v1 2", None),
            ("", None),
        ] {
            assert_eq!(parse(text).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn each_binary_is_queried_once_and_again_after_a_change() {
        let folder = std::env::temp_dir().join(format!("ostler-node-version-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let node = folder.join("node");
        let write = |version: &str| {
            let temporary = folder.join("node.new");
            std::fs::write(&temporary, format!("#!/bin/sh\necho asked >>{}/count\necho {version}\n", folder.display())).unwrap();
            std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o755)).unwrap();
            std::fs::rename(&temporary, &node).unwrap();
        };
        let versions = NodeVersions::default();
        let wait = |binary: &Binary| {
            let until = Instant::now() + Duration::from_secs(20);
            while versions.get(binary).is_none() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
            versions.get(binary)
        };
        write("v1.2.3");
        let first = versions.query(&node, None).unwrap();
        assert_eq!(wait(&first).as_deref(), Some("1.2.3"));
        assert_eq!(versions.query(&node, None), Some(first));
        write("v1.2.34");
        let second = versions.query(&node, None).unwrap();
        assert_eq!(wait(&second).as_deref(), Some("1.2.34"));
        assert_eq!(versions.get(&first).as_deref(), Some("1.2.3"));
        assert_eq!(std::fs::read_to_string(folder.join("count")).unwrap(), "asked\nasked\n");
        assert_eq!(versions.query(&folder.join("gone"), None), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
