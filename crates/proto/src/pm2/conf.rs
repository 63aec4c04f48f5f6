//! `module_conf.json`: settings of a home and of modules, a file of PM2 in PM2's format.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ostler_core::message;
use serde_json::{Map, Value};

/// Maximum size of the file in bytes; real settings are smaller.
const MAX_BYTES: u64 = 4 << 20;

/// Reason why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfError {
    /// The file cannot be read.
    #[error("{}", message!("cannot read the settings in \"{path}\": {cause}", path = path.display(), cause))]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: io::Error,
    },
    /// The file does not contain a JSON object.
    #[error("{}", message!("the settings in \"{path}\" are invalid ({cause}); correct or remove the file", path = path.display(), cause))]
    Broken {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: serde_json::Error,
    },
}

/// Reads the settings. A missing or blank file has none.
///
/// # Errors
/// Returns an error if the file cannot be read or does not contain a JSON object.
pub fn read_conf(path: &Path) -> Result<Map<String, Value>, ConfError> {
    let mut text = String::new();
    match File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_string(&mut text)) {
        Ok(_) if text.trim().is_empty() => Ok(Map::new()),
        Ok(_) => serde_json::from_str(&text).map_err(|cause| ConfError::Broken { path: path.to_owned(), cause }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Map::new()),
        Err(cause) => Err(ConfError::Read { path: path.to_owned(), cause }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_or_blank_file_has_no_settings() {
        let path = std::env::temp_dir().join(format!("ostler-read-conf-{}", std::process::id()));
        assert_eq!(read_conf(&path).unwrap(), Map::new());
        for (text, expected) in [(" \n", Some(0)), (r#"{"a": {"b": 1}}"#, Some(1)), ("[]", None), ("{", None), ("1", None)] {
            std::fs::write(&path, text).unwrap();
            let read = read_conf(&path);
            assert!(expected.is_some() || matches!(read, Err(ConfError::Broken { .. })), "{text}");
            assert_eq!(read.ok().map(|all| all.len()), expected, "{text}");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(matches!(read_conf(&path), Err(ConfError::Read { .. })));
        std::fs::remove_dir(&path).unwrap();
    }
}
