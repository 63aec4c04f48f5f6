//! Lines of many hosts in the order of their times: log lines and events.

use std::time::{Duration, Instant};

use ostler_core::message;
use ostler_fleet::{HostOutcome, Interleave, Member, TimedLine, merge};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use super::connect::{self, ConnectRules, HostEvent, HostListener};
use super::host_states::{HostStates, HostUpdate};
use crate::render::Out;

/// Kind of the lines.
pub(super) trait LineKind {
    /// Parses a line of a host. Returns it with its time in ms, or none if it is not shown.
    fn parse(&mut self, output: &mut HostOutput<'_, '_>, host: usize, line: &[u8]) -> Option<(Option<u64>, Value)>;

    /// Prints a line for readers.
    fn print(&mut self, output: &mut HostOutput<'_, '_>, host: usize, line: Value);

    /// Reports that a connection broke. Returns the script that continues.
    fn on_lost(&mut self, output: &mut HostOutput<'_, '_>, host: usize) -> Option<String>;
}

/// Output, and the states of the hosts.
pub(super) struct HostOutput<'a, 'b> {
    pub host_states: HostStates<'a>,
    pub out: &'b mut Out,
    /// Whether lines are printed as JSON.
    pub json: bool,
    /// Whether the command runs without an end.
    pub follows: bool,
}

/// Prints the lines until the hosts are done, or without an end if the command follows.
pub(super) fn run(
    output: HostOutput<'_, '_>,
    kind: impl LineKind,
    members: &[Member],
    script: &(dyn Fn(&Member) -> String + Sync),
    rules: ConnectRules,
) -> Vec<HostOutcome> {
    if output.json {
        output.out.data_only();
    }
    let mut receiver = OrderedReceiver { output, kind, order: Interleave::default() };
    connect::run(members, 0..members.len(), script, rules, &mut receiver);
    while let Some((host, line)) = receiver.order.next_immediately() {
        receiver.show(host, line);
    }
    let HostOutput { host_states, out, .. } = receiver.output;
    host_states.conclude(out)
}

struct OrderedReceiver<'a, 'b, K> {
    output: HostOutput<'a, 'b>,
    kind: K,
    order: Interleave<Value>,
}

impl<K: LineKind> OrderedReceiver<'_, '_, K> {
    fn show(&mut self, host: usize, line: Value) {
        if !self.output.json {
            self.kind.print(&mut self.output, host, line);
        } else if let Value::Object(object) = line {
            let text = merge::with_host(&self.output.host_states.name(host), object);
            self.output.out.data(format!("{text}\n").as_bytes());
        }
    }
}

impl<K: LineKind> HostListener for OrderedReceiver<'_, '_, K> {
    fn on_event(&mut self, host: usize, event: HostEvent) {
        let output = &mut self.output;
        match output.host_states.take(output.out, host, event) {
            HostUpdate::Line(line) => {
                if let Some((at_ms, line)) = self.kind.parse(output, host, &line) {
                    self.order.push(TimedLine { host, at_ms, line }, Instant::now());
                }
            }
            HostUpdate::Lost(answer) => {
                if let Some(script) = self.kind.on_lost(output, host) {
                    let _ = answer.send(script);
                }
            }
            HostUpdate::Back => output.out.warn_err(message!("{host}: connected again", host = output.host_states.name(host))),
            // A command that follows never prints a summary, so the outcome is printed at once.
            HostUpdate::Ended if output.follows => output.host_states.report(output.out, host),
            HostUpdate::Ended | HostUpdate::Nothing => {}
        }
    }

    fn on_tick(&mut self) -> Option<Duration> {
        if !self.output.follows {
            return None;
        }
        let now = Instant::now();
        while let Some((host, line)) = self.order.pop(now) {
            self.show(host, line);
        }
        self.output.out.flush();
        self.order.wait(now)
    }

    fn is_over(&self) -> bool {
        self.output.out.is_closed() || self.output.follows && has_no_reader()
    }
}

/// Returns true if the reader of our output is gone.
fn has_no_reader() -> bool {
    let stdout = std::io::stdout();
    // The poll requests no events on stdout, so it reports only that the reader is gone.
    let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut fds, Some(&at_once)).is_ok() && fds[0].revents().intersects(PollFlags::ERR | PollFlags::NVAL)
}
