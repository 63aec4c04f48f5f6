//! Body of a response.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use rustix::buffer::spare_capacity;

use crate::memory::SMALL;

/// Maximum number of bytes read from a file at once. Each slow client holds a buffer of this size.
const CHUNK: u64 = SMALL;

/// Body after the response head.
#[derive(Debug)]
pub(crate) enum Content {
    Bytes(Bytes),
    File { fd: OwnedFd, at: u64, left: u64 },
}

impl Content {
    pub(crate) const EMPTY: Self = Self::Bytes(Bytes::new());

    /// Creates the body for a part of a file; a small part is read immediately.
    pub(crate) fn of_file(fd: OwnedFd, at: u64, left: u64) -> io::Result<Self> {
        if left > CHUNK {
            return Ok(Self::File { fd, at, left });
        }
        let bytes = read(&fd, at, left)?;
        if (bytes.len() as u64) < left {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Self::Bytes(bytes))
    }
}

/// Reads `length` bytes (at most `CHUNK`), fewer only at the end of the file.
fn read(fd: &OwnedFd, at: u64, length: u64) -> io::Result<Bytes> {
    let length = usize::try_from(length.min(CHUNK)).unwrap_or(0);
    let mut buffer = Vec::with_capacity(length);
    while buffer.len() < length {
        let from = at + buffer.len() as u64;
        match rustix::io::pread(fd, spare_capacity(&mut buffer), from) {
            Ok(0) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The buffer may have more capacity than requested, so the read may return more bytes.
    buffer.truncate(length);
    Ok(buffer.into())
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let bytes = match &mut *self {
            Self::Bytes(bytes) if bytes.is_empty() => return Poll::Ready(None),
            Self::Bytes(bytes) => std::mem::take(bytes),
            Self::File { left: 0, .. } => return Poll::Ready(None),
            Self::File { fd, at, left } => match read(fd, *at, *left) {
                Ok(bytes) if bytes.is_empty() => {
                    // The file became shorter, so the announced length cannot be sent. The error
                    // shows that to the client.
                    *left = 0;
                    return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
                }
                Ok(bytes) => {
                    *at += bytes.len() as u64;
                    *left = left.saturating_sub(bytes.len() as u64);
                    bytes
                }
                Err(error) => return Poll::Ready(Some(Err(error))),
            },
        };
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::File { left, .. } => *left == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { left, .. } => *left,
        })
    }
}
