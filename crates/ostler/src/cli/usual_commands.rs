//! `help` on one screen: the commands that people use.

use std::fmt::Write as _;

use super::commands::find;
use crate::text::wrap_words;

/// The commands, below their headings.
const SCREEN: &[(&str, &[&str])] = &[
    ("Start and change", &["start", "restart", "reload", "scale", "stop", "delete"]),
    ("Look", &["list", "logs", "monit", "describe", "why", "errors", "top"]),
    ("Set up", &["validate", "up", "deploy", "save", "startup", "web", "doctor"]),
];

/// Width of the names.
const NAMES: usize = 10;

/// Returns the help that fits one screen.
pub(crate) fn usual_help(program: &str, width: Option<usize>) -> String {
    let mut out = format!("Usage: {program} <command> [options]\n");
    for (heading, names) in SCREEN {
        let _ = writeln!(out, "\n{heading}:");
        for command in names.iter().filter_map(|name| find(name)) {
            pair(&mut out, command.name, command.help, NAMES, width);
        }
    }
    out.push('\n');
    for (words, help) in [
        ("help <command>", "options and examples of one command"),
        ("help --all", "every command and option"),
        ("examples", "examples of every command"),
    ] {
        pair(&mut out, &format!("{program} {words}"), help, program.len() + 16, width);
    }
    out
}

fn pair(out: &mut String, left: &str, right: &str, columns: usize, width: Option<usize>) {
    let mut lines = wrap_words(right, width.unwrap_or(usize::MAX).saturating_sub(columns + 3).max(20)).into_iter();
    let _ = writeln!(out, "  {left:columns$} {}", lines.next().unwrap_or_default());
    for line in lines {
        let _ = writeln!(out, "  {:columns$} {line}", "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_screen_has_twenty_commands() {
        let names: Vec<&str> = SCREEN.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        assert_eq!(names.len(), 20);
        names.iter().for_each(|name| assert!(find(name).is_some(), "{name}"));
        assert!(usual_help("ostler", Some(80)).lines().count() <= 32);
    }
}
