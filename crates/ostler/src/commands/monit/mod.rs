//! `monit`: the view of everything on the whole terminal.
//!
//! `state` holds the known facts and the selection, `keys` change it, and `view` makes a picture of
//! it. None of these three modules reads or writes anything. `session` waits for the daemon
//! (`link`), the logs, the keys and signals, and draws when one of them has an event. At rest it
//! asks the daemon every two seconds, and writes only if something changes.

mod content;
mod keys;
mod layout;
mod link;
mod log_lines;
mod series;
mod session;
mod state;
mod targets;
mod view;

use session::Session;
use state::{DisplayOptions, MonitState};

use ostler_core::marked;

use super::table;
use crate::cli::Call;
use crate::cx::Cx;
use crate::error::{CliError, Status};
use crate::full_screen::screen::Screen;
use crate::full_screen::{cells, input, terminal};
use layout::Pane;

/// Runs `monit`, `dashboard`, `dash` and `imonit`. `imonit` starts with the list alone and its
/// bars.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    table::order(call)?;
    let sort = call.value("sort").unwrap_or("id").to_lowercase();
    terminal::check("monit", marked!("`list`, `logs` and `events --follow` write anywhere"))?;
    // If no daemon runs at the start, the command fails with the usual message.
    cx.client()?.handshake()?;
    cx.disconnect();
    let home = cx.home()?.to_owned();
    let display = DisplayOptions { program: cx.program.name(), is_pm2: cx.program.is_pm2(), is_ascii: cx.out.is_ascii() };
    cx.out.flush();
    let screen = Screen::new(terminal::Terminal::take()?, cx.out.paint().0);
    let mut state = MonitState::new(display, cx.out.view(), screen.size(), sort);
    state.filter = call.target().unwrap_or_default().to_owned();
    state.is_zoomed = call.word == "imonit";
    state.focus = Pane::List;
    Session::new(state, screen, home, &cx.out).run()?;
    Ok(Status::Ok)
}
