//! Probes. Kubernetes runs a check itself if it can do so in the same way. For all other checks it
//! asks ostler, which checks the app.

use ostler_core::health::{Action, Check, CheckMethod, CheckPhase};
use ostler_core::serving::{HttpProbe, ReadyBy};

use crate::base::Base;
use crate::service::Service;
use crate::yaml::{Map, Yaml};

use super::network::ports_of;

/// Default time limit of a start.
const START_MS: u64 = 60_000;

/// Adds the three probes.
pub(super) fn put(service: &Service<'_>, map: &mut Map) {
    if let Base::Official(official) = &service.base {
        if let Some(command) = official.health {
            let probe = exec(&["sh", "-c", command]).with("periodSeconds", 10_u32).with("timeoutSeconds", 5_u32);
            map.put("readinessProbe", probe);
        }
        return;
    }
    let health = service.spec.health();
    let of = |phase| health.and_then(|health| health.check(phase));
    map.put("startupProbe", startup(service, of(CheckPhase::Startup)));
    match of(CheckPhase::Readiness) {
        Some(check) => {
            let mut probe = http_probe(service, &check.method);
            pace(&mut probe, check, check.failures);
            if check.successes > 1 {
                probe.put("successThreshold", check.successes);
            }
            map.put("readinessProbe", probe);
        }
        None => {
            let probe = if service.port.is_some() { tcp(service) } else { exec(&["ostler", "health"]) };
            map.put("readinessProbe", probe.with("periodSeconds", 10_u32).with("timeoutSeconds", 5_u32));
        }
    }
    match of(CheckPhase::Liveness).filter(|_| health.is_some_and(|health| health.action != Action::None)) {
        Some(check) => {
            let mut probe = http_probe(service, &check.method);
            pace(&mut probe, check, check.failures.saturating_mul(2));
            map.comment("Needs twice as many failures as ostler: ostler restarts the app first, then Kubernetes the container.");
            map.put("livenessProbe", probe);
        }
        None => {
            map.comment("No livenessProbe: ostler restarts the app if it exits, and the container exits if ostler gives up.");
        }
    }
}

fn startup(service: &Service<'_>, check: Option<&Check>) -> Map {
    let spec = service.spec;
    let deadline = spec.ready.listen_timeout_ms.max(spec.health().and_then(|health| health.grace_ms)).unwrap_or(START_MS);
    let (mut probe, period_ms) = match (check, spec.ready.proof()) {
        (Some(check), _) => (http_probe(service, &check.method), check.interval_ms.clamp(1000, 10_000)),
        (None, Some(ReadyBy::Http(http))) => (over_http(service, &http), 1000),
        (None, Some(ReadyBy::Tcp { port, .. })) => (Map::new().with("tcpSocket", Map::new().with("port", port_of(service, port))), 1000),
        // The app reports its own readiness to ostler.
        (None, _) => (exec(&["ostler", "health"]), 2000),
    };
    probe.put("periodSeconds", seconds(period_ms)).put("timeoutSeconds", 5_u32);
    probe.put("failureThreshold", seconds(deadline.div_ceil(period_ms.div_ceil(1000).max(1))));
    probe
}

fn pace(probe: &mut Map, check: &Check, failures: u32) {
    if check.delay_ms > 0 {
        probe.put("initialDelaySeconds", seconds(check.delay_ms));
    }
    probe.put("periodSeconds", seconds(check.interval_ms)).put("timeoutSeconds", seconds(check.timeout_ms));
    probe.put("failureThreshold", failures.max(1));
}

fn http_probe(service: &Service<'_>, ask: &CheckMethod) -> Map {
    match ask {
        CheckMethod::Http(http) => over_http(service, http),
        CheckMethod::Tcp { host, port } if is_local(host) => Map::new().with("tcpSocket", Map::new().with("port", port_of(service, *port))),
        // A command needs the app's folder and variables, so ostler runs it.
        CheckMethod::Tcp { .. } | CheckMethod::Command(_) => exec(&["ostler", "health"]),
    }
}

/// Returns a request by Kubernetes, or by ostler if Kubernetes would accept other answers.
fn over_http(service: &Service<'_>, http: &HttpProbe) -> Map {
    let is_get = http.method.as_deref().is_none_or(|method| method == "GET");
    let is_good = http.expect.iter().all(|(first, last)| *first >= 200 && *last <= 399);
    if !is_get || !is_good || !is_local(&http.host) {
        return exec(&["ostler", "health"]);
    }
    let mut get = Map::new().with("path", &http.path).with("port", port_of(service, http.port));
    if !http.headers.is_empty() {
        let header = |(name, value): &(String, String)| Yaml::from(Map::new().with("name", name).with("value", value));
        get.put("httpHeaders", http.headers.iter().map(header).collect::<Vec<_>>());
    }
    Map::new().with("httpGet", get)
}

fn tcp(service: &Service<'_>) -> Map {
    Map::new().with("tcpSocket", Map::new().with("port", service.port.map_or_else(|| "http".into(), |port| port_of(service, port))))
}

/// Returns the name of a named port, so that an overlay that changes the number changes it
/// everywhere.
fn port_of(service: &Service<'_>, port: u16) -> Yaml {
    ports_of(service).into_iter().find(|(_, own)| *own == port).map_or_else(|| port.into(), |(name, _)| name.into())
}

fn exec(words: &[&str]) -> Map {
    Map::new().with("exec", Map::new().with("command", Yaml::words(words)))
}

fn is_local(host: &str) -> bool {
    matches!(host, "localhost" | "0.0.0.0" | "::" | "::1") || host.starts_with("127.")
}

/// Returns milliseconds as whole seconds, at least one.
pub(super) fn seconds(ms: u64) -> i64 {
    i64::try_from(ms.div_ceil(1000).max(1)).unwrap_or(i64::from(i32::MAX)).min(i64::from(i32::MAX))
}
