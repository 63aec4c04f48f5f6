//! Judgement of outputs, processor time and log lines.

use std::fs;
use std::time::Duration;

use ostler_testkit::{Output, Part, stat_field};

/// Share of a processor above which an idle process is in a hot loop.
const HOT: f64 = 0.2;

/// Duration of the observation of an idle process.
pub(crate) const IDLE: Duration = Duration::from_millis(400);

/// Judges the result of a command: success, or one clear line.
///
/// `is_mute`: every write fails, so only the exit code can show the error.
pub(crate) fn output(output: Option<&Output>, what: &str, is_mute: bool) -> Result<bool, String> {
    let Some(output) = output else { return Err(format!("`{what}` hangs")) };
    let text = output.all();
    if text.lines().any(is_panic) {
        return Err(format!("`{what}` panics: {}", excerpt(&text)));
    }
    match output.code {
        0 => Ok(true),
        128.. => Err(format!("`{what}` is killed by signal {}: {}", output.code - 128, excerpt(&text))),
        code if !is_mute && !text.to_lowercase().contains("error") => {
            Err(format!("`{what}` exits with {code} and no error: {}", excerpt(&text)))
        }
        _ => Ok(false),
    }
}

/// Returns true for the line of a panic. At the start of a thread, the runtime panics if memory is short;
/// that is a crash like others, and not a fault of ostler.
pub(crate) fn is_panic(line: &str) -> bool {
    line.contains("panicked") && !line.contains("stack_overflow.rs")
}

fn excerpt(text: &str) -> String {
    let line = text.lines().filter(|line| !line.is_empty()).take(4).collect::<Vec<_>>().join(" | ");
    line.chars().take(300).collect()
}

/// Returns the processor time of a process in seconds; `None` if it is gone.
fn processor_time(pid: i32) -> Option<f64> {
    fs::metadata(format!("/proc/{pid}")).ok()?;
    let ticks = std::panic::catch_unwind(|| stat_field(pid, 14) + stat_field(pid, 15)).ok()?;
    // The unit of `/proc` is 10 ms on all architectures that ostler supports.
    Some(ticks as f64 / 100.0)
}

/// Observes processes that have nothing to do. Returns an error if one of them is in a hot loop.
pub(crate) fn idle(pids: &[(Part, i32)]) -> Result<(), String> {
    let before: Vec<Option<f64>> = pids.iter().map(|(_, pid)| processor_time(*pid)).collect();
    std::thread::sleep(IDLE);
    for ((part, pid), before) in pids.iter().zip(before) {
        let (Some(before), Some(after)) = (before, processor_time(*pid)) else { continue };
        let share = (after - before) / IDLE.as_secs_f64();
        if share > HOT {
            return Err(format!("the {part} is in a hot loop ({:.0} % of a processor)", share * 100.0));
        }
    }
    Ok(())
}

/// Position in a log of numbered lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogPosition {
    /// Bytes that were judged.
    pub(crate) offset: usize,
    /// Number of the last line.
    pub(crate) last: u64,
}

impl LogPosition {
    /// Reads the lines since the last call. Returns an error if a number is missing or repeated.
    pub(crate) fn advance(&mut self, log: &str, name: &str) -> Result<(), String> {
        let new = log.get(self.offset..).unwrap_or_default();
        let whole = new.rfind('\n').map_or(0, |at| at + 1);
        for line in new[..whole].lines() {
            let Some(number) = line.rsplit(' ').next().and_then(|word| word.parse::<u64>().ok()) else { continue };
            if self.last > 0 && number != self.last + 1 {
                let last = self.last;
                (self.last, self.offset) = (number, self.offset + whole);
                return Err(format!("log lines of {name} are lost or repeated: {number} after {last}"));
            }
            self.last = number;
        }
        self.offset += whole;
        Ok(())
    }
}

#[test]
fn log_position_reports_gaps() {
    let mut position = LogPosition::default();
    assert_eq!(position.advance("line 5\nline 6\nlin", "x"), Ok(()));
    assert_eq!(position.advance("line 5\nline 6\nline 7\n", "x"), Ok(()));
    assert!(position.advance("line 5\nline 6\nline 7\nline 9\n", "x").is_err());
    assert_eq!(position.last, 9);
}
