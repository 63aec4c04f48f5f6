//! `profile`: files that V8's own tools can read, from Node apps that keep running.

use ostler_testkit::{fixture, needs_program};
use serde_json::Value;

use crate::setup::home;

/// Computes and allocates.
const APP: &str = "\
let kept;
function busyWork() { let all = []; for (let i = 0; i < 1e5; i++) all.push({ i }); kept = all; }
setInterval(busyWork, 1);
";

#[test]
fn every_kind_of_profile_is_taken() {
    needs_program!("node");
    let home = home();
    let app = home.write("app.js", APP);
    home.ok(format!("start {app} --name api -i 2"));
    home.ok(format!("start {} --name other -- hold", fixture()));
    let before = home.pids();
    for (options, ending, key) in
        [("--for 300ms", "cpuprofile", "nodes"), ("--memory --for 300ms", "heapprofile", "head"), ("--heap", "heapsnapshot", "snapshot")]
    {
        let told = home.ok(format!("profile api {options} --json")).json();
        assert_eq!(told.as_array().unwrap().len(), 2, "{told}");
        for id in 0..2 {
            let text = home.read(format!("api-{id}.{ending}"));
            let profile: Value = serde_json::from_str(&text).unwrap();
            assert!(!profile[key].is_null() && text.contains("busyWork"), "{ending}");
        }
    }
    // Each has a file of its own.
    home.ok("profile 0 --for 1ms");
    assert!(home.work().join("api-0-1.cpuprofile").is_file());
    assert_eq!(home.pids(), before);
    for (words, code, problem) in [
        ("profile other", 1, "no running Node app has ostler's preload"),
        ("profile nobody", 4, "no app"),
        ("profile api --for long", 2, "--for"),
        ("profile api --heap --memory", 2, "one of"),
        ("profile api --into nowhere", 4, "is not a folder"),
    ] {
        let output = home.run(words);
        assert!(output.code == code && output.stderr.contains(problem), "{output}");
    }
}

#[test]
fn one_profile_at_a_time_and_none_of_dead_apps() {
    needs_program!("node");
    let home = home();
    let app = home.write("app.js", APP);
    home.ok(format!("start {app} --name api"));
    std::thread::scope(|scope| {
        // The two may start in either order. If the short profile is first, the long one is refused
        // and tried again.
        let first = scope.spawn(|| {
            loop {
                let output = home.run("profile api --for 1h");
                if !output.stderr.contains("is being profiled already") {
                    return output;
                }
            }
        });
        home.wait_until("the second is refused", || home.run("profile api --for 1ms").stderr.contains("is being profiled already"));
        home.ok("restart api");
        let first = first.join().unwrap();
        assert!(first.code == 1 && first.stderr.contains("exited before it answered"), "{first}");
    });
}
