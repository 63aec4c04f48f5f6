//! Shrinking of a failing sequence.

use super::model::{App, Call, Sequence, Step};

/// Returns slightly simpler sequences, the simplest first.
pub fn simpler(sequence: &Sequence) -> Vec<Sequence> {
    let mut found = Vec::new();
    for position in (0..sequence.steps.len()).rev() {
        let mut without = sequence.clone();
        without.steps.remove(position);
        found.push(without);
    }
    for position in (0..sequence.apps.len()).rev() {
        if sequence.apps.len() > 1 {
            let mut without = sequence.clone();
            without.apps.remove(position);
            found.push(without);
        }
        for app in simpler_apps(&sequence.apps[position]) {
            let mut other = sequence.clone();
            other.apps[position] = app;
            found.push(other);
        }
    }
    for (position, step) in sequence.steps.iter().enumerate() {
        for step in simpler_steps(step) {
            let mut other = sequence.clone();
            other.steps[position] = step;
            found.push(other);
        }
    }
    found
}

/// Returns the keys that an app with this script needs to settle soon (see `grammar`).
fn needed_keys(app: &App) -> &'static [&'static str] {
    match app.get("script").map(String::as_str) {
        Some("\"done.js\"") => &["autorestart"],
        Some("\"crash.js\"") => &["max_restarts", "min_uptime"],
        Some("\"never.js\"" | "\"late.js\"") => &["listen_timeout"],
        _ => &[],
    }
}

fn simpler_apps(app: &App) -> Vec<App> {
    let mut found = Vec::new();
    let needed = needed_keys(app);
    for (key, value) in app {
        let mut other = app.clone();
        match key.as_str() {
            "name" => continue,
            key if needed.contains(&key) => continue,
            "script" if value == "\"quick.js\"" => continue,
            "script" => drop(other.insert(key.clone(), "\"quick.js\"".to_owned())),
            _ => drop(other.remove(key)),
        }
        found.push(other);
    }
    found
}

fn simpler_steps(step: &Step) -> Vec<Step> {
    match step {
        Step::Run(call) => simpler_calls(call).into_iter().map(Step::Run).collect(),
        Step::Add(app) => simpler_apps(app).into_iter().map(Step::Add).collect(),
        Step::Edit { .. } | Step::Kill(_) => Vec::new(),
    }
}

fn simpler_calls(call: &Call) -> Vec<Call> {
    let mut found = Vec::new();
    let mut add = |change: &dyn Fn(&mut Call)| {
        let mut other = call.clone();
        change(&mut other);
        found.push(other);
    };
    if call.folder != "a" {
        add(&|call| "a".clone_into(&mut call.folder));
    }
    (0..call.options.len()).for_each(|position| add(&|call| drop(call.options.remove(position))));
    (0..call.shell.len()).for_each(|position| add(&|call| drop(call.shell.remove(position))));
    if !call.args.is_empty() {
        add(&|call| call.args.clear());
    }
    for app in call.stdin.iter().flat_map(simpler_apps) {
        add(&|call| call.stdin = Some(app.clone()));
    }
    found
}

/// Returns the smallest sequence found for which `still_fails` is true, after at most this many
/// tries.
pub fn shrink(mut sequence: Sequence, mut tries: u64, still_fails: impl Fn(&Sequence) -> bool) -> Sequence {
    'smaller: loop {
        for candidate in simpler(&sequence) {
            if tries == 0 {
                return sequence;
            }
            tries -= 1;
            if still_fails(&candidate) {
                sequence = candidate;
                continue 'smaller;
            }
        }
        return sequence;
    }
}
