//! `Restart=` of systemd as `autorestart` and `stop_exit_codes`.

use std::collections::BTreeSet;

use ostler_core::marked;

/// `max_restarts` that is never reached: systemd only limits starts within a time.
pub(super) const NO_LIMIT: u32 = 1_000_000_000;

/// A list of exit statuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Statuses {
    pub codes: BTreeSet<i32>,
    pub signals: Vec<String>,
    pub unknown: Vec<String>,
}

/// Names of exit statuses: those of `stdlib.h`, of LSB and of `sysexits.h`.
const NAMES: &[(&str, i32)] = &[
    ("SUCCESS", 0),
    ("FAILURE", 1),
    ("INVALIDARGUMENT", 2),
    ("NOTIMPLEMENTED", 3),
    ("NOPERMISSION", 4),
    ("NOTINSTALLED", 5),
    ("NOTCONFIGURED", 6),
    ("NOTRUNNING", 7),
    ("USAGE", 64),
    ("DATAERR", 65),
    ("NOINPUT", 66),
    ("NOUSER", 67),
    ("NOHOST", 68),
    ("UNAVAILABLE", 69),
    ("SOFTWARE", 70),
    ("OSERR", 71),
    ("OSFILE", 72),
    ("CANTCREAT", 73),
    ("IOERR", 74),
    ("TEMPFAIL", 75),
    ("PROTOCOL", 76),
    ("NOPERM", 77),
    ("CONFIG", 78),
];

impl Statuses {
    /// Adds a word of the list: a number, a name or a signal.
    pub(super) fn add(&mut self, word: &str) {
        let named = NAMES.iter().find(|(name, _)| *name == word).map(|(_, code)| *code);
        match named.or_else(|| word.parse().ok()).filter(|code| (0..=255).contains(code)) {
            Some(code) => drop(self.codes.insert(code)),
            None if word.starts_with("SIG") => self.signals.push(word.to_owned()),
            None => self.unknown.push(word.to_owned()),
        }
    }
}

/// An equivalent restart policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RestartPolicy {
    /// Exit codes without a restart. `None`: it is never restarted.
    pub stop_exit_codes: Option<BTreeSet<i32>>,
    /// Difference to the policy of systemd.
    pub differs: Option<&'static str>,
}

/// Returns the policy of a word of `Restart=`; `None` for an unknown word.
pub(super) fn policy(word: &str, success: &BTreeSet<i32>, prevent: &BTreeSet<i32>, force: &BTreeSet<i32>) -> Option<RestartPolicy> {
    let is_clean = |code: &i32| *code == 0 || success.contains(code);
    let all = || 0..=255;
    let (stops, differs): (BTreeSet<i32>, _) = match word {
        "no" if force.is_empty() => return Some(RestartPolicy { stop_exit_codes: None, differs: None }),
        "no" => (all().collect(), Some(marked!("with RestartForceExitStatus, here it is restarted after a signal"))),
        "always" => (BTreeSet::new(), None),
        "on-success" => (
            all().filter(|code| !is_clean(code)).collect(),
            Some(marked!("here it is restarted after every signal, in systemd only after SIGHUP, SIGINT, SIGTERM and SIGPIPE")),
        ),
        "on-failure" => (all().filter(is_clean).collect(), None),
        "on-abnormal" => (all().collect(), None),
        "on-abort" => (all().collect(), Some(marked!("here it is also restarted after a timeout and by the watchdog"))),
        "on-watchdog" => (all().collect(), Some(marked!("here it is restarted after every signal, in systemd only by the watchdog"))),
        _ => return None,
    };
    let stops = stops.into_iter().chain(prevent.iter().copied()).filter(|code| !force.contains(code));
    Some(RestartPolicy { stop_exit_codes: Some(stops.collect()), differs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restart_settings_map_to_stop_exit_codes() {
        let set = |codes: &[i32]| codes.iter().copied().collect::<BTreeSet<_>>();
        let none = set(&[]);
        for (word, success, prevent, force, expected, differs) in [
            ("no", &[][..], &[][..], &[][..], None, false),
            ("no", &[], &[], &[3], Some((0..=255).filter(|code| *code != 3).collect()), true),
            ("always", &[], &[], &[], Some(none.clone()), false),
            ("always", &[], &[2, 3], &[3], Some(set(&[2])), false),
            ("on-failure", &[143], &[23], &[], Some(set(&[0, 23, 143])), false),
            ("on-success", &[2], &[], &[], Some((1..=255).filter(|code| *code != 2).collect()), true),
            ("on-abnormal", &[], &[], &[], Some((0..=255).collect()), false),
            ("on-abort", &[], &[], &[], Some((0..=255).collect()), true),
        ] {
            let policy = policy(word, &set(success), &set(prevent), &set(force)).unwrap();
            assert_eq!((policy.stop_exit_codes, policy.differs.is_some()), (expected, differs), "{word}");
        }
        assert_eq!(policy("on_failure", &none, &none, &none), None);
        let mut statuses = Statuses::default();
        ["TEMPFAIL", "250", "SIGKILL", "256", "X"].into_iter().for_each(|word| statuses.add(word));
        let expected = Statuses { codes: set(&[75, 250]), signals: vec!["SIGKILL".into()], unknown: vec!["256".into(), "X".into()] };
        assert_eq!(statuses, expected);
    }
}
