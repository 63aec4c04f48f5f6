//! `export`: files for other engines. `ostler-export` decides their content; this module reads the
//! folders and writes the files.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use ostler_config::{Overlay, Problems, finish_order, normalize, select, variables_in};
use ostler_core::app::AppSpec;
use ostler_core::text::language::translated;
use ostler_core::{marked, message};
use ostler_export::{EnvFile, Exported, File, FileAction, Folder, ManifestForm, Options, Package, Project, Target, decide, export};
use ostler_sys::fs::replace::{Durability, Writers, replace};
use serde_json::{Value, json};

use super::change::EnvChoice;
use super::files::{self, Source};
use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status, UsageError};
use crate::render;

/// Longest file of a folder that is read for facts, and longest file that ostler could have
/// written.
const MOST_BYTES: u64 = 4 << 20;
/// Most names of a folder that are read.
const MOST_NAMES: usize = 10_000;
/// Mode of written files: the user of an image has to read them, and they contain no secret.
const MODE: u32 = 0o644;

/// Writes the files of a target, or reports what would be written.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let word = call.target().unwrap_or_default();
    let target = Target::named(word).ok_or_else(|| {
        let known: Vec<&str> = Target::ALL.iter().map(|(word, _)| *word).collect();
        UsageError::unknown_value("export", word, &known)
    })?;
    let mut context = files::context(cx, call)?;
    context.elsewhere = true;
    if target != Target::Systemd {
        // The facts of this machine may differ from those of the machine on which the apps will
        // run. The result must be the same on each machine.
        let mut env = (*context.env).clone();
        env.insert("PATH".into(), String::new());
        context.env = env.into();
    }
    context.lowest_nice = -20;
    let source = match call.targets.get(1) {
        Some(target) => Source::of(target, &context).unwrap_or_else(|| Source::File(context.cwd.join(target), target.clone())),
        None => Source::required(cx, &context)?,
    };
    let dir = folder_of(&source, &context)?;
    // Relative paths in the file start at its folder, wherever the command is called from.
    context.cwd.clone_from(&dir);
    let apps = apps(cx, call, &source, context)?;
    let out = match call.value("out") {
        Some(out) => tidy(&PathBuf::from(crate::cx::cwd()?).join(out)),
        None => dir.clone(),
    };
    let project = project(&dir, apps)?;
    let options = options(call, &out, &dir)?;
    let exported = export(&project, target, &options)?;
    let steps = exported.files.iter().map(|file| Ok((file, step(&out, file)?))).collect::<Result<Vec<_>, CliError>>()?;
    let is_check = call.has("check");
    if !is_check {
        write(&out, &steps)?;
    }
    report(cx, call, &out, &exported, &steps);
    let is_old = steps.iter().any(|(_, step)| matches!(step, FileAction::Create | FileAction::Replace | FileAction::Conflict));
    let has_conflict = steps.iter().any(|(_, step)| *step == FileAction::Conflict);
    Ok(match (is_check, has_conflict, is_old) {
        (true, _, true) | (false, true, _) => Status::Failed,
        (true, _, false) if !exported.notices.is_empty() => Status::Incomplete,
        _ => Status::Ok,
    })
}

/// Returns the folder of the file, which is the build context of images.
fn folder_of(source: &Source, context: &ostler_config::Context) -> Result<PathBuf, CliError> {
    let dir = match source {
        Source::Stdin => context.cwd.clone(),
        Source::File(path, _) => tidy(&context.cwd.join(path)).parent().map(Path::to_owned).unwrap_or_else(|| context.cwd.clone()),
    };
    if dir.to_str().is_none() {
        return Err(CliError::NotUtf8(message!("the path of {path}", path = dir.display())));
    }
    Ok(dir)
}

/// Returns the chosen apps of the file, with the chosen profile.
fn apps(cx: &mut Cx, call: &Call, source: &Source, mut context: ostler_config::Context) -> Result<Vec<AppSpec>, CliError> {
    let mut loaded = files::read(cx, call, source, &mut context)?;
    let named: Vec<&str> = call.values("app").collect();
    if !named.is_empty() {
        let all = std::mem::take(&mut loaded.apps);
        for name in named {
            let found = select(&all, name);
            if found.is_empty() {
                let known: Vec<String> = all.iter().map(ostler_config::RawApp::name).collect();
                let text = message!(
                    "{file} has no app {name}; its apps: {names}",
                    file = source.shown(),
                    name = format!("{name:?}"),
                    names = known.join(", ")
                );
                return Err(CliError::unknown(text, name, known.iter().map(String::as_str), ""));
            }
            loaded.apps.extend(found);
        }
    }
    let choice = EnvChoice::of(call)?;
    let overlay = Overlay { profile: choice.profile, vars: choice.vars, ..Overlay::default() };
    let mut all = Vec::new();
    for app in &loaded.apps {
        all.push(normalize(app, &context, &overlay).map_err(|problems| files::report(cx, Some(source), &problems))?);
    }
    files::check_profile(cx, overlay.profile.as_deref(), &all, false)?;
    files::warn_all(cx, overlay.profile.as_deref(), &all);
    let mut specs: Vec<AppSpec> = all.into_iter().map(|app| app.spec).collect();
    // The set of all apps is known only if no filter is given.
    if call.value("only").is_none() && call.value("app").is_none() {
        let mut together: Vec<_> = loaded.apps.iter().zip(&mut specs).collect();
        let problems = Problems(finish_order(&mut together));
        if !problems.0.is_empty() {
            return Err(files::report(cx, Some(source), &problems));
        }
    }
    Ok(specs)
}

fn options(call: &Call, out: &Path, dir: &Path) -> Result<Options, CliError> {
    let text = |name: &str| call.value(name).map(str::to_owned);
    let form = match (call.has("helm"), call.has("kustomize")) {
        (true, true) => {
            let reason = message!("it cannot be combined with --kustomize");
            return Err(UsageError::BadValue { option: "--helm".into(), reason }.into());
        }
        (true, false) => ManifestForm::Helm,
        (false, true) => ManifestForm::Kustomize,
        (false, false) => ManifestForm::Plain,
    };
    Ok(Options {
        image: text("image"),
        tag: text("tag"),
        ostler_image: text("ostler-image"),
        form,
        swarm: call.has("swarm"),
        host: text("host"),
        network_policy: call.has("network-policy"),
        context: way(out, dir),
    })
}

/// Returns the path from one folder to another; both are absolute and normalized.
fn way(from: &Path, to: &Path) -> String {
    let (from, to): (Vec<Component<'_>>, Vec<Component<'_>>) = (from.components().collect(), to.components().collect());
    let same = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..".to_owned(), from.len() - same);
    let down = to.iter().skip(same).map(|part| part.as_os_str().to_string_lossy().into_owned());
    let parts: Vec<String> = up.chain(down).collect();
    if parts.is_empty() { ".".to_owned() } else { parts.join("/") }
}

/// Removes `.` and `..` from a path by its text alone.
fn tidy(path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::ParentDir => drop(out.pop()),
            Component::Normal(name) => out.push(name),
            _ => {}
        }
    }
    out
}

/// Returns the apps, with the facts that were read from their folders.
fn project(dir: &Path, apps: Vec<AppSpec>) -> Result<Project, CliError> {
    let mut project = Project {
        name: dir.file_name().map_or_else(|| "apps".to_owned(), |name| name.to_string_lossy().into_owned()),
        dir: dir.to_string_lossy().into_owned(),
        apps,
        folders: BTreeMap::new(),
        env_files: BTreeMap::new(),
    };
    let mut folders = BTreeMap::new();
    for app in &project.apps {
        let mut at = project.inside(&app.cwd).map(Path::new);
        while let Some(inside) = at {
            let key = inside.to_string_lossy().into_owned();
            if folders.contains_key(&key) {
                break;
            }
            folders.insert(key, folder(&dir.join(inside))?);
            at = inside.parent();
        }
    }
    folders.entry(String::new()).or_insert(folder(dir)?);
    project.folders = folders;
    for (inside, format) in project.env_file_paths() {
        // Without its text, the file is only referenced by its name.
        let Ok(Some(text)) = bounded(&dir.join(&inside)) else { continue };
        let read = |format: &str| variables_in(&text, format).unwrap_or_default();
        let (variables, systemd) = (read(format.as_deref().unwrap_or("dotenv")), read("systemd"));
        project.env_files.insert(inside, EnvFile { text, variables, systemd });
    }
    Ok(project)
}

fn folder(path: &Path) -> Result<Folder, CliError> {
    let failed = |source| CliError::File { what: marked!("read"), path: path.display().to_string(), source };
    let mut folder = Folder::default();
    match fs::read_dir(path) {
        Ok(entries) => {
            let names = entries.take(MOST_NAMES).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            folder.files = names.collect();
        }
        // The folder will be created before the apps run.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(folder),
        Err(error) => return Err(failed(error)),
    }
    let text = |name: &str| if folder.files.contains(name) { bounded(&path.join(name)).ok().flatten() } else { None };
    folder.package = text("package.json").and_then(|text| Package::read(&text));
    folder.node_version = text(".nvmrc").or_else(|| text(".node-version")).and_then(|text| text.lines().next().map(str::to_owned));
    Ok(folder)
}

/// Returns the text of a file, or none if the file does not exist. Reading stops beyond
/// [`MOST_BYTES`], and invalid UTF-8 is replaced: ostler wrote no such file.
fn bounded(path: &Path) -> std::io::Result<Option<String>> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn step(out: &Path, file: &File) -> Result<FileAction, CliError> {
    let path = out.join(&file.path);
    let there = bounded(&path).map_err(|source| CliError::File { what: marked!("read"), path: path.display().to_string(), source })?;
    Ok(decide(there.as_deref(), &file.text))
}

/// Writes all files. If an edited file would change, nothing is written except the new texts beside
/// the edited files.
fn write(out: &Path, steps: &[(&File, FileAction)]) -> Result<(), CliError> {
    let has_conflict = steps.iter().any(|(_, step)| *step == FileAction::Conflict);
    for (file, step) in steps {
        let path = out.join(&file.path);
        match step {
            FileAction::Conflict => put(&beside(&path), &file.text)?,
            FileAction::Create | FileAction::Replace if !has_conflict => put(&path, &file.text)?,
            _ => {}
        }
    }
    Ok(())
}

/// Returns the path for the new text of an edited file.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn put(path: &Path, text: &str) -> Result<(), CliError> {
    let failed = |what: &'static str| move |source| CliError::File { what, path: path.display().to_string(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed(marked!("create the folder of")))?;
    }
    let mode = fs::metadata(path).map_or(MODE, |there| there.permissions().mode() & 0o777);
    replace(path, text.as_bytes(), Durability::Process, Writers::Many).map_err(|error| error.source).map_err(failed(marked!("write")))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed(marked!("set the mode of")))
}

/// Words of a step: what was done, what would be done.
fn words(step: FileAction, is_check: bool, has_conflict: bool) -> (&'static str, &'static str) {
    match (step, is_check) {
        (FileAction::Same, _) => ("same", marked!("unchanged")),
        (FileAction::Keep, _) => ("kept", marked!("edited; nothing new to write; kept")),
        (FileAction::Conflict, false) => {
            ("conflict", marked!("was edited, or was not written by export; kept. The new text is in its .new file"))
        }
        (FileAction::Conflict, true) => ("conflict", marked!("was edited, or was not written by export, and differs")),
        (FileAction::Create, true) => ("create", marked!("missing")),
        (FileAction::Replace, true) => ("replace", marked!("outdated")),
        (FileAction::Create | FileAction::Replace, false) if has_conflict => ("waits", marked!("not written, because of the conflicts")),
        (FileAction::Create, false) => ("create", marked!("written")),
        (FileAction::Replace, false) => ("replace", marked!("updated")),
    }
}

fn report(cx: &mut Cx, call: &Call, out: &Path, exported: &Exported, steps: &[(&File, FileAction)]) {
    let is_check = call.has("check");
    let has_conflict = steps.iter().any(|(_, step)| *step == FileAction::Conflict);
    if call.has("json") {
        let file =
            |(file, step): &(&File, FileAction)| json!({ "path": out.join(&file.path), "step": words(*step, is_check, has_conflict).0 });
        let left_out: Vec<Value> = exported
            .notices
            .iter()
            .map(|left_out| json!({ "app": left_out.app, "attribute": left_out.key, "reason": left_out.why }))
            .collect();
        let all = json!({ "files": steps.iter().map(file).collect::<Vec<_>>(), "not_carried": left_out, "next": exported.next });
        render::json(&mut cx.out, &all);
        return;
    }
    for (file, step) in steps {
        let what = translated(words(*step, is_check, has_conflict).1);
        let path = crate::text::shown(&file.path);
        if *step == FileAction::Conflict {
            cx.out.error(format_args!("{path} {what}"))
        } else {
            cx.out.line(format_args!("{path}: {what}"))
        }
    }
    if has_conflict && !is_check {
        cx.out.err_line(message!(
            "Merge your edits into each .new file, then rename it over the old file. The next export then detects your edits."
        ));
    }
    if !exported.notices.is_empty() {
        let text = render::not_carried(&exported.notices, cx.out.width(), cx.out.paint_err());
        cx.out.err_line(text.trim_end());
    }
    if !is_check && !has_conflict {
        for next in &exported.next {
            cx.out.line(format_args!("  {}", crate::text::shown(next)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn way_returns_relative_path() {
        for (from, to, expected) in
            [("/a/b", "/a/b", "."), ("/a/b/k8s", "/a/b", ".."), ("/a", "/a/b/c", "b/c"), ("/x/y", "/a", "../../a"), ("/", "/a", "a")]
        {
            assert_eq!(way(Path::new(from), Path::new(to)), expected, "{from} {to}");
        }
        assert_eq!(tidy(Path::new("/a/./b/../c")), Path::new("/a/c"));
    }
}
