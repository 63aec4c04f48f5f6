//! Each format keeps its own defaults, and each key behaves as its table describes.

use super::*;
use crate::import::keys;
use crate::import::keys::{Key, KeySupport};

fn unit(lines: &str) -> Imported {
    read(ImportFormat::Systemd, &format!("[Service]\nExecStart=/bin/app\n{lines}"))
}

/// Returns the attributes with these names of the only app.
pub(super) fn attributes(imported: &Imported, names: &[&str]) -> Value {
    let app = &imported.apps[0];
    names.iter().filter_map(|name| Some(((*name).to_owned(), app.get(*name)?.clone()))).collect::<Map<_, _>>().into()
}

fn reasons(imported: &Imported) -> String {
    imported.notices.iter().map(|notices| format!("{}: {}\n", notices.key, notices.why)).collect()
}

#[test]
fn systemd_stop_settings_follow_systemd_defaults() {
    const DAY: u64 = 86_400_000;
    for (lines, signal, timeout, mode, notices) in [
        ("", "SIGTERM", 90_000, "control-group", ""),
        ("TimeoutStopSec=2min 5s\nKillSignal=SIGINT\nKillMode=process", "SIGINT", 125_000, "process", ""),
        ("TimeoutSec=7", "SIGTERM", 7000, "control-group", ""),
        ("TimeoutStopSec=3\nTimeoutSec=7", "SIGTERM", 7000, "control-group", ""),
        ("TimeoutSec=7\nTimeoutStopSec=3", "SIGTERM", 3000, "control-group", ""),
        ("TimeoutStopSec=infinity", "SIGTERM", DAY, "control-group", "TimeoutStopSec: in systemd a stop waits"),
        ("TimeoutStopSec=0", "SIGTERM", DAY, "control-group", "TimeoutStopSec: in systemd a stop waits"),
        ("SendSIGKILL=no", "SIGTERM", DAY, "control-group", "SendSIGKILL: in systemd a stop waits"),
        ("FinalKillSignal=SIGABRT", "SIGTERM", 90_000, "control-group", "FinalKillSignal: the last signal"),
        ("KillMode=none", "SIGTERM", 90_000, "process", "KillMode: none"),
        ("KillSignal=SIGINT\nKillSignal=", "SIGTERM", 90_000, "control-group", ""),
    ] {
        let imported = unit(lines);
        let expected = json!({"kill_signal": signal, "kill_timeout": timeout, "kill_mode": mode});
        assert_eq!(attributes(&imported, &["kill_signal", "kill_timeout", "kill_mode"]), expected, "{lines}");
        let reasons = reasons(&imported);
        assert!(reasons.contains(notices) && reasons.is_empty() == notices.is_empty(), "{lines}: {reasons}");
        assert_round_trips(&imported);
    }
}

#[test]
fn systemd_restart_settings_follow_systemd_defaults() {
    let budget = |n: u32, window: u64| json!({"n": n, "window": window});
    let names = ["autorestart", "stop_exit_codes", "restart_delay", "restart_budget"];
    for (lines, expected) in [
        ("", json!({"autorestart": false})),
        ("Restart=no", json!({"autorestart": false})),
        ("Restart=always", json!({"restart_delay": 100, "restart_budget": budget(4, 10_000)})),
        ("Restart=always\nRestartSec=5", json!({"restart_delay": 5000, "restart_budget": budget(4, 10_000)})),
        ("Restart=always\nStartLimitInterval=0", json!({"restart_delay": 100})),
        (
            "Restart=always\n[Unit]\nStartLimitBurst=3\nStartLimitIntervalSec=1min",
            json!({"restart_delay": 100, "restart_budget": budget(2, 60_000)}),
        ),
        (
            "Restart=on-failure\nSuccessExitStatus=143 TEMPFAIL\nRestartPreventExitStatus=23",
            json!({"stop_exit_codes": [0, 23, 75, 143], "restart_delay": 100, "restart_budget": budget(4, 10_000)}),
        ),
        ("Type=oneshot", json!({"autorestart": false})),
        ("Restart=sometimes", json!({"autorestart": false})),
    ] {
        let imported = unit(lines);
        assert_eq!(attributes(&imported, &names), expected, "{lines}");
        assert_round_trips(&imported);
    }
    let notices =
        reasons(&unit("Restart=on-failure\nRestartPreventExitStatus=SIGKILL\nType=forking\nPIDFile=/run/x.pid\nRestrt=no\nX-Own=1"));
    for part in
        ["SIGKILL: after a signal", "forking: keep the program", "PIDFile: the program has", "Restrt: unknown key, did you mean `Restart`?"]
    {
        assert!(notices.contains(part), "{part}: {notices}");
    }
    assert!(!notices.contains("X-Own"), "{notices}");
}

#[test]
fn systemd_commands_become_scripts() {
    for (lines, expected) in [
        (
            "ExecStart=/bin/app -p ${P} \"a b\" x\\x20y\nEnvironment=P=1",
            json!({"script": "/bin/app", "args": ["-p", "1", "a b", "x y"], "env": {"P": "1"}}),
        ),
        ("ExecStart=/bin/app ${P} $Q\nEnvironmentFile=/e", json!({"script": "exec /bin/app \"${P}\" $Q"})),
        ("ExecStart=/bin/app \\\n# between\n  %p $$X", json!({"script": "/bin/app", "args": ["api", "$X"]})),
        ("ExecStart=\nExecStart=/bin/b", json!({"script": "/bin/b"})),
        ("Type=oneshot\nExecStart=-/bin/b 'c d'", json!({"script": "/bin/app && { /bin/b 'c d' || true; }"})),
        ("ExecStart=\nExecStart=:/bin/b ${X}", json!({"script": "/bin/b", "args": ["${X}"]})),
    ] {
        let text = if lines.starts_with("ExecStart=/") {
            format!("[Service]\n{lines}")
        } else {
            format!("[Service]\nExecStart=/bin/app\n{lines}")
        };
        let imported = read(ImportFormat::Systemd, &text);
        assert_eq!(attributes(&imported, &["script", "args", "env"]), expected, "{lines}");
        assert_round_trips_except_files(&imported);
    }
    let unclosed = import(ImportFormat::Systemd, "[Service]\nUser=x\nExecStart=/bin/a 'b\n", &FileContext::named("a"));
    assert_eq!(unclosed, Err(ImportError::Malformed("line 3: a quote is not closed in ExecStart".into())));
}

/// Same as `comes_back`, without files that are missing on this machine.
fn assert_round_trips_except_files(imported: &Imported) {
    let mut imported = imported.clone();
    imported.apps.iter_mut().for_each(|app| drop(app.shift_remove("env_file")));
    assert_round_trips(&imported);
}

#[test]
fn drop_ins_includes_and_env_files_are_read() {
    let files = |pattern: &str| match pattern {
        "api.service.d/*.conf" => vec![("1".into(), "[Service]\nUser=www\nExecStart=\nExecStart=/bin/other\n".into())],
        "/etc/s/conf.d/*.conf" => vec![("1".into(), "[program:b]\ncommand=/bin/b\n".into())],
        "/etc/s/*.env" => vec![("/etc/s/a.env".into(), String::new()), ("/etc/s/b.env".into(), String::new())],
        ".env" => vec![("1".into(), "export PORT=1\nPORT=7000\n".into())],
        _ => Vec::new(),
    };
    let place = FileContext { name: "api.service", folder: Some("/etc/s"), host: Some("h"), port: None, files: &files };
    let read = |from, text: &str, place: &FileContext<'_>| import(from, text, place).unwrap();
    let imported = read(ImportFormat::Systemd, "[Service]\nExecStart=/bin/a %H\n", &place);
    assert_eq!(attributes(&imported, &["script", "uid"]), json!({"script": "/bin/other", "uid": "www"}));
    let text = "[Service]\nEnvironmentFile=/etc/one.env\nEnvironmentFile=-/etc/s/*.env\nEnvironmentFile=/none/[a]\nExecStart=/bin/a\n";
    let imported = read(ImportFormat::Systemd, text, &place);
    let optional = |path: &str| json!({"path": path, "format": "systemd", "required": false});
    let one = json!({"path": "/etc/one.env", "format": "systemd"});
    assert_eq!(imported.apps[0]["env_file"], json!([one, optional("/etc/s/a.env"), optional("/etc/s/b.env")]));
    let why: Vec<&str> =
        imported.notices.iter().filter(|notices| notices.key == "EnvironmentFile").map(|notices| notices.why.as_str()).collect();
    assert_eq!(
        why,
        [
            "/etc/s/*.env matches /etc/s/a.env, /etc/s/b.env now: add later files to env_file",
            "no file that can be read matches /none/[a]: name the files in env_file"
        ]
    );
    let imported = read(ImportFormat::Supervisor, "[include]\nfiles=%(here)s/conf.d/*.conf none/*\n[program:a]\ncommand=/bin/a\n", &place);
    assert_eq!(imported.apps.len(), 2);
    assert_eq!(keys(&imported), [("-", "include")]);
    let imported = read(ImportFormat::Procfile, "a: x\nb: y\n", &place);
    assert_eq!(
        attributes(&imported, &["env", "env_file"]),
        json!({"env": {"PORT": 7000}, "env_file": [{"path": ".env", "format": "foreman", "required": false}]})
    );
    assert_eq!(imported.apps[1]["env"], json!({"PORT": 7100}));
    let imported = read(ImportFormat::Procfile, "a: x\n", &FileContext { port: Some(80), ..place });
    assert_eq!(imported.apps[0]["env"], json!({"PORT": 80}));
}

#[test]
fn supervisor_defaults_are_kept() {
    let one = |lines: &str| read(ImportFormat::Supervisor, &format!("[program:a]\ncommand=/bin/a\n{lines}"));
    let names = ["autorestart", "stop_exit_codes", "max_restarts", "kill_signal", "kill_timeout", "kill_mode", "log_rotate"];
    let with = |own: Value| {
        let usual = json!({"stop_exit_codes": [0], "max_restarts": 4, "kill_signal": "SIGTERM", "kill_timeout": 10_000, "kill_mode": "mixed", "log_rotate": {"max_size": "50M", "retain": 10}});
        let mut all = usual.as_object().cloned().unwrap_or_default();
        for (key, value) in own.as_object().into_iter().flatten() {
            if value.is_null() { drop(all.remove(key)) } else { drop(all.insert(key.clone(), value.clone())) }
        }
        Value::from(all)
    };
    for (lines, own) in [
        ("", json!({})),
        ("autorestart=true", json!({"stop_exit_codes": null})),
        ("autorestart=false\nstartretries=0", json!({"stop_exit_codes": null, "autorestart": false, "max_restarts": 1})),
        ("exitcodes=1,2", json!({"stop_exit_codes": [1, 2]})),
        (
            "stopsignal=quit ; now\nstopwaitsecs=3\nstopasgroup=true",
            json!({"kill_signal": "SIGQUIT", "kill_timeout": 3000, "kill_mode": "tree"}),
        ),
        ("stdout_logfile_maxbytes=0", json!({"log_rotate": false})),
        ("stdout_logfile_maxbytes=10MB\nstdout_logfile_backups=2", json!({"log_rotate": {"max_size": "10M", "retain": 2}})),
    ] {
        let imported = one(lines);
        let app: Value = attributes(&imported, &names);
        assert_eq!(app, with(own), "{lines}");
        assert_round_trips(&imported);
    }
}

#[test]
fn supervisor_expands_expressions_and_inherits_environment() {
    let text = "[supervisord]\nenvironment=A=1,B=2\n[group:g]\nprograms=web,x\n[program:web]\ncommand=%(here)s/run --port=80%(process_num)02d %(group_name)s\n\
                process_name=%(program_name)s-%(process_num)d\nnumprocs=2\nnumprocs_start=1\nenvironment=B=3\n[program:x]\ncommand=%(ENV_HOME)s/x a$b\n[eventlistener:e]\ncommand=x\n";
    let place = FileContext { folder: Some("/etc/s"), ..FileContext::named("x.conf") };
    let imported = import(ImportFormat::Supervisor, text, &place).unwrap();
    let of = |at: usize| {
        let app = &imported.apps[at];
        json!([app["name"], app["namespace"], app["script"], app["args"], app["env"]])
    };
    assert_eq!(of(0), json!(["web-1", "g", "/etc/s/run", ["--port=8001", "g"], {"A": "1", "B": "3"}]));
    assert_eq!(of(1), json!(["web-2", "g", "/etc/s/run", ["--port=8002", "g"], {"A": "1", "B": "3"}]));
    assert_eq!(of(2), json!(["x", "g", "/usr/bin/env", ["${HOME}/x", "a$$b"], {"A": "1", "B": "2"}]));
    assert_eq!(keys(&imported), [("eventlistener:e", "eventlistener:e")]);
    for text in ["[program:a]\ncommand=x 'y\n", "[program:a]\ncommand=x\nenvironment=A=\"1\n"] {
        let line = text.lines().count();
        let error = import(ImportFormat::Supervisor, text, &place).unwrap_err().to_string();
        assert!(error.starts_with(&format!("line {line}: a quote is not closed")), "{error}");
    }
    let notices = reasons(&read(ImportFormat::Supervisor, "[program:a]\ncommand=x\nstartsec=3\n"));
    assert!(notices.contains("did you mean `startsecs`?"), "{notices}");
}

#[test]
fn oxmgr_defaults_are_kept() {
    let imported = read(ImportFormat::Oxmgr, "[[apps]]\ncommand = \"x y\"\nwait_ready = true\nhealth_cmd = \"true\"\nmax_restart = 3\n");
    assert_eq!(
        attributes(&imported, &["stop_exit_codes", "kill_signal", "kill_timeout", "max_restarts", "restart_budget", "listen_timeout"]),
        json!({"stop_exit_codes": [0], "kill_signal": "SIGTERM", "kill_timeout": 5000, "max_restarts": 11, "restart_budget": {"n": 3, "window": "5m"}, "listen_timeout": 30_000})
    );
    assert_eq!(reasons(&imported), "max_restart: unknown key, did you mean `max_restarts`?\n");
    let imported = read(ImportFormat::Oxmgr, "[[apps]]\ncommand = \"x y\"\ncrash_restart_limit = 0\nrestart_policy = \"never\"\n");
    assert_eq!(attributes(&imported, &["autorestart", "restart_budget", "max_restarts"]), json!({"autorestart": false}));
}

/// Reader of a file with this key.
type Reader<'a> = &'a dyn Fn(&str) -> Result<Imported, ImportError>;

/// Checks that the reader reports each key that its table leaves out, with the reason in the table,
/// and handles every other key.
#[test]
fn readers_handle_or_report_every_key_of_their_table() {
    let systemd = |key: &str| {
        let section = if key.starts_with("Condition") { "Unit" } else { "Service" };
        import(ImportFormat::Systemd, &format!("[Service]\nExecStart=/bin/a\n[{section}]\n{key}=1\n"), &FileContext::named("a.service"))
    };
    let supervisor =
        |key: &str| import(ImportFormat::Supervisor, &format!("[program:a]\ncommand=/bin/a\n{key}=1\n"), &FileContext::named("a.conf"));
    let oxmgr = |key: &str| {
        import(ImportFormat::Oxmgr, &format!("[defaults]\n{key} = 1\n[[apps]]\ncommand = \"a\"\n"), &FileContext::named("a.toml"))
    };
    let readers: [(&[Key], Reader<'_>); 3] =
        [(keys::systemd::KEYS, &systemd), (keys::supervisor::KEYS, &supervisor), (keys::oxmgr::KEYS, &oxmgr)];
    for (table, reader) in readers {
        for key in table {
            let imported = reader(key.name).unwrap_or_else(|error| panic!("{}: {error}", key.name));
            let (KeySupport::Done(text) | KeySupport::Differs(text) | KeySupport::LeftOut(text)) = key.support;
            let is_reported = imported.notices.iter().any(|notices| notices.key == key.name && notices.why == text);
            assert_eq!(is_reported, matches!(key.support, KeySupport::LeftOut(_)), "{}: {:?}", key.name, imported.notices);
        }
    }
}
