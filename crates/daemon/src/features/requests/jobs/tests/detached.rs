//! Requests whose client does not wait.

use super::*;

const DETACHED: Confirm = Confirm { within_ms: 0, early_exit_fails: false, watches: false, detached: true };

#[test]
fn detached_restart_is_answered_first_and_continues() {
    let (mut played, mut jobs, _) = running(&[app("a"), app("a"), app("b")]);
    ask(&mut played, &mut jobs, restart_by(DETACHED, &["a", "b"]));
    assert_eq!(replies(&mut played), ["restartProcessId [0, 1]", "restartProcessId [2]", "all done [0, 1, 2]"]);
    assert_eq!((0..3).map(|id| is_stopping(&played, id)).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(played.ctx.state.open_requests, 1);
    for id in 0..3 {
        restarts(&mut played, &mut jobs, id);
    }
    assert!(played.ctx.state.slots.iter().all(|slot| slot.durable.instance.inc == 2));
    assert_eq!(played.ctx.state.open_requests, 0);
    let late = std::mem::take(&mut played.ctx.outbox.replies);
    assert!(late.iter().all(|(client, ..)| *client != CLIENT), "{late:?}");
}

#[test]
fn wrong_target_fails_after_earlier_targets_restart() {
    let (mut played, mut jobs, _) = running(&[app("a")]);
    ask(&mut played, &mut jobs, restart_by(DETACHED, &["a", "nothing"]));
    let answers = replies(&mut played);
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert!(answers[1].contains("nothing"), "{answers:?}");
    assert!(is_stopping(&played, 0));
}

#[test]
fn detached_start_is_answered_before_the_spawn() {
    let (mut played, mut jobs) = empty();
    let proto::Request::Start { apps, base_env, existing, command, .. } = start(vec![app("api")], PLAIN) else { panic!() };
    let confirm = Some(DETACHED);
    ask(&mut played, &mut jobs, proto::Request::Start { apps, base_env, existing, command, confirm, named_only: false, as_pm2: false });
    assert_eq!(replies(&mut played), ["launched api [0]", "all done [0]"]);
    spawned(&mut played, &mut jobs, 0);
    assert_eq!(played.ctx.state.open_requests, 0);
}
