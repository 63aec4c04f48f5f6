//! Errors of the start at boot.

use std::io;
use std::path::PathBuf;

/// Reason why nothing can be set up for the boot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartupError {
    /// Machine whose init system is not known; the names of those that are.
    #[error("Init system not found; name one: {0}")]
    NoInit(String),
    /// Machine whose init system is not known, and a check of it.
    #[error("Init system not found: nothing starts at boot here")]
    NothingToCheck,
    /// Word that names no init system.
    #[error("Unknown platform / init system name: {word}; expected one of {names}")]
    UnknownPlatform {
        /// As typed.
        word: String,
        /// Names that are known.
        names: String,
    },
    /// `--user-unit` with another init system than systemd.
    #[error("--user-unit needs systemd, but this machine uses {0}")]
    UserUnit(&'static str),
    /// `--user-unit` for another user.
    #[error("only {0} can create a user unit of {0}: leave out --user-unit")]
    OtherUser(String),
    /// User whose name or home has a control character.
    #[error("the name or home of the user {name:?} contains {character:?}, which is not possible in a start script")]
    UserCharacter {
        /// Name of the user.
        name: String,
        /// The character.
        character: char,
    },
    /// User without a home folder.
    #[error("the user {0:?} has no home folder: set one with --hp")]
    NoHome(String),
    /// Home whose path has a control character.
    #[error("the home {0:?} contains a control character, which is not possible in a start script")]
    HomeCharacter(String),
    /// Program whose path has a control character.
    #[error("the path of this program {0:?} contains a control character")]
    ProgramCharacter(String),
    /// Name of a service that is too long.
    #[error("the service name {0} is too long: choose one with --service-name")]
    LongName(String),
}

/// Step that failed. All steps before it were undone.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    /// A file.
    #[error("cannot {what} {}: {source}", .path.display())]
    File {
        /// The step.
        what: &'static str,
        /// The path of the file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A command.
    #[error("{command} failed: {reason}")]
    Command {
        /// As it would be typed.
        command: String,
        /// Its last words.
        reason: String,
    },
}
