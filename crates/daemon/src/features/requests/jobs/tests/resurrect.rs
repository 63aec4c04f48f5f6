//! Instances of a saved list or of another manager.

use super::*;

#[test]
fn saved_schedule_is_restored_before_the_start() {
    let (mut played, mut jobs) = empty();
    let list = serde_json::json!([{"name": "a", "pm_exec_path": "/bin/true", "pm_cwd": "/", "cron_restart": "* * * * *", "pm_id": 0}]);
    std::fs::write(&played.ctx.io.settings.paths.dump, list.to_string()).unwrap();
    let rest = ask(&mut played, &mut jobs, proto::Request::Resurrect);
    assert!(matches!(&rest[..], [Input::Request(FeatureRequest::Schedule { id: 0, saved: Some(_) })]), "{rest:?}");
    let caller = Caller { uid: 0, pid: 1, on_behalf_of: None };
    let (mut played, mut jobs) = empty();
    std::fs::write(&played.ctx.io.settings.paths.dump, list.to_string()).unwrap();
    jobs.on_client_request(&mut played.ctx, ClientRequest { client: CLIENT, id: 1, caller, request: proto::Request::Resurrect });
    let queued = played.queued();
    assert!(
        matches!(&queued[..], [Input::Request(FeatureRequest::Schedule { .. }), Input::Event(0, Event::Start(Origin::Resurrect))]),
        "{queued:?}"
    );
}

#[test]
fn restore_reports_entries_by_their_list_index() {
    let entry = |name: &str, status: &str| serde_json::json!({"name": name, "pm_exec_path": "/bin/true", "pm_cwd": "/", "status": status});
    let restore = |entries: Vec<serde_json::Value>| proto::Request::Restore { entries, sockets_of: None };
    let (mut played, mut jobs, _) = running(&[app("gone")]);
    ask(&mut played, &mut jobs, act(Action::Delete, &["gone"]));
    process_exits(&mut played, &mut jobs, 0, 0);
    replies(&mut played);
    ask(&mut played, &mut jobs, restore(vec![entry("a", "online"), entry("b", "stopped")]));
    assert_eq!(replies(&mut played), ["launched /bin/true [0]", "launched /bin/true [1]"]);
    spawned(&mut played, &mut jobs, 1);
    assert_eq!(replies(&mut played), ["done 0", "all done [0, 1]"]);
    assert_eq!(state(&played, 2), &InstanceState::Stopped);
    ask(&mut played, &mut jobs, restore(vec![entry("b", "online"), entry("c", "stopped")]));
    assert_eq!(replies(&mut played), ["launched /bin/true [2]", "all done [2]"], "a name that is there is left alone");
    ask(&mut played, &mut jobs, restore(vec![entry("d", "online"), serde_json::json!({"name": "e"})]));
    assert_eq!(replies(&mut played), ["entry 1 of the saved list (e): pm_exec_path: missing"], "all or nothing");
    assert_eq!(played.ctx.state.slots.iter().count(), 3);
}
