//! Last lines of a process, which explain its exit: the relevant lines, and the holder of a port
//! that the process could not bind.

mod port_holders;

use ostler_core::lifecycle::{Event, ExitCause};
use ostler_core::logs::error_lines;

use self::port_holders::{Lookup, PortHolders};
use crate::engine::{Ctx, FeatureAnswer, FeatureRequest, InstanceStep};
use crate::platform::reactor::Source;
use crate::state::slots::Slot;

/// Collector of last lines. The lines themselves are stored with the exit.
#[derive(Debug, Default)]
pub(crate) struct LastLines {
    holders: PortHolders<Incomplete>,
}

/// Last lines of a process that still lack the holder of a port.
#[derive(Clone, Debug)]
struct Incomplete {
    id: u32,
    /// Incarnation of the exit that has these lines; `None` if it has not exited.
    inc: Option<u32>,
    lines: Vec<String>,
}

impl LastLines {
    pub(crate) const NAME: &str = "last_lines";

    /// Adds the holder of a port that the process could not bind. Returns false if the holder is
    /// looked up first.
    fn complete(&mut self, ctx: &mut Ctx, id: u32, inc: Option<u32>, lines: &mut Vec<String>) -> bool {
        let Some(port) = error_lines::taken_port(lines) else { return true };
        let incomplete = Incomplete { id, inc, lines: lines.clone() };
        match self.holders.look_up(ctx, port, Source::Feature(Self::NAME, 0), incomplete) {
            Lookup::Known(holder) => lines.push(held(port, &holder)),
            Lookup::UnderWay => return false,
            Lookup::Refused => {}
        }
        true
    }

    /// Stores the last lines of this incarnation with its exit.
    fn store_lines(&mut self, ctx: &mut Ctx, id: u32, inc: u32) {
        let Some(slot) = ctx.state.slots.get(id) else { return };
        let Some(record) = slot.durable.instance.exits.last().filter(|record| record.inc == inc && record.last_lines.is_empty()) else {
            return;
        };
        // A requested exit needs no explanation.
        if matches!(record.cause, ExitCause::Requested(_)) {
            return;
        }
        let mut lines = slot.last_lines();
        let is_complete = self.complete(ctx, id, Some(inc), &mut lines);
        let Some(slot) = ctx.state.slots.get_mut(id) else { return };
        slot.live.seeks_port_holder |= !is_complete;
        if let Some(record) = slot.durable.instance.exits.last_mut() {
            record.last_lines = lines;
        }
        ctx.state.slots.changed(id);
    }

    /// Adds the holder of a port to the exit that waits for it, and sends the answer.
    fn on_holder(&mut self, ctx: &mut Ctx, port: u16, holder: &str, incomplete: Incomplete) {
        let Incomplete { id, inc, mut lines } = incomplete;
        lines.push(held(port, holder));
        if let Some(slot) = ctx.state.slots.get_mut(id).filter(|_| inc.is_some()) {
            slot.live.seeks_port_holder = self.holders.any_waiting(|other| other.id == id && other.inc.is_some());
            if let Some(record) = slot.durable.instance.exits.iter_mut().rfind(|record| Some(record.inc) == inc) {
                record.last_lines.clone_from(&lines);
                ctx.state.slots.changed(id);
            }
        }
        ctx.answer(FeatureAnswer::LastLines { id, lines });
    }
}

fn held(port: u16, holder: &str) -> String {
    format!("port {port} is held {holder}")
}

impl LastLines {
    /// Adds the lines before any other feature reads the exit.
    pub(crate) fn on_step(&mut self, ctx: &mut Ctx, step: &InstanceStep<'_>) {
        if let Event::Exited { inc, .. } = step.event {
            self.store_lines(ctx, step.id, *inc);
        }
    }

    pub(crate) fn on_request(&mut self, ctx: &mut Ctx, request: FeatureRequest) -> Option<FeatureRequest> {
        let FeatureRequest::LastLines { id } = request else { return Some(request) };
        let mut lines = ctx.state.slots.get(id).map(Slot::last_lines).unwrap_or_default();
        if self.complete(ctx, id, None, &mut lines) {
            ctx.answer(FeatureAnswer::LastLines { id, lines });
        }
        None
    }

    pub(crate) fn on_ready(&mut self, ctx: &mut Ctx, _key: u64, _writable: bool) {
        for (port, holder, incomplete) in self.holders.take(ctx) {
            self.on_holder(ctx, port, &holder, incomplete);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Input, TestContext, reacts};
    use ostler_core::app::AppSpec;
    use ostler_core::lifecycle::{ExitReport, Origin, ProcessEnding};
    use std::net::TcpListener;

    /// Returns a running instance that wrote this text to its error log.
    fn running(played: &mut TestContext, text: &str) -> u32 {
        let path = played.home().join("error.log");
        std::fs::write(&path, text).unwrap();
        let id = played.instance(AppSpec { name: "api".into(), script: "/srv/api.js".into(), ..AppSpec::default() });
        let files = &mut played.ctx.state.slots.get_mut(id).unwrap().live.files;
        (files.error, files.out) = (Some(path.to_str().unwrap().into()), None);
        played.start(&mut LastLines::default(), id, 4711);
        id
    }

    fn lines_after_exit(played: &mut TestContext, id: u32) -> Vec<String> {
        let exit = ExitReport { ending: ProcessEnding::Code(1), oom: false };
        played.dispatch(&mut LastLines::default(), id, Event::Exited { inc: 1, exit });
        played.ctx.state.slots.get(id).unwrap().durable.instance.exits.last().unwrap().last_lines.clone()
    }

    #[test]
    fn last_lines_are_kept_only_for_unrequested_exits() {
        let mut played = TestContext::new(&[]);
        let id = running(&mut played, "Error: it is broken\n");
        assert_eq!(lines_after_exit(&mut played, id), ["Error: it is broken"]);
        let id = running(&mut played, "Error: it is broken\n");
        played.dispatch(&mut LastLines::default(), id, Event::Stop(Origin::Shutdown));
        assert!(lines_after_exit(&mut played, id).is_empty());
    }

    #[test]
    fn last_lines_request_is_always_answered() {
        let mut played = TestContext::new(&[]);
        let id = running(&mut played, "Error: it is broken\n");
        for (id, expected) in [(id, vec!["Error: it is broken".to_owned()]), (77, Vec::new())] {
            played.ctx.request(FeatureRequest::LastLines { id });
            let answers = played.settle(&mut LastLines::default());
            let [Input::Answer(FeatureAnswer::LastLines { id: of, lines })] = &answers[..] else { panic!("{answers:?}") };
            assert_eq!((*of, lines), (id, &expected));
        }
    }

    /// Returns the last line of an exit by `EADDRINUSE`, once the lookup of the port is done.
    fn holder_after_exit(played: &mut TestContext, port: u16) -> String {
        let mut feature = LastLines::default();
        let error = format!("Error: listen EADDRINUSE: address already in use :::{port}");
        let id = running(played, &format!("{error}\n"));
        let exit = ExitReport { ending: ProcessEnding::Code(1), oom: false };
        played.dispatch(&mut feature, id, Event::Exited { inc: 1, exit: exit.clone() });
        let lines = |ctx: &Ctx| ctx.state.slots.get(id).unwrap().durable.instance.exits.last().unwrap().last_lines.clone();
        assert_eq!(lines(&played.ctx), [error.as_str()], "the exit does not wait for the lookup");
        // A second request for the same port waits for the same lookup.
        played.ctx.request(FeatureRequest::LastLines { id });
        assert!(played.settle(&mut feature).is_empty());
        assert!(played.ctx.state.slots.get(id).unwrap().live.seeks_port_holder);
        played.wait(&mut feature, |_, ctx| !ctx.state.slots.get(id).unwrap().live.seeks_port_holder);
        let lines = lines(&played.ctx);
        let answers = played.settle(&mut feature);
        assert_eq!(answers.len(), 2, "{answers:?}");
        for answer in answers {
            let Input::Answer(FeatureAnswer::LastLines { lines: told, .. }) = answer else { panic!("{answer:?}") };
            assert_eq!(told, lines);
        }
        // From now on the holder is known, so the next exit gets it at once.
        let next = running(played, &format!("{error}\n"));
        played.dispatch(&mut feature, next, Event::Exited { inc: 1, exit });
        assert_eq!(played.ctx.state.slots.get(next).unwrap().durable.instance.exits.last().unwrap().last_lines, lines);
        assert!(!played.ctx.state.slots.get(next).unwrap().live.seeks_port_holder);
        lines.last().unwrap().clone()
    }

    #[test]
    fn port_holder_is_added_to_the_exit_later() {
        let mut played = TestContext::new(&[LastLines::NAME]);
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let us = std::process::id().cast_signed();
        let last = holder_after_exit(&mut played, port);
        assert!(last.starts_with(&format!("port {port} is held by process {us} (")), "{last}");
        played.ctx.state.listening.add("web", "port", std::rc::Rc::new(socket.try_clone().unwrap().into()));
        assert_eq!(holder_after_exit(&mut played, port), format!("port {port} is held for app web, whose instances share it"));
        played.ctx.state.listening.remove("web", "port");
        drop(socket);
        assert_eq!(holder_after_exit(&mut played, port), format!("port {port} is held by no process any more"));
    }

    reacts!(LastLines: on_step, on_request, on_ready);
}
