//! Env files as other programs read them: finds the lines that have another meaning there than in
//! ostler.
//!
//! The files themselves are passed on unchanged, because no file that [`export`](crate::export)
//! writes contains their values. Values are not shown here either.

use std::collections::BTreeMap;

use ostler_core::app::EnvMap;
use ostler_core::text::language::translated;
use ostler_core::{marked, message};

use crate::import::dotenv;
use crate::{Options, Target};

/// An env file of an app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvFile {
    /// Its text.
    pub text: String,
    /// Its variables as ostler reads them, in the app's format.
    pub variables: EnvMap,
    /// Its variables as systemd's `EnvironmentFile=` reads them.
    pub systemd: EnvMap,
}

/// Largest number of lines of a file that are named.
const MOST: usize = 10;

/// Program that reads the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    /// `kubectl create … --from-env-file`.
    Kubectl,
    /// `docker stack deploy`, which reads as `docker run --env-file` does.
    Stack,
    Compose,
    Systemd,
}

impl Reader {
    fn of(target: Target, options: &Options) -> Option<Self> {
        match target {
            Target::Kubernetes => Some(Self::Kubectl),
            Target::Compose if options.swarm => Some(Self::Stack),
            Target::Compose => Some(Self::Compose),
            Target::Systemd => Some(Self::Systemd),
            Target::Dockerfile | Target::Nomad | Target::GithubActions | Target::GitlabCi => None,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Kubectl => "kubectl",
            Self::Stack => "docker stack",
            Self::Compose => "Compose",
            Self::Systemd => "systemd",
        }
    }

    /// Returns the change of a line that makes all readers agree.
    fn advice(self) -> &'static str {
        match self {
            Self::Kubectl => marked!("write NAME=value without quotes, or give the variable with --from-literal"),
            Self::Stack => marked!("write NAME=value without quotes"),
            Self::Compose => marked!("put a value with $ into single quotes"),
            Self::Systemd => marked!("write NAME=value without `export` and without a comment after the value"),
        }
    }
}

/// Result of reading a file with a program: each variable with its value, or the reason why it has
/// none.
type ReadVariables = BTreeMap<String, Result<String, &'static str>>;

/// Returns one line about each part of a file that the target reads differently than ostler.
pub(crate) fn differences(path: &str, file: &EnvFile, target: Target, options: &Options) -> Vec<String> {
    let Some(reader) = Reader::of(target, options) else { return Vec::new() };
    let (by, advice) = (reader.word(), translated(reader.advice()));
    let (reading, mut lines) = match reader {
        Reader::Kubectl | Reader::Stack => plain_lines(&file.text, reader),
        Reader::Systemd => (file.systemd.iter().map(|(name, value)| (name.clone(), Ok(value.clone()))).collect(), Vec::new()),
        Reader::Compose => match dotenv::parse(&file.text, &|_| None) {
            Ok(variables) => (variables.into_iter().map(|(name, value)| (name, Ok(value))).collect(), Vec::new()),
            // The rest of the reason may contain a part of a value.
            Err(error) => return vec![message!("{path}: {program} rejects line {line}", path, program = by, line = error.line)],
        },
    };
    for (name, value) in &file.variables {
        let difference = match reading.get(name) {
            Some(Ok(read)) if read == value => continue,
            Some(Ok(read)) => otherwise(value, read),
            Some(Err(why)) => why,
            None => marked!("is not read"),
        };
        lines.push((line_of(&file.text, name), format!("{name} {}", translated(difference))));
    }
    lines.sort();
    let more = lines.len().saturating_sub(MOST);
    let shown =
        lines.iter().take(MOST).map(|(line, what)| message!("line {line}: {reason}", line, reason = what)).collect::<Vec<_>>().join("; ");
    match more {
        _ if lines.is_empty() => Vec::new(),
        0 => vec![message!("{program} reads {path} differently: {lines}: {advice}", program = by, path, lines = shown, advice)],
        more => vec![message!(
            "{program} reads {path} differently: {lines}; and {more} more: {advice}",
            program = by,
            path,
            lines = shown,
            more,
            advice
        )],
    }
}

/// Describes how the value that was read differs from ostler's, without showing either.
fn otherwise(ours: &str, read: &str) -> &'static str {
    let inner = |quote: char| read.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    match () {
        () if ours.contains('\n') => marked!("has several lines, of which only the first is read"),
        () if read.starts_with(['"', '\'', '`']) && ['"', '\'', '`'].into_iter().any(|quote| inner(quote).is_some()) => {
            marked!("keeps its quotes")
        }
        () if read.starts_with(ours) && read[ours.len()..].trim_start().starts_with('#') => marked!("keeps the comment after its value"),
        () if read.trim() == ours => marked!("keeps the spaces around its value"),
        () if read.starts_with(['"', '\'', '`']) => marked!("keeps its quotes and the text after them"),
        () if ours.contains('$') && !read.contains(ours) => marked!("has a $, which starts a reference there"),
        () => marked!("has another value"),
    }
}

/// Reads `NAME=value` lines in which only the first `=` is special. Rejected lines are returned
/// beside the variables.
fn plain_lines(text: &str, reader: Reader) -> (ReadVariables, Vec<(usize, String)>) {
    let (mut reading, mut refused) = (ReadVariables::new(), Vec::new());
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_start_matches('\u{feff}').trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').map_or((line, None), |(name, value)| (name, Some(value)));
        let bare = name.trim().strip_prefix("export ").map_or(name.trim(), str::trim);
        if is_accepted(name, reader) {
            reading.insert(name.to_owned(), value.map(str::to_owned).ok_or(marked!("has no value, so the caller's value is used")));
        } else if ostler_like(bare) {
            reading.insert(bare.to_owned(), Err(marked!("has `export` or a space before its `=`, which is rejected")));
        } else {
            refused.push((at + 1, message!("is not NAME=value, which is rejected")));
        }
    }
    (reading, refused)
}

/// Returns true for a name that the reader accepts.
fn is_accepted(name: &str, reader: Reader) -> bool {
    match reader {
        Reader::Kubectl => {
            let is_good = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty() && name.chars().all(is_good)
        }
        _ => !name.is_empty() && !name.contains(char::is_whitespace),
    }
}

fn ostler_like(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Returns the number of the last line that sets this variable, or 1 if no line does.
fn line_of(text: &str, name: &str) -> usize {
    let gives = |line: &str| {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        line.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with(['=', ':']))
    };
    text.lines().enumerate().filter(|(_, line)| gives(line)).last().map_or(1, |(at, _)| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# a comment\nPLAIN=a value\nexport EXPORTED=1\nQUOTED=\"x y\"\nCOMMENT=v # why\nHASH='a#b'\nLINES=\"one\ntwo\"\nREF='$HOME'\nDOLLAR=a$HOME\nBLANK = b\n";

    fn file(text: &str) -> EnvFile {
        let variables = [
            ("PLAIN", "a value"),
            ("EXPORTED", "1"),
            ("QUOTED", "x y"),
            ("COMMENT", "v"),
            ("HASH", "a#b"),
            ("LINES", "one\ntwo"),
            ("REF", "$HOME"),
            ("DOLLAR", "a$HOME"),
            ("BLANK", "b"),
        ];
        let variables = |text: &str| {
            variables.into_iter().filter(|(name, _)| text.contains(name)).map(|(name, value)| (name.into(), value.into())).collect()
        };
        // systemd supports no `export` and no comment after a value.
        let mut systemd: EnvMap = variables(text);
        systemd.shift_remove("EXPORTED");
        systemd.entry("COMMENT".into()).and_modify(|value| *value = "v # why".into());
        EnvFile { text: text.into(), variables: variables(text), systemd }
    }

    fn reported_differences(target: Target, options: &Options) -> String {
        differences(".env", &file(TEXT), target, options).join("\n")
    }

    #[test]
    fn differences_are_reported_for_each_reader() {
        let plain = Options::default();
        let refused = "has `export` or a space before its `=`, which is rejected";
        let kubectl = format!(
            "kubectl reads .env differently: line 3: EXPORTED {refused}; line 4: QUOTED keeps its quotes; line 5: COMMENT keeps the \
             comment after its value; line 6: HASH keeps its quotes; line 7: LINES has several lines, of which only the first is read; \
             line 8: is not NAME=value, which is rejected; line 9: REF keeps its quotes; line 11: BLANK {refused}: write NAME=value \
             without quotes, or give the variable with --from-literal"
        );
        assert_eq!(reported_differences(Target::Kubernetes, &plain), kubectl);
        let stack = reported_differences(Target::Compose, &Options { swarm: true, ..Options::default() });
        assert!(stack.contains("docker stack reads .env differently: line 3") && stack.contains("line 4: QUOTED keeps"), "{stack}");
        assert_eq!(
            reported_differences(Target::Compose, &plain),
            "Compose reads .env differently: line 10: DOLLAR has a $, which starts a reference there: put a value with $ into single \
             quotes"
        );
        assert_eq!(
            reported_differences(Target::Systemd, &plain),
            "systemd reads .env differently: line 3: EXPORTED is not read; line 5: COMMENT keeps the comment after its value: \
             write NAME=value without `export` and without a comment after the value"
        );
        for target in [Target::Nomad, Target::Dockerfile] {
            assert_eq!(reported_differences(target, &plain), "");
        }
    }

    #[test]
    fn file_without_differences_is_not_reported() {
        let text = "# c\n\nPLAIN=a value\n";
        for target in [Target::Kubernetes, Target::Compose, Target::Systemd] {
            assert!(differences(".env", &file(text), target, &Options::default()).is_empty(), "{target:?}");
        }
    }

    #[test]
    fn values_are_never_shown_and_long_lists_are_truncated() {
        let text: String = (0..30).map(|n| format!("V{n}=\"secret{n}\"\n")).collect();
        let variables: EnvMap = (0..30).map(|n| (format!("V{n}"), format!("secret{n}"))).collect();
        let file = EnvFile { text, variables, systemd: EnvMap::new() };
        let text = differences(".env", &file, Target::Kubernetes, &Options::default()).join("");
        assert!(text.contains("and 20 more") && !text.contains("secret"), "{text}");
        let bad = EnvFile { text: "A='hidden".into(), ..EnvFile::default() };
        assert!(!differences(".env", &bad, Target::Compose, &Options::default()).join("").contains("hidden"));
    }
}
