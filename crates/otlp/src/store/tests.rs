use super::*;
use crate::span::{SpanId, SpanKind};

const MB: usize = 1 << 20;

fn app(name: &str) -> Sender {
    Sender { app: Some(("default".into(), name.into())), instance: Some(0), service: name.into() }
}

fn foreign(service: &str) -> Sender {
    Sender { service: service.into(), ..Sender::default() }
}

fn trace(n: u64) -> TraceId {
    u128::from(n + 1).to_be_bytes()
}

fn at(n: u64) -> SpanId {
    (n + 1).to_be_bytes()
}

/// Returns a span of this duration.
fn span(n: u64, parent: Option<u64>, took_ms: u64) -> Span {
    Span {
        id: at(n),
        parent: parent.map(at),
        name: "GET /".into(),
        took_ns: took_ms * 1_000_000,
        start_ns: (1000 + n) * 1_000_000,
        ..Span::default()
    }
}

fn failed(span: Span) -> Span {
    Span { failed: true, message: "it broke".into(), ..span }
}

fn summaries(store: &Store) -> Vec<Summary> {
    store.list(&Filter { limit: 1000, ..Filter::default() }, &|_| true).0
}

/// Returns a store in which "GET /" needs no more samples and 10 ms is usual.
fn warmed_up_store() -> Store {
    let mut store = Store::new(64 * MB);
    for n in 0..30 {
        store.add(&app("api"), trace(1000 + n), span(0, None, 10), 1000);
    }
    store.settle(1000 + QUIET_MS);
    assert_eq!(store.len(), 3, "samples");
    store
}

#[test]
fn slow_failed_and_sampled_traces_are_kept() {
    let mut store = warmed_up_store();
    let now = 20_000;
    store.add(&app("api"), trace(1), span(0, None, 10), now);
    store.add(&app("api"), trace(2), span(0, None, 2000), now);
    store.add(&app("api"), trace(3), span(1, Some(0), 1), now);
    store.add(&app("api"), trace(3), failed(span(2, Some(0), 1)), now);
    store.add(&app("api"), trace(3), span(0, None, 10), now);
    let list = summaries(&store);
    let why = |n: u64| list.iter().find(|one| one.id == crate::span::hex(&trace(n))).map(|one| (one.kept, one.spans, one.failed));
    assert_eq!(why(1), None, "nothing speaks for it yet");
    assert_eq!((why(2), why(3)), (Some((Some(KeepReason::Slow), 1, false)), Some((Some(KeepReason::Failed), 3, true))));
    // A span that fails later keeps a waiting trace. A quiet trace is dropped and does not start
    // again.
    store.add(&app("api"), trace(4), span(0, None, 10), now);
    store.settle(now + QUIET_MS - 1);
    store.add(&app("shop"), trace(4), failed(span(1, Some(0), 10)), now + QUIET_MS - 1);
    store.settle(now + QUIET_MS);
    assert_eq!(store.len(), 3 + 3);
    assert_eq!(store.add(&app("api"), trace(1), span(5, Some(0), 10), now + QUIET_MS), AddOutcome::Late);
    assert_eq!(
        store.add(&app("api"), trace(1), failed(span(6, Some(0), 10)), now + QUIET_MS),
        AddOutcome::Taken,
        "a failure is never late"
    );
    assert_eq!(store.counts().dropped, 27 + 1);
}

#[test]
fn duplicate_late_and_rootless_spans_are_handled() {
    let mut store = warmed_up_store();
    assert_eq!(store.add(&app("api"), trace(1), span(1, Some(0), 5000), 20_000), AddOutcome::Taken);
    assert_eq!(store.add(&app("api"), trace(1), span(1, Some(0), 5000), 20_000), AddOutcome::Duplicate);
    assert!(summaries(&store).iter().all(|one| one.took_ms < 5000.0), "a part is no entry");
    store.settle(20_000 + QUIET_MS);
    let list = summaries(&store);
    assert_eq!((list[0].took_ms, list[0].kept), (5000.0, Some(KeepReason::Slow)), "without a root what is there is judged");
    store.add(&app("api"), trace(1), span(0, None, 7000), 90_000);
    assert_eq!(summaries(&store)[0].took_ms, 7000.0, "a root that is late is the entry");
    // A request whose root is in another service.
    let server = Span { kind: SpanKind::Server, ..span(1, Some(77), 3000) };
    store.add(&app("api"), trace(2), server, 90_000);
    assert_eq!(summaries(&store)[0].kept, Some(KeepReason::Slow));
}

#[test]
fn flood_of_one_sender_keeps_traces_of_others() {
    let mut store = Store::new(4 * MB);
    store.add(&app("quiet"), trace(1_000_000), failed(span(0, None, 1)), 1000);
    let large: Box<str> = "x".repeat(1000).into();
    for n in 0..20_000 {
        let attributes = (0..4).map(|at| (format!("key{at}").into(), large.clone())).collect();
        store.add(
            &foreign(&format!("service-{n}")),
            trace(n),
            Span { attributes, name: format!("GET /{n}").into(), ..failed(span(n, None, 1)) },
            1000,
        );
        assert!(store.bytes() <= 4 * MB, "{}", store.bytes());
    }
    let list = summaries(&store);
    assert!(list.len() > 500 && list[0].id == crate::span::hex(&trace(19_999)), "the newest are there");
    assert!(store.list(&Filter { app: Some("quiet".into()), limit: 1, ..Filter::default() }, &|_| true).0.len() == 1);
    assert!(store.counts().evicted > 15_000 && store.waiting.len() <= 2 * store.len() + 1024);
    // A single trace is bounded, too.
    for n in 0..50_000 {
        store.add(&app("api"), trace(7_000_000), failed(span(n, Some(n + 1), 1)), 1000);
    }
    let detail = store.get(&trace(7_000_000), &|_| true).unwrap();
    assert_eq!((detail.tree.len(), detail.left_out), (2000, 48_000));
    for n in 0..100 {
        store.add(&foreign(&n.to_string()), trace(8_000_000), span(n, None, 1), 1000);
    }
    assert_eq!(store.get(&trace(8_000_000), &|_| true).unwrap().summary.from.len(), 16);
}

#[test]
fn byte_accounting_matches_stored_traces() {
    let mut store = Store::new(2 * MB);
    for n in 0..5000 {
        let sender = if n % 3 == 0 { app("a") } else { foreign("b") };
        store.add(&sender, trace(n / 4), if n % 5 == 0 { failed(span(n, None, 1)) } else { span(n, Some(0), 1) }, n * 10);
        if n % 50 == 0 {
            store.settle(n * 10);
        }
    }
    let real: usize = store.traces.values().map(|trace| trace.bytes() + PLACES).sum();
    let by_owner: usize = store.accounts.values().map(|account| account.bytes).sum();
    assert_eq!((store.bytes, by_owner), (real, real));
    let routes: usize = store.accounts.values().map(|account| account.routes.bytes()).sum();
    assert_eq!(store.routes, routes);
    let places: usize = store.accounts.values().map(|account| account.order.len()).sum();
    assert_eq!(places, store.len());
    store.settle(u64::MAX / 2);
    assert!(store.traces.values().all(|trace| trace.reason.is_some()) && store.waiting.is_empty());
}

#[test]
fn wrong_span_times_are_corrected() {
    let mut store = Store::new(MB);
    let now = 1_800_000_000_000;
    let begin = |ms: u64| Span { start_ns: ms.saturating_mul(1_000_000), ..failed(span(0, None, 10)) };
    for (n, begin, shown) in [
        (1, begin(now - 5), now - 5),
        (2, begin(now + 3_600_000), now),
        (3, begin(0), now),
        (4, Span { start_ns: u64::MAX, ..begin(0) }, now),
    ] {
        store.add(&app("api"), trace(n), begin, now);
        assert_eq!(store.get(&trace(n), &|_| true).unwrap().summary.at, shown, "{n}");
    }
    store.add(&app("api"), trace(1), Span { start_ns: 5, ..span(1, Some(0), 1) }, now);
    store.add(&app("api"), trace(1), Span { start_ns: (now - 7) * 1_000_000, ..span(2, Some(0), 1) }, now);
    let tree = store.get(&trace(1), &|_| true).unwrap().tree;
    let times: Vec<_> = tree.iter().map(|span| (span.at_ms, span.skewed)).collect();
    assert_eq!(times, [(0.0, false), (0.0, true), (-2.0, false)]);
    // If the clock is set back, no trace waits without end.
    let mut store = warmed_up_store();
    store.add(&app("api"), trace(5), span(0, None, 1), 30_000);
    store.settle(1000);
    assert_eq!(store.len(), 3);
}

#[test]
fn tree_is_ordered_for_circular_and_orphan_spans() {
    let mut store = Store::new(MB);
    for one in [span(3, Some(1), 1), span(2, Some(0), 1), span(1, Some(0), 1), failed(span(0, None, 9)), span(4, Some(99), 1)] {
        store.add(&app("api"), trace(1), one, 1000);
    }
    let shape =
        |store: &Store, n| store.get(&trace(n), &|_| true).unwrap().tree.into_iter().map(|span| (span.id, span.depth)).collect::<Vec<_>>();
    let named = |list: &[(u64, u32)]| list.iter().map(|(n, depth)| (crate::span::hex(&at(*n)), *depth)).collect::<Vec<_>>();
    assert_eq!(shape(&store, 1), named(&[(0, 0), (1, 1), (3, 2), (2, 1), (4, 0)]));
    for one in [failed(span(0, Some(1), 1)), span(1, Some(2), 1), span(2, Some(0), 1), span(3, Some(3), 1)] {
        store.add(&app("api"), trace(2), one, 1000);
    }
    assert_eq!(shape(&store, 2).len(), 4, "its own ancestor");
    for n in 0..2000 {
        store.add(&app("api"), trace(3), failed(span(n, n.checked_sub(1), 1)), 1000);
    }
    assert_eq!(shape(&store, 3).iter().map(|(_, depth)| *depth).max(), Some(64));
}

#[test]
fn partial_access_returns_only_visible_spans() {
    let mut store = Store::new(MB);
    store.add(&app("api"), trace(1), failed(span(0, None, 10)), 1000);
    store.add(&app("shop"), trace(1), Span { kind: SpanKind::Server, ..span(1, Some(0), 5) }, 1000);
    store.add(&foreign("x"), trace(1), span(2, Some(1), 1), 1000);
    let only = |name: &'static str| move |sender: &Sender| sender.app.as_ref().is_some_and(|(_, app)| &**app == name);
    let shop = store.get(&trace(1), &only("shop")).unwrap();
    assert_eq!((shop.tree.len(), shop.summary.failed, shop.summary.took_ms, shop.summary.from.len()), (1, false, 5.0, 1));
    assert_eq!(shop.summary.message, "", "what others say is theirs");
    assert!(
        store.get(&trace(1), &only("cron")).is_none() && store.list(&Filter { limit: 9, ..Filter::default() }, &only("cron")).0.is_empty()
    );
    assert_eq!(
        summaries(&store)[0].from.iter().map(|shown| (shown.app.as_deref(), shown.service.as_str())).collect::<Vec<_>>(),
        [(Some("api"), "api"), (Some("shop"), "shop"), (None, "x")]
    );
}

#[test]
fn list_filters_by_app_route_and_failure() {
    let mut store = Store::new(MB);
    store.add(&app("api"), trace(1), failed(span(0, None, 10)), 1000);
    store.add(&app("shop"), trace(2), Span { name: "POST /Pay".into(), ..span(0, None, 500) }, 1000);
    let found = |store: &Store, filter: Filter| {
        let (list, more) = store.list(&Filter { limit: filter.limit.max(1), ..filter }, &|_| true);
        (list.iter().map(|one| one.route.clone()).collect::<Vec<_>>(), more)
    };
    let route = |text: &str| Some(text.to_owned());
    assert_eq!(found(&store, Filter::default()), (vec!["POST /Pay".into()], true), "the newest first");
    for (filter, expected) in [
        (Filter { failed: true, ..Filter::default() }, "GET /"),
        (Filter { min_ms: 100.0, ..Filter::default() }, "POST /Pay"),
        (Filter { route: route("pay"), ..Filter::default() }, "POST /Pay"),
        (Filter { app: route("api"), ..Filter::default() }, "GET /"),
    ] {
        assert_eq!(found(&store, filter.clone()).0, [expected], "{filter:?}");
    }
    store.add(&foreign("api"), trace(3), failed(span(0, None, 10)), 1000);
    assert_eq!(found(&store, Filter { app: route("api"), ..Filter::default() }), (vec!["GET /".into()], false), "a name is no proof");
    assert!(found(&store, Filter { app: route("cron"), limit: 5, ..Filter::default() }).0.is_empty());
}
