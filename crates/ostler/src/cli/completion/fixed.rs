//! Words that fit and that the tables know.

use ostler_core::message;
use ostler_core::text::language::translated;

use super::super::commands::COMMANDS;
use super::super::table::{Availability, Command, Fits};
use super::suggestion::Suggestion;

/// Command that only service managers call.
const INTERNAL: &str = "service";

/// Returns the words of this kind; none if they are not in the tables.
pub(crate) fn fixed_words(fits: Fits, typed: &str) -> Option<Vec<Suggestion>> {
    match fits {
        Fits::Words(words) => Some(words.iter().map(|word| Suggestion::new(word.word, translated(word.about))).collect()),
        Fits::All => Some(vec![Suggestion::new("all", message!("all of them"))]),
        Fits::Commands => Some(commands(typed)),
        _ => None,
    }
}

/// Returns the commands. Other names of a command are offered only if the user types one.
fn commands(typed: &str) -> Vec<Suggestion> {
    let all = || COMMANDS.iter().filter(|command| matches!(command.state, Availability::Works) && command.name != INTERNAL);
    let named = |name: &str, command: &Command| Suggestion::new(name, translated(command.help));
    let is_start_of_a_name = all().any(|command| command.name.starts_with(typed));
    let aliases = all().flat_map(|command| command.aliases.iter().map(move |alias| named(alias, command)));
    let aliases = aliases.filter(|_| !is_start_of_a_name);
    all().map(|command| named(command.name, command)).chain(aliases).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_names_of_commands_are_offered_if_they_are_typed() {
        let words = |typed: &str| -> Vec<String> {
            let all = fixed_words(Fits::Commands, typed).unwrap();
            all.into_iter().map(|offer| offer.word).filter(|word| word.starts_with(typed)).collect()
        };
        assert_eq!(words("resta"), ["restart"]);
        assert_eq!(words("ls"), ["ls"]);
        assert_eq!(words("gracefulR"), ["gracefulReload"]);
        assert!(
            !words("").contains(&"ls".to_owned())
                && !words("").contains(&"service".to_owned())
                && !words("").contains(&"unlink".to_owned())
        );
    }
}
