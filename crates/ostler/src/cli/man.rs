//! `ostler(1)`, from the table: the text that `man` shows.
//!
//! Source: man(7), groff_man(7). All commands are on one page: they share most options, and readers
//! find a word in one place.

use std::fmt::Write;

use ostler_core::environment::{SETTINGS, Setting};
use ostler_core::message;
use ostler_core::text::language::translated;

use super::commands::COMMANDS;
use super::exit_codes::exit_codes;
use super::help::{GROUPS, SECTIONS, group_title, section_title, spelling, usage};
use super::options::GLOBAL;
use super::table::{AppOptions, Availability, Opt};
use crate::client::VERSION;

/// Returns the page as roff.
pub(crate) fn man_page(program: &str) -> String {
    let mut out = format!(".TH {} 1 \"\" \"{program} {VERSION}\" \"User Commands\"\n", program.to_uppercase());
    heading(&mut out, &message!("Name"));
    let about = message!("process manager for production, a drop-in replacement of PM2");
    let _ = writeln!(out, "{} \\- {}", text(program), text(&about));
    heading(&mut out, &message!("Synopsis"));
    let [command, optional] = [message!("command"), message!("options")].map(|word| text(&word));
    let arguments = quoted(&message!("arguments of the app"));
    let _ = writeln!(out, ".B {}\n.I {command}\n.RI [ {optional} ]\n.RB [ \\-\\-\n.IR {arguments} ]", text(program));
    heading(&mut out, &message!("Description"));
    paragraph(
        &mut out,
        &message!("{program} starts apps, keeps them running, shows what they do and replaces them without losing a request.", program),
    );
    paragraph(&mut out, &message!("Options may come before or after the command. Everything after -- belongs to the app."));
    for section in SECTIONS {
        heading(&mut out, section_title(*section));
        for command in COMMANDS.iter().filter(|command| command.section == *section) {
            let _ = writeln!(out, ".TP\n.B {}", quoted(&usage(command)));
            match command.state {
                Availability::Works => sentence(&mut out, translated(command.help)),
                Availability::Elsewhere(what) => sentence(&mut out, translated(what)),
            }
            if !command.options.is_empty() {
                out.push_str(".RS\n");
                options(&mut out, command.options.iter());
                out.push_str(".RE\n");
            }
            let mut others: Vec<String> = command.listed_options().map(|opt| format!("--{}", opt.long)).collect();
            others.extend((command.app_options != AppOptions::None).then(|| message!("the options of apps")));
            if !others.is_empty() {
                let _ = writeln!(out, ".IP\n{}", line(&message!("Also: {options}.", options = others.join(", "))));
            }
            if !command.examples.is_empty() {
                out.push_str(".IP\n.nf\n");
                for example in command.examples {
                    let _ = writeln!(out, "{}", line(&format!("{program} {example}")));
                }
                out.push_str(".fi\n");
            }
        }
    }
    for group in GROUPS {
        heading(&mut out, group_title(*group));
        options(&mut out, GLOBAL.iter().filter(|opt| opt.group == *group));
    }
    heading(&mut out, &message!("Exit status"));
    for exit in exit_codes() {
        let _ = writeln!(out, ".TP\n.B {}\n{}", exit.status.code(), line(translated(exit.meaning)));
    }
    paragraph(&mut out, &message!("Called as pm2, every failure is 1."));
    heading(&mut out, &message!("Environment"));
    for Setting { name, values, default, meaning, .. } in SETTINGS {
        let [values, default, meaning] = [values, default, meaning].map(translated);
        let words = message!("{meaning}: {values} (default: {default})", meaning, values, default);
        let _ = writeln!(out, ".TP\n.B {}\n{}", text(name), line(&words));
    }
    heading(&mut out, &message!("Files"));
    let _ = writeln!(out, ".TP\n.I {}\n{}", quoted(&format!("~/.{program}")), line(&message!("the home: sockets, logs, the saved list")));
    heading(&mut out, &message!("See also"));
    out.push_str(".BR systemd.service (5),\n.BR logrotate (8)\n");
    out
}

fn heading(out: &mut String, title: &str) {
    let _ = writeln!(out, ".SH {}", quoted(&title.to_uppercase()));
}

fn paragraph(out: &mut String, words: &str) {
    let _ = writeln!(out, ".PP\n{}", line(words));
}

fn sentence(out: &mut String, words: &str) {
    let mut letters = words.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    let _ = writeln!(out, "{}.", line(&format!("{first}{}", letters.as_str().trim_end_matches('.'))));
}

fn options<'a>(out: &mut String, options: impl Iterator<Item = &'a Opt>) {
    for opt in options {
        let _ = writeln!(out, ".TP\n.B {}\n{}", quoted(&spelling(opt)), line(translated(opt.help)));
    }
}

/// Escapes text anywhere in a line.
fn text(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    for letter in words.chars() {
        match letter {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '`' => out.push_str("\\(ga"),
            '\'' => out.push_str("\\(aq"),
            '^' => out.push_str("\\(ha"),
            '~' => out.push_str("\\(ti"),
            '\n' => out.push(' '),
            letter => out.push(letter),
        }
    }
    out
}

/// Escapes text at the start of a line, because roff takes a leading dot for a request and an empty
/// line for a break.
fn line(words: &str) -> String {
    let text = text(words.trim());
    if text.starts_with('.') || text.is_empty() { format!("\\&{text}") } else { text }
}

/// Quotes one argument of a request.
fn quoted(words: &str) -> String {
    format!("\"{}\"", text(words).replace('"', "\\(dq"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_escapes_roff_requests() {
        for (words, roff) in [
            ("a-b", "a\\-b"),
            (".env is read", "\\&.env is read"),
            ("'x' and `y`", "\\(aqx\\(aq and \\(gay\\(ga"),
            ("C:\\n", "C:\\en"),
            ("two\nlines", "two lines"),
            ("", "\\&"),
        ] {
            assert_eq!(line(words), roff, "{words:?}");
        }
        assert_eq!(quoted("say \"hi\""), "\"say \\(dqhi\\(dq\"");
    }

    #[test]
    fn man_page_covers_every_command_and_option() {
        let page = man_page("ostler");
        for command in COMMANDS {
            assert!(page.contains(&quoted(&usage(command))), "{}", command.name);
        }
        for opt in GLOBAL {
            assert!(page.contains(&quoted(&spelling(opt))), "{}", opt.long);
        }
        for setting in SETTINGS {
            assert!(page.contains(&format!(".B {}\n", text(setting.name))), "{}", setting.name);
        }
        assert!(page.lines().all(|line| !line.starts_with('\'') && !line.is_empty()));
    }
}
