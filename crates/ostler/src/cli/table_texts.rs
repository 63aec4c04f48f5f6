//! Texts of the tables, for the catalogue of translations.

use ostler_core::environment::SETTINGS;

use super::commands::COMMANDS;
use super::completion::option_values;
use super::exit_codes::exit_codes;
use super::options::GLOBAL;
use super::table::{Availability, Command, Fits, Opt};

/// Returns the texts of all tables that a reader sees in the help, the reference pages and the
/// warnings. `cargo xtask generate` adds them to the catalogue.
pub(crate) fn table_texts() -> Vec<&'static str> {
    let help = |opt: &'static Opt| opt.help;
    let mut texts = Vec::new();
    for command in COMMANDS {
        texts.push(command.help);
        texts.extend(match command.state {
            Availability::Elsewhere(what) => Some(what),
            Availability::Works => None,
        });
        texts.extend(command.options.iter().map(help));
        texts.extend(command.completes.iter().flat_map(|fits| described(fits)));
        texts.extend(described_values(Some(command), command.options));
    }
    texts.extend(GLOBAL.iter().map(help));
    texts.extend(described_values(None, GLOBAL));
    texts.extend(exit_codes().into_iter().flat_map(|exit| [exit.short, exit.meaning]));
    texts.extend(SETTINGS.iter().flat_map(|setting| [setting.reader, setting.values, setting.default, setting.meaning]));
    texts.extend(ostler_config::keys::texts());
    #[cfg(feature = "export")]
    texts.extend(ostler_export::texts());
    texts.retain(|text| text.chars().any(char::is_alphabetic));
    texts
}

/// Returns the descriptions of the words that completion offers as values of options.
fn described_values(command: Option<&Command>, options: &[Opt]) -> Vec<&'static str> {
    options.iter().flat_map(|opt| described(option_values(command, opt))).collect()
}

/// Returns the descriptions of the words that completion offers here.
fn described(fits: &'static [Fits]) -> Vec<&'static str> {
    let words = fits.iter().flat_map(|fits| match fits {
        Fits::Words(words) => *words,
        _ => &[],
    });
    words.flat_map(|word| std::iter::once(word.about).chain(word.then.iter().flat_map(|fits| described(fits)))).collect()
}
