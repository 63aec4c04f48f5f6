//! The client: words in, exit code out.

use std::collections::BTreeSet;
use std::process::ExitCode;

use ostler_core::message;
use ostler_core::text::causes::with_causes;
use ostler_core::text::suggest::did_you_mean;
use ostler_proto::control::{Failure, Summary};
use ostler_proto::pm2::PM2_VERSION;

use crate::cli::{self, Availability, Call, DaemonUse, Parsed};
use crate::client::{ClientError, VERSION};
use crate::commands;
use crate::cx::{self, Cx};
use crate::error::{CliError, CommandError, Status, UsageError};
#[cfg(feature = "fleet")]
use crate::fleet;
use crate::home::{self, Program};
use crate::left_behind;
use crate::modules;
use crate::owner;
use crate::process_1;
use crate::render::{Out, json};
use crate::text::language;
#[cfg(feature = "web")]
use crate::web;

/// One call of the program.
pub(crate) fn client() -> ExitCode {
    let mut words = std::env::args_os();
    let argv0 = words.next();
    let program = Program::from_argv0(argv0.as_deref());
    let out = Out::new(program);
    let parsed = if home::is_runtime(argv0.as_deref()) {
        cli::parse_runtime(words.collect())
    } else {
        // `pm2-dev` is only this one command.
        let command = (program == Program::Pm2Dev).then(|| "dev".into());
        cli::parse(command.into_iter().chain(words).collect())
    };
    ExitCode::from(perform(program, out, parsed))
}

/// Performs the call that the words request; returns the exit code.
pub(crate) fn perform(program: Program, mut out: Out, parsed: Result<Parsed, UsageError>) -> u8 {
    // Programs read JSON, and the errors in it, in one language.
    if !matches!(&parsed, Ok(Parsed::Run(call)) if call.has("json")) {
        language::choose(program);
    }
    let status = match parsed {
        Ok(Parsed::Version) => {
            let version = if program.is_pm2() { PM2_VERSION } else { VERSION };
            out.data(format!("{version}\n").as_bytes());
            Status::Ok
        }
        Ok(Parsed::Help(command)) => {
            let (name, width) = (program.name(), out.width());
            let text = match command {
                Some(command) => cli::command_help(name, command, width),
                None if program.is_pm2() => cli::full_help(name, width),
                None => cli::usual_help(name, width),
            };
            out.data(text.as_bytes());
            Status::Ok
        }
        Ok(Parsed::Run(call)) if !program.is_pm2() && call.superfluous().is_some() => {
            let word = call.superfluous().unwrap_or_default().to_owned();
            usage(program, &mut out, &UsageError::UnknownArgument { word })
        }
        Ok(Parsed::Run(call)) => match call.without_effect() {
            Some(opt) if !program.is_pm2() => {
                usage(program, &mut out, &UsageError::NoEffect { option: opt.long, command: call.command.name })
            }
            Some(opt) => {
                out.warn_err(format_args!("option --{} has no effect with {}", opt.long, call.command.name));
                return run(program, out, &call);
            }
            None => return run(program, out, &call),
        },
        Err(UsageError::NoCommand) if !program.is_pm2() => return overview(program, out),
        Err(error) => usage(program, &mut out, &error),
    };
    finish(program, &mut out, status)
}

/// Prints how the apps are. A home that cannot be used is reported like in any command.
fn overview(program: Program, out: Out) -> u8 {
    let mut cx = Cx::new(program, out, DaemonUse::Unused);
    let status = commands::overview(&mut cx).unwrap_or_else(|error| {
        cx.out.error(with_causes(&error));
        print_hint(&mut cx, &error);
        error.status()
    });
    finish(program, &mut cx.out, status)
}

fn run(program: Program, mut out: Out, call: &Call) -> u8 {
    if call.has("silent") {
        out.set_silent();
    }
    if call.has("color") || call.has("no-color") {
        out.set_color(!call.has("no-color"));
    }
    if call.has("json") {
        out.data_only();
    }
    if call.value("raw") == Some("bytes") {
        out.pass_bytes();
    }
    if let Some(option) = &call.passed_over {
        out.warn_err(message!("unknown option {option}: ignored", option));
    }
    let owner = owner::become_owner(program, call, &mut out);
    let mut cx = Cx::new(program, out, call.command.daemon);
    if process_1::needs_child(call) {
        match process_1::run(&mut cx) {
            Ok(code) => return code,
            Err(error) => print_error(&mut cx, call, &error),
        }
    }
    cx.on_launch = Some(start_own);
    // PM2's words for its vendor's dashboard open ostler's dashboard.
    #[cfg(feature = "web")]
    let dashboard = if program.is_pm2() || !matches!(call.command.name, "plus" | "open") {
        None
    } else {
        call.as_command("web", vec!["open".to_owned()])
    };
    #[cfg(feature = "web")]
    let call = dashboard.as_ref().unwrap_or(call);
    let result = match (commands::handler(call.command.name), call.command.state) {
        _ if let Err(error) = owner => Err(error),
        _ if let Some((command, feature)) = commands::left_out_option(call) => Err(CliError::LeftOut { command, feature }),
        #[cfg(feature = "fleet")]
        _ if call.has("hosts") => fleet::run(&mut cx, call),
        (Some(Ok(code)), _) if call.has("no-daemon") && call.command.daemon == DaemonUse::Starts => {
            commands::in_foreground(&mut cx, call, code)
        }
        (Some(Ok(code)), _) => code(&mut cx, call),
        (Some(Err(feature)), _) => Err(CliError::LeftOut { command: call.word.clone(), feature }),
        // The text must name the program as it was called, because that name determines the home.
        (None, Availability::Elsewhere(what)) => {
            Err(CommandError::Elsewhere(what.replace("`ostler web ", &format!("`{} web ", program.name()))).into())
        }
        (None, Availability::Works) => unreachable!("commands/mod.rs does not compile without a handler"),
    };
    if matches!(result, Ok(Status::NotFound)) {
        hint_of_removed_folder(&mut cx);
    }
    let status = result.unwrap_or_else(|error| {
        let status = error.status();
        if call.has("json") && !matches!(error, CliError::Reported(_)) {
            // The hint of a usage error or of the connection is for people.
            let hint = error.hint(program.name()).filter(|_| error.may_concern_paths() || matches!(error, CliError::Home(_)));
            let text = hint.map_or_else(|| with_causes(&error), |hint| format!("{}\nhint: {hint}", with_causes(&error)));
            json(&mut cx.out, &serde_json::json!({ "error": text, "exit_code": status.code() }));
        }
        print_error(&mut cx, call, &error);
        if error.may_concern_paths() {
            hint_of_removed_folder(&mut cx);
        }
        status
    });
    finish(program, &mut cx.out, status)
}

/// Explains that relative paths lead nowhere, if that may be why a command failed.
fn hint_of_removed_folder(cx: &mut Cx) {
    if cx::is_cwd_removed() {
        let text = message!("the current directory was removed, so relative paths do not work: change to another directory");
        cx.out.err_line(format_args!("{} {text}", message!("hint:")));
    }
}

/// Starts the parts of every home: installed modules and, if enabled, the dashboard.
fn start_own(cx: &mut Cx) -> Result<(), CliError> {
    modules::start_all(cx)?;
    #[cfg(feature = "web")]
    web::start_if_enabled(cx)?;
    Ok(())
}

fn finish(program: Program, out: &mut Out, status: Status) -> u8 {
    let status = match out.finish() {
        Ok(()) => status,
        Err(error) => {
            out.error(message!("cannot write to stdout: {error}", error));
            Status::Failed
        }
    };
    // PM2 knows only 0 and 1, and scripts compare with 1.
    if program.is_pm2() && !matches!(status, Status::OfApp(_)) { u8::from(status != Status::Ok) } else { status.code() }
}

/// Prints the problem with the command line, as PM2 does, and a similar word.
fn usage(program: Program, out: &mut Out, error: &UsageError) -> Status {
    if !program.is_pm2() {
        return own_usage(program.name(), out, error);
    }
    let name = program.name();
    match error {
        UsageError::NoCommand => out.line(cli::short_help(name).trim_end()),
        UsageError::UnknownCommand { word, closest } => {
            out.error(format_args!("{error}: {word}"));
            if let Some(closest) = closest {
                out.err_line(format_args!("did you mean: {name} {closest}"));
            }
            out.line(cli::short_help(name).trim_end());
        }
        UsageError::UnknownOption { closest: Some(closest), .. } => {
            out.err_line(format_args!("\n  error: {error}, did you mean {closest}?\n"));
        }
        _ => out.err_line(format_args!("\n  error: {error}\n")),
    }
    Status::Usage
}

/// Prints the problem with the command line in ostler's own format.
fn own_usage(name: &str, out: &mut Out, error: &UsageError) -> Status {
    match error {
        UsageError::NoCommand => out.line(cli::short_help(name).trim_end()),
        UsageError::UnknownCommand { word, .. } => out.error(message!("unknown command `{word}`", word)),
        UsageError::UnknownOption { word, .. } => out.error(message!("unknown option `{word}`", word)),
        UsageError::MissingValue { option } => out.error(message!("option `{option}` needs a value", option)),
        UsageError::MissingArgument { name, .. } => out.error(message!("missing argument `{name}`", name)),
        UsageError::UnwantedValue { option } => out.error(message!("option `{option}` takes no value", option)),
        UsageError::NoEffect { option, command } => {
            out.error(message!("option `--{option}` has no effect with `{command}`", option, command))
        }
        UsageError::BadValue { option, reason } | UsageError::UnknownValue { option, reason, .. } if option.starts_with('-') => {
            out.error(message!("option `{option}`: {reason}", option, reason));
        }
        UsageError::BadValue { option, reason } | UsageError::UnknownValue { option, reason, .. } => {
            out.error(message!("`{option}`: {reason}", option, reason));
        }
        UsageError::UnknownArgument { word } => out.error(message!("unexpected argument `{word}`", word)),
        UsageError::NotText { .. } => out.error(error),
    }
    if let Some(hint) = error.hint(name) {
        out.hint(hint);
    }
    Status::Usage
}

/// Prints one clear line: the failed action, its place, and the next step.
pub(crate) fn print_error(cx: &mut Cx, call: &Call, error: &CliError) {
    let name = cx.program.name();
    match error {
        CliError::Reported(_) => {}
        CliError::Usage(error) => drop(usage(cx.program, &mut cx.out, error)),
        CliError::Client(ClientError::NotRunning { home }) => {
            let nothing = || match verb(call.command.name) {
                "show" => {
                    message!("no daemon is running in {home}: nothing to show; `{program} start <app>` starts one", home, program = name)
                }
                "ping" => {
                    message!("no daemon is running in {home}: nothing to ping; `{program} start <app>` starts one", home, program = name)
                }
                _ => message!("no daemon is running in {home}: nothing to list; `{program} start <app>` starts one", home, program = name),
            };
            let path = std::path::Path::new(home);
            let was = left_behind::of(path).map(|left| left_behind::lost_message(&left, path, name));
            let saved = left_behind::saved_hint(path, name).filter(|_| was.is_none());
            cx.out.err_line(was.unwrap_or_else(nothing));
            if let Some(saved) = saved {
                cx.out.hint(saved);
            }
        }
        CliError::Client(ClientError::Permission { home }) => {
            cx.out.error(message!("Permission denied, to give access to current user: the home {home} belongs to another user", home));
        }
        CliError::Daemon(Failure::NotFound { target }) if !cx.program.is_pm2() => print_not_found(cx, target),
        CliError::Daemon(Failure::NothingSaved) if !cx.program.is_pm2() => {
            cx.out.error(message!("no list of apps was saved; nothing was started"));
            cx.out.hint(message!("`{program} save` saves the apps of the list", program = name));
        }
        CliError::Daemon(failure) => print_failure(cx, failure),
        _ => {
            let changed = if cx.done.is_empty() { String::new() } else { cx.changed_words() };
            cx.out.error(format_args!("{}{changed}", with_causes(error)));
            print_hint(cx, error);
        }
    }
}

fn print_hint(cx: &mut Cx, error: &CliError) {
    let Some(hint) = error.hint(cx.program.name()) else { return };
    match error {
        // Lines of their own, also as `pm2`.
        CliError::Client(_) => cx.out.err_line(hint),
        CliError::Home(_) if cx.program.is_pm2() => cx.out.err_line(format_args!("hint: {hint}")),
        _ => cx.out.hint(hint),
    }
}

/// Prints that no app matches, and a similar name.
fn print_not_found(cx: &mut Cx, target: &str) {
    let is_number = !target.is_empty() && target.bytes().all(|byte| byte.is_ascii_digit());
    let (changed, word) = (cx.changed_words(), crate::text::shown(target));
    match is_number {
        true => cx.out.error(message!("no app has the id {id}{more}", id = word, more = changed)),
        false => cx.out.error(message!("no app, namespace or script is named {name}{more}", name = word, more = changed)),
    }
    let rows = cx.running_client().ok().flatten().and_then(|client| client.list().ok()).unwrap_or_default();
    let here = cx::cwd().unwrap_or_default();
    // A script in this folder is a target, too.
    let script = |row: &'_ Summary| Some(row.script.strip_prefix(&here)?.strip_prefix('/')?.to_owned());
    let scripts: Vec<String> = rows.iter().filter_map(script).collect();
    let names = rows.iter().flat_map(|row| [row.name.as_str(), row.namespace.as_str()]).chain(scripts.iter().map(String::as_str));
    let question = did_you_mean(target, names.collect::<BTreeSet<_>>());
    match question.filter(|_| !is_number) {
        Some(question) => cx.out.hint(question),
        None if !is_number && std::path::Path::new(target).is_file() => {
            let program = cx.program.name();
            cx.out.hint(message!("{file} is a file, but no app runs it; `{program} start {file}` starts it", file = word, program));
        }
        None if rows.is_empty() => {
            let program = cx.program.name();
            let saved = cx.home().ok().map(std::path::Path::to_owned).and_then(|home| left_behind::saved_hint(&home, program));
            cx.out.hint(match saved {
                Some(saved) => message!("no app is in the list; {saved}", saved),
                None => message!("no app is in the list; `{program} start <app>` starts one", program),
            });
        }
        None => {
            let program = cx.program.name();
            cx.out.hint(message!("`{program} list` shows the apps", program));
        }
    }
}

/// Prints a failure, in PM2's words.
fn print_failure(cx: &mut Cx, failure: &Failure) {
    match failure {
        Failure::NotFound { target } if !target.is_empty() && target.bytes().all(|b| b.is_ascii_digit()) => {
            cx.out.error(format_args!("Process {target} not found"));
        }
        Failure::NotFound { target } => cx.out.error(format_args!("Process or Namespace {target} not found")),
        Failure::Empty => cx.out.warn_err("No process found"),
        Failure::AlreadyLaunched => cx.out.error("Script already launched, add -f option to force re-execution"),
        Failure::NothingSaved => cx.out.error("No processes saved; DUMP file doesn't exist"),
        Failure::NothingToDo => cx.out.error("Nothing to do"),
        Failure::Rollout(reports) => {
            cx.out.error(failure);
            let paint = cx.out.paint_err();
            for line in reports.iter().filter_map(|report| report.fault.as_ref()).flat_map(|fault| &fault.last_lines) {
                cx.out.err_line(format_args!("    {} {}", paint.with(crate::render::styles::GREY, '│'), crate::text::shown(line)));
            }
        }
        Failure::NothingToSave | Failure::Some { .. } | Failure::Protocol { .. } | Failure::ReadOnly | Failure::Other(_) => {
            cx.out.error(failure)
        }
    }
}

/// Returns the verb of a reading command, for the sentence "nothing to …".
fn verb(command: &str) -> &str {
    match command {
        "logs" | "env" | "why" | "pid" | "id" => "show",
        "ping" => "ping",
        _ => "list",
    }
}
