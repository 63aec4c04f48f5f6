//! What a terminal of a given width and locale gets. The outputs themselves are goldens of the crate `ostler`.

use ostler_testkit::{Home, needs_program};

use crate::setup::{home, start_fixture};

/// The lines that a command prints on a terminal with so many columns.
fn on_terminal(home: &Home, words: &str, columns: usize, locale: &str) -> Vec<String> {
    let shell = format!("exec script -q -e -c \"stty cols {columns}; exec '$0' {words}\" /dev/null </dev/null");
    let output = home.cmd("list").env("LANG", locale).after(&shell).run().ok();
    output.stdout.lines().map(|line| line.trim_end_matches('\r').to_owned()).collect()
}

#[test]
fn tables_fit_and_are_drawn_in_characters_that_it_knows() {
    needs_program!("script");
    let home = home();
    start_fixture(&home, "a-name-of-more-than-sixteen-letters", "", "sleep");
    for words in ["list", "describe 0", "help start"] {
        for columns in [60, 80, 120] {
            let lines = on_terminal(&home, words, columns, "C.UTF-8");
            let tables =
                lines.iter().filter(|line| line.starts_with(['┌', '├', '│', '└']) || words == "help start" && !line.starts_with("    $ "));
            let widths: Vec<usize> = tables.map(|line| line.chars().count()).collect();
            assert!(widths.len() > 4 && widths.iter().all(|width| *width <= columns), "{words} in {columns} columns: {lines:#?}");
        }
        let lines = on_terminal(&home, words, 80, "C");
        assert!(lines.len() > 4 && lines.iter().all(|line| line.is_ascii()), "{lines:#?}");
    }
    // What goes elsewhere does not depend on the locale: scripts look for it.
    home.cmd("list").env("LANG", "C").run().says("│ a-name-of-more-than-sixteen-letters");
}
