//! Facts about an instance that the progress of a request does not carry.

use std::collections::BTreeSet;

use ostler_client::words::exit_text;
use ostler_core::health::HealthState;
use ostler_core::lifecycle::{InstanceState, ProcessEnding};
use ostler_core::message;
use ostler_core::serving::ReadyBy;
use ostler_proto::control::Detail;

use crate::render::describe::port_of;
use crate::render::face::seconds;
use crate::text::shown;

/// Facts about an instance that the progress itself does not carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct InstanceFacts {
    pub name: String,
    pub pid: Option<i32>,
    /// Places where it listens: `:3000`, or the address of a declared socket.
    pub listens: Vec<String>,
    pub health: Option<HealthState>,
    /// Event for which the command waits, in words.
    pub waits: Option<String>,
    /// How its newest process exited, if none runs.
    pub ended: Option<EndedFacts>,
}

/// Facts about the newest process of an instance that does not run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EndedFacts {
    pub text: String,
    pub has_failed: bool,
    pub last_lines: Vec<String>,
}

impl EndedFacts {
    fn of(detail: &Detail) -> Option<Self> {
        let instance = &detail.instance;
        let exit = instance.exits.last().filter(|exit| exit.pid > 0 && exit.inc == instance.inc && instance.pid().is_none())?;
        let has_failed = !exit.is_requested() && exit.ending != ProcessEnding::Code(0);
        Some(Self { text: exit_text(exit.ending), has_failed, last_lines: exit.last_lines.clone() })
    }
}

impl InstanceFacts {
    /// Returns the facts that the daemon knows. `ports`: TCP ports on which its processes listen.
    pub(crate) fn of(detail: &Detail, ports: &BTreeSet<u16>) -> Self {
        let others = detail.learned.sockets.iter().filter(|socket| !port_of(&socket.address).is_some_and(|port| ports.contains(&port)));
        let mut listens: Vec<String> = ports.iter().map(|port| format!(":{port}")).collect();
        listens.extend(others.map(|socket| shown(&socket.address)));
        Self {
            name: detail.spec.name.clone(),
            pid: detail.instance.pid(),
            listens,
            health: detail.health.as_ref().map(|health| health.state),
            waits: waits_for(detail),
            ended: EndedFacts::of(detail),
        }
    }
}

/// Returns the event for which a command waits.
pub(crate) fn waits_for(detail: &Detail) -> Option<String> {
    if let Some(first) = detail.waits_for.first() {
        return Some(shown(first));
    }
    if let Some((_, hook)) = detail.instance.hook() {
        return Some(message!("running {hook}", hook));
    }
    match detail.instance.state {
        InstanceState::Starting { .. } => Some(usual(
            detail,
            match detail.spec.ready.proof()? {
                ReadyBy::Message => message!("waiting for its ready message"),
                ReadyBy::Listening => message!("waiting until it listens"),
                ReadyBy::Notify => message!("waiting for READY=1"),
                ReadyBy::Descriptor(fd) => message!("waiting for a line on descriptor {fd}", fd),
                ReadyBy::Tcp { host, port } => message!("waiting for {host}:{port}", host = shown(&host), port),
                ReadyBy::Http(_) => message!("waiting for its HTTP answer"),
                ReadyBy::Log(pattern) => message!("waiting for log line \"{pattern}\"", pattern = shown(&pattern)),
                ReadyBy::Uptime { .. } => message!("waiting for its minimum uptime"),
            },
        )),
        InstanceState::Running { .. } => Some(message!("checking that it stays up")),
        InstanceState::Backoff { .. } => Some(message!("waiting before the next start")),
        InstanceState::Draining { .. } => Some(message!("finishing its requests")),
        InstanceState::Stopping { .. } => Some(message!("stopping")),
        _ => None,
    }
}

/// Adds the time that the last starts took.
fn usual(detail: &Detail, words: String) -> String {
    let mut times = detail.instance.counters.start_ups_ms.clone();
    times.sort_unstable();
    match times.get(times.len() / 2) {
        Some(usual) => message!("{state} (usually {duration})", state = words, duration = seconds(u64::from(*usual))),
        None => words,
    }
}
