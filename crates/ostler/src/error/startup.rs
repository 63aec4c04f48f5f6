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
    #[error("Unknown platform / init system name: {word}; it is one of {names}")]
    UnknownPlatform {
        /// As typed.
        word: String,
        /// Names that are known.
        names: String,
    },
    /// `--user-unit` with another init system than systemd.
    #[error("--user-unit is for systemd, this is {0}")]
    UserUnit(&'static str),
    /// `--user-unit` for another user.
    #[error("a unit of the user {0} can be made by {0} only: leave out --user-unit")]
    OtherUser(String),
    /// User whose name or home has a control character.
    #[error("the user {name:?} has the character {character:?} in its name or home, which no script can hold")]
    UserCharacter {
        /// Name of the user.
        name: String,
        /// The character.
        character: char,
    },
    /// User without a home folder.
    #[error("the user {0:?} has no home folder, name one with --hp")]
    NoHome(String),
    /// Home whose path has a control character.
    #[error("the home {0:?} has a control character in it, which no script can hold")]
    HomeCharacter(String),
    /// Program whose path has a control character.
    #[error("the path of this program {0:?} has a control character in it")]
    ProgramCharacter(String),
    /// Name of a service that is too long.
    #[error("the service name {0} is too long, choose one with --service-name")]
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
