//! Outputs of real programs (`outputs/`), and the lines picked from them.

use super::{pick, taken_port};

fn picked(text: &str) -> Vec<String> {
    pick(&text.lines().collect::<Vec<_>>())
}

#[test]
fn error_lines_are_picked_from_real_outputs() {
    for (name, output, expected) in [
        (
            "node: a module that is not there",
            include_str!("outputs/node-missing.txt"),
            &["Error: Cannot find module 'expresss' (MODULE_NOT_FOUND)", "    at Object.<anonymous> (/srv/app/missing.js:1:17)"][..],
        ),
        (
            "node: a cause",
            include_str!("outputs/node-cause.txt"),
            &[
                "Error: cannot read the configuration",
                "  caused by SyntaxError: Unexpected end of JSON input",
                "    at module.exports (/srv/app/lib/load.js:1:77)",
                "    at Object.<anonymous> (/srv/app/cause.js:1:22)",
            ],
        ),
        (
            "node: a port in use",
            include_str!("outputs/node-busy.txt"),
            &["Error: listen EADDRINUSE: address already in use :::18081", "    at Server.<anonymous> (/srv/app/busy.js:1:105)"],
        ),
        (
            "node: a syntax error has no frame of the app",
            include_str!("outputs/node-syntax.txt"),
            &["SyntaxError: Unexpected token ';'", "    at /srv/app/syntax.js:1"],
        ),
        (
            "node: an error inside of a package",
            include_str!("outputs/node-dep.txt"),
            &["TypeError: Cannot read properties of null (reading 'x')", "    at /srv/app/node_modules/lib/deep.js:1"],
        ),
        (
            "node: a rejected promise",
            include_str!("outputs/node-reject.txt"),
            &["TypeError: no database", "    at main (file:///srv/app/reject.mjs:1:59)", "    at file:///srv/app/reject.mjs:2:7"],
        ),
        (
            "python: causes",
            include_str!("outputs/python-exc.txt"),
            &[
                "ValueError: cannot start",
                "  caused by RuntimeError: no host configured",
                "  caused by KeyError: 'host'",
                "  File \"/srv/app/exc.py\", line 10, in main",
                "  File \"/srv/app/exc.py\", line 11, in <module>",
            ],
        ),
        (
            "python: a module that is not there",
            include_str!("outputs/python-imp.txt"),
            &["ModuleNotFoundError: No module named 'nosuchmodule'", "  File \"/srv/app/imp.py\", line 1, in <module>"],
        ),
        (
            "ruby: a cause",
            include_str!("outputs/ruby-cause.txt"),
            &[
                "app.rb:5:in `rescue in <main>': bad configuration (ArgumentError)",
                "  caused by /srv/app/lib/db.rb:1:in `connect': connection refused (IOError)",
                "\tfrom app.rb:2:in `<main>'",
            ],
        ),
        (
            "php: a cause",
            include_str!("outputs/php-next.txt"),
            &[
                "LogicException: cannot start in /srv/app/a.php:3",
                "  caused by RuntimeException: no host in /srv/app/a.php:2",
                "#0 /srv/app/a.php(4): main()",
            ],
        ),
        (
            "java: a cause",
            include_str!("outputs/java-cause.txt"),
            &[
                "Exception in thread \"main\" java.lang.RuntimeException: cannot start",
                "  caused by java.lang.IllegalStateException: no host",
                "\tat Main.main(Main.java:3)",
            ],
        ),
        (
            "go: a panic",
            include_str!("outputs/go-panic.txt"),
            &["panic: no host configured", "\t/srv/app/main.go:6", "\t/srv/app/main.go:10 +0x25"],
        ),
    ] {
        assert_eq!(picked(output), expected, "{name}");
        // Other output does not hide the report.
        let before = "GET / 200\n".repeat(300);
        assert_eq!(picked(&format!("{before}{output}")), expected, "{name}, after other lines");
        let dated: String = output.lines().map(|line| format!("2026-11-24 08:19:45 +01:00: {line}\n")).collect();
        assert_eq!(picked(&dated), expected, "{name}, with dates");
        assert_eq!(picked(&format!("{output}bye\n")).last().map(String::as_str), Some("bye"), "{name}, with a last word");
    }
}

#[test]
fn last_lines_are_kept_if_there_is_no_error_report() {
    let numbered = |count: usize| (0..count).map(|n| format!("line {n}\n")).collect::<String>();
    assert_eq!(picked(&numbered(30)).len(), 10);
    assert_eq!(picked(&numbered(30))[9], "line 29");
    assert_eq!(picked(&numbered(3)), ["line 0", "line 1", "line 2"]);
    assert_eq!(picked(""), Vec::<String>::new());
    assert_eq!(picked("\n\n"), Vec::<String>::new());
    // An old error that the program survived does not count.
    let old = format!("{}{}", include_str!("outputs/node-cause.txt"), numbered(40));
    assert_eq!(picked(&old)[0], "line 30");
    // The newest counts.
    let two = format!("{}{}", include_str!("outputs/python-imp.txt"), include_str!("outputs/node-busy.txt"));
    assert!(picked(&two)[0].contains("EADDRINUSE"));
}

#[test]
fn kept_lines_are_bounded_for_any_output() {
    let long = "x".repeat(100_000);
    for text in [
        long.clone(),
        format!("Error: {long}\n    at f (/srv/{long}.js:1:1)\n").repeat(3),
        format!("Traceback (most recent call last):\n  File \"/srv/a.py\"\n{}", format!("ValueError: ü{long}\n").repeat(20)),
        "    at f (/srv/a.js:1:1)\n".repeat(5000),
        "Traceback (most recent call last):\n".repeat(2000),
        "The above exception was the direct cause\nTraceback (most recent call last):\n".repeat(2000),
        "panic: a\ngoroutine 1 [running]:\n".repeat(2000),
        "a.rb:1:in `x': m (E)\n".repeat(3000),
        "PHP Fatal error:  Uncaught\nNext \n".repeat(3000),
        "\u{fffd}\0\u{1b}[31m\n".repeat(1000),
    ] {
        let kept = picked(&text);
        assert!(kept.len() <= 10 && kept.iter().map(|line| line.len() + 1).sum::<usize>() <= 4200, "{}", kept.len());
    }
}

#[test]
fn port_in_use_is_found_in_the_error_line() {
    for (line, port) in [
        ("Error: listen EADDRINUSE: address already in use :::18081", Some(18081)),
        ("Error: listen EADDRINUSE: address already in use 127.0.0.1:3000", Some(3000)),
        ("2026/01/02 12:30:45 listen tcp :8080: bind: address already in use", Some(8080)),
        ("[Errno 98] error while attempting to bind on address ('127.0.0.1', 8000): address already in use", Some(8000)),
        ("[2026-01-02 12:30:45 +0000] [17] [ERROR] Connection in use: ('127.0.0.1', 8000)", Some(8000)),
        ("Address already in use - bind(2) for \"127.0.0.1\" port 9292 (Errno::EADDRINUSE)", Some(9292)),
        ("nginx: [emerg] bind() to 0.0.0.0:80 failed (98: Address already in use)", Some(80)),
        ("Failed to listen on localhost:8000 (reason: Address already in use)", Some(8000)),
        ("OSError: [Errno 98] Address already in use", None),
        ("Error: listen EADDRINUSE: address already in use /tmp/a.sock", None),
        ("connect ECONNREFUSED 127.0.0.1:5432", None),
        ("EADDRINUSE :99999 :0", None),
    ] {
        assert_eq!(taken_port(&[line.to_owned()]), port, "{line}");
    }
}
