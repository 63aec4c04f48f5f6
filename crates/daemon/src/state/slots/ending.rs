//! Texts for the exit of a process, to follow its name.

use ostler_core::lifecycle::{ExitCause, ExitRecord, ProcessEnding};

use super::Slot;

/// Returns advice if the system's error text is not enough.
fn advice(step: &str, errno: i32) -> &'static str {
    let changes_user = ["setgroups", "setgid", "setuid"].iter().any(|name| step.starts_with(name));
    if changes_user && errno == rustix::io::Errno::PERM.raw_os_error() {
        "; another user or group (`uid`, `gid`) needs root: run the daemon as root, or leave them out"
    } else {
        ""
    }
}

/// Converts the exit that the kernel reported to the core's type.
pub(crate) fn ending_of(ending: ostler_sys::WaitStatus) -> ProcessEnding {
    match ending {
        ostler_sys::WaitStatus::Code(code) => ProcessEnding::Code(code),
        ostler_sys::WaitStatus::Signal { signal, core } => ProcessEnding::Signal { signal, core },
        ostler_sys::WaitStatus::Unknown => ProcessEnding::Unknown,
    }
}

/// Returns the text of one exit.
pub(crate) fn exit_text(record: &ExitRecord) -> String {
    if let ExitCause::CouldNotStart { step } = &record.cause {
        return match record.ending {
            ProcessEnding::SpawnFailed { errno } if errno != 0 => {
                format!("cannot be started: {step}: {}{}", std::io::Error::from_raw_os_error(errno), advice(step, errno))
            }
            _ => format!("cannot be started: {step}"),
        };
    }
    if let ExitCause::NotStarted { why } = &record.cause {
        return format!("was not started: {why}");
    }
    match record.ending {
        ProcessEnding::Code(code) => format!("exited with code {code}"),
        ProcessEnding::Signal { signal, core } => {
            let name = ostler_sys::process::signal::name(signal);
            format!("was killed by {name}{}", if core { " (core dumped)" } else { "" })
        }
        ProcessEnding::Unknown => "exited unobserved".into(),
        ProcessEnding::SpawnFailed { errno } => format!("cannot be started: {}", std::io::Error::from_raw_os_error(errno)),
    }
}

impl Slot {
    /// Returns the text of a step that failed during a start, for the user.
    pub(crate) fn explain(&self, step: &str, errno: i32) -> String {
        let spec = self.spec();
        let program = spec.interpreter.as_deref().unwrap_or(&spec.script);
        match step {
            "exec" => match ostler_sys::process::exec::explain(program.as_ref(), errno) {
                Some(reason) => format!("exec {program} ({reason})"),
                None => format!("exec {program}"),
            },
            "chdir" => format!("chdir {}", spec.cwd),
            _ => step.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_user_change_hint_names_root() {
        for (step, errno, is_told) in
            [("setgroups", 1, true), ("setuid", 1, true), ("setgid", 1, true), ("exec", 1, false), ("setgroups", 22, false)]
        {
            assert_eq!(advice(step, errno).contains("needs root"), is_told, "{step} {errno}");
        }
    }
}
