//! Clients that are about to end the daemon: PM2's announce it by `notifyKillPM2`, then delete every app, then call `killMe`.
//!
//! # Theory of operation
//!
//! While the one who announced it is connected, restarts are refused, as in PM2. PM2 differs: there the announcement lasts for ever, so a client that dies in
//! between leaves a daemon that restarts nothing any more. `pm2 update` of npm's asks for the version right after it: it would end us and start npm's own daemon.
//! That one is refused everything, so that it stops before it has done anything.

/// PM2's word for a restart meanwhile.
const BEING_KILLED: &str = "[RestartProcessId] PM2 is being killed, stopping restart procedure...";
/// What an `update` by npm's command line is told.
const NOT_BY_NPM: &str =
    "this daemon is ostler's, which npm's `pm2 update` cannot update: `ostler update` does, and restarts no app. Nothing was changed";

/// What the client that announced an end has done since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Announced,
    Kills,
    Updates,
}

/// Who is about to end the daemon.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    by: Option<(u32, Stage)>,
}

impl Leaving {
    /// Takes note of a call of a client. Why it is refused, where it is.
    pub(super) fn look(&mut self, client: u32, method: &str, is_connected: impl Fn(u32) -> bool) -> Option<&'static str> {
        self.by = self.by.filter(|(by, _)| is_connected(*by));
        match (self.by, method) {
            (Some((by, Stage::Updates)), _) if by == client => return Some(NOT_BY_NPM),
            (_, "notifyKillPM2") => self.by = Some((client, Stage::Announced)),
            (Some((by, Stage::Announced)), _) if by == client => {
                self.by = Some((by, if method == "getVersion" { Stage::Updates } else { Stage::Kills }));
            }
            _ => {}
        }
        let is_restart = matches!(method, "restartProcessId" | "reloadProcessId" | "softReloadProcessId");
        (is_restart && self.by.is_some_and(|(_, stage)| stage != Stage::Updates)).then_some(BEING_KILLED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The calls of clients, one after the other, and which of them are refused.
    fn refused(calls: &[(u32, &'static str)]) -> Vec<(u32, &'static str)> {
        let mut leaving = Leaving::default();
        calls.iter().copied().filter(|(client, method)| leaving.look(*client, method, |by| by < 10).is_some()).collect()
    }

    #[test]
    fn who_is_refused_what() {
        let kill =
            [(1, "getVersion"), (1, "notifyKillPM2"), (1, "getMonitorData"), (1, "stopWatch"), (1, "deleteProcessId"), (1, "killMe")];
        assert_eq!(refused(&kill), []);
        let update =
            [(1, "getVersion"), (1, "notifyKillPM2"), (1, "getVersion"), (1, "getMonitorData"), (1, "notifyKillPM2"), (1, "killMe")];
        assert_eq!(refused(&update), update[3..]);
        // Nobody else has a part in it.
        assert_eq!(refused(&[(1, "notifyKillPM2"), (2, "getVersion"), (1, "getVersion"), (2, "killMe"), (2, "restartProcessId")]), []);
        // A restart meanwhile, by whomever; not any more when the one who announced it is gone.
        for method in ["restartProcessId", "reloadProcessId", "softReloadProcessId"] {
            assert_eq!(refused(&[(2, method), (1, "notifyKillPM2"), (2, method), (1, method)]), [(2, method), (1, method)]);
            assert_eq!(refused(&[(11, "notifyKillPM2"), (2, method)]), []);
        }
    }
}
