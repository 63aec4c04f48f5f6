//! Units of `export systemd`, run by a real systemd: without a manager, the app runs as its file
//! describes.

use ostler_testkit::needs_machine;
use serde_json::{Value, json};

use crate::setup::machine;

/// Values that systemd, a shell or a template would misinterpret.
const HOSTILE: &[(&str, &str)] =
    &[("A", "50% of $HOME ${X} %h \"q\" 'a' \\n"), ("B", "two\nlines"), ("C", ""), ("D", "{{ x }}"), ("E", "💥 é"), ("F", " a=b ; # c ")];

/// Writes its variables and arguments to a file, and keeps running. On a signal it writes the
/// signal's name.
const APP: &str = r#"
const fs = require('fs');
process.on('SIGTERM', () => { fs.writeFileSync('/srv/ended', 'SIGTERM'); process.exit(0); });
fs.writeFileSync('/srv/seen.json', JSON.stringify({ env: process.env, args: process.argv.slice(2), cwd: process.cwd() }));
setInterval(() => {}, 1000);
"#;

#[test]
fn exported_unit_runs_the_app_as_described() {
    needs_machine!();
    let machine = machine();
    let mut env: serde_json::Map<String, Value> = HOSTILE.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
    env.insert("DB_PASSWORD".into(), "hunter2".into());
    let apps = json!({ "apps": [{
        "name": "api", "script": "seen.js", "args": ["$HOME", "a b", "%n", "'\"", ""], "env": env, "secrets": { "KEY": "/root/key" },
        "kill_signal": "SIGTERM", "kill_timeout": 5000, "uid": "root", "rlimits": { "nofile": 1234 }, "umask": "027", "nice": 3
    }] });
    machine.write("/srv/seen.js", APP);
    machine.write("/root/key", "s3cret $HOME\n");
    machine.write("/srv/ecosystem.json", &apps.to_string());
    machine.ok("ostler export systemd /srv/ecosystem.json --out /root/out");
    let unit = machine.read("/root/out/systemd/srv-api.service");
    assert!(!unit.contains("hunter2") && !unit.contains("s3cret"), "{unit}");
    machine.ok(["sh", "-c", "cp /root/out/systemd/* /etc/systemd/system/ && mkdir -p /etc/srv && umask 077 && echo 'DB_PASSWORD=\"from a file\"' > /etc/srv/api.env"]);
    machine.ok("systemd-analyze verify /etc/systemd/system/srv-api.service");
    machine.ok("systemctl daemon-reload");
    machine.ok("systemctl start srv-api.service");
    machine.wait_until("the app has written what it sees", || machine.path("/srv/seen.json").metadata().is_ok_and(|file| file.len() > 0));
    let seen: Value = serde_json::from_str(&machine.read("/srv/seen.json")).unwrap();
    for (name, value) in HOSTILE {
        assert_eq!(seen["env"][name], *value, "{name}\n{unit}");
    }
    assert_eq!(seen["env"]["KEY"], "s3cret $HOME");
    assert_eq!(seen["env"]["DB_PASSWORD"], "from a file");
    assert_eq!(seen["args"], json!(["$HOME", "a b", "%n", "'\"", ""]));
    assert_eq!(seen["cwd"], "/srv");
    for (property, value) in [("LimitNOFILE", "1234"), ("UMask", "0027"), ("Nice", "3"), ("TimeoutStopUSec", "5s"), ("Restart", "always")] {
        assert_eq!(machine.property("srv-api.service", property), value, "{property}");
    }
    // The app restarts when it is killed, and stops with the signal that the file names.
    machine.ok("rm /srv/seen.json");
    let first = machine.property("srv-api.service", "MainPID");
    machine.ok(["kill", "-9", &first]);
    machine.wait_until("another process has begun", || machine.path("/srv/seen.json").metadata().is_ok_and(|file| file.len() > 0));
    assert_ne!(machine.property("srv-api.service", "MainPID"), first);
    machine.ok("systemctl stop srv-api.service");
    assert_eq!(machine.read("/srv/ended"), "SIGTERM");
}
