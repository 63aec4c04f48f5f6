//! Settings that an export or import does not carry over.

use std::fmt::Write as _;

use ostler_core::message;
use ostler_export::Notice;
use unicode_width::UnicodeWidthStr as _;

use super::style::{Paint, styles};
use crate::text::{fit, shown, wrap_words};

/// Largest width of a name.
const NAME: usize = 24;
/// Smallest width of a reason; in a narrower terminal the reason is on the next line.
const REASON: usize = 24;

/// Formats a table: app, attribute, reason. Lines fit into this width, if the terminal has one.
pub(crate) fn not_carried(all: &[Notice], width: Option<usize>, paint: Paint) -> String {
    let width = width.unwrap_or(120).max(20);
    let column = |title: &str, of: fn(&Notice) -> &str| {
        let widest = all.iter().map(|told| shown(of(told)).width()).max().unwrap_or(0);
        widest.max(title.width()).min(NAME)
    };
    let (app_title, key_title, why_title) = (message!("app"), message!("attribute"), message!("not carried over"));
    let (app, key) = (column(&app_title, |told| &told.app), column(&key_title, |told| &told.key));
    let indent = app + key + 4;
    let is_wide = width >= indent + REASON;
    let mut out = String::new();
    let heading = if is_wide { format!("{}  {}  {why_title}", fit(&app_title, app), fit(&key_title, key)) } else { why_title };
    let _ = writeln!(out, "{}", paint.with(styles::HEADER, heading));
    for told in all {
        let why = shown(&told.why);
        if !is_wide {
            let name = format!("{} {}", shown(&told.app), shown(&told.key));
            let _ = writeln!(out, "{}", fit(&name, width.min(name.width())));
            for line in wrap_words(&why, width - 2) {
                let _ = writeln!(out, "  {line}");
            }
            continue;
        }
        let mut first = format!("{}  {}", fit(&shown(&told.app), app), fit(&shown(&told.key), key));
        for line in wrap_words(&why, width - indent) {
            let _ = writeln!(out, "{first}  {line}");
            first = " ".repeat(indent - 2);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_fits_the_terminal() {
        let told = |app: &str, key: &str, why: &str| Notice::new(app, key, why);
        let all = [
            told("api", "watch", "what is deployed does not change under it"),
            told(
                "an app with a very long name \u{1b}[31m",
                "max_memory_restart",
                "MemoryMax kills at that limit, instead of a replacement",
            ),
        ];
        for width in [30, 60, 80, 120] {
            let text = not_carried(&all, Some(width), Paint(false));
            assert!(text.lines().all(|line| line.width() <= width), "{width}\n{text}");
            assert!(!text.contains('\u{1b}'));
        }
        assert_eq!(
            not_carried(&all[..1], Some(60), Paint(false)),
            "app  attribute  not carried over\napi  watch      what is deployed does not change under it\n"
        );
    }
}
