//! Names of log and pid files.

use crate::app::{CombinedLog, LogSpec};
use crate::text::fnv::fnv_32;

/// Longest part of a file name that comes from an app's name, in bytes. With suffixes it stays
/// below the 255 of file systems.
const STEM_MAX: usize = 200;

/// Longest part of a new app's file names under `ostler`, in bytes. It leaves room for the id, the
/// kind and the suffix of rotation.
const OWN_STEM_MAX: usize = 150;

/// Stem of a name without a letter or digit.
const NAMELESS: &str = "app";

/// Number of checksums that are tried for a stem that is already in use.
const TURNS: u32 = 16;

/// File for discarded output.
pub const NOWHERE: &str = "/dev/null";

/// Rule for the default file names of a new app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// [`stem`]: the names that scripts for PM2 expect; several apps can share them.
    Pm2,
    /// [`free_stem`].
    Own,
}

/// Log files of one instance; `None` = no such log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogFiles {
    /// Standard output.
    pub out: Option<String>,
    /// Standard error.
    pub error: Option<String>,
    /// Both.
    pub combined: Option<String>,
}

/// Returns the part of a file name that identifies an app. Every char except `A-Z a-z 0-9 . - \`
/// becomes `-`, so a name cannot leave its folder. Different names may result in the same stem
/// (`a_b`, `a-b`), as in PM2. A very long name is cut and gets a checksum.
pub fn stem(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '\\') { c } else { '-' };
    let mut stem: String = name.chars().map(plain).collect();
    if stem.len() > STEM_MAX {
        stem.truncate(STEM_MAX);
        stem.push_str(&format!("-{:08x}", fnv_32(name.as_bytes())));
    }
    stem
}

/// Returns the stem that an app gets under `ostler`: as [`stem`], but it keeps letters and digits
/// of any script, and has no leading dash.
///
/// ```
/// use ostler_core::logs::files::own_stem;
/// assert_eq!((own_stem("订单").as_str(), own_stem("--api v1").as_str()), ("订单", "api-v1"));
/// ```
pub fn own_stem(name: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || matches!(c, '.' | '-' | '\\') { c } else { '-' };
    let text: String = name.chars().map(plain).collect();
    let text = text.trim_start_matches('-');
    if text.is_empty() {
        return NAMELESS.to_owned();
    }
    if text.len() <= OWN_STEM_MAX {
        return text.to_owned();
    }
    format!("{}-{:08x}", cut(text), fnv_32(name.as_bytes()))
}

/// Returns the stem of a new app under `ostler`: [`own_stem`], with a checksum of `key` if another
/// app has that stem already. `key` identifies the app, so the app gets the same stem if it is
/// deleted and started again.
pub fn free_stem(name: &str, key: &str, mut is_taken: impl FnMut(&str) -> bool) -> String {
    let plain = own_stem(name);
    if !is_taken(&plain) {
        return plain;
    }
    let front = cut(&plain);
    let numbered = |turn: u32| match turn {
        0 => format!("{front}-{:08x}", fnv_32(key.as_bytes())),
        _ => format!("{front}-{:08x}", fnv_32(format!("{turn}\n{key}").as_bytes())),
    };
    // Each attempt uses another checksum; the last one is used in any case.
    (0..TURNS).map(numbered).find(|stem| !is_taken(stem)).unwrap_or_else(|| numbered(TURNS))
}

/// Returns the beginning of a stem that leaves room for a checksum.
fn cut(stem: &str) -> &str {
    let end = (0..=OWN_STEM_MAX.min(stem.len())).rev().find(|end| stem.is_char_boundary(*end)).unwrap_or(0);
    &stem[..end]
}

/// Returns true if `path` is a default log file of an app with that stem, with or without an id:
/// `<home>/logs/<stem>-out.log`, `-out-<id>.log`, `-error…` or the combined log.
pub fn is_default_log(path: &str, stem: &str, home: &str) -> bool {
    let file = path.strip_prefix(home).and_then(|rest| rest.strip_prefix("/logs/")).and_then(|file| file.strip_suffix(".log"));
    let Some(rest) = file.and_then(|file| file.strip_prefix(stem)) else { return false };
    let rest = ["-out", "-error"].iter().find_map(|kind| rest.strip_prefix(kind)).unwrap_or(rest);
    rest.is_empty() || rest.strip_prefix('-').is_some_and(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()))
}

/// Returns the log files of an instance. `home` has no trailing slash; `stem` is [`stem`] or
/// [`free_stem`] of the app's name.
///
/// ```
/// use ostler_core::{app::LogSpec, logs::files::{log_files, stem}};
/// let files = log_files(&LogSpec::default(), &stem("my_app"), 2, "/h/.ostler");
/// assert_eq!(files.out.as_deref(), Some("/h/.ostler/logs/my-app-out-2.log"));
/// ```
pub fn log_files(spec: &LogSpec, stem: &str, id: u32, home: &str) -> LogFiles {
    if spec.disable_logs {
        return LogFiles::default();
    }
    let place = |given: Option<&str>, kind: &str| {
        let path = given.map_or_else(|| format!("{home}/logs/{stem}{kind}.log"), str::to_owned);
        match path.as_str() {
            "NULL" | NOWHERE => NOWHERE.to_owned(),
            _ if spec.merge_logs => path,
            _ => with_id(&path, ".log", id),
        }
    };
    LogFiles {
        out: Some(place(spec.out_file.as_deref(), "-out")),
        error: Some(place(spec.error_file.as_deref(), "-error")),
        combined: spec.log_file.as_ref().map(|log| match log {
            CombinedLog::Default => place(None, ""),
            CombinedLog::Path(path) => place(Some(path), ""),
        }),
    }
}

/// Returns the pid file of an instance; the id is always part of it if the name ends in `.pid`.
pub fn pid_file(given: Option<&str>, stem: &str, id: u32, home: &str) -> String {
    let path = given.map_or_else(|| format!("{home}/pids/{stem}.pid"), str::to_owned);
    with_id(&path, ".pid", id)
}

/// Turns `x.log` and `x-7.log` into `x-<id>.log`; a path with another ending stays, so instances
/// share it.
fn with_id(path: &str, extension: &str, id: u32) -> String {
    let Some(base) = path.strip_suffix(extension) else { return path.to_owned() };
    let base = match base.rsplit_once('-') {
        Some((front, digits)) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => front,
        _ => base,
    };
    format!("{base}-{id}{extension}")
}

/// Returns the path without the id that [`log_files`] and [`pid_file`] put into it: the same for
/// all instances.
///
/// ```
/// use ostler_core::logs::files::without_id;
/// assert_eq!(without_id("/h/logs/api-out-7.log", ".log", 7), "/h/logs/api-out.log");
/// assert_eq!(without_id("/h/logs/api-7.txt", ".log", 7), "/h/logs/api-7.txt");
/// ```
pub fn without_id(path: &str, extension: &str, id: u32) -> String {
    match path.strip_suffix(&format!("-{id}{extension}")) {
        Some(base) => format!("{base}{extension}"),
        None => path.to_owned(),
    }
}

/// Returns descriptor 1 or 2 if a path is a common spelling of "the container's own output". Each
/// process that opens such a path gets another file, so only the parent of the app may open it.
pub fn own_stream(path: &str) -> Option<u8> {
    match path {
        "/dev/stdout" | "/dev/fd/1" | "/proc/1/fd/1" | "/proc/self/fd/1" => Some(1),
        "/dev/stderr" | "/dev/fd/2" | "/proc/1/fd/2" | "/proc/self/fd/2" => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stem_is_a_safe_file_name() {
        for (name, expected) in [
            ("api", "api"),
            ("my_app", "my-app"),
            ("a.b-c", "a.b-c"),
            ("../../etc/passwd", "..-..-etc-passwd"),
            ("a\nb\u{0}c d", "a-b-c-d"),
            ("größe", "gr--e"),
            ("", ""),
        ] {
            assert_eq!(stem(name), expected);
        }
        let (a, b) = (stem(&"x".repeat(500)), stem(&"x".repeat(501)));
        assert!(a.len() < 220 && a != b);
    }

    #[test]
    fn own_stem_keeps_unicode_letters() {
        for (name, expected) in [
            ("api", "api"),
            ("my_app", "my-app"),
            ("订单", "订单"),
            ("größe", "größe"),
            ("заказ 1", "заказ-1"),
            ("../../etc/passwd", "..-..-etc-passwd"),
            ("--x", "x"),
            ("_ x", "x"),
            ("***", "app"),
            ("", "app"),
        ] {
            assert_eq!(own_stem(name), expected);
        }
        let (a, b) = (own_stem(&"订".repeat(100)), own_stem(&"订".repeat(101)));
        assert!(a.len() < 160 && a != b);
    }

    #[test]
    fn taken_stem_gets_a_checksum_of_the_key() {
        assert_eq!(free_stem("api v1", "api v1", |_| false), "api-v1");
        let other = free_stem("api v1", "api v1", |stem| stem == "api-v1");
        assert_eq!(other, format!("api-v1-{:08x}", fnv_32(b"api v1")));
        let third = free_stem("api v1", "api v1", |stem| stem == "api-v1" || stem == other);
        assert!(third.starts_with("api-v1-") && third != other);
        assert_ne!(free_stem("api", "a/api", |stem| stem == "api"), free_stem("api", "b/api", |stem| stem == "api"));
        assert!(free_stem("x", "x", |_| true).starts_with("x-"));
        assert!(free_stem(&"订".repeat(100), "k", |stem| !stem.ends_with(&format!("{:08x}", fnv_32(b"k")))).len() < 160);
    }

    #[test]
    fn default_logs_of_a_stem_are_recognized() {
        for (path, expected) in [
            ("/h/logs/订单-out.log", true),
            ("/h/logs/订单-error-12.log", true),
            ("/h/logs/订单-3.log", true),
            ("/h/logs/订单.log", true),
            ("/h/logs/订单-out-x.log", false),
            ("/h/logs/订单2-out.log", false),
            ("/h/logs/---out.log", false),
            ("/l/订单-out.log", false),
        ] {
            assert_eq!(is_default_log(path, "订单", "/h"), expected, "{path}");
        }
    }

    #[test]
    fn log_files_follow_the_log_settings() {
        let base = LogSpec::default();
        let out = |spec: &LogSpec, name: &str, id: u32| log_files(spec, name, id, "/h").out;
        let given = |path: &str| LogSpec { out_file: Some(path.into()), ..base.clone() };
        let merged = |spec: LogSpec| LogSpec { merge_logs: true, ..spec };
        for (spec, name, id, expected) in [
            (base.clone(), "api", 0, "/h/logs/api-out-0.log"),
            (merged(base.clone()), "api", 0, "/h/logs/api-out.log"),
            (given("/l/custom-7.log"), "api", 0, "/l/custom-0.log"),
            (given("/l/custom-7x.log"), "api", 3, "/l/custom-7x-3.log"),
            (given("/l/c-.log"), "api", 3, "/l/c--3.log"),
            (merged(given("/l/custom-7.log")), "api", 0, "/l/custom-7.log"),
            (given("/l/custom.txt"), "api", 4, "/l/custom.txt"),
            (given("NULL"), "api", 4, "/dev/null"),
            (given("/dev/null"), "api", 4, "/dev/null"),
            (given("/proc/1/fd/1"), "api", 4, "/proc/1/fd/1"),
        ] {
            assert_eq!(out(&spec, name, id).as_deref(), Some(expected));
        }
        let all = LogSpec { log_file: Some(CombinedLog::Default), ..base.clone() };
        let files = log_files(&all, "a", 1, "/h");
        assert_eq!(files.error.as_deref(), Some("/h/logs/a-error-1.log"));
        assert_eq!(files.combined.as_deref(), Some("/h/logs/a-1.log"));
        assert_eq!(log_files(&merged(all), "a", 1, "/h").combined.as_deref(), Some("/h/logs/a.log"));
        let path = LogSpec { log_file: Some(CombinedLog::Path("/l/all.log".into())), ..base.clone() };
        assert_eq!(log_files(&path, "a", 1, "/h").combined.as_deref(), Some("/l/all-1.log"));
        assert_eq!(log_files(&LogSpec { disable_logs: true, ..base }, "a", 1, "/h"), LogFiles::default());
    }

    #[test]
    fn pid_file_contains_the_instance_id() {
        for (given, name, id, expected) in [
            (None, "api", 0, "/h/pids/api-0.pid"),
            (None, "w-1", 2, "/h/pids/w-2.pid"),
            (Some("/run/x.pid"), "api", 5, "/run/x-5.pid"),
            (Some("/run/x"), "api", 5, "/run/x"),
        ] {
            assert_eq!(pid_file(given, name, id, "/h"), expected);
        }
    }

    proptest! {
        #[test]
        fn log_file_of_any_name_stays_in_its_folder(name in any::<String>(), id in any::<u32>()) {
            let out = log_files(&LogSpec::default(), &stem(&name), id, "/h").out.unwrap();
            let file = out.strip_prefix("/h/logs/").unwrap();
            prop_assert!(!file.contains('/') && !file.contains('\0') && file.len() <= 255 && file != ".." && file != ".");
        }

        #[test]
        fn log_file_of_any_own_stem_stays_in_its_folder(name in any::<String>(), id in any::<u32>(), taken in any::<bool>()) {
            let stem = free_stem(&name, &name, |stem| taken && stem == own_stem(&name));
            let out = log_files(&LogSpec::default(), &stem, id, "/h").out.unwrap();
            let file = out.strip_prefix("/h/logs/").unwrap();
            prop_assert!(!file.contains('/') && !file.contains(char::is_control) && file.len() <= 200 && !file.starts_with('-'));
            prop_assert!(is_default_log(&out, &stem, "/h"));
        }

        #[test]
        fn ids_never_share_a_default_file(name in any::<String>(), a in any::<u32>(), b in any::<u32>()) {
            prop_assume!(a != b);
            let files = |id| (log_files(&LogSpec::default(), &stem(&name), id, "/h"), pid_file(None, &stem(&name), id, "/h"));
            prop_assert!(files(a).0 != files(b).0 && files(a).1 != files(b).1);
        }
    }
}
