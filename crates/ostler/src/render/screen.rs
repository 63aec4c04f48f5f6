//! Screen of a user, for tests.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use super::Out;
use crate::home::Program;

/// Everything that was printed so far, in order; output on stderr is marked.
pub(crate) struct Screen(Rc<RefCell<Vec<u8>>>);

impl Screen {
    /// Creates an output without colours, with the screen that records it.
    pub(crate) fn of(program: Program) -> (Out, Self) {
        let shown = Rc::new(RefCell::new(Vec::new()));
        let stream = |mark| Box::new(Stream { shown: shown.clone(), mark });
        (Out::onto(program, stream(""), stream("(stderr) ")), Self(shown))
    }

    /// Returns the output since the last call.
    pub(crate) fn taken(&self, out: &mut Out) -> String {
        out.flush();
        self.shown()
    }

    /// Works like [`Screen::taken`], for an output that is finished.
    pub(crate) fn shown(&self) -> String {
        String::from_utf8(std::mem::take(&mut self.0.borrow_mut())).unwrap()
    }
}

struct Stream {
    shown: Rc<RefCell<Vec<u8>>>,
    mark: &'static str,
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut shown = self.shown.borrow_mut();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if line != b"\n" {
                shown.extend_from_slice(self.mark.as_bytes());
            }
            shown.extend_from_slice(line);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
