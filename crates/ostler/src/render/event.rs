//! `events`: one line each.

use ostler_core::lifecycle::Ending;
use ostler_proto::event::{Cause, Event, Health, Limit, What};

use super::age::span;
use super::style::{Paint, styles};
use super::table::{shown, status_style};
use super::why::local;

/// `2026-11-21 03:55:45  api (0)  exited with code 1 after 850 ms (pid 4711), by itself  [online → waiting restart]`.
pub(crate) fn event_line(event: &Event, paint: Paint) -> String {
    let mut name = shown(&event.app);
    if let Some(id) = event.id {
        name = format!("{name} ({id})");
    }
    let status = match (&event.before, &event.after) {
        (Some(before), Some(after)) if before != after => {
            let word = |word: &str| paint.with(status_style(word), word).to_string();
            format!("  [{} → {}]", word(before), word(after))
        }
        _ => String::new(),
    };
    let (what, cause) = (what(&event.what), cause(&event.cause));
    format!("{}  {}  {what}, {cause}{status}", paint.with(styles::GREY, local(event.at_ms)), paint.with(styles::BOLD, name))
}

/// In words that follow a name.
fn what(what: &What) -> String {
    match what {
        What::Waiting => "waits for what it depends on".into(),
        What::Launched { pid } => format!("launched (pid {pid})"),
        What::Online { pid } => format!("is online (pid {pid})"),
        What::NotReady { stopped: true } => "was not ready in time and is stopped".into(),
        What::NotReady { stopped: false } => "was not ready in time".into(),
        What::Draining => "finishes its requests".into(),
        What::Stopping => "is asked to stop".into(),
        What::KillTimeout => "did not stop in time and is killed".into(),
        What::Exit { pid, ending, uptime_ms } => format!("{} after {} (pid {pid})", how(*ending), span(*uptime_ms)),
        What::CouldNotStart { why, errno: 0 } => format!("could not be started: {}", shown(why)),
        What::CouldNotStart { why, errno } => {
            format!("could not be started: {}: {}", shown(why), std::io::Error::from_raw_os_error(*errno))
        }
        What::Restarting { delay_ms: 0 } => "is started again".into(),
        What::Restarting { delay_ms } => format!("is started again in {}", span(*delay_ms)),
        What::Stopped => "is stopped".into(),
        What::Errored { .. } => "is given up".into(),
        What::HookFailed { why } => shown(why),
        What::Deleted => "is deleted".into(),
        What::ReloadBegun { release, instances: 1 } => format!("reload begins: 1 instance, release {release}"),
        What::ReloadBegun { release, instances } => format!("reload begins: {instances} instances, release {release}"),
        What::Replaced { pid } => format!("is served by a new process (pid {pid})"),
        What::ReloadDone { release } => format!("reload is done: release {release} serves"),
        What::ReloadFailed { release, why } => format!("reload to release {release} failed: {}", shown(why)),
        What::ReloadOverruled { release } => format!("reload to release {release} was given up for another command"),
        What::Health { state: Health::Healthy } => "is healthy".into(),
        What::Health { state: Health::Unready } => "gets no new connections while others can have them".into(),
        What::Health { state: Health::Unhealthy } => "is unhealthy".into(),
        What::LimitExceeded { limit, .. } => match limit {
            Limit::Memory => "uses too much memory".into(),
            Limit::Cpu => "uses too much CPU".into(),
            Limit::Errors => "reports too many errors".into(),
        },
        What::LogRotated { file } => format!("log was rotated to {}", shown(file)),
    }
}

fn how(ending: Ending) -> String {
    match ending {
        Ending::Code(code) => format!("exited with code {code}"),
        Ending::Signal { signal, core } => {
            format!("was ended by {}{}", ostler_sys::signal::name(signal), if core { " (core dumped)" } else { "" })
        }
        Ending::Unknown | Ending::SpawnFailed { .. } => "ended, how is not known".into(),
    }
}

fn cause(cause: &Cause) -> String {
    match cause {
        Cause::User { command, uid, pid, on_behalf_of } => {
            let name = on_behalf_of.as_ref().map(|name| format!(" on behalf of {}", shown(name))).unwrap_or_default();
            format!("by `{}` of uid {uid}{name} (pid {pid})", shown(command))
        }
        Cause::Policy { name, detail: Some(detail) } => format!("by the policy `{}` ({})", shown(name), shown(detail)),
        Cause::Policy { name, detail: None } => format!("by the policy `{}`", shown(name)),
        Cause::App => "by itself".into(),
        Cause::System => "by the system".into(),
        Cause::Shutdown => "by the shutdown of the daemon".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let user = Cause::User { command: "stop".into(), uid: 7, pid: 9, on_behalf_of: Some("alice".into()) };
        let event = |id, what, cause, status: Option<(&str, &str)>| Event {
            epoch: 1,
            seq: 1,
            at_ms: 0,
            app: "a\u{1b}pi".into(),
            id,
            what,
            cause,
            before: status.map(|(before, _)| before.into()),
            after: status.map(|(_, after)| after.into()),
        };
        for (event, words) in [
            (
                event(
                    Some(3),
                    What::Exit { pid: 5, ending: Ending::Code(1), uptime_ms: 850 },
                    Cause::App,
                    Some(("online", "waiting restart")),
                ),
                " (3)  exited with code 1 after 850 ms (pid 5), by itself  [online → waiting restart]",
            ),
            (
                event(Some(0), What::Stopped, user, Some(("stopping", "stopped"))),
                " (0)  is stopped, by `stop` of uid 7 on behalf of alice (pid 9)  [stopping → stopped]",
            ),
            (
                event(None, What::ReloadFailed { release: 2, why: "exited".into() }, Cause::policy("watch", "a.js".to_owned()), None),
                "reload to release 2 failed: exited, by the policy `watch` (a.js)",
            ),
            (
                event(Some(0), What::CouldNotStart { why: "exec".into(), errno: 2 }, Cause::System, Some(("launching", "errored"))),
                "could not be started: exec: No such file or directory (os error 2), by the system  [launching → errored]",
            ),
            (
                event(
                    Some(0),
                    What::LimitExceeded { limit: Limit::Memory, warning: false },
                    Cause::policy("memory", "uses 9 bytes".to_owned()),
                    Some(("online", "online")),
                ),
                "uses too much memory, by the policy `memory` (uses 9 bytes)",
            ),
        ] {
            let line = event_line(&event, Paint(false));
            assert!(line.ends_with(words) && !line.contains('\u{1b}'), "{line}");
        }
    }
}
