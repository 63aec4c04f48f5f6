//! Targets of a stop or delete that are one selection.

use super::*;

fn together(action: Action, targets: &[&str]) -> proto::Request {
    let mut request = act(action, targets);
    let proto::Request::Act { together, .. } = &mut request else { panic!() };
    *together = true;
    request
}

fn stopping(played: &TestContext, ids: &[u32]) -> Vec<bool> {
    ids.iter().map(|id| is_stopping(played, *id)).collect()
}

#[test]
fn targets_stop_by_dependency_level() {
    for action in [Action::Stop, Action::Delete] {
        let (mut played, mut jobs, ids) = running(&[app("db"), needs("api", "db"), needs("worker", "db"), app("alone")]);
        // The order of the targets is that of a file: dependencies first.
        ask(&mut played, &mut jobs, together(action, &["db", "api", "worker", "alone"]));
        assert_eq!(stopping(&played, &ids), [false, true, true, true], "{action:?}");
        process_exits(&mut played, &mut jobs, 1, 0);
        assert!(!is_stopping(&played, 0), "worker still runs");
        process_exits(&mut played, &mut jobs, 2, 0);
        assert!(is_stopping(&played, 0));
        process_exits(&mut played, &mut jobs, 0, 0);
        process_exits(&mut played, &mut jobs, 3, 0);
        assert_eq!(replies(&mut played).last().unwrap(), "all done [0, 1, 2, 3]");
    }
}

#[test]
fn targets_of_a_pm2_stop_run_one_at_a_time() {
    let (mut played, mut jobs, ids) = running(&[app("a"), app("b")]);
    ask(&mut played, &mut jobs, act(Action::Stop, &["a", "b"]));
    assert_eq!(stopping(&played, &ids), [true, false]);
    process_exits(&mut played, &mut jobs, 0, 0);
    assert_eq!(stopping(&played, &ids), [false, true]);
}

#[test]
fn wrong_target_fails_after_earlier_targets_stop() {
    let (mut played, mut jobs, ids) = running(&[app("a"), app("b"), app("c")]);
    ask(&mut played, &mut jobs, together(Action::Stop, &["a", "b", "a", "nothing", "c"]));
    assert_eq!(stopping(&played, &ids), [true, true, false]);
    process_exits(&mut played, &mut jobs, 0, 0);
    process_exits(&mut played, &mut jobs, 1, 0);
    let answers = replies(&mut played);
    assert!(answers.last().unwrap().contains("nothing"), "{answers:?}");
    assert_eq!(played.ctx.state.open_requests, 0);
}
