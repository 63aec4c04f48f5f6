//! Session: waits for events, keys and signals, and draws when something has changed.

use std::path::PathBuf;
use std::time::Instant;

use ostler_proto::control::Summary;

use super::keys::{Command, on_input};
use super::link::DaemonLink;
use super::log_lines::LogLine;
use super::state::{MonitEvent, MonitState};
use super::view::draw;
use crate::error::CliError;
use crate::full_screen::screen::{Screen, ScreenEvent, Wake};
use crate::logs::LogFeed;
use crate::render::Out;

/// Log lines from the past that are shown at first.
const PAST_LINES: u64 = 200;

/// Parts of a session.
pub(super) struct Session<'a> {
    pub state: MonitState,
    screen: Screen,
    link: DaemonLink,
    out: &'a Out,
    /// Instance whose logs were requested last.
    pending: Option<u32>,
    /// Log files of the selected instance.
    feed: Option<Feed>,
}

/// Followed logs, and the instance that they belong to.
struct Feed {
    id: u32,
    files: [Option<String>; 3],
    logs: LogFeed,
}

impl<'a> Session<'a> {
    pub(super) fn new(state: MonitState, screen: Screen, home: PathBuf, out: &'a Out) -> Self {
        let link = DaemonLink::new(home, state.display.program, Instant::now());
        Self { state, screen, link, out, pending: None, feed: None }
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
            let draw_state = || {
                self.state.view = self.out.view();
                draw(&self.state)
            };
            if !self.screen.show(now, draw_state) {
                return Ok(());
            }
            let feed = self.feed.as_ref().map(|feed| &feed.logs);
            let due = [Some(self.link.due()), feed.and_then(LogFeed::due)].into_iter().flatten().min();
            let wake = self.screen.wait(now, [self.link.fd(), feed.and_then(LogFeed::as_fd)], due)?;
            if !self.on_wake(&wake)? {
                return Ok(());
            }
        }
    }

    fn apply(&mut self, updates: Vec<MonitEvent>) {
        for updates in updates {
            self.screen.mark_changed();
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

    /// Handles what has arrived. Returns false if the session is over.
    fn on_wake(&mut self, wake: &Wake<2>) -> Result<bool, CliError> {
        let [is_answered, is_logged] = wake.sources;
        for event in self.screen.events(wake) {
            let input = match self.screen.accept(event)? {
                ScreenEvent::Input(input) => input,
                ScreenEvent::Resized => {
                    self.resize();
                    continue;
                }
                ScreenEvent::Quit => return Ok(false),
            };
            match on_input(&mut self.state, input) {
                None => {}
                Some(Command::Quit) => return Ok(false),
                Some(Command::Suspend) => {
                    self.screen.suspend()?;
                    self.resize();
                }
                Some(Command::Repaint) => {
                    self.screen.redraw();
                    self.resize();
                }
                Some(Command::Action(action)) => {
                    let updates = self.link.action(Instant::now(), &action);
                    self.apply(updates);
                }
            }
        }
        if is_answered {
            let updates = self.link.arrived(Instant::now())?;
            self.apply(updates);
        }
        if let Some(feed) = self.feed.as_mut().filter(|_| is_logged) {
            feed.logs.drain();
        }
        Ok(true)
    }

    fn resize(&mut self) {
        let (columns, rows) = self.screen.size();
        self.apply(vec![MonitEvent::Resized(columns, rows)]);
    }
}
