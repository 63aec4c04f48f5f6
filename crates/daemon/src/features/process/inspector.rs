//! Port of Node's inspector for each process of an app (`--inspect`, or Node's own signal SIGUSR1).
//!
//! PM2 differs: it counts the ports up over all apps while its daemon runs, whatever port the app
//! requested.

use ostler_core::app::AppSpec;
use ostler_core::app::args::split;
use ostler_core::app::inspector::{InspectorOptions, options, port_of};
use ostler_core::lifecycle::SpawnFailure;

use crate::engine::{Ctx, SpawnExtras};
use crate::state::slots::inherited::reaches;
use crate::state::slots::{Slot, Slots};

/// Allocator of inspector ports for the processes of Node apps.
#[derive(Debug, Default)]
pub(crate) struct InspectorPorts;

impl InspectorPorts {
    pub(crate) const NAME: &str = "inspector";
}

impl InspectorPorts {
    pub(crate) fn on_prepare(&mut self, ctx: &mut Ctx, id: u32, _inc: u32, beside: &mut SpawnExtras) -> Result<(), SpawnFailure> {
        let Some(slot) = ctx.state.slots.get(id).filter(|slot| slot.spec().ends_in_node()) else { return Ok(()) };
        let options = options_of(slot, beside);
        let port = free_port(&ctx.state.slots, slot, options.base);
        if options.given && port != options.base {
            // The argument has no host, so the host of the app's own option stays.
            beside.last_node_args.push(format!("--inspect-port={port}"));
        } else if port != options.base {
            beside.debug_port = Some(port);
        }
        if let Some(slot) = ctx.state.slots.get_mut(id) {
            slot.durable.inspector_port = Some(port);
            ctx.state.slots.changed(id);
        }
        Ok(())
    }
}

/// Returns the inspector settings from the app's options, in the order in which Node reads them.
fn options_of(slot: &Slot, beside: &SpawnExtras) -> InspectorOptions {
    let spec = slot.spec();
    let env = node_options(slot, beside).map(split).unwrap_or_default();
    let args = if spec.runs_in_node() { spec.interpreter_args.as_slice() } else { &[] };
    options(env.iter().chain(args).map(String::as_str))
}

/// Returns `NODE_OPTIONS` of the app.
fn node_options<'a>(slot: &'a Slot, beside: &SpawnExtras) -> Option<&'a str> {
    const NAME: &str = "NODE_OPTIONS";
    let spec: &AppSpec = slot.spec();
    let own = spec.env.layers().filter_map(|layer| layer.get(NAME)).last();
    let inherited = || slot.base().vars.get(NAME).filter(|_| reaches(spec, beside.account.as_ref())(NAME));
    own.or_else(inherited).map(String::as_str)
}

/// Returns a port that no other process of the app has.
fn free_port(slots: &Slots, slot: &Slot, base: u16) -> u16 {
    let others = || slots.iter().filter(|other| other.durable.id != slot.durable.id && other.spec().key() == slot.spec().key());
    let taken: Vec<u16> = others().filter(|other| other.is_or_will_be_up()).filter_map(|other| other.durable.inspector_port).collect();
    let instances = others().map(|other| other.durable.index).chain([slot.durable.index]).max().unwrap_or(0) + 1;
    port_of(base, slot.durable.index, instances.max(slot.spec().instances), &taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{TestContext, reacts};
    use ostler_core::app::program::ProgramKind;
    use ostler_core::lifecycle::DesiredState;

    fn node(args: &[&str]) -> AppSpec {
        AppSpec {
            name: "api".into(),
            interpreter: Some("/usr/bin/node".into()),
            interpreter_args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            ..AppSpec::default()
        }
    }

    /// Returns the arguments of the second of two processes, and the port that its preload sets.
    fn second(spec: &AppSpec) -> (Vec<String>, Option<u16>) {
        let (mut played, mut ports) = (TestContext::new(&[]), InspectorPorts);
        let mut extras = SpawnExtras::default();
        for _ in 0..2 {
            let id = played.instance(spec.clone());
            played.ctx.state.slots.get_mut(id).unwrap().durable.instance.wanted = DesiredState::Up;
            extras = SpawnExtras::default();
            ports.on_prepare(&mut played.ctx, id, 1, &mut extras).unwrap();
        }
        (extras.last_node_args, extras.debug_port)
    }

    #[test]
    fn second_process_gets_the_next_inspector_port() {
        let with_env = |value: &str, mut spec: AppSpec| {
            spec.env.vars.insert("NODE_OPTIONS".into(), value.into());
            spec
        };
        let starts_node = AppSpec { interpreter: None, program: Some(ProgramKind::StartsNode), ..node(&["--inspect=9300"]) };
        for (spec, args, debug_port) in [
            (node(&["--inspect"]), &["--inspect-port=9230"][..], None),
            (node(&["--inspect-brk=0.0.0.0:9300"]), &["--inspect-port=9301"], None),
            (node(&["--inspect=0"]), &[], None),
            (with_env("--inspect=9300 --no-warnings", node(&[])), &["--inspect-port=9301"], None),
            (with_env("--inspect=9300", node(&["--inspect-port=9400"])), &["--inspect-port=9401"], None),
            (with_env("--inspect=9300", starts_node.clone()), &["--inspect-port=9301"], None),
            // The arguments are those of the program that starts Node.
            (starts_node, &[], Some(9230)),
            (node(&[]), &[], Some(9230)),
            (AppSpec { interpreter: Some("python3".into()), ..node(&["--inspect"]) }, &[], None),
        ] {
            assert_eq!(second(&spec), (args.iter().map(|arg| (*arg).to_owned()).collect(), debug_port), "{spec:?}");
        }
    }

    reacts!(InspectorPorts: );
}
