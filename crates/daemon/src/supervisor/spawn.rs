//! Builds a process from a description: environment, arguments, user, log files.
//!
//! Errors of the app itself (no such interpreter, unknown user, log file not writable) occur here
//! or in the keeper. They name the failed step and its errno, and are reported to the caller.

use std::borrow::Cow;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use ostler_core::app::AppSpec;
use ostler_core::app::sandbox::kernel::SandboxReport;
use ostler_core::lifecycle::SpawnFailure;
use ostler_core::serving::{FIRST_FD, with_numbers};
use ostler_core::text::os_text;
use ostler_keeper::{RULESET_TARGET, SpawnRequest};
use ostler_proto::pm2::{View, scalar_env};
use ostler_sys::users::user::Identity;
use ostler_sys::{CStrings, Credentials, Rlimit, SpawnSpec, process::rlimit};
use rustix::fs::Access;
use rustix::io::Errno;

use crate::engine::SpawnExtras;
use crate::logs::Outputs;
use crate::platform::confinement::{self, Confined, Ready};
use crate::platform::secrets::Values;
use crate::platform::settings::Settings;
use crate::platform::users::account;
use crate::state::slots::Slot;
use crate::state::slots::inherited;
use crate::state::store::command::CommandSpec;

/// Process that can be started.
#[derive(Debug)]
pub(super) struct Prepared {
    pub request: Box<SpawnRequest>,
    /// Descriptors in the order of their targets.
    pub fds: Vec<OwnedFd>,
    /// Program and the user to run it as, for apps of Node.
    pub node: Option<(PathBuf, Option<Credentials>)>,
    /// Sandbox of the process.
    pub sandbox: Option<SandboxReport>,
}

/// Returns the failure of a step, with its errno.
pub(crate) fn failure(step: &str, errno: i32) -> SpawnFailure {
    SpawnFailure::new(step, errno)
}

/// Builds incarnation `inc` of a slot.
pub(super) fn prepare(slot: &Slot, inc: u32, outputs: Outputs, beside: SpawnExtras, settings: &Settings) -> Result<Prepared, SpawnFailure> {
    let spec = slot.spec();
    let SpawnExtras { account, fds: beside_fds, vars, node_args, last_node_args, readable, secrets, .. } = beside;
    let secrets = crate::platform::secrets::read(spec, Some(secrets), &settings.credentials)?;
    let home = settings.home.to_string_lossy();
    let mut env = environment(slot, inc, account.as_ref(), &secrets, &home, settings)?;
    env.extend(vars.into_iter().map(|(name, value)| (name.into(), value.into())));
    let [first, last] = pass_by_environment(spec, [node_args, last_node_args], &mut env);
    let (program, argv) = command(spec, &env, [first, last])?;
    add_folder_of(&program, spec, &mut env);
    let node = spec.runs_in_node().then(|| (PathBuf::from(&program), account.as_ref().map(|account| account.credentials.clone())));
    let outputs_of = [outputs.out.as_fd(), outputs.error.as_fd()];
    let port = env.get("PORT").map(AsRef::as_ref);
    let confined = confined(spec, Path::new(&program), port, account.as_ref(), settings, &readable, outputs_of)?;
    let (mut fds, mut targets) = (vec![outputs.out, outputs.error], vec![1, 2]);
    for (fd, number) in beside_fds {
        fds.push(fd);
        targets.push(number);
    }
    let (confinement, ruleset, sandbox) = match confined {
        Some(Ready { confinement, ruleset, report }) => (Some(confinement), ruleset, Some(report)),
        None => (None, None, None),
    };
    if let Some(ruleset) = ruleset {
        fds.push(ruleset);
        targets.push(RULESET_TARGET);
    }
    let described = as_described(spec, &program, &argv, &env, account.as_ref())?;
    let request = SpawnRequest { key: slot.key(inc), spec: described, targets, confinement };
    Ok(Prepared { request: Box::new(request), fds, node, sandbox })
}

/// Prepares the sandbox of a process, if its app has one.
fn confined(
    spec: &AppSpec,
    program: &Path,
    port: Option<&str>,
    account: Option<&Identity>,
    settings: &Settings,
    readable: &[PathBuf],
    outputs: [BorrowedFd<'_>; 2],
) -> Result<Option<Ready>, SpawnFailure> {
    if spec.sandbox.is_none() {
        return Ok(None);
    }
    let own = rustix::process::geteuid();
    let home_of_user = account.and_then(|account| account.user.as_ref()).map(|user| PathBuf::from(&user.home));
    let home_of_daemon = ostler_sys::users::user::user_by_id(own.as_raw()).ok().flatten().map(|user| PathBuf::from(user.home));
    let is_root = account.map_or(own.is_root(), |account| account.credentials.uid == 0);
    let homes = home_of_user.into_iter().chain(home_of_daemon).chain([settings.home.clone()]).collect();
    confinement::prepare(spec, &Confined { program, port, is_root, homes, readable, outputs })
}

/// Builds the program of a command: as the app's own user, in its directory, with its environment
/// and its own mark.
pub(super) fn command_program(
    slot: &Slot,
    run: &CommandSpec,
    mark: &str,
    home: &str,
    settings: &Settings,
) -> Result<SpawnSpec, SpawnFailure> {
    let spec = slot.spec();
    let account = account(spec)?;
    let secrets = crate::platform::secrets::read(spec, None, &settings.credentials)?;
    let mut env = environment(slot, slot.durable.instance.inc, account.as_ref(), &secrets, home, settings)?;
    env.extend(run.vars.iter().map(|(name, value)| (Cow::from(name), Cow::from(value))));
    // Without the app's mark, the sweep of the app's process tree does not find the command.
    env.shift_remove(crate::state::slots::processes::MARK);
    env.insert(crate::state::slots::processes::INC_MARK.into(), mark.into());
    let path = env.get("PATH").map_or("/usr/local/bin:/usr/bin:/bin", AsRef::as_ref);
    let argv = &run.command.argv;
    let word = argv.first().map(String::as_str).unwrap_or_default();
    let program = find_in_path(word, path, Path::new(&spec.cwd))
        .ok_or_else(|| failure(&format!("find {word} in PATH"), Errno::NOENT.raw_os_error()))?;
    as_described(spec, &program.to_string_lossy(), argv, &env, account.as_ref())
}

/// Adds the variables that describe a user to its programs.
fn introduce<'a>(account: Option<&'a Identity>, env: &mut Vars<'a>) {
    let Some(user) = account.and_then(|account| account.user.as_ref()) else { return };
    for (variable, value) in inherited::personal(user) {
        env.insert(variable.into(), value.into());
    }
}

/// Builds a program that runs in the app's directory, as its user, with its limits.
fn as_described(
    spec: &AppSpec,
    program: &str,
    argv: &[String],
    env: &Vars<'_>,
    account: Option<&Identity>,
) -> Result<SpawnSpec, SpawnFailure> {
    Ok(SpawnSpec {
        program: c_string(program, "exec")?,
        argv: c_strings(argv.iter().map(|arg| [arg.as_bytes()]), "arguments")?,
        envp: variables(env)?,
        cwd: c_string(&spec.cwd, "chdir")?,
        user: account.map(|account| account.credentials.clone()),
        rlimits: rlimits(spec)?,
        nice: spec.limits.nice,
        umask: spec.limits.umask,
        oom_score_adj: None,
    })
}

/// Variables; most are borrowed from the descriptions that they come from.
pub(crate) type Vars<'a> = IndexMap<Cow<'a, str>, Cow<'a, str>>;

/// Builds the environment of the app's process: the layers of its description, its secrets, PM2's
/// variables, then the variables of this instance.
fn environment<'a>(
    slot: &'a Slot,
    inc: u32,
    account: Option<&'a Identity>,
    secrets: &'a Values,
    home: &'a str,
    settings: &'a Settings,
) -> Result<Vars<'a>, SpawnFailure> {
    let spec = slot.spec();
    let mut env = Vars::with_capacity(slot.base().vars.len() + 64);
    let reaches = inherited::reaches(spec, account);
    let base = slot.base().vars.iter().filter(|(name, _)| reaches(name.as_str()));
    env.extend(base.map(|(name, value)| (Cow::from(name), Cow::from(value))));
    for (name, value) in spec.env.layers().flatten() {
        env.insert(name.into(), numbered(spec, value)?);
    }
    env.extend(crate::platform::settings::kept_settings(spec, settings));
    env.extend(secrets.iter().map(|(name, value)| (name.into(), value.into())));
    // Starts from the value that the user gave, before the daemon's own variables.
    let incremented = spec.env.increment_var.clone().map(|variable| {
        let first = env.get(variable.as_str()).and_then(|value| value.trim().parse::<i64>().ok()).unwrap_or(0);
        (variable, first.saturating_add(i64::from(slot.durable.index)).to_string())
    });
    env.insert("PM2_HOME".into(), home.into());
    let user = slot.user();
    let added = scalar_env(&View {
        id: slot.durable.pm_id,
        index: slot.durable.index,
        unique_id: &slot.durable.unique_id,
        base: None,
        spec,
        counters: &slot.durable.instance.counters,
        status: "launching",
        exit_code: View::exit_code_of(&slot.durable.instance),
        node_version: slot.durable.learned.node_version.as_deref(),
        working_tree: None,
        axm_actions: &slot.live.axm.actions,
        axm_monitor: &slot.live.axm.monitor,
        axm_options: &slot.live.axm.options,
        files: &slot.live.files,
        user: &user,
        home,
        kept: None,
    });
    env.extend(added.into_iter().map(|(name, value)| (name.into(), value.into())));
    let variable = settings.instance_var.as_ref().or(spec.env.instance_var.as_ref());
    env.insert(variable.map_or("NODE_APP_INSTANCE", String::as_str).into(), slot.durable.index.to_string().into());
    if let Some((variable, value)) = incremented {
        env.insert(variable.into(), value.into());
    }
    env.insert(crate::state::slots::processes::MARK.into(), slot.durable.unique_id.as_str().into());
    env.insert(
        crate::state::slots::processes::INC_MARK.into(),
        crate::state::slots::processes::inc_mark(&slot.durable.unique_id, inc).into(),
    );
    introduce(account, &mut env);
    Ok(env)
}

/// Moves the arguments for Node, before and after the app's own, into `NODE_OPTIONS` if another
/// program starts Node. Returns the arguments that remain.
fn pass_by_environment(spec: &AppSpec, node_args: [Vec<String>; 2], env: &mut Vars<'_>) -> [Vec<String>; 2] {
    if spec.runs_in_node() || node_args.iter().all(Vec::is_empty) {
        return node_args;
    }
    let quoted = |arg: &String| format!("\"{}\"", arg.replace('\\', "\\\\").replace('"', "\\\""));
    let word = |arg: &String| if arg.starts_with("--") { arg.clone() } else { quoted(arg) };
    let own = env.get(NODE_OPTIONS).map(AsRef::as_ref).filter(|own| !own.is_empty()).map(str::to_owned);
    let words: Vec<String> = node_args[0].iter().map(word).chain(own).chain(node_args[1].iter().map(word)).collect();
    env.insert(NODE_OPTIONS.into(), words.join(" ").into());
    [Vec::new(), Vec::new()]
}

const NODE_OPTIONS: &str = "NODE_OPTIONS";

/// Returns the program to execute and its arguments.
fn command(spec: &AppSpec, env: &Vars<'_>, [first, last]: [Vec<String>; 2]) -> Result<(String, Vec<String>), SpawnFailure> {
    let path = env.get("PATH").map_or("/usr/local/bin:/usr/bin:/bin", AsRef::as_ref);
    let Some(interpreter) = &spec.interpreter else {
        let mut argv = vec![spec.script.clone()];
        append(spec, &spec.args, &mut argv)?;
        return Ok((spec.script.clone(), argv));
    };
    let program = find_in_path(interpreter, path, Path::new(&spec.cwd))
        .or_else(|| find_in_own_path(interpreter))
        .ok_or_else(|| failure(&format!("find interpreter {interpreter} in PATH"), Errno::NOENT.raw_os_error()))?;
    let mut argv = vec![interpreter.clone()];
    if spec.runs_in_node() && !spec.disable_source_map_support {
        argv.push("--enable-source-maps".into());
    }
    // PM2's wrapper sets this title; Node accepts it only as an argument.
    if let Some(title) = env.get("PROCESS_TITLE").filter(|title| spec.runs_in_node() && !title.is_empty()) {
        argv.push(format!("--title={title}"));
    }
    argv.extend(first);
    append(spec, &spec.interpreter_args, &mut argv)?;
    argv.extend(last);
    argv.push(spec.script.clone());
    append(spec, &spec.args, &mut argv)?;
    Ok((program.to_string_lossy().into_owned(), argv))
}

/// Adds the folder of the interpreter to `PATH`. Programs that the app starts then find the same
/// interpreter, even if it was not in the app's own `PATH`.
fn add_folder_of(program: &str, spec: &AppSpec, env: &mut Vars<'_>) {
    let by_name = spec.interpreter.as_ref().is_some_and(|word| !word.contains('/'));
    let Some(folder) = Path::new(program).parent().and_then(Path::to_str).filter(|_| by_name) else { return };
    let path = env.get("PATH").map_or("", AsRef::as_ref);
    if !path.is_empty() && !path.split(':').any(|entry| Path::new(&spec.cwd).join(entry) == Path::new(folder)) {
        let path = format!("{path}:{folder}");
        env.insert("PATH".into(), path.into());
    }
}

fn append(spec: &AppSpec, args: &[String], argv: &mut Vec<String>) -> Result<(), SpawnFailure> {
    for arg in args {
        argv.push(numbered(spec, arg)?.into_owned());
    }
    Ok(())
}

fn rlimits(spec: &AppSpec) -> Result<Vec<Rlimit>, SpawnFailure> {
    spec.limits
        .rlimits
        .iter()
        .map(|(name, soft, hard)| {
            let resource = rlimit::by_name(name).ok_or_else(|| failure(&format!("unknown limit {name}"), 0))?;
            Ok(Rlimit { resource, soft: soft.unwrap_or(u64::MAX), hard: hard.unwrap_or(u64::MAX) })
        })
        .collect()
}

fn c_string(text: &str, step: &str) -> Result<CString, SpawnFailure> {
    CString::new(text).map_err(|_| failure(&format!("{step}: it contains a NUL byte"), 0))
}

fn variables(env: &Vars<'_>) -> Result<CStrings, SpawnFailure> {
    let mut list = CStrings::default();
    for (name, value) in env {
        let added = list.push(&[&os_text::decode(name), b"=", &os_text::decode(value)]);
        added.map_err(|nul| failure(&format!("environment: {nul}"), 0))?;
    }
    Ok(list)
}

fn c_strings<'a, const N: usize>(texts: impl Iterator<Item = [&'a [u8]; N]>, step: &str) -> Result<CStrings, SpawnFailure> {
    let mut list = CStrings::default();
    for parts in texts {
        list.push(&parts).map_err(|nul| failure(&format!("{step}: {nul}"), 0))?;
    }
    Ok(list)
}

/// Returns the path of a program. A word without a slash is searched in `PATH`; everything else is
/// a path.
fn find_in_path(word: &str, path: &str, cwd: &Path) -> Option<PathBuf> {
    let executable = |candidate: &PathBuf| candidate.is_file() && rustix::fs::access(candidate, Access::EXEC_OK).is_ok();
    if word.contains('/') {
        return Some(cwd.join(word));
    }
    path.split(':').filter(|folder| !folder.is_empty()).map(|folder| cwd.join(folder).join(word)).find(executable)
}

/// Returns the path of a program in the daemon's own `PATH`. The app's `PATH` may name the folder
/// of a Node version that was replaced since it was saved. The service that starts the daemon knows
/// the present one.
fn find_in_own_path(word: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").ok()?;
    find_in_path(word, &path, Path::new("/"))
}

/// Replaces `{fd}` and `{fd:name}` in a text of the description by the numbers of sockets. Without
/// sockets these words mean nothing.
fn numbered<'a>(spec: &AppSpec, text: &'a str) -> Result<Cow<'a, str>, SpawnFailure> {
    if spec.listen.is_empty() || !text.contains("{fd") {
        return Ok(text.into());
    }
    with_numbers(text, &spec.listen, FIRST_FD).map(Cow::from).map_err(|error| failure(&error.to_string(), 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::serving::{Listen, ListenAt};

    #[test]
    fn node_arguments_pass_through_node_options_behind_a_script() {
        use ostler_core::app::program::ProgramKind;
        let spec = AppSpec { program: Some(ProgramKind::StartsNode), script: "/run.sh".into(), ..AppSpec::default() };
        let mut env = Vars::new();
        env.insert(NODE_OPTIONS.into(), "--no-warnings".into());
        let preload = || vec!["--require".to_owned(), r#"/a "b\.cjs"#.to_owned()];
        let rest = pass_by_environment(&spec, [preload(), vec!["--inspect-port=9230".into()]], &mut env);
        assert_eq!(rest, [Vec::<String>::new(), Vec::new()]);
        assert_eq!(env[NODE_OPTIONS], r#"--require "/a \"b\\.cjs" --no-warnings --inspect-port=9230"#);
        let node = AppSpec { interpreter: Some("node".into()), ..AppSpec::default() };
        assert_eq!(pass_by_environment(&node, [preload(), vec![]], &mut env), [preload(), vec![]]);
    }

    #[test]
    fn fd_placeholders_apply_only_with_sockets() {
        let spec = |sockets: usize| {
            let at = |index: usize| ListenAt::Unix { path: format!("/{index}") };
            let listen = |index: usize| Listen { at: at(index), name: format!("s{index}"), backlog: None, mode: None };
            AppSpec { listen: (0..sockets).map(listen).collect(), ..AppSpec::default() }
        };
        assert_eq!(numbered(&spec(0), "{fd}").unwrap(), "{fd}");
        assert_eq!(numbered(&spec(2), "--fd={fd:s1}").unwrap(), "--fd=4");
        assert!(numbered(&spec(1), "{fd:x}").unwrap_err().step.contains("{fd:x}"));
    }
}
