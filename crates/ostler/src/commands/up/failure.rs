//! Report of a project that did not start: the apps that failed, their last lines, and the apps
//! that still run.

use ostler_client::words::exit_text;
use ostler_core::lifecycle::ExitRecord;
use ostler_core::message;
use ostler_proto::control::Detail;

use super::exits;
use crate::cli::Call;
use crate::commands::project::{Project, service};
use crate::cx::Cx;
use crate::render::face::Mark;
use crate::render::styles;
use crate::text::{shell_word, shown, wrap};

/// Most lines of an app that are shown.
const LINES: usize = 10;

/// Prints how the apps that failed exited, with their own last lines, then which apps run and how
/// to stop them. Failures that were printed already are left out.
pub(super) fn report(cx: &mut Cx, call: &Call, project: &Project, members: &[Detail]) {
    let own = |member: &Detail| shown(service(&member.spec.name, &project.name).unwrap_or(&member.spec.name));
    let wanted: Vec<&Detail> = members.iter().filter(|member| project.wanted.iter().any(|spec| spec.name == member.spec.name)).collect();
    let is_given_up = |member: &&&Detail| matches!(member.instance.status(), "errored" | "stopped") && exits::has_failed(member);
    for member in wanted.iter().filter(is_given_up) {
        if let Some(exit) = exits::last(member).filter(|_| !cx.has_shown_failure(&member.spec.name)) {
            failure(cx, member, &own(member), exit);
        }
    }
    let mut runs: Vec<String> = wanted.iter().filter(|member| member.instance.pid().is_some()).map(|member| own(member)).collect();
    runs.dedup();
    if !runs.is_empty() {
        cx.out.err_line(message!("still running: {names}", names = runs.join(", ")));
        cx.out.err_line(message!("hint: `{command}` stops and deletes them", command = down(cx.program.name(), call)));
    }
}

/// Prints one failure: with a mark as the lines of a start have it, or in PM2's look.
fn failure(cx: &mut Cx, member: &Detail, own: &str, exit: &ExitRecord) {
    let text = exit_text(exit.ending);
    let lines = exit.last_lines.iter().rev().take(LINES).rev();
    if cx.program.is_pm2() {
        cx.out.error(format_args!("{own} {text}"));
        let bar = cx.out.paint_err().with(styles::GREY, '│').to_string();
        lines.for_each(|line| cx.out.err_line(format_args!("    {bar} {}", shown(line))));
        return;
    }
    let paint = cx.out.paint_err();
    let mark = paint.with(Mark::Error.style(), Mark::Error.glyph());
    cx.out.err_line(format_args!("{mark} {}  {text}", paint.with(styles::BOLD, own)));
    let room = cx.out.message_style().view().width.unwrap_or(usize::MAX).saturating_sub(4);
    for line in lines.flat_map(|line| wrap(&shown(line), room)) {
        cx.out.err_line(format_args!("    {}", line.trim_end()));
    }
    let hint = paint.with(styles::BOLD_BLUE, "hint:");
    cx.out.err_line(format_args!("    {hint} {} why {}", cx.program.name(), shell_word(&member.spec.name)));
}

/// Returns the `down` command for the same project.
fn down(program: &str, call: &Call) -> String {
    let file = call.value("file").map(|file| format!(" --file {}", shown(file))).unwrap_or_default();
    let name = call.value("project-name").map(|name| format!(" --project-name {}", shown(name))).unwrap_or_default();
    format!("{program} down{file}{name}")
}
