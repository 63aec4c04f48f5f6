//! Exits of a project's apps: which apps failed, and the exit code of `up`. Pure.

use ostler_core::lifecycle::{ExitCause, ExitRecord, ProcessEnding};
use ostler_proto::control::Detail;

/// Exits that stop the whole project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AbortOn {
    /// No exit; the other apps keep running.
    Nothing,
    /// Exits of an app that failed.
    Failure,
    /// Every exit.
    Exit,
}

/// Returns the exit of the newest process of an instance, unless that process runs.
pub(super) fn last(member: &Detail) -> Option<&ExitRecord> {
    member.instance.exits.last().filter(|exit| exit.pid > 0 && exit.inc == member.instance.inc)
}

/// Returns true if the newest process exited by itself, and not with code 0.
pub(super) fn has_failed(member: &Detail) -> bool {
    last(member).is_some_and(|exit| is_own(exit) && exit.ending != ProcessEnding::Code(0))
}

/// Returns true if the exit was no part of a stop.
fn is_own(exit: &ExitRecord) -> bool {
    !matches!(exit.cause, ExitCause::Requested(_) | ExitCause::KilledAfterTimeout(_))
}

/// Returns the exit code that a shell gives to this ending.
fn code(ending: ProcessEnding) -> u8 {
    match ending {
        ProcessEnding::Code(code) => u8::try_from(code).unwrap_or(1),
        ProcessEnding::Signal { signal, .. } => u8::try_from(signal).map_or(1, |signal| signal.saturating_add(128)),
        ProcessEnding::Unknown => 1,
        ProcessEnding::SpawnFailed { .. } => 127,
    }
}

/// Returns the exit code of a project that an exit stopped: that of the app of this name, or of the
/// app that exited first. For `failures`, an exit with code 0 does not count. Exits of the apps in
/// `done` do not count either.
pub(super) fn code_of(members: &[Detail], from: Option<&str>, failures: bool, done: &[String]) -> u8 {
    let counts = |member: &Detail, exit: &ExitRecord| match from {
        // The named app may have been stopped together with the others.
        Some(name) => member.spec.name == name,
        None => is_own(exit) && (exit.ending != ProcessEnding::Code(0) || !failures && !done.contains(&member.spec.name)),
    };
    let exits = members.iter().filter_map(|member| last(member).filter(|exit| counts(member, exit)));
    exits.min_by_key(|exit| exit.ended.mono_ms).map_or(u8::from(from.is_some()), |exit| code(exit.ending))
}

#[cfg(test)]
mod tests {
    use ostler_core::app::AppSpec;
    use ostler_core::lifecycle::{Instance, Origin};
    use ostler_core::time::Now;

    use super::*;
    use crate::tests::data;

    fn member(name: &str, ended: u64, ending: ProcessEnding, cause: ExitCause) -> Detail {
        let exit = ExitRecord { inc: 1, pid: 7, started: Now::at(1), ended: Now::at(ended), ending, cause, last_lines: vec![] };
        let instance = Instance { inc: 1, exits: vec![exit], ..Instance::new(Now::at(0)) };
        Detail { spec: AppSpec { name: name.into(), ..AppSpec::default() }, instance, ..data::stopped() }
    }

    #[test]
    fn exit_code_is_that_of_first_exit_or_named_app() {
        let stopped = || ExitCause::Requested(Origin::Resurrect);
        let term = ProcessEnding::Signal { signal: 15, core: false };
        let members = [
            member("web", 30, term, stopped()),
            member("test", 20, ProcessEnding::Code(3), ExitCause::Itself),
            member("seed", 10, ProcessEnding::Code(0), ExitCause::Itself),
        ];
        let seed = ["seed".to_owned()];
        for (from, failures, done, expected) in [
            (None, false, &[][..], 0),
            (None, false, &seed[..], 3),
            (None, true, &[][..], 3),
            (Some("web"), false, &[][..], 143),
            (Some("test"), false, &[][..], 3),
            (Some("seed"), false, &seed[..], 0),
            (Some("none"), false, &[][..], 1),
        ] {
            assert_eq!(code_of(&members, from, failures, done), expected, "{from:?} {failures} {done:?}");
        }
        assert_eq!(members.iter().map(has_failed).collect::<Vec<_>>(), [false, true, false]);
        assert_eq!(code_of(&members[..1], None, false, &[]), 0);
    }
}
