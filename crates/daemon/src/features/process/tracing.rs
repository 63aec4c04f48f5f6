//! OpenTelemetry for apps with `trace`. Their environment names the service whose traces they send
//! and, while the dashboard accepts traces, the address. Node apps load its packages first.
//!
//! The packages come from npm; `ostler install-otel` puts them into the home. If they are missing,
//! or the app's user cannot read them, the app runs without them. The port is in a file that the
//! dashboard's settings keep (`<home>/web/otlp-port`). The daemon itself receives no traces.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use ostler_core::app::AppSpec;
use ostler_core::lifecycle::SpawnFailure;

use crate::engine::{Ctx, SpawnExtras};
use crate::state::slots::Slot;

/// Module that Node loads, below the home.
/// Folder of the packages in the home.
const FOLDER: &str = "otel";
const REGISTER: &str = "otel/node_modules/@opentelemetry/auto-instrumentations-node/build/src/register.js";
/// Name of the service that sends the traces.
const SERVICE: &str = "OTEL_SERVICE_NAME";
const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
/// Address that receives the traces.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";
/// Variables by which an app sets its own exporters and addresses. If one is set, the daemon sets
/// none of them.
const OWN: &[&str] = &[
    ENDPOINT,
    PROTOCOL,
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_TRACES_EXPORTER",
    METRICS,
    LOGS,
    "OTEL_SDK_DISABLED",
];
/// Signals that the dashboard does not use, so apps need not collect them.
const METRICS: &str = "OTEL_METRICS_EXPORTER";
const LOGS: &str = "OTEL_LOGS_EXPORTER";
/// File with the port, below the home, and the most bytes that are read of it.
const PORT_FILE: &str = "web/otlp-port";
const LONGEST: u64 = 16;

/// Apps without the packages that the log has already named.
#[derive(Debug, Default)]
pub(crate) struct Tracing {
    reported: BTreeSet<String>,
}

impl Tracing {
    pub(crate) const NAME: &str = "tracing";
}

impl Tracing {
    pub(crate) fn on_prepare(&mut self, ctx: &mut Ctx, id: u32, _inc: u32, beside: &mut SpawnExtras) -> Result<(), SpawnFailure> {
        let Some(slot) = ctx.state.slots.get(id).filter(|slot| is_wanted(slot.spec())) else { return Ok(()) };
        let port = port(&ctx.io.settings.home);
        if !slot.spec().ends_in_node() {
            beside.vars.extend(variables(slot, port));
            return Ok(());
        }
        let path = ctx.io.settings.home.join(REGISTER);
        let other = beside.account.as_ref().map(|account| &account.credentials);
        let other = other.filter(|user| user.uid != rustix::process::geteuid().as_raw());
        let why = match other {
            _ if !path.is_file() => Some("its packages are not installed: ostler install-otel".to_owned()),
            Some(user) if !ostler_sys::fs::access::can_read(&path, user).unwrap_or(false) => {
                Some(format!("user {} cannot read {}", user.uid, path.display()))
            }
            _ => None,
        };
        match why {
            Some(why) => {
                if self.reported.insert(slot.spec().name.clone()) {
                    let (name, pm_id) = (&slot.spec().name, slot.durable.pm_id);
                    ctx.io.log.error(format_args!("App [{name}:{pm_id}] runs without OpenTelemetry: {why}"));
                }
            }
            None => {
                beside.vars.extend(variables(slot, port));
                beside.readable.push(ctx.io.settings.home.join(FOLDER));
                beside.node_args.extend(["--require".into(), shown(&path)]);
            }
        }
        Ok(())
    }
}

fn is_wanted(spec: &AppSpec) -> bool {
    spec.given.is("trace", true) && !spec.given.is("disable_trace", true)
}

/// Returns the variables that the app does not set itself.
fn variables(slot: &Slot, port: Option<u16>) -> Vec<(&'static str, String)> {
    let spec = slot.spec();
    let attributes = format!("service.namespace={},service.instance.id={}", spec.namespace, slot.durable.unique_id);
    let own = spec.env.merged();
    let mut all = vec![(SERVICE, spec.name.clone()), (ATTRIBUTES, attributes)];
    if let Some(port) = port.filter(|_| !OWN.iter().any(|name| own.contains_key(*name))) {
        all.push((ENDPOINT, format!("http://127.0.0.1:{port}")));
        all.extend([(PROTOCOL, "http/protobuf"), (METRICS, "none"), (LOGS, "none")].map(|(name, value)| (name, value.to_owned())));
    }
    all.retain(|(name, _)| !own.contains_key(*name));
    all
}

/// Returns the port that accepts traces; `None` if no traces are accepted.
fn port(home: &Path) -> Option<u16> {
    let (path, mut text) = (home.join(PORT_FILE), String::new());
    // A fifo of that name would block the daemon.
    std::fs::symlink_metadata(&path).ok().filter(std::fs::Metadata::is_file)?;
    File::open(path).ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
    text.trim().parse().ok().filter(|port| *port > 0)
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{TestContext, reacts};
    use serde_json::json;

    fn prepared(installed: bool, given: serde_json::Value, more: AppSpec) -> (Vec<String>, Vec<&'static str>) {
        prepared_with(None, installed, given, more)
    }

    fn prepared_with(port: Option<&str>, installed: bool, given: serde_json::Value, more: AppSpec) -> (Vec<String>, Vec<&'static str>) {
        let (mut played, mut tracing, mut beside) = (TestContext::new(&[]), Tracing::default(), SpawnExtras::default());
        let file = played.ctx.io.settings.home.join(REGISTER);
        if let Some(port) = port {
            std::fs::create_dir_all(played.ctx.io.settings.home.join("web")).unwrap();
            std::fs::write(played.ctx.io.settings.home.join(PORT_FILE), port).unwrap();
        }
        if installed {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, "").unwrap();
        }
        let given = given.as_object().unwrap().clone().into();
        let spec = AppSpec {
            name: "api".into(),
            script: "/srv/api.js".into(),
            interpreter: Some(more.interpreter.clone().unwrap_or("/usr/bin/node".into())),
            given,
            ..more
        };
        let id = played.instance(spec);
        tracing.on_prepare(&mut played.ctx, id, 1, &mut beside).unwrap();
        (beside.node_args, beside.vars.into_iter().map(|(name, _)| name).collect())
    }

    #[test]
    fn only_apps_with_trace_are_traced() {
        let (args, vars) = prepared(true, json!({"trace": true}), AppSpec::default());
        assert!(args[0] == "--require" && args[1].ends_with(REGISTER), "{args:?}");
        assert_eq!(vars, [SERVICE, ATTRIBUTES]);
        let mut own = AppSpec::default();
        own.env.vars.insert(SERVICE.into(), "mine".into());
        assert_eq!(prepared(true, json!({"trace": true}), own).1, [ATTRIBUTES], "what the app says wins");
        for (installed, given) in
            [(false, json!({"trace": true})), (true, json!({})), (true, json!({"trace": true, "disable_trace": true}))]
        {
            assert_eq!(prepared(installed, given.clone(), AppSpec::default()), (vec![], vec![]), "{given}");
        }
    }

    #[test]
    fn traces_go_to_the_local_collector_unless_configured() {
        let all = vec![SERVICE, ATTRIBUTES, ENDPOINT, PROTOCOL, METRICS, LOGS];
        let on = || json!({"trace": true});
        assert_eq!(prepared_with(Some("4318\n"), true, on(), AppSpec::default()).1, all);
        let python = AppSpec { interpreter: Some("/usr/bin/python3".into()), ..AppSpec::default() };
        assert_eq!(prepared_with(Some("4318\n"), false, on(), python), (vec![], all), "other languages know the variables, too");
        for name in OWN {
            let mut own = AppSpec::default();
            own.env.vars.insert((*name).to_owned(), "x".into());
            assert_eq!(prepared_with(Some("4318\n"), true, on(), own).1, [SERVICE, ATTRIBUTES], "{name}");
        }
        for port in ["", "0", "x", "99999", "4318 and more than that"] {
            assert_eq!(prepared_with(Some(port), true, on(), AppSpec::default()).1, [SERVICE, ATTRIBUTES], "{port}");
        }
    }

    reacts!(Tracing: );
}
