//! Files whose names are close to that of a missing file.

use std::ffi::OsStr;
use std::path::Path;

use ostler_core::text::suggest::{near, question};

/// Most files of a folder whose names are compared.
const MOST_NEIGHBOURS: usize = 1000;

/// Returns the question about a file in the same folder whose name is close to that of a missing
/// file.
pub(crate) fn near_file(missing: &Path) -> Option<String> {
    let name = missing.file_name().and_then(OsStr::to_str)?;
    let names = names_in(missing.parent().unwrap_or(Path::new("")));
    let found = near(name, names.iter().map(String::as_str))?;
    Some(question(&missing.with_file_name(found).to_string_lossy()))
}

/// Returns the question about a file in this folder whose name is close to one of these names.
pub(crate) fn near_one_of(folder: &Path, wanted: &[&str]) -> Option<String> {
    let names = names_in(folder);
    wanted.iter().find_map(|name| near(name, names.iter().map(String::as_str))).map(question)
}

/// Returns the names of the files in a folder, as far as they are UTF-8.
fn names_in(folder: &Path) -> Vec<String> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().take(MOST_NEIGHBOURS);
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_file_has_a_near_neighbour() {
        let folder = std::env::temp_dir().join(format!("ostler-near-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for name in ["ecosystem.confg.js", "server.js", "läuft.js"] {
            std::fs::write(folder.join(name), "").unwrap();
        }
        let shown = folder.display();
        for (missing, found) in [("servr.js", Some("server.js")), ("laeuft.js", Some("läuft.js")), ("other.py", None)] {
            let expected = found.map(|name| format!("did you mean `{shown}/{name}`?"));
            assert_eq!(near_file(&folder.join(missing)), expected, "{missing}");
        }
        assert_eq!(near_one_of(&folder, &["pm2.json", "ecosystem.config.js"]).as_deref(), Some("did you mean `ecosystem.confg.js`?"));
        assert_eq!(near_file(Path::new("/no/such/folder/x.js")), None);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
