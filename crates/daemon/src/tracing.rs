//! OpenTelemetry for Node apps that want it (`trace`): its packages are loaded before the app, and told whose traces they are.
//!
//! The packages are npm's, put into the home by `ostler install-otel`. Where they are not, or the app's user cannot read them, the app runs without.

use std::collections::BTreeSet;
use std::path::Path;

use ostler_core::app::AppSpec;
use ostler_core::lifecycle::SpawnFailure;

use crate::engine::{Beside, Ctx, Feature};
use crate::slots::Slot;

/// What is loaded, below the home.
const REGISTER: &str = "otel/node_modules/@opentelemetry/auto-instrumentations-node/build/src/register.js";
/// Name of what sends the traces.
const SERVICE: &str = "OTEL_SERVICE_NAME";
const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// Apps of which it was logged that they run without.
#[derive(Debug, Default)]
pub(crate) struct Tracing {
    reported: BTreeSet<String>,
}

impl Tracing {
    pub(crate) const NAME: &str = "tracing";
}

impl Feature for Tracing {
    fn on_prepare(&mut self, ctx: &mut Ctx, id: u32, _inc: u32, beside: &mut Beside) -> Result<(), SpawnFailure> {
        let Some(slot) = ctx.slots.get(id).filter(|slot| is_wanted(slot.spec())) else { return Ok(()) };
        let path = ctx.settings.home.join(REGISTER);
        let other = beside.account.as_ref().map(|account| &account.credentials);
        let other = other.filter(|user| user.uid != rustix::process::geteuid().as_raw());
        let why = match other {
            _ if !path.is_file() => Some("its packages are not installed: ostler install-otel".to_owned()),
            Some(user) if !ostler_sys::access::can_read(&path, user).unwrap_or(false) => {
                Some(format!("user {} cannot read {}", user.uid, path.display()))
            }
            _ => None,
        };
        match why {
            Some(why) => {
                if self.reported.insert(slot.spec().name.clone()) {
                    let (name, pm_id) = (&slot.spec().name, slot.durable.pm_id);
                    ctx.log.error(format_args!("App [{name}:{pm_id}] runs without OpenTelemetry: {why}"));
                }
            }
            None => {
                beside.vars.extend(variables(slot));
                beside.node_args.extend(["--require".into(), shown(&path)]);
            }
        }
        Ok(())
    }
}

fn is_wanted(spec: &AppSpec) -> bool {
    spec.given.is("trace", true) && !spec.given.is("disable_trace", true) && spec.runs_in_node()
}

/// What the app does not say itself.
fn variables(slot: &Slot) -> impl Iterator<Item = (&'static str, String)> {
    let spec = slot.spec();
    let attributes = format!("service.namespace={},service.instance.id={}", spec.namespace, slot.durable.unique_id);
    let own = spec.env.merged();
    [(SERVICE, spec.name.clone()), (ATTRIBUTES, attributes)].into_iter().filter(move |(name, _)| !own.contains_key(*name))
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Played;
    use serde_json::json;

    fn prepared(installed: bool, given: serde_json::Value, more: AppSpec) -> (Vec<String>, Vec<&'static str>) {
        let (mut played, mut tracing, mut beside) = (Played::new(&[]), Tracing::default(), Beside::default());
        let file = played.ctx.settings.home.join(REGISTER);
        if installed {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, "").unwrap();
        }
        let given = given.as_object().unwrap().clone().into();
        let spec = AppSpec { name: "api".into(), script: "/srv/api.js".into(), interpreter: Some("/usr/bin/node".into()), given, ..more };
        let id = played.instance(spec);
        tracing.on_prepare(&mut played.ctx, id, 1, &mut beside).unwrap();
        (beside.node_args, beside.vars.into_iter().map(|(name, _)| name).collect())
    }

    #[test]
    fn who_is_traced() {
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
}
