//! Source line of an error: the place that the app's last output names.
//!
//! The app chose that place, so the file is opened only below the app's working directory, without
//! following links, and with the rights of the app's user. If the app runs as root, the file must
//! belong to root, so that no other user can have put it there.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use ostler_core::app::AppSpec;
use ostler_proto::control::Detail;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

use crate::app_rights::AppRights;

/// Largest file that is read.
const MOST_BYTES: u64 = 4 << 20;

/// Line of a program to which an error leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// Its number.
    pub number: u32,
    /// Its text.
    pub text: String,
}

/// Returns the line that the last error of an instance names, if it can be read. Reads a file, so
/// it may take long on a slow disk.
pub fn of_error(detail: &Detail) -> Option<SourceLine> {
    let exit = detail.instance.last_failure()?;
    let (path, number) = place(&exit.last_lines)?;
    source_line(&detail.spec, path, number)
}

/// Returns a line of a file of the app; none if it cannot be read or is empty.
pub fn source_line(spec: &AppSpec, path: &str, number: u32) -> Option<SourceLine> {
    let lines = around(spec, path, number, 0);
    lines.into_iter().find(|line| line.number == number && !line.text.trim().is_empty())
}

/// Returns a line of a file of the app and up to `context` lines on each side; none if the file
/// cannot be read. It may take long on a slow disk.
pub fn around(spec: &AppSpec, path: &str, number: u32, context: u32) -> Vec<SourceLine> {
    let path = path.strip_prefix("file://").unwrap_or(path);
    let rights = match spec.uid {
        Some(_) => AppRights::of(spec, 0),
        None => Ok(AppRights::default()),
    };
    let lines = rights.and_then(|rights| rights.act(|| Ok(read(Path::new(&spec.cwd), Path::new(path), number, context))));
    lines.ok().flatten().unwrap_or_default()
}

/// Returns the place of an error. Node names the innermost call first, Python last.
fn place(lines: &[String]) -> Option<(&str, u32)> {
    lines.iter().rev().find_map(|line| of_python(line)).or_else(|| lines.iter().find_map(|line| of_node(line)))
}

/// Parses `File "/srv/app.py", line 3, in main`.
fn of_python(line: &str) -> Option<(&str, u32)> {
    let (path, rest) = line.trim_start().strip_prefix("File \"")?.split_once("\", line ")?;
    Some((path, rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?))
}

/// Parses `at main (/srv/app.js:3:9)` and `at /srv/app.js:3:9`.
fn of_node(line: &str) -> Option<(&str, u32)> {
    let call = line.trim().strip_prefix("at ")?;
    let inner = call.rsplit_once('(').map_or(call, |(_, inner)| inner).trim_end_matches(')');
    let mut parts = inner.strip_prefix("file://").unwrap_or(inner).rsplitn(3, ':');
    let (column, number, path) = (parts.next()?, parts.next()?, parts.next()?);
    column.parse::<u32>().ok()?;
    Some((path, number.parse().ok()?)).filter(|_| path.starts_with('/'))
}

fn read(folder: &Path, path: &Path, number: u32, context: u32) -> Option<Vec<SourceLine>> {
    let relative = if path.is_relative() { path } else { path.strip_prefix(folder).ok()? };
    let (first, last) = (number.checked_sub(1)?.saturating_sub(context), number.saturating_add(context));
    let folder = openat(CWD, folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file = std::fs::File::from(openat2(folder, relative, flags, Mode::empty(), resolve).ok()?);
    let meta = file.metadata().ok()?;
    let is_safe = !rustix::process::geteuid().is_root() || meta.uid() == 0;
    if !meta.is_file() || meta.len() > MOST_BYTES || !is_safe {
        return None;
    }
    let lines = BufReader::new(file.take(MOST_BYTES)).lines().map_while(Result::ok);
    let numbered = (1_u32..).zip(lines).map(|(number, text)| SourceLine { number, text });
    Some(numbered.skip(usize::try_from(first).ok()?).take_while(|line| line.number <= last).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_is_found_in_traces_of_node_and_python() {
        let found = |lines: &[&str]| {
            let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            place(&lines).map(|(path, number)| (path.to_owned(), number))
        };
        for (lines, expected) in [
            (&["Error: x", "    at main (/srv/a.js:3:9)", "    at /srv/b.js:7:1"][..], Some(("/srv/a.js", 3))),
            (&["    at file:///srv/m.mjs:12:5"], Some(("/srv/m.mjs", 12))),
            (&["    at Object.<anonymous> (/srv/with (x)/a.js:1:2)"], None),
            (&["    at node:internal/main:1:2"], None),
            (&["  File \"/srv/a.py\", line 3, in <module>", "  File \"/srv/b.py\", line 9, in f", "ValueError: x"], Some(("/srv/b.py", 9))),
            (&["at /srv/a.js:99999999999:1"], None),
            (&["nothing"], None),
        ] {
            assert_eq!(found(lines), expected.map(|(path, number)| (path.to_owned(), number)), "{lines:?}");
        }
    }

    #[test]
    fn only_regular_files_below_the_folder_are_read() {
        let dir = std::env::temp_dir().join(format!("ostler-source-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let at = |name: &str| dir.join(name);
        std::fs::write(at("a.js"), "one\n\nthree\n").unwrap();
        std::os::unix::fs::symlink(at("a.js"), at("link.js")).unwrap();
        let lines = |path: &Path, number, context| {
            let found = read(&dir, path, number, context).unwrap_or_default();
            found.into_iter().map(|line| format!("{} {}", line.number, line.text)).collect::<Vec<_>>()
        };
        assert_eq!(lines(&at("a.js"), 3, 0), ["3 three"]);
        assert_eq!(lines(Path::new("a.js"), 2, 1), ["1 one", "2 ", "3 three"]);
        assert_eq!(lines(&at("a.js"), 3, u32::MAX), ["1 one", "2 ", "3 three"]);
        for (name, number) in [("a.js", 0), ("a.js", 4), ("link.js", 1), ("../etc/passwd", 1), ("missing", 1), (".", 1)] {
            assert!(lines(&at(name), number, 0).is_empty(), "{name}:{number}");
        }
        assert!(lines(Path::new("../../etc/passwd"), 1, 0).is_empty() && lines(Path::new("/etc/passwd"), 1, 0).is_empty());
        assert_eq!(read(&at("sub"), &at("a.js"), 1, 0), None);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
