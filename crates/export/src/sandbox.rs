//! The sandbox of an app in the words of systemd and of containers.

use std::path::Path;

use ostler_core::app::AppSpec;
use ostler_core::app::sandbox::calls::{GROUPS, expand};
use ostler_core::app::sandbox::plan::bind_ports;
use ostler_core::app::sandbox::{Ports, Profile, SandboxSpec};
use ostler_core::message;

/// Returns the directives of a systemd unit beyond `NoNewPrivileges` and `PrivateTmp`, which every unit
/// has. `report` gets what has no equivalent.
pub(crate) fn directives(spec: &AppSpec, report: &mut dyn FnMut(&str, String)) -> Vec<(&'static str, String)> {
    let Some(sandbox) = spec.sandbox.as_deref() else { return Vec::new() };
    let is_strict = sandbox.profile == Profile::Strict;
    let mut out = Vec::new();
    if sandbox.restricts_files() {
        out.push(("ProtectSystem", "strict".to_owned()));
        if !is_in_home(&spec.script) && !is_in_home(&spec.cwd) && sandbox.profile != Profile::None {
            out.push(("ProtectHome", "true".to_owned()));
        }
        // A `+` or blank in a path would be read as systemd's own syntax.
        let quoted = |path: &String| format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%"));
        for (key, paths) in [("ReadWritePaths", &sandbox.read_write_paths), ("ReadOnlyPaths", &sandbox.read_only_paths)] {
            out.extend(paths.iter().map(|path| (key, quoted(path))));
        }
    }
    if sandbox.isolates_processes() {
        out.push(("ProtectProc", "invisible".to_owned()));
    }
    if let Some(names) = capabilities(sandbox) {
        let all = names.iter().map(|name| format!("CAP_{}", name.to_ascii_uppercase())).collect::<Vec<_>>().join(" ");
        out.push(("CapabilityBoundingSet", all.clone()));
        if !all.is_empty() && spec.uid.is_some() {
            out.push(("AmbientCapabilities", all));
        }
    }
    let port = spec.env.merged().get("PORT").cloned();
    if let Some(ports) = bind_ports(spec, sandbox, port.as_deref()) {
        out.extend(ports.iter().map(|port| ("SocketBindAllow", format!("tcp:{port}"))));
        out.push(("SocketBindDeny", "tcp".to_owned()));
    }
    if is_strict && sandbox.connect_ports == Ports::Profile || matches!(sandbox.connect_ports, Ports::Only(_)) {
        report("sandbox", message!("systemd restricts connections by address (IPAddressDeny), not by port: `connect_ports` is left out"));
    }
    let groups = GROUPS.iter().map(|group| group.name).filter(|_| is_strict);
    let (calls, no_namespaces) = expand(groups.chain(sandbox.system_calls.iter().map(String::as_str)));
    if !calls.is_empty() {
        out.push(("SystemCallFilter", format!("~{}", calls.join(" "))));
        out.push(("SystemCallErrorNumber", "EPERM".to_owned()));
        out.push(("SystemCallArchitectures", "native".to_owned()));
    }
    if no_namespaces {
        out.push(("RestrictNamespaces", "true".to_owned()));
    }
    if let Some(families) = &sandbox.address_families {
        let all = families.iter().map(|name| format!("AF_{}", name.to_ascii_uppercase())).collect::<Vec<_>>().join(" ");
        out.push(("RestrictAddressFamilies", all));
    } else if is_strict {
        // A unit of systemd needs unix sockets for its own libraries (sd_notify, name lookups).
        out.push(("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK".to_owned()));
    }
    out
}

/// Returns true if the container of an app gets a read-only file system.
pub(crate) fn is_read_only(spec: &AppSpec) -> bool {
    spec.sandbox.as_deref().is_some_and(SandboxSpec::restricts_files)
}

/// Returns the capabilities that the container of an app keeps, in upper case.
pub(crate) fn kept_capabilities(spec: &AppSpec) -> Vec<String> {
    let names = spec.sandbox.as_deref().and_then(|sandbox| sandbox.capabilities.as_ref());
    names.into_iter().flatten().map(|name| name.to_ascii_uppercase()).collect()
}

/// Returns a notice about the folders that the app writes to, which a read-only container lacks.
pub(crate) fn missing_volumes(spec: &AppSpec) -> Option<String> {
    let sandbox = spec.sandbox.as_deref().filter(|sandbox| sandbox.restricts_files() && !sandbox.read_write_paths.is_empty())?;
    let paths = sandbox.read_write_paths.join(", ");
    Some(message!("the file system of the container is read-only: mount volumes for {paths}", paths))
}

fn capabilities(sandbox: &SandboxSpec) -> Option<Vec<String>> {
    match (&sandbox.capabilities, sandbox.profile) {
        (Some(names), _) => Some(names.clone()),
        (None, Profile::Strict) => Some(Vec::new()),
        (None, Profile::Web | Profile::None) => None,
    }
}

fn is_in_home(path: &str) -> bool {
    ["/home", "/root", "/run/user"].iter().any(|home| Path::new(path).starts_with(home))
}
