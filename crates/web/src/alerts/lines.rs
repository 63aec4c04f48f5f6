//! Log lines that match rules, read by `ostler logs --json`. That process handles rotated and
//! renamed files and exits with its reader.

use std::path::Path;
use std::time::Duration;

use ostler_alerts::rule::Pattern;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::sync::mpsc;

use super::report::TaskReport;
use crate::logs::{LogRecord, own_program};

/// Maximum length of a line; a longer line is ignored.
const LONGEST: u64 = 256 << 10;
/// Maximum number of bytes of a line that are matched.
const MAX_LINE: usize = 16 << 10;
/// Pause before the process is started again.
const PAUSE: Duration = Duration::from_secs(5);

/// Follows the logs and reports lines that match one of the patterns, until it is dropped.
pub(super) async fn follow(home: &Path, patterns: &[Pattern], reports: &mpsc::Sender<TaskReport>) {
    loop {
        if let Err(error) = read(home, patterns, reports).await {
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("alerts: cannot follow the logs: {error}\n"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn read(home: &Path, patterns: &[Pattern], reports: &mpsc::Sender<TaskReport>) -> std::io::Result<()> {
    let mut child = own_program(home)?.args(["logs", "--json", "--lines", "0"]).spawn()?;
    let Some(stdout) = child.stdout.take() else { return Ok(()) };
    let mut lines = BufReader::with_capacity(64 << 10, stdout);
    let mut is_rest = false;
    loop {
        let mut bytes = Vec::new();
        if (&mut lines).take(LONGEST).read_until(b'\n', &mut bytes).await? == 0 {
            return Ok(());
        }
        let is_end = bytes.last() == Some(&b'\n');
        let is_whole = is_end && !is_rest;
        is_rest = !is_end;
        let Some(line) = is_whole.then(|| serde_json::from_slice::<LogRecord>(&bytes).ok()).flatten() else { continue };
        let own = line.app_name.as_deref() == Some(crate::settings::names::APP);
        let text = ostler_alerts::text::plain(&line.message, MAX_LINE);
        if line.kind == "process_event" || own || !patterns.iter().any(|pattern| pattern.is_in(&text)) {
            continue;
        }
        let instance = line.process_id.as_u64().and_then(|id| u32::try_from(id).ok());
        let wrote = TaskReport::Wrote { app: line.app_name.unwrap_or_default(), instance, line: text };
        if reports.send(wrote).await.is_err() {
            return Ok(());
        }
    }
}
