//! `sandbox`: attributes to specs, and clear problems.
#![allow(clippy::unwrap_used)]

mod project;

use ostler_core::app::sandbox::{Ports, Profile, SandboxSpec};
use project::Project;
use serde_json::{Value, json};

fn sandbox(project: &Project, value: Value) -> Option<SandboxSpec> {
    project.start("server.py", json!({ "sandbox": value })).sandbox.map(|sandbox| *sandbox)
}

#[test]
fn forms_of_the_attribute_parse() {
    let project = Project::new("sandbox-forms");
    project.file("server.py", "");
    let profile = |profile| Some(SandboxSpec { profile, ..SandboxSpec::default() });
    assert_eq!(sandbox(&project, json!("web")), profile(Profile::Web));
    assert_eq!(sandbox(&project, json!("strict")), profile(Profile::Strict));
    assert_eq!(sandbox(&project, json!(false)), None);
    assert_eq!(sandbox(&project, json!(true)), sandbox(&project, json!("web")));
    let inside = |path: &str| format!("{}/{path}", project.dir.display());
    let all = sandbox(
        &project,
        json!({
            "profile": "web", "read_write_paths": ["my data", "-cache"], "read_only_paths": "/srv/x", "bind_ports": [80, "443"],
            "connect_ports": "any", "private_tmp": false, "protect_proc": true, "capabilities": ["CAP_NET_BIND_SERVICE", "kill"],
            "no_new_privs": true, "system_calls": ["~ptrace", "~@mount"], "address_families": ["AF_INET", "inet6"], "required": true,
        }),
    );
    let expected = SandboxSpec {
        profile: Profile::Web,
        read_only: false,
        read_only_paths: vec!["/srv/x".into()],
        read_write_paths: vec![inside("my data"), format!("-{}", inside("cache"))],
        bind_ports: Ports::Only(vec![80, 443]),
        connect_ports: Ports::Any,
        private_tmp: Some(false),
        protect_proc: Some(true),
        capabilities: Some(vec!["net_bind_service".into(), "kill".into()]),
        no_new_privs: Some(true),
        system_calls: vec!["ptrace".into(), "@mount".into()],
        address_families: Some(vec!["inet".into(), "inet6".into()]),
        required: Some(true),
    };
    assert_eq!(all, Some(expected));
}

#[test]
fn mistakes_name_the_key_and_what_was_meant() {
    let project = Project::new("sandbox-mistakes");
    project.file("server.py", "");
    for (value, expected) in [
        (json!("wbe"), "did you mean \"web\""),
        (json!(1), "expected \"web\" or \"strict\""),
        (json!({"profile": "strikt"}), "unknown profile \"strikt\", did you mean \"strict\""),
        (json!({"read_only_path": "x"}), "unknown key `read_only_path`, did you mean `read_only_paths`"),
        (json!({"protect_system": "strict"}), "did you mean \"read_only\""),
        (json!({"capability_bounding_set": []}), "did you mean \"capabilities\""),
        (json!({"profile": "web", "bind_ports": [70_000]}), "expected ports from 0 to 65535"),
        (json!({"profile": "web", "private_tmp": "yes"}), "expected true or false for \"private_tmp\""),
        (json!({"capabilities": ["net_bind"]}), "unknown capability \"net_bind\""),
        (json!({"system_calls": ["ptrace"]}), "\"~ptrace\" denies it"),
        (json!({"system_calls": ["~ptrac"]}), "did you mean \"~ptrace\""),
        (json!({"address_families": ["inett"]}), "unknown address family \"inett\", did you mean \"inet\""),
        (json!({"profile": "web", "no_new_privs": false}), "the kernel requires no_new_privs"),
        (json!({"read_write_paths": ["data"]}), "no effect without a profile"),
        (json!({"read_only": true, "read_only_paths": ["data"]}), "makes every path readable"),
        (json!({"profile": "strict", "read_write_paths": ["."]}), "own directory is read-only"),
        (json!({"private_tmp": true}), "a private /tmp would hide"),
        (json!({"profile": "web", "read_only_paths": [""]}), "a path must not be empty"),
    ] {
        let error = project.error("server.py", json!({ "sandbox": value.clone() }));
        assert!(error.starts_with("--sandbox") && error.contains(expected), "{value}: {error}");
    }
}
