//! Limits over a played context: measured processes and times, requests, and reports.

use std::io::Write;
use std::time::{Duration, Instant};

use ostler_core::app::AppSpec;
use ostler_core::health::limits::{CpuLimit, ErrorLimit, HardLimits, MemoryAmount};
use ostler_core::health::safeguards::Safeguards;
use ostler_core::lifecycle::{Event, Origin, PolicyName};

use super::*;
use crate::engine::{Input, TestContext, reacts};

fn app(safeguards: Safeguards) -> AppSpec {
    AppSpec { name: "api".into(), script: "/bin/true".into(), safeguards: Some(Box::new(safeguards)), ..AppSpec::default() }
}

/// Returns an app whose process is the test itself, so its usage can be measured.
fn running(safeguards: Safeguards) -> (TestContext, Limits, u32) {
    let (mut played, mut limits) = (TestContext::new(&[]), Limits::default());
    let id = played.instance(app(safeguards));
    let pid = std::process::id().cast_signed();
    played.start(&mut limits, id, pid);
    played.ctx.state.slots.get_mut(id).unwrap().durable.start_ticks = ostler_sys::ProcRef::of(pid).unwrap().start_ticks;
    (played, limits, id)
}

/// Advances the time to the next measurement. If a measurement takes long on this machine, they are
/// further apart.
fn pass(played: &mut TestContext, limits: &mut Limits) {
    let due_ms = played.ctx.outbox.timers.next_ms().unwrap();
    played.pass(limits, due_ms.saturating_sub(played.ctx.now.mono_ms));
}

/// Takes the requests that were made.
fn asked(played: &mut TestContext) -> Vec<FeatureRequest> {
    let request = |input| if let Input::Request(request) = input { request } else { panic!("{input:?}") };
    played.queued().into_iter().map(request).collect()
}

fn notes(played: &TestContext, id: u32) -> Vec<String> {
    played.ctx.state.slots.get(id).unwrap().durable.observations.iter().map(|note| note.text.clone()).collect()
}

#[test]
fn app_without_limits_is_not_measured() {
    let hard = HardLimits { pids: Some(5), ..HardLimits::default() };
    let (played, limits, _) = running(Safeguards { hard, ..Safeguards::default() });
    assert_eq!((played.ctx.outbox.timers.next_ms(), limits.watched.len()), (None, 0));
}

#[test]
fn memory_excess_is_confirmed_and_reported_with_the_remedy() {
    let (mut played, mut limits, id) = running(Safeguards { memory: Some(MemoryAmount::Bytes(1)), ..Safeguards::default() });
    pass(&mut played, &mut limits);
    assert!(asked(&mut played).is_empty());
    pass(&mut played, &mut limits);
    let requests = asked(&mut played);
    let [FeatureRequest::Remedy { id: of, inc: 1, cause: RemedyCause::Memory, why }] = &requests[..] else { panic!("{requests:?}") };
    assert!(*of == id && why.starts_with("uses ") && why.ends_with("B (max_memory_restart: 1 B)"), "{why}");
    assert_eq!(notes(&played, id), Vec::<String>::new(), "it may be under way");
    limits.on_answer(&mut played.ctx, &FeatureAnswer::Remedy { id, cause: RemedyCause::Memory, why: why.clone() });
    assert_eq!(notes(&played, id), std::slice::from_ref(why));
    let log = played.log();
    assert!(log.contains("[PM2][WORKER] Process 0 restarted because it exceeds --max-memory-restart value (current_memory="), "{log}");
    assert!(log.contains("max_memory_limit=1 [octets])"), "{log}");
}

#[test]
fn remedy_is_withdrawn_if_memory_is_within_the_limit_again() {
    let (mut played, mut limits, id) = running(Safeguards { memory: Some(MemoryAmount::Bytes(1)), ..Safeguards::default() });
    pass(&mut played, &mut limits);
    pass(&mut played, &mut limits);
    played.queued();
    played.ctx.redescribe(id, app(Safeguards { memory: Some(MemoryAmount::Bytes(u64::MAX)), ..Safeguards::default() }));
    played.queued();
    pass(&mut played, &mut limits);
    let requests = asked(&mut played);
    assert!(matches!(&requests[..], [FeatureRequest::NoRemedy { cause: RemedyCause::Memory, .. }]), "{requests:?}");
    pass(&mut played, &mut limits);
    assert!(played.queued().is_empty(), "that is logged once");
}

#[test]
fn measuring_stops_with_the_last_instance() {
    let (mut played, mut limits, id) = running(Safeguards { memory: Some(MemoryAmount::Bytes(1)), ..Safeguards::default() });
    assert!(played.ctx.outbox.timers.next_ms().is_some());
    played.dispatch(&mut limits, id, Event::Stop(Origin::policy(PolicyName::Recovery)));
    assert_eq!((played.ctx.outbox.timers.next_ms(), limits.watched.len()), (None, 0));
}

#[test]
fn cpu_limit_alone_is_measured_less_often() {
    let cpu = CpuLimit { percent: 50, of_machine: false, window_ms: 60_000 };
    let (mut played, mut limits, id) = running(Safeguards { cpu: Some(cpu), ..Safeguards::default() });
    let began_ms = played.ctx.now.mono_ms;
    assert_eq!(played.ctx.outbox.timers.next_ms(), Some(began_ms + INTERVAL_MS));
    played.pass(&mut limits, INTERVAL_MS);
    let next_ms = played.ctx.outbox.timers.next_ms().unwrap();
    assert!(next_ms >= began_ms + INTERVAL_MS + 5000, "{next_ms}");
    // Another instance starts and is measured without delay.
    let other = played.instance(app(Safeguards { memory: Some(MemoryAmount::Bytes(1)), ..Safeguards::default() }));
    played.start(&mut limits, other, std::process::id().cast_signed());
    assert_eq!(played.ctx.outbox.timers.next_ms(), Some(played.ctx.now.mono_ms + INTERVAL_MS));
    limits.on_answer(&mut played.ctx, &FeatureAnswer::Remedy { id, cause: RemedyCause::Cpu, why: "used 99 %".into() });
    assert_eq!(notes(&played, id), ["used 99 %"]);
}

#[test]
fn exceptions_above_the_threshold_trigger_the_limit() {
    for restart in [true, false] {
        let errors = ErrorLimit { threshold: 3, window_ms: 60_000, restart };
        let (mut played, mut limits, id) = running(Safeguards { errors: Some(errors), ..Safeguards::default() });
        let says = |played: &mut TestContext, limits: &mut Limits, topic: &str| {
            let message = Message::Typed { topic: topic.into(), data: serde_json::Value::Null };
            limits.on_message(&mut played.ctx, id, 1, &message);
            asked(played)
        };
        for topic in [EXCEPTION, "something:else", EXCEPTION] {
            assert!(says(&mut played, &mut limits, topic).is_empty());
        }
        let requests = says(&mut played, &mut limits, EXCEPTION);
        let why = "reported 3 errors within 60 s (error_threshold: 3)";
        assert_eq!(notes(&played, id), [why]);
        let exceeded = played.ctx.state.slots.get(id).unwrap().live.exceeded;
        assert_eq!(exceeded, Some((LimitKind::Errors, played.ctx.now.mono_ms)));
        match &requests[..] {
            [FeatureRequest::Remedy { cause: RemedyCause::Errors, why: told, .. }] if restart => assert_eq!(told, why),
            [] if !restart => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn error_log_lines_count_from_the_start_of_the_process() {
    let errors = ErrorLimit { threshold: 3, window_ms: 600_000, restart: true };
    let (mut played, mut limits) = (TestContext::new(&[]), Limits::default());
    let id = played.instance(app(Safeguards { errors: Some(errors), ..Safeguards::default() }));
    let path = played.home().join("error.log");
    std::fs::write(&path, "of a\nformer\nprocess\nof it\n").unwrap();
    let slot = played.ctx.state.slots.get_mut(id).unwrap();
    slot.live.files.error = Some(path.to_string_lossy().into_owned());
    slot.durable.log_start.0 = path.metadata().unwrap().len();
    played.start(&mut limits, id, 4711);
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"one\ntwo\nthree\n").unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let requests = loop {
        played.pass(&mut limits, INTERVAL_MS);
        let asked = asked(&mut played);
        if !asked.is_empty() {
            break asked;
        }
        assert!(Instant::now() < deadline, "nothing is counted");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(
        matches!(&requests[..], [FeatureRequest::Remedy { cause: RemedyCause::Errors, why, .. }] if why.starts_with("reported 3 errors")),
        "{requests:?}"
    );
}

#[test]
fn unavailable_hard_limit_is_reported_once() {
    let hard = HardLimits { pids: Some(5), ..HardLimits::default() };
    let (mut played, mut limits) = (TestContext::new(&[]), Limits::default());
    let id = played.instance(app(Safeguards { hard, ..Safeguards::default() }));
    for _ in 0..2 {
        limits.on_birth(&mut played.ctx, id);
    }
    assert_eq!(notes(&played, id), ["runs without pids_max: cgroups v2 is not available"]);
    let free = played.instance(app(Safeguards::default()));
    limits.on_birth(&mut played.ctx, free);
    assert!(notes(&played, free).is_empty());
}

reacts!(Limits: on_step, on_serving, on_message, on_timer, on_answer, on_forgotten);
