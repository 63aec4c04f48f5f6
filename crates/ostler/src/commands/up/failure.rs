//! Report of a project that did not start: the apps that failed, their last lines, and the apps
//! that still run.

use ostler_client::words::exit_text;
use ostler_proto::control::Detail;

use super::exits;
use crate::cli::Call;
use crate::commands::project::{Project, service};
use crate::cx::Cx;
use crate::render::styles;
use crate::text::shown;

/// Most lines of an app that are shown.
const LINES: usize = 10;

/// Prints how the apps that failed exited, with their own last lines, then which apps run and how
/// to stop them.
pub(super) fn report(cx: &mut Cx, call: &Call, project: &Project, members: &[Detail]) {
    let own = |member: &Detail| shown(service(&member.spec.name, &project.name).unwrap_or(&member.spec.name));
    let wanted: Vec<&Detail> = members.iter().filter(|member| project.wanted.iter().any(|spec| spec.name == member.spec.name)).collect();
    let is_given_up = |member: &&&Detail| matches!(member.instance.status(), "errored" | "stopped") && exits::has_failed(member);
    for member in wanted.iter().filter(is_given_up) {
        let Some(exit) = exits::last(member) else { continue };
        cx.out.error(format_args!("{} {}", own(member), exit_text(exit.ending)));
        let bar = cx.out.paint_err().with(styles::GREY, '│').to_string();
        for line in exit.last_lines.iter().rev().take(LINES).rev() {
            cx.out.err_line(format_args!("    {bar} {}", shown(line)));
        }
    }
    let mut runs: Vec<String> = wanted.iter().filter(|member| member.instance.pid().is_some()).map(|member| own(member)).collect();
    runs.dedup();
    if !runs.is_empty() {
        cx.out.err_line(format_args!("still running: {}", runs.join(", ")));
        cx.out.err_line(format_args!("hint: `{}` stops and deletes them", down(cx.program.name(), call)));
    }
}

/// Returns the `down` command for the same project.
fn down(program: &str, call: &Call) -> String {
    let file = call.value("file").map(|file| format!(" --file {}", shown(file))).unwrap_or_default();
    let name = call.value("project-name").map(|name| format!(" --project-name {}", shown(name))).unwrap_or_default();
    format!("{program} down{file}{name}")
}
