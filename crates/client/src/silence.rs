//! Silence of a connection on which an answer is owed: when it is examined, and when the wait ends.
//! If a daemon is only busy with a long request, it answers hello on another connection
//! immediately, and the client keeps waiting.

use std::time::{Duration, Instant};

/// Duration of silence after which the client first examines the daemon.
const FIRST: Duration = Duration::from_secs(1);
/// Maximum time between two checks of a busy daemon. The time doubles with each check.
const LONGEST: Duration = Duration::from_secs(15);
/// Duration of silence after which the client gives up. The keeper would have replaced the daemon
/// by then.
const GIVE_UP: Duration = Duration::from_secs(60);
/// The same if no keeper can replace the daemon.
const GIVE_UP_ALONE: Duration = Duration::from_secs(5);
/// Time limit for the answer to a hello on another connection.
pub(crate) const HELLO_WITHIN: Duration = Duration::from_secs(1);

/// Handler for a daemon that stays silent while it owes an answer. `silent` is the duration of the
/// silence. `keeper` is the pid of its keeper as the daemon reported it, unless it has not answered
/// hello yet.
pub trait SilenceHandler: Send {
    /// The daemon answers other connections, so it is only busy with this request. Called after 1
    /// s, then after 2, 4, 8, and every 15 s. Return false to end the wait: the daemon itself waits
    /// for a process that makes no progress.
    fn busy(&mut self, silent: Duration, keeper: Option<i32>) -> bool;

    /// The daemon does not answer other connections, either. Called once per silence. Return true
    /// if help was called that will replace the daemon: the client then waits 60 s, otherwise 5 s.
    fn unanswered(&mut self, silent: Duration, keeper: Option<i32>) -> bool;

    /// The time is over. Returns the text of [`ClientError::Silent`](crate::ClientError::Silent),
    /// which names the silent process.
    fn give_up(&mut self, silent: Duration, keeper: Option<i32>) -> String;
}

/// State of a silence; pure, the caller provides the time.
#[derive(Debug)]
pub(crate) struct Silence {
    since: Instant,
    check_at: Instant,
    interval: Duration,
    /// Deadline of the wait for a daemon that does not answer any connection.
    until: Option<Instant>,
}

/// Action on a daemon that does not answer any connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// Call for help; [`Silence::help_requested`] takes the result.
    Call,
    /// Keep waiting.
    Wait,
    /// Give up: no answer will come.
    GiveUp,
}

impl Silence {
    /// Starts a silence.
    pub(crate) fn start(now: Instant) -> Self {
        Self { since: now, check_at: now + FIRST, interval: FIRST, until: None }
    }

    /// Returns its duration so far.
    pub(crate) fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// Returns the time until the next check.
    pub(crate) fn until_next_check(&self, now: Instant) -> Duration {
        self.check_at.saturating_duration_since(now)
    }

    /// Notes that the daemon answers on another connection.
    pub(crate) fn busy(&mut self, now: Instant) {
        self.until = None;
        self.interval = (self.interval * 2).min(LONGEST);
        self.check_at = now + self.interval;
    }

    /// Decides about a daemon that does not answer on another connection.
    pub(crate) fn unanswered(&mut self, now: Instant) -> Unanswered {
        match self.until {
            None => Unanswered::Call,
            Some(until) if now < until => {
                self.check_at = now + FIRST;
                Unanswered::Wait
            }
            Some(_) => Unanswered::GiveUp,
        }
    }

    /// Notes that help was called, and whether help is available.
    pub(crate) fn help_requested(&mut self, now: Instant, helps: bool) {
        self.until = Some(now + if helps { GIVE_UP } else { GIVE_UP_ALONE });
        self.check_at = now + FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn busy_daemon_is_probed_ever_less_often_without_giving_up() {
        let start = Instant::now();
        let mut silence = Silence::start(start);
        let mut at = start;
        let mut checks = Vec::new();
        for _ in 0..7 {
            at += silence.until_next_check(at);
            checks.push((at - start).as_secs());
            silence.busy(at);
        }
        assert_eq!(checks, [1, 3, 7, 15, 30, 45, 60]);
    }

    #[test]
    fn unresponsive_daemon_is_given_up_later_if_the_keeper_helps() {
        for (helps, last) in [(true, 61), (false, 6)] {
            let start = Instant::now();
            let mut silence = Silence::start(start);
            let mut at = start + silence.until_next_check(start);
            assert_eq!(silence.unanswered(at), Unanswered::Call);
            silence.help_requested(at, helps);
            let mut waits = 0;
            loop {
                at += silence.until_next_check(at);
                match silence.unanswered(at) {
                    Unanswered::Wait => waits += 1,
                    Unanswered::GiveUp => break,
                    Unanswered::Call => panic!("help is called once"),
                }
            }
            assert_eq!((silence.elapsed(at), waits), (seconds(last), last - 2), "helps: {helps}");
        }
    }

    #[test]
    fn answering_again_resets_the_silence() {
        let start = Instant::now();
        let mut silence = Silence::start(start);
        assert_eq!(silence.unanswered(start + seconds(1)), Unanswered::Call);
        silence.help_requested(start + seconds(1), false);
        silence.busy(start + seconds(4));
        assert_eq!(silence.unanswered(start + seconds(100)), Unanswered::Call);
    }
}
