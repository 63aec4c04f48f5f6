//! `module_conf.json`: where the settings of a home and of modules are, and what is in that file. PM2's file in PM2's shape.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

/// Variable with the path of the file, where it is not in the home.
pub const CONF_VAR: &str = "PM2_MODULE_CONF_FILE";

/// Most bytes of it that are read: nobody has more settings.
pub const CONF_MAX_BYTES: u64 = 4 << 20;

/// The path of the file; `given` is the value of [`CONF_VAR`].
pub fn conf_path(home: &Path, given: Option<OsString>) -> PathBuf {
    given.filter(|path| !path.is_empty()).map_or_else(|| home.join("module_conf.json"), PathBuf::from)
}

/// What is in it. A blank file has no settings.
///
/// # Errors
/// It is no JSON object.
pub fn parse_conf(text: &str) -> serde_json::Result<Map<String, Value>> {
    if text.trim().is_empty() { Ok(Map::new()) } else { serde_json::from_str(text) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use super::*;

    #[test]
    fn it_is_in_the_home_unless_it_is_said_otherwise() {
        let home = Path::new("/h");
        for given in [None, Some("".into())] {
            assert_eq!(conf_path(home, given), Path::new("/h/module_conf.json"));
        }
        assert_eq!(conf_path(home, Some("/etc/conf".into())), Path::new("/etc/conf"));
        // A path need not be text.
        let odd = OsString::from_vec(b"/etc/\xff".to_vec());
        assert_eq!(conf_path(home, Some(odd.clone())), PathBuf::from(odd));
    }

    #[test]
    fn a_blank_file_has_no_settings() {
        assert_eq!(parse_conf(" \n").unwrap(), Map::new());
        assert_eq!(parse_conf(r#"{"a": {"b": 1}}"#).unwrap()["a"]["b"], 1);
        for broken in ["[]", "{", "1"] {
            parse_conf(broken).unwrap_err();
        }
    }
}
