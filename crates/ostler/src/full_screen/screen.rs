//! Screen of a session: draws when something has changed, and waits for keys, signals and the
//! sources of the session.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use ostler_core::message;

use super::cells::Picture;
use super::input::{Input, Reader};
use super::paint::changes;
use super::terminal::{Terminal, TerminalEvent, TerminalSignal};
use crate::error::CliError;

/// Shortest time between two pictures: a user reads no faster.
const FRAME_TIME: Duration = Duration::from_millis(50);
/// Time for the rest of a key sequence; without a rest, the key is Esc.
const ESCAPE_TIMEOUT: Duration = Duration::from_millis(50);

/// Terminal with its present picture.
pub(crate) struct Screen {
    terminal: Terminal,
    has_colors: bool,
    reader: Reader,
    /// Picture that is on the screen; none = everything must be drawn.
    seen: Option<Picture>,
    is_changed: bool,
    drawn: Option<Instant>,
}

/// Reason for which a wait returned.
pub(crate) struct Wake<const SOURCES: usize> {
    typed: bool,
    signalled: bool,
    /// Sources of the session that can be read.
    pub(crate) sources: [bool; SOURCES],
}

/// Event for the session.
pub(crate) enum ScreenEvent {
    Input(Input),
    /// The session must draw for the present size of the terminal.
    Resized,
    Quit,
}

impl Screen {
    pub(crate) fn new(terminal: Terminal, has_colors: bool) -> Self {
        Self { terminal, has_colors, reader: Reader::default(), seen: None, is_changed: true, drawn: None }
    }

    /// Returns columns and rows of the terminal.
    pub(crate) fn size(&self) -> (usize, usize) {
        self.terminal.size()
    }

    /// Requests another picture.
    pub(crate) fn mark_changed(&mut self) {
        self.is_changed = true;
    }

    /// Requests a complete picture, because the contents of the terminal are unknown.
    pub(crate) fn redraw(&mut self) {
        (self.seen, self.is_changed) = (None, true);
    }

    /// Updates the screen if it is time to. Returns false if the terminal is gone.
    pub(crate) fn show(&mut self, now: Instant, draw: impl FnOnce() -> Picture) -> bool {
        let is_early = self.drawn.is_some_and(|drawn| now < drawn + FRAME_TIME);
        if self.is_changed && !is_early && !self.terminal.is_behind() {
            let picture = draw();
            changes(self.seen.as_ref(), &picture, self.has_colors, self.terminal.queue());
            (self.seen, self.is_changed, self.drawn) = (Some(picture), false, Some(now));
        }
        self.terminal.write()
    }

    /// Waits until one of the sources, a key or a signal can be read, until the next picture is
    /// due, or until `due`.
    ///
    /// # Errors
    /// Returns an error if the system cannot wait.
    pub(crate) fn wait<const SOURCES: usize>(
        &self,
        now: Instant,
        sources: [Option<BorrowedFd<'_>>; SOURCES],
        due: Option<Instant>,
    ) -> Result<Wake<SOURCES>, CliError> {
        let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
        let signals = self.terminal.signals();
        let mut fds = vec![PollFd::new(&stdin, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
        let places = sources.map(|source| {
            fds.push(PollFd::from_borrowed_fd(source?, PollFlags::IN));
            Some(fds.len() - 1)
        });
        if self.terminal.is_behind() {
            fds.push(PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::OUT));
        }
        let frame = (self.is_changed && !self.terminal.is_behind()).then(|| self.drawn.map_or(now, |drawn| drawn + FRAME_TIME));
        let sequence = self.reader.waits().then(|| now + ESCAPE_TIMEOUT);
        let due = [due, frame, sequence].into_iter().flatten().min();
        let left = due.and_then(|due| Timespec::try_from(due.saturating_duration_since(now)).ok());
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(CliError::system(message!("wait"))(errno)),
        }
        let is_ready = |place: usize| fds.get(place).is_some_and(|fd| !fd.revents().is_empty());
        Ok(Wake { typed: is_ready(0), signalled: is_ready(1), sources: places.map(|place| place.is_some_and(is_ready)) })
    }

    /// Returns the keys and signals that have arrived. Pass each to [`Screen::accept`].
    pub(crate) fn events<const SOURCES: usize>(&mut self, wake: &Wake<SOURCES>) -> Vec<TerminalEvent> {
        self.terminal.events(wake.signalled, wake.typed, &mut self.reader)
    }

    /// Performs what each session does with an event.
    ///
    /// # Errors
    /// Returns an error if the terminal cannot be set up again after a suspension.
    pub(crate) fn accept(&mut self, event: TerminalEvent) -> Result<ScreenEvent, CliError> {
        match event {
            TerminalEvent::Signal(TerminalSignal::Quit) => Ok(ScreenEvent::Quit),
            TerminalEvent::Signal(TerminalSignal::Suspend) => self.suspend().map(|()| ScreenEvent::Resized),
            TerminalEvent::Signal(TerminalSignal::Redraw) => {
                self.redraw();
                Ok(ScreenEvent::Resized)
            }
            TerminalEvent::Input(input) => {
                self.mark_changed();
                Ok(ScreenEvent::Input(input))
            }
        }
    }

    /// Gives the terminal back to the shell, until the shell continues this process.
    ///
    /// # Errors
    /// Returns an error if the terminal cannot be set up again.
    pub(crate) fn suspend(&mut self) -> Result<(), CliError> {
        self.terminal.suspend()?;
        self.redraw();
        Ok(())
    }
}
