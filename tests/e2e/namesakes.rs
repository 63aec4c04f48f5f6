//! Apps of the same name in two namespaces: two apps, except for a program that is called `pm2`.

use ostler_testkit::{Home, ListedApp, Subject, fixture, free_port, get};

use crate::setup::{binary, home};

/// Writes a config with the app `web` for a namespace into its own folder, and returns the path.
fn config(home: &Home, namespace: &str, more: &str) -> String {
    let folder = home.work().join(namespace);
    std::fs::create_dir_all(&folder).unwrap();
    let text = format!(
        "module.exports = {{ apps: [{{ name: 'web', namespace: '{namespace}', script: '{}', interpreter: 'none', args: 'hold', cwd: __dirname, {more} }}] }}",
        fixture()
    );
    home.write(&format!("{namespace}/eco.config.js"), text)
}

fn in_namespace(home: &Home, namespace: &str) -> Vec<ListedApp> {
    home.jlist().into_iter().filter(|item| item.text("namespace") == namespace).collect()
}

fn pids(home: &Home, namespace: &str) -> Vec<i32> {
    in_namespace(home, namespace).iter().map(ListedApp::pid).collect()
}

#[test]
fn start_leaves_app_of_other_namespace_alone() {
    let home = home();
    let (production, staging) = (config(&home, "default", ""), config(&home, "staging", "instances: 2,"));
    home.ok(["start", &production]);
    let before = pids(&home, "default");
    home.ok(["start", &staging]);
    assert_eq!(pids(&home, "default"), before);
    assert_eq!(in_namespace(&home, "staging").len(), 2);
    let folder = |namespace: &str| in_namespace(&home, namespace)[0].text("pm_cwd").to_owned();
    assert!(folder("default").ends_with("/default") && folder("staging").ends_with("/staging"));
    // Later commands with a file select the apps of its namespace.
    for command in ["restart", "reload", "startOrRestart", "startOrReload", "stop"] {
        let staged = pids(&home, "staging");
        home.ok([command, &staging]);
        assert_eq!(pids(&home, "default"), before, "{command}");
        assert_ne!(pids(&home, "staging"), staged, "{command}");
    }
    home.ok(["delete", &staging]);
    assert_eq!((pids(&home, "default"), pids(&home, "staging").len()), (before, 0));
}

#[test]
fn target_can_name_the_namespace() {
    let home = home();
    let (production, staging) = (config(&home, "default", ""), config(&home, "staging", ""));
    home.ok(["start", &production]);
    home.ok(["start", &staging]);
    let (before, staged) = (pids(&home, "default"), pids(&home, "staging"));
    home.ok("restart staging/web");
    assert_eq!(pids(&home, "default"), before);
    assert_ne!(pids(&home, "staging"), staged);
    home.ok("scale staging/web 3");
    assert_eq!((in_namespace(&home, "default").len(), in_namespace(&home, "staging").len()), (1, 3));
    home.ok("scale web 2");
    assert_eq!((in_namespace(&home, "default").len(), in_namespace(&home, "staging").len()), (2, 3));
    home.ok("restart web");
    assert!(pids(&home, "default").iter().all(|pid| !before.contains(pid)));
    home.ok("delete web --namespace staging");
    assert_eq!((in_namespace(&home, "default").len(), in_namespace(&home, "staging").len()), (2, 0));
}

#[test]
fn namesakes_survive_killed_daemon_and_resurrect() {
    let home = home();
    let (production, staging) = (config(&home, "default", ""), config(&home, "staging", ""));
    home.ok(["start", &production]);
    home.ok(["start", &staging]);
    let before = home.jlist().iter().map(ListedApp::pid).collect::<Vec<_>>();
    home.kill_daemon();
    home.ok("reload staging/web");
    assert_eq!(pids(&home, "default"), before[..1]);
    home.ok("save");
    home.ok("kill");
    home.ok("resurrect");
    assert_eq!((in_namespace(&home, "default").len(), in_namespace(&home, "staging").len()), (1, 1));
    // After one of the two is deleted, `resurrect` restores only the other.
    let before = pids(&home, "staging");
    home.ok("delete default/web");
    home.ok("resurrect");
    assert_eq!((in_namespace(&home, "default").len(), pids(&home, "staging")), (1, before));
}

/// Neither app gets the other's connections, also after the daemon was replaced.
#[test]
fn namesakes_have_their_own_sockets() {
    let home = home();
    let ports = [("default", free_port()), ("staging", free_port())];
    for (namespace, port) in ports {
        let text = format!(
            r#"{{"apps": [{{"name": "web", "namespace": "{namespace}", "script": "{}", "args": "activated blocking", "listen": "{port}", "instances": 2}}]}}"#,
            fixture()
        );
        home.ok(["start", &home.write(&format!("{namespace}.json"), text)]);
    }
    let each_answers = || {
        for (namespace, port) in ports {
            let pids = pids(&home, namespace);
            let answer = get(port, "/").unwrap();
            assert!(pids.iter().any(|pid| answer.starts_with(&format!("{pid} "))), "{namespace}: {answer}, {pids:?}");
        }
    };
    each_answers();
    home.kill_daemon();
    home.ok("reload staging/web");
    each_answers();
    let default = pids(&home, "default");
    home.ok("stop staging/web");
    assert!(get(ports[1].1, "/").is_err());
    assert!(get(ports[0].1, "/").is_ok());
    assert_eq!(pids(&home, "default"), default);
}

#[test]
fn pm2_moves_the_app_and_keeps_its_folder() {
    let home = Home::new(Subject::OstlerAsPm2(binary()));
    let (production, staging) = (config(&home, "default", "env: { AT: 'a' },"), config(&home, "staging", "env: { AT: 'b' },"));
    home.ok(["start", &production]);
    let out = home.ok(["start", &staging]);
    assert!(out.all().contains("web moves from namespace default to staging"), "{}", out.all());
    let web = home.app("web");
    assert_eq!((web.text("namespace"), web.text("AT")), ("staging", "b"));
    assert!(web.text("pm_cwd").ends_with("/default"), "{}", web.text("pm_cwd"));
}
