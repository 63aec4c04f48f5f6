//! Session: waits for events, keys and signals, and draws when something has changed.

use std::time::Instant;

use super::source::Source;
use super::state::{Command, TopState};
use super::view::draw;
use crate::error::CliError;
use crate::full_screen::screen::{Screen, ScreenEvent, Wake};

/// Parts of a session.
pub(super) struct Session {
    state: TopState,
    screen: Screen,
}

impl Session {
    pub(super) fn new(state: TopState, screen: Screen) -> Self {
        Self { state, screen }
    }

    /// Runs until the user quits or the terminal is gone.
    ///
    /// # Errors
    /// Returns an error if it cannot wait, or cannot take the terminal again.
    pub(super) fn run(&mut self, source: &mut Source) -> Result<(), CliError> {
        loop {
            let now = Instant::now();
            if !self.screen.show(now, || draw(&self.state)) {
                return Ok(());
            }
            let wake = self.screen.wait(now, [Some(source.fd())], None)?;
            if wake.sources[0] {
                for sample in source.take() {
                    self.screen.mark_changed();
                    self.state.take(sample);
                }
            }
            if !self.on_wake(&wake)? {
                return Ok(());
            }
        }
    }

    /// Handles keys and signals. Returns false if the session is over.
    fn on_wake(&mut self, wake: &Wake<1>) -> Result<bool, CliError> {
        for event in self.screen.events(wake) {
            let input = match self.screen.accept(event)? {
                ScreenEvent::Input(input) => input,
                ScreenEvent::Resized => {
                    self.state.size = self.screen.size();
                    continue;
                }
                ScreenEvent::Quit => return Ok(false),
            };
            match self.state.on_input(&input) {
                None => continue,
                Some(Command::Quit) => return Ok(false),
                Some(Command::Suspend) => self.screen.suspend()?,
                Some(Command::Repaint) => self.screen.redraw(),
            }
            self.state.size = self.screen.size();
        }
        Ok(true)
    }
}
