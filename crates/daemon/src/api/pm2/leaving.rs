//! Clients that are about to stop the daemon. PM2's clients announce it by `notifyKillPM2`, then
//! delete every app, then call `killMe`.
//!
//! # Theory of operation
//!
//! The daemon refuses restarts while the client that announced the stop is connected. PM2 differs:
//! it refuses them until its daemon exits, so a client that dies halfway leaves a daemon that never
//! restarts anything.
//!
//! An update asks for the version right after the announcement. It stops this daemon and starts
//! npm's. A program that calls `update` of npm's library gets exactly that, as with PM2. All calls
//! of `pm2 update` of npm's command line are refused, because PM2's banner suggests that command to
//! users of another version. The command line ignores the errors. The daemon therefore sends it
//! SIGTERM at `killMe`, before it starts npm's daemon. No reply would stop it: it throws after a
//! reply without values, starts npm's daemon if no reply arrives, and hangs if the connection
//! closes.

/// PM2's error for a restart after the stop was announced.
const BEING_KILLED: &str = "[RestartProcessId] PM2 is being killed, stopping restart procedure...";
/// Error for `pm2 update` of npm's command line.
pub(super) const NOT_BY_NPM: &str =
    "npm's `pm2 update` cannot update the ostler daemon; nothing was changed. Run `ostler update`: it restarts no app";

/// Calls that a client has made since it announced the stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeavingStage {
    Announced,
    Kills,
    Updates,
}

/// Client that is about to stop the daemon.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    by: Option<(u32, LeavingStage)>,
}

impl Leaving {
    /// Records a call of a client. Returns the error if the call is refused.
    pub(super) fn record_call(
        &mut self,
        client: u32,
        method: &str,
        is_connected: impl Fn(u32) -> bool,
        is_npms_update: impl Fn(u32) -> bool,
    ) -> Option<&'static str> {
        self.by = self.by.filter(|(by, _)| is_connected(*by));
        match (self.by, method) {
            (Some((by, LeavingStage::Updates)), _) if by == client => return Some(NOT_BY_NPM),
            (_, "notifyKillPM2") => self.by = Some((client, LeavingStage::Announced)),
            (Some((by, LeavingStage::Announced)), _) if by == client => {
                let is_refused = method == "getVersion" && is_npms_update(client);
                self.by = Some((by, if is_refused { LeavingStage::Updates } else { LeavingStage::Kills }));
            }
            _ => {}
        }
        let is_restart = matches!(method, "restartProcessId" | "reloadProcessId" | "softReloadProcessId");
        (is_restart && self.by.is_some_and(|(_, stage)| stage != LeavingStage::Updates)).then_some(BEING_KILLED)
    }
}

/// Returns true for the command line (`/proc/<pid>/cmdline`) of npm's `pm2 update`.
pub(super) fn is_npms_update(command: &[u8]) -> bool {
    let words: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
    let is_program = |word: &&[u8]| word.rsplit(|byte| *byte == b'/').next() == Some(b"pm2".as_slice());
    let program = words.iter().take(3).position(is_program);
    let rest = program.and_then(|at| words.get(at + 1..)).unwrap_or_default();
    rest.iter().any(|word| [b"update".as_slice(), b"updatePM2"].contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes the calls of clients in order, and returns the refused ones.
    fn refused(calls: &[(u32, &'static str)]) -> Vec<(u32, &'static str)> {
        let mut leaving = Leaving::default();
        calls
            .iter()
            .copied()
            .filter(|(client, method)| leaving.record_call(*client, method, |by| by < 10, |by| by == 1).is_some())
            .collect()
    }

    #[test]
    fn calls_of_an_announced_update_are_refused() {
        let kill =
            [(1, "getVersion"), (1, "notifyKillPM2"), (1, "getMonitorData"), (1, "stopWatch"), (1, "deleteProcessId"), (1, "killMe")];
        assert_eq!(refused(&kill), []);
        let update =
            [(1, "getVersion"), (1, "notifyKillPM2"), (1, "getVersion"), (1, "getMonitorData"), (1, "notifyKillPM2"), (1, "killMe")];
        assert_eq!(refused(&update), update[3..]);
        let by_a_program = update.map(|(_, method)| (2, method));
        assert_eq!(refused(&by_a_program), [], "the library's `update` is PM2's");
        // Calls of other clients do not count.
        assert_eq!(refused(&[(1, "notifyKillPM2"), (2, "getVersion"), (1, "getVersion"), (2, "killMe"), (2, "restartProcessId")]), []);
        // All clients are refused restarts, until the client that announced the stop is gone.
        for method in ["restartProcessId", "reloadProcessId", "softReloadProcessId"] {
            assert_eq!(refused(&[(2, method), (1, "notifyKillPM2"), (2, method), (1, method)]), [(2, method), (1, method)]);
            assert_eq!(refused(&[(11, "notifyKillPM2"), (2, method)]), []);
        }
    }

    #[test]
    fn npm_pm2_update_is_recognized_by_its_command_line() {
        let is_update = |line: &str| is_npms_update(line.replace(' ', "\0").as_bytes());
        for line in
            ["node /usr/bin/pm2 update", "/usr/bin/pm2 update ", "node --no-warnings /x/pm2/bin/pm2 update", "node pm2 -s updatePM2"]
        {
            assert!(is_update(line), "{line}");
        }
        for line in
            ["", "node /srv/update.js pm2", "node /usr/bin/pm2 kill", "node server.js update", "node a b c pm2 update", "pm2d update"]
        {
            assert!(!is_update(line), "{line}");
        }
    }
}
