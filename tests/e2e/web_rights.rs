//! Root's dashboard reads logs with the rights of each app's user, while a real second user plants
//! links. The test needs root and is skipped without it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::Path;

use ostler_testkit::needs_root;

use crate::setup::home;
use crate::web::Web;

/// A uid that owns nothing except its folder here.
const USER: u32 = 54_321;

fn put(path: &Path, text: &str, owner: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    chown(path, Some(owner), Some(owner)).unwrap();
}

#[test]
fn user_links_expose_only_files_readable_by_the_user() {
    needs_root!();
    let home = home();
    let web = Web::on(&home, "--no-otlp");
    let (theirs, roots) = (home.work().join("theirs"), home.work().join("roots"));
    fs::create_dir(&theirs).unwrap();
    fs::create_dir(&roots).unwrap();
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&roots, fs::Permissions::from_mode(0o755)).unwrap();
    chown(&theirs, Some(USER), Some(USER)).unwrap();
    put(&roots.join("secret"), "needle: only root reads this\n", 0);
    put(&theirs.join("own"), "needle: the user reads this\n", USER);
    let script = home.write("app.sh", "#!/bin/sh\necho needle: from the app\necho needle: an error >&2\nexec sleep 1000\n");
    let (out, err) = (theirs.join("out.log"), theirs.join("err.log"));
    let app = serde_json::json!({
        "name": "a", "script": script, "uid": USER.to_string(), "gid": USER.to_string(), "merge_logs": true, "out_file": out, "error_file": err,
    });
    let file = home.write("a.json", serde_json::json!({ "apps": [app] }).to_string());
    home.ok(format!("start {file}"));
    home.wait_until("it has written", || fs::read_to_string(&err).is_ok_and(|text| text.contains("an error")));
    let ways = ["/api/logs?app=a&lines=100", "/api/logs/search?app=a&q=needle", "/api/logs/download?app=a"];
    for way in ways {
        let text = web.get(way).body;
        assert!(text.contains("from the app") && text.contains("an error"), "{way}: {text}");
    }
    // Links instead of the log, and instead of a rotated log.
    let rotated = theirs.join("out__2026-01-01_00-00-00.log");
    let link = |to: &Path| {
        for name in [&out, &rotated] {
            let _ = fs::remove_file(name);
            symlink(to, name).unwrap();
            lchown(name, Some(USER), Some(USER)).unwrap();
        }
    };
    link(&theirs.join("own"));
    for way in ways {
        let text = web.get(way).body;
        assert!(text.contains("the user reads this"), "a link by itself is followed, {way}: {text}");
    }
    link(&roots.join("secret"));
    for way in ways {
        let answer = web.get(way);
        assert!(!answer.body.contains("only root reads this"), "{way}: {answer:?}");
        assert!(
            answer.status != 200 || way.contains("download") || answer.body.contains("an error"),
            "the rest is shown, {way}: {answer:?}"
        );
    }
    // Files are sorted by the time of their last line: this file comes last.
    fs::write(&err, "needle: an error\nneedle: the end\n").unwrap();
    let follows = web.lines("/api/logs/live?app=a&lines=100", |line| line.contains("the end"));
    assert!(!follows.iter().any(|line| line.contains("only root")), "{follows:?}");
}
