//! Messages of programs by the sd_notify protocol: datagrams of `NAME=value` lines.
//!
//! ```text
//! READY=1
//! STATUS=Serving on port 8080
//! ```
//!
//! Source: `sd_notify(3)`.

/// Maximum length of a datagram, as in systemd; longer ones are ignored.
pub const DATAGRAM_MAX: usize = 4096;
/// Maximum length of a stored status, in characters.
const STATUS_MAX: usize = 300;

/// A datagram. Missing fields are false or none; unknown names are skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notification {
    /// `READY=1`: started, or reloaded.
    pub ready: bool,
    /// `RELOADING=1`: it is reloading its configuration; `READY=1` follows.
    pub reloading: bool,
    /// `STOPPING=1`: it is shutting down.
    pub stopping: bool,
    /// `STATUS=`: text for people, in one line.
    pub status: Option<String>,
    /// `WATCHDOG=1`: heartbeat.
    pub alive: bool,
    /// `WATCHDOG=trigger`: acts as if the watchdog had timed out.
    pub trigger: bool,
    /// `WATCHDOG_USEC=`: new interval between two heartbeats, in milliseconds.
    pub watchdog_ms: Option<u64>,
    /// `EXTEND_TIMEOUT_USEC=`: additional time for start or stop from now on, in milliseconds.
    pub extend_ms: Option<u64>,
    /// `MAINPID=`: new pid of the main process.
    pub main_pid: Option<i32>,
}

/// Reads a datagram. Every input gives a result; malformed parts are ignored.
pub fn parse(datagram: &[u8]) -> Notification {
    let mut notification = Notification::default();
    if datagram.len() > DATAGRAM_MAX {
        return notification;
    }
    for line in datagram.split(|byte| *byte == b'\n') {
        let Some(at) = line.iter().position(|byte| *byte == b'=') else { continue };
        let (name, value) = (line.get(..at).unwrap_or_default(), line.get(at + 1..).unwrap_or_default());
        let number = || std::str::from_utf8(value).ok().and_then(number);
        match (name, value) {
            (b"READY", b"1") => notification.ready = true,
            (b"RELOADING", b"1") => notification.reloading = true,
            (b"STOPPING", b"1") => notification.stopping = true,
            (b"WATCHDOG", b"1") => notification.alive = true,
            (b"WATCHDOG", b"trigger") => notification.trigger = true,
            (b"STATUS", text) => notification.status = Some(status(text)),
            (b"WATCHDOG_USEC", _) => notification.watchdog_ms = number().map(|usec| usec.div_ceil(1000)).or(notification.watchdog_ms),
            (b"EXTEND_TIMEOUT_USEC", _) => notification.extend_ms = number().map(|usec| usec.div_ceil(1000)).or(notification.extend_ms),
            (b"MAINPID", _) => {
                notification.main_pid = number().and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 1).or(notification.main_pid)
            }
            _ => {}
        }
    }
    notification
}

/// Returns the number in a text of digits only: the protocol permits no plus, minus or blank.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn status(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(STATUS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_notification_fields_are_parsed() {
        let text = "READY=1\nSTATUS=Up = fine\nMAINPID=42\nWATCHDOG=1\nWATCHDOG_USEC=1500001\nEXTEND_TIMEOUT_USEC=2000000\nX_OWN=1\n";
        let expected = Notification {
            ready: true,
            status: Some("Up = fine".into()),
            main_pid: Some(42),
            alive: true,
            watchdog_ms: Some(1501),
            extend_ms: Some(2000),
            ..Notification::default()
        };
        assert_eq!(parse(text.as_bytes()), expected);
        assert!(parse(b"RELOADING=1").reloading && parse(b"STOPPING=1").stopping && parse(b"WATCHDOG=trigger").trigger);
    }

    #[test]
    fn malformed_notification_is_ignored() {
        for text in [
            "",
            "\n\n",
            "READY",
            "READY=",
            "READY=0",
            "READY=11",
            "ready=1",
            " READY=1",
            "MAINPID=1",
            "MAINPID=-5",
            "MAINPID=99999999999",
            "WATCHDOG_USEC=+5",
            "WATCHDOG_USEC=5 ",
            "EXTEND_TIMEOUT_USEC=x",
            "=1",
            "\0READY=1",
        ] {
            assert_eq!(parse(text.as_bytes()), Notification::default(), "{text:?}");
        }
        let long = format!("READY=1\n{}", "x".repeat(DATAGRAM_MAX));
        assert_eq!(parse(long.as_bytes()), Notification::default());
    }

    #[test]
    fn status_is_shortened_to_one_line() {
        let notification = parse(format!("STATUS=a\x1b[31m\tb\u{e9}{}", "y".repeat(1000)).as_bytes());
        let status = notification.status.unwrap();
        assert!(status.starts_with("a[31mb\u{e9}y") && status.chars().count() == STATUS_MAX);
        assert_eq!(parse(b"STATUS=\xff").status.as_deref(), Some("\u{fffd}"));
        assert_eq!(parse(b"STATUS=").status.as_deref(), Some(""));
    }

    proptest! {
        #[test]
        fn parsing_any_datagram_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }
    }
}
