//! Errors of the move from PM2.

use std::path::PathBuf;

/// Reason why apps cannot be moved from PM2, or back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MigrateError {
    /// User without a home.
    #[error("this user has no home; name PM2's folder: ostler migrate <folder>")]
    NoHome,
    /// Folder of PM2 that is ostler's home, too.
    #[error("\"{}\" is also this program's home: add --in-place, and PM2 is stopped after its apps have moved", .0.display())]
    SameHome(PathBuf),
    /// Saved list of PM2 that is no JSON list.
    #[error("the saved list \"{}\" is not a JSON list", .0.display())]
    SavedList(PathBuf),
    /// Record of a former move that cannot be read.
    #[error("\"{}\" is invalid ({cause}); it records the apps that were moved from PM2", .path.display())]
    Record {
        /// Its path.
        path: PathBuf,
        /// The cause.
        cause: serde_json::Error,
    },
    /// Process at PM2's socket that cannot be seen, as in another container.
    #[error("cannot see which process listens at \"{}\"; run ostler where PM2 runs", .0.display())]
    Unseen(PathBuf),
    /// PM2 of another user.
    #[error("PM2 in \"{}\" runs as user {uid}, this is user {own}: migrate as that user", .folder.display())]
    OtherUser {
        /// PM2's home.
        folder: PathBuf,
        /// Its user.
        uid: u32,
        /// Our user.
        own: u32,
    },
    /// ostler at PM2's socket.
    #[error("ostler itself runs in \"{}\": there is nothing to move", .0.display())]
    Ostler(PathBuf),
    /// PM2 refused a call; in its words.
    #[error("PM2 refused {method}: {reason}")]
    Refused {
        /// The call.
        method: String,
        /// PM2's words.
        reason: String,
    },
    /// PM2's connection failed, or its answer makes no sense.
    #[error("unexpected response from PM2's daemon: {0}")]
    Answer(String),
    /// Processes that still run although PM2 has stopped them.
    #[error("PM2 reported it as stopped, but pid {0} still runs")]
    StillRuns(String),
    /// App that is not healthy in ostler.
    #[error("{state}{}", silent(missing))]
    Unwell {
        /// State of its instances.
        state: String,
        /// Addresses at which nothing listens.
        missing: Vec<String>,
    },
    /// App that was given back to PM2.
    #[error("{app} did not become healthy here ({reason}); {end}")]
    GivenBack {
        /// Name of the app.
        app: String,
        /// The fault.
        reason: String,
        /// State of the app in PM2.
        end: String,
    },
    /// PM2 stopped, so apps cannot be given back to it.
    #[error(
        "PM2 in \"{from}\" is no longer running. Stop the apps here, then start PM2 with its saved list: `ostler delete all && PM2_HOME={from} pm2 resurrect`; the list of moved apps is in \"{home}/migration.json\"",
        from = .from.display(), home = .home.display()
    )]
    Stopped {
        /// PM2's home.
        from: PathBuf,
        /// Our home.
        home: PathBuf,
    },
    /// PM2 still has running apps.
    #[error("PM2 still runs {0}, so it is not stopped")]
    HasApps(String),
    /// PM2's daemon, with this pid, ignores the request to exit.
    #[error("PM2's daemon (pid {0}) does not exit")]
    DoesNotEnd(i32),
    /// Instances that PM2 cannot start again.
    #[error("PM2 cannot bring its id {0} online again")]
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

fn silent(missing: &[String]) -> String {
    if missing.is_empty() { String::new() } else { format!(", and nothing listens at {}", missing.join(", ")) }
}
