//! The audit log: who did what through the dashboard. `<home>/web/audit.log`, one JSON object a line; what happened to apps for it is in `ostler why`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Length at which it becomes `audit.log.1`, in place of the former.
const MAX_BYTES: u64 = 1 << 20;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Wall clock, ms.
    pub(crate) at: u64,
    pub(crate) who: String,
    /// Address, or nothing for a unix socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    pub(crate) what: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) app: Option<String>,
    pub(crate) result: String,
}

/// The file.
#[derive(Debug)]
pub(crate) struct Audit(PathBuf);

impl Audit {
    pub(crate) fn of(home: &Path) -> Self {
        Self(crate::folder(home).join("audit.log"))
    }

    /// Appends a line. One that cannot be written is on standard error instead: what was asked for is not refused for it.
    pub(crate) fn write(&self, entry: &Entry) {
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

    /// The newest lines, the newest first.
    pub(crate) fn last(&self, most: usize) -> Vec<Entry> {
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
        bytes.split(|byte| *byte == b'\n').rev().filter_map(|line| serde_json::from_slice(line).ok()).take(most).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_the_newest_first_and_the_file_is_bounded() {
        let home = std::env::temp_dir().join(format!("ostler-audit-{}", std::process::id()));
        std::fs::create_dir_all(home.join("web")).unwrap();
        let audit = Audit::of(&home);
        let entry = |n: u64| Entry {
            at: n,
            who: "x".repeat(300),
            from: None,
            what: "restart".into(),
            app: Some("a\nb".into()),
            result: "done".into(),
        };
        for n in 0..5000 {
            audit.write(&entry(n));
        }
        assert_eq!(audit.last(2), [entry(4999), entry(4998)]);
        assert!(audit.0.metadata().unwrap().len() <= MAX_BYTES + 512);
        std::fs::remove_dir_all(&home).unwrap();
        assert_eq!(audit.last(2), []);
    }
}
