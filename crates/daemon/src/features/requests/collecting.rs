//! Figures of Node apps. Their preload measures only while a client collects.
//!
//! The client repeats its request before the time is over ([`Request::Collect`]). The figures are
//! among the custom metrics of an instance, beside its own. They are removed when no request has
//! come for long enough.

use std::collections::BTreeMap;

use ostler_proto::control::{Figures, InstanceFigures, Request, Response, Window};
use ostler_proto::node::Message;
use ostler_proto::node::preload::{self, FromPreload};
use serde_json::{Map, Value, json};

use crate::engine::{ClientRequest, Ctx, Key};

/// Longest time that one request extends the collection.
const LONGEST_MS: u64 = 120_000;
/// Time after the end in which the last report arrives.
const LAST_MS: u64 = 3000;
/// Most routes that are shown as metrics.
const ROUTES: usize = 20;

/// Figures of instances, while a client collects.
#[derive(Debug, Default)]
pub(crate) struct Collecting {
    /// Time until which apps measure, since the machine's boot; 0 = no client collects.
    until_ms: u64,
    figures: BTreeMap<u32, LastReport>,
}

/// Last report of an instance.
#[derive(Debug)]
struct LastReport {
    figures: Figures,
    /// Start of its recent figures.
    window: Window,
    /// Names of its metrics that the daemon added.
    names: Vec<String>,
}

impl Collecting {
    pub(crate) const NAME: &str = "collecting";
    const END: Key = (Self::NAME, 0);

    /// Extends the collection to this time from now. Apps get the new time when half of their last
    /// one is over.
    fn collect(&mut self, ctx: &mut Ctx, for_ms: u64) {
        let for_ms = for_ms.min(LONGEST_MS);
        let (now_ms, rest) = (ctx.now.mono_ms, self.until_ms.saturating_sub(ctx.now.mono_ms));
        if rest >= for_ms / 2 {
            return;
        }
        self.until_ms = now_ms.saturating_add(for_ms);
        ctx.outbox.timers.set(Self::END, Some(self.until_ms.saturating_add(LAST_MS)));
        let message = preload::collect(for_ms);
        let ids: Vec<u32> =
            ctx.state.slots.serving().filter(|slot| slot.has_channel() && slot.durable.preloaded).map(|slot| slot.durable.id).collect();
        for id in ids {
            ctx.send(id, &message, None);
        }
    }

    /// Returns the figures of the serving processes, by `pm_id`.
    fn report(&self, ctx: &Ctx) -> Vec<InstanceFigures> {
        let of = |slot: &crate::state::slots::Slot| {
            let known = self.figures.get(&slot.durable.id)?;
            Some(InstanceFigures { id: slot.durable.pm_id, figures: known.figures.clone() })
        };
        let mut list: Vec<InstanceFigures> = ctx.state.slots.serving().filter_map(of).collect();
        list.sort_by_key(|one| one.id);
        list
    }

    /// Keeps the report of an instance, and shows it. If the app has a metric of the same name, the
    /// app's metric stays.
    fn take(&mut self, ctx: &mut Ctx, id: u32, mut figures: Figures) {
        if self.until_ms.saturating_add(LAST_MS) < ctx.now.mono_ms {
            return;
        }
        let (before, mut window) = self.figures.remove(&id).map(|known| (known.names, known.window)).unwrap_or_default();
        window.fill(&mut figures);
        let Some(slot) = ctx.state.slots.get_mut(id) else { return };
        let monitor = &mut slot.live.axm.monitor;
        before.iter().for_each(|name| drop(monitor.shift_remove(name)));
        let mut names = Vec::new();
        for (name, metric) in metrics(&figures) {
            if !monitor.contains_key(&name) {
                monitor.insert(name.clone(), metric);
                names.push(name);
            }
        }
        self.figures.insert(id, LastReport { figures, window, names });
    }

    fn forget(&mut self, ctx: &mut Ctx, id: u32) {
        let Some(known) = self.figures.remove(&id) else { return };
        let Some(axm) = ctx.state.slots.get_mut(id).and_then(|slot| slot.live.axm.own_mut()) else { return };
        known.names.iter().for_each(|name| drop(axm.monitor.shift_remove(name)));
    }
}

/// Returns figures as custom metrics, in PM2's form.
fn metrics(figures: &Figures) -> Map<String, Value> {
    let round = |value: f64| (value * 100.0).round() / 100.0;
    let metric = |value: Value, unit: &str| json!({ "value": value, "unit": unit, "type": "ostler", "historic": true });
    let ms = |seconds: f64| metric(round(seconds * 1000.0).into(), "ms");
    let percent = |share: f64| metric(round(share * 100.0).into(), "%");
    #[expect(clippy::cast_precision_loss, reason = "a hundredth of a MiB")]
    let mib = |bytes: u64| metric(round(bytes as f64 / 1_048_576.0).into(), "MiB");
    let mut all = Map::new();
    let mut add = |name: &str, metric: Option<Value>| drop(metric.map(|metric| all.insert(name.to_owned(), metric)));
    if figures.requests > 0 {
        add("Requests", Some(metric(round(figures.rate).into(), "req/s")));
        add("Response time p50", figures.p50.map(ms));
        add("Response time p95", figures.p95.map(ms));
        add("Response time p99", figures.p99.map(ms));
        add("Responses 5xx", figures.failed_share.map(percent));
    }
    add("Event loop use", Some(percent(figures.loop_use)));
    add("Event loop delay p50", Some(ms(figures.loop_delay_p50)));
    add("Event loop delay p99", Some(ms(figures.loop_delay_p99)));
    add("Heap used", Some(mib(figures.heap_used)));
    add("Heap total", Some(mib(figures.heap_total)));
    add("GC time", figures.gc_share.map(percent));
    add("Handles", Some(metric(figures.handles.into(), "")));
    for route in figures.routes.iter().take(ROUTES) {
        add(&route.route, route.rate.map(|rate| metric(round(rate * 60.0).into(), "req/min")));
    }
    all
}

impl Collecting {
    pub(crate) fn on_client_request(&mut self, ctx: &mut Ctx, ask: ClientRequest) -> Option<ClientRequest> {
        let Request::Collect { for_ms } = ask.request else { return Some(ask) };
        self.collect(ctx, for_ms);
        let figures = self.report(ctx);
        ctx.reply(ask.client, ask.id, Response::Figures(figures));
        None
    }

    pub(crate) fn on_message(&mut self, ctx: &mut Ctx, id: u32, _inc: u32, message: &Message) {
        let Message::Internal(message) = message else { return };
        if self.until_ms == 0 || !ctx.state.slots.get(id).is_some_and(|slot| slot.durable.preloaded) {
            return;
        }
        match FromPreload::of(message) {
            Some(FromPreload::Figures(figures)) => self.take(ctx, id, *figures),
            // A process that has started during the collection measures, too.
            Some(FromPreload::Runs) if self.until_ms > ctx.now.mono_ms => {
                ctx.send(id, &preload::collect(self.until_ms - ctx.now.mono_ms), None);
            }
            _ => {}
        }
    }

    pub(crate) fn on_timer(&mut self, ctx: &mut Ctx, _key: u64) {
        self.until_ms = 0;
        let all: Vec<u32> = self.figures.keys().copied().collect();
        all.into_iter().for_each(|id| self.forget(ctx, id));
    }

    pub(crate) fn on_process_gone(&mut self, ctx: &mut Ctx, id: u32, _inc: u32) {
        self.forget(ctx, id);
    }

    pub(crate) fn on_channel_ended(&mut self, ctx: &mut Ctx, id: u32) {
        self.forget(ctx, id);
    }

    pub(crate) fn on_forgotten(&mut self, ctx: &mut Ctx, id: u32) {
        self.forget(ctx, id);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    use ostler_core::app::AppSpec;

    use super::*;
    use crate::engine::{Caller, TestContext, reacts};
    use crate::platform::ipc::Ipc;

    fn node(played: &mut TestContext, collecting: &mut Collecting, pid: i32) -> (u32, UnixStream) {
        let spec = AppSpec { name: format!("app-{pid}"), cwd: "/".into(), script: "/bin/app".into(), ..AppSpec::default() };
        let id = played.instance(spec);
        played.start(collecting, id, pid);
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let slot = played.ctx.state.slots.get_mut(id).unwrap();
        slot.live.ipc = Ipc::open(ours.into(), id, slot.key(1), &played.ctx.io.reactor).map(Box::new);
        slot.durable.preloaded = true;
        (id, theirs)
    }

    /// Sends a request, and returns the figures in the answer.
    fn ask(played: &mut TestContext, collecting: &mut Collecting, for_ms: u64) -> Vec<InstanceFigures> {
        let caller = Caller { uid: 0, pid: 1, on_behalf_of: None };
        assert!(
            collecting
                .on_client_request(&mut played.ctx, ClientRequest { client: 1, id: 1, caller, request: Request::Collect { for_ms } })
                .is_none()
        );
        match std::mem::take(&mut played.ctx.outbox.replies).pop() {
            Some((_, _, Response::Figures(list))) => list,
            other => panic!("{other:?}"),
        }
    }

    fn received(app: &mut UnixStream) -> String {
        let mut text = vec![0; 1 << 16];
        let count = app.read(&mut text).unwrap_or(0);
        String::from_utf8(text[..count].to_vec()).unwrap()
    }

    fn report_figures(played: &mut TestContext, collecting: &mut Collecting, id: u32, figures: &Value) {
        let message = ostler_proto::node::classify(json!({"cmd": "NODE_OSTLER", "act": "figures", "figures": figures}));
        collecting.on_message(&mut played.ctx, id, 1, &message);
    }

    fn monitor(played: &TestContext, id: u32) -> &Map<String, Value> {
        &played.ctx.state.slots.get(id).unwrap().live.axm.monitor
    }

    #[test]
    fn apps_measure_only_while_a_client_asks() {
        let (mut played, mut collecting) = (TestContext::new(&[Collecting::NAME]), Collecting::default());
        let (id, mut app) = node(&mut played, &mut collecting, 10);
        report_figures(&mut played, &mut collecting, id, &json!({"requests": 1}));
        assert!(monitor(&played, id).is_empty(), "nobody asked");
        assert_eq!(ask(&mut played, &mut collecting, 20_000), []);
        assert!(received(&mut app).contains("\"act\":\"collect\",\"for_ms\":20000"));
        ask(&mut played, &mut collecting, 20_000);
        assert_eq!(received(&mut app), "", "it knows that already");
        played.pass(&mut collecting, 11_000);
        ask(&mut played, &mut collecting, 20_000);
        assert!(received(&mut app).contains("collect"));
        // This process starts during the collection.
        let (late, mut late_app) = node(&mut played, &mut collecting, 11);
        let runs = ostler_proto::node::classify(json!({"cmd": "NODE_OSTLER", "act": "runs"}));
        collecting.on_message(&mut played.ctx, late, 1, &runs);
        assert!(received(&mut late_app).contains("\"for_ms\":20000"));
        report_figures(
            &mut played,
            &mut collecting,
            id,
            &json!({"seconds": 10.0, "requests": 100, "rate": 10.0, "p95": 0.0125, "routes": [{"route": "GET /", "requests": 100}]}),
        );
        let monitor_of = monitor(&played, id);
        assert_eq!((&monitor_of["Response time p95"]["value"], &monitor_of["GET /"]["value"]), (&json!(12.5), &json!(600.0)));
        assert_eq!(ask(&mut played, &mut collecting, 1)[0].figures.requests, 100);
        played.pass(&mut collecting, 23_001);
        assert!(monitor(&played, id).is_empty() && played.ctx.outbox.timers.next_ms().is_none(), "nothing is left");
        collecting.on_message(&mut played.ctx, late, 1, &runs);
        assert_eq!(received(&mut late_app), "");
    }

    #[test]
    fn custom_metrics_are_not_overwritten() {
        let (mut played, mut collecting) = (TestContext::new(&[Collecting::NAME]), Collecting::default());
        let (id, _app) = node(&mut played, &mut collecting, 10);
        played.ctx.state.slots.get_mut(id).unwrap().live.axm.monitor.insert("Handles".into(), json!({"value": "own"}));
        ask(&mut played, &mut collecting, 1000);
        report_figures(&mut played, &mut collecting, id, &json!({"handles": 7, "heap_used": 1_048_576}));
        report_figures(&mut played, &mut collecting, id, &json!({"handles": 8, "heap_used": 2_097_152}));
        assert_eq!((&monitor(&played, id)["Handles"]["value"], &monitor(&played, id)["Heap used"]["value"]), (&json!("own"), &json!(2.0)));
        collecting.on_process_gone(&mut played.ctx, id, 1);
        assert_eq!(monitor(&played, id).keys().collect::<Vec<_>>(), ["Handles"]);
    }

    reacts!(Collecting: on_client_request, on_message, on_timer, on_channel_ended, on_forgotten);
}
