//! Options of a command: `--namespace` limits it, and an option without an effect is an error.

use ostler_testkit::Home;

use crate::setup::{home, home_as_pm2, start_fixture};

/// Starts `web` and `api` in `default`, `lab` in `staging`.
fn start_apps(home: &Home) {
    for (name, namespace) in [("web", "default"), ("api", "default"), ("lab", "staging")] {
        start_fixture(home, name, &format!("--namespace {namespace}"), "hold");
    }
}

#[test]
fn namespace_limits_the_targets_of_a_command() {
    let home = home();
    start_apps(&home);
    let before = ["web", "api", "lab"].map(|name| home.app(name).pid());
    for verb in ["restart", "reload"] {
        let lab = home.app("lab").pid();
        home.ok(format!("{verb} all --namespace staging"));
        assert_ne!(home.app("lab").pid(), lab, "{verb}");
    }
    home.ok("restart all --namespace staging --max-restarts 9");
    assert_eq!(home.app("lab").number("max_restarts"), 9);
    assert_eq!(["web", "api"].map(|name| home.app(name).pid()), before[..2]);
    assert_eq!(home.app("web").text("namespace"), "default");
    home.ok("stop all --namespace staging");
    let online = |names: &[&str]| {
        let is_online = |name: &str| if names.contains(&name) { "online" } else { "stopped" };
        ["web", "api", "lab"].map(|name| (name.to_owned(), is_online(name).to_owned())).to_vec()
    };
    assert_eq!(home.statuses(), online(&["web", "api"]));
    home.ok("reset all --namespace staging");
    // A target outside the namespace is not found, by name, id, namespace or expression.
    for target in ["web", "0", "default", "/web/"] {
        for verb in ["stop", "delete", "restart", "reload"] {
            home.run(format!("{verb} {target} --namespace staging")).code(4);
        }
    }
    assert_eq!(home.statuses(), online(&["web", "api"]));
    home.ok("delete all --namespace staging");
    assert_eq!(home.statuses().len(), 2);
    home.ok("stop web --namespace default");
    assert_eq!(home.app("api").status(), "online");
}

#[test]
fn argument_without_effect_is_rejected() {
    let home = home();
    start_apps(&home);
    for line in ["flush web api", "sendSignal SIGCONT web api", "scale web 2 3", "pid web api", "env 0 1"] {
        home.run(line).code(2).says("error: unexpected argument `");
    }
    home.ok("reset web api").says("✓ web").says("✓ api");
    home.ok("describe web api").says("web (").says("api (");
}

#[test]
fn option_without_effect_is_rejected() {
    let home = home();
    start_apps(&home);
    let before = home.jlist().iter().map(|item| item.pid()).collect::<Vec<_>>();
    for (line, option) in [
        ("delete web --name other", "name"),
        ("stop web --kill-timeout 10", "kill-timeout"),
        ("scale web 3 --parallel 2", "parallel"),
        ("scale web 3 --namespace staging", "namespace"),
        ("flush web --namespace staging", "namespace"),
        ("save --only web", "only"),
        ("kill --namespace staging", "namespace"),
        ("list --env production", "env"),
    ] {
        home.run(line).code(2).says(&format!("option `--{option}` has no effect with"));
    }
    assert_eq!(home.jlist().iter().map(|item| item.pid()).collect::<Vec<_>>(), before);
}

#[test]
fn pm2_name_warns_about_option_without_effect() {
    let home = home_as_pm2();
    start_apps(&home);
    let output = home.ok("stop all --name other");
    assert!(output.stderr.contains("option --name has no effect with stop"), "{output}");
    assert!(home.statuses().iter().all(|(_, status)| status == "stopped"));
    // In PM2, the option moves the app to the namespace.
    home.ok("restart web --namespace staging");
    assert_eq!(home.app("web").text("namespace"), "staging");
}
