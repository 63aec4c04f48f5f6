//! Progress of longer requests, in PM2's words.

use ostler_proto::control::Progress;

use super::{Out, id_list};

/// Tells the user how a request goes on.
pub(crate) struct Teller<'a> {
    out: &'a mut Out,
    wording: Wording,
    /// Instances that were just launched: said once, not again when they are up.
    launched: Vec<u32>,
}

/// What the progress lines are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wording {
    /// Actions on existing instances, and config files.
    Action,
    /// `scale`: new instances have their own line.
    Scale,
    /// `reset`.
    Reset,
    /// A plain script: whoever sent the request says what is launched.
    PlainStart,
    /// `sendSignal`: has its own sentence.
    Signal,
    /// `resurrect`.
    Resurrect,
}

impl<'a> Teller<'a> {
    /// For one request.
    pub(crate) fn new(out: &'a mut Out, wording: Wording) -> Self {
        Self { out, wording, launched: Vec::new() }
    }

    /// Says it at once: the next step may take long.
    pub(crate) fn tell(&mut self, progress: Progress) {
        match &progress {
            Progress::Launched { ids, .. } => self.launched.extend(ids),
            Progress::InstanceDone { id, .. } if self.wording != Wording::Resurrect && self.launched.contains(id) => return,
            _ => {}
        }
        self.line(progress);
        self.out.flush();
    }

    /// A message between the steps.
    pub(crate) fn say(&mut self, text: impl std::fmt::Display) {
        self.out.info(text);
        self.out.flush();
    }

    fn line(&mut self, progress: Progress) {
        match (progress, self.wording) {
            (Progress::Selected { ids, .. }, Wording::Reset) => {
                for id in ids {
                    self.out.info(format_args!("Resetting meta for process id {id}"));
                }
            }
            (Progress::InstanceDone { .. }, Wording::Reset | Wording::Signal) => {}
            (Progress::Selected { action, target, ids }, _) => {
                let typed = ids.len() == 1 && ids.first().is_some_and(|id| id.to_string() == target);
                self.out.info(format_args!("Applying action {action} on app [{target}](ids: {})", id_list(&ids, typed)));
            }
            (Progress::InstanceDone { .. }, Wording::Resurrect) => {}
            (Progress::Launched { name, .. }, Wording::Resurrect) => self.out.info(format_args!("Process {name} restored")),
            (Progress::InstanceDone { id, name }, _) => self.out.info(format_args!("[{name}]({id}) ✓")),
            (Progress::InstanceFailed { id, name, reason }, _) => self.out.error(format_args!("[{name}]({id}) {reason}")),
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
            (Progress::Warning(text), _) => self.out.warn(text),
        }
    }
}
