//! Capture of a command's output, for an owner that wants to read it, up to a bound. One that writes more is ended: nobody would read it.

use std::os::fd::OwnedFd;

use ostler_core::lifecycle::command::Outcome;
use ostler_sys::Wiped;
use rustix::io::Errno;

use super::{Commands, Ctx};
use crate::platform::reactor::{Reactor, Source};

/// Most output that is kept: what a secret may be, an end of line, and one more byte that shows that it is too much.
pub(crate) const MOST_BYTES: usize = ostler_core::app::secrets::MAX_BYTES + 3;
/// Reads in one go; the next turn of the loop goes on.
const READS: usize = 64;
/// Size of the reads that discard what is too much.
const SCRAP_BYTES: usize = 4 << 10;

/// The read end of its output, and what came so far.
pub(super) struct Capture {
    pipe: OwnedFd,
    kept: Wiped,
}

impl std::fmt::Debug for Capture {
    /// Never shows what came, which may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Capture").field("pipe", &self.pipe).field("kept_bytes", &self.kept.len()).finish()
    }
}

impl Capture {
    /// Returns it and the end to write to.
    pub(super) fn open(number: u32, reactor: &Reactor) -> Result<(Self, OwnedFd), Errno> {
        let (pipe, writer) = ostler_sys::fd::pipe::pipe()?;
        rustix::io::ioctl_fionbio(&pipe, true)?;
        reactor
            .add(&pipe, Source::Feature(Commands::NAME, number.into()))
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOMEM))?;
        Ok((Self { pipe, kept: Wiped::default() }, writer))
    }

    /// Takes what is there. False = nothing more will come.
    fn read(&mut self) -> bool {
        for _ in 0..READS {
            // What is too much is read as well, so that its writer never waits.
            let mut rest = Wiped::default();
            let got = if self.is_full() { rest.read_from(&self.pipe, SCRAP_BYTES) } else { self.kept.read_from(&self.pipe, MOST_BYTES) };
            match got {
                Ok(0) => return false,
                Ok(_) => {}
                Err(Errno::AGAIN) => return true,
                Err(_) => return false,
            }
        }
        true
    }

    /// True if it wrote more than anybody wants.
    fn is_full(&self) -> bool {
        self.kept.len() >= MOST_BYTES
    }

    /// Takes everything that was written before it ended.
    pub(super) fn finish(mut self, reactor: &Reactor) -> Wiped {
        // A pipe holds little more than what is kept.
        self.read();
        reactor.remove(&self.pipe);
        self.kept
    }
}

impl Commands {
    /// Handles output of a command.
    pub(super) fn wrote(&mut self, ctx: &mut Ctx, number: u32) {
        let Some(capture) = self.all.get_mut(&number).and_then(|command| command.capture.as_mut()) else { return };
        if !capture.read() {
            ctx.io.reactor.remove(&capture.pipe);
        }
        if capture.is_full() {
            self.decide(ctx, number, Outcome::Cancelled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_is_kept_and_the_writer_never_waits() {
        let reactor = Reactor::new().unwrap();
        let (mut capture, writer) = Capture::open(1, &reactor).unwrap();
        let writing = std::thread::spawn(move || {
            (0..40).try_for_each(|n| rustix::io::write(&writer, &[n; 8 << 10]).map(drop)).unwrap();
        });
        while capture.read() {
            std::thread::yield_now();
        }
        writing.join().unwrap();
        let kept = capture.finish(&reactor);
        assert_eq!((kept.len(), kept[0], kept[MOST_BYTES - 1]), (MOST_BYTES, 0, 8));
    }

    #[test]
    fn what_was_written_before_the_end_is_there() {
        let reactor = Reactor::new().unwrap();
        let (capture, writer) = Capture::open(1, &reactor).unwrap();
        rustix::io::write(&writer, b"secret").unwrap();
        // Something that it started may hold the other end.
        assert_eq!(capture.finish(&reactor), *b"secret");
    }
}
