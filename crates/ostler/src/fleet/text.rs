//! Lines of text, each prefixed with its host.

use super::answers::{Answers, News};
use super::connect::{Listener, Said};
use crate::render::Out;

/// Receiver of text.
pub(super) struct Text<'a, 'b> {
    /// State of the hosts.
    pub answers: Answers<'a>,
    /// Output.
    pub out: &'b mut Out,
}

impl Listener for Text<'_, '_> {
    fn on_said(&mut self, host: usize, said: Said) {
        if let News::Line(line) = self.answers.take(self.out, host, said) {
            let prefix = self.answers.prefix(host, self.out.paint());
            self.out.data(prefix.as_bytes());
            self.out.data(&line);
            if line.last() != Some(&b'\n') {
                self.out.data(b"\n");
            }
            self.out.flush();
        }
    }

    fn is_over(&self) -> bool {
        self.out.is_closed()
    }
}
