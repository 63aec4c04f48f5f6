//! Golden outputs: the accepted outputs for users, in `snapshots/`. A difference fails. To accept
//! it, run `INSTA_UPDATE=always cargo nextest run -p ostler tests::` and check `git diff`.
//!
//! Everything is rendered from [`data`], at a fixed moment in UTC, so the output never varies.

#[cfg(feature = "machine")]
mod checks;
pub(crate) mod data;
mod documented;
mod environment;
mod errors;
mod events;
mod examples;
#[cfg(feature = "web")]
mod exceptions;
mod face;
mod help;
mod instances;
mod rollouts;

use unicode_width::UnicodeWidthStr;

use crate::render::View;
use crate::text::ascii;

/// Widths of the tested terminals.
const WIDTHS: [usize; 4] = [60, 80, 120, 200];

/// Widths for tests without golden files: each narrow one, and some wide ones.
fn many_widths() -> impl Iterator<Item = usize> {
    (20..=80).chain((85..=200).step_by(5))
}

/// Compares with the accepted output.
fn golden(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Compares at each width, without a terminal, in colours, and without UTF-8. A line that is wider
/// than its terminal fails.
pub(crate) fn golden_at_each_width(name: &str, rendered: impl Fn(&View) -> String) {
    for width in WIDTHS {
        let text = rendered(&View::played(data::NOW_MS, Some(width)));
        assert_fits(&text, width);
        golden(&format!("{name}-{width}"), &text);
    }
    golden(&format!("{name}-no-terminal"), &rendered(&View::played(data::NOW_MS, None)));
    golden_in_colours_and_ascii(name, &View::played(data::NOW_MS, Some(80)), rendered);
}

/// Compares in colours, which must not change the text, and without UTF-8.
fn golden_in_colours_and_ascii(name: &str, view: &View, rendered: impl Fn(&View) -> String) {
    let text = rendered(view);
    let plain = ascii(&text);
    assert!(plain.is_ascii(), "{plain}");
    assert_fits(&plain, view.width.unwrap_or(usize::MAX));
    golden(&format!("{name}-ascii"), &plain);
    let colored = rendered(&view.colored());
    assert_eq!(without_colours(&colored), text, "colours change more than colours");
    golden(&format!("{name}-colours"), &colored.replace('\u{1b}', "\u{241b}"));
}

/// Checks that no line is wider than its terminal, except commands, which users copy as a whole.
pub(crate) fn assert_fits(text: &str, width: usize) {
    const COMMANDS: [&str; 3] = ["    $ ", " Use `", " Trigger via: "];
    for line in text.lines().filter(|line| COMMANDS.iter().all(|begin| !line.starts_with(begin))) {
        assert!(line.width() <= width, "{} columns in a terminal of {width}: {line}\n{text}", line.width());
    }
}

fn without_colours(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    first + &parts.map(|part| part.split_once('m').map_or("", |(_, rest)| rest)).collect::<String>()
}

#[test]
pub(crate) fn assert_fits_rejects_too_wide_table() {
    assert!(std::panic::catch_unwind(|| assert_fits("│ twelve    │", 12)).is_err());
    assert_fits("│ twelve   │", 12);
}
