//! Sources: the files to show.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ostler_core::app::select::{SelectError, Selectable, select};
use ostler_core::logs::files::own_stream;
use ostler_core::message;
use ostler_proto::control::{Failure, Summary};
use ostler_sys::users::rights::as_user;
use ostler_sys::users::user::{Credentials, identity};
use rustix::fs::OFlags;

use crate::app_files::is_of_root_alone;
use crate::error::CliError;

/// Kind of a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogKind {
    Out,
    Error,
    Daemon,
}

/// A file to show. It is shown once, even if several instances write to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub path: PathBuf,
    pub kind: LogKind,
    /// First instance that writes to it; 0 for the daemon.
    pub id: u32,
    pub name: String,
    pub namespace: String,
    /// Commit from which the app was started.
    pub revision: Option<String>,
    /// User with whose rights the file is opened; none = our own.
    pub rights: Option<Credentials>,
}

impl Source {
    /// Opens a regular file, the only kind that can be followed; never waits for the writer of a
    /// FIFO.
    pub(super) fn open(&self, path: &Path) -> io::Result<File> {
        self.open_with(path, OFlags::empty())
    }

    /// Opens a rotated file. ostler creates no links, so a link is rejected.
    pub(super) fn open_rotated(&self, path: &Path) -> io::Result<File> {
        self.open_with(path, OFlags::NOFOLLOW)
    }

    fn open_with(&self, path: &Path, more: OFlags) -> io::Result<File> {
        let open = || {
            let flags = (OFlags::NONBLOCK | OFlags::NOCTTY | more).bits().cast_signed();
            let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
            if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
        };
        match &self.rights {
            Some(user) => as_user(user, open)?,
            None => open(),
        }
    }
}

/// Requested streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Streams {
    pub out: bool,
    pub error: bool,
    pub daemon: bool,
}

impl Streams {
    /// Returns the streams of `--out` and `--err`. Neither or both = all streams, at least those of
    /// apps.
    pub(super) const fn new(out: bool, error: bool) -> Self {
        Self { out: out || !error, error: error || !out, daemon: !out && !error }
    }

    /// Streams of the apps.
    pub(super) const APPS: Self = Self { out: true, error: true, daemon: false };

    /// All streams.
    pub(super) const ALL: Self = Self::new(false, false);
}

/// Filter of the logs to show.
#[derive(Clone, Debug)]
pub(super) struct LogFilter {
    pub targets: Vec<String>,
    pub streams: Streams,
    pub cwd: String,
    pub daemon_log: PathBuf,
    /// The daemon's name, which is also the target that selects its log.
    pub daemon_name: &'static str,
    /// Folder of logs that belongs to us alone, for a process that reads on behalf of other users.
    /// Files elsewhere are opened with the rights of the app's user, even in folders of root.
    pub own_folder: Option<PathBuf>,
    /// Names of the shown apps; none = all apps that the targets select.
    pub names: Option<Vec<String>>,
    /// Whether a target may name an app that starts later.
    pub waits: bool,
}

impl LogFilter {
    fn is_daemon(&self, target: &str, list: &[Summary]) -> bool {
        (target == "PM2" || target == self.daemon_name) && !list.iter().any(|row| row.name == target)
    }

    /// Returns the targets that match no app of this list.
    pub(super) fn missing<'a>(&'a self, list: &[Summary]) -> Vec<&'a str> {
        let is_missing = |target: &&String| {
            let found = meant(target, list, &self.cwd);
            *target != "all" && !self.is_daemon(target, list) && matches!(found, Err(SelectError::Empty | SelectError::NotFound(_)))
        };
        self.targets.iter().filter(is_missing).map(String::as_str).collect()
    }

    /// Returns the files, the daemon's first, the others by id.
    ///
    /// # Errors
    /// Returns an error if a target matches nothing.
    pub(super) fn sources(&self, list: &[Summary]) -> Result<Vec<Source>, CliError> {
        let mut ids = Vec::new();
        let mut daemon = false;
        for target in &self.targets {
            if self.is_daemon(target, list) {
                daemon = true;
                continue;
            }
            daemon |= target == "all" && self.streams.daemon;
            match meant(target, list, &self.cwd) {
                Ok(found) => ids.extend(found),
                // Apps may start later, and the daemon's own log exists.
                Err(SelectError::Empty) if target == "all" => {}
                Err(SelectError::Empty | SelectError::NotFound(_)) if self.waits => {}
                Err(error) => return Err(not_found(error)),
            }
        }
        let mut sources = Vec::new();
        if daemon {
            sources.push(Source {
                path: self.daemon_log.clone(),
                kind: LogKind::Daemon,
                id: 0,
                name: self.daemon_name.into(),
                namespace: String::new(),
                revision: None,
                rights: None,
            });
        }
        let is_named = |row: &&Summary| self.names.as_ref().is_none_or(|names| names.contains(&row.name));
        for row in list.iter().filter(|row| ids.contains(&row.id)).filter(is_named) {
            self.add(row, &mut sources);
        }
        Ok(sources)
    }

    /// Returns the selected instances.
    pub(super) fn instances<'a>(&self, list: &'a [Summary]) -> Vec<&'a Summary> {
        let ids: Vec<u32> = self.targets.iter().filter_map(|target| meant(target, list, &self.cwd).ok()).flatten().collect();
        let is_named = |row: &&Summary| self.names.as_ref().is_none_or(|names| names.contains(&row.name));
        list.iter().filter(|row| ids.contains(&row.id)).filter(is_named).collect()
    }

    fn add(&self, row: &Summary, sources: &mut Vec<Source>) {
        // `/dev/stdout` is our own output here: following it would never end.
        let is_file = |path: &String| path != "/dev/null" && path != "NULL" && path.starts_with('/') && own_stream(path).is_none();
        let readable = |path: &Option<String>| path.clone().filter(is_file);
        let (out, error) = (readable(&row.out_file), readable(&row.error_file));
        // If only the combined file is kept, the user wants to see that file.
        let only_combined = if out.is_none() && error.is_none() { readable(&row.log_file) } else { None };
        let wanted =
            [(out, LogKind::Out, self.streams.out), (error, LogKind::Error, self.streams.error), (only_combined, LogKind::Out, true)];
        for (path, kind, is_wanted) in wanted {
            let Some(path) = path.filter(|_| is_wanted).map(PathBuf::from) else { continue };
            if !sources.iter().any(|source| source.path == path) {
                let rights = self.rights_for(row, &path);
                sources.push(Source {
                    path,
                    kind,
                    id: row.id,
                    name: row.name.clone(),
                    namespace: row.namespace.clone(),
                    revision: row.revision.clone(),
                    rights,
                });
            }
        }
    }
}

impl LogFilter {
    /// Returns the user with whose rights a log is opened. A link that an app's user has created
    /// therefore cannot lead root to a file that this user cannot read.
    fn rights_for(&self, row: &Summary, path: &Path) -> Option<Credentials> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let known = identity(Some(&row.user), None).ok().flatten().map(|identity| identity.credentials);
        let user = known.unwrap_or_else(|| without_account(&row.user));
        let is_ours = match &self.own_folder {
            Some(own_folder) => path.parent() == Some(own_folder),
            None => is_of_root_alone(path, &user.groups),
        };
        (user.uid != 0 && !is_ours).then_some(user)
    }
}

/// Returns the rights of a user for whom only the number is known, as in containers. They give
/// access to files of this number, and to files that everybody may read. If even the number is
/// unknown, they are those of `nobody`; never our own.
fn without_account(user: &str) -> Credentials {
    const NOBODY: u32 = 65_534;
    // To the kernel, the largest number means "do not change the uid".
    let uid = user.parse().ok().filter(|uid| *uid != u32::MAX).unwrap_or(NOBODY);
    Credentials { uid, gid: NOBODY, groups: vec![NOBODY] }
}

fn meant(target: &str, list: &[Summary], cwd: &str) -> Result<Vec<u32>, SelectError> {
    // As in PM2: logs of modules are among all logs.
    let entries: Vec<Selectable<'_>> = list
        .iter()
        .map(|row| Selectable { id: row.id, name: &row.name, namespace: &row.namespace, script: &row.script, is_module: false })
        .collect();
    select(target, &entries, cwd)
}

fn not_found(error: SelectError) -> CliError {
    match error {
        SelectError::NotFound(target) => Failure::NotFound { target }.into(),
        SelectError::Empty => CliError::NotFound(message!("no process found")),
        SelectError::BadRegex { .. } => CliError::Target(error),
    }
}

/// Sorts by the time of the last change, the oldest first, as PM2 does. The daemon's log stays at
/// the front.
pub(super) fn by_age(sources: &mut [Source]) {
    sources.sort_by_cached_key(|source| (source.kind != LogKind::Daemon, changed(&source.path)));
}

fn changed(path: &Path) -> SystemTime {
    std::fs::metadata(path).and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Returns the time of the last change of a log, ms since the epoch; 0 if it is not known.
pub(super) fn changed_ms(path: &Path) -> u64 {
    let since = changed(path).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ostler_core::app::ExecMode;
    use ostler_proto::control::Monit;

    use super::*;

    fn row(id: u32, name: &str, namespace: &str, out: &str, error: &str) -> Summary {
        Summary {
            row: ostler_proto::control::TableRow {
                id,
                name: name.into(),
                namespace: namespace.into(),
                version: None,
                mode: ExecMode::Fork,
                pid: 1,
                status: "online".into(),
                uptime_ms: None,
                restarts: 0,
                monit: Monit::default(),
                user: "u".into(),
                watching: false,
                health: None,
                trouble: None,
                last_exit: None,
                recent_exits: 0,
                exceeded: None,
                memory_limit: None,
                sandbox: None,
                module: false,
            },
            unstable: 0,
            script: format!("/srv/{name}.js"),
            out_file: Some(out.into()),
            error_file: Some(error.into()),
            log_file: Some("/l/all.log".into()),
            pid_file: String::new(),
            revision: None,
        }
    }

    fn filter(targets: &[&str], out: bool, error: bool) -> LogFilter {
        LogFilter {
            targets: targets.iter().map(|target| (*target).to_owned()).collect(),
            streams: Streams::new(out, error),
            cwd: "/srv".into(),
            daemon_log: "/h/pm2.log".into(),
            daemon_name: "ostler",
            own_folder: None,
            names: None,
            waits: false,
        }
    }

    fn paths(filter: &LogFilter, list: &[Summary]) -> Vec<String> {
        filter.sources(list).unwrap().iter().map(|source| source.path.display().to_string()).collect()
    }

    #[test]
    fn unknown_user_gets_unprivileged_rights() {
        for (user, uid) in [("54321", 54_321), ("gone", 65_534), ("", 65_534), ("4294967295", 65_534), ("-1", 65_534)] {
            let rights = without_account(user);
            assert_eq!((rights.uid, rights.gid, &rights.groups[..]), (uid, 65_534, &[65_534][..]), "{user:?}");
        }
    }

    #[test]
    fn target_selects_log_files() {
        let list = [
            row(0, "api", "web", "/l/api-out.log", "/l/api-error.log"),
            row(1, "api", "web", "/l/api-out.log", "/l/api-error.log"),
            row(2, "job", "web", "/dev/null", "/l/job-error.log"),
            row(3, "quiet", "other", "/dev/null", "/dev/null"),
        ];
        let api = ["/l/api-out.log", "/l/api-error.log"];
        let cases: [(&[&str], bool, bool, &[&str]); 11] = [
            (&["api"], false, false, &api),
            (&["1"], false, false, &api),
            (&["web"], false, true, &["/l/api-error.log", "/l/job-error.log"]),
            (&["/^a/"], true, false, &["/l/api-out.log"]),
            (&["api.js"], true, false, &["/l/api-out.log"]),
            (&["all"], false, false, &["/h/pm2.log", api[0], api[1], "/l/job-error.log", "/l/all.log"]),
            (&["all"], true, true, &[api[0], api[1], "/l/job-error.log", "/l/all.log"]),
            (&["PM2"], false, false, &["/h/pm2.log"]),
            (&["ostler"], true, false, &["/h/pm2.log"]),
            (&["2", "0"], false, true, &["/l/api-error.log", "/l/job-error.log"]),
            (&["quiet"], false, false, &["/l/all.log"]),
        ];
        for (targets, out, error, expected) in cases {
            assert_eq!(paths(&filter(targets, out, error), &list), expected, "{targets:?} {out} {error}");
        }
        assert_eq!(paths(&filter(&["all"], false, false), &[]), ["/h/pm2.log"]);
        for unknown in ["nope", "9", "/x+/", "/(/"] {
            assert!(filter(&[unknown], false, false).sources(&list).is_err(), "{unknown}");
        }
    }
}
