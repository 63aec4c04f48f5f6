//! The terminal: raw while the view uses it, and restored on every way out.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, Once, PoisonError};

use ostler_core::message;
use ostler_sys::process::signal::{CONT, HUP, INT, QUIT, SignalFd, TERM, TSTP, WINCH, stop_self};
use rustix::fs::OFlags;
use rustix::termios::{OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcgetwinsize, tcsetattr};

use super::input::{Input, Reader};
use super::paint::{BEGIN, END};
use crate::error::{CliError, CommandError};

/// Settings to restore; none = they are already restored.
static FORMER: Mutex<Option<Termios>> = Mutex::new(None);

/// Signal, as far as the view handles it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TerminalSignal {
    Quit,
    Suspend,
    /// The size may have changed, or another program may have written on the screen.
    Redraw,
}

/// Input of the user: a signal or a key.
#[derive(Debug)]
pub(crate) enum TerminalEvent {
    Signal(TerminalSignal),
    Input(Input),
}

/// The terminal while the view uses it.
pub(crate) struct Terminal {
    signals: SignalFd,
    /// File description of our own: only this one is non-blocking. None if only the inherited one
    /// may be written to.
    output: Option<File>,
    /// Bytes that the terminal has not accepted yet.
    pending: Vec<u8>,
}

impl Terminal {
    /// Takes over the terminal.
    ///
    /// # Errors
    /// Returns an error if no terminal is available.
    pub(crate) fn take() -> Result<Self, CliError> {
        let failed = |what, source: io::Error| CliError::system(what)(source);
        let signals =
            SignalFd::new(&[HUP, INT, QUIT, TERM, TSTP, CONT, WINCH]).map_err(|errno| failed(message!("receive signals"), errno.into()))?;
        restore_when_it_panics();
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC).bits().cast_signed();
        let output = OpenOptions::new().write(true).custom_flags(flags).open("/proc/self/fd/1").ok();
        let mut terminal = Self { signals, output, pending: Vec::new() };
        terminal.begin().map_err(|error| failed(message!("set the terminal up"), error))?;
        Ok(terminal)
    }

    fn begin(&mut self) -> io::Result<()> {
        let mut settings = tcgetattr(io::stdin())?;
        *FORMER.lock().unwrap_or_else(PoisonError::into_inner) = Some(settings.clone());
        settings.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &settings)?;
        self.pending = BEGIN.to_vec();
        Ok(())
    }

    /// Returns columns and rows. They are bounded, because some terminals report arbitrary numbers.
    pub(crate) fn size(&self) -> (usize, usize) {
        let size = tcgetwinsize(io::stdout()).map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        match size {
            Ok((columns, rows)) if columns > 0 && rows > 0 => (columns.min(1000), rows.min(500)),
            // The terminal reports no size; this is the usual one.
            _ => (80, 24),
        }
    }

    pub(crate) fn signals(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// Returns the input that has arrived: signals if `has_signal`, keys if `has_input`. Otherwise the reader
    /// gives up on an incomplete sequence. A terminal that is gone counts as the end.
    pub(crate) fn events(&self, has_signal: bool, has_input: bool, reader: &mut Reader) -> Vec<TerminalEvent> {
        let mut events: Vec<TerminalEvent> =
            if has_signal { self.received_signals().into_iter().map(TerminalEvent::Signal).collect() } else { Vec::new() };
        if !has_input {
            events.extend(reader.give_up().map(TerminalEvent::Input));
        } else if let Some(bytes) = self.read() {
            events.extend(reader.take(&bytes).into_iter().map(TerminalEvent::Input));
        } else {
            events.push(TerminalEvent::Signal(TerminalSignal::Quit));
        }
        events
    }

    /// Returns the signals that have arrived.
    fn received_signals(&self) -> Vec<TerminalSignal> {
        let mut received_signals = Vec::new();
        while let Some(received) = self.signals.next() {
            received_signals.push(match received.signal {
                TSTP => TerminalSignal::Suspend,
                CONT | WINCH => TerminalSignal::Redraw,
                _ => TerminalSignal::Quit,
            });
        }
        received_signals
    }

    /// Reads the typed bytes; call it when some are available. None = the terminal is gone.
    fn read(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 1024];
        match io::stdin().lock().read(&mut bytes) {
            Ok(0) => None,
            Ok(length) => {
                bytes.truncate(length);
                Some(bytes)
            }
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => Some(Vec::new()),
            Err(_) => None,
        }
    }

    /// Adds bytes for the screen.
    pub(crate) fn queue(&mut self) -> &mut Vec<u8> {
        &mut self.pending
    }

    /// Returns true while the terminal has not accepted everything. The caller then waits and draws
    /// the current state later.
    pub(crate) fn is_behind(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Writes as much as the terminal accepts. Returns false if it is gone.
    pub(crate) fn write(&mut self) -> bool {
        while !self.pending.is_empty() {
            let written = match &self.output {
                Some(file) => (&mut &*file).write(&self.pending),
                None => io::stdout().write_all(&self.pending).and_then(|()| io::stdout().flush()).map(|()| self.pending.len()),
            };
            match written {
                Ok(length) => drop(self.pending.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// Gives the terminal back to the shell, until the shell continues this process.
    ///
    /// # Errors
    /// Returns an error if the terminal cannot be set up again.
    pub(crate) fn suspend(&mut self) -> Result<(), CliError> {
        self.pending.clear();
        restore();
        stop_self();
        self.begin().map_err(CliError::system(message!("set the terminal up again")))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Checks that a terminal is available that can be drawn on. `command` needs it, and `instead`
/// names a command that does not.
///
/// # Errors
/// Returns an error if no such terminal is available.
pub(crate) fn check(command: &'static str, instead: &'static str) -> Result<(), CommandError> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(CommandError::NoTerminal { command, instead });
    }
    if std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
        return Err(CommandError::DumbTerminal(command));
    }
    Ok(())
}

/// Restores everything, once.
fn restore() {
    let former = FORMER.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(settings) = former {
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC).bits().cast_signed();
        // A terminal that accepts no more bytes must not block the exit.
        match OpenOptions::new().write(true).custom_flags(flags).open("/proc/self/fd/1") {
            Ok(mut file) => drop(file.write_all(END)),
            Err(_) => drop(io::stdout().write_all(END).and_then(|()| io::stdout().flush())),
        }
        // The shell must not receive unread input. Output that the terminal has not accepted is
        // dropped.
        let _ = tcflush(io::stdin(), QueueSelector::IFlush);
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &settings);
    }
}

fn restore_when_it_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let former = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            former(panic);
        }));
    });
}
