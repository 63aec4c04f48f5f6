//! Environment: the layers of an app's variables.

use std::path::Path;
use std::sync::Arc;

use ostler_core::app::inherit::{EnvPolicy, OF_ONE_PROCESS};
use ostler_core::app::{AppSpec, EnvMap};
use ostler_core::home::trust::Caller;
use ostler_core::message;
use serde_json::Value;

use super::env_file::{self, Syntax};
use super::expand::{Variables, is_name};
use super::run::texts;
use super::{AppContext, Overlay};
use crate::check::RawApp;
use crate::context::Context;
use crate::fault::{Fault, below};
use crate::problem::{Problem, ProblemKind};

/// Value of `--env`: a profile, or variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvOption {
    /// `--env production`.
    Profile(String),
    /// `--env A=1,B=2`. PM2 differs: it treats this as the name of a profile and sets nothing.
    Vars(EnvMap),
}

impl EnvOption {
    /// Reads the value of `--env`. A comma belongs to the value unless `NAME=` follows it
    /// (`A=1,2,B=3` is A = `1,2` and B = `3`).
    pub fn parse(text: &str) -> Self {
        if !text.contains('=') {
            return Self::Profile(text.to_owned());
        }
        let mut vars = EnvMap::new();
        for part in text.split(',') {
            match part.split_once('=') {
                Some((name, value)) if is_name(name.trim()) => drop(vars.insert(name.trim().to_owned(), value.to_owned())),
                _ => {
                    if let Some((_, last)) = vars.last_mut() {
                        last.push(',');
                        last.push_str(part);
                    }
                }
            }
        }
        Self::Vars(vars)
    }
}

pub(super) fn build(spec: &mut AppSpec, raw: &RawApp, base: &AppContext<'_>, overlay: &Overlay, problems: &mut Vec<Problem>) {
    let text = |key: &str| raw.attributes.get(key).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    let env = &mut spec.env;
    env.undefined = undefined(raw, overlay);
    env.base = inherited(raw, &base.context.env, &spec.cwd, &env.undefined);
    env.file = files(raw, base, problems);
    env.vars = raw.env.clone();
    env.profiles = raw.profiles.clone();
    env.bare = raw.bare_variables();
    env.instance_var = text("instance_var");
    env.increment_var = text("increment_var");
    if let Some(port) = raw.attributes.get("port") {
        env.vars.insert("PORT".into(), crate::values::text_of(port));
    }
    if let Some(profile) = &overlay.profile {
        let deploy = raw.deploy_env.get(profile);
        for (name, value) in deploy.into_iter().flatten() {
            env.vars.entry(name.clone()).or_insert_with(|| value.clone());
        }
        if env.profiles.contains_key(profile) {
            env.profile = Some(profile.clone());
            let hidden = raw.undefined.get(&format!("env_{profile}"));
            hidden.into_iter().flatten().for_each(|name| _ = env.vars.shift_remove(name));
        } else if deploy.is_none() {
            let message = message!("Environment [{profile}] is not defined in process file", profile);
            let problem = Problem { key: raw.path().to_owned(), ..raw.problem(ProblemKind::UnknownProfile, "env", message) };
            problems.push(problem.as_warning());
        }
    }
    expand(spec, raw, &base.context.env, problems);
    set_overrides(spec, &overlay.vars);
}

/// Returns the variables that `env` or the chosen profile leaves `undefined`, for example through
/// `process.env.TOKEN` without that variable.
fn undefined(raw: &RawApp, overlay: &Overlay) -> Vec<String> {
    let profile = overlay.profile.as_ref();
    let of_env = raw.undefined.get("env").into_iter().flatten();
    let of_profile = profile.and_then(|name| raw.undefined.get(&format!("env_{name}"))).into_iter().flatten();
    of_env.chain(of_profile).filter(|name| !overlay.vars.contains_key(*name)).cloned().collect()
}

/// Resolves references in the values of files (`env_expand`). A profile that is not chosen stays
/// unchanged if it cannot be resolved.
fn expand(spec: &mut AppSpec, raw: &RawApp, caller: &EnvMap, problems: &mut Vec<Problem>) {
    let env = &mut spec.env;
    match raw.attributes.get("env_expand") {
        Some(Value::Bool(true)) => {}
        Some(_) => return,
        None => {
            let chosen = env.profile.as_ref().and_then(|name| env.profiles.get(name));
            let text = |(name, value): (&String, &String)| super::expand::has_reference(value).then(|| name.clone());
            if let Some(name) = [&env.file, &env.vars].into_iter().chain(chosen).flat_map(|layer| layer.iter()).find_map(text) {
                let message =
                    message!("the reference in {name} is not resolved; `env_expand: true` resolves it, `false` hides this message", name);
                problems.push(raw.problem(ProblemKind::Value, "env", Fault::from(message).below(name.as_str())).as_warning());
            }
            return;
        }
    }
    let resolved = {
        let mut variables = Variables::new(vec![caller, &env.file, &env.vars]);
        variables.layer(1).and_then(|file| Ok((file, variables.layer(2)?)))
    };
    let mut warn = |name: &str, message: String| {
        problems.push(raw.problem(ProblemKind::Value, "env", Fault::from(format!("{name}: {message}")).below(name)));
    };
    match resolved {
        Ok((file, vars)) => (env.file, env.vars) = (file, vars),
        Err((name, message)) => return warn(&name, message),
    }
    for (name, vars) in &mut env.profiles {
        match Variables::new(vec![caller, &env.file, &env.vars, vars]).layer(3) {
            Ok(resolved) => *vars = resolved,
            Err((variable, message)) if env.profile.as_ref() == Some(name) => warn(&variable, message),
            Err(_) => {}
        }
    }
}

/// Attributes in which references are also resolved. `script` is excluded, because the shell
/// expands a command line.
const EXPANDED: &[&str] = &["args", "node_args", "cwd", "env_file", "out_file", "error_file", "log_file", "pid_file"];

/// Resolves references in attributes to `env`, the chosen profile and the caller's variables
/// (`env_expand`).
pub(super) fn expand_attributes(raw: &mut RawApp, caller: &EnvMap, overlay: &Overlay, problems: &mut Vec<Problem>) {
    if raw.attributes.get("env_expand") != Some(&Value::Bool(true)) {
        return;
    }
    let (env, none) = (raw.env.clone(), EnvMap::new());
    let profile = overlay.profile.as_ref().and_then(|name| raw.profiles.get(name)).unwrap_or(&none).clone();
    let mut variables = Variables::new(vec![caller, &env, &profile]);
    for key in EXPANDED {
        let Some(mut value) = raw.attributes.get(*key).cloned() else { continue };
        let texts = match &mut value {
            Value::Array(list) => list.iter_mut().collect(),
            other => vec![other],
        };
        // A table of `env_file`.
        for text in texts.into_iter().filter_map(|text| if text.is_object() { text.get_mut("path") } else { Some(text) }) {
            let Value::String(text) = text else { continue };
            match variables.text(text) {
                Ok(resolved) => *text = resolved,
                Err(message) => problems.push(raw.problem(ProblemKind::Value, key, message)),
            }
        }
        raw.attributes.insert((*key).to_owned(), value);
    }
}

/// Sets the variables of the command line, which take precedence over every layer.
pub(super) fn set_overrides(spec: &mut AppSpec, vars: &EnvMap) {
    let env = &mut spec.env;
    let chosen = env.profile.as_ref().and_then(|name| env.profiles.get_mut(name));
    for layer in std::iter::once(&mut env.vars).chain(chosen) {
        layer.extend(vars.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
}

/// Turns off Python's output buffer, so that its lines are in the log immediately.
pub(super) fn for_interpreter(spec: &mut AppSpec) {
    const NAME: &str = "PYTHONUNBUFFERED";
    let python = spec.interpreter.as_deref().is_some_and(|name| name.contains("python"));
    if python && !spec.env.merged().contains_key(NAME) {
        spec.env.vars.insert(NAME.into(), "1".into());
    }
}

/// Decides which part of the caller's environment the app gets, once the user that it runs as is
/// known. PM2 differs: an app with a `uid` gets all of root's environment; under PM2's name ostler
/// does the same.
pub(super) fn finish_policy(spec: &mut AppSpec, context: &Context) {
    let given = spec.given.open().get("env_policy").and_then(Value::as_str).and_then(EnvPolicy::named);
    let usual = || if spec.uid.is_some() && !context.as_pm2 { EnvPolicy::User } else { EnvPolicy::Inherit };
    spec.env.policy = given.unwrap_or_else(usual);
}

/// Returns the part of the caller's environment that the app gets. It is usually all of it, and
/// then all apps share it.
pub(super) fn inherited(raw: &RawApp, caller: &Arc<EnvMap>, cwd: &str, undefined: &[String]) -> Arc<EnvMap> {
    let folder = changed_cwd(raw, caller, cwd);
    let clean = raw.attributes.get("env_policy").and_then(Value::as_str) == Some("clean");
    let filter = raw.attributes.get("filter_env").map(texts).unwrap_or_default();
    let hides_any = undefined.iter().any(|name| caller.contains_key(name));
    if !clean && filter.is_empty() && folder.is_none() && !hides_any && !OF_ONE_PROCESS.iter().any(|name| caller.contains_key(*name)) {
        return Arc::clone(caller);
    }
    // PM2: one text is the whole name of a variable; a list contains parts of names.
    let exact = raw.as_written("filter_env").is_some_and(Value::is_string);
    let drops = |word: &str, name: &str| if exact { name == word } else { !word.is_empty() && name.contains(word) };
    let keep = |name: &str| {
        !OF_ONE_PROCESS.contains(&name)
            && !undefined.iter().any(|hidden| hidden == name)
            && (!clean || EnvPolicy::Clean.keeps(name, false))
            && !filter.iter().any(|word| drops(word, name))
    };
    let mut kept: EnvMap = caller.iter().filter(|(name, _)| keep(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
    if let Some(folder) = folder.filter(|_| keep("PWD")) {
        kept.insert("PWD".to_owned(), folder);
    }
    Arc::new(kept)
}

/// Returns the folder of an app that does not run in its caller's folder. `PWD` must name it, as if
/// the caller had changed to it.
fn changed_cwd(raw: &RawApp, caller: &EnvMap, cwd: &str) -> Option<String> {
    let is_given = raw.attributes.get("cwd").and_then(Value::as_str).is_some_and(|cwd| !cwd.is_empty());
    (is_given && caller.get("PWD").is_none_or(|pwd| pwd != cwd)).then(|| cwd.to_owned())
}

/// Returns the variables of `env_file`; later files take precedence.
fn files(raw: &RawApp, base: &AppContext<'_>, problems: &mut Vec<Problem>) -> EnvMap {
    let mut out = EnvMap::new();
    let listed = match raw.attributes.get("env_file").map(env_file::list) {
        None => return out,
        Some(Ok(listed)) => listed,
        Some(Err(fault)) => {
            problems.push(raw.problem(ProblemKind::Value, "env_file", fault));
            return out;
        }
    };
    let is_list = raw.attributes.get("env_file").is_some_and(Value::is_array);
    for (index, given) in listed.into_iter().enumerate() {
        let here = base.context.absolute(&given.path, &base.cwd);
        let there = base.file_dir.as_deref().map(|dir| base.context.absolute(&given.path, dir));
        let file = Some(here.clone()).into_iter().chain(there).find(|file| file.is_file()).unwrap_or(here);
        if (base.context.elsewhere || !given.is_required) && !file.exists() {
            continue;
        }
        let app_user = raw.attributes.get("uid").and_then(uid_text).and_then(|uid| (base.context.user_id)(&uid));
        match read(&file, &base.context.caller, app_user, given.syntax) {
            Ok(vars) => out.extend(vars),
            Err(message) if is_list => problems.push(raw.problem(ProblemKind::Value, "env_file", below(index)(message))),
            Err(message) => problems.push(raw.problem(ProblemKind::Value, "env_file", message)),
        }
    }
    out
}

/// Returns the variables of a text in a format of `env_file`; none if the text or the format is
/// invalid.
pub fn variables_in(text: &str, format: &str) -> Option<EnvMap> {
    env_file::Syntax::named(format)?.read(text).ok()
}

/// Returns the `uid` of an app as text: a name or a number.
fn uid_text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned).or_else(|| value.as_u64().map(|uid| uid.to_string()))
}

fn read(file: &Path, caller: &Caller, app_user: Option<u32>, syntax: Syntax) -> Result<EnvMap, String> {
    let (text, _) = crate::load::read_text(file, caller, app_user).map_err(|problem| format!("{}: {}", file.display(), problem.text()))?;
    syntax.read(&text).map_err(|(line, message)| format!("{}:{line}: {message}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> EnvMap {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn env_option_is_a_profile_or_variables() {
        assert_eq!(EnvOption::parse("production"), EnvOption::Profile("production".into()));
        let expected = vars(&[("NODE_ENV", "development"), ("env1", "13"), ("env2", "32")]);
        assert_eq!(EnvOption::parse("NODE_ENV=development,env1=13,env2=32"), EnvOption::Vars(expected));
        assert_eq!(EnvOption::parse("A=1,2,B=x=y,"), EnvOption::Vars(vars(&[("A", "1,2"), ("B", "x=y,")])));
        assert_eq!(EnvOption::parse("=1"), EnvOption::Vars(EnvMap::new()));
    }
}
