//! Names of an app's default files. They are unique to the app, unless PM2's names are wanted.

use ostler_core::app::{AppSpec, CombinedLog};
use ostler_core::logs::files::{NOWHERE, Naming, free_stem, is_default_log, log_files, own_stem, own_stream, stem};

use super::{Slot, Slots};
use crate::platform::settings::Settings;

/// Returns the stem of a new app's default files, or `None` for PM2's names. An app from a saved
/// list or from PM2 keeps the stem of the files that its description names.
pub(crate) fn new_stem(slots: &Slots, spec: &AppSpec, naming: Naming, settings: &Settings) -> Option<Box<str>> {
    if naming == Naming::Pm2 {
        return None;
    }
    let home = settings.home.to_string_lossy();
    let (of_pm2, own) = (stem(&spec.name), own_stem(&spec.name));
    let distinct = free_stem(&spec.name, spec.key(), |stem| stem == own);
    let is_named = |stem: &str| given_logs(spec).any(|path| is_default_log(path, stem, &home));
    let chosen = [&of_pm2, &own, &distinct].into_iter().find(|stem| is_named(stem)).cloned();
    let chosen = chosen.unwrap_or_else(|| free_stem(&spec.name, spec.key(), |stem| is_taken(slots, spec, stem, &home)));
    (chosen != of_pm2).then(|| chosen.into())
}

/// Returns the log files that a description names.
fn given_logs(spec: &AppSpec) -> impl Iterator<Item = &str> {
    let combined = spec.logs.log_file.as_ref().and_then(|log| match log {
        CombinedLog::Default => None,
        CombinedLog::Path(path) => Some(path),
    });
    [spec.logs.out_file.as_ref(), spec.logs.error_file.as_ref(), combined].into_iter().flatten().map(String::as_str)
}

/// Returns true if another app has that stem, or one of its log files has the same path for another
/// reason. For example, the combined log of `api-out` is the output of `api`.
fn is_taken(slots: &Slots, spec: &AppSpec, wanted: &str, home: &str) -> bool {
    let logs = log_files(&spec.logs, wanted, 0, home);
    let defaults = [&logs.out, &logs.error, &logs.combined];
    let is_default = |path: &str| is_default_log(path, wanted, home) && defaults.into_iter().flatten().any(|own| own == path);
    slots.iter().filter(|slot| slot.spec().key() != spec.key()).any(|slot| {
        let has_stem = match &slot.durable.file_stem {
            Some(own) => **own == *wanted,
            None => stem(&slot.spec().name) == wanted,
        };
        has_stem || written(slot).any(|path| !given_logs(slot.spec()).any(|given| given == path) && is_default(path))
    })
}

/// Returns the log files of an instance.
fn written(slot: &Slot) -> impl Iterator<Item = &str> {
    let files = &slot.live.files;
    [&files.out, &files.error, &files.combined].into_iter().flatten().map(String::as_str)
}

/// Returns a warning if an instance shares a log file with another app because of its name, and not
/// because its description names the file.
pub(crate) fn shares_files(slots: &Slots, id: u32) -> Option<String> {
    let slot = slots.get(id)?;
    let (spec, files) = (slot.spec(), &slot.live.files);
    let given = spec.given.open();
    let named = [("out_file", &files.out), ("error_file", &files.error), ("log_file", &files.combined)];
    let own = named.into_iter().filter(|(key, _)| !given.get(*key).is_some_and(serde_json::Value::is_string));
    let own: Vec<(&str, &str)> = own.filter_map(|(key, path)| Some((key, path.as_deref()?))).collect();
    let own: Vec<(&str, &str)> = own.into_iter().filter(|(_, path)| *path != NOWHERE && own_stream(path).is_none()).collect();
    slots.iter().filter(|other| other.spec().key() != spec.key()).find_map(|other| {
        let (key, path) = own.iter().find(|(_, path)| written(other).any(|there| there == *path))?;
        let (name, taken) = (&spec.name, &other.spec().name);
        Some(format!("{name} and {taken} write to the same log file {path}; `{key}` gives {name} another one"))
    })
}

#[cfg(test)]
mod tests {
    use ostler_core::app::{EnvMap, LogSpec};

    use super::*;
    use crate::engine::TestContext;

    fn app(name: &str) -> AppSpec {
        let logs = LogSpec { merge_logs: true, ..LogSpec::default() };
        AppSpec { name: name.into(), logs, script: "/srv/app".into(), ..AppSpec::default() }
    }

    /// Adds an app, and returns the beginning of its log file's name.
    fn add(played: &mut TestContext, spec: AppSpec, naming: Naming) -> String {
        let (_, ids) = played.ctx.add_instances(spec, &EnvMap::new(), 1, naming);
        let path = played.ctx.state.slots.get(ids[0]).unwrap().live.files.out.clone().unwrap();
        path.rsplit_once('/').unwrap().1.trim_end_matches("-out.log").to_owned()
    }

    fn warning(played: &TestContext) -> Option<String> {
        let newest = played.ctx.state.slots.iter().map(|slot| slot.durable.id).max()?;
        shares_files(&played.ctx.state.slots, newest)
    }

    #[test]
    fn each_new_app_gets_its_own_stem() {
        let mut played = TestContext::new(&[]);
        let mut named = |name: &str| add(&mut played, app(name), Naming::Own);
        assert_eq!([named("订单"), named("支付"), named("api-v1"), named("--x")], ["订单", "支付", "api-v1", "x"]);
        let other = named("api v1");
        assert!(other.starts_with("api-v1-") && other.len() == "api-v1-".len() + 8, "{other}");
        assert_eq!(named("api v1"), other, "instances of one app share it");
        assert_eq!(warning(&played), None);
    }

    #[test]
    fn app_keeps_its_file_names() {
        let mut played = TestContext::new(&[]);
        assert_eq!(add(&mut played, app("订单"), Naming::Pm2), "--");
        assert_eq!(add(&mut played, app("订单"), Naming::Own), "--", "a new instance of an app with a past");
        let id = played.ctx.state.slots.iter().next().unwrap().durable.id;
        played.ctx.redescribe(id, AppSpec { args: vec!["x".into()], ..app("订单") });
        assert!(played.ctx.state.slots.get(id).unwrap().live.files.out.as_deref().unwrap().ends_with("/logs/---out.log"));
    }

    #[test]
    fn saved_app_keeps_the_stem_of_its_files() {
        let mut played = TestContext::new(&[]);
        let home = played.ctx.io.settings.home.display().to_string();
        for (name, stem) in [("支付", "--"), ("订单", "订单"), ("api v1", &*free_stem("api v1", "api v1", |stem| stem == "api-v1"))] {
            let mut spec = app(name);
            spec.logs.out_file = Some(format!("{home}/logs/{stem}-out.log"));
            played.ctx.add_instances(spec, &EnvMap::new(), 1, Naming::Own);
            assert_eq!(add(&mut played, app(name), Naming::Own), stem, "{name}");
        }
    }

    #[test]
    fn combined_log_never_shares_a_file_with_another_app() {
        let mut played = TestContext::new(&[]);
        let mut combined = app("api-out");
        combined.logs.log_file = Some(CombinedLog::Default);
        assert_eq!(add(&mut played, app("api"), Naming::Own), "api");
        assert_ne!(add(&mut played, combined, Naming::Own), "api-out");
    }

    #[test]
    fn shared_file_by_pm2_naming_is_reported() {
        let mut played = TestContext::new(&[]);
        for (name, shares) in [("订单", false), ("支付", true), ("api", false), ("api v1", false), ("api-v1", true)] {
            add(&mut played, app(name), Naming::Pm2);
            assert_eq!(warning(&played).is_some(), shares, "{name}");
        }
        let text = warning(&played).unwrap();
        assert!(text.starts_with("api-v1 and api v1 write to the same log file /") && text.contains("`out_file`"), "{text}");
    }

    #[test]
    fn explicitly_shared_file_is_not_reported() {
        let mut played = TestContext::new(&[]);
        for name in ["a", "b"] {
            let mut spec = app(name);
            (spec.logs.out_file, spec.logs.error_file) = (Some("/l/all.log".into()), Some("/dev/null".into()));
            spec.given.open_mut().insert("out_file".into(), "/l/all.log".into());
            add(&mut played, spec, Naming::Pm2);
        }
        assert_eq!(warning(&played), None);
    }
}
