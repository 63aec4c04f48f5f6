//! Apps that need attention: one judgement for the terminal and the dashboard. Pure.

use std::fmt;

use ostler_core::health::HealthState;
use ostler_core::lifecycle::{ProcessEnding, Trouble};
use ostler_core::message;
use ostler_proto::control::{Figures, TableRow};
use ostler_proto::event::LimitKind;

use crate::words::exit_text;

/// Share of the memory limit from which on an app is near its limit.
const NEAR_LIMIT: f64 = 0.9;
/// Number of recent exits of an app from which on it restarts often.
const OFTEN: u32 = 3;
/// Number of exits per instance that the daemon keeps. If all of them are recent, there may have
/// been more.
const KEPT_EXITS: u32 = 8;
/// Share of requests with 5xx from which on an app fails requests.
const FAILED_SHARE: f64 = 0.01;

/// Reason why an app needs attention, the most serious first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AttentionReason {
    /// It failed too often, and ostler does not restart it any more.
    Errored(Option<ProcessEnding>),
    /// It exited by itself with an error, and is not restarted.
    Crashed(Option<ProcessEnding>),
    /// It exited by itself with an error, and waits for its restart.
    Restarting(ProcessEnding),
    /// Its health check fails.
    Unhealthy,
    /// It was restarted often in the last 15 minutes.
    KeepsRestarting {
        /// Number of exits that were not requested.
        exits: u32,
        /// Whether there may have been more.
        has_more: bool,
    },
    /// It exceeded a limit in the last 15 minutes.
    LimitExceeded(LimitKind),
    /// It answers requests with 5xx.
    FailingRequests {
        /// Share of its requests in the last 10 to 20 s, 0 to 1.
        share: f64,
    },
    /// Its readiness check fails.
    Unready,
    /// Its health check cannot be performed.
    CheckBroken,
    /// It uses nearly as much memory as its limit allows.
    NearMemoryLimit {
        /// Used share of the limit.
        share: f64,
    },
}

impl AttentionReason {
    /// Returns the name of the kind, as in the API.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Errored(_) => "errored",
            Self::Crashed(_) => "crashed",
            Self::Restarting(_) => "restarting",
            Self::Unhealthy => "unhealthy",
            Self::KeepsRestarting { .. } => "keeps_restarting",
            Self::LimitExceeded(_) => "limit_exceeded",
            Self::FailingRequests { .. } => "failing_requests",
            Self::Unready => "unready",
            Self::CheckBroken => "check_broken",
            Self::NearMemoryLimit { .. } => "near_limit",
        }
    }

    /// Returns true if the app has no process because of this.
    pub const fn is_down(&self) -> bool {
        matches!(self, Self::Errored(_) | Self::Crashed(_) | Self::Restarting(_))
    }

    /// Returns the position in the order of severity.
    const fn rank(&self) -> u8 {
        match self {
            Self::Errored(_) => 0,
            Self::Crashed(_) => 1,
            Self::Restarting(_) => 2,
            Self::Unhealthy => 3,
            Self::KeepsRestarting { .. } => 4,
            Self::LimitExceeded(_) => 5,
            Self::FailingRequests { .. } => 6,
            Self::Unready => 7,
            Self::CheckBroken => 8,
            Self::NearMemoryLimit { .. } => 9,
        }
    }
}

/// The reason in words that follow the app's name.
impl fmt::Display for AttentionReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Errored(ending @ Some(ProcessEnding::SpawnFailed { .. })) | Self::Crashed(ending) => {
                message!("{exit}; not restarted", exit = ended(*ending))
            }
            Self::Errored(_) => message!("failed too often; restarts stopped"),
            Self::Restarting(ending) => message!("{exit}; restarting", exit = ended(Some(*ending))),
            Self::Unhealthy => message!("unhealthy"),
            Self::KeepsRestarting { exits, has_more: true } => message!("{count}+ exits in 15 min", count = exits),
            Self::KeepsRestarting { exits, has_more: false } => message!("{count} exits in 15 min", count = exits),
            Self::LimitExceeded(LimitKind::Memory) => message!("exceeded its memory limit in the last 15 min"),
            Self::LimitExceeded(LimitKind::Cpu) => message!("exceeded its CPU limit in the last 15 min"),
            Self::LimitExceeded(LimitKind::Errors) => message!("exceeded its error limit in the last 15 min"),
            Self::FailingRequests { share } => format!("{:.1}% 5xx", share * 100.0),
            Self::Unready => message!("not ready"),
            Self::CheckBroken => message!("health check broken"),
            Self::NearMemoryLimit { share } => {
                message!("uses {percent}% of its memory limit", percent = format!("{:.0}", share * 100.0))
            }
        };
        out.write_str(&text)
    }
}

fn ended(ending: Option<ProcessEnding>) -> String {
    match ending {
        Some(ProcessEnding::SpawnFailed { .. }) => message!("could not be started"),
        Some(ending) => exit_text(ending),
        None => message!("crashed"),
    }
}

/// Returns the reasons why the app of these rows needs attention, the most serious first; each kind
/// once. `figures` returns the measurements of an instance, if it is measured.
pub fn attention<'a>(rows: &[&TableRow], figures: impl Fn(u32) -> Option<&'a Figures>) -> Vec<AttentionReason> {
    let mut reasons: Vec<AttentionReason> = rows.iter().flat_map(|row| of_instance(row)).collect();
    reasons.extend(keeps_restarting(rows));
    reasons.extend(failing_requests(rows.iter().filter_map(|row| figures(row.id))));
    reasons.sort_by_key(AttentionReason::rank);
    reasons.dedup_by_key(|reason| reason.rank());
    reasons
}

fn of_instance(row: &TableRow) -> impl Iterator<Item = AttentionReason> {
    let ending = row.last_exit.map(|exit| exit.ending);
    let failure = row.last_exit.filter(|exit| !exit.requested).map(|exit| exit.ending).filter(|ending| is_failure(*ending));
    let state = match row.status.as_str() {
        "errored" => Some(AttentionReason::Errored(ending)),
        "waiting restart" => failure.map(AttentionReason::Restarting),
        _ if row.trouble == Some(Trouble::Crashed) => Some(AttentionReason::Crashed(ending)),
        _ => None,
    };
    let health = match row.health {
        Some(HealthState::Unhealthy) => Some(AttentionReason::Unhealthy),
        Some(HealthState::Unready) => Some(AttentionReason::Unready),
        Some(HealthState::Broken) => Some(AttentionReason::CheckBroken),
        Some(HealthState::Starting | HealthState::Healthy) | None => None,
    };
    [state, health, row.exceeded.map(AttentionReason::LimitExceeded), near_limit(row)].into_iter().flatten()
}

const fn is_failure(ending: ProcessEnding) -> bool {
    !matches!(ending, ProcessEnding::Code(0) | ProcessEnding::Unknown)
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn near_limit(row: &TableRow) -> Option<AttentionReason> {
    let limit = row.memory_limit.filter(|limit| *limit > 0)?;
    let share = row.monit.memory_bytes as f64 / limit as f64;
    (share >= NEAR_LIMIT).then_some(AttentionReason::NearMemoryLimit { share })
}

/// Counts the exits of the instances that run or will run again.
fn keeps_restarting(rows: &[&TableRow]) -> Option<AttentionReason> {
    let running = || rows.iter().filter(|row| !matches!(row.status.as_str(), "errored" | "stopped"));
    let exits = running().fold(0_u32, |sum, row| sum.saturating_add(row.recent_exits));
    let is_known = running().any(|row| row.trouble == Some(Trouble::KeepsRestarting));
    let has_more = running().any(|row| row.recent_exits >= KEPT_EXITS) || exits < OFTEN;
    (exits >= OFTEN || is_known).then_some(AttentionReason::KeepsRestarting { exits: exits.max(OFTEN), has_more })
}

fn failing_requests<'a>(figures: impl Iterator<Item = &'a Figures>) -> Option<AttentionReason> {
    let (rate, failed) =
        figures.fold((0.0, 0.0), |(rate, failed), one| (rate + one.rate, failed + one.rate * one.failed_share.unwrap_or(0.0)));
    let share = failed / rate;
    (rate > 0.0 && share >= FAILED_SHARE).then_some(AttentionReason::FailingRequests { share })
}

#[cfg(test)]
mod tests {
    use ostler_core::app::ExecMode;
    use ostler_proto::control::{LastExit, Monit};

    use super::AttentionReason::*;
    use super::*;

    fn row(status: &str) -> TableRow {
        TableRow {
            id: 1,
            name: "api".into(),
            namespace: "default".into(),
            version: None,
            mode: ExecMode::Fork,
            pid: 0,
            status: status.into(),
            uptime_ms: None,
            restarts: 900,
            monit: Monit { cpu_pct: 400.0, memory_bytes: 90, processes: 1 },
            user: String::new(),
            watching: false,
            health: None,
            trouble: None,
            last_exit: None,
            recent_exits: 0,
            exceeded: None,
            memory_limit: None,
            sandbox: None,
            module: false,
        }
    }

    fn exited(status: &str, ending: ProcessEnding, requested: bool) -> TableRow {
        TableRow { last_exit: Some(LastExit { ago_ms: 1, ending, requested }), ..row(status) }
    }

    fn healthy(health: HealthState) -> TableRow {
        TableRow { health: Some(health), ..row("online") }
    }

    fn reasons(rows: &[&TableRow]) -> Vec<AttentionReason> {
        attention(rows, |_| None)
    }

    #[test]
    fn each_trouble_is_a_reason_and_nothing_else() {
        let code = ProcessEnding::Code;
        let crashed = |row: TableRow| TableRow { trouble: Some(Trouble::Crashed), ..row };
        let recent = |status: &str, recent_exits| TableRow { recent_exits, ..row(status) };
        let limited = |limit| TableRow { memory_limit: Some(limit), ..row("online") };
        for (case, row, expected) in [
            ("many restarts since the app was added", row("online"), vec![]),
            ("starting", row("launching"), vec![]),
            ("stopping", row("stopping"), vec![]),
            ("stopped", exited("stopped", code(0), false), vec![]),
            ("stopped by a user", exited("stopped", code(1), true), vec![]),
            ("given up", exited("errored", code(1), false), vec![Errored(Some(code(1)))]),
            ("crashed", crashed(exited("stopped", code(3), false)), vec![Crashed(Some(code(3)))]),
            ("waits after a crash", exited("waiting restart", code(3), false), vec![Restarting(code(3))]),
            ("waits after a regular exit", exited("waiting restart", code(0), false), vec![]),
            ("waits after a restart by cron", exited("waiting restart", code(1), true), vec![]),
            ("two exits", recent("online", 2), vec![]),
            ("three exits", recent("online", 3), vec![KeepsRestarting { exits: 3, has_more: false }]),
            ("many exits", recent("launching", 8), vec![KeepsRestarting { exits: 8, has_more: true }]),
            ("many exits, now stopped", recent("stopped", 8), vec![]),
            ("healthy", healthy(HealthState::Healthy), vec![]),
            ("first check", healthy(HealthState::Starting), vec![]),
            ("unhealthy", healthy(HealthState::Unhealthy), vec![Unhealthy]),
            ("not ready", healthy(HealthState::Unready), vec![Unready]),
            ("broken check", healthy(HealthState::Broken), vec![CheckBroken]),
            ("below its limit", limited(101), vec![]),
            ("near its limit", limited(100), vec![NearMemoryLimit { share: 0.9 }]),
            ("no limit", limited(0), vec![]),
            ("over a limit", TableRow { exceeded: Some(LimitKind::Cpu), ..row("online") }, vec![LimitExceeded(LimitKind::Cpu)]),
        ] {
            assert_eq!(reasons(&[&row]), expected, "{case}");
        }
        assert_eq!(reasons(&[]), []);
    }

    #[test]
    fn reasons_of_instances_are_merged_the_most_serious_first() {
        let rows = [
            healthy(HealthState::Unready),
            TableRow { recent_exits: 1, ..healthy(HealthState::Unhealthy) },
            TableRow { recent_exits: 2, ..healthy(HealthState::Unhealthy) },
            exited("errored", ProcessEnding::Code(1), false),
        ];
        let rows: Vec<&TableRow> = rows.iter().collect();
        let expected = [Errored(Some(ProcessEnding::Code(1))), Unhealthy, KeepsRestarting { exits: 3, has_more: false }, Unready];
        assert_eq!(reasons(&rows), expected);
        // A daemon of an older version does not report the number.
        let old = TableRow { trouble: Some(Trouble::KeepsRestarting), ..row("online") };
        assert_eq!(reasons(&[&old]), [KeepsRestarting { exits: 3, has_more: true }]);
    }

    #[test]
    fn failed_requests_count_by_their_share_of_all() {
        let of = |rate, failed_share| Figures { rate, failed_share, ..Figures::default() };
        for (figures, expected) in [
            (vec![of(0.0, None)], None),
            (vec![of(10.0, Some(0.0))], None),
            (vec![of(10.0, Some(0.009))], None),
            (vec![of(10.0, Some(0.02))], Some(0.02)),
            // One failure of one worker among many requests of the others.
            (vec![of(0.1, Some(1.0)), of(99.9, Some(0.0))], None),
            (vec![of(30.0, Some(0.1)), of(10.0, Some(0.5))], Some(0.2)),
        ] {
            let rows: Vec<TableRow> = (0..).zip(&figures).map(|(id, _)| TableRow { id, ..row("online") }).collect();
            let rows: Vec<&TableRow> = rows.iter().collect();
            let found = attention(&rows, |id| figures.get(id as usize));
            assert_eq!(found, expected.map(|share| FailingRequests { share }).into_iter().collect::<Vec<_>>(), "{figures:?}");
        }
    }

    #[test]
    fn reasons_are_texts_that_follow_a_name() {
        for (reason, text) in [
            (Errored(None), "failed too often; restarts stopped"),
            (Errored(Some(ProcessEnding::SpawnFailed { errno: 2 })), "could not be started; not restarted"),
            (Crashed(Some(ProcessEnding::Code(3))), "exited with code 3; not restarted"),
            (Crashed(Some(ProcessEnding::SpawnFailed { errno: 2 })), "could not be started; not restarted"),
            (Restarting(ProcessEnding::Signal { signal: 11, core: false }), "was killed by SIGSEGV; restarting"),
            (KeepsRestarting { exits: 8, has_more: true }, "8+ exits in 15 min"),
            (LimitExceeded(LimitKind::Memory), "exceeded its memory limit in the last 15 min"),
            (FailingRequests { share: 0.0204 }, "2.0% 5xx"),
            (NearMemoryLimit { share: 0.954 }, "uses 95% of its memory limit"),
        ] {
            assert_eq!(reason.to_string(), text);
        }
    }
}
