//! From a description to a process: environment, arguments, user, log files.
//!
//! Everything that can fail for the app's own reasons (no such interpreter, unknown user, log file not writable) fails here or in the
//! keeper with the name of the step and its errno, and is told to whoever asked.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use ostler_core::app::{AppSpec, EnvMap, ExecMode};
use ostler_core::lifecycle::SpawnFailure;
use ostler_keeper::{SpawnRequest, ToKeeper};
use ostler_proto::pm2::{View, scalar_env};
use ostler_sys::user::Identity;
use ostler_sys::{Rlimit, SpawnSpec, rlimit, user};
use rustix::fs::Access;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::outputs::Outputs;
use crate::registry::Slot;
use crate::settings::Settings;

/// Number of the IPC channel in the app; any would do, scripts know this one.
const IPC_FD: i32 = 3;

/// A process that can be started.
#[derive(Debug)]
pub(super) struct Prepared {
    pub request: ToKeeper,
    /// In the order of its targets.
    pub fds: Vec<OwnedFd>,
    /// Our end of the IPC channel.
    pub ipc: Option<OwnedFd>,
    /// Sizes of error and output file now.
    pub log_start: (u64, u64),
}

fn failure(step: &str, errno: i32) -> SpawnFailure {
    SpawnFailure { step: step.to_owned(), errno }
}

/// Prepares incarnation `inc` of a slot.
pub(super) fn prepare(slot: &Slot, inc: u32, outputs: Outputs, home: &str, settings: &Settings) -> Result<Prepared, SpawnFailure> {
    let spec = slot.spec();
    let account = account(spec)?;
    let mut env = environment(slot, inc, home, settings);
    if let Some(user) = account.as_ref().and_then(|account| account.user.as_ref()) {
        for (variable, value) in [("HOME", &user.home), ("USER", &user.name), ("LOGNAME", &user.name), ("SHELL", &user.shell)] {
            env.insert(variable.into(), value.clone());
        }
    }
    env.insert("NODE_CHANNEL_FD".into(), IPC_FD.to_string());
    env.insert("NODE_CHANNEL_SERIALIZATION_MODE".into(), "json".into());
    if spec.mode == ExecMode::Cluster && is_node(spec) {
        env.insert("NODE_UNIQUE_ID".into(), inc.to_string());
    }
    let (program, argv) = command(spec, &env)?;
    let (ours, theirs) = channel()?;
    let (out, error) = (outputs.out, outputs.error);
    let request = SpawnRequest {
        key: slot.key(inc),
        spec: SpawnSpec {
            program: c_string(&program, "exec")?,
            argv: argv.iter().map(|arg| c_string(arg, "arguments")).collect::<Result<_, _>>()?,
            envp: env.iter().map(|(name, value)| c_string(&format!("{name}={value}"), "environment")).collect::<Result<_, _>>()?,
            cwd: c_string(&spec.cwd, "chdir")?,
            user: account.map(|account| account.credentials),
            rlimits: rlimits(spec)?,
            nice: spec.limits.nice,
            umask: spec.limits.umask,
            oom_score_adj: None,
        },
        targets: vec![1, 2, IPC_FD],
    };
    Ok(Prepared { request: ToKeeper::Spawn(Box::new(request)), fds: vec![out, error, theirs], ipc: Some(ours), log_start: outputs.sizes })
}

/// What the app's process sees: the layers of its description, PM2's variables, then what belongs to this instance.
fn environment(slot: &Slot, inc: u32, home: &str, settings: &Settings) -> EnvMap {
    let spec = slot.spec();
    let mut env = (*slot.base.vars).clone();
    env.extend(spec.env.merged());
    // From the value that the user gave, before the daemon's own variables.
    let incremented = spec.env.increment_var.clone().map(|variable| {
        let first = env.get(&variable).and_then(|value| value.trim().parse::<i64>().ok()).unwrap_or(0);
        (variable, first.saturating_add(i64::from(slot.index)).to_string())
    });
    env.insert("PM2_HOME".into(), home.to_owned());
    let user = crate::control::handle::list::user(slot);
    env.extend(scalar_env(&View {
        id: slot.id,
        index: slot.index,
        unique_id: &slot.unique_id,
        spec,
        counters: &slot.instance.counters,
        status: "launching",
        exit_code: View::exit_code_of(&slot.instance),
        learned: &slot.learned,
        files: &slot.files,
        user: &user,
        home,
    }));
    let variable = settings.instance_var.as_ref().or(spec.env.instance_var.as_ref());
    env.insert(variable.map_or("NODE_APP_INSTANCE", String::as_str).to_owned(), slot.index.to_string());
    if let Some((variable, value)) = incremented {
        env.insert(variable, value);
    }
    env.insert(super::sweep::MARK.into(), slot.unique_id.clone());
    env.insert(super::sweep::INC_MARK.into(), super::sweep::inc_mark(&slot.unique_id, inc));
    env
}

/// The program to execute and its arguments.
fn command(spec: &AppSpec, env: &EnvMap) -> Result<(String, Vec<String>), SpawnFailure> {
    let path = env.get("PATH").map_or("/usr/local/bin:/usr/bin:/bin", String::as_str);
    let Some(interpreter) = &spec.interpreter else {
        let argv = std::iter::once(&spec.script).chain(&spec.args).cloned().collect();
        return Ok((spec.script.clone(), argv));
    };
    let program = find_in_path(interpreter, path, Path::new(&spec.cwd))
        .ok_or_else(|| failure(&format!("find interpreter {interpreter} in PATH"), Errno::NOENT.raw_os_error()))?;
    let mut argv = vec![interpreter.clone()];
    if is_node(spec) && !spec.disable_source_map_support {
        argv.push("--enable-source-maps".into());
    }
    argv.extend(spec.interpreter_args.iter().cloned());
    argv.push(spec.script.clone());
    argv.extend(spec.args.iter().cloned());
    Ok((program.to_string_lossy().into_owned(), argv))
}

/// Runs under Node itself.
pub(crate) fn is_node(spec: &AppSpec) -> bool {
    spec.interpreter.as_deref().and_then(|path| Path::new(path).file_name()).is_some_and(|name| name == "node")
}

fn account(spec: &AppSpec) -> Result<Option<Identity>, SpawnFailure> {
    user::identity(spec.uid.as_deref(), spec.gid.as_deref()).map_err(|error| failure(&crate::log::chain(&error), 0))
}

fn rlimits(spec: &AppSpec) -> Result<Vec<Rlimit>, SpawnFailure> {
    spec.limits
        .rlimits
        .iter()
        .map(|(name, soft, hard)| {
            let resource = rlimit::by_name(name).ok_or_else(|| failure(&format!("no limit is called {name}"), 0))?;
            Ok(Rlimit { resource, soft: soft.unwrap_or(u64::MAX), hard: hard.unwrap_or(u64::MAX) })
        })
        .collect()
}

fn c_string(text: &str, step: &str) -> Result<CString, SpawnFailure> {
    CString::new(text).map_err(|_| failure(&format!("{step}: a NUL byte in it"), 0))
}

/// A word without a slash is looked for in `PATH`, everything else is a path.
fn find_in_path(word: &str, path: &str, cwd: &Path) -> Option<PathBuf> {
    let executable = |candidate: &PathBuf| candidate.is_file() && rustix::fs::access(candidate, Access::EXEC_OK).is_ok();
    if word.contains('/') {
        return Some(cwd.join(word));
    }
    path.split(':').filter(|folder| !folder.is_empty()).map(|folder| cwd.join(folder).join(word)).find(executable)
}

/// Both ends of an IPC channel: the daemon's, the app's.
fn channel() -> Result<(OwnedFd, OwnedFd), SpawnFailure> {
    socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(|errno| failure("socketpair", errno.raw_os_error()))
}
