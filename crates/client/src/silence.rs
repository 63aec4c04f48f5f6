//! Silence of a connection on which an answer is owed: when it is looked into, and when waiting ends. A daemon that is only busy with a
//! long request answers hello on another connection at once, and is waited for as long as it takes.

use std::time::{Duration, Instant};

/// Time without anything after which it is looked who does not answer.
const FIRST: Duration = Duration::from_secs(1);
/// Longest time until a daemon that was found to be busy is looked at again; it doubles each time.
const LONGEST: Duration = Duration::from_secs(15);
/// Silence after which no answer will come: by then the keeper would have replaced the daemon.
const GIVE_UP: Duration = Duration::from_secs(60);
/// The same when nobody can help.
const GIVE_UP_ALONE: Duration = Duration::from_secs(5);
/// Time for the answer to a hello on another connection.
pub(crate) const HELLO_WITHIN: Duration = Duration::from_secs(1);

/// Action of a caller on a daemon from which nothing comes while an answer is owed. `silent` = for so long; `keeper` = pid of its keeper as
/// the daemon sent it, unless it has not answered hello yet.
pub trait OnSilence: Send {
    /// It answers others at once, so it is only busy with this request. Called after 1 s, then after 2, 4, 8, and every 15 s. False = the
    /// wait is over: the daemon itself waits for a process that does nothing.
    fn busy(&mut self, silent: Duration, keeper: Option<i32>) -> bool;

    /// It answers nobody. Called once per silence. True = somebody was called who replaces it, and is worth waiting 60 s for; else it is 5 s.
    fn unanswered(&mut self, silent: Duration, keeper: Option<i32>) -> bool;

    /// The time is over; returns the text of [`ClientError::Silent`](crate::ClientError::Silent): who did not answer.
    fn give_up(&mut self, silent: Duration, keeper: Option<i32>) -> String;
}

/// One silence; pure, its caller brings the time.
#[derive(Debug)]
pub(crate) struct Silence {
    since: Instant,
    look_at: Instant,
    interval: Duration,
    /// End of the wait for a daemon that answers nobody.
    until: Option<Instant>,
}

/// Action on a daemon that answers nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// Call for help; [`Silence::called`] takes the result.
    Call,
    /// Wait on.
    Wait,
    /// No answer will come.
    GiveUp,
}

impl Silence {
    /// Begins a silence.
    pub(crate) fn begin(now: Instant) -> Self {
        Self { since: now, look_at: now + FIRST, interval: FIRST, until: None }
    }

    /// Its duration by now.
    pub(crate) fn lasts(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }

    /// The time until it is looked into.
    pub(crate) fn left(&self, now: Instant) -> Duration {
        self.look_at.saturating_duration_since(now)
    }

    /// Notes that the daemon answers on another connection.
    pub(crate) fn busy(&mut self, now: Instant) {
        self.until = None;
        self.interval = (self.interval * 2).min(LONGEST);
        self.look_at = now + self.interval;
    }

    /// Decides about a daemon that does not.
    pub(crate) fn unanswered(&mut self, now: Instant) -> Unanswered {
        match self.until {
            None => Unanswered::Call,
            Some(until) if now < until => {
                self.look_at = now + FIRST;
                Unanswered::Wait
            }
            Some(_) => Unanswered::GiveUp,
        }
    }

    /// Notes that help was called, and whether there is somebody who can.
    pub(crate) fn called(&mut self, now: Instant, helps: bool) {
        self.until = Some(now + if helps { GIVE_UP } else { GIVE_UP_ALONE });
        self.look_at = now + FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_busy_daemon_is_looked_at_less_and_less_often_and_never_given_up() {
        let start = Instant::now();
        let mut silence = Silence::begin(start);
        let mut at = start;
        let mut looks = Vec::new();
        for _ in 0..7 {
            at += silence.left(at);
            looks.push((at - start).as_secs());
            silence.busy(at);
        }
        assert_eq!(looks, [1, 3, 7, 15, 30, 45, 60]);
    }

    #[test]
    fn who_answers_nobody_is_given_up_after_a_time_that_depends_on_help() {
        for (helps, last) in [(true, 61), (false, 6)] {
            let start = Instant::now();
            let mut silence = Silence::begin(start);
            let mut at = start + silence.left(start);
            assert_eq!(silence.unanswered(at), Unanswered::Call);
            silence.called(at, helps);
            let mut waits = 0;
            loop {
                at += silence.left(at);
                match silence.unanswered(at) {
                    Unanswered::Wait => waits += 1,
                    Unanswered::GiveUp => break,
                    Unanswered::Call => panic!("help is called once"),
                }
            }
            assert_eq!((silence.lasts(at), waits), (seconds(last), last - 2), "helps: {helps}");
        }
    }

    #[test]
    fn one_that_answers_again_has_its_time_anew() {
        let start = Instant::now();
        let mut silence = Silence::begin(start);
        assert_eq!(silence.unanswered(start + seconds(1)), Unanswered::Call);
        silence.called(start + seconds(1), false);
        silence.busy(start + seconds(4));
        assert_eq!(silence.unanswered(start + seconds(100)), Unanswered::Call);
    }
}
