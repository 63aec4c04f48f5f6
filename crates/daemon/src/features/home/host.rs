//! Figures of the machine. They are read only on request; rates are those between two requests.

use ostler_proto::control::{HostReport, InterfaceReport, MountReport, Request, Response};
use ostler_proto::host::round;
use ostler_sys::machine::host::HostSample;

use crate::engine::{ClientRequest, Ctx};

/// Shortest time over which rates are meaningful.
const SHORTEST_MS: u64 = 1000;

/// State of the readings.
#[derive(Debug, Default)]
pub(crate) struct Host {
    /// Start of the next rates.
    before: Option<(u64, HostSample)>,
    last_report: Option<(u64, HostReport)>,
}

impl Host {
    pub(crate) fn on_client_request(&mut self, ctx: &mut Ctx, ask: ClientRequest) -> Option<ClientRequest> {
        if !matches!(ask.request, Request::Host) {
            return Some(ask);
        }
        let response = self.report(ctx);
        ctx.reply(ask.client, ask.id, response);
        None
    }
}

impl Host {
    pub(crate) const NAME: &str = "host";

    /// Returns the answer, from the figures since the last request.
    fn report(&mut self, ctx: &Ctx) -> Response {
        let off = ctx.io.settings.conf.section("pm2").and_then(|section| section.get("sysmonit"));
        if off.is_some_and(|value| *value == false || value == "false") {
            return Response::Host(None);
        }
        let now_ms = ctx.now.mono_ms;
        if let Some((at, report)) = &self.last_report
            && now_ms < at + SHORTEST_MS
        {
            return Response::Host(Some(Box::new(report.clone())));
        }
        let sample = HostSample::take();
        // The first rates start at the boot of the machine, when its counters were zero.
        let (at, before) = self.before.take().unwrap_or_default();
        let report = rates(&before, &sample, now_ms.saturating_sub(at).max(1));
        self.before = Some((now_ms, sample));
        self.last_report = Some((now_ms, report.clone()));
        Response::Host(Some(Box::new(report)))
    }
}

fn rates(before: &HostSample, now: &HostSample, within_ms: u64) -> HostReport {
    let seconds = within_ms as f64 / 1000.0;
    // If a counter fell, the interface was replaced and its counters restarted.
    let mb_s = |before: u64, now: u64| round(now.saturating_sub(before) as f64 / f64::from(1 << 20) / seconds, 3);
    let per_min = |before: u64, now: u64| round(now.saturating_sub(before) as f64 * 60.0 / seconds, 1);
    let both = |rate: &dyn Fn(u64, u64) -> f64, before: (u64, u64), now: (u64, u64)| (rate(before.0, now.0), rate(before.1, now.1));
    let (all, busy) = (now.cpu_ticks.0.saturating_sub(before.cpu_ticks.0), now.cpu_ticks.1.saturating_sub(before.cpu_ticks.1));
    let interfaces = now.interfaces.iter().map(|interface| {
        let old = before.interfaces.iter().find(|old| old.name == interface.name).cloned().unwrap_or_default();
        InterfaceReport {
            name: interface.name.clone(),
            mb_s: both(&mb_s, old.bytes, interface.bytes),
            errors_min: both(&per_min, old.errors, interface.errors),
            dropped_min: both(&per_min, old.dropped, interface.dropped),
        }
    });
    let mounts = now.mounts.iter().map(|mount| MountReport {
        path: mount.path.clone(),
        use_pct: round(100.0 * mount.bytes.1 as f64 / (mount.bytes.1 + mount.available_bytes).max(1) as f64, 2),
        size_gb: round(mount.bytes.0 as f64 / f64::from(1 << 30), 2),
    });
    HostReport {
        cpu_pct: round(100.0 * busy as f64 / all.max(1) as f64, 1),
        memory_total_bytes: now.memory_bytes.0,
        memory_available_bytes: now.memory_bytes.1,
        interfaces: interfaces.collect(),
        disk_mb_s: both(&mb_s, before.disk_bytes, now.disk_bytes),
        mounts: mounts.collect(),
    }
}

#[cfg(test)]
mod tests {
    use ostler_sys::machine::host::Interface;

    use super::*;

    #[test]
    fn rates_are_computed_between_two_samples() {
        let net = |name: &str, bytes| Interface { name: name.into(), bytes, errors: (bytes.0 / (1 << 20), 0), ..Interface::default() };
        let before = HostSample { cpu_ticks: (1000, 100), disk_bytes: (0, 5), interfaces: vec![net("a", (0, 0))], ..HostSample::default() };
        let now = HostSample {
            cpu_ticks: (1200, 150),
            memory_bytes: (10, 4),
            disk_bytes: (4 << 20, 0),
            interfaces: vec![net("a", (2 << 20, 1 << 20)), net("new", (1 << 20, 0))],
            ..HostSample::default()
        };
        let report = rates(&before, &now, 2000);
        assert_eq!((report.cpu_pct, report.memory_pct(), report.disk_mb_s), (25.0, 60.0, (2.0, 0.0)));
        assert_eq!((report.interfaces[0].mb_s, report.interfaces[0].errors_min), ((1.0, 0.5), (60.0, 0.0)));
        assert_eq!(report.interfaces[1].mb_s, (0.5, 0.0));
    }
}
