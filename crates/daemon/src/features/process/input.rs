//! Standard input of apps: a pipe that never reaches its end, into which users may write lines.
//!
//! As under PM2, workers of Node's cluster have no standard input: theirs is empty. The app itself
//! has both ends of its pipe (`ostler_sys::fd::input`). The daemon therefore holds nothing of it,
//! and the death of a daemon or keeper does not close it.

use ostler_core::lifecycle::SpawnFailure;
use ostler_proto::control::{Failure, Request, Response};
use ostler_sys::fd::input;

use crate::engine::{ClientRequest, Ctx, SpawnExtras};

/// Longest text of one request: the capacity of a pipe.
const MAX_BYTES: usize = 64 << 10;
/// Number of standard input.
const STDIN: i32 = 0;

/// Standard input of apps. It has no state.
#[derive(Debug, Default)]
pub(crate) struct Input;

impl Input {
    pub(crate) const NAME: &str = "input";
}

impl Input {
    pub(crate) fn on_prepare(&mut self, ctx: &mut Ctx, id: u32, _inc: u32, beside: &mut SpawnExtras) -> Result<(), SpawnFailure> {
        if ctx.state.slots.get(id).is_none_or(|slot| slot.spec().has_workers()) {
            return Ok(());
        }
        match input::pipe() {
            Ok(pipe) => beside.fds.push((pipe, STDIN)),
            // The app runs without standard input.
            Err(errno) => {
                ctx.io.log.error_once("input", format_args!("cannot create the standard input of an app: {}", std::io::Error::from(errno)))
            }
        }
        Ok(())
    }

    pub(crate) fn on_client_request(&mut self, ctx: &mut Ctx, ask: ClientRequest) -> Option<ClientRequest> {
        let Request::Input { id, text } = &ask.request else { return Some(ask) };
        let response = match write(ctx, *id, text) {
            Ok(()) => Response::Done { ids: vec![*id] },
            Err(why) => Response::Failed(Failure::Other(why)),
        };
        ctx.reply(ask.client, ask.id, response);
        None
    }
}

/// Writes to the instance with this number, all of the text or none. An error has PM2's words if
/// PM2 has the same error.
fn write(ctx: &Ctx, pm_id: u32, text: &str) -> Result<(), String> {
    let slot =
        ctx.state.slots.serving().find(|slot| slot.durable.pm_id == pm_id).ok_or_else(|| format!("Process with ID <{pm_id}> unknown."))?;
    if slot.spec().has_workers() {
        return Err("Cannot send line to processes in cluster mode".into());
    }
    if text.len() > MAX_BYTES {
        return Err(format!("a line of {} bytes is too long, the maximum is {MAX_BYTES}", text.len()));
    }
    let (_, process) = slot.process().ok_or_else(|| format!("Process with ID <{pm_id}> offline."))?;
    input::write(process, text.as_bytes()).map_err(|error| format!("[{}]({pm_id}) {error}", slot.spec().name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{TestContext, reacts};
    use ostler_core::app::{AppSpec, ExecMode};

    #[test]
    fn all_processes_but_cluster_workers_have_stdin() {
        let (mut played, mut input) = (TestContext::new(&[]), Input);
        let app = |interpreter: &str, mode| AppSpec {
            name: interpreter.into(),
            script: "/srv/app".into(),
            interpreter: Some(interpreter.into()),
            mode,
            ..AppSpec::default()
        };
        for (interpreter, mode, has) in
            [("node", ExecMode::Fork, true), ("node", ExecMode::Cluster, false), ("python3", ExecMode::Cluster, true)]
        {
            let id = played.instance(app(interpreter, mode));
            let mut extras = SpawnExtras::default();
            input.on_prepare(&mut played.ctx, id, 1, &mut extras).unwrap();
            assert_eq!(extras.fds.iter().any(|(_, number)| *number == STDIN), has, "{interpreter} {mode:?}");
        }
        assert_eq!(write(&played.ctx, 9, "x"), Err("Process with ID <9> unknown.".into()));
        assert_eq!(write(&played.ctx, 1, "x"), Err("Cannot send line to processes in cluster mode".into()));
        assert_eq!(write(&played.ctx, 0, "x"), Err("Process with ID <0> offline.".into()));
        assert!(write(&played.ctx, 0, &"x".repeat(MAX_BYTES + 1)).is_err());
    }

    reacts!(Input: on_client_request);
}
