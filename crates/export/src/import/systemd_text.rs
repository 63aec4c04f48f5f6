//! Words, escapes, specifiers and variables of a unit of systemd.

use std::collections::BTreeMap;

/// Splits a value at blanks as systemd does: quotes group, and C escapes work inside and outside of
/// them. `None`: a quote is not closed.
pub(super) fn words(text: &str) -> Option<Vec<String>> {
    let mut all = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_ascii_whitespace() => all.extend(word.take()),
            (None, '"' | '\'') => {
                word.get_or_insert_default();
                quote = Some(c);
            }
            (Some(open), c) if c == open => quote = None,
            (_, '\\') => escape(&mut chars, word.get_or_insert_default()),
            (_, c) => push(word.get_or_insert_default(), c),
        }
    }
    all.extend(word);
    quote.is_none().then(|| all.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect())
}

fn push(word: &mut Vec<u8>, c: char) {
    word.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Reads the text after a backslash. An unknown escape stays unchanged.
fn escape(chars: &mut std::str::Chars<'_>, word: &mut Vec<u8>) {
    let code = |chars: &mut std::str::Chars<'_>, skip: usize, digits: usize, radix: u32| {
        let text = chars.as_str();
        let number = u32::from_str_radix(text.get(skip..skip + digits)?, radix).ok()?;
        chars.nth(skip + digits - 1)?;
        Some(number)
    };
    let Some(c) = chars.clone().next() else { return word.push(b'\\') };
    let plain = match c {
        'a' => Some(7),
        'b' => Some(8),
        'f' => Some(12),
        'n' => Some(b'\n'),
        'r' => Some(b'\r'),
        't' => Some(b'\t'),
        'v' => Some(11),
        's' => Some(b' '),
        '\\' | '"' | '\'' => u8::try_from(c).ok(),
        _ => None,
    };
    if let Some(byte) = plain {
        chars.next();
        return word.push(byte);
    }
    let number = match c {
        'x' => code(chars, 1, 2, 16),
        'u' => code(chars, 1, 4, 16),
        'U' => code(chars, 1, 8, 16),
        '0'..='3' => code(chars, 0, 3, 8),
        _ => None,
    };
    match (c, number) {
        ('u' | 'U', Some(number)) => push(word, char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER)),
        (_, Some(number)) => word.push(u8::try_from(number).unwrap_or(b'?')),
        (_, None) => word.push(b'\\'),
    }
}

/// Values of specifiers.
#[derive(Clone, Debug, Default)]
pub(super) struct Specifiers {
    known: BTreeMap<char, String>,
}

impl Specifiers {
    /// Returns those of a system unit with this file name.
    pub(super) fn of(unit: &str, folder: Option<&str>, host: Option<&str>) -> Self {
        let stem = unit.strip_suffix(".service").unwrap_or(unit);
        let mut known: BTreeMap<char, String> = BTreeMap::new();
        let mut set = |letter: char, value: &str| drop(known.insert(letter, value.to_owned()));
        set('%', "%");
        set('n', unit);
        set('N', stem);
        let (prefix, instance) = stem.split_once('@').unwrap_or((stem, ""));
        set('p', prefix);
        set('P', &unescaped(prefix));
        set('j', prefix.rsplit('-').next().unwrap_or(prefix));
        // A template has no instance: its name is chosen at the start.
        if !instance.is_empty() || !stem.contains('@') {
            set('i', instance);
            set('I', &unescaped(instance));
            set('f', &format!("/{}", unescaped(if instance.is_empty() { prefix } else { instance })));
        }
        for (letter, value) in [('T', "/tmp"), ('V', "/var/tmp")] {
            set(letter, value);
        }
        // A user manager has its folders in the user's home.
        if !folder.is_some_and(|folder| folder.contains("/systemd/user")) {
            let folders = [('t', "/run"), ('S', "/var/lib"), ('C', "/var/cache"), ('L', "/var/log"), ('E', "/etc")];
            let manager = [('u', "root"), ('U', "0"), ('g', "root"), ('G', "0"), ('h', "/root"), ('s', "/bin/sh")];
            for (letter, value) in folders.into_iter().chain(manager) {
                set(letter, value);
            }
        }
        if let Some(host) = host {
            set('H', host);
            set('l', host.split('.').next().unwrap_or(host));
        }
        if let Some(folder) = folder {
            set('Y', folder);
            set('y', &format!("{}/{unit}", folder.trim_end_matches('/')));
        }
        Self { known }
    }

    /// Replaces the specifiers. Those without a known value stay, and their letters are added to
    /// `unknown`.
    pub(super) fn resolve(&self, text: &str, unknown: &mut Vec<char>) -> String {
        let mut out = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match (c, (c == '%').then(|| chars.next()).flatten()) {
                ('%', Some(letter)) => match self.known.get(&letter) {
                    Some(value) => out.push_str(value),
                    None => {
                        unknown.push(letter);
                        out.extend(['%', letter]);
                    }
                },
                _ => out.push(c),
            }
        }
        out
    }
}

/// Returns the name of a unit without its escapes: `-` is `/`, `\x2d` is `-`.
fn unescaped(name: &str) -> String {
    let mut out = Vec::new();
    let mut chars = name.chars();
    while let Some(c) = chars.next() {
        match c {
            '-' => out.push(b'/'),
            '\\' => escape(&mut chars, &mut out),
            c => push(&mut out, c),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Words of a command with their known variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ResolvedCommand {
    /// All variables are known.
    Words(Vec<String>),
    /// Some are unknown: this shell command line reads them when the app starts.
    Shell(String),
}

/// Resolves `${X}` in words, and `$X` as a separate word, which is split at blanks. `$$` is a
/// dollar sign.
pub(super) fn variables(words: &[String], value: &dyn Fn(&str) -> Option<String>) -> ResolvedCommand {
    let mut done = Vec::new();
    let mut shell: Vec<String> = Vec::new();
    let mut is_known = true;
    for word in words {
        if let Some(name) = word.strip_prefix('$').filter(|name| is_name(name)) {
            match value(name) {
                Some(value) => {
                    let split: Vec<String> = value.split_ascii_whitespace().map(str::to_owned).collect();
                    shell.extend(split.iter().map(|word| crate::quote::sh(word)));
                    done.extend(split);
                }
                None => {
                    is_known = false;
                    shell.push(format!("${name}"));
                }
            }
            continue;
        }
        let parts = parts(word);
        let known: Option<String> = parts
            .iter()
            .map(|part| match part {
                WordPart::Text(text) => Some(text.clone()),
                WordPart::Variable(name) => value(name),
            })
            .collect();
        is_known &= known.is_some();
        shell.push(match &known {
            Some(word) => crate::quote::sh(word),
            None => parts
                .iter()
                .map(|part| match part {
                    WordPart::Text(text) => crate::quote::sh(text),
                    WordPart::Variable(name) => format!("\"${{{name}}}\""),
                })
                .collect(),
        });
        done.push(known.unwrap_or_default());
    }
    if is_known { ResolvedCommand::Words(done) } else { ResolvedCommand::Shell(shell.join(" ")) }
}

enum WordPart {
    Text(String),
    Variable(String),
}

fn parts(word: &str) -> Vec<WordPart> {
    let mut all = Vec::new();
    let mut text = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        let variable = after.strip_prefix('{').and_then(|inner| inner.split_once('}')).filter(|(name, _)| is_name(name));
        if let Some(after) = after.strip_prefix('$') {
            text.push('$');
            rest = after;
        } else if let Some((name, after)) = variable {
            if !text.is_empty() {
                all.push(WordPart::Text(std::mem::take(&mut text)));
            }
            all.push(WordPart::Variable(name.to_owned()));
            rest = after;
        } else {
            text.push('$');
            rest = after;
        }
    }
    text.push_str(rest);
    if !text.is_empty() || all.is_empty() {
        all.push(WordPart::Text(text));
    }
    all
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_split_with_quotes_and_escapes() {
        for (text, expected) in [
            (r#"a "b c" 'd "e' f"#, Some(&["a", "b c", "d \"e", "f"][..])),
            (r#"a\x20b "\t\"" '\'' \101 \u00fc \s \q"#, Some(&["a b", "\t\"", "'", "A", "ü", " ", "\\q"])),
            (r"\xc3\xbc end\", Some(&["ü", "end\\"])),
            (r#""" x"#, Some(&["", "x"])),
            ("a 'b", None),
        ] {
            assert_eq!(words(text), expected.map(|words| words.iter().map(|word| (*word).to_owned()).collect()), "{text}");
        }
    }

    #[test]
    fn known_specifiers_are_resolved() {
        let resolve = |unit: &str, text: &str| {
            let mut unknown = Vec::new();
            let text = Specifiers::of(unit, Some("/etc/systemd/system"), Some("a.example")).resolve(text, &mut unknown);
            (text, unknown)
        };
        for (unit, text, expected, unknown) in [
            (
                "api.service",
                "%n %N %p [%i] %% %t %S %C %L %E %h %u",
                "api.service api api [] % /run /var/lib /var/cache /var/log /etc /root root",
                &[][..],
            ),
            ("web@a-b\\x2dc.service", "%p %i %I %f", "web a-b\\x2dc a/b-c /a/b-c", &[]),
            ("web@.service", "%p %i", "web %i", &['i']),
            ("api.service", "%H %l %y %m 5%", "a.example a /etc/systemd/system/api.service %m 5%", &['m']),
        ] {
            assert_eq!(resolve(unit, text), (expected.to_owned(), unknown.to_vec()), "{unit}: {text}");
        }
    }

    #[test]
    fn command_variables_are_expanded_or_left_to_the_shell() {
        let value = |name: &str| match name {
            "A" => Some("1 2".to_owned()),
            "E" => Some(String::new()),
            _ => None,
        };
        for (text, expected) in [
            ("x ${A} $A y${A}z $$A $E ${E}", ResolvedCommand::Words(["x", "1 2", "1", "2", "y1 2z", "$A", ""].map(str::to_owned).to_vec())),
            ("x --p=${P} $Q '$ {' $A", ResolvedCommand::Shell("x '--p='\"${P}\" $Q '$ {' 1 2".to_owned())),
        ] {
            assert_eq!(variables(&words(text).unwrap(), &value), expected, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics_on_any_text(text in r#"[a-f0-9xuU\\"'$%{} ü]{0,30}"#) {
            let mut unknown = Vec::new();
            let text = Specifiers::of(&text, Some(&text), None).resolve(&text, &mut unknown);
            if let Some(words) = words(&text) {
                variables(&words, &|_| None);
            }
        }
    }
}
