//! Commands by name.

use super::commands::COMMANDS;
use super::table::Command;

/// Returns the name of the command that the user probably meant.
pub(crate) fn closest_name(word: &str) -> Option<&'static str> {
    let names = COMMANDS.iter().flat_map(|command| std::iter::once(command.name).chain(command.aliases.iter().copied()));
    ostler_config::keys::closest(word, names)
}

/// Returns the command of this name.
pub(crate) fn find(word: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == word || command.aliases.contains(&word))
}
