//! Reloads and rollbacks, as requests to the feature that performs them.

use super::*;

fn news(played: &mut TestContext, jobs: &mut Jobs, ticket: u64, news: RolloutNews) -> Vec<Input> {
    played.ctx.answer(FeatureAnswer::Rollout { ticket, news });
    played.settle(jobs)
}

fn report(app: &str, state: RolloutState) -> RolloutNews {
    let text = |text: &str| text.to_owned();
    RolloutNews::Ended(Box::new(RolloutReport {
        app: text(app),
        release: 2,
        version: None,
        script: text("/bin/app"),
        command: text("reload"),
        started_ms: 0,
        ended_ms: None,
        state,
        current: true,
        replicas: Vec::new(),
        fault: None,
        cut: 0,
    }))
}

fn rollouts(rest: &[Input]) -> Vec<(u64, String)> {
    let of = |input: &Input| {
        if let Input::Request(FeatureRequest::Rollout(wanted)) = input { Some((wanted.ticket, wanted.app.clone())) } else { None }
    };
    rest.iter().filter_map(of).collect()
}

#[test]
fn apps_are_reloaded_concurrently() {
    let (mut played, mut jobs, _) = running(&[app("a"), app("b"), app("a")]);
    let rest = ask(&mut played, &mut jobs, act(Action::Reload, &["all"]));
    let [(first, a), (second, b)] = &rollouts(&rest)[..] else { panic!("{rest:?}") };
    assert_eq!((a.as_str(), b.as_str()), ("a", "b"));
    let refused = RolloutNews::Refused { app: "b".into(), ids: vec![1], reason: "a reload is in progress".into() };
    news(&mut played, &mut jobs, *second, refused);
    assert!(
        news(&mut played, &mut jobs, second + 1, report("a", RolloutState::Done)).len() == 1,
        "the report belongs to the other request"
    );
    news(&mut played, &mut jobs, *first, report("a", RolloutState::Done));
    assert_eq!(replies(&mut played), ["reloadProcessId [0, 1, 2]", "failed 1: a reload is in progress", "1 of 3 failed"]);
}

/// If processes run beside the old ones, only some apps are reloaded at the same time. Apps that
/// depend on others are reloaded one by one.
#[test]
fn concurrent_reloads_are_bounded() {
    let cluster =
        |name: String| AppSpec { mode: ostler_core::app::ExecMode::Cluster, interpreter: Some("/usr/bin/node".into()), ..app(&name) };
    let apps: Vec<AppSpec> = (0..9).map(|number| cluster(format!("app-{number}"))).collect();
    let (mut played, mut jobs, _) = running(&apps);
    let rest = ask(&mut played, &mut jobs, act(Action::Reload, &["all"]));
    assert_eq!(rollouts(&rest).len(), 4);
    let (ticket, name) = rollouts(&rest)[2].clone();
    let rest = news(&mut played, &mut jobs, ticket, report(&name, RolloutState::Done));
    assert_eq!(rollouts(&rest).len(), 1, "one is over, the next one begins");
}

#[test]
fn rollback_release_is_shared_by_all_instances() {
    let (mut played, mut jobs, _) = running(&[app("a"), app("a")]);
    let old = AppSpec { version: Some("1".into()), ..app("a") };
    let origin = Origin::User { command: "undo".into(), uid: 0, pid: 1, on_behalf_of: None };
    let release = Box::new((old, EnvMap::from([("X".to_owned(), "1".to_owned())])));
    played.ctx.request(FeatureRequest::ReloadTo { client: CLIENT, id: 1, app: "a".into(), release, origin });
    let rest = played.settle(&mut jobs);
    let wanted =
        rest.into_iter().find_map(|input| if let Input::Request(FeatureRequest::Rollout(wanted)) = input { Some(wanted) } else { None });
    let [one, other] = &wanted.unwrap().replacements[..] else { panic!() };
    assert!(Rc::ptr_eq(&one.app, &other.app) && Rc::ptr_eq(&one.base, &other.base));
    assert_eq!((one.app.spec.version.as_deref(), one.base.vars.get("X").map(String::as_str)), (Some("1"), Some("1")));
}
