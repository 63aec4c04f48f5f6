//! Commands over a played context: the order of journal writes and effects, and the reports to
//! owners.

use std::os::unix::process::CommandExt;

use ostler_core::app::AppSpec;
use ostler_core::app::hooks::Hook;
use ostler_keeper::Ended;
use ostler_sys::WaitStatus;

use super::*;
use crate::engine::{Input, TestContext, Work, reacts};

/// Pid of no process.
const NOBODY: i32 = i32::MAX - 1;

fn owner(slot: u32) -> CommandOwner {
    CommandOwner::Hook { slot, inc: 1, hook: Hook::PreStart }
}

fn spec(slot: u32, output: Output) -> Box<CommandSpec> {
    let command = ostler_core::lifecycle::command::Command::shell("true");
    Box::new(CommandSpec { slot, command, vars: indexmap::IndexMap::new(), timeout_ms: 1000, output })
}

fn played() -> (TestContext, Commands, u32) {
    let mut played = TestContext::new(&[Commands::NAME]);
    let id = played.instance(AppSpec { name: "api".into(), script: "/bin/true".into(), ..AppSpec::default() });
    (played, Commands::default(), id)
}

/// Returns a requested command, and its bytes in the journal.
fn asked(output: Output) -> (TestContext, Commands, u32, Vec<u8>) {
    let (mut played, mut commands, id) = played();
    let rest = commands.on_request(&mut played.ctx, FeatureRequest::Run { owner: owner(id), spec: spec(id, output) });
    assert!(rest.is_none() && played.ctx.outbox.children.is_empty());
    let bytes = perform(&mut played, &mut commands);
    (played, commands, id, bytes)
}

/// Returns a command that runs.
fn running(output: Output, pid: i32) -> (TestContext, Commands, u32, Vec<u8>) {
    let (mut played, mut commands, id, mut bytes) = asked(output);
    let request = played.ctx.outbox.children.pop().expect("the keeper is to be asked");
    assert_eq!((request.key, request.spec.slot), (key(1), id));
    commands.on_child(&mut played.ctx, key(1), ChildEvent::Requested { group: None, log_start: (0, 0) });
    commands.on_child(&mut played.ctx, key(1), ChildEvent::Spawned { pid, start_ticks: 7 });
    bytes.extend(played.written().1);
    (played, commands, id, bytes)
}

/// Performs the effects that the journal releases, and returns the written bytes.
fn perform(played: &mut TestContext, commands: &mut Commands) -> Vec<u8> {
    let (work, bytes) = played.written();
    for work in work {
        if let Work::Feature(name, key) = work {
            assert_eq!(name, Commands::NAME);
            commands.on_effect(&mut played.ctx, key);
        }
    }
    bytes
}

/// Returns the end of the only command, as its owner gets it.
fn result(played: &mut TestContext, commands: &mut Commands) -> (CommandOwner, CommandOutcome) {
    let mut queued = played.queued();
    let (Some(Input::Answer(answer)), true) = (queued.pop(), queued.is_empty()) else { panic!("no answer is queued") };
    commands.on_answer(&mut played.ctx, &answer);
    let FeatureAnswer::CommandEnded(end) = answer else { panic!("{answer:?}") };
    (end.owner, end.report.outcome)
}

/// Returns the next daemon, which has read these records.
fn next_daemon(bytes: &[u8], children: &[Child]) -> (TestContext, Commands) {
    let (mut played, mut commands, _) = played();
    commands.restore(&mut Snapshot::read(bytes).0);
    commands.on_inventory(&mut played.ctx, children, &mut Leaders::default());
    (played, commands)
}

#[test]
fn command_is_journaled_until_its_owner_gets_the_result() {
    let (mut played, mut commands, id, mut bytes) = running(Output::Logs, NOBODY);
    assert!(played.ctx.state.commands.has_hook(id) && played.ctx.state.commands.has(&owner(id)));
    assert!(commands.on_child(&mut played.ctx, key(1), ChildEvent::Exited(WaitStatus::Code(3))));
    let (work, written) = played.written();
    bytes.extend(written);
    // If the daemon is killed now, the next one reports.
    assert_eq!(Snapshot::read(&bytes).0.commands.len(), 1);
    assert!(matches!(work[..], [Work::Ack(acked)] if acked == key(1)), "{work:?}");
    assert_eq!(result(&mut played, &mut commands), (owner(id), CommandOutcome::Code(3)));
    bytes.extend(played.written().1);
    assert!(Snapshot::read(&bytes).0.commands.is_empty() && played.ctx.state.commands.is_empty());
    assert_eq!(played.ctx.outbox.timers.next_ms(), None);
}

#[test]
fn exit_of_an_instance_process_is_ignored() {
    let (mut played, mut commands, id, _) = running(Output::Logs, NOBODY);
    assert!(!commands.on_child(&mut played.ctx, u64::from(id) << 32 | 1, ChildEvent::Exited(WaitStatus::Code(0))));
    assert!(played.queued().is_empty());
}

#[test]
fn owner_runs_one_command_at_a_time() {
    let (mut played, mut commands, id, _) = asked(Output::Logs);
    commands.on_request(&mut played.ctx, FeatureRequest::Run { owner: owner(id), spec: spec(id, Output::Logs) });
    assert_eq!(commands.all.len(), 1);
    let (work, bytes) = played.written();
    assert!(work.is_empty() && bytes.is_empty());
}

#[test]
fn command_cancelled_before_its_spawn_never_runs() {
    let (mut played, mut commands, id) = played();
    commands.on_request(&mut played.ctx, FeatureRequest::Run { owner: owner(id), spec: spec(id, Output::Logs) });
    commands.on_request(&mut played.ctx, FeatureRequest::CallOff(owner(id)));
    perform(&mut played, &mut commands);
    assert!(played.ctx.outbox.children.is_empty());
    assert_eq!(result(&mut played, &mut commands), (owner(id), CommandOutcome::Cancelled));
    // The command is gone already; the requester gets a report all the same.
    commands.on_request(&mut played.ctx, FeatureRequest::CallOff(owner(id)));
    assert_eq!(result(&mut played, &mut commands), (owner(id), CommandOutcome::Cancelled));
}

#[test]
fn command_that_times_out_is_killed_with_its_tree() {
    let mut child = std::process::Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
    let pid = child.id().cast_signed();
    let (mut played, mut commands, id, _) = asked(Output::Logs);
    played.ctx.outbox.children.clear();
    commands.on_child(&mut played.ctx, key(1), ChildEvent::Requested { group: None, log_start: (0, 0) });
    assert!(played.ctx.state.commands.is_spawning());
    let start_ticks = ProcRef::of(pid).unwrap().start_ticks;
    commands.on_child(&mut played.ctx, key(1), ChildEvent::Spawned { pid, start_ticks });
    assert_eq!(played.ctx.state.commands.writers_of(id).len(), 1);
    played.pass(&mut commands, 999);
    assert_eq!(played.ctx.outbox.timers.next_ms(), Some(played.ctx.now.mono_ms + 1));
    assert!(played.ctx.state.commands.has_running());
    played.pass(&mut commands, 1);
    assert!(played.queued().is_empty() && !played.ctx.state.commands.has_running());
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    commands.on_child(&mut played.ctx, key(1), ChildEvent::Exited(WaitStatus::Signal { signal: 9, core: false }));
    assert_eq!(result(&mut played, &mut commands), (owner(id), CommandOutcome::TimedOut(1000)));
}

#[test]
fn leftovers_of_a_check_are_removed_later() {
    let (mut played, mut commands, id, _) = running(Output::Nowhere, NOBODY);
    commands.on_child(&mut played.ctx, key(1), ChildEvent::Exited(WaitStatus::Code(0)));
    let mut queued = played.queued();
    assert!(matches!(&queued[0], Input::Request(FeatureRequest::EndLeftovers { leader, .. }) if leader.pid == NOBODY), "{queued:?}");
    played.ctx.outbox.queue.extend(queued.drain(1..));
    assert_eq!(result(&mut played, &mut commands), (owner(id), CommandOutcome::Code(0)));
}

#[test]
fn too_much_captured_output_cancels_the_command() {
    let (mut played, mut commands, _, _) = asked(Output::Captured);
    let writer = played.ctx.outbox.children.pop().unwrap().out.expect("its output is wanted");
    let writing = std::thread::spawn(move || rustix::io::write(&writer, &[b'x'; capture::MOST_BYTES]).map(drop));
    played.wait(&mut commands, |commands, _| commands.all.values().all(|command| command.verdict == Some(CommandOutcome::Cancelled)));
    // The pipe holds less than the writer writes, so the daemon must read until the writer is done.
    writing.join().unwrap().unwrap();
}

#[test]
fn command_of_a_deleted_instance_reports_to_no_owner() {
    let (mut played, mut commands, id, _) = running(Output::Logs, NOBODY);
    commands.on_forgotten(&mut played.ctx, id);
    assert!(!played.ctx.state.commands.has_hook(id));
    commands.on_child(&mut played.ctx, key(1), ChildEvent::Exited(WaitStatus::Code(0)));
    assert_eq!(result(&mut played, &mut commands), (CommandOwner::Detached, CommandOutcome::Cancelled));
}

#[test]
fn next_daemon_starts_commands_unknown_to_the_keeper() {
    let (_, _, _, bytes) = asked(Output::Logs);
    let (mut played, mut commands) = next_daemon(&bytes, &[]);
    perform(&mut played, &mut commands);
    assert_eq!(played.ctx.outbox.children.len(), 1);
    assert_eq!(commands.next_number(), 2);
}

#[test]
fn next_daemon_adopts_running_and_reports_exited_commands() {
    let (_, _, _, bytes) = running(Output::Logs, NOBODY);
    let child = |ended| Child { key: key(1), pid: NOBODY, start_ticks: 7, ended };
    let (mut played, mut commands) = next_daemon(&bytes, &[child(None)]);
    assert!(played.queued().is_empty() && played.ctx.outbox.timers.next_ms().is_some());
    assert!(perform(&mut played, &mut commands).is_empty() && played.ctx.outbox.children.is_empty());
    let ended = Ended { ending: WaitStatus::Code(5), usage: ostler_sys::Usage::default(), at_boot_ms: 1, at_wall_ms: 1 };
    let (mut played, mut commands) = next_daemon(&bytes, &[child(Some(ended))]);
    let (_, outcome) = result(&mut played, &mut commands);
    assert_eq!(outcome, CommandOutcome::Code(5));
    // Both were killed, and the command is gone.
    let (mut played, mut commands) = next_daemon(&bytes, &[]);
    assert_eq!(result(&mut played, &mut commands).1, CommandOutcome::Lost);
}

#[test]
fn partly_captured_output_of_a_former_daemon_is_lost() {
    let (_, _, _, bytes) = running(Output::Captured, NOBODY);
    let (mut played, mut commands) = next_daemon(&bytes, &[Child { key: key(1), pid: NOBODY, start_ticks: 7, ended: None }]);
    assert!(played.queued().is_empty() && played.ctx.state.commands.iter().all(|command| command.is_called_off));
    commands.on_child(&mut played.ctx, key(1), ChildEvent::Exited(WaitStatus::Signal { signal: 9, core: false }));
    let queued = played.queued();
    assert!(
        queued
            .iter()
            .any(|input| matches!(input, Input::Answer(FeatureAnswer::CommandEnded(end)) if end.report.outcome == CommandOutcome::Lost))
    );
}

#[test]
fn new_keeper_is_asked_for_unstarted_commands() {
    let (mut played, mut commands, _, _) = asked(Output::Logs);
    commands.on_child(&mut played.ctx, key(1), ChildEvent::Requested { group: None, log_start: (0, 0) });
    played.ctx.outbox.children.clear();
    assert!(commands.survivors(&mut Leaders::default()).is_empty());
    commands.on_new_keeper(&mut played.ctx, &[]);
    perform(&mut played, &mut commands);
    assert_eq!(played.ctx.outbox.children.len(), 1);
    // The command ran and is gone, so its exit is unknown.
    let (mut played, mut commands, id, _) = running(Output::Logs, NOBODY);
    commands.on_new_keeper(&mut played.ctx, &[]);
    assert_eq!(result(&mut played, &mut commands), (owner(id), CommandOutcome::Lost));
}

#[test]
fn command_adopted_by_a_new_keeper_is_not_started_again() {
    let (mut played, mut commands, _, _) = asked(Output::Logs);
    commands.on_child(&mut played.ctx, key(1), ChildEvent::Requested { group: None, log_start: (0, 0) });
    played.ctx.outbox.children.clear();
    commands.on_new_keeper(&mut played.ctx, &[(key(1), ProcRef { pid: NOBODY, start_ticks: 7 })]);
    assert!(matches!(commands.all[&1].stage, CommandStage::Runs(leader) if leader.pid == NOBODY));
    perform(&mut played, &mut commands);
    assert!(played.ctx.outbox.children.is_empty());
}

reacts!(Commands: on_request, on_effect, on_ready, on_timer, on_answer, on_forgotten);
