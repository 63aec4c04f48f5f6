//! Death reports: what the daemon was at when it dies, sent to the keeper by a sender of its own on the link, because nobody knows what else
//! still works then. A record over which daemons die again and again is set aside by the next one (`boot`), so that one app does not cost
//! the supervision of all others.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use ostler_keeper::{DeathReporter, Link, ToKeeper};

/// Sender on the link.
static REPORTER: OnceLock<DeathReporter> = OnceLock::new();
/// The instance that is worked on, plus one; 0 = none.
static RECORD: AtomicU64 = AtomicU64::new(0);
/// Time (boot) until which the keeper gets each step: daemons before this one died, and a signal leaves no time for a report.
static CAREFUL_UNTIL_MS: AtomicU64 = AtomicU64::new(0);
/// Time for which the keeper takes a death for one that began before.
const CAREFUL_MS: u64 = 10_000;
/// Longest text: a panic's message is short; a longer one is cut.
const WORDS_MAX: usize = 2000;

/// Begins to report why we end.
pub(crate) fn begin(link: &Link) {
    // Without it everything works; only the reason of a death may stay unknown.
    if let Ok(words) = DeathReporter::of(link) {
        let _ = REPORTER.set(words);
    }
    let loop_thread = std::thread::current().id();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        // A thread that panics ends alone, except in the program that is shipped: there a panic ends the process (docs/adr/0020-size.md).
        let is_loop = std::thread::current().id() == loop_thread;
        if is_loop || cfg!(panic = "abort") {
            let place = info.location().map(|place| format!(" at {place}")).unwrap_or_default();
            let payload = info.payload();
            let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
            let text = format!("it panicked{place}: {}", text.unwrap_or("for a reason that is no text"));
            // The record that the loop is at has nothing to do with a thread beside it.
            report_death(record().filter(|_| is_loop), &text);
        }
    }));
}

/// Sends the keeper the reason why the daemon ends.
pub(crate) fn send_death_report(text: &str) {
    report_death(record(), text);
}

fn report_death(record: Option<u32>, text: &str) {
    send(&ToKeeper::DeathReport { record, text: text.chars().take(WORDS_MAX).collect() });
}

/// Reports each step for a while.
pub(crate) fn be_careful() {
    CAREFUL_UNTIL_MS.store(ostler_sys::time::clock::boot_ms() + CAREFUL_MS, Ordering::Relaxed);
}

fn send(message: &ToKeeper) {
    if let Some(reporter) = REPORTER.get() {
        reporter.send(message);
    }
}

fn record() -> Option<u32> {
    RECORD.load(Ordering::Relaxed).checked_sub(1).and_then(|record| u32::try_from(record).ok())
}

fn set(value: u64) {
    RECORD.store(value, Ordering::Relaxed);
    let until = CAREFUL_UNTIL_MS.load(Ordering::Relaxed);
    if until > 0 {
        if until < ostler_sys::time::clock::boot_ms() {
            CAREFUL_UNTIL_MS.store(0, Ordering::Relaxed);
        }
        send(&ToKeeper::At { record: record() });
    }
}

/// Guard: until this is dropped, that instance is worked on.
pub(crate) struct WorkingOn {
    before: u64,
}

/// Notes that this instance is worked on.
pub(crate) fn working_on(id: u32) -> WorkingOn {
    let before = RECORD.load(Ordering::Relaxed);
    set(u64::from(id) + 1);
    WorkingOn { before }
}

impl Drop for WorkingOn {
    fn drop(&mut self) {
        // When it is dropped by a panic, what was sent stays true.
        if !std::thread::panicking() {
            set(self.before);
        }
    }
}

#[cfg(test)]
mod tests {
    use ostler_proto::control::{DaemonFrame, Failure, Response};
    use ostler_proto::frame::Decoder;

    /// The keeper has no JSON and no protocol; its one answer is understood nevertheless.
    #[test]
    fn the_refusal_of_the_keeper_is_an_answer_of_the_protocol() {
        for text in ["", "plain", "a \"quoted\" \\ path\nand a line \u{1b}[31m\u{7f}", "\u{fc}ml\u{e4}ut \u{1f600}"] {
            let mut decoder = Decoder::default();
            decoder.push(&ostler_keeper::refusal(text));
            let frame: DaemonFrame = decoder.take().unwrap().expect("a whole frame");
            assert_eq!(frame, DaemonFrame { id: 0, response: Response::Failed(Failure::Other(text.into())) });
        }
    }
}
