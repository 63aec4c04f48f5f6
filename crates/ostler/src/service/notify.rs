//! Messages to a service manager: the sending end of `sd_notify(3)`.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sendto, socket_with};

/// Connection to the service manager; without a service manager it drops messages.
#[derive(Debug)]
pub(super) struct Notify {
    door: Option<(OwnedFd, SocketAddrUnix)>,
    /// Time between two heartbeats, if the service manager requests them.
    pub(super) watchdog: Option<Duration>,
}

impl Notify {
    /// Creates the connection from the environment. An invalid address is ignored.
    pub(super) fn from_env() -> Self {
        let door = std::env::var_os("NOTIFY_SOCKET").and_then(|name| {
            let address = address(&name)?;
            let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok()?;
            Some((socket, address))
        });
        let text = |name: &str| std::env::var(name).ok();
        let watchdog = watchdog(text("WATCHDOG_USEC").as_deref(), text("WATCHDOG_PID").as_deref(), std::process::id());
        Self { watchdog: watchdog.filter(|_| door.is_some()), door }
    }

    /// Sends a message. If the service manager does not listen, this is no failure.
    pub(super) fn send(&self, state: &str) {
        if let Some((socket, address)) = &self.door {
            let _ = sendto(socket, state.as_bytes(), SendFlags::NOSIGNAL, address);
        }
    }

    /// Sends a line for users, as `systemctl status` shows it.
    pub(super) fn status(&self, text: &str) {
        self.send(&format!("STATUS={}", one_line(text)));
    }
}

/// Replaces line breaks, because a line break would end the assignment early.
pub(super) fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

fn address(name: &OsString) -> Option<SocketAddrUnix> {
    match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddrUnix::new_abstract_name(rest).ok(),
        [b'/', ..] => SocketAddrUnix::new(name.as_os_str()).ok(),
        _ => None,
    }
}

/// Returns the watchdog period, if it applies to this process.
fn watchdog(usec: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    let meant = pid.is_none_or(|pid| pid.parse() == Ok(own));
    let usec: u64 = usec?.parse().ok().filter(|usec| *usec > 0)?;
    meant.then_some(Duration::from_micros(usec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchdog_applies_only_to_the_named_pid() {
        let second = Some(Duration::from_secs(1));
        for (usec, pid, expected) in [
            (Some("1000000"), None, second),
            (Some("1000000"), Some("7"), second),
            (Some("1000000"), Some("8"), None),
            (Some("0"), None, None),
            (Some("-1"), None, None),
            (Some("x"), None, None),
            (None, Some("7"), None),
        ] {
            assert_eq!(watchdog(usec, pid, 7), expected, "{usec:?} {pid:?}");
        }
    }

    #[test]
    fn address_accepts_paths_and_abstract_sockets() {
        for (name, usable) in [("/run/notify", true), ("@abc", true), ("vsock:2:1234", false), ("", false), ("relative", false)] {
            assert_eq!(address(&name.into()).is_some(), usable, "{name}");
        }
        assert_eq!(one_line("a\nb\tc"), "a b c");
    }
}
