//! Session: waits for events, keys and signals, and draws when something has changed.

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ostler_proto::control::Summary;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::cells::Picture;
use super::input::Reader;
use super::keys::{Command, on_input};
use super::link::DaemonLink;
use super::log_lines::LogLine;
use super::paint::changes;
use super::state::{MonitEvent, MonitState};
use super::terminal::{Terminal, TerminalEvent, TerminalSignal};
use super::view::draw;
use crate::error::CliError;
use crate::logs::LogFeed;
use crate::render::Out;

/// Log lines from the past that are shown at first.
const PAST_LINES: u64 = 200;
/// Shortest time between two pictures: a user reads no faster.
const FRAME_TIME: Duration = Duration::from_millis(50);
/// Time for the rest of a key sequence; without a rest, the key is Esc.
const ESCAPE_TIMEOUT: Duration = Duration::from_millis(50);

/// Parts of a session.
pub(super) struct Session<'a> {
    pub state: MonitState,
    terminal: Terminal,
    link: DaemonLink,
    out: &'a Out,
    has_colors: bool,
    reader: Reader,
    /// Instance whose logs were requested last.
    pending: Option<u32>,
    /// Log files of the selected instance.
    feed: Option<Feed>,
    /// Picture that is on the screen.
    seen: Option<Picture>,
    is_changed: bool,
    drawn: Option<Instant>,
}

/// Followed logs, and the instance that they belong to.
struct Feed {
    id: u32,
    files: [Option<String>; 3],
    logs: LogFeed,
}

/// Reason for which a wait returned.
#[derive(Default)]
struct Wake {
    typed: bool,
    signalled: bool,
    answered: bool,
    logged: bool,
}

impl<'a> Session<'a> {
    pub(super) fn new(state: MonitState, terminal: Terminal, home: PathBuf, out: &'a Out) -> Self {
        let link = DaemonLink::new(home, state.display.program, Instant::now());
        let has_colors = out.paint().0;
        Self {
            state,
            terminal,
            link,
            out,
            has_colors,
            reader: Reader::default(),
            pending: None,
            feed: None,
            seen: None,
            is_changed: true,
            drawn: None,
        }
    }

    /// Runs until the user quits or the terminal is gone.
    ///
    /// # Errors
    /// Returns an error if the daemon cannot be understood.
    pub(super) fn run(&mut self) -> Result<(), CliError> {
        loop {
            let now = Instant::now();
            let updates = self.link.turn(now, &self.state)?;
            self.apply(updates);
            self.follow_selected(now);
            self.read_logs();
            if !self.show(now) {
                return Ok(());
            }
            let wake = self.wait(now)?;
            if !self.on_wake(&wake)? {
                return Ok(());
            }
        }
    }

    fn apply(&mut self, updates: Vec<MonitEvent>) {
        for updates in updates {
            self.is_changed = true;
            self.state.apply(updates);
        }
    }

    /// Follows the logs of the selected instance. If the selection is new, requests its logs at
    /// once.
    fn follow_selected(&mut self, now: Instant) {
        let Some(detail) = &self.state.detail else {
            // The request is sent once: the response may take time, or never arrive.
            if self.pending != self.state.selected {
                self.pending = self.state.selected;
                self.feed = None;
                self.link.hurry(now);
            }
            return;
        };
        let files = [detail.files.out.clone(), detail.files.error.clone(), detail.files.combined.clone()];
        if self.feed.as_ref().is_some_and(|feed| feed.id == detail.id && feed.files == files) {
            return;
        }
        let Some(row) = self.state.row().cloned() else { return };
        let [out_file, error_file, log_file] = files.clone();
        let summary =
            Summary { row, unstable: 0, script: String::new(), out_file, error_file, log_file, pid_file: String::new(), revision: None };
        let mut logs = LogFeed::of(&summary);
        let id = detail.id;
        let mut lines = Vec::new();
        logs.tail(PAST_LINES, &mut |is_error, line| lines.push(LogLine::new(line, is_error)));
        self.state.logs.clear();
        self.feed = Some(Feed { id, files, logs });
        self.apply(lines.into_iter().map(MonitEvent::Line).collect());
    }

    fn read_logs(&mut self) {
        let Some(feed) = &mut self.feed else { return };
        let mut lines = Vec::new();
        feed.logs.advance(&mut |is_error, line| lines.push(LogLine::new(line, is_error)));
        self.apply(lines.into_iter().map(MonitEvent::Line).collect());
    }

    /// Updates the screen. Returns false if the terminal is gone.
    fn show(&mut self, now: Instant) -> bool {
        let is_early = self.drawn.is_some_and(|drawn| now < drawn + FRAME_TIME);
        if self.is_changed && !is_early && !self.terminal.is_behind() {
            self.state.view = self.out.view();
            let picture = draw(&self.state);
            changes(self.seen.as_ref(), &picture, self.has_colors, self.terminal.queue());
            self.seen = Some(picture);
            self.is_changed = false;
            self.drawn = Some(now);
        }
        self.terminal.write()
    }

    fn wait(&self, now: Instant) -> Result<Wake, CliError> {
        let stdin = std::io::stdin();
        let signals = self.terminal.signals();
        let mut fds = vec![PollFd::new(&stdin, PollFlags::IN), PollFd::new(&signals, PollFlags::IN)];
        let mut add = |fd| {
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
            fds.len() - 1
        };
        let link_at = self.link.fd().map(&mut add);
        let feed_at = self.feed.as_ref().and_then(|feed| feed.logs.as_fd()).map(&mut add);
        let stdout = std::io::stdout();
        if self.terminal.is_behind() {
            fds.push(PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::OUT));
        }
        let frame = (self.is_changed && !self.terminal.is_behind()).then(|| self.drawn.map_or(now, |drawn| drawn + FRAME_TIME));
        let logs = self.feed.as_ref().and_then(|feed| feed.logs.due());
        let sequence = self.reader.waits().then(|| now + ESCAPE_TIMEOUT);
        let due = [Some(self.link.due()), frame, logs, sequence].into_iter().flatten().min();
        let left = due.and_then(|due| Timespec::try_from(due.saturating_duration_since(now)).ok());
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(CliError::system("wait")(errno)),
        }
        let is_ready = |at: Option<usize>| at.and_then(|at| fds.get(at)).is_some_and(|fd| !fd.revents().is_empty());
        Ok(Wake { typed: is_ready(Some(0)), signalled: is_ready(Some(1)), answered: is_ready(link_at), logged: is_ready(feed_at) })
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
            match on_input(&mut self.state, input) {
                None => {}
                Some(Command::Quit) => return Ok(false),
                Some(Command::Suspend) => self.suspend()?,
                Some(Command::Repaint) => self.sample(),
                Some(Command::Action(action)) => {
                    let updates = self.link.action(Instant::now(), &action);
                    self.apply(updates);
                }
            }
        }
        if wake.answered {
            let updates = self.link.arrived(Instant::now())?;
            self.apply(updates);
        }
        if let Some(feed) = self.feed.as_mut().filter(|_| wake.logged) {
            feed.logs.drain();
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
        let (columns, rows) = self.terminal.size();
        self.seen = None;
        self.apply(vec![MonitEvent::Resized(columns, rows)]);
    }
}
