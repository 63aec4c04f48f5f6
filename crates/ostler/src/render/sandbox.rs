//! The sandbox of an app: its restrictions, and whether it probably caused a failure.

use ostler_core::lifecycle::ProcessEnding;
use ostler_core::message;
use ostler_proto::control::Detail;

use crate::app_files::with_rights_of;
use crate::text::{shell_word, shown};

/// Signal of a system call that a filter refuses.
const SIGSYS: i32 = 31;

/// Most bytes at the end of an error log that are searched.
const TAIL_BYTES: u64 = 16 << 10;

/// Words of programs and languages for a refusal by the kernel, in lower case.
const REFUSALS: &[&str] = &[
    "eacces",
    "eperm",
    "permission denied",
    "operation not permitted",
    "permissionerror",
    "accessdeniedexception",
    "eafnosupport",
    "address family not supported",
    "function not implemented",
];

/// Returns a line about the sandbox of an instance. Before its first start, the profile alone is known.
pub(crate) fn sandbox(detail: &Detail) -> Option<String> {
    let spec = detail.spec.sandbox.as_deref();
    match &detail.learned.sandbox {
        Some(report) => Some(report.line()),
        None => spec.map(|spec| spec.label().to_owned()),
    }
}

/// Names the sandbox as a probable cause of a failure, and the next command.
pub(super) fn probable_cause(detail: &Detail, program: &str) -> Option<String> {
    let report = detail.learned.sandbox.as_ref()?;
    let (profile, name) = (&report.profile, shell_word(&detail.spec.name));
    let exit = detail.instance.last_failure();
    if exit.is_some_and(|exit| matches!(exit.ending, ProcessEnding::Signal { signal: SIGSYS, .. })) {
        return Some(message!(
            "probable cause: the sandbox ({profile}) refuses a system call; `{program} describe {name}` shows its rules",
            profile,
            program,
            name
        ));
    }
    let line = match exit {
        Some(exit) => exit.last_lines.iter().rev().find(|line| is_refusal(line)).cloned(),
        None => tail(detail)?.lines().rev().find(|line| is_refusal(line)).map(str::to_owned),
    }?;
    Some(message!(
        "probable cause: the sandbox ({profile}) refuses what this line reports: {line}; `{program} describe {name}` shows its rules, `{program} sandbox learn {name}` proposes others",
        profile,
        line = shown(line.trim()),
        program,
        name
    ))
}

fn is_refusal(line: &str) -> bool {
    let line = line.to_lowercase();
    REFUSALS.iter().any(|refusal| line.contains(refusal))
}

/// Returns the end of the error log of a running instance.
fn tail(detail: &Detail) -> Option<String> {
    let path = detail.files.error.as_deref()?;
    with_rights_of(&detail.spec, || ostler_sys::fs::text_file::tail(std::path::Path::new(path), TAIL_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_many_languages_are_recognised() {
        for line in [
            "Error: EACCES: permission denied, open '/root/x'",
            "PermissionError: [Errno 13] Permission denied: '/root/x'",
            "open /root/x: permission denied",
            "java.nio.file.AccessDeniedException: /root/x",
            "bind: Operation not permitted",
        ] {
            assert!(is_refusal(line), "{line}");
        }
        assert!(!is_refusal("Error: ENOENT: no such file or directory"));
    }
}
