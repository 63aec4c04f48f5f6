//! Last lines of a process, for those who ask why it ended: the lines that matter, and who has the port that it could not have.

use std::collections::BTreeMap;

use ostler_core::error_lines;
use ostler_core::lifecycle::{Event, ExitCause};
use ostler_sys::listening;

use crate::engine::{Answer, Ctx, Feature, InstanceStep, Request};
use crate::slots::Slot;

/// Time for which the holder of a port is known. A search reads the descriptors of all processes, and instances that crash because the port is
/// taken ask for it at each exit.
const HOLDER_KNOWN_MS: u64 = 10_000;
/// Most ports of which the holder is known.
const MOST_PORTS: usize = 64;

/// Keeper of last lines. The lines themselves are kept with the exit.
#[derive(Debug, Default)]
pub(crate) struct LastLines {
    /// Holders of ports, in words, and the time of each search.
    holders: BTreeMap<u16, (u64, String)>,
}

impl LastLines {
    pub(crate) const NAME: &str = "last_lines";

    /// Adds who has a port that could not be had.
    fn name_port_holder(&mut self, ctx: &Ctx, lines: &mut Vec<String>) {
        let Some(port) = error_lines::taken_port(lines) else { return };
        let now_ms = ctx.now.mono_ms;
        let is_known = |(at_ms, _): &(u64, String)| now_ms < at_ms.saturating_add(HOLDER_KNOWN_MS);
        if !self.holders.get(&port).is_some_and(is_known) {
            self.holders.retain(|_, known| is_known(known));
            if self.holders.len() >= MOST_PORTS {
                return;
            }
            self.holders.insert(port, (now_ms, holder(ctx, port)));
        }
        lines.extend(self.holders.get(&port).map(|(_, holder)| format!("port {port} is held {holder}")));
    }

    /// Keeps the last lines of this incarnation with its exit.
    fn keep(&mut self, ctx: &mut Ctx, id: u32, inc: u32) {
        let Some(slot) = ctx.slots.get(id) else { return };
        let Some(record) = slot.durable.instance.exits.last().filter(|record| record.inc == inc && record.last_lines.is_empty()) else {
            return;
        };
        // An exit that was asked for explains itself.
        if matches!(record.cause, ExitCause::Asked(_)) {
            return;
        }
        let mut lines = slot.last_lines();
        self.name_port_holder(ctx, &mut lines);
        if let Some(record) = ctx.slots.get_mut(id).and_then(|slot| slot.durable.instance.exits.last_mut()) {
            record.last_lines = lines;
        }
        ctx.slots.changed(id);
    }
}

impl Feature for LastLines {
    /// Adds the lines before anybody else looks at the exit.
    fn on_step(&mut self, ctx: &mut Ctx, step: &InstanceStep<'_>) {
        if let Event::Exited { inc, .. } = step.event {
            self.keep(ctx, step.id, *inc);
        }
    }

    fn on_request(&mut self, ctx: &mut Ctx, request: Request) -> Option<Request> {
        let Request::LastLines { id } = request else { return Some(request) };
        let mut lines = ctx.slots.get(id).map(Slot::last_lines).unwrap_or_default();
        self.name_port_holder(ctx, &mut lines);
        ctx.answer(Answer::LastLines { id, lines });
        None
    }
}

/// The holder of a port, in words that follow it.
fn holder(ctx: &Ctx, port: u16) -> String {
    let sockets = listening::sockets_at(port);
    if sockets.is_empty() {
        return "by nobody any more".into();
    }
    if let Some(app) = sockets.iter().find_map(|inode| ctx.listening.app_of(*inode)) {
        return format!("for app {app}, whose instances share it");
    }
    // Others see no more than the socket.
    let Some(pid) = listening::processes_with(&sockets).into_iter().next() else {
        return "by a process that cannot be seen from here, of another user or container".into();
    };
    let program = listening::program(pid).unwrap_or_default();
    let app = app_of_process(ctx, pid).map(|app| format!(", app {app}")).unwrap_or_default();
    format!("by process {pid} ({program}){app}")
}

/// The app whose main process this is, or descends from.
fn app_of_process(ctx: &Ctx, pid: i32) -> Option<String> {
    let table = ostler_sys::ProcTable::with_ancestors(pid, []);
    let ancestors = std::iter::successors(Some(pid), |pid| table.get(*pid).map(|entry| entry.ppid).filter(|ppid| *ppid > 1));
    ancestors.take(64).find_map(|pid| {
        let slot = ctx.slots.iter().find(|slot| slot.durable.instance.pid() == Some(pid))?;
        Some(format!("{} (id {})", slot.spec().name, slot.durable.pm_id))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Input, Played};
    use ostler_core::app::AppSpec;
    use ostler_core::lifecycle::{Ending, ExitReport, Origin};
    use std::net::TcpListener;

    /// A running instance that wrote this to its error log.
    fn running(played: &mut Played, text: &str) -> u32 {
        let path = played.home().join("error.log");
        std::fs::write(&path, text).unwrap();
        let id = played.instance(AppSpec { name: "api".into(), script: "/srv/api.js".into(), ..AppSpec::default() });
        let files = &mut played.ctx.slots.get_mut(id).unwrap().live.files;
        (files.error, files.out) = (Some(path.to_str().unwrap().into()), None);
        played.start(&mut LastLines::default(), id, 4711);
        id
    }

    fn ends(played: &mut Played, id: u32) -> Vec<String> {
        let exit = ExitReport { ending: Ending::Code(1), oom: false };
        played.dispatch(&mut LastLines::default(), id, Event::Exited { inc: 1, exit });
        played.ctx.slots.get(id).unwrap().durable.instance.exits.last().unwrap().last_lines.clone()
    }

    #[test]
    fn what_it_wrote_is_kept_with_its_exit_unless_somebody_asked_for_that() {
        let mut played = Played::new(&[]);
        let id = running(&mut played, "Error: it is broken\n");
        assert_eq!(ends(&mut played, id), ["Error: it is broken"]);
        let id = running(&mut played, "Error: it is broken\n");
        played.dispatch(&mut LastLines::default(), id, Event::Stop(Origin::Shutdown));
        assert!(ends(&mut played, id).is_empty());
    }

    #[test]
    fn whoever_asks_is_answered_also_where_there_is_nothing() {
        let mut played = Played::new(&[]);
        let id = running(&mut played, "Error: it is broken\n");
        for (id, expected) in [(id, vec!["Error: it is broken".to_owned()]), (77, Vec::new())] {
            played.ctx.request(Request::LastLines { id });
            let answers = played.settle(&mut LastLines::default());
            let [Input::Answer(Answer::LastLines { id: of, lines })] = &answers[..] else { panic!("{answers:?}") };
            assert_eq!((*of, lines), (id, &expected));
        }
    }

    #[test]
    fn who_has_the_port_is_named() {
        let mut played = Played::new(&[]);
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let text = format!("Error: listen EADDRINUSE: address already in use :::{port}\n");
        let us = std::process::id().cast_signed();
        let id = running(&mut played, &text);
        let last = ends(&mut played, id).pop().unwrap();
        assert!(last.starts_with(&format!("port {port} is held by process {us} (")), "{last}");
        let id = running(&mut played, &text);
        played.ctx.listening.add("web", "port", std::rc::Rc::new(socket.try_clone().unwrap().into()));
        assert_eq!(ends(&mut played, id).pop().unwrap(), format!("port {port} is held for app web, whose instances share it"));
        played.ctx.listening.remove("web", "port");
        drop(socket);
        let id = running(&mut played, &text);
        assert_eq!(ends(&mut played, id).pop().unwrap(), format!("port {port} is held by nobody any more"));
    }
}
