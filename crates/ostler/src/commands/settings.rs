//! `set`, `get`, `unset`, `multiset`, `config`, `conf`: settings of the home, of modules and of
//! apps.

use std::collections::BTreeSet;
use std::path::Path;

use ostler_core::app::args;
use ostler_core::logs::rotate::settings::{MODULE as PM2_LOGROTATE, SECTION as LOG_ROTATE};
use ostler_core::message;
use ostler_core::text::suggest::did_you_mean;
use ostler_proto::control::Action;
use serde_json::{Map, Value};

use super::request::request;
use crate::cli::{Call, missing_argument};
use crate::cx::Cx;
use crate::error::{CliError, CommandError, Status, UsageError};
use crate::module_conf::{self, parts, shown};
use crate::render::{Wording, json};

/// Runs `set [key] [value]`.
pub(crate) fn set(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    match call.targets.as_slice() {
        [] => edit(cx, call),
        [key] => Err(missing_value(key)),
        // PM2 takes the first word and drops the others.
        [key, value, rest @ ..] if rest.is_empty() || cx.program.is_pm2() => store(cx, call, &[(key.clone(), value.clone())]),
        [key, words @ ..] => {
            let whole = quoted(&words.join(" "));
            let reason = message!(
                "expected one value, found {count} words: write `{program} set {key} {whole}`",
                count = words.len(),
                program = cx.program.name(),
                key,
                whole
            );
            Err(UsageError::BadValue { option: "set".into(), reason }.into())
        }
    }
}

/// Runs `config <key> [value]`.
pub(crate) fn config(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    if call.targets.len() > 1 { set(cx, call) } else { get(cx, call) }
}

/// Runs `multiset "key value key value"`.
pub(crate) fn multiset(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let words = args::split(&call.targets.join(" "));
    let (pairs, rest) = words.as_chunks::<2>();
    if let [key] = rest {
        return Err(missing_value(key));
    }
    let pairs: Vec<(String, String)> = pairs.iter().map(|[key, value]| (key.clone(), value.clone())).collect();
    store(cx, call, &pairs)
}

/// Runs `get [key]`.
pub(crate) fn get(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let all = all(cx)?;
    let Some(key) = call.target().filter(|key| *key != "all") else { return list(cx, call, &all) };
    let parts = parts(key)?;
    let Some(value) = module_conf::get(&all, &parts) else {
        // As in PM2, for scripts: stdout stays empty.
        cx.out.err_line(message!("no setting {key}", key));
        if let Some(question) = did_you_mean(key, all_keys(&all).iter().map(String::as_str)) {
            cx.out.hint(question);
        }
        return Ok(Status::Failed);
    };
    if call.has("json") {
        json(&mut cx.out, value);
    } else if let [module, rest @ ..] = parts.as_slice()
        && !rest.is_empty()
    {
        cx.out.line(message!("Value for module {module} key {key}: {value}", module, key = rest.join("."), value = shown(value)));
    } else if let Value::Object(section) = value {
        show_section(cx, key, section);
        cx.out.line(message!("Modules configuration. Copy/Paste line to edit values."));
    } else {
        cx.out.line(message!("Value for module {key}: {value}", key, value = shown(value)));
    }
    Ok(Status::Ok)
}

/// Runs `conf`.
pub(crate) fn conf(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let all = all(cx)?;
    list(cx, call, &all)
}

/// Runs `unset <key>`.
pub(crate) fn unset(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let key = call.target().unwrap_or_default().to_owned();
    let wanted = if key == "all" { None } else { Some(parts(&key)?) };
    let path = module_conf::writable(cx)?;
    let was_there = module_conf::change(&path, |all| {
        Ok(match &wanted {
            None => {
                all.clear();
                true
            }
            Some(parts) => module_conf::unset(all, parts),
        })
    })?;
    // As in PM2: if scripts call `pm2`, unsetting a missing key is no error.
    if !was_there && !cx.program.is_pm2() {
        let (known, program) = (all_keys(&module_conf::read(&path)?), cx.program.name());
        let text = message!("no setting {key}; nothing was changed", key);
        return Err(CliError::unknown(
            text,
            &key,
            known.iter().map(String::as_str),
            message!("`{program} conf` lists the settings", program),
        ));
    }
    module_conf::notify_daemon(cx)?;
    // As in PM2, which prints this message only for `set`.
    if !cx.program.is_pm2() {
        cx.out.info(message!("Setting changed"));
    }
    conf(cx, call)
}

/// Returns the keys of all settings, as a user types them.
fn all_keys(all: &Map<String, Value>) -> Vec<String> {
    let settings = all.iter().filter(|(name, _)| !module_conf::INTERNAL.contains(&name.as_str()));
    let keys = |(name, value): (&String, &Value)| match value {
        Value::Object(section) => section.keys().map(|key| format!("{name}:{key}")).chain([name.clone()]).collect(),
        _ => vec![name.clone()],
    };
    settings.flat_map(keys).collect()
}

fn missing_value(key: &str) -> CliError {
    missing_argument(message!("value of {key}", key), "set").into()
}

fn all(cx: &mut Cx) -> Result<Map<String, Value>, CliError> {
    let path = module_conf::path(cx)?;
    module_conf::read(&path)
}

/// Stores all pairs or none of them.
fn store(cx: &mut Cx, call: &Call, pairs: &[(String, String)]) -> Result<Status, CliError> {
    let as_pm2 = cx.program.is_pm2();
    let refused = |error: CliError| if as_pm2 { error } else { CliError::unchanged(error) };
    let pairs: Vec<(Vec<String>, &String)> =
        pairs.iter().map(|(key, value)| Ok((parts(key)?, value))).collect::<Result<_, CliError>>().map_err(refused)?;
    let path = module_conf::writable(cx)?;
    module_conf::change(&path, |all| pairs.iter().try_for_each(|(parts, value)| module_conf::set(all, parts, value))).map_err(refused)?;
    warn_of_unknown(cx, &path, &pairs)?;
    module_conf::notify_daemon(cx)?;
    let mut sections: Vec<&String> = pairs.iter().filter(|(parts, _)| parts.len() > 1).filter_map(|(parts, _)| parts.first()).collect();
    sections.dedup();
    for section in sections {
        restart(cx, call, section)?;
    }
    // As in PM2, which prints this message only for settings of modules.
    let is_said = !cx.program.is_pm2() || pairs.iter().any(|(parts, _)| parts.len() > 1);
    if is_said && !call.has("json") {
        cx.out.info(message!("Setting changed"));
    }
    conf(cx, call)
}

/// Warns of sections that are neither ostler's nor those of a module or an app, but have a similar
/// name. The setting is stored, because the module may be installed later.
fn warn_of_unknown(cx: &mut Cx, path: &Path, pairs: &[(Vec<String>, &String)]) -> Result<(), CliError> {
    if cx.program.is_pm2() {
        return Ok(());
    }
    let settings = module_conf::read(path)?;
    let rows = cx.running_client().ok().flatten().and_then(|client| client.table().ok()).unwrap_or_default();
    let modules = module_conf::INTERNAL.iter().filter_map(|list| settings.get(*list)?.as_object()).flat_map(Map::keys);
    let known: BTreeSet<&str> = [LOG_ROTATE, PM2_LOGROTATE]
        .into_iter()
        .chain(modules.map(String::as_str))
        .chain(rows.iter().map(|row| row.name.as_str()))
        .collect();
    for section in pairs.iter().filter(|(parts, _)| parts.len() > 1).filter_map(|(parts, _)| parts.first()) {
        if !known.contains(section.as_str())
            && let Some(question) = did_you_mean(section, known.iter().copied())
        {
            cx.out.warn_err(message!(
                "no module and no app is named {name}: the setting was stored; {question}",
                name = crate::text::shown(section),
                question
            ));
        }
    }
    Ok(())
}

/// Restarts an app with that name: it gets its settings as variables.
fn restart(cx: &mut Cx, call: &Call, name: &str) -> Result<(), CliError> {
    let Some(client) = cx.running_client()? else { return Ok(()) };
    let mut names: Vec<String> =
        client.table()?.into_iter().filter(|row| row.name == name || module_conf::is_of(row, name)).map(|row| row.name).collect();
    names.dedup();
    if names.is_empty() {
        return Ok(());
    }
    cx.perform(&request(cx, Action::Restart, call, names, None)?, Wording::Names)?;
    if !call.has("json") {
        cx.out.info(message!("Module {name} restarted", name));
    }
    Ok(())
}

fn list(cx: &mut Cx, call: &Call, all: &Map<String, Value>) -> Result<Status, CliError> {
    if call.has("json") {
        json(&mut cx.out, all);
        return Ok(Status::Ok);
    }
    for (name, section) in module_conf::sections(all) {
        show_section(cx, name, section);
    }
    Ok(Status::Ok)
}

fn show_section(cx: &mut Cx, name: &str, section: &Map<String, Value>) {
    let program = cx.program.name();
    cx.out.line(message!("Module: {name}", name));
    for (key, value) in section {
        let value = shown(value);
        // PM2 prints the value as it is.
        let value = if cx.program.is_pm2() { value } else { quoted(&value) };
        cx.out.line(format_args!("$ {program} set {name}:{key} {value}"));
    }
}

/// Returns a word that a shell reads as this text.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "_-+=:,./@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Opens the file in an editor; afterwards the content must be valid.
fn edit(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    use std::io::IsTerminal as _;
    // Without a terminal, an editor would never exit.
    if !std::io::stdin().is_terminal() {
        return Err(missing_argument("key".into(), "set").into());
    }
    let path = module_conf::writable(cx)?;
    let editor = ["VISUAL", "EDITOR"].iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.trim().is_empty()));
    let words = args::split(editor.as_deref().unwrap_or("vi"));
    let Some((program, arguments)) = words.split_first() else { return Err(CommandError::NoEditor.into()) };
    module_conf::change(&path, |_| Ok(()))?;
    cx.out.flush();
    let status = std::process::Command::new(program)
        .args(arguments)
        .arg(&path)
        .status()
        .map_err(CliError::system(message!("start the editor {program} ($VISUAL, $EDITOR)", program = format!("{program:?}"))))?;
    if !status.success() {
        return Err(CommandError::Editor { program: program.clone(), status }.into());
    }
    module_conf::read(&path)?;
    module_conf::notify_daemon(cx)?;
    conf(cx, call)
}
