//! Errors of the move from PM2.

use std::path::PathBuf;

use ostler_core::message;

/// Reason why apps cannot be moved from PM2, or back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MigrateError {
    /// User without a home.
    #[error("{}", message!("this user has no home; name PM2's folder: ostler migrate <folder>"))]
    NoHome,
    /// Folder of PM2 that is ostler's home, too.
    #[error("{}", message!("\"{path}\" is also this program's home: add --in-place, and PM2 is stopped after its apps have moved", path = _0.display()))]
    SameHome(PathBuf),
    /// Saved list of PM2 that is no JSON list.
    #[error("{}", message!("the saved list \"{path}\" is not a JSON list", path = _0.display()))]
    SavedList(PathBuf),
    /// Record of a former move that cannot be read.
    #[error("{}", message!("\"{path}\" is invalid ({cause}); it records the apps that were moved from PM2", path = path.display(), cause))]
    Record {
        /// Its path.
        path: PathBuf,
        /// The cause.
        cause: serde_json::Error,
    },
    /// Process at PM2's socket that cannot be seen, as in another container.
    #[error("{}", message!("cannot see which process listens at \"{path}\"; run ostler where PM2 runs", path = _0.display()))]
    Unseen(PathBuf),
    /// PM2 of another user.
    #[error("{}", message!("PM2 in \"{folder}\" runs as user {uid}, this is user {own}: migrate as that user", folder = folder.display(), uid, own))]
    OtherUser {
        /// PM2's home.
        folder: PathBuf,
        /// Its user.
        uid: u32,
        /// Our user.
        own: u32,
    },
    /// ostler at PM2's socket.
    #[error("{}", message!("ostler itself runs in \"{folder}\": there is nothing to move", folder = _0.display()))]
    Ostler(PathBuf),
    /// PM2 refused a call; in its words.
    #[error("{}", message!("PM2 refused {method}: {reason}", method, reason))]
    Refused {
        /// The call.
        method: String,
        /// PM2's words.
        reason: String,
    },
    /// PM2's connection failed, or its answer makes no sense.
    #[error("{}", message!("unexpected response from PM2's daemon: {response}", response = _0))]
    Answer(String),
    /// Processes that still run although PM2 has stopped them.
    #[error("{}", message!("PM2 reported it as stopped, but pid {pid} still runs", pid = _0))]
    StillRuns(String),
    /// App that is not healthy in ostler.
    #[error("{}", silent(state, missing))]
    NotHealthy {
        /// State of its instances.
        state: String,
        /// Addresses at which nothing listens.
        missing: Vec<String>,
    },
    /// App that was given back to PM2.
    #[error("{}", message!("{app} did not become healthy here ({reason}); PM2 runs it as before", app, reason))]
    GivenBack {
        /// Name of the app.
        app: String,
        /// The fault.
        reason: String,
    },
    /// App that was given back to PM2, which cannot start it again.
    #[error("{}", message!("{app} did not become healthy here ({reason}); and PM2 cannot run it either: {cause}", app, reason, cause))]
    NotGivenBack {
        /// Name of the app.
        app: String,
        /// The fault.
        reason: String,
        /// PM2's fault.
        cause: String,
    },
    /// PM2 stopped, so apps cannot be given back to it.
    #[error("{}", message!("PM2 in \"{folder}\" is no longer running; \"{record}\" lists the moved apps; nothing was changed", folder = from.display(), record = home.join("migration.json").display()))]
    Stopped {
        /// PM2's home.
        from: PathBuf,
        /// Our home.
        home: PathBuf,
    },
    /// PM2 was stopped by `--in-place`: its home is ours.
    #[error("{}", message!("PM2 in \"{folder}\" was stopped when its apps had moved, and ostler runs there; nothing was changed", folder = _0.display()))]
    TookOver(PathBuf),
    /// PM2 still has running apps.
    #[error("{}", message!("PM2 still runs {apps}, so it is not stopped", apps = _0))]
    HasApps(String),
    /// PM2's daemon, with this pid, ignores the request to exit.
    #[error("{}", message!("PM2's daemon (pid {pid}) does not exit", pid = _0))]
    DoesNotEnd(i32),
    /// Instances that PM2 cannot start again.
    #[error("{}", message!("PM2 cannot bring its id {id} online again", id = _0))]
    NotOnline(String),
    /// Program of the system that failed.
    #[error("{command}: {reason}")]
    Program {
        /// The command line.
        command: String,
        /// Its words, or the reason why it cannot be run.
        reason: String,
    },
}

impl MigrateError {
    /// Returns the next step, or none.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Stopped { from, .. } => Some(message!(
                "stop the apps here, then start PM2 with its saved list: `ostler delete all && PM2_HOME=\"{folder}\" pm2 resurrect`",
                folder = from.display()
            )),
            Self::TookOver(from) => Some(message!(
                "save the list, stop ostler, then start npm's PM2 with that list: `export OSTLER_HOME=\"{folder}\" PM2_HOME=\"{folder}\"; \
                 ostler save && ostler kill && ostler compat uninstall; pm2 resurrect`",
                folder = from.display()
            )),
            _ => None,
        }
    }
}

fn silent(state: &str, missing: &[String]) -> String {
    if missing.is_empty() {
        return state.to_owned();
    }
    message!("{state}, and nothing listens at {addresses}", state, addresses = missing.join(", "))
}
