//! `events`: one line each.

use ostler_client::words::{app_text, event_and_cause};
use ostler_proto::event::Event;

use super::style::styles;
use super::table::status_style;
use super::view::View;

/// Formats one line: `2026-11-21 03:55:45  api (0)  exited with code 1 after 850 ms (pid 4711), by
/// itself  [online → waiting restart]`.
pub(crate) fn event_line(event: &Event, view: &View) -> String {
    let paint = view.paint;
    let name = app_text(event);
    let status = match (&event.before, &event.after) {
        (Some(before), Some(after)) if before != after => {
            let word = |word: &str| paint.with(status_style(word), word).to_string();
            format!("  [{} → {}]", word(before), word(after))
        }
        _ => String::new(),
    };
    let what = event_and_cause(event);
    format!("{}  {}  {what}{status}", paint.with(styles::GREY, view.local(event.at_ms)), paint.with(styles::BOLD, name))
}
