//! Dumps of TCP sockets through the kernel's `sock_diag(7)`.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

/// Attribute with `tcp_info`.
pub(crate) const INFO: u8 = 2;

/// Request for the sockets of one family on one local port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dump {
    pub family: AddressFamily,
    pub port: u16,
    /// Bits of the states of `net/tcp_states.h`.
    pub states: u32,
    /// Bits of the attributes that the answer includes.
    pub attributes: u8,
}

impl Dump {
    /// Returns the result of `parse` for each `inet_diag_msg`, at most `most` of them.
    ///
    /// # Errors
    /// Returns an error if the kernel or sandbox has no `sock_diag`.
    pub(crate) fn read<T>(self, most: usize, parse: impl Fn(&[u8]) -> Option<T>) -> Result<Vec<T>, Errno> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG))?;
        send(&socket, &self.request(), SendFlags::empty())?;
        read_all(&socket, most, parse)
    }

    /// Returns `nlmsghdr` and `inet_diag_req_v2` of `linux/inet_diag.h`.
    fn request(self) -> Vec<u8> {
        const SOCK_DIAG_BY_FAMILY: u16 = 20;
        const REQUEST_DUMP: u16 = 0x1 | 0x300;
        const TCP: u8 = 6;
        const LENGTH: u32 = 16 + 56;
        let mut message = Vec::with_capacity(LENGTH as usize);
        message.extend(LENGTH.to_ne_bytes());
        message.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        message.extend(REQUEST_DUMP.to_ne_bytes());
        message.extend([0; 8]);
        message.extend([u8::try_from(self.family.as_raw()).unwrap_or_default(), TCP, self.attributes, 0]);
        message.extend(self.states.to_ne_bytes());
        message.extend(self.port.to_be_bytes());
        message.resize(LENGTH as usize, 0);
        message
    }
}

fn read_all<T>(socket: &OwnedFd, most: usize, parse: impl Fn(&[u8]) -> Option<T>) -> Result<Vec<T>, Errno> {
    const DONE: u16 = 3;
    const ERROR: u16 = 2;
    let mut found = Vec::new();
    let mut block = vec![0; 32 << 10];
    loop {
        let (length, _) = recv(socket, &mut block, RecvFlags::empty())?;
        let mut rest = &block[..length.min(block.len())];
        if rest.is_empty() {
            return Err(Errno::PIPE);
        }
        while let Some((kind, body, after)) = message(rest) {
            match kind {
                DONE => return Ok(found),
                ERROR => return Err(int(body, 0).map_or(Errno::IO, |code| Errno::from_raw_os_error(code.cast_signed().saturating_neg()))),
                _ => found.extend(parse(body).filter(|_| found.len() < most)),
            }
            rest = after;
        }
    }
}

/// Splits off the first message: its type, its body, and the bytes after it.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(int(bytes, 0)?).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(16..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// Returns the user and the inode of an `inet_diag_msg`. A connection that no process has accepted
/// yet has inode 0.
pub(crate) fn owner(body: &[u8]) -> Option<(u32, u64)> {
    Some((int(body, 64)?, int(body, 68)?.into()))
}

pub(crate) fn int(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torn_message_is_dropped() {
        assert_eq!(message(&[0; 3]), None);
        assert_eq!(message(&[200, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(owner(&[0; 70]), None);
    }
}
