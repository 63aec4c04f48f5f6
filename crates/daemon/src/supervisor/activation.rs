//! Descriptors beside the standard ones: sockets by systemd's protocol, the IPC channel of Node, a pipe for readiness.

use std::borrow::Cow;

use ostler_core::app::AppSpec;
use ostler_core::lifecycle::SpawnFailure;
use ostler_core::serving::{FIRST_FD, ReadyBy, with_numbers};
use ostler_sys::cstrings::OWN_PID;

use super::spawn::{Vars, failure};

/// Number of the IPC channel: 3, as scripts know it, unless that is a socket or what the app is to write its newline to.
pub(super) fn ipc_number(spec: &AppSpec, proof: Option<&ReadyBy>) -> i32 {
    let first_free = FIRST_FD.saturating_add(i32::try_from(spec.listen.len()).unwrap_or(0));
    if proof == Some(&ReadyBy::Descriptor(first_free)) { first_free + 1 } else { first_free }
}

/// The variables by which a program learns of its sockets. The child puts its pid in: it is not known before.
pub(super) fn announce<'a>(spec: &'a AppSpec, env: &mut Vars<'a>) {
    if spec.listen.is_empty() {
        return;
    }
    let names: Vec<&str> = spec.listen.iter().map(|listen| listen.name.as_str()).collect();
    env.insert("LISTEN_FDS".into(), spec.listen.len().to_string().into());
    env.insert("LISTEN_FDNAMES".into(), names.join(":").into());
    env.insert("LISTEN_PID".into(), OWN_PID.into());
}

/// A text of the description with the numbers of sockets in place of `{fd}` and `{fd:name}`. Without sockets these words mean nothing.
pub(super) fn numbered<'a>(spec: &AppSpec, text: &'a str) -> Result<Cow<'a, str>, SpawnFailure> {
    if spec.listen.is_empty() || !text.contains("{fd") {
        return Ok(text.into());
    }
    let missing = |name: String| failure(&format!("{{fd:{name}}}: no socket of `listen` has this name"), 0);
    with_numbers(text, &spec.listen, FIRST_FD).map(Cow::from).map_err(missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ostler_core::serving::{Listen, ListenAt};

    fn spec(sockets: usize) -> AppSpec {
        let listen = |index: usize| Listen {
            at: ListenAt::Unix { path: format!("/{index}") },
            name: format!("s{index}"),
            backlog: None,
            mode: None,
        };
        AppSpec { listen: (0..sockets).map(listen).collect(), ..AppSpec::default() }
    }

    #[test]
    fn the_channel_is_behind_what_others_need() {
        assert_eq!(ipc_number(&spec(0), None), 3);
        assert_eq!(ipc_number(&spec(2), None), 5);
        assert_eq!(ipc_number(&spec(0), Some(&ReadyBy::Descriptor(3))), 4);
        assert_eq!(ipc_number(&spec(1), Some(&ReadyBy::Descriptor(4))), 5);
        assert_eq!(ipc_number(&spec(1), Some(&ReadyBy::Descriptor(9))), 4);
    }

    #[test]
    fn words_mean_something_only_with_sockets() {
        assert_eq!(numbered(&spec(0), "{fd}").unwrap(), "{fd}");
        assert_eq!(numbered(&spec(2), "--fd={fd:s1}").unwrap(), "--fd=4");
        assert!(numbered(&spec(1), "{fd:x}").unwrap_err().step.contains("{fd:x}"));
    }
}
