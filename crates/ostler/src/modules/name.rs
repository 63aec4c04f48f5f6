//! Names of modules. They follow npm's rules, so that a name is one folder and one section of the
//! settings.

use crate::error::ModuleError;
use crate::module_conf::{INTERNAL, TRAPS};

/// Longest name that npm accepts.
const MAX: usize = 214;
/// Section names that already have another owner.
const TAKEN: &[&str] = &["pm2", "log_rotate", "node_modules", "all"];

/// Checks a name from a `package.json`.
///
/// # Errors
/// Returns an error if the name is invalid.
pub(super) fn check(name: &str) -> Result<(), ModuleError> {
    let bare = match name.strip_prefix('@') {
        Some(rest) => match rest.split_once('/') {
            Some((scope, bare)) if is_word(scope) => bare,
            _ => return Err(refused(name)),
        },
        None => name,
    };
    let is_other = |list: &[&str]| list.contains(&bare) || list.contains(&name);
    if name.len() > MAX || !is_word(bare) || is_other(TRAPS) || is_other(INTERNAL) || is_other(TAKEN) {
        return Err(refused(name));
    }
    Ok(())
}

/// Returns true for one part of a path that is no parent link, no hidden file and no option.
fn is_word(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
    !text.is_empty() && !text.starts_with(['.', '-', '_']) && text.chars().all(is_plain)
}

fn refused(name: &str) -> ModuleError {
    ModuleError::Name(name.chars().take(MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_accepts_package_names_and_rejects_unsafe_ones() {
        for good in ["pm2-logrotate", "@scope/mod", "a.b", "Mod_1", "x"] {
            assert!(check(good).is_ok(), "{good}");
        }
        let long = "x".repeat(MAX + 1);
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "/x",
            "a/b",
            "@s",
            "@/x",
            "@s/",
            "@s/a/b",
            "@../x",
            "-x",
            ".x",
            "a b",
            "a\nb",
            "a\0",
            "a:b",
            "__proto__",
            "constructor",
            "@s/prototype",
            "module-db-v2",
            "pm2",
            "all",
            "node_modules",
            &long,
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
