//! Proof of success that a client waits for.

use super::*;

fn confirmed(early_exit_fails: bool) -> (TestContext, Jobs) {
    let (mut played, mut jobs) = empty();
    let spec = AppSpec { interpreter: Some("/usr/bin/node".into()), ..app("api") };
    let proto::Request::Start { apps, base_env, existing, command, .. } = start(vec![spec], PLAIN) else { panic!() };
    let confirm = Some(Confirm { within_ms: 500, early_exit_fails, watches: false, detached: false });
    ask(&mut played, &mut jobs, proto::Request::Start { apps, base_env, existing, command, confirm, named_only: false, as_pm2: false });
    played.ctx.state.slots.get_mut(0).unwrap().durable.preloaded = true;
    spawned(&mut played, &mut jobs, 0);
    assert_eq!(replies(&mut played), ["launched api [0]"], "it is unknown whether it runs its script");
    (played, jobs)
}

#[test]
fn node_app_is_confirmed_when_its_script_runs() {
    let (mut played, mut jobs) = confirmed(true);
    let message = ostler_proto::node::classify(serde_json::json!({"cmd": "NODE_OSTLER", "act": "runs"}));
    played.ctx.outbox.queue.push_back(Input::Message(0, 1, message));
    played.settle(&mut jobs);
    assert_eq!(replies(&mut played), ["done 0", "all done [0]"]);
    assert_eq!(played.ctx.outbox.timers.next_ms(), None, "nothing is waited for any more");
}

#[test]
fn confirmation_wait_times_out() {
    let (mut played, mut jobs) = confirmed(true);
    played.pass(&mut jobs, 499);
    played.settle(&mut jobs);
    assert!(replies(&mut played).is_empty());
    played.pass(&mut jobs, 1);
    played.settle(&mut jobs);
    assert_eq!(replies(&mut played), ["done 0", "all done [0]"]);
}

#[test]
fn crash_before_the_confirmation_fails_the_start() {
    for (fails, word) in [(true, "failed 0: exited with code 1 within"), (false, "done 0")] {
        let (mut played, mut jobs) = confirmed(fails);
        process_exits(&mut played, &mut jobs, 0, 1);
        let sent = replies(&mut played);
        assert!(sent[0].starts_with(word), "{sent:?}");
    }
}

const WATCHED: Confirm = Confirm { within_ms: 1000, early_exit_fails: true, watches: true, detached: false };

/// Returns a restart whose new processes are watched.
fn watched(targets: &[&str]) -> proto::Request {
    restart_by(WATCHED, targets)
}

#[test]
fn watched_restart_is_done_after_min_uptime() {
    let (mut played, mut jobs, _) = running(&[app("a")]);
    ask(&mut played, &mut jobs, watched(&["a"]));
    restarts(&mut played, &mut jobs, 0);
    assert_eq!(replies(&mut played), ["restartProcessId [0]"]);
    played.pass(&mut jobs, 999);
    played.settle(&mut jobs);
    assert!(replies(&mut played).is_empty());
    played.pass(&mut jobs, 1);
    played.settle(&mut jobs);
    assert_eq!(replies(&mut played), ["done 0", "all done [0]"]);
    assert_eq!(played.ctx.outbox.timers.next_ms(), None, "nothing is waited for any more");
}

#[test]
fn watched_restart_stops_at_the_first_failed_instance() {
    let (mut played, mut jobs, _) = running(&[app("a"), app("a"), app("b"), app("a")]);
    ask(&mut played, &mut jobs, watched(&["all"]));
    // The restart touches one instance of each app.
    assert_eq!((0..4).map(|id| is_stopping(&played, id)).collect::<Vec<_>>(), [true, false, true, false]);
    restarts(&mut played, &mut jobs, 0);
    restarts(&mut played, &mut jobs, 2);
    played.pass(&mut jobs, 150);
    process_exits(&mut played, &mut jobs, 0, 1);
    let sent = replies(&mut played);
    assert!(sent[1].starts_with("failed 0: exited with code 1 within"), "{sent:?}");
    assert!(
        sent[2..].iter().all(|line| line.ends_with("was left unchanged, because the new process of another instance failed")),
        "{sent:?}"
    );
    assert_eq!(sent.len(), 4, "{sent:?}");
    played.pass(&mut jobs, 1000);
    played.settle(&mut jobs);
    assert_eq!(replies(&mut played), ["done 2", "3 of 4 failed"]);
    assert!(!is_stopping(&played, 1) && !is_stopping(&played, 3));
}

#[test]
fn watched_restart_continues_with_half_of_the_app() {
    let (mut played, mut jobs, _) = running(&[app("a"), app("a"), app("a"), app("a")]);
    ask(&mut played, &mut jobs, watched(&["a"]));
    restarts(&mut played, &mut jobs, 0);
    played.pass(&mut jobs, 1000);
    played.settle(&mut jobs);
    assert_eq!((1..4).map(|id| is_stopping(&played, id)).collect::<Vec<_>>(), [true, true, false]);
}
