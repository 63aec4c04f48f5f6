//! `import`: an ecosystem file made from the files of other programs.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use ostler_config::{Context, Origin};
use ostler_core::watch::{Glob, is_glob};
use ostler_core::{marked, message};
use ostler_export::{FileContext, ImportFormat, Imported, import, import_compose};
use ostler_sys::fs::replace::{Durability, Writers, replace};
use serde_json::{Value, json};

use super::files;
use super::project::{ComposeFiles, override_of};
use crate::cli::{Call, missing_argument};
use crate::cx::Cx;
use crate::error::{CliError, CommandError, ProjectError, Status, UsageError};
use crate::near_file::near_one_of;
use crate::render;

/// Longest file that is read; `ostler-export` also rejects longer files.
const MOST_BYTES: u64 = 8 << 20;
/// Usual file names of each kind, tried if the user names no file.
const USUAL: &[(ImportFormat, &[&str])] = &[
    (ImportFormat::Compose, &["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"]),
    (ImportFormat::Procfile, &["Procfile"]),
    (ImportFormat::Oxmgr, &["oxfile.toml"]),
    (ImportFormat::Supervisor, &["supervisord.conf", "/etc/supervisor/supervisord.conf", "/etc/supervisord.conf"]),
];

/// Writes an ecosystem file. It overwrites an existing file only with `--force`.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let word = call.target().unwrap_or_default();
    let from = ImportFormat::named(word).ok_or_else(|| {
        let known: Vec<&str> = ImportFormat::ALL.iter().map(|(word, _)| *word).collect();
        UsageError::unknown_value("import", word, &known)
    })?;
    if call.has("port") && from != ImportFormat::Procfile {
        return Err(UsageError::BadValue {
            option: "--port".into(),
            reason: message!("only a Procfile needs ports, not {format}", format = word),
        }
        .into());
    }
    let context = files::context(cx, call)?;
    let cwd = &context.cwd;
    let target = call.targets.get(1).map(String::as_str);
    let (imported, shown) = if from == ImportFormat::Compose {
        let (files, shown) = match target {
            Some("-") => (ComposeFiles::of_text(String::from_utf8_lossy(&files::stdin()?).into_owned(), &context)?, "-".to_owned()),
            Some(path) => (ComposeFiles::read(&[cwd.join(path)], &context).map_err(CliError::no_file)?, path.to_owned()),
            None => {
                let (_, shown) = usual(from, &context, word)?;
                let file = cwd.join(&shown);
                let over = override_of(&file);
                let files: Vec<_> = std::iter::once(file).chain(over).collect();
                (ComposeFiles::read(&files, &context).map_err(CliError::no_file)?, shown)
            }
        };
        (files.with(&context, import_compose), shown)
    } else {
        let (text, shown) = match target {
            Some("-") => (String::from_utf8_lossy(&files::stdin()?).into_owned(), "-".to_owned()),
            Some(path) => (read(&context, path, Origin::Named)?, path.to_owned()),
            None => usual(from, &context, word)?,
        };
        let host = rustix::system::uname().nodename().to_str().ok().map(str::to_owned);
        let path = (shown != "-").then(|| cwd.join(&shown));
        let folder = path.as_deref().and_then(Path::parent);
        let place = FileContext {
            name: shown.rsplit('/').next().unwrap_or(&shown),
            folder: folder.and_then(Path::to_str),
            host: host.as_deref(),
            port: port(call)?,
            files: &|pattern| folder.map_or_else(Vec::new, |folder| beside(&context, folder, pattern)),
        };
        (import(from, &text, &place), shown)
    };
    let imported = imported.map_err(|source| CliError::no_file(ProjectError::Import { file: shown.clone(), source }))?;
    // A file without apps would have no effect, and the user would get no message.
    if imported.apps.is_empty() {
        let text = render::not_carried(&imported.notices, cx.out.width(), cx.out.paint_err());
        cx.out.err_line(text.trim_end());
        return Err(ProjectError::NothingToImport(shown).into());
    }
    let out = call.value("out").unwrap_or("ecosystem.config.js");
    if out != "-" {
        write(&cwd.join(out), &imported.text(), call.has("force"))?;
    }
    report(cx, call, &imported, out);
    Ok(Status::Ok)
}

/// Returns the port of the first process of a Procfile.
fn port(call: &Call) -> Result<Option<u16>, UsageError> {
    let bad = |text: &str| UsageError::BadValue {
        option: "--port".into(),
        reason: message!("expected a port, found {text}", text = format!("{text:?}")),
    };
    call.value("port").map(|text| text.parse().map_err(|_| bad(text))).transpose()
}

/// Reads the files that a pattern matches, relative to this folder. Files that cannot be read are
/// left out.
fn beside(context: &Context, folder: &Path, pattern: &str) -> Vec<(String, String)> {
    matches(folder, pattern)
        .into_iter()
        .filter_map(|path| {
            let shown = path.to_str()?.to_owned();
            let text = read(context, &shown, Origin::Named).ok()?;
            Some((shown, text))
        })
        .collect()
}

/// Returns the paths that a pattern matches, in the order of their names.
fn matches(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![if pattern.starts_with('/') { PathBuf::from("/") } else { folder.to_owned() }];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let Ok(glob) = Glob::below("", part) else { return Vec::new() };
        let is_glob = is_glob(part);
        let mut next = Vec::new();
        for path in found {
            if !is_glob {
                next.push(path.join(part));
                continue;
            }
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
            names.retain(|name| !name.starts_with('.') && glob.matches(name.as_bytes()));
            names.sort();
            next.extend(names.iter().map(|name| path.join(name)));
        }
        found = next;
    }
    found.retain(|path| path.is_file());
    found
}

fn usual(from: ImportFormat, context: &Context, word: &str) -> Result<(String, String), CliError> {
    let names: &[&str] = USUAL.iter().find(|(own, _)| *own == from).map_or(&[], |(_, names)| names);
    match names.iter().find(|name| context.cwd.join(name).is_file()) {
        Some(name) => Ok((read(context, name, Origin::CurrentFolder)?, (*name).to_owned())),
        None if names.is_empty() => Err(missing_argument("file".into(), "import").into()),
        None => Err(CliError::Unknown {
            text: message!(
                "there is no {files} in {folder}; no file was written",
                files = names.join(", "),
                folder = context.cwd.display()
            ),
            hint: near_one_of(&context.cwd, names).unwrap_or_else(|| message!("name the file: `import {format} <file>`", format = word)),
        }),
    }
}

fn read(context: &Context, shown: &str, origin: Origin) -> Result<String, CliError> {
    let failed = |source| CliError::File { what: "read", path: shown.to_owned(), source };
    let mut bytes = Vec::new();
    let path = Path::new(shown);
    let opened = context.open(path, origin).map_err(|source| CliError::Opened { file: shown.to_owned(), source: source.into() });
    let (file, _) = opened.map_err(CliError::no_file)?;
    file.take(MOST_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    String::from_utf8(bytes).map_err(|_| CliError::NotUtf8(shown.to_owned()))
}

fn write(path: &Path, text: &str, force: bool) -> Result<(), CliError> {
    let failed = |source: std::io::Error| CliError::File { what: marked!("write"), path: path.display().to_string(), source };
    if force {
        return replace(path, text.as_bytes(), Durability::Process, Writers::Many).map_err(|error| failed(error.source));
    }
    let made = fs::OpenOptions::new().write(true).create_new(true).open(path);
    match made.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes())) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(CommandError::Exists { path: path.to_owned(), instead: marked!("add -f to overwrite it, or --out to name another") }.into())
        }
        other => other.map_err(failed),
    }
}

fn report(cx: &mut Cx, call: &Call, imported: &Imported, out: &str) {
    if call.has("json") {
        let left_out: Vec<Value> = imported
            .notices
            .iter()
            .map(|left_out| json!({ "app": left_out.app, "attribute": left_out.key, "reason": left_out.why }))
            .collect();
        render::json(&mut cx.out, &json!({ "file": out, "apps": imported.apps, "not_carried": left_out }));
        return;
    }
    if out == "-" {
        cx.out.data(imported.text().as_bytes());
    } else {
        let count = imported.apps.len();
        cx.out.line(match count {
            1 => message!("File {file} written: 1 app", file = out),
            _ => message!("File {file} written: {count} apps", file = out, count),
        });
    }
    if !imported.notices.is_empty() {
        let text = render::not_carried(&imported.notices, cx.out.width(), cx.out.paint_err());
        cx.out.err_line(text.trim_end());
    }
}
