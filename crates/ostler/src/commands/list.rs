//! `list`: the table.

#[cfg(feature = "export")]
use super::project::project_members;
use super::table;
use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::render;

/// Prints all instances, or those that the user names. As `pm2`, names are ignored.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    // In the folder of a project that is up, `ps` is Compose's; everywhere else it is PM2's.
    #[cfg(feature = "export")]
    if (call.word == "ps" || call.value("file").is_some() || call.has("project-name"))
        && let Some(members) = project_members(cx, call)?
    {
        let ids = members.iter().map(|member| member.id).collect::<Vec<_>>();
        if call.has("quiet") {
            show_ids(cx, call, &ids);
        } else {
            table::show_only(cx, call, &ids)?;
        }
        return Ok(Status::Ok);
    }
    if call.has("quiet") {
        let ids = match named(cx, call)? {
            Some(ids) => ids,
            None => cx.client()?.list()?.iter().map(|row| row.id).collect(),
        };
        show_ids(cx, call, &ids);
        return Ok(Status::Ok);
    }
    if call.has("watch") {
        return follow(cx, call);
    }
    if cx.out.is_silent() && !call.has("json") {
        // Only the check for a daemon remains. As in PM2, this starts a daemon if the command may
        // do so.
        cx.client()?.list()?;
        return Ok(Status::Ok);
    }
    print(cx, call)?;
    Ok(Status::Ok)
}

fn print(cx: &mut Cx, call: &Call) -> Result<(), CliError> {
    match named(cx, call)? {
        Some(ids) => table::show_only(cx, call, &ids),
        None => table::show(cx, call),
    }
}

/// Returns the instances that the user names; none without a name.
///
/// # Errors
/// Returns an error if a name matches no app.
fn named(cx: &mut Cx, call: &Call) -> Result<Option<Vec<u32>>, CliError> {
    if cx.program.is_pm2() || call.targets.is_empty() {
        return Ok(None);
    }
    Ok(Some(cx.find(&call.targets)?.iter().map(|detail| detail.id).collect()))
}

fn show_ids(cx: &mut Cx, call: &Call, ids: &[u32]) {
    if call.has("json") {
        return render::json(&mut cx.out, &ids);
    }
    ids.iter().for_each(|id| cx.out.line(id));
}

/// Runs `list --watch`: repeats until the reader or the daemon exits.
fn follow(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    loop {
        if cx.out.width().is_some() {
            cx.out.control("\x1b[2J\x1b[H");
        }
        print(cx, call)?;
        cx.out.flush();
        if cx.out.is_closed() {
            return Ok(Status::Ok);
        }
        std::thread::sleep(std::time::Duration::from_millis(900));
    }
}
