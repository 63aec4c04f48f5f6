//! Texts for people, the same in every client: events and their causes, durations, and foreign text
//! made safe.

use ostler_core::lifecycle::{ExitCause, Origin, PolicyFinding, ProcessEnding};
use ostler_core::message;
use ostler_proto::event::{Event, EventCause, EventKind, Health, LimitKind, LostProcesses};

/// Name shown for an event that does not concern an app.
const MANAGER: &str = "ostler";

/// Returns foreign text without characters that move the cursor, change the order of characters, or
/// are invisible. One name cannot imitate another then.
pub fn shown(text: &str) -> String {
    if text.chars().any(is_deceptive) { text.chars().map(|c| if is_deceptive(c) { '\u{fffd}' } else { c }).collect() } else { text.into() }
}

/// Returns true for control characters, direction characters, line breaks, and characters without
/// width. Joiners stay, because scripts and emojis need them.
fn is_deceptive(c: char) -> bool {
    let is_order = matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_invisible = matches!(c, '\u{ad}' | '\u{180e}' | '\u{200b}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
    c.is_control() || is_order || is_invisible
}

/// Returns a duration in words: `850 ms`, `12.3 s`, `4 min`, `3 h 20 min`, `5 days`.
pub fn span(ms: u64) -> String {
    let (minutes, hours, days) = (ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    match ms {
        0..1000 => message!("{ms} ms", ms),
        1000..120_000 => message!("{seconds}.{tenths} s", seconds = ms / 1000, tenths = ms % 1000 / 100),
        120_000..7_200_000 => message!("{minutes} min", minutes),
        7_200_000..172_800_000 => message!("{hours} h {minutes} min", hours, minutes = minutes % 60),
        _ => message!("{days} days", days),
    }
}

/// Returns a duration with its sign: `+3 h 2 min`. It is rounded to the tenth of a second, because
/// clocks that are read in milliseconds differ by one.
fn signed_span(ms: i64) -> String {
    let sign = if ms < 0 { '-' } else { '+' };
    format!("{sign}{}", span(ms.unsigned_abs().saturating_add(50) / 100 * 100))
}

/// Returns name, event and cause, without time and status.
pub fn event_text(event: &Event) -> String {
    format!("{} {}", app_text(event), event_and_cause(event))
}

/// Returns the app and its instance: `api (0)`.
pub fn app_text(event: &Event) -> String {
    let name = event.app.as_deref().map_or_else(|| MANAGER.to_owned(), shown);
    event.id.map_or_else(|| name.clone(), |id| format!("{name} ({id})"))
}

/// Returns the event and its cause, in words that follow a name.
pub fn event_and_cause(event: &Event) -> String {
    message!("{event}, {cause}", event = event_phrase(&event.kind), cause = cause_text(&event.cause))
}

/// Returns the event, in words that follow a name.
pub fn event_phrase(what: &EventKind) -> String {
    match what {
        EventKind::Waiting => message!("waits for its dependencies"),
        EventKind::Launched { pid } => message!("launched (pid {pid})", pid),
        EventKind::Online { pid } => message!("is online (pid {pid})", pid),
        EventKind::NotReady { stopped: true } => message!("was not ready in time and is stopped"),
        EventKind::NotReady { stopped: false } => message!("was not ready in time"),
        EventKind::Draining => message!("finishes its requests"),
        EventKind::Stopping => message!("is being stopped"),
        EventKind::KillTimeout => message!("did not stop in time and is killed"),
        EventKind::Exit { pid, ending, uptime_ms } => {
            message!("{exit} after {duration} (pid {pid})", exit = exit_text(*ending), duration = span(*uptime_ms), pid)
        }
        EventKind::CouldNotStart { why, errno: 0 } => message!("could not be started: {reason}", reason = shown(why)),
        EventKind::CouldNotStart { why, errno } => {
            let error = std::io::Error::from_raw_os_error(*errno);
            message!("could not be started: {step}: {error}", step = shown(why), error)
        }
        EventKind::Restarting { delay_ms: 0 } => message!("restarts"),
        EventKind::Restarting { delay_ms } => message!("restarts in {time}", time = span(*delay_ms)),
        EventKind::Stopped => message!("is stopped"),
        EventKind::Errored { unstable: 0 | 1 } => message!("failed; not restarted"),
        EventKind::Errored { .. } => message!("failed too often; restarts stopped"),
        EventKind::HookFailed { why } => shown(why),
        EventKind::Deleted => message!("is deleted"),
        EventKind::ReloadBegun { release, instances: 1 } => message!("reload started: 1 instance, release {release}", release),
        EventKind::ReloadBegun { release, instances } => {
            message!("reload started: {count} instances, release {release}", count = instances, release)
        }
        EventKind::Replaced { pid } => message!("is served by a new process (pid {pid})", pid),
        EventKind::ReloadDone { release } => message!("reload succeeded: release {release} serves", release),
        EventKind::ReloadFailed { release, why } => message!("reload to release {release} failed: {reason}", release, reason = shown(why)),
        EventKind::ReloadOverruled { release } => message!("reload to release {release} was cancelled by another command", release),
        EventKind::Health { state: Health::Healthy } => message!("is healthy"),
        EventKind::Health { state: Health::Unready } => message!("receives no new connections while other instances can take them"),
        EventKind::Health { state: Health::Unhealthy } => message!("is unhealthy"),
        EventKind::Health { state: Health::Broken } => message!("has a broken health check; no action is taken"),
        EventKind::LimitExceeded { limit, .. } => match limit {
            LimitKind::Memory => message!("uses too much memory"),
            LimitKind::Cpu => message!("uses too much CPU"),
            LimitKind::Errors => message!("reports too many errors"),
        },
        EventKind::RunMissed { .. } => message!("missed a scheduled run, which is skipped"),
        EventKind::LogRotated { file } => message!("log was rotated to {file}", file = shown(file)),
        EventKind::Scaled { from, to } => message!("is scaled from {before} to {instances}", before = from, instances = count_text(*to)),
        EventKind::SetAside { file: Some(file) } => {
            message!("was removed from the list; its record is in {file}", file = shown(file))
        }
        EventKind::SetAside { file: None } => message!("was removed from the list; its record is lost"),
        EventKind::Recovered { lost, running, ended } => {
            message!("{event}: {instances}", event = lost_text(*lost), instances = instances_text(*running, *ended))
        }
        EventKind::UpdateBegun => message!("update started"),
        EventKind::UpdateFailed { why } => message!("update failed, nothing was changed: {reason}", reason = shown(why)),
        EventKind::Updated { version, running, ended } => {
            message!("updated to {version}: {instances}", version = shown(version), instances = instances_text(*running, *ended))
        }
        EventKind::ClockMoved { by_ms } => message!("clock moved by {time}", time = signed_span(*by_ms)),
        EventKind::ListSaved { instances } => message!("list is saved: {instances}", instances = count_text(*instances)),
    }
}

fn lost_text(lost: LostProcesses) -> String {
    match lost {
        LostProcesses::Daemon => message!("the daemon restarted"),
        LostProcesses::Keeper => message!("the keeper was replaced"),
        LostProcesses::Both => message!("daemon and keeper were replaced"),
        LostProcesses::All => message!("all manager processes were replaced"),
    }
}

/// Returns the instances found: `3 instances keep running, 1 had exited`.
fn instances_text(running: u32, ended: u32) -> String {
    let running = match running {
        1 => message!("1 instance keeps running"),
        count => message!("{count} instances keep running", count),
    };
    if ended == 0 { running } else { message!("{running}, {count} had exited", running, count = ended) }
}

fn count_text(instances: u32) -> String {
    if instances == 1 { message!("1 instance") } else { message!("{count} instances", count = instances) }
}

/// Returns the exit, in words that follow "it".
pub fn exit_text(ending: ProcessEnding) -> String {
    match ending {
        ProcessEnding::Code(code) => message!("exited with code {code}", code),
        ProcessEnding::Signal { signal, core: true } => {
            message!("was killed by {signal} (core dumped)", signal = ostler_sys::process::signal::name(signal))
        }
        ProcessEnding::Signal { signal, core: false } => {
            message!("was killed by {signal}", signal = ostler_sys::process::signal::name(signal))
        }
        ProcessEnding::Unknown | ProcessEnding::SpawnFailed { .. } => message!("exited, how is unknown"),
    }
}

/// Returns the cause, in words that follow the event.
pub fn cause_text(cause: &EventCause) -> String {
    match cause {
        EventCause::User { command, uid, pid, on_behalf_of: Some(user) } => {
            message!("by `{command}` of uid {uid} on behalf of {user} (pid {pid})", command = shown(command), uid, user = shown(user), pid)
        }
        EventCause::User { command, uid, pid, on_behalf_of: None } => {
            message!("by `{command}` of uid {uid} (pid {pid})", command = shown(command), uid, pid)
        }
        EventCause::Policy { name, detail: Some(detail) } => {
            message!("by the policy `{policy}` ({detail})", policy = shown(name.word()), detail = shown(detail))
        }
        EventCause::Policy { name, detail: None } => message!("by the policy `{policy}`", policy = shown(name.word())),
        EventCause::App => message!("by itself"),
        EventCause::System => message!("by the system"),
        EventCause::Shutdown => message!("by the shutdown of the daemon"),
    }
}

/// Returns the cause of an exit, in words that follow the kind of exit.
pub fn exit_cause_text(cause: &ExitCause) -> String {
    match cause {
        ExitCause::Itself => message!("by itself"),
        ExitCause::Requested(origin) => message!("requested by {origin}", origin = origin_text(origin)),
        ExitCause::KilledAfterTimeout(origin) => {
            message!("killed because it did not stop in time, requested by {origin}", origin = origin_text(origin))
        }
        ExitCause::OutOfMemory => message!("killed by the kernel: out of memory"),
        ExitCause::NotReady => message!("stopped because it was not ready in time"),
        ExitCause::NotStarted { why } => message!("stopped because its start failed ({reason})", reason = shown(why)),
        ExitCause::CouldNotStart { step } => message!("it could not be started ({step})", step),
    }
}

fn origin_text(origin: &Origin) -> String {
    match origin {
        Origin::User { command, uid, pid, on_behalf_of: Some(user) } => {
            message!("`{command}` of uid {uid} (pid {pid}) on behalf of {user}", command = shown(command), uid, pid, user = shown(user))
        }
        Origin::User { command, uid, pid, on_behalf_of: None } => {
            message!("`{command}` of uid {uid} (pid {pid})", command = shown(command), uid, pid)
        }
        Origin::Resurrect => "`resurrect`".into(),
        Origin::Shutdown => message!("the shutdown of the daemon"),
        // The policy's name, and the finding that triggered it.
        Origin::Policy(PolicyFinding { name, detail: Some(why) }) => {
            message!("the policy `{policy}` ({detail})", policy = shown(name.word()), detail = shown(why))
        }
        Origin::Policy(PolicyFinding { name, detail: None }) => message!("the policy `{policy}`", policy = shown(name.word())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_formatted_with_fitting_units() {
        for (ms, text) in [(850, "850 ms"), (12_345, "12.3 s"), (240_000, "4 min"), (12_000_000, "3 h 20 min"), (432_000_000, "5 days")] {
            assert_eq!(span(ms), text);
        }
    }

    #[test]
    fn clock_jumps_are_rounded_and_have_a_sign() {
        for (by_ms, text) in [
            (10_920_000, "+3 h 2 min"),
            (10_919_999, "+3 h 2 min"),
            (10_920_001, "+3 h 2 min"),
            (-2_000, "-2.0 s"),
            (2_049, "+2.0 s"),
            (-31_536_000_001, "-365 days"),
            (i64::MIN, "-106751991167 days"),
        ] {
            assert_eq!(event_phrase(&EventKind::ClockMoved { by_ms }), format!("clock moved by {text}"));
        }
    }
}
