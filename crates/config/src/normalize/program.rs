//! Finds the kind of the program that runs an app from its file.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use ostler_core::app::program::{self, NODE_SYMBOL, ProgramKind, SCRIPT_HEAD};
use ostler_core::app::{AppSpec, ExecMode};
use rustix::fs::{Mode, OFlags};

use crate::context::find_program;

/// Bytes of a binary that are searched for Node's symbols: its symbol table is near the beginning.
const BINARY_HEAD: usize = 16 * 1024 * 1024;

/// Returns the kind of the program that the name of the interpreter does not show.
///
/// `path`: the `PATH` in which a name is searched.
pub(super) fn kind(spec: &AppSpec, path: Option<&str>) -> Option<ProgramKind> {
    let is_cluster = spec.mode == ExecMode::Cluster;
    let Some(interpreter) = &spec.interpreter else {
        return if is_cluster { kind_of_own_program(spec) } else { None };
    };
    let name = file_name(Path::new(interpreter));
    if matches!(name, "node" | "deno" | "bun") {
        return None;
    }
    let file = if interpreter.contains('/') { PathBuf::from(interpreter) } else { find_program(interpreter, path)? };
    let file = std::fs::canonicalize(file).ok()?;
    let kind = of_file(&file, name, is_cluster);
    if kind.is_some() || !is_cluster || !program::is_shell(name) {
        return kind.filter(|kind| is_cluster || *kind != ProgramKind::StartsNode);
    }
    ProgramKind::of_shell_text(&text(Path::new(&spec.script))?)
}

/// Returns the kind of a program without an interpreter. ostler's additional options cannot precede
/// the program's own.
fn kind_of_own_program(spec: &AppSpec) -> Option<ProgramKind> {
    if spec.shell {
        return ProgramKind::of_shell_text(spec.args.get(1)?);
    }
    let file = std::fs::canonicalize(&spec.script).ok()?;
    let kind = of_file(&file, file_name(Path::new(&spec.script)), true)?;
    matches!(kind, ProgramKind::Node | ProgramKind::StartsNode).then_some(ProgramKind::StartsNode)
}

/// Returns the kind of a file without links in its path. `name` is the name under which it runs.
/// `by_content`: also searches a binary of an unknown name.
fn of_file(file: &Path, name: &str, by_content: bool) -> Option<ProgramKind> {
    if let Some(text) = text(file) {
        return ProgramKind::of_script(&text);
    }
    let named = [file_name(file), name].into_iter().find_map(ProgramKind::of_binary);
    named.or_else(|| (by_content && has_symbol_of_node(file)).then_some(ProgramKind::Node))
}

/// Returns the first lines of a script; none for a binary.
fn text(file: &Path) -> Option<String> {
    let head = head(file, SCRIPT_HEAD)?;
    (!head.contains(&0)).then(|| String::from_utf8_lossy(&head).into_owned())
}

fn has_symbol_of_node(file: &Path) -> bool {
    head(file, BINARY_HEAD).is_some_and(|head| memchr::memmem::find(&head, NODE_SYMBOL).is_some())
}

/// Reads the start of a regular file. If the path changes to another kind of file, opening it
/// neither blocks nor has an effect.
fn head(path: &Path, bytes: usize) -> Option<Vec<u8>> {
    if !path.is_file() {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut head = Vec::new();
    file.take(u64::try_from(bytes).ok()?).read_to_end(&mut head).ok()?;
    Some(head)
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(OsStr::to_str).unwrap_or_default()
}
