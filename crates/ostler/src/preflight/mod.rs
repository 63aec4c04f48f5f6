//! Checks of apps on this machine before they start: users, files, ports, limits and dependencies.
//! They only read, and open no file that an app names.
//!
//! Errors would make `start` fail. Warnings describe apps that start but behave unexpectedly.

mod account;
mod files;
mod ports;
mod programs;

use ostler_client::Peer;
use ostler_config::{Problem, RawApp};
use ostler_core::app::AppSpec;
use ostler_core::message;
use ostler_core::text::suggest::did_you_mean;
use ostler_proto::control::Detail;
use ostler_sys::Credentials;

use crate::render::face::memory;

/// Facts about this machine, the caller and the running daemon.
pub(crate) struct Machine {
    /// User who would start the apps.
    pub(self) caller: Credentials,
    /// Whether this user may start apps as other users.
    pub(self) may_switch_users: bool,
    /// Memory that apps can use, bytes; 0 if it is unknown.
    pub(self) memory: u64,
    /// Instances in the list of the running daemon.
    pub(self) running: Vec<Detail>,
    /// Pids of the daemon and its keeper, which hold sockets of apps.
    pub(self) supervisors: Vec<i32>,
}

/// A mistake that is not located yet: the key of the app, the message, and whether it is an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    key: &'static str,
    message: String,
    is_error: bool,
}

impl Mistake {
    fn error(key: &'static str, message: impl Into<String>) -> Self {
        Self { key, message: message.into(), is_error: true }
    }

    fn warning(key: &'static str, message: impl Into<String>) -> Self {
        Self { is_error: false, ..Self::error(key, message) }
    }

    fn located(self, raw: &RawApp) -> Problem {
        let problem = raw.mistake(self.key, self.message);
        if self.is_error { problem } else { problem.as_warning() }
    }
}

impl Machine {
    /// Collects the facts. `running` and `peer` are those of a running daemon.
    pub(crate) fn here(running: Vec<Detail>, peer: Option<&Peer>) -> Self {
        Self {
            caller: account::caller(),
            may_switch_users: account::may_switch_users(),
            memory: ostler_sys::machine::host::HostSample::brief().memory_bytes.0,
            running,
            supervisors: peer.map(|peer| vec![peer.pid, peer.keeper_pid]).unwrap_or_default(),
        }
    }
}

/// Returns the problems of one app; `all` are the apps of its file. `has_program`: script and
/// interpreter were found.
pub(crate) fn inspect(raw: &RawApp, spec: &AppSpec, has_program: bool, all: &[&AppSpec], machine: &Machine) -> Vec<Problem> {
    let mut mistakes = match account::credentials(spec, &machine.caller, machine.may_switch_users) {
        Ok(Some(user)) => {
            let access = files::access(spec, &user).filter(|_| has_program);
            [files::mistakes(spec, &user, machine), programs::mistakes(spec, &user), access.into_iter().collect()].concat()
        }
        // The configuration names a user that does not exist, which was reported.
        Ok(None) => Vec::new(),
        Err(mistake) => vec![mistake],
    };
    mistakes.extend(ports::mistakes(spec, all, machine));
    mistakes.extend(limits(spec, machine.memory));
    mistakes.extend(reserved_name(spec, &machine.running));
    let running = machine.running.iter().map(|detail| &detail.spec);
    mistakes.extend(unknown_dependencies(spec, &all.iter().copied().chain(running).map(|app| app.name.as_str()).collect::<Vec<_>>()));
    mistakes.into_iter().map(|mistake| mistake.located(raw)).collect()
}

/// Returns why no new app should have this name, or none. PM2 accepts such names, and existing apps
/// keep theirs. A number is a name, as in PM2: it takes precedence over an id.
pub(crate) fn name_fault(name: &str) -> Option<String> {
    (name == "all").then(|| message!("cannot name an app {name}: commands take this word for all apps", name))
}

/// Reports a name that `start` refuses for an app that is not in the list.
fn reserved_name(spec: &AppSpec, running: &[Detail]) -> Option<Mistake> {
    let fault = name_fault(&spec.name).filter(|_| running.iter().all(|detail| detail.spec.name != spec.name))?;
    Some(Mistake::error("name", fault))
}

/// Warns of limits that the app can never reach.
fn limits(spec: &AppSpec, total: u64) -> Vec<Mistake> {
    let soft = spec.safeguards.as_ref().and_then(|safeguards| safeguards.memory);
    let hard = spec.hard_limits().and_then(|limits| limits.memory);
    let above = |(key, limit): (&'static str, Option<_>)| {
        let bytes: u64 = Option::map(limit, |limit: ostler_core::health::limits::MemoryAmount| limit.bytes(total))?;
        let message = || message!("{limit} is more than this machine has ({total})", limit = memory(bytes), total = memory(total));
        (total > 0 && bytes > total).then(|| Mistake::warning(key, message()))
    };
    [("max_memory_restart", soft), ("memory_max", hard)].into_iter().filter_map(above).collect()
}

/// Reports dependencies that are neither in the file nor in the list.
fn unknown_dependencies(spec: &AppSpec, known: &[&str]) -> Vec<Mistake> {
    let unknown = spec.order.depends_on.keys().filter(|name| !known.contains(&name.as_str()));
    let mistake = |name: &String| {
        let others = known.iter().copied().filter(|other| *other != spec.name);
        let near = did_you_mean(name, others).map(|question| format!(", {question}")).unwrap_or_default();
        Mistake::error("depends_on", message!("no app is named {name}, in this file or in the list{near}", name, near))
    };
    unknown.map(mistake).collect()
}

#[cfg(test)]
mod tests {
    use ostler_core::health::limits::{HardLimits, MemoryAmount};
    use ostler_core::health::safeguards::Safeguards;
    use ostler_core::lifecycle::order::{Condition, Dependencies};

    use super::*;

    #[test]
    fn limits_above_the_memory_are_warnings() {
        let limited = |soft, hard| {
            let hard = HardLimits { memory: hard, ..HardLimits::default() };
            let safeguards = Safeguards { memory: soft, hard, ..Safeguards::default() };
            AppSpec { safeguards: Some(Box::new(safeguards)), ..AppSpec::default() }
        };
        let gib = |count: u64| Some(MemoryAmount::Bytes(count << 30));
        for (spec, total, expected) in [
            (AppSpec::default(), 4 << 30, vec![]),
            (limited(gib(3), gib(4)), 4 << 30, vec![]),
            (limited(Some(MemoryAmount::Share(10_000)), None), 4 << 30, vec![]),
            (limited(gib(8), None), 0, vec![]),
            (
                limited(gib(8), gib(5)),
                4 << 30,
                vec!["8.0 GB is more than this machine has (4.0 GB)", "5.0 GB is more than this machine has (4.0 GB)"],
            ),
        ] {
            let found = limits(&spec, total);
            assert_eq!(found.iter().map(|mistake| mistake.message.as_str()).collect::<Vec<_>>(), expected);
            assert!(found.iter().all(|mistake| !mistake.is_error));
        }
    }

    #[test]
    fn names_are_no_words_of_commands() {
        for (name, cause) in [
            ("all", Some("cannot name an app all: commands take this word for all apps")),
            ("All", None),
            ("allow", None),
            ("0", None),
            ("3000", None),
            ("", None),
        ] {
            assert_eq!(name_fault(name).as_deref(), cause, "{name}");
        }
    }

    #[test]
    fn unknown_dependencies_are_errors_with_a_near_name() {
        let depends_on = [("databse", Condition::Ready), ("cache", Condition::Started)].map(|(name, how)| (name.to_owned(), how)).into();
        let spec = AppSpec { name: "api".into(), order: Dependencies { depends_on, timeout_ms: None }.into(), ..AppSpec::default() };
        let found = unknown_dependencies(&spec, &["api", "database", "cache"]);
        assert_eq!(found, [Mistake::error("depends_on", "no app is named databse, in this file or in the list, did you mean `database`?")]);
    }
}
