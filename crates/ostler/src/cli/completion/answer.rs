//! Answer to a shell: the words that fit, each on a line, and instructions on lines that begin with a
//! tab.
//!
//! | line | meaning |
//! |---|---|
//! | `\tnospace` | no blank follows the word |
//! | `\tfiles`, `\tfolders` | the shell adds files or folders |
//!
//! For bash, three lines follow `\tfiles` and `\tfolders`: the typed path, the part of it that bash
//! keeps, and a text before each path. For zsh and fish, one line follows: the typed text before the
//! path.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::super::table::Fits;
use super::Shell;
use super::question::Question;
use super::suggestion::Suggestion;
use crate::text::shown;

/// Files that the shell adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileKind {
    Files,
    Folders,
}

/// Returns the answer, with words that were found for the question.
pub(crate) fn answer(shell: Shell, question: &Question, found: Vec<Suggestion>) -> String {
    let words = offered(question, found);
    let fitting: Vec<&Suggestion> = words.iter().filter(|offer| offer.word.starts_with(&question.typed)).collect();
    let files = files(question, fitting.is_empty());
    let mut out = String::new();
    if !fitting.is_empty() && fitting.iter().all(|offer| offer.word.ends_with('=')) {
        out += "\tnospace\n";
    }
    match shell {
        Shell::Bash => fitting.iter().for_each(|offer| {
            let word = format!("{}{}", question.lead, offer.word);
            let _ = writeln!(out, "{}", question.bash.replacement(&word, files.is_some()));
        }),
        // These shells search in the words on their own, and in other ways than from the start.
        Shell::Zsh => words.iter().for_each(|offer| zsh_line(&mut out, &question.lead, offer)),
        Shell::Fish => words.iter().for_each(|offer| {
            let _ = writeln!(out, "{}{}\t{}", question.lead, offer.word, offer.about);
        }),
    }
    if let Some(kind) = files.filter(|_| !question.typed.contains(char::is_control)) {
        out += if kind == FileKind::Files { "\tfiles\n" } else { "\tfolders\n" };
        let _ = match shell {
            Shell::Bash => writeln!(out, "{}\n{}", question.typed, bash_parts(question)),
            Shell::Zsh | Shell::Fish => writeln!(out, "{}", question.lead),
        };
    }
    out
}

/// Returns the words that may be offered, each once. Words with control characters are left out.
fn offered(question: &Question, found: Vec<Suggestion>) -> Vec<Suggestion> {
    let mut seen: BTreeSet<String> = question.taken.iter().cloned().collect();
    let is_possible = |offer: &Suggestion| {
        let is_plain = !offer.word.is_empty() && shown(&offer.word) == offer.word;
        is_plain && (question.takes_dashes || !offer.word.starts_with('-'))
    };
    let found = found.into_iter().filter(is_possible);
    let mut words: Vec<Suggestion> = question.known.iter().cloned().chain(found).filter(|offer| seen.insert(offer.word.clone())).collect();
    words.iter_mut().for_each(|offer| offer.about = shown(&offer.about));
    words
}

/// Returns the files that the shell adds. If apps are offered too, config files are in the current
/// folder unless the user types a path.
fn files(question: &Question, is_nothing_else: bool) -> Option<FileKind> {
    let is_path = question.typed.contains('/') || question.typed.starts_with(['.', '~']);
    let has = |fits| question.fits.contains(&fits);
    match () {
        () if has(Fits::Files) => Some(FileKind::Files),
        () if has(Fits::Folders) => Some(FileKind::Folders),
        () if has(Fits::ConfigFiles) && (is_path || is_nothing_else && !has(Fits::Apps)) => Some(FileKind::Folders),
        () => None,
    }
}

fn zsh_line(out: &mut String, lead: &str, offer: &Suggestion) {
    for c in lead.chars().chain(offer.word.chars()) {
        if matches!(c, ':' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    if !offer.about.is_empty() {
        let _ = write!(out, ":{}", offer.about);
    }
    out.push('\n');
}

/// Returns the part of the typed path that bash keeps, and the text before each path.
fn bash_parts(question: &Question) -> String {
    let (kept, lead) = (question.bash.kept.as_str(), question.lead.as_str());
    match kept.strip_prefix(lead) {
        Some(cut) => format!("{cut}\n"),
        None => format!("\n{}", lead.strip_prefix(kept).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::question::question;
    use super::*;

    fn answered(shell: Shell, words: &[&str], found: &[(&str, &str)]) -> String {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let found = found.iter().map(|(word, about)| Suggestion::new(*word, *about)).collect();
        answer(shell, &question(shell, &words), found)
    }

    #[test]
    fn each_shell_gets_its_own_form() {
        let apps =
            [("my app", "online"), ("a:b\\c", "2 instances"), ("-rf", "online"), ("x\u{1b}[2J", ""), ("evil\u{202e}", ""), ("7", "")];
        assert_eq!(answered(Shell::Zsh, &["describe", ""], &apps), "my app:online\na\\:b\\\\c:2 instances\n7\n");
        assert_eq!(answered(Shell::Fish, &["ostler", "describe", ""], &apps), "my app\tonline\na:b\\c\t2 instances\n7\t\n");
        assert_eq!(answered(Shell::Bash, &["", "", "ostler", "describe", ""], &apps), "my\\ app\na:b\\\\c\n7\n");
        assert_eq!(answered(Shell::Bash, &["ostler describe a:", "", "ostler", "describe", "a", ":"], &apps), "b\\\\c\n");
        assert_eq!(answered(Shell::Bash, &["ostler describe \"my", "my", "ostler", "describe", "\"my"], &apps), "my app\n");
    }

    #[test]
    fn values_keep_the_typed_start() {
        let apps = [("api", ""), ("web", ""), ("-x", "")];
        assert_eq!(answered(Shell::Zsh, &["start", "--only=api,"], &apps), "--only=api,web\n--only=api,-x\n");
        let words = ["ostler start --only=api,w", "api,w", "ostler", "start", "--only", "=", "api,w"];
        assert_eq!(answered(Shell::Bash, &words, &apps), "api,web\n");
        assert_eq!(answered(Shell::Bash, &["", "--only=api,w", "ostler", "start", "--only=api,w"], &apps), "--only=api,web\n");
        assert_eq!(answered(Shell::Fish, &["ostler", "up", "--scale", ""], &[("api=", "")]), "\tnospace\napi=\t\n");
    }

    proptest::proptest! {
        /// Any words and names: each line is one word without control characters, or an instruction.
        #[test]
        fn answer_has_no_control_characters(
            words in proptest::collection::vec("(restart|start|--only|--|=|,|:|\\PC{0,6})", 1..6),
            names in proptest::collection::vec("(\\PC{0,12}|[a-c:\\\\'\"$ -]{0,5}|\u{1b}\\[31m|שלום)", 0..5),
        ) {
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                let found = names.iter().map(|name| Suggestion::new(name.as_str(), name.as_str())).collect();
                let text = answer(shell, &question(shell, &words), found);
                for line in text.lines() {
                    let (word, about) = line.split_once('\t').filter(|_| shell == Shell::Fish).unwrap_or((line, ""));
                    let is_instruction = ["\tfiles", "\tfolders", "\tnospace"].contains(&line);
                    proptest::prop_assert!(is_instruction || !word.contains(char::is_control) && !about.contains(char::is_control), "{:?}", line);
                }
            }
        }
    }

    #[test]
    fn files_are_left_to_the_shell() {
        assert_eq!(answered(Shell::Zsh, &["start", "a"], &[("api", "")]), "api\n\tfiles\n\n");
        assert_eq!(answered(Shell::Zsh, &["start", "--env-file=x"], &[]), "\tfiles\n--env-file=\n");
        assert_eq!(answered(Shell::Bash, &["", "a b", "ostler", "start", "a b"], &[("a b c", "")]), "a b c\n\tfiles\na b\n\n\n");
        let split = ["ostler start --env-file=x", "x", "ostler", "start", "--env-file", "=", "x"];
        assert_eq!(answered(Shell::Bash, &split, &[]), "\tfiles\nx\n\n\n");
        assert_eq!(answered(Shell::Bash, &["", "--env-file=x", "ostler", "start", "--env-file=x"], &[]), "\tfiles\nx\n\n--env-file=\n");
        assert_eq!(answered(Shell::Bash, &["ostler start a:x", "x", "ostler", "start", "a", ":", "x"], &[]), "\tfiles\na:x\na:\n\n");
        // Beside apps, only a typed path leads to folders.
        assert_eq!(answered(Shell::Zsh, &["restart", "a"], &[("api", "")]), "api\n");
        assert_eq!(answered(Shell::Zsh, &["restart", "./a"], &[("api", "")]), "api\n\tfolders\n\n");
        assert_eq!(answered(Shell::Zsh, &["validate", "x"], &[("ecosystem.json", "")]), "ecosystem.json\n\tfolders\n\n");
        assert_eq!(answered(Shell::Zsh, &["list", ""], &[]), "");
    }
}
