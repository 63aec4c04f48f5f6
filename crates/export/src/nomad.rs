//! Nomad: one job with a group for each app. Jobs with a schedule are separate jobs.

use ostler_core::cron::Overlap;
use ostler_core::health::{CheckMethod, CheckPhase};
use ostler_core::message;
use ostler_core::text::language::translated;

use crate::cron::Fields;
use crate::hcl::{Hcl, list, text};
use crate::service::{Lifecycle, Service};
use crate::{Notice, Plan, container, names};

/// Returns the files of `export nomad`, and the next commands for the user.
pub(crate) fn files(plan: &mut Plan<'_>) -> (Vec<(String, String)>, Vec<String>) {
    let project = names::label(&plan.project.name);
    let mut notices = Vec::new();
    let (mut files, mut next) = (Vec::new(), Vec::new());
    let servers: Vec<&Service<'_>> = plan.services.iter().filter(|service| service.kind == Lifecycle::Server).collect();
    if !servers.is_empty() {
        let mut out = Hcl::default();
        out.block(&format!("job {}", text(&project)), |out| {
            out.text("type", "service");
            out.line("");
            out.comment(
                "A new allocation must be healthy before an old one is stopped; a deployment that does not become healthy is rolled back.",
            );
            out.block("update", |out| {
                out.bare("max_parallel", 1).text("health_check", "checks").text("min_healthy_time", "10s").text("healthy_deadline", "5m");
                out.bare("auto_revert", true);
            });
            for service in &servers {
                out.line("");
                group(plan, service, out, &mut notices);
            }
        });
        files.push((format!("nomad/{project}.nomad.hcl"), out.done()));
        next.push(format!("nomad job run nomad/{project}.nomad.hcl"));
    }
    for service in plan.services.iter().filter(|service| service.kind != Lifecycle::Server) {
        let mut out = Hcl::default();
        let name = format!("{project}-{}", service.name);
        let mut is_possible = true;
        out.block(&format!("job {}", text(&name)), |out| {
            out.text("type", "batch");
            is_possible = periodic(service, out, &mut notices);
            out.line("");
            group(plan, service, out, &mut notices);
        });
        if is_possible {
            files.push((format!("nomad/{name}.nomad.hcl"), out.done()));
            next.push(format!("nomad job run nomad/{name}.nomad.hcl"));
        }
    }
    for service in plan.services.iter().filter(|service| !service.secrets.is_empty()) {
        let values: Vec<String> = service.secrets.iter().map(|name| format!("{name}=…")).collect();
        next.insert(0, format!("nomad var put {} {}", variables_of(&project, service), values.join(" ")));
    }
    plan.notices.append(&mut notices);
    (files, next)
}

/// Returns the path of the Nomad variables with the secrets of a service.
fn variables_of(project: &str, service: &Service<'_>) -> String {
    let job = if service.kind == Lifecycle::Server { project.to_owned() } else { format!("{project}-{}", service.name) };
    format!("nomad/jobs/{job}/{}", service.name)
}

/// Writes the schedule. Returns false if Nomad cannot express it.
fn periodic(service: &Service<'_>, out: &mut Hcl, notices: &mut Vec<Notice>) -> bool {
    let Some(cron) = service.cron() else { return true };
    match Fields::parse(&cron.pattern).and_then(|fields| fields.five()) {
        Ok(pattern) => {
            out.block("periodic", |out| {
                out.bare("crons", list([pattern]));
                out.bare("prohibit_overlap", cron.overlap != Overlap::Kill);
                if let Some(zone) = &cron.zone {
                    out.text("time_zone", zone);
                }
            });
            if cron.overlap == Overlap::Kill {
                let why = message!("Nomad does not stop a run for the next one: both run");
                notices.push(Notice::new(service.spec.name.as_str(), "overlap", why));
            }
            true
        }
        Err(why) => {
            let why = message!("{pattern} cannot be periodic: {reason}", pattern = format!("{:?}", cron.pattern), reason = translated(why));
            notices.push(Notice::new(service.spec.name.as_str(), "job", why));
            false
        }
    }
}

fn group(plan: &Plan<'_>, service: &Service<'_>, out: &mut Hcl, notices: &mut Vec<Notice>) {
    let spec = service.spec;
    out.block(&format!("group {}", text(&service.name)), |out| {
        if service.kind == Lifecycle::Server {
            out.bare("count", service.count());
        }
        if spec.namespace != "default" {
            out.block("meta", |out| {
                out.text("namespace", &spec.namespace);
            });
        }
        if !service.ports.is_empty() || service.port.is_some() {
            out.block("network", |out| {
                for (name, port) in ports(service) {
                    out.block(&format!("port {}", text(&name)), |out| {
                        out.bare("to", port);
                    });
                }
            });
        }
        if service.kind == Lifecycle::Server
            && let Some((port, _)) = ports(service).first()
        {
            out.block("service", |out| {
                out.text("name", &service.name).text("port", port).text("provider", "nomad");
                check(service, out);
            });
        }
        let job = service.cron().and_then(|cron| cron.job.as_ref());
        out.block("restart", |out| match (service.kind, job) {
            (Lifecycle::Server, _) => {
                out.comment("ostler restarts the app; this restarts the container if ostler gives up.");
                out.bare("attempts", 3).text("interval", "5m").text("delay", "15s").text("mode", "delay");
            }
            (_, Some(job)) => {
                out.bare("attempts", job.retries).text("delay", &time(job.retry_delay_ms)).text("mode", "fail");
            }
            (_, None) => {
                out.bare("attempts", 0).text("mode", "fail");
            }
        });
        if service.kind == Lifecycle::Server && (spec.rollout.canary_ms.is_some() || spec.rollout.batch.is_some()) {
            out.block("update", |out| {
                if let Some(batch) = spec.rollout.batch {
                    out.bare("max_parallel", batch);
                }
                if let Some(canary) = spec.rollout.canary_ms {
                    out.bare("canary", 1).bare("auto_promote", true).text("min_healthy_time", &time(canary));
                }
            });
        }
        task(plan, service, out, notices);
    });
}

fn ports(service: &Service<'_>) -> Vec<(String, u16)> {
    let all = if service.ports.is_empty() { service.port.into_iter().collect() } else { service.ports.clone() };
    all.into_iter().enumerate().map(|(at, port)| (if at == 0 { "http".to_owned() } else { format!("port_{port}") }, port)).collect()
}

fn check(service: &Service<'_>, out: &mut Hcl) {
    let check = service
        .spec
        .health()
        .and_then(|health| [CheckPhase::Readiness, CheckPhase::Liveness].into_iter().find_map(|phase| health.check(phase)));
    let (interval, timeout) = check.map_or((10_000, 5000), |check| (check.interval_ms.max(1000), check.timeout_ms.max(1000)));
    out.block("check", |out| {
        match check.map(|check| &check.method) {
            Some(CheckMethod::Http(http)) => {
                out.text("type", "http").text("path", &http.path);
                if let Some(method) = &http.method {
                    out.text("method", method);
                }
            }
            _ => {
                out.text("type", "tcp");
            }
        }
        out.text("interval", &time(interval)).text("timeout", &time(timeout));
    });
}

fn task(plan: &Plan<'_>, service: &Service<'_>, out: &mut Hcl, notices: &mut Vec<Notice>) {
    let spec = service.spec;
    let project = names::label(&plan.project.name);
    out.block(&format!("task {}", text(&service.name)), |out| {
        out.text("driver", "docker");
        out.text("kill_signal", "SIGTERM");
        out.comment("Nomad limits it: max_kill_timeout of the client, default 30s.");
        out.text("kill_timeout", &format!("{}s", service.grace_seconds()));
        out.block("config", |out| {
            out.text("image", &plan.image_name(service));
            let words: Vec<String> = match (service.has_official_image(), service.kind) {
                (true, _) => service.command(plan.project).into_iter().skip(1).collect(),
                (false, Lifecycle::Server) => ["ostler", "runtime", container::FILE, "--only", &service.name].map(str::to_owned).to_vec(),
                (false, _) => service.command(plan.project),
            };
            match &words[..] {
                [] => {}
                words if service.has_official_image() => {
                    out.bare("args", list(words));
                }
                [program, rest @ ..] => {
                    out.text("command", program);
                    if !rest.is_empty() {
                        out.bare("args", list(rest));
                    }
                    if service.kind != Lifecycle::Server {
                        out.text("work_dir", &service.workdir(plan.project));
                    }
                }
            }
            let ports: Vec<String> = ports(service).into_iter().map(|(name, _)| name).collect();
            if !ports.is_empty() {
                out.bare("ports", list(ports));
            }
            if let Some(pids) = spec.hard_limits().and_then(|hard| hard.pids) {
                out.bare("pids_limit", pids);
            }
            if service.cpu_percent().is_some() {
                out.bare("cpu_hard_limit", true);
            }
            if !spec.limits.rlimits.is_empty() {
                out.block("ulimit", |out| {
                    for (name, soft, hard) in &spec.limits.rlimits {
                        let bound = |bound: &Option<u64>| bound.map_or_else(|| "-1".to_owned(), |bound| bound.to_string());
                        out.text(name, &format!("{}:{}", bound(soft), bound(hard)));
                    }
                });
            }
        });
        let env = service.env.iter().map(|(name, value)| (name, container::in_image(plan.project, value)));
        let env: Vec<(&String, String)> = env.collect();
        if !env.is_empty() {
            out.block("env", |out| {
                for (name, value) in &env {
                    if value.contains("${") {
                        let why = message!("Nomad replaces ${{…}} in {name} if it knows the name", name);
                        notices.push(Notice::new(spec.name.as_str(), "env", why));
                    }
                    if is_word(name) {
                        out.text(name, value);
                    } else {
                        let why = message!("{name} is not a valid name in Nomad: it is skipped", name = format!("{name:?}"));
                        notices.push(Notice::new(spec.name.as_str(), "env", why));
                    }
                }
            });
        }
        if !service.secrets.is_empty() {
            out.comment("Secrets: in Nomad variables that only this job may read.");
            out.block("template", |out| {
                out.text("destination", "secrets/app.env").bare("env", true);
                out.line("data = <<-EOF");
                out.line(&format!("{{{{ with nomadVar \"{}\" }}}}", variables_of(&project, service)));
                for name in &service.secrets {
                    if is_word(name) {
                        out.line(&format!("{name}={{{{ .{name}.Value | toJSON }}}}"));
                    } else {
                        let why = message!("{name} is not a valid name in Nomad: it is skipped", name = format!("{name:?}"));
                        notices.push(Notice::new(spec.name.as_str(), "env", why));
                    }
                }
                out.line("{{ end }}");
                out.line("EOF");
            });
        }
        resources(service, out);
    });
}

/// Returns true for a name that is valid in a block and in a file of variables.
fn is_word(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Returns a time in Nomad's form.
fn time(ms: u64) -> String {
    if ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{ms}ms") }
}

fn resources(service: &Service<'_>, out: &mut Hcl) {
    let (request, limit) = (service.memory_request(), service.memory_limit());
    if request.is_none() && service.cpu_request().is_none() {
        out.comment(
            "No resources: the ecosystem file has no memory_max, max_memory_restart, cpu_quota or export.requests; Nomad uses 100 MHz \
             and 300 MB.",
        );
        return;
    }
    let megabytes = |bytes: u64| bytes.div_ceil(1 << 20).max(1);
    out.block("resources", |out| {
        if let Some(percent) = service.cpu_request() {
            out.comment("For a core of 2 GHz: Nomad counts in MHz.");
            out.bare("cpu", u64::from(percent) * 20);
        }
        if let Some(memory) = request {
            out.bare("memory", megabytes(memory));
        }
        if let Some(limit) = limit.filter(|limit| Some(*limit) != request) {
            out.bare("memory_max", megabytes(limit));
        }
    });
}
