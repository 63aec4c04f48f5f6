//! Texts for people, the same in every client: events and their causes, durations, and foreign text
//! made safe.

use ostler_core::lifecycle::{ExitCause, Origin, PolicyFinding, ProcessEnding};
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
        0..1000 => format!("{ms} ms"),
        1000..120_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        120_000..7_200_000 => format!("{minutes} min"),
        7_200_000..172_800_000 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} days"),
    }
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
    format!("{}, {}", event_phrase(&event.kind), cause_text(&event.cause))
}

/// Returns the event, in words that follow a name.
pub fn event_phrase(what: &EventKind) -> String {
    match what {
        EventKind::Waiting => "waits for its dependencies".into(),
        EventKind::Launched { pid } => format!("launched (pid {pid})"),
        EventKind::Online { pid } => format!("is online (pid {pid})"),
        EventKind::NotReady { stopped: true } => "was not ready in time and is stopped".into(),
        EventKind::NotReady { stopped: false } => "was not ready in time".into(),
        EventKind::Draining => "finishes its requests".into(),
        EventKind::Stopping => "is being stopped".into(),
        EventKind::KillTimeout => "did not stop in time and is killed".into(),
        EventKind::Exit { pid, ending, uptime_ms } => format!("{} after {} (pid {pid})", exit_text(*ending), span(*uptime_ms)),
        EventKind::CouldNotStart { why, errno: 0 } => format!("could not be started: {}", shown(why)),
        EventKind::CouldNotStart { why, errno } => {
            format!("could not be started: {}: {}", shown(why), std::io::Error::from_raw_os_error(*errno))
        }
        EventKind::Restarting { delay_ms: 0 } => "restarts".into(),
        EventKind::Restarting { delay_ms } => format!("restarts in {}", span(*delay_ms)),
        EventKind::Stopped => "is stopped".into(),
        EventKind::Errored { .. } => "failed too often; restarts stopped".into(),
        EventKind::HookFailed { why } => shown(why),
        EventKind::Deleted => "is deleted".into(),
        EventKind::ReloadBegun { release, instances: 1 } => format!("reload started: 1 instance, release {release}"),
        EventKind::ReloadBegun { release, instances } => format!("reload started: {instances} instances, release {release}"),
        EventKind::Replaced { pid } => format!("is served by a new process (pid {pid})"),
        EventKind::ReloadDone { release } => format!("reload succeeded: release {release} serves"),
        EventKind::ReloadFailed { release, why } => format!("reload to release {release} failed: {}", shown(why)),
        EventKind::ReloadOverruled { release } => format!("reload to release {release} was cancelled by another command"),
        EventKind::Health { state: Health::Healthy } => "is healthy".into(),
        EventKind::Health { state: Health::Unready } => "receives no new connections while other instances can take them".into(),
        EventKind::Health { state: Health::Unhealthy } => "is unhealthy".into(),
        EventKind::Health { state: Health::Broken } => "has a broken health check; no action is taken".into(),
        EventKind::LimitExceeded { limit, .. } => match limit {
            LimitKind::Memory => "uses too much memory".into(),
            LimitKind::Cpu => "uses too much CPU".into(),
            LimitKind::Errors => "reports too many errors".into(),
        },
        EventKind::RunMissed { .. } => "missed a scheduled run, which is skipped".into(),
        EventKind::LogRotated { file } => format!("log was rotated to {}", shown(file)),
        EventKind::Scaled { from, to } => format!("is scaled from {from} to {}", count_text(*to)),
        EventKind::SetAside { file: Some(file) } => format!("was removed from the list; its record is in {}", shown(file)),
        EventKind::SetAside { file: None } => "was removed from the list; its record is lost".into(),
        EventKind::Recovered { lost, running, ended } => format!("{}: {}", lost_text(*lost), instances_text(*running, *ended)),
        EventKind::UpdateBegun => "update started".into(),
        EventKind::UpdateFailed { why } => format!("update failed, nothing was changed: {}", shown(why)),
        EventKind::Updated { version, running, ended } => format!("updated to {}: {}", shown(version), instances_text(*running, *ended)),
        EventKind::ListSaved { instances } => format!("list is saved: {}", count_text(*instances)),
    }
}

fn lost_text(lost: LostProcesses) -> &'static str {
    match lost {
        LostProcesses::Daemon => "the daemon restarted",
        LostProcesses::Keeper => "the keeper was replaced",
        LostProcesses::Both => "daemon and keeper were replaced",
        LostProcesses::All => "all manager processes were replaced",
    }
}

/// Returns the instances found: `3 instances keep running, 1 had exited`.
fn instances_text(running: u32, ended: u32) -> String {
    let running = format!("{} {}", count_text(running), if running == 1 { "keeps running" } else { "keep running" });
    if ended == 0 { running } else { format!("{running}, {ended} had exited") }
}

fn count_text(instances: u32) -> String {
    if instances == 1 { "1 instance".into() } else { format!("{instances} instances") }
}

/// Returns the exit, in words that follow "it".
pub fn exit_text(ending: ProcessEnding) -> String {
    match ending {
        ProcessEnding::Code(code) => format!("exited with code {code}"),
        ProcessEnding::Signal { signal, core } => {
            format!("was killed by {}{}", ostler_sys::process::signal::name(signal), if core { " (core dumped)" } else { "" })
        }
        ProcessEnding::Unknown | ProcessEnding::SpawnFailed { .. } => "exited, how is unknown".into(),
    }
}

/// Returns the cause, in words that follow the event.
pub fn cause_text(cause: &EventCause) -> String {
    match cause {
        EventCause::User { command, uid, pid, on_behalf_of } => {
            let name = on_behalf_of.as_ref().map(|name| format!(" on behalf of {}", shown(name))).unwrap_or_default();
            format!("by `{}` of uid {uid}{name} (pid {pid})", shown(command))
        }
        EventCause::Policy { name, detail: Some(detail) } => format!("by the policy `{}` ({})", shown(name.word()), shown(detail)),
        EventCause::Policy { name, detail: None } => format!("by the policy `{}`", shown(name.word())),
        EventCause::App => "by itself".into(),
        EventCause::System => "by the system".into(),
        EventCause::Shutdown => "by the shutdown of the daemon".into(),
    }
}

/// Returns the cause of an exit, in words that follow the kind of exit.
pub fn exit_cause_text(cause: &ExitCause) -> String {
    match cause {
        ExitCause::Itself => "by itself".into(),
        ExitCause::Requested(origin) => format!("requested by {}", origin_text(origin)),
        ExitCause::KilledAfterTimeout(origin) => {
            format!("killed because it did not stop in time, requested by {}", origin_text(origin))
        }
        ExitCause::OutOfMemory => "killed by the kernel: out of memory".into(),
        ExitCause::NotReady => "stopped because it was not ready in time".into(),
        ExitCause::NotStarted { why } => format!("stopped because its start failed ({})", shown(why)),
        ExitCause::CouldNotStart { step } => format!("it could not be started ({step})"),
    }
}

fn origin_text(origin: &Origin) -> String {
    match origin {
        Origin::User { command, uid, pid, on_behalf_of } => {
            let name = on_behalf_of.as_ref().map(|name| format!(" on behalf of {}", shown(name)));
            format!("`{}` of uid {uid} (pid {pid}){}", shown(command), name.unwrap_or_default())
        }
        Origin::Resurrect => "`resurrect`".into(),
        Origin::Shutdown => "the shutdown of the daemon".into(),
        // The policy's name, and the finding that triggered it.
        Origin::Policy(PolicyFinding { name, detail: Some(why) }) => format!("the policy `{}` ({})", shown(name.word()), shown(why)),
        Origin::Policy(PolicyFinding { name, detail: None }) => format!("the policy `{}`", shown(name.word())),
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
}
