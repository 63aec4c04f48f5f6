//! Errors of the start at boot.

use std::io;
use std::path::PathBuf;

use ostler_core::message;
use ostler_core::text::language::translated;
use ostler_core::text::suggest::did_you_mean;

/// Reason why nothing can be set up for the boot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartupError {
    /// Machine whose init system is not known; the names of those that are.
    #[error("{}", message!("Init system not found; name one: {names}", names = _0))]
    NoInit(String),
    /// Machine whose init system is not known, and a check of it.
    #[error("{}", message!("Init system not found: nothing starts at boot here"))]
    NothingToCheck,
    /// Word that names no init system.
    #[error("{}", message!("Unknown platform / init system name: {word}; expected one of {names}", word, names))]
    UnknownPlatform {
        /// As typed.
        word: String,
        /// Names that are known.
        names: String,
    },
    /// `--user-unit` with another init system than systemd.
    #[error("{}", message!("--user-unit needs systemd, but this machine uses {system}", system = _0))]
    UserUnit(&'static str),
    /// `--user-unit` for another user.
    #[error("{}", message!("only {user} can create a user unit of {user}: leave out --user-unit", user = _0))]
    OtherUser(String),
    /// User whose name or home has a control character.
    #[error("{}", message!("the name or home of the user {name} contains {character}, which is not possible in a start script", name = format!("{name:?}"), character = format!("{character:?}")))]
    UserCharacter {
        /// Name of the user.
        name: String,
        /// The character.
        character: char,
    },
    /// User without a home folder.
    #[error("{}", message!("the user {user} has no home folder: set one with --hp", user = format!("{_0:?}")))]
    NoHome(String),
    /// Home whose path has a control character.
    #[error("{}", message!("the home {path} contains a control character, which is not possible in a start script", path = format!("{_0:?}")))]
    HomeCharacter(String),
    /// Program whose path has a control character.
    #[error("{}", message!("the path of this program {path} contains a control character", path = format!("{_0:?}")))]
    ProgramCharacter(String),
    /// Name of a service that is too long.
    #[error("{}", message!("the service name {name} is too long: choose one with --service-name", name = _0))]
    LongName(String),
}

impl StartupError {
    /// Returns the next step, or none.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownPlatform { word, names } => did_you_mean(word, names.split(", ")),
            _ => None,
        }
    }
}

/// Step that failed. All steps before it were undone.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    /// A file.
    #[error("{}", message!("cannot {what} {path}: {source}", what = translated(what), path = path.display(), source))]
    File {
        /// The step.
        what: &'static str,
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A command.
    #[error("{}", message!("{command} failed: {reason}", command, reason))]
    Command {
        /// As it would be typed.
        command: String,
        /// Its last words.
        reason: String,
    },
}
