//! Interpreter of a script.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ostler_core::app::AppSpec;
use ostler_core::message;
use serde_json::Value;

use super::AppContext;
use crate::check::RawApp;
use crate::context::{find_program, is_executable};
use crate::keys::did_you_mean;
use crate::problem::{Problem, ProblemKind};

/// Chooses the interpreter and checks that it exists.
pub(super) fn choose(spec: &mut AppSpec, raw: &RawApp, base: &AppContext<'_>, path: Option<&str>, file: &Path) -> Result<(), Problem> {
    let missing = |message: String| raw.problem(ProblemKind::InterpreterNotFound, "exec_interpreter", message);
    let choice = match raw.attributes.get("exec_interpreter").and_then(Value::as_str).filter(|name| !name.is_empty()) {
        Some("none") => InterpreterChoice::none(),
        Some(given) => match given.strip_prefix("node@") {
            Some(_) if base.context.elsewhere => InterpreterChoice::program("node"),
            Some(version) => InterpreterChoice::program(nvm_node(version, base).map_err(missing)?),
            None => InterpreterChoice::program(given.to_owned()),
        },
        None => match for_file(file, path) {
            Err(_) if base.context.elsewhere => InterpreterChoice::program("node"),
            choice => choice.map_err(missing)?,
        },
    };
    if let Some(name) = &choice.program {
        spec.interpreter = Some(available(name, base, path).map_err(missing)?);
        spec.interpreter_args = choice.args.into_iter().chain(std::mem::take(&mut spec.interpreter_args)).collect();
    } else {
        spec.interpreter = None;
    }
    Ok(())
}

struct InterpreterChoice {
    program: Option<String>,
    /// Arguments that the program needs to run this file, before the user's own.
    args: Vec<String>,
}

impl InterpreterChoice {
    fn none() -> Self {
        Self { program: None, args: Vec::new() }
    }

    fn program(name: impl Into<String>) -> Self {
        Self { program: Some(name.into()), args: Vec::new() }
    }
}

/// Returns the interpreter of this name (unchanged) or path (made absolute); it must exist.
fn available(name: &str, base: &AppContext<'_>, path: Option<&str>) -> Result<String, String> {
    if base.context.elsewhere {
        return Ok(if name.contains('/') { base.path(name) } else { name.to_owned() });
    }
    let absent = || absent(name, base.context.as_pm2, path);
    if name.contains('/') {
        // It is searched like a script: in the app's folder, then in that of the config file.
        let in_folder = |folder: &Path| Some(base.context.absolute(name, folder)).filter(|file| is_executable(file));
        let file = in_folder(&base.cwd).or_else(|| in_folder(base.file_dir.as_deref()?)).ok_or_else(absent)?;
        return Ok(file.to_string_lossy().into_owned());
    }
    find_program(name, path).map(|_| name.to_owned()).ok_or_else(absent)
}

/// Interpreters that are suggested if they exist.
const USUAL: &[&str] = &["node", "bun", "deno", "python3", "python", "ruby", "php", "perl", "bash", "sh", "java", "tsx", "ts-node"];

/// Returns the message about a missing interpreter; as `pm2` in PM2's words.
fn absent(name: &str, as_pm2: bool, path: Option<&str>) -> String {
    if as_pm2 {
        return format!("Interpreter {name} is NOT AVAILABLE in PATH. (type 'which {name}' to double check.)");
    }
    let usual = USUAL.iter().copied().filter(|usual| find_program(usual, path).is_some()).chain(["none"]);
    let near = did_you_mean(name, usual).map(|question| message!(", {question}", question)).unwrap_or_default();
    if name.contains('/') {
        message!("the interpreter {name} does not exist, or is not executable{near}", name, near)
    } else {
        message!("the interpreter {name} is not in PATH{near}", name, near)
    }
}

fn for_file(file: &Path, path: Option<&str>) -> Result<InterpreterChoice, String> {
    let first = |names: [&str; 2]| {
        let found = names.into_iter().find(|name| find_program(name, path).is_some());
        InterpreterChoice::program(found.unwrap_or(names[0]))
    };
    let extension = file.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    if file.is_dir() {
        return Ok(InterpreterChoice::program("node"));
    }
    Ok(match extension.as_str() {
        "js" | "mjs" | "cjs" => InterpreterChoice::program("node"),
        "ts" | "tsx" | "mts" | "cts" => return typescript(&extension, path),
        "py" => first(["python", "python3"]),
        "sh" => first(["bash", "sh"]),
        "rb" => InterpreterChoice::program("ruby"),
        "php" => InterpreterChoice::program("php"),
        "pl" => InterpreterChoice::program("perl"),
        "coffee" => InterpreterChoice::program("coffee"),
        "ls" => InterpreterChoice::program("lsc"),
        _ => by_content(file),
    })
}

/// Returns the interpreter of TypeScript: bun, or else a Node that strips types, or else deno.
fn typescript(extension: &str, path: Option<&str>) -> Result<InterpreterChoice, String> {
    if find_program("bun", path).is_some() {
        return Ok(InterpreterChoice::program("bun"));
    }
    if extension != "tsx"
        && let Some(version) = find_program("node", path).and_then(|node| node_version(&node))
    {
        // Without a flag from 22.18 and 23.6 on.
        if version >= (23, 6) || version.0 == 22 && version.1 >= 18 {
            return Ok(InterpreterChoice::program("node"));
        }
        if version >= (22, 6) {
            return Ok(InterpreterChoice { program: Some("node".into()), args: vec!["--experimental-strip-types".into()] });
        }
    }
    if find_program("deno", path).is_some() {
        return Ok(InterpreterChoice { program: Some("deno".into()), args: vec!["run".into(), "--allow-all".into()] });
    }
    Err(message!("TypeScript apps require bun, Node.js >= 22.6 or deno in PATH"))
}

/// Returns the major and minor version of a Node.
fn node_version(node: &Path) -> Option<(u32, u32)> {
    let output = Command::new(node).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut parts = text.trim().strip_prefix('v')?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Returns the interpreter of a file without a known extension, by its first line or its bytes. PM2
/// differs: it never reads the `#!` line and runs every text in Node.
fn by_content(file: &Path) -> InterpreterChoice {
    let mut head = Vec::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(512).read_to_end(&mut head));
    if read.is_err() || is_binary(&head) {
        return InterpreterChoice::none();
    }
    match shebang(&head) {
        Some((program, args)) => InterpreterChoice { program: Some(program), args },
        None if head.starts_with(b"#!") => InterpreterChoice::none(),
        None => InterpreterChoice::program("node"),
    }
}

fn is_binary(head: &[u8]) -> bool {
    let control = head.iter().filter(|byte| matches!(byte, 0..=6 | 14..=26 | 28..=31)).count();
    head.contains(&0) || control * 10 > head.len()
}

/// Returns the program and arguments of a `#!` line. With `env`, the program is a name on `PATH`.
/// For a more complex form of `env`, it returns none, and the kernel runs the file.
fn shebang(head: &[u8]) -> Option<(String, Vec<String>)> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?.trim();
    let (program, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let rest = rest.trim();
    if !program.starts_with('/') {
        return None;
    }
    if Path::new(program).file_name()? != "env" {
        // The kernel passes everything after the program as one argument.
        return Some((program.to_owned(), Some(rest).filter(|rest| !rest.is_empty()).map(str::to_owned).into_iter().collect()));
    }
    let words = rest.strip_prefix("-S").unwrap_or(rest);
    let mut words = words.split_whitespace();
    let name = words.next()?;
    let plain = !name.starts_with('-') && !name.contains('=') && !rest.contains(['"', '\'', '\\', '$']);
    plain.then(|| (name.to_owned(), words.map(str::to_owned).collect()))
}

/// Returns the path of a Node that nvm installed: `node@20`, `node@20.11.1`. PM2 differs: ostler
/// installs nothing at start.
fn nvm_node(version: &str, base: &AppContext<'_>) -> Result<String, String> {
    let wanted = version.trim_start_matches('v');
    let dir = match base.context.env.get("NVM_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => base.context.user_home.join(".nvm"),
    };
    let versions = dir.join("versions/node");
    let matches = |name: &str| name == wanted || name.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('.'));
    let best = std::fs::read_dir(&versions)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_prefix('v').map(str::to_owned))
        .filter(|name| !wanted.is_empty() && matches(name))
        .max_by_key(|name| name.split('.').map(|part| part.parse::<u32>().unwrap_or(0)).collect::<Vec<_>>());
    let node = best.map(|name| versions.join(format!("v{name}/bin/node"))).filter(|node| is_executable(node));
    node.map(|node| node.to_string_lossy().into_owned()).ok_or_else(|| {
        message!("node@{version} is not installed in {path} (install it with: nvm install {version})", version, path = versions.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shebang_yields_program_and_arguments() {
        type Expected<'a> = Option<(&'a str, &'a [&'a str])>;
        let cases: [(&str, Expected<'_>); 9] = [
            ("#!/bin/sh\n", Some(("/bin/sh", &[]))),
            ("#! /bin/sh -e\nx", Some(("/bin/sh", &["-e"]))),
            ("#!/usr/bin/perl -w -T\n", Some(("/usr/bin/perl", &["-w -T"]))),
            ("#!/usr/bin/env node\n", Some(("node", &[]))),
            ("#!/usr/bin/env -S python3 -u\n", Some(("python3", &["-u"]))),
            ("#!/usr/bin/env -i sh\n", None),
            ("#!/usr/bin/env A=1 sh\n", None),
            ("#!node\n", None),
            ("echo\n", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|(program, args)| (program.to_owned(), args.iter().map(|arg| (*arg).to_owned()).collect()));
            assert_eq!(shebang(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn binaries_are_distinguished_from_texts() {
        assert!(is_binary(b"\x7fELF\x02\x01\x01\0\0"));
        assert!(!is_binary("console.log('ä')\n".as_bytes()));
        assert!(!is_binary(b""));
    }
}
