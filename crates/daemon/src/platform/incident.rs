//! Death reports: a dying daemon sends the keeper its current work. A separate sender on the link
//! does that, because other parts of the daemon may no longer work. If daemons die repeatedly over
//! one record, the next one moves it aside (`boot`), so that one app does not cost the supervision
//! of all others.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use ostler_keeper::{Link, LinkSender, ToKeeper};

/// Sender on the link.
static REPORTER: OnceLock<LinkSender> = OnceLock::new();
/// Instance that the daemon works on, plus one; 0 = none.
static RECORD: AtomicU64 = AtomicU64::new(0);
/// Time (since boot) until which each step is reported to the keeper. Earlier daemons died, and a
/// signal leaves no time for a report.
static CAREFUL_UNTIL_MS: AtomicU64 = AtomicU64::new(0);
/// Time after the start within which the keeper counts a death as a repeated one.
const CAREFUL_MS: u64 = 10_000;
/// Longest text; a panic's message is usually shorter.
const WORDS_MAX: usize = 2000;

/// Enables reports of the reason why the daemon exits.
pub(crate) fn begin(link: &Link) {
    // If this fails, everything works; only the reason of a death may stay unknown.
    if let Ok(words) = LinkSender::of(link) {
        let _ = REPORTER.set(words);
    }
    let loop_thread = std::thread::current().id();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        before(info);
        // A panic ends only its own thread, except in release builds: there it ends the process
        // (docs/adr/0020-size.md).
        let is_loop = std::thread::current().id() == loop_thread;
        if is_loop || cfg!(panic = "abort") {
            let place = info.location().map(|place| format!(" at {place}")).unwrap_or_default();
            let payload = info.payload();
            let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
            let text = format!("it panicked{place}: {}", text.unwrap_or("unknown reason"));
            // The loop's current record has nothing to do with a panic in another thread.
            report_death(record().filter(|_| is_loop), &text);
        }
    }));
}

/// Sends the keeper the reason why the daemon exits.
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
        reporter.send(message, &[]);
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

/// Guard that marks an instance as worked on until it is dropped.
pub(crate) struct WorkingOn {
    before: u64,
}

/// Marks an instance as worked on.
pub(crate) fn working_on(id: u32) -> WorkingOn {
    let before = RECORD.load(Ordering::Relaxed);
    set(u64::from(id) + 1);
    WorkingOn { before }
}

impl Drop for WorkingOn {
    fn drop(&mut self) {
        // If a panic drops the guard, the reported record stays correct.
        if !std::thread::panicking() {
            set(self.before);
        }
    }
}

#[cfg(test)]
mod tests {
    use ostler_proto::control::{DaemonFrame, Failure, Response};
    use ostler_proto::frame::Decoder;

    /// The keeper has no JSON and no protocol, but its one answer must be readable.
    #[test]
    fn keeper_refusal_decodes_as_a_protocol_answer() {
        for text in ["", "plain", "a \"quoted\" \\ path\nand a line \u{1b}[31m\u{7f}", "\u{fc}ml\u{e4}ut \u{1f600}"] {
            let mut decoder = Decoder::default();
            decoder.push(&ostler_keeper::refusal(text));
            let frame: DaemonFrame = decoder.take().unwrap().expect("a whole frame");
            assert_eq!(frame, DaemonFrame { id: 0, response: Response::Failed(Failure::Other(text.into())) });
        }
    }
}
