//! The name of a project.

use ostler_core::marked;

use crate::error::{CliError, NameError, ProjectError, UsageError};

/// Chooses the name as Compose does: `--project-name`, `COMPOSE_PROJECT_NAME`, `name` of the file,
/// the folder. A given name must be valid; the name of the folder is converted to a valid name.
///
/// # Errors
/// Returns an error if the name is invalid.
pub(super) fn choose(option: Option<&str>, variable: Option<&str>, of_file: Option<&str>, folder: &str) -> Result<String, CliError> {
    if let Some(name) = option {
        let bad = |error: NameError| UsageError::BadValue { option: "--project-name".into(), reason: error.to_string() };
        return valid(name).map_err(|error| bad(error).into());
    }
    for (from, name) in [("COMPOSE_PROJECT_NAME", variable), (marked!("name of the file"), of_file)] {
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            return valid(name).map_err(|source| ProjectError::Name { from, source }.into());
        }
    }
    let made: String = folder.to_lowercase().chars().filter(|c| is_of_name(*c)).collect();
    let made = made.trim_start_matches(['-', '_']);
    if made.is_empty() {
        return Err(ProjectError::Folder(folder.to_owned()).into());
    }
    Ok(made.to_owned())
}

fn valid(name: &str) -> Result<String, NameError> {
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if begins && name.len() <= 200 && name.chars().all(is_of_name) {
        return Ok(name.to_owned());
    }
    Err(NameError(name.to_owned()))
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_name_comes_from_option_variable_file_or_directory() {
        for (option, variable, of_file, folder, name) in [
            (Some("a"), Some("b"), Some("c"), "d", Some("a")),
            (None, Some("b"), Some("c"), "d", Some("b")),
            (None, Some(""), Some("c"), "d", Some("c")),
            (None, None, None, "My Shop (2)", Some("myshop2")),
            (None, None, None, "_x-Y_z", Some("x-y_z")),
            (None, None, None, "日本", None),
            (Some("A"), None, None, "d", None),
            (Some(""), None, None, "d", None),
            (Some("../x"), None, None, "d", None),
            (None, None, Some("a b"), "d", None),
            (None, Some("-x"), None, "d", None),
        ] {
            assert_eq!(choose(option, variable, of_file, folder).ok().as_deref(), name, "{option:?} {variable:?} {of_file:?} {folder}");
        }
    }
}
