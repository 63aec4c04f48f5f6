//! Events of apps and of the manager itself: typed, numbered, with their cause.
//!
//! ```text
//! {"epoch":81,"seq":12,"at_ms":1790000000000,"app":"api","id":0,"what":{"online":{"pid":4711}},
//!  "cause":{"user":{"command":"start","uid":1000,"pid":4700}},
//!  "before":"launching","after":"online"}
//! ```

use ostler_core::lifecycle::{Origin, PolicyFinding, PolicyName, ProcessEnding};
pub use ostler_core::text::ring::{MissedEntries, Position};
use serde::{Deserialize, Serialize};

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Ring buffer that numbered the event. A new ring has another epoch; the events of the former
    /// ring are lost.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub epoch: u64,
    /// Number in that ring: 1, 2, 3, without a gap.
    pub seq: u64,
    /// Time, in ms of the wall clock.
    pub at_ms: u64,
    /// App name; none = the event concerns the manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// `pm_id`; none = the event does not concern a single instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u32>,
    /// The event itself.
    #[serde(rename = "what")]
    pub kind: EventKind,
    /// Its cause.
    pub cause: EventCause,
    /// PM2's status word before; none if the event does not concern an instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// PM2's status word after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

impl Event {
    /// Returns the position of a subscriber that has received this event and all before it.
    pub fn position(&self) -> Position {
        Position { epoch: self.epoch, seq: self.seq }
    }
}

/// Kind of an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// It waits for the apps that it depends on.
    Waiting,
    /// Its program was executed.
    Launched {
        /// Its process.
        pid: i32,
    },
    /// It is ready.
    Online {
        /// Its process.
        pid: i32,
    },
    /// It was not ready within its time.
    NotReady {
        /// Whether it is stopped for that; otherwise it keeps running.
        stopped: bool,
    },
    /// It gets no new work and finishes its current work.
    Draining,
    /// A stop started.
    Stopping,
    /// It did not exit in time and got SIGKILL.
    KillTimeout,
    /// Its process exited.
    Exit {
        /// Its process.
        pid: i32,
        /// Code or signal.
        ending: ProcessEnding,
        /// Duration of its run.
        uptime_ms: u64,
    },
    /// It could not be started.
    CouldNotStart {
        /// The step that failed, e.g. `exec` or `chdir`, or another obstacle in words.
        why: String,
        /// `errno` of that step; 0 = the step has no errno.
        errno: i32,
    },
    /// The restart policy starts it again.
    Restarting {
        /// The delay.
        delay_ms: u64,
    },
    /// It is stopped.
    Stopped,
    /// Too many unstable runs: it is no longer restarted.
    Errored {
        /// Number of unstable runs.
        unstable: u32,
    },
    /// One of its hooks or checks failed.
    HookFailed {
        /// The hook or check and its failure, in words.
        why: String,
    },
    /// It was removed from the list.
    Deleted,
    /// Its instances are being replaced.
    ReloadBegun {
        /// Number of the release.
        release: u32,
        /// Number of instances.
        instances: u32,
    },
    /// A new process has replaced the old one.
    Replaced {
        /// The new process.
        pid: i32,
    },
    /// All instances are replaced.
    ReloadDone {
        /// Number of the release.
        release: u32,
    },
    /// The old release keeps serving, or serves again.
    ReloadFailed {
        /// Number of the release that failed.
        release: u32,
        /// The reason.
        why: String,
    },
    /// Another command superseded the reload.
    ReloadOverruled {
        /// Number of the release.
        release: u32,
    },
    /// Its health changed.
    Health {
        /// The new health.
        state: Health,
    },
    /// Its usage or its error count exceeds a limit.
    LimitExceeded {
        /// The limit.
        limit: LimitKind,
        /// Whether the event is only a report and has no other effect.
        warning: bool,
    },
    /// A scheduled run was missed (the machine was suspended, the manager was not running) and is
    /// skipped.
    RunMissed {
        /// The time at which it should have started, in ms of the wall clock.
        due_ms: u64,
    },
    /// Its log was rotated.
    LogRotated {
        /// The file with the old lines.
        file: String,
    },
    /// Its number of instances changed.
    Scaled {
        /// The number before.
        from: u32,
        /// The number from now on.
        to: u32,
    },
    /// The record of an instance was removed from the list, because daemons died while processing
    /// it. Its process keeps running without supervision.
    SetAside {
        /// File with the record; none if it could not be saved.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<String>,
    },
    /// Processes of the manager died and were replaced. The event reports the fate of the running
    /// instances.
    Recovered {
        /// The processes that died.
        lost: LostProcesses,
        /// Number of instances that still run.
        running: u32,
        /// Number of instances that exited in between.
        ended: u32,
    },
    /// The manager was asked to replace its program.
    UpdateBegun,
    /// The update failed; the old program continues.
    UpdateFailed {
        /// The reason.
        why: String,
    },
    /// The manager runs the new program.
    Updated {
        /// Version of that program.
        version: String,
        /// Number of instances that still run.
        running: u32,
        /// Number of instances that exited in between.
        ended: u32,
    },
    /// The wall clock of the machine jumped: it was set, or corrected in a step.
    ClockMoved {
        /// Distance in ms; negative = back.
        by_ms: i64,
    },
    /// A user saved the list of apps.
    ListSaved {
        /// Number of instances in it.
        instances: u32,
    },
}

/// Processes of the manager that died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LostProcesses {
    /// Only the daemon.
    Daemon,
    /// Only the keeper.
    Keeper,
    /// Both: the anchor has become the keeper.
    Both,
    /// The anchor as well: the running instances were found through the file on disk.
    All,
}

/// Health according to the checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// All checks succeed.
    Healthy,
    /// It gets no new connections as long as other instances can take them.
    Unready,
    /// It will be replaced, if its description requests that.
    Unhealthy,
    /// A check cannot be performed; this has no consequences.
    Broken,
}

/// Limit on usage or errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// `max_memory_restart`.
    Memory,
    /// `max_cpu`.
    Cpu,
    /// `error_threshold`.
    Errors,
}

impl EventKind {
    /// Returns the word for this in PM2's `process:event`; none if PM2 has no word.
    pub fn pm2_word(&self) -> Option<&'static str> {
        Some(match self {
            Self::Launched { .. } => "start",
            Self::Online { .. } => "online",
            Self::Exit { .. } | Self::CouldNotStart { .. } => "exit",
            Self::Restarting { .. } => "restart",
            Self::Stopped => "stop",
            Self::Errored { .. } => "restart overlimit",
            Self::Deleted => "delete",
            Self::Replaced { .. } => "reload",
            Self::Health { state: Health::Healthy } => "healthy",
            Self::Health { state: Health::Unready } => "unready",
            Self::Health { state: Health::Unhealthy } => "unhealthy",
            Self::Health { state: Health::Broken } => "health check broken",
            Self::LimitExceeded { limit: LimitKind::Memory, .. } => "max memory",
            Self::LimitExceeded { limit: LimitKind::Cpu, warning: true } => "max cpu warning",
            Self::LimitExceeded { limit: LimitKind::Cpu, warning: false } => "max cpu",
            Self::LimitExceeded { limit: LimitKind::Errors, .. } => "error threshold",
            Self::Waiting
            | Self::NotReady { .. }
            | Self::Draining
            | Self::Stopping
            | Self::KillTimeout
            | Self::HookFailed { .. }
            | Self::ReloadBegun { .. }
            | Self::ReloadDone { .. }
            | Self::ReloadFailed { .. }
            | Self::ReloadOverruled { .. }
            | Self::RunMissed { .. }
            | Self::LogRotated { .. }
            | Self::Scaled { .. }
            | Self::SetAside { .. }
            | Self::Recovered { .. }
            | Self::UpdateBegun
            | Self::UpdateFailed { .. }
            | Self::Updated { .. }
            | Self::ClockMoved { .. }
            | Self::ListSaved { .. } => return None,
        })
    }
}

/// Cause of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventCause {
    /// A command of a user.
    User {
        /// The command, e.g. `restart`.
        command: String,
        /// User id of the client, from its peer credentials.
        uid: u32,
        /// Process id of the client.
        pid: i32,
        /// Person for whom the client asked, according to the client.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on_behalf_of: Option<Box<str>>,
    },
    /// A feature that acts on its own.
    Policy {
        /// Its name: `autorestart`, `cron`, `watch`, `memory`, …
        name: PolicyName,
        /// Its observation or measurement.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// The app itself, or an external process that signalled it.
    App,
    /// The kernel: out of memory, or a program that cannot be executed.
    System,
    /// The daemon exits and stops everything.
    Shutdown,
}

impl EventCause {
    /// Returns the cause for a policy with its observation.
    pub fn policy(name: PolicyName, detail: impl Into<Option<String>>) -> Self {
        Self::Policy { name, detail: detail.into() }
    }
}

impl From<&Origin> for EventCause {
    fn from(origin: &Origin) -> Self {
        match origin {
            Origin::User { command, uid, pid, on_behalf_of } => {
                Self::User { command: command.clone(), uid: *uid, pid: *pid, on_behalf_of: on_behalf_of.clone() }
            }
            Origin::Resurrect => Self::policy(PolicyName::Resurrect, None),
            Origin::Shutdown => Self::Shutdown,
            Origin::Policy(PolicyFinding { name, detail }) => Self::Policy { name: name.clone(), detail: detail.clone() },
        }
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_map_to_pm2_event_names() {
        let exit = EventKind::Exit { pid: 1, ending: ProcessEnding::Code(1), uptime_ms: 5 };
        for (what, word) in [
            (EventKind::Waiting, None),
            (EventKind::Launched { pid: 1 }, Some("start")),
            (EventKind::Online { pid: 1 }, Some("online")),
            (EventKind::NotReady { stopped: true }, None),
            (EventKind::Draining, None),
            (EventKind::Stopping, None),
            (EventKind::KillTimeout, None),
            (exit, Some("exit")),
            (EventKind::CouldNotStart { why: "exec".into(), errno: 2 }, Some("exit")),
            (EventKind::Restarting { delay_ms: 0 }, Some("restart")),
            (EventKind::Stopped, Some("stop")),
            (EventKind::Errored { unstable: 16 }, Some("restart overlimit")),
            (EventKind::HookFailed { why: "pre_start failed".into() }, None),
            (EventKind::Deleted, Some("delete")),
            (EventKind::ReloadBegun { release: 2, instances: 4 }, None),
            (EventKind::Replaced { pid: 1 }, Some("reload")),
            (EventKind::ReloadDone { release: 2 }, None),
            (EventKind::ReloadFailed { release: 2, why: "exited".into() }, None),
            (EventKind::ReloadOverruled { release: 2 }, None),
            (EventKind::Health { state: Health::Healthy }, Some("healthy")),
            (EventKind::Health { state: Health::Unready }, Some("unready")),
            (EventKind::Health { state: Health::Unhealthy }, Some("unhealthy")),
            (EventKind::Health { state: Health::Broken }, Some("health check broken")),
            (EventKind::LimitExceeded { limit: LimitKind::Memory, warning: false }, Some("max memory")),
            (EventKind::LimitExceeded { limit: LimitKind::Cpu, warning: true }, Some("max cpu warning")),
            (EventKind::LimitExceeded { limit: LimitKind::Cpu, warning: false }, Some("max cpu")),
            (EventKind::LimitExceeded { limit: LimitKind::Errors, warning: true }, Some("error threshold")),
            (EventKind::RunMissed { due_ms: 1 }, None),
            (EventKind::LogRotated { file: "/x".into() }, None),
            (EventKind::Scaled { from: 1, to: 2 }, None),
            (EventKind::SetAside { file: None }, None),
            (EventKind::Recovered { lost: LostProcesses::Daemon, running: 1, ended: 0 }, None),
            (EventKind::UpdateBegun, None),
            (EventKind::UpdateFailed { why: "exec".into() }, None),
            (EventKind::Updated { version: "1.0.0".into(), running: 1, ended: 0 }, None),
            (EventKind::ClockMoved { by_ms: 2_000 }, None),
            (EventKind::ListSaved { instances: 1 }, None),
        ] {
            assert_eq!(what.pm2_word(), word, "{what:?}");
        }
    }

    #[test]
    fn origins_map_to_causes() {
        let user = Origin::User { command: "stop".into(), uid: 7, pid: 9, on_behalf_of: Some("alice".into()) };
        for (origin, cause) in [
            (user, EventCause::User { command: "stop".into(), uid: 7, pid: 9, on_behalf_of: Some("alice".into()) }),
            (Origin::policy(PolicyName::Cron), EventCause::policy(PolicyName::Cron, None)),
            (Origin::found(PolicyName::Watch, "src/a: b.js"), EventCause::policy(PolicyName::Watch, "src/a: b.js".to_owned())),
            (Origin::Resurrect, EventCause::policy(PolicyName::Resurrect, None)),
            (Origin::Shutdown, EventCause::Shutdown),
        ] {
            assert_eq!(EventCause::from(&origin), cause);
        }
    }
}
