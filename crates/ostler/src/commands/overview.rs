//! `ostler` without a command: the number of apps by state, and the apps that need attention.

use ostler_core::lifecycle::Trouble;
use unicode_width::UnicodeWidthStr as _;

use crate::client::VERSION;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::render::SortOrder;
use crate::render::face::{AppGroup, Mark, overview_counts};
use crate::render::styles;
use crate::text::{fit, shown};

/// Most apps that are named.
const MOST: usize = 10;

/// Prints the overview. Never starts a daemon.
///
/// # Errors
/// Returns an error if the home cannot be used, or if the daemon does not answer.
pub(crate) fn run(cx: &mut Cx) -> Result<Status, CliError> {
    let program = cx.program.name();
    let rows = match cx.running_client()? {
        Some(client) => client.table()?,
        None => {
            cx.out.line(format_args!("ostler {VERSION} · no daemon is running"));
            cx.out.line(format_args!("Start an app: `{program} start app.js`. Help: `{program} help`, `{program} help --all`."));
            return Ok(Status::Ok);
        }
    };
    let groups = AppGroup::all(rows.into_iter().filter(|row| !row.module).collect(), false, SortOrder::BY_NAME);
    if groups.is_empty() {
        cx.out.line(format_args!("ostler {VERSION} · no apps yet"));
        cx.out.line(format_args!("Start one: `{program} start app.js`. Help: `{program} help`, `{program} help --all`."));
        return Ok(Status::Ok);
    }
    cx.out.line(format_args!("ostler {VERSION} · {}", overview_counts(&groups)));
    let unwell: Vec<&AppGroup> = groups.iter().filter(|group| needs_attention(group)).collect();
    let names = unwell.iter().map(|group| shown(&group.row.name).width()).max().unwrap_or(0).min(24);
    let commands = unwell.iter().map(|group| program.len() + 5 + shown(&group.row.name).width()).max().unwrap_or(0);
    for group in unwell.iter().take(MOST) {
        let words = attention(cx, group);
        let (view, name) = (cx.out.view(), shown(&group.row.name));
        let mark = if group.state.mark < Mark::Warning { Mark::Warning } else { group.state.mark };
        let room = view.width.unwrap_or(80).saturating_sub(names + commands + 8);
        let words = if words.width() > room { fit(&words, room) } else { words };
        let pad = (room - words.width().min(room), names.saturating_sub(name.width()));
        let line = format!(
            "  {} {}{:first$}  {words}{:second$}  {}",
            view.paint.with(mark.style(), mark.glyph()),
            view.paint.with(styles::BOLD, &name),
            "",
            "",
            view.paint.with(styles::DIM, format_args!("{program} why {name}")),
            first = pad.1,
            second = pad.0,
        );
        cx.out.line(line);
    }
    if let Some(more) = unwell.len().checked_sub(MOST).filter(|more| *more > 0) {
        cx.out.line(format_args!("  and {more} more: `{program} list`"));
    }
    cx.out.line(format_args!("Help: `{program} help`, `{program} help --all`."));
    Ok(Status::Ok)
}

fn needs_attention(group: &AppGroup) -> bool {
    group.state.mark >= Mark::Warning || group.row.trouble.is_some()
}

/// Describes the trouble of an app: the first line of its last error, else its state.
fn attention(cx: &mut Cx, group: &AppGroup) -> String {
    if group.row.trouble == Some(Trouble::KeepsRestarting) {
        return group.recent_exits_text();
    }
    let details = cx.client().and_then(|client| Ok(client.inspect(&[group.row.id.to_string()])?)).unwrap_or_default();
    let error = details.first().and_then(|detail| detail.instance.exits.last()?.last_lines.first());
    error.map_or_else(|| group.state.text.clone(), |line| shown(line.trim()))
}
