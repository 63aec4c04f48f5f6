//! Errors of the command line.

use std::path::Path;

use ostler_core::message;
use ostler_core::text::suggest::{near, question};

/// Names that other programs have for a command.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("add", "start"),
    ("cron", "jobs"),
    ("exec", "start"),
    ("launch", "start"),
    ("remove", "delete"),
    ("rm", "delete"),
    ("run", "start"),
    ("shutdown", "kill"),
    ("signal", "sendSignal"),
    ("tail", "logs"),
];

/// Reason why a command line is rejected.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UsageError {
    /// The command line has no command.
    #[error("{}", message!("no command given"))]
    NoCommand,
    /// The command does not exist.
    #[error("{}", message!("Command not found"))]
    UnknownCommand {
        /// As typed.
        word: String,
        /// A similar command.
        closest: Option<&'static str>,
    },
    /// The option does not exist.
    #[error("{}", message!("unknown option `{word}'", word))]
    UnknownOption {
        /// As typed.
        word: String,
        /// A similar option, with dashes.
        closest: Option<String>,
    },
    /// The option lacks its value.
    #[error("{}", message!("option `{option}' argument missing", option))]
    MissingValue {
        /// The option with its placeholder.
        option: String,
    },
    /// The option takes no value.
    #[error("{}", message!("option `{option}' takes no value", option))]
    UnwantedValue {
        /// The option.
        option: String,
    },
    /// The command needs more arguments.
    #[error("{}", message!("missing required argument `{name}'", name))]
    MissingArgument {
        /// Name of the argument, as in the usage line.
        name: String,
        /// The command.
        command: &'static str,
        /// Example of the command with its arguments.
        example: Option<&'static str>,
    },
    /// There are too many arguments. Some commands ignore this.
    #[error("{}", message!("Unknown command argument: {word}", word))]
    UnknownArgument {
        /// First superfluous argument.
        word: String,
    },
    /// The command does not use this option.
    #[error("{}", message!("option `--{option}' has no effect with `{command}'", option, command))]
    NoEffect {
        /// Main spelling of the option, without dashes.
        option: &'static str,
        /// The command.
        command: &'static str,
    },
    /// An argument is not UTF-8.
    #[error("{}", message!("argument {shown} is not valid UTF-8", shown = format!("{shown:?}")))]
    NotText {
        /// The argument, with invalid bytes replaced.
        shown: String,
    },
    /// The value of an option is invalid.
    #[error("{}", message!("option `{option}': {reason}", option, reason))]
    BadValue {
        /// The option.
        option: String,
        /// The problem, and an example of a valid value.
        reason: String,
    },
    /// The value of an option is none of the known words.
    #[error("{}", message!("option `{option}': {reason}{question}", option, reason, question = near_word(closest.as_deref())))]
    UnknownValue {
        /// The option.
        option: String,
        /// The known words, and the word as typed.
        reason: String,
        /// A similar word.
        closest: Option<String>,
    },
}

/// Returns the question "did you mean" for this word.
fn near_word(closest: Option<&str>) -> String {
    closest.map(|near| message!("; did you mean {name}?", name = near)).unwrap_or_default()
}

impl UsageError {
    /// Returns the error about a value that is none of these words.
    pub(crate) fn unknown_value(option: impl Into<String>, word: &str, known: &[&str]) -> Self {
        Self::unknown_among(
            option,
            message!("expected {words}, found {word}", words = known.join(", "), word = format!("{word:?}")),
            word,
            known,
        )
    }

    /// Works like [`UsageError::unknown_value`], with other words for the problem.
    pub(crate) fn unknown_among(option: impl Into<String>, reason: String, word: &str, known: &[&str]) -> Self {
        Self::UnknownValue { option: option.into(), reason, closest: near(word, known.iter().copied()).map(str::to_owned) }
    }

    /// Returns the error about a word that is no signal.
    pub(crate) fn unknown_signal(option: &str, reason: String, word: &str) -> Self {
        let name = |number: i32| {
            let name = ostler_sys::process::signal::name(number);
            if word.to_ascii_uppercase().starts_with("SIG") { name } else { name.trim_start_matches("SIG").to_owned() }
        };
        let names: Vec<String> = (1..=31).map(name).collect();
        Self::unknown_among(option, reason, word, &names.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Returns the word that was probably meant, or the command that lists the words; `program` is the name of this program.
    pub(crate) fn hint(&self, program: &str) -> Option<String> {
        match self {
            // A command of one letter is close to every other letter.
            Self::UnknownCommand { closest: Some(closest), .. } if closest.len() > 1 => {
                Some(message!("did you mean `{program} {command}`?", program, command = closest))
            }
            Self::UnknownCommand { word, .. } if Path::new(word).is_file() => {
                Some(message!("did you mean `{program} {command}`?", program, command = format!("start {word}")))
            }
            Self::UnknownCommand { word, .. } => Some(match OTHER_NAMES.iter().find(|(name, _)| name == word) {
                Some((_, command)) => message!("did you mean `{program} {command}`?", program, command),
                None => message!("`{program} --help` lists the commands", program),
            }),
            Self::MissingArgument { command, example: Some(example), .. } => {
                Some(message!("for example `{program} {example}`; `{program} help {command}` explains it", program, example, command))
            }
            Self::UnknownOption { closest, .. } | Self::UnknownValue { closest, .. } => closest.as_deref().map(question),
            Self::NoEffect { command, .. } => Some(message!("`{program} {command} --help` lists its options", program, command)),
            _ => None,
        }
    }
}
