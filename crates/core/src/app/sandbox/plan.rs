//! Rules of one process, derived from the description of its app.

use std::path::{Path, PathBuf};

use super::calls::{FAMILIES, GROUPS, capability_bits, expand};
use super::own_folder::{DEVICES, SYSTEM, installation_of, is_shared, is_system, plain, project_of};
use super::{Ports, Profile, SandboxSpec};
use crate::app::AppSpec;
use crate::serving::{Listen, ReadyBy};

/// Access to a path and everything below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathAccess {
    /// Read, and execute programs.
    Read,
    /// Read, write, create and remove, without execution.
    WriteData,
    /// Read, write, create, remove and execute.
    Write,
    /// Read, write and control a device.
    Device,
}

/// Source of a path rule, which decides whether a missing path is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathSource {
    /// The profile.
    Profile,
    /// `read_only_paths` or `read_write_paths`, with a `-`.
    Optional,
    /// `read_only_paths`.
    ReadOnlyPaths,
    /// `read_write_paths`.
    ReadWritePaths,
}

/// A path that a process may access.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathRule {
    /// Absolute path.
    pub path: PathBuf,
    /// The access.
    pub access: PathAccess,
    /// Where the rule comes from.
    pub source: PathSource,
    /// Folder above the path that the app may write to. Below it, links are not followed: the app
    /// could have made them.
    pub inside: Option<PathBuf>,
}

/// Rules of one process. `None` means no restriction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Accessible paths.
    pub files: Option<Vec<PathRule>>,
    /// TCP ports to bind.
    pub bind: Option<Vec<u16>>,
    /// TCP ports to connect to.
    pub connect: Option<Vec<u16>>,
    /// Whether signals and abstract sockets of processes outside are out of reach, and such processes
    /// are hidden.
    pub isolates_processes: bool,
    /// Whether `/tmp` and `/var/tmp` are separate.
    pub private_tmp: bool,
    /// Capabilities to keep, as bits.
    pub capabilities: Option<u64>,
    /// Whether setuid programs gain no rights.
    pub no_new_privs: bool,
    /// Denied system calls.
    pub denied_calls: Vec<&'static str>,
    /// Whether `clone` creates no namespaces.
    pub denies_namespaces: bool,
    /// Families of addresses for new sockets.
    pub families: Option<Vec<u32>>,
}

/// Facts about the machine and the process.
pub struct PlanFacts<'a> {
    /// Program that is executed, as it was found.
    pub program: &'a Path,
    /// The program without links.
    pub real_program: &'a Path,
    /// Value of the variable `PORT` of this instance.
    pub port: Option<&'a str>,
    /// Homes of users, and ostler's home.
    pub homes: &'a [PathBuf],
    /// Files that ostler gives the process to read.
    pub own_files: &'a [PathBuf],
    /// Whether a folder contains a file.
    pub has: &'a dyn Fn(&Path, &str) -> bool,
    /// Whether the process runs as root.
    pub is_root: bool,
}

/// Capabilities that a process of root keeps in `web`: those of a container of Docker.
pub const WEB_CAPABILITIES: &[&str] = &[
    "audit_write",
    "chown",
    "dac_override",
    "fowner",
    "fsetid",
    "kill",
    "mknod",
    "net_bind_service",
    "net_raw",
    "setfcap",
    "setgid",
    "setpcap",
    "setuid",
    "sys_chroot",
];

/// First port that ordinary users may bind.
const UNPRIVILEGED: u16 = 1024;

/// Returns the rules for a process of this app, or `None` if the app has no sandbox.
pub fn plan(app: &AppSpec, facts: &PlanFacts<'_>) -> Option<Plan> {
    let spec = app.sandbox.as_deref()?;
    let is_strict = spec.profile == Profile::Strict;
    let bind = bind_ports(app, spec, facts.port);
    let connect = match &spec.connect_ports {
        Ports::Only(ports) => Some(ports.clone()),
        Ports::Profile if is_strict => Some(Vec::new()),
        Ports::Profile | Ports::Any => None,
    };
    let files = spec.restricts_files().then(|| path_rules(app, spec, facts));
    let groups = GROUPS.iter().map(|group| group.name).filter(|_| is_strict);
    let (denied_calls, denies_namespaces) = expand(groups.chain(spec.system_calls.iter().map(String::as_str)));
    let isolates_processes = spec.isolates_processes();
    let families = families(app, spec);
    let filters_calls = !denied_calls.is_empty() || families.is_some();
    let by_landlock = files.is_some() || bind.is_some() || connect.is_some() || isolates_processes;
    Some(Plan {
        private_tmp: spec.private_tmp.unwrap_or(spec.profile != Profile::None && !uses_tmp(app, facts)),
        capabilities: capabilities(spec, bind.as_deref(), facts.is_root),
        // The kernel requires it for rules of Landlock and seccomp of ordinary users.
        no_new_privs: spec.no_new_privs.unwrap_or(by_landlock || filters_calls),
        files,
        bind,
        connect,
        isolates_processes,
        denied_calls,
        denies_namespaces,
        families,
    })
}

/// Returns the TCP ports that an app may bind; `None` = all. `port` is the variable `PORT`.
pub fn bind_ports(app: &AppSpec, spec: &SandboxSpec, port: Option<&str>) -> Option<Vec<u16>> {
    let mut ports = match &spec.bind_ports {
        Ports::Any => return None,
        Ports::Profile if spec.profile == Profile::None => return None,
        Ports::Profile => Vec::new(),
        Ports::Only(ports) => ports.clone(),
    };
    ports.extend(app.listen.iter().filter_map(|listen: &Listen| listen.at.port()).filter(|port| *port > 0));
    ports.extend(port.and_then(|port| port.trim().parse::<u16>().ok()).filter(|port| *port > 0));
    ports.sort_unstable();
    ports.dedup();
    Some(ports)
}

fn capabilities(spec: &SandboxSpec, bind: Option<&[u16]>, is_root: bool) -> Option<u64> {
    let privileged_port = bind.is_some_and(|ports| ports.iter().any(|port| (1..UNPRIVILEGED).contains(port)));
    let for_ports = if privileged_port && is_root { capability_bits(["net_bind_service"]) } else { 0 };
    match (&spec.capabilities, spec.profile) {
        (Some(names), _) => Some(capability_bits(names.iter().map(String::as_str))),
        (None, Profile::None) => None,
        (None, Profile::Web) if is_root => Some(capability_bits(WEB_CAPABILITIES.iter().copied())),
        (None, Profile::Web | Profile::Strict) => Some(for_ports),
    }
}

/// Returns the families of addresses, without `AF_UNIX` in `strict` unless the app reports by
/// sd_notify: the kernel does not check connections to unix sockets by their paths, and such a
/// socket may belong to a service that starts programs.
fn families(app: &AppSpec, spec: &SandboxSpec) -> Option<Vec<u32>> {
    let number = |name: &str| FAMILIES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    match (&spec.address_families, spec.profile) {
        (Some(names), _) => Some(names.iter().filter_map(|name| number(name)).collect()),
        (None, Profile::Strict) => {
            let notifies = matches!(app.ready.by.as_deref(), Some(ReadyBy::Notify)) || app.ready.watchdog_ms.is_some();
            let names = ["inet", "inet6", "netlink"].into_iter().chain(notifies.then_some("unix"));
            Some(names.filter_map(number).collect())
        }
        (None, _) => None,
    }
}

/// Returns true if a path that the process needs is in `/tmp` or `/var/tmp`: a separate `/tmp` would
/// hide it.
pub fn uses_tmp(app: &AppSpec, facts: &PlanFacts<'_>) -> bool {
    let spec = app.sandbox.as_deref();
    let declared = spec.into_iter().flat_map(|spec| spec.read_only_paths.iter().chain(&spec.read_write_paths));
    let texts = [&app.cwd, &app.script].into_iter().chain(declared).map(|path| Path::new(path.trim_start_matches('-')));
    let paths = texts.chain([facts.program, facts.real_program]).chain(facts.own_files.iter().map(PathBuf::as_path));
    let mut paths = paths.chain(facts.homes.iter().map(PathBuf::as_path));
    paths.any(|path| ["/tmp", "/var/tmp"].iter().any(|tmp| path.starts_with(tmp) && path != Path::new(tmp)))
}

fn path_rules(app: &AppSpec, spec: &SandboxSpec, facts: &PlanFacts<'_>) -> Vec<PathRule> {
    let mut rules = Vec::new();
    let mut add = |path: PathBuf, access: PathAccess, source: PathSource| {
        rules.push(PathRule { path: plain(&path), access, source, inside: None });
    };
    let write = if spec.profile == Profile::Strict { PathAccess::WriteData } else { PathAccess::Write };
    if spec.profile == Profile::None {
        add("/".into(), PathAccess::Read, PathSource::Profile);
    } else {
        SYSTEM.iter().for_each(|path| add(path.into(), PathAccess::Read, PathSource::Profile));
        // Programs check whether `/dev` and `/tmp` exist, and list them; neither is a file.
        own_paths(app, facts).into_iter().for_each(|path| add(path, PathAccess::Read, PathSource::Profile));
        facts.own_files.iter().for_each(|path| add(path.clone(), PathAccess::Read, PathSource::Profile));
        ["/tmp", "/var/tmp"].iter().for_each(|path| add(path.into(), write, PathSource::Profile));
    }
    DEVICES.iter().for_each(|path| add(path.into(), PathAccess::Device, PathSource::Profile));
    for (paths, access, source) in
        [(&spec.read_only_paths, PathAccess::Read, PathSource::ReadOnlyPaths), (&spec.read_write_paths, write, PathSource::ReadWritePaths)]
    {
        for path in paths {
            match path.strip_prefix('-') {
                Some(path) => add(path.into(), access, PathSource::Optional),
                None => add(path.into(), access, source),
            }
        }
    }
    let writable: Vec<PathBuf> = rules.iter().filter(|rule| is_writable_folder(rule)).map(|rule| rule.path.clone()).collect();
    for rule in &mut rules {
        let above = writable.iter().filter(|folder| rule.path.starts_with(folder) && rule.path != **folder);
        rule.inside = above.min_by_key(|folder| folder.as_os_str().len()).cloned();
    }
    rules
}

fn is_writable_folder(rule: &PathRule) -> bool {
    matches!(rule.access, PathAccess::Write | PathAccess::WriteData)
}

/// Returns the paths that belong to the app: its working directory, its project, and the
/// installation of its program. Of a folder with several apps, only the files of this one.
fn own_paths(app: &AppSpec, facts: &PlanFacts<'_>) -> Vec<PathBuf> {
    let is_shared = |folder: &Path| is_shared(folder, facts.homes.iter().map(PathBuf::as_path));
    let (cwd, script) = (plain(Path::new(&app.cwd)), plain(Path::new(&app.script)));
    let mut paths = Vec::new();
    if !is_shared(&cwd) && !is_system(&cwd) {
        paths.push(cwd);
    }
    if app.script.starts_with('/') && !is_system(&script) {
        match project_of(&script, facts.has, is_shared) {
            Some(project) => paths.push(project),
            None => {
                let folder = script.parent().unwrap_or(Path::new("/"));
                paths.extend(["package.json", "node_modules"].map(|name| folder.join(name)));
                paths.push(script.clone());
            }
        }
        // Node searches for modules in all folders above.
        paths.extend(script.ancestors().skip(2).map(|folder| folder.join("node_modules")));
    }
    for program in [facts.program, facts.real_program] {
        paths.extend(installation_of(&plain(program), is_shared));
    }
    paths.sort();
    paths.dedup();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serving::ListenAt;

    fn app(sandbox: SandboxSpec) -> AppSpec {
        AppSpec { cwd: "/srv/api".into(), script: "/srv/api/server.js".into(), sandbox: Some(Box::new(sandbox)), ..AppSpec::default() }
    }

    fn planned(app: &AppSpec, port: Option<&str>, is_root: bool) -> Plan {
        let homes = [PathBuf::from("/home/ann"), PathBuf::from("/home/ann/.ostler")];
        let facts = PlanFacts {
            program: Path::new("/home/ann/.nvm/v22/bin/node"),
            real_program: Path::new("/home/ann/.nvm/v22/bin/node"),
            port,
            homes: &homes,
            own_files: &[PathBuf::from("/home/ann/.ostler/preload.cjs")],
            has: &|folder, mark| folder == Path::new("/srv/api") && mark == "package.json",
            is_root,
        };
        plan(app, &facts).unwrap()
    }

    fn access(plan: &Plan, path: &str) -> Option<PathAccess> {
        let rules = plan.files.as_ref()?;
        rules.iter().filter(|rule| Path::new(path).starts_with(&rule.path)).map(|rule| rule.access).max()
    }

    fn profile(profile: Profile) -> SandboxSpec {
        SandboxSpec { profile, ..SandboxSpec::default() }
    }

    #[test]
    fn web_reads_the_system_and_its_own_folder_only() {
        let plan = planned(&app(SandboxSpec { read_write_paths: vec!["/srv/api/my data".into()], ..profile(Profile::Web) }), None, false);
        for (path, expected) in [
            ("/usr/lib/x.so", Some(PathAccess::Read)),
            ("/srv/api/server.js", Some(PathAccess::Read)),
            ("/srv/api/my data/db", Some(PathAccess::Write)),
            ("/home/ann/.nvm/v22/lib/node_modules/npm", Some(PathAccess::Read)),
            ("/home/ann/.ostler/preload.cjs", Some(PathAccess::Read)),
            ("/home/ann/.ostler/logs/other-out.log", None),
            ("/home/ann/.ssh/id", None),
            ("/home/bob/x", None),
            ("/root/x", None),
            ("/srv/other/x", None),
            ("/dev/null", Some(PathAccess::Device)),
            ("/dev/sda", None),
            ("/tmp/x", Some(PathAccess::Write)),
        ] {
            assert_eq!(access(&plan, path), expected, "{path}");
        }
        assert!(plan.no_new_privs && plan.isolates_processes && plan.connect.is_none() && plan.bind == Some(vec![]));
    }

    #[test]
    fn app_in_a_home_reads_its_own_files_only() {
        let mut app = app(profile(Profile::Web));
        (app.cwd, app.script) = ("/home/ann".into(), "/home/ann/server.js".into());
        let plan = planned(&app, None, false);
        assert_eq!(access(&plan, "/home/ann/server.js"), Some(PathAccess::Read));
        assert_eq!(access(&plan, "/home/ann/node_modules/x"), Some(PathAccess::Read));
        assert_eq!(access(&plan, "/home/ann/.ssh/id"), None);
    }

    #[test]
    fn declared_ports_may_be_bound() {
        let mut app = app(SandboxSpec { bind_ports: Ports::Only(vec![9000]), ..profile(Profile::Web) });
        let at = ListenAt::Tcp { address: None, port: 443 };
        app.listen = vec![Listen { at, name: "https".into(), backlog: None, mode: None }];
        assert_eq!(planned(&app, Some("3000"), false).bind, Some(vec![443, 3000, 9000]));
        app.sandbox.as_mut().unwrap().bind_ports = Ports::Any;
        assert_eq!(planned(&app, Some("3000"), false).bind, None);
    }

    #[test]
    fn strict_denies_more() {
        let plan = planned(&app(profile(Profile::Strict)), Some("80"), true);
        assert_eq!((plan.connect.as_deref(), access(&plan, "/tmp/x")), (Some(&[][..]), Some(PathAccess::WriteData)));
        assert!(plan.denied_calls.contains(&"ptrace") && plan.denied_calls.contains(&"io_uring_setup") && plan.denies_namespaces);
        assert_eq!(plan.families, Some(vec![2, 10, 16]));
        assert_eq!(plan.capabilities, Some(1 << 10), "port 80 needs net_bind_service");
        let mut notifies = app(profile(Profile::Strict));
        notifies.ready.by = Some(Box::new(ReadyBy::Notify));
        assert!(planned(&notifies, None, false).families.unwrap().contains(&1));
    }

    #[test]
    fn read_only_without_a_profile_restricts_writes_only() {
        let spec = SandboxSpec { read_only: true, read_write_paths: vec!["-/srv/api/data".into()], ..SandboxSpec::default() };
        let plan = planned(&app(spec), None, true);
        assert_eq!(access(&plan, "/root/x"), Some(PathAccess::Read));
        assert_eq!(access(&plan, "/srv/api/data/x"), Some(PathAccess::Write));
        assert!(plan.bind.is_none() && plan.capabilities.is_none() && !plan.isolates_processes && !plan.private_tmp);
    }

    #[test]
    fn path_in_a_writable_folder_is_opened_without_links() {
        let spec = SandboxSpec {
            read_write_paths: vec!["/srv/api/data".into()],
            read_only_paths: vec!["/srv/api/data/fixed".into(), "/tmp/shared".into()],
            ..profile(Profile::Web)
        };
        let rules = planned(&app(spec), None, false).files.unwrap();
        let inside = |path: &str| rules.iter().find(|rule| rule.path == Path::new(path)).unwrap().inside.clone();
        assert_eq!(inside("/srv/api/data/fixed"), Some("/srv/api/data".into()));
        assert_eq!(inside("/tmp/shared"), Some("/tmp".into()));
        assert_eq!(inside("/srv/api/data"), None);
    }

    #[test]
    fn private_tmp_is_impossible_for_an_app_in_tmp() {
        assert!(planned(&app(profile(Profile::Web)), None, true).private_tmp);
        let mut in_tmp = app(profile(Profile::Web));
        in_tmp.cwd = "/tmp/app".into();
        assert!(!planned(&in_tmp, None, true).private_tmp);
    }

    #[test]
    fn app_without_a_sandbox_has_no_rules() {
        let facts = PlanFacts {
            program: Path::new("/bin/sh"),
            real_program: Path::new("/bin/sh"),
            port: None,
            homes: &[],
            own_files: &[],
            has: &|_, _| false,
            is_root: true,
        };
        assert_eq!(plan(&AppSpec::default(), &facts), None);
    }
}
