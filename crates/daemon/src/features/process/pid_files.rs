//! Pid files of instances.
//!
//! As under PM2, a pid file has only the number, without a newline. If it cannot be written, the
//! app still runs.

use std::path::Path;

use ostler_core::lifecycle::{Event, Transition};

use crate::engine::{Ctx, InstanceStep};
use crate::platform::rights::Rights;

/// Pid files. The slot records whether its file was written.
#[derive(Debug, Default)]
pub(crate) struct PidFiles;

impl PidFiles {
    pub(crate) const NAME: &str = "pid_files";
}

impl PidFiles {
    pub(crate) fn on_step(&mut self, ctx: &mut Ctx, step: &InstanceStep<'_>) {
        if matches!(step.event, Event::Spawned { .. }) {
            write(ctx, step.id);
        }
    }

    pub(crate) fn on_follow(&mut self, ctx: &mut Ctx, id: u32, _inc: u32) {
        write(ctx, id);
    }

    pub(crate) fn on_serving(&mut self, ctx: &mut Ctx, id: u32) {
        write(ctx, id);
    }

    pub(crate) fn on_transition(&mut self, ctx: &mut Ctx, id: u32, transition: &Transition) {
        match transition {
            // The next process overwrites the file at once.
            Transition::RestartScheduled { delay_ms: 0 } => {}
            Transition::RestartScheduled { .. }
            | Transition::Stopped
            | Transition::Overlimit { .. }
            | Transition::CouldNotStart(_)
            | Transition::Deleted => remove(ctx, id),
            _ => {}
        }
    }
}

/// Writes the pid file of an instance whose process serves.
fn write(ctx: &mut Ctx, id: u32) {
    let Some(slot) = ctx.state.slots.get_mut(id).filter(|slot| slot.is_visible()) else { return };
    let Some(pid) = slot.durable.instance.pid() else { return };
    let path = Path::new(&slot.live.files.pid);
    let written = Rights::of(slot.spec()).write(path, pid.to_string().as_bytes());
    slot.live.pid_file_written = written.is_ok();
    if let Err(error) = written {
        ctx.io.log.error(format_args!("cannot write \"{}\": {error}", path.display()));
    }
}

/// Removes the pid file after the process has exited.
fn remove(ctx: &mut Ctx, id: u32) {
    let Some(slot) = ctx.state.slots.get_mut(id) else { return };
    if std::mem::take(&mut slot.live.pid_file_written) {
        // Another program may have removed it already.
        let _ = Rights::of(slot.spec()).remove(slot.live.files.pid.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{TestContext, reacts};
    use crate::state::store::Role;
    use ostler_core::app::AppSpec;

    /// Returns an instance whose pid file is in the home, so its path is as unique as the home's.
    fn instance(played: &mut TestContext) -> (u32, std::path::PathBuf) {
        let path = played.home().join("api.pid");
        let id = played.instance(AppSpec { name: "api".into(), script: "/srv/api.js".into(), ..AppSpec::default() });
        played.ctx.state.slots.get_mut(id).unwrap().live.files.pid = path.to_str().unwrap().into();
        (id, path)
    }

    #[test]
    fn pid_file_exists_while_running_or_restarting_immediately() {
        let mut played = TestContext::new(&[]);
        let (id, path) = instance(&mut played);
        played.start(&mut PidFiles, id, 4711);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "4711", "no newline");
        PidFiles.on_transition(&mut played.ctx, id, &Transition::RestartScheduled { delay_ms: 0 });
        assert!(path.exists());
        for transition in
            [Transition::RestartScheduled { delay_ms: 1 }, Transition::Stopped, Transition::Overlimit { unstable: 1 }, Transition::Deleted]
        {
            PidFiles.on_serving(&mut played.ctx, id);
            assert!(path.exists());
            PidFiles.on_transition(&mut played.ctx, id, &transition);
            assert!(!path.exists(), "{transition:?}");
        }
        std::fs::write(&path, "1").unwrap();
        PidFiles.on_transition(&mut played.ctx, id, &Transition::Stopped);
        assert!(path.exists(), "somebody else wrote it");
    }

    #[test]
    fn only_the_serving_process_of_a_reload_has_the_pid_file() {
        let mut played = TestContext::new(&[]);
        let (id, path) = instance(&mut played);
        played.ctx.state.slots.get_mut(id).unwrap().durable.role = Role::Candidate;
        played.start(&mut PidFiles, id, 4711);
        assert!(!path.exists());
        played.ctx.state.slots.get_mut(id).unwrap().durable.role = Role::Serving;
        PidFiles.on_serving(&mut played.ctx, id);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "4711");
    }

    #[test]
    fn unwritable_pid_file_is_logged_and_the_app_runs() {
        let mut played = TestContext::new(&[]);
        let (id, path) = instance(&mut played);
        std::fs::create_dir(&path).unwrap();
        played.start(&mut PidFiles, id, 4711);
        assert!(played.log().contains("cannot write"), "{}", played.log());
        PidFiles.on_transition(&mut played.ctx, id, &Transition::Stopped);
        assert!(path.exists());
    }

    reacts!(PidFiles: on_step, on_serving, on_transition);
}
