//! Actions of played processes: they obey, crash, start others, hand over, write and serve.

use std::os::fd::OwnedFd;

use ostler_sys::WaitStatus;
use ostler_testkit::Rng;

use super::machine::MachineState;
use super::process::{KILL, Process, is_closed};
use super::worker::WorkerAction;

impl MachineState {
    /// Does the next action of a process. Returns a text if it did something.
    pub(super) fn act(&mut self, pid: i32, rng: &mut Rng) -> Option<String> {
        let process = self.processes.get(&pid).filter(|process| process.is_alive())?;
        let temper = self.temper(&process.app);
        let (app, is_command) = (process.app.clone(), process.mark.is_none());
        if process.killed {
            return rng.percent(50).then(|| {
                self.end(pid, WaitStatus::Signal { signal: KILL, core: false });
                format!("{pid} of {app} dies of SIGKILL at last")
            });
        }
        if process.got_stop && process.obeys {
            let ending = rng.pick(&[WaitStatus::Code(0), WaitStatus::Signal { signal: ostler_sys::process::signal::INT, core: false }]);
            self.end(pid, ending);
            return Some(format!("{pid} of {app} obeys: {ending:?}"));
        }
        if is_command {
            if rng.percent(temper.commands_hang) {
                return None;
            }
            let code = if rng.percent(temper.commands_fail) { 3 } else { 0 };
            self.end(pid, WaitStatus::Code(code));
            return Some(format!("command {pid} of {app} ends with {code}"));
        }
        let is_worker = process.worker.is_some() && (self.workers.are_good || rng.percent(60));
        let is_to_be_ready = (process.is_main || process.notify.is_some()) && process.will_be_ready;
        let may_hand_over = process.is_main && process.notify.is_some() && process.server.is_none();
        if is_worker && let Some(said) = self.work_as_one(pid, rng) {
            return Some(said);
        }
        if let Some(said) = self.write(pid, rng) {
            return Some(format!("{pid} of {app} writes {said} lines"));
        }
        if let Some(said) = self.serve(pid, rng) {
            return Some(format!("{pid} of {said}"));
        }
        if is_to_be_ready && (self.is_prompt || rng.percent(50)) {
            let process = self.processes.get_mut(&pid)?;
            process.will_be_ready = false;
            let sent = process.channel.as_ref().map(|channel| rustix::io::write(channel, b"\"ready\"\n"));
            let notified = process.notify("READY=1");
            self.readied.insert(process.life());
            return Some(format!("{pid} of {app} says that it is ready: {sent:?}, {notified:?}"));
        }
        if temper.hands_over > 0 && may_hand_over && self.processes.len() < 40 && rng.percent(temper.hands_over) {
            return self.hand_over(pid, rng);
        }
        if rng.percent(temper.forks) && self.processes.len() < 40 {
            return Some(self.fork(pid, rng));
        }
        if rng.percent(temper.crashes) {
            let ending = rng.pick(&[WaitStatus::Code(0), WaitStatus::Code(1), WaitStatus::Signal { signal: 11, core: false }]);
            self.end(pid, ending);
            return Some(format!("{pid} of {app} ends by itself: {ending:?}"));
        }
        None
    }

    /// Does the next action of a worker of Node's cluster.
    fn work_as_one(&mut self, pid: i32, rng: &mut Rng) -> Option<String> {
        let process = self.processes.get_mut(&pid)?;
        let worker = process.worker.as_mut()?;
        let deed = worker.act(process.channel.as_ref()?, &mut self.workers, rng);
        let connections = std::mem::take(&mut worker.probe_connections);
        for connection in connections {
            self.on_probe(pid, connection);
        }
        match deed {
            WorkerAction::Nothing => None,
            WorkerAction::Did(what) => Some(format!("{pid}: {what}")),
            WorkerAction::Exits => {
                self.end(pid, WaitStatus::Code(0));
                Some(format!("{pid} has disconnected and ends"))
            }
        }
    }

    /// Handles a probe of a worker. Only the daemon knows which probe it is, and whether it is for
    /// another worker.
    fn on_probe(&mut self, pid: i32, connection: OwnedFd) {
        let target = self.network.target_instance(&connection);
        let Some(process) = self.processes.get(&pid) else { return };
        let is_alone = process.app.is_empty() || self.workers.shares(&process.app);
        if let Some(meant) = target.filter(|meant| Some(meant) != process.mark.as_ref() && !is_alone) {
            let other = self.processes.values().find(|other| other.is_main && other.is_alive() && other.mark.as_ref() == Some(&meant));
            let listens = other.and_then(|other| other.worker.as_ref()).is_some_and(|worker| worker.key().is_some());
            // An answer after the probe has closed its connection does no harm.
            if listens && !is_closed(&connection) {
                self.network.broken.get_or_insert(format!("{pid} of {} is asked how {meant} is", process.app));
            }
        }
        if let Some(server) = self.processes.get_mut(&pid).and_then(|process| process.server.as_mut()) {
            server.take(connection);
        }
    }

    /// Makes a process write lines.
    fn write(&mut self, pid: i32, rng: &mut Rng) -> Option<u32> {
        let Self { processes, lines, .. } = self;
        if lines.is_empty() {
            return None;
        }
        let at = rng.below(2);
        let of = |at: usize| processes.get(&pid)?.outputs[at].as_ref();
        if lines.are_good {
            return [0, 1].into_iter().find_map(|at| lines.write((pid, at), of(at)?, rng));
        }
        if rng.percent(50) { lines.write((pid, at), of(at)?, rng) } else { None }
    }

    /// Does the next action of a process as a probed server.
    fn serve(&mut self, pid: i32, rng: &mut Rng) -> Option<String> {
        let Self { processes, network, clocks, .. } = self;
        let server = processes.get_mut(&pid)?.server.as_mut()?;
        if !network.are_good && !rng.percent(70) {
            return None;
        }
        server.act(network, clocks.boot_ms, rng)
    }

    /// Hands the role of the main process over to a new process. The former one may exit at once.
    fn hand_over(&mut self, former: i32, rng: &mut Rng) -> Option<String> {
        let forked = self.fork(former, rng);
        let pid = self.newest_pid();
        let process = self.processes.get_mut(&former)?;
        process.is_main = false;
        let sent = process.notify(&format!("MAINPID={pid}"));
        let (channel, notify, obeys) =
            (process.channel.as_ref().and_then(|channel| channel.try_clone().ok()), process.notify.clone(), process.obeys);
        let will_be_ready = process.will_be_ready;
        self.lives.insert(pid, process.life());
        let successor = self.processes.get_mut(&pid)?;
        (successor.is_main, successor.is_lost, successor.will_be_ready, successor.obeys) = (true, true, will_be_ready, obeys);
        (successor.channel, successor.notify) = (channel, notify);
        if rng.percent(50) {
            self.end(former, WaitStatus::Code(0));
        }
        Some(format!("{forked}, and hands over to it: {sent:?}"))
    }

    fn fork(&mut self, parent: i32, rng: &mut Rng) -> String {
        let pid = self.new_pid();
        let temper_hangs;
        let (app, mark, incarnation, mut entry) = {
            let process = &self.processes[&parent];
            temper_hangs = self.temper(&process.app).hangs;
            (process.app.clone(), process.mark.clone(), process.incarnation.clone(), process.entry)
        };
        entry.pid = pid;
        entry.ppid = parent;
        entry.start_ticks = self.clocks.boot_ms / 10;
        let is_far = rng.percent(30);
        if is_far {
            (entry.pgid, entry.sid) = (pid, pid);
        }
        let process = Process {
            entry,
            app: app.clone(),
            mark,
            incarnation,
            is_main: false,
            is_lost: false,
            channel: None,
            notify: None,
            outputs: [None, None],
            watchers: Vec::new(),
            got_stop: false,
            killed: false,
            obeys: rng.percent(50),
            hangs: rng.percent(temper_hangs),
            will_be_ready: false,
            ending: None,
            cpu_ns: 0,
            worker: None,
            server: None,
        };
        self.processes.insert(pid, process);
        format!("{parent} of {app} starts {pid}{}", if is_far { " in a session of its own" } else { "" })
    }
}
