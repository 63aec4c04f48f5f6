//! Drains over a played context: the messages to and from a process, and the reports about its
//! unfinished requests.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;

use ostler_core::app::AppSpec;
use ostler_core::lifecycle::Origin;

use super::*;
use crate::engine::{FeatureAnswer, Input, TestContext, reacts};
use crate::platform::ipc::Ipc;

/// Time that an instance has for its requests.
const DRAIN_MS: u64 = 5000;

struct App {
    played: TestContext,
    drains: Drains,
    id: u32,
    /// App's end of its channel.
    theirs: BufReader<UnixStream>,
}

impl App {
    /// Returns an app with a channel, which is being drained.
    fn new(spec: AppSpec, is_preloaded: bool) -> Self {
        let (mut played, drains) = (TestContext::new(&[Drains::NAME, "channels"]), Drains::default());
        let id = played.instance(AppSpec { name: "api".into(), script: "/srv/api.js".into(), ..spec });
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut app = Self { played, drains, id, theirs: BufReader::new(theirs) };
        app.played.start(&mut app.drains, id, 1000);
        let slot = app.played.ctx.state.slots.get_mut(id).unwrap();
        slot.live.policy.drain_timeout_ms = Some(DRAIN_MS);
        slot.durable.preloaded = is_preloaded;
        slot.live.ipc = Ipc::open(ours.into(), id, slot.key(1), &app.played.ctx.io.reactor).map(Box::new);
        app.played.dispatch(&mut app.drains, id, Event::StopGently(Origin::Shutdown));
        assert!(matches!(app.state(), InstanceState::Draining { .. }), "{:?}", app.state());
        app
    }

    fn node() -> Self {
        Self::new(AppSpec { interpreter: Some("node".into()), ..AppSpec::default() }, true)
    }

    fn state(&self) -> &InstanceState {
        &self.played.ctx.state.slots.get(self.id).unwrap().durable.instance.state
    }

    /// Drains it, and returns the message that it gets.
    fn finish(&mut self) -> Option<Value> {
        self.played.ctx.request(FeatureRequest::FinishRequests { id: self.id, inc: 1 });
        assert!(self.played.settle(&mut self.drains).is_empty());
        let mut line = String::new();
        let read = self.theirs.read_line(&mut line).unwrap_or(0);
        (read > 0).then(|| serde_json::from_str(&line).unwrap())
    }

    fn app_sends(&mut self, message: Value) {
        let Value::Object(message) = message else { panic!() };
        self.drains.on_message(&mut self.played.ctx, self.id, 1, &Message::Internal(message));
        assert!(self.played.settle(&mut self.drains).is_empty());
    }

    /// Returns the time until its deadline.
    fn until_ms(&self) -> u64 {
        let slot = self.played.ctx.state.slots.get(self.id).unwrap();
        slot.durable.instance.deadline_ms().unwrap() - self.played.ctx.now.mono_ms
    }

    /// Lets its time run out. Returns the number of cut requests, and the words about them.
    fn cut_report(&mut self, transition: &Transition) -> Option<(u32, String)> {
        self.drains.on_transition(&mut self.played.ctx, self.id, transition);
        let mut queued = self.played.queued();
        assert!(queued.len() <= 1 && self.drains.0.is_empty(), "{queued:?}");
        queued.pop().map(|input| match input {
            Input::Answer(FeatureAnswer::Cut { requests, warning, .. }) => (requests, warning),
            other => panic!("{other:?}"),
        })
    }
}

#[test]
fn preloaded_process_reports_when_it_is_drained() {
    let mut app = App::node();
    let reported = app.finish().unwrap();
    assert_eq!((&reported["act"], &reported["stop_listening"], &reported["signal"]), (&json!("drain"), &json!(true), &json!("SIGINT")));
    app.played.pass(&mut app.drains, 2000);
    app.app_sends(json!({"cmd": "NODE_OSTLER", "act": "open", "requests": 3}));
    assert_eq!(app.until_ms(), DRAIN_MS, "it has answered: its time begins");
    app.played.pass(&mut app.drains, 1000);
    app.app_sends(json!({"cmd": "NODE_OSTLER", "act": "open", "requests": 1}));
    assert_eq!(app.until_ms(), DRAIN_MS - 1000, "only the first answer gives it more");
    app.app_sends(json!({"cmd": "NODE_OSTLER", "act": "turns"}));
    assert!(matches!(app.state(), InstanceState::Draining { .. }));
    app.app_sends(json!({"cmd": "NODE_OSTLER", "act": "drained"}));
    assert!(matches!(app.state(), InstanceState::Stopping { .. }), "{:?}", app.state());
    assert!(app.drains.0.is_empty());
}

#[test]
fn drain_messages_count_only_from_the_preload_during_a_drain() {
    let mut app = App::node();
    app.app_sends(json!({"cmd": "NODE_OSTLER", "act": "drained"}));
    assert!(matches!(app.state(), InstanceState::Draining { .. }), "it was not asked yet");
    app.finish().unwrap();
    app.played.ctx.state.slots.get_mut(app.id).unwrap().durable.preloaded = false;
    app.app_sends(json!({"cmd": "NODE_OSTLER", "act": "drained"}));
    assert!(matches!(app.state(), InstanceState::Draining { .. }), "any program can write that");
    app.drains.on_forgotten(&mut app.played.ctx, app.id);
    assert!(app.drains.0.is_empty());
}

#[test]
fn worker_without_preload_disconnects_and_other_apps_stop() {
    let node = AppSpec { interpreter: Some("node".into()), mode: ExecMode::Cluster, ..AppSpec::default() };
    let mut app = App::new(node, false);
    assert_eq!(app.finish(), Some(json!({"cmd": "NODE_CLUSTER", "act": "disconnect"})));
    assert_eq!(app.until_ms(), DRAIN_MS);
    assert!(app.drains.0.is_empty(), "it says nothing");

    let mut app = App::new(AppSpec::default(), false);
    assert_eq!(app.finish(), None);
    assert!(matches!(app.state(), InstanceState::Stopping { .. }), "{:?}", app.state());
    assert_eq!(app.cut_report(&Transition::DrainTimeout), None);
}

#[test]
fn cut_requests_are_reported() {
    for (said, cut) in [
        (None, Some((0, "[api](0) the old process does not answer and is stopped"))),
        (Some(0), None),
        (Some(1), Some((1, "[api](0) 1 request was still in flight after drain_timeout (5000 ms)"))),
        (Some(7), Some((7, "[api](0) 7 requests were still in flight after drain_timeout (5000 ms)"))),
    ] {
        let mut app = App::node();
        app.finish().unwrap();
        if let Some(requests) = said {
            app.app_sends(json!({"cmd": "NODE_OSTLER", "act": "open", "requests": requests}));
        }
        let reported = app.cut_report(&Transition::DrainTimeout);
        assert_eq!(reported.as_ref().map(|(requests, words)| (*requests, words.as_str())), cut, "{said:?}");
        assert_eq!(app.played.log().contains("App [api:0]"), cut.is_some());
    }
    let mut app = App::node();
    assert_eq!(app.cut_report(&Transition::KillTimeout), None, "it was told that by signal");
    app.played.ctx.state.slots.get_mut(app.id).unwrap().live.policy.drains_after_signal = true;
    let (requests, words) = app.cut_report(&Transition::KillTimeout).unwrap();
    assert_eq!(requests, 1);
    assert!(words.ends_with("the old process did not finish within drain_timeout (5000 ms) and was killed"), "{words}");
}

reacts!(Drains: on_request, on_message, on_transition, on_forgotten);
