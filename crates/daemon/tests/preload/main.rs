//! The Node preload: each scenario of `scenarios.cjs` on each version of Node.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected has to stop and tell")]

use ostler_testkit::{Node, nodes, skip};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

#[path = "../../preload/code.rs"]
mod code;

/// The file that Node loads, with those it loads from beside it.
static PRELOAD: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("preload");
    fs::create_dir_all(&folder).unwrap();
    let files = [
        ("preload.cjs", code::CODE),
        ("collector.cjs", include_str!("../../preload/collector.cjs")),
        ("way.cjs", include_str!("../../preload/way.cjs")),
    ];
    for (name, text) in files {
        // Another process of these tests may read it right now.
        let fresh = folder.join(format!("{name}.{}", std::process::id()));
        fs::write(&fresh, text).unwrap();
        fs::rename(&fresh, folder.join(name)).unwrap();
    }
    folder.join("preload.cjs")
});

fn node(node: &Node, scenario: Option<&str>) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/preload/scenarios.cjs");
    Command::new(&node.path).arg(script).args(scenario).env("PRELOAD", &*PRELOAD).env_remove("NODE_OPTIONS").output().unwrap()
}

#[track_caller]
fn holds(scenario: &str) {
    let nodes = nodes();
    if nodes.is_empty() {
        skip!("node is not installed");
    }
    for version in &nodes {
        let output = node(version, Some(scenario));
        assert!(output.status.success(), "{scenario} on {version}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}

macro_rules! scenarios {
    ($($name:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(#[test] fn $name() { holds(stringify!($name)); })*
    };
}

scenarios! {
    a_start_leaves_no_trace
    a_process_without_settings_is_left_alone
    an_exception_is_reported_and_the_app_ends_as_ever
    nothing_is_measured_unless_it_is_asked_for
    figures_are_those_of_the_requests
    much_garbage_is_heard_of_in_a_part_of_the_time
    garbage_of_a_burst_is_not_that_of_the_quiet_time_after_it
    output_before_exit_is_whole
    a_client_gets_the_cookie_of_its_worker
    a_client_with_the_cookie_gets_none
    a_drain_and_the_cookie_go_together
    a_client_with_the_cookie_has_time_for_its_next_request
    round_robin_under_load
    round_robin_under_load_of_30_ms
    round_robin_under_load_that_streams
    round_robin_under_load_with_own_keep_alive
    round_robin_under_load_es_module
    round_robin_under_load_https
    shared_socket_under_load
    http2
    http2_without_tls
    http2_stubborn
    http2_stubborn_without_tls
    nobody_connected_is_drained_at_once
    each_response_says_close
    an_old_connection_ends_with_its_next_response
    an_old_session_of_http2_goes_away
    requests_under_way_are_finished
    idle_connections_are_closed_after_their_time
    a_request_that_has_begun_to_arrive_is_answered
    a_client_that_asks_in_time_is_not_cut_off
    upgraded_and_raw_connections_are_left_alone
    what_only_the_app_can_end_is_not_waited_for
    streams_of_events_over_http2_are_not_waited_for
    a_server_that_stops_to_listen_looks_as_before
    a_process_that_stops_to_listen_stays_until_told
    a_socket_file_is_not_removed
    a_closed_channel_harms_nobody
    odd_commands_are_survived
}

/// Apps that run on older Node versions under PM2 must start under ostler, too. A preload that does
/// not parse would stop the app.
#[test]
fn preload_uses_only_node_12_syntax() {
    for newer in ["?.", "??", "||=", "&&=", "this.#", "static {", "await "] {
        assert!(!code::CODE.contains(newer), "{newer:?} is newer than Node 12");
    }
}

#[test]
fn every_scenario_is_a_test() {
    let Some(version) = nodes().pop() else { skip!("node is not installed") };
    let output = node(&version, None);
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().collect::<Vec<_>>(), NAMES);
}
