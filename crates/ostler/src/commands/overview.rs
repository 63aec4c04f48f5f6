//! `ostler` without a command: the number of apps by state, and the apps that need attention.

use ostler_client::Client;
use ostler_core::message;
use ostler_proto::control::{InstanceFigures, Request, Response};
use unicode_width::UnicodeWidthStr as _;

use crate::client::VERSION;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::left_behind;
use crate::render::face::{AppGroup, Cell, Column, Mark, grid, overview_counts};
use crate::render::{SortOrder, View, styles};
use crate::text::{fit, shell_word, shown, wrap_words};

/// Most apps that are named.
const MOST: usize = 10;

/// Prints the overview. Never starts a daemon.
///
/// # Errors
/// Returns an error if the home cannot be used, or if the daemon does not answer.
pub(crate) fn run(cx: &mut Cx) -> Result<Status, CliError> {
    let program = cx.program.name();
    let (rows, figures) = match cx.running_client()? {
        Some(client) => (client.table()?, measured(client)),
        None => {
            print(cx, &format!("ostler {VERSION} · {}", message!("no daemon is running")));
            let home = cx.home()?.to_owned();
            let lost = left_behind::of(&home).map(|left| left_behind::lost_message(&left, &home, program));
            if let Some(text) = lost.or_else(|| left_behind::saved_hint(&home, program)) {
                print(cx, &text);
            }
            print(cx, &message!("Start an app: `{program} start app.js`. Help: `{program} help`, `{program} help --all`.", program));
            return Ok(Status::Ok);
        }
    };
    let (modules, apps): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.module);
    let groups = AppGroup::measured(apps, &figures, false, SortOrder::BY_NAME);
    let modules = AppGroup::measured(modules, &figures, false, SortOrder::BY_NAME);
    if groups.is_empty() {
        print(cx, &format!("ostler {VERSION} · {}", message!("no apps yet")));
        print(cx, &message!("Start one: `{program} start app.js`. Help: `{program} help`, `{program} help --all`.", program));
        return Ok(Status::Ok);
    }
    print(cx, &format!("ostler {VERSION} · {}", overview_counts(&groups)));
    let unwell: Vec<&AppGroup> = groups.iter().chain(&modules).filter(|group| !group.reasons.is_empty()).collect();
    let words: Vec<String> = unwell.iter().take(MOST).map(|group| attention(cx, group)).collect();
    let table = attention_list(&unwell, words, program, &cx.out.view());
    if !table.is_empty() {
        cx.out.line(table.trim_end_matches('\n'));
    }
    if let Some(more) = unwell.len().checked_sub(MOST).filter(|more| *more > 0) {
        print(cx, &message!("and {more} more: `{program} list`", more, program));
    }
    print(cx, &message!("Help: `{program} help`, `{program} help --all`.", program));
    Ok(Status::Ok)
}

/// Prints a sentence in lines that fit the terminal.
fn print(cx: &mut Cx, text: &str) {
    let width = cx.out.width().unwrap_or(usize::MAX);
    wrap_words(text, width).iter().for_each(|line| cx.out.line(line));
}

/// Formats the apps with their trouble and the command that explains it.
fn attention_list(unwell: &[&AppGroup], words: Vec<String>, program: &str, view: &View) -> String {
    if words.is_empty() {
        return String::new();
    }
    let marked = |group: &&AppGroup| {
        let mark = group.state.mark.max(Mark::Warning);
        Cell::new(format!("{} {}", mark.glyph(), shown(&group.row.name)), mark.style())
    };
    let command = |group: &&AppGroup| Cell::new(format!("{program} why {}", shell_word(&group.row.name)), styles::DIM);
    // A long error must not push the command from the screen.
    let room = view.width.unwrap_or(usize::MAX) / 2;
    let words = words.into_iter().map(|text| if text.width() > room { fit(&text, room).trim_end().to_owned() } else { text });
    let columns = vec![
        Column::text("", 0, unwell.iter().take(MOST).map(marked)),
        Column::text("", 0, words),
        Column::text("", 1, unwell.iter().take(MOST).map(command)),
    ];
    grid(columns, view)
}

/// Returns the measurements of the Node apps that measure at this moment. The request starts no
/// measurement.
fn measured(client: &mut Client) -> Vec<InstanceFigures> {
    match client.request(&Request::Collect { for_ms: 0 }, &mut |_| {}) {
        Ok(Response::Figures(figures)) => figures,
        _ => Vec::new(),
    }
}

/// Describes the trouble of an app: the first line of its last error if it is down, else the
/// reasons.
fn attention(cx: &mut Cx, group: &AppGroup) -> String {
    if let Some(id) = group.down_id {
        let details = cx.client().and_then(|client| Ok(client.inspect(&[id.to_string()])?)).unwrap_or_default();
        if let Some(error) = details.first().and_then(|detail| detail.instance.exits.last()?.last_lines.first()) {
            return shown(error.trim());
        }
    }
    group.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use ostler_proto::control::TableRow;

    use super::*;
    use crate::tests::data;

    #[test]
    fn apps_that_need_attention_fit_each_terminal() {
        let rows = data::rows().into_iter().map(|row| TableRow { status: "errored".into(), ..row }).collect();
        let groups = AppGroup::all(rows, false, SortOrder::BY_NAME);
        let unwell: Vec<&AppGroup> = groups.iter().collect();
        let words = || vec!["TypeError: Cannot read properties of undefined (reading 'url')".to_owned(); groups.len()];
        for width in 20..200 {
            let text = attention_list(&unwell, words(), "ostler", &View::played(0, Some(width)));
            assert!(text.lines().count() == groups.len() && text.lines().all(|line| line.width() <= width), "{width}\n{text}");
        }
        let text = attention_list(&unwell, words(), "ostler", &View::played(0, None));
        assert!(text.contains("✗ api") && text.contains("ostler why api") && text.contains("ostler why '🚀 rocket'"), "{text}");
        assert!(attention_list(&[], Vec::new(), "ostler", &View::played(0, None)).is_empty());
    }
}
