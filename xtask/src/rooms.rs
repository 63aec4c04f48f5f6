//! Dependencies inside crates: which room may use which, and no circle of files in any crate. A
//! room is a module that the table of its house lists.

use crate::paths::{File, Files};
use crate::process::root;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};

/// A folder with rooms.
struct ModuleTable {
    name: &'static str,
    dir: &'static str,
    rooms: &'static [(&'static str, RoomKind)],
    /// Known violations of the rule. An entry without a violation fails the check, so the list only
    /// gets shorter.
    known_violations: &'static [(&'static str, &'static str)],
}

const MODULE_TABLES: &[ModuleTable] = &[
    ModuleTable { name: "daemon", dir: "crates/daemon/src", rooms: ROOMS, known_violations: KNOWN_VIOLATIONS },
    ModuleTable { name: "binary", dir: "crates/ostler/src", rooms: BINARY, known_violations: &[] },
    ModuleTable { name: "dashboard", dir: "crates/web/src", rooms: DASHBOARD, known_violations: &[] },
    ModuleTable { name: "alerts", dir: "crates/alerts/src", rooms: ALERTS, known_violations: &[] },
    ModuleTable { name: "commands", dir: "crates/ostler/src/commands", rooms: COMMANDS, known_violations: &[] },
];

/// Kind of a room. Each may use the kinds before it, and rooms of its own kind if the kind allows
/// that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum RoomKind {
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

impl RoomKind {
    fn may_use(self, other: RoomKind) -> bool {
        match self {
            RoomKind::Assembly => true,
            RoomKind::Ground | RoomKind::Context | RoomKind::Step => other <= self,
            RoomKind::Surface | RoomKind::Slots | RoomKind::Engine | RoomKind::Feature | RoomKind::Command => other < self,
        }
    }
}

/// The rooms of the daemon. A module that is not in one of them fails the check.
const ROOMS: &[(&str, RoomKind)] = &[
    ("logs", RoomKind::Ground),
    ("platform::conf", RoomKind::Ground),
    ("platform::confinement", RoomKind::Ground),
    ("platform::fd_budget", RoomKind::Ground),
    ("platform::files", RoomKind::Ground),
    ("platform::incident", RoomKind::Ground),
    ("platform::ipc", RoomKind::Ground),
    ("platform::keeper_connection", RoomKind::Ground),
    ("platform::log", RoomKind::Ground),
    ("platform::node_version", RoomKind::Ground),
    ("platform::one_shot_watch", RoomKind::Ground),
    ("platform::probe", RoomKind::Ground),
    ("platform::reactor", RoomKind::Ground),
    ("platform::rights", RoomKind::Ground),
    ("platform::sample", RoomKind::Ground),
    ("platform::secrets", RoomKind::Ground),
    ("platform::settings", RoomKind::Ground),
    ("platform::shared_folder", RoomKind::Ground),
    ("platform::threads", RoomKind::Ground),
    ("platform::users", RoomKind::Ground),
    ("platform::waker", RoomKind::Ground),
    ("platform::working_trees", RoomKind::Ground),
    ("state::leftovers", RoomKind::Ground),
    ("state::marked", RoomKind::Ground),
    ("state::policy", RoomKind::Ground),
    ("state::store", RoomKind::Ground),
    ("state::slots", RoomKind::Slots),
    ("engine", RoomKind::Engine),
    ("api", RoomKind::Feature),
    ("features::health::autoscale", RoomKind::Feature),
    ("features::health::checks", RoomKind::Feature),
    ("features::health::lifetime", RoomKind::Feature),
    ("features::health::limits", RoomKind::Feature),
    ("features::health::remediation", RoomKind::Feature),
    ("features::health::usage", RoomKind::Feature),
    ("features::home::autosave", RoomKind::Feature),
    ("features::home::clock", RoomKind::Feature),
    ("features::home::home_watch", RoomKind::Feature),
    ("features::home::host", RoomKind::Feature),
    ("features::home::keeper_watch", RoomKind::Feature),
    ("features::home::runtime", RoomKind::Feature),
    ("features::home::update", RoomKind::Feature),
    ("features::logging::flush", RoomKind::Feature),
    ("features::logging::last_lines", RoomKind::Feature),
    ("features::logging::line_times", RoomKind::Feature),
    ("features::logging::log_writers", RoomKind::Feature),
    ("features::logging::pm2_log", RoomKind::Feature),
    ("features::logging::reclaim", RoomKind::Feature),
    ("features::logging::rotation", RoomKind::Feature),
    ("features::process::cgroups", RoomKind::Feature),
    ("features::process::handover", RoomKind::Feature),
    ("features::process::input", RoomKind::Feature),
    ("features::process::inspector", RoomKind::Feature),
    ("features::process::pid_files", RoomKind::Feature),
    ("features::process::preload", RoomKind::Feature),
    ("features::process::sweeps", RoomKind::Feature),
    ("features::process::tracing", RoomKind::Feature),
    ("features::process::vanished", RoomKind::Feature),
    ("features::process::versioning", RoomKind::Feature),
    ("features::process::watch", RoomKind::Feature),
    ("features::requests::actions", RoomKind::Feature),
    ("features::requests::collecting", RoomKind::Feature),
    ("features::requests::events", RoomKind::Feature),
    ("features::requests::jobs", RoomKind::Feature),
    ("features::rollouts", RoomKind::Feature),
    ("features::schedule::commands", RoomKind::Feature),
    ("features::schedule::cron", RoomKind::Feature),
    ("features::schedule::hooks", RoomKind::Feature),
    ("features::schedule::order", RoomKind::Feature),
    ("features::serving::channels", RoomKind::Feature),
    ("features::serving::cluster", RoomKind::Feature),
    ("features::serving::drains", RoomKind::Feature),
    ("features::serving::readiness", RoomKind::Feature),
    ("features::serving::sockets", RoomKind::Feature),
    ("boot", RoomKind::Assembly),
    ("control", RoomKind::Assembly),
    ("fuzz", RoomKind::Assembly),
    ("features", RoomKind::Assembly),
    ("features::edges", RoomKind::Assembly),
    ("features::reactions", RoomKind::Assembly),
    ("simulation", RoomKind::Assembly),
    ("supervisor", RoomKind::Assembly),
];

/// Known violations of the daemon.
const KNOWN_VIOLATIONS: &[(&str, &str)] = &[];

/// The rooms of the binary.
const BINARY: &[(&str, RoomKind)] = &[
    ("client", RoomKind::Ground),
    ("error", RoomKind::Ground),
    ("home", RoomKind::Ground),
    ("left_behind", RoomKind::Ground),
    ("near_file", RoomKind::Ground),
    ("other_pm2", RoomKind::Ground),
    ("signals", RoomKind::Ground),
    ("unresponsive", RoomKind::Ground),
    ("text", RoomKind::Ground),
    ("access", RoomKind::Ground),
    ("app_access", RoomKind::Ground),
    ("app_files", RoomKind::Ground),
    ("pm2_units", RoomKind::Ground),
    ("replacement", RoomKind::Ground),
    ("versioning", RoomKind::Ground),
    ("cli", RoomKind::Surface),
    ("render", RoomKind::Surface),
    ("full_screen", RoomKind::Surface),
    ("cx", RoomKind::Context),
    ("process_1", RoomKind::Context),
    ("module_conf", RoomKind::Context),
    ("owner", RoomKind::Context),
    ("logs", RoomKind::Feature),
    ("service", RoomKind::Feature),
    ("deploy", RoomKind::Feature),
    ("doctor", RoomKind::Feature),
    ("fleet", RoomKind::Feature),
    ("migrate", RoomKind::Feature),
    ("preflight", RoomKind::Feature),
    ("modules", RoomKind::Context),
    ("web", RoomKind::Context),
    ("startup", RoomKind::Feature),
    ("commands", RoomKind::Command),
    ("run", RoomKind::Assembly),
];

/// Files of `commands` that several commands use. Every other file is a command.
const COMMANDS: &[(&str, RoomKind)] = &[
    ("attach", RoomKind::Step),
    ("change", RoomKind::Step),
    ("files", RoomKind::Step),
    ("metrics_history", RoomKind::Step),
    ("foreground", RoomKind::Step),
    ("launch", RoomKind::Step),
    ("instance_limit", RoomKind::Step),
    ("ports", RoomKind::Step),
    ("existing_apps", RoomKind::Step),
    ("project", RoomKind::Step),
    ("request", RoomKind::Step),
    ("selected", RoomKind::Step),
    ("error_source", RoomKind::Step),
    ("update_from", RoomKind::Step),
    ("table", RoomKind::Step),
    ("wait_healthy", RoomKind::Step),
    ("write", RoomKind::Step),
];

/// The rooms of the dashboard.
const DASHBOARD: &[(&str, RoomKind)] = &[
    ("clock", RoomKind::Ground),
    ("settings", RoomKind::Ground),
    ("json_file", RoomKind::Ground),
    ("access", RoomKind::Ground),
    ("http", RoomKind::Ground),
    ("snapshot", RoomKind::Ground),
    ("view", RoomKind::Ground),
    ("history", RoomKind::Ground),
    ("daemon", RoomKind::Ground),
    ("logs", RoomKind::Ground),
    ("errors", RoomKind::Feature),
    ("hosts", RoomKind::Feature),
    ("metrics", RoomKind::Feature),
    ("otlp", RoomKind::Feature),
    ("profiles", RoomKind::Feature),
    // Evaluates the findings of the features.
    ("alerts", RoomKind::Step),
    ("site", RoomKind::Step),
    ("fuzz", RoomKind::Assembly),
    ("routes", RoomKind::Assembly),
    ("server", RoomKind::Assembly),
];

/// The rooms of the alerts.
const ALERTS: &[(&str, RoomKind)] = &[
    ("certificate", RoomKind::Ground),
    ("fields", RoomKind::Ground),
    ("text", RoomKind::Ground),
    ("severity", RoomKind::Ground),
    ("input", RoomKind::Ground),
    ("rule", RoomKind::Ground),
    ("message", RoomKind::Ground),
    ("channel", RoomKind::Ground),
    ("config", RoomKind::Ground),
    ("engine", RoomKind::Feature),
    ("render", RoomKind::Feature),
    ("journal", RoomKind::Step),
    ("dispatch", RoomKind::Step),
    ("fuzz", RoomKind::Assembly),
];

/// Returns all forbidden dependencies between rooms, and all circles of files.
pub(crate) fn faults() -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for house in MODULE_TABLES {
        let files = Files::read(&root().join(house.dir), house.name == "commands")?;
        let mut rooms = house.rooms.to_vec();
        if house.name == "commands" {
            let names: BTreeSet<&str> = files.files.iter().filter_map(|file| file.module.first()).map(String::as_str).collect();
            let is_listed = |name: &str| house.rooms.iter().any(|(room, _)| *room == name);
            rooms.extend(names.into_iter().filter(|name| !is_listed(name)).map(|name| (name, RoomKind::Command)));
        }
        faults.extend(judge(house.name, &arrows(&files, &rooms), &rooms, house.known_violations));
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
type Dependencies = BTreeMap<(String, String), String>;

fn judge(house: &str, arrows: &Dependencies, rooms: &[(&str, RoomKind)], known_violations: &[(&str, &str)]) -> Vec<String> {
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
        if known_violations.contains(&(from.as_str(), to.as_str())) {
            found.insert((from.as_str(), to.as_str()));
        } else {
            faults.push(format!("{file}: the room {from} of the {house} must not use {to}"));
        }
    }
    for (from, to) in known_violations.iter().filter(|arrow| !found.contains(*arrow)) {
        faults.push(format!("{from} does not use {to} any more: take it out of the list in xtask/src/rooms.rs"));
    }
    faults
}

fn arrows(files: &Files, rooms: &[(&str, RoomKind)]) -> Dependencies {
    let mut arrows = Dependencies::new();
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
fn room_of(path: &[String], rooms: &[(&str, RoomKind)]) -> String {
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
            ("log", RoomKind::Ground),
            ("waker", RoomKind::Ground),
            ("slots", RoomKind::Slots),
            ("engine", RoomKind::Engine),
            ("a", RoomKind::Feature),
            ("b", RoomKind::Feature),
            ("boot", RoomKind::Assembly),
            ("cli", RoomKind::Surface),
            ("render", RoomKind::Surface),
            ("files", RoomKind::Step),
            ("list", RoomKind::Step),
            ("stop", RoomKind::Command),
            ("start", RoomKind::Command),
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
        let rooms = [("features", RoomKind::Assembly), ("features::health::checks", RoomKind::Feature), ("logs", RoomKind::Ground)];
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
        let rooms = [("a", RoomKind::Feature), ("b", RoomKind::Feature)];
        let arrows = BTreeMap::from([arrow("a", "b")]);
        assert!(judge("daemon", &arrows, &rooms, &[("a", "b")]).is_empty());
        assert_eq!(judge("daemon", &BTreeMap::new(), &rooms, &[("a", "b")]).len(), 1);
    }
}
