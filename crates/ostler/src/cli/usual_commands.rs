//! `help` on one screen: the commands that people use.

use std::fmt::Write as _;

use super::lookup::find;
use crate::text::wrap_words;
use ostler_core::text::language::translated;
use ostler_core::{marked, message};

/// The commands, below their headings.
const SCREEN: &[(&str, &[&str])] = &[
    (marked!("Start and change"), &["start", "restart", "reload", "scale", "stop", "delete"]),
    (marked!("Inspect"), &["list", "logs", "monit", "describe", "why", "errors", "top"]),
    (marked!("Set up"), &["validate", "up", "deploy", "save", "startup", "web", "doctor"]),
];

/// Width of the names.
const NAMES: usize = 10;

/// Returns the help that fits one screen.
pub(crate) fn usual_help(program: &str, width: Option<usize>) -> String {
    let mut out = format!("{}\n", message!("Usage: {program} <command> [options]", program));
    for (heading, names) in SCREEN {
        let _ = writeln!(out, "\n{}:", translated(heading));
        for command in names.iter().filter_map(|name| find(name)) {
            pair(&mut out, command.name, translated(command.help), NAMES, width);
        }
    }
    out.push('\n');
    for (words, help) in [
        ("help <command>", message!("options and examples of one command")),
        ("help --all", message!("every command and option")),
        ("examples", message!("examples of every command")),
    ] {
        pair(&mut out, &format!("{program} {words}"), &help, program.len() + 16, width);
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
