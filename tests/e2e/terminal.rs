//! Output on a terminal of a given width and locale. The outputs themselves are golden files of the
//! crate `ostler`.

use ostler_testkit::{Home, needs_program};

use crate::setup::{home, home_as_pm2, start_fixture};

/// Returns the lines that a command prints on a terminal with this number of columns.
fn on_terminal(home: &Home, words: &str, columns: usize, locale: &str) -> Vec<String> {
    let shell = format!("exec script -q -e -c \"stty cols {columns}; exec '$0' {words}\" /dev/null </dev/null");
    let output = home.cmd("list").env("LANG", locale).after(&shell).run();
    output.stdout.lines().map(|line| line.trim_end_matches('\r').to_owned()).collect()
}

#[test]
fn tables_fit_the_width_and_charset_of_the_terminal() {
    needs_program!("script");
    let home = home();
    start_fixture(&home, "a-name-of-more-than-sixteen-letters", "", "sleep");
    for words in ["list", "describe 0", "help start"] {
        for columns in [60, 80, 120] {
            let lines = on_terminal(&home, words, columns, "C.UTF-8");
            // An example is one line, because users copy it.
            let widths: Vec<usize> = lines.iter().filter(|line| !line.starts_with("    $ ")).map(|line| line.chars().count()).collect();
            assert!(widths.len() > 2 && widths.iter().all(|width| *width <= columns), "{words} in {columns} columns: {lines:#?}");
        }
        let lines = on_terminal(&home, words, 80, "C");
        assert!(lines.len() > 2 && lines.iter().all(|line| line.is_ascii()), "{lines:#?}");
    }
    // Output to a pipe does not depend on the locale, because scripts parse it.
    let piped = home.cmd("list").env("LANG", "C").run().says("a-name-of-more-than-sixteen-letters  ");
    assert!(!piped.stdout.is_ascii(), "{piped}");
}

#[test]
fn log_lines_and_events_have_columns_that_fit() {
    needs_program!("script");
    let home = home();
    let app = home.write("app.sh", "#!/bin/sh\necho listening\nprintf 'Error: x\\n    at f (/srv/a.js:1:1)\\n' >&2\nexec sleep 1000\n");
    home.ok(format!("start {app} --name app"));
    home.wait_log("app-error.log", "at f");
    let lines = on_terminal(&home, "logs app --nostream --err", 60, "C.UTF-8");
    assert_eq!(lines, ["             app ! Error: x", "                 !     at f (/srv/a.js:1:1)"]);
    // Without a terminal, each line has its name.
    assert!(home.ok("logs app --nostream").stdout.lines().all(|line| line.contains(" app ")));
    home.ok("restart app");
    for columns in [20, 40, 60, 80] {
        let lines = on_terminal(&home, "events", columns, "C.UTF-8");
        assert!(lines.len() > 6 && lines.iter().all(|line| line.chars().count() <= columns), "{columns}: {lines:#?}");
        let lines = on_terminal(&home, "events --all", columns, "C");
        assert!(lines.iter().all(|line| line.is_ascii() && line.len() <= columns), "{columns}: {lines:#?}");
    }
}

/// App output that would act on a terminal: a title, the clipboard, a cleared screen, a query that
/// the terminal answers; and a colour.
const HOSTILE: &str = r"\033]0;title\007\033]52;c;cm0=\033\\\033[2J\033[6n\033P+q\033\\\033[31mred\033[0m\202";
/// The same output made visible. At this point the colours are gone, because colours are passed
/// through.
const VISIBLE: &str = "^[]0;title^G^[]52;c;cm0=^[\\^[[2J^[[6n^[P+q^[\\red<82>";

#[test]
fn control_characters_of_apps_are_escaped_on_a_terminal() {
    needs_program!("script");
    for home in [home(), home_as_pm2()] {
        let app = home.write("app.sh", format!("#!/bin/sh\nprintf '{HOSTILE}\\n'\nprintf '{HOSTILE}\\n' >&2\nexec sleep 1000\n"));
        home.ok(["start", &app, "--name", "ad\u{202e}min\u{200b}", "--error", "error.txt"]);
        home.wait_until("it has written", || std::fs::read(home.work().join("error.txt")).is_ok_and(|text| text.ends_with(b"\n")));
        home.write("throws.config.js", "throw new Error('\\x1b]0;title\\x07')");
        for words in ["logs --nostream", "logs --nostream --raw", "logs --nostream --err"] {
            let text = on_terminal(&home, words, 200, "C.UTF-8").join("\n");
            assert!(text.contains(VISIBLE) && !text.contains("\x1b]"), "{words}: {text:?}");
        }
        for words in ["list", "describe 0", "logs --nostream", "why 0", "validate throws.config.js"] {
            let text = on_terminal(&home, words, 200, "C.UTF-8").join("\n");
            assert!(!text.contains("\x1b]") && !text.contains('\u{202e}'), "{words}: {text:?}");
        }
        let asked_for = on_terminal(&home, "logs --nostream --raw=bytes", 200, "C.UTF-8").join("\n");
        assert!(asked_for.contains("\x1b]0;title\x07"), "{asked_for:?}");
        // A pipe gets the app's bytes unchanged.
        let piped = home.ok("logs --nostream --raw --out").stdout;
        assert!(piped.contains("\x1b]0;title\x07\x1b]52;c;cm0=\x1b\\"), "{piped:?}");
        assert!(!home.ok("list").stdout.contains(['\u{202e}', '\u{200b}']));
        assert!(!home.run("logs --nostream --raw=x").stderr.is_empty());
    }
}
