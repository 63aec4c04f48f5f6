//! Names of rotated files, as in pm2-logrotate: `app-out.log` becomes
//! `app-out__2026-11-21_00-00-00.log`, compressed `….log.gz`.

/// Longest file name of file systems, in bytes, minus the extra length of a hidden temporary name.
const NAME_MAX: usize = 255 - 20;
/// Longest date.
const DATE_MAX: usize = 64;
/// Longest suffix that counts as an extension.
const EXTENSION_MAX: usize = 8;

/// Splits a name into the part before the extension, and the extension with its dot.
fn split(file: &str) -> (&str, &str) {
    let is_extension = |text: &str| (1..=EXTENSION_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
    match file.rfind('.').filter(|dot| *dot > 0 && is_extension(&file[dot + 1..])) {
        Some(dot) => file.split_at(dot),
        None => (file, ""),
    }
}

/// Returns the common prefix of all rotated files of a log.
fn front(file: &str) -> String {
    let (stem, extension) = split(file);
    let room = NAME_MAX - DATE_MAX - extension.len() - "__-99.gz".len();
    if stem.len() <= room {
        return format!("{stem}__");
    }
    let end = (0..=room - 9).rev().find(|at| stem.is_char_boundary(*at)).unwrap_or(0);
    format!("{}-{:08x}__", &stem[..end], crate::text::fnv::fnv_32(stem.as_bytes()))
}

/// Returns a date as part of a name: it cannot lead to another folder, and is never empty.
fn clean(date: &str) -> String {
    let mut clean: String = date.chars().map(|c| if c == '/' || c.is_control() { '-' } else { c }).collect();
    while clean.len() > DATE_MAX {
        clean.pop();
    }
    if clean.is_empty() { "old".into() } else { clean }
}

/// Returns the name of a rotated file. `again` is the number of files that already have that name.
///
/// ```
/// use ostler_core::logs::rotate::name::rotated;
/// assert_eq!(rotated("app-out.log", "2026-11-21_00-00-00", 0), "app-out__2026-11-21_00-00-00.log");
/// assert_eq!(rotated("app-out.log", "2026-11-21_00-00-00", 2), "app-out__2026-11-21_00-00-00-2.log");
/// ```
pub fn rotated(file: &str, date: &str, again: u32) -> String {
    let (front, date, extension) = (front(file), clean(date), split(file).1);
    if again == 0 { format!("{front}{date}{extension}") } else { format!("{front}{date}-{again}{extension}") }
}

/// Returns true if this is the name of a rotated file of that log. `dates` are examples of a date
/// in the formats that may have been used.
///
/// The date must have the form of one of these. Otherwise `a__b.log`, which may be the log of
/// another app, would count as an old `a.log`.
pub fn is_rotated(file: &str, candidate: &str, dates: &[String]) -> bool {
    let candidate = candidate.strip_suffix(".gz").unwrap_or(candidate);
    let middle = candidate.strip_prefix(&front(file)).and_then(|rest| rest.strip_suffix(split(file).1));
    let Some(middle) = middle.filter(|middle| !middle.is_empty()) else { return false };
    let form = form(middle);
    dates.iter().map(|date| self::form(&clean(date))).any(|known| form == known || form.strip_suffix("-0") == Some(known.as_str()))
}

/// Returns true if this may be a rotated file of that log, with a date of any form. Use it to show
/// files, not to delete them.
pub fn may_be_rotated(file: &str, candidate: &str) -> bool {
    let candidate = candidate.strip_suffix(".gz").unwrap_or(candidate);
    let middle = candidate.strip_prefix(&front(file)).and_then(|rest| rest.strip_suffix(split(file).1));
    middle.is_some_and(|middle| middle.bytes().filter(u8::is_ascii_digit).count() >= 4)
}

/// Returns the form of a text: each digit and letter is replaced by its class.
fn form(text: &str) -> String {
    let mut form = String::with_capacity(text.len());
    for c in text.chars() {
        let class = match c {
            c if c.is_numeric() => '0',
            c if c.is_alphabetic() => 'a',
            c => c,
        };
        if !(matches!(class, '0' | 'a') && form.ends_with(class)) {
            form.push(class);
        }
    }
    form
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DATE: &str = "2026-11-21_02-06-01";

    fn dates() -> Vec<String> {
        vec![DATE.into(), "21 November 2026".into()]
    }

    #[test]
    fn rotated_names_match_pm2_logrotate() {
        for (file, expected) in [
            ("pm2.log", "pm2__2026-11-21_02-06-01.log"),
            ("api-out-0.log", "api-out-0__2026-11-21_02-06-01.log"),
            ("combined.txt", "combined__2026-11-21_02-06-01.txt"),
            ("console", "console__2026-11-21_02-06-01"),
            ("v1.2 (old)", "v1.2 (old)__2026-11-21_02-06-01"),
            (".log", ".log__2026-11-21_02-06-01"),
        ] {
            assert_eq!(rotated(file, DATE, 0), expected);
            assert!(is_rotated(file, expected, &dates()) && is_rotated(file, &format!("{expected}.gz"), &dates()));
        }
    }

    #[test]
    fn only_rotated_files_of_the_same_log_are_recognized() {
        for name in [
            "app.log",
            "my-app__2026-11-21_02-06-01.log",
            "app-2__2026-11-21_02-06-01.log",
            "app__b.log",
            "app__b2.log",
            "app__.log",
            "app__2026.log",
            "app__2026-11-21_02-06-01.txt",
            "app__2026-11-21_02-06-01.log.bak",
            "app__2026-11-21_02-06-01-1-1.log",
        ] {
            assert!(!is_rotated("app.log", name, &dates()), "{name}");
        }
        for name in ["app__2026-11-21_02-06-01-12.log.gz", "app__1 May 2026.log"] {
            assert!(is_rotated("app.log", name, &dates()), "{name}");
        }
    }

    #[test]
    fn date_in_a_rotated_name_cannot_leave_the_folder() {
        assert_eq!(rotated("a.log", "2026/11/21\n", 0), "a__2026-11-21-.log");
        assert_eq!(rotated("a.log", "", 0), "a__old.log");
    }

    proptest! {
        #[test]
        fn any_rotated_name_fits_and_is_recognized(file in "[^/\0]{1,80}", date in any::<String>(), again in 0_u32..100) {
            let name = rotated(&file, &date, again);
            prop_assert!(name.len() + ".gz".len() <= NAME_MAX && !name.contains('/'), "{} {name}", name.len());
            prop_assert!(is_rotated(&file, &name, &[date]));
        }
    }
}
