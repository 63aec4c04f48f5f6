//! Capture of a command's output up to a bound, for an owner that reads it. A command that writes
//! more is killed, because the surplus has no reader.

use std::os::fd::OwnedFd;

use ostler_core::lifecycle::command::CommandOutcome;
use ostler_sys::SecretBytes;
use rustix::io::Errno;

use super::{Commands, Ctx};
use crate::platform::reactor::{Reactor, Source};

/// Most output that is kept: the longest secret, an end of line, and one more byte that shows that
/// the output is too long.
pub(crate) const MOST_BYTES: usize = ostler_core::app::secrets::MAX_BYTES + 3;
/// Most reads in one turn of the event loop. The next turn continues.
const READS: usize = 64;
/// Size of the reads that discard surplus output.
const SCRAP_BYTES: usize = 4 << 10;

/// Read end of the output, and the output so far.
pub(super) struct Capture {
    pipe: OwnedFd,
    kept: SecretBytes,
}

impl std::fmt::Debug for Capture {
    /// Leaves out the output, which may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Capture").field("pipe", &self.pipe).field("kept_bytes", &self.kept.len()).finish()
    }
}

impl Capture {
    /// Returns a capture, and the end to write to.
    pub(super) fn open(number: u32, reactor: &Reactor) -> Result<(Self, OwnedFd), Errno> {
        let (pipe, writer) = ostler_sys::fd::pipe::pipe()?;
        rustix::io::ioctl_fionbio(&pipe, true)?;
        reactor
            .add(&pipe, Source::Feature(Commands::NAME, number.into()))
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOMEM))?;
        Ok((Self { pipe, kept: SecretBytes::default() }, writer))
    }

    /// Reads the available output. Returns false at the end of file.
    fn read(&mut self) -> bool {
        for _ in 0..READS {
            // Surplus output is read as well, so that its writer never blocks.
            let mut rest = SecretBytes::default();
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

    /// Returns true if the command wrote more than is kept.
    fn is_full(&self) -> bool {
        self.kept.len() >= MOST_BYTES
    }

    /// Takes everything that the command wrote before it exited.
    pub(super) fn finish(mut self, reactor: &Reactor) -> SecretBytes {
        // A pipe holds little more than the bound.
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
            self.decide(ctx, number, CommandOutcome::Cancelled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capture_keeps_the_first_bytes_and_never_blocks_the_writer() {
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
    fn finish_returns_all_written_bytes() {
        let reactor = Reactor::new().unwrap();
        let (capture, writer) = Capture::open(1, &reactor).unwrap();
        rustix::io::write(&writer, b"secret").unwrap();
        // A process that the command started may have the other end open.
        assert_eq!(capture.finish(&reactor), *b"secret");
    }
}
