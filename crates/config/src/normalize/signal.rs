//! Names of signals.

use ostler_core::message;
use serde_json::Value;

/// Linux numbers, the same on every architecture of Rust's Linux targets except MIPS and SPARC,
/// which ostler does not support.
const NAMES: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// Returns the number of `SIGTERM`, `term`, `15`.
pub(super) fn number(value: &Value) -> Result<i32, String> {
    let text = crate::values::text_of(value);
    let plain = text.trim().to_ascii_uppercase();
    let name = plain.strip_prefix("SIG").unwrap_or(&plain);
    let by_name = NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    by_name.or_else(|| plain.parse().ok().filter(|number| (1..=64).contains(number))).ok_or_else(|| {
        let near = crate::keys::closest(name, NAMES.iter().map(|(known, _)| *known));
        let found = crate::values::describe_value(value);
        match near {
            None => message!("expected a signal, found {found}", found),
            Some(near) => message!("expected a signal, found {found} (did you mean \"SIG{near}\"?)", found, near),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn signals_parse_by_name_and_number() {
        for value in [json!("SIGTERM"), json!("term"), json!("15"), json!(15)] {
            assert_eq!(number(&value), Ok(15), "{value}");
        }
        assert_eq!(number(&json!("SIGTREM")).unwrap_err(), "expected a signal, found \"SIGTREM\" (did you mean \"SIGTERM\"?)");
        assert!(number(&json!("0")).is_err());
    }
}
