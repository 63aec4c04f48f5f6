//! Errors of the move from PM2.

use std::path::PathBuf;

/// Reason why apps cannot be moved from PM2, or back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MigrateError {
    /// User without a home.
    #[error("this user has no home; name PM2's folder: ostler migrate <folder>")]
    NoHome,
    /// Folder of PM2 that is ostler's home, too.
    #[error("\"{}\" is this program's home, too: add --in-place, and PM2 is ended when its apps have moved", .0.display())]
    SameHome(PathBuf),
    /// Saved list of PM2 that is no JSON list.
    #[error("the saved list \"{}\" is no JSON list", .0.display())]
    SavedList(PathBuf),
    /// Record of a former move that cannot be read.
    #[error("\"{}\" is broken ({cause}); it says what was moved from PM2", .path.display())]
    Record {
        /// Its path.
        path: PathBuf,
        /// The cause.
        cause: serde_json::Error,
    },
    /// Process at PM2's socket that cannot be seen, as in another container.
    #[error("who listens at \"{}\" cannot be seen from here; call ostler where PM2 runs", .0.display())]
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
    #[error("ostler itself answers in \"{}\": there is nothing to move", .0.display())]
    Ostler(PathBuf),
    /// PM2 refused a call; in its words.
    #[error("PM2 refuses {method}: {reason}")]
    Refused {
        /// The call.
        method: String,
        /// PM2's words.
        reason: String,
    },
    /// PM2's connection failed, or its answer makes no sense.
    #[error("PM2's daemon does not answer as it should: {0}")]
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
    #[error("{app} does not become healthy here ({reason}); {end}")]
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
        "PM2 in \"{from}\" does not run any more. Start it with its saved list after the apps here are stopped: `ostler delete all && PM2_HOME={from} pm2 resurrect`; what was moved is in \"{home}/migration.json\"",
        from = .from.display(), home = .home.display()
    )]
    Stopped {
        /// PM2's home.
        from: PathBuf,
        /// Our home.
        home: PathBuf,
    },
    /// PM2 still has running apps.
    #[error("PM2 still runs {0}: it is not ended")]
    HasApps(String),
    /// PM2's daemon, with this pid, ignores the request to exit.
    #[error("PM2's daemon (pid {0}) does not end")]
    DoesNotEnd(i32),
    /// Instances that PM2 cannot start again.
    #[error("PM2 does not get its id {0} online again")]
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
