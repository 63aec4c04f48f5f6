//! Changes of the number of instances, by clients and by policies.

use super::*;

fn scale(to: ScaleTo) -> proto::Request {
    proto::Request::Scale { name: "a".into(), cwd: String::new(), to, oldest_first: true, confirm: None }
}

#[test]
fn scale_reports_in_order_and_starts_missing_instances() {
    let (mut played, mut jobs, _) = running(&[app("a"), app("a"), app("a")]);
    ask(&mut played, &mut jobs, scale(ScaleTo::By(0)));
    assert_eq!(replies(&mut played), ["Failed(NothingToDo)"]);
    ask(&mut played, &mut jobs, scale(ScaleTo::By(-4)));
    assert_eq!(replies(&mut played), ["a has 3 instances, so 4 cannot be removed"]);
    ask(&mut played, &mut jobs, scale(ScaleTo::Exactly(1)));
    process_exits(&mut played, &mut jobs, 1, 0);
    assert!(replies(&mut played).is_empty(), "the first one has not gone");
    process_exits(&mut played, &mut jobs, 0, 0);
    assert_eq!(replies(&mut played), ["done 0", "done 1", "all done [0, 1]"]);
    ask(&mut played, &mut jobs, scale(ScaleTo::By(1)));
    spawned(&mut played, &mut jobs, 3);
    assert_eq!(replies(&mut played), ["launched a [3]", "done 3", "all done [3]"]);
    played.ctx.request(FeatureRequest::Scale { ids: vec![2, 3], to: 1, origin: Origin::policy(PolicyName::Autoscale) });
    played.settle(&mut jobs);
    assert_eq!(
        played.ctx.state.slots.get(2).unwrap().durable.instance.wanted,
        DesiredState::Gone,
        "where a policy asks, the one with the highest number goes"
    );
}

#[test]
fn each_scale_is_an_event_with_its_cause() {
    let (mut played, mut jobs, _) = running(&[app("a"), app("a")]);
    played.events();
    ask(&mut played, &mut jobs, scale(ScaleTo::By(0)));
    assert!(scalings(&mut played).is_empty(), "nothing is to be done");
    ask(&mut played, &mut jobs, scale(ScaleTo::Exactly(1)));
    let [
        ProtoEvent {
            app: Some(app), id: None, kind: EventKind::Scaled { from: 2, to: 1 }, cause: EventCause::User { command, .. }, ..
        },
    ] = &scalings(&mut played)[..]
    else {
        panic!("not told")
    };
    assert_eq!((&**app, &**command), ("a", "scale"));
    process_exits(&mut played, &mut jobs, 0, 0);
    let measured = "uses 90 % of a core with 1 instance";
    played.ctx.request(FeatureRequest::Scale { ids: vec![1], to: 3, origin: Origin::found(PolicyName::Autoscale, measured) });
    played.settle(&mut jobs);
    let events: Vec<(EventKind, EventCause)> = scalings(&mut played).into_iter().map(|event| (event.kind, event.cause)).collect();
    assert_eq!(events, [(EventKind::Scaled { from: 1, to: 3 }, EventCause::policy(PolicyName::Autoscale, measured.to_owned()))]);
}

fn scalings(played: &mut TestContext) -> Vec<ProtoEvent> {
    played.events().into_iter().filter(|event| matches!(event.kind, EventKind::Scaled { .. })).collect()
}

#[test]
fn start_ignores_instances_removed_by_a_scale() {
    let (mut played, mut jobs, _) = running(&[app("a"), app("a")]);
    played.ctx.event(1, Event::Delete(Origin::policy(PolicyName::Autoscale)));
    played.settle(&mut jobs);
    ask(&mut played, &mut jobs, start(vec![app("a")], Existing::Restart));
    assert_eq!(replies(&mut played), ["restartProcessId [0]"]);
}
