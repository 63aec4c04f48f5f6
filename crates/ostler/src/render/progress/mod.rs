//! Progress of longer requests: in PM2's words, or on ostler's own [`Board`].

mod board;
mod change;
mod facts;

pub(crate) use board::{Board, InstancesBefore, ProjectLook};
pub(crate) use change::Change;
pub(crate) use facts::{InstanceFacts, waits_for};
use ostler_core::message;
use ostler_proto::control::Progress;

use super::{Out, id_list};

/// Printer of a request's progress.
pub(crate) struct ProgressPrinter<'a> {
    out: &'a mut Out,
    wording: Wording,
    /// Instances that were just launched: they are printed once, and not again when they are up.
    launched: Vec<u32>,
}

/// A message: on standard output, or as an error.
pub(crate) enum ProgressMessage {
    /// On standard output.
    Info(String),
    /// On standard error.
    Error(String),
}

/// Wording of the progress lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wording {
    /// Actions on existing instances, and config files.
    Action,
    /// Names from a file: no line about the selected instances.
    Names,
    /// `scale`: new instances have their own line.
    Scale,
    /// `reset`.
    Reset,
    /// A plain script: the caller itself prints the launched instances.
    PlainStart,
    /// `sendSignal`: it prints its own sentence.
    Signal,
    /// `resurrect`.
    Resurrect,
}

impl<'a> ProgressPrinter<'a> {
    /// Creates a printer for one request.
    pub(crate) fn new(out: &'a mut Out, wording: Wording) -> Self {
        Self { out, wording, launched: Vec::new() }
    }

    /// Prints the progress at once, because the next step may take long.
    pub(crate) fn print(&mut self, progress: Progress) {
        self.add(progress);
        self.out.flush();
    }

    fn add(&mut self, progress: Progress) {
        match &progress {
            Progress::Launched { ids, .. } => self.launched.extend(ids),
            Progress::InstanceDone { id, late: None, .. } if self.wording != Wording::Resurrect && self.launched.contains(id) => return,
            _ => {}
        }
        self.line(progress);
    }

    /// Prints a message between the steps.
    pub(crate) fn info(&mut self, text: impl std::fmt::Display) {
        self.out.info(text);
        self.out.flush();
    }

    /// Prints several messages, in order.
    pub(crate) fn print_all(&mut self, all: &[ProgressMessage]) {
        for message in all {
            match message {
                ProgressMessage::Info(text) => self.out.info(text),
                ProgressMessage::Error(text) => self.out.error(text),
            }
        }
        self.out.flush();
    }

    fn line(&mut self, progress: Progress) {
        match (progress, self.wording) {
            (Progress::Selected { ids, .. }, Wording::Reset) => {
                for id in ids {
                    self.out.info(format_args!("Resetting meta for process id {id}"));
                }
            }
            (Progress::InstanceDone { id, name, late: Some(late) }, _) => {
                self.out.warn(message!("[{app}]({id}) {state}; the start continues in the background", app = name, id, state = late));
            }
            (Progress::InstanceDone { .. }, Wording::Reset | Wording::Signal) | (Progress::Selected { .. }, Wording::Names) => {}
            (Progress::Selected { action, target, ids }, _) => {
                let typed = ids.len() == 1 && ids.first().is_some_and(|id| id.to_string() == target);
                self.out.info(format_args!("Applying action {action} on app [{target}](ids: {})", id_list(&ids, typed)));
            }
            (Progress::InstanceDone { .. }, Wording::Resurrect) => {}
            // `scale` only launches or deletes. PM2 prints deleted instances one after the other.
            (Progress::InstanceDone { id, name, .. }, Wording::Scale) => {
                self.out.info(format_args!("Applying action deleteProcessId on app [{id}](ids: [ {id} ])"));
                self.out.info(format_args!("[{name}]({id}) ✓"));
            }
            (Progress::Launched { name, .. }, Wording::Resurrect) => self.out.info(format_args!("Process {name} restored")),
            (Progress::InstanceDone { id, name, .. }, _) => self.out.info(format_args!("[{name}]({id}) ✓")),
            (Progress::InstanceFailed { id, name, reason }, _) => self.out.error(format_args!("[{name}]({id}) {reason}")),
            // A command that starts everything anyway does not report this.
            (Progress::NotRunning { .. }, _) if self.out.is_only_trouble() => {}
            (Progress::NotRunning { names }, _) => {
                self.out.warn(format_args!("Applications {} not running, starting...", names.join(", ")));
            }
            (Progress::Launched { .. }, Wording::PlainStart) => {}
            (Progress::Launched { ids, .. }, Wording::Scale) => {
                for _ in ids {
                    self.out.info("Scaling up application");
                }
            }
            (Progress::Launched { name, ids }, _) => self.out.info(format_args!("App [{name}] launched ({} instances)", ids.len())),
            (Progress::WaitingReady { name }, _) => {
                self.out.warn(format_args!("App {name} has option 'wait_ready' set, waiting for app to be ready..."));
            }
            // `trigger` prints these itself.
            (Progress::Returned { .. }, _) => {}
            // PM2 has no such line.
            (Progress::Rollout { .. }, _) if self.out.is_pm2() => {}
            (Progress::Rollout { id, name, step, .. }, _) => self.out.info(format_args!("[{name}]({id}) {step}")),
            // Its stdout goes into boot logs that users rarely read, so warnings go to stderr.
            (Progress::Warning(text), Wording::Resurrect) => self.out.warn_err(text),
            (Progress::Warning(text), _) => self.out.warn(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::Program;
    use crate::render::Screen;

    fn printed(wording: Wording, steps: Vec<Progress>) -> String {
        let (mut out, screen) = Screen::of(Program::Pm2);
        let mut printer = ProgressPrinter::new(&mut out, wording);
        for step in steps {
            printer.add(step);
        }
        screen.taken(&mut out)
    }

    fn done(id: u32) -> Progress {
        Progress::InstanceDone { id, name: "b".into(), late: None }
    }

    #[test]
    fn progress_of_an_action_matches_pm2() {
        let steps = vec![
            Progress::Selected { action: "restartProcessId".into(), target: "b".into(), ids: vec![2, 3] },
            done(2),
            done(3),
            Progress::Selected { action: "stopProcessId".into(), target: "7".into(), ids: vec![7] },
        ];
        let text = "[PM2] Applying action restartProcessId on app [b](ids: [ 2, 3 ])\n[PM2] [b](2) ✓\n[PM2] [b](3) ✓\n\
                    [PM2] Applying action stopProcessId on app [7](ids: [ '7' ])\n";
        assert_eq!(printed(Wording::Action, steps), text);
    }

    #[test]
    fn progress_of_a_config_file_start_matches_pm2() {
        let steps = vec![
            Progress::NotRunning { names: vec!["a".into(), "b".into()] },
            Progress::WaitingReady { name: "a".into() },
            Progress::Launched { name: "b".into(), ids: vec![1, 2] },
            done(1),
            done(2),
            done(9),
        ];
        let text = "[PM2][WARN] Applications a, b not running, starting...\n\
                    [PM2][WARN] App a has option 'wait_ready' set, waiting for app to be ready...\n\
                    [PM2] App [b] launched (2 instances)\n[PM2] [b](9) ✓\n";
        assert_eq!(printed(Wording::Action, steps), text);
    }

    #[test]
    fn scale_reset_and_resurrect_have_distinct_messages() {
        let launched = || Progress::Launched { name: "b".into(), ids: vec![1, 2] };
        assert_eq!(printed(Wording::Scale, vec![launched(), done(1)]), "[PM2] Scaling up application\n".repeat(2));
        let selected = Progress::Selected { action: "resetMetaProcessId".into(), target: "all".into(), ids: vec![0, 1] };
        let text = "[PM2] Resetting meta for process id 0\n[PM2] Resetting meta for process id 1\n";
        assert_eq!(printed(Wording::Reset, vec![selected, done(0), done(1)]), text);
        assert_eq!(printed(Wording::Resurrect, vec![launched(), done(1)]), "[PM2] Process b restored\n");
        assert_eq!(printed(Wording::PlainStart, vec![launched(), done(1)]), "");
    }
}
