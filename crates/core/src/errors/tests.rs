//! Outputs of real programs (`error_lines/outputs/`), read as exceptions.

use proptest::prelude::*;
use serde_json::json;

use super::reader::{BYTES, LINE, LINES};
use super::*;

fn read(text: &str) -> Vec<FoundReport> {
    let mut reader = ReportReader::default();
    let mut found = Vec::new();
    for line in text.lines() {
        reader.push(line);
        if reader.is_full() {
            found.extend(reader.take(false));
        }
    }
    found.extend(reader.take(true));
    found
}

/// Formats `type: message | own frames`.
fn shown(exception: &Exception) -> String {
    let own = exception.frames.iter().filter(|frame| frame.own);
    let frames: Vec<String> = own.map(|frame| format!("{}@{}:{}", frame.function, frame.file, frame.line.map_or(0, |line| line))).collect();
    format!("{}: {} | {}", exception.kind, exception.message, frames.join(" "))
}

#[test]
fn exceptions_are_read_from_real_outputs() {
    for (output, expected) in [
        (
            include_str!("../logs/error_lines/outputs/node-cause.txt"),
            &["Error: cannot read the configuration | module.exports@/srv/app/lib/load.js:1 Object.<anonymous>@/srv/app/cause.js:1"][..],
        ),
        (
            include_str!("../logs/error_lines/outputs/node-busy.txt"),
            &["Error: listen EADDRINUSE: address already in use :::18081 | Server.<anonymous>@/srv/app/busy.js:1"],
        ),
        (include_str!("../logs/error_lines/outputs/node-syntax.txt"), &["SyntaxError: Unexpected token ';' | "]),
        (include_str!("../logs/error_lines/outputs/node-dep.txt"), &["TypeError: Cannot read properties of null (reading 'x') | "]),
        (
            include_str!("../logs/error_lines/outputs/node-reject.txt"),
            &["TypeError: no database | main@/srv/app/reject.mjs:1 @/srv/app/reject.mjs:2"],
        ),
        (
            include_str!("../logs/error_lines/outputs/node-logged.txt"),
            &["RangeError: no row 7 | Db.get@/srv/app/n.js:1 main@/srv/app/n.js:2 Object.<anonymous>@/srv/app/n.js:3"; 3],
        ),
        (
            include_str!("../logs/error_lines/outputs/python-exc.txt"),
            &["ValueError: cannot start | main@/srv/app/exc.py:10 <module>@/srv/app/exc.py:11"],
        ),
        (
            include_str!("../logs/error_lines/outputs/python-logged.txt"),
            &[
                "ValueError: bad 0 | f@/srv/app/logged.py:2 <module>@/srv/app/logged.py:4",
                "ValueError: bad 1 | f@/srv/app/logged.py:2 <module>@/srv/app/logged.py:4",
            ],
        ),
        (
            include_str!("../logs/error_lines/outputs/ruby-cause.txt"),
            &["ArgumentError: bad configuration | rescue in <main>@app.rb:5 <main>@app.rb:2"],
        ),
        (
            include_str!("../logs/error_lines/outputs/ruby-calls.txt"),
            &["IOError: no host for user 42 | connect@a.rb:1 main@a.rb:2 <main>@a.rb:3"],
        ),
        (
            include_str!("../logs/error_lines/outputs/php-next.txt"),
            &["LogicException: cannot start | @/srv/app/a.php:3 main@/srv/app/a.php:4"],
        ),
        (
            include_str!("../logs/error_lines/outputs/php-calls.txt"),
            &["RuntimeException: no row 42 | @/srv/app/a.php:2 Db->get@/srv/app/a.php:3 main@/srv/app/a.php:4"],
        ),
        (include_str!("../logs/error_lines/outputs/java-cause.txt"), &["java.lang.RuntimeException: cannot start | Main.main@Main.java:3"]),
        (
            include_str!("../logs/error_lines/outputs/go-panic.txt"),
            &["panic: no host configured | main.connect@/srv/app/main.go:6 main.main@/srv/app/main.go:10"],
        ),
        (include_str!("../logs/error_lines/outputs/rust-panic.txt"), &["panic: no host {id} | @src/main.rs:1"]),
        (
            include_str!("../logs/error_lines/outputs/rust-backtrace.txt"),
            &["panic: no host {id} | main::connect@./src/main.rs:1 main::main@./src/main.rs:2"],
        ),
        (
            include_str!("../logs/error_lines/outputs/perl-confess.txt"),
            &["die: no host 42 | @a.pl:1 main::connect_db@a.pl:1 main::main@a.pl:1"],
        ),
        ("GET / 200\nwarning: x\n  indented\n", &[]),
        ("", &[]),
    ] {
        let seen = |text: &str| read(text).iter().map(|found| shown(&found.exception)).collect::<Vec<_>>();
        assert_eq!(seen(output), expected);
        let twice = [expected, expected].concat();
        assert_eq!(seen(&format!("{output}\nGET / 200\n\n{output}")), twice, "with something between");
        let dated: String = output.lines().map(|line| format!("2026-11-24T08:19:45.000Z: \u{1b}[31m{line}\u{1b}[0m\n")).collect();
        assert_eq!(seen(&dated), expected, "with dates and colours");
    }
}

/// If an output arrives in pieces of any size, the reports are the same: none is repeated or split.
#[test]
fn syntax_error_has_the_place_above_it() {
    let found = read(include_str!("../logs/error_lines/outputs/node-syntax.txt"));
    let exception = &found[0].exception;
    let culprit = exception.culprit().unwrap();
    assert_eq!((culprit.file.as_str(), culprit.line), ("/srv/app/syntax.js", Some(1)));
    let reported = Exception::reported(&json!({
        "name": "SyntaxError",
        "message": "Unexpected token ';'",
        "stack": "SyntaxError: Unexpected token ';'\n    at wrapSafe (node:internal/modules/cjs/loader:1713:18)",
    }));
    assert_eq!(reported.map(|reported| reported.fingerprint()), Some(exception.fingerprint()), "one group");
}

#[test]
fn split_output_gives_the_same_exceptions() {
    let reports = [include_str!("../logs/error_lines/outputs/node-busy.txt"), include_str!("../logs/error_lines/outputs/python-exc.txt")];
    let text: String = (0..40).map(|n| format!("line {n}\n{}\nline\n\n{}\n", reports[0], reports[1])).collect();
    let whole: Vec<String> = read(&text).iter().map(|found| shown(&found.exception)).collect();
    assert_eq!(whole.len(), 80);
    for every in [1, 7, 50] {
        let mut reader = ReportReader::default();
        let mut seen = Vec::new();
        for (at, line) in text.lines().enumerate() {
            reader.push(line);
            if at % every == 0 || reader.is_full() {
                seen.extend(reader.take(false));
            }
        }
        seen.extend(reader.take(true));
        assert_eq!(seen.iter().map(|found| shown(&found.exception)).collect::<Vec<_>>(), whole, "a look each {every} lines");
    }
    let found = read(&format!("one\ntwo\n\n{}", reports[1]));
    assert_eq!(found[0].before, ["one", "two"]);
}

#[test]
fn ten_thousand_errors_with_random_ids_are_one_group() {
    let of = |message: String, frames: Vec<Frame>| Exception { kind: "E".into(), message, frames, route: None }.fingerprint();
    let mut seed = 7_u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        seed >> 16
    };
    let mut groups = std::collections::BTreeSet::new();
    for n in 0..10_000 {
        let (a, b) = (next(), next());
        let uuid = format!("{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}", a as u32, b & 0xffff, a & 0xfff, b & 0xfff, a & 0xffff_ffff_ffff);
        groups.insert(of(
            format!("user {n} with \"name {a}\" of {uuid} at 10.0.{}.{}:{} in {b:x} took {}.{} ms", n % 256, b % 256, b % 65536, a % 99, b),
            vec![],
        ));
    }
    assert_eq!(groups.len(), 1);
    assert_ne!(of("cannot read".into(), vec![]), of("cannot write".into(), vec![]));
    let frame = |line| Frame { function: "f".into(), file: "/srv/releases/20261124/a.js".into(), line: Some(line), own: true };
    let other = Frame { file: "/srv/releases/20261125/a.js".into(), ..frame(9) };
    assert_eq!(
        of("a".into(), vec![frame(1)]),
        of("b".into(), vec![other, frame(3)]),
        "another release, another line, deeper in a recursion"
    );
    assert_ne!(of("a".into(), vec![frame(1)]), of("a".into(), vec![Frame { function: "g".into(), ..frame(1) }]));
}

#[test]
fn message_pattern_masks_numbers_ids_and_quotes() {
    for (text, expected) in [
        ("no row 7", "no row #"),
        ("it's `a b` and 'c d' or \"e\"", "it's <text> and <text> or <text>"),
        ("user usr_8fK2xQ9 not found", "user # not found"),
        ("utf8 h2 v1.2", "utf# h# v#.#"),
        ("deadbeefcafe face", "# face"),
        ("/srv/releases/20261124/a.js", "/srv/releases/#/a.js"),
        ("connect ECONNREFUSED 127.0.0.1:5432", "connect ECONNREFUSED #.#.#.#:#"),
        ("an \"open quote", "an \"open quote"),
        ("日本語 12 ü", "日本語 # ü"),
        ("", ""),
    ] {
        assert_eq!(pattern(text), expected);
    }
}

#[test]
fn reported_and_printed_exceptions_share_a_fingerprint() {
    let stack = "TypeError: no database\n    at main (file:///srv/app/reject.mjs:1:59)\n    at file:///srv/app/reject.mjs:2:7\n    at node:internal/x:1:1";
    let reported = Exception::reported(&json!({"name": "TypeError", "message": "no database", "stack": stack})).unwrap();
    let printed = &read(include_str!("../logs/error_lines/outputs/node-reject.txt"))[0].exception;
    assert_eq!((reported.fingerprint(), reported.origin()), (printed.fingerprint(), printed.origin()));
    let other = Exception::reported(&json!({"name": "DbError", "message": "no database", "stack": stack})).unwrap();
    assert!(other.fingerprint() != reported.fingerprint() && other.origin() == reported.origin());
    for (data, expected) in [
        (json!({"stack": stack}), Some("TypeError: no database")),
        (json!({"message": "text"}), Some("Error: text")),
        (json!({"message": "a\nb", "name": "N"}), Some("N: a")),
        (json!({"name": 1, "message": null, "stack": []}), None),
        (json!({}), None),
        (json!("text"), None),
        (json!(null), None),
    ] {
        let shown = Exception::reported(&data).map(|exception| format!("{}: {}", exception.kind, exception.message));
        assert_eq!(shown.as_deref(), expected, "{data}");
    }
}

fn is_bounded(exception: &Exception) -> bool {
    let frames = exception.frames.iter().all(|frame| frame.function.len() <= FRAME && frame.file.len() <= FRAME);
    frames && exception.frames.len() <= FRAMES && exception.kind.len() <= KIND && exception.message.len() <= MESSAGE
}

#[test]
fn reader_memory_is_bounded() {
    let long = "x".repeat(1 << 20);
    let (frame, error) = (format!("    at f (/srv/{long}.js:1:1)\n"), format!("{long}Error: {long}\n"));
    for text in [
        long.clone(),
        format!("{error}{frame}"),
        format!("{error}{}", "    at f (/a.js:1:1)\n".repeat(5000)),
        "Traceback (most recent call last):\n".repeat(3000),
        format!("Traceback (most recent call last):\n{}ValueError: x\n", "  File \"/a.py\", line 1, in f\n".repeat(3000)),
        "Error: a\n    at f (/a.js:1:1)\n".repeat(3000),
        "panic: a\ngoroutine 1 [running]:\nf()\n\t/a.go:1\n".repeat(1000),
        "thread 'x' panicked at a.rs:1:1:\n".repeat(3000),
    ] {
        let mut reader = ReportReader::default();
        for line in text.lines() {
            reader.push(line);
            assert!(
                reader.bytes <= BYTES + 2 * LINE && reader.lines.len() <= LINES + 1,
                "{} bytes, {} lines",
                reader.bytes,
                reader.lines.len()
            );
            if reader.is_full() {
                assert!(reader.take(false).iter().all(|found| is_bounded(&found.exception)));
            }
        }
        assert!(reader.take(true).iter().all(|found| is_bounded(&found.exception)));
    }
    let data = json!({"name": long, "message": long, "stack": format!("{error}{}", frame.repeat(50))});
    assert!(is_bounded(&Exception::reported(&data).unwrap()));
}

/// Returns lines that look like parts of reports, and any other lines.
fn line() -> impl Strategy<Value = String> {
    let parts = [
        "Traceback (most recent call last):",
        "  File \"/a.py\", line 1, in f",
        "ValueError: x",
        "    at f (/a.js:1:1)",
        "\tat a.B.c(B.java:1)",
        "Caused by: x.YError: z",
        "panic: x",
        "goroutine 1 [running]:",
        "\t/a.go:1 +0x1",
        "PHP Fatal error:  Uncaught E: x in /a.php:1",
        "#0 /a.php(1): f()",
        "Next E: y",
        "  thrown in /a.php on line 1",
        "a.rb:1:in `x': m (E)",
        "\tfrom b.rb:1:in `y'",
        "thread 'main' panicked at a.rs:1:1:",
        "stack backtrace:",
        "   0: a::b",
        "             at ./a.rs:1:1",
        "x at a.pl line 1.",
        "\tmain::f() called at a.pl line 1",
        "The above exception was the direct cause of the following exception:",
        "",
    ];
    prop_oneof![
        proptest::sample::select(parts.to_vec()).prop_map(str::to_owned),
        ".{0,60}",
        "[ \\t]{0,3}(at|File|from|#[0-9]|in|line|:|'){0,6}"
    ]
}

proptest! {
    #[test]
    fn any_lines_are_read_within_bounds(lines in proptest::collection::vec(line(), 0..60), every in 1_usize..9, settled: bool) {
        let mut reader = ReportReader::default();
        for (at, line) in lines.iter().enumerate() {
            reader.push(line);
            if at % every == 0 {
                for found in reader.take(settled) {
                    prop_assert!(is_bounded(&found.exception));
                    let _ = found.exception.fingerprint();
                }
            }
        }
        reader.take(true);
        prop_assert!(reader.is_empty());
    }

    #[test]
    fn reading_any_report_is_bounded_and_never_panics(name in ".{0,30}", message in ".{0,50}", stack in ".{0,200}") {
        let _ = Exception::reported(&json!({"name": name, "message": message, "stack": stack})).map(|exception| exception.fingerprint());
        let once = pattern(&message);
        prop_assert!(once.len() <= 8 * message.len() + 8);
    }
}

#[test]
fn reported_request_becomes_the_route() {
    let route = |http: serde_json::Value| Exception::reported(&json!({"message": "x", "metadata": {"http": http}})).unwrap().route;
    for (http, expected) in [
        (json!({"method": "GET", "route": "/orders/:id", "path": "/orders/7"}), Some("GET /orders/:id")),
        (json!({"method": "POST", "url": "/pay?card=4111#x"}), Some("POST /pay")),
        (json!({"path": "/a\u{1b}[2J"}), Some("? /a[2J")),
        (json!({"method": "GET"}), None),
        (json!({"route": 7}), None),
        (json!([]), None),
    ] {
        assert_eq!(route(http.clone()).as_deref(), expected, "{http}");
    }
    assert!(route(json!({"method": "GET", "url": "ü".repeat(5000)})).unwrap().len() <= 200);
}

#[test]
fn stop_signal_output_is_distinguished_from_errors() {
    let python =
        |head: &str| format!("Traceback (most recent call last):\n  File \"/srv/app.py\", line 3, in <module>\n    work()\n{head}");
    let during = "\n\nDuring handling of the above exception, another exception occurred:\n\n";
    for (text, expected) in [
        (python("KeyboardInterrupt"), true),
        (python("asyncio.exceptions.CancelledError"), true),
        (python("SystemExit: 0"), true),
        (python("aiohttp.web_runner.GracefulExit"), true),
        (format!("{}{during}{}", python("asyncio.exceptions.CancelledError"), python("KeyboardInterrupt")), true),
        ("app.rb:3:in 'Kernel#sleep': Interrupt\n\tfrom app.rb:3:in '<main>'".into(), true),
        ("app.rb:3:in 'Kernel#sleep': SIGTERM (SignalException)\n\tfrom app.rb:3:in '<main>'".into(), true),
        ("panic: context canceled\n\ngoroutine 1 [running]:\nmain.main()\n\t/srv/main.go:7 +0x1d".into(), true),
        ("AbortError: The operation was aborted\n    at f (/srv/app.js:3:9)".into(), true),
        ("java.lang.InterruptedException: sleep interrupted\n\tat App.main(App.java:3)".into(), true),
        ("java.lang.IllegalStateException: Shutdown in progress\n\tat App.main(App.java:3)".into(), true),
        ("kotlinx.coroutines.JobCancellationException: Job was cancelled\n\tat App.main(App.kt:3)".into(), true),
        ("app.rb:3:in 'process': Sidekiq::Shutdown (Sidekiq::Shutdown)\n\tfrom app.rb:3:in '<main>'".into(), true),
        (python("celery.exceptions.WorkerShutdown: 0"), true),
        (python("trio.Cancelled: Cancelled"), true),
        // A fault during the shutdown of the app, with any cause.
        (python("RuntimeError: cannot flush: disk is gone"), false),
        (format!("{}{during}{}", python("KeyboardInterrupt"), python("ValueError: cannot flush")), false),
        ("app.rb:3:in 'flush': closed stream (IOError)\n\tfrom app.rb:3:in '<main>'".into(), false),
        ("TypeError: Cannot read properties of undefined (reading 'close')\n    at f (/srv/app.js:3:9)".into(), false),
        ("panic: send on closed channel\n\ngoroutine 1 [running]:\nmain.main()\n\t/srv/main.go:7 +0x1d".into(), false),
    ] {
        let found = read(&text);
        let last = found.last().unwrap_or_else(|| panic!("{text}"));
        assert_eq!(last.exception.is_of_a_stop(), expected, "{last:?}\n{text}");
    }
}
