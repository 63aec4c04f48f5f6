//! Ports of an app: used by another program, by another app of the file, or reserved for root.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ostler_core::app::AppSpec;
use ostler_core::health::{CheckMethod, HealthSpec};
use ostler_core::message;
use ostler_core::serving::ListenAt;
use ostler_sys::ProcTable;
use ostler_sys::net::listening::{self, Listener};
use ostler_sys::process::tree::marker;

use super::{Machine, Mistake, account};
use crate::app_access::{first_free_port, privileged_port};

/// A TCP port that the configuration names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WantedPort {
    key: &'static str,
    port: u16,
    address: Option<IpAddr>,
}

impl WantedPort {
    /// Returns true if ostler itself opens the port at the start.
    fn is_opened_at_start(self) -> bool {
        self.key == "listen"
    }
}

/// Returns the mistakes of an app; `all` are the apps of its file.
pub(super) fn mistakes(spec: &AppSpec, all: &[&AppSpec], machine: &Machine) -> Vec<Mistake> {
    let mut seen = BTreeSet::new();
    let mut found: Vec<Mistake> = clashes(spec, all);
    for wanted in wanted(spec).into_iter().filter(|wanted| seen.insert(wanted.port)) {
        let Some(holder) = holder(wanted, spec, machine) else { continue };
        let port = wanted.port;
        found.push(match wanted.is_opened_at_start() {
            true => Mistake::error(wanted.key, message!("port {port} is used by {holder}", port, holder)),
            false => {
                let text = message!("port {port} is used by {holder}; the app cannot open it while that runs", port, holder);
                Mistake::warning(wanted.key, text)
            }
        });
    }
    found.extend(reserved(spec, machine));
    found
}

/// Returns the ports of `listen`, of `port` or the variable `PORT`, and of checks of the app itself.
fn wanted(spec: &AppSpec) -> Vec<WantedPort> {
    let mut all: Vec<WantedPort> = Vec::new();
    for listen in &spec.listen {
        if let ListenAt::Tcp { address, port } = listen.at {
            all.push(WantedPort { key: "listen", port, address });
        }
    }
    let key = if spec.given.open().contains_key("port") { "port" } else { "env" };
    all.extend(own_port(spec).map(|port| WantedPort { key, port, address: None }));
    let checked = |health: &HealthSpec| {
        let checks = [&health.startup, &health.readiness, &health.liveness];
        checks.into_iter().flatten().filter_map(|check| port_of(&check.method)).collect::<Vec<_>>()
    };
    let key = if spec.given.open().contains_key("health") { "health" } else { "http" };
    let checked = spec.health().map(checked).unwrap_or_default();
    all.extend(checked.into_iter().map(|port| WantedPort { key, port, address: None }));
    all.retain(|wanted| wanted.port > 0);
    all
}

/// Returns the port of a check of this machine.
fn port_of(method: &CheckMethod) -> Option<u16> {
    let (host, port) = match method {
        CheckMethod::Http(probe) => (&probe.host, probe.port),
        CheckMethod::Tcp { host, port } => (host, *port),
        CheckMethod::Command(_) => return None,
    };
    let is_here = ostler_core::health::probe::addresses(host)?.iter().all(IpAddr::is_loopback);
    is_here.then_some(port)
}

/// Returns `PORT` as the file sets it. The caller's own variable is no part of the configuration.
fn own_port(spec: &AppSpec) -> Option<u16> {
    spec.env.layers().skip(1).filter_map(|layer| layer.get("PORT")).last()?.trim().parse().ok()
}

/// Reports a socket of `listen` that an earlier app of the file has, too.
fn clashes(spec: &AppSpec, all: &[&AppSpec]) -> Vec<Mistake> {
    let earlier = all.iter().take_while(|other| !std::ptr::eq(**other, spec));
    let same = |listen: &ostler_core::serving::Listen| {
        let other = earlier.clone().find(|other| other.listen.iter().any(|other| overlaps(&listen.at, &other.at)))?;
        Some(Mistake::error("listen", message!("{socket} is also a socket of {app}", socket = listen.at, app = other.name)))
    };
    spec.listen.iter().filter_map(same).collect()
}

fn overlaps(one: &ListenAt, other: &ListenAt) -> bool {
    match (one, other) {
        (ListenAt::Tcp { address: a, port: p }, ListenAt::Tcp { address: b, port: q }) => {
            p == q && *p > 0 && (a.is_none() || b.is_none() || a == b)
        }
        (ListenAt::Unix { path: a }, ListenAt::Unix { path: b }) => a == b,
        _ => false,
    }
}

/// Describes the program that listens on a port, unless the app itself does.
fn holder(wanted: WantedPort, spec: &AppSpec, machine: &Machine) -> Option<String> {
    let sockets = listening::sockets_at(wanted.port);
    let socket = *sockets.first()?;
    let own = own_instances(spec, machine);
    if is_own(&sockets, spec, wanted.port, &own, machine) || !is_taken(wanted) {
        return None;
    }
    let app = app_at(spec, wanted.port, machine);
    let Some(pid) = listening::holder_of(&sockets, &own) else {
        return Some(message!("a process of uid {uid}, which is not visible here", uid = socket.uid));
    };
    let program = crate::text::shown(&listening::program(pid).unwrap_or_default());
    Some(
        app.map_or_else(
            || message!("{program} (pid {pid})", program, pid),
            |app| message!("the app {app}", app = crate::text::shown(&app)),
        ),
    )
}

/// Returns true if another socket prevents that the port is opened at this address.
fn is_taken(wanted: WantedPort) -> bool {
    let Some(address) = wanted.address.filter(|_| wanted.is_opened_at_start()) else { return true };
    // The table of the kernel shows the port only; the programs may listen at different addresses.
    std::net::TcpListener::bind((address, wanted.port)).is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
}

/// Returns the processes of the app, as far as a running daemon knows them.
fn own_instances(spec: &AppSpec, machine: &Machine) -> Vec<i32> {
    let processes = ProcTable::scan();
    let own = machine.running.iter().filter(|detail| detail.spec.name == spec.name);
    let tree = |pid: i32| processes.descendants(pid).into_iter().map(|entry| entry.pid).chain([pid]).collect::<Vec<_>>();
    own.filter_map(|detail| detail.instance.pid()).flat_map(tree).collect()
}

/// Returns true if the sockets belong to the app: to its processes, to the daemon for it, or to a
/// process that another manager started under its name.
fn is_own(sockets: &[Listener], spec: &AppSpec, port: u16, own: &[i32], machine: &Machine) -> bool {
    let Some(pid) = listening::holder_of(sockets, own) else { return false };
    if own.contains(&pid) || marker(pid, "name").is_some_and(|name| name == spec.name.as_bytes()) {
        return true;
    }
    let holds = |detail: &&ostler_proto::control::Detail| detail.spec.name == spec.name && opens(detail, port);
    machine.supervisors.contains(&pid) && machine.running.iter().any(|detail| holds(&detail))
}

/// Returns the other app for which the daemon holds the port.
fn app_at(spec: &AppSpec, port: u16, machine: &Machine) -> Option<String> {
    let other = machine.running.iter().find(|detail| detail.spec.name != spec.name && opens(detail, port));
    other.map(|detail| detail.spec.name.clone())
}

fn opens(detail: &ostler_proto::control::Detail, port: u16) -> bool {
    let listens = |at: &ListenAt| matches!(at, ListenAt::Tcp { port: own, .. } if *own == port);
    detail.learned.ports.contains(&port) || detail.spec.listen.iter().any(|listen| listens(&listen.at))
}

/// Reports a port that needs root.
fn reserved(spec: &AppSpec, machine: &Machine) -> Option<Mistake> {
    let user = account::credentials(spec, &machine.caller, machine.may_switch_users).ok()??;
    let variable = own_port(spec).map(|port| port.to_string());
    let port = privileged_port(spec, &user, variable.as_deref())?;
    let message = message!(
        "port {port} is below {limit}, and the user of the app (uid {uid}) is not root",
        port,
        limit = first_free_port(),
        uid = user.uid
    );
    let listens = wanted(spec).iter().any(|wanted| wanted.port == port && wanted.is_opened_at_start());
    let key = if spec.given.open().contains_key("port") { "port" } else { "env" };
    Some(if listens { Mistake::error("listen", message) } else { Mistake::warning(key, message) })
}

#[cfg(test)]
mod tests {
    use ostler_core::health::Check;
    use ostler_core::health::safeguards::Safeguards;
    use ostler_core::serving::Listen;

    use super::*;

    fn socket(text: &str) -> Listen {
        let at = match text.rsplit_once(':') {
            Some((host, port)) => ListenAt::Tcp { address: host.parse().ok(), port: port.parse().unwrap() },
            None => ListenAt::Unix { path: text.into() },
        };
        Listen { at, name: String::new(), backlog: None, mode: None }
    }

    fn app(name: &str, sockets: &[&str]) -> AppSpec {
        AppSpec { name: name.into(), listen: sockets.iter().map(|text| socket(text)).collect(), ..AppSpec::default() }
    }

    #[test]
    fn wanted_ports_come_from_sockets_variables_and_checks() {
        let mut spec = app("a", &[":80", "/run/a.sock", ":0"]);
        spec.env.vars.insert("PORT".into(), "3000".into());
        let check = |host: &str, port| Check {
            method: CheckMethod::Tcp { host: host.into(), port },
            interval_ms: 1,
            timeout_ms: 1,
            failures: 1,
            successes: 1,
            delay_ms: 0,
        };
        let health =
            HealthSpec { readiness: Some(check("localhost", 3001)), liveness: Some(check("10.0.0.1", 3002)), ..HealthSpec::default() };
        spec.safeguards = Some(Box::new(Safeguards { health, ..Safeguards::default() }));
        let found: Vec<_> = wanted(&spec).iter().map(|wanted| (wanted.key, wanted.port)).collect();
        assert_eq!(found, [("listen", 80), ("env", 3000), ("http", 3001)]);
    }

    #[test]
    fn sockets_of_two_apps_clash() {
        let first = app("first", &[":80", "127.0.0.1:81", "/run/a.sock", ":0"]);
        for (sockets, expected) in [
            (&[":80"][..], vec![":80"]),
            (&["127.0.0.1:80", "127.0.0.2:81"], vec!["127.0.0.1:80"]),
            (&["127.0.0.1:81", "/run/a.sock"], vec!["127.0.0.1:81", "/run/a.sock"]),
            (&[":82", "/run/b.sock", ":0"], vec![]),
        ] {
            let second = app("second", sockets);
            let all = [&first, &second];
            let found = clashes(&second, &all);
            let words: Vec<String> = sockets
                .iter()
                .map(|text| socket(text))
                .filter(|listen| expected.contains(&shown(listen).as_str()))
                .map(|listen| format!("{} is also a socket of first", listen.at))
                .collect();
            assert_eq!(found.iter().map(|mistake| mistake.message.clone()).collect::<Vec<_>>(), words, "{sockets:?}");
            assert_eq!(clashes(&first, &all), []);
        }
    }

    fn shown(listen: &Listen) -> String {
        match &listen.at {
            ListenAt::Tcp { address, port } => format!("{}:{port}", address.map(|address| address.to_string()).unwrap_or_default()),
            ListenAt::TcpV6 { .. } | ListenAt::Unix { .. } => listen.at.to_string(),
        }
    }

    #[test]
    fn port_of_another_program_is_reported() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let machine =
            Machine { caller: account::caller(), may_switch_users: false, memory: 0, running: Vec::new(), supervisors: Vec::new() };
        let spec = |sockets: &[&str]| app("a", sockets);
        let one = spec(&[&format!(":{port}")]);
        let [mistake] = &mistakes(&one, &[&one], &machine)[..] else { panic!() };
        assert!(mistake.is_error && mistake.key == "listen", "{mistake:?}");
        assert!(mistake.message.starts_with(&format!("port {port} is used by ")) && mistake.message.contains("(pid "), "{mistake:?}");
        // Another address of this machine is free.
        let other = spec(&[&format!("127.0.0.2:{port}")]);
        assert_eq!(mistakes(&other, &[&other], &machine), []);
        let mut by_variable = spec(&[]);
        by_variable.env.vars.insert("PORT".into(), port.to_string());
        assert!(mistakes(&by_variable, &[&by_variable], &machine).iter().all(|mistake| !mistake.is_error && mistake.key == "env"));
        drop(taken);
        assert_eq!(mistakes(&one, &[&one], &machine), []);
    }
}
