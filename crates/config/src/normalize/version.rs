//! Version of the app, from the nearest `package.json`.

use ostler_core::app::AppSpec;
use ostler_core::app::package;

/// Returns the version of the nearest `package.json`, or `N/A`.
pub(super) fn nearest(spec: &AppSpec) -> Option<String> {
    let text = |path: &std::path::Path| {
        let is_small = std::fs::metadata(path).is_ok_and(|file| file.len() <= package::MAX_BYTES);
        is_small.then(|| std::fs::read_to_string(path).ok()).flatten()
    };
    Some(package::version(&package::folder(spec), |path| path.is_file(), text))
}
