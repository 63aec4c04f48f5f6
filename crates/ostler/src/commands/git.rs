//! `pull`, `forward`, `backward`: check out another commit in the folder of an app, then reload it.
//! If that fails, roll back.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ostler_core::app::AppSpec;
use ostler_core::message;
use ostler_core::text::causes::with_causes;
use ostler_proto::control::Action;
use ostler_sys::users::user::{Identity, identity};
use serde_json::Value;

use super::request::request;
use crate::cli::Call;
use crate::cx::Cx;
use crate::deploy::git_ref;
use crate::error::{CliError, GitError, PullError, Status};
use crate::render::Wording;
use crate::text::shown;

/// Time between two checks whether a command has exited.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Requested commit.
enum CommitChoice {
    /// The newest commit of the branch's remote, or this commit.
    Pull(Option<String>),
    /// The next commit towards the remote's newest.
    Next,
    /// The parent commit.
    Previous,
}

/// Runs `pull <name> [commit]`.
pub(crate) fn pull(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let commit = call.targets.get(1).map(|text| git_ref(text)).transpose()?;
    each(cx, call, &CommitChoice::Pull(commit))
}

/// Runs `forward <name>`.
pub(crate) fn forward(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    each(cx, call, &CommitChoice::Next)
}

/// Runs `backward <name>`.
pub(crate) fn backward(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    each(cx, call, &CommitChoice::Previous)
}

/// Handles all folders in which the target has apps.
fn each(cx: &mut Cx, call: &Call, wanted: &CommitChoice) -> Result<Status, CliError> {
    let target = call.target().unwrap_or_default().to_owned();
    let details = cx.find(std::slice::from_ref(&target))?;
    let mut seen = BTreeSet::new();
    for detail in details {
        let spec = &detail.spec;
        if seen.insert(spec.cwd.clone()) {
            let names: BTreeSet<String> =
                cx.find(std::slice::from_ref(&target))?.into_iter().filter(|of| of.spec.cwd == spec.cwd).map(|of| of.spec.name).collect();
            in_folder(cx, call, spec, names.into_iter().collect(), wanted)?;
        }
    }
    Ok(Status::Ok)
}

fn in_folder(cx: &mut Cx, call: &Call, spec: &AppSpec, names: Vec<String>, wanted: &CommitChoice) -> Result<(), CliError> {
    let folder = Folder::of(spec)?;
    let name = shown(&spec.name);
    let Ok(former) = folder.git(&["rev-parse", "--verify", "HEAD^{commit}"]) else {
        // PM2's words; there it is no failure.
        if cx.program.is_pm2() {
            cx.out.info(message!("No versioning system found for process {name}", name));
            return Ok(());
        }
        return Err(PullError::NoRepository { app: name, folder: shown(&spec.cwd) }.into());
    };
    let Some(new) = folder.commit(wanted).map_err(|source| PullError::Commit { app: name.clone(), source })?.filter(|new| *new != former)
    else {
        cx.out.info(message!("{name} is at {commit} already: nothing to do", name, commit = short(&former)));
        return Ok(());
    };
    // `--keep` fails if a local change would be lost. A file that was only touched is not changed,
    // so the index is refreshed first. The exit code of the refresh carries no more information.
    let _ = folder.git(&["update-index", "-q", "--refresh"]);
    let stays = |source| PullError::Stays { app: name.clone(), commit: short(&former).to_owned(), source };
    folder.git(&["reset", "--keep", &new]).map_err(stays)?;
    cx.out.info(format_args!("{name}: {} -> {}", short(&former), short(&new)));
    cx.out.flush();
    let done = after(cx, &folder, spec).and_then(|()| reload(cx, call, names.clone()));
    let Err(error) = done else { return Ok(()) };
    cx.out.error(message!("{error}; restoring {commit}", error = with_causes(&error), commit = short(&former)));
    folder.git(&["reset", "--keep", &former]).map_err(|source| PullError::NoWayBack { app: name.clone(), source })?;
    after(cx, &folder, spec).and_then(|()| reload(cx, call, names))?;
    cx.out.info(message!("{name} is at {commit} again", name, commit = short(&former)));
    Err(CliError::Reported(Status::Failed))
}

fn short(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}

fn reload(cx: &mut Cx, call: &Call, names: Vec<String>) -> Result<(), CliError> {
    let request = request(cx, Action::Reload, call, names, None)?;
    cx.perform(&request, Wording::Action).map(drop)
}

/// Runs the commands of `post_update`, one after the other.
fn after(cx: &mut Cx, folder: &Folder<'_>, spec: &AppSpec) -> Result<(), CliError> {
    let limit =
        spec.given.open().get("exec_timeout").and_then(ostler_core::text::units::millis_of).filter(|ms| *ms > 0).map(Duration::from_millis);
    for text in commands(spec.given.open().get("post_update")) {
        cx.out.info(message!("post_update: {command}", command = shown(&text)));
        cx.out.flush();
        match run_within(folder.command("sh").args(["-c", &text]), limit) {
            Ok(Some(status)) if status.success() => {}
            Ok(Some(_)) => return Err(PullError::HookFailed(text).into()),
            Ok(None) => return Err(PullError::HookTimedOut(text).into()),
            Err(cause) => return Err(PullError::HookNotRun { command: text, cause }.into()),
        }
    }
    Ok(())
}

/// Runs a command until it exits. Returns none if it exceeded the time limit; the command and all
/// processes in its group were then killed.
fn run_within(command: &mut Command, limit: Option<Duration>) -> std::io::Result<Option<ExitStatus>> {
    let Some(limit) = limit else { return command.status().map(Some) };
    let mut child = command.process_group(0).spawn()?;
    let until = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            // The child is not reaped yet, so no other process can have its pid.
            if let Some(group) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

fn commands(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// Folder of an app, with the app's own user, as whom all commands in it run. git executes programs
/// that the folder's configuration names.
struct Folder<'a> {
    path: &'a Path,
    user: Option<Identity>,
}

impl<'a> Folder<'a> {
    fn of(spec: &'a AppSpec) -> Result<Self, CliError> {
        let is_root = rustix::process::geteuid().is_root();
        let user = if is_root { identity(spec.uid.as_deref(), spec.gid.as_deref()) } else { Ok(None) };
        Ok(Self { path: Path::new(&spec.cwd), user: user? })
    }

    /// Prepares a command in the folder.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.stdin(Stdio::null());
        let Some(user) = &self.user else {
            command.current_dir(self.path);
            return command;
        };
        // The command gets nothing from root's environment. The program itself enters the folder,
        // with the user's rights.
        let kept = ["PATH", "LANG", "TZ"].map(|name| (name, std::env::var_os(name)));
        command.env_clear().envs(kept.into_iter().filter_map(|(name, value)| Some((name, value?))));
        if let Some(entry) = &user.user {
            command.env("HOME", &entry.home).env("USER", &entry.name).env("LOGNAME", &entry.name);
        }
        command.current_dir(self.path).gid(user.credentials.gid).uid(user.credentials.uid);
        command
    }

    /// Returns git's output. On failure, the error joins the first lines of its error output.
    fn git(&self, words: &[&str]) -> Result<String, GitError> {
        let output = self.command("git").env("GIT_TERMINAL_PROMPT", "0").args(words).output().map_err(GitError::Run)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        let stderr = text(&output.stderr);
        Err(GitError::Failed {
            command: words.first().copied().unwrap_or_default().to_owned(),
            words: shown(&stderr.lines().take(3).collect::<Vec<_>>().join("; ")),
        })
    }

    /// Returns the requested commit, or none if it does not exist.
    fn commit(&self, wanted: &CommitChoice) -> Result<Option<String>, GitError> {
        match wanted {
            CommitChoice::Pull(None) => {
                self.git(&["fetch", "--quiet"])?;
                let ahead = self.git(&["rev-list", "-n", "1", "@{upstream}..HEAD"])?;
                if !ahead.is_empty() {
                    return Err(GitError::Ahead);
                }
                self.git(&["rev-parse", "--verify", "@{upstream}^{commit}"]).map(Some)
            }
            CommitChoice::Pull(Some(name)) => {
                self.git(&["fetch", "--quiet", "--tags"])?;
                self.git(&["rev-parse", "--verify", &format!("{name}^{{commit}}")]).map(Some)
            }
            CommitChoice::Next => {
                let all = self.git(&["rev-list", "--ancestry-path", "--reverse", "HEAD..@{upstream}"])?;
                Ok(all.lines().next().map(str::to_owned))
            }
            CommitChoice::Previous => Ok(self.git(&["rev-parse", "--verify", "--quiet", "HEAD^"]).ok()),
        }
    }
}
