//! Dependencies inside crates: which room may use which, and no circle of files in any crate. A
//! room is a module that the table of its house lists.

use crate::paths::{File, Files};
use crate::process::root;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};

/// A folder with rooms.
struct House {
    name: &'static str,
    dir: &'static str,
    rooms: &'static [(&'static str, Kind)],
    /// Known violations of the rule. An entry without a violation fails the check, so the list only
    /// gets shorter.
    still_there: &'static [(&'static str, &'static str)],
}

const HOUSES: &[House] = &[
    House { name: "daemon", dir: "crates/daemon/src", rooms: ROOMS, still_there: STILL_THERE },
    House { name: "binary", dir: "crates/ostler/src", rooms: BINARY, still_there: &[] },
    House { name: "dashboard", dir: "crates/web/src", rooms: DASHBOARD, still_there: &[] },
    House { name: "alerts", dir: "crates/alerts/src", rooms: ALERTS, still_there: &[] },
    House { name: "commands", dir: "crates/ostler/src/commands", rooms: COMMANDS, still_there: &[] },
];

/// Kind of a room. Each may use the kinds before it, and rooms of its own kind if the kind allows
/// that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Access to the system, or descriptions of it. Uses its own kind.
    Ground,
    /// User input and output. Surfaces do not use each other.
    Surface,
    /// Context of every command. Uses its own kind.
    Context,
    /// Supervised instances.
    Slots,
    /// The daemon's turn.
    Engine,
    /// A part with its own state or its own subject. It never uses another feature.
    Feature,
    /// Steps that several commands share. Uses its own kind.
    Step,
    /// Action of one user command. It never uses another command.
    Command,
    /// Combines the others. Uses everything.
    Assembly,
}

impl Kind {
    fn may_use(self, other: Kind) -> bool {
        match self {
            Kind::Assembly => true,
            Kind::Ground | Kind::Context | Kind::Step => other <= self,
            Kind::Surface | Kind::Slots | Kind::Engine | Kind::Feature | Kind::Command => other < self,
        }
    }
}

/// The rooms of the daemon. A module that is not in one of them fails the check.
const ROOMS: &[(&str, Kind)] = &[
    ("logs", Kind::Ground),
    ("platform::conf", Kind::Ground),
    ("platform::fd_budget", Kind::Ground),
    ("platform::files", Kind::Ground),
    ("platform::incident", Kind::Ground),
    ("platform::ipc", Kind::Ground),
    ("platform::keeper_door", Kind::Ground),
    ("platform::log", Kind::Ground),
    ("platform::node_version", Kind::Ground),
    ("platform::probe", Kind::Ground),
    ("platform::reactor", Kind::Ground),
    ("platform::rights", Kind::Ground),
    ("platform::sample", Kind::Ground),
    ("platform::secrets", Kind::Ground),
    ("platform::settings", Kind::Ground),
    ("platform::shared_folder", Kind::Ground),
    ("platform::threads", Kind::Ground),
    ("platform::users", Kind::Ground),
    ("platform::waker", Kind::Ground),
    ("platform::working_trees", Kind::Ground),
    ("state::left_behind", Kind::Ground),
    ("state::marked", Kind::Ground),
    ("state::policy", Kind::Ground),
    ("state::store", Kind::Ground),
    ("state::slots", Kind::Slots),
    ("engine", Kind::Engine),
    ("api", Kind::Feature),
    ("features::health::autoscale", Kind::Feature),
    ("features::health::checks", Kind::Feature),
    ("features::health::lifetime", Kind::Feature),
    ("features::health::limits", Kind::Feature),
    ("features::health::remediation", Kind::Feature),
    ("features::health::usage", Kind::Feature),
    ("features::home::autosave", Kind::Feature),
    ("features::home::home_watch", Kind::Feature),
    ("features::home::host", Kind::Feature),
    ("features::home::keeper_watch", Kind::Feature),
    ("features::home::runtime", Kind::Feature),
    ("features::home::update", Kind::Feature),
    ("features::logging::flush", Kind::Feature),
    ("features::logging::last_lines", Kind::Feature),
    ("features::logging::log_writers", Kind::Feature),
    ("features::logging::pm2_log", Kind::Feature),
    ("features::logging::reclaim", Kind::Feature),
    ("features::logging::rotation", Kind::Feature),
    ("features::process::cgroups", Kind::Feature),
    ("features::process::handover", Kind::Feature),
    ("features::process::input", Kind::Feature),
    ("features::process::inspector", Kind::Feature),
    ("features::process::pid_files", Kind::Feature),
    ("features::process::preload", Kind::Feature),
    ("features::process::sweeps", Kind::Feature),
    ("features::process::tracing", Kind::Feature),
    ("features::process::vanished", Kind::Feature),
    ("features::process::versioning", Kind::Feature),
    ("features::process::watch", Kind::Feature),
    ("features::requests::actions", Kind::Feature),
    ("features::requests::collecting", Kind::Feature),
    ("features::requests::events", Kind::Feature),
    ("features::requests::jobs", Kind::Feature),
    ("features::rollouts", Kind::Feature),
    ("features::schedule::commands", Kind::Feature),
    ("features::schedule::cron", Kind::Feature),
    ("features::schedule::hooks", Kind::Feature),
    ("features::schedule::order", Kind::Feature),
    ("features::serving::channels", Kind::Feature),
    ("features::serving::cluster", Kind::Feature),
    ("features::serving::drains", Kind::Feature),
    ("features::serving::readiness", Kind::Feature),
    ("features::serving::sockets", Kind::Feature),
    ("boot", Kind::Assembly),
    ("control", Kind::Assembly),
    ("features", Kind::Assembly),
    ("features::edges", Kind::Assembly),
    ("features::reactions", Kind::Assembly),
    ("simulation", Kind::Assembly),
    ("supervisor", Kind::Assembly),
];

/// Known violations of the daemon.
const STILL_THERE: &[(&str, &str)] = &[];

/// The rooms of the binary.
const BINARY: &[(&str, Kind)] = &[
    ("client", Kind::Ground),
    ("error", Kind::Ground),
    ("home", Kind::Ground),
    ("left_behind", Kind::Ground),
    ("other_pm2", Kind::Ground),
    ("signals", Kind::Ground),
    ("unresponsive", Kind::Ground),
    ("text", Kind::Ground),
    ("app_files", Kind::Ground),
    ("pm2_units", Kind::Ground),
    ("replacement", Kind::Ground),
    ("versioning", Kind::Ground),
    ("cli", Kind::Surface),
    ("render", Kind::Surface),
    ("full_screen", Kind::Surface),
    ("cx", Kind::Context),
    ("process_1", Kind::Context),
    ("module_conf", Kind::Context),
    ("owner", Kind::Context),
    ("logs", Kind::Feature),
    ("service", Kind::Feature),
    ("deploy", Kind::Feature),
    ("doctor", Kind::Feature),
    ("fleet", Kind::Feature),
    ("migrate", Kind::Feature),
    ("modules", Kind::Context),
    ("web", Kind::Context),
    ("startup", Kind::Feature),
    ("commands", Kind::Command),
    ("run", Kind::Assembly),
];

/// Files of `commands` that several commands use. Every other file is a command.
const COMMANDS: &[(&str, Kind)] = &[
    ("attach", Kind::Step),
    ("change", Kind::Step),
    ("files", Kind::Step),
    ("metrics_history", Kind::Step),
    ("foreground", Kind::Step),
    ("launch", Kind::Step),
    ("instance_limit", Kind::Step),
    ("ports", Kind::Step),
    ("existing_apps", Kind::Step),
    ("project", Kind::Step),
    ("request", Kind::Step),
    ("selected", Kind::Step),
    ("steady", Kind::Step),
    ("update_from", Kind::Step),
    ("table", Kind::Step),
    ("write", Kind::Step),
];

/// The rooms of the dashboard.
const DASHBOARD: &[(&str, Kind)] = &[
    ("clock", Kind::Ground),
    ("settings", Kind::Ground),
    ("access", Kind::Ground),
    ("http", Kind::Ground),
    ("snapshot", Kind::Ground),
    ("view", Kind::Ground),
    ("history", Kind::Ground),
    ("daemon", Kind::Ground),
    ("logs", Kind::Ground),
    ("errors", Kind::Feature),
    ("metrics", Kind::Feature),
    ("otlp", Kind::Feature),
    ("profiles", Kind::Feature),
    // Evaluates the findings of the features.
    ("alerts", Kind::Step),
    ("site", Kind::Step),
    ("routes", Kind::Assembly),
    ("server", Kind::Assembly),
];

/// The rooms of the alerts.
const ALERTS: &[(&str, Kind)] = &[
    ("certificate", Kind::Ground),
    ("fields", Kind::Ground),
    ("text", Kind::Ground),
    ("severity", Kind::Ground),
    ("input", Kind::Ground),
    ("rule", Kind::Ground),
    ("message", Kind::Ground),
    ("channel", Kind::Ground),
    ("config", Kind::Ground),
    ("engine", Kind::Feature),
    ("render", Kind::Feature),
    ("journal", Kind::Step),
    ("dispatch", Kind::Step),
];

/// Returns all forbidden dependencies between rooms, and all circles of files.
pub(crate) fn faults() -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for house in HOUSES {
        let files = Files::read(&root().join(house.dir), house.name == "commands")?;
        let mut rooms = house.rooms.to_vec();
        if house.name == "commands" {
            let names: BTreeSet<&str> = files.files.iter().filter_map(|file| file.module.first()).map(String::as_str).collect();
            let is_listed = |name: &str| house.rooms.iter().any(|(room, _)| *room == name);
            rooms.extend(names.into_iter().filter(|name| !is_listed(name)).map(|name| (name, Kind::Command)));
        }
        faults.extend(judge(house.name, &arrows(&files, &rooms), &rooms, house.still_there));
    }
    faults.extend(circles()?);
    Ok(faults)
}

/// Returns the largest circle of files in each crate below `crates`, with or without rooms.
fn circles() -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for entry in std::fs::read_dir(root().join("crates")).context("cannot read crates")? {
        let entry = entry?;
        let files = Files::read(&entry.path().join("src"), false)?;
        let circle: Vec<String> = files.largest_circle().into_iter().map(|file| file.display().to_string()).collect();
        if !circle.is_empty() {
            faults.push(format!("crates/{}: files use each other in a circle: {}", entry.file_name().display(), circle.join(", ")));
        }
    }
    Ok(faults)
}

/// Pair of rooms with a dependency, and one file that has it.
type Arrows = BTreeMap<(String, String), String>;

fn judge(house: &str, arrows: &Arrows, rooms: &[(&str, Kind)], still_there: &[(&str, &str)]) -> Vec<String> {
    let kind = |name: &str| rooms.iter().find(|(room, _)| *room == name).map(|(_, kind)| *kind);
    let mut faults = Vec::new();
    let mut found = BTreeSet::new();
    let named: BTreeSet<&String> = arrows.keys().flat_map(|(from, to)| [from, to]).collect();
    for room in named.into_iter().filter(|room| kind(room).is_none()) {
        faults.push(format!("the room {room} of the {house} is not in the table of xtask/src/rooms.rs"));
    }
    for ((from, to), file) in arrows {
        let (Some(from_kind), Some(to_kind)) = (kind(from), kind(to)) else { continue };
        if from_kind.may_use(to_kind) {
            continue;
        }
        if still_there.contains(&(from.as_str(), to.as_str())) {
            found.insert((from.as_str(), to.as_str()));
        } else {
            faults.push(format!("{file}: the room {from} of the {house} must not use {to}"));
        }
    }
    for (from, to) in still_there.iter().filter(|arrow| !found.contains(*arrow)) {
        faults.push(format!("{from} does not use {to} any more: take it out of the list in xtask/src/rooms.rs"));
    }
    faults
}

fn arrows(files: &Files, rooms: &[(&str, Kind)]) -> Arrows {
    let mut arrows = Arrows::new();
    for file in &files.files {
        let room = room_of(&file.module, rooms);
        for used in file.uses.iter().map(|path| room_of(files.module(path), rooms)).filter(|used| *used != room) {
            let shown = File::shown(file);
            arrows.entry((room.clone(), used)).or_insert(shown);
        }
    }
    arrows
}

/// Returns the room of a path: the longest one in the table that the path begins with. A room with
/// inner rooms covers only its own file, so a new module beside them is in no room. The path itself
/// is then returned, which is not in the table.
fn room_of(path: &[String], rooms: &[(&str, Kind)]) -> String {
    let is_room = |name: &str| rooms.iter().any(|(room, _)| *room == name);
    let has_rooms = |name: &str| rooms.iter().any(|(room, _)| room.strip_prefix(name).is_some_and(|rest| rest.starts_with("::")));
    let heads = (1..=path.len()).rev().filter_map(|length| Some((length, path.get(..length)?.join("::"))));
    let known = heads.into_iter().find(|(_, head)| is_room(head));
    match known {
        Some((length, head)) if length == path.len() || !has_rooms(&head) => head,
        _ => path.join("::"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrow(from: &str, to: &str) -> ((String, String), String) {
        ((from.to_owned(), to.to_owned()), format!("{from}.rs"))
    }

    #[test]
    fn dependencies_between_rooms_point_down() {
        let rooms = [
            ("log", Kind::Ground),
            ("waker", Kind::Ground),
            ("slots", Kind::Slots),
            ("engine", Kind::Engine),
            ("a", Kind::Feature),
            ("b", Kind::Feature),
            ("boot", Kind::Assembly),
            ("cli", Kind::Surface),
            ("render", Kind::Surface),
            ("files", Kind::Step),
            ("list", Kind::Step),
            ("stop", Kind::Command),
            ("start", Kind::Command),
        ];
        for (from, to, is_right) in [
            ("a", "engine", true),
            ("a", "slots", true),
            ("a", "log", true),
            ("engine", "slots", true),
            ("boot", "a", true),
            ("log", "log", true),
            ("a", "b", false),
            ("a", "boot", false),
            ("engine", "a", false),
            ("slots", "engine", false),
            ("slots", "boot", false),
            ("log", "slots", false),
            ("render", "cli", false),
            ("render", "stop", false),
            ("files", "list", true),
            ("files", "stop", false),
            ("stop", "files", true),
            ("stop", "start", false),
        ] {
            let faults = judge("daemon", &BTreeMap::from([arrow(from, to)]), &rooms, &[]);
            assert_eq!(faults.is_empty(), is_right, "{from} -> {to}: {faults:?}");
        }
        let unknown = judge("daemon", &BTreeMap::from([arrow("a", "new")]), &rooms, &[]);
        assert_eq!(unknown, ["the room new of the daemon is not in the table of xtask/src/rooms.rs"]);
    }

    #[test]
    fn room_with_subrooms_covers_only_its_own_file() {
        let rooms = [("features", Kind::Assembly), ("features::health::checks", Kind::Feature), ("logs", Kind::Ground)];
        for (path, room) in [
            ("features", "features"),
            ("features::health::checks", "features::health::checks"),
            ("features::health::checks::probe::Probe", "features::health::checks"),
            ("features::health::new", "features::health::new"),
            ("logs::splice::Splice", "logs"),
        ] {
            let path: Vec<String> = path.split("::").map(str::to_owned).collect();
            assert_eq!(room_of(&path, &rooms), room);
        }
    }

    #[test]
    fn list_of_known_violations_may_only_shrink() {
        let rooms = [("a", Kind::Feature), ("b", Kind::Feature)];
        let arrows = BTreeMap::from([arrow("a", "b")]);
        assert!(judge("daemon", &arrows, &rooms, &[("a", "b")]).is_empty());
        assert_eq!(judge("daemon", &BTreeMap::new(), &rooms, &[("a", "b")]).len(), 1);
    }
}
