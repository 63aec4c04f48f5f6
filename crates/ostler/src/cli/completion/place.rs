//! Place of the cursor on a command line, as the parser sees it.

use super::super::lookup::find;
use super::super::parse::Scan;
use super::super::table::{Arg, Command, Opt};

/// Placeholder for the word that the user is typing. No user types it.
const CURSOR: &str = "\u{1}";

/// Kind of word that the user is typing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// The command.
    Command,
    /// An argument of the command.
    Argument,
    /// The value of an option. If it is optional, the word may also be an argument.
    Value { opt: &'static Opt, is_optional: bool },
    /// An argument of the app, after `--`.
    OfApp,
    /// The words before make no sense.
    Unknown,
}

/// Result of reading the words before the cursor.
#[derive(Debug)]
pub(super) struct Line {
    pub place: Place,
    pub command: Option<&'static Command>,
    /// Arguments before the cursor.
    pub arguments: Vec<String>,
    /// Options before the cursor.
    pub given: Vec<(&'static Opt, Option<String>)>,
}

impl Line {
    fn at(place: Place) -> Self {
        Self { place, command: None, arguments: Vec::new(), given: Vec::new() }
    }

    /// Returns the value of an option that was given before.
    pub(super) fn value(&self, long: &str) -> Option<&str> {
        self.given.iter().rev().find(|(opt, _)| opt.long == long).and_then(|(_, value)| value.as_deref())
    }

    /// Reads the words before the cursor, without the program. The parser reads them with a
    /// placeholder for the missing word.
    pub(super) fn read(before: &[String]) -> Self {
        if before.iter().any(|word| word == "--") {
            return Self::at(Place::OfApp);
        }
        let words: Vec<String> = before.iter().cloned().chain([CURSOR.to_owned()]).collect();
        let Ok(first) = Scan::run(&words, None) else { return Self::at(Place::Unknown) };
        let command = match first.positional.first() {
            Some(word) if word == CURSOR => return Self { given: first.given, ..Self::at(Place::Command) },
            Some(word) => match find(word) {
                Some(command) => Some(command),
                None => return Self::at(Place::Unknown),
            },
            None => None,
        };
        match Scan::run(&words, command) {
            Ok(scan) => Self::of(command, scan),
            Err(_) => Self::at(Place::Unknown),
        }
    }

    fn of(command: Option<&'static Command>, scan: Scan) -> Self {
        let is_cursor = |value: &Option<String>| value.as_deref() == Some(CURSOR);
        let place = match scan.given.iter().find(|(_, value)| is_cursor(value)) {
            Some((opt, _)) => Place::Value { opt, is_optional: matches!(opt.arg, Arg::Optional(_) | Arg::OptionalNumber(_)) },
            None if command.is_none() => Place::Command,
            None => Place::Argument,
        };
        let arguments = scan.positional.into_iter().skip(1).filter(|word| word != CURSOR).collect();
        let given = scan.given.into_iter().filter(|(_, value)| !is_cursor(value)).collect();
        Self { place, command, arguments, given }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> (String, Vec<String>) {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let line = Line::read(&words);
        let place = match line.place {
            Place::Command => "command".to_owned(),
            Place::Argument => "argument".to_owned(),
            Place::Value { opt, is_optional: true } => format!("{} or argument", opt.long),
            Place::Value { opt, .. } => opt.long.to_owned(),
            Place::OfApp => "of app".to_owned(),
            Place::Unknown => "unknown".to_owned(),
        };
        (place, line.arguments)
    }

    #[test]
    fn place_follows_the_parser() {
        for (line, place, arguments) in [
            ("", "command", &[][..]),
            ("--silent", "command", &[]),
            ("--name", "name", &[]),
            ("--name x", "command", &[]),
            ("restart", "argument", &[]),
            ("restart api", "argument", &["api"]),
            ("-s restart api -a", "argument", &["api"]),
            ("start app.js --name", "name", &["app.js"]),
            ("start app.js -n", "name", &["app.js"]),
            ("start app.js --name x", "argument", &["app.js"]),
            ("start app.js --name=x", "argument", &["app.js"]),
            ("start --watch", "watch or argument", &[]),
            ("start app.js --stop-exit-codes", "stop-exit-codes", &["app.js"]),
            ("start app.js --", "of app", &[]),
            ("nonsense", "unknown", &[]),
            ("list --silent=x", "unknown", &[]),
            ("web token ci --role", "role", &["token", "ci"]),
            ("reload api --canary", "canary or argument", &["api"]),
        ] {
            assert_eq!(read(line), (place.to_owned(), arguments.iter().map(|word| (*word).to_owned()).collect()), "{line}");
        }
    }
}
