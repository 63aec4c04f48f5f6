//! Lists, and the output about one instance.

use ostler_proto::control::Detail;
use ostler_proto::event::EventCause;

use super::{data, golden, golden_at_each_width, golden_in_colours_and_ascii};
use crate::render::{
    AppChange, AppDiff, DescribeContext, ValueDisplay, View, describe, diff, history, host_line, job, jobs, list_table, rollout, why,
};

#[test]
fn list_matches_golden_files() {
    golden_at_each_width("list", |view| list_table(&data::rows(), view) + &host_line(&data::host(), view));
}

#[test]
fn list_with_health_matches_golden_files() {
    golden_at_each_width("list-health", |view| list_table(&data::rows_with_health(), view));
}

#[test]
fn empty_list_matches_golden_files() {
    golden_at_each_width("list-empty", |view| list_table(&[], view));
}

#[test]
fn description_of_stopped_instance_matches_golden_files() {
    golden_at_each_width("describe", |view| described(&data::stopped(), view));
}

#[test]
fn description_of_troubled_instance_matches_golden_files() {
    golden_at_each_width("describe-troubled", |view| described(&data::troubled(), view));
}

fn described(detail: &Detail, view: &View) -> String {
    let env = [("PORT", "81"), ("HOME", "/root"), ("DATABASE_URL", "none")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    describe(detail, &DescribeContext { program: "ostler", user: &|_| None, env: &env.into_iter().collect(), view, versioning: None })
}

#[test]
fn list_of_jobs_matches_golden_files() {
    golden_at_each_width("jobs", |view| jobs(&data::jobs(), view));
}

// Sentences are not wrapped: terminals do that, and users can search and copy them as a whole.

#[test]
fn reasons_of_last_exits_match_golden_files() {
    let by = |command: &str| EventCause::User { command: command.into(), uid: 1000, pid: 81, on_behalf_of: None };
    // For this instance no event is known; only its record has a cause.
    let stopped = Detail { cause: Some(by("stop")), ..data::stopped() };
    let details = [data::troubled(), data::waiting(), stopped];
    let events = data::events();
    golden_in_colours_and_ascii("why", &View::played(data::NOW_MS, None), |view| {
        details.iter().map(|detail| why(detail, &events, view)).collect::<Vec<_>>().join("\n")
    });
}

#[test]
fn job_description_matches_golden_file() {
    golden("job", &job(&data::jobs()[0], &View::played(data::NOW_MS, None)));
}

#[test]
fn rollouts_match_golden_files() {
    golden_in_colours_and_ascii("rollout", &View::played(data::NOW_MS, None), |view| {
        format!("{}\n{}", rollout(&data::rollouts()[1], view), history(&data::rollouts(), view))
    });
}

#[test]
fn config_differences_match_golden_files() {
    use ostler_core::app::diff::{Difference, Key};
    let change = |key, was: Option<&str>, is: Option<&str>| Difference { key, was: was.map(Into::into), is: is.map(Into::into) };
    let changes = vec![
        change(Key::Attribute("script".into()), Some("/a.js"), Some("/b.js")),
        change(Key::Variable("MODE".into()), None, Some("prod")),
        change(Key::Variable("API_TOKEN".into()), Some("x"), None),
    ];
    let app = |name: &str, standing, changes| AppDiff { name: name.into(), standing, instances: (2, 3), changes };
    let apps = [
        app("api", AppChange::Changed, changes),
        app("new", AppChange::New, vec![]),
        app("same", AppChange::Same, vec![]),
        app("gone", AppChange::Gone, vec![]),
    ];
    golden_in_colours_and_ascii("diff", &View::played(data::NOW_MS, None), |view| diff(&apps, ValueDisplay::Shown, view.paint));
}
