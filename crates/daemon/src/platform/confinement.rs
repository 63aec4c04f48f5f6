//! Sandbox of a process: opens the paths of its rules, and prepares what the keeper applies.
//!
//! A path is opened with the rights of the app's user. A rule only allows what the user's rights allow
//! anyway. But the app could replace a path in a folder that it may write to by a link, and would get
//! more at its next start. Below such a folder, links are not followed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use ostler_core::app::AppSpec;
use ostler_core::app::sandbox::kernel::{SandboxReport, Support, missing_text, reduce};
use ostler_core::app::sandbox::plan::{PathAccess, PathRule, PathSource, Plan, PlanFacts, plan};
use ostler_core::lifecycle::SpawnFailure;
use ostler_sys::confine::Confinement;
use ostler_sys::confine::denial::{is_available, number};
use ostler_sys::confine::landlock::{self, Access, Restricted, Ruleset, open_beneath, open_path};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, capabilities};

use crate::platform::rights::Rights;

/// Process that is about to be started.
pub(crate) struct Confined<'a> {
    /// Program that is executed.
    pub program: &'a Path,
    /// Value of its variable `PORT`.
    pub port: Option<&'a str>,
    /// Whether it runs as root.
    pub is_root: bool,
    /// Homes of its user and of the daemon's user, and ostler's home.
    pub homes: Vec<PathBuf>,
    /// Files of ostler that it reads.
    pub readable: &'a [PathBuf],
    /// Its output files, which some programs open again by `/dev/stdout`.
    pub outputs: [BorrowedFd<'a>; 2],
}

/// Restrictions that are ready to be applied.
#[derive(Debug)]
pub(crate) struct Ready {
    pub confinement: Box<Confinement>,
    pub ruleset: Option<OwnedFd>,
    pub report: SandboxReport,
}

/// Returns what this machine can restrict.
pub(crate) fn support() -> Support {
    Support {
        landlock_abi: landlock::abi().unwrap_or(0),
        seccomp: is_available().is_ok(),
        mounts: capabilities(None).is_ok_and(|own| own.effective.contains(CapabilitySet::SYS_ADMIN)),
    }
}

/// Prepares the sandbox of a process; `None` = the app has none.
///
/// # Errors
///
/// Returns the failed step: a declared path that cannot be opened, or a restriction that the machine
/// cannot apply and the app requires.
pub(crate) fn prepare(spec: &AppSpec, process: &Confined<'_>) -> Result<Option<Ready>, SpawnFailure> {
    let Some(sandbox) = spec.sandbox.as_deref() else { return Ok(None) };
    let rights = Rights::of(spec);
    let real = rights.act(|| process.program.canonicalize()).unwrap_or_else(|_| process.program.to_owned());
    let facts = PlanFacts {
        program: process.program,
        real_program: &real,
        port: process.port,
        homes: &process.homes,
        own_files: process.readable,
        has: &|folder, file| rights.act(|| folder.join(file).symlink_metadata()).is_ok(),
        is_root: process.is_root,
    };
    let Some(mut plan) = plan(spec, &facts) else { return Ok(None) };
    let support = support();
    let missing = reduce(&mut plan, support, sandbox.private_tmp == Some(true));
    if sandbox.is_required()
        && let Some(first) = missing.first()
    {
        let text = missing_text(*first, support.landlock_abi);
        let hint = "`sandbox: {required: false}` starts it without that";
        return Err(SpawnFailure::new(format!("apply the sandbox of the app: {text} ({hint})"), 0));
    }
    let ruleset = ruleset(&plan, support.landlock_abi, &rights, process)?;
    let in_ruleset = |access: Access| if plan.files.is_some() { access.in_version(support.landlock_abi) } else { 0 };
    let write = plan.files.iter().flatten().find(|rule| is_tmp(rule)).map(|rule| access_of(rule.access));
    let confinement = Confinement {
        no_new_privs: plan.no_new_privs,
        capabilities: plan.capabilities,
        denied_calls: plan.denied_calls.iter().filter_map(|name| number(name)).collect(),
        denies_namespaces: plan.denies_namespaces,
        families: plan.families.clone(),
        private_tmp: plan.private_tmp,
        private_proc: plan.isolates_processes && support.mounts,
        tmp_access: in_ruleset(write.unwrap_or(Access::Write)),
        proc_access: in_ruleset(Access::Read),
    };
    let report = SandboxReport::new(sandbox.label(), &plan, support.landlock_abi, missing);
    Ok(Some(Ready { confinement: Box::new(confinement), ruleset, report }))
}

fn is_tmp(rule: &PathRule) -> bool {
    ["/tmp", "/var/tmp"].iter().any(|tmp| rule.path == Path::new(tmp))
}

fn access_of(access: PathAccess) -> Access {
    match access {
        PathAccess::Read => Access::Read,
        PathAccess::WriteData => Access::WriteData,
        PathAccess::Write => Access::Write,
        PathAccess::Device => Access::Device,
    }
}

fn ruleset(plan: &Plan, abi: u32, rights: &Rights, process: &Confined<'_>) -> Result<Option<OwnedFd>, SpawnFailure> {
    let restricted = Restricted {
        files: plan.files.is_some(),
        bind: plan.bind.is_some(),
        connect: plan.connect.is_some(),
        scope: plan.isolates_processes,
    };
    if restricted.is_none() {
        return Ok(None);
    }
    let failed = |step: &str| {
        let step = format!("{step} for the sandbox of the app");
        move |errno: Errno| SpawnFailure::new(step.clone(), errno.raw_os_error())
    };
    let ruleset = Ruleset::new(restricted, abi).map_err(failed("create rules of Landlock"))?;
    // The new folders of a separate `/tmp` get their rule in the process.
    for rule in plan.files.iter().flatten().filter(|rule| !(plan.private_tmp && is_tmp(rule))) {
        let opened = rights.act(|| Ok(open(rule)?));
        match opened {
            Ok(fd) => ruleset.allow(fd.as_fd(), access_of(rule.access)).map_err(failed("add a path"))?,
            Err(error) if may_be_missing(rule.source, &error) => {}
            Err(error) => return Err(unopened(rule, &error)),
        }
    }
    if plan.files.is_some() {
        let is_file = |fd: &BorrowedFd<'_>| fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
        for output in process.outputs.iter().filter(|output| is_file(output)) {
            // An output in memory has no path. The program can write to it all the same.
            let _ = ruleset.allow(*output, Access::Append);
        }
    }
    let port = |port: u16| failed(&format!("allow port {port}"));
    for number in plan.bind.iter().flatten() {
        ruleset.allow_bind(*number).map_err(port(*number))?;
    }
    for number in plan.connect.iter().flatten() {
        ruleset.allow_connect(*number).map_err(port(*number))?;
    }
    Ok(Some(ruleset.into()))
}

fn open(rule: &PathRule) -> Result<OwnedFd, Errno> {
    match &rule.inside {
        None => open_path(&rule.path),
        Some(folder) => {
            let rest = rule.path.strip_prefix(folder).unwrap_or(&rule.path);
            open_beneath(open_path(folder)?.as_fd(), rest)
        }
    }
}

/// Returns true if a rule without its path is no error: the profile lists paths of all kinds of
/// machines, and the app could not read a path that its user cannot open.
fn may_be_missing(source: PathSource, error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    match source {
        PathSource::Profile => matches!(errno, Some(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP | Errno::XDEV)),
        PathSource::Optional => matches!(errno, Some(Errno::NOENT | Errno::NOTDIR)),
        PathSource::ReadOnlyPaths | PathSource::ReadWritePaths => false,
    }
}

fn unopened(rule: &PathRule, error: &io::Error) -> SpawnFailure {
    let key = match rule.source {
        PathSource::ReadOnlyPaths => "read_only_paths",
        PathSource::ReadWritePaths => "read_write_paths",
        PathSource::Profile | PathSource::Optional => "sandbox",
    };
    let path = rule.path.display();
    let errno = error.raw_os_error().unwrap_or(0);
    match (Errno::from_raw_os_error(errno), &rule.inside) {
        (Errno::LOOP, Some(folder)) => {
            let why = format!("a part of it is a link in {}, which the app may write to", folder.display());
            SpawnFailure::new(format!("open {path} of {key}: {why}"), 0)
        }
        (Errno::NOENT, _) => {
            let hint = format!("create it, or write \"-{path}\" if it may be missing");
            SpawnFailure::new(format!("open {path} of {key} ({hint})"), errno)
        }
        _ => SpawnFailure::new(format!("open {path} of {key}"), errno),
    }
}

/// Returns true if an app may create a unix socket at this path. The daemon creates it for a cluster
/// worker, so the kernel does not apply the rules of the worker.
pub(crate) fn may_create_socket(spec: &AppSpec, report: Option<&SandboxReport>, path: &Path) -> bool {
    let (Some(sandbox), true) = (spec.sandbox.as_deref(), report.is_some_and(|report| report.files)) else { return true };
    // Abstract names are no files.
    if path.as_os_str().as_encoded_bytes().first() == Some(&0) {
        return true;
    }
    let rights = Rights::of(spec);
    let Some(Ok(folder)) = path.parent().map(|folder| rights.act(|| folder.canonicalize())) else { return false };
    let mut writable = sandbox.read_write_paths.iter().map(|path| PathBuf::from(path.trim_start_matches('-')));
    writable.any(|allowed| rights.act(|| allowed.canonicalize()).is_ok_and(|allowed| folder.starts_with(allowed)))
}
