//! One file per request.

pub(crate) mod act;
mod files;
mod health;
pub(crate) mod list;
mod lives;
mod reload;
mod scheduled;
mod start;

use ostler_core::instances::Leaving;
use ostler_core::lifecycle::Origin;
use ostler_proto::control::{Action, Failure, Position, Request, Response};

use self::start::Asked;
use super::{Control, Job, Step};
use std::io::ErrorKind;

use crate::engine::Key;
use crate::reactor::Source;
use crate::slots::Slot;

/// Pause after a client could not be taken.
const DEAF_MS: u64 = 100;
/// Whose deadline the end of that pause is.
pub(crate) const LISTEN_AGAIN: Key = ("clients", 0);

impl Control {
    /// Takes new clients.
    pub(crate) fn accept(&mut self) {
        let own_uid = rustix::process::geteuid().as_raw();
        if let Err(error) = self.clients.accept(&self.ctx.listener, &self.ctx.reactor, own_uid) {
            // Out of descriptors, most likely: whoever waits at the door is taken when one is free. Looking away for a moment keeps the
            // loop from turning at full speed.
            self.ctx.log.error_once("accept", format_args!("cannot accept a client: {error}"));
            self.ctx.reactor.remove(&self.ctx.listener);
            self.ctx.timers.set(LISTEN_AGAIN, Some(self.ctx.now.mono_ms + DEAF_MS));
        }
    }

    /// After a pause, clients are taken again.
    pub(crate) fn listen_again(&mut self) {
        match self.ctx.reactor.add(&self.ctx.listener, Source::Listener) {
            Ok(()) => {}
            // It is another socket by now, which is watched.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(_) => self.ctx.timers.set(LISTEN_AGAIN, Some(self.ctx.now.mono_ms + DEAF_MS)),
        }
    }

    /// Reads and handles what a client sent.
    pub(crate) fn hear_client(&mut self, client: u32) {
        let hello = self.hello();
        for (id, request) in self.clients.read(client, &hello) {
            self.handle(client, id, request);
        }
    }

    fn handle(&mut self, client: u32, id: u64, request: Request) {
        // What is started while everything is being stopped would be left behind.
        let starts = matches!(
            request,
            Request::Start { .. }
                | Request::Act { .. }
                | Request::RunJob { .. }
                | Request::Scale { .. }
                | Request::Undo { .. }
                | Request::Resurrect
        );
        if starts && self.ctx.is_ending() {
            let failure = Failure::Other("the daemon is about to end (somebody asked it to); try again".into());
            return self.ctx.reply(client, id, Response::Failed(failure));
        }
        let response = match request {
            Request::Hello { .. } => self.hello(),
            Request::Ping => Response::Pong,
            Request::List => return self.list(client, id, list::Question::List),
            Request::Table => return self.list(client, id, list::Question::Table),
            Request::Health { targets } => self.health(&targets),
            Request::Processes => return self.list(client, id, list::Question::Processes),
            Request::Inspect { targets, cwd } => return self.inspect(client, id, &targets, &cwd),
            Request::Start { apps, base_env, existing, command, confirm } => {
                let asked = Asked { origin: self.origin(client, command), confirm };
                return self.start(client, id, apps, base_env, &existing, asked);
            }
            Request::Act { action, targets, cwd, change, parallel, gentle, canary_ms, command } => {
                let origin = self.origin(client, command);
                let (step, parallel) = (Step::Act(action, change), parallel as usize);
                let job = self.action_job(client, id, action, targets, origin);
                return self.begin(Job { step, cwd, parallel, gentle, canary_ms, ..job });
            }
            Request::Rollouts { app } => Response::Rollouts(self.rollout_reports(app.as_deref())),
            Request::Undo { app, to, command } => {
                let origin = self.origin(client, command);
                return self.undo(client, id, &app, to, origin);
            }
            Request::RunJob { target, command } => {
                let origin = self.origin(client, command);
                return self.run_job(client, id, &target, &origin);
            }
            Request::Scale { name, cwd, to, oldest_first } => {
                let origin = self.origin(client, "scale".into());
                let first = if oldest_first { Leaving::Oldest } else { Leaving::Newest };
                return self.scale(client, id, (&name, &cwd), (to, first), origin);
            }
            Request::Signal { signal, target } => self.send_signal(client, id, signal, &target),
            Request::Flush { target } => self.flush_logs(target.as_deref()),
            Request::Host => self.features.host.report(&self.ctx),
            Request::SettingsChanged => {
                self.features.each().for_each(|feature| feature.on_settings(&mut self.ctx));
                Response::Done { ids: Vec::new() }
            }
            Request::ReloadLogs => return self.reload_logs(Some((client, id))),
            Request::Save { force } => self.save(force),
            Request::Resurrect => {
                let origin = Origin::Resurrect;
                return self.resurrect(client, id, origin);
            }
            Request::Kill => {
                let origin = self.origin(client, "kill".into());
                return self.kill(client, id, origin);
            }
            Request::Update { exe } => return self.update(client, id, &exe),
            Request::Pulse => {
                self.pulses.push((client, id));
                return self.ctx.keeper.say(ostler_keeper::ToKeeper::Ping);
            }
            Request::Events => Response::Events { list: self.ctx.events.after(None).1, position: self.ctx.events.position() },
            Request::Subscribe { after } => return self.subscribe(client, id, after),
        };
        self.ctx.reply(client, id, response);
    }

    /// From now on it is told what happens; before that, what happened since it was told last.
    fn subscribe(&mut self, client: u32, id: u64, after: Option<Position>) {
        if let Some(follower) = self.clients.get_mut(client) {
            follower.subscribed = Some(id);
        }
        let Some(after) = after else { return };
        let (missed, events) = self.ctx.events.after(Some(after));
        let missed = missed.map(Response::Missed);
        for response in missed.into_iter().chain(events.into_iter().map(Response::Happened)) {
            self.ctx.reply(client, id, response);
        }
    }

    fn hello(&self) -> Response {
        Response::Hello {
            protocol: ostler_proto::control::PROTOCOL,
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id().cast_signed(),
            keeper_pid: self.ctx.keeper.pid(),
            read_only: false,
        }
    }

    /// Who asks.
    pub(crate) fn origin(&mut self, client: u32, command: String) -> Origin {
        match self.clients.get_mut(client) {
            Some(client) => Origin::User { command, uid: client.uid, pid: client.pid, on_behalf_of: client.on_behalf_of.clone() },
            None => Origin::User { command, uid: u32::MAX, pid: 0, on_behalf_of: None },
        }
    }

    /// Resolves one target into our own numbers.
    pub(crate) fn select(&self, target: &str, cwd: &str) -> Result<Vec<u32>, Failure> {
        use ostler_core::select::{Entry, SelectError, select};
        let slots: Vec<&Slot> = self.ctx.slots.serving().collect();
        let entries: Vec<Entry<'_>> = slots
            .iter()
            .map(|slot| Entry { id: slot.pm_id, name: &slot.spec().name, namespace: &slot.spec().namespace, script: &slot.spec().script })
            .collect();
        let own = |found: Vec<u32>| found.iter().filter_map(|id| slots.iter().find(|slot| slot.pm_id == *id)).map(|slot| slot.id).collect();
        select(target, &entries, cwd).map(own).map_err(|error| match error {
            SelectError::NotFound(target) => Failure::NotFound { target },
            SelectError::Empty => Failure::Empty,
            other @ SelectError::BadRegex { .. } => Failure::Other(other.to_string()),
        })
    }

    fn kill(&mut self, client: u32, id: u64, origin: Origin) {
        self.features.autosave.save_now(&mut self.ctx);
        let targets = if self.ctx.slots.nothing_serves() { Vec::new() } else { vec!["all".to_owned()] };
        let mut job = self.action_job(client, id, Action::Delete, targets, origin);
        job.then = super::Then::Exit;
        self.begin(job);
    }

    /// The keeper that was asked is gone; there is another.
    pub(crate) fn ask_keeper_again(&mut self) {
        if !self.pulses.is_empty() {
            self.ctx.keeper.say(ostler_keeper::ToKeeper::Ping);
        }
    }

    /// The keeper is alive: whoever asked is told.
    pub(crate) fn pulse_came_back(&mut self) {
        for (client, id) in std::mem::take(&mut self.pulses) {
            self.ctx.reply(client, id, Response::Pong);
        }
    }

    /// The answer comes when the new keeper says that this daemon may end, or the old one that nothing came of it.
    fn update(&mut self, client: u32, id: u64, exe: &str) {
        // What is known by now goes on with the apps.
        self.learn_node_versions();
        self.ctx.keeper.upgrade(exe.into());
        self.updater = Some((client, id));
    }

    /// Answers whoever asked for the update.
    pub(crate) fn updated(&mut self, result: Result<(), String>) {
        let Some((client, id)) = self.updater.take() else { return };
        let response = match result {
            Ok(()) => Response::Done { ids: Vec::new() },
            Err(reason) => Response::Failed(Failure::Other(reason)),
        };
        self.ctx.reply(client, id, response);
    }
}
