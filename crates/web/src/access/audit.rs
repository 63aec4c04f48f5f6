//! Audit log: actions of users through the dashboard, in `<home>/web/audit.log`, one JSON object
//! per line. `ostler why` shows their effects on apps.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Size at which the file becomes `audit.log.1` and replaces the previous one.
const MAX_BYTES: u64 = 1 << 20;

/// Line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuditEntry {
    /// Wall clock, ms.
    pub(crate) at: u64,
    pub(crate) who: String,
    /// Address; none for a unix socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    pub(crate) what: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) app: Option<String>,
    /// Namespace of the app; none = it is about no app, or the app is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
    pub(crate) result: String,
}

/// Maximum number of refusals that are written per minute, for one client and for all. A flood of
/// refusals cannot push important lines out of the log.
const REFUSALS_OF_ONE: u32 = 30;
const REFUSALS: u32 = 300;
const MINUTE_MS: u64 = 60_000;

/// Refusals within a minute.
#[derive(Debug, Default)]
struct RefusalCounter {
    minute: u64,
    counts: HashMap<String, u32>,
    written: u32,
    omitted: u32,
}

/// Audit log file.
#[derive(Debug)]
pub(crate) struct Audit(PathBuf, RefCell<RefusalCounter>);

impl Audit {
    pub(crate) fn of(home: &Path) -> Self {
        Self(crate::settings::names::folder(home).join("audit.log"), RefCell::default())
    }

    /// Appends a refusal. If there were too many within this minute, it is only counted.
    pub(crate) fn refused(&self, entry: &AuditEntry) {
        let mut refusals = self.1.borrow_mut();
        let minute = entry.at / MINUTE_MS;
        if refusals.minute != minute {
            let former = std::mem::replace(&mut *refusals, RefusalCounter { minute, ..RefusalCounter::default() });
            if former.omitted > 0 {
                let result = format!("{} more were refused", former.omitted);
                self.write(&AuditEntry {
                    who: "ostler".into(),
                    from: None,
                    what: "refusals".into(),
                    app: None,
                    namespace: None,
                    result,
                    ..entry.clone()
                });
            }
        }
        let client = entry.from.clone().unwrap_or_else(|| entry.who.clone());
        let count = refusals.counts.get(&client).copied().unwrap_or_default();
        if count >= REFUSALS_OF_ONE || refusals.written >= REFUSALS {
            refusals.omitted += 1;
            return;
        }
        refusals.counts.insert(client, count + 1);
        refusals.written += 1;
        self.write(entry);
    }

    /// Appends a line. If it cannot be written, it goes to standard error, and the request is still
    /// carried out.
    pub(crate) fn write(&self, entry: &AuditEntry) {
        let mut line = serde_json::to_vec(entry).unwrap_or_default();
        line.push(b'\n');
        if let Err(error) = self.append(&line) {
            let _ = writeln!(io::stderr(), "cannot write \"{}\": {error}: {}", self.0.display(), String::from_utf8_lossy(&line).trim_end());
        }
    }

    fn append(&self, line: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.0)?;
        if file.metadata()?.len() > MAX_BYTES {
            std::fs::rename(&self.0, self.0.with_extension("log.1"))?;
            file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.0)?;
        }
        file.write_all(line)
    }

    /// Returns the newest matching lines, the newest first.
    pub(crate) fn last(&self, most: usize, is_wanted: impl Fn(&AuditEntry) -> bool) -> Vec<AuditEntry> {
        const WINDOW: u64 = 256 << 10;
        let read = || -> io::Result<Vec<u8>> {
            let mut file = File::open(&self.0)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(WINDOW)))?;
            let mut bytes = Vec::new();
            file.take(WINDOW).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().unwrap_or_default();
        bytes.split(|byte| *byte == b'\n').rev().filter_map(|line| serde_json::from_slice(line).ok()).filter(is_wanted).take(most).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_returns_newest_first_and_file_is_bounded() {
        let home = std::env::temp_dir().join(format!("ostler-audit-{}", std::process::id()));
        std::fs::create_dir_all(home.join("web")).unwrap();
        let audit = Audit::of(&home);
        let entry = |n: u64| AuditEntry {
            at: n,
            who: "x".repeat(300),
            from: None,
            what: "restart".into(),
            app: Some("a\nb".into()),
            namespace: None,
            result: "done".into(),
        };
        for n in 0..5000 {
            audit.write(&entry(n));
        }
        assert_eq!(audit.last(2, |_| true), [entry(4999), entry(4998)]);
        assert!(audit.0.metadata().unwrap().len() <= MAX_BYTES + 512);
        std::fs::remove_dir_all(&home).unwrap();
        assert_eq!(audit.last(2, |_| true), []);
    }

    #[test]
    fn refused_logins_do_not_flood_the_audit_log() {
        let home = std::env::temp_dir().join(format!("ostler-audit-refusals-{}", std::process::id()));
        std::fs::create_dir_all(home.join("web")).unwrap();
        let audit = Audit::of(&home);
        let refusal = |at: u64, from: &str| AuditEntry {
            at,
            who: "password".into(),
            from: Some(from.into()),
            what: "login".into(),
            app: None,
            namespace: None,
            result: "refused".into(),
        };
        (0..1000).for_each(|_| audit.refused(&refusal(1000, "192.0.2.1")));
        audit.refused(&refusal(1000, "192.0.2.2"));
        assert_eq!(audit.last(5000, |_| true).len(), 31, "another client has lines of its own");
        audit.refused(&refusal(1000 + MINUTE_MS, "192.0.2.1"));
        let last = audit.last(2, |_| true);
        assert_eq!((last[0].result.as_str(), last[1].result.as_str()), ("refused", "970 more were refused"));
        std::fs::remove_dir_all(&home).unwrap();
    }
}
