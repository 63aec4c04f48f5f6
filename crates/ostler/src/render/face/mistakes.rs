//! Mistakes of a config file in ostler's own look: by app, each with its place.

use std::collections::BTreeSet;

use ostler_config::Problem;
use ostler_core::message;

use super::hang::hang;
use super::mark::Mark;
use crate::render::style::styles;
use crate::render::view::View;
use crate::text::shown;

/// Most names of apps in the last line.
const NAMES: usize = 10;

/// Formats the mistakes, first those of the whole file, then those of each app.
pub(crate) fn mistakes(problems: &[Problem], view: &View) -> String {
    let mut apps: Vec<Option<&str>> = vec![None];
    for app in problems.iter().map(|problem| problem.app.as_deref()) {
        if !apps.contains(&app) {
            apps.push(app);
        }
    }
    let group = |app: &Option<&str>| {
        let own: Vec<String> = problems.iter().filter(|problem| problem.app.as_deref() == *app).map(|problem| one(problem, view)).collect();
        let head = app.filter(|_| !own.is_empty()).map(|app| hang(&[(&shown(app), styles::BOLD)], (0, 0), view));
        head.unwrap_or_default() + &own.concat()
    };
    let groups: Vec<String> = apps.iter().map(group).filter(|group| !group.is_empty()).collect();
    groups.join("\n")
}

fn one(problem: &Problem, view: &View) -> String {
    let mark = if problem.is_error() { Mark::Error } else { Mark::Warning };
    let (glyph, plain) = (mark.glyph().to_string(), styles::PLAIN);
    let (place, subject) = (shown(&problem.place(":")), shown(&problem.subject()));
    let text = hang(&[(&place, styles::DIM), (&glyph, mark.style()), (&subject, plain)], (0, 4), view);
    let hint = problem.hint().map(|hint| hang(&[(&message!("hint:"), styles::BOLD_BLUE), (hint, plain)], (4, 10), view));
    text + &hint.unwrap_or_default()
}

/// Formats the last line: the number of mistakes, or that the file is valid.
pub(crate) fn mistakes_verdict(file: &str, problems: &[Problem], names: &[String], view: &View) -> String {
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let warnings = problems.len() - errors;
    let counts = [
        counted(errors, message!("1 error"), message!("{count} errors", count = errors)),
        counted(warnings, message!("1 warning"), message!("{count} warnings", count = warnings)),
    ];
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    let of: BTreeSet<&str> = problems.iter().filter_map(|problem| problem.app.as_deref()).collect();
    let counts = counts.join(", ");
    let counts = match counted_apps(of.len()) {
        None => counts,
        Some(apps) => message!("{counts} in {apps}", counts, apps),
    };
    if errors > 0 {
        return hang(&[(&counts, styles::PLAIN)], (0, 4), view);
    }
    let more = names.len().saturating_sub(NAMES);
    let mut shown_names: Vec<String> = names.iter().take(NAMES).map(|name| shown(name)).collect();
    shown_names.extend((more > 0).then(|| message!("and {more} more", more)));
    let apps = counted_apps(names.len()).unwrap_or_else(|| message!("no apps"));
    let list = if names.is_empty() { String::new() } else { format!(" ({})", shown_names.join(", ")) };
    let text = message!("{file} is valid: {apps}{list}", file = shown(file), apps, list);
    let valid = hang(&[("✓", Mark::Done.style()), (&text, styles::PLAIN)], (0, 2), view);
    if problems.is_empty() { valid } else { valid + &hang(&[(&counts, styles::PLAIN)], (0, 4), view) }
}

fn counted_apps(count: usize) -> Option<String> {
    counted(count, message!("1 app"), message!("{count} apps", count))
}

fn counted(count: usize, one: String, many: String) -> Option<String> {
    match count {
        0 => None,
        1 => Some(one),
        _ => Some(many),
    }
}
