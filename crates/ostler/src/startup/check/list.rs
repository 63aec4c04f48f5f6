//! Check of the saved list: it exists, is readable, and matches the running apps.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use ostler_core::text::causes::with_causes;
use ostler_core::{marked, message};
use ostler_proto::pm2::{DumpEntry, parse_dump, to_dump};

use super::{Finding, fine, wrong};
use crate::client;
use crate::startup::facts::Facts;
use crate::startup::saved;

/// Checks the list; returns the apps that a boot would start.
pub(super) fn inspect(facts: &Facts, findings: &mut Vec<Finding>) -> Vec<DumpEntry> {
    let path = saved::path(Path::new(&facts.home));
    let shown = path.display();
    let save = format!("{} save", facts.program.name());
    let text = match saved::read(Path::new(&facts.home)) {
        Ok(text) => text,
        Err(error) => {
            let found =
                if error.kind() == ErrorKind::NotFound { message!("{shown} does not exist", shown) } else { format!("{shown}: {error}") };
            findings.push(wrong(marked!("saved list"), found, save));
            return Vec::new();
        }
    };
    let dump = match parse_dump(&text) {
        Ok(dump) => dump,
        Err(error) => {
            findings.push(wrong(marked!("saved list"), format!("{shown}: {}", with_causes(&error)), save));
            return Vec::new();
        }
    };
    findings.push(match (dump.rejected.first(), dump.entries.len()) {
        (Some(rejected), _) => wrong(marked!("saved list"), rejected.to_string(), &save),
        (None, 0) => wrong(marked!("saved list"), message!("{shown} has no apps", shown), &save),
        (None, 1) => fine(marked!("saved list"), message!("{shown}, 1 instance", shown)),
        (None, n) => fine(marked!("saved list"), message!("{shown}, {count} instances", shown, count = n)),
    });
    // Another user's daemon is not asked. A daemon that does not run cannot save its list any more.
    if let Some(present) = present(facts) {
        let drift = drift(&dump.entries, &present);
        findings.push(match drift.is_empty() {
            true => fine(marked!("saved list matches"), message!("no difference")),
            false => wrong(marked!("saved list matches"), drift.join("; "), save),
        });
    }
    dump.entries
}

/// Returns the list that `save` would write now.
fn present(facts: &Facts) -> Option<Vec<DumpEntry>> {
    if rustix::process::geteuid().as_raw() != facts.user.uid {
        return None;
    }
    let details = client::connect(Path::new(&facts.home)).ok()?.inspect(&[]).ok()?;
    parse_dump(&to_dump(&details)).ok().map(|dump| dump.entries)
}

/// Describes the differences by name.
fn drift(saved: &[DumpEntry], present: &[DumpEntry]) -> Vec<String> {
    let by_name = |entries: &[DumpEntry]| {
        let mut names: BTreeMap<String, Vec<DumpEntry>> = BTreeMap::new();
        for entry in entries {
            names.entry(entry.spec.name.clone()).or_default().push(DumpEntry { created_ms: None, ..entry.clone() });
        }
        names
    };
    let (saved, present) = (by_name(saved), by_name(present));
    let mut words = Vec::new();
    let list = |names: Vec<&str>| names.join(", ");
    let new: Vec<&str> = present.keys().filter(|name| !saved.contains_key(*name)).map(String::as_str).collect();
    let gone: Vec<&str> = saved.keys().filter(|name| !present.contains_key(*name)).map(String::as_str).collect();
    if !new.is_empty() {
        words.push(message!("not saved: {names}", names = list(new)));
    }
    if !gone.is_empty() {
        words.push(message!("saved but not in the list: {names}", names = list(gone)));
    }
    for (name, was) in &saved {
        let Some(is) = present.get(name).filter(|is| *is != was) else { continue };
        let stopped = |entries: &[DumpEntry]| entries.iter().filter(|entry| entry.stopped).count();
        words.push(if was.len() != is.len() {
            message!("{name}: {saved} instances saved, {present} in the list", name, saved = was.len(), present = is.len())
        } else if stopped(was) != stopped(is) {
            message!(
                "{name}: {saved} instances saved as stopped, {present} are stopped now",
                name,
                saved = stopped(was),
                present = stopped(is)
            )
        } else {
            message!("{name}: changed since it was saved", name)
        });
    }
    words
}

#[cfg(test)]
mod tests {
    use ostler_core::app::AppSpec;

    use super::*;

    fn entry(name: &str, script: &str, stopped: bool) -> DumpEntry {
        let spec = AppSpec { name: name.into(), script: script.into(), ..AppSpec::default() };
        DumpEntry { spec, index: None, stopped, created_ms: Some(7), ticks: None }
    }

    #[test]
    fn drift_names_each_difference() {
        let a = || entry("a", "/a", false);
        for (saved, present, words) in [
            (vec![a()], vec![a()], ""),
            (vec![a()], vec![DumpEntry { created_ms: Some(8), ..a() }], ""),
            (vec![], vec![a(), entry("b", "/b", false)], "not saved: a, b"),
            (vec![a()], vec![], "saved but not in the list: a"),
            (vec![a()], vec![a(), a()], "a: 1 instances saved, 2 in the list"),
            (vec![a()], vec![entry("a", "/a", true)], "a: 0 instances saved as stopped, 1 are stopped now"),
            (vec![a()], vec![entry("a", "/other", false)], "a: changed since it was saved"),
        ] {
            assert_eq!(drift(&saved, &present).join("; "), words);
        }
    }
}
