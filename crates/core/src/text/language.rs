//! Language of texts for people. English is in the sources; a catalogue has the translations.
//!
//! [`message!`](crate::message) formats a text in the language of this process.
//! [`marked!`](crate::marked) marks a text that [`translated`] translates later, for example a row
//! of a table. `cargo xtask generate` collects both into the catalogue; its check fails if a
//! translation is missing, unused, or names another parameter.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::OnceLock;

/// Translations by their English text. Unset means English.
static CATALOGUE: OnceLock<HashMap<String, String>> = OnceLock::new();

/// Language in which a process writes for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// English.
    English,
    /// Simplified Chinese.
    Chinese,
}

impl Language {
    /// Values of the setting `ostler:lang`.
    pub const NAMES: [&str; 2] = ["en", "zh"];

    /// Returns the language that a value of the setting `ostler:lang` names.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "en" => Some(Self::English),
            "zh" => Some(Self::Chinese),
            _ => None,
        }
    }

    /// Chooses the language. `LC_ALL=C` means English, because scripts rely on it. Otherwise the
    /// setting decides, then `LC_ALL`, `LC_MESSAGES` and `LANG`, as in other programs.
    pub fn choose(setting: Option<Self>, variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        if set("LC_ALL").is_some_and(|locale| matches!(locale.as_str(), "C" | "POSIX")) {
            return Self::English;
        }
        let locale = || ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().find_map(set);
        setting.unwrap_or_else(|| locale().map_or(Self::English, |locale| Self::of_locale(&locale)))
    }

    /// Returns the language of a locale such as `zh_CN.UTF-8`; English if there is no translation.
    fn of_locale(locale: &str) -> Self {
        match locale.split(['_', '.', '@', '-']).next() {
            Some("zh") => Self::Chinese,
            _ => Self::English,
        }
    }
}

/// Sets the translations of this process. Only the first call has an effect.
pub fn install(translations: impl IntoIterator<Item = (String, String)>) {
    CATALOGUE.get_or_init(|| translations.into_iter().collect());
}

/// Returns the translation of an English text; none in English.
pub fn translation(text: &str) -> Option<&'static str> {
    CATALOGUE.get()?.get(text).map(String::as_str)
}

/// Returns the text in the language of this process.
pub fn translated(text: &'static str) -> &'static str {
    translation(text).unwrap_or(text)
}

/// Replaces each `{name}` of a translation by its value. `{{` and `}}` are braces, as in `format!`.
pub fn fill(pattern: &str, values: &[(&str, &dyn Display)]) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let tail = &rest[at..];
        rest = if let Some(after) = tail.strip_prefix("{{").or_else(|| tail.strip_prefix("}}")) {
            out.push_str(&tail[..1]);
            after
        } else if let Some((name, after)) = tail[1..].split_once('}')
            && let Some((_, value)) = values.iter().find(|(other, _)| *other == name)
        {
            out.push_str(&value.to_string());
            after
        } else {
            out.push_str(&tail[..1]);
            &tail[1..]
        };
    }
    out.push_str(rest);
    out
}

/// Formats a text for people in the language of this process. The text is a literal with named
/// parameters; a parameter is a variable or `name = value`.
///
/// ```
/// let app = "api";
/// assert_eq!(ostler_core::message!("cannot start {app}: {why}", app, why = 7), "cannot start api: 7");
/// ```
#[macro_export]
macro_rules! message {
    ($text:literal $(, $name:ident $(= $value:expr)?)* $(,)?) => {
        match $crate::text::language::translation($text) {
            None => ::std::format!($text $(, $name = $crate::message!(@value $name $(= $value)?))*),
            Some(pattern) => $crate::text::language::fill(
                pattern,
                &[$((::core::stringify!($name), &$crate::message!(@value $name $(= $value)?) as &dyn ::core::fmt::Display)),*],
            ),
        }
    };
    (@value $name:ident) => { $name };
    (@value $name:ident = $value:expr) => { $value };
}

/// Marks a literal as a text for people that is translated when it is shown. Returns it unchanged.
#[macro_export]
macro_rules! marked {
    ($text:literal) => {
        $text
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn language_follows_setting_and_locale() {
        use Language::{Chinese, English};
        for (setting, set, wanted) in [
            (None, &[][..], English),
            (None, &[("LANG", "zh_CN.UTF-8")], Chinese),
            (None, &[("LANG", "zh")], Chinese),
            (None, &[("LANG", "en_US.UTF-8"), ("LC_MESSAGES", "zh_CN.UTF-8")], Chinese),
            (None, &[("LANG", "zh_CN.UTF-8"), ("LC_ALL", "de_DE.UTF-8")], English),
            (None, &[("LANG", "zh_CN.UTF-8"), ("LC_ALL", "")], Chinese),
            (None, &[("LANG", "zha_CN")], English),
            (Some(Chinese), &[("LANG", "en_US.UTF-8")], Chinese),
            (Some(English), &[("LANG", "zh_CN.UTF-8")], English),
            (Some(Chinese), &[("LC_ALL", "C")], English),
            (Some(Chinese), &[("LC_ALL", "C.UTF-8")], Chinese),
        ] {
            let variable = |name: &str| set.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
            assert_eq!(Language::choose(setting, variable), wanted, "{setting:?} {set:?}");
        }
        assert_eq!(Language::NAMES.map(Language::named), [Some(English), Some(Chinese)]);
    }

    #[test]
    fn translations_are_filled_by_name() {
        let values: &[(&str, &dyn Display)] = &[("app", &"a{pi}"), ("count", &3)];
        for (pattern, expected) in [
            ("{count} 个 {app}", "3 个 a{pi}"),
            ("{{app}} {app}", "{app} a{pi}"),
            ("没有参数", "没有参数"),
            ("{unknown} {", "{unknown} {"),
            ("}} }", "} }"),
            ("", ""),
        ] {
            assert_eq!(fill(pattern, values), expected);
        }
    }

    #[test]
    fn messages_are_english_until_a_catalogue_is_installed() {
        let name = "api";
        let started = || message!("started {name} in {ms} ms", name, ms = 5);
        assert_eq!(started(), "started api in 5 ms");
        install([("started {name} in {ms} ms".to_owned(), "{name} 已启动（{ms} 毫秒）".to_owned())]);
        assert_eq!(started(), "api 已启动（5 毫秒）");
        assert_eq!(message!("not in the catalogue"), "not in the catalogue");
        assert_eq!(translated(marked!("list apps")), "list apps");
    }
}
