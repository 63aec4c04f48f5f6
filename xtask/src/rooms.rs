//! Walls inside the daemon: which room may use which. Rooms are the modules at the top of `crates/daemon/src`.

use crate::process::root;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What a room is. Each may use the kinds before it, and rooms of its own kind where that is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// What touches the world or says what is in it. Uses its own kind.
    Ground,
    /// Supervised instances.
    Slots,
    /// The turn.
    Engine,
    /// A part with a state of its own. Never another one.
    Feature,
    /// Puts the others together. Uses its own kind.
    Assembly,
    /// Not taken apart yet: methods of one object that call each other. Uses everything. Nothing is added here.
    Shared,
}

/// Every room. One that is not listed fails.
const ROOMS: &[(&str, Kind)] = &[
    ("conf", Kind::Ground),
    ("files", Kind::Ground),
    ("incident", Kind::Ground),
    ("ipc", Kind::Ground),
    ("keeper_door", Kind::Ground),
    ("left_behind", Kind::Ground),
    ("log", Kind::Ground),
    ("logs", Kind::Ground),
    ("node_version", Kind::Ground),
    ("policy", Kind::Ground),
    ("probe", Kind::Ground),
    ("reactor", Kind::Ground),
    ("rights", Kind::Ground),
    ("shared_folder", Kind::Ground),
    ("sample", Kind::Ground),
    ("secrets", Kind::Ground),
    ("settings", Kind::Ground),
    ("store", Kind::Ground),
    ("users", Kind::Ground),
    ("slots", Kind::Slots),
    ("engine", Kind::Engine),
    ("autosave", Kind::Feature),
    ("autoscale", Kind::Feature),
    ("channels", Kind::Feature),
    ("cluster", Kind::Feature),
    ("commands", Kind::Feature),
    ("cron", Kind::Feature),
    ("doors", Kind::Feature),
    ("events", Kind::Feature),
    ("flush", Kind::Feature),
    ("home_watch", Kind::Feature),
    ("hooks", Kind::Feature),
    ("host", Kind::Feature),
    ("log_writers", Kind::Feature),
    ("lifetime", Kind::Feature),
    ("order", Kind::Feature),
    ("reclaim", Kind::Feature),
    ("rollouts", Kind::Feature),
    ("readiness", Kind::Feature),
    ("rotation", Kind::Feature),
    ("sockets", Kind::Feature),
    ("update", Kind::Feature),
    ("usage", Kind::Feature),
    ("watch", Kind::Feature),
    ("boot", Kind::Assembly),
    ("features", Kind::Assembly),
    ("care", Kind::Shared),
    ("control", Kind::Shared),
    ("runtime", Kind::Shared),
    ("supervisor", Kind::Shared),
];

/// Arrows against the rule that are still there. One that is gone fails as long as it is listed, so the list only gets shorter.
const STILL_THERE: &[(&str, &str)] = &[("store", "slots")];

/// All arrows between rooms that are against the rule.
pub(crate) fn faults() -> Result<Vec<String>> {
    let arrows = arrows(&root().join("crates/daemon/src"))?;
    Ok(judge(&arrows, ROOMS, STILL_THERE))
}

fn judge(arrows: &BTreeMap<(String, String), PathBuf>, rooms: &[(&str, Kind)], still_there: &[(&str, &str)]) -> Vec<String> {
    let kind = |name: &str| rooms.iter().find(|(room, _)| *room == name).map(|(_, kind)| *kind);
    let mut faults = Vec::new();
    let mut found = BTreeSet::new();
    let named: BTreeSet<&String> = arrows.keys().flat_map(|(from, to)| [from, to]).collect();
    for room in named {
        if kind(room).is_none() {
            faults.push(format!("the room {room} of the daemon is not in the table of xtask/src/rooms.rs"));
        }
    }
    for ((from, to), file) in arrows {
        let (Some(from_kind), Some(to_kind)) = (kind(from), kind(to)) else { continue };
        let is_right = match from_kind {
            Kind::Shared => true,
            Kind::Ground | Kind::Assembly => to_kind <= from_kind || from_kind == Kind::Assembly,
            Kind::Slots | Kind::Engine | Kind::Feature => to_kind < from_kind,
        };
        if is_right {
            continue;
        }
        if still_there.contains(&(from.as_str(), to.as_str())) {
            found.insert((from.as_str(), to.as_str()));
        } else {
            faults.push(format!("{}: the room {from} must not use {to}", file.display()));
        }
    }
    for (from, to) in still_there.iter().filter(|arrow| !found.contains(*arrow)) {
        faults.push(format!("{from} does not use {to} any more: take it out of the list in xtask/src/rooms.rs"));
    }
    faults
}

/// From which room to which, and one file that does it. Tests may use whatever they need.
fn arrows(dir: &Path) -> Result<BTreeMap<(String, String), PathBuf>> {
    let mut arrows = BTreeMap::new();
    for file in crate::layers::rust_files(dir)? {
        let inner = file.strip_prefix(dir).unwrap_or(&file);
        let Some(room) = room_of(inner) else { continue };
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        for used in used(&text).into_iter().filter(|used| *used != room) {
            arrows.entry((room.clone(), used)).or_insert_with(|| inner.to_path_buf());
        }
    }
    Ok(arrows)
}

/// `None` for the root of the crate and for files that are tests.
fn room_of(file: &Path) -> Option<String> {
    let is_test = file.iter().any(|part| part == "tests" || part.to_string_lossy().ends_with("tests.rs"));
    let first = file.iter().next()?.to_string_lossy();
    let room = first.trim_end_matches(".rs").to_owned();
    (!is_test && room != "lib").then_some(room)
}

/// The first word after each `crate::` in what is compiled into the program.
fn used(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let word = |rest: &str| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    // `pub(in crate::x)` and `$crate::x` are no uses of another kind.
    lines.flat_map(|line| line.split("crate::").skip(1).map(word).collect::<Vec<_>>()).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrow(from: &str, to: &str) -> ((String, String), PathBuf) {
        ((from.to_owned(), to.to_owned()), PathBuf::from(format!("{from}.rs")))
    }

    #[test]
    fn arrows_point_down() {
        let rooms = [
            ("log", Kind::Ground),
            ("slots", Kind::Slots),
            ("engine", Kind::Engine),
            ("a", Kind::Feature),
            ("b", Kind::Feature),
            ("old", Kind::Shared),
        ];
        for (from, to, is_right) in [
            ("a", "engine", true),
            ("a", "slots", true),
            ("a", "log", true),
            ("engine", "slots", true),
            ("old", "a", true),
            ("log", "log", true),
            ("a", "b", false),
            ("a", "old", false),
            ("engine", "a", false),
            ("slots", "engine", false),
            ("slots", "old", false),
            ("log", "slots", false),
        ] {
            let faults = judge(&BTreeMap::from([arrow(from, to)]), &rooms, &[]);
            assert_eq!(faults.is_empty(), is_right, "{from} -> {to}: {faults:?}");
        }
        let unknown = judge(&BTreeMap::from([arrow("a", "new")]), &rooms, &[]);
        assert_eq!(unknown, ["the room new of the daemon is not in the table of xtask/src/rooms.rs"]);
    }

    #[test]
    fn what_is_still_there_only_gets_less() {
        let rooms = [("a", Kind::Feature), ("b", Kind::Feature)];
        let arrows = BTreeMap::from([arrow("a", "b")]);
        assert!(judge(&arrows, &rooms, &[("a", "b")]).is_empty());
        assert_eq!(judge(&BTreeMap::new(), &rooms, &[("a", "b")]).len(), 1);
    }

    #[test]
    fn only_the_program_counts() {
        let text =
            "use crate::log::Log;\n// use crate::no;\nfn f() { crate::reactor::x() }\n#[cfg(test)]\nmod tests {\n use crate::boot;\n}\n";
        assert_eq!(used(text), ["log", "reactor"].map(str::to_owned).into());
        assert_eq!(room_of(Path::new("logs/tests/lines.rs")), None);
        assert_eq!(room_of(Path::new("lib.rs")), None);
        assert_eq!(room_of(Path::new("autosave.rs")), Some("autosave".into()));
        assert_eq!(room_of(Path::new("cron/run.rs")), Some("cron".into()));
    }
}
