//! `deploy`: releases onto hosts, over the system's `ssh` and `git`.

use std::path::Path;
use std::process::{Command, Stdio};

use ostler_config::find::is_config_name;
use ostler_config::{Context, load};
use ostler_core::text::language::translated;
use ostler_core::{marked, message};
use serde_json::Value;

use super::files::{self, Source};
use crate::cli::Call;
use crate::cx::Cx;
use crate::deploy::{self, Action, Outcome, Target};
use crate::error::{CliError, DeployError, Status, UsageError};

/// Runs `deploy [file] <environment> [command]`.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let mut context = files::context(cx, call)?;
    let mut words: Vec<String> = call.targets.iter().chain(call.app_args.iter().flatten()).cloned().collect();
    let source = match words.first() {
        Some(word) if is_config_name(word) => {
            let word = words.remove(0);
            Source::File(context.cwd.join(&word), word)
        }
        _ => default_source(&context)?,
    };
    if words.is_empty() || words[0] == "help" {
        let text = crate::cli::command_help(cx.program.name(), call.command, cx.out.width());
        cx.out.data(text.as_bytes());
        return Ok(Status::Ok);
    }
    let environment = words.remove(0);
    let action = Action::of(&words).map_err(|error| match &error {
        DeployError::UnknownCommand(word) => UsageError::unknown_among("deploy", error.to_string(), word, Action::WORDS),
        _ => UsageError::BadValue { option: "deploy".into(), reason: error.to_string() },
    })?;
    let (target, apps) = read(cx, call, &source, &environment, &mut context)?;
    let file = in_repository(source.shown());

    let several = target.hosts.len() > 1;
    if !matches!(action, Action::Exec(_)) {
        let names: Vec<&str> = target.hosts.iter().map(|host| host.name.as_str()).collect();
        cx.out.line(message!("--> Deploying to {environment} environment", environment));
        let hosts = names.join(", ");
        cx.out.line(if several { message!("--> on hosts {hosts}", hosts) } else { message!("--> on host {host}", host = hosts) });
    }
    if action.brings_local_work() && !call.has("force") {
        check_local_tree(&context).map_err(|why| failed(cx, why))?;
    }
    if let Some(hook) = deploy::hooks_local(&target).filter(|_| action.deploys()) {
        cx.out.line(message!("  ○ executing pre-deploy-local"));
        cx.out.flush();
        let status = Command::new("sh").arg("-c").arg(hook).current_dir(&context.cwd).stdin(Stdio::null()).status();
        if !status.is_ok_and(|status| status.success()) {
            return Err(failed(cx, marked!("pre-deploy-local hook failed; no host was touched")));
        }
    }
    cx.out.flush();
    let names: Vec<String> = target.hosts.iter().map(|host| host.name.clone()).collect();
    let out = &mut cx.out;
    let outcomes = deploy::run(&target, &action, &file, &apps, &mut |number, line| {
        match names.get(number).filter(|_| several) {
            Some(name) => out.line(format_args!("[{name}] {line}")),
            None => out.line(line),
        }
        out.flush();
    });
    Ok(conclude(cx, &names, &outcomes))
}

/// Prints the result, with failures by host.
fn conclude(cx: &mut Cx, names: &[String], outcomes: &[Outcome]) -> Status {
    for (name, outcome) in names.iter().zip(outcomes) {
        match outcome {
            Outcome::Failed(Some(why)) => cx.out.error(format_args!("{name}: {why}")),
            Outcome::Failed(None) if names.len() > 1 => cx.out.error(message!("{name}: failed", name)),
            Outcome::RolledBack => {
                cx.out.error(message!("{name}: the new release did not become healthy; the previous release was restored", name))
            }
            Outcome::Failed(None) | Outcome::Done => {}
        }
    }
    let status = status_of(outcomes);
    if status == Status::Ok {
        cx.out.line(message!("--> Success"))
    } else {
        cx.out.err_line(message!("Deploy failed"))
    }
    status
}

/// Returns the exit code. A host in an unknown state is worse than a host that was rolled back.
fn status_of(outcomes: &[Outcome]) -> Status {
    let any = |wanted: fn(&Outcome) -> bool| outcomes.iter().any(wanted);
    match (any(|outcome| matches!(outcome, Outcome::Failed(_))), any(|outcome| *outcome == Outcome::RolledBack)) {
        (true, _) => Status::Failed,
        (false, true) => Status::RolledBack,
        (false, false) => Status::Ok,
    }
}

fn failed(cx: &mut Cx, why: &'static str) -> CliError {
    cx.out.err_line(format_args!("\n  {}\n\n{}", translated(why), message!("Deploy failed")));
    CliError::Reported(Status::Failed)
}

/// Returns the config file if the user names none: the file that `start` uses, else a package.json.
fn default_source(context: &Context) -> Result<Source, CliError> {
    let package = || {
        let path = context.cwd.join("package.json");
        path.is_file().then(|| Source::in_folder(path, context)).transpose()
    };
    let found = match Source::default(context)? {
        None => package()?,
        found => found,
    };
    found.ok_or_else(|| CliError::NotFound(message!("no config file here: name one, or create one with `ecosystem`")))
}

/// Returns the environment, and the names of the apps in the file.
fn read(cx: &mut Cx, call: &Call, source: &Source, name: &str, context: &mut Context) -> Result<(Target, Vec<String>), CliError> {
    let Source::File(path, shown) = source else { return Err(CliError::NotFound(message!("deploy needs a file"))) };
    let loaded = load(path, shown, context).map_err(|problems| files::report(cx, Some(source), &problems))?;
    let section = loaded.deploy.as_ref().and_then(Value::as_object);
    let Some(value) = section.and_then(|section| section.get(name)) else {
        let known = section.into_iter().flatten().map(|(name, _)| name.clone()).collect();
        return Err(DeployError::Unknown { name: name.to_owned(), file: shown.clone(), known }.into());
    };
    let (target, unknown) =
        Target::of(name, value).map_err(|reason| DeployError::Environment { file: shown.clone(), name: name.to_owned(), reason })?;
    for key in unknown {
        cx.out.warn(message!("deploy.{name}.{key}: no such key", name, key));
    }
    let mut apps: Vec<String> = loaded.apps.iter().map(ostler_config::RawApp::name).collect();
    if let Some(only) = call.value("only") {
        apps = ostler_config::select(&loaded.apps, only).iter().map(ostler_config::RawApp::name).collect();
    }
    apps.sort();
    apps.dedup();
    Ok((target, apps))
}

/// Returns the path of the config file in the repository: the path as the user gave it, or only the
/// file name.
fn in_repository(shown: &str) -> String {
    let path = Path::new(shown);
    let name = || path.file_name().map(|name| name.to_string_lossy().into_owned());
    if path.is_absolute() || shown.starts_with("..") { name().unwrap_or_else(|| shown.to_owned()) } else { shown.to_owned() }
}

/// Returns an error that lists commits or changes that are not committed or pushed, because they
/// would not be deployed. Outside of a repository there is nothing to compare.
fn check_local_tree(context: &Context) -> Result<(), &'static str> {
    let git =
        |words: &[&str]| Command::new("git").args(words).current_dir(&context.cwd).stdin(Stdio::null()).stderr(Stdio::null()).output();
    if !git(&["rev-parse", "--is-inside-work-tree"]).is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    let says_something = |words: &[&str]| git(words).is_ok_and(|output| output.status.success() && !output.stdout.is_empty());
    if says_something(&["status", "--porcelain", "--untracked-files=no"]) {
        return Err(marked!("commit or stash your changes before deploying (or --force)"));
    }
    // Without an upstream, no commit can be ahead.
    if says_something(&["rev-list", "-n", "1", "@{upstream}..HEAD"]) {
        return Err(marked!("push your changes before deploying (or --force)"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deploy_status_follows_outcomes() {
        let failed = || Outcome::Failed(None);
        for (outcomes, status) in [
            (vec![Outcome::Done], Status::Ok),
            (vec![Outcome::Done, failed()], Status::Failed),
            (vec![Outcome::Done, Outcome::RolledBack], Status::RolledBack),
            (vec![Outcome::RolledBack, failed()], Status::Failed),
        ] {
            assert_eq!(status_of(&outcomes), status, "{outcomes:?}");
        }
    }

    #[test]
    fn config_path_is_relative_to_the_repository() {
        for (shown, name) in [
            ("ecosystem.config.js", "ecosystem.config.js"),
            ("deploy/e.json", "deploy/e.json"),
            ("/a/e.json", "e.json"),
            ("../e.json", "e.json"),
        ] {
            assert_eq!(in_repository(shown), name);
        }
    }
}
