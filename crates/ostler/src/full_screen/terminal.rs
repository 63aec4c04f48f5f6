//! The terminal: raw while the view is on it, and as it was on every way out.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, Once, PoisonError};

use ostler_sys::process::signal::{CONT, HUP, INT, QUIT, SignalFd, TERM, TSTP, WINCH, stop_self};
use rustix::fs::OFlags;
use rustix::termios::{OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcgetwinsize, tcsetattr};

use super::input::{Input, Reader};
use super::paint::{BEGIN, END};
use crate::error::{CliError, CommandError};

/// Settings from before; none = they are in force.
static FORMER: Mutex<Option<Termios>> = Mutex::new(None);

/// A signal, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    End,
    Suspend,
    /// Perhaps another size, perhaps something else on the screen.
    Look,
}

/// What came of the user: by a signal, or typed.
#[derive(Debug)]
pub(crate) enum Came {
    Told(Told),
    Typed(Input),
}

/// The terminal while the view is on it.
pub(crate) struct Terminal {
    signals: SignalFd,
    /// A description of our own, which alone never waits; none where only the inherited one may be written to.
    output: Option<File>,
    /// Bytes that it has not taken yet.
    pending: Vec<u8>,
}

impl Terminal {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn take() -> Result<Self, CliError> {
        let failed = |what, source: io::Error| CliError::system(what)(source);
        let signals = SignalFd::new(&[HUP, INT, QUIT, TERM, TSTP, CONT, WINCH]).map_err(|errno| failed("receive signals", errno.into()))?;
        restore_when_it_panics();
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC).bits().cast_signed();
        let output = OpenOptions::new().write(true).custom_flags(flags).open("/proc/self/fd/1").ok();
        let mut terminal = Self { signals, output, pending: Vec::new() };
        terminal.begin().map_err(|error| failed("set the terminal up", error))?;
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

    /// Columns and rows; bounded, because some report anything.
    pub(crate) fn size(&self) -> (usize, usize) {
        let size = tcgetwinsize(io::stdout()).map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        match size {
            Ok((columns, rows)) if columns > 0 && rows > 0 => (columns.min(1000), rows.min(500)),
            // It does not say; this is what everybody has.
            _ => (80, 24),
        }
    }

    pub(crate) fn signals(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// Takes what came: signals where there are some (`told`), keys where some were `typed`; else the reader gives out what it has waited with for long enough.
    /// A terminal that is gone is the end.
    pub(crate) fn came(&self, told: bool, typed: bool, reader: &mut Reader) -> Vec<Came> {
        let mut came: Vec<Came> = if told { self.told().into_iter().map(Came::Told).collect() } else { Vec::new() };
        if !typed {
            came.extend(reader.give_up().map(Came::Typed));
        } else if let Some(bytes) = self.read() {
            came.extend(reader.take(&bytes).into_iter().map(Came::Typed));
        } else {
            came.push(Came::Told(Told::End));
        }
        came
    }

    /// Takes the signals that came.
    fn told(&self) -> Vec<Told> {
        let mut told = Vec::new();
        while let Some(received) = self.signals.next() {
            told.push(match received.signal {
                TSTP => Told::Suspend,
                CONT | WINCH => Told::Look,
                _ => Told::End,
            });
        }
        told
    }

    /// Reads what was typed; call it when there is something. None = the terminal is gone.
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

    /// True while it has not taken everything: whoever has more waits, and draws what is true then.
    pub(crate) fn is_behind(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Writes as much as it takes. False = it is gone.
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

    /// Gives the terminal back to the shell until that lets us go on.
    ///
    /// # Errors
    /// It cannot be set up again.
    pub(crate) fn suspend(&mut self) -> Result<(), CliError> {
        self.pending.clear();
        restore();
        stop_self();
        self.begin().map_err(CliError::system("set the terminal up again"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        restore();
    }
}

/// Looks whether there is a terminal that can be drawn on. `command` needs it, and `instead` says what needs none.
///
/// # Errors
/// There is none.
pub(crate) fn check(command: &'static str, instead: &'static str) -> Result<(), CommandError> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return Err(CommandError::NoTerminal { command, instead });
    }
    if std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
        return Err(CommandError::DumbTerminal(command));
    }
    Ok(())
}

/// Puts everything back, once.
fn restore() {
    let former = FORMER.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(settings) = former {
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC).bits().cast_signed();
        // One that takes nothing any more must not hold us up.
        match OpenOptions::new().write(true).custom_flags(flags).open("/proc/self/fd/1") {
            Ok(mut file) => drop(file.write_all(END)),
            Err(_) => drop(io::stdout().write_all(END).and_then(|()| io::stdout().flush())),
        }
        // What was typed and not read is not for the shell; what was written and not taken is not waited for.
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
