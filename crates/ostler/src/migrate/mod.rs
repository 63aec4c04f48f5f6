//! Parts of `migrate`: the connection to PM2's daemon, the plan for moving its apps, and the record
//! of moved apps.

mod plan;
mod pm2;
mod programs;
mod record;

pub(crate) use plan::{App, MoveMethod, Pm2Contents, differing, read};
pub(crate) use pm2::Pm2;
pub(crate) use programs::carry_out;
pub(crate) use record::{Moved, Record};
