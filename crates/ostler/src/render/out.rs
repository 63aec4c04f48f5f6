//! Output to the user: messages and data.
//!
//! `--silent` drops messages, but never data. With [`Out::data_only`] stdout carries only data, and
//! messages go to stderr. If the reader has closed the pipe, nothing more is written, and the call
//! ends without an error. On a terminal without UTF-8, messages are written in ASCII. Output to
//! files and pipes does not depend on the terminal.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;

use ostler_core::message;
use unicode_width::UnicodeWidthStr as _;

use super::style::{Paint, styles};
use super::view::View;
use crate::home::Program;
use crate::text::{ascii, is_ascii_wanted, safe, wrap_message};

/// Output streams, with the settings that filter and convert the output.
pub(crate) struct Out {
    program: Program,
    stdout: Box<dyn Write>,
    stderr: Box<dyn Write>,
    buffer: Vec<u8>,
    paint: Paint,
    paint_err: Paint,
    /// Whether stdout and stderr are terminals without UTF-8.
    is_ascii: bool,
    is_ascii_err: bool,
    silent: bool,
    hushed: bool,
    data_only: bool,
    only_trouble: bool,
    closed: bool,
    failed: Option<io::Error>,
    is_terminal: bool,
    is_terminal_err: bool,
    /// Whether text for stdout and stderr is made safe for a terminal.
    is_safe: bool,
    is_safe_err: bool,
}

/// Messages that users want to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Volume {
    All,
    /// Only failures and warnings.
    Trouble,
}

/// Form of messages on stderr, for code that prints while a request is in progress.
#[derive(Clone, Debug)]
pub(crate) struct MessageStyle {
    pub is_terminal: bool,
    pub volume: Volume,
    paint: Paint,
    is_ascii: bool,
}

impl MessageStyle {
    /// Returns the view for stderr. Its terminal may have been resized since the last call.
    pub(crate) fn view(&self) -> View {
        let size = self.is_terminal.then(|| rustix::termios::tcgetwinsize(io::stderr()).ok()).flatten();
        let width = size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
        // Without UTF-8, some marks are wider.
        let width = width.map(|columns| if self.is_ascii { columns.saturating_sub(ASCII_MARKS).max(1) } else { columns });
        View::now(width, self.paint)
    }

    /// Returns the number of lines that a live part may have, so that the cursor can move back to its
    /// first line.
    pub(crate) fn rows(&self) -> usize {
        let size = rustix::termios::tcgetwinsize(io::stderr()).ok().map(|size| usize::from(size.ws_row));
        size.filter(|rows| *rows > 0).map_or(usize::MAX, |rows| rows.saturating_sub(1))
    }

    /// Returns the text in characters that stderr supports, safe for a terminal.
    pub(crate) fn printable(&self, text: &str) -> String {
        let text = if self.is_ascii { ascii(text) } else { text.into() };
        if self.is_terminal { String::from_utf8_lossy(&safe(text.as_bytes())).into_owned() } else { text.into_owned() }
    }
}

/// Columns that the marks of a line need in ASCII, in addition to their usual width (`✓` is `ok`).
const ASCII_MARKS: usize = 2;

/// Bytes that are buffered before they are written.
const BUFFER_BYTES: usize = 64 << 10;

impl Out {
    /// Checks the streams, `NO_COLOR`, `FORCE_COLOR`, `PM2_SILENT` and the variables of the locale.
    pub(crate) fn new(program: Program) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let (is_terminal, is_terminal_err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let is_ascii = is_ascii_wanted(|name| std::env::var(name).ok());
        let forced =
            std::env::var("FORCE_COLOR").ok().filter(|value| !value.is_empty()).map(|value| !matches!(value.as_str(), "0" | "false"));
        let colors = |terminal: bool| !set("NO_COLOR") && forced.unwrap_or(terminal);
        Self {
            program,
            stdout: Box::new(io::stdout()),
            stderr: Box::new(io::stderr()),
            buffer: Vec::new(),
            paint: Paint(colors(is_terminal)),
            paint_err: Paint(colors(is_terminal_err)),
            is_ascii: is_terminal && is_ascii,
            is_ascii_err: is_terminal_err && is_ascii,
            silent: set("PM2_SILENT"),
            hushed: false,
            data_only: false,
            only_trouble: false,
            closed: false,
            failed: None,
            is_terminal,
            is_terminal_err,
            is_safe: is_terminal,
            is_safe_err: is_terminal_err,
        }
    }

    /// Creates an output to these streams, without colours, as if there was no terminal.
    #[cfg(test)]
    pub(super) fn onto(program: Program, stdout: Box<dyn Write>, stderr: Box<dyn Write>) -> Self {
        let new = Self::new(program);
        let plain = Paint(false);
        Self {
            stdout,
            stderr,
            paint: plain,
            paint_err: plain,
            is_terminal: false,
            is_terminal_err: false,
            is_safe: false,
            is_safe_err: false,
            is_ascii: false,
            is_ascii_err: false,
            silent: false,
            ..new
        }
    }

    /// Sets the output to ASCII, as on a terminal without UTF-8.
    #[cfg(test)]
    pub(crate) fn set_ascii(&mut self) {
        (self.is_ascii, self.is_ascii_err) = (true, true);
    }

    /// Makes text safe, as for terminals.
    #[cfg(test)]
    pub(crate) fn set_safe(&mut self) {
        (self.is_safe, self.is_safe_err) = (true, true);
    }

    /// Passes the bytes of apps to a terminal unchanged (`--raw=bytes`).
    pub(crate) fn pass_bytes(&mut self) {
        (self.is_safe, self.is_safe_err) = (false, false);
    }

    /// Returns true if the program is called as PM2.
    pub(crate) fn is_pm2(&self) -> bool {
        self.program.is_pm2()
    }

    /// Returns the colours of standard error, if it is a terminal.
    pub(crate) fn paint_err(&self) -> Paint {
        self.paint_err
    }

    /// Returns the form of messages on stderr.
    pub(crate) fn message_style(&self) -> MessageStyle {
        let is_quiet = self.silent || self.hushed || self.only_trouble;
        let volume = if is_quiet { Volume::Trouble } else { Volume::All };
        MessageStyle { is_terminal: self.is_terminal_err, volume, paint: self.paint_err, is_ascii: self.is_ascii_err }
    }

    /// Applies `--color` or `--no-color`.
    pub(crate) fn set_color(&mut self, on: bool) {
        (self.paint, self.paint_err) = (Paint(on), Paint(on));
    }

    /// Applies `--silent`.
    pub(crate) fn set_silent(&mut self) {
        self.silent = true;
    }

    /// Turns the dropping of lines on or off.
    pub(crate) fn hush(&mut self, on: bool) {
        self.hushed = on;
    }

    /// Returns the program's name in messages.
    pub(crate) const fn label(&self) -> &'static str {
        self.program.label()
    }

    /// Sends messages to stderr from now on: stdout is for data.
    pub(crate) fn data_only(&mut self) {
        self.data_only = true;
    }

    /// Returns true if stdout carries data only.
    pub(crate) fn is_data_only(&self) -> bool {
        self.data_only
    }

    /// Sends messages to stdout again, because the requested output has no data format.
    pub(crate) fn data_and_messages(&mut self) {
        self.data_only = false;
    }

    /// Prints only warnings and errors from now on, on stderr.
    pub(crate) fn only_trouble(&mut self) {
        self.only_trouble = true;
    }

    /// See [`Out::only_trouble`].
    pub(super) fn is_only_trouble(&self) -> bool {
        self.only_trouble
    }

    /// Returns true if stdout is a terminal without UTF-8.
    pub(crate) fn is_ascii(&self) -> bool {
        self.is_ascii
    }

    /// Returns the colours of stdout.
    pub(crate) fn paint(&self) -> Paint {
        self.paint
    }

    /// Returns true if messages are dropped.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent
    }

    /// Returns true if the reader is gone (`ostler logs | head`). The caller can then stop its
    /// work.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Records that stdout has no reader any more.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        self.buffer.clear();
    }

    /// Returns the width of the terminal on stdout; none if it is no terminal.
    pub(crate) fn width(&self) -> Option<usize> {
        if !self.is_terminal {
            return None;
        }
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
        Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
    }

    /// Returns the view for stdout.
    pub(crate) fn view(&self) -> View {
        View::now(self.width(), self.paint)
    }

    /// Writes data to stdout, even if silent. On a terminal only colour sequences take effect;
    /// other outputs get the bytes unchanged. Each call must contain whole characters and
    /// sequences.
    pub(crate) fn data(&mut self, bytes: &[u8]) {
        if self.is_safe { self.gather(&safe(bytes)) } else { self.gather(bytes) }
    }

    /// Writes ostler's own terminal sequences.
    pub(crate) fn control(&mut self, sequences: &str) {
        self.gather(sequences.as_bytes());
    }

    fn gather(&mut self, bytes: &[u8]) {
        if !self.closed {
            self.buffer.extend_from_slice(bytes);
            if self.buffer.len() >= BUFFER_BYTES {
                self.flush();
            }
        }
    }

    /// Works like [`data`](Self::data), for the error stream.
    pub(crate) fn data_err(&mut self, bytes: &[u8]) {
        self.flush();
        let bytes = if self.is_safe_err { safe(bytes) } else { bytes.into() };
        // A failure of stderr cannot be reported anywhere.
        let _ = self.stderr.write_all(&bytes);
    }

    /// Prints a line without prefix.
    pub(crate) fn line(&mut self, text: impl Display) {
        if self.silent || self.hushed || self.only_trouble {
        } else if self.data_only {
            self.write_err(&text);
        } else {
            self.text(format_args!("{text}\n"));
        }
    }

    /// Prints text that counts as data: on stdout even if silent, in characters that its reader
    /// supports.
    pub(crate) fn text(&mut self, text: impl Display) {
        let text = text.to_string();
        let shown = if self.is_ascii { ascii(&text) } else { text.as_str().into() };
        self.data(shown.as_bytes());
    }

    fn write_err(&mut self, text: &impl Display) {
        let text = format!("{text}\n");
        let shown = if self.is_ascii_err { ascii(&text) } else { text.as_str().into() };
        self.data_err(shown.as_bytes());
    }

    fn head(&self, style: anstyle::Style, kind: &str) -> String {
        let paint = if self.data_only { self.paint_err } else { self.paint };
        paint.with(style, format_args!("[{}]{kind}", self.program.label())).to_string()
    }

    /// Prints a line of a command's result on stdout; as `pm2` behind PM2's prefix.
    pub(crate) fn result(&mut self, text: impl Display) {
        if self.program.is_pm2() { self.info(text) } else { self.line(text) }
    }

    /// Prints a message: as `pm2` `[PM2] text` on stdout, otherwise the text alone on stderr.
    pub(crate) fn info(&mut self, text: impl Display) {
        if self.program.is_pm2() {
            let head = self.head(styles::GREEN, "");
            self.line(format_args!("{head} {text}"));
        } else if !(self.silent || self.hushed || self.only_trouble) {
            self.write_err(&self.wrapped(&text, 0));
        }
    }

    /// Wraps a message of ostler for the terminal on stderr. `label`: columns before the message.
    fn wrapped(&self, text: &impl Display, label: usize) -> String {
        let text = text.to_string();
        match self.message_style().view().width.filter(|_| !self.program.is_pm2()) {
            Some(width) => wrap_message(&text, label, width),
            None => text,
        }
    }

    /// Prints `warning: text` on stderr; as `pm2` `[PM2][WARN] text` on stdout.
    pub(crate) fn warn(&mut self, text: impl Display) {
        if self.only_trouble || !self.program.is_pm2() {
            return self.warn_err(text);
        }
        let head = self.head(styles::YELLOW, "[WARN]");
        self.line(format_args!("{head} {text}"));
    }

    /// Works like [`warn`](Self::warn), on stderr: PM2 prints such warnings there if no target
    /// exists.
    pub(crate) fn warn_err(&mut self, text: impl Display) {
        let label = self.prefix("[WARN]", &message!("warning:"));
        let (head, text) = (self.paint_err.with(styles::YELLOW, &label), self.wrapped(&text, label.width() + 1));
        if !self.silent {
            self.write_err(&format_args!("{head} {text}"));
        }
    }

    /// Prints `error: text` on stderr; as `pm2` `[PM2][ERROR] text`.
    pub(crate) fn error(&mut self, text: impl Display) {
        let label = self.prefix("[ERROR]", &message!("error:"));
        let (head, text) = (self.paint_err.with(styles::RED, &label), self.wrapped(&text, label.width() + 1));
        // As in PM2 if called as `pm2`. Otherwise errors are printed even with `--silent`, because
        // an exit code alone does not explain a failure.
        if !self.silent || !self.program.is_pm2() {
            self.write_err(&format_args!("{head} {text}"));
        }
    }

    /// Prints `hint: text` on stderr: the next step after an error. PM2 has no hints, so as `pm2`
    /// it prints nothing.
    pub(crate) fn hint(&mut self, text: impl Display) {
        if !self.program.is_pm2() {
            let label = message!("hint:");
            let (head, text) = (self.paint_err.with(styles::BOLD_BLUE, &label), self.wrapped(&text, label.width() + 1));
            self.write_err(&format_args!("{head} {text}"));
        }
    }

    /// Returns the start of a line, in PM2's form or ostler's.
    fn prefix(&self, of_pm2: &str, own: &str) -> String {
        if self.program.is_pm2() { format!("[{}]{of_pm2}", self.program.label()) } else { own.to_owned() }
    }

    /// Prints a line without prefix on stderr.
    pub(crate) fn err_line(&mut self, text: impl Display) {
        if !self.silent {
            self.write_err(&self.wrapped(&text, 0));
        }
    }

    /// Prints PM2's notice before a daemon is started.
    pub(crate) fn spawning(&mut self, home: &Path) {
        if self.program.is_pm2() && !discrete() {
            let label = self.program.label();
            self.info(format_args!("Spawning {label} daemon with {}_home={}", label.to_lowercase(), home.display()));
        }
    }

    /// Prints a notice after a daemon was started.
    pub(crate) fn spawned(&mut self, home: &Path) {
        if discrete() {
        } else if self.program.is_pm2() {
            self.info(format_args!("{} Successfully daemonized", self.program.label()));
        } else {
            let paint = self.paint_err;
            self.info(paint.with(styles::DIM, message!("started the daemon of {home}", home = home.display())));
        }
    }

    /// Writes the buffered output.
    pub(crate) fn flush(&mut self) {
        if self.buffer.is_empty() || self.closed {
            return;
        }
        if let Err(error) = self.stdout.write_all(&self.buffer).and_then(|()| self.stdout.flush()) {
            self.closed = true;
            self.failed = Some(error).filter(|error| error.kind() != ErrorKind::BrokenPipe);
        }
        self.buffer.clear();
    }

    /// Writes the rest.
    ///
    /// # Errors
    /// Returns an error if output was lost for another reason than a closed pipe, e.g. a full disk.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.flush();
        self.failed.take().map_or(Ok(()), Err)
    }
}

/// Returns true if notices about the daemon are turned off.
fn discrete() -> bool {
    std::env::var_os("PM2_DISCRETE_MODE").is_some_and(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::Screen;

    #[test]
    fn silence_drops_messages_but_not_data() {
        let (mut out, screen) = Screen::of(Program::Pm2);
        out.info("one");
        out.warn("two");
        out.set_silent();
        out.info("three");
        out.data(b"four");
        assert_eq!(screen.taken(&mut out), "[PM2] one\n[PM2][WARN] two\nfour");
    }

    #[test]
    fn terminal_output_escapes_control_sequences() {
        let (mut out, screen) = Screen::of(Program::Ostler);
        out.data(b"\x1b[2J\n");
        out.set_safe();
        out.data(b"\x1b[2J \x1b[31mred\n");
        out.text("\u{9b}2J\n");
        out.info("\x1b]0;title\x07");
        out.error("\x1b]52;c;x\x07");
        out.control("\x1b[H");
        out.pass_bytes();
        out.data(b"\x1b[6n");
        let expected = "\x1b[2J\n^[[2J \x1b[31mred\n<U+009B>2J\n(stderr) ^[]0;title^G\n(stderr) error: ^[]52;c;x^G\n\x1b[H\x1b[6n";
        assert_eq!(screen.taken(&mut out), expected);
    }

    #[test]
    fn with_data_on_stdout_messages_go_to_stderr() {
        let (mut out, screen) = Screen::of(Program::Ostler);
        out.data_only();
        out.info("a message");
        out.data(b"[]");
        assert_eq!(screen.taken(&mut out), "(stderr) a message\n[]");
    }
}
