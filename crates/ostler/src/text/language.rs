//! Language of the client's texts.

use std::path::Path;

use ostler_core::home::home_paths::HomePaths;
use ostler_core::text::language::{self, Language};
use ostler_core::text::po;
use ostler_proto::pm2::read_conf;
use serde_json::Value;

use super::is_ascii_wanted;
use crate::home::{self, Program};

/// Chinese translations.
const CHINESE: &str = include_str!("../../texts/zh.po");

/// Section of the settings of a home.
pub(crate) const SECTION: &str = "ostler";
/// Setting of the language.
pub(crate) const LANG: &str = "lang";

/// Chooses the language of this process. As PM2, the program writes English, as PM2 does; in a
/// locale without UTF-8, it writes English, because the terminal cannot show Chinese.
pub(crate) fn choose(program: Program) {
    let variable = |name: &str| std::env::var(name).ok();
    if program.is_pm2() || is_ascii_wanted(variable) {
        return;
    }
    let setting = home::locate(program).ok().and_then(|home| setting(&home));
    if Language::choose(setting, variable) == Language::Chinese {
        install_chinese();
    }
}

/// Chooses the language of the process that serves the dashboard of this home and sends its alerts.
/// It has no terminal, so only the setting and the locale decide.
#[cfg(feature = "web")]
pub(crate) fn choose_without_terminal(home: &Path) {
    if Language::choose(setting(home), |name| std::env::var(name).ok()) == Language::Chinese {
        install_chinese();
    }
}

fn install_chinese() {
    let entries = po::parse(CHINESE).unwrap_or_default();
    language::install(entries.into_iter().filter(|entry| !entry.translation.is_empty()).map(|entry| (entry.id, entry.translation)));
}

/// Returns the language that is set for the home. If the home or its settings cannot be read, none
/// is set; the command itself reports the error.
fn setting(home: &Path) -> Option<Language> {
    let HomePaths { conf, .. } = home::paths(home);
    let all = read_conf(&conf).ok()?;
    all.get(SECTION)?.get(LANG).and_then(Value::as_str).and_then(Language::named)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn catalogue_can_be_read() {
        po::parse(CHINESE).unwrap();
    }
}
