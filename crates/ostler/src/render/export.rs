//! What an export or import does not carry over.

use std::fmt::Write as _;

use ostler_export::Told;
use unicode_width::UnicodeWidthStr as _;

use super::style::{Paint, styles};
use crate::text::{fit, shown, wrap_words};

/// Most columns of a name.
const NAME: usize = 24;
/// Fewest columns for a reason; in a narrower terminal it stands below.
const REASON: usize = 24;

/// A table: app, attribute, reason. Lines fit into so many columns, where the terminal has a width.
pub(crate) fn not_carried(all: &[Told], width: Option<usize>, paint: Paint) -> String {
    let width = width.unwrap_or(120).max(20);
    let column = |title: &str, of: fn(&Told) -> &str| {
        let widest = all.iter().map(|told| shown(of(told)).width()).max().unwrap_or(0);
        widest.max(title.width()).min(NAME)
    };
    let (app, key) = (column("app", |told| &told.app), column("attribute", |told| &told.key));
    let indent = app + key + 4;
    let is_wide = width >= indent + REASON;
    let mut out = String::new();
    let heading = format!("{}  {}  {}", fit("app", app), fit("attribute", key), if is_wide { "not carried over" } else { "" });
    let _ = writeln!(out, "{}", paint.with(styles::HEADER, heading.trim_end()));
    for told in all {
        let first = format!("{}  {}", fit(&shown(&told.app), app), fit(&shown(&told.key), key));
        let first = if is_wide { first } else { fit(&first, width.min(first.width())) };
        let (room, begin) = if is_wide { (width - indent, indent) } else { (width - 2, 2) };
        for (at, line) in wrap_words(&shown(&told.why), room).into_iter().enumerate() {
            let _ = match (at, is_wide) {
                (0, true) => writeln!(out, "{first}  {line}"),
                (0, false) => writeln!(out, "{}\n  {line}", first.trim_end()),
                _ => writeln!(out, "{}{line}", " ".repeat(begin)),
            };
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fits_the_terminal() {
        let told = |app: &str, key: &str, why: &str| Told { app: app.into(), key: key.into(), why: why.into() };
        let all = [
            told("api", "watch", "what is deployed does not change under it"),
            told("an app with a very long name \u{1b}[31m", "max_memory_restart", "MemoryMax kills at that limit, instead of a replacement"),
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
