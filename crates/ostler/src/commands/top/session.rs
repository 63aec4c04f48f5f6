//! Session: waits for events, keys and signals, and draws when something has changed.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::source::Source;
use super::state::{Command, TopState};
use super::view::draw;
use crate::error::CliError;
use crate::full_screen::cells::Picture;
use crate::full_screen::input::Reader;
use crate::full_screen::paint::changes;
use crate::full_screen::terminal::{Terminal, TerminalEvent, TerminalSignal};

/// Shortest time between two pictures: a user reads no faster.
const FRAME_TIME: Duration = Duration::from_millis(50);
/// Time for the rest of a key sequence; without a rest, the key is Esc.
const ESCAPE_TIMEOUT: Duration = Duration::from_millis(50);

/// Parts of a session.
pub(super) struct Session {
    state: TopState,
    terminal: Terminal,
    has_colors: bool,
    reader: Reader,
    /// Picture that is on the screen.
    seen: Option<Picture>,
    is_changed: bool,
    drawn: Option<Instant>,
}

/// Reason for which a wait returned.
struct Wake {
    typed: bool,
    signalled: bool,
    event: bool,
}

impl Session {
    pub(super) fn new(state: TopState, terminal: Terminal, has_colors: bool) -> Self {
        Self { state, terminal, has_colors, reader: Reader::default(), seen: None, is_changed: true, drawn: None }
    }

    /// Runs until the user quits or the terminal is gone.
    ///
    /// # Errors
    /// Returns an error if it cannot wait, or cannot take the terminal again.
    pub(super) fn run(&mut self, source: &mut Source) -> Result<(), CliError> {
        loop {
            let now = Instant::now();
            if !self.show(now) {
                return Ok(());
            }
            let wake = self.wait(now, source)?;
            if wake.event {
                for sample in source.take() {
                    self.is_changed = true;
                    self.state.take(sample);
                }
            }
            if !self.on_wake(&wake)? {
                return Ok(());
            }
        }
    }

    /// Updates the screen. Returns false if the terminal is gone.
    fn show(&mut self, now: Instant) -> bool {
        let is_early = self.drawn.is_some_and(|drawn| now < drawn + FRAME_TIME);
        if self.is_changed && !is_early && !self.terminal.is_behind() {
            let picture = draw(&self.state);
            changes(self.seen.as_ref(), &picture, self.has_colors, self.terminal.queue());
            (self.seen, self.is_changed, self.drawn) = (Some(picture), false, Some(now));
        }
        self.terminal.write()
    }

    fn wait(&self, now: Instant, source: &Source) -> Result<Wake, CliError> {
        let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
        let signals = self.terminal.signals();
        let mut fds = vec![
            PollFd::new(&stdin, PollFlags::IN),
            PollFd::new(&signals, PollFlags::IN),
            PollFd::from_borrowed_fd(source.fd(), PollFlags::IN),
        ];
        if self.terminal.is_behind() {
            fds.push(PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::OUT));
        }
        let frame = (self.is_changed && !self.terminal.is_behind()).then(|| self.drawn.map_or(now, |drawn| drawn + FRAME_TIME));
        let sequence = self.reader.waits().then(|| now + ESCAPE_TIMEOUT);
        let due = [frame, sequence].into_iter().flatten().min();
        let left = due.and_then(|due| Timespec::try_from(due.saturating_duration_since(now)).ok());
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(CliError::system("wait")(errno)),
        }
        let is_ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        Ok(Wake { typed: is_ready(0), signalled: is_ready(1), event: is_ready(2) })
    }

    /// Handles what has arrived. Returns false if the session is over.
    fn on_wake(&mut self, wake: &Wake) -> Result<bool, CliError> {
        for event in self.terminal.events(wake.signalled, wake.typed, &mut self.reader) {
            let input = match event {
                TerminalEvent::Signal(TerminalSignal::Quit) => return Ok(false),
                TerminalEvent::Signal(TerminalSignal::Suspend) => {
                    self.suspend()?;
                    continue;
                }
                TerminalEvent::Signal(TerminalSignal::Redraw) => {
                    self.sample();
                    continue;
                }
                TerminalEvent::Input(input) => input,
            };
            self.is_changed = true;
            match self.state.on_input(&input) {
                None => {}
                Some(Command::Quit) => return Ok(false),
                Some(Command::Suspend) => self.suspend()?,
                Some(Command::Repaint) => self.sample(),
            }
        }
        Ok(true)
    }

    fn suspend(&mut self) -> Result<(), CliError> {
        self.terminal.suspend()?;
        self.sample();
        Ok(())
    }

    /// Applies the new size of the terminal, and draws everything.
    fn sample(&mut self) {
        self.state.size = self.terminal.size();
        (self.seen, self.is_changed) = (None, true);
    }
}
