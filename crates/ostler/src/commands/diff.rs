//! `diff`: changes that starting a config file would make to the running apps.

use std::collections::BTreeMap;

use ostler_config::Overlay;
use ostler_core::app::AppSpec;
use ostler_core::app::diff::{Difference, differences};
use ostler_proto::control::Detail;

use super::change::EnvChoice;
use super::existing_apps::Present;
use super::files::{self, Source};
use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::render::{self, AppChange, AppDiff, ValueDisplay};

/// Prints the differences. Nothing is changed and no daemon is started. If no daemon runs, every
/// app is new.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let mut context = files::context(cx, call)?;
    let source = match call.target() {
        Some(target) => Source::of(target, &context).unwrap_or_else(|| Source::File(context.cwd.join(target), target.into())),
        None => Source::required(cx, &context)?,
    };
    let loaded = files::read(cx, call, &source, &mut context)?;
    let choice = EnvChoice::of(call)?;
    let overlay = Overlay { profile: choice.profile, vars: choice.vars, ..Overlay::default() };
    let present = Present::from_file(cx, &loaded.apps, &overlay)?;
    let mut wanted = Vec::new();
    for app in &loaded.apps {
        let again = present.describe(app, &context, &overlay).map_err(|problems| files::report(cx, Some(&source), &problems))?;
        wanted.push(again.app);
    }
    files::check_profile(cx, overlay.profile.as_deref(), &wanted, false)?;
    files::warn_all(cx, overlay.profile.as_deref(), &wanted);
    let wanted: Vec<AppSpec> = wanted.into_iter().map(|app| app.spec).collect();
    let running = match cx.running_client()? {
        Some(client) => client.inspect(&[])?,
        None => Vec::new(),
    };
    let everything = call.value("only").is_none();
    let diffs = compare(&wanted, &running, everything);
    let values = if call.has("show-values") { ValueDisplay::Shown } else { ValueDisplay::Hidden };
    if call.has("json") {
        render::json(&mut cx.out, &render::diff_json(&diffs, values));
    } else {
        let text = render::diff(&diffs, values, cx.out.paint());
        cx.out.data(text.as_bytes());
    }
    let differs = diffs.iter().any(|diff| !matches!(diff.standing, AppChange::Same));
    Ok(if differs && call.has("exit-code") { Status::Failed } else { Status::Ok })
}

/// Compares each app of the file, then the apps that came from this file and are not in it any
/// more.
fn compare(wanted: &[AppSpec], running: &[Detail], everything: bool) -> Vec<AppDiff> {
    let mut instances: BTreeMap<&str, Vec<&Detail>> = BTreeMap::new();
    for detail in running {
        instances.entry(&detail.spec.name).or_default().push(detail);
    }
    let mut diffs: Vec<AppDiff> =
        wanted.iter().map(|spec| of(spec, instances.get(spec.name.as_str()).map_or(&[], Vec::as_slice))).collect();
    let file = wanted.first().and_then(|spec| spec.config_file.as_ref());
    for (name, details) in instances {
        let from_here = file.is_some() && details.iter().any(|detail| detail.spec.config_file.as_ref() == file);
        if everything && from_here && wanted.iter().all(|spec| spec.name != name) {
            diffs.push(AppDiff { name: name.to_owned(), standing: AppChange::Gone, instances: (details.len(), 0), changes: Vec::new() });
        }
    }
    diffs
}

fn of(spec: &AppSpec, details: &[&Detail]) -> AppDiff {
    let declared = usize::try_from(spec.instances).unwrap_or(usize::MAX);
    // All instances have one description, except during a reload. Then the oldest instance still
    // has the old description.
    let changes: Vec<Difference> = details.first().map(|detail| differences(&detail.spec, spec)).unwrap_or_default();
    let standing = if details.is_empty() {
        AppChange::New
    } else if changes.is_empty() {
        AppChange::Same
    } else {
        AppChange::Changed
    };
    AppDiff { name: spec.name.clone(), standing, instances: (details.len(), declared), changes }
}
