//! Problems of a file, a key or a value, with their positions.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use ostler_core::text::language::translated;
use ostler_core::text::suggest::visible;
use ostler_core::{marked, message};

/// A position in a file; line and column start at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column, in characters.
    pub column: u32,
}

/// Severity of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It prevents the action.
    Error,
    /// It is reported and the action continues; an error in strict mode.
    Warning,
}

/// Kind of a problem, for callers that print PM2's own messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// The file does not exist.
    NotFound,
    /// The file cannot be read (permission, not a file, too large, not UTF-8).
    Unreadable,
    /// The file cannot be parsed or its program failed.
    Malformed,
    /// Another user can change the file.
    Foreign,
    /// The file was evaluated, but holds no apps (perhaps it is a script that is only called like a
    /// config file).
    NotApps,
    /// An unknown key.
    UnknownKey,
    /// The file was evaluated but contains no apps (it may be a script with the name of a config
    /// file).
    Value,
    /// A known and accepted key without effect in this version.
    NoEffect,
    /// The script does not exist.
    ScriptNotFound,
    /// The interpreter does not exist.
    InterpreterNotFound,
    /// The working directory does not exist.
    DirectoryNotFound,
    /// `--env NAME` names a profile that the app does not define.
    UnknownProfile,
    /// Anything else.
    Other,
}

/// One problem. Displays as `file:line:column: key path: message`, with the parts that are known.
///
/// ```text
/// ecosystem.config.js:12:7: apps[1].max_restarts: expected a number, found "ten"
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// Its kind.
    pub kind: ProblemKind,
    /// Name of the app that it concerns, if it concerns one.
    pub app: Option<String>,
    /// File as the user named it.
    pub file: Option<String>,
    /// Position in the file; absent if uncertain.
    pub position: Option<Position>,
    /// Path of the key, such as `apps[1].max_restarts`; empty if the problem concerns the whole.
    pub key: String,
    /// The message, without position and key.
    pub message: String,
    /// Path of a missing script.
    pub missing: Option<Box<PathBuf>>,
}

impl Problem {
    /// Returns an error about the whole file or command.
    pub fn error(kind: ProblemKind, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            kind,
            app: None,
            file: None,
            position: None,
            key: String::new(),
            message: message.into(),
            missing: None,
        }
    }

    /// Returns a warning about the whole file or command.
    pub fn warning(kind: ProblemKind, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(kind, message) }
    }

    /// Returns the next step for the user, or none.
    pub fn hint(&self) -> Option<&'static str> {
        (self.kind == ProblemKind::Foreign)
            .then(|| translated(marked!("read it, then change its owner and mode, or allow it with --allow-foreign-file")))
    }

    /// Returns the message with the hint on a line of its own.
    pub fn text(&self) -> Cow<'_, str> {
        self.hint().map_or(Cow::Borrowed(&*self.message), |hint| message!("{problem}\nhint: {hint}", problem = self.message, hint).into())
    }

    /// Returns the same problem about this key.
    #[must_use]
    pub fn at(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }

    /// Returns the same problem about this app.
    #[must_use]
    pub fn of_app(mut self, name: impl Into<String>) -> Self {
        self.app = Some(name.into()).filter(|name| !name.is_empty());
        self
    }

    /// Returns the same problem as a warning.
    #[must_use]
    pub fn as_warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Returns the same problem in this file and at this position.
    #[must_use]
    pub fn in_file(mut self, file: Option<&str>, position: Option<Position>) -> Self {
        self.file = file.map(str::to_owned);
        self.position = position;
        self
    }

    /// Returns the problem on one line, with the name of its app: `file:line:column: app: key path:
    /// message`.
    pub fn named(&self) -> String {
        let app = self.app.as_ref().map(|app| format!("{}: ", visible(app))).unwrap_or_default();
        format!("{}{app}{}", self.place(": "), self.subject())
    }

    /// Returns `file:line:column` with this end, as far as it is known.
    pub fn place(&self, end: &str) -> String {
        match (&self.file, self.position) {
            (Some(file), Some(position)) => format!("{file}:{}:{}{end}", position.line, position.column),
            (Some(file), None) => format!("{file}{end}"),
            (None, _) => String::new(),
        }
    }

    /// Returns the key path and the message, without place and hint.
    pub fn subject(&self) -> String {
        if self.key.is_empty() { self.message.clone() } else { format!("{}: {}", self.key, self.message) }
    }

    /// Returns true for an error.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            match self.position {
                Some(position) => write!(f, "{file}:{}:{}: ", position.line, position.column)?,
                None => write!(f, "{file}: ")?,
            }
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text())
    }
}

/// All problems found at once; at least one is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Returns the kind of the first error, if any.
    pub fn kind(&self) -> Option<ProblemKind> {
        self.0.iter().find(|problem| problem.is_error()).map(|problem| problem.kind)
    }

    /// Splits a list: returns the warnings if there is no error, otherwise everything as errors.
    /// `strict` turns warnings into errors.
    ///
    /// # Errors
    /// Returns all problems if at least one is an error. The caller then prints them
    /// and stops.
    pub(crate) fn check(mut problems: Vec<Problem>, strict: bool) -> Result<Vec<Problem>, Self> {
        if strict {
            for problem in &mut problems {
                problem.severity = Severity::Error;
            }
        }
        if problems.iter().any(Problem::is_error) { Err(Self(problems)) } else { Ok(problems) }
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

impl std::error::Error for Problems {}
