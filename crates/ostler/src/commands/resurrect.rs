//! `resurrect`: start what was saved.

use ostler_proto::control::Request;

use super::list;
use crate::cli::{Call, CliError, Status};
use crate::cx::Cx;
use crate::render::Wording;

/// Apps whose name is in the list already are left alone.
pub(crate) fn run(cx: &mut Cx, call: &Call) -> Result<Status, CliError> {
    let dump = cx.home()?.join("dump.pm2");
    cx.client()?;
    cx.out.info("Resurrecting");
    cx.out.info(format_args!("Restoring processes located in {}", dump.display()));
    super::act::perform(cx, &Request::Resurrect, Wording::Resurrect)?;
    list::show(cx, call)?;
    Ok(Status::Ok)
}
