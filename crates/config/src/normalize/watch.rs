//! Restarts when files change.

use ostler_core::app::AppSpec;
use ostler_core::message;
use ostler_core::watch::{WatchSpec, option_without_effect};

use crate::check::RawApp;
use crate::fault::KeyFault;
use crate::problem::{Problem, ProblemKind};

/// Attributes that [`finish`] reads together.
pub(super) const TOGETHER: &[&str] = &["watch", "ignore_watch", "watch_delay", "watch_options", "ext", "cwd"];

/// Reads all attributes of the app; its working directory is known.
pub(super) fn finish(spec: &mut AppSpec) -> Result<(), KeyFault> {
    let mut watch = WatchSpec::read(&spec.given.open(), &spec.cwd).map_err(|bad| (bad.key, bad.message.into()))?;
    if !watch.on {
        // When turned on again, it watches the earlier paths.
        watch.paths = std::mem::take(&mut spec.watch.paths);
    }
    spec.watch = watch.into();
    Ok(())
}

/// Warns of options of chokidar that have no meaning here.
pub(super) fn warn_unusual(raw: &RawApp, problems: &mut Vec<Problem>) {
    let options = raw.attributes().get("watch_options").and_then(|options| options.as_object());
    let without: Vec<String> = options
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| option_without_effect(name, value).map(|why| format!("{name} ({why})")))
        .collect();
    if !without.is_empty() {
        let problem =
            raw.problem(ProblemKind::Value, "watch_options", message!("without effect here: {options}", options = without.join(", ")));
        problems.push(problem.as_warning());
    }
}
