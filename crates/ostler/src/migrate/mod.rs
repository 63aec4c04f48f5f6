//! Parts of `migrate`: PM2's daemon as it is asked, what it runs and how that is moved, and what was moved.

mod plan;
mod pm2;
mod programs;
mod record;

pub(crate) use plan::{App, Found, Way, differing, read};
pub(crate) use pm2::Pm2;
pub(crate) use programs::carry_out;
pub(crate) use record::{Moved, Record};
