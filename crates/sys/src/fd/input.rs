//! Standard input of a program that other processes may write to. No process has to hold the other
//! end open.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::ProcRef;

/// File system of pipes without a name.
const PIPEFS: u64 = 0x5049_5045;

/// Reason why a text did not reach a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputError {
    /// The process is gone.
    #[error("it is not running")]
    Gone,
    /// Its standard input is no longer the pipe that it was given.
    #[error("its standard input is not a pipe")]
    NoPipe,
    /// The process does not read; nothing was written.
    #[error("it does not read its standard input")]
    Full,
    /// The kernel refuses.
    #[error("cannot write to its standard input: {0}")]
    Refused(Errno),
}

/// Creates a pipe whose reader holds the writing end, too. The reader never reaches the end of the
/// file, even if other processes exit.
///
/// # Errors
/// Returns an error if no descriptor is free.
pub fn pipe() -> Result<OwnedFd, Errno> {
    let (reader, _writer) = pipe_with(PipeFlags::CLOEXEC)?;
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    rustix::fs::openat(CWD, path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

/// Writes into the standard input of a process: the whole text, or nothing. Never waits.
///
/// # Errors
/// On every error, nothing was written.
pub fn write(process: ProcRef, text: &[u8]) -> Result<(), InputError> {
    let refused = |errno: Errno| if matches!(errno, Errno::NOENT | Errno::SRCH) { InputError::Gone } else { InputError::Refused(errno) };
    // Check the file before opening it: the program may have replaced the pipe with a file that we
    // must not open.
    let path = format!("/proc/{}/fd/0", process.pid);
    let place = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(refused)?;
    if !process.exists() {
        return Err(InputError::Gone);
    }
    let is_pipe = rustix::fs::fstat(&place).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
        && rustix::fs::fstatfs(&place).is_ok_and(|stat| stat.f_type as u64 == PIPEFS);
    if !is_pipe {
        return Err(InputError::NoPipe);
    }
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let pipe =
        rustix::fs::openat(CWD, format!("/proc/self/fd/{}", place.as_fd().as_raw_fd()), flags, Mode::empty()).map_err(
            |errno| match errno {
                // The process no longer reads it.
                Errno::NXIO => InputError::NoPipe,
                errno => refused(errno),
            },
        )?;
    let size = rustix::pipe::fcntl_getpipe_size(&pipe).map_err(InputError::Refused)?;
    let unread = rustix::io::ioctl_fionread(&pipe).map_err(InputError::Refused)?;
    if unread + text.len() as u64 > size as u64 {
        return Err(InputError::Full);
    }
    match File::from(pipe).write(text) {
        Ok(length) if length == text.len() => Ok(()),
        // Partially filled pages count as full.
        Ok(_) => Err(InputError::Full),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Err(InputError::Full),
        Err(error) => Err(InputError::Refused(Errno::from_io_error(&error).unwrap_or(Errno::IO))),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    use super::*;

    fn cat(input: Stdio, program: &str) -> std::process::Child {
        Command::new("sh").args(["-c", program]).stdin(input).stdout(Stdio::piped()).spawn().unwrap()
    }

    #[test]
    fn written_lines_arrive_without_end_of_file() {
        let mut child = cat(pipe().unwrap().into(), "exec cat");
        let process = ProcRef::of(child.id().cast_signed()).unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in ["one", "two"] {
            write(process, format!("{line}\n").as_bytes()).unwrap();
            assert_eq!(lines.next().unwrap().unwrap(), line);
        }
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(write(process, b"x\n"), Err(InputError::Gone));
    }

    #[test]
    fn full_input_rejects_whole_lines_without_blocking() {
        let mut child = cat(pipe().unwrap().into(), "exec sleep 1000");
        let process = ProcRef::of(child.id().cast_signed()).unwrap();
        let line = [b'x'; 3000];
        let written = (0..).take_while(|_| write(process, &line).is_ok()).count();
        assert!((10..30).contains(&written), "{written}");
        assert_eq!(write(process, &line), Err(InputError::Full));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn input_that_is_no_anonymous_pipe_is_not_written() {
        let file = std::env::temp_dir().join(format!("ostler-input-{}", std::process::id()));
        std::fs::write(&file, "mine").unwrap();
        let fifo = file.with_extension("fifo");
        rustix::fs::mkfifoat(CWD, &fifo, Mode::from_raw_mode(0o600)).unwrap();
        let named = std::fs::OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
        for input in [Stdio::from(File::open(&file).unwrap()), Stdio::null(), Stdio::from(named)] {
            let mut child = cat(input, "exec sleep 1000");
            assert_eq!(write(ProcRef::of(child.id().cast_signed()).unwrap(), b"x\n"), Err(InputError::NoPipe));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(std::fs::read(&file).unwrap(), b"mine");
        std::fs::remove_file(&file).unwrap();
        std::fs::remove_file(&fifo).unwrap();
    }
}
