//! Messages about a daemon that no longer runs but was not stopped: it was killed, or the machine
//! went down.

use std::collections::BTreeSet;
use std::path::Path;

use ostler_core::message;
use ostler_daemon::LeftBehind;
use ostler_proto::pm2::parse_dump;

/// Most names in a message; further names are only counted.
const NAMES: usize = 8;

/// Returns the remains of this home, or none if nothing was left or the list had no apps.
pub(crate) fn of(home: &Path) -> Option<LeftBehind> {
    LeftBehind::of(home)
}

/// Lists its apps: `api (2), worker and 3 more`.
fn apps(left: &LeftBehind) -> String {
    let count = |(name, count): (&String, &usize)| if *count > 1 { format!("{name} ({count})") } else { name.clone() };
    let names: Vec<String> = left.apps.iter().take(NAMES).map(count).collect();
    match left.apps.len().saturating_sub(NAMES) {
        0 => names.join(", "),
        more => message!("{names} and {count} more", names = names.join(", "), count = more),
    }
}

/// Returns the message before the start of a daemon that takes over running processes.
pub(crate) fn recovered_message(left: &LeftBehind) -> String {
    let (alive, all) = (left.alive, left.apps.values().sum::<usize>());
    let message = message!(
        "the daemon and its keeper were killed: {alive} of {total} instances still run and are supervised again",
        alive,
        total = all
    );
    match left.strays.as_slice() {
        [] => message,
        strays => message!(
            "{message}; {count} more processes of this home run but are not in the list, because the state was lost (pid {pids}): stop them with `ostler kill`",
            message,
            count = strays.len(),
            pids = strays.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// Returns the message that replaces "nothing to list": the lost apps, and how to start them again.
pub(crate) fn lost_message(left: &LeftBehind, home: &Path, name: &str) -> String {
    format_lost(left, &home.display().to_string(), name, crate::home::paths(home).dump.exists())
}

/// Returns the names of the saved apps; none if nothing was saved.
pub(crate) fn saved_apps(home: &Path) -> BTreeSet<String> {
    std::fs::read_to_string(crate::home::paths(home).dump).map(|list| apps_of(&list)).unwrap_or_default()
}

fn apps_of(list: &str) -> BTreeSet<String> {
    parse_dump(list).map(|dump| dump.entries.into_iter().map(|entry| entry.spec.name).collect()).unwrap_or_default()
}

/// Returns the hint about the apps of the saved list, or none if no app was saved.
pub(crate) fn saved_hint(home: &Path, name: &str) -> Option<String> {
    format_saved(saved_apps(home).len(), name)
}

fn format_saved(apps: usize, name: &str) -> Option<String> {
    match apps {
        0 => None,
        1 => Some(message!("`{name} resurrect` starts the saved app", name)),
        count => Some(message!("`{name} resurrect` starts the {count} saved apps", name, count)),
    }
}

fn format_lost(left: &LeftBehind, home: &str, name: &str, is_saved: bool) -> String {
    let apps = apps(left);
    if !left.other_boot {
        return message!(
            "no daemon is running in {home}: it was killed together with its apps: {apps}. `{name} resurrect` starts them again",
            home,
            apps,
            name
        );
    }
    let way = if is_saved {
        message!("`{name} resurrect` starts the saved apps, `{name} startup` does this at each boot", name)
    } else {
        message!("nothing was saved: start them again, then `{name} save` and `{name} startup`", name)
    };
    message!(
        "no daemon is running in {home}: this machine was restarted. Before that, these apps ran: {apps}; {advice}",
        home,
        apps,
        advice = way
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(names: &[(&str, usize)], other_boot: bool, alive: usize) -> LeftBehind {
        LeftBehind { other_boot, apps: names.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(), alive, strays: Vec::new() }
    }

    #[test]
    fn message_states_the_cause_and_the_next_command() {
        let two = [("api", 2), ("worker", 1)];
        for (text, expected) in [
            (
                recovered_message(&left(&two, false, 1)),
                "the daemon and its keeper were killed: 1 of 3 instances still run and are supervised again",
            ),
            (
                format_lost(&left(&two, false, 0), "/h", "ostler", true),
                "no daemon is running in /h: it was killed together with its apps: api (2), worker. `ostler resurrect` starts them again",
            ),
            (
                format_lost(&left(&two, true, 0), "/h", "ostler", true),
                "no daemon is running in /h: this machine was restarted. Before that, these apps ran: api (2), worker; `ostler resurrect` starts the saved apps, `ostler startup` does this at each boot",
            ),
            (
                format_lost(&left(&two, true, 0), "/h", "pm2", false),
                "no daemon is running in /h: this machine was restarted. Before that, these apps ran: api (2), worker; nothing was saved: start \
                 them again, then `pm2 save` and `pm2 startup`",
            ),
        ] {
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn saved_apps_are_counted_by_name() {
        let entry = |name: &str| format!("{{\"name\": \"{name}\", \"pm_exec_path\": \"/srv/app.js\", \"pm_cwd\": \"/srv\"}}");
        for (names, hint) in [
            (&[][..], None),
            (&["api"][..], Some("`ostler resurrect` starts the saved app")),
            (&["api", "api", "worker"], Some("`ostler resurrect` starts the 2 saved apps")),
        ] {
            let list = format!("[{}]", names.iter().map(|name| entry(name)).collect::<Vec<_>>().join(","));
            assert_eq!(format_saved(apps_of(&list).len(), "ostler").as_deref(), hint, "{list}");
        }
        assert!(apps_of("no list").is_empty());
    }

    #[test]
    fn long_app_list_is_truncated() {
        let names: Vec<String> = (0..11).map(|n| format!("a{n:02}")).collect();
        let names: Vec<(&str, usize)> = names.iter().map(|name| (name.as_str(), 1)).collect();
        assert_eq!(apps(&left(&names, false, 0)), "a00, a01, a02, a03, a04, a05, a06, a07 and 3 more");
    }
}
